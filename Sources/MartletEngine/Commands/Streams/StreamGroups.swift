//  XGROUP: consumer groups come, are set back or forward, and go.
//
//  But for MKSTREAM, nothing here touches watched keys, as in Redis: what a group has read is no part
//  of the value.

import MartletBase

extension CommandGroup {
    static let streamGroups: CommandGroup = [
        Command(
            "XGROUP", since: "5.0.0", group: .stream,
            summary: "A container for consumer groups commands.",
            subcommands: [
                Command(
                    "CREATE", since: "5.0.0", group: .stream,
                    syntax: "key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]",
                    summary: "Creates a consumer group.",
                    arity: .atLeast(5), keys: [.one(at: 2, [.readWrite, .insert])],
                    access: .write, traits: .growsMemory, acl: [.stream], run: createGroup),
                Command(
                    "SETID", since: "5.0.0", group: .stream,
                    syntax: "key group <id | $> [ENTRIESREAD entries-read]",
                    summary: "Sets the last-delivered ID of a consumer group.",
                    arity: .atLeast(5), keys: [.one(at: 2, [.readWrite, .update])],
                    access: .write, acl: [.stream], run: setGroupID),
                Command(
                    "DESTROY", since: "5.0.0", group: .stream, syntax: "key group",
                    summary: "Destroys a consumer group.",
                    complexity: "O(N) where N is the number of entries in the group's pending "
                        + "entries list (PEL).",
                    arity: .exactly(4), keys: [.one(at: 2, [.readWrite, .delete])],
                    access: .write, acl: [.stream], run: destroyGroup),
                Command(
                    "CREATECONSUMER", since: "6.2.0", group: .stream,
                    syntax: "key group consumer",
                    summary: "Creates a consumer in a consumer group.",
                    arity: .exactly(5), keys: [.one(at: 2, [.readWrite, .insert])],
                    access: .write, traits: .growsMemory, acl: [.stream], run: createConsumer),
                Command(
                    "DELCONSUMER", since: "5.0.0", group: .stream, syntax: "key group consumer",
                    summary: "Deletes a consumer from a consumer group.",
                    arity: .exactly(5), keys: [.one(at: 2, [.readWrite, .delete])],
                    access: .write, acl: [.stream], run: deleteConsumer),
                Command(
                    "HELP", since: "5.0.0", group: .stream,
                    summary: "Returns helpful text about the different subcommands.",
                    arity: .exactly(2), traits: [.loading, .stale], acl: [.stream]
                ) { (call) throws(CommandError) in
                    call.reply.help("XGROUP", help)
                    return .none
                },
            ])
    ]

    private static let help: [StaticString] = [
        "CREATE <key> <groupname> <id|$> [option]",
        "    Create a new consumer group. Options are:",
        "    * MKSTREAM",
        "      Create the empty stream if it does not exist.",
        "    * ENTRIESREAD entries_read",
        "      Set the group's entries_read counter (internal use).",
        "CREATECONSUMER <key> <groupname> <consumer>",
        "    Create a new consumer in the specified group.",
        "DELCONSUMER <key> <groupname> <consumer>",
        "    Remove the specified consumer.",
        "DESTROY <key> <groupname>",
        "    Remove the specified group.",
        "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
        "    Set the current group ID and entries_read counter.",
    ]
}

extension ByteView {
    /// It means the last id of the stream.
    fileprivate var isDollar: Bool { count == 1 && self[0] == UInt8(ascii: "$") }
}

/// What stands behind the id of CREATE and SETID.
private struct GroupOptions {
    private(set) var makesStream = false
    private var givenRead: Int64?

    /// How many entries count as read: no more than were ever added; nil for unknown.
    func entriesRead(of stream: StreamValue) -> Int64? {
        givenRead.map { min($0, stream.entriesAdded) }
    }

    init(_ call: inout Call, mayMakeStream: Bool) throws(CommandError) {
        while !call.arguments.isAtEnd {
            if mayMakeStream && call.arguments.skip("mkstream") {
                makesStream = true
            } else if call.arguments.remaining > 1 && call.arguments.skip("entriesread") {
                let given = try call.arguments.integer()
                if given < -1 { throw .invalid("value for ENTRIESREAD must be positive or -1") }
                givenRead = given < 0 ? nil : given
            } else {
                throw call.wrongSubcommand()
            }
        }
    }
}

private let missingKey: CommandError = .invalid(
    """
    The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the \
    MKSTREAM option to create an empty stream automatically.
    """)

/// The stream and a group of it, both of which must be there.
private func existingGroup(
    _ call: inout Call, _ key: Key, _ name: ByteView
) throws(CommandError) -> (StreamValue, GroupValue) {
    let stream = try call.keyspace.stream(key)
    if stream.isMissing { throw missingKey }
    guard let group = stream.group(named: name) else {
        throw call.noSuchGroup(name, key)
    }
    return (stream, group)
}

extension Call {
    /// The error for what is wrong with a subcommand of XGROUP.
    fileprivate mutating func wrongSubcommand() -> CommandError {
        error(
            "ERR unknown subcommand or wrong number of arguments for '",
            naming: arguments[1].slice(0, min(128, arguments[1].count)), "'. Try XGROUP HELP.")
    }

