//  DEBUG: for tests of servers and of clients. Behind `enable-debug-command`, which is off.
//
//  It runs with all shards held, so what it shows is one moment of all keys, and SLEEP stops the
//  whole server as it does in Redis.

import Glibc
import MartletBase
import MartletEngine

extension CommandGroup {
    static func debug(_ context: ServerContext) -> CommandGroup {
        [
            Command(
                "DEBUG", since: "1.0.0", group: .server, syntax: "subcommand",
                summary: "A container for debugging commands.",
                complexity: "Depends on subcommand.", arity: .atLeast(2),
                traits: [.admin, .noScript, .loading, .stale, .allShards]
            ) { (call) throws(CommandError) in
                try runDebug(&call, context)
            }
        ]
    }
}

private func runDebug(
    _ call: inout Call, _ context: ServerContext
) throws(CommandError) -> Effect {
    guard isAllowed(call.record.addresses, context.configuration.settings.debugCommand) else {
        throw .invalid(
            """
            DEBUG command not allowed. If the enable-debug-command option is set to "local", you can \
            run it from a local connection, otherwise you need to set this option in the \
            configuration file, and then restart the server.
            """)
    }
    let name = try call.arguments.next().string.lowercased()
    switch (name, call.arguments.count) {
    case ("help", 2): help(&call)
    case ("sleep", 3): sleep(&call)
    case ("object", 3...4): try object(&call)
    case ("digest", 2): call.reply.simple(text: call.keyspace.dataDigest().text)
    case ("digest-value", 3...): try valueDigests(&call)
    case ("htstats", 3...4): try tableStatistics(&call)
    case ("htstats-key", 3...4): try tableStatisticsOfKey(&call)
    case ("populate", 3...5): return try populate(&call)
    case ("protocol", 3): try DebugProtocol.reply(&call)
    case ("stringmatch-len", 4):
        let pattern = try call.arguments.next()
        call.reply.integer(try call.arguments.next().matches(pattern) ? 1 : 0)
    case ("set-active-expire", 3):
        let isOn = try flag(&call)
        context.state.settings.activeExpire.store(isOn, ordering: .relaxed)
        call.reply.ok()
    case ("pause-cron", 3):
        context.cron.setPaused(try flag(&call))
        call.reply.ok()
    case ("change-repl-id", 2):
        context.log.write(.notice, "Changing replication IDs after receiving change-repl-id")
        context.replicationID.change()
        call.reply.ok()
    case ("quicklist-packed-threshold", 3): try packedThreshold(&call)
    case ("log", 3):
        let message = try call.arguments.next().string
        context.log.write(.warning, "DEBUG LOG: \(message)")
        call.reply.ok()
    case ("error", 3): call.reply.error(try call.arguments.next())
    case ("reload", 2...): try reload(&call, context.durability)
    case ("loadaof", 2): try loadLog(&call, context.durability)
    default:
        throw call.error(
            "ERR unknown subcommand or wrong number of arguments for "
                + "'\(call.arguments[1].string)'. Try DEBUG HELP.")
    }
    return .none
}

/// A number that is not 0; text that is no number counts as 0, as in Redis.
private func flag(_ call: inout Call) throws(CommandError) -> Bool {
    let number = try call.arguments.next().parseInteger()
    return (number ?? 0) != 0
}

private func isAllowed(_ client: ClientAddresses, _ setting: Settings.ProtectedAction) -> Bool {
    switch setting {
    case .yes: true
    case .local: client.isLoopback || client.isUnixSocket
    case .no: false
    }
}

private func sleep(_ call: inout Call) {
    // Text that is no number counts as none, as in Redis.
    let seconds = (try? call.arguments.double()) ?? 0
    var rest = UInt64(min(max(seconds, 0), 1_000_000) * 1_000_000)
    while rest > 0 {
        let step = min(rest, 500_000)
        usleep(UInt32(step))
        rest -= step
    }
    call.reply.ok()
}

// MARK: The data set

private func reload(_ call: inout Call, _ durability: Durability) throws(CommandError) {
    var options = ReloadOptions()
    while !call.arguments.isAtEnd {
        if call.arguments.skip("merge") {
            options.merges = true
        } else if call.arguments.skip("noflush") {
            options.empties = false
        } else if call.arguments.skip("nosave") {
            options.saves = false
        } else {
            throw .invalid("DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.")
        }
    }
    try refuseInTransaction(&call)
    let chosen = options
    durability.reload(&call) { $0.reloadSnapshot(chosen) }
}

private func loadLog(_ call: inout Call, _ durability: Durability) throws(CommandError) {
    try refuseInTransaction(&call)
    durability.reload(&call) { $0.reloadLog() }
}

/// Other threads load, and take the shards that a transaction holds.
private func refuseInTransaction(_ call: inout Call) throws(CommandError) {
    if call.isNested { throw .invalid("Command not allowed inside a transaction") }
}

// MARK: Keys

private func object(_ call: inout Call) throws(CommandError) {
    let key = try call.arguments.key()
    guard let object = call.keyspace.describe(key) else { throw .noSuchKey }
    call.reply.simple(
        text:
            "Value at:0x\(String(object.address, radix: 16)) refcount:1 encoding:\(object.encoding) "
            + "serializedlength:\(serializedLength(object)) lru:\(object.access) "
            + "lru_seconds_idle:\(object.idleSeconds)")
}

/// The bytes of a string in a snapshot: integers that fit take 1, 2 or 4 behind a byte.
private func serializedLength(_ object: KeyDescription) -> Int {
    if let integer = object.integer {
        if Int8(exactly: integer) != nil { return 2 }
        if Int16(exactly: integer) != nil { return 3 }
        if Int32(exactly: integer) != nil { return 5 }
    }
    let length = object.stringBytes
    return length + (length < 64 ? 1 : length < 16384 ? 2 : 5)
}

