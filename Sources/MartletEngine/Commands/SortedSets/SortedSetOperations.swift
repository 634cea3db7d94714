//  ZUNION, ZINTER, ZDIFF, what stores their results, ZINTERCARD: several sorted sets at once.
//
//  The result is built apart, in order, before anything is replied or written: a destination may be
//  one of the sources. Intersections walk the smallest source. Sets count as sorted sets whose
//  scores are 1.

import MartletBase

extension CommandGroup {
    static let sortedSetOperations: CommandGroup = [
        operation(
            .union, "ZUNION", "6.2.0",
            "Returns the union of multiple sorted sets.", unionComplexity),
        operation(
            .intersection, "ZINTER", "6.2.0",
            "Returns the intersect of multiple sorted sets.", intersectionComplexity),
        operation(
            .difference, "ZDIFF", "6.2.0",
            "Returns the difference between multiple sorted sets.", differenceComplexity),
        storing(
            .union, "ZUNIONSTORE", "2.0.0",
            "Stores the union of multiple sorted sets in a key.", unionComplexity),
        storing(
            .intersection, "ZINTERSTORE", "2.0.0",
            "Stores the intersect of multiple sorted sets in a key.", intersectionComplexity),
        storing(
            .difference, "ZDIFFSTORE", "6.2.0",
            "Stores the difference of multiple sorted sets in a key.", differenceComplexity),
        Command(
            "ZINTERCARD", since: "7.0.0", group: .sortedSet,
            syntax: "numkeys key [key ...] [LIMIT limit]",
            summary: "Returns the number of members of the intersect of multiple sorted sets.",
            complexity: "O(N*K) worst case with N being the smallest input sorted set, K being "
                + "the number of input sorted sets.",
            arity: .atLeast(3), keys: [.counted(at: 1, [.readOnly, .access])], access: .read,
            traits: .movableKeys, acl: [.sortedset], run: intersectionCount),
    ]

    private static let aggregation =
        " [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX | COUNT>]"

    private static func operation(
        _ kind: SetOperation, _ name: String, _ since: String, _ summary: String,
        _ complexity: String
    ) -> Command {
        Command(
            name, since: since, group: .sortedSet,
            syntax: "numkeys key [key ...]" + (kind == .difference ? "" : aggregation)
                + " [WITHSCORES]",
            summary: summary, complexity: complexity, arity: .atLeast(3),
            keys: [.counted(at: 1, [.readOnly, .access])], access: .read, traits: .movableKeys,
            acl: [.sortedset]
        ) { (call) throws(CommandError) in try reply(&call, kind) }
    }

    private static func storing(
        _ kind: SetOperation, _ name: String, _ since: String, _ summary: String,
        _ complexity: String
    ) -> Command {
        Command(
            name, since: since, group: .sortedSet,
            syntax: "destination numkeys key [key ...]" + (kind == .difference ? "" : aggregation),
            summary: summary, complexity: complexity, arity: .atLeast(4),
            keys: [
                .one(at: 1, [.overwrite, .update]), .counted(at: 2, [.readOnly, .access]),
            ],
            access: .write, traits: [.growsMemory, .movableKeys], acl: [.sortedset]
        ) { (call) throws(CommandError) in try store(&call, kind) }
    }
}

private let unionComplexity =
    "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted sets, and M being the "
    + "number of elements in the resulting sorted set."
private let intersectionComplexity =
    "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number "
    + "of input sorted sets and M being the number of elements in the resulting sorted set."
private let differenceComplexity =
    "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is "
    + "the size of the first set, and K is the size of the result set."

private enum SetOperation {
    case union
    case intersection
    case difference
    /// Only how many members an intersection has.
    case cardinality
}

private enum Aggregate {
    case sum
    case min
    case max
    case count

    func combine(_ one: Double, _ other: Double) -> Double {
        switch self {
        case .sum, .count:
            // Infinities of both signs: by definition nothing.
            let sum = one + other
            return sum.isNaN ? 0 : sum
        case .min: return other < one ? other : one
        case .max: return other > one ? other : one
        }
    }
}

/// One input of an operation.
private struct ScoredSource {
    private let members: Members
    var weight = 1.0

    private enum Members {
        case scored(SortedSetValue)
        case plain(SetValue)
    }

    /// The sorted set or set of a key.
    init(_ key: Key, _ keyspace: KeyAccess) throws(CommandError) {
        members =
            keyspace.find(key)?.kind == .set
            ? .plain(try keyspace.readSet(key)) : .scored(try keyspace.readSortedSet(key))
    }

    var count: Int {
        switch members {
        case .scored(let set): set.count
        case .plain(let set): set.count
        }
    }

    func score(of member: ByteView) -> Double? {
        switch members {
        case .scored(let set): set.score(of: member)
        case .plain(let set): set.contains(member) ? 1 : nil
        }
    }

    func forEachMember(_ body: (ByteView, Double) -> Void) {
        switch members {
        case .scored(let set): set.forEachMember(body)
        case .plain(let set): set.forEachMember { body($0, 1) }
        }
    }

    /// What a member with this score counts.
    func value(_ score: Double, _ aggregate: Aggregate) -> Double {
        if aggregate == .count { return weight }
        let product = weight * score
        return product.isNaN ? 0 : product
    }
}

