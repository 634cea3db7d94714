//  `compare`: the same load on several servers in turn, A B A B, and their ratios.
//
//  Round by round, every ratio is taken between neighbours in time, so what drifts on the machine
//  drifts for both; the median over the rounds forgets the round that was disturbed, and the
//  spread beside it says whether to believe it.

import LoadGenerator

let compareSubcommand = Subcommand(
    name: "compare", summary: "several servers in turn under the same load, and their ratios",
    description: """
        Runs every case (workload x pipeline) on all servers in turn, A B A B, --rounds times, and
        prints for each the median server CPU time of an operation (us: all, user, system), the
        share of user space, throughput, and the median of the ratios to the first server, taken
        within each round, with their smallest and largest. User and system are told apart by the
        kernel's tick, a coarse sample, so their shares are of the samples of all rounds together.

        Servers that are started here are filled for each workload, and emptied before when the
        one before filled them otherwise. Servers that run already are filled only with --fill and
        emptied only with --flush.

        A floor that answers without parsing joins with --spawn 'floor=@floor'. It repeats the reply
        that the first other server gave to the workload's first request.

        --preset hot-path: GET and SET at pipelines 1, 16 and 64, 50 connections, 100 000 keys,
        values of 64 bytes. --preset types: a workload or two of each collection type at pipeline 16.
        Their windows slide on from round to round. --preset messages: streams, likewise.
        --preset scripts: a lock's release by EVALSHA and EVAL, a window, and a loop in Lua.

          martlet-benchmark compare --preset hot-path --server-cpu 0 --client-cpu 1 \\
            --spawn 'redis=redis-server --port {port} --save "" --appendonly no' \\
            --spawn 'martlet=martlet --port {port} --io-threads 1'
        """,
    options: [
        OptionGroup(
            "Servers, two or more",
            [
                Option("--server", "NAME=ADDRESS", "one that runs: host:port or a socket's path"),
                Option(
                    "--spawn", "NAME=COMMAND",
                    "one to start and end here; {port} stands for its port"),
            ]), .spawn, .greeting,
        OptionGroup(
            "Cases",
            [
                Option("--preset", "NAME", "hot-path, messages, scripts or types"),
                Option("--workloads", "LIST", "names, separated by commas (get,set)"),
                Option("--command", "TEXT", "a workload of your own, as in run"),
                Option("--fill-command", "TEXT", "the fill of --command"),
                Option("--pipelines", "LIST", "requests in flight (1,16,64)"),
                Option("--rounds", "N", "of each case (5)"),
                Option("--seconds", "S", "of each measurement (2)"),
                Option("--warmup", "S", "before each, unmeasured (0.3)"),
                Option("--fill", "fill servers that run already, too"),
                Option("--flush", "and empty them with FLUSHALL before"),
            ]), .load, .output,
    ],
    run: compare)

/// One case with what was measured: by peer, then by round.
struct CaseResult {
    let workload: String
    let pipeline: Int
    var rounds: [[Measurement]]

    var name: String { "\(workload) P\(pipeline)" }
}

private func compare(_ arguments: Arguments) throws(BenchmarkError) {
    let format = try Format(arguments)
    let progress = ProgressLine(arguments)
    let presets = [
        "types": Workload.ofTypes, "messages": Workload.ofMessages, "scripts": Workload.ofScripts,
    ]
    let preset = try arguments.choice("--preset", ["hot-path", "messages", "scripts", "types"])
    let peers = try Peer.all(arguments)
    guard peers.count >= 2 else { throw .usage("compare wants two or more --server or --spawn") }
    guard let reference = peers.first(where: { !$0.isFloor }) else {
        throw .usage("compare wants a server beside the floor")
    }
    let cases = try workloads(
        arguments, option: "--workloads",
        standard: presets[preset] ?? ["get", "set"])
    let pipelines = try arguments.integers(
        "--pipelines", presets[preset] == nil ? [1, 16, 64] : [16], in: 1...100_000)
    let rounds = try arguments.integer("--rounds", 5, in: 1...10_000)
    // The address is replaced by each peer's.
    var plan = try LoadPlan(arguments, endpoint: .tcp(host: "127.0.0.1", port: 1))
    plan.bound = .seconds(try arguments.number("--seconds", 2, in: 0.01...100_000))
    plan.warmupSeconds = try arguments.number("--warmup", 0.3, in: 0...100_000)
    var placement = try Placement(arguments)
    try placement.bindCaller()

    for peer in peers {
        progress.show("starting \(peer.name)")
        try peer.start(&placement, greeting: plan.greeting)
    }
    var results: [CaseResult] = []
    for workload in cases {
        plan.commands = workload.commands
        for peer in peers where !peer.isFloor {
            try prepare(peer, workload, plan, arguments) {
                progress.show("fill \(peer.name)", $0)
            }
        }
        for peer in peers where peer.isFloor {
            let (counting, reply) = try floorShape(plan, reference)
            try peer.startFloor(&placement, counting: counting, reply: reply)
        }
        for pipeline in pipelines {
            plan.pipeline = pipeline
            var result = CaseResult(
                workload: workload.name, pipeline: pipeline,
                rounds: peers.map { _ in [] })
            for round in 1...rounds {
                for (index, peer) in peers.enumerated() {
                    plan.firstOperation = peer.operations
                    let measurement = try measure(peer, plan) {
                        progress.show("\(result.name) \(peer.name) \(round)/\(rounds)", $0)
                    }
                    result.rounds[index].append(measurement)
                    // What the warm-up did is not counted: as much again as its time is room enough.
                    peer.operations += Int(
                        Double(measurement.operations)
                            * (1 + 2 * plan.warmupSeconds / max(measurement.seconds, 0.01)))
                }
            }
            results.append(result)
            if format == .text {
                progress.clear()
                printCase(result, peers.map(\.name), isFirst: results.count == 1)
            }
        }
    }
    progress.clear()
    if format != .text {
        printRecords(results.flatMap { records($0, peers.map(\.name)) }, format)
    }
}

