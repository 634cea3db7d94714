//  The fields of a large hash that have a deadline, in order of time.
//
//  A sorted set whose members are the fields and whose scores are the deadlines, which a score holds
//  exactly. A field stands here a second time: its record in the hash stays as it is when its
//  deadline changes, and a snapshot walks these records as it walks those.
//
//  A class, so that a hash without deadlines has one empty word for it.

import MartletBase

/// Whether a field is there, and until when.
package enum FieldTime: Equatable {
    case missing
    case unlimited
    /// Wall clock milliseconds.
    case until(Int64)

    /// The latest deadline that a score holds exactly.
    package static let latestMilliseconds: Int64 = 1 << 53

    /// The deadline, if there is one.
    package var deadline: Int64? {
        if case .until(let deadline) = self { return deadline }
        return nil
    }
}

/// The deadlines of one hash.
///
/// - Invariant: `hiddenCount` fields have a deadline at or before the time of the last `advance`;
///   they are past it, and wait to be taken out.
/// - Memory: 46 bytes and the field.
final class FieldDeadlines {
    private var order: SortedSet
    private(set) var hiddenCount = 0
    private var nowMilliseconds = Int64.min

    init(hashKey: HashKey) { order = SortedSet(hashKey: hashKey) }

    /// Fields with a deadline.
    var count: Int { order.count }

    var bytes: Int { order.bytes }

    var earliest: Int64? {
        var earliest: Int64?
        order.forEach(in: 0..<min(1, count), reversed: false) { _, score in
            earliest = Int64(score)
        }
        return earliest
    }

    /// The earliest deadline of a field that is not hidden.
    var earliestLiving: Int64? {
        var earliest: Int64?
        order.forEach(in: hiddenCount..<min(hiddenCount + 1, count), reversed: false) { _, score in
            earliest = Int64(score)
        }
        return earliest
    }

    func deadline(of field: ByteView) -> Int64? { order.score(of: field).map { Int64($0) } }

    /// Whether a field is past its deadline.
    func hides(_ field: ByteView) -> Bool {
        guard hiddenCount > 0, let deadline = deadline(of: field) else { return false }
        return hides(deadline)
    }

    /// Whether fields with this deadline are past it.
    func hides(_ deadline: Int64) -> Bool { deadline <= nowMilliseconds }

    /// Calls `body` for all fields with a deadline, in order of time.
    func forEachField(_ body: (_ field: ByteView, _ deadline: Int64) -> Void) {
        order.forEach(in: 0..<count, reversed: false) { body($0, Int64($1)) }
    }

    /// Gives a field a deadline; false, and nothing changed, when there was no memory.
    func set(_ deadline: Int64, of field: ByteView) -> Bool {
        assert(Int64(Double(deadline)) == deadline, "a deadline has 53 bits at most")
        let wasHidden = hides(field)
        guard order.place(field, Double(deadline), rule: []) != nil else { return false }
        if wasHidden { hiddenCount -= 1 }
        if deadline <= nowMilliseconds { hiddenCount += 1 }
        return true
    }

    /// Takes the deadline of a field away, if it has one.
    func remove(_ field: ByteView) {
        if hides(field) { hiddenCount -= 1 }
        _ = order.remove(field)
    }

    /// Hides the fields whose deadline is at or before `nowMilliseconds`.
    func advance(to nowMilliseconds: Int64) {
        self.nowMilliseconds = nowMilliseconds
        let due = ScoreRange(min: -.infinity, max: Double(nowMilliseconds))
        hiddenCount = order.ranks(due).upperBound
    }

    /// Takes hidden fields out, the earliest first; `body` is called for each before.
    func takeHidden(_ countMax: Int, _ body: (ByteView) -> Void) {
        let taken = 0..<max(0, min(countMax, hiddenCount))
        order.forEach(in: taken, reversed: false) { field, _ in body(field) }
        order.remove(taken)
        hiddenCount -= taken.count
    }

    /// Hands the records to `body`: a snapshot walks them.
    func withStore<R>(_ body: (inout MemberStore) -> R) -> R { order.withStore(body) }

    /// Checks every invariant; for tests. Complexity: O(n log n).
    func checkInvariants() {
        order.checkInvariants()
        let due = ScoreRange(min: -.infinity, max: Double(nowMilliseconds))
        precondition(order.ranks(due).count == hiddenCount, "what is due is hidden")
    }
}
