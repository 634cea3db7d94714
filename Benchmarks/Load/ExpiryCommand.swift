//  `expiry`: many keys expire within one second while others are read.
//
//      quiet:   |warm-up|------ window ------|
//      event:   load keys |warm-up|-- deadlines spread over 1 s --|---- window ----| … memory back
//                                 ^ window begins with the first deadline, as long as the quiet one
//
//  Both run the same open-loop GETs; the keys are loaded before the window. Latencies count from
//  when a GET was due.

import Glibc
import LoadGenerator

let expirySubcommand = Subcommand(
    name: "expiry", summary: "latency and memory while a million keys expire",
    description: """
        Loads --expiring keys whose deadlines lie within one second and runs GETs of other keys at a
        fixed rate meanwhile. Prints p99.9 of these GETs beside that of the same load without the
        event, and how long after the last deadline used_memory, resident memory and DBSIZE were
        back: when all but a twentieth of what the keys had added was gone again. Quiet and event
        alternate; medians of --rounds.

        Without --rate, half of what the server does at saturation is taken.

        With --events a client listens to the `expired` events of keys whose deadlines are spread over
        so many seconds, and what is printed is how long after its deadline each event came.
        """,
    options: [
        OptionGroup(
            "Server to start and end here, instead of one that runs and is emptied",
            [Option("--spawn", "COMMAND", "its command line, with {port}")]), .spawn, .server,
        OptionGroup(
            "Event",
            [
                Option("--expiring", "N", "keys that expire within one second (1000000)"),
                Option("--expiring-bytes", "N", "size of their values (32)"),
                Option("--rate", "R", "GETs a second"),
                Option("--window", "S", "in which latencies count (2)"),
                Option("--rounds", "N", "of quiet and event (5)"),
                Option("--events", "S", "listen to them; their deadlines lie in S seconds"),
            ]), .load, .greeting, .output,
    ],
    run: measureExpiry)

/// What one event showed.
private struct Event {
    var latency: LatencySummary
    /// Seconds after the last deadline; nil when not within the time waited.
    var usedBack: Double?
    var residentBack: Double?
    var countBack: Double?
}

private func measureExpiry(_ arguments: Arguments) throws(BenchmarkError) {
    let format = try Format(arguments)
    let progress = ProgressLine(arguments)
    let expiring = try arguments.integer("--expiring", 1_000_000, in: 1...1_000_000_000)
    let expiringBytes = try arguments.integer("--expiring-bytes", 32, in: 0...(1 << 20))
    let window = try arguments.number("--window", 2, in: 1.1...60)
    let rounds = try arguments.integer("--rounds", 5, in: 1...1000)
    var placement = try Placement(arguments)
    try placement.bindCaller()
    let greeting = try Greeting(arguments)
    let (peer, meter) = try Peer.single(arguments, &placement)
    defer { peer.stop() }

    var plan = try LoadPlan(arguments, endpoint: peer.endpoint)
    plan.warmupSeconds = 0.3
    var client = try ControlClient.connect(peer.endpoint, greeting: greeting)
    _ = try client.command(["FLUSHALL"])
    try fill(plan, Workload.setEveryKey) { progress.show("fill", $0) }
    plan.commands = [WeightedCommand("GET key:{key}")]
    if arguments.has("--rate") {
        plan.operationsPerSecond = try arguments.number("--rate", 0, in: 1...1e9)
    } else {
        plan.bound = .seconds(1)
        let saturated = try measure(plan, meter: nil) { progress.show("saturation", $0) }
        plan.operationsPerSecond = saturated.operationsPerSecond / 2
    }
    if arguments.has("--events") {
        try measureExpiryEvents(
            plan, expiring: expiring, seconds: try arguments.number("--events", 1, in: 0.1...600),
            rounds: rounds, greeting, format, progress)
        return
    }
    plan.bound = .seconds(window)

    var quiet: [LatencySummary] = []
    var events: [Event] = []
    for round in 1...rounds {
        quiet.append(
            try measure(plan, meter: nil) { progress.show("quiet \(round)/\(rounds)", $0) }.latency)
        let base = Resources(
            used: try usedMemory(&client) ?? 0, resident: try meter.residentBytesRoughly(),
            count: try keyCount(&client))
        // Long enough ahead to load them all; loading is measured on the way and not waited for.
        var loading = plan
        loading.keyCount = expiring
        loading.valueBytes = expiringBytes
        loading.operationsPerSecond = nil
        var first = wallMilliseconds() + 2000 + expiring / 100
        first = try load(loading, first: first, client: &client, base: base) {
            progress.show("load \(round)/\(rounds)", $0)
        }
        events.append(
            try event(plan, first: first, window: window, base: base, meter, &client) {
                progress.show("event \(round)/\(rounds): \(grouped($0)) bytes")
            })
    }
    progress.clear()
    report(plan, expiring, quiet, events, format)
}

