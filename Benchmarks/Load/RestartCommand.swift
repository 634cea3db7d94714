//  `restart`: how long a server takes until it answers with all its keys there.
//
//      rdb:       fill, BGSAVE, end         |start … first PING that is not refused|
//      aof:       fill, end: every write    |start …|
//                 is in the increment
//      aof-base:  fill, BGREWRITEAOF, end:  |start …|
//                 all is in the base
//
//  Files have just been written or read, so they are in the system's cache: what is measured is
//  the server and not the disk.

import Glibc
import LoadGenerator

let restartSubcommand = Subcommand(
    name: "restart", summary: "time until a restarted server has loaded its keys, several servers",
    description: """
        Fills --keys into each server, has them saved, and starts it again and again: as an RDB file
        (rdb), as a log of every write (aof), and as a log that was rewritten (aof-base). Prints the
        time from the start of the process until PING is answered by something else than -LOADING,
        the CPU time that took, and what was resident at most. Servers take turns; medians of
        --rounds, and the median of the ratios to the first server within each round. A server that
        comes back with another number of keys ends the run.

        Each loads the files it wrote itself, or with --files first copies of those that the first
        one wrote.

          martlet-benchmark restart \\
            --spawn 'redis=redis-server --port {port} --dir {directory} --appendonly {appendonly}' \\
            --spawn 'one=martlet --port {port} --dir {directory} --appendonly {appendonly} --io-threads 1' \\
            --spawn 'two=martlet --port {port} --dir {directory} --appendonly {appendonly} --io-threads 2'
        """,
    options: [
        .dataServers,
        OptionGroup(
            "Measurement",
            [
                Option("--cases", "LIST", "what is loaded (rdb,aof,aof-base)"),
                Option("--files", "NAME", "own or first (own)"),
                Option("--fill-command", "TEXT", "sent for each key ('SET key:{key} {value}')"),
                Option("--rounds", "N", "of each case (3)"),
            ]), .dataLoad(keys: "3000000"), .output,
    ],
    run: measureRestarts)

private enum RestartCase: String, CaseIterable {
    case rdb
    case aof
    case aofBase = "aof-base"

    var isLog: Bool { self != .rdb }

    /// What puts the keys where they will be loaded from, if anything does.
    var command: String? {
        switch self {
        case .rdb: "BGSAVE"
        case .aof: nil
        case .aofBase: "BGREWRITEAOF"
        }
    }
}

private struct Restart {
    var seconds: Double
    var cpuSeconds: Double
    var peak: Int
}

private struct RestartResult {
    let restartCase: RestartCase
    var fileBytes: [Int]
    var rounds: [[Restart]]

    func ratio(_ peer: Int) -> Spread {
        Spread(zip(rounds[peer], rounds[0]).map { $0.seconds / $1.seconds })
    }
    func seconds(_ peer: Int) -> Spread { Spread(rounds[peer].map(\.seconds)) }
    func cpuSeconds(_ peer: Int) -> Double { middle(rounds[peer].map(\.cpuSeconds)) ?? .nan }
    func peak(_ peer: Int) -> Double { middle(rounds[peer].map { Double($0.peak) }) ?? .nan }
}