    /// The error of XGROUP and XINFO for a group that is not there.
    mutating func noSuchGroup(_ group: ByteView, _ key: Key) -> CommandError {
        errorDetail.removeAll()
        errorDetail.append("NOGROUP No such consumer group '")
        errorDetail.append(group.slice(0, group.firstIndex(of: 0) ?? group.count))
        errorDetail.append("' for key name '")
        errorDetail.append(key.bytes.slice(0, key.bytes.firstIndex(of: 0) ?? key.bytes.count))
        errorDetail.append("'")
        return .detailed
    }

    /// The error of the others, for a key or group that is not there.
    mutating func noSuchKeyOrGroup(
        _ key: Key, _ group: ByteView, _ after: StaticString = ""
    ) -> CommandError {
        errorDetail.removeAll()
        errorDetail.append("NOGROUP No such key '")
        errorDetail.append(key.bytes.slice(0, key.bytes.firstIndex(of: 0) ?? key.bytes.count))
        errorDetail.append("' or consumer group '")
        errorDetail.append(group.slice(0, group.firstIndex(of: 0) ?? group.count))
        errorDetail.append("'")
        errorDetail.append(after)
        return .detailed
    }
}

private func createGroup(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let name = try call.arguments.next()
    let from = try call.arguments.next()
    let options = try GroupOptions(&call, mayMakeStream: true)

    var stream = try call.keyspace.stream(key)
    if stream.isMissing && !options.makesStream { throw missingKey }
    // Options may not be repeated, which Redis sees by their number alone.
    if call.arguments.count > 8 { throw call.wrongSubcommand() }
    let id = from.isDollar ? stream.lastID : try from.streamID()
    if stream.isMissing {
        try stream.create()
        // Unlike its group, the key is something to watch for.
        call.keyspace.record(.streamMade, key, count: 0)
    }
    let read = options.entriesRead(of: stream)
    guard stream.addGroup(name, lastDeliveredID: id, entriesRead: read) else {
        throw .coded("BUSYGROUP Consumer Group name already exists")
    }
    call.reply.ok()
    call.keyspace.record(.xgroupCreate, key)
    return .recorded
}

extension ByteView {
    /// An id, or `-` and `+` for the first and the last there can be: SETID takes them, CREATE does not.
    fileprivate func boundingID() throws(CommandError) -> StreamID {
        if count == 1 && self[0] == UInt8(ascii: "-") { return .zero }
        if count == 1 && self[0] == UInt8(ascii: "+") { return .max }
        return try streamID()
    }
}

private func setGroupID(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let name = try call.arguments.next()
    let to = try call.arguments.next()
    let options = try GroupOptions(&call, mayMakeStream: false)

    let (stream, group) = try existingGroup(&call, key, name)
    if call.arguments.count > 7 { throw call.wrongSubcommand() }
    group.lastDeliveredID = to.isDollar ? stream.lastID : try to.boundingID()
    group.entriesRead = options.entriesRead(of: stream)
    call.reply.ok()
    call.keyspace.record(.xgroupSetID, key)
    return .recorded
}

private func destroyGroup(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let name = try call.arguments.next()

    let stream = try call.keyspace.stream(key)
    if stream.isMissing { throw missingKey }
    let isGone = stream.removeGroup(name)
    call.reply.integer(isGone ? 1 : 0)
    if !isGone { return .none }
    call.keyspace.record(.xgroupDestroy, key)
    return .recorded
}

private func createConsumer(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let name = try call.arguments.next()
    let consumer = try call.arguments.next()

    let (_, group) = try existingGroup(&call, key, name)
    let isNew = group.consumer(named: consumer) == nil
    if isNew { call.makeConsumer(consumer, in: group, key) }
    call.reply.integer(isNew ? 1 : 0)
    return .recorded
}

private func deleteConsumer(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let name = try call.arguments.next()
    let consumer = try call.arguments.next()

    let (_, group) = try existingGroup(&call, key, name)
    guard let held = group.removeConsumer(consumer) else {
        call.reply.integer(0)
        return .none
    }
    call.reply.integer(held)
    call.keyspace.record(.xgroupDelConsumer, key)
    return .recorded
}

extension Call {
    /// The consumer of a name, made if it is not there, and noted as seen now.
    @inline(__always)
    mutating func consumer(_ name: ByteView, in group: GroupValue, _ key: Key) -> ConsumerValue {
        let consumer = group.consumer(named: name) ?? makeConsumer(name, in: group, key)
        consumer.seenMilliseconds = keyspace.nowMilliseconds
        return consumer
    }

    @inline(never)
    @discardableResult
    mutating func makeConsumer(
        _ name: ByteView, in group: GroupValue, _ key: Key
    ) -> ConsumerValue {
        keyspace.record(.xgroupCreateConsumer, key)
        if keyspace.isLogging {
            keyspace.begin("XGROUP", arguments: 5)
            keyspace.logged("CREATECONSUMER")
            keyspace.logged(key.bytes)
            keyspace.logged(group.name)
            keyspace.logged(name)
        }
        return group.addConsumer(name, nowMilliseconds: keyspace.nowMilliseconds)
    }
}
