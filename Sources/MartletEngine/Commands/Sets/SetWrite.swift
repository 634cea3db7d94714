//  SADD, SREM, SMOVE: put members into sets and take them out.

import MartletBase

extension CommandGroup {
    static let setWrite: CommandGroup = [
        Command(
            "SADD", since: "1.0.0", group: .set, syntax: "key member [member ...]",
            summary: "Adds one or more members to a set. Creates the key if it doesn't exist.",
            complexity: "O(1) for each element added, so O(N) to add N elements when the command "
                + "is called with multiple arguments.",
            arity: .atLeast(3), keys: [.one(at: 1, [.readWrite, .insert])], access: .write,
            traits: [.fast, .growsMemory], acl: [.set], member: 2, run: sadd),
        Command(
            "SREM", since: "1.0.0", group: .set, syntax: "key member [member ...]",
            summary: "Removes one or more members from a set. Deletes the set if the last member "
                + "was removed.",
            complexity: "O(N) where N is the number of members to be removed.",
            arity: .atLeast(3), keys: [.one(at: 1, [.readWrite, .delete])], access: .write,
            traits: .fast, acl: [.set], member: 2, run: srem),
        Command(
            "SMOVE", since: "1.0.0", group: .set, syntax: "source destination member",
            summary: "Moves a member from one set to another.", arity: .exactly(4),
            keys: [
                .one(at: 1, [.readWrite, .access, .delete]), .one(at: 2, [.readWrite, .insert]),
            ],
            access: .write, traits: .fast, acl: [.set], run: smove),
    ]
}

extension Call {
    /// Up to where sets are small.
    @inline(__always)
    var setLimits: SetLimits {
        unsafe SetLimits(
            integersMax: state.settings.integerSetMax.load(ordering: .relaxed),
            packed: state.settings.sets.limits)
    }
}

private func sadd(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    var set = try call.keyspace.set(key)
    let limits = call.setLimits
    let given = call.arguments.remaining
    let isNew = set.isEmpty
    if given > 1 {
        var outline = MemberOutline()
        for index in call.arguments.position..<call.arguments.count {
            outline.include(call.arguments[index])
        }
        try set.expect(outline, limits: limits)
    }
    var added = 0
    while !call.arguments.isAtEnd {
        if try set.add(try call.arguments.next(), limits: limits) { added += 1 }
    }
    if isNew && added < given { set.trim() }
    call.reply.integer(added)
    return .changed(.sadd, count: added)
}

private func srem(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    var set = try call.keyspace.set(key)
    var count = 0
    while !call.arguments.isAtEnd && !set.isEmpty {
        if set.remove(try call.arguments.next()) { count += 1 }
    }
    call.reply.integer(count)
    return call.removed(count, .srem, from: set, key)
}

extension Call {
    /// The effect of taking `count` members out of a set, whose key may have gone with them.
    func removed(_ count: Int, _ event: KeyEvent, from set: SetValue, _ key: Key) -> Effect {
        if count == 0 { return .none }
        if !set.isEmpty { return .changed(event, count: count) }
        keyspace.record(event, key, count: count)
        keyspace.record(.del, key, count: 0)
        return .recorded
    }
}

private func smove(_ call: inout Call) throws(CommandError) -> Effect {
    let sourceKey = try call.arguments.key()
    let destinationKey = try call.arguments.key()
    let member = try call.arguments.next()
    // What is past its deadline goes first: a removal may move the other's slot.
    _ = call.keyspace.find(destinationKey)
    if call.keyspace.find(sourceKey) == nil {
        call.reply.integer(0)
        return .none
    }
    var source = try call.keyspace.set(sourceKey)
    let isThere = source.contains(member)
    let destination = try call.keyspace.set(destinationKey)
    if !isThere || sourceKey.bytes == destinationKey.bytes {
        call.reply.integer(isThere ? 1 : 0)
        return .none
    }

    let isKnown = destination.contains(member)
    let sinks = call.keyspace.sinks
    // Told below, behind what happened to the source.
    let isBorn = call.keyspace.find(destinationKey) == nil
    call.keyspace.sinks.remove(.creation)
    if !isKnown { try add(member, to: destinationKey, &call) }
    call.keyspace.sinks = sinks
    // Anew: the destination may have been made in the same shard.
    source = try call.keyspace.set(sourceKey)
    _ = source.remove(member)
    call.reply.integer(1)
    call.keyspace.record(.srem, sourceKey)
    if source.isEmpty { call.keyspace.record(.del, sourceKey, count: 0) }
    if isBorn { call.keyspace.births.note(destinationKey) }
    if !isKnown { call.keyspace.record(.sadd, destinationKey) }
    return .recorded
}

private func add(_ member: ByteView, to key: Key, _ call: inout Call) throws(CommandError) {
    var set = try call.keyspace.set(key)
    _ = try set.add(member, limits: call.setLimits)
}
