//  INCREX by a float: arithmetic and digits of INCRBYFLOAT, bounds, expiry.

import MartletBase
import Testing

@testable import MartletEngine

struct IncrementBoundedTests {
    @Test func `the digits are those of INCRBYFLOAT`() {
        let client = CommandHarness().client()
        #expect(
            client.run("INCREX", "f", "BYFLOAT", "0.1") == .array([.bulk("0.1"), .bulk("0.1")]))
        #expect(
            client.run("INCREX", "f", "BYFLOAT", "0.2") == .array([.bulk("0.3"), .bulk("0.2")]))
        #expect(client.run("GET", "f") == .bulk("0.3"))
        #expect(client.run("SET", "n", "10") == .simple("OK"))
        #expect(
            client.run("INCREX", "n", "BYFLOAT", "-1.5e1")
                == .array([.bulk("-5"), .bulk("-15")]))
    }

    @Test func `RESP3 replies are doubles`() {
        let client = CommandHarness().client(isRESP3: true)
        client.send(
            HarnessClient.request(["INCREX", "f", "BYFLOAT", "0.5"].map { Array($0.utf8) }))
        #expect(client.rawReplies() == Array("*2\r\n,0.5\r\n,0.5\r\n".utf8))
    }

    @Test func `bounds refuse, or are reached`() {
        let client = CommandHarness().client()
        client.run("SET", "f", "10", "EX", "100")
        let unchanged = Reply.array([.bulk("10"), .bulk("0")])
        #expect(client.run("INCREX", "f", "BYFLOAT", "9", "UBOUND", "15.5", "PERSIST") == unchanged)
        #expect(client.run("TTL", "f") == .integer(100))
        #expect(client.run("INCREX", "f", "BYFLOAT", "-9", "LBOUND", "5.5") == unchanged)
        #expect(
            client.run("INCREX", "f", "BYFLOAT", "9", "UBOUND", "15.5", "SATURATE")
                == .array([.bulk("15.5"), .bulk("5.5")]))
        #expect(
            client.run("INCREX", "f", "BYFLOAT", "-90", "LBOUND", "-0.5", "SATURATE")
                == .array([.bulk("-0.5"), .bulk("-16")]))
        #expect(
            client.run("INCREX", "f", "BYFLOAT", "1", "LBOUND", "-inf", "UBOUND", "0.5")
                == .array([.bulk("0.5"), .bulk("1")]))
        #expect(
            client.run("INCREX", "new", "BYFLOAT", "2", "UBOUND", "1")
                == .array([.bulk("0"), .bulk("0")]))
        #expect(client.run("EXISTS", "new") == .integer(0))
    }

    @Test func `expiry options hold for floats`() {
        let client = CommandHarness().client()
        client.run("INCREX", "f", "BYFLOAT", "1.5", "EX", "100")
        #expect(client.run("TTL", "f") == .integer(100))
        client.run("INCREX", "f", "BYFLOAT", "1.5", "EX", "200", "ENX")
        #expect(client.run("TTL", "f") == .integer(100))
        client.run("INCREX", "f", "BYFLOAT", "1.5")
        #expect(client.run("TTL", "f") == .integer(100))
        client.run("INCREX", "f", "BYFLOAT", "1.5", "PERSIST")
        #expect(client.run("TTL", "f") == .integer(-1))
    }

    @Test func `what is no finite float is refused`() {
        let notFloat = Reply.error("ERR value is not a valid float")
        let notFinite = Reply.error("ERR increment would produce NaN or Infinity")
        let client = CommandHarness().client()
        client.run("SET", "f", "1")
        for bad in ["nan", "x", "", " 1", "1e99999"] {
            #expect(client.run("INCREX", "f", "BYFLOAT", bad) == notFloat)
            #expect(client.run("INCREX", "f", "BYFLOAT", "1", "UBOUND", bad) == notFloat)
        }
        #expect(client.run("INCREX", "f", "BYFLOAT", "inf") == notFinite)
        #expect(client.run("INCREX", "f", "BYFLOAT", "1", "LBOUND", "inf", "SATURATE") == notFinite)
        #expect(
            client.run("INCREX", "f", "BYFLOAT", "1", "LBOUND", "2", "UBOUND", "1")
                == .error("ERR LBOUND can't be greater than UBOUND"))
        #expect(client.run("GET", "f") == .bulk("1"))
        client.run("SET", "f", "text")
        #expect(client.run("INCREX", "f", "BYFLOAT", "1") == notFloat)
    }
}
