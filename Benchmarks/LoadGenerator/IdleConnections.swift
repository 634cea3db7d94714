//  Connections that do nothing, for measuring what they cost the server.

import Glibc

/// Greeted connections, closed when this goes away.
package struct IdleConnections: ~Copyable {
    private let descriptors: [Int32]
    private let endpoint: Endpoint

    /// Opens `count` connections.
    ///
    /// - Throws: `.unreachable` with the number that was reached.
    package init(
        _ count: Int, _ endpoint: Endpoint, _ greeting: Greeting, progress: (Int) -> Void
    ) throws(BenchmarkError) {
        var opened: [Int32] = []
        do throws(BenchmarkError) {
            while opened.count < count {
                let client = try ControlClient.connect(endpoint, greeting: greeting)
                opened.append(client.releaseDescriptor())
                if opened.count % 500 == 0 { progress(opened.count) }
            }
        } catch {
            for descriptor in opened { close(descriptor) }
            throw .unreachable("connection \(opened.count + 1): \(error.message)")
        }
        descriptors = opened
        self.endpoint = endpoint
    }

    deinit { for descriptor in descriptors { close(descriptor) } }

    /// Sends PING on each and waits for each answer, whatever it is.
    ///
    /// - Throws: `.unreachable` when the server has closed one.
    package func ping(progress: (Int) -> Void) throws(BenchmarkError) {
        let request = Array("*1\r\n$4\r\nPING\r\n".utf8)
        var reply = [UInt8](repeating: 0, count: 512)
        for (index, descriptor) in descriptors.enumerated() {
            let sent = unsafe send(descriptor, request, request.count, Int32(MSG_NOSIGNAL))
            let got = sent == request.count ? unsafe recv(descriptor, &reply, reply.count, 0) : 0
            guard got > 0 else {
                throw .unreachable("\(endpoint.text) closed idle connection \(index + 1)")
            }
            if index % 500 == 499 { progress(index + 1) }
        }
    }
}