/// The inputs and options of an operation.
private struct OperationRequest {
    private(set) var sources: [ScoredSource] = []
    private(set) var aggregate = Aggregate.sum
    private(set) var withScores = false
    private(set) var limit = Int64.max

    init(
        reading call: inout Call, _ operation: SetOperation, stores: Bool
    ) throws(CommandError) {
        let keyCount = try call.arguments.integer()
        if keyCount < 1 {
            throw call.error(
                "ERR at least 1 input key is needed for '\(call.command.fullName)' command")
        }
        if keyCount > Int64(call.arguments.remaining) { throw .syntax }
        let first = call.arguments.position
        // Whoever is past its deadline goes first: a removal may move the others' slots.
        for _ in 0..<keyCount { _ = call.keyspace.find(try call.arguments.key()) }
        call.arguments.position = first
        sources.reserveCapacity(Int(keyCount))
        for _ in 0..<keyCount {
            let key = try call.arguments.key()
            sources.append(try ScoredSource(key, call.keyspace))
        }
        try readOptions(&call.arguments, operation, stores: stores)
    }

    private mutating func readOptions(
        _ arguments: inout Arguments, _ operation: SetOperation, stores: Bool
    ) throws(CommandError) {
        let aggregates = operation == .union || operation == .intersection
        while !arguments.isAtEnd {
            let remaining = arguments.remaining
            if aggregates && remaining > sources.count && arguments.skip("weights") {
                for index in sources.indices {
                    guard let weight = try arguments.next().parseDouble() else {
                        throw .invalid("weight value is not a float")
                    }
                    sources[index].weight = weight
                }
            } else if aggregates && remaining >= 2 && arguments.skip("aggregate") {
                if arguments.skip("sum") {
                    aggregate = .sum
                } else if arguments.skip("min") {
                    aggregate = .min
                } else if arguments.skip("max") {
                    aggregate = .max
                } else if arguments.skip("count") {
                    aggregate = .count
                } else {
                    throw .syntax
                }
            } else if operation != .cardinality && !stores && arguments.skip("withscores") {
                withScores = true
            } else if operation == .cardinality && remaining >= 2 && arguments.skip("limit") {
                limit = try arguments.integer(.invalid("LIMIT can't be negative"))
                if limit < 0 { throw .invalid("LIMIT can't be negative") }
                if limit == 0 { limit = .max }
            } else {
                throw .syntax
            }
        }
    }

    /// The sources from the smallest on.
    private var ascending: [ScoredSource] { sources.sorted { $0.count < $1.count } }

    /// Calls `body` with each member of the intersection and its value; it returns false to stop.
    ///
    /// - Complexity: O(n * k), n = members of the smallest of k sources.
    func forEachInAll(_ body: (ByteView, Double) -> Bool) {
        let sources = ascending
        guard let smallest = sources.first else { return }
        var goesOn = true
        smallest.forEachMember { member, score in
            if !goesOn { return }
            var value = smallest.value(score, aggregate)
            for other in sources.dropFirst() {
                guard let score = other.score(of: member) else { return }
                // Not a number makes a sum 0, and neither least nor greatest: as Redis has it.
                value = aggregate.combine(
                    value, aggregate == .count ? other.weight : other.weight * score)
            }
            goesOn = body(member, value)
        }
    }

    func compute(_ operation: SetOperation, into result: inout NewSortedSet) {
        switch operation {
        case .union:
            for source in ascending {
                source.forEachMember { member, score in
                    let value = source.value(score, aggregate)
                    let known = result.score(of: member)
                    result.add(member, known.map { aggregate.combine($0, value) } ?? value)
                }
            }
        case .intersection, .cardinality:
            forEachInAll { member, value in
                result.add(member, value)
                return true
            }
        case .difference:
            guard let first = sources.first else { return }
            first.forEachMember { member, score in
                for other in sources.dropFirst() where other.score(of: member) != nil {
                    return
                }
                result.add(member, score)
            }
        }
    }
}

private func reply(_ call: inout Call, _ operation: SetOperation) throws(CommandError) -> Effect {
    let request = try OperationRequest(reading: &call, operation, stores: false)
    var result = call.keyspace.newSortedSet()
    request.compute(operation, into: &result)

    let isNested = request.withScores && call.reply.isRESP3
    call.reply.array(request.withScores && !isNested ? result.count * 2 : result.count)
    result.forEachMember { member, score in
        if isNested { call.reply.array(2) }
        call.reply.bulk(member)
        if request.withScores { call.reply.double(score) }
    }
    return .none
}

private func store(_ call: inout Call, _ operation: SetOperation) throws(CommandError) -> Effect {
    let destination = try call.arguments.key()
    let request = try OperationRequest(reading: &call, operation, stores: true)
    var result = call.keyspace.newSortedSet()
    request.compute(operation, into: &result)
    let event: KeyEvent =
        switch operation {
        case .union: .zunionstore
        case .intersection, .cardinality: .zinterstore
        case .difference: .zdiffstore
        }
    return try call.store(result, at: destination, event: event)
}

private func intersectionCount(_ call: inout Call) throws(CommandError) -> Effect {
    let request = try OperationRequest(reading: &call, .cardinality, stores: false)
    var count: Int64 = 0
    request.forEachInAll { _, _ in
        count += 1
        return count < request.limit
    }
    call.reply.integer(count)
    return .none
}
