//  The S commands through the executor: replies of both protocols, all forms, memory, events.

import MartletBase
import Testing

@testable import MartletEngine

struct SetCommandTests {
    @Test func `members are added, looked up, counted and removed`() {
        expectTranscript(
            """
            > SADD s a b a c                  < (integer) 3
            > SADD s a                        < (integer) 0
            > SISMEMBER s b                   < (integer) 1
            > SISMEMBER s x                   < (integer) 0
            > SISMEMBER nosuch x              < (integer) 0
            > SMISMEMBER s a x c              < [(integer) 1, (integer) 0, (integer) 1]
            > SMISMEMBER nosuch a x           < [(integer) 0, (integer) 0]
            > SCARD s                         < (integer) 3
            > SCARD nosuch                    < (integer) 0
            > SMEMBERS s                      < ["a", "b", "c"]
            > SMEMBERS nosuch                 < []
            > SREM s a a x                    < (integer) 1
            > SREM s b c                      < (integer) 2
            > EXISTS s                        < (integer) 0
            > SREM s a                        < (integer) 0
            > SADD s 3 1 2 -5                 < (integer) 4
            > SMEMBERS s                      < ["-5", "1", "2", "3"]
            > SADD s ""                       < (integer) 1
            > SISMEMBER s ""                  < (integer) 1
            > SISMEMBER s 03                  < (integer) 0
            > TYPE s                          < set
            > SET string v                    < OK
            > SADD string a
                < (error) WRONGTYPE Operation against a key holding the wrong kind of value
            > SMEMBERS string
                < (error) WRONGTYPE Operation against a key holding the wrong kind of value
            > SADD s
                < (error) ERR wrong number of arguments for 'sadd' command
            """)
    }

    @Test func `SMOVE moves a member`() {
        expectTranscript(
            """
            > SADD a 1 2 x                    < (integer) 3
            > SMOVE a b 1                     < (integer) 1
            > SMOVE a b nosuch                < (integer) 0
            > SMOVE nosuch b 1                < (integer) 0
            > SMOVE b b 1                     < (integer) 1
            > SMOVE b b 2                     < (integer) 0
            > SADD b x                        < (integer) 1
            > SMOVE a b x                     < (integer) 1
            > SMOVE a b 2                     < (integer) 1
            > EXISTS a                        < (integer) 0
            > SCARD b                         < (integer) 3
            > SET string v                    < OK
            > SMOVE nosuch string 1           < (integer) 0
            > SMOVE b string 1
                < (error) WRONGTYPE Operation against a key holding the wrong kind of value
            > SMOVE string b 1
                < (error) WRONGTYPE Operation against a key holding the wrong kind of value
            > SISMEMBER b 1                   < (integer) 1
            """)
    }

    @Test func `operations over several sets`() {
        expectTranscript(
            """
            > SADD a 1 2 3 x                  < (integer) 4
            > SADD b 2 x y                    < (integer) 3
            > SADD ints 3 1 2                 < (integer) 3
            > SINTER a b                      < ["2", "x"]
            > SINTER a b nosuch               < []
            > SINTER ints a                   < ["1", "2", "3"]
            > SDIFF a b                       < ["1", "3"]
            > SDIFF nosuch a                  < []
            > SDIFF a a                       < []
            > SUNION ints nosuch              < ["1", "2", "3"]
            > SINTERCARD 2 a b                < (integer) 2
            > SINTERCARD 2 a b LIMIT 1        < (integer) 1
            > SINTERCARD 2 a b LIMIT 0        < (integer) 2
            > SINTERCARD 2 a nosuch           < (integer) 0
            > SINTERCARD 0 a
                < (error) ERR numkeys should be greater than 0
            > SINTERCARD 3 a b
                < (error) ERR Number of keys can't be greater than number of args
            > SINTERCARD 1 a LIMIT -1         < (error) ERR LIMIT can't be negative
            > SINTERCARD 1 a LIMIT            < (error) ERR syntax error
            > SUNIONSTORE d a b               < (integer) 5
            > SCARD d                         < (integer) 5
            > SINTERSTORE a a b               < (integer) 2
            > SMEMBERS a                      < ["2", "x"]
            > SDIFFSTORE ints ints a          < (integer) 2
            > OBJECT ENCODING ints            < "intset"
            > SET string v                    < OK
            > SUNION a string
                < (error) WRONGTYPE Operation against a key holding the wrong kind of value
            > SINTER nosuch string
                < (error) WRONGTYPE Operation against a key holding the wrong kind of value
            > SUNIONSTORE string ints         < (integer) 2
            > TYPE string                     < set
            > SINTERSTORE string nosuch       < (integer) 0
            > EXISTS string                   < (integer) 0
            """)
    }

