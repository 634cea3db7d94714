//  The keys that cost the most memory: a list that a walk over all keys keeps, a few thousand of them ten
//  times a second. No command does anything for it.
//
//  A walk over ten million keys takes about eight minutes, and two thousandths of a core. What grew since it
//  came by shows when it comes again; MEMORY BIGKEYS weighs what it tells anew.

import MartletBase
import MartletEngine
import Synchronization

/// The keys that cost the most.
package final class BigKeys: Sendable {
    private struct State {
        var walk = KeyWeighing()
        /// What the walk under way has found so far, and what the last one found: each the largest first.
        var found: [WeighedKey] = []
        var foundBefore: [WeighedKey] = []
        var startedMilliseconds: Int64 = 0
        var isBetweenWalks = true
        var walkMilliseconds: Int64?
    }

    /// What the list says.
    struct Report {
        let keys: [WeighedKey]
        /// How long the last walk took; nil before the first one was through.
        let walkMilliseconds: Int64?
    }

    /// Keys in the list.
    static let countMax = 64
    /// Keys looked at in one step.
    private static let keysPerStep = 2048
    /// A few keys are walked over no more often than that.
    private static let walkMillisecondsMin: Int64 = 1000

    private let state = Locked(State())

    package init() {}

    /// Goes on with the walk. The caller holds no shard.
    func step(_ context: ServerContext, nowMilliseconds now: Int64) {
        let keyspace = unsafe context.state.keyspace
        state.withLock { state in
            if state.isBetweenWalks {
                let left = state.startedMilliseconds + Self.walkMillisecondsMin - now
                // A clock that was set back does not stop the walks.
                if left > 0 && left <= Self.walkMillisecondsMin { return }
                state.isBetweenWalks = false
                state.startedMilliseconds = now
            }
            var found = state.found
            let isOver = unsafe state.walk.step(
                keyspace, keys: Self.keysPerStep,
                bytesMin: { found.count < Self.countMax ? 0 : found.last?.bytes ?? 0 }
            ) { key in
                // A key may be met twice in a round, and have grown.
                found.removeAll { $0.key == key.key && $0.database == key.database }
                found.insert(key, at: found.firstIndex { $0.bytes < key.bytes } ?? found.count)
                if found.count > Self.countMax { found.removeLast() }
            }
            state.found = found
            if !isOver { return }
            state.foundBefore = state.found
            state.found = []
            state.walkMilliseconds = max(0, now - state.startedMilliseconds)
            state.isBetweenWalks = true
        }
    }

    /// The biggest keys, weighed now, the largest first.
    func report(_ context: ServerContext, isHeld: Bool) -> Report {
        let (known, walkMilliseconds) = state.withLock { state in
            var known = state.foundBefore
            for key in state.found
            where !known.contains(where: { $0.key == key.key && $0.database == key.database }) {
                known.append(key)
            }
            return (known, state.walkMilliseconds)
        }
        let keyspace = unsafe context.state.keyspace
        let weighed = known.compactMap { unsafe keyspace.pointee.weigh($0, isHeld: isHeld) }
        return Report(
            keys: Array(weighed.sorted { $0.bytes > $1.bytes }.prefix(Self.countMax)),
            walkMilliseconds: walkMilliseconds)
    }
}
