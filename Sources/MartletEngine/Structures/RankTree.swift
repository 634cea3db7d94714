//  A counted B+tree: the members of a sorted set in order of score, then of their bytes, by rank.
//
//  Raw memory. Nodes are allocated and freed here, at full size from the start; their header says
//  how many entries they hold, never more than `capacity`. Used under the shard's lock, or by the
//  one thread that tears it down. Member bytes stay in the store; the tree holds handles.
//
//         leaf,  1 024 bytes    0  count      8
//                              16  scores     84 × 8   ascending
//                             688  handles    84 × 4
//         inner, 2 032 bytes    0  count      8
//                              16  scores     84 × 8   of the first entry below each child
//                             688  handles    84 × 4   likewise
//                            1024  counts     84 × 4   entries below each child
//                            1360  children   84 × 8
//
//  *Ranks.* An entry's rank is the sum of the counts to its left on the way down. Everything asks in
//  ranks: a range by score or member is turned into ranks by two descents, and is read, counted or
//  removed by rank.
//
//  *Growth.* A full leaf first gives half of the difference to a sibling that has room, which keeps
//  leaves about 0.8 full under random insertion; then it splits in two. At either end of the order
//  it splits beside the new entry, so that ascending scores (time!) leave full leaves behind. A node
//  below a quarter is joined with a sibling if both fill three quarters of a node at most.
//
//  A walk goes down again for each leaf: that costs less than the links between leaves and the care
//  for them.

import CSystem
import Glibc
import MartletBase

/// Entries of score and member handle, ordered, counted.
///
/// - Invariant: scores ascend, members of one score ascend by their bytes; a parent's entry repeats
///   its child's first one and counts what is below.
/// - Complexity: O(log n) comparisons for an operation on one entry, n = `count`.
/// - Memory: 12 bytes an entry at the best, 15 at random.
/// - Source: Bayer and McCreight, 1972; Knuth, TAOCP vol. 3, 6.2.3 for ranks by counts.
@safe
struct RankTree: ~Copyable {
    private var root: RankNode
    /// Levels above the leaves.
    private var height = 0
    private(set) var count = 0
    private(set) var bytes = RankNode.leafBytes

    init() { root = .leaf() }

    deinit { Self.free(root, level: height) {} }

    private static func free(_ node: RankNode, level: Int, _ pause: () -> Void) {
        if level > 0 {
            for index in 0..<node.count { free(node.child(index), level: level - 1, pause) }
        }
        unsafe NodeMemory.free(node.base)
        pause()
    }

    /// Frees all nodes of a tree that is about to go, calling `pause` after each.
    mutating func dismantle(_ pause: () -> Void) {
        Self.free(root, level: height, pause)
        root = .leaf()
        height = 0
    }

    // MARK: Positions

    /// How many entries stand before the first that is not below `bound`.
    func rank(of bound: RankBound, _ store: borrowing MemberStore) -> Int {
        var node = root
        var level = height
        var rank = 0
        while level > 0 {
            let child = max(0, node.countBelow(bound, store) &- 1)
            rank &+= node.sumOfCounts(before: child)
            node = node.child(child)
            level &-= 1
        }
        return rank &+ node.countBelow(bound, store)
    }

    /// The entry at `rank`.
    ///
    /// - Precondition: `0 <= rank < count`.
    func entry(at rank: Int) -> (score: Double, handle: MemberHandle) {
        let (node, index) = leaf(at: rank)
        return (node.score(index), node.handle(index))
    }

    /// The leaf that holds `rank`, and where.
    private func leaf(at rank: Int) -> (node: RankNode, index: Int) {
        precondition(rank >= 0 && rank < count, "a rank that is there")
        var node = root
        var level = height
        var left = rank
        while level > 0 {
            let child = node.childIndex(ofRank: &left)
            node = node.child(child)
            level &-= 1
        }
        return (node, left)
    }

