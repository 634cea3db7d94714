//  LATENCY: events that took long, and how long each command takes.

import MartletBase
import MartletEngine

extension CommandGroup {
    private static let traits: Traits = [.admin, .noScript, .loading, .stale]
    private static let tips = [
        "nondeterministic_output", "request_policy:all_nodes", "response_policy:special",
    ]

    static func latency(_ context: ServerContext) -> CommandGroup {
        [
            Command(
                "LATENCY", since: "2.8.13", group: .server,
                summary: "A container for latency diagnostics commands.",
                subcommands: [
                    Command(
                        "DOCTOR", since: "2.8.13", group: .server,
                        summary: "Returns a human-readable latency analysis report.",
                        arity: .exactly(2), traits: traits, tips: tips
                    ) { (call) throws(CommandError) in
                        call.reply.verbatim(LatencyDoctor.report(context))
                        return .none
                    },
                    Command(
                        "GRAPH", since: "2.8.13", group: .server, syntax: "event",
                        summary: "Returns a latency graph for an event.", arity: .exactly(3),
                        traits: traits, tips: tips
                    ) { (call) throws(CommandError) in
                        try graph(&call, context)
                    },
                    Command(
                        "HELP", since: "2.8.13", group: .server,
                        summary: "Returns helpful text about the different subcommands.",
                        arity: .exactly(2), traits: [.loading, .stale], run: help),
                    Command(
                        "HISTOGRAM", since: "7.0.0", group: .server,
                        syntax: "[command [command ...]]",
                        summary: "Returns the cumulative distribution of latencies of a subset or "
                            + "all commands.",
                        complexity: "O(N) where N is the number of commands with latency "
                            + "information being retrieved.",
                        arity: .atLeast(2), traits: traits, tips: tips
                    ) { (call) throws(CommandError) in
                        histogram(&call, context)
                    },
                    Command(
                        "HISTORY", since: "2.8.13", group: .server, syntax: "event",
                        summary: "Returns timestamp-latency samples for an event.",
                        arity: .exactly(3), traits: traits, tips: tips
                    ) { (call) throws(CommandError) in
                        try history(&call, context)
                    },
                    Command(
                        "LATEST", since: "2.8.13", group: .server,
                        summary: "Returns the latest latency samples for all events.",
                        arity: .exactly(2), traits: traits, tips: tips
                    ) { (call) throws(CommandError) in
                        latest(&call, context)
                    },
                    Command(
                        "RESET", since: "2.8.13", group: .server, syntax: "[event [event ...]]",
                        summary: "Resets the latency data for one or more events.",
                        arity: .atLeast(2), traits: traits,
                        tips: ["request_policy:all_nodes", "response_policy:all_succeeded"]
                    ) { (call) throws(CommandError) in
                        let names = (2..<call.arguments.count).map { call.arguments[$0].string }
                        let count = context.latency.reset(names.isEmpty ? nil : names)
                        call.reply.integer(count)
                        return .none
                    },
                ])
        ]
    }
}

private func history(_ call: inout Call, _ context: ServerContext) throws(CommandError) -> Effect {
    let series = context.latency.series(of: try call.arguments.next().string)
    let samples = series?.samples ?? []
    call.reply.array(samples.count)
    for sample in samples {
        call.reply.array(2)
        call.reply.integer(sample.unixSeconds)
        call.reply.integer(sample.milliseconds)
    }
    return .none
}

private func latest(_ call: inout Call, _ context: ServerContext) -> Effect {
    let events = context.latency.events
    call.reply.array(events.count)
    for event in events {
        call.reply.array(4)
        call.reply.bulk(event.name)
        call.reply.integer(event.series.samples.last?.unixSeconds ?? 0)
        call.reply.integer(event.series.samples.last?.milliseconds ?? 0)
        call.reply.integer(event.series.worstMilliseconds)
    }
    return .none
}

private func graph(_ call: inout Call, _ context: ServerContext) throws(CommandError) -> Effect {
    let name = try call.arguments.next().string
    guard let series = context.latency.series(of: name) else {
        throw call.error("ERR No samples available for event '\(name)'")
    }
    call.reply.verbatim(
        LatencyGraph.text(name, series, nowSeconds: context.state.clock.wallSeconds()))
    return .none
}

private func histogram(_ call: inout Call, _ context: ServerContext) -> Effect {
    var commands: [Command] = []
    if call.arguments.isAtEnd {
        commands = context.commands.all.filter { $0.subcommands.isEmpty }
    }
    while let name = try? call.arguments.next() {
        guard let command = context.commands.command(named: name.string) else { continue }
        // A container stands for its subcommands.
        commands += command.subcommands.isEmpty ? [command] : command.subcommands
    }
    let found = commands.compactMap { command -> (Command, LatencyHistogram)? in
        let histogram = context.histogram(of: command)
        return histogram.map { (command, $0) }
    }
    call.reply.map(found.count)
    for (command, histogram) in found {
        call.reply.bulk(command.fullName)
        call.reply.map(2)
        call.reply.bulk("calls")
        call.reply.integer(Int64(clamping: histogram.calls))
        call.reply.bulk("histogram_usec")
        let steps = histogram.cumulative
        call.reply.map(steps.count)
        for step in steps {
            call.reply.integer(Int64(clamping: step.microseconds))
            call.reply.integer(Int64(clamping: step.calls))
        }
    }
    return .none
}

private func help(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.help(
        "LATENCY",
        [
            "DOCTOR",
            "    Return a human readable latency analysis report.",
            "GRAPH <event>",
            "    Return an ASCII latency graph for the <event> class.",
            "HISTORY <event>",
            "    Return time-latency samples for the <event> class.",
            "LATEST",
            "    Return the latest latency samples for all events.",
            "RESET [<event> ...]",
            "    Reset latency data of one or more <event> classes.",
            "    (default: reset all data for all event classes)",
            "HISTOGRAM [COMMAND ...]",
            """
                Return a cumulative distribution of latencies in the format of a histogram for \
            the specified command names.
            """,
            "    If no commands are specified then all histograms are replied.",
        ])
    return .none
}

extension ServerContext {
    /// How long a command takes, or nil when it never ran or nobody wants to know.
    func histogram(of command: Command) -> LatencyHistogram? {
        guard configuration.settings.latencyTracking else { return nil }
        let histogram = LatencyHistogram(state.statistics.map { $0.command(command.number) })
        return histogram.calls > 0 ? histogram : nil
    }
}
