//  ZRANGE in all its forms: a part of a sorted set by index, score or member, read or stored.

import MartletBase

extension CommandGroup {
    static let sortedSetRange: CommandGroup = [
        Command(
            "ZRANGE", since: "1.2.0", group: .sortedSet,
            syntax: "key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
            summary: "Returns members in a sorted set within a range of indexes.",
            complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M "
                + "the number of elements returned.",
            arity: .atLeast(4), keys: [.one(at: 1, [.readOnly, .access])], access: .read,
            acl: [.sortedset]
        ) { (call) throws(CommandError) in try range(&call, RangeForm(isFixed: false)) },
        Command(
            "ZRANGESTORE", since: "6.2.0", group: .sortedSet,
            syntax: "dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
            summary: "Stores a range of members from sorted set in a key.",
            complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M "
                + "the number of elements stored into the destination key.",
            arity: .atLeast(5),
            keys: [
                .one(at: 1, [.overwrite, .update]), .one(at: 2, [.readOnly, .access]),
            ],
            access: .write, traits: .growsMemory, acl: [.sortedset], run: rangeStore),
        older(
            "ZRANGEBYSCORE", "key min max [WITHSCORES] [LIMIT offset count]", since: "1.0.5",
            "Returns members in a sorted set within a range of scores.",
            insteadOf: "`ZRANGE` with the `BYSCORE` argument",
            RangeForm(isFixed: true, kind: .scores)),
        older(
            "ZREVRANGEBYSCORE", "key max min [WITHSCORES] [LIMIT offset count]", since: "2.2.0",
            "Returns members in a sorted set within a range of scores in reverse order.",
            insteadOf: "`ZRANGE` with the `REV` and `BYSCORE` arguments",
            RangeForm(isFixed: true, kind: .scores, isReversed: true)),
        older(
            "ZRANGEBYLEX", "key min max [LIMIT offset count]", since: "2.8.9",
            "Returns members in a sorted set within a lexicographical range.",
            insteadOf: "`ZRANGE` with the `BYLEX` argument",
            RangeForm(isFixed: true, kind: .members)),
        older(
            "ZREVRANGEBYLEX", "key max min [LIMIT offset count]", since: "2.8.9",
            "Returns members in a sorted set within a lexicographical range in reverse order.",
            insteadOf: "`ZRANGE` with the `REV` and `BYLEX` arguments",
            RangeForm(isFixed: true, kind: .members, isReversed: true)),
        older(
            "ZREVRANGE", "key start stop [WITHSCORES]", since: "1.2.0",
            "Returns members in a sorted set within a range of indexes in reverse order.",
            insteadOf: "`ZRANGE` with the `REV` argument",
            RangeForm(isFixed: true, isReversed: true)),
    ]

    private static func older(
        _ name: String, _ syntax: String, since: String, _ summary: String,
        insteadOf replacement: String, _ form: RangeForm
    ) -> Command {
        let scope =
            form.kind == .indexes
            ? "O(log(N)+M) with N being the number of elements in the sorted set and M the number "
                + "of elements returned."
            : "O(log(N)+M) with N being the number of elements in the sorted set and M the number "
                + "of elements being returned. If M is constant (e.g. always asking for the first "
                + "10 elements with LIMIT), you can consider it O(log(N))."
        return Command(
            name, since: since, group: .sortedSet, syntax: syntax, summary: summary,
            complexity: scope, arity: .atLeast(4), keys: [.one(at: 1, [.readOnly, .access])],
            access: .read, acl: [.sortedset],
            deprecated: Deprecation(since: "6.2.0", replacedBy: replacement)
        ) { (call) throws(CommandError) in try range(&call, form) }
    }
}

/// What the command's name, or its options, say about a range.
private struct RangeForm: Sendable {
    /// The name says it all: no option may.
    let isFixed: Bool
    var kind = SortedSetSelection.Kind.indexes
    var isReversed = false
    var withScores = false
    var limit = SelectionLimit()

    init(
        isFixed: Bool, kind: SortedSetSelection.Kind = .indexes, isReversed: Bool = false
    ) {
        self.isFixed = isFixed
        self.kind = kind
        self.isReversed = isReversed
    }

    /// Reads both ends and the options behind them; the cursor stands on the first end.
    mutating func read(
        _ arguments: inout Arguments, stores: Bool = false
    ) throws(CommandError) -> SortedSetSelection {
        let first = try arguments.next()
        let second = try arguments.next()
        var isKindGiven = isFixed
        while !arguments.isAtEnd {
            if !stores && arguments.skip("withscores") {
                withScores = true
            } else if arguments.remaining > 2 && arguments.skip("limit") {
                limit.offset = try arguments.integer()
                limit.count = try arguments.integer()
            } else if !isFixed && !isReversed && arguments.skip("rev") {
                isReversed = true
            } else if !isKindGiven && arguments.skip("bylex") {
                kind = .members
                isKindGiven = true
            } else if !isKindGiven && arguments.skip("byscore") {
                kind = .scores
                isKindGiven = true
            } else {
                throw .syntax
            }
        }
        if kind == .indexes && limit.count != -1 {
            throw .invalid(
                "syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
        }
        if withScores && kind == .members {
            throw .invalid("syntax error, WITHSCORES not supported in combination with BYLEX")
        }
        // In reverse the greater end is given first, except of indexes.
        let isSwapped = isReversed && kind != .indexes
        return try SortedSetSelection(kind, isSwapped ? second : first, isSwapped ? first : second)
    }

    func ranks(_ selection: SortedSetSelection, in set: SortedSetValue) -> Range<Int> {
        let ranks = selection.ranks(in: set, reversed: isReversed)
        return kind == .indexes ? ranks : limit.applied(to: ranks, reversed: isReversed)
    }
}

private func range(_ call: inout Call, _ form: RangeForm) throws(CommandError) -> Effect {
    var form = form
    let key = try call.arguments.key()
    let selection = try form.read(&call.arguments)
    let set = try call.keyspace.readSortedSet(key)

    call.reply.members(
        of: set, form.ranks(selection, in: set), reversed: form.isReversed,
        withScores: form.withScores)
    return .none
}

private func rangeStore(_ call: inout Call) throws(CommandError) -> Effect {
    let destination = try call.arguments.key()
    let source = try call.arguments.key()
    var form = RangeForm(isFixed: false)
    let selection = try form.read(&call.arguments, stores: true)
    let set = try call.keyspace.readSortedSet(source)

    // Built apart: the destination may be the source.
    var result = call.keyspace.newSortedSet()
    set.forEach(in: form.ranks(selection, in: set)) { member, score in
        result.add(member, score)
    }
    return try call.store(result, at: destination, event: .zrangestore)
}

extension Call {
    /// Makes a computed sorted set the value of a key, or removes the key when it is empty, and
    /// replies with the number of members.
    mutating func store(
        _ result: consuming NewSortedSet, at key: Key, event: KeyEvent
    ) throws(CommandError) -> Effect {
        let count = result.count
        if count == 0 {
            reply.integer(0)
            return keyspace.remove(key) ? .changed(.del) : .none
        }
        try keyspace.setSortedSet(key, result, limits: sortedSetLimits)
        reply.integer(count)
        return .changed(event)
    }
}
