//  HEXPIRE and its kin, HTTL and its kin, HPERSIST: deadlines of single fields.

import MartletBase

extension CommandGroup {
    static let hashFieldExpiry: CommandGroup = [
        expireFieldsCommand(
            "HEXPIRE", "seconds",
            "Set expiry for hash field using relative time to expire (seconds)"),
        expireFieldsCommand(
            "HPEXPIRE", "milliseconds",
            "Set expiry for hash field using relative time to expire (milliseconds)"),
        expireFieldsCommand(
            "HEXPIREAT", "unix-time-seconds",
            "Set expiry for hash field using an absolute Unix timestamp (seconds)"),
        expireFieldsCommand(
            "HPEXPIREAT", "unix-time-milliseconds",
            "Set expiry for hash field using an absolute Unix timestamp (milliseconds)"),
        fieldTimeCommand("HTTL", "Returns the TTL in seconds of a hash field."),
        fieldTimeCommand("HPTTL", "Returns the TTL in milliseconds of a hash field."),
        fieldTimeCommand(
            "HEXPIRETIME",
            "Returns the expiration time of a hash field as a Unix timestamp, in seconds."),
        fieldTimeCommand(
            "HPEXPIRETIME",
            "Returns the expiration time of a hash field as a Unix timestamp, in msec."),
        Command(
            "HPERSIST", since: "7.4.0", group: .hash,
            syntax: "key FIELDS numfields field [field ...]",
            summary: "Removes the expiration time for each specified field",
            complexity: "O(N) where N is the number of specified fields", arity: .atLeast(5),
            keys: [.one(at: 1, [.readWrite, .update])], access: .write, traits: .fast,
            acl: [.hash]
        ) { (call) throws(CommandError) in try call.replyingWhole(hpersist) },
    ]

    private static func expireFieldsCommand(
        _ name: String, _ argument: String, _ summary: String
    ) -> Command {
        let isRelative = !name.hasSuffix("AT")
        let unit: Int64 = name.hasPrefix("HP") ? 1 : 1000
        return Command(
            name, since: "7.4.0", group: .hash,
            syntax: "key \(argument) [NX | XX | GT | LT] FIELDS numfields field [field ...]",
            summary: summary, complexity: "O(N) where N is the number of specified fields",
            arity: .atLeast(6), keys: [.one(at: 1, [.readWrite, .update])], access: .write,
            traits: .fast, acl: [.hash]
        ) { (call) throws(CommandError) in
            try call.replyingWhole { (call) throws(CommandError) in
                try expireFields(&call, unit: unit, isRelative: isRelative)
            }
        }
    }

    private static func fieldTimeCommand(_ name: String, _ summary: String) -> Command {
        let isAbsolute = name.hasSuffix("EXPIRETIME")
        let isMilliseconds = name.hasPrefix("HP")
        return Command(
            name, since: "7.4.0", group: .hash, syntax: "key FIELDS numfields field [field ...]",
            summary: summary, complexity: "O(N) where N is the number of specified fields",
            arity: .atLeast(5), keys: [.one(at: 1, [.readOnly, .access])], access: .read,
            traits: .fast, acl: [.hash], tips: isAbsolute ? [] : ["nondeterministic_output"]
        ) { (call) throws(CommandError) in
            try fieldTimes(&call, isMilliseconds: isMilliseconds, isAbsolute: isAbsolute)
        }
    }
}

extension Call {
    /// Runs a handler that replies while it writes: when memory runs out, only the error is left.
    mutating func replyingWhole(
        _ handler: (inout Call) throws(CommandError) -> Effect
    ) throws(CommandError) -> Effect {
        let before = reply.buffer.count
        do throws(CommandError) {
            return try handler(&self)
        } catch {
            reply.buffer.truncate(to: before)
            throw error
        }
    }
}

extension Arguments {
    /// Reads `FIELDS numfields`, behind which nothing but so many fields stands.
    mutating func fieldCount(
        _ notPositive: StaticString = "Number of fields must be a positive integer"
    ) throws(CommandError) -> Int {
        if !skip("fields") {
            throw .invalid("Mandatory argument FIELDS is missing or not at the right position")
        }
        let count = try integer(.invalid(notPositive))
        if count < 1 { throw .invalid(notPositive) }
        if count != Int64(remaining) {
            throw .invalid("The `numfields` parameter must match the number of arguments")
        }
        return remaining
    }
}

/// The deadline of a field from a number of seconds or milliseconds.
struct FieldDeadlineOption {
    /// The latest, as in Redis: 46 bits of milliseconds.
    private static let latest: Int64 = 1 << 46 - 1

