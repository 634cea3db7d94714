//  `fan-out`: what it costs a server to hand a message to its subscribers.
//
//  A publisher sends a pipeline of messages, reads the replies, and waits until every subscriber has
//  got what is for it; then comes the next pipeline. The figure is the server's CPU time for each
//  delivery, PUBLISH itself included.

import LoadGenerator

let fanOutSubcommand = Subcommand(
    name: "fan-out", summary: "publishing to many subscribers, several servers in turn",
    description: """
        Publishes messages of --value-size bytes, --pipeline at a time, to --subscribers connections,
        and prints the server CPU time of one delivery (us), its ratio to the first server's, and
        deliveries a second. Servers take turns, A B A B; medians of --rounds.

        With --channels 1 every subscriber gets every message; with more, the channels are shared out
        among the subscribers and each message has one receiver. --patterns that match none of them
        make each publisher look at so many.

          martlet-benchmark fan-out --server-cpu 0 --client-cpu 1 \\
            --spawn 'redis=redis-server --port {port} --save "" --appendonly no' \\
            --spawn 'martlet=martlet --port {port} --io-threads 1'
        """,
    options: [
        OptionGroup(
            "Servers",
            [
                Option("--server", "NAME=ADDRESS", "one that runs: host:port or a socket's path"),
                Option(
                    "--spawn", "NAME=COMMAND",
                    "one to start and end here; {port} stands for its port"),
            ]), .spawn, .greeting,
        OptionGroup(
            "Load",
            [
                Option("--subscribers", "LIST", "connections that listen (1,50,1000)"),
                Option("--channels", "N", "that they listen to (1)"),
                Option("--patterns", "N", "that match none of them (0)"),
                Option("--pipeline", "N", "messages at a time (16)"),
                Option("--value-size", "BYTES", "of each (64)"),
                Option("--rounds", "N", "of each case (5)"),
                Option("--seconds", "S", "of each measurement (2)"),
                Option("--client-cpu", "LIST", "CPUs the publisher is bound to"),
            ]), .output,
    ],
    run: measureFanOut)

/// What is published to whom.
private struct Traffic {
    let subscribers: Int
    let channels: Int
    let pipeline: Int
    let payload: String
    var next = 0

    func name(_ channel: Int) -> String { "channel:\(channel + 100_000)" }

    /// The channels of each subscriber.
    var assignment: [[String]] {
        if channels == 1 { return (0..<subscribers).map { _ in [name(0)] } }
        return (0..<subscribers).map { subscriber in
            stride(from: subscriber, to: channels, by: subscribers).map { name($0) }
        }
    }

    /// The bytes of one message as a RESP2 subscriber gets it.
    var frameBytes: Int {
        let parts = ["message", name(0), payload]
        return parts.reduce(4) { $0 + "$\($1.utf8.count)\r\n\($1)\r\n".utf8.count }
    }

    /// The next pipeline of requests, and how many messages each subscriber gets.
    mutating func batch() -> (request: [UInt8], counts: [Int: Int]) {
        var request = ""
        var counts: [Int: Int] = [:]
        for _ in 0..<pipeline {
            let channel = next % channels
            next += 1
            for part in ["*3", "$7", "PUBLISH", "$\(name(channel).utf8.count)", name(channel)] {
                request += part + "\r\n"
            }
            request += "$\(payload.utf8.count)\r\n\(payload)\r\n"
            if channels > 1 { counts[channel % subscribers, default: 0] += 1 }
        }
        if channels == 1 { for index in 0..<subscribers { counts[index] = pipeline } }
        return (Array(request.utf8), counts)
    }
}

/// One measurement.
private struct Figure {
    var microseconds: Double
    var deliveriesPerSecond: Double
}