    /// Calls `body` for the entries of a range of ranks, from the first or from the last.
    ///
    /// - Precondition: `ranks` is inside `0 ..< count`; `body` does not change the tree.
    @inline(__always)
    func forEach(
        in ranks: Range<Int>, reversed: Bool, _ store: borrowing MemberStore,
        _ body: (Double, MemberHandle) -> Void
    ) {
        var low = ranks.lowerBound
        var high = ranks.upperBound
        while low < high {
            if reversed {
                let (node, last) = leaf(at: high &- 1)
                var end = last &+ 1
                var taken = min(end, high &- low)
                high &-= taken
                while taken > 0 {
                    let some = min(taken, Self.fetchedAhead)
                    fetch(node, (end &- some)..<end, store)
                    for _ in 0..<some {
                        end &-= 1
                        body(node.score(end), node.handle(end))
                    }
                    taken &-= some
                }
            } else {
                let (node, first) = leaf(at: low)
                var start = first
                var taken = min(node.count &- start, high &- low)
                low &+= taken
                while taken > 0 {
                    let some = min(taken, Self.fetchedAhead)
                    fetch(node, start..<(start &+ some), store)
                    for _ in 0..<some {
                        body(node.score(start), node.handle(start))
                        start &+= 1
                    }
                    taken &-= some
                }
            }
        }
    }

    /// Some handles from a rank on, one or more, whose records are fetched.
    func handles(
        from rank: Int, atMost limit: Int, _ store: borrowing MemberStore
    ) -> (InlineArray<16, MemberHandle>, count: Int) {
        let (node, start) = leaf(at: rank)
        let count = min(limit, node.count - start, Self.fetchedAhead)
        fetch(node, start..<(start + count), store)
        var handles = InlineArray<16, MemberHandle>(repeating: 0)
        for index in 0..<count { handles[index] = node.handle(start + index) }
        return (handles, count)
    }

    /// Records are fetched so many at a time: they lie anywhere in the store.
    private static let fetchedAhead = 16

    @inline(__always)
    private func fetch(_ node: RankNode, _ range: Range<Int>, _ store: borrowing MemberStore) {
        for index in range { store.prefetchSlot(node.handle(index)) }
        for index in range { store.prefetchRecord(node.handle(index)) }
    }

    // MARK: Insertion

    /// Puts an entry in.
    ///
    /// - Precondition: the member is not in the tree; `member` are the bytes of `handle`.
    mutating func insert(
        _ score: Double, _ handle: MemberHandle, _ member: ByteView, _ store: borrowing MemberStore
    ) {
        let new = NewEntry(
            score: score, handle: handle, bound: .entry(score, member, handle))
        count += 1
        guard
            let right = insert(
                new, into: root, level: height, isFirst: true, isLast: true, store)
        else { return }
        let left = root
        root = newInner()
        let level = height
        height += 1
        root.count = 2
        root.setChild(0, left, count: Self.total(left, level))
        root.setChild(1, right, count: Self.total(right, level))
    }

    /// Inserts below `node`; returns the node that was split off to its right, if any.
    private mutating func insert(
        _ new: NewEntry, into node: RankNode, level: Int, isFirst: Bool, isLast: Bool,
        _ store: borrowing MemberStore
    ) -> RankNode? {
        if level == 0 { return insert(new, intoLeaf: node, isFirst, isLast, store) }
        var index = max(0, node.countBelow(new.bound, store) - 1)
        let isAtEnd = isFirst && index == 0 || isLast && index == node.count - 1
        if level == 1 && node.child(index).count == RankNode.capacity && !isAtEnd
            && spread(node, index)
        {
            index = max(0, node.countBelow(new.bound, store) - 1)
        }
        let child = node.child(index)
        let right = insert(
            new, into: child, level: level - 1, isFirst: isFirst && index == 0,
            isLast: isLast && index == node.count - 1, store)
        guard let right else {
            node.copyFirst(of: child, to: index)
            node.setCount(index, node.count(index) + 1)
            return nil
        }
        node.setChild(index, child, count: Self.total(child, level - 1))
        let rightCount = Self.total(right, level - 1)
        let place = index + 1
        if node.count < RankNode.capacity {
            node.openInner(place)
            node.setChild(place, right, count: rightCount)
            return nil
        }
        let split = Self.splitPoint(place, isFirst: false, isLast: isLast)
        let other = newInner()
        node.moveInner(from: split, to: other)
        if place < split || place == split && split < RankNode.capacity {
            node.openInner(place)
            node.setChild(place, right, count: rightCount)
        } else {
            other.openInner(place - split)
            other.setChild(place - split, right, count: rightCount)
        }
        return other
    }

