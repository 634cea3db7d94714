//  ZREM, ZREMRANGEBY…, ZPOPMIN, ZPOPMAX, ZMPOP: take members out; the last one takes the key along.

import MartletBase

extension CommandGroup {
    static let sortedSetRemove: CommandGroup = [
        Command(
            "ZREM", since: "1.2.0", group: .sortedSet, syntax: "key member [member ...]",
            summary: "Removes one or more members from a sorted set. Deletes the sorted set if "
                + "all members were removed.",
            complexity: "O(M*log(N)) with N being the number of elements in the sorted set and M "
                + "the number of elements to be removed.",
            arity: .atLeast(3), keys: [.one(at: 1, [.readWrite, .delete])], access: .write,
            traits: .fast, acl: [.sortedset], member: 2, run: zrem),
        removal("ZREMRANGEBYSCORE", "key min max", "scores", since: "1.2.0") {
            (call) throws(CommandError) in
            try removeRange(&call, .scores, .zremrangebyscore)
        },
        removal("ZREMRANGEBYRANK", "key start stop", "indexes", since: "2.0.0") {
            (call) throws(CommandError) in
            try removeRange(&call, .indexes, .zremrangebyrank)
        },
        removal("ZREMRANGEBYLEX", "key min max", nil, since: "2.8.9") {
            (call) throws(CommandError) in
            try removeRange(&call, .members, .zremrangebylex)
        },
        pop("ZPOPMIN", "lowest", highest: false),
        pop("ZPOPMAX", "highest", highest: true),
        Command(
            "ZMPOP", since: "7.0.0", group: .sortedSet,
            syntax: "numkeys key [key ...] <MIN | MAX> [COUNT count]",
            summary: "Returns the highest- or lowest-scoring members from one or more sorted sets "
                + "after removing them. Deletes the sorted set if the last member was popped.",
            complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the "
                + "number of elements in the sorted set, and M being the number of elements "
                + "popped.",
            arity: .atLeast(4), keys: [.counted(at: 1, [.readWrite, .access, .delete])],
            access: .write, traits: .movableKeys, acl: [.sortedset], run: zmpop),
    ]

    private static func removal(
        _ name: String, _ syntax: String, _ unit: String?, since: String, run: @escaping Handler
    ) -> Command {
        let part = unit.map { "a range of \($0)" } ?? "a lexicographical range"
        return Command(
            name, since: since, group: .sortedSet, syntax: syntax,
            summary: "Removes members in a sorted set within \(part). Deletes the sorted set if "
                + "all members were removed.",
            complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M "
                + "the number of elements removed by the operation.",
            arity: .exactly(4), keys: [.one(at: 1, [.readWrite, .delete])], access: .write,
            acl: [.sortedset], run: run)
    }

    private static func pop(_ name: String, _ which: String, highest: Bool) -> Command {
        Command(
            name, since: "5.0.0", group: .sortedSet, syntax: "key [count]",
            summary: "Returns the \(which)-scoring members from a sorted set after removing them. "
                + "Deletes the sorted set if the last member was popped.",
            complexity: "O(log(N)*M) with N being the number of elements in the sorted set, and M "
                + "being the number of elements popped.",
            arity: .atLeast(2), keys: [.one(at: 1, [.readWrite, .access, .delete])],
            access: .write, traits: .fast, acl: [.sortedset]
        ) { (call) throws(CommandError) in try popOne(&call, highest: highest) }
    }
}

/// The effect of taking `count` members out of a set, whose key may have gone with them.
private func removed(
    _ count: Int, _ event: KeyEvent, _ key: Key, _ set: SortedSetValue, _ call: inout Call
) -> Effect {
    if count == 0 { return .none }
    if !set.isEmpty { return .changed(event, count: count) }
    call.keyspace.record(event, key, count: count)
    call.keyspace.record(.del, key, count: 0)
    return .recorded
}

private func zrem(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    var set = try call.keyspace.sortedSet(key)
    var count = 0
    while !call.arguments.isAtEnd && !set.isEmpty {
        let member = try call.arguments.next()
        if set.remove(member) { count += 1 }
    }
    call.reply.integer(count)
    return removed(count, .zrem, key, set, &call)
}

