//  Consumer groups in process, on virtual time: idle times to the millisecond, what WATCH sees, what
//  memory costs, random commands with all invariants checked.

import MartletBase
import Testing

@testable import MartletEngine

struct ConsumerGroupCommandTests {
    @Test func `times of delivery are those of the clock`() {
        let server = CommandHarness()
        let client = server.client()
        client.run("XADD", "s", "1-1", "a", "b")
        client.run("XADD", "s", "1-2", "a", "b")
        client.run("XGROUP", "CREATE", "s", "g", "0")
        client.run("XREADGROUP", "GROUP", "g", "ann", "COUNT", "1", "STREAMS", "s", ">")
        server.time.advance(milliseconds: 1234)
        let extended = client.run("XPENDING", "s", "g", "-", "+", "9")
        #expect(
            extended
                == .array([
                    .array([.bulk("1-1"), .bulk("ann"), .integer(1234), .integer(1)])
                ]))
        #expect(client.run("XPENDING", "s", "g", "IDLE", "1235", "-", "+", "9") == .array([]))
        #expect(client.run("XCLAIM", "s", "g", "bob", "1235", "1-1") == .array([]))
        #expect(
            client.run("XCLAIM", "s", "g", "bob", "1234", "1-1", "JUSTID")
                == .array([.bulk("1-1")]))
        server.time.advance(milliseconds: 10)
        // What was idle for long comes first, and says for how long; what is new says nothing.
        let claimed = client.run(
            "XREADGROUP", "GROUP", "g", "cid", "CLAIM", "10", "STREAMS", "s", ">")
        let fields = Reply.array([.bulk("a"), .bulk("b")])
        #expect(
            claimed
                == .array([
                    .array([
                        .bulk("s"),
                        .array([
                            .array([.bulk("1-1"), fields, .integer(10), .integer(1)]),
                            .array([.bulk("1-2"), fields, .integer(0), .integer(0)]),
                        ]),
                    ])
                ]))
        #expect(client.run("XACK", "s", "g", "1-1", "1-2") == .integer(2))
    }

    @Test func `a watched stream may be read by its groups`() {
        let server = CommandHarness()
        let client = server.client()
        let other = server.client()
        client.run("XADD", "s", "1-1", "a", "b")
        client.run("XGROUP", "CREATE", "s", "g", "0")
        client.run("WATCH", "s")
        other.run("XREADGROUP", "GROUP", "g", "ann", "STREAMS", "s", ">")
        other.run("XCLAIM", "s", "g", "bob", "0", "1-1")
        other.run("XNACK", "s", "g", "FAIL", "IDS", "1", "1-1")
        other.run("XACK", "s", "g", "1-1")
        other.run("XGROUP", "SETID", "s", "g", "0")
        client.run("MULTI")
        #expect(client.run("EXEC") == .array([]))
        client.run("WATCH", "t")
        other.run("XGROUP", "CREATE", "t", "g", "0", "MKSTREAM")
        client.run("MULTI")
        #expect(client.run("EXEC") != .array([]))
        client.run("WATCH", "s")
        other.run("XREADGROUP", "GROUP", "g", "ann", "STREAMS", "s", ">")
        other.run("XACKDEL", "s", "g", "IDS", "1", "1-1")
        client.run("MULTI")
        #expect(client.run("EXEC") != .array([]))
    }

    @Test func `memory is counted, and all of it comes back`() {
        let server = CommandHarness()
        let client = server.client()
        let seed = testSeed()
        var random = Random(seed: seed)
        client.run("XGROUP", "CREATE", "s", "g0", "0", "MKSTREAM")
        var last = 0
        for step in 0..<6000 {
            let group = "g\(random.index(below: 4))"
            let consumer = "c\(random.index(below: 6))"
            let id = "\(random.index(below: last + 1))-1"
            switch random.index(below: 20) {
            case 0..<6:
                last += 1
                client.run("XADD", "s", "\(last)-1", "f", "value \(last)")
            case 6..<11:
                client.run(
                    "XREADGROUP", "GROUP", group, consumer, "COUNT",
                    "\(1 + random.index(below: 9))", "STREAMS", "s", ">")
            case 11..<14: client.run("XACK", "s", group, id)
            case 14: client.run("XCLAIM", "s", group, consumer, "0", id, "FORCE")
            case 15: client.run("XAUTOCLAIM", "s", group, consumer, "0", id, "COUNT", "5")
            case 16: client.run("XDELEX", "s", "DELREF", "IDS", "1", id)
            case 17: client.run("XNACK", "s", group, "FATAL", "IDS", "1", id, "FORCE")
            case 18 where random.index(below: 10) == 0:
                client.run("XGROUP", "DELCONSUMER", "s", group, consumer)
            default:
                client.run("XGROUP", "CREATE", "s", group, id)
            }
            if step % 300 == 0 {
                server.checkPartitions()
                client.run("COPY", "s", "t", "REPLACE")
            }
        }
        server.checkPartitions()
        #expect(client.run("DEL", "s", "t") == .integer(2), "seed \(seed)")
        server.checkPartitions()
    }
}
