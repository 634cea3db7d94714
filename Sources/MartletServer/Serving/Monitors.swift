//  The connections in MONITOR mode. A line is posted to each before the monitored command's locks are
//  released, so that the order per key is the order of execution.

import MartletBase
import MartletEngine
import MartletTransport
import Synchronization

/// Who monitors.
package final class Monitors: @unchecked Sendable {
    // Unchecked: `connections` is touched under `lock` alone.
    private let lock = Mutex<[UInt64: ConnectionReference]>([:])

    /// Adds a connection; true when it is the first.
    func add(_ connection: ConnectionReference) -> Bool {
        lock.withLock { connections in
            connections[connection.id] = connection
            return connections.count == 1
        }
    }

    /// Removes a connection; true when none is left.
    func remove(_ connection: ConnectionReference) -> Bool {
        lock.withLock { connections in
            guard connections.removeValue(forKey: connection.id) != nil else { return false }
            return connections.isEmpty
        }
    }

    /// Posts a line to every monitor's loop.
    func post(_ line: [UInt8]) {
        let targets = lock.withLock { Array($0.values) }
        for target in targets {
            target.loop.post {
                line.withView { target.append($0) }
            }
        }
    }
}
