//  SORT, SORT_RO: the elements of a list, set or sorted set in order, or what other keys say of them.
//
//  BY and GET make names of keys out of the elements, which nobody knows before the elements are
//  read: such a request runs with all shards held. All reading is done before STORE writes, and the
//  elements are copied out before other keys are looked at: one of those may have expired, and its
//  removal moves others.

import MartletBase

extension CommandGroup {
    static let keySort: CommandGroup = [
        Command(
            "SORT", since: "1.0.0", group: .generic,
            syntax: "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] "
                + "[ASC | DESC] [ALPHA] [STORE destination]",
            summary: "Sorts the elements in a list, a set, or a sorted set, optionally storing the "
                + "result.",
            complexity: complexity, arity: .atLeast(2), keys: sources + [destination],
            access: .write, traits: .growsMemory, acl: [.set, .sortedset, .list, .dangerous],
            reachesUnnamedKeys: { SortReach($0).isWide }, run: sortAndStore),
        Command(
            "SORT_RO", since: "7.0.0", group: .generic,
            syntax: "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] "
                + "[ASC | DESC] [ALPHA]",
            summary: "Returns the sorted elements of a list, a set, or a sorted set.",
            complexity: complexity, arity: .atLeast(2), keys: sources, access: .read,
            acl: [.set, .sortedset, .list, .dangerous],
            reachesUnnamedKeys: { SortReach($0).isWide }, run: sortReadOnly),
    ]

    private static let complexity =
        "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the "
        + "number of returned elements. When the elements are not sorted, complexity is O(N)."

    private static let sources: [KeySpec] = [
        .one(at: 1, [.readOnly, .access]),
        KeySpec(first: 2, find: .unknown, flags: [.readOnly, .access])
            .noting(
                "For the optional BY/GET keyword. It is marked 'unknown' because the key names "
                    + "derive from the content of the key we sort"),
    ]

    private static let destination =
        KeySpec(
            first: 2, find: .found({ SortReach($0).destination }), flags: [.overwrite, .update]
        )
        .noting(
            "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear "
                + "anywhere in the argument array")
}

/// What a request reaches besides its first key, known before it runs. Words that are no options are
/// passed over: the handler refuses them before it touches anything.
private struct SortReach {
    /// Which argument is STORE's key; the last one counts, as for the handler.
    var destination: Int?
    /// Its patterns name keys.
    var isWide = false

    init(_ arguments: Arguments) {
        var index = 2
        while index + 1 < arguments.count {
            let word = arguments[index]
            if word.equalsIgnoringCase("limit") {
                index += 2
            } else if word.equalsIgnoringCase("store") {
                index += 1
                destination = index
            } else if word.equalsIgnoringCase("by") || word.equalsIgnoringCase("get") {
                index += 1
                if case .key = KeyPattern(arguments[index]) { isWide = true }
            }
            index += 1
        }
    }
}

/// A pattern of BY or GET.
private enum KeyPattern {
    /// `#`: the element itself.
    case element
    /// Without an asterisk: no key at all.
    case nothing
    /// `prefix*suffix`, or `prefix*suffix->field` of a hash.
    case key(prefix: ByteView, suffix: ByteView, field: ByteView?)

    init(_ pattern: ByteView) {
        guard let asterisk = pattern.firstIndex(of: UInt8(ascii: "*")) else {
            self = pattern == ByteView("#") ? .element : .nothing
            return
        }
        // The first arrow behind the asterisk counts, unless nothing is behind it.
        var end = pattern.count
        var index = asterisk + 1
        while let dash = pattern.firstIndex(of: UInt8(ascii: "-"), from: index) {
            if dash + 1 < pattern.count, pattern[dash + 1] == UInt8(ascii: ">") {
                if dash + 2 < pattern.count { end = dash }
                break
            }
            index = dash + 1
        }
        self = .key(
            prefix: pattern.slice(0, asterisk), suffix: pattern.slice(asterisk + 1, end),
            field: end < pattern.count ? pattern.slice(end + 2, pattern.count) : nil)
    }
}

private struct SortOptions {
    /// BY a pattern with an asterisk.
    var weights: KeyPattern?
    /// BY a pattern without one: the elements stay in the order they have.
    var keepsOrder = false
    var offset: Int64 = 0
    /// Negative for no limit.
    var countMax: Int64 = -1
    /// GET, in order; none for the elements themselves.
    var columns: [KeyPattern] = []
    var isDescending = false
    var isAlphabetic = false
    var destination: Key?

