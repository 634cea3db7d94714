//  `snapshot`: latencies and memory while everything is saved in the background.
//
//      quiet:    |warm-up|------ --seconds ------|
//      save:     |warm-up|--- BGSAVE … until INFO says that it is done ---|
//      rewrite:  |warm-up|--- BGREWRITEAOF … likewise ---|
//
//  Memory has rounds of its own: for the pages that only a forked child still has, the kernel walks
//  its page tables, and whoever asks takes the time of the generator or of the server.

import LoadGenerator

let snapshotSubcommand = Subcommand(
    name: "snapshot", summary: "latency and memory while all keys are saved, several servers",
    description: """
        Fills --keys into each server, with a log (appendonly yes), and runs SETs and GETs at fixed
        rates: while nothing else happens, during BGSAVE and during BGREWRITEAOF. Servers take turns;
        medians of --rounds, and the median of the ratios to the first server within each round.

        In the same load, in rounds of their own, the memory of the server with what it forked is
        sampled, every page counted once. Printed is its peak, and the ratio of that to what was
        resident before.

          martlet-benchmark snapshot --server-cpu 0 --client-cpu 1 \\
            --spawn 'redis=redis-server --port {port} --dir {directory} --appendonly {appendonly}' \\
            --spawn 'martlet=martlet --port {port} --dir {directory} --appendonly {appendonly}'
        """,
    options: [
        .dataServers,
        OptionGroup(
            "Measurement",
            [
                Option("--phases", "LIST", "what happens (quiet,save,rewrite)"),
                Option("--writes", "R", "SETs a second (20000)"),
                Option("--gets", "R", "GETs a second (5000)"),
                Option("--new", "SHARE", "of the SETs that make a new key (0.01)"),
                Option("--seconds", "S", "length of the quiet phase (5)"),
                Option("--rounds", "N", "for latencies (3)"),
                Option("--memory-rounds", "N", "for memory (1)"),
            ]), .dataLoad(keys: "3000000"), .output,
    ],
    run: measureSnapshots)

private enum Phase: String, CaseIterable {
    case quiet, save, rewrite

    var command: String? {
        switch self {
        case .quiet: nil
        case .save: "BGSAVE"
        case .rewrite: "BGREWRITEAOF"
        }
    }
}

/// What one phase of one server showed.
private struct Observation {
    var latency: LatencySummary
    var seconds: Double
    var operationsPerSecond: Double
    var residentBefore: Int
    var peak: Int

    var growth: Double { Double(peak) / Double(max(1, residentBefore)) }
}

/// All observations of a phase, by peer and round.
private struct PhaseResult {
    let phase: Phase
    var latencies: [[Observation]]
    var memory: [[Observation]]

    func spread(_ peer: Int, _ figure: (Observation) -> Double) -> Spread {
        Spread(latencies[peer].map(figure))
    }

    /// The ratios of a figure to the first peer's, round by round.
    func ratio(_ peer: Int, _ figure: (Observation) -> Double) -> Spread {
        Spread(zip(latencies[peer], latencies[0]).map { figure($0) / figure($1) })
    }
}

