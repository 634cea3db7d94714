//  AUTH, HELLO and what a connection may do before.

import MartletBase
import Synchronization
import Testing

@testable import MartletEngine

@Suite struct AuthenticationTests {
    /// A server that requires the password `foo`, and a connection that has not given it.
    private func guarded() -> (CommandHarness, HarnessClient) {
        let server = CommandHarness()
        server.state.password.set(ByteView("foo"))
        let client = server.client()
        client.gate = .unauthenticated
        return (server, client)
    }

    private static let wrongPassword = Reply.error(
        "WRONGPASS invalid username-password pair or user is disabled.")
    private static let required = Reply.error("NOAUTH Authentication required.")

    @Test func `AUTH without a password set is an error, with the default user's name it is not`() {
        expectTranscript(
            """
            > AUTH x
            < (error) ERR AUTH <password> called without any password configured for the default \
            user. Are you sure your configuration is correct?
            > AUTH default anything       < OK
            > AUTH nobody x
            < (error) WRONGPASS invalid username-password pair or user is disabled.
            > AUTH a b c                  < (error) ERR syntax error
            > AUTH                        < (error) ERR wrong number of arguments for 'auth' command
            """)
    }

    @Test func `before AUTH only AUTH, HELLO, RESET and QUIT run`() {
        let (_, client) = guarded()
        #expect(client.run("PING") == Self.required)
        #expect(client.run("CLIENT", "ID") == Self.required)
        #expect(client.run("MULTI") == Self.required)
        #expect(
            client.run("FOO")
                == .error("ERR unknown command 'FOO', with args beginning with: "))
        #expect(
            client.run("GET") == .error("ERR wrong number of arguments for 'get' command"))
        #expect(client.run("RESET") == .simple("RESET"))
        #expect(client.run("PING") == Self.required)
        #expect(client.run("AUTH", "foo") == .simple("OK"))
        #expect(client.run("PING") == .simple("PONG"))
        #expect(client.run("RESET") == .simple("RESET"))
        #expect(client.run("PING") == Self.required)
        #expect(client.run("QUIT") == .simple("OK"))
    }

    @Test func `a wrong password is refused and counted, whatever its length`() {
        let (server, client) = guarded()
        for guess in ["", "f", "fo", "fop", "fooo", "Foo"] {
            #expect(client.run("AUTH", guess) == Self.wrongPassword)
            #expect(client.run("AUTH", "default", guess) == Self.wrongPassword)
        }
        #expect(client.run("AUTH", "someone", "foo") == Self.wrongPassword)
        let denied = server.state.deniedAuthentications.load(ordering: .relaxed)
        #expect(denied == 13)
        #expect(client.run("PING") == Self.required)
        #expect(client.run("AUTH", "default", "foo") == .simple("OK"))
        #expect(client.run("AUTH", "bar") == Self.wrongPassword)
        #expect(client.run("PING") == .simple("PONG"))
    }

    @Test func `a changed password holds at once and leaves authenticated connections alone`() {
        let (server, client) = guarded()
        client.run("AUTH", "foo")
        server.state.password.set(ByteView("bar"))
        #expect(client.run("PING") == .simple("PONG"))
        #expect(client.run("AUTH", "foo") == Self.wrongPassword)
        #expect(client.run("AUTH", "bar") == .simple("OK"))
        server.state.password.set(ByteView())
        #expect(client.run("RESET") == .simple("RESET"))
        #expect(client.run("PING") == .simple("PONG"))
    }

    @Test func `HELLO refuses protocols it does not speak`() {
        expectTranscript(
            """
            > HELLO 1                     < (error) NOPROTO unsupported protocol version
            > HELLO 4                     < (error) NOPROTO unsupported protocol version
            > HELLO -3                    < (error) NOPROTO unsupported protocol version
            > HELLO x
            < (error) ERR Protocol version is not an integer or out of range
            > HELLO ""
            < (error) ERR Protocol version is not an integer or out of range
            > HELLO 99999999999999999999
            < (error) ERR Protocol version is not an integer or out of range
            """)
    }

    @Test func `HELLO names the option it does not understand`() {
        expectTranscript(
            """
            > HELLO 2 AUTH                < (error) ERR Syntax error in HELLO option 'AUTH'
            > HELLO 2 auth a              < (error) ERR Syntax error in HELLO option 'auth'
            > HELLO 2 SETNAME             < (error) ERR Syntax error in HELLO option 'SETNAME'
            > HELLO 3 FOO                 < (error) ERR Syntax error in HELLO option 'FOO'
            > HELLO 2 SETNAME "a b"
            < (error) ERR Client names cannot contain spaces, newlines or special characters.
            > HELLO 2 AUTH nobody x
            < (error) WRONGPASS invalid username-password pair or user is disabled.
            """)
    }

    @Test func `HELLO answers in the protocol it has switched to`() {
        let server = CommandHarness()
        let client = server.client()
        let version = RedisCompatibility.version.description
        let pairs: [Reply] = [
            .bulk("server"), .bulk("redis"), .bulk("version"), .bulk(version),
            .bulk("proto"), .integer(3), .bulk("id"), .integer(client.record.id),
            .bulk("mode"), .bulk("standalone"), .bulk("role"), .bulk("master"),
            .bulk("modules"), .array([]),
        ]
        #expect(client.run("HELLO", "3") == .map(pairs))
        #expect(client.run("GET", "none") == .null)
        #expect(client.run("HELLO") == .map(pairs))
        #expect(client.run("HELLO", "2")?.elements?.count == 14)
        #expect(client.run("HELLO")?["proto"] == .integer(2))
        let isRESP3 = client.record.isRESP3.load(ordering: .relaxed)
        #expect(!isRESP3)
    }

    @Test func `HELLO authenticates first, then names, and does neither when it fails`() {
        let (_, client) = guarded()
        for request in [["HELLO"], ["HELLO", "3"], ["HELLO", "3", "SETNAME", "me"]] {
            let reply = client.run(request.map { Array($0.utf8) })
            #expect(reply?.text?.hasPrefix("NOAUTH HELLO must be called with") == true)
        }
        #expect(client.run("HELLO", "3", "AUTH", "default", "bar") == Self.wrongPassword)
        let reply = client.run("HELLO", "3", "AUTH", "default", "foo", "SETNAME", "me")
        #expect(reply?["proto"] == .integer(3))
        #expect(client.run("CLIENT", "GETNAME") == .bulk("me"))
        #expect(client.run("HELLO", "3", "AUTH", "default", "foo", "SETNAME", "a b")?.text != nil)
        #expect(client.run("CLIENT", "GETNAME") == .bulk("me"))
    }

    @Test func `HELLO in a transaction switches in the middle of the reply`() {
        let client = CommandHarness().client()
        client.run("MULTI")
        client.run("HELLO", "3")
        client.run("GET", "none")
        client.send(HarnessClient.request([Array("EXEC".utf8)]))
        let bytes = String(decoding: client.rawReplies(), as: UTF8.self)
        #expect(bytes.hasPrefix("*2\r\n%7\r\n"))
        #expect(bytes.hasSuffix("_\r\n"))
    }
}