    private mutating func insert(
        _ new: NewEntry, intoLeaf node: RankNode, _ isFirst: Bool, _ isLast: Bool,
        _ store: borrowing MemberStore
    ) -> RankNode? {
        let place = node.countBelow(new.bound, store)
        if node.count < RankNode.capacity {
            node.insert(new.score, new.handle, at: place)
            return nil
        }
        let split = Self.splitPoint(place, isFirst: isFirst, isLast: isLast)
        let right = newLeaf()
        node.moveLeaf(from: split, to: right)
        if place < split || place == split && split < RankNode.capacity {
            node.insert(new.score, new.handle, at: place)
        } else {
            right.insert(new.score, new.handle, at: place - split)
        }
        return right
    }

    /// Where a full node is split for an entry at `place`: in the middle, or beside the entry when
    /// it is the first or the last of all.
    private static func splitPoint(_ place: Int, isFirst: Bool, isLast: Bool) -> Int {
        if isLast && place == RankNode.capacity { return RankNode.capacity }
        if isFirst && place == 0 { return 0 }
        return RankNode.capacity / 2
    }

    /// Lets a full leaf share with a sibling under the same parent; false when neither has room.
    private func spread(_ parent: RankNode, _ index: Int) -> Bool {
        let worth = RankNode.capacity - 8
        var left = index
        if index + 1 < parent.count && parent.child(index + 1).count < worth {
            left = index
        } else if index > 0 && parent.child(index - 1).count < worth {
            left = index - 1
        } else {
            return false
        }
        let one = parent.child(left)
        let other = parent.child(left + 1)
        let wanted = (one.count + other.count) / 2
        if one.count > wanted {
            let moved = one.count - wanted
            other.openLeaf(0, by: moved)
            other.copyLeaf(from: one, wanted, count: moved, to: 0)
            one.count = wanted
        } else {
            let moved = wanted - one.count
            one.copyLeaf(from: other, 0, count: moved, to: one.count)
            one.count = wanted
            other.closeLeaf(0, by: moved)
        }
        parent.setChild(left, one, count: one.count)
        parent.setChild(left + 1, other, count: other.count)
        return true
    }

    // MARK: Removal

    /// Takes out the entries of a range of ranks. Members are not read, so their records may be gone.
    ///
    /// - Precondition: `ranks` is inside `0 ..< count`.
    /// - Complexity: O(r + log n) for r entries.
    mutating func remove(_ ranks: Range<Int>) {
        precondition(ranks.lowerBound >= 0 && ranks.upperBound <= count, "ranks that are there")
        var left = ranks.count
        while left > 0 {
            let removed = removeRun(root, level: height, from: ranks.lowerBound, atMost: left)
            left -= removed
            count -= removed
            collapse()
        }
    }

    /// Takes out the entry of a member that is there, in one descent.
    mutating func remove(
        _ score: Double, _ handle: MemberHandle, _ member: ByteView, _ store: borrowing MemberStore
    ) {
        let exact = RankBound.entry(score, member, handle)
        _ = remove(handle, exact, from: root, level: height, movingTo: .nan, store)
        count -= 1
        collapse()
    }

    /// Gives the entry of a member that is there another score.
    ///
    /// It stays in its place when that is still the right one, as with most small increments.
    mutating func move(
        _ old: Double, to new: Double, _ handle: MemberHandle, _ member: ByteView,
        _ store: borrowing MemberStore
    ) {
        let exact = RankBound.entry(old, member, handle)
        if remove(handle, exact, from: root, level: height, movingTo: new, store) { return }
        count -= 1
        collapse()
        insert(new, handle, member, store)
    }

