//  Fields with deadlines: replies, virtual time, both forms against a model, memory, reclaiming.

import MartletBase
import Testing

@testable import MartletEngine

/// Checks the invariants of every partition that has been written.
private func checkInvariants(_ server: CommandHarness) {
    for index in unsafe 0..<server.state.keyspace.pointee.shardCount {
        let shard = unsafe server.state.keyspace.pointee.shard(index)
        for database in 0..<2 {
            guard let partition = unsafe shard.pointee.partition(database) else { continue }
            unsafe partition.pointee.checkInvariants()
        }
    }
}

extension CommandHarness {
    /// A client of a server whose hashes are always large.
    fileprivate static func large() -> CommandHarness {
        let server = CommandHarness()
        server.state.settings.hashes.set(PackedLimits(entriesMax: 0, elementBytesMax: 0))
        return server
    }

    fileprivate var report: KeyspaceReport {
        unsafe state.keyspace.pointee.report(isHeld: false)
    }
}

struct HashFieldExpiryTests {
    @Test func `deadlines are set, asked for and taken away`() {
        expectTranscript(
            """
            > HSET h a 1 b 2 c 3                      < (integer) 3
            > HEXPIRE h 100 FIELDS 2 a nosuch         < [(integer) 1, (integer) -2]
            > HTTL h FIELDS 3 a b nosuch              < [(integer) 100, (integer) -1, (integer) -2]
            > HPTTL h FIELDS 1 a                      < [(integer) 100000]
            > HEXPIRETIME h FIELDS 1 a                < [(integer) 1700000100]
            > HPEXPIRETIME h FIELDS 1 a               < [(integer) 1700000100000]
            > HEXPIRE h 50 NX FIELDS 2 a b            < [(integer) 0, (integer) 1]
            > HEXPIRE h 60 XX FIELDS 2 a c            < [(integer) 1, (integer) 0]
            > HEXPIRE h 70 GT FIELDS 3 a b c          < [(integer) 1, (integer) 1, (integer) 0]
            > HEXPIRE h 70 GT FIELDS 1 a              < [(integer) 0]
            > HEXPIRE h 69 LT FIELDS 3 a b c          < [(integer) 1, (integer) 1, (integer) 1]
            > HEXPIRE h 69 LT FIELDS 1 a              < [(integer) 0]
            > HPERSIST h FIELDS 3 a nosuch a
                < [(integer) 1, (integer) -2, (integer) -1]
            > HPEXPIREAT h 1700000000500 FIELDS 1 c   < [(integer) 1]
            > HTTL h FIELDS 1 c                       < [(integer) 1]
            > HEXPIREAT h 1700000000 FIELDS 2 c c     < [(integer) 2, (integer) -2]
            > HKEYS h                                 < ["a", "b"]
            > HEXPIRE h 0 FIELDS 2 a b                < [(integer) 2, (integer) 2]
            > EXISTS h                                < (integer) 0
            > HTTL h FIELDS 1 a                       < [(integer) -2]
            > HEXPIRE h 10 FIELDS 1 a                 < [(integer) -2]
            > HPERSIST h FIELDS 1 a                   < [(integer) -2]
            """)
    }

