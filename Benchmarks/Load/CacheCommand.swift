//  `cache`: hit ratios over cache sizes, of servers over the wire and of policies as models.

import CacheSimulator
import Glibc
import LoadGenerator

let cacheSubcommand = Subcommand(
    name: "cache", summary: "hit ratios of servers and of cache policies on traces",
    description: """
        Plays traces, generated ones or those of a file, on servers at a given maxmemory (GET, and on a
        miss SET, pipelined) and on models of LRU, LFU, S3-FIFO, SIEVE, W-TinyLFU and Belady's optimum,
        and prints which share of the requests, and of their bytes, was found.

        A model has maxmemory for its keys, each with --overhead beside its key and value; a server has
        it for all it uses, so small entries show. A server that is started here is started anew for each
        measurement; one that runs is emptied, and its maxmemory is left as it was set last.

        Trace files are CSV, a request a line: key, size of the value, and TTL in seconds if it has one.
        Without --rate only traces with TTLs are paced, at 50000 requests a second.

        Traces: \(TraceClass.allCases.map(\.rawValue).joined(separator: ", ")).
        Models: \(CachePolicy.allCases.map(\.rawValue).joined(separator: ", ")).

          martlet-benchmark cache --traces zipf,scan --sizes 64mb,128mb --svg hits.svg \\
            --spawn 'redis=redis-server --port {port} --save ""' --spawn 'martlet=martlet --port {port}'
        """,
    options: [
        OptionGroup(
            "Servers, none or more",
            [
                Option("--server", "NAME=ADDRESS", "one that runs and may be emptied"),
                Option(
                    "--spawn", "NAME=COMMAND",
                    "one to start and end here; {port} stands for its port"),
                Option("--policies", "LIST", "their policies (allkeys-lru,allkeys-lfu)"),
            ]), .spawn, .greeting,
        OptionGroup(
            "Traces",
            [
                Option("--traces", "LIST", "classes of generated traces (all)"),
                Option("--trace-file", "PATH", "a trace file instead"),
                Option("--keys", "N", "keys that popularity is spread over (1000000)"),
                Option("--requests", "N", "of each generated trace (3000000)"),
                Option("--exponent", "X", "of zipf (0.9)"),
                Option("--value-bytes", "N", "size of values (64)"),
                Option("--seed", "N", "of everything random (1)"),
            ]),
        OptionGroup(
            "Measurement",
            [
                Option("--sizes", "LIST", "maxmemory, such as 64mb,128mb (100mb)"),
                Option("--models", "LIST", "which models, or none (all)"),
                Option("--overhead", "BYTES", "of an entry in the models (48)"),
                Option("--uncounted", "SHARE", "of the requests, in the beginning (0.25)"),
                Option("--rate", "R", "requests a second"),
                Option("--connections", "N", "to a server, used in turn (4)"),
                Option("--pipeline", "N", "requests in flight (128)"),
                Option("--client-cpu", "LIST", "CPUs of the client"),
                Option("--svg", "FILE", "draw the ratios there"),
                Option("--by-bytes", "draw the ratios of bytes, not of requests"),
            ]), .output,
    ],
    run: measureCaches)

/// What one cache did on one trace at one size.
private struct CacheResult {
    let trace: String
    let cache: String
    let sizeBytes: Int
    let count: HitCount
    var evicted: Int?
    var keys: Int?
    var seconds: Double?
}

