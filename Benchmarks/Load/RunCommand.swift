//  `run`: one workload against one server.

import LoadGenerator

let runSubcommand = Subcommand(
    name: "run", summary: "one workload against one server (what happens without a subcommand)",
    description: """
        Prints throughput, latencies, and for a server on this machine the CPU time it took for an
        operation. Closed loop: a connection sends --pipeline requests at once and the next when
        all are answered. Open loop (--rate): operations are due at even distances whatever the
        server does, and their latency counts from when they were due.

        CPU time is exact in all; its parts, user and system, are sampled by the kernel's tick.
        An operation is one request, unless a command has several parts separated by ' ; '.

        --command takes redis-cli's quoting and these placeholders:
          {key}            a number below --keys, 12 digits with leading zeros
          {samekey}        the number drawn last in this operation
          {value}          --value-bytes letters; {value:N} N of them
          {seq}            the number of the operation, 12 digits; {seq:BASE} counted from BASE
          {rand:N}         a number below N with leading zeros
          {rand:LOW-HIGH}  a number of that range, both bounds with as many digits
          {samerand:ADDED} the number drawn last in the operation and ADDED, as wide as that
          {{               a brace
        """,
    options: [
        .server, .greeting,
        OptionGroup(
            "Workload",
            [
                Option("--workload", "NAME", "one of 'martlet-benchmark workloads' (mixed)"),
                Option(
                    "--command", "TEXT",
                    "a command of your own, such as 'SET key:{key} {value}';\nseveral are mixed, with weights: '9:GET key:{key}'"
                ),
                Option("--fill", "first send the workload's fill command for every key"),
                Option("--fill-command", "TEXT", "the fill of --command ('SET key:{key} {value}')"),
                Option("--pipeline", "N", "requests in flight on a connection (1)"),
                Option("--seconds", "S", "length of the measurement (5)"),
                Option("--warmup", "S", "before it, unmeasured (0.5)"),
                Option("--requests", "N", "measure N requests instead, without warm-up"),
                Option("--rate", "R", "open loop with R operations a second"),
            ]), .load, .output,
    ],
    run: runOnce)

private func runOnce(_ arguments: Arguments) throws(BenchmarkError) {
    let format = try Format(arguments)
    let progress = ProgressLine(arguments)
    let server = try ServerOptions(arguments)
    var plan = try LoadPlan(arguments, endpoint: server.endpoint)
    plan.pipeline = try arguments.integer("--pipeline", 1, in: 1...100_000)
    let names = arguments.text("--workload")?.split(separator: ",") ?? []
    if names.count > 1 { throw .usage("--workload takes one name here") }
    let workload = try workloads(arguments, option: "--workload", standard: ["mixed"])[0]
    let meter = try server.meter()
    if arguments.has("--rate") {
        plan.operationsPerSecond = try arguments.number("--rate", 0, in: 1...1e9)
    }

    try loadScript(workload, plan)
    if arguments.has("--fill"), let command = workload.fill {
        try fill(plan, command) { progress.show("fill", $0) }
    }
    plan.commands = workload.commands
    if arguments.has("--requests") {
        if arguments.has("--seconds") || arguments.has("--warmup") {
            throw .usage("--requests excludes --seconds and --warmup")
        }
        let requests = try arguments.integer("--requests", 0, in: 1...1_000_000_000_000)
        let parts = try RequestTemplate(plan.commands[0].text, valueBytes: 0).commandCount
        plan.bound = .operations(max(1, requests / parts))
    } else {
        plan.bound = .seconds(try arguments.number("--seconds", 5, in: 0.01...1_000_000))
        plan.warmupSeconds = try arguments.number("--warmup", 0.5, in: 0...1_000_000)
    }
    let measurement = try measure(plan, meter: meter) { progress.show(workload.name, $0) }
    progress.clear()
    switch format {
    case .text: printRun(workload, plan, measurement)
    case .csv, .json:
        var record = Record()
        record.add("workload", .text(workload.name))
        record.add("connections", .integer(plan.connections))
        record.add("pipeline", .integer(plan.pipeline))
        record.add("rate", .number(plan.operationsPerSecond, digits: 0))
        record.add(measurement)
        printRecords([record], format)
    }
    if measurement.operations == 0 {
        throw .measurement("nothing was answered in the measured time")
    }
}

/// Loads the script that a workload names by its digest.
func loadScript(_ workload: Workload, _ plan: LoadPlan) throws(BenchmarkError) {
    guard let script = workload.script else { return }
    var client = try ControlClient.connect(plan.endpoint, greeting: plan.greeting)
    _ = try client.command(["SCRIPT", "LOAD", script])
}

/// Sends `command` once for every key of the plan's key space, in order.
func fill(
    _ plan: LoadPlan, _ command: String, progress: (RunProgress) -> Void = { _ in }
) throws(BenchmarkError) {
    var filling = plan
    filling.commands = [WeightedCommand(command)]
    filling.distribution = .sequential
    filling.bound = .operations(plan.keyCount - plan.firstKey)
    filling.pipeline = 64
    filling.operationsPerSecond = nil
    _ = try measure(filling, meter: nil, progress: progress)
}