    /// Takes an entry out below `node`, or gives it the score `new` and answers true when the order
    /// stays as it is; that is never so of NaN.
    private mutating func remove(
        _ handle: MemberHandle, _ exact: RankBound, from node: RankNode, level: Int,
        movingTo new: Double, _ store: borrowing MemberStore
    ) -> Bool {
        let below = node.countBelow(exact, store)
        let isHere = below < node.count && node.handle(below) == handle
        if level == 0 {
            precondition(isHere, "a member that is there")
            if node.hasPlace(for: new, at: below) {
                node.setScore(below, new)
                return true
            }
            node.closeLeaf(below, by: 1)
            return false
        }
        // The entry itself may be the first below a child.
        let index = isHere ? below : max(0, below &- 1)
        if remove(
            handle, exact, from: node.child(index), level: level &- 1, movingTo: new, store)
        {
            return true
        }
        node.setCount(index, node.count(index) &- 1)
        repair(node, index, level: level)
        return false
    }

    /// Lets a root's only child take its place.
    private mutating func collapse() {
        while height > 0 && root.count == 1 {
            let old = root
            root = old.child(0)
            height -= 1
            freeNode(old, level: height + 1)
        }
    }

    /// Removes entries of one leaf below `node`; returns how many.
    private mutating func removeRun(
        _ node: RankNode, level: Int, from rank: Int, atMost limit: Int
    ) -> Int {
        if level == 0 {
            let removed = min(limit, node.count - rank)
            node.closeLeaf(rank, by: removed)
            return removed
        }
        var rank = rank
        let index = node.childIndex(ofRank: &rank)
        let removed = removeRun(node.child(index), level: level - 1, from: rank, atMost: limit)
        node.setCount(index, node.count(index) - removed)
        repair(node, index, level: level)
        return removed
    }

    /// Puts the parent's entry in order after its child `index` lost something.
    private mutating func repair(_ parent: RankNode, _ index: Int, level: Int) {
        let child = parent.child(index)
        if child.count == 0 {
            // The root has another child: one that is left alone takes its place at once.
            freeNode(child, level: level - 1)
            parent.closeInner(index)
            return
        }
        parent.copyFirst(of: child, to: index)
        guard child.count < RankNode.capacity / 4 else { return }
        let left = index + 1 < parent.count ? index : index - 1
        guard left >= 0 else { return }
        let one = parent.child(left)
        let other = parent.child(left + 1)
        guard one.count + other.count <= RankNode.capacity * 3 / 4 else { return }
        if level == 1 {
            one.copyLeaf(from: other, 0, count: other.count, to: one.count)
        } else {
            one.copyInner(from: other, 0, count: other.count, to: one.count)
        }
        one.count += other.count
        parent.setCount(left, parent.count(left) + parent.count(left + 1))
        freeNode(other, level: level - 1)
        parent.closeInner(left + 1)
    }

    /// Exchanges the handle of a member that was moved in its store.
    func replace(
        _ old: MemberHandle, with new: MemberHandle, score: Double, member: ByteView,
        _ store: borrowing MemberStore
    ) {
        var node = root
        var level = height
        let exact = RankBound.entry(score, member, old)
        while level > 0 {
            let below = node.countBelow(exact, store)
            // The entry itself may be the first below a child.
            let isFirst = below < node.count && node.handle(below) == old
            let index = isFirst ? below : max(0, below - 1)
            if isFirst { node.setHandle(below, new) }
            node = node.child(index)
            level -= 1
        }
        let index = node.countBelow(exact, store)
        precondition(index < node.count && node.handle(index) == old, "a member that is there")
        node.setHandle(index, new)
    }

    // MARK: Nodes

    private mutating func newLeaf() -> RankNode {
        bytes += RankNode.leafBytes
        return .leaf()
    }