private func removeRange(
    _ call: inout Call, _ kind: SortedSetSelection.Kind, _ event: KeyEvent
) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let first = try call.arguments.next()
    let selection = try SortedSetSelection(kind, first, try call.arguments.next())
    var set = try call.keyspace.sortedSet(key)

    let ranks = selection.ranks(in: set)
    set.remove(ranks)
    call.reply.integer(ranks.count)
    return removed(ranks.count, event, key, set, &call)
}

/// Replies with `count` members from an end of the set, and removes them.
private func pop(
    _ count: Int, highest: Bool, nested: Bool, _ key: Key, _ set: inout SortedSetValue,
    _ call: inout Call
) -> Effect {
    let total = set.count
    let ranks = highest ? (total - count)..<total : 0..<count
    set.forEach(in: ranks, reversed: highest) { member, score in
        if nested { call.reply.array(2) }
        call.reply.bulk(member)
        call.reply.double(score)
    }
    set.remove(ranks)
    return removed(count, highest ? .zpopmax : .zpopmin, key, set, &call)
}

private func popOne(_ call: inout Call, highest: Bool) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    if call.arguments.remaining > 1 { throw .syntax }
    var wanted: Int64?
    if !call.arguments.isAtEnd {
        let count = try call.arguments.integer(.invalid(mustBePositive))
        if count < 0 { throw .invalid(mustBePositive) }
        wanted = count
    }
    var set = try call.keyspace.sortedSet(key)
    let count = Int(min(wanted ?? 1, Int64(set.count)))
    if count == 0 {
        call.reply.array(0)
        return .none
    }
    // Without a count RESP3 has one flat pair, as RESP2.
    let nested = call.reply.isRESP3 && wanted != nil
    call.reply.array(nested ? count : count * 2)
    return pop(count, highest: highest, nested: nested, key, &set, &call)
}

private let mustBePositive: StaticString = "value is out of range, must be positive"

private func zmpop(_ call: inout Call) throws(CommandError) -> Effect {
    let keys = try call.arguments.countedKeys()
    let highest = try call.arguments.isHighest()
    let wanted = try call.arguments.popCount()
    for key in keys {
        if try call.keyspace.sortedSet(key).isEmpty { continue }
        return try popScored(wanted, highest: highest, key, &call)
    }
    call.reply.nullArray()
    return .none
}

/// Replies with a set's key and up to `wanted` of its members, and removes them.
///
/// - Precondition: the set is there.
func popScored(
    _ wanted: Int64, highest: Bool, _ key: Key, _ call: inout Call
) throws(CommandError) -> Effect {
    var set = try call.keyspace.sortedSet(key)
    let count = Int(min(wanted, Int64(set.count)))
    call.reply.array(2)
    call.reply.bulk(key.bytes)
    call.reply.array(count)
    call.keyspace.log(highest ? "ZPOPMAX" : "ZPOPMIN", key, Int64(count))
    return recorded(
        pop(count, highest: highest, nested: true, key, &set, &call),
        highest ? .zpopmax : .zpopmin, key, &call)
}

/// Replies with a set's key, the member at an end and its score, and removes that member.
///
/// - Precondition: the set is there.
func popScoredWithKey(
    highest: Bool, _ key: Key, _ call: inout Call
) throws(CommandError) -> Effect {
    var set = try call.keyspace.sortedSet(key)
    call.reply.array(3)
    call.reply.bulk(key.bytes)
    call.keyspace.log(highest ? "ZPOPMAX" : "ZPOPMIN", key)
    return recorded(
        pop(1, highest: highest, nested: false, key, &set, &call),
        highest ? .zpopmax : .zpopmin, key, &call)
}

extension Arguments {
    /// MIN or MAX.
    mutating func isHighest() throws(CommandError) -> Bool {
        if skip("max") { return true }
        if skip("min") { return false }
        throw .syntax
    }

    /// The number of keys that follow.
    mutating func keyCount() throws(CommandError) -> Int64 {
        let count = try integer(.invalid("numkeys should be greater than 0"))
        if count < 1 { throw .invalid("numkeys should be greater than 0") }
        return count
    }
}
