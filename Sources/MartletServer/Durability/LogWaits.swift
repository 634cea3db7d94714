//  Clients that wait until the log is durable as far as it was when they asked: WAITAOF.
//
//  They are ended by the log thread, as soon as it has said how far the log is durable. Whoever begins to
//  wait looks once more after it has been added, so that no end is missed.

import MartletBase
import MartletEngine

/// Those who wait for the log.
final class LogWaits: Sendable {
    private struct State {
        var waits: [(position: UInt64, waiter: Waiter)] = []
        /// With so many of them, those that ended otherwise are dropped.
        var sweepCount = LogWaits.sweepCountMin
    }

    private let state = Locked(State())
    private static let sweepCountMin = 64
    /// A position that the log does not reach: the wait ends otherwise, or with the log.
    static let never = UInt64.max

    /// Adds a client that waits for a position of the log.
    func add(_ waiter: Waiter, until position: UInt64) {
        state.withLock { state in
            if state.waits.count >= state.sweepCount {
                state.waits.removeAll { $0.waiter.outcome != .waiting }
                state.sweepCount = max(Self.sweepCountMin, 2 * state.waits.count)
            }
            state.waits.append((position, waiter))
        }
    }

    /// Ends the waits for positions up to this one.
    func end(upTo position: UInt64, _ engine: EngineState) {
        let ended = state.withLock { state in
            if state.waits.isEmpty { return [Waiter]() }
            let ended = state.waits.filter { $0.position <= position }.map(\.waiter)
            if !ended.isEmpty { state.waits.removeAll { $0.position <= position } }
            return ended
        }
        for waiter in ended { _ = engine.end(waiter, .served) }
    }
}