    private mutating func newInner() -> RankNode {
        bytes += RankNode.innerBytes
        return .inner()
    }

    private mutating func freeNode(_ node: RankNode, level: Int) {
        bytes -= level == 0 ? RankNode.leafBytes : RankNode.innerBytes
        unsafe NodeMemory.free(node.base)
    }

    private static func total(_ node: RankNode, _ level: Int) -> Int {
        level == 0 ? node.count : node.sumOfCounts(before: node.count)
    }

    /// Checks every invariant; for tests. Complexity: O(n).
    func checkInvariants(_ store: borrowing MemberStore) {
        var memory = 0
        let total = check(root, level: height, isRoot: true, &memory, store)
        precondition(total == count, "the tree counts its entries")
        precondition(memory == bytes, "the tree counts its memory")
        var last: (score: Double, handle: MemberHandle)?
        for rank in 0..<count {
            let (score, handle) = entry(at: rank)
            if let last {
                let order = store.member(last.handle).compare(store.member(handle))
                precondition(
                    last.score < score || last.score == score && order < 0, "entries ascend")
            }
            last = (score, handle)
            let bound = RankBound.entry(score, store.member(handle), handle)
            precondition(self.rank(of: bound, store) == rank, "an entry is found at its rank")
        }
    }

    private func check(
        _ node: RankNode, level: Int, isRoot: Bool, _ memory: inout Int,
        _ store: borrowing MemberStore
    ) -> Int {
        precondition(node.count <= RankNode.capacity, "a node is not overfull")
        precondition(isRoot || node.count > 0, "no node but the root is empty")
        if level == 0 {
            memory += RankNode.leafBytes
            return node.count
        }
        memory += RankNode.innerBytes
        var total = 0
        for index in 0..<node.count {
            let child = node.child(index)
            precondition(node.score(index) == child.score(0), "a parent repeats the first score")
            precondition(node.handle(index) == child.handle(0), "and the first member")
            let below = check(child, level: level - 1, isRoot: false, &memory, store)
            precondition(node.count(index) == below, "a parent counts what is below")
            total += below
        }
        return total
    }
}

/// A place in the order of entries: everything is either below it or not.
enum RankBound {
    /// Before the first entry of this score, or of a greater one.
    case score(Double)
    /// After the last entry of this score.
    case afterScore(Double)
    /// Before this member, where all scores are equal.
    case member(ByteView)
    /// After this member, likewise.
    case afterMember(ByteView)
    /// Before the entry of this score and member; the handle spares the look at a member that is there.
    case entry(Double, ByteView, MemberHandle)
}

/// What is being inserted.
private struct NewEntry {
    let score: Double
    let handle: MemberHandle
    let bound: RankBound
}

/// A node by the layout drawn above; leaf or inner is known from its level.
@safe
private struct RankNode {
    let base: UnsafeMutableRawPointer

    static let capacity = 84
    static let leafBytes = 1024
    static let innerBytes = 2032
    private static let scoresAt = 16
    private static let handlesAt = 688
    private static let countsAt = 1024
    private static let childrenAt = 1360

    @inline(__always)
    init(_ base: UnsafeMutableRawPointer) { unsafe self.base = base }

    static func leaf() -> RankNode {
        let node = unsafe RankNode(NodeMemory.allocate(leafBytes))
        node.count = 0
        return node
    }

    static func inner() -> RankNode {
        let node = unsafe RankNode(NodeMemory.allocate(innerBytes))
        node.count = 0
        return node
    }

    @inline(__always)
    var count: Int {
        get { unsafe base.load(as: Int.self) }
        nonmutating set {
            assert(newValue >= 0 && newValue <= Self.capacity)
            unsafe base.storeBytes(of: newValue, as: Int.self)
        }
    }

    @inline(__always)
    func score(_ index: Int) -> Double {
        unsafe base.load(fromByteOffset: Self.scoresAt &+ index &* 8, as: Double.self)
    }

    @inline(__always)
    func handle(_ index: Int) -> MemberHandle {
        unsafe base.load(fromByteOffset: Self.handlesAt &+ index &* 4, as: UInt32.self)
    }