/// Measures one peer.
///
/// - Throws: also when nothing was answered, or the process whose CPU time counts is unknown.
func measure(
    _ peer: Peer, _ plan: LoadPlan, progress: (RunProgress) -> Void
) throws(BenchmarkError) -> Measurement {
    guard let meter = peer.meter else {
        throw .measurement("the process of \(peer.name) is not known: its INFO does not tell")
    }
    var plan = plan
    plan.endpoint = peer.endpoint
    if peer.isFloor { plan.greeting = Greeting() }
    let measurement = try LoadGenerator.measure(plan, meter: meter, progress: progress)
    guard measurement.operations > 0 else {
        throw .measurement("\(peer.name) answered nothing in the measured time")
    }
    return measurement
}

/// Brings a server's keys into the state that the workload wants.
private func prepare(
    _ peer: Peer, _ workload: Workload, _ plan: LoadPlan, _ arguments: Arguments,
    progress: (RunProgress) -> Void
) throws(BenchmarkError) {
    var plan = plan
    plan.endpoint = peer.endpoint
    try loadScript(workload, plan)
    // Keys filled alike for the workload before serve this one too.
    if workload.fill != nil && peer.filledWith == workload.fill { return }
    let isFresh = peer.isSpawned && !peer.isUsed
    if !isFresh && (peer.isSpawned || arguments.has("--flush")) {
        var client = try ControlClient.connect(peer.endpoint, greeting: plan.greeting)
        _ = try client.command(["FLUSHALL"])
    }
    if let command = workload.fill, peer.isSpawned || arguments.has("--fill") {
        try fill(plan, command, progress: progress)
    }
    peer.filledWith = workload.fill
    peer.isUsed = true
}

/// What the floor must know of a workload: how its requests are counted, and a reply like the
/// reference's.
private func floorShape(
    _ plan: LoadPlan, _ reference: Peer
) throws(BenchmarkError) -> (RequestCounting, [UInt8]) {
    let templates = try templates(plan)
    let first = templates[0]
    let isUniform = templates.allSatisfy { $0.bytes.count == first.bytes.count }
    guard isUniform, templates.count == 1 else { return (.stars, Array("+OK\r\n".utf8)) }
    var client = try ControlClient.connect(reference.endpoint, greeting: plan.greeting)
    let reply = try client.rawReplies(to: first.bytes, count: first.commandCount)
    return (.length(first.bytes.count), reply)
}

private func templates(_ plan: LoadPlan) throws(BenchmarkError) -> [RequestTemplate] {
    var templates: [RequestTemplate] = []
    for command in plan.commands {
        templates.append(try RequestTemplate(command.text, valueBytes: plan.valueBytes))
    }
    return templates
}

/// A figure over the rounds of a case.
struct Spread {
    var median: Double
    var low: Double
    var high: Double

    init(_ values: [Double]) {
        median = middle(values) ?? .nan
        low = values.min() ?? .nan
        high = values.max() ?? .nan
    }
}

extension CaseResult {
    /// A figure of one peer over its rounds.
    func spread(_ peer: Int, _ figure: (Measurement) -> Double) -> Spread {
        Spread(rounds[peer].map(figure))
    }

