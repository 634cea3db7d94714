//  Loops on threads of their own: mailbox, many connections, listeners, the orderly end. Waiting is
//  by blocking on sockets and joins; the deadline only turns a hang into a failure.

import CSystem
import Glibc
import MartletBase
import Testing

@testable import MartletTransport

/// Echoes; safe to create on one thread and use on the loop's.
private func echoLoop() throws -> (EventLoop, ScriptedHandler) {
    let handler = ScriptedHandler()
    return (try EventLoop(handler: handler), handler)
}

/// A blocking client that gives up after a generous while.
private final class Client {
    let descriptor: Int32

    init(port: UInt16) throws {
        let address = try #require(SocketAddress(ipv4Loopback: port))
        descriptor = try Self.connected(AF_INET, address)
    }

    init(path: String) throws {
        let address = try #require(SocketAddress(path: path))
        descriptor = try Self.connected(AF_UNIX, address)
    }

    private static func connected(_ family: Int32, _ address: SocketAddress) throws -> Int32 {
        let descriptor = socket(family, Int32(SOCK_STREAM.rawValue), 0)
        guard unsafe address.pass({ unsafe connect(descriptor, $0, $1) }) == 0 else {
            let code = errno
            Glibc.close(descriptor)
            throw SocketError(call: "connect", subject: address.text, code: code)
        }
        var patience = timeval(tv_sec: 60, tv_usec: 0)
        unsafe setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience,
            socklen_t(MemoryLayout<timeval>.size))
        return descriptor
    }

    deinit { Glibc.close(descriptor) }

    func send(_ bytes: [UInt8]) {
        _ = unsafe Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }

    /// Reads until `count` bytes are there or the server has closed.
    func receive(_ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        var room = [UInt8](repeating: 0, count: 4_096)
        while bytes.count < count {
            let got = unsafe recv(descriptor, &room, min(room.count, count - bytes.count), 0)
            if got <= 0 { break }
            bytes += room.prefix(got)
        }
        return bytes
    }
}

extension SocketAddress {
    fileprivate init?(ipv4Loopback port: UInt16) {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        self = unsafe withUnsafeBytes(of: &address) { bytes in
            guard let base = bytes.baseAddress else { return SocketAddress() }
            return unsafe SocketAddress(
                copying: base.assumingMemoryBound(to: sockaddr.self), length: size)
        }
    }
}

private func tcp(_ addresses: [String], port: UInt16 = 0) throws -> [Listener] {
    try Listener.tcp(addresses: addresses, port: port, backlog: 511, keepAliveSeconds: 300)
}

@Suite struct EventLoopTests {
    @Test func `work posted from many threads is all done, in each thread's order`() throws {
        let (loop, _) = try echoLoop()
        try loop.start()
        let producers = 8
        let perProducer = 1_000
        var threads: [pthread_t] = []
        let log = LogBox()
        for producer in 0..<producers {
            let job = Job {
                for step in 0..<perProducer {
                    loop.post { log.append(producer * perProducer + step) }
                }
            }
            var thread = pthread_t()
            unsafe pthread_create(
                &thread, nil,
                { argument in
                    if let argument = unsafe argument {
                        unsafe Unmanaged<Job>.fromOpaque(argument).takeRetainedValue().run()
                    }
                    return nil
                }, Unmanaged.passRetained(job).toOpaque())
            threads.append(thread)
        }
        for thread in threads { pthread_join(thread, nil) }
        loop.stop()
        loop.join()
        let all = log.values
        #expect(all.count == producers * perProducer)
        for producer in 0..<producers {
            let own = all.filter { $0 / perProducer == producer }
            #expect(own == own.sorted())
        }
    }

    @Test func `a thousand connections spread over the loops and are all served`() throws {
        let loops = try (0..<3).map { _ in try echoLoop().0 }
        let group = LoopGroup(loops)
        let listeners = try tcp(["127.0.0.1"])
        try group.start()
        group.listen(on: listeners)
        let clients = try (0..<1_000).map { _ in try Client(port: listeners[0].port) }
        for (index, client) in clients.enumerated() {
            client.send([UInt8(index & 255), UInt8(index >> 8)])
        }
        for (index, client) in clients.enumerated() {
            #expect(client.receive(2) == [UInt8(index & 255), UInt8(index >> 8)])
        }
        let counts = loops.map { $0.counters.connections.load(ordering: .relaxed) }
        #expect(counts.reduce(0, +) == 1_000)
        #expect(counts.allSatisfy { $0 >= 333 })
        // Until here they are connected: a release build would let go of them after their last use.
        withExtendedLifetime(clients) {}
        group.stop()
        group.join()
        #expect(loops.allSatisfy { $0.counters.connections.load(ordering: .relaxed) == 0 })
    }

