//  FUNCTION: libraries of functions, which live with the data.
//
//  What changes the libraries holds all shards for the instant of the change, so that a snapshot and the
//  log have them of one point in time. Loading runs their texts before, as scripts are run: see
//  Execution/LibraryLoading.swift. DUMP and RESTORE stand with the format of snapshots, in the server.

import MartletBase

extension CommandGroup {
    /// The subcommands of FUNCTION that need nothing but the engine.
    package static let functionSubcommands: [Command] = [
        Command(
            "DELETE", since: "7.0.0", group: .scripting, syntax: "library-name",
            summary: "Deletes a library and its functions.", arity: .exactly(3), access: .write,
            traits: [.noScript, .takesTurn, .allShards], acl: [.scripting],
            tips: everywhere, run: delete),
        Command(
            "FLUSH", since: "7.0.0", group: .scripting, syntax: "[ASYNC | SYNC]",
            summary: "Deletes all libraries and functions.",
            complexity: "O(N) where N is the number of functions deleted", arity: .atLeast(2),
            access: .write, traits: [.noScript, .takesTurn, .allShards], acl: [.scripting],
            tips: everywhere, run: flush),
        Command(
            "HELP", since: "7.0.0", group: .scripting,
            summary: "Returns helpful text about the different subcommands.",
            arity: .exactly(2), traits: [.loading, .stale], acl: [.scripting], run: help),
        Command(
            "KILL", since: "7.0.0", group: .scripting,
            summary: "Terminates a function during execution.", arity: .exactly(2),
            traits: [.noScript, .allowBusy], acl: [.scripting],
            tips: ["request_policy:all_shards", "response_policy:one_succeeded"], run: kill),
        Command(
            "LIST", since: "7.0.0", group: .scripting,
            syntax: "[LIBRARYNAME library-name-pattern] [WITHCODE]",
            summary: "Returns information about all libraries.",
            complexity: "O(N) where N is the number of functions", arity: .atLeast(2),
            traits: [.noScript, .takesTurn], acl: [.scripting],
            tips: ["nondeterministic_output_order"], run: list),
        Command(
            "LOAD", since: "7.0.0", group: .scripting, syntax: "[REPLACE] function-code",
            summary: "Creates a library.",
            complexity: "O(1) (considering compilation time is redundant)", arity: .atLeast(3),
            access: .write, traits: [.noScript, .growsMemory, .runsScript, .takesTurn],
            acl: [.scripting], tips: everywhere, run: load),
        Command(
            "STATS", since: "7.0.0", group: .scripting,
            summary: "Returns information about a function during execution.",
            arity: .exactly(2), traits: [.noScript, .allowBusy], acl: [.scripting],
            tips: [
                "nondeterministic_output", "request_policy:all_shards", "response_policy:special",
            ], run: stats),
    ]

    private static let everywhere = [
        "request_policy:all_shards", "response_policy:all_succeeded",
    ]
}

// MARK: Changes

/// Finds the library that the request brings. The executor runs it.
private func load(_ call: inout Call) throws(CommandError) -> Effect {
    var replaces = false
    while call.arguments.remaining > 1 {
        if call.arguments.skip("replace") {
            replaces = true
        } else {
            throw call.error("ERR Unknown option given: ", naming: try call.arguments.next(), "")
        }
    }
    let text = Bytes(try call.arguments.next())
    try call.loadLibraries([text], .load(replaces: replaces))
    return .none
}

extension Call {
    /// Has the executor load libraries, in place of a script.
    ///
    /// - Parameters:
    ///   - texts: of the libraries.
    ///   - policy: what becomes of those that are there.
    ///   - payload: what is to be logged in place of a text.
    /// - Throws: `.detailed` when there is no interpreter to load them into.
    /// - Precondition: the running command is declared to run a script.
    package mutating func loadLibraries(
        _ texts: [Bytes], _ policy: LibraryPolicy, payload: Bytes? = nil
    ) throws(CommandError) {
        let scripts = unsafe state.scripts
        do throws(ScriptRefusal) {
            scripts.loader = try LibraryLoader(
                texts, policy, payload: payload, isSliced: !keyspace.isReplaying, scripts)
        } catch {
            throw self.error("ERR \(error.text)")
        }
        var chosen = ChosenScript()
        chosen.flags = .promisesNothing
        chosen.isFunction = true
        scripts.chosen = chosen
    }
}

extension Call {
    /// The error of a subcommand of FUNCTION with too many arguments, which names it as it was spelled.
    package mutating func functionSyntaxError() -> CommandError {
        error(
            "ERR unknown subcommand or wrong number of arguments for '", naming: arguments[1],
            "'. Try FUNCTION HELP.")
    }

    /// The reply tells of libraries: it waits until their last change is durable, as it does for keys.
    package mutating func awaitLibraries() {
        logPosition = max(logPosition, unsafe state.scripts.functionsPosition)
    }
}

private func delete(_ call: inout Call) throws(CommandError) -> Effect {
    let scripts = unsafe call.state.scripts
    var registry = scripts.functions
    guard registry.remove(Bytes(try call.arguments.next())) != nil else {
        throw .invalid("Library not found")
    }
    scripts.replaceFunctions(by: registry)
    call.reply.ok()
    return .wholeDatabase(count: 1)
}

