//  The handler and the sockets the transport's tests share.

import CSystem
import Glibc
import MartletBase

@testable import MartletTransport

/// A handler whose answers a test chooses. Context n is the n-th connection opened.
final class ScriptedHandler: ConnectionHandler {
    /// What to do with bytes; echoes them unless told otherwise.
    var onReceived: (ScriptedHandler, Int, [UInt8]) -> (reply: [UInt8], Outcome) = { _, _, input in
        (input, Outcome(consumed: input.count))
    }
    var greeting: [UInt8] = []
    var refuses = false
    var closesOnHangUp = true
    var sleepMilliseconds: Int32 = -1
    /// The position that a test has told the loop of.
    var released: UInt64 = 0

    private(set) var connections: [Int: ConnectionReference] = [:]
    private(set) var openedCount = 0
    private(set) var closed: [Int] = []
    private(set) var events: [String] = []
    private(set) var receivedCalls = 0

    var last: ConnectionReference? { connections[openedCount] }

    func opened(
        _ connection: ConnectionReference, output: inout ByteBuffer
    ) -> UnsafeMutableRawPointer? {
        greeting.withView { output.append($0) }
        if refuses { return nil }
        openedCount += 1
        connections[openedCount] = connection
        return unsafe UnsafeMutableRawPointer(bitPattern: openedCount)
    }

    func received(
        _ context: UnsafeMutableRawPointer, input: ByteView, output: inout ByteBuffer
    ) -> Outcome {
        receivedCalls += 1
        let (reply, outcome) = onReceived(self, Int(bitPattern: context), input.bytes)
        reply.withView { output.append($0) }
        return outcome
    }

    func closed(_ context: UnsafeMutableRawPointer) {
        let index = Int(bitPattern: context)
        closed.append(index)
        connections[index] = nil
    }

    func iterationBegan() {}
    func iterationEnded() -> Int32 { sleepMilliseconds }
    func acceptFailed(errno: Int32) { events.append("accept \(errno)") }
    func outputLimitExceeded(_ context: UnsafeMutableRawPointer) { events.append("output") }
    func inputLimitExceeded(_ context: UnsafeMutableRawPointer) { events.append("input") }
    func idleLimitExceeded(_ context: UnsafeMutableRawPointer) { events.append("idle") }
    func hungUpWhilePaused(_ context: UnsafeMutableRawPointer) -> Bool {
        events.append("hung up")
        return closesOnHangUp
    }
}

/// A loop driven by the test's own thread, and the far ends of its connections.
final class LoopBench {
    let handler = ScriptedHandler()
    let time = VirtualTime(wallMilliseconds: 1_700_000_000_000)
    let loop: EventLoop
    private var peers: [Peer] = []

    init() throws {
        let time = time
        loop = try EventLoop(
            handler: handler, clock: { UInt64(time.clock.monotonicMilliseconds()) })
    }

    /// A new connection of the loop; the other end is returned.
    func connect() throws -> Peer {
        var pair: [Int32] = [-1, -1]
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        guard unsafe socketpair(AF_UNIX, kind, 0, &pair) == 0 else {
            throw SocketError(call: "socketpair", subject: "test", code: errno)
        }
        loop.adopt(pair[0], isUnixSocket: true, isLoopback: true)
        let peer = Peer(pair[1])
        peers.append(peer)
        return peer
    }

    /// Iterates without waiting, often enough for all that can happen to happen.
    func settle(iterations: Int = 4) {
        for _ in 0..<iterations { loop.iterate(sleepMillisecondsMax: 0) }
    }

    /// Iterates and reads until `count` bytes have come or the peer was closed.
    func read(_ count: Int, from peer: Peer) -> [UInt8] {
        var bytes: [UInt8] = []
        var idleRounds = 0
        while bytes.count < count && idleRounds < 1_000 {
            settle(iterations: 1)
            let more = peer.receive()
            if more.isEmpty { idleRounds += 1 } else { idleRounds = 0 }
            bytes += more
        }
        return bytes
    }
}

/// The client's end of a connection, non-blocking.
final class Peer {
    let descriptor: Int32
    private(set) var sawEnd = false
    private var isOpen = true

    init(_ descriptor: Int32) {
        self.descriptor = descriptor
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    }

    deinit { close() }

    func close() {
        if isOpen { Glibc.close(descriptor) }
        isOpen = false
    }

    /// Ends the sending side.
    func endSending() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// Sends what the socket takes; returns how much that was.
    @discardableResult
    func send(_ bytes: some Collection<UInt8>) -> Int {
        let bytes = Array(bytes)
        return max(0, unsafe Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)))
    }

    @discardableResult
    func send(_ text: String) -> Int { send(Array(text.utf8)) }

    /// What is there now, up to 64 KB.
    func receive() -> [UInt8] {
        var room = [UInt8](repeating: 0, count: 64 << 10)
        let count = unsafe recv(descriptor, &room, room.count, 0)
        if count == 0 || count < 0 && errno != EAGAIN { sawEnd = true }
        return Array(room.prefix(max(0, count)))
    }

    func receiveText() -> String { String(decoding: receive(), as: UTF8.self) }
}

/// `count` bytes that repeat with a period prime to every buffer size, so that a lost or doubled
/// byte shows.
func patterned(_ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: ($0 % 65_521) &* 31 &+ ($0 >> 8)) }
}
