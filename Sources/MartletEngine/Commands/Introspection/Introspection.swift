//  COMMAND: what the server knows about its commands, all of it from their declarations.

import MartletBase

extension CommandGroup {
    private static let traits: Traits = [.loading, .stale]
    private static let unordered = ["nondeterministic_output_order"]

    static let introspection: CommandGroup = [
        Command(
            "COMMAND", since: "2.8.13", group: .server,
            summary: "Returns detailed information about all commands.",
            complexity: "O(N) where N is the total number of Redis commands", arity: .atLeast(1),
            traits: traits, acl: [.connection], tips: unordered, subcommands: introspecting,
            run: allInformation)
    ]

    private static let introspecting: [Command] = [
        Command(
            "COUNT", since: "2.8.13", group: .server,
            summary: "Returns a count of commands.", arity: .exactly(2), traits: traits,
            acl: [.connection], run: commandCount),
        Command(
            "DOCS", since: "7.0.0", group: .server, syntax: "[command-name ...]",
            summary: "Returns documentary information about one, multiple or all commands.",
            complexity: "O(N) where N is the number of commands to look up", arity: .atLeast(2),
            traits: traits, acl: [.connection], tips: unordered, run: documentation),
        Command(
            "GETKEYS", since: "2.8.13", group: .server, syntax: "command [arg ...]",
            summary: "Extracts the key names from an arbitrary command.",
            complexity: "O(N) where N is the number of arguments to the command",
            arity: .atLeast(3), traits: traits, acl: [.connection], run: keysOfRequest),
        Command(
            "GETKEYSANDFLAGS", since: "7.0.0", group: .server, syntax: "command [arg ...]",
            summary: "Extracts the key names and access flags for an arbitrary command.",
            complexity: "O(N) where N is the number of arguments to the command",
            arity: .atLeast(3), traits: traits, acl: [.connection], run: keysAndFlagsOfRequest),
        Command(
            "HELP", since: "5.0.0", group: .server,
            summary: "Returns helpful text about the different subcommands.", arity: .exactly(2),
            traits: traits, acl: [.connection], run: help),
        Command(
            "INFO", since: "2.8.13", group: .server, syntax: "[command-name ...]",
            summary: "Returns information about one, multiple or all commands.",
            complexity: "O(N) where N is the number of commands to look up", arity: .atLeast(2),
            traits: traits, acl: [.connection], tips: unordered, run: information),
        Command(
            "LIST", since: "7.0.0", group: .server,
            syntax: "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
            summary: "Returns a list of command names.",
            complexity: "O(N) where N is the total number of Redis commands", arity: .atLeast(2),
            traits: traits, acl: [.connection], tips: unordered, run: list),
    ]
}

// MARK: - What commands are

private func allInformation(_ call: inout Call) throws(CommandError) -> Effect {
    let commands = unsafe call.commands.topLevel
    call.reply.array(commands.count)
    for command in commands { call.reply.information(command) }
    return .none
}

private func commandCount(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.integer(unsafe call.commands.topLevel.count)
    return .none
}

private func information(_ call: inout Call) throws(CommandError) -> Effect {
    if call.arguments.isAtEnd { return try allInformation(&call) }
    call.reply.array(call.arguments.remaining)
    while !call.arguments.isAtEnd {
        if let command = unsafe call.commands.command(named: try call.arguments.next().string) {
            call.reply.information(command)
        } else {
            call.reply.null()
        }
    }
    return .none
}

private func documentation(_ call: inout Call) throws(CommandError) -> Effect {
    var commands: [Command] = []
    if call.arguments.isAtEnd { commands = unsafe call.commands.topLevel }
    while !call.arguments.isAtEnd {
        if let command = unsafe call.commands.command(named: try call.arguments.next().string) {
            commands.append(command)
        }
    }
    call.reply.map(commands.count)
    for command in commands {
        call.reply.bulk(command.fullName)
        call.reply.documentation(command)
    }
    return .none
}