    init(reading arguments: inout Arguments, mayStore: Bool) throws(CommandError) {
        while !arguments.isAtEnd {
            let left = arguments.remaining - 1
            if arguments.skip("asc") {
                isDescending = false
            } else if arguments.skip("desc") {
                isDescending = true
            } else if arguments.skip("alpha") {
                isAlphabetic = true
            } else if left >= 2, arguments.skip("limit") {
                offset = try arguments.integer()
                countMax = try arguments.integer()
            } else if mayStore, left >= 1, arguments.skip("store") {
                destination = try arguments.key()
            } else if left >= 1, arguments.skip("by") {
                let pattern = KeyPattern(try arguments.next())
                if case .key = pattern { weights = pattern } else { keepsOrder = true }
            } else if left >= 1, arguments.skip("get") {
                columns.append(KeyPattern(try arguments.next()))
            } else {
                throw .syntax
            }
        }
    }

    /// LIMIT of so many elements.
    func range(of count: Int) -> Range<Int> {
        let start = Int(min(max(offset, 0), Int64(count)))
        if countMax < 0 { return start..<count }
        return start..<(start + Int(min(countMax, Int64(count - start))))
    }
}

private func sortAndStore(_ call: inout Call) throws(CommandError) -> Effect {
    try sort(&call, mayStore: true)
}

private func sortReadOnly(_ call: inout Call) throws(CommandError) -> Effect {
    try sort(&call, mayStore: false)
}

private func sort(_ call: inout Call, mayStore: Bool) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    var options = try SortOptions(reading: &call.arguments, mayStore: mayStore)
    let kind = call.keyspace.find(key)?.kind
    if kind == .set && options.keepsOrder && options.destination != nil {
        // A set has no order; what is stored must not depend on where its members happen to stand.
        options.keepsOrder = false
        options.isAlphabetic = true
        options.weights = nil
    }

    var elements = SortedElements()
    try elements.load(key, kind, options, &call.keyspace)
    if !options.keepsOrder {
        try elements.weigh(options, &call.keyspace)
        elements.sort(options)
    }

    guard let destination = options.destination else {
        try reply(elements, options.columns, &call)
        return .none
    }
    let stored = elements.count * max(1, options.columns.count)
    if stored == 0 {
        if call.keyspace.remove(destination) {
            call.keyspace.record(.del, destination)
            call.keyspace.log("DEL", destination)
        }
    } else {
        try store(elements, options.columns, destination, &call)
        call.keyspace.record(.sortstore, destination, count: stored)
    }
    call.reply.integer(stored)
    return .recorded
}

private func reply(
    _ elements: borrowing SortedElements, _ columns: [KeyPattern], _ call: inout Call
) throws(CommandError) {
    let before = call.reply.buffer.count
    var name = ByteBuffer()
    call.reply.array(elements.count * max(1, columns.count))
    for index in 0..<elements.count {
        let element = elements[index]
        if columns.isEmpty { call.reply.bulk(element) }
        for column in columns {
            if let value = call.keyspace.value(of: column, for: element, &name) {
                call.reply.bulk(value)
            } else {
                call.reply.null()
            }
            // The same value may be asked for a million times.
            if call.reply.buffer.count - before > Limits.replyBytesMax {
                call.reply.buffer.truncate(to: before)
                throw .invalid("value is out of range")
            }
        }
    }
}

