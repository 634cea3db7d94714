//  MULTI, EXEC, DISCARD, WATCH: what aborts, what is run, what is seen. Replies were recorded from
//  redis-server 7.0.15 and 8.2.3.

import MartletBase
import Testing

@testable import MartletEngine

/// Sends requests, each a line of words, in one piece; returns the bytes of the replies.
private func replies(_ lines: String, from client: HarnessClient) -> String {
    client.send(
        lines.split(separator: "\n").flatMap { line in
            HarnessClient.request(line.split(separator: " ").map { Array($0.utf8) })
        })
    return String(decoding: client.rawReplies(), as: UTF8.self)
}

@Suite struct TransactionTests {
    // MARK: Queueing

    @Test func `queued commands run at EXEC, in order`() {
        expectTranscript(
            """
            > MULTI                 < OK
            > SET k 1               < QUEUED
            b> EXISTS k             < (integer) 0
            > INCR k                < QUEUED
            > GET k                 < QUEUED
            > EXEC                  < [OK, (integer) 2, "2"]
            b> GET k                < "2"
            > MULTI                 < OK
            > EXEC                  < []
            > EXEC                  < (error) ERR EXEC without MULTI
            > DISCARD               < (error) ERR DISCARD without MULTI
            """)
    }

    @Test func `DISCARD forgets what was queued and what was watched`() {
        expectTranscript(
            """
            > WATCH k               < OK
            > MULTI                 < OK
            > SET k 1               < QUEUED
            > DISCARD               < OK
            > GET k                 < (nil)
            b> SET k other          < OK
            > MULTI                 < OK
            > GET k                 < QUEUED
            > EXEC                  < ["other"]
            """)
    }

    @Test func `an error at queueing aborts, one while running does not`() {
        expectTranscript(
            """
            > MULTI                 < OK
            > NOSUCH a b            <~ (error) ERR unknown command 'NOSUCH'*
            > SET k 1               < QUEUED
            > EXEC        < (error) EXECABORT Transaction discarded because of previous errors.
            > MULTI                 < OK
            > GET                   <~ (error) ERR wrong number of arguments*
            > EXEC        < (error) EXECABORT Transaction discarded because of previous errors.
            > EXEC                  < (error) ERR EXEC without MULTI
            > MULTI                 < OK
            > CLIENT NOSUCH  < (error) ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP.
            > EXEC        < (error) EXECABORT Transaction discarded because of previous errors.
            > MULTI                 < OK
            > CLIENT                <~ (error) ERR wrong number of arguments for 'client'*
            > EXEC        < (error) EXECABORT Transaction discarded because of previous errors.
            > GET k                 < (nil)
            > SET s text            < OK
            > MULTI                 < OK
            > INCR s                < QUEUED
            > SET k 1               < QUEUED
            > EXEC
            < [(error) ERR value is not an integer or out of range, OK]
            > GET k                 < "1"
            """)
    }

    @Test func `MULTI and WATCH inside of a transaction are refused and do not abort`() {
        expectTranscript(
            """
            > MULTI                 < OK
            > MULTI                 < (error) ERR MULTI calls can not be nested
            > WATCH k               < (error) ERR WATCH inside MULTI is not allowed
            > SET k 1               < QUEUED
            > EXEC                  < [OK]
            """)
    }

