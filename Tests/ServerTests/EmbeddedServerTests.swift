//  A server inside this process, seen from outside.

import Glibc
import MartletServer
import Testing

struct EmbeddedServerTests {
    private struct Refused: Error {}

    /// Sends `text` to a port of this machine and returns what comes back until the other side ends.
    private func exchange(_ text: String, port: Int) throws -> String {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        let status = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                unsafe connect(descriptor, pointer, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0 else { throw Refused() }
        let bytes = [UInt8](text.utf8)
        try #require(unsafe send(descriptor, bytes, bytes.count, 0) == bytes.count)
        shutdown(descriptor, Int32(SHUT_WR))
        var received: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1024)
        while true {
            let count = unsafe recv(descriptor, &chunk, chunk.count, 0)
            if count <= 0 { return String(decoding: received, as: UTF8.self) }
            received += chunk[..<count]
        }
    }

    @Test func `an embedded server serves on a port the system chose, until it is stopped`() throws
    {
        let server = try EmbeddedServer(["port": "0", "io-threads": "2", "maxclients": "10"])
        #expect(server.port == 0)
        try server.start()
        #expect(server.port != 0)
        #expect(
            try exchange("SET k v\r\nGET k\r\n", port: server.port) == "+OK\r\n$1\r\nv\r\n")
        server.stop()
        #expect(throws: Refused.self) { try exchange("PING\r\n", port: server.port) }
    }

    @Test func `two embedded servers share nothing`() throws {
        let first = try EmbeddedServer(["port": "0"])
        let second = try EmbeddedServer(["port": "0"])
        try first.start()
        try second.start()
        #expect(try exchange("SET k v\r\n", port: first.port) == "+OK\r\n")
        #expect(try exchange("GET k\r\n", port: second.port) == "$-1\r\n")
    }

    @Test func `a wrong directive is named with what is allowed`() {
        #expect {
            try EmbeddedServer(["maxclients": "many"])
        } throws: { error in
            let text = String(describing: error)
            return text.contains("maxclients") && text.contains("an integer between")
        }
    }
}