    @inline(__always)
    func setHandle(_ index: Int, _ handle: MemberHandle) {
        unsafe base.storeBytes(
            of: handle, toByteOffset: Self.handlesAt &+ index &* 4, as: UInt32.self)
    }

    /// Whether a leaf's entry can have another score without going anywhere. The first entry can not:
    /// the parents repeat it.
    @inline(__always)
    func hasPlace(for score: Double, at index: Int) -> Bool {
        index > 0 && index &+ 1 < count && self.score(index &- 1) < score
            && score < self.score(index &+ 1)
    }

    @inline(__always)
    func setScore(_ index: Int, _ score: Double) {
        unsafe base.storeBytes(
            of: score, toByteOffset: Self.scoresAt &+ index &* 8, as: Double.self)
    }

    @inline(__always)
    func count(_ index: Int) -> Int {
        Int(unsafe base.load(fromByteOffset: Self.countsAt &+ index &* 4, as: UInt32.self))
    }

    @inline(__always)
    func setCount(_ index: Int, _ count: Int) {
        unsafe base.storeBytes(
            of: UInt32(truncatingIfNeeded: count), toByteOffset: Self.countsAt &+ index &* 4,
            as: UInt32.self)
    }

    @inline(__always)
    func child(_ index: Int) -> RankNode {
        unsafe RankNode(
            base.load(
                fromByteOffset: Self.childrenAt &+ index &* 8, as: UnsafeMutableRawPointer.self))
    }

    /// Writes the parent's whole entry for a child that is not empty.
    func setChild(_ index: Int, _ child: RankNode, count: Int) {
        copyFirst(of: child, to: index)
        setCount(index, count)
        unsafe base.storeBytes(
            of: UInt(bitPattern: child.base), toByteOffset: Self.childrenAt + index * 8,
            as: UInt.self)
    }

    @inline(__always)
    func copyFirst(of child: RankNode, to index: Int) {
        setScore(index, child.score(0))
        setHandle(index, child.handle(0))
    }

    @inline(__always)
    func sumOfCounts(before index: Int) -> Int {
        var sum = 0
        for position in 0..<index { sum &+= count(position) }
        return sum
    }

    /// The child that holds a rank, which becomes the rank within it.
    @inline(__always)
    func childIndex(ofRank rank: inout Int) -> Int {
        var index = 0
        while index &+ 1 < count {
            let below = count(index)
            if rank < below { break }
            rank &-= below
            index &+= 1
        }
        return index
    }

    /// How many entries of this node are below `bound`.
    @inline(__always)
    func countBelow(_ bound: RankBound, _ store: borrowing MemberStore) -> Int {
        switch bound {
        case .score(let score): countScores { $0 < score }
        case .afterScore(let score): countScores { $0 <= score }
        case .entry(let score, let member, let handle):
            countBelow(score, member, handle, store)
        case .member(let member):
            firstIndex(in: 0..<count) { store.member(handle($0)).compare(member) < 0 }
        case .afterMember(let member):
            firstIndex(in: 0..<count) { store.member(handle($0)).compare(member) <= 0 }
        }
    }

    @inline(__always)
    private func countBelow(
        _ score: Double, _ member: ByteView, _ handle: MemberHandle, _ store: borrowing MemberStore
    ) -> Int {
        let low = countScores { $0 < score }
        if low == count || self.score(low) != score || self.handle(low) == handle { return low }
        let high = countScores { $0 <= score }
        return firstIndex(in: low..<high) {
            self.handle($0) != handle && store.member(self.handle($0)).compare(member) < 0
        }
    }