private func measureFanOut(_ arguments: Arguments) throws(BenchmarkError) {
    let format = try Format(arguments)
    let progress = ProgressLine(arguments)
    let rounds = try arguments.integer("--rounds", 5, in: 1...1000)
    let seconds = try arguments.number("--seconds", 2, in: 0.01...1000)
    let sizes = try arguments.integers("--subscribers", [1, 50, 1000], in: 1...50_000)
    let channels = try arguments.integer("--channels", 1, in: 1...900_000)
    let patternCount = try arguments.integer("--patterns", 0, in: 0...1_000_000)
    let pipeline = try arguments.integer("--pipeline", 16, in: 1...10_000)
    let valueBytes = try arguments.integer("--value-size", 64, in: 0...1_000_000)
    let greeting = try Greeting(arguments)
    let peers = try Peer.all(arguments)
    guard !peers.isEmpty else { throw .usage("fan-out wants a --server or --spawn") }
    var placement = try Placement(arguments)
    try placement.bindCaller()
    for peer in peers { try peer.start(&placement, greeting: greeting) }

    var all: [Record] = []
    for size in sizes {
        var traffic = Traffic(
            subscribers: size, channels: channels, pipeline: pipeline,
            payload: String(repeating: "x", count: valueBytes))
        var figures: [[Figure]] = peers.map { _ in [] }
        for round in 1...rounds {
            for (index, peer) in peers.enumerated() {
                progress.show("\(size) subscribers, \(peer.name) \(round)/\(rounds)")
                let subscribers = try Subscribers(
                    peer.endpoint, greeting, channels: traffic.assignment,
                    patterns: (0..<patternCount).map { "pattern:\($0):*" })
                figures[index].append(
                    try measure(peer, &traffic, subscribers, greeting, seconds: seconds))
            }
        }
        progress.clear()
        all += report(size, peers.map(\.name), figures, format)
    }
    if format != .text { printRecords(all, format) }
}

private func measure(
    _ peer: Peer, _ traffic: inout Traffic, _ subscribers: consuming Subscribers,
    _ greeting: Greeting, seconds: Double
) throws(BenchmarkError) -> Figure {
    guard let meter = peer.meter else {
        throw .measurement("the process of \(peer.name) is not known: its INFO does not tell")
    }
    var publisher = try ControlClient.connect(peer.endpoint, greeting: greeting)
    let frameBytes = traffic.frameBytes
    func play(_ seconds: Double) throws(BenchmarkError) -> Int {
        let begin = monotonicNanoseconds()
        var deliveries = 0
        while Double(monotonicNanoseconds() - begin) < seconds * 1e9 {
            let (request, counts) = traffic.batch()
            _ = try publisher.rawReplies(to: request, count: traffic.pipeline)
            for (index, count) in counts {
                try subscribers.receive(count * frameBytes, on: index)
                deliveries += count
            }
        }
        return deliveries
    }
    _ = try play(min(0.3, seconds))
    let before = try meter.times()
    let deliveries = try play(seconds)
    let usage = before.usage(until: try meter.times())
    return Figure(
        microseconds: usage.seconds * 1e6 / Double(max(1, deliveries)),
        deliveriesPerSecond: Double(deliveries) / max(usage.elapsed, 1e-9))
}

private func report(
    _ subscribers: Int, _ names: [String], _ figures: [[Figure]], _ format: Format
) -> [Record] {
    var records: [Record] = []
    var table = TextTable()
    table.add(["\(subscribers) subscribers", "us/delivery", "x", "spread", "deliveries/s"])
    for (peer, name) in names.enumerated() {
        let cost = Spread(figures[peer].map(\.microseconds))
        let ratio = Spread(
            zip(figures[peer], figures[0]).map { $0.microseconds / $1.microseconds })
        let rate = Spread(figures[peer].map(\.deliveriesPerSecond))
        table.add([
            "  " + name, fixed(cost.median, 3), fixed(ratio.median, 3),
            "\(fixed(ratio.low, 2))-\(fixed(ratio.high, 2))", grouped(Int(rate.median)),
        ])
        var record = Record()
        record.add("subscribers", .integer(subscribers))
        record.add("server", .text(name))
        record.add("server_us", .number(cost.median, digits: 4))
        record.add("server_us_ratio", .number(ratio.median, digits: 4))
        record.add("deliveries_per_second", .number(rate.median, digits: 0))
        records.append(record)
    }
    if format == .text { table.print() }
    return records
}
