//  SORT, SORT_RO: what transcripts against other servers (Tests/Wire) do not show.

import MartletBase
import Testing

@testable import MartletEngine

struct KeySortTests {
    @Test func `a limit takes its part of the whole order`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        let server = CommandHarness()
        let client = server.client()
        for round in 0..<60 {
            let count = 1 + random.index(below: round < 50 ? 60 : 3_000)
            // Few numbers, so that many are equal, or many; sorted ones are the worst for a pivot.
            let numbers = (0..<count).map { index in
                switch round % 3 {
                case 0: "\(random.index(below: 5))"
                case 1: "\(random.index(below: 100_000))"
                default: "\(index)"
                }
            }
            client.run("DEL", "l")
            client.run(["RPUSH", "l"] + numbers)
            let whole = elements(client.run("SORT", "l"))
            #expect(whole.sorted() == numbers.sorted(), "seed \(seed)")
            #expect(zip(whole, whole.dropFirst()).allSatisfy { Int($0) ?? 0 <= Int($1) ?? 0 })
            #expect(elements(client.run("SORT", "l", "DESC")) == whole.reversed())
            for _ in 0..<8 {
                let offset = random.index(below: count + 2)
                let limit = random.index(below: count + 2)
                let part = client.run("SORT", "l", "LIMIT", "\(offset)", "\(limit)")
                #expect(
                    elements(part) == Array(whole.dropFirst(offset).prefix(limit)),
                    "LIMIT \(offset) \(limit) of \(count), seed \(seed)")
            }
        }
        server.checkPartitions()
    }

    private func elements(_ reply: Reply?) -> [String] {
        guard case .array(let parts) = reply else { return ["no array"] }
        return parts.map { part in
            if case .bulk(let bytes) = part { String(decoding: bytes, as: UTF8.self) } else { "?" }
        }
    }

    @Test func `equal strings keep the order their elements have, up and down`() throws {
        expectTranscript(
            """
            > RPUSH l d b c a e               < (integer) 5
            > MSET w_a 1 w_b 1 w_c 1          < OK
            > SORT l BY w_* ALPHA             < ["d", "e", "b", "c", "a"]
            > SORT l BY w_* ALPHA DESC        < ["b", "c", "a", "d", "e"]
            > SORT l BY w_* ALPHA LIMIT 1 2   < ["e", "b"]
            > SORT l BY w_*                   < ["d", "e", "a", "b", "c"]
            """)
    }

    @Test func `numbers are read as Redis 8 reads them`() throws {
        expectTranscript(
            """
            > RPUSH l "" +2 1. -inf 1e400 .5  < (integer) 6
            > SORT l                          < ["-inf", "", ".5", "1.", "+2", "1e400"]
            > RPUSH blank " 1"                < (integer) 1
            > SORT blank
                < (error) ERR One or more scores can't be converted into double
            > RPUSH nan nan                   < (integer) 1
            > SORT nan
                < (error) ERR One or more scores can't be converted into double
            > RPUSH hex 0x10                  < (integer) 1
            > SORT hex STORE hex
                < (error) ERR One or more scores can't be converted into double
            > LRANGE hex 0 -1                 < ["0x10"]
            """)
    }

    @Test func `a key past its deadline says nothing, and goes`() {
        let server = CommandHarness()
        let client = server.client()
        client.run("RPUSH", "l", "1", "2", "3")
        for element in 1...3 { client.run("SET", "w_\(element)", "\(9 - element)", "PX", "5") }
        client.run("SET", "w_2", "7")
        client.run("HSET", "h_1", "f", "x")
        client.run("PEXPIRE", "h_1", "5")
        server.time.advance(milliseconds: 10)
        #expect(
            client.run("SORT", "l", "BY", "w_*", "GET", "#", "GET", "w_*", "GET", "h_*->f")
                == .array([
                    .bulk("1"), .null, .null, .bulk("3"), .null, .null, .bulk("2"), .bulk("7"),
                    .null,
                ]))
        #expect(client.run("DBSIZE") == .integer(2))
        server.checkPartitions()
    }

    @Test func `STORE touches watched keys and serves who waits`() {
        let server = CommandHarness()
        let client = server.client()
        client.run("RPUSH", "l", "2", "1")
        let watching = server.client()
        watching.run("WATCH", "sorted")
        watching.run("MULTI")
        watching.run("PING")
        #expect(client.run("SORT", "l", "STORE", "sorted") == .integer(2))
        #expect(watching.run("EXEC") == .null)
        #expect(server.changes == 4)

        watching.run("WATCH", "sorted")
        watching.run("MULTI")
        watching.run("PING")
        #expect(client.run("SORT_RO", "l", "BY", "w_*") != nil)
        #expect(client.run("SORT", "missing", "STORE", "gone") == .integer(0))
        #expect(watching.run("EXEC") == .array([.simple("PONG")]))
        #expect(server.changes == 4)
    }

    @Test func `the key of STORE is found where the handler finds it`() throws {
        // Were the two to differ, the handler would write to a shard that is not held.
        expectTranscript(
            """
            > RPUSH l 1                       < (integer) 1
            > SORT l STORE get STORE d        < (integer) 1
            > LRANGE d 0 -1                   < ["1"]
            > EXISTS get                      < (integer) 0
            > SORT l BY store STORE limit     < (integer) 1
            > LRANGE limit 0 -1               < ["1"]
            > COMMAND GETKEYS SORT l STORE get STORE d   < ["l", "d"]
            > COMMAND GETKEYS SORT l GET STORE STORE by  < ["l", "by"]
            """)
    }

    @Test func `the same value asked for again and again is refused`() {
        let server = CommandHarness()
        let client = server.client()
        client.run("RPUSH", "l", "1")
        client.run("SET", "w_1", String(repeating: "x", count: 4_000_000))
        let columns = [String](repeating: "GET w_*", count: 70).flatMap { $0.split(separator: " ") }
        let refusal = Reply.error("ERR value is out of range")
        #expect(client.run(["SORT", "l"] + columns.map(String.init)) == refusal)
        let storing = ["SORT", "l"] + columns.map(String.init) + ["STORE", "l"]
        #expect(client.run(storing) == refusal)
        #expect(client.run("LLEN", "l") == .integer(1))
    }

    @Test func `patterns need all keys, a plain SORT its own`() {
        let server = CommandHarness()
        let client = server.client()
        client.run("RPUSH", "l", "1")
        let keyspace = unsafe server.state.keyspace
        let own = "l".withView { unsafe keyspace.pointee.shardIndex(keyspace.pointee.key($0).hash) }
        var place: UInt64 = 0
        guard var claim = server.state.beginClaim(&place) else {
            Issue.record("nobody else claims")
            return
        }
        for shard in unsafe 0..<keyspace.pointee.shardCount where shard != own {
            server.state.add(shard, to: &claim)
        }
        #expect(client.run("SORT", "l", "BY", "nosort", "GET", "#") == .array([.bulk("1")]))
        #expect(client.run("SORT", "l", "STORE", "l") == .integer(1))
        for line in ["SORT l BY w_*", "SORT_RO l GET w_*->f"] {
            let waiting = server.client()
            waiting.send(Array("\(line)\r\n".utf8))
            #expect(waiting.isParked, "\(line)")
        }
        let inTransaction = server.client()
        inTransaction.run("MULTI")
        inTransaction.run("SORT", "l", "GET", "w_*")
        inTransaction.send(Array("EXEC\r\n".utf8))
        #expect(inTransaction.isParked)
        server.state.end(claim)
        inTransaction.resume()
        #expect(inTransaction.replies() == [.array([.array([.null])])])
    }
}
