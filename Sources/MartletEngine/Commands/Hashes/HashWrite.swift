//  HSET, HMSET, HSETNX, HDEL, HGETDEL: put fields into a hash and take them out.

import MartletBase

extension CommandGroup {
    static let hashWrite: CommandGroup = [
        Command(
            "HSET", since: "2.0.0", group: .hash, syntax: "key field value [field value ...]",
            summary: "Creates or modifies the value of a field in a hash.",
            complexity: "O(1) for each field/value pair added, so O(N) to add N field/value pairs "
                + "when the command is called with multiple field/value pairs.",
            arity: .atLeast(4), keys: [.one(at: 1, [.readWrite, .update])], access: .write,
            traits: [.fast, .growsMemory], acl: [.hash], member: 2, run: hset),
        Command(
            "HMSET", since: "2.0.0", group: .hash, syntax: "key field value [field value ...]",
            summary: "Sets the values of multiple fields.",
            complexity: "O(N) where N is the number of fields being set.", arity: .atLeast(4),
            keys: [.one(at: 1, [.readWrite, .update])], access: .write,
            traits: [.fast, .growsMemory], acl: [.hash],
            deprecated: Deprecation(
                since: "4.0.0", replacedBy: "`HSET` with multiple field-value pairs"),
            run: hmset),
        Command(
            "HSETNX", since: "2.0.0", group: .hash, syntax: "key field value",
            summary: "Sets the value of a field in a hash only when the field doesn't exist.",
            arity: .exactly(4), keys: [.one(at: 1, [.readWrite, .insert])], access: .write,
            traits: [.fast, .growsMemory], acl: [.hash], run: hsetnx),
        Command(
            "HDEL", since: "2.0.0", group: .hash, syntax: "key field [field ...]",
            summary: "Deletes one or more fields and their values from a hash. Deletes the hash if "
                + "no fields remain.",
            complexity: "O(N) where N is the number of fields to be removed.", arity: .atLeast(3),
            keys: [.one(at: 1, [.readWrite, .delete])], access: .write, traits: .fast,
            acl: [.hash], member: 2, run: hdel),
        Command(
            "HGETDEL", since: "8.0.0", group: .hash,
            syntax: "key FIELDS numfields field [field ...]",
            summary: "Returns the value of a field and deletes it from the hash.",
            complexity: "O(N) where N is the number of specified fields", arity: .atLeast(5),
            keys: [.one(at: 1, [.readWrite, .access, .delete])], access: .write, traits: .fast,
            acl: [.hash], run: hgetdel),
    ]
}

extension Call {
    /// Up to where hashes are small.
    @inline(__always)
    var hashLimits: PackedLimits { unsafe state.settings.hashes.limits }

    /// The effect of taking `count` fields out of a hash, whose key may have gone with them.
    mutating func fieldsRemoved(_ count: Int, _ key: Key, _ hash: HashValue) -> Effect {
        if count == 0 { return .none }
        if !hash.isEmpty { return .changed(.hdel, count: count) }
        keyspace.record(.hdel, key, count: count)
        keyspace.record(.del, key, count: 0)
        return .recorded
    }
}

/// Sets the fields of HSET and HMSET; answers how many are new, and how many there were.
private func setFields(
    _ call: inout Call
) throws(CommandError) -> (added: Int, given: Int) {
    if call.arguments.count % 2 != 0 { throw call.arityError() }
    let key = try call.arguments.key()
    var hash = try call.keyspace.hash(key)
    let limits = call.hashLimits
    let pairs = call.arguments.remaining / 2
    let isNew = hash.isEmpty && pairs > 1
    if isNew {
        // Room for all at once, so that the key's memory is not moved for each.
        var bytes = 0
        var longest = 0
        for index in stride(from: call.arguments.position, to: call.arguments.count, by: 2) {
            let field = call.arguments[index]
            let value = call.arguments[index + 1]
            bytes += HashValue.recordBytes(field, value)
            longest = max(longest, field.count, value.count)
        }
        try hash.create(forFields: pairs, bytes: bytes, longest: longest, limits: limits)
    }
    var added = 0
    while !call.arguments.isAtEnd {
        let field = try call.arguments.next()
        let value = try call.arguments.next()
        if try hash.set(field, value, limits: limits) { added += 1 }
    }
    if isNew && added < pairs { hash.trim() }
    return (added, pairs)
}

private func hset(_ call: inout Call) throws(CommandError) -> Effect {
    let (added, given) = try setFields(&call)
    call.reply.integer(added)
    return .changed(.hset, count: given)
}

private func hmset(_ call: inout Call) throws(CommandError) -> Effect {
    let (_, given) = try setFields(&call)
    call.reply.ok()
    return .changed(.hset, count: given)
}

private func hsetnx(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let field = try call.arguments.next()
    let value = try call.arguments.next()
    var hash = try call.keyspace.hash(key)
    if hash.value(of: field) != nil {
        call.reply.integer(0)
        return .none
    }
    _ = try hash.set(field, value, limits: call.hashLimits)
    call.reply.integer(1)
    return .changed(.hset)
}

private func hdel(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    var hash = try call.keyspace.hash(key)
    var count = 0
    while !call.arguments.isAtEnd && !hash.isEmpty {
        if hash.remove(try call.arguments.next()) { count += 1 }
    }
    call.reply.integer(count)
    return call.fieldsRemoved(count, key, hash)
}

private func hgetdel(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    var hash = try call.keyspace.hash(key)
    let fields = try call.arguments.fieldCount()
    var count = 0
    call.reply.array(fields)
    while !call.arguments.isAtEnd {
        let field = try call.arguments.next()
        if let value = hash.value(of: field) { call.reply.bulk(value) } else { call.reply.null() }
        if hash.remove(field) {
            count += 1
            if call.keyspace.isLogging { call.keyspace.collect(field) }
        }
    }
    call.keyspace.logCollected("HDEL", key)
    return call.fieldsRemoved(count, key, hash)
}
