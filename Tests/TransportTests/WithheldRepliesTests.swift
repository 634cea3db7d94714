//  Replies that wait for the log: none leaves early, none is overtaken, none is lost.

import Glibc
import MartletBase
import Testing

@testable import MartletTransport

@Suite struct WithheldRepliesTests {
    /// Echoes; each letter is a reply of its own that waits for `positions[letter]`.
    private func withholding(_ positions: [Character: UInt64]) throws -> LoopBench {
        let bench = try LoopBench()
        bench.handler.onReceived = { handler, index, input in
            let letters = String(decoding: input, as: UTF8.self)
            let waits = letters.map { positions[$0] ?? 0 }
            if waits.contains(where: { $0 > handler.released }) {
                for position in waits {
                    handler.connections[index]?.withhold(
                        bytes: 1, until: position, isRevocable: true)
                }
            }
            return (input, Outcome(consumed: input.count))
        }
        return bench
    }

    private func release(_ bench: LoopBench, upTo position: UInt64) {
        bench.handler.released = position
        bench.loop.release(upTo: position)
        bench.settle()
    }

    @Test func `a reply leaves when its position is durable and not before`() throws {
        let bench = try withholding(["w": 10])
        let peer = try bench.connect()
        peer.send("w")
        bench.settle()
        #expect(peer.receive().isEmpty)
        release(bench, upTo: 9)
        #expect(peer.receive().isEmpty)
        release(bench, upTo: 10)
        #expect(peer.receiveText() == "w")
        #expect(!bench.loop.isWithholding)
    }

    @Test func `the replies before the first that waits leave at once, those behind it with it`()
        throws
    {
        let bench = try withholding(["w": 10, "v": 20])
        let peer = try bench.connect()
        peer.send("abwcvd")
        bench.settle()
        #expect(peer.receiveText() == "ab")
        peer.send("e")
        bench.settle()
        #expect(peer.receive().isEmpty)
        release(bench, upTo: 15)
        #expect(peer.receiveText() == "wc")
        release(bench, upTo: 20)
        #expect(peer.receiveText() == "vde")
        peer.send("f")
        bench.settle()
        #expect(peer.receiveText() == "f")
    }

    @Test func `others are answered meanwhile`() throws {
        let bench = try withholding(["w": 10])
        let writer = try bench.connect()
        let reader = try bench.connect()
        writer.send("w")
        reader.send("r")
        bench.settle()
        #expect(writer.receive().isEmpty)
        #expect(reader.receiveText() == "r")
    }

    @Test func `what is durable already is not withheld`() throws {
        let bench = try withholding(["w": 10])
        let peer = try bench.connect()
        bench.loop.release(upTo: 10)
        // The handler does not know yet.
        peer.send("w")
        bench.settle()
        #expect(peer.receiveText() == "w")
        #expect(!bench.loop.isWithholding)
    }

    @Test func `bytes pushed to a connection follow its replies and wait for their own position`()
        throws
    {
        let bench = try withholding(["w": 10])
        let peer = try bench.connect()
        let other = try bench.connect()
        peer.send("w")
        bench.settle()
        "p".withView { bench.handler.connections[1]?.append($0, until: 5) }
        "q".withView { bench.handler.connections[1]?.send($0, until: 12) }
        "o".withView { bench.handler.connections[2]?.send($0, until: 11) }
        bench.settle()
        release(bench, upTo: 10)
        #expect(peer.receiveText() == "wp")
        #expect(other.receive().isEmpty)
        release(bench, upTo: 12)
        #expect(peer.receiveText() == "q")
        #expect(other.receiveText() == "o")
    }

    @Test func `an error takes the place of each reply that never becomes durable`() throws {
        let bench = try withholding(["w": 10, "v": 20])
        let peer = try bench.connect()
        peer.send("awxv")
        bench.settle()
        "p".withView { bench.handler.connections[1]?.append($0, until: 30) }
        bench.loop.revokeWithheld(ByteView("!"))
        bench.settle()
        #expect(peer.receiveText() == "a!x!p")
        #expect(!bench.loop.isWithholding)
    }

    @Test func `a connection that closes behind its replies waits for them`() throws {
        let bench = try withholding(["w": 10])
        let peer = try bench.connect()
        peer.send("w")
        bench.settle()
        peer.endSending()
        bench.settle()
        #expect(bench.handler.closed.isEmpty)
        release(bench, upTo: 10)
        #expect(peer.receiveText() == "w")
        #expect(bench.handler.closed == [1])
    }

    @Test func `a connection that is gone is forgotten with what it withheld`() throws {
        let bench = try withholding(["w": 10])
        let peer = try bench.connect()
        peer.send("w")
        bench.settle()
        bench.handler.connections[1]?.close(afterFlush: false)
        bench.settle()
        #expect(bench.handler.closed == [1])
        #expect(!bench.loop.isWithholding)
        release(bench, upTo: 10)
    }

    @Test func `random replies and positions come out in order and never early`() throws {
        for seed in UInt64(1)...40 {
            var random = Random(seed: seed)
            let bench = try LoopBench()
            var position: UInt64 = 0
            var expected: [(text: String, position: UInt64)] = []
            let peer = try bench.connect()
            var durable: UInt64 = 0
            var seen = ""
            var number = 0
            bench.handler.onReceived = { handler, index, input in
                var reply = ""
                for _ in input {
                    number += 1
                    let text = "<\(number)>"
                    let waits = UInt64.random(in: 0...3, using: &random) > 0
                    if waits { position += UInt64.random(in: 1...5, using: &random) }
                    handler.connections[index]?.withhold(
                        bytes: text.utf8.count, until: waits ? position : 0, isRevocable: waits)
                    expected.append((text, waits ? position : 0))
                    reply += text
                }
                return (Array(reply.utf8), Outcome(consumed: input.count))
            }
            for _ in 0..<60 {
                if Bool.random(using: &random) {
                    peer.send(String(repeating: "x", count: Int.random(in: 1...4, using: &random)))
                } else if durable < position {
                    durable = UInt64.random(in: durable...position, using: &random)
                    bench.loop.release(upTo: durable)
                }
                bench.settle(iterations: 2)
                seen += peer.receiveText()
                var allowed = ""
                for reply in expected {
                    if reply.position > durable { break }
                    allowed += reply.text
                }
                #expect(seen == allowed, "seed \(seed)")
            }
        }
    }
}
