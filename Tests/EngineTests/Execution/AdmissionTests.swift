//  The checks before a command runs, and what holds commands up: CLIENT PAUSE, KILL, a shutdown.

import MartletBase
import Synchronization
import Testing

@testable import MartletEngine

/// A request of the words of `line`.
private func request(_ line: String) -> [UInt8] {
    HarnessClient.request(line.split(separator: " ").map { Array($0.utf8) })
}

/// Whether a request stops before it is run.
private func waits(_ line: String, on client: HarnessClient) -> Bool {
    client.send(request(line))
    return client.isParked
}

@Suite struct AdmissionTests {
    @Test func `the checks come in Redis' order`() {
        let server = CommandHarness()
        let client = server.client()
        client.gate = .unauthenticated
        func answer(_ line: String) -> String {
            client.send(request(line))
            return client.replies().first.map { "\($0)" } ?? ""
        }
        // Unknown, wrong number, not authenticated: the first that holds is told.
        #expect(answer("NOSUCH").hasPrefix("(error) ERR unknown command"))
        #expect(answer("GET").hasPrefix("(error) ERR wrong number"))
        #expect(answer("CLIENT NOSUCH").hasPrefix("(error) ERR unknown subcommand"))
        #expect(answer("CLIENT ID") == "(error) NOAUTH Authentication required.")
        #expect(answer("GET k") == "(error) NOAUTH Authentication required.")
        server.state.set([.loading, .pausedAll], true)
        #expect(answer("GET k") == "(error) NOAUTH Authentication required.")
        client.gate = []
        #expect(answer("GET k") == "(error) LOADING Redis is loading the dataset in memory")
        #expect(answer("GET").hasPrefix("(error) ERR wrong number"))
        server.state.set(.loading, false)
        #expect(answer("GET").hasPrefix("(error) ERR wrong number"))
        #expect(waits("GET k", on: client))
    }

    @Test func `a pause of all holds every command back that could run`() {
        let server = CommandHarness()
        let admin = server.client()
        admin.run("CLIENT", "PAUSE", "100", "ALL")
        for line in ["PING", "GET k", "SET k 1", "MULTI", "QUIT", "EXEC", "DISCARD", "RESET"] {
            let client = server.client()
            #expect(waits(line, on: client), "\(line)")
            #expect(client.rawReplies().isEmpty)
        }
        for line in ["NOSUCH", "GET"] {
            #expect(!waits(line, on: server.client()), "\(line)")
        }
    }

    @Test func `a pause of writes holds writes back, queued ones too, and lets reads run`() {
        let server = CommandHarness()
        let admin = server.client()
        admin.run("CLIENT", "PAUSE", "100", "WRITE")
        for line in ["PING", "GET k", "MULTI", "EXEC", "UNWATCH", "WATCH k"] {
            #expect(!waits(line, on: server.client()), "\(line)")
        }
        for line in ["SET k 1", "DEL k", "FLUSHALL", "MSET a 1 b 2"] {
            #expect(waits(line, on: server.client()), "\(line)")
        }
        let reader = server.client()
        for line in ["MULTI", "GET k", "EXEC"] { #expect(!waits(line, on: reader)) }
        let writer = server.client()
        #expect(!waits("MULTI", on: writer))
        #expect(waits("SET k 1", on: writer))
    }

    @Test func `an EXEC with writes queued before a pause waits for its end`() {
        let server = CommandHarness()
        let client = server.client()
        client.run("MULTI")
        client.run("SET", "k", "1")
        server.client().run("CLIENT", "PAUSE", "100", "WRITE")
        #expect(waits("EXEC", on: client))
        #expect(client.rawReplies().isEmpty)
        #expect(server.client().run("GET", "k") == .null)
        server.time.advance(milliseconds: 101)
        #expect(server.state.endPauseIfDue() == nil)
        client.resume()
        #expect(client.replies() == [.array([.simple("OK")])])
        #expect(server.client().run("GET", "k") == .bulk("1"))
    }

    @Test func `requests behind one that waits stay where they are, in order`() {
        let server = CommandHarness()
        let client = server.client()
        server.client().run("CLIENT", "PAUSE", "100", "WRITE")
        // The malformed end is not even looked at before the rest has run.
        client.send(
            request("PING") + request("INCR k") + request("GET k") + request("INCR k")
                + Array("*x\r\n".utf8))
        #expect(client.isParked && !client.isClosed)
        #expect(client.replies() == [.simple("PONG")])
        // Neither a byte more nor trying too early changes anything.
        client.send(request("PING"))
        client.resume()
        #expect(client.isParked && client.rawReplies().isEmpty)
        server.state.endPause()
        client.resume()
        #expect(
            client.replies() == [
                .integer(1), .bulk("1"), .integer(2),
                .error("ERR Protocol error: invalid multibulk length"),
            ])
        #expect(client.isClosed)
    }