/// Makes a list of the result, which is not empty. All of it is read before the key is written.
private func store(
    _ elements: borrowing SortedElements, _ columns: [KeyPattern], _ destination: Key,
    _ call: inout Call
) throws(CommandError) {
    var values = ByteBuffer()
    var ends: [Int] = []
    var name = ByteBuffer()
    for index in 0..<elements.count {
        let element = elements[index]
        if columns.isEmpty {
            values.append(element)
            ends.append(values.count)
        }
        for column in columns {
            if let value = call.keyspace.value(of: column, for: element, &name) {
                values.append(value)
            }
            ends.append(values.count)
            if values.count > Limits.replyBytesMax { throw .invalid("value is out of range") }
        }
    }

    let old = call.keyspace.kindReplaced(destination)
    // Another value is no other key.
    if call.keyspace.remove(destination) { call.keyspace.sinks.remove(.creation) }
    do throws(CommandError) {
        var list = try call.keyspace.list(destination)
        list.willGrow(by: ends.count, bytes: values.count, call.listLimit)
        var start = 0
        for end in ends {
            try list.push(ListElement(values.view.slice(start, end)), atFront: false)
            start = end
        }
        logList(destination, values.view, ends, call.keyspace)
    } catch {
        // Without memory for all of it the key is gone.
        _ = call.keyspace.remove(destination)
        call.keyspace.record(.del, destination)
        call.keyspace.log("DEL", destination)
        throw error
    }
    call.keyspace.noteReplacement(of: old, by: .list, destination)
}

/// Logs the result and not the question: what SORT reads by patterns, fields past their deadline for
/// one, is not the same when the log is read.
private func logList(
    _ key: Key, _ values: ByteView, _ ends: [Int], _ keyspace: KeyAccess
) {
    if !keyspace.isLogging { return }
    keyspace.log("DEL", key)
    var start = 0
    for end in ends {
        keyspace.collect(values.slice(start, end), for: "RPUSH", key)
        start = end
    }
    keyspace.logCollected("RPUSH", key)
}

extension KeyAccess {
    /// What a pattern says of an element, or nil. The view lives until the next look.
    fileprivate mutating func value(
        of pattern: KeyPattern, for element: ByteView, _ name: inout ByteBuffer
    ) -> ByteView? {
        guard case .key(let prefix, let suffix, let field) = pattern else {
            if case .element = pattern { return element }
            return nil
        }
        name.removeAll()
        name.append(prefix)
        name.append(element)
        name.append(suffix)
        let key = key(name.view)
        // A key of another type says nothing.
        if let field { return (try? readHash(key))?.value(of: field) }
        return (try? readString(key)) ?? nil
    }
}

/// The elements to sort, copied out of their key, and what they are sorted by.
private struct SortedElements: ~Copyable {
    private struct Candidate {
        /// Where the element's bytes begin in `bytes`; it grows in the order the elements came.
        var start: Int
        var count: Int32
        /// Bytes of the weight, -1 when there is none.
        var weightCount: Int32 = -1
        /// Where the weight's bytes begin.
        var weightStart = 0
        var score = 0.0
    }

    private var bytes = ByteBuffer()
    private var candidates: [Candidate] = []

    init() {}

    var count: Int { candidates.count }

    /// An element as text.
    subscript(index: Int) -> ByteView {
        let candidate = candidates[index]
        return bytes.view.slice(candidate.start, candidate.start + Int(candidate.count))
    }

    private mutating func add(_ element: ByteView) {
        candidates.append(Candidate(start: bytes.count, count: Int32(element.count)))
        bytes.append(element)
    }

    private mutating func add(_ element: ListElement) {
        switch element {
        case .bytes(let view): add(view)
        case .integer(let value): value.withDecimal { add($0) }
        }
    }

    /// Reads the elements of a key; only those within the limit if they stay in the order they have.
    ///
    /// - Throws: `.wrongType`.
    mutating func load(
        _ key: Key, _ kind: ValueKind?, _ options: SortOptions, _ keyspace: inout KeyAccess
    ) throws(CommandError) {
        switch kind {
        case .set:
            let set = try keyspace.readSet(key)
            candidates.reserveCapacity(set.count)
            set.forEachMember { add($0) }
            if options.keepsOrder { keep(options.range(of: count)) }
        case .sortedSet:
            let set = try keyspace.readSortedSet(key)
            let places = Self.places(options, of: set.count)
            candidates.reserveCapacity(places.count)
            let isReversed = options.keepsOrder && options.isDescending
            set.forEach(in: places, reversed: isReversed) { member, _ in add(member) }
        default:
            // Missing keys, and those of a type that has no elements.
            let list = try keyspace.readList(key)
            let places = Self.places(options, of: list.count)
            candidates.reserveCapacity(places.count)
            let isReversed = options.keepsOrder && options.isDescending
            list.forEach(in: places, reversed: isReversed) { add($0) }
        }
    }