private func measureRestarts(_ arguments: Arguments) throws(BenchmarkError) {
    let format = try Format(arguments)
    let progress = ProgressLine(arguments)
    let rounds = try arguments.integer("--rounds", 3, in: 1...1000)
    let sharesFiles = try arguments.choice("--files", ["own", "first"]) == "first"
    let fillCommand = arguments.text("--fill-command") ?? Workload.setEveryKey
    var cases = RestartCase.allCases
    if let list = arguments.text("--cases") {
        cases = []
        for name in list.split(separator: ",", omittingEmptySubsequences: false) {
            guard let known = RestartCase(rawValue: String(name)) else {
                throw .usage(
                    "--cases: \(RestartCase.allCases.map(\.rawValue).joined(separator: ", "))")
            }
            cases.append(known)
        }
    }
    var plan = try LoadPlan(arguments, endpoint: .tcp(host: "127.0.0.1", port: 1))
    plan.keyCount = try arguments.integer("--keys", 3_000_000, in: 1...1_000_000_000)
    let servers = try DataServers(arguments)
    defer { servers.close() }

    var records: [Record] = []
    if format == .text {
        print(
            "\(grouped(plan.keyCount)) keys; seconds from the start of the process; "
                + "x is the ratio to \(servers.names[0]), with its spread")
    }
    for restartCase in cases {
        var result = RestartResult(
            restartCase: restartCase, fileBytes: [], rounds: servers.peers.map { _ in [] })
        var expected = 0
        for peer in servers.peers {
            progress.show("fill \(peer.name)")
            let count = try prepare(
                peer, restartCase, plan, fillCommand,
                filesOf: sharesFiles && peer !== servers.peers[0] ? servers.peers[0] : nil, servers
            ) { progress.show("fill \(peer.name)", $0) }
            if let count { expected = count }
            result.fileBytes.append(treeBytes(peer.values["directory"] ?? ""))
        }
        for round in 1...rounds {
            for (index, peer) in servers.peers.enumerated() {
                progress.show("\(restartCase.rawValue) \(peer.name) \(round)/\(rounds)")
                // Nothing that was written before is still on its way to the disk.
                sync()
                try servers.start(peer)
                var client = try servers.connect(peer)
                let count = try keyCount(&client)
                guard count == expected else {
                    throw .measurement("\(peer.name) loaded \(count) of \(expected) keys")
                }
                let meter = try servers.meter(peer)
                result.rounds[index].append(
                    Restart(
                        seconds: peer.startSeconds, cpuSeconds: try meter.secondsSinceStart(),
                        peak: try meter.peakResidentBytes()))
                peer.stopAtOnce()
            }
        }
        progress.clear()
        if format == .text { printText(result, servers.names, keys: expected) }
        records += servers.names.indices.map { record(result, $0, servers.names, keys: expected) }
    }
    if format != .text { printRecords(records, format) }
}

/// Brings a server's directory into the state that it is to load, and leaves the server ended.
///
/// - Returns: the number of keys, when it made them.
private func prepare(
    _ peer: Peer, _ restartCase: RestartCase, _ plan: LoadPlan, _ fillCommand: String,
    filesOf first: Peer?, _ servers: DataServers, progress: (RunProgress) -> Void
) throws(BenchmarkError) -> Int? {
    if let first {
        let directory = try servers.emptyDirectory(peer, appendOnly: restartCase.isLog)
        try copyTree(from: first.values["directory"] ?? "", to: directory)
        return nil
    }
    try servers.startEmpty(peer, appendOnly: restartCase.isLog)
    var plan = plan
    plan.endpoint = peer.endpoint
    try fill(plan, fillCommand, progress: progress)
    var client = try servers.connect(peer)
    if let command = restartCase.command { try save(&client, by: command) }
    let count = try keyCount(&client)
    // It is asked to end, so that its log is whole.
    peer.stop()
    return count
}

private func printText(_ result: RestartResult, _ names: [String], keys: Int) {
    print()
    var table = TextTable()
    table.add([
        result.restartCase.rawValue, "seconds", "x", "spread", "CPU s", "keys/s", "files MB",
        "peak MB",
    ])
    for (peer, name) in names.enumerated() {
        let ratio = result.ratio(peer)
        let seconds = result.seconds(peer).median
        table.add([
            "  " + name, fixed(seconds, 3), fixed(ratio.median, 3),
            "\(fixed(ratio.low, 2))-\(fixed(ratio.high, 2))", fixed(result.cpuSeconds(peer), 2),
            grouped(Int(Double(keys) / max(seconds, 1e-9))),
            fixed(Double(result.fileBytes[peer]) / 1e6, 1), fixed(result.peak(peer) / 1e6, 1),
        ])
    }
    table.print()
}

private func record(
    _ result: RestartResult, _ peer: Int, _ names: [String], keys: Int
) -> Record {
    let seconds = result.seconds(peer)
    let ratio = result.ratio(peer)
    var record = Record()
    record.add("case", .text(result.restartCase.rawValue))
    record.add("server", .text(names[peer]))
    record.add("keys", .integer(keys))
    record.add("rounds", .integer(result.rounds[peer].count))
    record.add("seconds", .number(seconds.median, digits: 4))
    record.add("seconds_min", .number(seconds.low, digits: 4))
    record.add("seconds_max", .number(seconds.high, digits: 4))
    record.add("seconds_ratio", .number(ratio.median, digits: 4))
    record.add("seconds_ratio_min", .number(ratio.low, digits: 4))
    record.add("seconds_ratio_max", .number(ratio.high, digits: 4))
    record.add("cpu_seconds", .number(result.cpuSeconds(peer), digits: 2))
    record.add("file_bytes", .integer(result.fileBytes[peer]))
    record.add("peak", .number(result.peak(peer), digits: 0))
    return record
}
