//  From client ids to connections, for those who close somebody else's: CLIENT KILL, client eviction.

import MartletTransport

/// Every open connection by its client's id.
package final class Connections: Sendable {
    private let byID = Locked<[Int64: ConnectionReference]>([:])

    func add(_ id: Int64, _ connection: ConnectionReference) {
        byID.withLock { $0[id] = connection }
    }

    func remove(_ id: Int64) {
        byID.withLock { $0[id] = nil }
    }

    /// The connection of a client, or nil when it is gone.
    package func connection(_ id: Int64) -> ConnectionReference? {
        byID.withLock { $0[id] }
    }

    /// Closes a client's connection on its own loop.
    package func close(_ id: Int64, afterFlush: Bool) {
        guard let connection = connection(id) else { return }
        connection.loop.post { connection.close(afterFlush: afterFlush) }
    }
}
