//  `eviction`: a load that outgrows `maxmemory`, by policy and by type of value.
//
//      quiet:    FLUSHALL, no limit        |warm-up|--- --operations ---|
//      policy:   FLUSHALL, limit, policy   |warm-up|--- --operations ---|
//
//  Sizes of values are log-uniform, from one byte to --largest: what allocators like least. The process
//  is looked at fifty times a second.

import LoadGenerator

let evictionSubcommand = Subcommand(
    name: "eviction", summary: "memory and latency at maxmemory, by policy and type of value",
    description: """
        Writes values of many sizes to random keys of a server whose maxmemory they outgrow. Prints for
        each policy how much memory the process had at most, as a share of the limit and what it had at
        the start, how many keys were evicted, errors, and the p99.9 of a write beside that of the same
        load without a limit.

        Without --rate the load is as fast as it gets.

          martlet-benchmark eviction --spawn 'martlet --port {port}' --policies allkeys-lru,allkeys-lfu
        """,
    options: [
        OptionGroup(
            "Server to start and end here, instead of one that runs and is emptied",
            [Option("--spawn", "COMMAND", "its command line, with {port}")]), .spawn, .server,
        OptionGroup(
            "Measurement",
            [
                Option("--limit", "BYTES", "maxmemory (268435456)"),
                Option("--policies", "LIST", "the policies of all keys, and volatile-ttl"),
                Option("--types", "LIST", "string, hash, zset, stream (string)"),
                Option("--operations", "N", "of each run (300000)"),
                Option("--largest", "BYTES", "the largest value (100000)"),
                Option("--rate", "R", "writes a second"),
                Option("--rounds", "N", "of each policy and of none, in turn (1)"),
            ]), .load, .greeting, .output,
    ],
    run: measureEviction)

/// Types of values, and the commands that write one of them with {size} bytes.
private enum WrittenType: String, CaseIterable {
    case string, hash, zset, stream

    func command(value: String, expires: Bool) -> String {
        let write =
            switch self {
            case .string: "SET key:{key} \(value)"
            case .hash: "HSET key:{key} field:{rand:100000} \(value)"
            case .zset: "ZADD key:{key} {rand:1000000} \(value)"
            case .stream: "XADD key:{key} * field \(value)"
            }
        return expires ? write + " ; EXPIRE key:{samekey} {rand:100000-999999}" : write
    }
}

/// What one run showed.
private struct Run {
    var latency: LatencySummary
    var operationsPerSecond: Double
    var peak: Int
    var evicted: Int
    var errors: Int
}

private struct Limits {
    let bytesMax: Int
    let largest: Int
    let operations: Int
}

