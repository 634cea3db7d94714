//  HOTKEYS of Redis 8.6: which keys cost the most time and network, while somebody asks.

import MartletBase
import MartletEngine

extension CommandGroup {
    static func hotKeys(_ context: ServerContext) -> CommandGroup {
        let traits: Traits = [.admin, .noScript]
        let session = context.hotKeys
        return [
            Command(
                "HOTKEYS", since: "8.6.0", group: .server,
                summary: "A container for hotkeys tracking commands.",
                subcommands: [
                    Command(
                        "GET", since: "8.6.0", group: .server,
                        summary: "Returns lists of top K hotkeys depending on metrics chosen in "
                            + "HOTKEYS START command.",
                        complexity: "O(K) where K is the number of hotkeys returned.",
                        arity: .exactly(2), traits: traits
                    ) { (call) throws(CommandError) in
                        reply(&call, session.report(context))
                        return .none
                    },
                    Command(
                        "HELP", since: "8.6.0", group: .server,
                        summary: "Show helpful text about the different subcommands",
                        arity: .exactly(2), traits: [.loading, .stale], run: help),
                    Command(
                        "RESET", since: "8.6.0", group: .server,
                        summary: "Releases resources used for hotkeys tracking.",
                        complexity: "O(1)", arity: .exactly(2), traits: traits
                    ) { (call) throws(CommandError) in
                        if session.isActive(context) {
                            throw .invalid(
                                "hotkey tracking session in progress, stop tracking first")
                        }
                        session.reset()
                        call.reply.ok()
                        return .none
                    },
                    Command(
                        "START", since: "8.6.0", group: .server,
                        // METRICS is required, and Redis says so itself where it is missing.
                        syntax: "[METRICS count [CPU] [NET]] [COUNT k] [DURATION seconds] "
                            + "[SAMPLE ratio]",
                        summary: "Starts hotkeys tracking.", complexity: "O(1)",
                        arity: .atLeast(2), traits: traits
                    ) { (call) throws(CommandError) in
                        if session.isActive(context) {
                            throw .invalid("hotkey tracking session already in progress")
                        }
                        session.start(try readRequest(&call), context)
                        call.reply.ok()
                        return .none
                    },
                    Command(
                        "STOP", since: "8.6.0", group: .server,
                        summary: "Stops hotkeys tracking.", complexity: "O(1)",
                        arity: .exactly(2), traits: traits
                    ) { (call) throws(CommandError) in
                        if session.stop(context) { call.reply.ok() } else { call.reply.null() }
                        return .none
                    },
                ])
        ]
    }
}

private let metricsCountMax = 2

/// Reads `METRICS count [CPU] [NET]` and the options behind it. Metrics that are not known are passed over
/// when one of them is, as in Redis.
private func readRequest(_ call: inout Call) throws(CommandError) -> HotKeys.Request {
    var request = HotKeys.Request()
    guard call.arguments.skip("metrics") else {
        throw .invalid("METRICS parameter is required")
    }
    let metrics = try call.arguments.integer(
        in: 1...Int64(metricsCountMax), .invalid("METRICS count must be > 0 and <= 2"))
    for _ in 0..<metrics {
        if call.arguments.isAtEnd {
            throw .invalid("METRICS count does not match number of metric types provided")
        }
        if call.arguments.skip("cpu") {
            if request.measuresTime { throw .invalid("METRICS CPU defined more than once!") }
            request.measuresTime = true
        } else if call.arguments.skip("net") {
            if request.measuresBytes { throw .invalid("METRICS NET defined more than once!") }
            request.measuresBytes = true
        } else {
            _ = try call.arguments.next()
        }
    }
    guard request.measuresTime || request.measuresBytes else {
        throw .invalid("METRICS no valid metrics passed. Supported: CPU|NET")
    }
    while !call.arguments.isAtEnd {
        if call.arguments.skip("count") {
            request.count = Int(
                try call.arguments.integer(
                    in: 1...64, .invalid("COUNT must be between 1 and 64")))
        } else if call.arguments.skip("duration") {
            request.seconds = Int(
                try call.arguments.integer(
                    in: 1...1_000_000, .invalid("DURATION must be between 1 and 1000000")))
        } else if call.arguments.skip("sample") {
            request.ratio = Int(
                try call.arguments.integer(
                    in: 1...Int64(Int32.max), .invalid("SAMPLE ratio must be positive")))
        } else if call.arguments.skip("slots") {
            throw .invalid("SLOTS parameter cannot be used in non-cluster mode")
        } else {
            throw .syntax
        }
    }
    return request
}

extension Arguments {
    fileprivate mutating func integer(
        in range: ClosedRange<Int64>, _ error: CommandError
    ) throws(CommandError) -> Int64 {
        if isAtEnd { throw .syntax }
        let value = try integer(error)
        guard range.contains(value) else { throw error }
        return value
    }
}

/// One map in an array, as Redis sends it for whoever adds up several nodes.
private func reply(_ call: inout Call, _ report: HotKeys.Report?) {
    guard let report else {
        call.reply.null()
        return
    }
    let request = report.request
    call.reply.array(1)
    call.reply.map(7 + (request.measuresTime ? 3 : 0) + (request.measuresBytes ? 2 : 0))
    func add(_ name: StaticString, _ value: Int64) {
        call.reply.bulk(name)
        call.reply.integer(value)
    }
    add("tracking-active", report.isActive ? 1 : 0)
    add("sample-ratio", Int64(request.ratio))
    call.reply.bulk("selected-slots")
    call.reply.array(1)
    call.reply.array(2)
    call.reply.integer(0)
    call.reply.integer(16383)
    add("all-commands-all-slots-us", Int64(clamping: report.allMicroseconds))
    add("net-bytes-all-commands-all-slots", Int64(clamping: report.allBytes))
    add("collection-start-time-unix-ms", report.startUnixMilliseconds)
    add("collection-duration-ms", report.durationMilliseconds)
    if request.measuresTime {
        add("total-cpu-time-user-ms", report.userMilliseconds)
        add("total-cpu-time-sys-ms", report.systemMilliseconds)
    }
    if request.measuresBytes {
        add("total-net-bytes", Int64(clamping: report.networkBytes))
    }
    func add(_ name: StaticString, _ keys: [(key: [UInt8], amount: UInt64)]) {
        call.reply.bulk(name)
        call.reply.array(keys.count * 2)
        for (key, amount) in keys {
            key.withView { call.reply.bulk($0) }
            call.reply.integer(Int64(clamping: amount))
        }
    }
    if request.measuresTime {
        add("by-cpu-time-us", report.byTime.map { (key: $0.key, amount: $0.microseconds) })
    }
    if request.measuresBytes {
        add("by-net-bytes", report.byBytes.map { (key: $0.key, amount: $0.bytes) })
    }
}

private func help(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.help(
        "HOTKEYS",
        [
            "GET",
            "    Return the keys that cost the most since the session started.",
            "RESET",
            "    Forget them. The session must have been stopped.",
            "START METRICS <count> [CPU] [NET] [COUNT <k>] [DURATION <seconds>]",
            "      [SAMPLE <ratio>]",
            "    Start to add up the time (CPU) and the network bytes (NET) of keys.",
            "    COUNT: how many keys are told, 1 to 64 (default: 10).",
            "    DURATION: stop after so many seconds.",
            "    SAMPLE: look at the keys of one command in so many (default: 1).",
            "STOP",
            "    Stop, and keep what was found.",
        ])
    return .none
}