private func measureCaches(_ arguments: Arguments) throws(BenchmarkError) {
    let format = try Format(arguments)
    let progress = ProgressLine(arguments)
    let sizes = try byteCounts(arguments.text("--sizes") ?? "100mb")
    let policies = (arguments.text("--policies") ?? "allkeys-lru,allkeys-lfu")
        .split(separator: ",").map(String.init)
    let models = try chosenModels(arguments)
    let peers = try Peer.all(arguments)
    guard !peers.contains(where: \.isFloor) else { throw .usage("the floor keeps nothing") }
    var plan = ReplayPlan(.tcp(host: "127.0.0.1", port: 1))
    plan.greeting = try Greeting(arguments)
    plan.connections = try arguments.integer("--connections", 4, in: 1...1000)
    plan.pipeline = try arguments.integer("--pipeline", 128, in: 1...100_000)
    plan.rules.entryOverheadBytes = try arguments.integer("--overhead", 48, in: 0...1_000_000)
    plan.rules.requestsPerSecond = try arguments.number("--rate", 50_000, in: 1...1e9)
    let uncounted = try arguments.number("--uncounted", 0.25, in: 0...0.99)
    var placement = try Placement(arguments)
    try placement.bindCaller()

    var results: [CacheResult] = []
    for source in try traceSources(arguments) {
        progress.show("making the trace")
        let trace = try source.make()
        plan.rules.uncountedRequests = Int(Double(trace.requests.count) * uncounted)
        plan.isPaced = trace.hasLifetimes || arguments.has("--rate")
        var own: [CacheResult] = []
        for size in sizes {
            for policy in policies {
                for peer in peers {
                    let label = "\(trace.name) \(peer.name) \(policy)"
                    own.append(
                        try play(trace, peer, policy, size, plan, &placement) {
                            progress.show("\(label): \(grouped($0)) requests")
                        })
                }
            }
            for model in models {
                progress.show("\(trace.name) \(model.rawValue)")
                own.append(
                    CacheResult(
                        trace: trace.name, cache: model.rawValue, sizeBytes: size,
                        count: model.simulate(trace, capacity: size, plan.rules)))
            }
        }
        progress.clear()
        if format == .text { printTable(own, trace, peers.isEmpty) }
        results += own
    }
    if format != .text { printRecords(results.map(record), format) }
    if let path = arguments.text("--svg") {
        try writeText(chart(results, byBytes: arguments.has("--by-bytes")), to: path)
    }
}

/// Plays a trace on one server.
private func play(
    _ trace: Trace, _ peer: Peer, _ policy: String, _ size: Int, _ plan: ReplayPlan,
    _ placement: inout Placement, progress: (Int) -> Void
) throws(BenchmarkError) -> CacheResult {
    try peer.start(&placement, greeting: plan.greeting)
    defer { peer.stop() }
    var plan = plan
    plan.endpoint = peer.endpoint
    var client = try ControlClient.connect(peer.endpoint, greeting: plan.greeting)
    _ = try client.command(["FLUSHALL"])
    _ = try client.command(["CONFIG", "RESETSTAT"])
    _ = try client.command(["CONFIG", "SET", "maxmemory-policy", policy])
    _ = try client.command(["CONFIG", "SET", "maxmemory", String(size)])
    let startedAt = monotonicNanoseconds()
    var result = CacheResult(
        trace: trace.name, cache: "\(peer.name) \(policy)", sizeBytes: size,
        count: try replay(trace, plan, progress: progress))
    result.seconds = Double(monotonicNanoseconds() - startedAt) / 1e9
    result.evicted = try client.info()["evicted_keys"].flatMap { Int($0) }
    if case .integer(let keys) = try client.command(["DBSIZE"]) { result.keys = keys }
    return result
}

/// A trace that is made when its turn comes: one at a time is enough memory.
private enum TraceSource {
    case generated(TraceClass, TraceShape)
    case file(String)

    func make() throws(BenchmarkError) -> Trace {
        switch self {
        case .generated(let kind, let shape): return .generated(kind, shape)
        case .file(let path):
            guard let text = readFile(path) else { throw .usage("\(path) cannot be read") }
            let name = path.split(separator: "/").last.map(String.init) ?? path
            return try Trace(name: name, csv: text)
        }
    }
}

private func traceSources(_ arguments: Arguments) throws(BenchmarkError) -> [TraceSource] {
    if let path = arguments.text("--trace-file") {
        for option in ["--traces", "--keys", "--requests", "--exponent", "--value-bytes", "--seed"]
        where arguments.has(option) {
            throw .usage("\(option) is for generated traces")
        }
        return [.file(path)]
    }
    var shape = TraceShape()
    shape.keyCount = try arguments.integer("--keys", shape.keyCount, in: 1...(1 << 24))
    shape.requestCount = try arguments.integer(
        "--requests", shape.requestCount, in: 1...Trace.requestsMax)
    shape.exponent = try arguments.number("--exponent", shape.exponent, in: 0...10)
    shape.valueBytes = try arguments.integer("--value-bytes", shape.valueBytes, in: 0...(1 << 20))
    shape.seed = UInt64(try arguments.integer("--seed", 1, in: 0...Int.max))
    guard let list = arguments.text("--traces") else {
        return TraceClass.allCases.map { .generated($0, shape) }
    }
    var sources: [TraceSource] = []
    for name in list.split(separator: ",") {
        guard let kind = TraceClass(rawValue: String(name)) else {
            let names = TraceClass.allCases.map(\.rawValue).joined(separator: ", ")
            throw .usage("--traces: one of \(names), not '\(name)'")
        }
        sources.append(.generated(kind, shape))
    }
    return sources
}

