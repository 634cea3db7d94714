//  Client-side caching in process: what is told to whom, and where it stands among the replies. The
//  bytes were recorded from redis-server 7.0.15, 8.2.3 and valkey-server 9.1, which agree unless it
//  says so.

import MartletBase
import Testing

@testable import MartletEngine

/// Sends requests, each a line of words, in one piece; returns the bytes that came.
@discardableResult
private func send(_ lines: String, to client: HarnessClient) -> String {
    client.send(
        lines.split(separator: "\n").flatMap { line in
            HarnessClient.request(line.split(separator: " ").map { Array($0.utf8) })
        })
    return arrived(at: client)
}

/// The bytes that came to a client, line ends shown as blanks.
private func arrived(at client: HarnessClient) -> String {
    String(decoding: client.rawReplies(), as: UTF8.self).replacing("\r\n", with: " ")
}

/// A push for these keys.
private func told(_ keys: String...) -> String {
    ">2 $10 invalidate *\(keys.count) " + keys.map { "$\($0.utf8.count) \($0) " }.joined()
}

private let toldOfAll = ">2 $10 invalidate _ "

@Suite struct TrackingTests {
    let server = CommandHarness()

    private func tracker(_ options: String = "") -> HarnessClient {
        let client = server.client(isRESP3: true)
        #expect(send("CLIENT TRACKING ON \(options)", to: client) == "+OK ")
        return client
    }

    // MARK: Default mode

    @Test func `a key is told of once, until it is read again`() {
        let client = tracker()
        let writer = server.client()
        #expect(send("GET k", to: client) == "_ ")
        send("SET k 1\nSET k 2", to: writer)
        #expect(arrived(at: client) == told("k"))
        send("SET k 3", to: writer)
        #expect(arrived(at: client) == "")
        #expect(send("GET k\nGET k", to: client) == "$1 3 $1 3 ")
        send("DEL k", to: writer)
        #expect(arrived(at: client) == told("k"))
        #expect(server.state.tracking.keyCount == 0)
    }

