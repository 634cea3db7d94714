//  GET, SET, and the older forms of SET with one of its options: SETNX, SETEX, PSETEX, GETSET.

import MartletBase

extension CommandGroup {
    static let stringSet: CommandGroup = [
        Command(
            "GET", since: "1.0.0", group: .string, syntax: "key",
            summary: "Returns the string value of a key.",
            arity: .exactly(2), keys: [.one(at: 1, [.readOnly, .access])], access: .read,
            traits: .fast, acl: [.string], run: get),
        Command(
            "SET", since: "1.0.0", group: .string,
            syntax: "key value [NX | XX | IFEQ value | IFNE value | IFDEQ digest | IFDNE digest] "
                + "[GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | "
                + "PXAT unix-time-milliseconds | KEEPTTL]",
            summary: "Sets the string value of a key, ignoring its type. The key is created if it "
                + "doesn't exist.",
            arity: .atLeast(3),
            keys: [
                .one(at: 1, [.readWrite, .access, .update, .variable])
                    .noting("RW and ACCESS due to the optional `GET` argument")
            ],
            access: .write, traits: .growsMemory, acl: [.string], keyFlags: setKeyFlags,
            run: set),
        Command(
            "SETNX", since: "1.0.0", group: .string, syntax: "key value",
            summary: "Set the string value of a key only when the key doesn't exist.",
            arity: .exactly(3), keys: [.one(at: 1, [.overwrite, .insert])], access: .write,
            traits: [.fast, .growsMemory], acl: [.string],
            deprecated: Deprecation(since: "2.6.12", replacedBy: "`SET` with the `NX` argument"),
            run: setIfMissing),
        Command(
            "SETEX", since: "2.0.0", group: .string, syntax: "key seconds value",
            summary: "Sets the string value and expiration time of a key. Creates the key if it "
                + "doesn't exist.",
            arity: .exactly(4), keys: [.one(at: 1, [.overwrite, .update])], access: .write,
            traits: .growsMemory, acl: [.string],
            deprecated: Deprecation(since: "2.6.12", replacedBy: "`SET` with the `EX` argument")
        ) { (call) throws(CommandError) in try setWithExpiry(&call, .seconds) },
        Command(
            "PSETEX", since: "2.6.0", group: .string, syntax: "key milliseconds value",
            summary: "Sets both string value and expiration time in milliseconds of a key. The "
                + "key is created if it doesn't exist.",
            arity: .exactly(4), keys: [.one(at: 1, [.overwrite, .update])], access: .write,
            traits: .growsMemory, acl: [.string],
            deprecated: Deprecation(since: "2.6.12", replacedBy: "`SET` with the `PX` argument")
        ) { (call) throws(CommandError) in try setWithExpiry(&call, .milliseconds) },
        Command(
            "GETSET", since: "1.0.0", group: .string, syntax: "key value",
            summary: "Returns the previous string value of a key after setting it to a new value.",
            arity: .exactly(3), keys: [.one(at: 1, [.readWrite, .access, .update])],
            access: .write, traits: [.fast, .growsMemory], acl: [.string],
            deprecated: Deprecation(since: "6.2.0", replacedBy: "`SET` with the `!GET` argument"),
            run: getSet),
    ]
}

private func get(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    if let value = try call.keyspace.readString(key) {
        call.reply.bulk(value)
    } else {
        call.reply.null()
    }
    return .none
}

/// SET reads the key only if it is asked for the old value.
private func setKeyFlags(_ arguments: Arguments) -> KeyFlags {
    for index in 3..<max(3, arguments.count) where arguments[index].equalsIgnoringCase("get") {
        return [.readWrite, .access, .update]
    }
    return [.overwrite, .update]
}

private func set(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let value = try call.arguments.next()
    if call.arguments.isAtEnd {
        try call.keyspace.replaceString(key, value, expiry: .clear)
        call.reply.ok()
        return .changed(.set)
    }
    return try setWithOptions(&call, key, value)
}

/// Under which condition SET writes, and what else it does.
struct SetOptions {
    enum Condition {
        case always
        case missing
        case present
        case equal(ByteView)
        case notEqual(ByteView)
        case digest(ByteView)
        case notDigest(ByteView)
    }

    private(set) var condition = Condition.always
    private(set) var repliesOld = false
    private(set) var expiry = ExpiryChange.clear

    /// No condition, no options.
    init() {}

    /// Reads a condition, if one stands next.
    mutating func readCondition(_ arguments: inout Arguments) throws(CommandError) {
        if let (_, found) = try Self.condition(reading: &arguments) { condition = found }
    }

    init(reading call: inout Call) throws(CommandError) {
        // An option may be repeated, the last one counts; two different ones exclude each other.
        var named: StaticString?
        var deadline: ExpiryOption?
        var kind: ExpiryOption.Kind?
        while !call.arguments.isAtEnd {
            if let (name, found) = try Self.condition(reading: &call.arguments) {
                if let named, !(ByteView(named) == ByteView(name)) { throw .syntax }
                named = name
                condition = found
            } else if call.arguments.skip("get") {
                repliesOld = true
            } else {
                var next = ExpiryOption.Kind.bare
                if call.arguments.skip("keepttl") {
                    expiry = .keep
                } else if let option = try ExpiryOption(reading: &call.arguments) {
                    next = option.kind
                    deadline = option
                } else {
                    throw .syntax
                }
                if let kind, kind != next { throw .syntax }
                kind = next
            }
        }
        if let deadline { expiry = .at(try deadline.deadline(&call)) }
    }

