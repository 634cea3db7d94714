//  PING, ECHO, SELECT, RESET, QUIT.

import Testing

@testable import MartletEngine

@Suite struct ConnectionTests {
    @Test func `PING and ECHO give back what they got`() {
        expectTranscript(
            """
            > PING                        < PONG
            > PING ""                     < ""
            > ping "a b"                  < "a b"
            > PING a b
            < (error) ERR wrong number of arguments for 'ping' command
            > ECHO a                      < "a"
            > ECHO                        < (error) ERR wrong number of arguments for 'echo' command
            """)
    }

    @Test func `SELECT takes the numbers of databases only`() {
        expectTranscript(
            """
            > SET k zero                  < OK
            > SELECT 3                    < OK
            > GET k                       < (nil)
            > SET k three                 < OK
            > SELECT x                    < (error) ERR value is not an integer or out of range
            > SELECT ""                   < (error) ERR value is not an integer or out of range
            > SELECT 16                   < (error) ERR DB index is out of range
            > SELECT -1                   < (error) ERR DB index is out of range
            > SELECT 2147483647           < (error) ERR DB index is out of range
            > SELECT 2147483648
            < (error) ERR value is out of range, value must between -2147483648 and 2147483647
            > GET k                       < "three"
            > SELECT 0                    < OK
            > GET k                       < "zero"
            """)
    }

    @Test func `RESET ends a transaction, forgets name and database, and is not queued`() {
        expectTranscript(
            """
            > CLIENT SETNAME me           < OK
            > SELECT 2                    < OK
            > WATCH k                     < OK
            > MULTI                       < OK
            > PING                        < QUEUED
            > RESET                       < RESET
            > EXEC                        < (error) ERR EXEC without MULTI
            > CLIENT GETNAME              < (nil)
            > CLIENT INFO                 <~ * db=0 * watch=0 * resp=2 *
            > RESET x                     < (error) ERR wrong number of arguments for 'reset' command
            """)
    }

    @Test func `RESET turns replies on again and speaks RESP2`() {
        let client = CommandHarness().client(isRESP3: true)
        #expect(client.run("CLIENT", "REPLY", "OFF") == nil)
        #expect(client.run("RESET") == .simple("RESET"))
        #expect(client.run("CLIENT", "GETNAME") == .null)
        client.send(HarnessClient.request([Array("GET".utf8), Array("none".utf8)]))
        #expect(client.rawReplies() == Array("$-1\r\n".utf8))
    }

    @Test func `QUIT answers and closes, whatever stands behind it`() {
        let client = CommandHarness().client()
        client.send(Array("PING\r\nQUIT now\r\nPING\r\n".utf8))
        #expect(client.replies() == [.simple("PONG"), .simple("OK")])
        #expect(client.isClosed)
    }
}
