//  `log`: what the append-only log costs, as `compare` counts it, under each appendfsync.

import LoadGenerator

let logSubcommand = Subcommand(
    name: "log", summary: "writes with a log, synced always or every second, several servers",
    description: """
        Runs SETs of keys that are there under each appendfsync policy and pipeline on all servers in
        turn, A B A B, --rounds times, and prints what compare prints: server CPU of an operation with
        all threads of the process, throughput, latencies, and the median of the ratios to the first
        server within each round. The log is rewritten between the rounds, unmeasured.

          martlet-benchmark log --policies always --pipelines 1 --server-cpu 0 --client-cpu 1 \\
            --spawn 'redis=redis-server --port {port} --dir {directory} --appendonly {appendonly}' \\
            --spawn 'martlet=martlet --port {port} --dir {directory} --appendonly {appendonly}'
        """,
    options: [
        .dataServers,
        OptionGroup(
            "Cases",
            [
                Option("--policies", "LIST", "of appendfsync (always,everysec)"),
                Option("--pipelines", "LIST", "requests in flight (1,16)"),
                Option("--rounds", "N", "of each case (5)"),
                Option("--seconds", "S", "of each measurement (3)"),
                Option("--warmup", "S", "before each, unmeasured (0.5)"),
            ]), .dataLoad(keys: "100000"), .output,
    ],
    run: measureLog)

/// The policies that a server with a log may follow.
private let policies = ["always", "everysec", "no"]

private func measureLog(_ arguments: Arguments) throws(BenchmarkError) {
    let format = try Format(arguments)
    let progress = ProgressLine(arguments)
    let cases = (arguments.text("--policies") ?? "always,everysec").split(separator: ",")
        .map(String.init)
    guard cases.allSatisfy(policies.contains) else {
        throw .usage("--policies: \(policies.joined(separator: ", "))")
    }
    let pipelines = try arguments.integers("--pipelines", [1, 16], in: 1...100_000)
    let rounds = try arguments.integer("--rounds", 5, in: 1...10_000)
    // The address is replaced by each peer's.
    var plan = try LoadPlan(arguments, endpoint: .tcp(host: "127.0.0.1", port: 1))
    plan.bound = .seconds(try arguments.number("--seconds", 3, in: 0.01...100_000))
    plan.warmupSeconds = try arguments.number("--warmup", 0.5, in: 0...100_000)
    plan.commands = [WeightedCommand(Workload.setEveryKey)]
    let servers = try DataServers(arguments)
    defer { servers.close() }

    for peer in servers.peers {
        progress.show("starting \(peer.name)")
        try servers.startEmpty(peer, appendOnly: true)
        var filling = plan
        filling.endpoint = peer.endpoint
        try fill(filling, Workload.setEveryKey) { progress.show("fill \(peer.name)", $0) }
    }
    var results: [CaseResult] = []
    for policy in cases {
        for pipeline in pipelines {
            plan.pipeline = pipeline
            var result = CaseResult(
                workload: policy, pipeline: pipeline, rounds: servers.peers.map { _ in [] })
            for round in 1...rounds {
                for (index, peer) in servers.peers.enumerated() {
                    var client = try servers.connect(peer)
                    // Policies of the other cases are no business of this one's rewrite.
                    try save(&client, by: "BGREWRITEAOF")
                    _ = try client.command(["CONFIG", "SET", "appendfsync", policy])
                    result.rounds[index].append(
                        try measure(peer, plan) {
                            progress.show("\(result.name) \(peer.name) \(round)/\(rounds)", $0)
                        })
                    // An idle server of the next one's turn has nothing left to sync.
                    _ = try client.command(["CONFIG", "SET", "appendfsync", "no"])
                }
            }
            results.append(result)
            if format == .text {
                progress.clear()
                printCase(result, servers.names, isFirst: results.count == 1)
            }
        }
    }
    progress.clear()
    if format != .text { printRecords(results.flatMap { records($0, servers.names) }, format) }
}
