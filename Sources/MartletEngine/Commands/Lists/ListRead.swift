//  LLEN, LRANGE, LINDEX, LPOS: questions about elements.

import MartletBase

extension CommandGroup {
    static let listRead: CommandGroup = [
        question(
            "LLEN", "key", "Returns the length of a list.", "O(1)", .exactly(2),
            flags: .readOnly, traits: .fast, run: llen),
        question(
            "LRANGE", "key start stop", "Returns a range of elements from a list.",
            "O(S+N) where S is the distance of start offset from HEAD for small lists, from "
                + "nearest end (HEAD or TAIL) for large lists; and N is the number of elements in "
                + "the specified range.", .exactly(4), run: lrange),
        question(
            "LINDEX", "key index", "Returns an element from a list by its index.",
            "O(N) where N is the number of elements to traverse to get to the element at index. "
                + "This makes asking for the first or the last element of the list O(1).",
            .exactly(3), run: lindex),
        question(
            "LPOS", "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
            "Returns the index of matching elements in a list.",
            "O(N) where N is the number of elements in the list, for the average case. When "
                + "searching for elements near the head or the tail of the list, or when the MAXLEN "
                + "option is provided, the command may run in constant time.",
            .atLeast(3), since: "6.0.6", run: lpos),
    ]

    private static func question(
        _ name: String, _ syntax: String, _ summary: String, _ complexity: String, _ arity: Arity,
        since: String = "1.0.0", flags: KeyFlags = [.readOnly, .access], traits: Traits = [],
        run: @escaping Handler
    ) -> Command {
        Command(
            name, since: since, group: .list, syntax: syntax, summary: summary,
            complexity: complexity, arity: arity, keys: [.one(at: 1, flags)], access: .read,
            traits: traits, acl: [.list], run: run)
    }
}

private func llen(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    call.reply.integer(try call.keyspace.readList(key).count)
    return .none
}

/// The part of `0 ..< count` from one index through another; negative ones count from the end.
func indexRange(_ start: Int64, through stop: Int64, count: Int) -> Range<Int> {
    let count = Int64(count)
    let first = max(0, start < 0 ? start + count : start)
    let last = min(count - 1, stop < 0 ? stop + count : stop)
    return first > last ? 0..<0 : Int(first)..<Int(last + 1)
}

private func lrange(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let start = try call.arguments.integer()
    let stop = try call.arguments.integer()
    let list = try call.keyspace.readList(key)

    let range = indexRange(start, through: stop, count: list.count)
    call.reply.array(range.count)
    list.forEach(in: range) { call.reply.element($0) }
    return .none
}

private func lindex(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let list = try call.keyspace.readList(key)
    if list.isEmpty {
        // Redis does not look at the index then.
        call.reply.null()
        return .none
    }
    if let element = list.element(at: try call.arguments.integer()) {
        call.reply.element(element)
    } else {
        call.reply.null()
    }
    return .none
}

private struct PositionOptions {
    /// Which match is the first to be told; from the end when negative.
    var rank: Int64 = 1
    /// How many matches, all for 0; nil for one that is no array.
    var count: Int64?
    /// How many elements to compare, all for 0.
    var lengthMax: Int64 = 0

    init(reading arguments: inout Arguments) throws(CommandError) {
        while !arguments.isAtEnd {
            let isLast = arguments.remaining == 1
            if !isLast && arguments.skip("rank") {
                rank = try arguments.symmetricInteger()
                if rank == 0 {
                    throw .invalid(
                        """
                        RANK can't be zero: use 1 to start from the first match, 2 from the second \
                        ... or use negative to start from the end of the list
                        """)
                }
            } else if !isLast && arguments.skip("count") {
                count = try arguments.integer(.invalid("COUNT can't be negative"))
                if let count, count < 0 { throw .invalid("COUNT can't be negative") }
            } else if !isLast && arguments.skip("maxlen") {
                lengthMax = try arguments.integer(.invalid("MAXLEN can't be negative"))
                if lengthMax < 0 { throw .invalid("MAXLEN can't be negative") }
            } else {
                throw .syntax
            }
        }
    }
}

extension Arguments {
    /// The next argument as an integer whose negative is one too.
    mutating func symmetricInteger() throws(CommandError) -> Int64 {
        let value = try integer()
        if value == Int64.min {
            throw .invalid(
                """
                value is out of range, value must between -9223372036854775807 and \
                9223372036854775807
                """)
        }
        return value
    }
}

private func lpos(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let element = ListElement(try call.arguments.next())
    let options = try PositionOptions(reading: &call.arguments)
    let list = try call.keyspace.readList(key)
    let total = list.count
    let reversed = options.rank < 0
    let limit = options.count.map { $0 == 0 ? Int64.max : $0 } ?? 1

    var compared: Int64 = 0
    var matches: Int64 = 0
    var found = 0
    var first: Int?
    var positions: [Int] = []
    if total > 0 {
        list.walk(from: reversed ? total - 1 : 0, reversed: reversed) { other in
            compared += 1
            if other == element {
                matches += 1
                if matches >= abs(options.rank) {
                    let index = reversed ? total - Int(compared) : Int(compared) - 1
                    if options.count == nil { first = index } else { positions.append(index) }
                    found += 1
                }
            }
            return found < limit && (options.lengthMax == 0 || compared < options.lengthMax)
        }
    }

    if options.count != nil {
        call.reply.array(positions.count)
        for index in positions { call.reply.integer(index) }
    } else if let first {
        call.reply.integer(first)
    } else {
        call.reply.null()
    }
    return .none
}
