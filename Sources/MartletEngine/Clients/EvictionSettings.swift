//  `maxmemory` and what goes with it: settings that loops take over, and what eviction has done.
//
//  Rules: settings are stored by whoever executes CONFIG SET and read by all loops; the figures are
//  counted by the loops, relaxed: they steer, and a step too many or too few does no harm.

import Synchronization

/// How much memory may be used, and which keys go when more is.
package final class EvictionSettings: Sendable {
    /// `maxmemory` in bytes; 0 for no limit.
    package let bytesMax = Atomic<Int>(0)
    /// What the process holds in memory beyond what it uses and is not expected to: evicted as if it were
    /// used.
    package let wastedBytes = Atomic<Int>(0)
    /// `EvictionPolicy.word`; changed by `EngineState.setEviction`.
    fileprivate let policyWord = Atomic<Int>(EvictionPolicy(.none).word)
    /// `maxmemory-samples`.
    package let samples = Atomic<Int>(5)
    /// `maxmemory-eviction-tenacity`.
    package let tenacity = Atomic<Int>(10)
    /// `lfu-log-factor` and `lfu-decay-time`.
    package let logFactor = Atomic<Int>(10)
    package let decayMinutes = Atomic<Int>(1)

    /// So many bytes are to go. Set by the loop that weighs, taken down by all that evict.
    let excessBytes = Atomic<Int>(0)
    /// Wall clock milliseconds since which more is used than allowed; 0 when it is not.
    private let exceededSince = Atomic<Int64>(0)
    private let exceededMilliseconds = Atomic<Int64>(0)

    package var policy: EvictionPolicy { EvictionPolicy(word: policyWord.load(ordering: .relaxed)) }

    /// How uses are counted.
    package var frequency: AccessFrequency {
        AccessFrequency(
            logFactor: logFactor.load(ordering: .relaxed),
            decayMinutes: decayMinutes.load(ordering: .relaxed))
    }

    /// Notes whether more is used than allowed.
    func noteExcess(_ isExcess: Bool, at nowMilliseconds: Int64) {
        let since = exceededSince.load(ordering: .relaxed)
        if isExcess == (since != 0) { return }
        let (isMine, _) = exceededSince.compareExchange(
            expected: since, desired: isExcess ? max(nowMilliseconds, 1) : 0, ordering: .relaxed)
        if isMine && !isExcess {
            exceededMilliseconds.add(max(0, nowMilliseconds - since), ordering: .relaxed)
        }
    }

    /// For how long more has been used than allowed, in milliseconds: since the start or the last reset,
    /// and at this time. INFO's `total_` and `current_eviction_exceeded_time`.
    package func exceededTime(at nowMilliseconds: Int64) -> (total: Int64, current: Int64) {
        let since = exceededSince.load(ordering: .relaxed)
        let current = since == 0 ? 0 : max(0, nowMilliseconds - since)
        return (exceededMilliseconds.load(ordering: .relaxed) + current, current)
    }

    /// CONFIG RESETSTAT.
    package func resetStatistics() {
        exceededMilliseconds.store(0, ordering: .relaxed)
        if exceededSince.load(ordering: .relaxed) != 0 {
            exceededSince.store(0, ordering: .relaxed)
        }
    }
}

extension EvictionSettings {
    /// Chooses the policy; `EngineState.setEviction` lets it be obeyed.
    func choose(_ policy: EvictionPolicy) { policyWord.store(policy.word, ordering: .relaxed) }
}
