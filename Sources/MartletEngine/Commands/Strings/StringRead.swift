//  MGET, STRLEN, GETRANGE, SUBSTR, GETDEL, GETEX, DIGEST.

import MartletBase

extension CommandGroup {
    static let stringRead: CommandGroup = [
        Command(
            "MGET", since: "1.0.0", group: .string, syntax: "key [key ...]",
            summary: "Atomically returns the string values of one or more keys.",
            complexity: "O(N) where N is the number of keys to retrieve.",
            arity: .atLeast(2), keys: [.rest(from: 1, [.readOnly, .access])], access: .read,
            traits: .fast, acl: [.string], tips: ["request_policy:multi_shard"], run: getMany),
        Command(
            "STRLEN", since: "2.2.0", group: .string, syntax: "key",
            summary: "Returns the length of a string value.", arity: .exactly(2),
            keys: [.one(at: 1, [.readOnly])], access: .read, traits: .fast, acl: [.string],
            run: length),
        Command(
            "GETRANGE", since: "2.4.0", group: .string, syntax: "key start end",
            summary: "Returns a substring of the string stored at a key.",
            complexity: "O(N) where N is the length of the returned string.",
            arity: .exactly(4), keys: [.one(at: 1, [.readOnly, .access])], access: .read,
            acl: [.string], run: getRange),
        Command(
            "SUBSTR", since: "1.0.0", group: .string, syntax: "key start end",
            summary: "Returns a substring from a string value.",
            complexity: "O(N) where N is the length of the returned string.",
            arity: .exactly(4), keys: [.one(at: 1, [.readOnly, .access])], access: .read,
            acl: [.string], deprecated: Deprecation(since: "2.0.0", replacedBy: "`GETRANGE`"),
            run: getRange),
        Command(
            "GETDEL", since: "6.2.0", group: .string, syntax: "key",
            summary: "Returns the string value of a key after deleting the key.",
            arity: .exactly(2), keys: [.one(at: 1, [.readWrite, .access, .delete])],
            access: .write, traits: .fast, acl: [.string], run: getAndDelete),
        Command(
            "GETEX", since: "6.2.0", group: .string,
            syntax: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | "
                + "PXAT unix-time-milliseconds | PERSIST]",
            summary: "Returns the string value of a key after setting its expiration time.",
            arity: .atLeast(2),
            keys: [
                .one(at: 1, [.readWrite, .access, .update])
                    .noting("RW and UPDATE because it changes the TTL")
            ],
            access: .write, traits: .fast, acl: [.string], run: getAndExpire),
        Command(
            "DIGEST", since: "8.4.0", group: .string, syntax: "key",
            summary: "Returns the XXH3 hash of a string value.",
            complexity: "O(N) where N is the length of the string value.",
            arity: .exactly(2), keys: [.one(at: 1, [.readOnly, .access])], access: .read,
            traits: .fast, acl: [.string], run: digest),
    ]
}

private func getMany(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.array(call.arguments.remaining)
    while !call.arguments.isAtEnd {
        let entry = call.keyspace.read(try call.arguments.key())
        if let entry, entry.kind == .string {
            call.reply.bulk(try call.keyspace.string(of: entry))
        } else {
            call.reply.null()
        }
    }
    return .none
}

private func length(_ call: inout Call) throws(CommandError) -> Effect {
    guard let entry = call.keyspace.read(try call.arguments.key()) else {
        call.reply.integer(0)
        return .none
    }
    guard entry.kind == .string else { throw .wrongType }
    call.reply.integer(entry.stringLength)
    return .none
}

private func getRange(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    var start = try call.arguments.integer()
    var end = try call.arguments.integer()
    guard let value = try call.keyspace.readString(key), !(start < 0 && end < 0 && start > end)
    else {
        call.reply.bulk(ByteView())
        return .none
    }
    let count = Int64(value.count)
    if start < 0 { start = max(0, start &+ count) }
    if end < 0 { end = max(0, end &+ count) }
    end = min(end, count - 1)
    if start > end || count == 0 {
        call.reply.bulk(ByteView())
    } else {
        call.reply.bulk(value.slice(Int(start), Int(end) + 1))
    }
    return .none
}

private func getAndDelete(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    guard let value = try call.keyspace.readString(key) else {
        call.reply.null()
        return .none
    }
    call.reply.bulk(value)
    _ = call.keyspace.remove(key)
    call.keyspace.log("DEL", key)
    return .changed(.del)
}

private func getAndExpire(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    var option: ExpiryOption?
    var kind: ExpiryOption.Kind?
    while !call.arguments.isAtEnd {
        var next = ExpiryOption.Kind.bare
        if !call.arguments.skip("persist") {
            guard let found = try ExpiryOption(reading: &call.arguments) else { throw .syntax }
            option = found
            next = found.kind
        }
        if let kind, kind != next { throw .syntax }
        kind = next
    }
    let persists = kind == .bare

    guard let entry = call.keyspace.read(key) else {
        call.reply.null()
        return .none
    }
    let hadExpiry = entry.expiryMilliseconds != nil
    let value = try call.keyspace.string(of: entry)
    // A time out of range is an error of those only who have a key to set it on, as in Redis.
    let deadline = try option?.deadline(&call)
    call.reply.bulk(value)
    if let deadline {
        if deadline <= call.keyspace.passedMilliseconds {
            _ = call.keyspace.remove(key)
            call.keyspace.log("DEL", key)
            return .changed(.del)
        }
        _ = try call.keyspace.setExpiry(key, deadline)
        call.keyspace.log("PEXPIREAT", key, deadline)
        return .changed(.expire)
    }
    guard persists && hadExpiry else { return .none }
    _ = try call.keyspace.setExpiry(key, nil)
    call.keyspace.log("PERSIST", key)
    return .changed(.persist)
}

private func digest(_ call: inout Call) throws(CommandError) -> Effect {
    guard let value = try call.keyspace.readString(try call.arguments.key()) else {
        call.reply.null()
        return .none
    }
    var digits = ByteBuffer()
    appendDigest(of: value, to: &digits)
    call.reply.bulk(digits.view)
    return .none
}