private func chosenModels(_ arguments: Arguments) throws(BenchmarkError) -> [CachePolicy] {
    guard let list = arguments.text("--models") else { return CachePolicy.allCases }
    if list == "none" { return [] }
    var models: [CachePolicy] = []
    for name in list.split(separator: ",") {
        guard
            let model = CachePolicy.allCases.first(where: {
                $0.rawValue.lowercased() == name.lowercased()
            })
        else {
            let names = CachePolicy.allCases.map(\.rawValue).joined(separator: ", ")
            throw .usage("--models: one of \(names), not '\(name)'")
        }
        models.append(model)
    }
    return models
}

/// Numbers of bytes with units as in `maxmemory`: kb, mb and gb for powers of 1024.
private func byteCounts(_ list: String) throws(BenchmarkError) -> [Int] {
    var counts: [Int] = []
    for text in list.split(separator: ",") {
        let lowered = text.lowercased()
        let units = [("kb", 10), ("mb", 20), ("gb", 30)]
        let unit = units.first { lowered.hasSuffix($0.0) }
        let digits = lowered.dropLast(unit?.0.count ?? 0)
        guard let number = Int(digits), (1...(1 << 20)).contains(number) || unit == nil,
            number > 0
        else {
            throw .usage("--sizes wants sizes such as 64mb, not '\(text)'")
        }
        counts.append(number << (unit?.1 ?? 0))
    }
    if counts.isEmpty { throw .usage("--sizes wants a size") }
    return counts
}

private func printTable(_ results: [CacheResult], _ trace: Trace, _ onlyModels: Bool) {
    let isExpiring = trace.hasLifetimes ? ", with TTLs" : ""
    print(
        "\(trace.name): \(grouped(trace.requests.count)) requests for up to "
            + "\(grouped(trace.keyCount)) keys\(isExpiring)")
    var table = TextTable()
    table.add(
        ["cache", "MB", "hits", "of bytes"]
            + (onlyModels ? [] : ["keys", "evicted", "s", "errors"]))
    for result in results {
        var cells = [
            "  " + result.cache, fixed(Double(result.sizeBytes) / Double(1 << 20), 0),
            percent(result.count.objectRatio, 2), percent(result.count.byteRatio, 2),
        ]
        if !onlyModels {
            cells.append(result.keys.map(grouped) ?? "")
            cells.append(result.evicted.map(grouped) ?? "")
            cells.append(result.seconds.map { fixed($0, 1) } ?? "")
            cells.append(result.seconds == nil ? "" : grouped(result.count.errors))
        }
        table.add(cells)
    }
    table.print()
}

private func record(_ result: CacheResult) -> Record {
    var record = Record()
    record.add("trace", .text(result.trace))
    record.add("cache", .text(result.cache))
    record.add("size_bytes", .integer(result.sizeBytes))
    record.add("requests", .integer(result.count.requests))
    record.add("hit_ratio", .number(result.count.objectRatio, digits: 5))
    record.add("byte_hit_ratio", .number(result.count.byteRatio, digits: 5))
    record.add("keys", result.keys.map { .integer($0) } ?? .missing)
    record.add("evicted", result.evicted.map { .integer($0) } ?? .missing)
    record.add("seconds", .number(result.seconds, digits: 2))
    record.add("errors", .integer(result.count.errors))
    return record
}

private func chart(_ results: [CacheResult], byBytes: Bool) -> String {
    var titles: [String] = []
    for result in results where !titles.contains(result.trace) { titles.append(result.trace) }
    return hitRatioChart(
        titles.map { title in
            let own = results.filter { $0.trace == title }
            var caches: [String] = []
            for result in own where !caches.contains(result.cache) { caches.append(result.cache) }
            return HitRatioPanel(
                title: title,
                lines: caches.map { cache in
                    HitRatioLine(
                        name: cache,
                        points: own.filter { $0.cache == cache }.map {
                            ($0.sizeBytes, byBytes ? $0.count.byteRatio : $0.count.objectRatio)
                        })
                })
        })
}

private func writeText(_ text: String, to path: String) throws(BenchmarkError) {
    guard let file = unsafe fopen(path, "w") else {
        throw .system(call: "writing \(path)", errorNumber: errno)
    }
    let isWritten = unsafe fputs(text, file) >= 0
    guard unsafe fclose(file) == 0 && isWritten else {
        throw .system(call: "writing \(path)", errorNumber: errno)
    }
}