private func measureSnapshots(_ arguments: Arguments) throws(BenchmarkError) {
    let format = try Format(arguments)
    let progress = ProgressLine(arguments)
    let phases = try phases(arguments)
    let seconds = try arguments.number("--seconds", 5, in: 0.01...3600)
    let rounds = try arguments.integer("--rounds", 3, in: 1...1000)
    let memoryRounds = try arguments.integer("--memory-rounds", 1, in: 0...1000)
    // The address is replaced by each peer's.
    var plan = try LoadPlan(arguments, endpoint: .tcp(host: "127.0.0.1", port: 1))
    plan.keyCount = try arguments.integer("--keys", 3_000_000, in: 1...1_000_000_000)
    plan.warmupSeconds = 0.5
    try setMix(&plan, arguments)
    let servers = try DataServers(arguments)
    defer { servers.close() }

    for peer in servers.peers {
        progress.show("starting \(peer.name)")
        try servers.startEmpty(peer, appendOnly: true)
        var filling = plan
        filling.endpoint = peer.endpoint
        try fill(filling, Workload.setEveryKey) { progress.show("fill \(peer.name)", $0) }
        var client = try servers.connect(peer)
        try save(&client, by: "BGREWRITEAOF")
    }
    var results = phases.map { phase in
        PhaseResult(
            phase: phase, latencies: servers.peers.map { _ in [] },
            memory: servers.peers.map { _ in [] })
    }
    for round in 1...(rounds + memoryRounds) {
        let isForMemory = round > rounds
        for (index, peer) in servers.peers.enumerated() {
            for at in results.indices {
                let phase = results[at].phase
                progress.show(
                    "\(peer.name) \(phase.rawValue) \(round)/\(rounds + memoryRounds)")
                let observation = try observe(
                    peer, phase, plan, quietSeconds: seconds, isForMemory: isForMemory, servers)
                if isForMemory {
                    results[at].memory[index].append(observation)
                } else {
                    results[at].latencies[index].append(observation)
                }
            }
            // What the rounds log must not pile up, nor be written to the disk in another's turn.
            var client = try servers.connect(peer)
            try save(&client, by: "BGREWRITEAOF")
        }
    }
    progress.clear()
    if format == .text {
        printText(results, servers.names, plan)
    } else {
        printRecords(
            results.flatMap { result in
                servers.names.indices.map { record(result, $0, servers.names) }
            }, format)
    }
}

