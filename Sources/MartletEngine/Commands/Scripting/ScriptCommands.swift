//  SCRIPT: the cache of scripts, and the end of one that runs for too long.

import MartletBase

extension CommandGroup {
    static let scriptCommands: CommandGroup = [
        Command(
            "SCRIPT", since: "2.6.0", group: .scripting,
            summary: "A container for Lua scripts management commands.",
            subcommands: [
                Command(
                    "EXISTS", since: "2.6.0", group: .scripting, syntax: "sha1 [sha1 ...]",
                    summary: "Determines whether server-side Lua scripts exist in the script "
                        + "cache.",
                    complexity: "O(N) with N being the number of scripts to check (so checking a "
                        + "single script is an O(1) operation).",
                    arity: .atLeast(3), traits: [.noScript, .takesTurn], acl: [.scripting],
                    tips: ["request_policy:all_shards", "response_policy:agg_logical_and"],
                    run: exists),
                Command(
                    "FLUSH", since: "2.6.0", group: .scripting, syntax: "[ASYNC | SYNC]",
                    summary: "Removes all server-side Lua scripts from the script cache.",
                    complexity: "O(N) with N being the number of scripts in cache",
                    arity: .atLeast(2), traits: [.noScript, .takesTurn], acl: [.scripting],
                    tips: ["request_policy:all_nodes", "response_policy:all_succeeded"],
                    run: flush),
                Command(
                    "HELP", since: "5.0.0", group: .scripting,
                    summary: "Returns helpful text about the different subcommands.",
                    arity: .exactly(2), traits: [.loading, .stale], acl: [.scripting], run: help),
                Command(
                    "KILL", since: "2.6.0", group: .scripting,
                    summary: "Terminates a server-side Lua script during execution.",
                    arity: .exactly(2), traits: [.noScript, .allowBusy], acl: [.scripting],
                    tips: ["request_policy:all_shards", "response_policy:one_succeeded"],
                    run: kill),
                Command(
                    "LOAD", since: "2.6.0", group: .scripting, syntax: "script",
                    summary: "Loads a server-side Lua script to the script cache.",
                    complexity: "O(N) with N being the length in bytes of the script body.",
                    arity: .exactly(3), traits: [.noScript, .stale, .takesTurn],
                    acl: [.scripting],
                    tips: ["request_policy:all_nodes", "response_policy:all_succeeded"],
                    run: load),
                Command(
                    "SHOW", since: "8.0.0", group: .scripting, syntax: "sha1",
                    summary: "Show server-side Lua script in the script cache.",
                    arity: .exactly(3), traits: [.noScript, .takesTurn], acl: [.scripting],
                    run: show),
            ],
            // There is no debugger to be let into the server.
            awaited: ["DEBUG"])
    ]
}

private func load(_ call: inout Call) throws(CommandError) -> Effect {
    let text = try call.arguments.next()
    let script = try call.loadScript(text, mayGo: false)
    unsafe call.state.scripts.cache.keep(script)
    script.digits.withView { call.reply.bulk($0) }
    return .none
}

private func exists(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.array(call.arguments.remaining)
    while !call.arguments.isAtEnd {
        let name = ScriptName(try call.arguments.next())
        let script = name.flatMap { unsafe call.state.scripts.cache.find($0) }
        call.reply.integer(script == nil ? 0 : 1)
    }
    return .none
}

private func show(_ call: inout Call) throws(CommandError) -> Effect {
    let name = ScriptName(try call.arguments.next())
    guard let script = name.flatMap({ unsafe call.state.scripts.cache.find($0) }) else {
        throw noScript
    }
    script.text.withView { call.reply.bulk($0) }
    return .none
}

private func flush(_ call: inout Call) throws(CommandError) -> Effect {
    if !call.arguments.isAtEnd {
        let isKnown = call.arguments.skip("async") || call.arguments.skip("sync")
        if !isKnown || !call.arguments.isAtEnd {
            throw .invalid("SCRIPT FLUSH only support SYNC|ASYNC option")
        }
    }
    unsafe call.state.scripts.removeAllScripts()
    call.reply.ok()
    return .none
}

private func kill(_ call: inout Call) throws(CommandError) -> Effect {
    try unsafe call.state.scripts.running.kill(function: false)
    call.reply.ok()
    return .none
}

private func help(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.help(
        "SCRIPT",
        [
            "EXISTS <sha1> [<sha1> ...]",
            "    Return information about the existence of the scripts in the script cache.",
            "FLUSH [ASYNC|SYNC]",
            "    Flush the Lua scripts cache. Very dangerous on replicas.",
            "    When called without the optional mode argument, the behavior is determined",
            "    by the lazyfree-lazy-user-flush configuration directive. Valid modes are:",
            "    * ASYNC: Asynchronously flush the scripts cache.",
            "    * SYNC: Synchronously flush the scripts cache.",
            "KILL",
            "    Kill the currently executing Lua script.",
            "LOAD <script>",
            "    Load a script into the scripts cache without executing it.",
            "SHOW <sha1>",
            "    Show a script in the scripts cache.",
        ])
    return .none
}
