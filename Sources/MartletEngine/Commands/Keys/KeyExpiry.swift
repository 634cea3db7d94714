//  EXPIRE and its kin, TTL and its kin, PERSIST.

import MartletBase

extension CommandGroup {
    static let keyExpiry: CommandGroup = [
        expireCommand(
            "EXPIRE", "seconds", since: "1.0.0", "Sets the expiration time of a key in seconds."),
        expireCommand(
            "PEXPIRE", "milliseconds", since: "2.6.0",
            "Sets the expiration time of a key in milliseconds."),
        expireCommand(
            "EXPIREAT", "unix-time-seconds", since: "1.2.0",
            "Sets the expiration time of a key to a Unix timestamp."),
        expireCommand(
            "PEXPIREAT", "unix-time-milliseconds", since: "2.6.0",
            "Sets the expiration time of a key to a Unix milliseconds timestamp."),
        ttlCommand("TTL", since: "1.0.0", "Returns the expiration time in seconds of a key."),
        ttlCommand("PTTL", since: "2.6.0", "Returns the expiration time in milliseconds of a key."),
        ttlCommand(
            "EXPIRETIME", since: "7.0.0",
            "Returns the expiration time of a key as a Unix timestamp."),
        ttlCommand(
            "PEXPIRETIME", since: "7.0.0",
            "Returns the expiration time of a key as a Unix milliseconds timestamp."),
        Command(
            "PERSIST", since: "2.2.0", group: .generic, syntax: "key",
            summary: "Removes the expiration time of a key.", arity: .exactly(2),
            keys: [.one(at: 1, [.readWrite, .update])], access: .write, traits: .fast,
            acl: [.keyspace], run: persist),
    ]

    private static func expireCommand(
        _ name: String, _ argument: String, since: String, _ summary: String
    ) -> Command {
        let isRelative = !name.hasSuffix("AT")
        let unit: Int64 = name.hasPrefix("P") ? 1 : 1000
        return Command(
            name, since: since, group: .generic, syntax: "key \(argument) [NX | XX | GT | LT]",
            summary: summary, arity: .atLeast(3), keys: [.one(at: 1, [.readWrite, .update])],
            access: .write, traits: .fast, acl: [.keyspace]
        ) { (call) throws(CommandError) in
            try expire(&call, unit: unit, isRelative: isRelative)
        }
    }

    private static func ttlCommand(_ name: String, since: String, _ summary: String) -> Command {
        let isAbsolute = name.hasSuffix("EXPIRETIME")
        let isMilliseconds = name.hasPrefix("P")
        return Command(
            name, since: since, group: .generic, syntax: "key", summary: summary,
            arity: .exactly(2), keys: [.one(at: 1, [.readOnly, .access])], access: .read,
            traits: .fast, acl: [.keyspace],
            tips: isAbsolute ? [] : ["nondeterministic_output"]
        ) { (call) throws(CommandError) in
            try timeToLive(&call, isMilliseconds: isMilliseconds, isAbsolute: isAbsolute)
        }
    }
}

/// Under which condition EXPIRE changes a deadline.
private struct ExpireCondition {
    private var onlyWithout = false
    private var onlyWith = false
    private var onlyLater = false
    private var onlyEarlier = false

    init(reading call: inout Call) throws(CommandError) {
        while !call.arguments.isAtEnd {
            if call.arguments.skip("nx") {
                onlyWithout = true
            } else if call.arguments.skip("xx") {
                onlyWith = true
            } else if call.arguments.skip("gt") {
                onlyLater = true
            } else if call.arguments.skip("lt") {
                onlyEarlier = true
            } else {
                let option = try call.arguments.next()
                call.errorDetail.removeAll()
                call.errorDetail.append("ERR Unsupported option ")
                // Up to a zero byte, as Redis prints it.
                call.errorDetail.append(option.slice(0, option.firstIndex(of: 0) ?? option.count))
                throw .detailed
            }
        }
        if onlyWithout && (onlyWith || onlyLater || onlyEarlier) {
            throw .invalid("NX and XX, GT or LT options at the same time are not compatible")
        }
        if onlyLater && onlyEarlier {
            throw .invalid("GT and LT options at the same time are not compatible")
        }
    }

    /// Whether a deadline may take the place of `current`; none counts as infinitely late.
    func admits(_ deadline: Int64, over current: Int64?) -> Bool {
        if onlyWithout && current != nil { return false }
        if onlyWith && current == nil { return false }
        if onlyLater && (current.map { deadline <= $0 } ?? true) { return false }
        if onlyEarlier, let current, deadline >= current { return false }
        return true
    }
}

private func expire(
    _ call: inout Call, unit: Int64, isRelative: Bool
) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let text = try call.arguments.next()
    // The options are looked at first, as in Redis.
    let condition = try ExpireCondition(reading: &call)
    guard let time = text.parseInteger() else { throw .notInteger }
    let now = call.keyspace.nowMilliseconds
    let (scaled, isTooBig) = time.multipliedReportingOverflow(by: unit)
    let (deadline, isTooLate) = scaled.addingReportingOverflow(isRelative ? now : 0)
    if isTooBig || isTooLate {
        throw call.error("ERR invalid expire time in '\(call.command.fullName)' command")
    }

    if deadline > call.keyspace.passedMilliseconds {
        let isSet = try call.keyspace.setExpiry(key, deadline) {
            condition.admits(deadline, over: $0)
        }
        call.reply.integer(isSet ? 1 : 0)
        if isSet { call.keyspace.log("PEXPIREAT", key, deadline) }
        return isSet ? .changed(.expire) : .none
    }
    let entry = call.keyspace.find(key)
    if let entry { call.keyspace.touch(entry) }
    guard let entry, condition.admits(deadline, over: entry.expiryMilliseconds) else {
        call.reply.integer(0)
        return .none
    }
    call.reply.integer(1)
    _ = call.keyspace.remove(key)
    call.keyspace.log("DEL", key)
    return .changed(.del)
}

private func timeToLive(
    _ call: inout Call, isMilliseconds: Bool, isAbsolute: Bool
) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    guard let entry = call.keyspace.readQuietly(key) else {
        call.reply.integer(-2)
        return .none
    }
    guard let deadline = entry.expiryMilliseconds else {
        call.reply.integer(-1)
        return .none
    }
    let time = isAbsolute ? deadline : max(0, deadline - call.keyspace.nowMilliseconds)
    if isMilliseconds {
        call.reply.integer(time)
    } else {
        // Rounded, as Redis does, and in two steps: `time + 500` could overflow.
        call.reply.integer(time / 1000 + (time % 1000 >= 500 ? 1 : 0))
    }
    return .none
}

private func persist(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let entry = call.keyspace.find(key)
    if let entry { call.keyspace.touch(entry) }
    guard entry?.expiryMilliseconds != nil else {
        call.reply.integer(0)
        return .none
    }
    _ = try call.keyspace.setExpiry(key, nil)
    call.reply.integer(1)
    return .changed(.persist)
}
