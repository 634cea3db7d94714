//  WATCH: which connections watch which keys of a shard, and whether one of them was touched.
//
//  A shard's table is used under its lock. The flag of a connection is one atomic word, set by
//  whoever touches a key and read by EXEC under the locks of all watched keys.
//
//  Raw memory: that word, eight aligned bytes that the client's record allocates and frees; a watch
//  keeps the record alive. Any thread may access it, by relaxed atomics alone.

import CSystem
import MartletBase

/// What one connection watches.
@safe
package final class WatchState: @unchecked Sendable {
    // Unchecked: `keys` belongs to the connection's loop; the word is accessed by atomics alone.

    /// Not zero once a watched key was written. It stands where CLIENT LIST sees it too.
    private let word: UnsafeMutableRawPointer
    /// Keeps the word alive.
    private let owner: AnyObject
    /// Watched keys with their databases.
    var keys: Set<WatchedKey> = []

    /// - Parameters:
    ///   - word: eight aligned bytes.
    ///   - owner: whose life the word lasts.
    init(word: UnsafeMutableRawPointer, owner: AnyObject) {
        unsafe self.word = word
        self.owner = owner
        unsafe martlet_store_relaxed_64(word, 0)
    }

    /// A watched key was written since WATCH.
    var isTouched: Bool { unsafe martlet_load_relaxed_64(word) != 0 }

    func touch() { unsafe martlet_store_relaxed_64(word, 1) }
}

/// A key in a database.
struct WatchedKey: Hashable {
    let database: Int
    let bytes: [UInt8]
    let hash: UInt64
}

/// The watched keys of one shard.
struct WatchTable {
    private struct Watcher {
        let state: WatchState
        /// The key was past its deadline already at WATCH: its removal is no change.
        var wasExpired: Bool
    }

    private var watchers: [WatchedKey: [Watcher]] = [:]

    var isEmpty: Bool { watchers.isEmpty }

    mutating func add(_ key: WatchedKey, _ state: WatchState, wasExpired: Bool) {
        watchers[key, default: []].append(Watcher(state: state, wasExpired: wasExpired))
    }

    mutating func remove(_ key: WatchedKey, _ state: WatchState) {
        watchers[key]?.removeAll { $0.state === state }
        if watchers[key]?.isEmpty == true { watchers[key] = nil }
    }

    /// A key was written, or removed by expiry.
    mutating func touch(_ key: WatchedKey, byExpiry: Bool) {
        guard var list = watchers[key] else { return }
        for index in list.indices {
            if byExpiry && list[index].wasExpired {
                // What was gone for the watcher is now gone for all.
                list[index].wasExpired = false
            } else {
                list[index].state.touch()
            }
        }
        watchers[key] = list
    }

    /// Whether the key was alive when `state` began to watch it.
    func wasAlive(_ key: WatchedKey, _ state: WatchState) -> Bool {
        watchers[key]?.first { $0.state === state }?.wasExpired == false
    }

    /// A database gets other contents, or none: FLUSHALL, FLUSHDB, SWAPDB.
    ///
    /// - Parameters:
    ///   - database: whose keys are replaced.
    ///   - old: whether a key is there now, alive or not.
    ///   - new: whether and how it will be there.
    mutating func replaceAll(
        in database: Int, old: (WatchedKey) -> Bool, new: (WatchedKey) -> Presence
    ) {
        for (key, list) in watchers where key.database == database {
            let presence = new(key)
            let wasThere = old(key)
            for index in list.indices {
                if list[index].wasExpired && presence != .alive {
                    // It was gone for this watcher and still is.
                    watchers[key]?[index].wasExpired = presence == .expired
                } else if !wasThere && presence == .expired {
                    // Missing before, and no less missing now.
                    watchers[key]?[index].wasExpired = true
                } else if wasThere || presence == .alive {
                    list[index].state.touch()
                }
            }
        }
    }

    /// How a key is in a database.
    enum Presence {
        case missing
        case expired
        case alive
    }
}
