//  How long each command took, as a distribution: LATENCY HISTOGRAM and INFO's latencystats.

import MartletEngine

/// The distribution of a command's durations over all loops.
struct LatencyHistogram {
    private(set) var calls: UInt64 = 0
    /// How many calls took at most 2^index microseconds and more than half of that; index 0 is one
    /// microsecond and less.
    private var byMicroseconds: [UInt64] = []
    /// The same in nanoseconds, by the upper bound of what the loops tell apart.
    private var byNanoseconds: [(through: Double, count: UInt64)] = []

    /// Adds up what the loops have counted. They count by powers of two of clock ticks; a call is
    /// shown in the class of the longest time that its ticks can mean.
    init(_ statistics: [CommandStatistics]) {
        var byTicks: [UInt64] = []
        for each in statistics {
            if byTicks.isEmpty { byTicks = Array(repeating: 0, count: each.histogram.count) }
            for (bucket, count) in each.histogram.enumerated() { byTicks[bucket] += count }
        }
        calls = byTicks.reduce(0, +)
        byMicroseconds = Array(repeating: 0, count: 40)
        for (bucket, count) in byTicks.enumerated() where count > 0 {
            let through = TickRate.microseconds(
                UInt64(1) << UInt64(bucket + CommandStatistics.firstExponent + 1))
            byNanoseconds.append((through * 1000, count))
            var index = 0
            while Double(UInt64(1) << UInt64(index)) < through && index < 39 { index += 1 }
            byMicroseconds[index] += count
        }
    }

    /// Upper bounds in microseconds and how many calls took no longer; only where it grows.
    var cumulative: [(microseconds: UInt64, calls: UInt64)] {
        var sum: UInt64 = 0
        var steps: [(UInt64, UInt64)] = []
        for (index, count) in byMicroseconds.enumerated() where count > 0 {
            sum += count
            steps.append((UInt64(1) << UInt64(index), sum))
        }
        return steps
    }

    /// The duration that `percent` of the calls did not exceed, in microseconds; between the bounds
    /// of a class it is taken to grow evenly.
    func percentile(_ percent: Double) -> Double {
        let total = byNanoseconds.reduce(0) { $0 + $1.count }
        let wanted = Double(total) * percent / 100
        var below: UInt64 = 0
        for (through, count) in byNanoseconds {
            if Double(below + count) >= wanted {
                let part = max(0, wanted - Double(below)) / Double(count)
                return through / 2 * (1 + part) / 1000
            }
            below += count
        }
        return 0
    }
}