private func measureEviction(_ arguments: Arguments) throws(BenchmarkError) {
    let format = try Format(arguments)
    let progress = ProgressLine(arguments)
    let limits = Limits(
        bytesMax: try arguments.integer("--limit", 256 << 20, in: 1 << 20...1 << 50),
        largest: try arguments.integer("--largest", 100_000, in: 1...1 << 29),
        operations: try arguments.integer("--operations", 300_000, in: 1...1_000_000_000))
    let rounds = try arguments.integer("--rounds", 1, in: 1...100)
    let policies =
        (arguments.text("--policies")
        ?? "allkeys-lru,allkeys-lfu,allkeys-lrm,allkeys-random,volatile-ttl")
        .split(separator: ",").map(String.init)
    var types: [WrittenType] = []
    for name in (arguments.text("--types") ?? "string").split(separator: ",") {
        guard let type = WrittenType(rawValue: String(name)) else {
            throw .usage(
                "--types: one of \(WrittenType.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        types.append(type)
    }
    var placement = try Placement(arguments)
    try placement.bindCaller()
    let greeting = try Greeting(arguments)
    let (peer, meter) = try Peer.single(arguments, &placement)
    defer { peer.stop() }
    var plan = try LoadPlan(arguments, endpoint: peer.endpoint)
    plan.bound = .operations(limits.operations)
    plan.allowsErrors = true
    if arguments.has("--rate") {
        plan.operationsPerSecond = try arguments.number("--rate", 0, in: 1...1e9)
    }
    var client = try ControlClient.connect(peer.endpoint, greeting: greeting)
    let atStart = try meter.residentBytesRoughly()
    var records: [Record] = []
    if format == .text {
        print(
            "maxmemory \(grouped(limits.bytesMax)), \(grouped(atStart)) resident at the start, "
                + "\(grouped(limits.operations)) writes of 1 to \(grouped(limits.largest)) bytes")
    }
    for type in types {
        for policy in policies {
            var quiet: [Run] = []
            var runs: [Run] = []
            for round in 1...rounds {
                let show: (RunProgress) -> Void = {
                    progress.show("\(type.rawValue) \(policy) \(round)/\(rounds)", $0)
                }
                plan.commands = mix(type, limits, expires: policy.hasPrefix("volatile"))
                runs.append(try run(plan, policy, limits, meter, &client, show))
                quiet.append(try run(plan, nil, limits, meter, &client, show))
            }
            progress.clear()
            records.append(report(type, policy, quiet, runs, limits, atStart, format))
        }
    }
    if format != .text { printRecords(records, format) }
}

/// Writes of log-uniform sizes, each as likely as any other.
private func mix(_ type: WrittenType, _ limits: Limits, expires: Bool) -> [WeightedCommand] {
    var sizes: [Int] = []
    // Four to a doubling.
    var size = 1.0
    while size <= Double(limits.largest) {
        sizes.append(Int(size))
        size *= 1.1892
    }
    return sizes.map { size in
        let value =
            type == .zset
            ? String(repeating: "m", count: size) + "{samerand:0}"
            : String(repeating: "v", count: size)
        return WeightedCommand(type.command(value: value, expires: expires))
    }
}

/// Runs the load on an empty server, with a policy at the limit or, with nil, without a limit.
private func run(
    _ plan: LoadPlan, _ policy: String?, _ limits: Limits, _ meter: ProcessMeter,
    _ client: inout ControlClient, _ show: (RunProgress) -> Void
) throws(BenchmarkError) -> Run {
    _ = try client.command(["CONFIG", "SET", "maxmemory", "0"])
    _ = try client.command(["FLUSHALL"])
    sleep(seconds: 1)
    _ = try client.command(["CONFIG", "RESETSTAT"])
    if let policy {
        _ = try client.command(["CONFIG", "SET", "maxmemory-policy", policy])
        _ = try client.command(["CONFIG", "SET", "maxmemory", String(limits.bytesMax)])
    }
    try meter.resetPeak()
    let result = try measure(plan, meter: nil, progress: show)
    let info = try client.info()
    return Run(
        latency: result.latency, operationsPerSecond: result.operationsPerSecond,
        peak: try meter.peakResidentBytes(), evicted: info["evicted_keys"].flatMap { Int($0) } ?? 0,
        errors: result.errors)
}

private func report(
    _ type: WrittenType, _ policy: String, _ quiet: [Run], _ runs: [Run], _ limits: Limits,
    _ atStart: Int, _ format: Format
) -> Record {
    let peak = runs.map(\.peak).max() ?? 0
    let share = Double(peak - atStart) / Double(limits.bytesMax)
    let tail = middle(runs.map { milliseconds($0.latency.p999) }) ?? .nan
    let quietTail = middle(quiet.map { milliseconds($0.latency.p999) }) ?? .nan
    let rate = middle(runs.map(\.operationsPerSecond)) ?? .nan
    let quietRate = middle(quiet.map(\.operationsPerSecond)) ?? .nan
    let errors = runs.map(\.errors).reduce(0, +)
    let evicted = runs.map(\.evicted).max() ?? 0
    if format == .text {
        print(
            "  \(padded(type.rawValue, 7))\(padded(policy, 16))resident \(grouped(peak)), beyond "
                + "the start \(fixed(share, 3)) x the limit; \(grouped(evicted)) evicted, \(errors) errors; p99.9 "
                + "\(fixed(tail, 2)) ms, without a limit \(fixed(quietTail, 2)) ms: "
                + "\(fixed(tail / quietTail, 2)) x; \(grouped(Int(rate))) writes/s, "
                + "\(grouped(Int(quietRate)))")
    }
    var record = Record()
    record.add("type", .text(type.rawValue))
    record.add("policy", .text(policy))
    record.add("peak_bytes", .integer(peak))
    record.add("start_bytes", .integer(atStart))
    record.add("growth_per_limit", .number(share, digits: 4))
    record.add("evicted", .integer(evicted))
    record.add("errors", .integer(errors))
    record.add("p999_ms", .number(tail, digits: 4))
    record.add("quiet_p999_ms", .number(quietTail, digits: 4))
    record.add("writes_per_second", .number(rate, digits: 6))
    record.add("quiet_writes_per_second", .number(quietRate, digits: 6))
    return record
}