    @Test func `wrong arguments are named as in Redis`() {
        expectTranscript(
            """
            > HSET h a 1                              < (integer) 1
            > SET s v                                 < OK
            > HEXPIRE h -1 FIELDS 1 a
                < (error) ERR invalid expire time, must be >= 0
            > HEXPIRE h x FIELDS 1 a
                < (error) ERR value is not an integer or out of range
            > HEXPIRE h 9223372036854775807 FIELDS 1 a
                < (error) ERR invalid expire time in 'hexpire' command
            > HPEXPIREAT h 70368744177664 FIELDS 1 a
                < (error) ERR invalid expire time in 'hpexpireat' command
            > HPEXPIREAT h 70368744177663 FIELDS 1 a  < [(integer) 1]
            > HEXPIRE h 1 NX XX FIELDS 1 a
                < (error) ERR Mandatory argument FIELDS is missing or not at the right position
            > HEXPIRE h 1 FIELDS 0 a
                < (error) ERR Parameter `numFields` should be greater than 0
            > HEXPIRE h 1 FIELDS 2 a
                < (error) ERR The `numfields` parameter must match the number of arguments
            > HTTL h FIELDS 0 a
                < (error) ERR Number of fields must be a positive integer
            > HEXPIRE s x FIELDS 1 a
                < (error) WRONGTYPE Operation against a key holding the wrong kind of value
            > HTTL s FIELD 1 a
                < (error) WRONGTYPE Operation against a key holding the wrong kind of value
            > HGETEX h KEEPTTL FIELDS 1 a
                < (error) ERR Mandatory argument FIELDS is missing or not at the right position
            > HSETEX h FNX FXX FIELDS 1 a 1
                < (error) ERR Only one of FXX or FNX arguments can be specified
            > HSETEX h EX 1 KEEPTTL FIELDS 1 a 1
                < (error) ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified
            > HSETEX h NX FIELDS 1 a 1                < (error) ERR unknown argument: NX
            > HSETEX h FIELDS 0 a 1                   < (error) ERR invalid number of fields
            > HSETEX h FIELDS 2 a 1
                < (error) ERR wrong number of arguments for 'hsetex' command
            > HGETEX h EX 10 FIELDS
                < (error) ERR wrong number of arguments for 'hgetex' command
            """)
    }

    @Test func `HGETEX and HSETEX join values and deadlines`() {
        expectTranscript(
            """
            > HSETEX h FIELDS 2 a 1 b 2               < (integer) 1
            > HGETEX h FIELDS 2 a nosuch              < ["1", (nil)]
            > HGETEX h EX 10 FIELDS 1 a               < ["1"]
            > HTTL h FIELDS 2 a b                     < [(integer) 10, (integer) -1]
            > HGETEX h PERSIST FIELDS 2 a b           < ["1", "2"]
            > HTTL h FIELDS 1 a                       < [(integer) -1]
            > HSETEX h PX 5000 FIELDS 1 a 3           < (integer) 1
            > HSETEX h KEEPTTL FIELDS 2 a 4 c 5       < (integer) 1
            > HTTL h FIELDS 2 a c                     < [(integer) 5, (integer) -1]
            > HSETEX h FNX FIELDS 2 a 6 d 6           < (integer) 0
            > HSETEX h FXX FIELDS 2 a 6 d 6           < (integer) 0
            > HSETEX h FNX EXAT 1700000100 FIELDS 1 d 6  < (integer) 1
            > HSETEX h FXX FIELDS 1 a 7               < (integer) 1
            > HTTL h FIELDS 2 a d                     < [(integer) -1, (integer) 100]
            > HGETEX h PXAT 1 FIELDS 1 d              < ["6"]
            > HSETEX h EX 0 FIELDS 1 c 6              < (integer) 1
            > HGETALL h                               < ["a", "7", "b", "2"]
            > HSETEX new EX 0 FIELDS 1 a 1            < (integer) 1
            > EXISTS new                              < (integer) 0
            > HSETEX new FXX FIELDS 1 a 1             < (integer) 0
            > EXISTS new                              < (integer) 0
            """)
    }