    /// Which elements are needed of a value that has an order; DESC counts from its end.
    private static func places(_ options: SortOptions, of count: Int) -> Range<Int> {
        if !options.keepsOrder { return 0..<count }
        let range = options.range(of: count)
        if !options.isDescending { return range }
        return (count - range.upperBound)..<(count - range.lowerBound)
    }

    private mutating func keep(_ range: Range<Int>) {
        candidates.removeSubrange(range.upperBound...)
        candidates.removeSubrange(..<range.lowerBound)
    }

    /// Looks up what the elements are sorted by.
    ///
    /// - Throws: when a weight that must be a number is none.
    mutating func weigh(
        _ options: SortOptions, _ keyspace: inout KeyAccess
    ) throws(CommandError) {
        if options.isAlphabetic && options.weights == nil { return }
        var name = ByteBuffer()
        for index in candidates.indices {
            var weight = self[index]
            if let pattern = options.weights {
                guard let found = keyspace.value(of: pattern, for: weight, &name) else { continue }
                weight = found
            }
            if options.isAlphabetic {
                candidates[index].weightStart = bytes.count
                candidates[index].weightCount = Int32(weight.count)
                bytes.append(weight)
            } else if let score = weight.parseDoubleLoosely() {
                candidates[index].score = score
            } else {
                throw .invalid("One or more scores can't be converted into double")
            }
        }
    }

    /// Sorts, and keeps what is within the limit.
    ///
    /// - Complexity: O(n + m log m) on average, n = elements, m = those within the limit.
    mutating func sort(_ options: SortOptions) {
        let wanted = options.range(of: count)
        let all = bytes.view
        let isDescending = options.isDescending
        if !options.isAlphabetic {
            candidates.sort(keeping: wanted) { one, other in
                // Equal numbers go by the elements' bytes: one order, however they came.
                let order =
                    one.score < other.score
                    ? -1 : one.score > other.score ? 1 : Self.compare(one, other, all)
                return isDescending ? order > 0 : order < 0
            }
        } else if options.weights == nil {
            candidates.sort(keeping: wanted) { one, other in
                let order = Self.compare(one, other, all)
                return isDescending ? order > 0 : order < 0
            }
        } else {
            candidates.sort(keeping: wanted) { one, other in
                let order = Self.compareWeights(one, other, all)
                // Equal weights keep the order the elements came in, up and down.
                if order == 0 { return (one.start, one.count) < (other.start, other.count) }
                return isDescending ? order > 0 : order < 0
            }
        }
    }

    @inline(__always)
    private static func compare(_ one: Candidate, _ other: Candidate, _ all: ByteView) -> Int {
        all.slice(one.start, one.start + Int(one.count))
            .compare(all.slice(other.start, other.start + Int(other.count)))
    }

    /// A weight that is missing comes before all others.
    private static func compareWeights(
        _ one: Candidate, _ other: Candidate, _ all: ByteView
    ) -> Int {
        if one.weightCount < 0 || other.weightCount < 0 {
            return Int(one.weightCount.signum() - other.weightCount.signum())
        }
        return all.slice(one.weightStart, one.weightStart + Int(one.weightCount))
            .compare(all.slice(other.weightStart, other.weightStart + Int(other.weightCount)))
    }
}

extension Array {
    /// Sorts, but leaves only the elements that come to stand in `range`. What is outside of it is
    /// set apart first, by quickselect, and never sorted.
    fileprivate mutating func sort(
        keeping range: Range<Int>, by precedes: (Element, Element) -> Bool
    ) {
        var low = 0
        var high = count
        var stepsLeft = 2 * (Int.bitWidth - count.leadingZeroBitCount)
        var random = Random(seed: UInt64(count))
        // A bad pivot costs a step; when they are used up the rest is sorted as it is.
        while high - low > 2 * range.count + 16 && stepsLeft > 0 {
            stepsLeft -= 1
            swapAt(low, low + random.index(below: high - low))
            let pivot = self[low]
            var place = low
            for index in (low + 1)..<high where precedes(self[index], pivot) {
                place += 1
                swapAt(place, index)
            }
            swapAt(low, place)
            if range.upperBound <= place {
                high = place
            } else if range.lowerBound > place {
                low = place + 1
            } else {
                break
            }
        }
        self[low..<high].sort(by: precedes)
        removeSubrange(range.upperBound...)
        removeSubrange(..<range.lowerBound)
    }
}