    @Test func `draining flushes the replies of a slow reader and ends`() throws {
        let (loop, handler) = try echoLoop()
        let reply = patterned(8_000_000)
        handler.onReceived = { _, _, input in (reply, Outcome(consumed: input.count)) }
        let group = LoopGroup([loop])
        let listeners = try tcp(["127.0.0.1"])
        try group.start()
        group.listen(on: listeners)
        let client = try Client(port: listeners[0].port)
        client.send([1])
        #expect(client.receive(1).count == 1)
        group.drain(graceMilliseconds: 60_000)
        #expect(client.receive(reply.count).count == reply.count - 1)
        group.join()
        #expect(handler.closed == [1])
        #expect(throws: SocketError.self) { try Client(port: listeners[0].port) }
    }

    @Test func `draining goes on with a connection that had let others have their turn`() throws {
        let bench = try LoopBench()
        // One byte is served at a time.
        bench.handler.onReceived = { handler, _, input in
            if input.count == 1 { return (input, Outcome(consumed: 1)) }
            handler.last?.resume()
            return ([input[0]], Outcome(consumed: 1, next: .pause))
        }
        let peer = try bench.connect()
        peer.send("abcdef")
        bench.settle(iterations: 2)
        bench.loop.drain(graceMilliseconds: 60_000)
        bench.settle(iterations: 20)
        #expect(peer.receiveText() == "abcdef")
        #expect(bench.handler.closed == [1])
        _ = peer.receive()
        #expect(peer.sawEnd)
    }

    @Test func `the grace time ends a drain that a peer holds up`() throws {
        let bench = try LoopBench()
        bench.handler.onReceived = { _, _, input in
            (patterned(5_000_000), Outcome(consumed: input.count))
        }
        let peer = try bench.connect()
        peer.send("x")
        bench.settle()
        bench.loop.drain(graceMilliseconds: 1_000)
        bench.settle()
        #expect(bench.handler.closed.isEmpty)
        bench.time.advance(milliseconds: 1_001)
        bench.settle(iterations: 1)
        #expect(bench.handler.closed == [1])
    }

    @Test func `a loop that never ran closes what it was given`() throws {
        var bench: LoopBench? = try LoopBench()
        let peer = try #require(try bench?.connect())
        bench?.loop.stop()
        bench = nil
        _ = peer.receive()
        #expect(peer.sawEnd)
    }

    @Test func `a listener that fails rests instead of spinning`() throws {
        let bench = try LoopBench()
        let listeners = try tcp(["127.0.0.1"])
        LoopGroup([bench.loop]).listen(on: listeners)
        bench.settle()
        // Stands in for a full descriptor table, which the whole test process would suffer from:
        // ready all the time, and each accept fails.
        shutdown(listeners[0].descriptor, Int32(SHUT_RD))
        bench.settle(iterations: 20)
        #expect(bench.handler.events == ["accept \(EINVAL)"])
        bench.time.advance(milliseconds: 101)
        bench.settle(iterations: 20)
        #expect(bench.handler.events.count == 2)
    }
}

/// What a thread of a test does.
private final class Job: Sendable {
    let run: @Sendable () -> Void

    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}

/// What a loop's thread writes down, read after it was joined.
private final class LogBox: @unchecked Sendable {
    // Unchecked: the loop's thread alone appends; the join orders the reading after it.
    private(set) var values: [Int] = []

    func append(_ value: Int) { values.append(value) }
}

@Suite struct ListenerTests {
    @Test func `addresses of both protocols listen, and IPv6 leaves IPv4 alone`() throws {
        let first = try tcp(["127.0.0.1"])
        #expect(first[0].address == "127.0.0.1:\(first[0].port)")
        let second = try tcp(["::1"], port: first[0].port)
        #expect(second[0].address == "[::1]:\(first[0].port)")
        let wildcards = try tcp(["*", "::*"])
        #expect(wildcards.map(\.isUnixSocket) == [false, false])
    }

