//  HRANDFIELD, HSCAN: some fields, by chance or bit by bit.

import MartletBase

extension CommandGroup {
    static let hashSampling: CommandGroup = [
        Command(
            "HRANDFIELD", since: "6.2.0", group: .hash, syntax: "key [count [WITHVALUES]]",
            summary: "Returns one or more random fields from a hash.",
            complexity: "O(N) where N is the number of fields returned", arity: .atLeast(2),
            keys: [.one(at: 1, [.readOnly, .access])], access: .read, acl: [.hash],
            tips: ["nondeterministic_output"], run: randomField),
        Command(
            "HSCAN", since: "2.8.0", group: .hash,
            syntax: "key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
            summary: "Iterates over fields and values of a hash.",
            complexity: "O(1) for every call. O(N) for a complete iteration, including enough "
                + "command calls for the cursor to return back to 0. N is the number of elements "
                + "inside the collection.",
            arity: .atLeast(3), keys: [.one(at: 1, [.readOnly, .access])], access: .read,
            acl: [.hash], tips: ["nondeterministic_output"], run: hscan),
    ]
}

private func randomField(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    if !call.arguments.isAtEnd { return try randomFields(&call, key) }
    let hash = try call.keyspace.readHash(key)
    if hash.isEmpty {
        call.reply.null()
        return .none
    }
    var random = Random.seededFromSystem()
    hash.random(&random) { field, _ in call.reply.bulk(field) }
    return .none
}

private func randomFields(_ call: inout Call, _ key: Key) throws(CommandError) -> Effect {
    let wanted = try call.arguments.integer()
    if wanted == .min {
        throw .invalid(
            "value is out of range, value must between -9223372036854775807 and 9223372036854775807"
        )
    }
    let withValues = call.arguments.skip("withvalues")
    if !call.arguments.isAtEnd { throw .syntax }
    if withValues && wanted.magnitude > UInt64(Int64.max) / 2 {
        throw .invalid("value is out of range")
    }
    let hash = try call.keyspace.readHash(key)
    if wanted < 0 && !hash.isEmpty {
        return try repeatedFields(&call, hash, Int(wanted.magnitude), withValues)
    }
    let count = max(0, Int(min(wanted, Int64(hash.count))))
    header(&call, count, withValues)
    if count == hash.count {
        hash.forEachField { element(&call, $0, $1, withValues) }
    } else if count > 0 {
        var random = Random.seededFromSystem()
        hash.sample(count, &random) { element(&call, $0, $1, withValues) }
    }
    return .none
}

/// Fields that may be the same ones again. The client says how many: what they may take is bounded.
private func repeatedFields(
    _ call: inout Call, _ hash: HashValue, _ count: Int, _ withValues: Bool
) throws(CommandError) -> Effect {
    let before = call.reply.buffer.count
    // A bulk string takes six bytes at least.
    if count > Limits.replyBytesMax / 6 { throw .invalid("value is out of range") }
    header(&call, count, withValues)
    var random = Random.seededFromSystem()
    for _ in 0..<count {
        hash.random(&random) { element(&call, $0, $1, withValues) }
        if call.reply.buffer.count - before > Limits.replyBytesMax {
            call.reply.buffer.truncate(to: before)
            throw .invalid("value is out of range")
        }
    }
    return .none
}

private func header(_ call: inout Call, _ count: Int, _ withValues: Bool) {
    call.reply.array(withValues && !call.reply.isRESP3 ? count * 2 : count)
}

private func element(
    _ call: inout Call, _ field: ByteView, _ value: ByteView, _ withValues: Bool
) {
    if withValues && call.reply.isRESP3 { call.reply.array(2) }
    call.reply.bulk(field)
    if withValues { call.reply.bulk(value) }
}

private func hscan(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let cursor = try scanCursor(&call.arguments)
    let hash = try call.keyspace.readHash(key)
    if hash.isEmpty {
        // Without a look at the options, as Redis.
        call.reply.array(2)
        call.reply.bulk(unsignedDecimal: 0)
        call.reply.array(0)
        return .none
    }
    let options = try CollectionScanOptions(reading: &call.arguments, takesNoValues: true)
    try call.replyScan { reply in
        var elements = 0
        let next = hash.scan(from: cursor, count: options.count) { field, value in
            if !options.wants(field) { return }
            reply.bulk(field)
            elements += 1
            if options.omitsValues { return }
            reply.bulk(value)
            elements += 1
        }
        return (next, elements)
    }
    return .none
}
