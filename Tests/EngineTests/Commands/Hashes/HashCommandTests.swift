//  The H commands through the executor: replies of both protocols, both forms, memory, events.

import MartletBase
import Testing

@testable import MartletEngine

struct HashCommandTests {
    @Test func `fields are set, read, counted and removed`() {
        expectTranscript(
            """
            > HSET h a 1 b 2 a 3              < (integer) 2
            > HSET h a 4                      < (integer) 0
            > HMSET h c "" d xyz              < OK
            > HSETNX h a 5                    < (integer) 0
            > HSETNX h e 5                    < (integer) 1
            > HGET h a                        < "4"
            > HGET h nosuch                   < (nil)
            > HGET nosuch a                   < (nil)
            > HMGET h a nosuch c              < ["4", (nil), ""]
            > HMGET nosuch a b                < [(nil), (nil)]
            > HLEN h                          < (integer) 5
            > HLEN nosuch                     < (integer) 0
            > HEXISTS h d                     < (integer) 1
            > HEXISTS h nosuch                < (integer) 0
            > HSTRLEN h d                     < (integer) 3
            > HSTRLEN h nosuch                < (integer) 0
            > HKEYS h                         < ["a", "b", "c", "d", "e"]
            > HVALS h                         < ["4", "2", "", "xyz", "5"]
            > HGETALL h                       < ["a", "4", "b", "2", "c", "", "d", "xyz", "e", "5"]
            > HDEL h a a nosuch               < (integer) 1
            > HDEL h b c d e                  < (integer) 4
            > EXISTS h                        < (integer) 0
            > HGETALL h                       < []
            > HKEYS h                         < []
            > HDEL h a                        < (integer) 0
            > SET s v                         < OK
            > HSET s a 1
                < (error) WRONGTYPE Operation against a key holding the wrong kind of value
            > HGETALL s
                < (error) WRONGTYPE Operation against a key holding the wrong kind of value
            > HSET h a
                < (error) ERR wrong number of arguments for 'hset' command
            > HMSET h a 1 b
                < (error) ERR wrong number of arguments for 'hmset' command
            > EXISTS h                        < (integer) 0
            """)
    }

    @Test func `numbers in fields are added to`() {
        expectTranscript(
            """
            > HINCRBY h n 5                   < (integer) 5
            > HINCRBY h n -15                 < (integer) -10
            > HGET h n                        < "-10"
            > HSET h n 9223372036854775807 t text  < (integer) 1
            > HINCRBY h n 1
                < (error) ERR increment or decrement would overflow
            > HINCRBY h t 1                   < (error) ERR hash value is not an integer
            > HINCRBY h n x
                < (error) ERR value is not an integer or out of range
            > HINCRBYFLOAT h f 10.5           < "10.5"
            > HINCRBYFLOAT h f -3.0e0         < "7.5"
            > HINCRBYFLOAT h t 1              < (error) ERR hash value is not a float
            > HINCRBYFLOAT h f x              < (error) ERR value is not a valid float
            > HINCRBYFLOAT h f inf            < (error) ERR value is NaN or Infinity
            > HGET h f                        < "7.5"
            """)
    }

    @Test func `HGETDEL returns what it takes`() {
        expectTranscript(
            """
            > HSET h a 1 b 2 c 3              < (integer) 3
            > HGETDEL h FIELDS 2 a nosuch     < ["1", (nil)]
            > HGETDEL h FIELDS 1 b c
                < (error) ERR The `numfields` parameter must match the number of arguments
            > HGETDEL h FIELDS 0 b
                < (error) ERR Number of fields must be a positive integer
            > HGETDEL h FIELD 1 b
                < (error) ERR Mandatory argument FIELDS is missing or not at the right position
            > HGETDEL h fields 3 b c b        < ["2", "3", (nil)]
            > EXISTS h                        < (integer) 0
            > HGETDEL h FIELDS 1 b            < [(nil)]
            """)
    }

    @Test func `HSCAN gives all, with values or without`() {
        expectTranscript(
            """
            > HSET h a 1 b 2 ab 3             < (integer) 3
            > HSCAN h 0                       < ["0", ["a", "1", "b", "2", "ab", "3"]]
            > HSCAN h 0 NOVALUES COUNT 1      < ["0", ["a", "b", "ab"]]
            > HSCAN h 0 MATCH a*              < ["0", ["a", "1", "ab", "3"]]
            > HSCAN nosuch 0                  < ["0", []]
            > HSCAN h x                       < (error) ERR invalid cursor
            > HSCAN h 0 COUNT 0               < (error) ERR syntax error
            """)
        let client = CommandHarness().client()
        for index in 0..<2_000 { client.run("HSET", "h", "f\(index)", "\(index)") }
        var cursor = "0"
        var met: Set<String> = []
        var steps = 0
        repeat {
            guard
                case .array(let parts) = client.run("HSCAN", "h", cursor, "COUNT", "50", "NOVALUES"),
                case .bulk(let next) = parts[0], case .array(let fields) = parts[1]
            else {
                Issue.record("a cursor and fields")
                return
            }
            cursor = String(decoding: next, as: UTF8.self)
            for field in fields { met.insert(field.description) }
            steps += 1
        } while cursor != "0"
        #expect(met.count == 2_000)
        #expect(steps > 20)
    }

