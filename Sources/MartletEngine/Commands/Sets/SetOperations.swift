//  SUNION, SINTER, SDIFF, what stores their results, SINTERCARD: several sets at once.
//
//  Intersections walk the smallest set. A stored result is built apart before anything is written:
//  the destination may be one of the sources. What is only replied is written as it is found, but
//  for unions, whose members must be told apart.

import MartletBase

extension CommandGroup {
    static let setOperations: CommandGroup = [
        operation(.union, "SUNION", "Returns the union of multiple sets.", totalComplexity),
        operation(
            .intersection, "SINTER", "Returns the intersect of multiple sets.",
            intersectionComplexity),
        operation(
            .difference, "SDIFF", "Returns the difference of multiple sets.", totalComplexity),
        storing(
            .union, "SUNIONSTORE", "Stores the union of multiple sets in a key.",
            totalComplexity),
        storing(
            .intersection, "SINTERSTORE", "Stores the intersect of multiple sets in a key.",
            intersectionComplexity),
        storing(
            .difference, "SDIFFSTORE", "Stores the difference of multiple sets in a key.",
            totalComplexity),
        Command(
            "SINTERCARD", since: "7.0.0", group: .set,
            syntax: "numkeys key [key ...] [LIMIT limit]",
            summary: "Returns the number of members of the intersect of multiple sets.",
            complexity: intersectionComplexity, arity: .atLeast(3),
            keys: [.counted(at: 1, [.readOnly, .access])], access: .read, traits: .movableKeys,
            acl: [.set], run: intersectionCount),
    ]

    private static func operation(
        _ kind: SetOperation, _ name: String, _ summary: String, _ complexity: String
    ) -> Command {
        Command(
            name, since: "1.0.0", group: .set, syntax: "key [key ...]", summary: summary,
            complexity: complexity, arity: .atLeast(2),
            keys: [.rest(from: 1, [.readOnly, .access])], access: .read, acl: [.set],
            tips: ["nondeterministic_output_order"]
        ) { (call) throws(CommandError) in try reply(&call, kind) }
    }

    private static func storing(
        _ kind: SetOperation, _ name: String, _ summary: String, _ complexity: String
    ) -> Command {
        Command(
            name, since: "1.0.0", group: .set, syntax: "destination key [key ...]",
            summary: summary, complexity: complexity, arity: .atLeast(3),
            keys: [.one(at: 1, [.overwrite, .update]), .rest(from: 2, [.readOnly, .access])],
            access: .write, traits: .growsMemory, acl: [.set]
        ) { (call) throws(CommandError) in try store(&call, kind) }
    }
}

private let totalComplexity = "O(N) where N is the total number of elements in all given sets."
private let intersectionComplexity =
    "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets."

private enum SetOperation {
    case union
    case intersection
    case difference
}

/// The sets of an operation, in the order in which they were named.
private struct SetSources {
    private var sets: [SetValue] = []

    init(reading arguments: inout Arguments, _ count: Int, _ keyspace: KeyAccess)
        throws(CommandError)
    {
        let first = arguments.position
        // Whoever is past its deadline goes first: a removal may move the others' slots.
        for _ in 0..<count { _ = keyspace.find(try arguments.key()) }
        arguments.position = first
        sets.reserveCapacity(count)
        for _ in 0..<count { sets.append(try keyspace.readSet(try arguments.key())) }
    }

    /// The only set that has members, if there is just one.
    var onlySet: SetValue? {
        let filled = sets.filter { !$0.isEmpty }
        return filled.count == 1 ? filled[0] : nil
    }

    /// Calls `body` with each member of each set.
    func forEachInAny(_ body: (ByteView) -> Void) {
        for set in sets { set.forEachMember(body) }
    }

    /// Calls `body` with each member of the intersection; it returns false to stop.
    ///
    /// - Complexity: O(n * k), n = members of the smallest of k sets.
    func forEachInAll(_ body: (ByteView) -> Bool) {
        let ascending = sets.sorted { $0.count < $1.count }
        guard let smallest = ascending.first else { return }
        let others = ascending.dropFirst()
        var goesOn = true
        smallest.forEachMember { member in
            if !goesOn { return }
            for other in others where !other.contains(member) { return }
            goesOn = body(member)
        }
    }

