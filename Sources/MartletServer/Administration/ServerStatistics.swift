//  Sums over all loops, and their reset.

import MartletBase
import MartletEngine

/// Counters of the transport when CONFIG RESETSTAT last set them to zero: they only grow, so what
/// is shown is the difference.
package final class StatisticsBase: Sendable {
    package struct Counts: Sendable {
        package var connections: UInt64 = 0
        package var bytesIn: UInt64 = 0
        package var bytesOut: UInt64 = 0
        package var outputLimitCloses: UInt64 = 0
        package var inputLimitCloses: UInt64 = 0
    }

    private let counts = Locked(Counts())

    package init() {}

    fileprivate var current: Counts { counts.withLock { $0 } }

    fileprivate func set(_ counts: Counts) { self.counts.withLock { $0 = counts } }
}

extension ServerContext {
    /// Commands that ran on all loops.
    var commandsProcessed: UInt64 {
        var sum: UInt64 = 0
        for statistics in state.statistics {
            for number in 0..<commands.all.count { sum &+= statistics.calls(number) }
        }
        return sum
    }

    /// A counter's sum over all loops.
    func count(_ counter: LoopStatistics.Counter) -> UInt64 {
        state.statistics.reduce(0) { $0 &+ $1[counter] }
    }

    /// A command's statistics over all loops.
    func statistics(of command: Command) -> CommandStatistics {
        var sum = CommandStatistics()
        for statistics in state.statistics {
            let one = statistics.command(command.number)
            sum.calls &+= one.calls
            sum.ticks &+= one.ticks
            sum.failed &+= one.failed
            sum.rejected &+= one.rejected
        }
        return sum
    }

    /// Error replies by their code.
    var errorReplies: [String: UInt64] {
        var sum: [String: UInt64] = [:]
        for statistics in state.statistics {
            sum.merge(statistics.errors()) { $0 &+ $1 }
        }
        return sum
    }

    /// What connections did since the start or the last reset.
    var connectionCounts: StatisticsBase.Counts {
        let total = totalConnectionCounts
        let base = statisticsBase.current
        return StatisticsBase.Counts(
            connections: total.connections &- base.connections,
            bytesIn: total.bytesIn &- base.bytesIn, bytesOut: total.bytesOut &- base.bytesOut,
            outputLimitCloses: total.outputLimitCloses &- base.outputLimitCloses,
            inputLimitCloses: total.inputLimitCloses &- base.inputLimitCloses)
    }

    private var totalConnectionCounts: StatisticsBase.Counts {
        var total = StatisticsBase.Counts()
        for loop in loops {
            let counters = loop.counters
            total.connections &+=
                counters.opened.load(ordering: .relaxed)
                &- counters.refused.load(ordering: .relaxed)
            total.bytesIn &+= counters.bytesIn.load(ordering: .relaxed)
            total.bytesOut &+= counters.bytesOut.load(ordering: .relaxed)
            total.outputLimitCloses &+= counters.outputLimitCloses.load(ordering: .relaxed)
            total.inputLimitCloses &+= counters.inputLimitCloses.load(ordering: .relaxed)
        }
        return total
    }

    /// Counts and memory of all keys.
    ///
    /// - Parameter isHeld: the caller holds all shards; else it holds none.
    /// - Returns: the sums over all shards.
    func keyspaceReport(isHeld: Bool) -> KeyspaceReport {
        unsafe state.keyspace.pointee.report(isHeld: isHeld)
    }

    /// CONFIG RESETSTAT.
    func resetStatistics(isHeld: Bool) {
        for statistics in state.statistics { statistics.reset() }
        unsafe state.keyspace.pointee.resetStatistics(isHeld: isHeld)
        statisticsBase.set(totalConnectionCounts)
        rejectedConnections.store(0, ordering: .relaxed)
        clientMemory.evictedCount.store(0, ordering: .relaxed)
        state.settings.eviction.resetStatistics()
        state.deniedAuthentications.store(0, ordering: .relaxed)
        cron.resetPeak()
    }
}