    @Test func `what a command changes itself is told behind its reply`() {
        let client = tracker()
        #expect(
            send("GET k\nGET x\nSET k 2\nGET x\nSET x 5\nMGET k x", to: client)
                == "_ _ +OK " + told("k") + "_ +OK " + told("x") + "*2 $1 2 $1 5 ")
        #expect(
            send("GET k\nMULTI\nSET k 1\nGET k\nSET k 2\nEXEC\nPING", to: client)
                == "$1 2 +OK +QUEUED +QUEUED +QUEUED *3 +OK $1 1 +OK " + told("k") + told("k")
                + "+PONG ")
    }

    @Test func `what came before a command is told before its reply`() {
        // In process nothing comes between requests of one event: two clients, news left in the inbox.
        let client = tracker()
        send("GET k", to: client)
        let key = Array("k".utf8)
        key.withView {
            var news = Invalidations()
            news.append(
                .key, tracker: Tracker(client: client.record.id, loop: 0), writer: 0, key: $0)
            server.state.tracking.post(news)
        }
        #expect(send("GET k\nPING", to: client) == told("k") + "_ +PONG ")
    }

    @Test func `keys of all reads are remembered, missing ones and errors included, no writes`() {
        let client = tracker()
        let writer = server.client()
        send("RPUSH l 1\nSADD s 1", to: writer)
        send(
            """
            EXISTS e1
            TTL e2
            TYPE e3
            GET l
            SINTER s e4
            MGET e5 e6
            OBJECT ENCODING e7
            PFCOUNT e8
            SORT_RO e9 BY w_* GET w_*
            SORT e10
            GETEX e11
            WATCH e12
            """, to: client)
        var expected = ""
        for number in 1...12 {
            send("SET e\(number) 1\nSET w_\(number) 1", to: writer)
            if number <= 9 { expected += told("e\(number)") }
        }
        #expect(arrived(at: client) == expected)
        send("RPUSH l 2\nSADD s 2", to: writer)
        #expect(arrived(at: client) == told("l") + told("s"))
    }

    @Test func `expiry is told, met by a read or by the cycle`() {
        let client = tracker()
        let writer = server.client()
        send(
            "SET a 1 PX 100\nSET b 1 PX 200\nHSET h f 1 g 1\nHPEXPIRE h 200 FIELDS 1 f", to: writer)
        send("GET a\nGET b\nHGETALL h", to: client)
        server.time.advance(milliseconds: 150)
        #expect(send("GET a", to: client) == "_ " + told("a"))
        server.time.advance(milliseconds: 100)
        server.reclaimExpired()
        server.tellTrackers()
        let rest = arrived(at: client)
        #expect(rest == told("b") + told("h") || rest == told("h") + told("b"))
    }

    @Test func `a flush and an exchange of databases are told to all`() {
        let client = tracker("NOLOOP")
        let other = tracker("BCAST PREFIX x")
        let writer = server.client()
        for command in ["FLUSHALL", "FLUSHDB", "SWAPDB 0 1"] {
            send("GET k", to: client)
            #expect(server.state.tracking.keyCount == 1)
            send(command, to: writer)
            #expect(arrived(at: client) == toldOfAll)
            #expect(arrived(at: other) == toldOfAll)
            #expect(server.state.tracking.keyCount == 0)
        }
        #expect(send("FLUSHALL\nPING", to: client) == "+OK " + toldOfAll + "+PONG ")
    }

    @Test func `names are told whatever the database`() {
        let client = tracker()
        let writer = server.client()
        send("GET k", to: client)
        send("SELECT 3\nSET k 1", to: writer)
        #expect(arrived(at: client) == told("k"))
    }

    @Test func `NOLOOP spares the client what it does itself`() {
        let client = tracker("NOLOOP")
        let writer = server.client()
        #expect(send("GET k\nSET k 1\nGET k", to: client) == "_ +OK $1 1 ")
        send("SET k 2", to: writer)
        #expect(arrived(at: client) == told("k"))
    }

    @Test func `a served wait is told before the reply that it brings`() {
        let client = tracker()
        let writer = server.client()
        send("LRANGE l 0 -1\nBLPOP l 0", to: client)
        send("RPUSH l 1", to: writer)
        #expect(arrived(at: client) == told("l"))
    }

    // MARK: OPTIN and OPTOUT

    @Test func `CACHING counts for one command or transaction, those of CLIENT aside`() {
        let writer = server.client()
        let client = tracker("OPTIN")
        send(
            """
            GET a1
            CLIENT CACHING YES
            GET a2
            GET a3
            CLIENT CACHING YES
            CLIENT ID
            GET a4
            CLIENT CACHING YES
            MULTI
            GET a5
            GET a6
            EXEC
            GET a7
            MULTI
            CLIENT CACHING YES
            GET a8
            EXEC
            CLIENT CACHING YES
            NOSUCH
            GET a9
            CLIENT CACHING YES
            GET
            GET b1
            CLIENT CACHING YES
            CLIENT NOSUCH
            GET b2
            """, to: client)
        for key in (1...9).map({ "a\($0)" }) + ["b1", "b2"] { send("SET \(key) 1", to: writer) }
        #expect(
            arrived(at: client) == told("a2") + told("a4") + told("a5") + told("a6") + told("a8"))
        let outside = tracker("OPTOUT")
        send("GET a1\nCLIENT CACHING NO\nGET a2\nGET a3", to: outside)
        for number in 1...3 { send("SET a\(number) 1", to: writer) }
        #expect(arrived(at: outside) == told("a1") + told("a3"))
    }

    // MARK: Broadcasting

    @Test func `a listener is told of all keys under its prefixes, in order`() {
        let all = tracker("BCAST")
        let some = tracker("BCAST PREFIX bb PREFIX aa NOLOOP")
        let writer = server.client()
        send("MSET aa2 1 bb1 1 c 1 aa1 1", to: writer)
        #expect(arrived(at: all) == told("aa1", "aa2", "bb1", "c"))
        #expect(arrived(at: some) == told("aa1", "aa2") + told("bb1"))
        send("DEL nosuch", to: writer)
        #expect(arrived(at: all) == "")
        #expect(send("MSET aa1 1 bb1 1", to: some) == "+OK ")
        #expect(arrived(at: all) == told("aa1", "bb1"))
        #expect(server.state.tracking.prefixCount == 3)
        #expect(server.state.tracking.keyCount == 0)
        send("CLIENT TRACKING OFF", to: some)
        #expect(server.state.tracking.prefixCount == 1)
    }

    @Test func `a listener is told when a key expires, NOLOOP or not`() {
        let client = tracker("BCAST NOLOOP")
        #expect(send("SET k 1 PX 50", to: client) == "+OK ")
        server.time.advance(milliseconds: 60)
        server.reclaimExpired()
        server.tellTrackers()
        #expect(arrived(at: client) == told("k"))
    }

    // MARK: Redirection

    @Test func `news goes to the client that it is redirected to`() {
        let target = server.client(isRESP3: true)
        let client = server.client()
        let writer = server.client()
        send("CLIENT TRACKING ON REDIRECT \(target.record.id)\nGET k", to: client)
        send("SET k 1", to: writer)
        #expect(arrived(at: target) == told("k"))
        #expect(arrived(at: client) == "")
        #expect(send("CLIENT GETREDIR", to: client) == ":\(target.record.id) ")
    }

    @Test func `a tracker is told that its target is gone`() {
        let client = server.client(isRESP3: true)
        let writer = server.client()
        do {
            let target = server.client(isRESP3: true)
            send("CLIENT TRACKING ON REDIRECT \(target.record.id)\nGET k", to: client)
        }
        let broken = ">2 $21 tracking-redir-broken :2 "
        // IDs begin at 1: client, writer, target.
        send("SET k 1", to: writer)
        #expect(arrived(at: client) == broken.replacing(":2", with: ":3"))
        #expect(send("CLIENT TRACKINGINFO", to: client).contains("$15 broken_redirect"))
        #expect(send("CLIENT INFO", to: client).contains(" flags=tR "))
        #expect(send("CLIENT TRACKING ON\nCLIENT INFO", to: client).contains(" flags=t "))
    }

    @Test func `RESP2 is told nothing`() {
        let client = server.client()
        let writer = server.client()
        send("CLIENT TRACKING ON\nGET k", to: client)
        send("SET k 1", to: writer)
        #expect(arrived(at: client) == "")
        send("GET k\nHELLO 3", to: client)
        send("SET k 1", to: writer)
        #expect(arrived(at: client) == told("k"))
    }

    // MARK: Ends

    @Test func `who stops tracking is forgotten with the next write, or by and by`() {
        let writer = server.client()
        let stays = tracker()
        let client = tracker()
        send("GET k\nGET l", to: client)
        send("GET k", to: stays)
        #expect(send("RESET", to: client) == "+RESET ")
        #expect(server.state.trackingClientCount == 1)
        #expect(server.state.tracking.trackerCount == 3)
        send("SET k 1", to: writer)
        #expect(arrived(at: client) == "" && arrived(at: stays) == told("k"))
        #expect(server.state.tracking.keyCount == 1)
        send("CLIENT TRACKING OFF", to: stays)
        while server.state.trimTracking(shards: 3) {}
        #expect(server.state.tracking.keyCount == 0 && server.state.tracking.trackerCount == 0)
        #expect(!server.state.sinks.contains(.tracking))
    }

    @Test func `a closed client tracks no more`() {
        do {
            let client = tracker("BCAST PREFIX x")
            #expect(server.state.sinks.contains(.tracking))
            send("PING", to: client)
        }
        #expect(server.state.trackingClientCount == 0)
        #expect(server.state.tracking.prefixCount == 0)
        #expect(!server.state.sinks.contains(.tracking))
    }

    @Test func `no more keys are remembered than may be, and who loses one is told`() {
        let client = tracker()
        server.state.tracking.keysMax.store(100, ordering: .relaxed)
        var copies: Set<String> = []
        for number in 0..<500 {
            copies.insert("k\(number)")
            send("GET k\(number)", to: client)
            for key in Self.keys(in: arrived(at: client)) { copies.remove(key) }
        }
        #expect(server.state.tracking.keyCount == 100)
        // Of each copy that the client still has, it will be told.
        server.state.tracking.keysMax.store(10, ordering: .relaxed)
        while server.state.trimTracking(shards: 2) {}
        server.tellTrackers()
        #expect(server.state.tracking.keyCount == 10)
        send("FLUSHALL", to: server.client())
        #expect(server.state.tracking.keyCount == 0)
    }

    private static func keys(in pushes: String) -> [String] {
        pushes.split(separator: " ").filter { $0.hasPrefix("k") }.map(String.init)
    }

    // MARK: CLIENT REPLY

    @Test func `pushes come although replies are off`() {
        let client = tracker()
        let writer = server.client()
        send("GET k\nCLIENT REPLY OFF", to: client)
        send("SET k 1", to: writer)
        #expect(arrived(at: client) == told("k"))
        #expect(send("GET k\nSET k 3", to: client) == told("k"))
        #expect(send("CLIENT REPLY ON\nGET k", to: client) == "+OK $1 3 ")
        #expect(send("CLIENT REPLY SKIP\nSET k 3\nPING", to: client) == told("k") + "+PONG ")
    }

    // MARK: Beside other conditions

    @Test func `while writes are paused, an expired key is hidden and told when it is removed`() {
        let client = tracker()
        let admin = server.client()
        send("SET k 1 PX 100\nCLIENT PAUSE 100000 WRITE", to: admin)
        send("GET k", to: client)
        server.time.advance(milliseconds: 150)
        #expect(send("GET k\nEXISTS k\nMULTI\nGET k\nEXEC", to: client) == "_ :0 +OK +QUEUED *1 _ ")
        server.reclaimExpired()
        server.tellTrackers()
        #expect(arrived(at: client) == "")
        send("CLIENT UNPAUSE", to: admin)
        #expect(send("GET k", to: client) == "_ " + told("k"))
    }

    @Test func `a killed tracker tracks no more`() {
        let client = tracker()
        let admin = server.client()
        send("GET k", to: client)
        #expect(send("CLIENT KILL ID \(client.record.id)", to: admin) == ":1 ")
        send("SET k 1", to: admin)
        #expect(server.state.tracking.keyCount == 0)
    }

    @Test func `CLIENT KILL means the clients of which all conditions hold`() {
        let admin = server.client()
        let client = tracker()
        send(
            "CLIENT SETNAME worker\nSELECT 3\nCLIENT SETINFO LIB-NAME lib\nCLIENT SETINFO LIB-VER 1",
            to: client)
        let id = client.record.id
        for filter in [
            "NAME other", "NAME worker DB 4", "FLAGS x", "FLAGS tB", "LIB-NAME x", "LIB-VER 2",
            "IP 10.0.0.1", "CAPA r", "IDLE 10 NAME worker",
            "NOT-NAME worker NOT-ID \(admin.record.id)",
            "NOT-FLAGS t NAME worker", "NOT-DB 3 NAME worker", "NOT-IP 127.0.0.1", "ID 998 999",
            "NOT-TYPE normal", "NOT-USER default",
        ] {
            #expect(send("CLIENT KILL \(filter)", to: admin) == ":0 ", "\(filter)")
        }
        for (filter, error) in [
            ("FLAGS !", "-ERR Unknown flags found in the provided filter: ! "),
            ("CAPA q", "-ERR Unknown capa found in the provided filter: q "),
            ("DB 99", "-ERR DB number should be between 0 and 15 "),
            ("DB x", "-ERR DB is not an integer or out of range "),
            ("IDLE 0", "-ERR idle should be greater than 0 "),
            ("NOT-IDLE 3", "-ERR syntax error "), ("ID 1 foo", "-ERR syntax error "),
        ] {
            #expect(send("CLIENT KILL \(filter)", to: admin) == error)
        }
        server.time.advance(milliseconds: 11_000)
        #expect(
            send(
                "CLIENT KILL NAME worker DB 3 FLAGS t LIB-NAME lib LIB-VER 1 IP 127.0.0.1 IDLE 10 "
                    + "ID 999 \(id) NOT-FLAGS B NOT-NAME other NOT-CAPA r", to: admin) == ":1 ")
    }

    @Test func `monitors see what trackers do, and trackers are told while monitored`() {
        let client = tracker()
        let monitor = server.client()
        let writer = server.client()
        server.state.set(.monitored, true)
        send("MONITOR", to: monitor)
        #expect(send("GET k", to: client) == "_ ")
        send("SET k 1", to: writer)
        #expect(arrived(at: client) == told("k"))
    }

    @Test func `NO-EVICT is shown as long as it is on`() {
        let client = server.client()
        #expect(send("CLIENT NO-EVICT ON\nCLIENT INFO", to: client).contains(" flags=e "))
        #expect(send("CLIENT NO-EVICT OFF\nCLIENT INFO", to: client).contains(" flags=N "))
        send("CLIENT NO-EVICT ON\nRESET", to: client)
        #expect(send("CLIENT INFO", to: client).contains(" flags=N "))
    }
}
