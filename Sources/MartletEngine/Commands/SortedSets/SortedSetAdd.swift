//  ZADD, ZINCRBY: put members into a sorted set, or move their scores.

import MartletBase

extension CommandGroup {
    static let sortedSetAdd: CommandGroup = [
        Command(
            "ZADD", since: "1.2.0", group: .sortedSet,
            syntax: "key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
            summary: "Adds one or more members to a sorted set, or updates their scores. Creates "
                + "the key if it doesn't exist.",
            complexity: "O(log(N)) for each item added, where N is the number of elements in the "
                + "sorted set.",
            arity: .atLeast(4), keys: [.one(at: 1, [.readWrite, .update])], access: .write,
            traits: [.fast, .growsMemory], acl: [.sortedset], member: 3, run: zadd),
        Command(
            "ZINCRBY", since: "1.2.0", group: .sortedSet, syntax: "key increment member",
            summary: "Increments the score of a member in a sorted set.",
            complexity: "O(log(N)) where N is the number of elements in the sorted set.",
            arity: .exactly(4), keys: [.one(at: 1, [.readWrite, .access, .update])],
            access: .write, traits: [.fast, .growsMemory], acl: [.sortedset], member: 3,
            run: zincrby),
    ]
}

extension Call {
    /// Up to where sorted sets are small.
    @inline(__always)
    var sortedSetLimits: PackedLimits { unsafe state.settings.sortedSets.limits }
}

private struct AddOptions {
    var rule: ScoreRule = []
    var countsMoved = false

    init(reading arguments: inout Arguments) throws(CommandError) {
        // Nearly always a number comes next.
        while !arguments.beginsWithDigit {
            if arguments.skip("nx") {
                rule.insert(.onlyNew)
            } else if arguments.skip("xx") {
                rule.insert(.onlyExisting)
            } else if arguments.skip("gt") {
                rule.insert(.onlyGreater)
            } else if arguments.skip("lt") {
                rule.insert(.onlyLess)
            } else if arguments.skip("ch") {
                countsMoved = true
            } else if arguments.skip("incr") {
                rule.insert(.increments)
            } else {
                break
            }
        }
        if arguments.remaining == 0 || arguments.remaining % 2 != 0 { throw .syntax }
        if rule.isSuperset(of: [.onlyNew, .onlyExisting]) {
            throw .invalid("XX and NX options at the same time are not compatible")
        }
        if rule.intersection([.onlyNew, .onlyGreater, .onlyLess]).rawValue.nonzeroBitCount > 1 {
            throw .invalid(
                "GT, LT, and/or NX options at the same time are not compatible")
        }
        if rule.contains(.increments) && arguments.remaining > 2 {
            throw .invalid("INCR option supports a single increment-element pair")
        }
    }
}

private func zadd(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let options = try AddOptions(reading: &call.arguments)
    let first = call.arguments.position
    if call.arguments.remaining > 2 {
        // All of them, so that a ZADD that fails has changed nothing.
        while !call.arguments.isAtEnd {
            _ = try call.arguments.double()
            _ = try call.arguments.next()
        }
        call.arguments.position = first
    }
    var score = try call.arguments.double()
    var set = try call.keyspace.sortedSet(key)
    let limits = call.sortedSetLimits

    var added = 0
    var moved = 0
    var last: Double?
    while true {
        let member = try call.arguments.next()
        switch try set.place(member, score, rule: options.rule, limits: limits) {
        case .added(let new):
            added += 1
            last = new
        case .moved(let new):
            moved += 1
            last = new
        case .unchanged(let old): last = old
        case .refused: break
        // Of an increment, which stands alone: nothing has been changed.
        case .notNumber: throw .invalid("resulting score is not a number (NaN)")
        }
        if call.arguments.isAtEnd { break }
        score = try call.arguments.double()
    }

    if options.rule.contains(.increments) {
        if let last { call.reply.double(last) } else { call.reply.null() }
        return .changed(.zincr, count: added + moved)
    }
    call.reply.integer(options.countsMoved ? added + moved : added)
    return .changed(.zadd, count: added + moved)
}

private func zincrby(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let increment = try call.arguments.double()
    let member = try call.arguments.next()
    var set = try call.keyspace.sortedSet(key)
    let limits = call.sortedSetLimits

    switch try set.place(member, increment, rule: .increments, limits: limits) {
    case .added(let score), .moved(let score):
        call.reply.double(score)
        return .changed(.zincr)
    case .unchanged(let score):
        call.reply.double(score)
        return .none
    case .refused, .notNumber: throw .invalid("resulting score is not a number (NaN)")
    }
}
