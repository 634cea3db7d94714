//  The Z commands through the executor: replies of both protocols, both forms, memory, events.

import MartletBase
import Testing

@testable import MartletEngine

struct SortedSetCommandTests {
    @Test func `members are added, moved, read and removed`() {
        expectTranscript(
            """
            > ZADD z 1 a 2 b 3 c              < (integer) 3
            > ZADD z 1 a 5 b                  < (integer) 0
            > ZADD z CH 1 a 6 b 7 d           < (integer) 2
            > ZADD z NX 9 a 9 e               < (integer) 1
            > ZADD z XX 2 a 9 f               < (integer) 0
            > ZADD z GT CH 1 a 10 e           < (integer) 1
            > ZADD z LT CH 1 a 11 e           < (integer) 1
            > ZRANGE z 0 -1                   < ["a", "c", "b", "d", "e"]
            > ZRANGE z (1 6 BYSCORE LIMIT 0 5  < ["c", "b"]
            > ZREVRANGE z 0 1                 < ["e", "d"]
            > ZRANGE z 0 1 REV                < ["e", "d"]
            > ZRANGEBYSCORE z 3 (7            < ["c", "b"]
            > ZREVRANGEBYSCORE z +inf -inf LIMIT 1 2  < ["d", "b"]
            > ZRANK z c                       < (integer) 1
            > ZREVRANK z c                    < (integer) 3
            > ZRANK z nosuch                  < (nil)
            > ZCARD z                         < (integer) 5
            > ZCOUNT z 3 (10                  < (integer) 3
            > ZSCORE z nosuch                 < (nil)
            > ZREM z a c nosuch               < (integer) 2
            > ZREMRANGEBYSCORE z 6 7          < (integer) 2
            > ZREMRANGEBYRANK z 0 -1          < (integer) 1
            > EXISTS z                        < (integer) 0
            > TYPE z                          < none
            > SET s v                         < OK
            > ZADD s 1 a
                < (error) WRONGTYPE Operation against a key holding the wrong kind of value
            > ZCARD s
                < (error) WRONGTYPE Operation against a key holding the wrong kind of value
            """)
    }

    @Test func `doubles are doubles in RESP3 and text in RESP2`() {
        let server = CommandHarness()
        let client = server.client()
        client.send(Array("ZADD z 1.5 a\r\nZSCORE z a\r\nZINCRBY z 1 a\r\nZPOPMIN z\r\n".utf8))
        #expect(
            client.rawReplies()
                == Array(":1\r\n$3\r\n1.5\r\n$3\r\n2.5\r\n*2\r\n$1\r\na\r\n$3\r\n2.5\r\n".utf8))
        let modern = server.client(isRESP3: true)
        modern.send(
            Array("ZADD z 1.5 a 2 b\r\nZSCORE z a\r\nZPOPMIN z\r\nZPOPMAX z 1\r\n".utf8))
        #expect(
            modern.rawReplies()
                == Array(
                    ":2\r\n,1.5\r\n*2\r\n$1\r\na\r\n,1.5\r\n*1\r\n*2\r\n$1\r\nb\r\n,2\r\n".utf8))
    }

    @Test func `OBJECT ENCODING follows the configured limits and never goes back`() {
        let server = CommandHarness()
        let client = server.client()
        client.run("ZADD", "z", "1", "a")
        #expect(client.run("OBJECT", "ENCODING", "z") == .bulk("listpack"))
        for index in 0..<127 { client.run("ZADD", "z", "\(index)", "member:\(index)") }
        #expect(client.run("OBJECT", "ENCODING", "z") == .bulk("listpack"))
        client.run("ZADD", "z", "1", "one more")
        #expect(client.run("OBJECT", "ENCODING", "z") == .bulk("skiplist"))
        client.run("ZREMRANGEBYRANK", "z", "5", "-1")
        #expect(client.run("OBJECT", "ENCODING", "z") == .bulk("skiplist"))
        client.run("ZADD", "long", "1", String(repeating: "x", count: 65))
        #expect(client.run("OBJECT", "ENCODING", "long") == .bulk("skiplist"))
    }

    @Test func `both forms answer alike, and memory is exact through all changes`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        let small = CommandHarness()
        let large = CommandHarness()
        large.state.settings.sortedSets.set(PackedLimits(entriesMax: 0, elementBytesMax: 0))
        let one = small.client()
        let other = large.client(isRESP3: false)
        for step in 0..<4_000 {
            let key = "z\(random.index(below: 3))"
            let member = "m\(random.index(below: 60))"
            let number = "\(random.index(below: 12))"
            let more = "\(random.index(below: 12))"
            let command: [String] =
                switch random.index(below: 14) {
                case 0...5: ["ZADD", key, number, member, more, "m\(number)"]
                case 6: ["ZREM", key, member, "m1"]
                case 7: ["ZRANGE", key, number, "-" + more, "WITHSCORES"]
                case 8: ["ZREVRANGEBYSCORE", key, more, "(" + number, "LIMIT", "1", "3"]
                case 9: ["ZRANK", key, member]
                case 10: ["ZPOPMAX", key, number]
                case 11: ["ZREMRANGEBYSCORE", key, number, number]
                case 12: ["COPY", key, "z\(random.index(below: 3))", "REPLACE"]
                default: [["ZINCRBY", key, number, member], ["EXPIRE", key, "100"]][step % 2]
                }
            let bytes = command.map { Array($0.utf8) }
            #expect(one.run(bytes) == other.run(bytes), "\(command), seed \(seed)")
            if step % 100 == 0 {
                for server in [small, large] {
                    for index in unsafe 0..<server.state.keyspace.pointee.shardCount {
                        let shard = unsafe server.state.keyspace.pointee.shard(index)
                        if let partition = unsafe shard.pointee.partition(0) {
                            unsafe partition.pointee.checkInvariants()
                        }
                    }
                }
            }
        }
        #expect(one.run("DEBUG", "DIGEST") == other.run("DEBUG", "DIGEST"))
    }

    @Test func `whatever replaces or removes a large set frees it`() {
        let server = CommandHarness()
        let client = server.client()
        for (index, end) in [
            ["DEL", "z"], ["SET", "z", "v"], ["RENAME", "other", "z"], ["FLUSHALL"],
            ["RENAME", "z", "y"], ["MOVE", "z", "1"], ["COPY", "z", "y", "REPLACE"],
            ["ZREMRANGEBYRANK", "z", "0", "-1"], ["ZPOPMIN", "z", "1000"],
        ].enumerated() {
            client.run("FLUSHALL")
            for member in 0..<200 { client.run("ZADD", "z", "\(member)", "member:\(member)") }
            client.run("ZADD", "other", "1", "a")
            #expect(client.run("ZCARD", "z") == .integer(200))
            client.run(end.map { Array($0.utf8) })
            for index in unsafe 0..<server.state.keyspace.pointee.shardCount {
                for database in 0..<2 {
                    let shard = unsafe server.state.keyspace.pointee.shard(index)
                    if let partition = unsafe shard.pointee.partition(database) {
                        unsafe partition.pointee.checkInvariants()
                    }
                }
            }
            if index == 4 || index == 6 {
                #expect(client.run("ZCARD", "y") == .integer(200))
                #expect(client.run("ZRANK", "y", "member:150") == .integer(150))
            }
        }
    }
}
