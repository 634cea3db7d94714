//  Listening sockets: TCP on several addresses, and a Unix socket.
//
//  Raw memory: the list that the resolver allocates is walked and freed within one function.

import CSystem
import Glibc
import Synchronization

/// A socket that listens. It is closed, and a Unix socket's file removed, by `close()` or at the
/// latest when the last reference goes away.
package final class Listener: Sendable {
    let descriptor: Int32

    /// What it listens on, for the log: `127.0.0.1:6379`, or a path.
    package let address: String

    /// The port; 0 for a Unix socket.
    package let port: UInt16

    private let path: String?
    private let isClosed = Atomic<Bool>(false)

    private init(descriptor: Int32, address: String, port: UInt16, path: String?) {
        self.descriptor = descriptor
        self.address = address
        self.port = port
        self.path = path
    }

    deinit { close() }

    package var isUnixSocket: Bool { path != nil }

    /// Stops listening. Further calls do nothing.
    package func close() {
        if isClosed.exchange(true, ordering: .relaxed) { return }
        if let path { unsafe unlink(path) }
        Glibc.close(descriptor)
    }

    // MARK: TCP

    /// Listens on `port` of every address.
    ///
    /// - Parameters:
    ///   - addresses: numeric addresses or names; `*` for all of IPv4, `::*` for all of IPv6. One
    ///     with a leading `-` is left out when this machine does not have it. One whose protocol
    ///     the machine lacks is left out in any case. IPv6 sockets serve IPv6 only.
    ///   - port: 0 lets the system choose, for each address another one.
    ///   - backlog: connections that may wait to be accepted; the system has a bound of its own.
    ///   - keepAliveSeconds: silence after which the system probes a peer, at a third of it each;
    ///     0 for never.
    ///   - keepAliveProbes: unanswered probes after which a peer counts as dead.
    /// - Returns: at least one listener.
    /// - Throws: the first failure, after everything opened was closed again; `EADDRNOTAVAIL` when
    ///   every address was left out.
    package static func tcp(
        addresses: [String], port: UInt16, backlog: Int32, keepAliveSeconds: Int32,
        keepAliveProbes: Int32 = 3
    ) throws(SocketError) -> [Listener] {
        var listeners: [Listener] = []
        var omitted: SocketError?
        for text in addresses {
            let isOptional = text.hasPrefix("-")
            let name = isOptional ? String(text.dropFirst()) : text
            do {
                listeners.append(
                    try tcp(
                        name: name, port: port, backlog: backlog,
                        keepAliveSeconds: keepAliveSeconds, keepAliveProbes: keepAliveProbes))
            } catch {
                if protocolErrors.contains(error.code)
                    || isOptional && error.code == EADDRNOTAVAIL
                {
                    omitted = error
                    continue
                }
                for listener in listeners { listener.close() }
                throw error
            }
        }
        if listeners.isEmpty {
            throw omitted
                ?? SocketError(call: "bind", subject: "port \(port)", code: EADDRNOTAVAIL)
        }
        return listeners
    }

    /// The machine does not speak the address's protocol.
    private static let protocolErrors = [
        ENOPROTOOPT, EPROTONOSUPPORT, ESOCKTNOSUPPORT, EPFNOSUPPORT, EAFNOSUPPORT,
    ]

    private static func tcp(
        name: String, port: UInt16, backlog: Int32, keepAliveSeconds: Int32,
        keepAliveProbes: Int32
    ) throws(SocketError) -> Listener {
        let subject = "\(name):\(port)"
        let address = try lookUp(name: name, port: port)
        let descriptor = socket(
            address.family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | nonBlocking), 0)
        if descriptor < 0 { throw SocketError(call: "socket", subject: subject, code: errno) }
        do {
            try check("setsockopt", subject, set(descriptor, SOL_SOCKET, SO_REUSEADDR, 1))
            if address.family == AF_INET6 {
                try check(
                    "setsockopt", subject, set(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1))
            }
            // Linux hands these down to accepted connections, which saves five calls for each.
            try check("setsockopt", subject, set(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1))
            try check(
                "setsockopt", subject, setKeepAlive(descriptor, keepAliveSeconds, keepAliveProbes))
            try check("bind", subject, unsafe address.pass { unsafe bind(descriptor, $0, $1) })
            try check("listen", subject, Glibc.listen(descriptor, backlog))
        } catch {
            Glibc.close(descriptor)
            throw error
        }
        var bound = SocketAddress()
        _ = unsafe bound.fill { unsafe getsockname(descriptor, $0, $1) }
        return Listener(
            descriptor: descriptor, address: bound.text, port: bound.port, path: nil)
    }

    /// Changes the keepalive of connections accepted from now on; see `tcp`.
    package func setKeepAlive(seconds: Int32, probes: Int32) {
        if !isUnixSocket { _ = Self.setKeepAlive(descriptor, seconds, probes) }
    }

    private static func setKeepAlive(
        _ descriptor: Int32, _ seconds: Int32, _ probes: Int32
    ) -> Int32 {
        if seconds <= 0 { return set(descriptor, SOL_SOCKET, SO_KEEPALIVE, 0) }
        let level = Int32(IPPROTO_TCP)
        for (option, value) in [
            (TCP_KEEPIDLE, seconds), (TCP_KEEPINTVL, max(1, seconds / 3)), (TCP_KEEPCNT, probes),
        ] {
            let code = set(descriptor, level, option, value)
            if code != 0 { return code }
        }
        return set(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1)
    }

    private static func lookUp(name: String, port: UInt16) throws(SocketError) -> SocketAddress {
        var hints = unsafe addrinfo()
        unsafe hints.ai_family = name == "*" ? AF_INET : name == "::*" ? AF_INET6 : AF_UNSPEC
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        unsafe hints.ai_flags = AI_PASSIVE
        var found: UnsafeMutablePointer<addrinfo>?
        let host: String? = name == "*" || name == "::*" ? nil : name
        let code = unsafe getaddrinfo(host, String(port), &hints, &found)
        defer { if let found = unsafe found { unsafe freeaddrinfo(found) } }
        guard code == 0, let first = unsafe found, let address = unsafe first.pointee.ai_addr else {
            // The lookup has error numbers of its own; the nearest of the system's is given.
            let failure = code == EAI_SYSTEM ? errno : EADDRNOTAVAIL
            throw SocketError(call: "getaddrinfo", subject: "\(name):\(port)", code: failure)
        }
        return unsafe SocketAddress(copying: address, length: first.pointee.ai_addrlen)
    }

    // MARK: Unix socket

    /// Listens on a Unix socket.
    ///
    /// The file is never open to more than `permissions` allows: it is created closed to all others
    /// and given its mode before anybody can connect. A file left by a server that is gone is
    /// replaced; one with a living server, or that is no socket, is an error.
    ///
    /// - Parameters:
    ///   - path: at most 107 bytes.
    ///   - permissions: the file's mode; nil for what the process's mask leaves of 0777.
    ///   - backlog: as for `tcp`.
    /// - Returns: the listener; closing it removes the file.
    /// - Throws: `EADDRINUSE` when somebody listens there, `EEXIST` when it is no socket,
    ///   `ENAMETOOLONG` for the path, or what the system says.
    package static func unix(
        path: String, permissions: UInt32?, backlog: Int32
    ) throws(SocketError) -> Listener {
        guard let address = SocketAddress(path: path) else {
            throw SocketError(call: "bind", subject: path, code: ENAMETOOLONG)
        }
        try removeStale(path, address)
        let descriptor = socket(
            AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | nonBlocking), 0)
        if descriptor < 0 { throw SocketError(call: "socket", subject: path, code: errno) }
        let usual = umask(0o077)
        let status = unsafe address.pass { unsafe bind(descriptor, $0, $1) }
        let code = errno
        umask(usual)
        if status != 0 {
            Glibc.close(descriptor)
            throw SocketError(call: "bind", subject: path, code: code)
        }
        do {
            let mode = mode_t(permissions ?? 0o777 & ~UInt32(usual))
            try check("chmod", path, unsafe chmod(path, mode))
            try check("listen", path, Glibc.listen(descriptor, backlog))
        } catch {
            unsafe unlink(path)
            Glibc.close(descriptor)
            throw error
        }
        return Listener(descriptor: descriptor, address: path, port: 0, path: path)
    }

    private static func removeStale(
        _ path: String, _ address: SocketAddress
    ) throws(SocketError) {
        var status = stat()
        if unsafe lstat(path, &status) != 0 {
            if errno == ENOENT { return }
            throw SocketError(call: "lstat", subject: path, code: errno)
        }
        if status.st_mode & S_IFMT != S_IFSOCK {
            throw SocketError(call: "bind", subject: path, code: EEXIST)
        }
        let probe = socket(
            AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | nonBlocking), 0)
        if probe < 0 { throw SocketError(call: "socket", subject: path, code: errno) }
        defer { Glibc.close(probe) }
        // Only a refusal proves that nobody listens; a full backlog, for one, is a living server.
        let refused =
            unsafe address.pass { unsafe connect(probe, $0, $1) } != 0 && errno == ECONNREFUSED
        if !refused { throw SocketError(call: "bind", subject: path, code: EADDRINUSE) }
        if unsafe unlink(path) != 0 && errno != ENOENT {
            throw SocketError(call: "unlink", subject: path, code: errno)
        }
    }

    // MARK: Small things

    private static let nonBlocking = SOCK_NONBLOCK.rawValue

    private static func set(
        _ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32
    ) -> Int32 {
        var value = value
        return unsafe setsockopt(
            descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
    }

    private static func check(
        _ call: String, _ subject: String, _ status: Int32
    ) throws(SocketError) {
        if status != 0 { throw SocketError(call: call, subject: subject, code: errno) }
    }
}
