//  HGETEX, HSETEX: values of fields together with their deadlines.

import MartletBase

extension CommandGroup {
    static let hashExpiringWrite: CommandGroup = [
        Command(
            "HGETEX", since: "8.0.0", group: .hash,
            syntax: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | "
                + "PXAT unix-time-milliseconds | PERSIST] FIELDS numfields field [field ...]",
            summary: "Get the value of one or more fields of a given hash key, and optionally set "
                + "their expiration.",
            complexity: "O(N) where N is the number of specified fields", arity: .atLeast(5),
            keys: [
                .one(at: 1, [.readWrite, .access, .update])
                    .noting("RW and UPDATE because it changes the TTL")
            ],
            access: .write, traits: .fast, acl: [.hash]
        ) { (call) throws(CommandError) in try call.replyingWhole(hgetex) },
        Command(
            "HSETEX", since: "8.0.0", group: .hash,
            syntax: "key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | "
                + "PXAT unix-time-milliseconds | KEEPTTL] FIELDS numfields field value "
                + "[field value ...]",
            summary: "Set the value of one or more fields of a given hash key, and optionally set "
                + "their expiration.",
            complexity: "O(N) where N is the number of fields being set.", arity: .atLeast(6),
            keys: [.one(at: 1, [.readWrite, .update])], access: .write,
            traits: [.fast, .growsMemory], acl: [.hash], run: hsetex),
    ]
}

/// What becomes of the deadlines of the fields.
private enum DeadlineChange {
    /// What the command does without an option: HGETEX leaves them, HSETEX takes them away.
    case none
    case at(Int64)
    case clear
    case keep

    var isNone: Bool {
        if case .none = self { return true }
        return false
    }

    /// Reads EX, PX, EXAT or PXAT with its number, if it stands next.
    init?(reading call: inout Call) throws(CommandError) {
        let unit: Int64
        let isRelative: Bool
        if call.arguments.skip("ex") {
            (unit, isRelative) = (1000, true)
        } else if call.arguments.skip("px") {
            (unit, isRelative) = (1, true)
        } else if call.arguments.skip("exat") {
            (unit, isRelative) = (1000, false)
        } else if call.arguments.skip("pxat") {
            (unit, isRelative) = (1, false)
        } else {
            return nil
        }
        if call.arguments.isAtEnd { throw call.arityError() }
        self = .at(
            try FieldDeadlineOption.read(&call, unit: unit, isRelative: isRelative))
    }
}

private func hgetex(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    var hash = try call.keyspace.hash(key)
    var change = try DeadlineChange(reading: &call) ?? .none
    if case .none = change, call.arguments.skip("persist") { change = .clear }
    if call.arguments.remaining < 2 { throw call.arityError() }
    let count = try call.arguments.fieldCount()
    if !change.isNone { hash.noteDeadlines() }

    let now = call.keyspace.passedMilliseconds
    let limits = call.hashLimits
    var changed = 0
    var removed = 0
    call.reply.array(count)
    while !call.arguments.isAtEnd {
        let field = try call.arguments.next()
        guard let value = hash.value(of: field) else {
            call.reply.null()
            continue
        }
        call.reply.bulk(value)
        switch change {
        case .none, .keep: break
        case .at(let deadline) where deadline <= now:
            _ = hash.remove(field)
            removed += 1
        case .at(let deadline):
            try hash.setDeadline(deadline, of: field, limits: limits)
            changed += 1
        case .clear:
            if hash.deadline(of: field) == nil { continue }
            try hash.setDeadline(nil, of: field, limits: limits)
            changed += 1
        }
        if call.keyspace.isLogging && !change.isNone { call.keyspace.collect(field) }
    }
    if removed > 0 {
        call.keyspace.logCollected("HDEL", key)
    } else if case .at(let deadline) = change {
        call.keyspace.logFieldDeadline(deadline, key)
    } else {
        call.keyspace.logFieldDeadline(nil, key)
    }
    if removed > 0 { return call.fieldsRemoved(removed, key, hash) }
    if changed == 0 { return .none }
    if case .clear = change { return .changed(.hpersist, count: changed) }
    return .changed(.hexpire, count: changed)
}

/// The options of HSETEX.
private struct ExpiringWriteOptions {
    private(set) var onlyNew = false
    private(set) var onlyExisting = false
    private(set) var change = DeadlineChange.none

