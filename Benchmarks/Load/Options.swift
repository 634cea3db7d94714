//  The options that several subcommands share, and what they make.

import Glibc
import LoadGenerator

extension OptionGroup {
    static let server = OptionGroup(
        "Server",
        [
            Option("--host", "NAME", "host to connect to (127.0.0.1)"),
            Option("--port", "PORT", "TCP port (6379)"),
            Option("--socket", "PATH", "Unix socket, instead of host and port"),
            Option(
                "--pid", "PID",
                "process whose CPU time and memory are read; without it, INFO of a\nlocal server tells"
            ),
        ])

    static let greeting = OptionGroup(
        "Greeting of each connection",
        [
            Option("--user", "NAME", "user for --auth"),
            Option("--auth", "PASSWORD", "password; sends AUTH, or HELLO with AUTH"),
            Option("--resp", "2|3", "protocol (2)"),
            Option("--db", "NUMBER", "database to SELECT (0)"),
        ])

    static let load = OptionGroup(
        "Load",
        [
            Option("--connections", "N", "connections in all (50)"),
            Option("--threads", "N", "threads of the generator (1)"),
            Option("--keys", "N", "size of the key space (100000)"),
            Option("--distribution", "NAME", "of keys: uniform or zipf (uniform)"),
            Option("--exponent", "X", "of zipf: key i has weight 1/(i+1)^X (0.99)"),
            Option("--value-bytes", "N", "size of {value} (64)"),
            Option("--reads", "SHARE", "share of GET in the workload 'mixed' (0.9)"),
            Option("--seed", "N", "of everything random (1)"),
            Option("--client-cpu", "LIST", "CPUs of the generator, such as 1 or 2,3"),
            Option("--allow-errors", "count error replies instead of failing at the first"),
        ])

    static let output = OptionGroup(
        "Output",
        [
            Option("--format", "NAME", "text, csv or json (text)"),
            Option("--progress", "show a progress line on stderr even when it is no terminal"),
        ])

    static let spawn = OptionGroup(
        "Servers that are started and ended here",
        [
            Option("--server-cpu", "LIST", "CPUs they are bound to"),
            Option("--first-port", "PORT", "their ports, counted from here (0: any free port)"),
        ])
}

/// Options of one server that is already running.
struct ServerOptions {
    var endpoint: Endpoint
    var greeting: Greeting
    var pid: Int?

    init(_ arguments: Arguments) throws(BenchmarkError) {
        if let path = arguments.text("--socket") {
            endpoint = .unix(path: path)
        } else {
            endpoint = .tcp(
                host: arguments.text("--host") ?? "127.0.0.1",
                port: try arguments.integer("--port", 6379, in: 1...65535))
        }
        greeting = try Greeting(arguments)
        if arguments.has("--pid") {
            pid = try arguments.integer("--pid", 0, in: 1...Int(Int32.max))
        }
    }

    /// A meter for the server's process, or nil when it is not known to run on this machine.
    func meter() throws(BenchmarkError) -> ProcessMeter? {
        if let pid { return try ProcessMeter(pid: pid) }
        return try LoadGenerator.meter(of: endpoint, greeting: greeting)
    }

    /// A meter, for subcommands that are about nothing else.
    func requiredMeter() throws(BenchmarkError) -> ProcessMeter {
        guard let meter = try meter() else {
            throw .measurement(
                "the process of \(endpoint.text) is not known: give --pid on its own machine")
        }
        return meter
    }
}

extension Greeting {
    init(_ arguments: Arguments) throws(BenchmarkError) {
        self.init()
        user = arguments.text("--user")
        password = arguments.text("--auth")
        if user != nil && password == nil { throw .usage("--user wants --auth") }
        respVersion = try arguments.choice("--resp", ["2", "3"]) == "3" ? 3 : 2
        database = try arguments.integer("--db", 0, in: 0...1_000_000)
    }
}

extension LoadPlan {
    /// A plan with the options of the group `load`; commands and bound are still missing.
    init(_ arguments: Arguments, endpoint: Endpoint) throws(BenchmarkError) {
        self.init(endpoint: endpoint)
        greeting = try Greeting(arguments)
        connections = try arguments.integer("--connections", 50, in: 1...1_000_000)
        threads = try arguments.integer("--threads", 1, in: 1...1024)
        if threads > connections { throw .usage("--threads must not exceed --connections") }
        keyCount = try arguments.integer("--keys", 100_000, in: 1...1_000_000_000_000)
        valueBytes = try arguments.integer("--value-bytes", 64, in: 0...(1 << 28))
        seed = UInt64(try arguments.integer("--seed", 1, in: 0...Int.max))
        allowsErrors = arguments.has("--allow-errors")
        cpus = try arguments.cpus("--client-cpu")
        let exponent = try arguments.number("--exponent", 0.99, in: 0...10)
        if try arguments.choice("--distribution", ["uniform", "zipf"]) == "zipf" {
            distribution = .zipf(exponent: exponent)
            if keyCount > KeyChooser.zipfKeysMax {
                throw .usage("zipf is for at most \(KeyChooser.zipfKeysMax) keys")
            }
        } else if arguments.has("--exponent") {
            throw .usage("--exponent is for --distribution zipf")
        }
        try raiseOpenFiles(needed: connections + 64)
    }
}

/// The workloads called by the option `--workload`, or the one of `--command`.
func workloads(
    _ arguments: Arguments, option: String, standard: [String]
) throws(BenchmarkError) -> [Workload] {
    let commands = arguments.texts("--command")
    guard commands.isEmpty else {
        if arguments.has(option) { throw .usage("\(option) and --command exclude each other") }
        var weighted: [WeightedCommand] = []
        for command in commands { weighted.append(try WeightedCommand(parsing: command)) }
        return [
            Workload(
                commands: weighted,
                fill: arguments.text("--fill-command") ?? Workload.setEveryKey)
        ]
    }
    let reads = try arguments.number("--reads", 0.9, in: 0...1)
    let names =
        arguments.text(option).map { $0.split(separator: ",").map(String.init) } ?? standard
    var found: [Workload] = []
    for name in names {
        guard let workload = Workload.named(name, reads: reads) else {
            throw .usage(
                "unknown workload '\(name)': 'martlet-benchmark workloads' lists them")
        }
        found.append(workload)
    }
    return found
}

/// The progress line on stderr: only on a terminal, or when asked for.
struct ProgressLine {
    private let isShown: Bool

    init(_ arguments: Arguments) {
        isShown = arguments.has("--progress") || isatty(2) == 1
    }

    func show(_ label: String, _ progress: RunProgress) {
        show(
            "\(label): \(fixed(progress.elapsedSeconds, 1)) s, \(grouped(progress.operations)) "
                + "operations, \(grouped(Int(progress.operationsPerSecond)))/s")
    }

    func show(_ text: String) {
        guard isShown else { return }
        writeError("\r\u{1B}[K" + text)
    }

    func clear() {
        guard isShown else { return }
        writeError("\r\u{1B}[K")
    }
}
