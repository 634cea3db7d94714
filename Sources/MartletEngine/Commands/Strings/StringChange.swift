//  MSET, MSETNX, APPEND, SETRANGE: several strings at once, and parts of one.

import MartletBase

extension CommandGroup {
    static let stringChange: CommandGroup = [
        Command(
            "MSET", since: "1.0.1", group: .string, syntax: "key value [key value ...]",
            summary: "Atomically creates or modifies the string values of one or more keys.",
            complexity: "O(N) where N is the number of keys to set.",
            arity: .atLeast(3), keys: [.rest(from: 1, step: 2, [.overwrite, .update])],
            access: .write, traits: .growsMemory, acl: [.string],
            tips: ["request_policy:multi_shard", "response_policy:all_succeeded"], run: setMany),
        Command(
            "MSETNX", since: "1.0.1", group: .string, syntax: "key value [key value ...]",
            summary: "Atomically modifies the string values of one or more keys only when all "
                + "keys don't exist.",
            complexity: "O(N) where N is the number of keys to set.",
            arity: .atLeast(3), keys: [.rest(from: 1, step: 2, [.overwrite, .insert])],
            access: .write, traits: .growsMemory, acl: [.string], run: setManyIfMissing),
        Command(
            "APPEND", since: "2.0.0", group: .string, syntax: "key value",
            summary: "Appends a string to the value of a key. Creates the key if it doesn't exist.",
            complexity: "O(1) amortized.",
            arity: .exactly(3), keys: [.one(at: 1, [.readWrite, .insert])], access: .write,
            traits: [.fast, .growsMemory], acl: [.string], run: appendValue),
        Command(
            "SETRANGE", since: "2.2.0", group: .string, syntax: "key offset value",
            summary: "Overwrites a part of a string value with another by an offset. Creates the "
                + "key if it doesn't exist.",
            complexity: "O(N) where N is the length of the value.",
            arity: .exactly(4), keys: [.one(at: 1, [.readWrite, .update])], access: .write,
            traits: .growsMemory, acl: [.string], run: setRange),
    ]
}

private func setMany(_ call: inout Call) throws(CommandError) -> Effect {
    if call.arguments.count % 2 == 0 { throw call.arityError() }
    while !call.arguments.isAtEnd {
        let key = try call.arguments.key()
        try call.keyspace.replaceString(key, try call.arguments.next(), expiry: .clear)
        call.keyspace.record(.set, key)
    }
    call.reply.ok()
    return .recorded
}

private func setManyIfMissing(_ call: inout Call) throws(CommandError) -> Effect {
    if call.arguments.count % 2 == 0 { throw call.arityError() }
    while !call.arguments.isAtEnd {
        if call.keyspace.find(try call.arguments.key()) != nil {
            call.reply.integer(0)
            return .none
        }
        _ = try call.arguments.next()
    }
    call.arguments.position = 1
    while !call.arguments.isAtEnd {
        let key = try call.arguments.key()
        try call.keyspace.replaceString(key, try call.arguments.next(), expiry: .clear)
        call.keyspace.record(.set, key)
    }
    call.reply.integer(1)
    return .recorded
}

/// Refuses a string that would be longer than `proto-max-bulk-len`.
func checkStringLength(_ length: Int, _ call: borrowing Call) throws(CommandError) {
    let bytesMax = unsafe call.state.settings.bulkBytesMax.load(ordering: .relaxed)
    if length > bytesMax { throw .stringTooLong }
}

private func appendValue(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let value = try call.arguments.next()
    guard let entry = call.keyspace.find(key) else {
        try call.keyspace.setString(key, value, expiry: .clear)
        call.reply.integer(value.count)
        return .changed(.append)
    }
    guard entry.kind == .string else { throw .wrongType }
    let old = entry.stringLength
    try checkStringLength(old + value.count, call)
    try call.keyspace.changeString(key, length: old + value.count) { bytes in
        bytes.replace(at: old, with: value)
    }
    call.reply.integer(old + value.count)
    return .changed(.append)
}

private func setRange(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let offset = try call.arguments.integer()
    let value = try call.arguments.next()
    if offset < 0 { throw .invalid("offset is out of range") }
    let entry = call.keyspace.find(key)
    if let entry, entry.kind != .string { throw .wrongType }
    let old = entry?.stringLength ?? 0
    if value.isEmpty {
        call.reply.integer(old)
        return .none
    }
    let (end, isTooLong) = offset.addingReportingOverflow(Int64(value.count))
    if isTooLong { throw .stringTooLong }
    try checkStringLength(Int(end), call)
    try call.keyspace.changeString(key, length: Int(end)) { bytes in
        bytes.replace(at: Int(offset), with: value)
    }
    call.reply.integer(max(old, Int(end)))
    return .changed(.setrange)
}
