//  What happens ten times a second, whatever the clients do: samples for rates and peaks.
//
//  One loop calls `tick`; any thread reads the results, under one short lock.

import MartletEngine
import Synchronization

/// Samples of the running server.
package final class Cron: Sendable {
    /// Totals that only grow.
    private struct Totals {
        var commands: UInt64 = 0
        var bytesIn: UInt64 = 0
        var bytesOut: UInt64 = 0
    }

    /// A total's growth per second over the last samples.
    private struct Rate {
        private var samples: [Double] = []
        private var next = 0
        /// As in Redis: the mean of the last 1.6 seconds.
        private static let samplesMax = 16

        mutating func add(_ amount: UInt64, overMilliseconds elapsed: Int64) {
            let perSecond = Double(amount) * 1000 / Double(max(elapsed, 1))
            if samples.count < Self.samplesMax {
                samples.append(perSecond)
            } else {
                samples[next] = perSecond
            }
            next = (next + 1) % Self.samplesMax
        }

        var perSecond: Double {
            samples.isEmpty ? 0 : samples.reduce(0, +) / Double(samples.count)
        }
    }

    private struct State {
        var last: Totals?
        var lastMilliseconds: Int64 = 0
        var commands = Rate()
        var bytesIn = Rate()
        var bytesOut = Rate()
        var peakBytes = 0
        var peakUnixSeconds: Int64 = 0
    }

    private let state = Locked(State())
    private let nextMilliseconds = Atomic<Int64>(0)
    private let isPaused = Atomic<Bool>(false)
    /// Remembered keys are being forgotten, step by step.
    fileprivate let isTrimming = Atomic<Bool>(false)

    package static let intervalMilliseconds: Int64 = 100

    package init() {}

    /// Takes a sample if one is due. Called by one loop after each of its iterations; the caller
    /// holds no shard.
    package func tick(_ context: ServerContext, nowMilliseconds now: Int64) {
        let left = nextMilliseconds.load(ordering: .relaxed) - now
        // A clock that was set back does not stop the samples.
        if left > 0 && left <= Self.intervalMilliseconds { return }
        if isPaused.load(ordering: .relaxed) { return }
        nextMilliseconds.store(now + Self.intervalMilliseconds, ordering: .relaxed)

        var totals = Totals(commands: context.commandsProcessed)
        for loop in context.loops {
            totals.bytesIn += loop.counters.bytesIn.load(ordering: .relaxed)
            totals.bytesOut += loop.counters.bytesOut.load(ordering: .relaxed)
        }
        context.trimTracking()
        context.durability.beginWhatIsDue(nowSeconds: now / 1000)
        context.bigKeys.step(context, nowMilliseconds: now)
        let usedBytes = context.usedBytes(context.keyspaceReport(isHeld: false))
        context.weighResident(usedBytes: usedBytes, nowMilliseconds: now)
        state.withLock { state in
            if let last = state.last {
                let elapsed = now - state.lastMilliseconds
                // Statistics that were reset in between count from zero.
                state.commands.add(
                    totals.commands >= last.commands
                        ? totals.commands - last.commands : totals.commands,
                    overMilliseconds: elapsed)
                state.bytesIn.add(totals.bytesIn - last.bytesIn, overMilliseconds: elapsed)
                state.bytesOut.add(totals.bytesOut - last.bytesOut, overMilliseconds: elapsed)
            }
            state.last = totals
            state.lastMilliseconds = now
            if usedBytes > state.peakBytes {
                state.peakBytes = usedBytes
                state.peakUnixSeconds = now / 1000
            }
        }
    }

    /// DEBUG PAUSE-CRON: no samples are taken.
    package func setPaused(_ isPaused: Bool) { self.isPaused.store(isPaused, ordering: .relaxed) }

    package struct Rates: Sendable {
        package let commands: Double
        package let bytesIn: Double
        package let bytesOut: Double
    }

    /// What happened per second lately.
    package var rates: Rates {
        state.withLock {
            Rates(
                commands: $0.commands.perSecond, bytesIn: $0.bytesIn.perSecond,
                bytesOut: $0.bytesOut.perSecond)
        }
    }

    /// The most memory used so far, `usedBytes` now included, and when that was.
    package func peak(usedBytes: Int, nowMilliseconds: Int64) -> (bytes: Int, unixSeconds: Int64) {
        state.withLock { state in
            if usedBytes > state.peakBytes {
                state.peakBytes = usedBytes
                state.peakUnixSeconds = nowMilliseconds / 1000
            }
            return (state.peakBytes, state.peakUnixSeconds)
        }
    }

    /// CONFIG RESETSTAT: the peak begins anew.
    package func resetPeak() { state.withLock { $0.peakBytes = 0 } }
}

extension ServerContext {
    /// Shards looked at in one step: a thousand keys at most, some tenths of a millisecond.
    private static let shardsPerTrim = 8

    /// Forgets keys remembered for client-side caching that are too many, in steps between the
    /// first loop's events. The caller holds no shard.
    fileprivate func trimTracking() {
        if cron.isTrimming.load(ordering: .relaxed) { return }
        cron.isTrimming.store(true, ordering: .relaxed)
        trimFurther()
    }

    private func trimFurther() {
        if state.trimTracking(shards: Self.shardsPerTrim) {
            loops[0].post { [self] in trimFurther() }
        } else {
            cron.isTrimming.store(false, ordering: .relaxed)
        }
    }
}