    @Test func `writes of a value take the deadline away, sums keep it`() {
        for server in [CommandHarness(), .large()] {
            let client = server.client()
            client.run("HSET", "h", "a", "1", "b", "2", "c", "3", "d", "4")
            client.run("HEXPIRE", "h", "100", "FIELDS", "4", "a", "b", "c", "d")
            client.run("HSET", "h", "a", "2")
            client.run("HINCRBY", "h", "b", "1000000")
            client.run("HINCRBYFLOAT", "h", "c", "1.5")
            client.run("HDEL", "h", "d")
            client.run("HSETNX", "h", "d", "5")
            #expect(
                client.run("HTTL", "h", "FIELDS", "4", "a", "b", "c", "d")
                    == .array([.integer(-1), .integer(100), .integer(100), .integer(-1)]))
            checkInvariants(server)
            #expect(server.report.databases[0].subexpiry == 1)
            client.run("HPERSIST", "h", "FIELDS", "2", "b", "c")
            #expect(server.report.databases[0].subexpiry == 0)
            checkInvariants(server)
        }
    }

    @Test func `a field past its deadline is seen by nobody, and the last one takes the key`() {
        for server in [CommandHarness(), .large()] {
            let client = server.client()
            client.run("HSET", "h", "a", "1", "b", "2", "c", "3")
            client.run("HPEXPIRE", "h", "10", "FIELDS", "1", "a")
            client.run("HPEXPIRE", "h", "20", "FIELDS", "2", "b", "c")
            server.time.advance(milliseconds: 10)
            #expect(client.run("HLEN", "h") == .integer(2))
            #expect(client.run("HGET", "h", "a") == .null)
            #expect(client.run("HTTL", "h", "FIELDS", "1", "a") == .array([.integer(-2)]))
            #expect(client.run("HSETNX", "h", "a", "new") == .integer(1))
            server.time.advance(milliseconds: 10)
            #expect(client.run("HGETALL", "h") == .array([.bulk("a"), .bulk("new")]))
            client.run("HPEXPIRE", "h", "10", "FIELDS", "1", "a")
            server.time.advance(milliseconds: 10)
            #expect(client.run("SCAN", "0") == .array([.bulk("0"), .array([])]))
            #expect(client.run("KEYS", "*") == .array([]))
            #expect(client.run("RANDOMKEY") == .null)
            #expect(client.run("EXISTS", "h") == .integer(0))
            #expect(client.run("DBSIZE") == .integer(0))
            #expect(server.report.expiredFields == 4)
            checkInvariants(server)
        }
    }

    @Test func `the cycle reclaims fields in time and leaves the others`() {
        let server = CommandHarness()
        let client = server.client()
        for index in 0..<5_000 {
            client.run("HSET", "big", "f\(index)", "v")
            if index < 4_000 { client.run("HPEXPIRE", "big", "1000", "FIELDS", "1", "f\(index)") }
            client.run(
                "HSETEX", "small:\(index % 100)", "PX", "500", "FIELDS", "1", "f\(index)", "v")
        }
        #expect(server.report.databases[0].subexpiry == 101)
        let before = server.report.usedBytes
        // The end of the tick of the deadline.
        server.time.advance(milliseconds: 510)
        server.reclaimExpired()
        #expect(server.report.keys == 1)
        #expect(server.report.expiredFields == 5_000)
        server.time.advance(milliseconds: 500)
        server.reclaimExpired()
        #expect(server.report.expiredFields == 9_000)
        #expect(server.report.databases[0].subexpiry == 0)
        #expect(server.report.usedBytes < before / 3)
        #expect(client.run("HLEN", "big") == .integer(1_000))
        checkInvariants(server)
    }

    @Test func `more fields than an access takes out are hidden all the same`() {
        let server = CommandHarness()
        let client = server.client()
        for index in 0..<3_000 {
            client.run("HSET", "h", "f\(index)", "\(index)")
            let time = index < 2_900 ? "1000" : "2000"
            client.run("HPEXPIRE", "h", time, "FIELDS", "1", "f\(index)")
        }
        client.run("HSET", "h", "stays", "v")
        server.time.advance(milliseconds: 1_000)
        #expect(client.run("HLEN", "h") == .integer(101))
        #expect(server.report.expiredFields < 1_000, "one access is short")
        guard case .array(let all) = client.run("HGETALL", "h"),
            case .array(let some) = client.run("HRANDFIELD", "h", "50"),
            case .array(let many) = client.run("HRANDFIELD", "h", "1000")
        else {
            Issue.record("arrays")
            return
        }
        #expect(all.count == 202)
        #expect(Set(some.map(\.description)).count == 50)
        #expect(many.count == 101)
        #expect(client.run("HGET", "h", "f2899") == .null)
        #expect(client.run("HDEL", "h", "f2898") == .integer(0))
        #expect(client.run("HINCRBY", "h", "f2897", "7") == .integer(7))
        #expect(
            client.run("HTTL", "h", "FIELDS", "2", "f2897", "f2896")
                == .array([.integer(-1), .integer(-2)]))
        client.run("COPY", "h", "copy")
        #expect(client.run("HLEN", "copy") == .integer(102))
        checkInvariants(server)
        server.reclaimExpired()
        #expect(client.run("HLEN", "h") == .integer(102))
        checkInvariants(server)
        server.time.advance(milliseconds: 1_000)
        #expect(client.run("HLEN", "h") == .integer(2))
        #expect(client.run("HLEN", "copy") == .integer(2))
        checkInvariants(server)
    }

    @Test func `a large hash all of whose fields are due is gone at once`() {
        let server = CommandHarness()
        let client = server.client()
        for index in 0..<3_000 {
            client.run("HSETEX", "h", "PX", "1000", "FIELDS", "1", "f\(index)", "v")
        }
        server.time.advance(milliseconds: 1_000)
        #expect(client.run("TYPE", "h") == .simple("none"))
        #expect(server.report.expiredFields == 3_000)
        checkInvariants(server)
    }

    @Test func `COPY, RENAME and MOVE take deadlines along, EXPIRE of the key leaves them`() {
        for server in [CommandHarness(), .large()] {
            let client = server.client()
            client.run("HSET", "h", "a", "1", "b", "2")
            client.run("HEXPIRE", "h", "100", "FIELDS", "1", "a")
            client.run("EXPIRE", "h", "500")
            client.run("COPY", "h", "copy")
            client.run("RENAME", "h", "moved")
            client.run("PERSIST", "moved")
            let times: Reply = .array([.integer(100), .integer(-1)])
            #expect(client.run("HTTL", "copy", "FIELDS", "2", "a", "b") == times)
            #expect(client.run("HTTL", "moved", "FIELDS", "2", "a", "b") == times)
            #expect(client.run("TTL", "copy") == .integer(500))
            checkInvariants(server)
            client.run("MOVE", "copy", "1")
            client.run("SELECT", "1")
            #expect(client.run("HTTL", "copy", "FIELDS", "2", "a", "b") == times)
            client.run("SET", "copy", "v")
            checkInvariants(server)
            client.run("FLUSHALL")
            checkInvariants(server)
        }
    }

    @Test func `OBJECT ENCODING remembers that fields had deadlines`() {
        let server = CommandHarness()
        let client = server.client()
        client.run("HSET", "h", "a", "1")
        client.run("HEXPIRE", "h", "100", "FIELDS", "1", "a")
        #expect(client.run("OBJECT", "ENCODING", "h") == .bulk("listpackex"))
        client.run("HPERSIST", "h", "FIELDS", "1", "a")
        client.run("HSET", "h", "b", "a longer value than before")
        #expect(client.run("OBJECT", "ENCODING", "h") == .bulk("listpackex"))
        client.run("COPY", "h", "copy")
        #expect(client.run("OBJECT", "ENCODING", "copy") == .bulk("listpackex"))
        client.run("HSET", "h", "c", String(repeating: "x", count: 65))
        #expect(client.run("OBJECT", "ENCODING", "h") == .bulk("hashtable"))
    }

    @Test func `EXEC fails when a field of a watched hash has expired`() {
        let server = CommandHarness()
        let client = server.client()
        for reclaims in [false, true] {
            client.run("HSETEX", "h", "PX", "10", "FIELDS", "2", "a", "1", "b", "2")
            client.run("HPERSIST", "h", "FIELDS", "1", "b")
            client.run("WATCH", "h")
            client.run("MULTI")
            client.run("HLEN", "h")
            server.time.advance(milliseconds: 10)
            if reclaims { server.reclaimExpired() }
            #expect(client.run("EXEC") == .null)
            client.run("WATCH", "h")
            client.run("MULTI")
            client.run("HLEN", "h")
            #expect(client.run("EXEC") == .array([.integer(1)]))
        }
    }

    @Test func `both forms do what a model does, through time and all changes`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        let servers = [CommandHarness(), .large()]
        let clients = servers.map { $0.client() }
        var model: [String: [String: Int64?]] = [:]
        var now = CommandHarness.startMilliseconds
        let lengths = [0, 1, 8, 40, 65, 200, 255, 256]
        for step in 0..<6_000 {
            let key = "h\(random.index(below: 3))"
            let field = "f\(random.index(below: 30))"
            let other = "f\(random.index(below: 30))"
            let value = String(repeating: "x", count: lengths[random.index(below: lengths.count)])
            let deadline = now + Int64(random.index(below: 200))
            var hash = model[key] ?? [:]
            let command: [String]
            switch random.index(below: 14) {
            case 0...2:
                command = ["HSET", key, field, value, other, "1"]
                hash[field] = .some(nil)
                hash[other] = .some(nil)
            case 3...5:
                command = ["HPEXPIREAT", key, "\(deadline)", "FIELDS", "2", field, other]
                for name in [field, other] where hash[name] != nil { hash[name] = deadline }
            case 6:
                command = ["HPERSIST", key, "FIELDS", "1", field]
                if hash[field] != nil { hash[field] = .some(nil) }
            case 7:
                command = ["HDEL", key, field]
                hash[field] = nil
            case 8:
                command = ["HSETEX", key, "PXAT", "\(deadline)", "FIELDS", "1", field, value]
                hash[field] = deadline
            case 9:
                command = ["HSETEX", key, "KEEPTTL", "FIELDS", "1", field, value]
                if hash[field] == nil { hash[field] = .some(nil) }
            case 10:
                command = ["HGETEX", key, "PXAT", "\(deadline)", "FIELDS", "1", field]
                if hash[field] != nil { hash[field] = deadline }
            case 11: command = ["HMGET", key, field, other]
            case 12:
                let target = "h\(random.index(below: 3))"
                let wasThere = model[key] != nil
                command = ["COPY", key, target, "REPLACE"]
                if wasThere && target != key { model[target] = hash }
            default:
                command = step % 2 == 0 ? ["EXPIRE", key, "1000"] : ["PERSIST", key]
            }
            model[key] = hash
            if random.index(below: 4) == 0 {
                let passed = Int64(random.index(below: 30))
                now += passed
                // The command comes first.
                let replies = clients.map { $0.run(command.map { Array($0.utf8) }) }
                #expect(replies[0] == replies[1], "\(command), seed \(seed)")
                for server in servers {
                    server.time.advance(milliseconds: passed)
                    if step % 3 == 0 { server.reclaimExpired() }
                }
            } else {
                let replies = clients.map { $0.run(command.map { Array($0.utf8) }) }
                #expect(replies[0] == replies[1], "\(command), seed \(seed)")
            }
            for (key, hash) in model {
                let left = hash.filter { $0.value.map { $0 > now } ?? true }
                model[key] = left.isEmpty ? nil : left
            }
            if step % 20 == 0 {
                for (server, client) in zip(servers, clients) {
                    checkInvariants(server)
                    for key in ["h0", "h1", "h2"] {
                        let hash = model[key] ?? [:]
                        #expect(client.run("EXISTS", key) == .integer(hash.isEmpty ? 0 : 1))
                        #expect(client.run("HLEN", key) == .integer(Int64(hash.count)))
                        for (field, deadline) in hash {
                            #expect(
                                client.run("HPEXPIRETIME", key, "FIELDS", "1", field)
                                    == .array([.integer(deadline ?? -1)]), "seed \(seed)")
                        }
                    }
                }
                #expect(clients[0].run("DEBUG", "DIGEST") == clients[1].run("DEBUG", "DIGEST"))
            }
        }
    }
}