    /// Reads the number.
    ///
    /// - Returns: the deadline in wall clock milliseconds, not negative.
    static func read(
        _ call: inout Call, unit: Int64, isRelative: Bool
    ) throws(CommandError) -> Int64 {
        let time = try call.arguments.integer()
        if time < 0 { throw .invalid("invalid expire time, must be >= 0") }
        let base = isRelative ? max(0, call.keyspace.nowMilliseconds) : 0
        if time > latest / unit || time * unit > latest - base {
            throw call.error("ERR invalid expire time in '\(call.command.fullName)' command")
        }
        return time * unit + base
    }
}

/// Under which condition HEXPIRE changes a deadline.
private enum FieldCondition {
    case always
    case onlyWithout
    case onlyWith
    case onlyLater
    case onlyEarlier

    init(reading arguments: inout Arguments) {
        if arguments.skip("nx") {
            self = .onlyWithout
        } else if arguments.skip("xx") {
            self = .onlyWith
        } else if arguments.skip("gt") {
            self = .onlyLater
        } else if arguments.skip("lt") {
            self = .onlyEarlier
        } else {
            self = .always
        }
    }

    /// Whether a deadline may take the place of `current`; none counts as infinitely late.
    func admits(_ deadline: Int64, over current: Int64?) -> Bool {
        switch self {
        case .always: true
        case .onlyWithout: current == nil
        case .onlyWith: current != nil
        case .onlyLater: current.map { deadline > $0 } ?? false
        case .onlyEarlier: current.map { deadline < $0 } ?? true
        }
    }
}

private func expireFields(
    _ call: inout Call, unit: Int64, isRelative: Bool
) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    var hash = try call.keyspace.hash(key)
    let deadline = try FieldDeadlineOption.read(&call, unit: unit, isRelative: isRelative)
    let condition = FieldCondition(reading: &call.arguments)
    let count = try call.arguments.fieldCount("Parameter `numFields` should be greater than 0")
    hash.noteDeadlines()

    let now = call.keyspace.passedMilliseconds
    let limits = call.hashLimits
    var moved = 0
    var removed = 0
    call.reply.array(count)
    while !call.arguments.isAtEnd {
        let field = try call.arguments.next()
        let time = hash.time(of: field)
        if time == .missing {
            call.reply.integer(-2)
        } else if !condition.admits(deadline, over: time.deadline) {
            call.reply.integer(0)
        } else if deadline <= now {
            _ = hash.remove(field)
            removed += 1
            call.reply.integer(2)
            if call.keyspace.isLogging { call.keyspace.collect(field) }
        } else {
            try hash.setDeadline(deadline, of: field, limits: limits)
            moved += 1
            call.reply.integer(1)
            if call.keyspace.isLogging { call.keyspace.collect(field) }
        }
    }
    // All of them are past it, or none.
    if removed > 0 {
        call.keyspace.logCollected("HDEL", key)
    } else {
        call.keyspace.logFieldDeadline(deadline, key)
    }
    if removed == 0 { return moved == 0 ? .none : .changed(.hexpire, count: moved) }
    return call.fieldsRemoved(removed + moved, key, hash)
}

private func fieldTimes(
    _ call: inout Call, isMilliseconds: Bool, isAbsolute: Bool
) throws(CommandError) -> Effect {
    let hash = try call.keyspace.readHash(try call.arguments.key())
    let count = try call.arguments.fieldCount()
    let start = isAbsolute ? 0 : call.keyspace.nowMilliseconds
    call.reply.array(count)
    while !call.arguments.isAtEnd {
        let field = try call.arguments.next()
        switch hash.time(of: field) {
        case .missing: call.reply.integer(-2)
        case .unlimited: call.reply.integer(-1)
        case .until(let deadline):
            let time = max(0, deadline - start)
            call.reply.integer(isMilliseconds ? time : (time + 999) / 1000)
        }
    }
    return .none
}

private func hpersist(_ call: inout Call) throws(CommandError) -> Effect {
    var hash = try call.keyspace.hash(try call.arguments.key())
    let count = try call.arguments.fieldCount()
    let limits = call.hashLimits
    var changed = 0
    call.reply.array(count)
    while !call.arguments.isAtEnd {
        let field = try call.arguments.next()
        switch hash.time(of: field) {
        case .missing: call.reply.integer(-2)
        case .unlimited: call.reply.integer(-1)
        case .until:
            try hash.setDeadline(nil, of: field, limits: limits)
            changed += 1
            call.reply.integer(1)
        }
    }
    return changed == 0 ? .none : .changed(.hpersist, count: changed)
}
