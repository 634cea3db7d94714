//  `memory` and `idle`: bytes for a key, bytes for a connection, by the growth of resident memory.

import Glibc
import LoadGenerator

let memorySubcommand = Subcommand(
    name: "memory", summary: "resident bytes of a key, at several counts",
    description: """
        Fills an empty server with keys of 16 bytes (key:000000000042) and prints at each checkpoint
        how much its resident memory grew, for each key, beside what INFO's used_memory says.
        Without checkpoints given: 0.7, 0.8 ... 1.5 million keys, between which tables double.

        With --spawn the server is started anew for both forms, without and with TTL. A running
        server must be empty; only the form asked for is measured, since memory given back is not
        always memory that the system gets back.
        """,
    options: [
        OptionGroup(
            "Server to start and end here, instead of one that runs",
            [Option("--spawn", "COMMAND", "its command line, with {port}")]), .spawn, .server,
        .greeting,
        OptionGroup(
            "Keys",
            [
                Option("--checkpoints", "LIST", "numbers of keys, ascending"),
                Option("--value-bytes", "N", "size of a value (32)"),
                Option("--ttl", "only keys with a TTL"),
                Option("--no-ttl", "only keys without"),
                Option("--command", "TEXT", "instead of SET: sent once for each key"),
            ]), .output,
    ],
    run: measureMemory)

private func measureMemory(_ arguments: Arguments) throws(BenchmarkError) {
    let format = try Format(arguments)
    let progress = ProgressLine(arguments)
    let checkpoints = try arguments.integers(
        "--checkpoints", Array(stride(from: 700_000, through: 1_500_000, by: 100_000)),
        in: 1...1_000_000_000)
    guard checkpoints == checkpoints.sorted() else {
        throw .usage("--checkpoints must ascend")
    }
    let valueBytes = try arguments.integer("--value-bytes", 32, in: 0...(1 << 20))
    let plain = "SET key:{key} {value}"
    var forms = [("plain", plain), ("with TTL", plain + " EX {rand:100000-999999}")]
    if arguments.has("--ttl") && arguments.has("--no-ttl") {
        throw .usage("--ttl and --no-ttl exclude each other")
    }
    if arguments.has("--ttl") { forms.removeFirst() }
    if arguments.has("--no-ttl") { forms.removeLast() }
    if let command = arguments.text("--command") { forms = [("custom", command)] }
    let commandLine = arguments.text("--spawn")
    if commandLine == nil && forms.count > 1 { forms.removeLast() }
    let greeting = try Greeting(arguments)
    var placement = try Placement(arguments)

    var records: [Record] = []
    var table = TextTable()
    table.add(["keys", "form", "resident MB", "bytes/key", "used_memory/key"])
    for (form, command) in forms {
        let (peer, meter) = try Peer.single(arguments, &placement)
        defer { peer.stop() }
        var client = try ControlClient.connect(peer.endpoint, greeting: greeting)
        guard try client.command(["DBSIZE"]) == .integer(0) else {
            throw .measurement("\(peer.endpoint.text) is not empty")
        }

        var plan = LoadPlan(endpoint: peer.endpoint)
        plan.greeting = greeting
        plan.connections = 8
        plan.valueBytes = valueBytes
        plan.pipeline = 64
        // What the first connections and commands cost once is not the keys' cost.
        plan.commands = [WeightedCommand("PING")]
        plan.bound = .operations(20_000)
        _ = try measure(plan, meter: nil)
        let start = (try settledBytes(meter), try usedMemory(&client))
        var filled = 0
        for checkpoint in checkpoints {
            plan.firstKey = filled
            plan.keyCount = checkpoint
            try fill(plan, command) { progress.show("fill \(form)", $0) }
            filled = checkpoint
            let resident = try settledBytes(meter)
            let perKey = Double(resident - start.0) / Double(checkpoint)
            let used = try usedMemory(&client)
            let usedPerKey: Double? =
                if let used, let first = start.1 {
                    Double(used - first) / Double(checkpoint)
                } else { nil }
            table.add([
                grouped(checkpoint), form, fixed(Double(resident) / 1e6, 1), fixed(perKey, 1),
                usedPerKey.map { fixed($0, 1) } ?? "-",
            ])
            var record = Record()
            record.add("form", .text(form))
            record.add("keys", .integer(checkpoint))
            record.add("resident_bytes", .integer(resident))
            record.add("bytes_per_key", .number(perKey, digits: 2))
            record.add("used_memory_per_key", .number(usedPerKey, digits: 2))
            records.append(record)
        }
    }
    progress.clear()
    if format == .text { table.print() } else { printRecords(records, format) }
}