private func valueDigests(_ call: inout Call) throws(CommandError) {
    call.reply.array(call.arguments.remaining)
    while !call.arguments.isAtEnd {
        let key = try call.arguments.key()
        call.reply.simple(text: call.keyspace.valueDigest(key).text)
    }
}

private func tableStatistics(_ call: inout Call) throws(CommandError) {
    let number = try call.arguments.integer()
    guard number >= 0, number < Int64(call.keyspace.databaseCount) else {
        throw .invalid("Out of range database")
    }
    let (table, expires) = call.keyspace.tableStatistics(ofDatabase: Int(number))
    var text = "[Dictionary HT]\nHash table 0 stats (main hash table):\n"
    if table.keys == 0 {
        text += "No stats available for empty dictionaries\n"
    } else {
        text += " table size: \(table.slots)\n number of elements: \(table.keys)\n"
        text += " segments: \(table.segments)\n groups passed by: \(table.passedGroups)\n"
        text += " Keys per group distribution:\n"
        for (keys, groups) in table.groupsByKeys.enumerated() where groups > 0 {
            text += "   \(keys): \(groups)\n"
        }
    }
    text += "[Expires HT]\nHash table 0 stats (main hash table):\n"
    text +=
        expires == 0
        ? "No stats available for empty dictionaries\n" : " number of elements: \(expires)\n"
    call.reply.verbatim(text)
}

private func tableStatisticsOfKey(_ call: inout Call) throws(CommandError) {
    let key = try call.arguments.key()
    guard call.keyspace.describe(key) != nil else { throw .noSuchKey }
    throw .invalid(
        "The value stored at the specified key is not represented using an hash table")
}

/// Makes keys `prefix:0`, `prefix:1` ...; those that are there stay as they are.
private func populate(_ call: inout Call) throws(CommandError) -> Effect {
    let outOfRange = CommandError.invalid("value is out of range, must be positive")
    let count = try call.arguments.integer(outOfRange)
    let prefix = call.arguments.isAtEnd ? "key" : try call.arguments.next().string
    let length = call.arguments.isAtEnd ? 0 : try call.arguments.integer(outOfRange)
    guard count >= 0, length >= 0 else { throw outOfRange }
    if length > Int64(Limits.stringBytesMax) { throw .stringTooLong }

    var number: Int64 = 0
    while number < count {
        let name = [UInt8]("\(prefix):\(number)".utf8)
        var value = [UInt8]("value:\(number)".utf8)
        if length > 0 {
            value = Array(value.prefix(Int(length)))
            value += Array(repeating: 0, count: Int(length) - value.count)
        }
        try name.withView { (name) throws(CommandError) in
            let key = call.keyspace.key(name)
            if call.keyspace.holds(key) { return }
            try value.withView { (value) throws(CommandError) in
                try call.keyspace.setString(key, value, expiry: .clear)
                call.keyspace.logSet(key, value, .clear)
            }
            call.keyspace.record(.set, key)
        }
        number += 1
    }
    call.reply.ok()
    return .recorded
}

/// Lists have no packed nodes of this kind; test suites set the bound all the same.
private func packedThreshold(_ call: inout Call) throws(CommandError) {
    guard let bytes = try call.arguments.next().parseMemorySize(), bytes <= 4 << 30 else {
        throw .invalid("argument must be a memory value bigger than 1 and smaller than 4gb")
    }
    call.reply.ok()
}

private func help(_ call: inout Call) {
    call.reply.help(
        "DEBUG",
        [
            "CHANGE-REPL-ID",
            "    Change the replication IDs of the instance.",
            "DIGEST",
            "    Output a hex signature representing the current DB content.",
            "DIGEST-VALUE <key> [<key> ...]",
            "    Output a hex signature of the values of all the specified keys.",
            "ERROR <string>",
            "    Return a Redis protocol error with <string> as message. Useful for clients",
            "    unit tests to simulate Redis errors.",
            "HTSTATS <dbid>",
            "    Return hash table statistics of the specified database.",
            "HTSTATS-KEY <key>",
            "    Like HTSTATS but for the hash table stored at <key>'s value.",
            "LOADAOF",
            "    Flush the AOF buffers on disk and reload the AOF in memory.",
            "LOG <message>",
            "    Write <message> to the server log.",
            "OBJECT <key>",
            "    Show low level info about `key` and associated value.",
            "PAUSE-CRON <0|1>",
            "    Stop periodic cron job processing.",
            "POPULATE <count> [<prefix>] [<size>]",
            "    Create <count> string keys named key:<num>. If <prefix> is specified then",
            "    it is used instead of the 'key' prefix.",
            "PROTOCOL <type>",
            "    Reply with a test value of the specified type. <type> can be: string,",
            "    integer, double, bignum, null, array, set, map, attrib, push, verbatim,",
            "    true, false.",
            "QUICKLIST-PACKED-THRESHOLD <size>",
            "    Accepted for test suites.",
            "RELOAD [option ...]",
            "    Save the RDB on disk and reload it back to memory. Valid <option> values:",
            "    * MERGE: conflicting keys will be loaded from RDB.",
            "    * NOFLUSH: the existing database will not be removed before load, but",
            "      conflicting keys are an error.",
            "    * NOSAVE: the database will be loaded from an existing RDB file.",
            "SET-ACTIVE-EXPIRE <0|1>",
            "    Setting it to 0 disables expiring keys in background when they are not",
            "    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the",
            "    default.",
            "SLEEP <seconds>",
            "    Stop the server for <seconds>. Decimals allowed.",
            "STRINGMATCH-LEN <pattern> <string>",
            "    Return whether <string> matches the glob-like <pattern>.",
        ])
}