private func list(_ call: inout Call) throws(CommandError) -> Effect {
    var names = unsafe call.commands.topLevel.flatMap { [$0] + $0.subcommands }
    if !call.arguments.isAtEnd {
        guard call.arguments.remaining == 3, call.arguments.skip("filterby") else { throw .syntax }
        if call.arguments.skip("module") {
            // There are no modules, whatever the name.
            names = []
        } else if call.arguments.skip("aclcat") {
            let category = try call.arguments.next().string.lowercased()
            names.removeAll { command in
                !command.categoryNames.contains { $0.description == category }
            }
        } else if call.arguments.skip("pattern") {
            let pattern = try call.arguments.next()
            names.removeAll { command in
                !command.fullName.withView { $0.matches(pattern, ignoringCase: true) }
            }
        } else {
            throw .syntax
        }
    }
    call.reply.array(names.count)
    for command in names { call.reply.bulk(command.fullName) }
    return .none
}

private func help(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.help(
        "COMMAND",
        [
            "(no subcommand)",
            "    Return details about all Redis commands.",
            "COUNT",
            "    Return the total number of commands in this Redis server.",
            "LIST",
            "    Return a list of all commands in this Redis server.",
            "INFO [<command-name> ...]",
            "    Return details about multiple Redis commands.",
            "    If no command names are given, documentation details for all",
            "    commands are returned.",
            "DOCS [<command-name> ...]",
            "    Return documentation details about multiple Redis commands.",
            "    If no command names are given, documentation details for all",
            "    commands are returned.",
            "GETKEYS <full-command>",
            "    Return the keys from a full Redis command.",
            "GETKEYSANDFLAGS <full-command>",
            "    Return the keys and the access flags from a full Redis command.",
        ])
    return .none
}

// MARK: - What a request would touch

/// A key of a request that was given to COMMAND GETKEYS.
private struct FoundKey {
    let name: ByteView
    let flags: KeyFlags
}

private func keysOfRequest(_ call: inout Call) throws(CommandError) -> Effect {
    let keys = try call.keysOfGivenRequest()
    call.reply.array(keys.count)
    for key in keys { call.reply.bulk(key.name) }
    return .none
}

private func keysAndFlagsOfRequest(_ call: inout Call) throws(CommandError) -> Effect {
    let keys = try call.keysOfGivenRequest()
    call.reply.array(keys.count)
    for key in keys {
        call.reply.array(2)
        call.reply.bulk(key.name)
        call.reply.names(key.flags.names)
    }
    return .none
}

extension Call {
    /// The keys of the request that stands behind `COMMAND GETKEYS`.
    fileprivate mutating func keysOfGivenRequest() throws(CommandError) -> [FoundKey] {
        let request = arguments.suffix(from: arguments.position)
        guard let command = unsafe commands.command(of: request) else {
            throw .invalid("Invalid command specified")
        }
        if command.keys.allSatisfy({ $0.flags.contains(.notKey) }) {
            throw .invalid("The command has no key arguments")
        }
        guard command.arity.admits(request.count) else {
            throw .invalid("Invalid number of arguments specified for command")
        }
        let refined = command.keyFlags?(request)
        var keys: [FoundKey] = []
        let isValid = KeySpec.forEachKey(command.keys, request) { index, flags in
            keys.append(
                FoundKey(
                    name: request[index],
                    flags: flags.contains(.variable) ? refined ?? flags : flags))
        }
        if !isValid || keys.isEmpty && !command.traits.contains(.noMandatoryKeys) {
            throw .invalid("Invalid arguments specified for command")
        }
        return keys
    }
}

extension CommandTable {
    /// The command that a request names, its subcommand included; nil when there is none.
    fileprivate func command(of request: Arguments) -> Command? {
        let number = number(request[0])
        if number < 0 { return nil }
        let command = all[number]
        if command.subcommands.isEmpty || request.count == 1 { return command }
        let subcommand = subcommand(number, request[1])
        return subcommand < 0 ? nil : all[subcommand]
    }
}