    @Test func `CLIENT REPLY SKIP outlasts the wait of the command it is for`() {
        let server = CommandHarness()
        let client = server.client()
        client.send(request("CLIENT REPLY SKIP"))
        server.client().run("CLIENT", "PAUSE", "100", "WRITE")
        #expect(waits("SET k 1", on: client))
        server.state.endPause()
        client.resume()
        client.send(request("GET k"))
        #expect(client.replies() == [.bulk("1")])
    }

    @Test func `a pause that was renewed is not ended by the old one's time`() {
        let server = CommandHarness()
        let client = server.client()
        client.run("CLIENT", "PAUSE", "100", "WRITE")
        server.time.advance(milliseconds: 50)
        client.run("CLIENT", "PAUSE", "100", "WRITE")
        server.time.advance(milliseconds: 60)
        #expect(server.state.endPauseIfDue() == 40_000_000)
        #expect(waits("SET k 1", on: client))
        let before = server.state.releaseCount.load(ordering: .relaxed)
        server.time.advance(milliseconds: 40)
        #expect(server.state.endPauseIfDue() == nil)
        #expect(server.state.releaseCount.load(ordering: .relaxed) == before + 1)
        client.resume()
        #expect(client.replies() == [.simple("OK")])
    }

    @Test func `a killed client runs nothing more, not even what it sent before`() {
        let server = CommandHarness()
        let client = server.client()
        client.run("SET", "k", "1")
        client.record.kill()
        for line in ["SET k 2", "GET k", "MSET k 3 l 3", "PING", "NOSUCH"] {
            client.send(request(line))
        }
        #expect(client.isClosed && client.rawReplies().isEmpty)
        #expect(server.client().run("GET", "k") == .bulk("1"))
        let inTransaction = server.client()
        inTransaction.run("MULTI")
        inTransaction.run("SET", "k", "4")
        inTransaction.record.kill()
        inTransaction.send(request("EXEC"))
        #expect(inTransaction.isClosed)
        #expect(server.client().run("GET", "k") == .bulk("1"))
    }

    @Test func `what a queued command wants beyond its reply ends its own connection alone`() {
        let server = CommandHarness()
        let other = server.client()
        let client = server.client()
        let id = "\(client.record.id)"
        client.run("MULTI")
        client.run("CLIENT", "KILL", "ID", id, "SKIPME", "NO")
        client.run("SET", "k", "1")
        #expect(client.run("EXEC") == .array([.integer(1), .simple("OK")]))
        #expect(client.isClosed)
        #expect(other.run("GET", "k") == .bulk("1"))
        #expect(!other.isClosed)
    }

    @Test func `writes wait for ever while the server shuts down`() {
        let server = CommandHarness()
        let client = server.client()
        client.run("SET", "k", "1")
        server.state.set(.shuttingDown, true)
        #expect(client.run("GET", "k") == .bulk("1"))
        #expect(waits("SET k 2", on: client))
    }

    // MARK: MONITOR

    @Test func `monitors see what ran, in Redis' order`() {
        let server = CommandHarness()
        let seen = Mutex<[String]>([])
        server.state.monitorFeed.function = { line in
            let words = line.arguments.map { String(decoding: $0, as: UTF8.self) }
            seen.withLock { $0.append(words.joined(separator: " ")) }
        }
        server.state.set(.monitored, true)
        let client = server.client()
        for line in [
            "MULTI", "SET a 1", "GET a", "EXEC", "GET b", "NOSUCH", "GET", "AUTH x", "MULTI",
            "NOSUCH", "EXEC", "WATCH a", "DISCARD", "CLIENT KILL ID 99", "MGET a b",
        ] {
            client.send(request(line))
        }
        #expect(
            seen.withLock { $0 } == [
                "MULTI", "SET a 1", "GET a", "EXEC", "GET b", "AUTH (redacted)", "MULTI", "EXEC",
                "WATCH a", "DISCARD", "MGET a b",
            ])
    }

    @Test func `monitors see a command once, although it had to wait`() {
        let server = CommandHarness()
        let count = Atomic<Int>(0)
        server.state.monitorFeed.function = { _ in count.add(1, ordering: .relaxed) }
        server.state.set(.monitored, true)
        var place: UInt64 = 0
        guard var claim = server.state.beginClaim(&place) else {
            Issue.record("nobody else claims")
            return
        }
        for shard in unsafe 0..<server.state.keyspace.pointee.shardCount {
            server.state.add(shard, to: &claim)
        }
        let client = server.client()
        #expect(waits("SET k 1", on: client))
        client.resume()
        #expect(client.isParked)
        #expect(count.load(ordering: .relaxed) == 0)
        server.state.end(claim)
        client.resume()
        #expect(count.load(ordering: .relaxed) == 1)
    }
}
