//  Command lines of servers, and how a server is ended.

import Foundation
import Testing

@testable import LoadGenerator

@Suite struct SpawnedServerTests {
    @Test func `names in braces are replaced inside a word, spaces and all`() throws {
        let words = try SpawnedServer.words(
            of: #"server --port {port} --save "" --dir {directory}/x {other}"#,
            ["port": "7", "directory": "/tmp/a b"])
        #expect(
            words == ["server", "--port", "7", "--save", "", "--dir", "/tmp/a b/x", "{other}"])
    }

    @Test func `a server that ends at once says so`() throws {
        let port = try freePort()
        #expect(throws: BenchmarkError.self) {
            _ = try SpawnedServer.start("/bin/false {port}", port: port, cpus: nil).pid
        }
    }
}
