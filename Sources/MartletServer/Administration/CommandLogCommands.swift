//  SLOWLOG, and COMMANDLOG of Valkey 8.1, which has two more logs of the same form.

import MartletBase
import MartletEngine

extension CommandGroup {
    private static let traits: Traits = [.admin, .loading, .stale]
    private static let resetTips = [
        "request_policy:all_nodes", "response_policy:all_succeeded",
    ]

    static func slowLog(_ context: ServerContext) -> CommandGroup {
        let log = context.commandLogs.slow
        return [
            Command(
                "SLOWLOG", since: "2.2.12", group: .server,
                summary: "A container for slow log commands.",
                subcommands: [
                    Command(
                        "GET", since: "2.2.12", group: .server, syntax: "[count]",
                        summary: "Returns the slow log's entries.",
                        complexity: "O(N) where N is the number of entries returned",
                        arity: .atLeast(2), traits: traits,
                        tips: ["request_policy:all_nodes", "nondeterministic_output"]
                    ) { (call) throws(CommandError) in
                        if call.arguments.count > 3 {
                            throw call.error(
                                "ERR unknown subcommand or wrong number of arguments for "
                                    + "'\(call.arguments[1].string)'. Try SLOWLOG HELP.")
                        }
                        let count = call.arguments.isAtEnd ? 10 : try readCount(&call)
                        reply(&call, log.latest(count))
                        return .none
                    },
                    Command(
                        "HELP", since: "6.2.0", group: .server,
                        summary: "Show helpful text about the different subcommands",
                        arity: .exactly(2), traits: [.loading, .stale], run: helpSlowLog),
                    Command(
                        "LEN", since: "2.2.12", group: .server,
                        summary: "Returns the number of entries in the slow log.",
                        arity: .exactly(2), traits: traits,
                        tips: [
                            "request_policy:all_nodes", "response_policy:agg_sum",
                            "nondeterministic_output",
                        ]
                    ) { (call) throws(CommandError) in
                        call.reply.integer(log.count)
                        return .none
                    },
                    Command(
                        "RESET", since: "2.2.12", group: .server,
                        summary: "Clears all entries from the slow log.",
                        complexity: "O(N) where N is the number of entries in the slowlog",
                        arity: .exactly(2), traits: traits, tips: resetTips
                    ) { (call) throws(CommandError) in
                        log.reset()
                        call.reply.ok()
                        return .none
                    },
                ])
        ]
    }

    static func commandLog(_ context: ServerContext) -> CommandGroup {
        let logs = context.commandLogs
        return [
            Command(
                "COMMANDLOG", since: "8.1.0", group: .server,
                summary: "A container for command log commands.",
                subcommands: [
                    Command(
                        "GET", since: "8.1.0", group: .server,
                        syntax: "count <SLOW | LARGE-REQUEST | LARGE-REPLY>",
                        summary: "Returns the specified command log's entries.",
                        complexity: "O(N) where N is the number of entries returned",
                        arity: .exactly(4), traits: traits,
                        tips: ["request_policy:all_nodes", "nondeterministic_output"]
                    ) { (call) throws(CommandError) in
                        let count = try readCount(&call)
                        reply(&call, try readLog(&call, logs).latest(count))
                        return .none
                    },
                    Command(
                        "HELP", since: "8.1.0", group: .server,
                        summary: "Show helpful text about the different subcommands",
                        arity: .exactly(2), traits: [.loading, .stale], run: helpCommandLog),
                    Command(
                        "LEN", since: "8.1.0", group: .server,
                        syntax: "<SLOW | LARGE-REQUEST | LARGE-REPLY>",
                        summary: "Returns the number of entries in the specified type of command "
                            + "log.",
                        arity: .exactly(3), traits: traits,
                        tips: [
                            "request_policy:all_nodes", "response_policy:agg_sum",
                            "nondeterministic_output",
                        ]
                    ) { (call) throws(CommandError) in
                        call.reply.integer(try readLog(&call, logs).count)
                        return .none
                    },
                    Command(
                        "RESET", since: "8.1.0", group: .server,
                        syntax: "<SLOW | LARGE-REQUEST | LARGE-REPLY>",
                        summary: "Clears all entries from the specified type of command log.",
                        complexity: "O(N) where N is the number of entries in the commandlog",
                        arity: .exactly(3), traits: traits, tips: resetTips
                    ) { (call) throws(CommandError) in
                        try readLog(&call, logs).reset()
                        call.reply.ok()
                        return .none
                    },
                ])
        ]
    }
}

/// How many entries are asked for; -1 is all.
private func readCount(_ call: inout Call) throws(CommandError) -> Int {
    let error = CommandError.invalid("count should be greater than or equal to -1")
    let count = try call.arguments.integer(error)
    guard count >= -1 else { throw error }
    return count == -1 ? Int.max : Int(count)
}

private func readLog(
    _ call: inout Call, _ logs: CommandLogs
) throws(CommandError) -> CommandLog {
    if call.arguments.skip("slow") { return logs.slow }
    if call.arguments.skip("large-request") { return logs.largeRequests }
    if call.arguments.skip("large-reply") { return logs.largeReplies }
    throw .invalid("type should be one of the following: slow, large-request, large-reply")
}

private func reply(_ call: inout Call, _ entries: [CommandLog.Entry]) {
    call.reply.array(entries.count)
    for entry in entries {
        call.reply.array(6)
        call.reply.integer(entry.id)
        call.reply.integer(entry.unixSeconds)
        call.reply.integer(entry.amount)
        call.reply.array(entry.arguments.count)
        for argument in entry.arguments { argument.withView { call.reply.bulk($0) } }
        call.reply.bulk(entry.peer)
        call.reply.bulk(entry.clientName)
    }
}

private func helpSlowLog(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.help(
        "SLOWLOG",
        [
            "GET [<count>]",
            "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
            "    Entries are made of:",
            "    id, timestamp, time in microseconds, arguments array, client IP and port,",
            "    client name",
            "LEN",
            "    Return the length of the slowlog.",
            "RESET",
            "    Reset the slowlog.",
        ])
    return .none
}

private func helpCommandLog(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.help(
        "COMMANDLOG",
        [
            "GET <count> <type>",
            "    Return top <count> entries of the specified <type> from the commandlog",
            "    (-1 mean all).",
            "    Entries are made of:",
            "    id, timestamp,",
            "        time in microseconds for type of slow,",
            "        or size in bytes for type of large-request,",
            "        or size in bytes for type of large-reply",
            "    arguments array, client IP and port,",
            "    client name",
            "LEN <type>",
            "    Return the length of the specified type of commandlog.",
            "RESET <type>",
            "    Reset the specified type of commandlog.",
        ])
    return .none
}
