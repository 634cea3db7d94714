//  ZCARD, ZSCORE, ZMSCORE, ZRANK, ZREVRANK, ZCOUNT, ZLEXCOUNT: questions about members.

import MartletBase

extension CommandGroup {
    static let sortedSetRead: CommandGroup = [
        question(
            "ZCARD", "key", "Returns the number of members in a sorted set.", "O(1)",
            .exactly(2), flags: .readOnly, run: zcard),
        question(
            "ZSCORE", "key member", "Returns the score of a member in a sorted set.", "O(1)",
            .exactly(3), run: zscore),
        question(
            "ZMSCORE", "key member [member ...]",
            "Returns the score of one or more members in a sorted set.",
            "O(N) where N is the number of members being requested.", .atLeast(3),
            since: "6.2.0", run: zmscore),
        question(
            "ZRANK", "key member [WITHSCORE]",
            "Returns the index of a member in a sorted set ordered by ascending scores.",
            "O(log(N))", .atLeast(3), since: "2.0.0"
        ) { (call) throws(CommandError) in try rank(&call, reversed: false) },
        question(
            "ZREVRANK", "key member [WITHSCORE]",
            "Returns the index of a member in a sorted set ordered by descending scores.",
            "O(log(N))", .atLeast(3), since: "2.0.0"
        ) { (call) throws(CommandError) in try rank(&call, reversed: true) },
        question(
            "ZCOUNT", "key min max",
            "Returns the count of members in a sorted set that have scores within a range.",
            "O(log(N)) with N being the number of elements in the sorted set.", .exactly(4),
            since: "2.0.0"
        ) { (call) throws(CommandError) in try countMembers(&call, .scores) },
        question(
            "ZLEXCOUNT", "key min max",
            "Returns the number of members in a sorted set within a lexicographical range.",
            "O(log(N)) with N being the number of elements in the sorted set.", .exactly(4),
            since: "2.8.9"
        ) { (call) throws(CommandError) in try countMembers(&call, .members) },
    ]

    private static func question(
        _ name: String, _ syntax: String, _ summary: String, _ complexity: String, _ arity: Arity,
        since: String = "1.2.0", flags: KeyFlags = [.readOnly, .access], run: @escaping Handler
    ) -> Command {
        Command(
            name, since: since, group: .sortedSet, syntax: syntax, summary: summary,
            complexity: complexity, arity: arity, keys: [.one(at: 1, flags)], access: .read,
            traits: .fast, acl: [.sortedset], member: syntax.hasPrefix("key member") ? 2 : 0,
            run: run)
    }
}

private func zcard(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    call.reply.integer(try call.keyspace.readSortedSet(key).count)
    return .none
}

private func zscore(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let member = try call.arguments.next()
    let score = try call.keyspace.readSortedSet(key).score(of: member)
    if let score { call.reply.double(score) } else { call.reply.null() }
    return .none
}

private func zmscore(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let set = try call.keyspace.readSortedSet(key)
    call.reply.array(call.arguments.remaining)
    while !call.arguments.isAtEnd {
        let score = set.score(of: try call.arguments.next())
        if let score { call.reply.double(score) } else { call.reply.null() }
    }
    return .none
}

private func rank(_ call: inout Call, reversed: Bool) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let member = try call.arguments.next()
    if call.arguments.remaining > 1 { throw call.arityError() }
    let withScore = call.arguments.skip("withscore")
    if !call.arguments.isAtEnd { throw .syntax }

    let set = try call.keyspace.readSortedSet(key)
    guard let (rank, score) = set.rank(of: member) else {
        if withScore { call.reply.nullArray() } else { call.reply.null() }
        return .none
    }
    if withScore { call.reply.array(2) }
    call.reply.integer(reversed ? set.count - 1 - rank : rank)
    if withScore { call.reply.double(score) }
    return .none
}

private func countMembers(
    _ call: inout Call, _ kind: SortedSetSelection.Kind
) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let first = try call.arguments.next()
    let selection = try SortedSetSelection(kind, first, try call.arguments.next())
    let set = try call.keyspace.readSortedSet(key)
    call.reply.integer(selection.ranks(in: set).count)
    return .none
}
