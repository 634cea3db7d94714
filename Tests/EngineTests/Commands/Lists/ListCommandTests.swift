//  The L commands through the executor: replies of both protocols, both forms, memory, events.

import MartletBase
import Testing

@testable import MartletEngine

struct ListCommandTests {
    @Test func `elements are pushed, read, changed and popped`() {
        expectTranscript(
            """
            > LPUSHX l a                      < (integer) 0
            > RPUSH l a b c                   < (integer) 3
            > LPUSH l 1 2                     < (integer) 5
            > LRANGE l 0 -1                   < ["2", "1", "a", "b", "c"]
            > LRANGE l -2 100                 < ["b", "c"]
            > LRANGE l 3 2                    < []
            > LLEN l                          < (integer) 5
            > LINDEX l -1                     < "c"
            > LINDEX l 5                      < (nil)
            > LINDEX nosuch abc               < (nil)
            > LSET l 1 one                    < OK
            > LSET l 5 x                      < (error) ERR index out of range
            > LSET nosuch abc x               < (error) ERR no such key
            > LINSERT l BEFORE a x            < (integer) 6
            > LINSERT l after a x             < (integer) 7
            > LINSERT l AFTER nosuch x        < (integer) -1
            > LINSERT nosuch AFTER a x        < (integer) 0
            > LINSERT l BEYOND a x            < (error) ERR syntax error
            > LRANGE l 0 -1                   < ["2", "one", "x", "a", "x", "b", "c"]
            > LPOS l x                        < (integer) 2
            > LPOS l x RANK -1                < (integer) 4
            > LPOS l x COUNT 0                < [(integer) 2, (integer) 4]
            > LPOS l x COUNT 0 MAXLEN 3       < [(integer) 2]
            > LPOS l nosuch                   < (nil)
            > LPOS nosuch x COUNT 1           < []
            > LREM l -1 x                     < (integer) 1
            > LREM l 0 nosuch                 < (integer) 0
            > LTRIM l 1 -2                    < OK
            > LRANGE l 0 -1                   < ["one", "x", "a", "b"]
            > RPOP l                          < "b"
            > LPOP l 2                        < ["one", "x"]
            > LPOP l 0                        < []
            > LPOP l -1                       < (error) ERR value is out of range, must be positive
            > LPOP l 10                       < ["a"]
            > EXISTS l                        < (integer) 0
            > LPOP l                          < (nil)
            > SET s v                         < OK
            > LPUSH s a
                < (error) WRONGTYPE Operation against a key holding the wrong kind of value
            > LLEN s
                < (error) WRONGTYPE Operation against a key holding the wrong kind of value
            """)
    }

    @Test func `elements move between lists and within one`() {
        expectTranscript(
            """
            > RPUSH a 1 2 3                   < (integer) 3
            > LMOVE a b LEFT RIGHT            < "1"
            > LMOVE a b RIGHT LEFT            < "3"
            > LRANGE b 0 -1                   < ["3", "1"]
            > RPOPLPUSH b b                   < "1"
            > LRANGE b 0 -1                   < ["1", "3"]
            > LMOVE b b LEFT LEFT             < "1"
            > LMOVE b b RIGHT RIGHT           < "3"
            > LRANGE b 0 -1                   < ["1", "3"]
            > LMOVE a a LEFT RIGHT            < "2"
            > LMOVE a b LEFT RIGHT            < "2"
            > EXISTS a                        < (integer) 0
            > LMOVE a b LEFT RIGHT            < (nil)
            > LMOVE a b LEFT UP               < (error) ERR syntax error
            > SET s v                         < OK
            > LMOVE b s LEFT RIGHT
                < (error) WRONGTYPE Operation against a key holding the wrong kind of value
            > LLEN b                          < (integer) 3
            > LMPOP 2 a b LEFT COUNT 2        < ["b", ["1", "3"]]
            > LMPOP 1 b RIGHT                 < ["b", ["2"]]
            > EXISTS b                        < (integer) 0
            > LMPOP 0 b RIGHT                 < (error) ERR numkeys should be greater than 0
            """)
    }

    @Test func `nulls are of the kind that each protocol has`() {
        let server = CommandHarness()
        let client = server.client()
        client.send(Array("LPOP l\r\nLPOP l 1\r\nLMPOP 1 l LEFT\r\nLMOVE l l LEFT LEFT\r\n".utf8))
        #expect(client.rawReplies() == Array("$-1\r\n*-1\r\n*-1\r\n$-1\r\n".utf8))
        let modern = server.client(isRESP3: true)
        modern.send(Array("LPOP l\r\nLPOP l 1\r\nLMPOP 1 l LEFT\r\nLINDEX l 0\r\n".utf8))
        #expect(modern.rawReplies() == Array("_\r\n_\r\n_\r\n_\r\n".utf8))
    }

