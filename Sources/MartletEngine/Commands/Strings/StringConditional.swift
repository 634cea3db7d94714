//  DELEX and DELIFEQ, MSETEX, INCREX: writes under a condition, of newer servers.

import MartletBase

extension CommandGroup {
    static let stringConditional: CommandGroup = [
        Command(
            "DELEX", since: "8.4.0", group: .string,
            syntax: "key [IFEQ value | IFNE value | IFDEQ digest | IFDNE digest]",
            summary: "Conditionally removes a key based on its value or the digest of it.",
            arity: .atLeast(2), keys: [.one(at: 1, [.readWrite, .delete])], access: .write,
            traits: .fast, acl: [.string], run: deleteConditionally),
        Command(
            "DELIFEQ", since: "9.0.0", group: .string, syntax: "key value",
            summary: "Deletes a key if its value is the given one.", arity: .exactly(3),
            keys: [.one(at: 1, [.readWrite, .delete])], access: .write, traits: .fast,
            acl: [.string], run: deleteIfEqual),
        Command(
            "MSETEX", since: "8.4.0", group: .string,
            syntax: "numkeys key value [key value ...] [NX | XX] [EX seconds | "
                + "PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | "
                + "KEEPTTL]",
            summary: "Atomically sets several string keys with an optional condition and a shared "
                + "expiration time.",
            complexity: "O(N) where N is the number of keys to set.",
            arity: .atLeast(4), keys: [.counted(at: 1, step: 2, [.overwrite, .update])],
            access: .write, traits: [.growsMemory, .movableKeys], acl: [.string],
            run: setManyWithExpiry),
        Command(
            "INCREX", since: "8.8.0", group: .string,
            syntax: "key [BYINT increment | BYFLOAT increment] [LBOUND bound] [UBOUND bound] "
                + "[SATURATE] [EX seconds | PX milliseconds | EXAT unix-time-seconds | "
                + "PXAT unix-time-milliseconds | PERSIST] [ENX]",
            summary: "Increments a number within bounds and sets its expiration time. Replies "
                + "with the new value and the increment that was applied.",
            arity: .atLeast(2), keys: [.one(at: 1, [.readWrite, .access, .update])],
            access: .write, traits: [.fast, .growsMemory], acl: [.string], run: incrementBounded),
    ]
}

private func deleteConditionally(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    var options = SetOptions()
    try options.readCondition(&call.arguments)
    if !call.arguments.isAtEnd { throw .syntax }
    guard let old = call.keyspace.find(key), try options.admits(old, &call.keyspace) else {
        call.reply.integer(0)
        return .none
    }
    _ = call.keyspace.remove(key)
    call.keyspace.log("DEL", key)
    call.reply.integer(1)
    return .changed(.del)
}

private func deleteIfEqual(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let wanted = try call.arguments.next()
    guard let old = call.keyspace.find(key), try call.keyspace.string(of: old) == wanted else {
        call.reply.integer(0)
        return .none
    }
    _ = call.keyspace.remove(key)
    call.keyspace.log("DEL", key)
    call.reply.integer(1)
    return .changed(.del)
}

private func setManyWithExpiry(_ call: inout Call) throws(CommandError) -> Effect {
    let count = try call.arguments.integer(.invalid("invalid numkeys value or out of range"))
    guard count > 0, count <= Int64(Int32.max) else {
        throw .invalid("invalid numkeys value or out of range")
    }
    guard count <= Int64(call.arguments.remaining / 2) else {
        throw .syntax
    }
    let first = call.arguments.position
    call.arguments.position += Int(count) * 2
    let options = try SetOptions(reading: &call)
    switch options.condition {
    case .always, .missing, .present: break
    default: throw .syntax
    }
    if options.repliesOld { throw .syntax }

    call.arguments.position = first
    for _ in 0..<count {
        let isPresent = call.keyspace.find(try call.arguments.key()) != nil
        _ = try call.arguments.next()
        switch (options.condition, isPresent) {
        case (.missing, true), (.present, false):
            call.reply.integer(0)
            return .none
        default: break
        }
    }
    call.arguments.position = first
    for _ in 0..<count {
        let key = try call.arguments.key()
        let value = try call.arguments.next()
        if case .at(let deadline) = options.expiry, deadline <= call.keyspace.passedMilliseconds {
            call.keyspace.noteSetAndExpired(key)
            continue
        }
        try call.keyspace.replaceString(key, value, expiry: options.expiry)
        call.keyspace.logSet(key, value, options.expiry)
        call.keyspace.record(.set, key)
        if case .at = options.expiry { call.keyspace.record(.expire, key, count: 0) }
    }
    call.reply.integer(1)
    return .recorded
}

/// What INCREX was asked for.
private struct IncrementOptions {
    var integer: Int64 = 1
    var float: LongDouble?
    var lower: ByteView?
    var upper: ByteView?
    var saturates = false
    var option: ExpiryOption?
    var persists = false
    var onlyWithoutExpiry = false

