//  `expiry --events`: how late a listener hears of the keys that expire.
//
//      load keys |warm-up|-- deadlines, evenly spread --| … until all events have come
//
//  The reads go on all the time; their latencies count from the first deadline to the last.

import LoadGenerator

/// What one round showed.
private struct EventRound {
    var lateness: LatencySummary
    var latency: LatencySummary
    var missing: Int
}

/// Runs the rounds, in each of which `expiring` keys expire within `seconds` while `plan` reads, and
/// prints what the listener saw.
func measureExpiryEvents(
    _ plan: LoadPlan, expiring: Int, seconds: Double, rounds: Int, _ greeting: Greeting,
    _ format: Format, _ progress: ProgressLine
) throws(BenchmarkError) {
    var client = try ControlClient.connect(plan.endpoint, greeting: greeting)
    _ = try client.command(["CONFIG", "SET", "notify-keyspace-events", "Ex"])
    var results: [EventRound] = []
    var quiet: [LatencySummary] = []
    var plan = plan
    plan.bound = .seconds(max(1, seconds))
    for round in 1...rounds {
        quiet.append(
            try measure(plan, meter: nil) { progress.show("quiet \(round)/\(rounds)", $0) }.latency)
        progress.show("events \(round)/\(rounds)")
        results.append(try play(plan, expiring, seconds, greeting, &client))
    }
    progress.clear()
    report(plan, expiring, seconds, quiet, results, format)
}

private func play(
    _ plan: LoadPlan, _ expiring: Int, _ seconds: Double, _ greeting: Greeting,
    _ client: inout ControlClient
) throws(BenchmarkError) -> EventRound {
    let first = wallMilliseconds() + 2000 + expiring / 100
    let spread = max(1, Int(seconds * 1000))
    for batch in stride(from: 0, to: expiring, by: 500) {
        let numbers = batch..<min(batch + 500, expiring)
        var request = ""
        for number in numbers {
            // Loaded in another order than that of their deadlines, as it would be.
            let place = (number * 7_919 + number / spread) % spread
            let deadline = String(first + place)
            let key = ExpiryListener.key(first + place, number)
            request +=
                "*5\r\n$3\r\nSET\r\n$\(key.utf8.count)\r\n\(key)\r\n$1\r\nx\r\n$4\r\nPXAT\r\n"
            request += "$\(deadline.utf8.count)\r\n\(deadline)\r\n"
        }
        _ = try client.rawReplies(to: Array(request.utf8), count: numbers.count)
    }
    guard wallMilliseconds() < first - 500 else {
        throw .measurement("loading took until the first keys expired: ask for fewer --expiring")
    }

    var listener = try ExpiryListener(plan.endpoint, greeting)
    var lateness = Histogram()
    let run = try LoadRun(plan)
    do {
        sleep(seconds: Double(first - wallMilliseconds()) / 1000 - 0.3)
        run.start()
        sleep(seconds: Double(first - wallMilliseconds()) / 1000)
        run.beginMeasuring()
        let begin = monotonicNanoseconds()
        let last = begin + UInt64(seconds * 1e9)
        var seen = try listener.listen(for: expiring, until: last, into: &lateness)
        run.endMeasuring()
        seen += try listener.listen(
            for: expiring - seen, until: last + 10_000_000_000, into: &lateness)
        try run.check()
        return EventRound(
            lateness: LatencySummary(lateness), latency: try run.stop().latency,
            missing: expiring - seen)
    } catch {
        _ = try run.stop()
        throw error
    }
}

private func report(
    _ plan: LoadPlan, _ expiring: Int, _ seconds: Double, _ quiet: [LatencySummary],
    _ results: [EventRound], _ format: Format
) {
    func median(_ value: (EventRound) -> UInt64) -> Double {
        middle(results.map { milliseconds(value($0)) }) ?? .nan
    }
    let worst = results.map { milliseconds($0.lateness.maximum) }.max() ?? .nan
    let missing = results.map(\.missing).reduce(0, +)
    let quietTail = middle(quiet.map { milliseconds($0.p999) }) ?? .nan
    let eventTail = median { $0.latency.p999 }
    let perSecond = Double(expiring) / seconds
    guard format == .text else {
        var record = Record()
        record.add("expiring", .integer(expiring))
        record.add("seconds", .number(seconds, digits: 2))
        record.add("rate", .number(plan.operationsPerSecond ?? 0, digits: 0))
        record.add("rounds", .integer(results.count))
        record.add("missing", .integer(missing))
        record.add("late_p50_ms", .number(median { $0.lateness.p50 }, digits: 2))
        record.add("late_p99_ms", .number(median { $0.lateness.p99 }, digits: 2))
        record.add("late_p999_ms", .number(median { $0.lateness.p999 }, digits: 2))
        record.add("late_max_ms", .number(worst, digits: 2))
        record.add("quiet_p999_ms", .number(quietTail, digits: 4))
        record.add("event_p999_ms", .number(eventTail, digits: 4))
        printRecords([record], format)
        return
    }
    print(
        "\(grouped(expiring)) keys expire within \(fixed(seconds, 1)) s "
            + "(\(grouped(Int(perSecond))) a second), "
            + "\(grouped(Int(plan.operationsPerSecond ?? 0))) GET/s, \(results.count) rounds")
    print(
        "  events come late by  p50 \(fixed(median { $0.lateness.p50 }, 1)) ms, "
            + "p99 \(fixed(median { $0.lateness.p99 }, 1)) ms, "
            + "p99.9 \(fixed(median { $0.lateness.p999 }, 1)) ms, "
            + "the worst \(fixed(worst, 1)) ms; \(missing) have not come")
    print(
        "  p99.9 of GET         quiet \(fixed(quietTail, 3)) ms, event \(fixed(eventTail, 3)) ms: "
            + "\(fixed(eventTail / quietTail, 2)) x")
}