    /// How many scores there are until `isBelow` does not hold.
    ///
    /// Eights are counted by their last score, then the scores of one eight. A binary search has
    /// a third of the comparisons, but their outcome cannot be predicted, and each load waits for the
    /// one before; here all are under way at once, and the compiler makes no branch of them.
    @inline(__always)
    private func countScores(_ isBelow: (Double) -> Bool) -> Int {
        let count = count
        var start = 0
        var last = 7
        while last < count {
            start &+= isBelow(score(last)) ? 8 : 0
            last &+= 8
        }
        let end = min(start &+ 8, count)
        var below = start
        var index = start
        while index < end {
            below &+= isBelow(score(index)) ? 1 : 0
            index &+= 1
        }
        return below
    }

    /// The first index of a range for which `isBelow` does not hold.
    @inline(__always)
    private func firstIndex(in range: Range<Int>, _ isBelow: (Int) -> Bool) -> Int {
        var low = range.lowerBound
        var high = range.upperBound
        while low < high {
            let middle = (low &+ high) &>> 1
            if isBelow(middle) { low = middle &+ 1 } else { high = middle }
        }
        return low
    }

    // MARK: Moving entries

    @inline(__always)
    private func shift(_ array: Int, _ width: Int, from: Int, to: Int, count: Int) {
        if count > 0 {
            unsafe memmove(
                base + (array + to * width), base + (array + from * width), count * width)
        }
    }

    /// Makes room for `by` entries at `index` of a leaf.
    @inline(__always)
    func openLeaf(_ index: Int, by: Int) {
        let moved = count - index
        shift(Self.scoresAt, 8, from: index, to: index + by, count: moved)
        shift(Self.handlesAt, 4, from: index, to: index + by, count: moved)
        count += by
    }

    func closeLeaf(_ index: Int, by: Int) {
        let moved = count - index - by
        shift(Self.scoresAt, 8, from: index + by, to: index, count: moved)
        shift(Self.handlesAt, 4, from: index + by, to: index, count: moved)
        count -= by
    }

    @inline(__always)
    func insert(_ score: Double, _ handle: MemberHandle, at index: Int) {
        openLeaf(index, by: 1)
        setScore(index, score)
        setHandle(index, handle)
    }

    func openInner(_ index: Int) {
        let moved = count - index
        shift(Self.scoresAt, 8, from: index, to: index + 1, count: moved)
        shift(Self.handlesAt, 4, from: index, to: index + 1, count: moved)
        shift(Self.countsAt, 4, from: index, to: index + 1, count: moved)
        shift(Self.childrenAt, 8, from: index, to: index + 1, count: moved)
        count += 1
    }

    func closeInner(_ index: Int) {
        let moved = count - index - 1
        shift(Self.scoresAt, 8, from: index + 1, to: index, count: moved)
        shift(Self.handlesAt, 4, from: index + 1, to: index, count: moved)
        shift(Self.countsAt, 4, from: index + 1, to: index, count: moved)
        shift(Self.childrenAt, 8, from: index + 1, to: index, count: moved)
        count -= 1
    }

    private func copy(
        _ array: Int, _ width: Int, from other: RankNode, _ start: Int, _ count: Int, to index: Int
    ) {
        unsafe memcpy(
            base + (array + index * width), other.base + (array + start * width), count * width)
    }

    /// Copies entries of another leaf over this one's, from `index` on; counting is the caller's.
    func copyLeaf(from other: RankNode, _ start: Int, count: Int, to index: Int) {
        copy(Self.scoresAt, 8, from: other, start, count, to: index)
        copy(Self.handlesAt, 4, from: other, start, count, to: index)
    }

    func copyInner(from other: RankNode, _ start: Int, count: Int, to index: Int) {
        copyLeaf(from: other, start, count: count, to: index)
        copy(Self.countsAt, 4, from: other, start, count, to: index)
        copy(Self.childrenAt, 8, from: other, start, count, to: index)
    }

    /// Moves the entries from `split` on to an empty node.
    func moveLeaf(from split: Int, to other: RankNode) {
        other.copyLeaf(from: self, split, count: count - split, to: 0)
        other.count = count - split
        count = split
    }

    func moveInner(from split: Int, to other: RankNode) {
        other.copyInner(from: self, split, count: count - split, to: 0)
        other.count = count - split
        count = split
    }
}
