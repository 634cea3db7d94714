//  OBJECT.

import MartletBase

extension CommandGroup {
    static let keyInspection: CommandGroup = [
        Command(
            "OBJECT", since: "2.2.3", group: .generic,
            summary: "A container for object introspection commands.",
            subcommands: [
                objectCommand(
                    "ENCODING", "Returns the internal encoding of an object.", since: "2.2.3",
                    run: encoding),
                objectCommand(
                    "FREQ", "Returns the logarithmic access frequency counter of an object.",
                    since: "4.0.0", run: frequency),
                objectCommand(
                    "IDLETIME", "Returns the time since the last access to an object.",
                    since: "2.2.3", run: idleTime),
                objectCommand(
                    "REFCOUNT", "Returns the reference count of a value of a key.", since: "2.2.3",
                    run: referenceCount),
                Command(
                    "HELP", since: "6.2.0", group: .generic,
                    summary: "Returns helpful text about the different subcommands.",
                    arity: .exactly(2), traits: [.loading, .stale], acl: [.keyspace], run: help),
            ])
    ]

    private static func objectCommand(
        _ name: String, _ summary: String, since: String, run: @escaping Handler
    ) -> Command {
        Command(
            name, since: since, group: .generic, syntax: "key", summary: summary,
            arity: .exactly(3), keys: [.one(at: 2, [.readOnly])], access: .read,
            acl: [.keyspace], tips: ["nondeterministic_output"], run: run)
    }
}

/// The entry that an OBJECT subcommand asks for; a missing key is answered with null.
private func subject(_ call: inout Call) throws(CommandError) -> Entry? {
    call.arguments.position = 2
    let entry = call.keyspace.readQuietly(
        try call.arguments.key(), announcesMiss: false)
    if entry == nil { call.reply.null() }
    return entry
}

private func encoding(_ call: inout Call) throws(CommandError) -> Effect {
    if let entry = try subject(&call) { call.reply.bulk(entry.encodingName) }
    return .none
}

private func frequency(_ call: inout Call) throws(CommandError) -> Effect {
    guard let entry = try subject(&call) else { return .none }
    if call.keyspace.countsUses {
        call.reply.integer(Int(call.keyspace.frequency(entry)))
        return .none
    }
    throw call.error(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note "
            + "that when switching between policies at runtime LRU and LFU data will take some "
            + "time to adjust.")
}

private func idleTime(_ call: inout Call) throws(CommandError) -> Effect {
    guard let entry = try subject(&call) else { return .none }
    if call.keyspace.countsUses {
        throw call.error(
            "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when "
                + "switching between policies at runtime LRU and LFU data will take some time to "
                + "adjust.")
    }
    call.reply.integer(call.keyspace.idleSeconds(entry))
    return .none
}

private func referenceCount(_ call: inout Call) throws(CommandError) -> Effect {
    if try subject(&call) != nil { call.reply.integer(1) }
    return .none
}

private func help(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.help(
        "OBJECT",
        [
            "ENCODING <key>",
            "    Return the kind of internal representation used in order to store the value",
            "    associated with a <key>.",
            "FREQ <key>",
            "    Return the access frequency index of the <key>. The returned integer is",
            "    proportional to the logarithm of the recent access frequency of the key.",
            "IDLETIME <key>",
            "    Return the idle time of the <key>, that is the approximated number of",
            "    seconds elapsed since the last access to the key.",
            "REFCOUNT <key>",
            "    Return the number of references of the value associated with the specified",
            "    <key>.",
        ])
    return .none
}