    @Test func `OBJECT ENCODING follows list-max-listpack-size in both directions`() {
        let server = CommandHarness()
        let client = server.client()
        let text = String(repeating: "x", count: 1_000)
        for _ in 0..<8 { client.run("RPUSH", "l", text) }
        #expect(client.run("OBJECT", "ENCODING", "l") == .bulk("listpack"))
        client.run("RPUSH", "l", text)
        #expect(client.run("OBJECT", "ENCODING", "l") == .bulk("quicklist"))
        client.run("LPOP", "l", "4")
        #expect(client.run("OBJECT", "ENCODING", "l") == .bulk("quicklist"))
        client.run("LPOP", "l")
        #expect(client.run("OBJECT", "ENCODING", "l") == .bulk("listpack"))

        server.state.settings.listSize.store(4, ordering: .relaxed)
        client.run("RPUSH", "k", "1", "2", "3", "4")
        #expect(client.run("OBJECT", "ENCODING", "k") == .bulk("listpack"))
        client.run("RPUSH", "k", "5")
        #expect(client.run("OBJECT", "ENCODING", "k") == .bulk("quicklist"))
        client.run("COPY", "k", "copy")
        #expect(client.run("OBJECT", "ENCODING", "copy") == .bulk("quicklist"))
        client.run("LTRIM", "k", "0", "1")
        #expect(client.run("OBJECT", "ENCODING", "k") == .bulk("listpack"))
    }

    private func checkInvariants(_ server: CommandHarness) {
        for index in unsafe 0..<server.state.keyspace.pointee.shardCount {
            for database in 0..<2 {
                let shard = unsafe server.state.keyspace.pointee.shard(index)
                if let partition = unsafe shard.pointee.partition(database) {
                    unsafe partition.pointee.checkInvariants()
                }
            }
        }
    }

    @Test func `both forms answer alike, and memory is exact through all changes`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        let small = CommandHarness()
        let large = CommandHarness()
        small.state.settings.listSize.store(-5, ordering: .relaxed)
        large.state.settings.listSize.store(1, ordering: .relaxed)
        let one = small.client()
        let other = large.client()
        for step in 0..<5_000 {
            let key = "l\(random.index(below: 3))"
            let key2 = "l\(random.index(below: 3))"
            let number = "\(random.index(below: 12) - 4)"
            let count = "\(random.index(below: 6))"
            let element =
                random.index(below: 20) == 0
                ? String(repeating: "long", count: random.index(below: 300))
                : ["a", "b", "c", number, "12345678"][random.index(below: 5)]
            let ends = ["LEFT", "RIGHT"]
            let end = ends[random.index(below: 2)]
            let command: [String] =
                switch random.index(below: 16) {
                case 0...2: ["LPUSH", key, element, number]
                case 3...5: ["RPUSH", key, element, number, "c"]
                case 6: ["LPOP", key, count]
                case 7: ["RPOP", key]
                case 8: ["LINSERT", key, "AFTER", number, element]
                case 9: ["LSET", key, number, element]
                case 10: ["LREM", key, number, element]
                case 11: ["LTRIM", key, count, "-2"]
                case 12: ["LMOVE", key, key2, end, ends[step % 2]]
                case 13: ["LPOS", key, element, "RANK", "-1", "COUNT", count]
                case 14: ["LMPOP", "2", key, key2, end, "COUNT", "2"]
                default: [["COPY", key, key2, "REPLACE"], ["EXPIRE", key, "100"]][step % 2]
                }
            let bytes = command.map { Array($0.utf8) }
            #expect(one.run(bytes) == other.run(bytes), "\(command), seed \(seed)")
            let all = ["LRANGE", key, "0", "-1"].map { Array($0.utf8) }
            #expect(one.run(all) == other.run(all), "\(command), seed \(seed)")
            if step % 100 == 0 {
                checkInvariants(small)
                checkInvariants(large)
            }
        }
        #expect(one.run("DEBUG", "DIGEST") == other.run("DEBUG", "DIGEST"))
    }

    @Test func `whatever replaces or removes a large list frees it`() {
        let server = CommandHarness()
        let client = server.client()
        for (index, end) in [
            ["DEL", "l"], ["SET", "l", "v"], ["RENAME", "other", "l"], ["FLUSHALL"],
            ["RENAME", "l", "y"], ["MOVE", "l", "1"], ["COPY", "l", "y", "REPLACE"],
            ["LTRIM", "l", "1", "0"], ["LPOP", "l", "1000"], ["LREM", "l", "0", "element"],
        ].enumerated() {
            client.run("FLUSHALL")
            for _ in 0..<400 { client.run("RPUSH", "l", "element") }
            client.run("RPUSH", "other", "a")
            #expect(client.run("LLEN", "l") == .integer(400))
            client.run(end.map { Array($0.utf8) })
            checkInvariants(server)
            if index == 4 || index == 6 {
                #expect(client.run("LLEN", "y") == .integer(400))
            }
        }
    }

    @Test func `a rotated list keeps its deadline, and an LTRIM that cuts nothing touches its key`()
    {
        let server = CommandHarness()
        let client = server.client()
        client.run("RPUSH", "l", "a")
        client.run("EXPIRE", "l", "100")
        #expect(client.run("LMOVE", "l", "l", "LEFT", "RIGHT") == .bulk("a"))
        #expect(client.run("TTL", "l") == .integer(100))
        let other = server.client()
        client.run("WATCH", "l")
        other.run("LTRIM", "l", "0", "-1")
        client.run("MULTI")
        client.run("PING")
        #expect(client.run("EXEC") == .null)
    }
}
