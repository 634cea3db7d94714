//  ROLE, and the identity of this server's data towards replicas.

import MartletBase
import MartletEngine

extension CommandGroup {
    static func role(_ context: ServerContext) -> CommandGroup {
        [
            Command(
                "ROLE", since: "2.8.12", group: .server, summary: "Returns the replication role.",
                arity: .exactly(1), traits: [.fast, .noScript, .loading, .stale],
                acl: [.admin, .dangerous]
            ) { (call) throws(CommandError) in
                call.reply.array(3)
                call.reply.bulk("master")
                call.reply.integer(0)
                call.reply.array(0)
                return .none
            }
        ]
    }
}

/// The names of the histories of changes that this server's data belong to: INFO's `master_replid`
/// and `master_replid2`, 40 hexadecimal digits each.
package final class ReplicationID: Sendable {
    private let ids: Locked<(current: String, previous: String)>

    init() {
        ids = Locked((ServerContext.newRunID(), String(repeating: "0", count: 40)))
    }

    package var current: String { ids.withLock { $0.current } }

    package var previous: String { ids.withLock { $0.previous } }

    /// Begins a history of its own: DEBUG CHANGE-REPL-ID.
    package func change() {
        ids.withLock { $0 = (ServerContext.newRunID(), String(repeating: "0", count: 40)) }
    }
}