    /// Reads everything in front of the pairs, in any order.
    init(reading call: inout Call) throws(CommandError) {
        var hasDeadline = false
        while !call.arguments.skip("fields") {
            let isNew = call.arguments.skip("fnx")
            if isNew || call.arguments.skip("fxx") {
                if onlyNew || onlyExisting {
                    throw .invalid("Only one of FXX or FNX arguments can be specified")
                }
                onlyNew = isNew
                onlyExisting = !isNew
                continue
            }
            if hasDeadline && Self.isDeadline(call.arguments) {
                throw .invalid(
                    "Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified")
            }
            if call.arguments.skip("keepttl") {
                change = .keep
            } else if let deadline = try DeadlineChange(reading: &call) {
                change = deadline
            } else {
                if call.arguments.isAtEnd { throw call.arityError() }
                let option = try call.arguments.next()
                call.errorDetail.removeAll()
                call.errorDetail.append("ERR unknown argument: ")
                // Up to a zero byte, as Redis prints it.
                call.errorDetail.append(option.slice(0, option.firstIndex(of: 0) ?? option.count))
                throw .detailed
            }
            hasDeadline = true
        }
        // A count and a pair at least; the count is looked at only then.
        if call.arguments.remaining < 3 { throw call.arityError() }
        let count = try call.arguments.integer(.invalid("invalid number of fields"))
        if count < 1 || count > Int64(Int32.max) { throw .invalid("invalid number of fields") }
        if count * 2 != Int64(call.arguments.remaining) { throw call.arityError() }
    }

    private static func isDeadline(_ arguments: Arguments) -> Bool {
        var arguments = arguments
        return arguments.skip("ex") || arguments.skip("px") || arguments.skip("exat")
            || arguments.skip("pxat") || arguments.skip("keepttl")
    }
}

private func hsetex(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let options = try ExpiringWriteOptions(reading: &call)
    let start = call.arguments.position
    var hash = try call.keyspace.hash(key)
    if options.onlyNew || options.onlyExisting {
        for index in stride(from: start, to: call.arguments.count, by: 2) {
            let isThere = hash.value(of: call.arguments[index]) != nil
            if isThere == options.onlyNew {
                call.reply.integer(0)
                return .none
            }
        }
    }

    let now = call.keyspace.passedMilliseconds
    let limits = call.hashLimits
    let count = call.arguments.remaining / 2
    var keepsDeadline = false
    if case .keep = options.change { keepsDeadline = true }
    for index in stride(from: start, to: call.arguments.count, by: 2) {
        _ = try hash.set(
            call.arguments[index], call.arguments[index + 1], keepsDeadline: keepsDeadline,
            limits: limits)
    }
    guard case .at(let deadline) = options.change else {
        if call.keyspace.isLogging { logWrite(&call, key, from: start, options.change) }
        call.reply.integer(1)
        return .changed(.hset, count: count)
    }
    call.keyspace.record(.hset, key, count: count)
    hash.noteDeadlines()
    for index in stride(from: start, to: call.arguments.count, by: 2) {
        let field = call.arguments[index]
        if deadline <= now {
            _ = hash.remove(field)
        } else {
            try hash.setDeadline(deadline, of: field, limits: limits)
        }
    }
    if call.keyspace.isLogging { logWrite(&call, key, from: start, options.change) }
    call.reply.integer(1)
    call.keyspace.record(deadline <= now ? .hdel : .hexpire, key, count: 0)
    if hash.isEmpty { call.keyspace.record(.del, key, count: 0) }
    return .recorded
}

/// Logs what HSETEX wrote, without its condition, or that fields it wrote are past their deadline and
/// gone.
private func logWrite(
    _ call: inout Call, _ key: Key, from start: Int, _ change: DeadlineChange
) {
    if case .at(let deadline) = change, deadline <= call.keyspace.passedMilliseconds {
        for index in stride(from: start, to: call.arguments.count, by: 2) {
            call.keyspace.collect(call.arguments[index])
        }
        return call.keyspace.logCollected("HDEL", key)
    }
    for index in start..<call.arguments.count { call.keyspace.collect(call.arguments[index]) }
    let pairs = Int64(call.keyspace.collectedCount / 2)
    switch change {
    case .none, .clear:
        call.keyspace.logCollected("HSET", key)
    case .keep:
        call.keyspace.logCollected("HSETEX", key, argumentCount: 3) {
            call.keyspace.logged("KEEPTTL")
            call.keyspace.logged("FIELDS")
            call.keyspace.logged(pairs)
        }
    case .at(let deadline):
        call.keyspace.logCollected("HSETEX", key, argumentCount: 4) {
            call.keyspace.logged("PXAT")
            call.keyspace.logged(deadline)
            call.keyspace.logged("FIELDS")
            call.keyspace.logged(pairs)
        }
    }
}

extension KeyAccess {
    /// Logs that the fields collected have this deadline now, or none.
    func logFieldDeadline(_ deadline: Int64?, _ key: Key) {
        let count = Int64(collectedCount)
        guard let deadline else {
            return logCollected("HPERSIST", key, argumentCount: 2) {
                logged("FIELDS")
                logged(count)
            }
        }
        logCollected("HPEXPIREAT", key, argumentCount: 3) {
            logged(deadline)
            logged("FIELDS")
            logged(count)
        }
    }
}
