//  ZRANDMEMBER, ZSCAN: some members, by chance or bit by bit.

import MartletBase

extension CommandGroup {
    static let sortedSetSampling: CommandGroup = [
        Command(
            "ZRANDMEMBER", since: "6.2.0", group: .sortedSet, syntax: "key [count [WITHSCORES]]",
            summary: "Returns one or more random members from a sorted set.",
            complexity: "O(N) where N is the number of members returned", arity: .atLeast(2),
            keys: [.one(at: 1, [.readOnly, .access])], access: .read, acl: [.sortedset],
            tips: ["nondeterministic_output"], run: randomMember),
        Command(
            "ZSCAN", since: "2.8.0", group: .sortedSet,
            syntax: "key cursor [MATCH pattern] [COUNT count]",
            summary: "Iterates over members and scores of a sorted set.",
            complexity: "O(1) for every call. O(N) for a complete iteration, including enough "
                + "command calls for the cursor to return back to 0. N is the number of elements "
                + "inside the collection.",
            arity: .atLeast(3), keys: [.one(at: 1, [.readOnly, .access])], access: .read,
            acl: [.sortedset], tips: ["nondeterministic_output"], run: zscan),
    ]
}

private func randomMember(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    if !call.arguments.isAtEnd { return try randomMembers(&call, key) }
    let set = try call.keyspace.readSortedSet(key)
    if set.isEmpty {
        call.reply.null()
        return .none
    }
    var random = Random.seededFromSystem()
    let rank = random.index(below: set.count)
    set.forEach(in: rank..<(rank + 1)) { member, _ in call.reply.bulk(member) }
    return .none
}

private func randomMembers(_ call: inout Call, _ key: Key) throws(CommandError) -> Effect {
    let wanted = try call.arguments.integer()
    if wanted == .min {
        throw call.error(
            "ERR value is out of range, value must between -9223372036854775807 and "
                + "9223372036854775807")
    }
    let withScores = call.arguments.skip("withscores")
    if !call.arguments.isAtEnd { throw .syntax }
    if withScores && wanted.magnitude > UInt64(Int64.max) / 2 {
        throw .invalid("value is out of range")
    }
    let set = try call.keyspace.readSortedSet(key)
    if wanted >= Int64(set.count) {
        call.reply.members(of: set, 0..<set.count, reversed: false, withScores: withScores)
        return .none
    }
    if wanted < 0 && !set.isEmpty {
        return try repeatedMembers(&call, set, Int(wanted.magnitude), withScores)
    }
    let count = set.isEmpty ? 0 : Int(wanted)
    header(&call, count, withScores)
    var random = Random.seededFromSystem()
    // Floyd's sample: every subset is as likely as any other, in O(count).
    var chosen: Set<Int> = []
    chosen.reserveCapacity(count)
    for limit in (set.count - count)..<set.count {
        let rank = random.index(below: limit + 1)
        chosen.insert(chosen.contains(rank) ? limit : rank)
    }
    for rank in chosen { member(&call, set, rank, withScores) }
    return .none
}

/// Members that may be the same ones again. The client says how many: what they may take is bounded.
private func repeatedMembers(
    _ call: inout Call, _ set: SortedSetValue, _ count: Int, _ withScores: Bool
) throws(CommandError) -> Effect {
    let before = call.reply.buffer.count
    // A bulk string takes six bytes at least.
    if count > Limits.replyBytesMax / 6 { throw .invalid("value is out of range") }
    header(&call, count, withScores)
    var random = Random.seededFromSystem()
    for _ in 0..<count {
        member(&call, set, random.index(below: set.count), withScores)
        if call.reply.buffer.count - before > Limits.replyBytesMax {
            call.reply.buffer.truncate(to: before)
            throw .invalid("value is out of range")
        }
    }
    return .none
}

private func header(_ call: inout Call, _ count: Int, _ withScores: Bool) {
    call.reply.array(withScores && !call.reply.isRESP3 ? count * 2 : count)
}

private func member(
    _ call: inout Call, _ set: SortedSetValue, _ rank: Int, _ withScores: Bool
) {
    set.forEach(in: rank..<(rank + 1)) { member, score in
        if withScores && call.reply.isRESP3 { call.reply.array(2) }
        call.reply.bulk(member)
        if withScores { call.reply.double(score) }
    }
}

private func zscan(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let cursor = try scanCursor(&call.arguments)
    let set = try call.keyspace.readSortedSet(key)
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
        // Scores are text here, in RESP3 too.
        reply.isRESP3 = false
        let next = set.scan(from: cursor, count: options.count) { member, score in
            if !options.wants(member) { return }
            reply.bulk(member)
            reply.double(score)
            elements += 2
        }
        return (next, elements)
    }
    return .none
}
