//  `readers`: whether those who read keys at rest feel that others' writes are synced.
//
//      writers:  50 connections, SET of key:…, open loop    the same under both policies
//      readers:  10 connections, GET of settled:…, open loop, whose latencies count
//
//      |appendfsync always … --seconds|appendfsync no … --seconds|  one round of one server
//
//  The writers' threads are nice and do not poll: they may share the readers' CPU. A group of held
//  replies comes at once and must not keep the readers' thread from taking the time.

import LoadGenerator

let readersSubcommand = Subcommand(
    name: "readers", summary: "GETs of keys at rest beside writers whose log is synced always",
    description: """
        Runs GETs at a fixed rate of keys that nobody writes, beside --connections that SET other keys
        at a fixed rate too, under appendfsync always and under appendfsync no, in turn. Prints p99 of
        the GETs under both and the median of their ratios within each round, for each server.

        Without --writes, half of what the slowest server can do under always is taken for all.

          martlet-benchmark readers --server-cpu 0 --client-cpu 1 \\
            --spawn 'redis=redis-server --port {port} --dir {directory} --appendonly {appendonly}' \\
            --spawn 'martlet=martlet --port {port} --dir {directory} --appendonly {appendonly}'
        """,
    options: [
        .dataServers,
        OptionGroup(
            "Measurement",
            [
                Option("--gets", "R", "GETs a second (2000)"),
                Option("--readers", "N", "connections that send them (10)"),
                Option("--writes", "R", "SETs a second"),
                Option("--rounds", "N", "of both policies (5)"),
                Option("--seconds", "S", "of each measurement (5)"),
            ]), .dataLoad(keys: "100000"), .output,
    ],
    run: measureReaders)

/// What the readers felt under one policy, and what the writers did meanwhile.
private struct Beside {
    var readers: LatencySummary
    var writers: Measurement
}

/// One round of one server.
private struct Pair {
    var always: Beside
    var no: Beside

    func ratio(_ figure: (LatencySummary) -> UInt64) -> Double {
        Double(figure(always.readers)) / Double(max(1, figure(no.readers)))
    }
}

private func measureReaders(_ arguments: Arguments) throws(BenchmarkError) {
    let format = try Format(arguments)
    let progress = ProgressLine(arguments)
    let seconds = try arguments.number("--seconds", 5, in: 0.01...3600)
    let rounds = try arguments.integer("--rounds", 5, in: 1...1000)
    // The address is replaced by each peer's.
    var writing = try LoadPlan(arguments, endpoint: .tcp(host: "127.0.0.1", port: 1))
    writing.commands = [WeightedCommand(Workload.setEveryKey)]
    writing.isBackground = true
    var reading = writing
    reading.commands = [WeightedCommand("GET settled:{key}")]
    reading.isBackground = false
    reading.threads = 1
    reading.connections = try arguments.integer("--readers", 10, in: 1...10_000)
    reading.operationsPerSecond = try arguments.number("--gets", 2000, in: 1...1e7)
    let servers = try DataServers(arguments)
    defer { servers.close() }

    var slowest = Double.infinity
    for peer in servers.peers {
        progress.show("starting \(peer.name)")
        try servers.startEmpty(peer, appendOnly: true)
        var plan = writing
        plan.isBackground = false
        plan.endpoint = peer.endpoint
        try fill(plan, Workload.setEveryKey) { progress.show("fill \(peer.name)", $0) }
        try fill(plan, "SET settled:{key} {value}") { progress.show("fill \(peer.name)", $0) }
        if arguments.has("--writes") { continue }
        var client = try servers.connect(peer)
        _ = try client.command(["CONFIG", "SET", "appendfsync", "always"])
        plan.bound = .seconds(1)
        plan.warmupSeconds = 0.3
        let saturated = try measure(peer, plan) { progress.show("saturation \(peer.name)", $0) }
        slowest = min(slowest, saturated.operationsPerSecond)
    }
    writing.operationsPerSecond =
        arguments.has("--writes")
        ? try arguments.number("--writes", 0, in: 1...1e7) : max(1, slowest / 2)

    var pairs = servers.peers.map { _ in [Pair]() }
    for round in 1...rounds {
        for (index, peer) in servers.peers.enumerated() {
            progress.show("\(peer.name) \(round)/\(rounds)")
            var client = try servers.connect(peer)
            try save(&client, by: "BGREWRITEAOF")
            reading.endpoint = peer.endpoint
            writing.endpoint = peer.endpoint
            func run(_ policy: String) throws(BenchmarkError) -> Beside {
                _ = try client.command(["CONFIG", "SET", "appendfsync", policy])
                return try runBeside(reading, writing, seconds: seconds)
            }
            // Neither policy is always the first after the rewrite.
            let isAlwaysFirst = round % 2 == 1
            let first = try run(isAlwaysFirst ? "always" : "no")
            let second = try run(isAlwaysFirst ? "no" : "always")
            pairs[index].append(
                isAlwaysFirst
                    ? Pair(always: first, no: second) : Pair(always: second, no: first))
        }
    }
    progress.clear()
    let rate = (gets: reading.operationsPerSecond ?? 0, sets: writing.operationsPerSecond ?? 0)
    if format == .text {
        printText(pairs, servers.names, rate)
    } else {
        printRecords(
            servers.names.indices.map { record(pairs[$0], servers.names[$0], rate) }, format)
    }
}

