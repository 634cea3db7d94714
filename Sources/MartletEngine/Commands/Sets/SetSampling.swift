//  SPOP, SRANDMEMBER, SSCAN: some members, by chance or bit by bit.

import MartletBase

extension CommandGroup {
    static let setSampling: CommandGroup = [
        Command(
            "SPOP", since: "1.0.0", group: .set, syntax: "key [count]",
            summary: "Returns one or more random members from a set after removing them. Deletes "
                + "the set if the last member was popped.",
            complexity: "Without the count argument O(1), otherwise O(N) where N is the value of "
                + "the passed count.",
            arity: .atLeast(2), keys: [.one(at: 1, [.readWrite, .access, .delete])],
            access: .write, traits: .fast, acl: [.set], tips: ["nondeterministic_output"],
            run: spop),
        Command(
            "SRANDMEMBER", since: "1.0.0", group: .set, syntax: "key [count]",
            summary: "Get one or multiple random members from a set",
            complexity: "Without the count argument O(1), otherwise O(N) where N is the absolute "
                + "value of the passed count.",
            arity: .atLeast(2), keys: [.one(at: 1, [.readOnly, .access])], access: .read,
            acl: [.set], tips: ["nondeterministic_output"], run: srandmember),
        Command(
            "SSCAN", since: "2.8.0", group: .set,
            syntax: "key cursor [MATCH pattern] [COUNT count]",
            summary: "Iterates over members of a set.",
            complexity: "O(1) for every call. O(N) for a complete iteration, including enough "
                + "command calls for the cursor to return back to 0. N is the number of elements "
                + "inside the collection.",
            arity: .atLeast(3), keys: [.one(at: 1, [.readOnly, .access])], access: .read,
            acl: [.set], tips: ["nondeterministic_output"], run: sscan),
    ]
}

private func spop(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    if call.arguments.remaining > 1 { throw .syntax }
    let hasCount = !call.arguments.isAtEnd
    var wanted: Int64 = 1
    if hasCount {
        wanted = try call.arguments.integer(.invalid("value is out of range, must be positive"))
        if wanted < 0 { throw .invalid("value is out of range, must be positive") }
    }
    var set = try call.keyspace.set(key)
    if !hasCount && set.isEmpty {
        call.reply.null()
        return .none
    }
    let count = Int(min(wanted, Int64(set.count)))
    if hasCount { call.reply.set(count) }
    if count == 0 { return .none }
    let namesMembers = call.keyspace.isLogging && count < set.count
    var random = Random.seededFromSystem()
    set.take(count, &random) { member in
        call.reply.bulk(member)
        if namesMembers { call.keyspace.collect(member, for: "SREM", key) }
    }
    if namesMembers {
        call.keyspace.logCollected("SREM", key)
    } else {
        call.keyspace.log("DEL", key)
    }
    return call.removed(count, .spop, from: set, key)
}

private func srandmember(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    if !call.arguments.isAtEnd { return try randomMembers(&call, key) }
    let set = try call.keyspace.readSet(key)
    if set.isEmpty {
        call.reply.null()
        return .none
    }
    var random = Random.seededFromSystem()
    set.random(&random) { call.reply.bulk($0) }
    return .none
}

private func randomMembers(_ call: inout Call, _ key: Key) throws(CommandError) -> Effect {
    if call.arguments.remaining > 1 { throw .syntax }
    let wanted = try call.arguments.integer()
    if wanted == .min {
        throw .invalid(
            "value is out of range, value must between -9223372036854775807 and 9223372036854775807"
        )
    }
    let set = try call.keyspace.readSet(key)
    if wanted < 0 && !set.isEmpty {
        return try repeatedMembers(&call, set, Int(wanted.magnitude))
    }
    let count = max(0, Int(min(wanted, Int64(set.count))))
    call.reply.array(count)
    if count == set.count {
        set.forEachMember { call.reply.bulk($0) }
    } else if count > 0 {
        var random = Random.seededFromSystem()
        set.sample(count, &random) { call.reply.bulk($0) }
    }
    return .none
}

/// Members that may be the same ones again. The client says how many: what they may take is bounded.
private func repeatedMembers(
    _ call: inout Call, _ set: SetValue, _ count: Int
) throws(CommandError) -> Effect {
    let before = call.reply.buffer.count
    // A bulk string takes six bytes at least.
    if count > Limits.replyBytesMax / 6 { throw .invalid("value is out of range") }
    call.reply.array(count)
    var random = Random.seededFromSystem()
    for _ in 0..<count {
        set.random(&random) { call.reply.bulk($0) }
        if call.reply.buffer.count - before > Limits.replyBytesMax {
            call.reply.buffer.truncate(to: before)
            throw .invalid("value is out of range")
        }
    }
    return .none
}

private func sscan(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let cursor = try scanCursor(&call.arguments)
    let set = try call.keyspace.readSet(key)
    if set.isEmpty {
        // Without a look at the options, as Redis.
        call.reply.array(2)
        call.reply.bulk(unsignedDecimal: 0)
        call.reply.array(0)
        return .none
    }
    let options = try CollectionScanOptions(reading: &call.arguments)
    try call.replyScan { reply in
        var elements = 0
        let next = set.scan(from: cursor, count: options.count) { member in
            if !options.wants(member) { return }
            reply.bulk(member)
            elements += 1
        }
        return (next, elements)
    }
    return .none
}