    /// Calls `body` with each member of the first set that is in no other one.
    ///
    /// - Complexity: O(n * k), n = members of the first of k sets.
    func forEachInFirstAlone(_ body: (ByteView) -> Void) {
        guard let first = sets.first else { return }
        // The largest first: it holds a member more likely than others.
        let others = sets.dropFirst().filter { !$0.isEmpty }.sorted { $0.count > $1.count }
        first.forEachMember { member in
            for other in others where other.contains(member) { return }
            body(member)
        }
    }
}

private func reply(_ call: inout Call, _ operation: SetOperation) throws(CommandError) -> Effect {
    let count = call.arguments.remaining
    let sources = try SetSources(reading: &call.arguments, count, call.keyspace)
    switch operation {
    case .union:
        if let only = sources.onlySet {
            call.reply.set(only.count)
            only.forEachMember { call.reply.bulk($0) }
            return .none
        }
        var result = call.keyspace.newSet()
        sources.forEachInAny { result.add($0) }
        call.reply.set(result.count)
        result.forEachMember { call.reply.bulk($0) }
    case .intersection:
        call.replySet { reply in
            var count = 0
            sources.forEachInAll { member in
                reply.bulk(member)
                count += 1
                return true
            }
            return count
        }
    case .difference:
        call.replySet { reply in
            var count = 0
            sources.forEachInFirstAlone { member in
                reply.bulk(member)
                count += 1
            }
            return count
        }
    }
    return .none
}

extension Call {
    /// Replies with the members that `body` writes; it returns how many there are.
    fileprivate mutating func replySet(_ body: (inout ReplyWriter) -> Int) {
        // Written apart: the header in front says how many there are.
        var members = ReplyWriter()
        let count = body(&members)
        reply.set(count)
        reply.buffer.append(members.buffer.view)
    }
}

private func store(_ call: inout Call, _ operation: SetOperation) throws(CommandError) -> Effect {
    let destination = try call.arguments.key()
    let given = call.arguments.remaining
    let sources = try SetSources(reading: &call.arguments, given, call.keyspace)
    var result = call.keyspace.newSet()
    let event: KeyEvent
    switch operation {
    case .union:
        sources.forEachInAny { result.add($0) }
        event = .sunionstore
    case .intersection:
        sources.forEachInAll { member in
            result.add(member)
            return true
        }
        event = .sinterstore
    case .difference:
        sources.forEachInFirstAlone { result.add($0) }
        event = .sdiffstore
    }

    let count = result.count
    if count == 0 {
        call.reply.integer(0)
        return call.keyspace.remove(destination) ? .changed(.del) : .none
    }
    try call.keyspace.setSet(destination, result, limits: call.setLimits)
    call.reply.integer(count)
    return .changed(event)
}

private func intersectionCount(_ call: inout Call) throws(CommandError) -> Effect {
    let keyCount = try call.arguments.integer(.invalid("numkeys should be greater than 0"))
    if keyCount < 1 { throw .invalid("numkeys should be greater than 0") }
    if keyCount > Int64(call.arguments.remaining) {
        throw .invalid("Number of keys can't be greater than number of args")
    }
    let keys = call.arguments.position
    call.arguments.position += Int(keyCount)
    var limit = Int64.max
    while !call.arguments.isAtEnd {
        if call.arguments.remaining < 2 || !call.arguments.skip("limit") { throw .syntax }
        limit = try call.arguments.integer(.invalid("LIMIT can't be negative"))
        if limit < 0 { throw .invalid("LIMIT can't be negative") }
        if limit == 0 { limit = .max }
    }
    call.arguments.position = keys
    let sources = try SetSources(reading: &call.arguments, Int(keyCount), call.keyspace)
    var count: Int64 = 0
    sources.forEachInAll { _ in
        count += 1
        return count < limit
    }
    call.reply.integer(count)
    return .none
}