/// Runs both loads at the same time, after half a second in which nothing counts.
private func runBeside(
    _ reading: LoadPlan, _ writing: LoadPlan, seconds: Double
) throws(BenchmarkError) -> Beside {
    let writers = try LoadRun(writing)
    let readers: LoadRun
    do {
        readers = try LoadRun(reading)
    } catch {
        _ = try writers.stop()
        throw error
    }
    do {
        writers.start()
        readers.start()
        sleep(seconds: 0.5)
        writers.beginMeasuring()
        readers.beginMeasuring()
        let end = monotonicNanoseconds() + UInt64(seconds * 1e9)
        while monotonicNanoseconds() < end {
            sleep(seconds: 0.02)
            try writers.check()
            try readers.check()
        }
        readers.endMeasuring()
        writers.endMeasuring()
    } catch {
        _ = try? readers.stop()
        _ = try? writers.stop()
        throw error
    }
    // Both must end, whichever failed.
    let read = Result { () throws(BenchmarkError) in try readers.stop() }
    let written = Result { () throws(BenchmarkError) in try writers.stop() }
    return Beside(readers: try read.get().latency, writers: try written.get())
}

/// The figures of a server over its rounds.
private struct Figures {
    let always: (p50: Double, p99: Double, p999: Double)
    let no: (p50: Double, p99: Double, p999: Double)
    let ratio: Spread
    let ratioP999: Spread
    let setsAlways: Double
    let setsNo: Double
    let setP99Always: Double

    init(_ pairs: [Pair]) {
        func median(_ figure: (Pair) -> Double) -> Double { middle(pairs.map(figure)) ?? .nan }
        func latencies(_ side: (Pair) -> Beside) -> (p50: Double, p99: Double, p999: Double) {
            (
                median { milliseconds(side($0).readers.p50) },
                median { milliseconds(side($0).readers.p99) },
                median { milliseconds(side($0).readers.p999) }
            )
        }
        always = latencies(\.always)
        no = latencies(\.no)
        ratio = Spread(pairs.map { $0.ratio(\.p99) })
        ratioP999 = Spread(pairs.map { $0.ratio(\.p999) })
        setsAlways = median(\.always.writers.operationsPerSecond)
        setsNo = median(\.no.writers.operationsPerSecond)
        setP99Always = median { milliseconds($0.always.writers.latency.p99) }
    }
}

private func printText(_ pairs: [[Pair]], _ names: [String], _ rate: (gets: Double, sets: Double)) {
    print(
        "\(grouped(Int(rate.gets))) GET/s of keys at rest beside \(grouped(Int(rate.sets))) SET/s; "
            + "milliseconds of the GETs; x is always to no, with its spread")
    print()
    var table = TextTable()
    table.add([
        "", "always p50", "p99", "p99.9", "no p50", "p99", "p99.9", "p99 x", "spread", "p99.9 x",
        "spread", "SET/s always", "SET/s no", "SET p99 always",
    ])
    for (name, rounds) in zip(names, pairs) {
        let figures = Figures(rounds)
        table.add([
            "  " + name, fixed(figures.always.p50, 3), fixed(figures.always.p99, 3),
            fixed(figures.always.p999, 3), fixed(figures.no.p50, 3), fixed(figures.no.p99, 3),
            fixed(figures.no.p999, 3), fixed(figures.ratio.median, 3),
            "\(fixed(figures.ratio.low, 2))-\(fixed(figures.ratio.high, 2))",
            fixed(figures.ratioP999.median, 3),
            "\(fixed(figures.ratioP999.low, 2))-\(fixed(figures.ratioP999.high, 2))",
            grouped(Int(figures.setsAlways)), grouped(Int(figures.setsNo)),
            fixed(figures.setP99Always, 2),
        ])
    }
    table.print()
}

private func record(
    _ rounds: [Pair], _ name: String, _ rate: (gets: Double, sets: Double)
) -> Record {
    let figures = Figures(rounds)
    var record = Record()
    record.add("server", .text(name))
    record.add("rounds", .integer(rounds.count))
    record.add("gets_per_second", .number(rate.gets, digits: 0))
    record.add("sets_per_second", .number(rate.sets, digits: 0))
    for (policy, latencies) in [("always", figures.always), ("no", figures.no)] {
        record.add(policy + "_p50_ms", .number(latencies.p50, digits: 4))
        record.add(policy + "_p99_ms", .number(latencies.p99, digits: 4))
        record.add(policy + "_p999_ms", .number(latencies.p999, digits: 4))
    }
    for (figure, ratio) in [("p99", figures.ratio), ("p999", figures.ratioP999)] {
        record.add(figure + "_ratio", .number(ratio.median, digits: 4))
        record.add(figure + "_ratio_min", .number(ratio.low, digits: 4))
        record.add(figure + "_ratio_max", .number(ratio.high, digits: 4))
    }
    record.add("sets_always", .number(figures.setsAlways, digits: 0))
    record.add("sets_no", .number(figures.setsNo, digits: 0))
    record.add("set_p99_always_ms", .number(figures.setP99Always, digits: 4))
    return record
}