    @Test func `sets are sorted sets of score 1 to ZUNION and its like`() {
        expectTranscript(
            """
            > SADD s a b                      < (integer) 2
            > SADD ints 5 6                   < (integer) 2
            > ZADD z 3 a 5 c                  < (integer) 2
            > ZUNION 2 z s                    < ["b", "a", "c"]
            > ZUNIONSTORE d 2 z s             < (integer) 3
            > ZSCORE d a                      < "4"
            > ZSCORE d b                      < "1"
            > ZINTERSTORE d 2 s z WEIGHTS 10 1  < (integer) 1
            > ZSCORE d a                      < "13"
            > ZDIFF 2 s z                     < ["b"]
            > ZINTERCARD 2 s z                < (integer) 1
            > ZUNIONSTORE d 2 s s AGGREGATE COUNT  < (integer) 2
            > ZSCORE d b                      < "2"
            > ZUNIONSTORE d 2 ints z          < (integer) 4
            > ZSCORE d 6                      < "1"
            > ZSCORE s a
                < (error) WRONGTYPE Operation against a key holding the wrong kind of value
            """)
    }

    @Test func `SPOP and SRANDMEMBER choose among the members`() {
        let client = CommandHarness().client()
        let names: [(Int) -> String] = [{ "\($0)" }, { "m\($0)" }]
        for name in names {
            for count in [1, 5, 600] {
                for wanted in [0, 1, 4, 5, 300, 599, 600, 1_000] {
                    client.run("DEL", "s")
                    client.run(["SADD", "s"] + (0..<count).map(name))
                    guard
                        case .array(let chosen) = client.run("SRANDMEMBER", "s", "\(wanted)"),
                        case .array(let popped) = client.run("SPOP", "s", "\(wanted)")
                    else {
                        Issue.record("arrays")
                        continue
                    }
                    #expect(chosen.count == min(wanted, count))
                    #expect(Set(chosen.map(\.description)).count == chosen.count)
                    #expect(popped.count == min(wanted, count))
                    #expect(Set(popped.map(\.description)).count == popped.count)
                    #expect(client.run("SCARD", "s") == .integer(Int64(count - popped.count)))
                    for member in popped {
                        guard case .bulk(let bytes) = member else { continue }
                        #expect(
                            client.run([Array("SISMEMBER".utf8), Array("s".utf8), bytes])
                                == .integer(0))
                    }
                }
            }
            client.run("DEL", "s")
            client.run(["SADD", "s"] + (0..<10).map(name))
            guard case .array(let many) = client.run("SRANDMEMBER", "s", "-2000") else { return }
            #expect(many.count == 2_000)
            var met: [String: Int] = [:]
            for member in many { met[member.description, default: 0] += 1 }
            #expect(met.count == 10 && met.values.allSatisfy { $0 > 120 && $0 < 290 })
        }
        expectTranscript(
            """
            > SADD s a                        < (integer) 1
            > SPOP s 0                        < []
            > SPOP s                          < "a"
            > EXISTS s                        < (integer) 0
            > SPOP s                          < (nil)
            > SPOP s 2                        < []
            > SPOP s -1
                < (error) ERR value is out of range, must be positive
            > SPOP s 1 2                      < (error) ERR syntax error
            > SRANDMEMBER s                   < (nil)
            > SRANDMEMBER s 3                 < []
            > SRANDMEMBER s x
                < (error) ERR value is not an integer or out of range
            > SRANDMEMBER s -9223372036854775808
                < (error) ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807
            """)
    }

    @Test func `SSCAN gives all`() {
        expectTranscript(
            """
            > SADD s a b ab                   < (integer) 3
            > SSCAN s 0                       < ["0", ["a", "b", "ab"]]
            > SSCAN s 0 MATCH a*              < ["0", ["a", "ab"]]
            > SSCAN s 0 NOVALUES
                < (error) ERR NOVALUES option can only be used in HSCAN
            > SSCAN nosuch 0 X                < ["0", []]
            > SSCAN s x                       < (error) ERR invalid cursor
            """)
        let client = CommandHarness().client()
        client.run(["SADD", "s"] + (0..<2_000).map { "m\($0)" })
        var cursor = "0"
        var met: Set<String> = []
        var steps = 0
        repeat {
            guard
                case .array(let parts) = client.run("SSCAN", "s", cursor, "COUNT", "50"),
                case .bulk(let next) = parts[0], case .array(let members) = parts[1]
            else {
                Issue.record("a cursor and members")
                return
            }
            cursor = String(decoding: next, as: UTF8.self)
            for member in members { met.insert(member.description) }
            steps += 1
        } while cursor != "0"
        #expect(met.count == 2_000)
        #expect(steps > 20)
    }

    @Test func `replies are sets in RESP3`() {
        let client = CommandHarness().client(isRESP3: true)
        client.send(Array("SADD s a\r\nSMEMBERS s\r\nSMEMBERS nosuch\r\nSMISMEMBER s a\r\n".utf8))
        #expect(
            client.rawReplies() == Array(":1\r\n~1\r\n$1\r\na\r\n~0\r\n*1\r\n:1\r\n".utf8))
    }

    @Test func `OBJECT ENCODING follows the configured limits and never goes back`() {
        let client = CommandHarness().client()
        func encoding(_ key: String) -> Reply? { client.run("OBJECT", "ENCODING", key) }
        for index in 0..<512 { client.run("SADD", "ints", "\(index)") }
        #expect(encoding("ints") == .bulk("intset"))
        client.run("COPY", "ints", "copy")
        #expect(encoding("copy") == .bulk("intset"))
        client.run("SADD", "ints", "512")
        #expect(encoding("ints") == .bulk("hashtable"))
        client.run("SREM", "ints", "512")
        #expect(encoding("ints") == .bulk("hashtable"))
        client.run("SADD", "copy", "text")
        #expect(encoding("copy") == .bulk("hashtable"))
        client.run("SADD", "few", "1", "2")
        #expect(encoding("few") == .bulk("intset"))
        client.run("EXPIRE", "few", "100")
        client.run("SADD", "few", "text")
        #expect(encoding("few") == .bulk("listpack"))
        client.run("SREM", "few", "text")
        #expect(encoding("few") == .bulk("listpack"))
        client.run("SADD", "mixed", "1", "a", "2")
        #expect(encoding("mixed") == .bulk("listpack"))
        for index in 0..<128 { client.run("SADD", "texts", "member:\(index)") }
        #expect(encoding("texts") == .bulk("listpack"))
        client.run("SADD", "texts", "one more")
        #expect(encoding("texts") == .bulk("hashtable"))
        client.run("SADD", "long", String(repeating: "x", count: 65))
        #expect(encoding("long") == .bulk("hashtable"))
        // By the number of arguments alone, as Redis guesses.
        client.run(["SADD", "many"] + (0..<600).map { "\($0 % 5)" })
        #expect(encoding("many") == .bulk("hashtable"))
    }

    @Test func `small integers take at most 4 bytes each, key and all`() {
        let client = CommandHarness().client()
        client.run(["SADD", "ints"] + (0..<500).map { "\(100_000 + $0 * 3)" })
        guard case .integer(let bytes) = client.run("MEMORY", "USAGE", "ints") else { return }
        #expect(bytes <= 500 * 4)
    }

    @Test func `all forms answer alike, and memory is exact through all changes`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        let servers = [CommandHarness(), CommandHarness(), CommandHarness()]
        servers[1].state.settings.sets.set(PackedLimits(entriesMax: 0, elementBytesMax: 0))
        servers[1].state.settings.integerSetMax.store(0, ordering: .relaxed)
        servers[2].state.settings.sets.set(PackedLimits(entriesMax: 9_999, elementBytesMax: 999))
        servers[2].state.settings.integerSetMax.store(9_999, ordering: .relaxed)
        let clients = servers.map { $0.client() }
        for step in 0..<6_000 {
            let key = "s\(random.index(below: 4))"
            let other = "s\(random.index(below: 4))"
            func one() -> String {
                switch random.index(below: 12) {
                case 0..<7: "\(random.index(below: 30) - 5)"
                case 7: "\(Int64(bitPattern: random.next()) >> Int64(random.index(below: 60)))"
                case 8: String(repeating: "x", count: [0, 1, 64, 65, 255, 256][step % 6])
                default: "m\(random.index(below: 20))"
                }
            }
            let many = (0..<(1 + random.index(below: 200))).map { _ in one() }
            let command: [String] =
                switch random.index(below: 15) {
                case 0...3: ["SADD", key, one(), one()]
                case 4: ["SADD", key] + many
                case 5: ["SREM", key, one(), one()]
                case 6: ["SREM", key] + many
                case 7: ["SISMEMBER", key, one()]
                case 8: ["SMISMEMBER", key, one(), one(), one()]
                case 9: ["SCARD", key]
                case 10: ["COPY", key, other, "REPLACE"]
                case 11: ["SMOVE", key, other, one()]
                case 12:
                    [
                        ["SUNIONSTORE", key, other, "s2"], ["SINTERSTORE", key, other, "s2"],
                        ["SDIFFSTORE", key, other, "s2"], ["SINTERCARD", "2", key, other],
                    ][step % 4]
                default: [["DEL", key], ["EXPIRE", key, "100"], ["RENAME", key, "s1"]][step % 3]
                }
            let replies = clients.map { $0.run(command) }
            #expect(replies[0] == replies[1] && replies[1] == replies[2], "\(command) \(seed)")
            if step % 60 == 0 { for server in servers { server.checkPartitions() } }
        }
        for key in ["s0", "s1", "s2", "s3"] {
            let sets = clients.map { client -> Set<String> in
                guard case .array(let members) = client.run("SMEMBERS", key) else { return [] }
                return Set(members.map(\.description))
            }
            #expect(sets[0] == sets[1] && sets[1] == sets[2], "\(key), seed \(seed)")
        }
    }
}