    /// The share of user space in all samples of all rounds.
    func userShare(_ peer: Int) -> Double {
        var all = ProcessUsage()
        for usage in rounds[peer].compactMap(\.server) {
            all.userTicks += usage.userTicks
            all.systemTicks += usage.systemTicks
        }
        return all.userShare
    }

    /// The ratios of a figure to the first peer's, round by round.
    func ratio(_ peer: Int, _ figure: (Measurement) -> Double) -> Spread {
        Spread(zip(rounds[peer], rounds[0]).map { figure($0) / figure($1) })
    }
}

extension Measurement {
    /// Server CPU microseconds of an operation.
    var serverMicroseconds: Double { perOperation(server?.seconds ?? 0) }
    var userMicroseconds: Double { perOperation(server?.userSeconds ?? 0) }
    var systemMicroseconds: Double { perOperation(server?.systemSeconds ?? 0) }
    var userShare: Double { server?.userShare ?? 0 }
    var busy: Double { server.map { $0.seconds / max($0.elapsed, 1e-9) } ?? 0 }
}

/// Prints a case as a table, above the first one what its figures are.
func printCase(_ result: CaseResult, _ names: [String], isFirst: Bool) {
    if isFirst {
        print("server CPU in us for an operation; x is the ratio to \(names[0]), with its spread")
    }
    print()
    var table = TextTable()
    table.add([
        result.name, "us/op", "x", "spread", "user", "system", "user share", "busy", "ops/s", "x",
        "spread", "p50 ms", "p99.9 ms",
    ])
    func spread(_ value: Spread) -> String { "\(fixed(value.low, 2))-\(fixed(value.high, 2))" }
    for (peer, name) in names.enumerated() {
        let cpu = result.ratio(peer, \.serverMicroseconds)
        let speed = result.ratio(peer, \.operationsPerSecond)
        func median(_ figure: (Measurement) -> Double) -> Double {
            result.spread(peer, figure).median
        }
        let share = result.userShare(peer)
        table.add([
            "  " + name, fixed(median(\.serverMicroseconds), 3), fixed(cpu.median, 3), spread(cpu),
            fixed(median(\.serverMicroseconds) * share, 3),
            fixed(median(\.serverMicroseconds) * (1 - share), 3), percent(share, 1),
            percent(median(\.busy)),
            grouped(Int(median(\.operationsPerSecond))), fixed(speed.median, 3), spread(speed),
            fixed(median { milliseconds($0.latency.p50) }, 3),
            fixed(median { milliseconds($0.latency.p999) }, 3),
        ])
    }
    table.print()
}

/// One record for each peer of the case.
func records(_ result: CaseResult, _ names: [String]) -> [Record] {
    let figures: [(String, Int, (Measurement) -> Double)] = [
        ("server_us", 4, \.serverMicroseconds), ("server_user_us", 4, \.userMicroseconds),
        ("server_system_us", 4, \.systemMicroseconds), ("server_user_share", 4, \.userShare),
        ("ops_per_second", 0, \.operationsPerSecond),
    ]
    return names.indices.map { peer in
        var record = Record()
        record.add("workload", .text(result.workload))
        record.add("pipeline", .integer(result.pipeline))
        record.add("server", .text(names[peer]))
        record.add("rounds", .integer(result.rounds[peer].count))
        for (name, digits, figure) in figures {
            let value = result.spread(peer, figure)
            let ratio = result.ratio(peer, figure)
            record.add(name, .number(value.median, digits: digits))
            record.add(name + "_min", .number(value.low, digits: digits))
            record.add(name + "_max", .number(value.high, digits: digits))
            record.add(name + "_ratio", .number(ratio.median, digits: 4))
            record.add(name + "_ratio_min", .number(ratio.low, digits: 4))
            record.add(name + "_ratio_max", .number(ratio.high, digits: 4))
        }
        record.add("server_user_share_pooled", .number(result.userShare(peer), digits: 4))
        record.add("server_busy", .number(result.spread(peer, \.busy).median, digits: 4))
        for (name, figure) in [
            ("p50_ms", { milliseconds($0.latency.p50) }),
            ("p99_ms", { milliseconds($0.latency.p99) }),
            ("p999_ms", { milliseconds($0.latency.p999) }),
            ("max_ms", { milliseconds($0.latency.maximum) }),
        ] as [(String, (Measurement) -> Double)] {
            record.add(name, .number(result.spread(peer, figure).median, digits: 4))
        }
        return record
    }
}
