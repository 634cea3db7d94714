//  The connections in MONITOR mode. A line is posted to each before the monitored command's locks are
//  released, so that the order per key is the order of execution.

import MartletBase
import MartletEngine
import MartletTransport

/// Who monitors.
package final class Monitors: @unchecked Sendable {
    // Unchecked: `connections` is touched under `lock` alone.
    private let lock = Locked<[UInt64: ConnectionReference]>([:])

    /// Adds a connection. The condition that commands read changes under the lock: a first and a last
    /// monitor that meet must not leave it wrong.
    func add(_ connection: ConnectionReference, _ state: EngineState) {
        lock.withLock { connections in
            connections[connection.id] = connection
            state.set(.monitored, true)
        }
    }

    /// Removes a connection, if it monitors.
    func remove(_ connection: ConnectionReference, _ state: EngineState) {
        lock.withLock { connections in
            connections[connection.id] = nil
            if connections.isEmpty { state.set(.monitored, false) }
        }
    }

    /// Posts a line to every monitor's loop.
    func post(_ line: MonitorLine, wallMicroseconds: Int64) {
        let targets = lock.withLock { Array($0.values) }
        if targets.isEmpty { return }
        var text = ByteBuffer()
        line.append(to: &text, wallMicroseconds: wallMicroseconds)
        let line = text.view.bytes
        for target in targets {
            target.loop.post {
                line.withView { target.append($0) }
            }
        }
    }
}
