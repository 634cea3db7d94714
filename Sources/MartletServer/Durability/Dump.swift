//  DUMP and RESTORE: one value as bytes that other servers understand, and back.

import MartletBase
import MartletEngine
import MartletPersistence

extension CommandGroup {
    static let valueTransfer: CommandGroup = [
        Command(
            "DUMP", since: "2.6.0", group: .generic, syntax: "key",
            summary: "Returns a serialized representation of the value stored at a key.",
            complexity: "O(1) to access the key and additional O(N*M) to serialize it, where N is "
                + "the number of Redis objects composing the value and M their average size. For "
                + "small string values the time complexity is thus O(1)+O(1*M) where M is small, "
                + "so simply O(1).",
            arity: .exactly(2), keys: [.one(at: 1, [.readOnly, .access])], access: .read,
            acl: [.keyspace], tips: ["nondeterministic_output"], run: dump),
        Command(
            "RESTORE", since: "2.6.0", group: .generic,
            syntax: "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] "
                + "[FREQ frequency]",
            summary: "Creates a key from the serialized representation of a value.",
            complexity: "O(1) to create the new key and additional O(N*M) to reconstruct the "
                + "serialized value, where N is the number of Redis objects composing the value "
                + "and M their average size. For small string values the time complexity is thus "
                + "O(1)+O(1*M) where M is small, so simply O(1). However for sorted set values "
                + "the complexity is O(N*M*log(N)) because inserting values into sorted sets is "
                + "O(log(N)).",
            arity: .atLeast(4), keys: [.one(at: 1, [.overwrite, .update])], access: .write,
            traits: .growsMemory, acl: [.keyspace, .dangerous], run: restore),
    ]
}

private func dump(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()

    guard let entry = call.keyspace.read(key) else {
        call.reply.null()
        return .none
    }
    var output = RDBOutput()
    call.reply.bulk(
        RDBPayload.write(entry, at: call.keyspace.nowMilliseconds, to: &output))
    return .none
}

/// What RESTORE is told beside key and value.
private struct RestoreOptions {
    var replaces = false
    var isAbsolute = false
    var use = KeyUse()

    init(reading arguments: inout Arguments) throws(CommandError) {
        while !arguments.isAtEnd {
            let hasOperand = arguments.remaining >= 2
            if arguments.skip("replace") {
                replaces = true
            } else if arguments.skip("absttl") {
                isAbsolute = true
            } else if hasOperand, use.frequency == nil, arguments.skip("idletime") {
                let seconds = try arguments.integer()
                guard seconds >= 0 else {
                    throw .invalid("Invalid IDLETIME value, must be >= 0")
                }
                use.idleSeconds = UInt64(seconds)
            } else if hasOperand, use.idleSeconds == nil, arguments.skip("freq") {
                guard let frequency = UInt8(exactly: try arguments.integer()) else {
                    throw .invalid("Invalid FREQ value, must be >= 0 and <= 255")
                }
                use.frequency = frequency
            } else {
                throw .syntax
            }
        }
    }
}

/// The value is made in a keyspace of its own first: what is not whole never stands under the key.
private func restore(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let time = try call.arguments.next()
    let payload = try call.arguments.next()
    let options = try RestoreOptions(reading: &call.arguments)

    let isThere = call.keyspace.find(key) != nil
    if isThere && !options.replaces {
        throw .coded("BUSYKEY Target key name already exists.")
    }
    guard let given = time.parseInteger() else { throw .notInteger }
    if given < 0 { throw .invalid("Invalid TTL value, must be >= 0") }
    guard let version = RDBPayload.version(of: payload) else {
        throw .invalid("DUMP payload version or checksum are wrong")
    }
    let now = call.keyspace.nowMilliseconds
    var loader = ValueLoader(
        apartFrom: call.keyspace, limits: unsafe call.state.valueLimits, nowMilliseconds: now)
    let hasValue: Bool
    do throws(RestoreError) {
        hasValue = try RDBPayload.read(payload, version: version, as: key, into: &loader)
    } catch {
        if case .noMemory = error { throw .outOfMemory }
        throw .invalid("Bad data format")
    }

    var deadline: Int64?
    if given > 0 {
        let (sum, isLate) = now.addingReportingOverflow(given)
        deadline = options.isAbsolute ? given : isLate ? .max : sum
    }
    guard hasValue, deadline ?? .max > call.keyspace.passedMilliseconds else {
        // It is over before it begins.
        call.reply.ok()
        guard isThere && call.keyspace.remove(key) else { return .none }
        call.keyspace.log("DEL", key)
        return .changed(.del)
    }
    let old = call.keyspace.kindReplaced(key)
    try loader.settle(key, deadline: deadline, use: KeyUse())
    try call.keyspace.receive(key, from: loader.keys, use: options.use)
    call.reply.ok()
    if call.keyspace.isLogging {
        // With the time at which it ends, whenever the log is read.
        call.keyspace.begin("RESTORE", arguments: deadline == nil ? 5 : 6)
        call.keyspace.logged(key.bytes)
        call.keyspace.logged(deadline ?? 0)
        call.keyspace.logged(payload)
        call.keyspace.logged("REPLACE")
        if deadline != nil { call.keyspace.logged("ABSTTL") }
    }
    call.keyspace.record(.restore, key)
    call.keyspace.noteReplacement(of: old, key, inDatabase: call.keyspace.database)
    return .recorded
}