    init(reading call: inout Call) throws(CommandError) {
        var hasIncrement = false
        while !call.arguments.isAtEnd {
            if call.arguments.skip("byint") {
                if hasIncrement { throw .syntax }
                hasIncrement = true
                integer = try call.arguments.integer()
            } else if call.arguments.skip("byfloat") {
                if hasIncrement { throw .syntax }
                hasIncrement = true
                guard let value = LongDouble(parsing: try call.arguments.next()) else {
                    throw .notFloat
                }
                float = value
            } else if call.arguments.skip("lbound") {
                lower = try call.arguments.next()
            } else if call.arguments.skip("ubound") {
                upper = try call.arguments.next()
            } else if call.arguments.skip("saturate") {
                saturates = true
            } else if call.arguments.skip("enx") {
                onlyWithoutExpiry = true
            } else if call.arguments.skip("persist") {
                if option != nil { throw .syntax }
                persists = true
            } else if let found = try ExpiryOption(reading: &call.arguments) {
                if persists || option != nil { throw .syntax }
                option = found
            } else {
                throw .syntax
            }
        }
        if onlyWithoutExpiry && option == nil { throw .syntax }
    }

    /// What becomes of the key's expiry once the new value is set.
    func expiry(at deadline: Int64?, hadExpiry: Bool) -> ExpiryChange {
        if persists { return .clear }
        guard let deadline, !(onlyWithoutExpiry && hadExpiry) else { return .keep }
        return .at(deadline)
    }
}

private func incrementBounded(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let options = try IncrementOptions(reading: &call)
    if let increment = options.float { return try incrementFloat(&call, key, increment, options) }
    let lower = try integerBound(options.lower, .min)
    let upper = try integerBound(options.upper, .max)
    if lower > upper { throw .invalid("LBOUND can't be greater than UBOUND") }
    let deadline = try options.option?.deadline(&call)

    var old: Int64 = 0
    var hadExpiry = false
    if let entry = call.keyspace.find(key) {
        guard let value = try call.keyspace.string(of: entry).parseInteger() else {
            throw .notInteger
        }
        old = value
        hadExpiry = entry.expiryMilliseconds != nil
    }
    var (new, overflows) = old.addingReportingOverflow(options.integer)
    if overflows || new < lower || new > upper {
        let isAbove = overflows ? options.integer > 0 : new > upper
        // Out of bounds nothing is applied, unless the bound itself is asked for.
        new = options.saturates ? (isAbove ? upper : lower) : old
        overflows = false
        if !options.saturates {
            call.reply.array(2)
            call.reply.integer(old)
            call.reply.integer(0)
            return .none
        }
    }
    let (applied, isHuge) = new.subtractingReportingOverflow(old)
    if isHuge { throw .overflow }
    let expiry = options.expiry(at: deadline, hadExpiry: hadExpiry)
    try call.keyspace.setInteger(key, new, expiry: expiry)
    new.withDecimal { call.keyspace.logSet(key, $0, expiry) }
    call.reply.array(2)
    call.reply.integer(new)
    call.reply.integer(applied)
    return .changed(.incrby)
}

private func integerBound(_ text: ByteView?, _ other: Int64) throws(CommandError) -> Int64 {
    guard let text else { return other }
    guard let value = text.parseInteger() else { throw .notInteger }
    return value
}

/// INCREX BYFLOAT: computed and written as INCRBYFLOAT does.
private func incrementFloat(
    _ call: inout Call, _ key: Key, _ increment: LongDouble, _ options: IncrementOptions
) throws(CommandError) -> Effect {
    let lower = try floatBound(options.lower)
    let upper = try floatBound(options.upper)
    if let lower, let upper, upper < lower {
        throw .invalid("LBOUND can't be greater than UBOUND")
    }
    let deadline = try options.option?.deadline(&call)

    var old = LongDouble(Int64(0))
    var hadExpiry = false
    if let entry = call.keyspace.find(key) {
        guard let value = LongDouble(parsing: try call.keyspace.string(of: entry)) else {
            throw .notFloat
        }
        old = value
        hadExpiry = entry.expiryMilliseconds != nil
    }
    guard var new = old.adding(increment) else { throw .notFinite }
    var applied = increment
    let crossed: LongDouble? =
        if let lower, new < lower { lower } else if let upper, upper < new { upper } else { nil }
    if let crossed {
        guard options.saturates else {
            replyFloats(&call, old, LongDouble(Int64(0)))
            return .none
        }
        // An infinite bound can be crossed by nothing but an LBOUND of inf, or a UBOUND of -inf.
        guard let difference = crossed.subtracting(old) else { throw .notFinite }
        new = crossed
        applied = difference
    }
    var text = ByteBuffer()
    text.append(longDouble: new)
    let expiry = options.expiry(at: deadline, hadExpiry: hadExpiry)
    try call.keyspace.setString(key, text.view, expiry: expiry, asText: true)
    call.keyspace.logSet(key, text.view, expiry)
    replyFloats(&call, new, applied)
    return .changed(.incrbyfloat)
}

/// The value and the increment: doubles in RESP3, and in RESP2 the digits that GET shows.
private func replyFloats(_ call: inout Call, _ value: LongDouble, _ applied: LongDouble) {
    call.reply.array(2)
    for number in [value, applied] {
        if call.reply.isRESP3 {
            call.reply.double(number.double)
        } else {
            var text = ByteBuffer()
            text.append(longDouble: number)
            call.reply.bulk(text.view)
        }
    }
}

private func floatBound(_ text: ByteView?) throws(CommandError) -> LongDouble? {
    guard let text else { return nil }
    guard let value = LongDouble(parsing: text) else { throw .notFloat }
    return value
}

extension CommandError {
    fileprivate static var notFinite: CommandError {
        .invalid("increment would produce NaN or Infinity")
    }
}