    private static func condition(
        reading arguments: inout Arguments
    ) throws(CommandError) -> (StaticString, Condition)? {
        if arguments.skip("nx") { return ("nx", .missing) }
        if arguments.skip("xx") { return ("xx", .present) }
        if arguments.skip("ifeq") { return ("ifeq", .equal(try arguments.next())) }
        if arguments.skip("ifne") { return ("ifne", .notEqual(try arguments.next())) }
        if arguments.skip("ifdeq") { return ("ifdeq", .digest(try arguments.next())) }
        if arguments.skip("ifdne") { return ("ifdne", .notDigest(try arguments.next())) }
        return nil
    }

    /// Whether the key, which holds `old`, is to be written.
    func admits(_ old: Entry?, _ keyspace: inout KeyAccess) throws(CommandError) -> Bool {
        switch condition {
        case .always: return true
        case .missing: return old == nil
        case .present: return old != nil
        case .equal(let wanted):
            guard let old else { return false }
            return try keyspace.string(of: old) == wanted
        case .notEqual(let unwanted):
            guard let old else { return true }
            return try !(keyspace.string(of: old) == unwanted)
        case .digest(let wanted):
            guard let old else { return false }
            return try isDigest(wanted, of: keyspace.string(of: old))
        case .notDigest(let unwanted):
            guard let old else { return true }
            return try !isDigest(unwanted, of: keyspace.string(of: old))
        }
    }
}

/// Whether `text` is the digest of `value`: XXH3 as 16 hexadecimal digits, in any case.
func isDigest(_ text: ByteView, of value: ByteView) -> Bool {
    guard text.count == 16 else { return false }
    var digits = ByteBuffer()
    appendDigest(of: value, to: &digits)
    let digest = digits.view
    return (0..<16).allSatisfy { lowered(text[$0]) == digest[$0] }
}

/// Appends the digest of a value as DIGEST replies it.
func appendDigest(of value: ByteView, to buffer: inout ByteBuffer) {
    let digest = xxh3(value)
    for shift in stride(from: UInt64(60), through: 0, by: -4) {
        let digit = UInt8(truncatingIfNeeded: (digest >> shift) & 15)
        buffer.append(digit < 10 ? 0x30 + digit : 0x61 + digit - 10)
    }
}

@inline(never)
private func setWithOptions(
    _ call: inout Call, _ key: Key, _ value: ByteView
) throws(CommandError) -> Effect {
    let options = try SetOptions(reading: &call)
    let old = options.repliesOld ? call.keyspace.readQuietly(key) : call.keyspace.find(key)
    let admits = try options.admits(old, &call.keyspace)
    // The old value is replied before it is overwritten; an error must come before any reply.
    if options.repliesOld {
        if let old {
            call.reply.bulk(try call.keyspace.string(of: old))
        } else {
            call.reply.null()
        }
    }
    guard admits else {
        if !options.repliesOld { call.reply.null() }
        return .none
    }
    let before = call.reply.buffer.count
    if !options.repliesOld { call.reply.ok() }
    do {
        return try store(&call, key, value, options.expiry)
    } catch {
        call.reply.buffer.truncate(to: before)
        throw error
    }
}

/// Sets a key. When its deadline has passed already it is gone at once; Redis keeps and hides it until
/// somebody looks, and tells of the same events.
private func store(
    _ call: inout Call, _ key: Key, _ value: ByteView, _ expiry: ExpiryChange
) throws(CommandError) -> Effect {
    if case .at(let deadline) = expiry, deadline <= call.keyspace.passedMilliseconds {
        call.keyspace.noteSetAndExpired(key)
        return .recorded
    }
    try call.keyspace.replaceString(key, value, expiry: expiry)
    call.keyspace.logSet(key, value, expiry)
    guard case .at = expiry else { return .changed(.set) }
    call.keyspace.record(.set, key)
    call.keyspace.record(.expire, key, count: 0)
    return .recorded
}

extension KeyAccess {
    /// Removes a key that was set with a deadline in the past, and records its short life.
    func noteSetAndExpired(_ key: Key) {
        let old = kindReplaced(key)
        if remove(key) {
            log("DEL", key)
        } else {
            births.note(key)
            logNothing()
        }
        noteReplacement(of: old, by: .string, key)
        record(.set, key)
        record(.expire, key, count: 0)
        record(.expired, key, count: 0)
    }
}

private func setIfMissing(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let value = try call.arguments.next()
    if call.keyspace.find(key) != nil {
        call.reply.integer(0)
        return .none
    }
    try call.keyspace.setString(key, value, expiry: .clear)
    call.reply.integer(1)
    return .changed(.set)
}

private func setWithExpiry(
    _ call: inout Call, _ kind: ExpiryOption.Kind
) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let deadline = try ExpiryOption(kind, try call.arguments.next()).deadline(&call)
    let value = try call.arguments.next()
    let effect = try store(&call, key, value, .at(deadline))
    call.reply.ok()
    return effect
}

private func getSet(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let value = try call.arguments.next()
    let before = call.reply.buffer.count
    if let old = try call.keyspace.readString(key) {
        call.reply.bulk(old)
    } else {
        call.reply.null()
    }
    do {
        try call.keyspace.replaceString(key, value, expiry: .clear)
    } catch {
        call.reply.buffer.truncate(to: before)
        throw error
    }
    call.keyspace.logSet(key, value, .clear)
    return .changed(.set)
}
