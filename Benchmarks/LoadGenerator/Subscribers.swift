//  Connections that listen to channels, for measuring what a delivery costs the server.

import Glibc

/// Subscribed connections, closed when this goes away.
package struct Subscribers: ~Copyable {
    private var descriptors: [Int32] = []
    private let endpoint: Endpoint
    private var chunk = [UInt8](repeating: 0, count: 64 * 1024)

    /// Opens a connection for each list of channels and subscribes it to them.
    ///
    /// - Throws: `.unreachable` or `.reply`, with the number of the connection.
    package init(
        _ endpoint: Endpoint, _ greeting: Greeting, channels: [[String]], patterns: [String]
    ) throws(BenchmarkError) {
        self.endpoint = endpoint
        for (index, channels) in channels.enumerated() {
            do throws(BenchmarkError) {
                var client = try ControlClient.connect(endpoint, greeting: greeting)
                // One reply to each channel.
                for channel in channels { _ = try client.command(["SUBSCRIBE", channel]) }
                if index == 0 {
                    for pattern in patterns { _ = try client.command(["PSUBSCRIBE", pattern]) }
                }
                descriptors.append(client.releaseDescriptor())
            } catch {
                for descriptor in descriptors { close(descriptor) }
                throw .unreachable("subscriber \(index + 1): \(error.message)")
            }
        }
    }

    deinit { for descriptor in descriptors { close(descriptor) } }

    /// Waits until a connection has received so many bytes more.
    ///
    /// - Throws: `.unreachable` when it was closed, or is silent for a minute.
    package mutating func receive(_ bytes: Int, on index: Int) throws(BenchmarkError) {
        var left = bytes
        while left > 0 {
            let got = unsafe recv(descriptors[index], &chunk, min(left, chunk.count), 0)
            if got < 0 && errno == EINTR { continue }
            guard got > 0 else {
                throw .unreachable("\(endpoint.text): subscriber \(index + 1) gets nothing")
            }
            left -= got
        }
    }
}
