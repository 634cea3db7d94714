//  Members ordered by score, then by their bytes: the large form of the value behind the Z commands,
//  and the words in which both forms are asked. The small form is `PackedSortedSet`.
//
//  A sorted set is two views of the same records: the table finds a member's record, which holds its
//  score; the tree keeps the records' handles in order.
//
//         table:  hash of "ann" ─┐            ┌─ record: score 1.0, "ann"
//                                ├─ handle ───┤
//         tree:   [ 1.0 | 2.5 ] ─┘            └─ …

import CSystem
import MartletBase

/// Which scores a write may change.
package struct ScoreRule: OptionSet, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Members that are there stay as they are.
    package static let onlyNew = ScoreRule(rawValue: 1)
    /// Members that are not there stay away.
    package static let onlyExisting = ScoreRule(rawValue: 2)
    /// A score that is there only grows.
    package static let onlyGreater = ScoreRule(rawValue: 4)
    /// A score that is there only falls.
    package static let onlyLess = ScoreRule(rawValue: 8)
    /// The given score is added to the one that is there.
    package static let increments = ScoreRule(rawValue: 16)
}

/// What a write of one member did.
package enum Placement {
    /// The member is new, with this score.
    case added(Double)
    /// The member has this score now.
    case moved(Double)
    /// It had this score already.
    case unchanged(Double)
    /// The rule forbade it.
    case refused
    /// Infinities of both signs would have been added up.
    case notNumber
}

extension ScoreRule {
    /// What becomes of a member that is there with the score `old`.
    @inline(__always)
    func decide(old: Double, given: Double) -> Placement {
        if contains(.onlyNew) { return .refused }
        let new = contains(.increments) ? old + given : given
        if new.isNaN { return .notNumber }
        if contains(.onlyGreater) && new <= old || contains(.onlyLess) && new >= old {
            return .refused
        }
        return new == old ? .unchanged(old) : .moved(new)
    }
}

/// An interval of scores.
package struct ScoreRange {
    package var min: Double
    package var max: Double
    package var excludesMin: Bool
    package var excludesMax: Bool

    package init(
        min: Double, max: Double, excludesMin: Bool = false, excludesMax: Bool = false
    ) {
        self.min = min
        self.max = max
        self.excludesMin = excludesMin
        self.excludesMax = excludesMax
    }

    /// Nothing is in it, whatever the set.
    package var isEmpty: Bool { min > max || min == max && (excludesMin || excludesMax) }

    @inline(__always)
    func isBelow(_ score: Double) -> Bool { excludesMin ? score <= min : score < min }
    @inline(__always)
    func isAbove(_ score: Double) -> Bool { excludesMax ? score >= max : score > max }
}

/// One end of an interval of members.
package enum MemberBound {
    /// Before all members.
    case lowest
    /// After all members.
    case highest
    case including(ByteView)
    case excluding(ByteView)
}

/// An interval of members in the order of their bytes.
package struct MemberRange {
    package var min: MemberBound
    package var max: MemberBound

    package init(min: MemberBound, max: MemberBound) {
        self.min = min
        self.max = max
    }

    /// Nothing is in it, whatever the set.
    package var isEmpty: Bool {
        switch (min, max) {
        case (.highest, _), (_, .lowest): return true
        case (.lowest, _), (_, .highest): return false
        case (.including(let low), .including(let high)): return low.compare(high) > 0
        case (.including(let low), .excluding(let high)),
            (.excluding(let low), .including(let high)),
            (.excluding(let low), .excluding(let high)):
            return low.compare(high) >= 0
        }
    }

    func isBelow(_ member: ByteView) -> Bool {
        switch min {
        case .lowest: false
        case .highest: true
        case .including(let bound): member.compare(bound) < 0
        case .excluding(let bound): member.compare(bound) <= 0
        }
    }

    func isAbove(_ member: ByteView) -> Bool {
        switch max {
        case .lowest: true
        case .highest: false
        case .including(let bound): member.compare(bound) > 0
        case .excluding(let bound): member.compare(bound) >= 0
        }
    }
}

/// A sorted set of any size.
///
/// - Invariant: table and tree hold the same handles; the tree's scores are the records'.
/// - Memory: 46 bytes for a member of 12 bytes in random order, 43 in ascending order.
struct SortedSet: ~Copyable {
    private var table: MemberTable
    private var order = RankTree()

    init(hashKey: HashKey) {
        table = MemberTable(hashKey: hashKey, valueBytes: 8)
    }

    @inline(__always)
    var count: Int { order.count }

    /// All memory of the set, itself included.
    @inline(__always)
    var bytes: Int { MemoryLayout<SortedSet>.size &+ table.bytes &+ order.bytes }

    /// Frees all nodes of a set that is about to go, calling `pause` after each.
    mutating func dismantle(_ pause: () -> Void) {
        table.dismantle(pause)
        order.dismantle(pause)
    }

    // MARK: Reading

    @inline(__always)
    private func score(_ handle: MemberHandle) -> Double { table.store.value(handle).double }

    /// Complexity: O(1).
    func score(of member: ByteView) -> Double? {
        guard let handle = table.find(member) else { return nil }
        return score(handle)
    }

    /// Complexity: O(log n).
    func rank(of member: ByteView) -> (rank: Int, score: Double)? {
        guard let handle = table.find(member) else { return nil }
        let score = score(handle)
        return (order.rank(of: .entry(score, member, handle), table.store), score)
    }

