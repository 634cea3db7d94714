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

    @Test func `small integers take at most 4 bytes each`() {
        let client = CommandHarness().client()
        client.run(["SADD", "ints"] + (0..<500).map { "\(100_000 + $0 * 3)" })
        guard case .integer(let bytes) = client.run("MEMORY", "USAGE", "ints") else { return }
        #expect(bytes <= 500 * 4 + 150)
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
                switch random.index(below: 14) {
                case 0...3: ["SADD", key, one(), one()]
                case 4: ["SADD", key] + many
                case 5: ["SREM", key, one(), one()]
                case 6: ["SREM", key] + many
                case 7: ["SISMEMBER", key, one()]
                case 8: ["SMISMEMBER", key, one(), one(), one()]
                case 9: ["SCARD", key]
                case 10: ["COPY", key, other, "REPLACE"]
                case 11: ["SMOVE", key, other, one()]
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
