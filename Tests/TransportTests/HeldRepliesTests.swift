//  Replies that wait for those of the other ready connections: nobody's is lost, mixed up or overtaken.

import Glibc
import MartletBase
import Testing

@testable import MartletTransport

@Suite struct HeldRepliesTests {
    @Test func `of many connections ready at once each gets its own reply`() throws {
        let bench = try LoopBench()
        let peers = try (0..<(3 * TransportLimits.heldRepliesMax + 1)).map { _ in
            try bench.connect()
        }
        for (index, peer) in peers.enumerated() { peer.send("from \(index)") }
        bench.settle(iterations: 1)
        for (index, peer) in peers.enumerated() { #expect(peer.receiveText() == "from \(index)") }
    }

    @Test func `a long reply does not displace the short ones before it`() throws {
        let bench = try LoopBench()
        let long = patterned(TransportLimits.heldBytesMax + 1)
        bench.handler.onReceived = { _, index, input in
            (index == 2 ? long : input, Outcome(consumed: input.count))
        }
        let peers = try (0..<3).map { _ in try bench.connect() }
        for peer in peers { peer.send("x") }
        bench.settle(iterations: 1)
        #expect(peers[0].receiveText() == "x")
        #expect(bench.read(long.count, from: peers[1]) == long)
        #expect(peers[2].receiveText() == "x")
    }

    @Test func `a pausing connection's reply goes out with those before it`() throws {
        let bench = try LoopBench()
        bench.handler.onReceived = { _, index, input in
            (input, Outcome(consumed: input.count, next: index == 2 ? .pause : .readOn))
        }
        let peers = try (0..<3).map { _ in try bench.connect() }
        for peer in peers { peer.send("y") }
        bench.settle(iterations: 1)
        for peer in peers { #expect(peer.receiveText() == "y") }
    }

    @Test func `bytes appended for a connection follow the reply it holds`() throws {
        let bench = try LoopBench()
        bench.handler.onReceived = { handler, index, input in
            if index == 2 { "pushed".withView { handler.connections[1]?.append($0) } }
            return (input, Outcome(consumed: input.count))
        }
        let first = try bench.connect()
        let second = try bench.connect()
        first.send("reply ")
        second.send("z")
        bench.settle(iterations: 1)
        #expect(first.receiveText() == "reply pushed")
        #expect(second.receiveText() == "z")
    }

    @Test func `a connection closed behind its replies gets the one it holds`() throws {
        let bench = try LoopBench()
        bench.handler.onReceived = { handler, index, input in
            if index == 2 { handler.connections[1]?.close(afterFlush: true) }
            return (input, Outcome(consumed: input.count))
        }
        let first = try bench.connect()
        let second = try bench.connect()
        first.send("last words")
        second.send("z")
        bench.settle()
        #expect(first.receiveText() == "last words")
        #expect(bench.handler.closed == [1])
    }

    @Test func `what a full socket does not take of a held reply follows later`() throws {
        let bench = try LoopBench()
        let reply = patterned(10_000)
        bench.handler.onReceived = { _, _, input in (reply, Outcome(consumed: input.count)) }
        let slow = try bench.connect()
        let other = try bench.connect()
        let rounds = 100
        for _ in 0..<rounds {
            slow.send("s")
            other.send("o")
            bench.settle(iterations: 1)
            #expect(bench.read(reply.count, from: other) == reply)
        }
        #expect(bench.handler.connections[1]?.pendingOutputBytes ?? 0 > 0)
        let all = bench.read(rounds * reply.count, from: slow)
        #expect(all == Array(repeatElement(reply, count: rounds).joined()))
    }
}
