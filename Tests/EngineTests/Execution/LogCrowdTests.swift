//  A log that grows faster than it is taken holds the loops up, and no longer than it must.

import Glibc
import MartletBase
import Testing

@testable import MartletEngine

@Suite struct LogCrowdTests {
    /// A server whose log nobody takes, with more in it than may wait.
    private func crowded() -> CommandHarness {
        let server = CommandHarness()
        server.state.setLog(.on)
        let client = server.client()
        let value = String(repeating: "v", count: 1 << 20)
        while server.state.log.pendingBytes <= LogAppender.crowdedBytes {
            client.run("SET", "k", value)
        }
        return server
    }

    @Test func `loops wait until the log thread has taken what is pending`() {
        let server = crowded()
        let queue = server.state.log
        let thread = WorkerThread(name: "taker") {
            usleep(20_000)
            var buffer = ByteBuffer()
            _ = queue.take(into: &buffer, waitMilliseconds: 0)
        }
        queue.appender.announceSlowly(waitMicrosecondsMax: 600_000_000)
        #expect(queue.pendingBytes == 0)
        thread?.join()
    }

    @Test func `they go on when nobody takes it`() {
        let server = crowded()
        server.state.log.appender.announceSlowly(waitMicrosecondsMax: 2_000)
        #expect(server.client().run("GET", "none") == .null)
        #expect(server.state.log.pendingBytes > LogAppender.crowdedBytes)
    }
}