/// Resident memory after the server has come to rest.
private func settledBytes(_ meter: ProcessMeter) throws(BenchmarkError) -> Int {
    sleep(seconds: 0.3)
    return try meter.residentBytes()
}

/// What the server itself counts, or nil when it does not say.
func usedMemory(_ client: inout ControlClient) throws(BenchmarkError) -> Int? {
    guard case .text(let text) = try client.commandOrError(["INFO", "memory"]) else { return nil }
    for line in text.split(whereSeparator: \.isNewline) where line.hasPrefix("used_memory:") {
        return Int(line.dropFirst("used_memory:".count))
    }
    return nil
}

let idleSubcommand = Subcommand(
    name: "idle", summary: "resident bytes of an idle connection",
    description: """
        Opens connections that do nothing and prints by how much the server's resident memory grew
        for each: after connecting, and after each has sent one PING and rested. The kernel's
        memory for sockets is not in it. The server must allow that many clients and open files.
        """,
    options: [
        OptionGroup(
            "Server to start and end here, instead of one that runs",
            [Option("--spawn", "COMMAND", "its command line, with {port}")]), .spawn, .server,
        .greeting,
        OptionGroup(
            "Connections",
            [
                Option("--connections", "N", "how many (10000)"),
                Option("--rest", "S", "before memory is read (3)"),
            ]), .output,
    ],
    run: measureIdle)

private func measureIdle(_ arguments: Arguments) throws(BenchmarkError) {
    let format = try Format(arguments)
    let progress = ProgressLine(arguments)
    let count = try arguments.integer("--connections", 10_000, in: 1...1_000_000)
    let rest = try arguments.number("--rest", 3, in: 0...3600)
    try raiseOpenFiles(needed: count + 64)
    let greeting = try Greeting(arguments)
    var placement = try Placement(arguments)
    let (peer, meter) = try Peer.single(arguments, &placement)
    defer { peer.stop() }

    // A hundred connections come and go first, so that what is allocated once is there.
    _ = try IdleConnections(100, peer.endpoint, greeting) { _ in }
    sleep(seconds: rest)
    let start = try meter.residentBytes()
    let connections = try IdleConnections(count, peer.endpoint, greeting) {
        progress.show("\(grouped($0)) connections")
    }
    progress.show("resting")
    sleep(seconds: rest)
    let connected = try meter.residentBytes()
    try connections.ping { progress.show("\(grouped($0)) pings") }
    progress.show("resting")
    sleep(seconds: rest)
    let rested = try meter.residentBytes()
    progress.clear()

    var records: [Record] = []
    for (state, bytes) in [("connected", connected), ("after one PING", rested)] {
        var record = Record()
        record.add("state", .text(state))
        record.add("connections", .integer(count))
        record.add("resident_bytes", .integer(bytes))
        record.add(
            "bytes_per_connection", .number(Double(bytes - start) / Double(count), digits: 1))
        records.append(record)
    }
    guard format == .text else {
        printRecords(records, format)
        return
    }
    print("\(grouped(count)) idle connections, resident memory of the server")
    for (state, bytes) in [("connected", connected), ("after one PING", rested)] {
        print(
            "  \(padded(state, 16)) \(fixed(Double(bytes - start) / Double(count), 0)) bytes each, "
                + "\(fixed(Double(bytes) / 1e6, 1)) MB in all")
    }
}
