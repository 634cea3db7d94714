//  The floor of every comparison: a server that answers without parsing.
//
//  It does what no server of this kind can avoid, and nothing else: wait on epoll, receive, send
//  once for everything received. It learns how many requests a read holds in the cheapest honest
//  way there is: it is told the length of a request, all requests of a run being equally long, and
//  divides. It does not even look at the bytes. When lengths differ, it counts `*` with memchr
//  instead; the generator's values hold none, so every `*` begins a request.
//
//  Raw memory: `input` receives, `replies` holds the reply over and over so that any number of
//  them is one contiguous piece. What a slow reader has not taken is only a number of bytes owed,
//  since its place in the endless row of replies follows from it.

import CSystem
import Glibc

/// How the floor server tells how many requests it received.
package enum RequestCounting: Sendable, Equatable {
    /// Every request has this many bytes.
    case length(Int)
    /// Every request contains one `*`.
    case stars
}

/// Serves on 127.0.0.1 until the process is ended.
@safe
package struct FloorServer: ~Copyable {
    private static let inputBytes = 64 * 1024
    private static let descriptorsMax = 65536

    /// One per descriptor.
    private struct Client {
        /// Bytes of a request that is not there in full.
        var partial = 0
        /// Bytes of replies not yet sent.
        var owed = 0
    }

    private let listener: Int32
    private let epoll: Int32
    private let counting: RequestCounting
    private let input: UnsafeMutableRawPointer
    private let replies: UnsafeMutableRawPointer
    private let replyBytes: Int
    private let rowBytes: Int
    private let clients: UnsafeMutablePointer<Client>

    /// Listens on `port`.
    ///
    /// - Parameters:
    ///   - port: of 127.0.0.1.
    ///   - counting: how requests are told apart.
    ///   - reply: sent for each request; at least one byte.
    /// - Throws: `.system` when the port is taken.
    package init(port: Int, counting: RequestCounting, reply: [UInt8]) throws(BenchmarkError) {
        self.counting = counting
        listener = try listen(port: port)
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        replyBytes = max(1, reply.count)
        let row = max(1, 256 * 1024 / replyBytes)
        rowBytes = row * replyBytes
        unsafe input = .allocate(byteCount: FloorServer.inputBytes, alignment: 64)
        unsafe replies = .allocate(byteCount: rowBytes, alignment: 64)
        for index in 0..<rowBytes {
            unsafe replies.storeBytes(
                of: reply.isEmpty ? 10 : reply[index % replyBytes], toByteOffset: index,
                as: UInt8.self)
        }
        unsafe clients = .allocate(capacity: FloorServer.descriptorsMax)
        unsafe clients.initialize(repeating: Client(), count: FloorServer.descriptorsMax)
    }

    deinit {
        unsafe input.deallocate()
        unsafe replies.deallocate()
        unsafe clients.deallocate()
        close(listener)
        close(epoll)
    }

    /// Accepts and answers; returns only when epoll fails.
    package mutating func run() -> BenchmarkError {
        watch(listener, EPOLLIN.rawValue, EPOLL_CTL_ADD)
        let events = UnsafeMutablePointer<epoll_event>.allocate(capacity: 1024)
        defer { unsafe events.deallocate() }
        while true {
            let ready = unsafe epoll_wait(epoll, events, 1024, -1)
            if ready < 0 && errno != EINTR {
                return .system(call: "epoll_wait", errorNumber: errno)
            }
            for index in 0..<max(0, Int(ready)) {
                let event = unsafe events[index]
                let descriptor = unsafe event.data.fd
                if descriptor == listener {
                    accept()
                } else if unsafe event.events & EPOLLOUT.rawValue != 0 {
                    pay(descriptor, wasWaiting: true)
                } else {
                    serve(descriptor)
                }
            }
        }
    }

    private mutating func accept() {
        let descriptor = accept4(
            listener, nil, nil, Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue))
        guard descriptor >= 0 else { return }
        guard Int(descriptor) < FloorServer.descriptorsMax else {
            close(descriptor)
            return
        }
        var on: Int32 = 1
        unsafe setsockopt(
            descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
        unsafe clients[Int(descriptor)] = Client()
        watch(descriptor, EPOLLIN.rawValue, EPOLL_CTL_ADD)
    }

    @inline(__always)
    private mutating func serve(_ descriptor: Int32) {
        let got = unsafe recv(descriptor, input, FloorServer.inputBytes, 0)
        if got <= 0 {
            if got < 0 && (errno == EAGAIN || errno == EINTR) { return }
            close(descriptor)
            return
        }
        let client = unsafe clients + Int(descriptor)
        let requests: Int
        switch counting {
        case .length(let length):
            let received = unsafe client.pointee.partial &+ got
            requests = received / length
            unsafe client.pointee.partial = received &- requests &* length
        case .stars:
            requests = countStars(got)
        }
        if requests == 0 { return }
        unsafe client.pointee.owed &+= requests &* replyBytes
        pay(descriptor, wasWaiting: false)
    }

    @inline(__always)
    private func countStars(_ count: Int) -> Int {
        var stars = 0
        var at = 0
        while at < count, let found = unsafe memchr(input + at, 42, count &- at) {
            stars &+= 1
            at = unsafe UnsafeMutableRawPointer(found) - input + 1
        }
        return stars
    }

    /// Sends what is owed, as far as the socket takes it.
    @inline(__always)
    private mutating func pay(_ descriptor: Int32, wasWaiting: Bool) {
        let client = unsafe clients + Int(descriptor)
        var owed = unsafe client.pointee.owed
        while owed > 0 {
            // The row is endless: what is owed ends at the end of a reply.
            let begun = owed % replyBytes
            let offset = begun == 0 ? 0 : replyBytes &- begun
            let length = min(owed, rowBytes &- offset)
            let written = unsafe send(
                descriptor, replies + offset, length, Int32(MSG_NOSIGNAL))
            if written <= 0 { break }
            owed &-= written
            if written < length { break }
        }
        unsafe client.pointee.owed = owed
        // A client that does not read is not read from either.
        if owed > 0 {
            watch(descriptor, EPOLLOUT.rawValue, EPOLL_CTL_MOD)
        } else if wasWaiting {
            watch(descriptor, EPOLLIN.rawValue, EPOLL_CTL_MOD)
        }
    }

    /// A descriptor that cannot be watched was closed by its peer; epoll forgets it by itself.
    private func watch(_ descriptor: Int32, _ interest: UInt32, _ operation: Int32) {
        var event = unsafe epoll_event()
        unsafe event.events = interest
        unsafe event.data.fd = descriptor
        unsafe epoll_ctl(epoll, operation, descriptor, &event)
    }
}

/// A listening socket on 127.0.0.1; port 0 lets the system choose.
private func listen(port: Int) throws(BenchmarkError) -> Int32 {
    let descriptor = socket(
        AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw .system(call: "socket", errorNumber: errno) }
    var on: Int32 = 1
    unsafe setsockopt(
        descriptor, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
    let status = unsafe withUnsafePointer(to: &address) { pointer in
        unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
            unsafe bind(descriptor, generic, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
    guard status == 0, Glibc.listen(descriptor, 1024) == 0 else {
        let reason = errno
        close(descriptor)
        throw .system(call: "listening on 127.0.0.1:\(port)", errorNumber: reason)
    }
    return descriptor
}

/// A port of 127.0.0.1 on which nothing listens now.
package func freePort() throws(BenchmarkError) -> Int {
    let descriptor = try listen(port: 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let status = unsafe withUnsafeMutablePointer(to: &address) { pointer in
        unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
            unsafe getsockname(descriptor, generic, &length)
        }
    }
    guard status == 0 else { throw .system(call: "getsockname", errorNumber: errno) }
    return Int(UInt16(bigEndian: address.sin_port))
}
