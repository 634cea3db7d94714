//  DBSIZE does not count keys past their deadline, however many there are.

import MartletBase
import Testing

@testable import MartletEngine

@Suite struct DatabaseSizeTests {
    @Test func `keys past their deadline do not count, in one answer, however many there are`() {
        let server = CommandHarness()
        let client = HarnessClient(server)
        client.run("SET", "stays", "1")
        for number in 0..<12_000 { client.run("SET", "key:\(number)", "v", "PX", "50") }
        #expect(client.run("DBSIZE") == .integer(12_001))
        server.time.advance(milliseconds: 60)
        #expect(client.run("DBSIZE") == .integer(1))
        #expect(!client.isParked)
    }
}