extension Record {
    /// What a measurement says, times per operation in microseconds, latencies in milliseconds.
    mutating func add(_ measurement: Measurement) {
        add("operations", .integer(measurement.operations))
        add("seconds", .number(measurement.seconds, digits: 3))
        add("requests_per_second", .number(measurement.requestsPerSecond, digits: 0))
        add("mean_ms", .number(measurement.latency.mean / 1e6, digits: 4))
        add("p50_ms", .number(milliseconds(measurement.latency.p50), digits: 4))
        add("p99_ms", .number(milliseconds(measurement.latency.p99), digits: 4))
        add("p999_ms", .number(milliseconds(measurement.latency.p999), digits: 4))
        add("max_ms", .number(milliseconds(measurement.latency.maximum), digits: 4))
        add("errors", .integer(measurement.errors))
        add("nulls", .integer(measurement.nulls))
        add("client_us", .number(measurement.perOperation(measurement.clientSeconds), digits: 4))
        let server = measurement.server
        func each(_ seconds: Double?) -> Double? { seconds.map { measurement.perOperation($0) } }
        add("server_us", .number(each(server?.seconds), digits: 4))
        add("server_user_us", .number(each(server?.userSeconds), digits: 4))
        add("server_system_us", .number(each(server?.systemSeconds), digits: 4))
        add("server_user_share", .number(server?.userShare, digits: 4))
        add("server_busy", .number(server.map { $0.seconds / max($0.elapsed, 1e-9) }, digits: 4))
        let threads = (server?.threads ?? []).filter { $0.seconds > 0 }.map { thread in
            var record = Record()
            record.add("id", .integer(thread.id))
            record.add("name", .text(thread.name))
            record.add("us", .number(each(thread.seconds), digits: 4))
            return record
        }
        add("threads", .records(threads))
    }
}

private func printRun(_ workload: Workload, _ plan: LoadPlan, _ measurement: Measurement) {
    func line(_ name: String, _ text: String) { print(padded(name, 14) + text) }
    let loop =
        plan.operationsPerSecond.map { "open loop at \(grouped(Int($0))) operations/s" }
        ?? "closed loop"
    let keys =
        switch plan.distribution {
        case .uniform: "uniform"
        case .zipf(let exponent): "zipf \(short(exponent))"
        case .sequential: "in order"
        }
    line("server", plan.endpoint.text)
    line(
        "workload",
        "\(workload.name): \(grouped(plan.keyCount)) keys, \(keys), values of "
            + "\(plan.valueBytes) bytes")
    line(
        "load",
        "\(plan.connections) connections, pipeline \(plan.pipeline), \(loop), "
            + "\(plan.threads) thread\(plan.threads == 1 ? "" : "s")")
    line(
        "throughput",
        "\(grouped(Int(measurement.requestsPerSecond))) requests/s "
            + "(\(grouped(measurement.requests)) in \(fixed(measurement.seconds, 2)) s)")
    let latency = measurement.latency
    line(
        "latency ms",
        "p50 \(fixed(milliseconds(latency.p50), 3))  p99 \(fixed(milliseconds(latency.p99), 3))  "
            + "p99.9 \(fixed(milliseconds(latency.p999), 3))  "
            + "max \(fixed(milliseconds(latency.maximum), 3))  "
            + "mean \(fixed(latency.mean / 1e6, 3))")
    line("replies", "\(grouped(measurement.nulls)) null, \(grouped(measurement.errors)) errors")
    for text in measurement.errorTexts { line("", text) }
    let client = measurement.clientSeconds
    line(
        "client CPU",
        "\(fixed(measurement.perOperation(client), 3)) us/op, "
            + "\(percent(client / max(measurement.seconds, 1e-9))) of a core")
    guard let server = measurement.server else {
        line("server CPU", "not known; --pid tells which process of this machine it is")
        return
    }
    func each(_ seconds: Double) -> String { fixed(measurement.perOperation(seconds), 3) }
    line(
        "server CPU",
        "\(each(server.seconds)) us/op: user \(each(server.userSeconds)), "
            + "system \(each(server.systemSeconds)), user-space share "
            + "\(percent(server.userShare, 1)); \(percent(server.seconds / server.elapsed)) of a core"
    )
    for thread in server.threads where thread.seconds > 0.005 * server.seconds {
        line("  thread", "\(padded(thread.name, 16)) \(each(thread.seconds)) us/op")
    }
}

let workloadsSubcommand = Subcommand(
    name: "workloads", summary: "lists the named workloads",
    description:
        "Prints each name, what it does, its commands, what fills the key space, its script.",
    options: [],
    run: { (_) throws(BenchmarkError) in
        for workload in Workload.all {
            print(padded(workload.name, 14) + workload.summary)
            for command in workload.commands {
                let weight = command.weight > 1 ? "\(command.weight):" : ""
                print(padded("", 16) + weight + command.text)
            }
            if let fill = workload.fill { print(padded("", 16) + "fill: " + fill) }
            if let script = workload.script { print(padded("", 16) + "script: " + script) }
        }
    })

let floorSubcommand = Subcommand(
    name: "floor", summary: "a server that answers without parsing: the floor of a comparison",
    description: """
        Serves 127.0.0.1 until it is ended, one thread, one epoll loop. With --request-bytes it
        divides what it received by that, and looks at no byte of it: all requests must be equally
        long, which the generator's are. Without it, it counts '*', of which every request must
        contain exactly one. Give the generator its process by --pid, since it answers no INFO.
        """,
    options: [
        OptionGroup(
            "Floor",
            [
                Option("--port", "PORT", "TCP port (6379)"),
                Option("--request-bytes", "N", "length of every request"),
                Option(
                    "--reply", "TEXT",
                    "answer to each request, \\r \\n \\xHH escaped; a line end is\nadded when it has none (+OK)"
                ),
            ])
    ],
    run: { (arguments) throws(BenchmarkError) in
        var reply = try unescaped(arguments.text("--reply") ?? "+OK")
        if reply.last != 10 { reply += [13, 10] }
        var counting = RequestCounting.stars
        if arguments.has("--request-bytes") {
            counting = .length(try arguments.integer("--request-bytes", 0, in: 1...(1 << 28)))
        }
        var server = try FloorServer(
            port: try arguments.integer("--port", 6379, in: 1...65535), counting: counting,
            reply: reply)
        throw server.run()
    })
