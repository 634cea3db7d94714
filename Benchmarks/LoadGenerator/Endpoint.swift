//  Where a server listens, and how a connection to it is made and greeted.
//
//  Raw memory: the list that the resolver allocates is walked and freed within one function.

import CSystem
import Glibc

/// A server's address.
package enum Endpoint: Sendable, Equatable {
    case tcp(host: String, port: Int)
    case unix(path: String)

    package var text: String {
        switch self {
        case .tcp(let host, let port): "\(host):\(port)"
        case .unix(let path): path
        }
    }

    /// Whether the server runs on this machine, as far as the address tells.
    package var isLocal: Bool {
        switch self {
        case .tcp(let host, _): host == "localhost" || host == "::1" || host.hasPrefix("127.")
        case .unix: true
        }
    }

    /// Reads `host:port`, `[v6]:port`, `port` or the path of a Unix socket.
    ///
    /// - Throws: `.usage` when it is none of these.
    package init(parsing text: String) throws(BenchmarkError) {
        if text.hasPrefix("/") || text.hasPrefix("./") {
            self = .unix(path: text)
            return
        }
        let colon = text.lastIndex(of: ":")
        let portText = colon.map { String(text[text.index(after: $0)...]) } ?? text
        guard let port = Int(portText), (1...65535).contains(port) else {
            throw .usage("'\(text)' is not host:port, a port or the path of a socket")
        }
        var host = colon.map { String(text[..<$0]) } ?? "127.0.0.1"
        if host.hasPrefix("[") && host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        self = .tcp(host: host.isEmpty ? "127.0.0.1" : host, port: port)
    }

    /// Opens a blocking connection.
    ///
    /// - Returns: a descriptor that the caller closes.
    /// - Throws: `.unreachable` with the address and the system's reason.
    func connect() throws(BenchmarkError) -> Int32 {
        switch self {
        case .tcp(let host, let port): try connectTCP(host, port)
        case .unix(let path): try connectUnix(path)
        }
    }

    private func refused(_ reason: String) -> BenchmarkError {
        .unreachable("cannot connect to \(text): \(reason)")
    }

    private func connectTCP(_ host: String, _ port: Int) throws(BenchmarkError) -> Int32 {
        var hints = unsafe addrinfo()
        unsafe hints.ai_family = AF_UNSPEC
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        let status = unsafe getaddrinfo(host, String(port), &hints, &found)
        guard status == 0 else { throw refused(unsafe String(cString: gai_strerror(status))) }
        defer { unsafe freeaddrinfo(found) }
        var reason = "no address"
        var next = unsafe found
        while let candidate = unsafe next {
            let info = unsafe candidate.pointee
            let descriptor = unsafe socket(info.ai_family, info.ai_socktype, 0)
            if descriptor < 0 { throw .system(call: "socket", errorNumber: errno) }
            if unsafe Glibc.connect(descriptor, info.ai_addr, info.ai_addrlen) == 0 {
                var on: Int32 = 1
                unsafe setsockopt(
                    descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on,
                    socklen_t(MemoryLayout<Int32>.size))
                return descriptor
            }
            reason = systemMessage(errno)
            close(descriptor)
            unsafe next = info.ai_next
        }
        throw refused(reason)
    }

    private func connectUnix(_ path: String) throws(BenchmarkError) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        let room = MemoryLayout.size(ofValue: address.sun_path)
        guard bytes.count < room else { throw refused("the path is longer than \(room - 1) bytes") }
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        if descriptor < 0 { throw .system(call: "socket", errorNumber: errno) }
        let status = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                unsafe Glibc.connect(
                    descriptor, generic, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard status == 0 else {
            let reason = systemMessage(errno)
            close(descriptor)
            throw refused(reason)
        }
        return descriptor
    }
}

/// What a connection says before its first request.
package struct Greeting: Sendable, Equatable {
    package var user: String?
    package var password: String?
    package var respVersion = 2
    package var database = 0

    package init() {}

    /// The commands of the greeting; none for a plain RESP2 connection without a password.
    var commands: [[String]] {
        var commands: [[String]] = []
        let credentials = password.map { [user ?? "default", $0] }
        if respVersion == 3 {
            commands.append(["HELLO", "3"] + (credentials.map { ["AUTH"] + $0 } ?? []))
        } else if let password {
            commands.append(["AUTH"] + (user.map { [$0] } ?? []) + [password])
        }
        if database != 0 { commands.append(["SELECT", String(database)]) }
        return commands
    }
}