private func phases(_ arguments: Arguments) throws(BenchmarkError) -> [Phase] {
    guard let list = arguments.text("--phases") else { return Phase.allCases }
    var phases: [Phase] = []
    for name in list.split(separator: ",", omittingEmptySubsequences: false) {
        guard let phase = Phase(rawValue: String(name)) else {
            throw .usage("--phases: \(Phase.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        phases.append(phase)
    }
    return phases
}

/// SETs of existing and of new keys, and GETs, in the shares of their rates.
private func setMix(_ plan: inout LoadPlan, _ arguments: Arguments) throws(BenchmarkError) {
    let writes = try arguments.number("--writes", 20_000, in: 1...1e7)
    let gets = try arguments.number("--gets", 5_000, in: 0...1e7)
    let new = try arguments.number("--new", 0.01, in: 0...1)
    plan.operationsPerSecond = writes + gets
    // Weights are whole numbers: of a million in all, each is exact enough.
    let unit = 1_000_000 / (writes + gets)
    let mix = [
        ("SET key:{key} {value}", writes * (1 - new)), ("SET new:{seq} {value}", writes * new),
        ("GET key:{key}", gets),
    ]
    plan.commands = mix.compactMap { text, rate in
        let weight = Int((rate * unit).rounded())
        return weight > 0 ? WeightedCommand(text, weight: weight) : nil
    }
}

/// Runs the load on one server while the phase lasts.
private func observe(
    _ peer: Peer, _ phase: Phase, _ plan: LoadPlan, quietSeconds: Double, isForMemory: Bool,
    _ servers: DataServers
) throws(BenchmarkError) -> Observation {
    var plan = plan
    plan.endpoint = peer.endpoint
    plan.firstOperation = peer.operations
    let meter = try servers.meter(peer)
    var client = try servers.connect(peer)
    let run = try LoadRun(plan)
    do {
        run.start()
        sleep(seconds: plan.warmupSeconds)
        try meter.resetPeak()
        let before = try meter.residentBytesRoughly()
        var peak = before
        run.beginMeasuring()
        let start = monotonicNanoseconds()
        if let command = phase.command { _ = try client.command([command]) }
        var elapsed = 0.0
        var isOver = false
        while !isOver {
            sleep(seconds: 0.02)
            try run.check()
            if isForMemory { peak = max(peak, try meter.residentBytesWithChildren()) }
            elapsed = Double(monotonicNanoseconds() - start) / 1e9
            isOver = phase == .quiet ? elapsed >= quietSeconds : try !isSaving(&client)
        }
        run.endMeasuring()
        peak = max(peak, try meter.peakResidentBytes())
        let measurement = try run.stop()
        // What is sent and not answered yet has its number too.
        peer.operations += run.operations + plan.connections * plan.pipeline
        return Observation(
            latency: measurement.latency, seconds: elapsed,
            operationsPerSecond: measurement.operationsPerSecond, residentBefore: before,
            peak: peak)
    } catch {
        _ = try run.stop()
        throw error
    }
}

/// The figures of latency, by the names of their columns.
private let latencies: [(name: String, figure: @Sendable (Observation) -> Double)] = [
    ("p99", { milliseconds($0.latency.p99) }), ("p99.9", { milliseconds($0.latency.p999) }),
    ("max", { milliseconds($0.latency.maximum) }),
]

private func printText(_ results: [PhaseResult], _ names: [String], _ plan: LoadPlan) {
    print(
        "\(grouped(plan.keyCount)) keys, \(grouped(Int(plan.operationsPerSecond ?? 0))) operations/s; "
            + "milliseconds, megabytes; x is the ratio to \(names[0]), with its spread")
    for result in results {
        print()
        var table = TextTable()
        table.add(
            [result.phase.rawValue] + latencies.flatMap { [$0.name, "x", "spread"] }
                + ["seconds", "ops/s", "before MB", "peak MB", "peak/before"])
        for (peer, name) in names.enumerated() {
            var cells = ["  " + name]
            for (_, figure) in latencies {
                let ratio = result.ratio(peer, figure)
                cells += [
                    fixed(result.spread(peer, figure).median, 3), fixed(ratio.median, 3),
                    "\(fixed(ratio.low, 2))-\(fixed(ratio.high, 2))",
                ]
            }
            let memory = result.memory[peer]
            func megabytes(_ bytes: (Observation) -> Int) -> String {
                fixed((middle(memory.map { Double(bytes($0)) }) ?? .nan) / 1e6, 1)
            }
            cells += [
                fixed(result.spread(peer, \.seconds).median, 2),
                grouped(Int(result.spread(peer, \.operationsPerSecond).median)),
                megabytes(\.residentBefore), megabytes(\.peak),
                fixed(middle(memory.map(\.growth)) ?? .nan, 3),
            ]
            table.add(cells)
        }
        table.print()
    }
}

private func record(_ result: PhaseResult, _ peer: Int, _ names: [String]) -> Record {
    var record = Record()
    record.add("phase", .text(result.phase.rawValue))
    record.add("server", .text(names[peer]))
    record.add("rounds", .integer(result.latencies[peer].count))
    for (name, figure) in latencies {
        let name = name.replacing(".", with: "")
        let value = result.spread(peer, figure)
        let ratio = result.ratio(peer, figure)
        record.add(name + "_ms", .number(value.median, digits: 4))
        record.add(name + "_ms_min", .number(value.low, digits: 4))
        record.add(name + "_ms_max", .number(value.high, digits: 4))
        record.add(name + "_ratio", .number(ratio.median, digits: 4))
        record.add(name + "_ratio_min", .number(ratio.low, digits: 4))
        record.add(name + "_ratio_max", .number(ratio.high, digits: 4))
    }
    let memory = result.memory[peer]
    record.add("seconds", .number(result.spread(peer, \.seconds).median, digits: 3))
    record.add(
        "ops_per_second", .number(result.spread(peer, \.operationsPerSecond).median, digits: 0))
    record.add(
        "resident_before", .number(middle(memory.map { Double($0.residentBefore) }), digits: 0))
    record.add("peak", .number(middle(memory.map { Double($0.peak) }), digits: 0))
    record.add("peak_ratio", .number(middle(memory.map(\.growth)), digits: 4))
    return record
}