    @Test func `replies are maps and pairs in RESP3`() {
        let server = CommandHarness()
        let client = server.client(isRESP3: true)
        client.send(
            Array(
                """
                HSET h a 1\r\nHGETALL h\r\nHGETALL nosuch\r\nHRANDFIELD h 1 WITHVALUES\r\n\
                HRANDFIELD h -2\r\nHRANDFIELD nosuch\r\nHRANDFIELD nosuch 1\r\n
                """.utf8))
        #expect(
            client.rawReplies()
                == Array(
                    """
                    :1\r\n%1\r\n$1\r\na\r\n$1\r\n1\r\n%0\r\n*1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n\
                    *2\r\n$1\r\na\r\n$1\r\na\r\n_\r\n*0\r\n
                    """.utf8))
    }

    @Test func `HRANDFIELD chooses among the fields`() {
        let server = CommandHarness()
        let client = server.client()
        for count in [5, 600] {
            client.run("DEL", "h")
            for index in 0..<count { client.run("HSET", "h", "f\(index)", "\(index)") }
            for wanted in [0, 1, 4, 5, 300, 600, 1000] {
                guard case .array(let fields) = client.run("HRANDFIELD", "h", "\(wanted)") else {
                    Issue.record("an array")
                    continue
                }
                #expect(fields.count == min(wanted, count))
                #expect(Set(fields.map(\.description)).count == fields.count)
            }
            guard case .array(let fields) = client.run("HRANDFIELD", "h", "-50", "WITHVALUES")
            else {
                Issue.record("an array")
                continue
            }
            #expect(fields.count == 100)
        }
        expectTranscript(
            """
            > HSET h a 1                      < (integer) 1
            > HRANDFIELD h -9223372036854775808
                < (error) ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807
            > HRANDFIELD h 5 WITHVALUE        < (error) ERR syntax error
            > HRANDFIELD h x
                < (error) ERR value is not an integer or out of range
            > HRANDFIELD h 5000000000000000000 WITHVALUES
                < (error) ERR value is out of range
            """)
    }

    @Test func `OBJECT ENCODING follows the configured limits and never goes back`() {
        let server = CommandHarness()
        let client = server.client()
        for index in 0..<512 { client.run("HSET", "h", "f\(index)", "v") }
        #expect(client.run("OBJECT", "ENCODING", "h") == .bulk("listpack"))
        client.run("HSET", "h", "one more", "v")
        #expect(client.run("OBJECT", "ENCODING", "h") == .bulk("hashtable"))
        client.run("HDEL", "h", "one more")
        #expect(client.run("OBJECT", "ENCODING", "h") == .bulk("hashtable"))
        client.run("HSET", "long", "f", String(repeating: "x", count: 65))
        #expect(client.run("OBJECT", "ENCODING", "long") == .bulk("hashtable"))
        client.run("COPY", "long", "copy")
        #expect(client.run("OBJECT", "ENCODING", "copy") == .bulk("hashtable"))
    }

    @Test func `ten small fields take at most 195 bytes`() {
        let server = CommandHarness()
        let client = server.client()
        var command = ["HSET", "user:1000000"]
        for index in 0..<10 { command += ["field:\(index)", "value:\(index)"] }
        client.run(command.map { Array($0.utf8) })
        guard case .integer(let bytes) = client.run("MEMORY", "USAGE", "user:1000000") else {
            return
        }
        #expect(bytes <= 195)
    }

    @Test func `both forms answer alike, and memory is exact through all changes`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        let small = CommandHarness()
        let large = CommandHarness()
        large.state.settings.hashes.set(PackedLimits(entriesMax: 0, elementBytesMax: 0))
        let one = small.client()
        let other = large.client()
        let lengths = [0, 1, 2, 8, 40, 64, 65, 200, 255, 256]
        for step in 0..<4_000 {
            let key = "h\(random.index(below: 3))"
            let field = "f\(random.index(below: 40))"
            let length = lengths[random.index(below: lengths.count)]
            let value = String(repeating: "x", count: length)
            let number = "\(random.index(below: 12) - 5)"
            let command: [String] =
                switch random.index(below: 12) {
                case 0...2: ["HSET", key, field, value, "f1", number]
                case 3: ["HSET", key, field, number, field, value]
                case 4: ["HDEL", key, field, "f\(random.index(below: 40))"]
                case 5: ["HGET", key, field]
                case 6: ["HINCRBY", key, "n\(random.index(below: 3))", number + "000"]
                case 7: ["HMGET", key, field, "f1", "f2"]
                case 8: ["HLEN", key]
                case 9: ["COPY", key, "h\(random.index(below: 3))", "REPLACE"]
                case 10: ["HSETNX", key, field, number]
                default: [["DEL", key], ["EXPIRE", key, "100"], ["RENAME", key, "h1"]][step % 3]
                }
            let bytes = command.map { Array($0.utf8) }
            #expect(one.run(bytes) == other.run(bytes), "\(command), seed \(seed)")
            if step % 50 == 0 {
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
}