    @Test func `an address this machine lacks is an error unless it is optional`() throws {
        #expect {
            try tcp(["203.0.113.77"])
        } throws: { error in
            guard let error = error as? SocketError else { return false }
            return error.call == "bind" && error.code == EADDRNOTAVAIL
                && error.description.contains("203.0.113.77")
        }
        #expect(try tcp(["127.0.0.1", "-203.0.113.77"]).count == 1)
        #expect(throws: SocketError.self) { try tcp(["-203.0.113.77"]) }
    }

    @Test func `a port in use is an error that says so`() throws {
        let taken = try tcp(["127.0.0.1"])
        #expect {
            try tcp(["127.0.0.1"], port: taken[0].port)
        } throws: { error in
            "\(error)" == "127.0.0.1:\(taken[0].port): bind: Address already in use"
        }
    }

    @Test func `accepted connections do not delay and are kept alive`() throws {
        let bench = try LoopBench()
        let listeners = try tcp(["127.0.0.1"])
        LoopGroup([bench.loop]).listen(on: listeners)
        bench.settle()
        let client = try Client(port: listeners[0].port)
        bench.settle()
        let connection = try #require(bench.handler.last)
        func option(_ level: Int32, _ name: Int32) -> Int32 {
            var value: Int32 = -1
            var size = socklen_t(MemoryLayout<Int32>.size)
            unsafe getsockopt(connection.descriptor, level, name, &value, &size)
            return value
        }
        #expect(option(Int32(IPPROTO_TCP), TCP_NODELAY) != 0)
        #expect(option(SOL_SOCKET, SO_KEEPALIVE) != 0)
        #expect(option(Int32(IPPROTO_TCP), TCP_KEEPIDLE) == 300)
        #expect(option(Int32(IPPROTO_TCP), TCP_KEEPINTVL) == 100)
        #expect(option(Int32(IPPROTO_TCP), TCP_KEEPCNT) == 3)
        #expect(connection.isLoopback)
        #expect(!connection.isUnixSocket)
        #expect(connection.localAddress == listeners[0].address)
        #expect(connection.peerAddress.hasPrefix("127.0.0.1:"))
        withExtendedLifetime(client) {}
    }

    @Test func `a Unix socket has its permissions and its file goes with it`() throws {
        let path = "/tmp/transport-\(getpid())-a.sock"
        let listener = try Listener.unix(path: path, permissions: 0o770, backlog: 16)
        var status = stat()
        #expect(unsafe lstat(path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o770)

        let bench = try LoopBench()
        LoopGroup([bench.loop]).listen(on: [listener])
        bench.settle()
        let client = try Client(path: path)
        client.send([5])
        bench.settle()
        #expect(client.receive(1) == [5])
        #expect(bench.handler.last?.isUnixSocket == true)
        #expect(bench.handler.last?.peerAddress == path + ":0")
        bench.loop.stop()
        bench.settle(iterations: 1)
        #expect(unsafe lstat(path, &status) != 0)
    }

    @Test func `only a dead server's socket file is replaced`() throws {
        let path = "/tmp/transport-\(getpid())-b.sock"
        defer { unsafe unlink(path) }
        let address = try #require(SocketAddress(path: path))
        let dead = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        #expect(unsafe address.pass { unsafe bind(dead, $0, $1) } == 0)
        Glibc.close(dead)
        let listener = try Listener.unix(path: path, permissions: nil, backlog: 16)
        #expect {
            try Listener.unix(path: path, permissions: nil, backlog: 16)
        } throws: { ($0 as? SocketError)?.code == EADDRINUSE }
        listener.close()

        let plain = unsafe open(path, O_CREAT | O_WRONLY, 0o600)
        Glibc.close(plain)
        #expect {
            try Listener.unix(path: path, permissions: nil, backlog: 16)
        } throws: { ($0 as? SocketError)?.code == EEXIST }
        #expect(throws: SocketError.self) {
            try Listener.unix(
                path: String(repeating: "x", count: 108), permissions: nil, backlog: 16)
        }
    }
}
