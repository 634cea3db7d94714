//  Latency events: when something took at least `latency-monitor-threshold`, by what it was.
//
//  Of each event the worst value of each second is kept, for the last 160 seconds in which there was
//  one. Written from any loop under one short lock, which ranks after the shards'.

/// What was slow, and when.
package final class LatencyMonitor: Sendable {
    package struct Sample: Sendable, Equatable {
        package let unixSeconds: Int64
        package let milliseconds: Int64
    }

    /// One event's history.
    package struct Series: Sendable {
        /// Oldest first; at most `samplesMax`.
        package fileprivate(set) var samples: [Sample] = []
        /// The worst since the last reset.
        package fileprivate(set) var worstMilliseconds: Int64 = 0
    }

    package static let samplesMax = 160

    private let series = Locked<[String: Series]>([:])

    package init() {}

    /// Adds a sample; within one second only the worst counts.
    package func add(_ event: String, milliseconds: Int64, unixSeconds: Int64) {
        series.withLock { series in
            var samples = series[event] ?? Series()
            samples.worstMilliseconds = max(samples.worstMilliseconds, milliseconds)
            if let last = samples.samples.last, last.unixSeconds == unixSeconds {
                samples.samples[samples.samples.count - 1] = Sample(
                    unixSeconds: unixSeconds, milliseconds: max(last.milliseconds, milliseconds))
            } else {
                if samples.samples.count == Self.samplesMax { samples.samples.removeFirst() }
                samples.samples.append(
                    Sample(unixSeconds: unixSeconds, milliseconds: milliseconds))
            }
            series[event] = samples
        }
    }

    /// All events that happened, by name.
    package var events: [(name: String, series: Series)] {
        series.withLock { $0.sorted { $0.key < $1.key }.map { ($0.key, $0.value) } }
    }

    /// The history of an event, or nil when it never happened.
    package func series(of event: String) -> Series? { series.withLock { $0[event] } }

    /// Forgets some events, or all.
    ///
    /// - Returns: how many there were.
    package func reset(_ names: [String]? = nil) -> Int {
        series.withLock { series in
            guard let names else {
                defer { series = [:] }
                return series.count
            }
            return names.filter { series.removeValue(forKey: $0) != nil }.count
        }
    }
}
