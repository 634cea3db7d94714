//  Latency events for people: LATENCY GRAPH and LATENCY DOCTOR.

/// Samples as columns of characters, oldest first:
///
///     command - high 40 ms, low 5 ms (all time high 40 ms)
///     --------------------------------------------------------------------------------
///         #
///         |
///      _  |
///     _||_|
///
///     84221         seconds, minutes, hours or days ago
///     sssss
enum LatencyGraph {
    private static let rows = 4
    /// The top of a column shows thirds of a row.
    private static let tops: [Character] = ["_", "o", "#"]

    static func text(
        _ name: String, _ series: LatencyMonitor.Series, nowSeconds: Int64
    ) -> String {
        let samples = series.samples.suffix(80)
        let high = samples.map(\.milliseconds).max() ?? 0
        let low = samples.map(\.milliseconds).min() ?? 0
        var text = "\(name) - high \(high) ms, low \(low) ms (all time high "
        text += "\(series.worstMilliseconds) ms)\n"
        text += String(repeating: "-", count: 80) + "\n"

        let levels = samples.map { sample -> Int in
            guard high > low else { return 0 }
            let steps = Double(rows * tops.count - 1)
            return Int(Double(sample.milliseconds - low) / Double(high - low) * steps)
        }
        for row in (0..<rows).reversed() {
            text += line(
                levels.map { level in
                    let top = level / tops.count
                    return top > row ? "|" : top == row ? tops[level % tops.count] : " "
                })
        }
        text += "\n"
        let labels = samples.map { Array(age(nowSeconds - $0.unixSeconds)) }
        for row in 0..<(labels.map(\.count).max() ?? 0) {
            text += line(labels.map { row < $0.count ? $0[row] : " " })
        }
        return text
    }

    private static func line(_ characters: [Character]) -> String {
        var line = String(characters)
        while line.last == " " { line.removeLast() }
        return line + "\n"
    }

    private static func age(_ seconds: Int64) -> String {
        if seconds < 60 { return "\(max(seconds, 0))s" }
        if seconds < 3600 { return "\(seconds / 60)m" }
        if seconds < 86400 { return "\(seconds / 3600)h" }
        return "\(seconds / 86400)d"
    }
}

/// What the events tell an operator, and what he can do.
enum LatencyDoctor {
    static func report(_ context: ServerContext) -> String {
        let settings = context.configuration.settings
        guard settings.latencyMonitorMilliseconds > 0 else {
            return """
                Latency monitoring is off, so there is nothing to look at. Turn it on with \
                'CONFIG SET latency-monitor-threshold <milliseconds>': what takes at least that \
                long is recorded from then on.

                """
        }
        let events = context.latency.events
        guard !events.isEmpty else {
            return """
                No latency event so far: nothing took \(settings.latencyMonitorMilliseconds) \
                milliseconds or more.

                """
        }
        var text = "Latency events of \(settings.latencyMonitorMilliseconds) ms and more:\n\n"
        for event in events { text += describe(event.name, event.series) }
        text += "\nWhat may help:\n\n"
        for advice in advice(events.map(\.name), context) { text += "- \(advice)\n" }
        return text
    }

    private static func describe(_ name: String, _ series: LatencyMonitor.Series) -> String {
        let times = series.samples.map(\.milliseconds)
        let average = times.reduce(0, +) / Int64(max(times.count, 1))
        let deviation =
            times.reduce(0) { $0 + abs($1 - average) } / Int64(max(times.count, 1))
        let period =
            ((series.samples.last?.unixSeconds ?? 0) - (series.samples.first?.unixSeconds ?? 0))
            / Int64(max(times.count, 1))
        return "- \(name): \(times.count) latency spikes (average \(average)ms, mean deviation "
            + "\(deviation)ms, period \(period) sec). Worst all time event "
            + "\(series.worstMilliseconds)ms.\n"
    }

    private static func advice(_ events: [String], _ context: ServerContext) -> [String] {
        var advice: [String] = []
        if events.contains("command") {
            advice.append(
                "Slow commands hold up the requests behind them: SLOWLOG GET shows which they are. "
                    + "KEYS, and commands on large values, are the usual ones; SCAN walks in steps."
            )
            if context.configuration.settings.slowLogMicroseconds < 0 {
                advice.append(
                    "The slow log is off: CONFIG SET slowlog-log-slower-than 10000 turns it on.")
            }
        }
        if events.contains("fast-command") {
            advice.append(
                "Commands that do little took long, so the server waited for its processor: look "
                    + "for other processes on the machine, for limits of the container, and for "
                    + "swapping.")
        }
        if events.contains("eviction-cycle") {
            advice.append(
                "Steps of eviction took long, requests wait meanwhile: a smaller "
                    + "maxmemory-eviction-tenacity makes them shorter. Where maxmemory was lowered, or "
                    + "values are very large, it passes.")
        }
        if advice.isEmpty { advice.append("Nothing known for these events.") }
        return advice
    }
}