/// Loads the keys that expire from `first` on, for a second, and returns that time, in Unix
/// milliseconds. Nothing may have expired yet.
private func load(
    _ plan: LoadPlan, first: Int, client: inout ControlClient, base: Resources,
    progress: (RunProgress) -> Void
) throws(BenchmarkError) -> Int {
    try fill(
        plan, "SET expiring:{key} {value} PXAT {rand:\(first)-\(first + 999)}", progress: progress)
    guard wallMilliseconds() < first - 500 else {
        throw .measurement("loading took until the first keys expired: ask for fewer --expiring")
    }
    let loaded = try keyCount(&client) - base.count
    guard loaded == plan.keyCount else {
        throw .measurement("\(loaded) of \(plan.keyCount) expiring keys are there")
    }
    return first
}

/// What the server uses at a moment.
private struct Resources {
    var used: Int
    var resident: Int
    var count: Int
}

/// Runs the GETs over the deadlines and watches the memory come back.
private func event(
    _ plan: LoadPlan, first: Int, window: Double, base: Resources, _ meter: ProcessMeter,
    _ client: inout ControlClient, progress: (Int) -> Void
) throws(BenchmarkError) -> Event {
    let full = Resources(
        used: try usedMemory(&client) ?? 0, resident: try meter.residentBytesRoughly(),
        count: try keyCount(&client))
    let run = try LoadRun(plan)
    var event = Event(latency: LatencySummary(Histogram()))
    do {
        sleep(seconds: Double(first - wallMilliseconds()) / 1000 - 0.3)
        run.start()
        sleep(seconds: Double(first - wallMilliseconds()) / 1000)
        run.beginMeasuring()
        var isMeasuring = true
        func isBack(_ now: Int, _ base: Int, _ full: Int) -> Bool {
            now <= base + max(0, full - base) / 20
        }
        while true {
            let after = Double(wallMilliseconds() - first - 999) / 1000
            if isMeasuring && after + 0.999 >= window {
                run.endMeasuring()
                isMeasuring = false
            }
            try run.check()
            // Before the last deadline there is nothing to see, and asking would disturb.
            if after < 0 {
                sleep(seconds: 0.01)
                continue
            }
            let used = try usedMemory(&client) ?? 0
            let resident = try meter.residentBytesRoughly()
            progress(used)
            if event.usedBack == nil && isBack(used, base.used, full.used) {
                event.usedBack = after
            }
            if event.residentBack == nil && isBack(resident, base.resident, full.resident) {
                event.residentBack = after
            }
            // DBSIZE reclaims what is due, so it is asked when that has happened.
            if event.countBack == nil && event.usedBack != nil,
                isBack(try keyCount(&client), base.count, full.count)
            {
                event.countBack = after
            }
            let isDone =
                event.usedBack != nil && event.residentBack != nil && event.countBack != nil
            if !isMeasuring && (isDone || after > 10) { break }
            sleep(seconds: 0.01)
        }
        event.latency = try run.stop().latency
        return event
    } catch {
        _ = try run.stop()
        throw error
    }
}

private func report(
    _ plan: LoadPlan, _ expiring: Int, _ quiet: [LatencySummary], _ events: [Event],
    _ format: Format
) {
    let quietTail = middle(quiet.map { milliseconds($0.p999) }) ?? .nan
    let eventTail = middle(events.map { milliseconds($0.latency.p999) }) ?? .nan
    /// The median of when it was back; nil when it was not in every round.
    func back(_ times: [Double?]) -> Double? {
        let known = times.compactMap { $0 }
        return known.count == times.count ? middle(known.map { max(0, $0) }) : nil
    }
    let rate = plan.operationsPerSecond ?? 0
    let times = [
        ("used_memory", back(events.map(\.usedBack))),
        ("resident", back(events.map(\.residentBack))),
        ("dbsize", back(events.map(\.countBack))),
    ]
    guard format == .text else {
        var record = Record()
        record.add("expiring", .integer(expiring))
        record.add("rate", .number(rate, digits: 0))
        record.add("rounds", .integer(events.count))
        record.add("quiet_p50_ms", .number(middle(quiet.map { milliseconds($0.p50) }), digits: 4))
        record.add("quiet_p999_ms", .number(quietTail, digits: 4))
        record.add(
            "event_p50_ms",
            .number(middle(events.map { milliseconds($0.latency.p50) }), digits: 4))
        record.add("event_p999_ms", .number(eventTail, digits: 4))
        record.add("p999_ratio", .number(eventTail / quietTail, digits: 3))
        for (name, time) in times { record.add(name + "_back_s", .number(time, digits: 3)) }
        printRecords([record], format)
        return
    }
    print(
        "\(grouped(expiring)) keys expire within 1 s, \(grouped(Int(rate))) GET/s, medians of "
            + "\(events.count) rounds")
    print(
        "  p99.9 of GET      quiet \(fixed(quietTail, 3)) ms, event \(fixed(eventTail, 3)) ms: "
            + "\(fixed(eventTail / quietTail, 2)) x")
    for (name, time) in times {
        let text = time.map { "\(fixed($0, 2)) s after the last deadline" } ?? "not within 10 s"
        print("  \(padded(name + " back", 18))\(text)")
    }
}