    /// The ranks of the members in an interval of scores. Complexity: O(log n).
    func ranks(_ range: ScoreRange) -> Range<Int> {
        let low = order.rank(
            of: range.excludesMin ? .afterScore(range.min) : .score(range.min), table.store)
        let high = order.rank(
            of: range.excludesMax ? .score(range.max) : .afterScore(range.max), table.store)
        return low..<max(low, high)
    }

    /// The ranks of the members in an interval, where all scores are equal; some range where they
    /// are not. Complexity: O(log n).
    func ranks(_ range: MemberRange) -> Range<Int> {
        let low =
            switch range.min {
            case .lowest: 0
            case .highest: count
            case .including(let member): order.rank(of: .member(member), table.store)
            case .excluding(let member): order.rank(of: .afterMember(member), table.store)
            }
        let high =
            switch range.max {
            case .lowest: 0
            case .highest: count
            case .including(let member): order.rank(of: .afterMember(member), table.store)
            case .excluding(let member): order.rank(of: .member(member), table.store)
            }
        return low..<max(low, high)
    }

    /// Calls `body` for the members of a range of ranks in order, or in reverse. Complexity: O(r).
    @inline(__always)
    func forEach(in ranks: Range<Int>, reversed: Bool, _ body: (ByteView, Double) -> Void) {
        order.forEach(in: ranks, reversed: reversed, table.store) { score, handle in
            body(table.store.member(handle), score)
        }
    }

    /// A step of a scan: see `MemberTable.scan`.
    func scan(from position: UInt64, _ body: (ByteView, Double) -> Void) -> UInt64? {
        table.scan(from: position) { body(table.store.member($0), score($0)) }
    }

    /// Brings members close that are about to be looked up: see `MemberTable.prefetch`.
    func prefetch(_ hints: MemberHints) { table.prefetch(hints) }

    // MARK: Changing

    /// Puts a member at a score, or moves it there, as the rule allows.
    ///
    /// - Returns: nil when there was no memory; nothing changed then.
    /// - Precondition: `!given.isNaN`.
    /// - Complexity: O(log n).
    mutating func place(_ member: ByteView, _ given: Double, rule: ScoreRule) -> Placement? {
        let hash = table.hash(member)
        guard let handle = table.find(member, hash: hash) else {
            if rule.contains(.onlyExisting) { return .refused }
            guard let handle = insert(member, hash, given) else { return nil }
            order.insert(given, handle, member, table.store)
            return .added(given)
        }
        let old = score(handle)
        let placement = rule.decide(old: old, given: given)
        if case .moved(let new) = placement {
            order.move(old, to: new, handle, member, table.store)
            new.withView { table.setValue(handle, $0) }
        }
        return placement
    }

    private mutating func insert(
        _ member: ByteView, _ hash: UInt64, _ score: Double
    ) -> MemberHandle? {
        var handle: MemberHandle?
        score.withView { handle = table.insert(member, hash: hash, value: $0) }
        return handle
    }

    /// Removes a member; false when it was not there. Complexity: O(log n).
    mutating func remove(_ member: ByteView) -> Bool {
        let hash = table.hash(member)
        guard let handle = table.find(member, hash: hash) else { return false }
        order.remove(score(handle), handle, member, table.store)
        table.remove(handle, hash: hash)
        settle()
        return true
    }

    /// Removes the members of a range of ranks.
    ///
    /// - Precondition: `ranks` is inside `0 ..< count`.
    /// - Complexity: O(r + log n).
    mutating func remove(_ ranks: Range<Int>) {
        var rank = ranks.lowerBound
        while rank < ranks.upperBound {
            let (handles, count) = order.handles(
                from: rank, atMost: ranks.upperBound - rank, table.store)
            for index in 0..<count {
                table.remove(
                    handles[index], hash: table.hash(table.store.member(handles[index])))
            }
            rank += count
        }
        order.remove(ranks)
        settle()
    }

    /// Lets the tree follow records that are moved to give memory back.
    @inline(__always)
    private mutating func settle() {
        table.settle { old, new, store in
            let score = store.value(new).double
            order.replace(old, with: new, score: score, member: store.member(new), store)
        }
    }

    // MARK: Copies, snapshots, checks

    /// A set with the same members.
    func copy(hashKey: HashKey) -> SortedSet {
        var other = SortedSet(hashKey: hashKey)
        forEach(in: 0..<count, reversed: false) { member, score in
            _ = other.place(member, score, rule: [])
        }
        return other
    }

    /// Who began the walk over the records that is under way.
    var walkOwner: AnyObject? { table.store.walkOwner }

    /// Hands the records to `body`: they are what a snapshot walks.
    mutating func withStore<R>(_ body: (inout MemberStore) -> R) -> R { table.withStore(body) }

    /// Checks every invariant; for tests. Complexity: O(n log n).
    func checkInvariants() {
        table.checkInvariants()
        order.checkInvariants(table.store)
        precondition(table.count == order.count, "table and tree hold the same members")
        order.forEach(in: 0..<count, reversed: false, table.store) { score, handle in
            let member = table.store.member(handle)
            precondition(table.find(member) == handle, "the table has the tree's handle")
            precondition(self.score(handle) == score, "the tree's score is the record's")
        }
    }
}

extension Double {
    /// Lends the number's bytes.
    @inline(__always)
    func withView(_ body: (ByteView) -> Void) {
        unsafe withUnsafeBytes(of: self) { bytes in
            if let base = bytes.baseAddress { unsafe body(ByteView(base, count: 8)) }
        }
    }
}

extension ByteView {
    /// The number whose bytes these are.
    @inline(__always)
    var double: Double {
        precondition(count == 8, "a score has eight bytes")
        return unsafe address.loadUnaligned(as: Double.self)
    }
}