private func flush(_ call: inout Call) throws(CommandError) -> Effect {
    if call.arguments.remaining > 1 {
        throw call.functionSyntaxError()
    }
    if !call.arguments.isAtEnd, !call.arguments.skip("async"), !call.arguments.skip("sync") {
        throw .invalid("FUNCTION FLUSH only supports SYNC|ASYNC option")
    }
    unsafe call.state.scripts.replaceFunctions(by: FunctionRegistry())
    call.reply.ok()
    return .wholeDatabase(count: 1)
}

// MARK: Looking

/// What FUNCTION LIST is asked for.
private struct ListOptions {
    var pattern: ByteView?
    var hasCode = false

    init(reading call: inout Call) throws(CommandError) {
        while !call.arguments.isAtEnd {
            if !hasCode && call.arguments.skip("withcode") {
                hasCode = true
            } else if pattern == nil && call.arguments.skip("libraryname") {
                if call.arguments.isAtEnd {
                    throw .invalid("library name argument was not given")
                }
                pattern = try call.arguments.next()
            } else {
                throw call.error("ERR Unknown argument ", naming: try call.arguments.next(), "")
            }
        }
    }
}

private func list(_ call: inout Call) throws(CommandError) -> Effect {
    let options = try ListOptions(reading: &call)
    let scripts = unsafe call.state.scripts
    call.awaitLibraries()
    let libraries = scripts.functions.all.filter { library in
        options.pattern.map { pattern in
            library.name.withView { $0.matches(pattern, ignoringCase: true) }
        } ?? true
    }
    call.reply.array(libraries.count)
    for library in libraries {
        call.reply.map(options.hasCode ? 4 : 3)
        call.reply.bulk("library_name")
        library.name.withView { call.reply.bulk($0) }
        call.reply.bulk("engine")
        call.reply.bulk("LUA")
        call.reply.bulk("functions")
        call.reply.array(library.functions.count)
        for function in library.functions { write(function, to: &call.reply) }
        if options.hasCode {
            call.reply.bulk("library_code")
            library.text.withView { call.reply.bulk($0) }
        }
    }
    return .none
}

private func write(_ function: ScriptFunction, to reply: inout ReplyWriter) {
    reply.map(3)
    reply.bulk("name")
    function.name.withView { reply.bulk($0) }
    reply.bulk("description")
    if let description = function.description {
        description.withView { reply.bulk($0) }
    } else {
        reply.null()
    }
    reply.bulk("flags")
    let flags = ScriptFlags.names.filter { function.flags.contains($0.flag) }
    reply.set(flags.count)
    for flag in flags { reply.simple(text: flag.name) }
}

private func stats(_ call: inout Call) throws(CommandError) -> Effect {
    let scripts = unsafe call.state.scripts
    let report = scripts.report
    let note = scripts.running.note
    // That a script runs beside is nothing that Redis could tell: it would not reply.
    if note != nil && !scripts.running.isFunction, let busy = scripts.running.busyError {
        throw .coded(busy)
    }
    call.reply.map(2)
    call.reply.bulk("running_script")
    if let note, scripts.running.isFunction {
        call.reply.map(3)
        call.reply.bulk("name")
        note.name.withView { call.reply.bulk($0) }
        call.reply.bulk("command")
        call.reply.array(note.command.count)
        for argument in note.command { argument.withView { call.reply.bulk($0) } }
        call.reply.bulk("duration_ms")
        let now = unsafe call.state.clock.monotonicNanoseconds()
        call.reply.integer((now - note.beganNanoseconds) / 1_000_000)
    } else {
        call.reply.null()
    }
    call.reply.bulk("engines")
    call.reply.map(1)
    call.reply.bulk("LUA")
    call.reply.map(2)
    call.reply.bulk("libraries_count")
    call.reply.integer(report.libraryCount)
    call.reply.bulk("functions_count")
    call.reply.integer(report.functionCount)
    return .none
}

private func kill(_ call: inout Call) throws(CommandError) -> Effect {
    try unsafe call.state.scripts.running.kill(function: true)
    call.reply.ok()
    return .none
}

private func help(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.help(
        "FUNCTION",
        [
            "LOAD [REPLACE] <FUNCTION CODE>",
            "    Create a new library with the given library name and code.",
            "DELETE <LIBRARY NAME>",
            "    Delete the given library.",
            "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
            "    Return general information on all the libraries:",
            "    * Library name",
            "    * The engine used to run the Library",
            "    * Functions list",
            "    * Library code (if WITHCODE is given)",
            "    It also possible to get only function that matches a pattern using LIBRARYNAME argument.",
            "STATS",
            "    Return information about the current function running:",
            "    * Function name",
            "    * Command used to run the function",
            "    * Duration in MS that the function is running",
            "    If no function is running, return nil",
            "    In addition, returns a list of available engines.",
            "KILL",
            "    Kill the current running function.",
            "FLUSH [ASYNC|SYNC]",
            "    Delete all the libraries.",
            "    When called without the optional mode argument, the behavior is determined by the",
            "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
            "    * ASYNC: Asynchronously flush the libraries.",
            "    * SYNC: Synchronously flush the libraries.",
            "DUMP",
            "    Return a serialized payload representing the current libraries, can be restored using FUNCTION RESTORE command",
            "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
            "    Restore the libraries represented by the given payload, it is possible to give a restore policy to",
            "    control how to handle existing libraries (default APPEND):",
            "    * FLUSH: delete all existing libraries.",
            "    * APPEND: appends the restored libraries to the existing libraries. On collision, abort.",
            "    * REPLACE: appends the restored libraries to the existing libraries, On collision, replace the old",
            "      libraries with the new libraries (notice that even on this option there is a chance of failure",
            "      in case of functions name collision with another library).",
        ])
    return .none
}
