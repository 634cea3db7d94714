//  MONITOR: what is shown, when, and how.

import MartletBase
import Testing

@testable import MartletEngine

@Suite struct MonitorTests {
    /// The lines a server has shown, without their time.
    private final class Feed: @unchecked Sendable {
        // Unchecked: the harness has one thread.
        var lines: [String] = []
        var began: [Int64] = []
        var ended: [Int64] = []
    }

    private func monitored() -> (CommandHarness, Feed) {
        let server = CommandHarness()
        let feed = Feed()
        server.state.monitorFeed.function = { line in
            var text = ByteBuffer()
            line.append(to: &text, wallMicroseconds: 0)
            feed.lines.append(String(text.view.string.dropFirst("+0.000000 ".count).dropLast()))
        }
        server.state.beganMonitoring.function = { feed.began.append($0.id) }
        server.state.endedMonitoring.function = { feed.ended.append($0.id) }
        server.state.set(.monitored, true)
        return (server, feed)
    }

    @Test func `a line has time, database, address and escaped arguments`() {
        let record = ClientRecord(
            id: 1, loop: 0,
            addresses: ClientAddresses(
                peer: "127.0.0.1:1234", local: "", descriptor: 3, isUnixSocket: false,
                isLoopback: true), createdMilliseconds: 0)
        let line = MonitorLine(
            database: 3, record: record,
            arguments: [
                Array("SET".utf8), [0x61, 0, 0xFF] + Array("\"\\\r\n\t\u{7}\u{8}z~\u{7F}".utf8), [],
            ])
        var text = ByteBuffer()
        line.append(to: &text, wallMicroseconds: 1_700_000_000_012_345)
        #expect(
            text.view.string
                == #"+1700000000.012345 [3 127.0.0.1:1234] "SET" "a\x00\xff\"\\\r\n\t\a\bz~\x7f" """#
                + "\r\n")
    }

    @Test func `a client on a Unix socket is shown by the socket's path`() {
        let record = ClientRecord(
            id: 1, loop: 0,
            addresses: ClientAddresses(
                peer: "/run/m.sock:0", local: "/run/m.sock:0", descriptor: 3, isUnixSocket: true,
                isLoopback: true), createdMilliseconds: 0)
        var text = ByteBuffer()
        MonitorLine(database: 0, record: record, arguments: [Array("PING".utf8)])
            .append(to: &text, wallMicroseconds: 0)
        #expect(text.view.string == "+0.000000 [0 unix:/run/m.sock] \"PING\"\r\n")
    }

    @Test func `what runs is shown in order of execution, what is refused is not`() {
        let (server, feed) = monitored()
        let client = server.client()
        for request in [
            ["SELECT", "3"], ["SET", "k", "v"], ["GET"], ["FOO"], ["MULTI"], ["GET", "k"],
            ["CLIENT", "LIST"], ["EXEC"], ["MULTI"], ["GET"], ["EXEC"], ["client", "id"],
            ["CLIENT", "LIST"], ["RESET"],
        ] {
            client.run(request.map { Array($0.utf8) })
        }
        let address = client.record.addresses.peer
        #expect(
            feed.lines == [
                "[3 \(address)] \"SELECT\" \"3\"", "[3 \(address)] \"SET\" \"k\" \"v\"",
                "[3 \(address)] \"MULTI\"", "[3 \(address)] \"GET\" \"k\"",
                "[3 \(address)] \"EXEC\"", "[3 \(address)] \"MULTI\"", "[3 \(address)] \"EXEC\"",
                "[3 \(address)] \"client\" \"id\"", "[0 \(address)] \"RESET\"",
            ])
    }

    @Test func `passwords are not shown`() {
        let (server, feed) = monitored()
        let client = server.client()
        client.run("AUTH", "secret")
        client.run("AUTH", "default", "secret")
        client.run("HELLO", "3", "AUTH", "default", "secret")
        client.run("HELLO", "3", "setname", "auth", "AUTH", "default", "secret")
        client.run("HELLO", "x", "AUTH", "secret")
        let address = client.record.addresses.peer
        #expect(
            feed.lines == [
                #"[0 \#(address)] "AUTH" "(redacted)""#,
                #"[0 \#(address)] "AUTH" "(redacted)" "(redacted)""#,
                #"[0 \#(address)] "HELLO" "3" "AUTH" "(redacted)" "(redacted)""#,
                #"[0 \#(address)] "HELLO" "3" "setname" "auth" "AUTH" "(redacted)" "(redacted)""#,
                #"[0 \#(address)] "HELLO" "x" "AUTH" "(redacted)""#,
            ])
    }

    @Test func `a monitor sees no keys, is not answered twice, and ends with RESET`() {
        let (server, feed) = monitored()
        let client = server.client()
        #expect(client.run("MONITOR") == .simple("OK"))
        #expect(client.run("MONITOR") == nil)
        #expect(feed.began == [1])
        #expect(client.run("PING") == .simple("PONG"))
        #expect(client.run("GET", "k") == .error("ERR Replica can't interact with the keyspace"))
        #expect(
            client.run("SET", "k", "v") == .error("ERR Replica can't interact with the keyspace"))
        #expect(client.run("CLIENT", "INFO")?.text?.contains(" flags=O ") == true)
        #expect(client.run("RESET") == .simple("RESET"))
        #expect(feed.ended == [1])
        #expect(client.run("GET", "k") == .null)
    }

    @Test func `MONITOR is refused in a transaction`() {
        expectTranscript(
            """
            > MULTI                       < OK
            > MONITOR                     < QUEUED
            > EXEC
            < [(error) ERR MONITOR isn't allowed for DENY BLOCKING client]
            """)
    }
}
