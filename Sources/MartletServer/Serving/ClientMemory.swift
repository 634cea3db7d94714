//  maxmemory-clients: what all clients together may hold in buffers. Beyond it the connection that holds
//  most is closed, with a log line, until the rest fits.

import MartletTransport
import Synchronization

/// The bound on the buffers of all clients.
package final class ClientMemory: Sendable {
    /// In bytes; `Int.max` for none.
    package let bytesMax = Atomic<Int>(Int.max)
    /// Connections closed for it since the start: INFO's evicted_clients.
    package let evictedCount = Atomic<UInt64>(0)

    /// Bytes in the buffers of all connections.
    package func usedBytes(_ context: ServerContext) -> Int {
        var bytes = 0
        for loop in context.loops { bytes += loop.counters.bufferBytes.load(ordering: .relaxed) }
        return bytes
    }

    /// Closes the largest connection of a loop while all loops together hold too much and this one
    /// not less than its share. Called on the loop's thread after each iteration.
    ///
    /// - Returns: whether one was closed; then another may have to go at once.
    func enforce(loop: Int, _ context: ServerContext) -> Bool {
        let bytesMax = bytesMax.load(ordering: .relaxed)
        return bytesMax < .max && enforce(bytesMax, loop: loop, context)
    }

    @inline(never)
    private func enforce(_ bytesMax: Int, loop: Int, _ context: ServerContext) -> Bool {
        let total = usedBytes(context)
        guard total > bytesMax else { return false }
        let own = context.loops[loop].counters.bufferBytes.load(ordering: .relaxed)
        guard own >= total / context.loops.count,
            let largest = context.loops[loop].largestConnection()
        else { return false }
        context.log.write(
            .warning,
            "Evicting client addr=\(largest.connection.peerAddress): it holds "
                + "\(largest.bufferBytes) bytes; all clients hold \(total), maxmemory-clients "
                + "allows \(bytesMax)")
        largest.connection.close(afterFlush: false)
        evictedCount.add(1, ordering: .relaxed)
        return true
    }
}
