//  `scaling`: what an operation costs with one loop and with several.
//
//  With perfect scaling an operation costs the same CPU time however many loops there are, and n
//  loops do n times the work: n x (cost with one) / (cost with n) = n. CPU time tells this even on
//  a machine where generator and loops must share the cores, which throughput does not.

import LoadGenerator

let scalingSubcommand = Subcommand(
    name: "scaling", summary: "CPU time of an operation with one loop and with several",
    description: """
        Starts the same server twice, {loops} in its command line standing for 1 and for --loops,
        and measures both in turn. Prints n x (us/op with one loop) / (us/op with n), n at best,
        and how evenly the threads of the second share the work. Threads that do less than a
        twentieth of it are not counted as loops.

          martlet-benchmark scaling --server-cpu 0,1 \\
            --spawn 'martlet --port {port} --io-threads {loops}'
        """,
    options: [
        OptionGroup(
            "Server",
            [
                Option("--spawn", "COMMAND", "its command line, with {port} and {loops}"),
                Option("--loops", "N", "of the second (2)"),
            ]), .spawn, .greeting,
        OptionGroup(
            "Cases",
            [
                Option("--workloads", "LIST", "names, separated by commas (get,set)"),
                Option("--command", "TEXT", "a workload of your own, as in run"),
                Option("--fill-command", "TEXT", "the fill of --command"),
                Option("--pipelines", "LIST", "requests in flight (64)"),
                Option("--rounds", "N", "of each case (5)"),
                Option("--seconds", "S", "of each measurement (2)"),
                Option("--warmup", "S", "before each, unmeasured (0.3)"),
            ]), .load, .output,
    ],
    run: scaling)

private func scaling(_ arguments: Arguments) throws(BenchmarkError) {
    let format = try Format(arguments)
    let progress = ProgressLine(arguments)
    guard let commandLine = arguments.text("--spawn"), arguments.texts("--spawn").count == 1,
        commandLine.contains("{loops}")
    else { throw .usage("scaling wants one --spawn with {loops} in its command line") }
    let loops = try arguments.integer("--loops", 2, in: 2...1024)
    let cases = try workloads(arguments, option: "--workloads", standard: ["get", "set"])
    let pipelines = try arguments.integers("--pipelines", [64], in: 1...100_000)
    let rounds = try arguments.integer("--rounds", 5, in: 1...10_000)
    var plan = try LoadPlan(arguments, endpoint: .tcp(host: "127.0.0.1", port: 1))
    plan.bound = .seconds(try arguments.number("--seconds", 2, in: 0.01...100_000))
    plan.warmupSeconds = try arguments.number("--warmup", 0.3, in: 0...100_000)
    var placement = try Placement(arguments)
    try placement.bindCaller()

    var peers: [Peer] = []
    for count in [1, loops] {
        let line = commandLine.split(separator: "{loops}", omittingEmptySubsequences: false)
            .joined(separator: String(count))
        let peer = Peer(count == 1 ? "1 loop" : "\(count) loops", .spawned(commandLine: line))
        progress.show("starting \(peer.name)")
        try peer.start(&placement, greeting: plan.greeting)
        peers.append(peer)
    }
    var records: [Record] = []
    var table = TextTable()
    table.add([
        "case", "us/op 1", "us/op \(loops)", "\(loops) x 1/\(loops)", "spread", "ops/s 1",
        "ops/s \(loops)", "loops",
    ])
    for workload in cases {
        plan.commands = workload.commands
        for peer in peers {
            var client = try ControlClient.connect(peer.endpoint, greeting: plan.greeting)
            _ = try client.command(["FLUSHALL"])
            var filling = plan
            filling.endpoint = peer.endpoint
            try loadScript(workload, filling)
            if let command = workload.fill {
                try fill(filling, command) { progress.show("fill \(peer.name)", $0) }
            }
        }
        for pipeline in pipelines {
            plan.pipeline = pipeline
            var result = CaseResult(workload: workload.name, pipeline: pipeline, rounds: [[], []])
            for round in 1...rounds {
                for (index, peer) in peers.enumerated() {
                    result.rounds[index].append(
                        try measure(peer, plan) {
                            progress.show("\(result.name) \(peer.name) \(round)/\(rounds)", $0)
                        })
                }
            }
            let factor = Spread(
                zip(result.rounds[0], result.rounds[1]).map {
                    Double(loops) * $0.serverMicroseconds / $1.serverMicroseconds
                })
            let shares = loopShares(result.rounds[1])
            let costs = [0, 1].map { result.spread($0, \.serverMicroseconds).median }
            let speeds = [0, 1].map { result.spread($0, \.operationsPerSecond).median }
            table.add([
                result.name, fixed(costs[0], 3), fixed(costs[1], 3), fixed(factor.median, 2),
                "\(fixed(factor.low, 2))-\(fixed(factor.high, 2))", grouped(Int(speeds[0])),
                grouped(Int(speeds[1])),
                shares.map { "\($0.name) \(percent($0.share, 1))" }.joined(separator: ", "),
            ])
            var record = Record()
            record.add("workload", .text(workload.name))
            record.add("pipeline", .integer(pipeline))
            record.add("loops", .integer(loops))
            record.add("us_one", .number(costs[0], digits: 4))
            record.add("us_many", .number(costs[1], digits: 4))
            record.add("scaling", .number(factor.median, digits: 4))
            record.add("scaling_min", .number(factor.low, digits: 4))
            record.add("scaling_max", .number(factor.high, digits: 4))
            record.add("ops_per_second_one", .number(speeds[0], digits: 0))
            record.add("ops_per_second_many", .number(speeds[1], digits: 0))
            record.add("loop_share_min", .number(shares.map(\.share).min(), digits: 4))
            record.add("loop_share_max", .number(shares.map(\.share).max(), digits: 4))
            records.append(record)
        }
    }
    progress.clear()
    if format == .text { table.print() } else { printRecords(records, format) }
}

/// How the threads that carry the work share it, over all rounds: 1 / number of loops at best.
private func loopShares(_ rounds: [Measurement]) -> [(name: String, share: Double)] {
    var seconds: [Int: (name: String, seconds: Double)] = [:]
    for thread in rounds.compactMap(\.server).flatMap(\.threads) {
        seconds[thread.id, default: (thread.name, 0)].seconds += thread.seconds
    }
    let all = seconds.values.reduce(0) { $0 + $1.seconds }
    let loops = seconds.sorted { $0.key < $1.key }.map(\.value).filter { $0.seconds > all / 20 }
    let carried = loops.reduce(0) { $0 + $1.seconds }
    return loops.map { (name: $0.name, share: $0.seconds / carried) }
}