    @Test func `an EXEC that may not run ends the transaction and says why`() {
        expectTranscript(
            """
            > WATCH w               < OK
            > MULTI                 < OK
            > SET k 1               < QUEUED
            > EXEC now
            < (error) EXECABORT Transaction discarded because of: wrong number of arguments for \
            'exec' command
            > EXEC                  < (error) ERR EXEC without MULTI
            > GET k                 < (nil)
            """)
        let client = CommandHarness().client()
        client.gate = .unauthenticated
        #expect(
            client.run("EXEC")
                == .error(
                    "EXECABORT Transaction discarded because of: NOAUTH Authentication required."))
    }

    @Test func `QUIT and RESET are not queued`() {
        let server = CommandHarness()
        let client = server.client()
        #expect(
            replies("MULTI\nSET k 1\nRESET\nEXEC", from: client)
                == "+OK\r\n+QUEUED\r\n+RESET\r\n-ERR EXEC without MULTI\r\n")
        #expect(
            replies("MULTI\nSET k 1\nQUIT\nPING", from: client) == "+OK\r\n+QUEUED\r\n+OK\r\n")
        #expect(client.isClosed)
        #expect(server.client().run("GET", "k") == .null)
    }

    @Test func `subcommands are queued and read their own arguments`() {
        expectTranscript(
            """
            > SET k 1                    < OK
            > MULTI                      < OK
            > CLIENT SETNAME ann         < QUEUED
            > OBJECT ENCODING k          < QUEUED
            > CLIENT GETNAME             < QUEUED
            > EXEC                       < [OK, "int", "ann"]
            """)
    }

    @Test func `SELECT inside of a transaction holds for what follows, in it and after it`() {
        expectTranscript(
            """
            > MULTI                 < OK
            > SELECT 3              < QUEUED
            > SET k three           < QUEUED
            > SELECT 99             < QUEUED
            > GET k                 < QUEUED
            > EXEC        < [OK, OK, (error) ERR DB index is out of range, "three"]
            > GET k                 < "three"
            > SELECT 0              < OK
            > GET k                 < (nil)
            """)
    }

    @Test func `commands over all shards run inside of a transaction`() {
        expectTranscript(
            """
            > MSET a 1 b 2 c 3 d 4  < OK
            > MULTI                 < OK
            > DBSIZE                < QUEUED
            > DEL a b nosuch        < QUEUED
            > DBSIZE                < QUEUED
            > FLUSHALL              < QUEUED
            > DBSIZE                < QUEUED
            > MSET x 1 y 2          < QUEUED
            > SWAPDB 0 1            < QUEUED
            > DBSIZE                < QUEUED
            > EXEC
            < [(integer) 4, (integer) 2, (integer) 2, OK, (integer) 0, OK, OK, (integer) 0]
            > SELECT 1              < OK
            > DBSIZE                < (integer) 2
            """)
    }

    @Test func `what is queued outlives the bytes it came in`() {
        let server = CommandHarness()
        let client = server.client()
        let value = [UInt8](repeating: 0x76, count: 100_000)
        client.run("MULTI")
        for index in 0..<50 {
            client.run([Array("SET".utf8), Array("k\(index)".utf8), value])
        }
        #expect(client.record.queuedCommands.load(ordering: .relaxed) == 50)
        #expect(client.record.transactionBytes.load(ordering: .relaxed) > 5_000_000)
        #expect(client.run("EXEC") == .array(.init(repeating: .simple("OK"), count: 50)))
        #expect(client.run("GET", "k49") == .bulk(value))
        #expect(client.record.queuedCommands.load(ordering: .relaxed) == -1)
        #expect(client.record.transactionBytes.load(ordering: .relaxed) == 0)
    }

    @Test func `who queues more than a query buffer holds is closed`() {
        let server = CommandHarness()
        server.state.settings.queryBufferBytesMax.store(100_000, ordering: .relaxed)
        let client = server.client()
        client.run("MULTI")
        for _ in 0..<10_000 where !client.isClosed { client.run("SET", "k", "v") }
        #expect(client.isClosed)
        #expect(server.client().run("PING") == .simple("PONG"))
    }

    // MARK: WATCH

    @Test func `a watched key that was written aborts`() {
        for write in [
            "SET k 2", "DEL k", "APPEND k x", "INCR k", "PEXPIRE k 5000", "RENAME other k",
            "RENAME k away", "MSET a 1 k 2", "GETDEL k", "SETRANGE k 0 y", "COPY other k REPLACE",
            "MOVE k 5", "FLUSHALL", "FLUSHDB", "SWAPDB 0 5", "UNLINK k", "SETBIT k 1 1",
        ] {
            expectTranscript(
                """
                > MSET k 1 other 2      < OK
                > WATCH k               < OK
                > GET k                 < "1"
                b> \(write)             < *
                > MULTI                 < OK
                > SET "after \(write)" 1   < QUEUED
                > EXEC                  < (nil)
                > EXISTS "after \(write)"  < (integer) 0
                > MULTI                 < OK
                > EXEC                  < []
                """)
        }
    }

    @Test func `what changes nothing, or another key or database, does not abort`() {
        for write in [
            "GET k", "EXISTS k", "SET other 2", "TTL k", "SET k 2 NX", "DEL nosuch", "PERSIST k",
            "FLUSHDB", "SWAPDB 5 6", "TYPE k", "STRLEN k", "OBJECT ENCODING k", "SETNX k 2",
            "EXPIRE nosuch 5", "MSETNX k 2 x 3", "KEYS *", "SCAN 0", "DBSIZE",
        ] {
            let selects = write == "FLUSHDB" ? "b> SELECT 7  < OK" : "b> PING  < PONG"
            expectTranscript(
                """
                > SET k 1               < OK
                > WATCH k               < OK
                \(selects)
                b> \(write)             < *
                > MULTI                 < OK
                > GET k                 < QUEUED
                > EXEC                  < ["1"]
                """)
        }
    }

    @Test func `one's own write before MULTI aborts, one in the transaction does not`() {
        expectTranscript(
            """
            > WATCH k               < OK
            > SET k 1               < OK
            > MULTI                 < OK
            > GET k                 < QUEUED
            > EXEC                  < (nil)
            > WATCH k               < OK
            > MULTI                 < OK
            > SET k 2               < QUEUED
            > SET k 3               < QUEUED
            > EXEC                  < [OK, OK]
            """)
    }

    @Test func `UNWATCH forgets, and inside of a transaction comes too late to`() {
        expectTranscript(
            """
            > WATCH k l             < OK
            b> SET k 1              < OK
            > UNWATCH               < OK
            > MULTI                 < OK
            > PING                  < QUEUED
            > EXEC                  < [PONG]
            > WATCH k               < OK
            b> SET k 2              < OK
            > MULTI                 < OK
            > UNWATCH               < QUEUED
            > EXEC                  < (nil)
            > WATCH k               < OK
            > MULTI                 < OK
            > UNWATCH               < QUEUED
            > EXEC                  < [OK]
            """)
    }

    @Test func `a key watched in one database is not that of another`() {
        expectTranscript(
            """
            > WATCH k               < OK
            b> SELECT 1             < OK
            b> SET k 1              < OK
            > MULTI                 < OK
            > PING                  < QUEUED
            > EXEC                  < [PONG]
            > SELECT 1              < OK
            > WATCH k               < OK
            > SELECT 0              < OK
            b> SET k 2              < OK
            > MULTI                 < OK
            > PING                  < QUEUED
            > EXEC                  < (nil)
            """)
    }

    @Test func `a watched key that was alive and is past its deadline aborts`() {
        expectTranscript(
            """
            > SET k 1 PX 100        < OK
            > WATCH k               < OK
            @ advance 101
            > MULTI                 < OK
            > PING                  < QUEUED
            > EXEC                  < (nil)
            # The same when somebody reclaims it in between.
            > SET k 1 PX 100        < OK
            > WATCH k               < OK
            @ advance 101
            b> GET k                < (nil)
            > MULTI                 < OK
            > PING                  < QUEUED
            > EXEC                  < (nil)
            """)
    }

    @Test func `a watched key past its deadline at WATCH does not abort, reclaimed or not`() {
        // That somebody watches another key makes the reclaiming known to all who watch.
        for reclaim in ["GET k", "DEL k", "EXISTS k", "PING", "FLUSHALL", "FLUSHDB", "SWAPDB 5 6"] {
            expectTranscript(
                """
                c> WATCH other          < OK
                > SET k 1 PX 100        < OK
                @ advance 101
                > WATCH k               < OK
                b> \(reclaim)           < *
                > MULTI                 < OK
                > EXISTS k              < QUEUED
                > EXEC                  < [(integer) 0]
                """)
        }
        for write in ["SET k 2", "APPEND k x", "SETNX k 2"] {
            expectTranscript(
                """
                > SET k 1 PX 100        < OK
                @ advance 101
                > WATCH k               < OK
                b> \(write)             < *
                > MULTI                 < OK
                > EXISTS k              < QUEUED
                > EXEC                  < (nil)
                """)
        }
    }

    @Test func `a missing key that is watched aborts when it is made, not when it stays missing`() {
        expectTranscript(
            """
            > WATCH k               < OK
            b> SET k 1              < OK
            b> DEL k                < (integer) 1
            > MULTI                 < OK
            > EXEC                  < (nil)
            > WATCH k               < OK
            b> DEL k                < (integer) 0
            b> FLUSHALL             < OK
            b> SWAPDB 0 1           < OK
            > MULTI                 < OK
            > EXEC                  < []
            """)
    }

    @Test func `SWAPDB touches a missing key that it brings, but not one it brings expired`() {
        expectTranscript(
            """
            b> SELECT 1             < OK
            b> SET k 1              < OK
            > WATCH k               < OK
            b> SWAPDB 0 1           < OK
            > MULTI                 < OK
            > EXEC                  < (nil)
            """)
        expectTranscript(
            """
            b> SELECT 1             < OK
            b> SET k 1 PX 100       < OK
            @ advance 101
            > WATCH k               < OK
            b> SWAPDB 0 1           < OK
            > MULTI                 < OK
            > EXISTS k              < QUEUED
            > EXEC                  < [(integer) 0]
            """)
    }

    @Test func `a transaction sees one time`() {
        let server = CommandHarness()
        let client = server.client()
        client.run("SET", "k", "1", "PX", "100")
        client.run("MULTI")
        client.run("PTTL", "k")
        client.run("PTTL", "k")
        #expect(client.run("EXEC") == .array([.integer(100), .integer(100)]))
    }

    @Test func `a closed connection watches nothing`() {
        let server = CommandHarness()
        do {
            let client = server.client()
            client.run("WATCH", "k", "l", "k")
            #expect(client.record.watchedKeys.load(ordering: .relaxed) == 2)
            #expect(server.state.sinks == .watching)
        }
        #expect(server.state.sinks.isEmpty)
    }

    @Test func `many keys can be watched at once`() {
        let server = CommandHarness()
        let client = server.client()
        let keys = (0..<20_000).map { Array("key \($0)".utf8) }
        #expect(client.run([Array("WATCH".utf8)] + keys) == .simple("OK"))
        let other = server.client()
        other.run([Array("SET".utf8), keys[19_999], [0x31]])
        client.run("MULTI")
        #expect(client.run("EXEC") == .null)
        #expect(server.state.sinks.isEmpty)
    }

    // MARK: CLIENT REPLY

    @Test func `CLIENT REPLY silences the replies of a transaction as those of others`() {
        let client = CommandHarness().client()
        #expect(
            replies("CLIENT REPLY SKIP\nMULTI\nPING\nECHO 2\nEXEC", from: client)
                == "+QUEUED\r\n+QUEUED\r\n*2\r\n+PONG\r\n$1\r\n2\r\n")
        #expect(
            replies("CLIENT REPLY SKIP\nNOSUCH\nECHO 2", from: client) == "$1\r\n2\r\n")
        #expect(
            replies(
                "CLIENT REPLY OFF\nPING\nNOSUCH\nMULTI\nSET k 1\nEXEC\nCLIENT REPLY ON\nGET k",
                from: client)
                == "+OK\r\n$1\r\n1\r\n")
    }

    // MARK: Counting

    @Test func `an expiry met on the way is no change to the data`() {
        let server = CommandHarness()
        let client = server.client()
        client.run("SET", "k", "1", "PX", "10")
        let changes = server.changes
        server.time.advance(milliseconds: 11)
        #expect(client.run("GET", "k") == .null)
        #expect(server.changes == changes)
    }

    @Test func `each queued command counts as a call, and so does EXEC`() {
        let server = CommandHarness()
        let client = server.client()
        _ = replies("MULTI\nSET k 1\nSET k 2\nEXEC\nMULTI\nNOSUCH\nEXEC", from: client)
        func calls(_ name: String) -> UInt64 {
            guard let command = server.commands.command(named: name) else { return 0 }
            return server.state.statistics[0].command(command.number).calls
        }
        #expect(calls("set") == 2)
        #expect(calls("exec") == 2)
        #expect(calls("multi") == 2)
        #expect(server.state.statistics[0].errors() == ["ERR": 1, "EXECABORT": 1])
    }
}
