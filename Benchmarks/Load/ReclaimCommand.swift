//  `reclaim`: a huge sorted set goes while other keys are read.
//
//      quiet:   |warm-up|------ window ------|
//      event:   load the set |warm-up|------ window ------|
//                                    ^ it is removed here
//
//  Both run the same open-loop GETs. Latencies count from when a GET was due.

import Glibc
import LoadGenerator

let reclaimSubcommand = Subcommand(
    name: "reclaim", summary: "latency while a sorted set of millions goes",
    description: """
        Loads a sorted set of --members, lets it go in each of --ways, and runs GETs of other keys at
        a fixed rate meanwhile. Prints p99.9 of these GETs beside that of the same load without the
        event, how long the command itself took, and what used_memory was beyond what it was before.
        Quiet and event alternate; medians of --rounds.

        Ways: unlink, del, set (another value is put in its place), expiry, flushall.

        Without --rate, half of what the server does at saturation is taken.
        """,
    options: [
        OptionGroup(
            "Server to start and end here, instead of one that runs and is emptied",
            [Option("--spawn", "COMMAND", "its command line, with {port}")]), .spawn, .server,
        OptionGroup(
            "Event",
            [
                Option("--members", "N", "members of the set (5000000)"),
                Option("--ways", "LIST", "how it goes (unlink,del,expiry,flushall)"),
                Option("--rate", "R", "GETs a second"),
                Option("--window", "S", "in which latencies count (1)"),
                Option("--rounds", "N", "of quiet and event (3)"),
            ]), .load, .greeting, .output,
    ],
    run: measureReclaim)

/// How the set goes.
private enum Way: String, CaseIterable {
    case unlink, del, set, expiry, flushall

    var command: [String] {
        switch self {
        case .unlink: ["UNLINK", "huge"]
        case .del: ["DEL", "huge"]
        case .set: ["SET", "huge", "small"]
        case .expiry: ["PEXPIRE", "huge", "1"]
        case .flushall: ["FLUSHALL"]
        }
    }
}

/// What one event showed.
private struct Event {
    var quiet: LatencySummary
    var latency: LatencySummary
    var commandMilliseconds: Double
    /// Bytes in use at the end beyond those before the set was loaded.
    var bytesLeft: Int
}

private func measureReclaim(_ arguments: Arguments) throws(BenchmarkError) {
    let format = try Format(arguments)
    let progress = ProgressLine(arguments)
    let members = try arguments.integer("--members", 5_000_000, in: 1...1_000_000_000)
    let window = try arguments.number("--window", 1, in: 0.1...60)
    let rounds = try arguments.integer("--rounds", 3, in: 1...1000)
    var ways: [Way] = []
    for name in (arguments.text("--ways") ?? "unlink,del,expiry,flushall").split(separator: ",") {
        guard let way = Way(rawValue: String(name)) else {
            throw .usage("--ways: one of \(Way.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        ways.append(way)
    }
    var placement = try Placement(arguments)
    try placement.bindCaller()
    let greeting = try Greeting(arguments)
    let (peer, _) = try Peer.single(arguments, &placement)
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
    plan.bound = .seconds(window)

    var records: [Record] = []
    if format == .text {
        print(
            "a sorted set of \(grouped(members)) goes, "
                + "\(grouped(Int(plan.operationsPerSecond ?? 0))) GET/s, medians of \(rounds) rounds"
        )
    }
    for way in ways {
        var events: [Event] = []
        for round in 1...rounds {
            events.append(
                try event(plan, way, members, window, &client) {
                    progress.show("\(way.rawValue) \(round)/\(rounds)", $0)
                })
        }
        progress.clear()
        records.append(report(way, events, format))
    }
    if format != .text { printRecords(records, format) }
}

/// Measures the quiet load, loads the set, and measures the load again while it goes.
private func event(
    _ plan: LoadPlan, _ way: Way, _ members: Int, _ window: Double,
    _ client: inout ControlClient, progress: (RunProgress) -> Void
) throws(BenchmarkError) -> Event {
    let before = try usedMemory(&client) ?? 0
    let quiet = try measure(plan, meter: nil, progress: progress).latency
    var loading = plan
    loading.keyCount = members
    loading.operationsPerSecond = nil
    try fill(loading, "ZADD huge {rand:1000000} m:{key}", progress: progress)
    let run = try LoadRun(plan)
    var took = 0.0
    do {
        run.start()
        sleep(seconds: plan.warmupSeconds)
        run.beginMeasuring()
        let start = seconds()
        _ = try client.command(way.command)
        took = seconds() - start
        while seconds() - start < window {
            try run.check()
            sleep(seconds: 0.01)
        }
        run.endMeasuring()
    } catch {
        _ = try run.stop()
        throw error
    }
    let latency = try run.stop().latency
    if way == .set { _ = try client.command(["DEL", "huge"]) }
    if way == .flushall {
        var filling = plan
        filling.operationsPerSecond = nil
        try fill(filling, Workload.setEveryKey, progress: progress)
    }
    return Event(
        quiet: quiet, latency: latency, commandMilliseconds: took * 1000,
        bytesLeft: (try usedMemory(&client) ?? 0) - before)
}

private func report(_ way: Way, _ events: [Event], _ format: Format) -> Record {
    let quiet = middle(events.map { milliseconds($0.quiet.p999) }) ?? .nan
    let tail = middle(events.map { milliseconds($0.latency.p999) }) ?? .nan
    let longest = events.map { milliseconds($0.latency.maximum) }.max() ?? .nan
    let took = middle(events.map(\.commandMilliseconds)) ?? .nan
    let left = events.map(\.bytesLeft).max() ?? 0
    if format == .text {
        print(
            "  \(padded(way.rawValue, 9))p99.9 quiet \(fixed(quiet, 3)) ms, event \(fixed(tail, 3)) ms: "
                + "\(fixed(tail / quiet, 2)) x, longest \(fixed(longest, 2)) ms, the command itself "
                + "\(fixed(took, 2)) ms, used_memory \(grouped(left)) bytes beyond before")
    }
    var record = Record()
    record.add("way", .text(way.rawValue))
    record.add("quiet_p999_ms", .number(quiet, digits: 4))
    record.add("event_p999_ms", .number(tail, digits: 4))
    record.add("p999_ratio", .number(tail / quiet, digits: 3))
    record.add("event_max_ms", .number(longest, digits: 4))
    record.add("command_ms", .number(took, digits: 4))
    record.add("bytes_left", .integer(left))
    return record
}

private func seconds() -> Double { Double(monotonicNanoseconds()) / 1e9 }
