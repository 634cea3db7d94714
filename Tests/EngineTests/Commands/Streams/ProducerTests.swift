//  Producers that send entries again: IDMP and IDMPAUTO of XADD, XCFGSET.

import MartletBase
import Testing

@testable import MartletEngine

struct ProducerTests {
    private let server = CommandHarness()

    private func info(_ client: HarnessClient, _ field: String) -> Reply? {
        let parts = client.run("XINFO", "STREAM", "s")?.elements ?? []
        guard let index = parts.firstIndex(of: .bulk(field)) else { return nil }
        return parts[index + 1]
    }

    @Test func `an entry that is sent again is not added again`() {
        let client = server.client()
        let first = client.run("XADD", "s", "IDMP", "p", "1", "*", "f", "v")
        #expect(client.run("XADD", "s", "IDMP", "p", "1", "*", "f", "other") == first)
        #expect(client.run("XADD", "s", "IDMP", "q", "1", "*", "f", "v") != first)
        #expect(client.run("XADD", "s", "IDMP", "p", "2", "*", "f", "v") != first)
        client.run("XTRIM", "s", "MAXLEN", "0")
        // Gone or not, it was added.
        #expect(client.run("XADD", "s", "IDMP", "p", "1", "*", "f", "v") == first)
        #expect(info(client, "pids-tracked") == .integer(2))
        #expect(info(client, "iids-tracked") == .integer(3))
        #expect(info(client, "iids-added") == .integer(3))
        #expect(info(client, "iids-duplicates") == .integer(2))
        server.checkPartitions()
    }

    @Test func `IDMPAUTO knows an entry by its names and values in any order`() {
        let client = server.client()
        let first = client.run("XADD", "s", "IDMPAUTO", "p", "*", "a", "1", "b", "2")
        #expect(client.run("XADD", "s", "IDMPAUTO", "p", "*", "b", "2", "a", "1") == first)
        #expect(client.run("XADD", "s", "IDMPAUTO", "p", "*", "b", "1", "a", "2") != first)
        #expect(client.run("XADD", "s", "IDMPAUTO", "p", "*", "a", "1b", "", "2") != first)
        #expect(client.run("XADD", "s", "IDMPAUTO", "q", "*", "a", "1", "b", "2") != first)
        #expect(client.run("XLEN", "s") == .integer(4))
    }

    @Test func `what is too old, or too much, is forgotten`() {
        let client = server.client()
        client.run("XADD", "s", "*", "f", "v")
        #expect(client.run("XCFGSET", "s", "IDMP-MAXSIZE", "2") == .simple("OK"))
        let replies = (1...3).map { client.run("XADD", "s", "IDMP", "p", "\($0)", "*", "f", "v") }
        #expect(client.run("XADD", "s", "IDMP", "p", "2", "*", "f", "v") == replies[1])
        #expect(client.run("XADD", "s", "IDMP", "p", "1", "*", "f", "v") != replies[0])
        #expect(info(client, "iids-tracked") == .integer(2))
        server.time.advance(milliseconds: 99_999)
        #expect(client.run("XADD", "s", "IDMP", "p", "3", "*", "f", "v") == replies[2])
        server.time.advance(milliseconds: 1)
        #expect(info(client, "pids-tracked") == .integer(0))
        #expect(client.run("XADD", "s", "IDMP", "p", "3", "*", "f", "v") != replies[2])
        server.checkPartitions()
    }

    @Test func `other limits of a stream make it forget, the same ones do not`() {
        let client = server.client()
        let first = client.run("XADD", "s", "IDMP", "p", "1", "*", "f", "v")
        #expect(client.run("XCFGSET", "s", "IDMP-DURATION", "100") == .simple("OK"))
        #expect(client.run("XADD", "s", "IDMP", "p", "1", "*", "f", "v") == first)
        #expect(client.run("XCFGSET", "s", "IDMP-DURATION", "5") == .simple("OK"))
        #expect(client.run("XADD", "s", "IDMP", "p", "1", "*", "f", "v") != first)
        #expect(info(client, "idmp-duration") == .integer(5))
        #expect(info(client, "idmp-maxsize") == .integer(100))
    }

    @Test func `wrong words are refused`() {
        expectTranscript(
            """
            > XCFGSET s IDMP-DURATION 5             < (error) ERR no such key
            > XADD s 1-1 f v                        < "1-1"
            > XCFGSET s                             < (error) ERR At least one parameter must be specified
            > XCFGSET s IDMP-DURATION               < (error) ERR syntax error
            > XCFGSET s x 1                         < (error) ERR syntax error
            > XCFGSET s IDMP-DURATION x
                < (error) ERR value is not an integer or out of range
            > XCFGSET s IDMP-DURATION 86401
                < (error) ERR IDMP-DURATION must be between 1 and 86400 seconds
            > XCFGSET s IDMP-MAXSIZE 0
                < (error) ERR IDMP-MAXSIZE must be between 1 and 10000 entries
            > XADD s IDMP p 1 5-1 f v
                < (error) ERR IDMP/IDMPAUTO can be used only with auto-generated IDs
            > XADD s IDMP p 1 IDMPAUTO q * f v
                < (error) ERR syntax error, IDMP/IDMPAUTO specified multiple times
            > XADD s IDMP "" 1 * f v                < (error) ERR IDMP requires a non-empty producer ID
            > XADD s IDMP p "" * f v                < (error) ERR IDMP requires a non-empty idempotent ID
            > XADD s IDMPAUTO "" * f v
                < (error) ERR IDMPAUTO requires a non-empty producer ID
            > XADD s IDMP p * f v
                < (error) ERR Invalid stream ID specified as stream command argument
            > XLEN s                                < (integer) 1
            """)
    }
}
