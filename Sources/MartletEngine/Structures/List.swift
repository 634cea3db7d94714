//  The large form of the value behind the L commands: packed nodes, found through one directory.
//
//  Raw memory. Nodes and directory are allocated and freed here. A node's header says where its
//  records begin and end, inside its capacity. Used under the shard's lock, or by the one thread that
//  tears it down.
//
//         directory:     free │ n0 n1 n2 n3 │ free        an address and a count each
//
//         node:    0  mark      1  the snapshot epoch it was last saved in or born in
//                  1  is solo   1  holds one record that is too long to share
//                  4  capacity  4
//                  8  start     4  of the records
//                 12  end       4
//                 16  order     8  ascends from node to node
//                 24  free, records, free
//
//  *Ends.* Nodes and directory have room at both ends, so that a push or pop writes one record and
//  moves nothing. A node that is full at the wanted end slides if a quarter of it is free, grows
//  while it is small, else gets a neighbour.
//
//  *Middle.* An index is found by adding up the directory's counts from the nearer end: 16 bytes for
//  some 290 elements of 12 bytes, in a row, so that a million of them takes a microsecond; a tree of
//  counts would take as long up to there and would have to be kept right by every push. A full node
//  splits; a node that falls below a quarter in the middle joins a neighbour.
//
//  *Snapshots* (design, invariant 11). `beginWalk` starts a new epoch; a node whose mark is older is
//  handed over before its first change, out of turn, or when the walk comes to it; nodes born later
//  carry the new epoch and are left out. Every node that is handed over carries its `order`: who
//  sorts by it has the list as it was. A walk ends when every mark is the epoch, so eight bits do.

import CSystem
import Glibc
import MartletBase

/// What a walk over a list calls for each node: where the node stands among the others, and what it
/// holds.
final class ListWalk: NodeWalk {
    let visit: (_ order: Int64, _ records: RecordRun) -> Void

    init(
        owner: AnyObject? = nil, _ visit: @escaping (_ order: Int64, _ records: RecordRun) -> Void
    ) {
        self.visit = visit
        super.init(owner: owner)
    }
}

/// One block of records.
@safe
private struct ListNode {
    let base: UnsafeMutableRawPointer

    static let headerBytes = 24
    /// With what malloc keeps for itself, 4 KB.
    static let bytesMax = NodeMemory.bytesMax - 8
    /// Longer records get a node of their own: they would leave too much of a shared one unused.
    static let sharedRecordBytesMax = 1024

    /// A node without records, which begin at the start of the room, or at its end.
    init(capacity: Int, isSolo: Bool, mark: UInt8, order: Int64, atEnd: Bool) {
        unsafe base = NodeMemory.allocate(capacity)
        unsafe base.storeBytes(of: mark, as: UInt8.self)
        unsafe base.storeBytes(of: isSolo ? 1 : 0, toByteOffset: 1, as: UInt8.self)
        unsafe base.storeBytes(
            of: UInt32(truncatingIfNeeded: capacity), toByteOffset: 4, as: UInt32.self)
        unsafe base.storeBytes(of: order, toByteOffset: 16, as: Int64.self)
        start = atEnd ? capacity : Self.headerBytes
        end = atEnd ? capacity : Self.headerBytes
    }

    var mark: UInt8 {
        get { unsafe base.load(as: UInt8.self) }
        nonmutating set { unsafe base.storeBytes(of: newValue, as: UInt8.self) }
    }
    var isSolo: Bool { unsafe base.load(fromByteOffset: 1, as: UInt8.self) != 0 }
    var capacity: Int { Int(unsafe base.load(fromByteOffset: 4, as: UInt32.self)) }
    var order: Int64 {
        get { unsafe base.load(fromByteOffset: 16, as: Int64.self) }
        nonmutating set { unsafe base.storeBytes(of: newValue, toByteOffset: 16, as: Int64.self) }
    }

    @inline(__always)
    var start: Int {
        get { Int(unsafe base.load(fromByteOffset: 8, as: UInt32.self)) }
        nonmutating set {
            unsafe base.storeBytes(
                of: UInt32(truncatingIfNeeded: newValue), toByteOffset: 8, as: UInt32.self)
        }
    }

    @inline(__always)
    var end: Int {
        get { Int(unsafe base.load(fromByteOffset: 12, as: UInt32.self)) }
        nonmutating set {
            unsafe base.storeBytes(
                of: UInt32(truncatingIfNeeded: newValue), toByteOffset: 12, as: UInt32.self)
        }
    }

    @inline(__always) var usedBytes: Int { end &- start }
    @inline(__always) var freeBytes: Int { capacity &- Self.headerBytes &- usedBytes }
    @inline(__always)
    var records: RecordRun { unsafe RecordRun(base, start: start, end: end) }

    func free() { unsafe NodeMemory.free(base) }

    /// Moves the records so that they begin at `offset`.
    func slide(to offset: Int) {
        let used = usedBytes
        precondition(
            offset >= Self.headerBytes && offset + used <= capacity, "records stay in their node")
        unsafe memmove(base + offset, base + start, used)
        start = offset
        end = offset + used
    }

    @inline(__always)
    func prepend(_ record: NewRecord) {
        precondition(start &- record.bytes >= Self.headerBytes, "there is room in front")
        start &-= record.bytes
        unsafe record.write(to: base + start)
    }

    @inline(__always)
    func append(_ record: NewRecord) {
        precondition(end &+ record.bytes <= capacity, "there is room behind")
        unsafe record.write(to: base + end)
        end &+= record.bytes
    }

    /// Appends records of another node.
    func append(_ other: ListNode, _ offsets: Range<Int>) {
        precondition(end + offsets.count <= capacity, "there is room behind")
        unsafe memcpy(base + end, other.base + offsets.lowerBound, offsets.count)
        end += offsets.count
    }

    /// Writes a record at `offset`; the node has that many bytes free.
    func insert(_ record: NewRecord, at offset: Int) {
        precondition(freeBytes >= record.bytes, "there is room")
        var offset = offset
        if end + record.bytes > capacity || offset - start < end - offset {
            if start - record.bytes < Self.headerBytes {
                let moved = Self.headerBytes + record.bytes
                offset += moved - start
                slide(to: moved)
            }
            let from = start
            start = from - record.bytes
            unsafe memmove(base + start, base + from, offset - from)
            unsafe record.write(to: base + (offset - record.bytes))
            return
        }
        unsafe memmove(base + (offset + record.bytes), base + offset, end - offset)
        unsafe record.write(to: base + offset)
        end += record.bytes
    }

    /// Writes a record over one of the same length.
    func overwrite(_ record: NewRecord, at offset: Int) {
        precondition(offset >= start && offset + record.bytes <= end, "a record that is there")
        unsafe record.write(to: base + offset)
    }

    /// Takes the bytes of whole records out.
    @inline(__always)
    func cut(_ offsets: Range<Int>) {
        if offsets.lowerBound == start {
            start = offsets.upperBound
        } else if offsets.upperBound == end {
            end = offsets.lowerBound
        } else {
            unsafe memmove(
                base + offsets.lowerBound, base + offsets.upperBound, end - offsets.upperBound)
            end -= offsets.count
        }
    }
}

/// A list of any length.
///
/// - Invariant: no node is empty; `count` and `recordBytes` are sums over the nodes, `nodeBytes` over
///   their capacities.
/// - Complexity: O(1) at both ends on average, else O(n/300) steps of a nanosecond and O(1) bytes moved.
/// - Memory: 14.5 bytes for an element of 12 bytes.
@safe
struct List: ~Copyable {
    private struct Placed {
        var node: ListNode
        var count: Int
    }

    private var directory: UnsafeMutablePointer<Placed>
    private var capacity = Self.capacityMin
    /// The slots in use are `first ..< last`.
    private var first = Self.capacityMin / 2
    private var last = Self.capacityMin / 2
    private(set) var count = 0
    /// Bytes of all records.
    private(set) var recordBytes = 0
    private var nodeBytes = 0
    private var epoch: UInt8 = 0
    private var walk: Unmanaged<ListWalk>?

    private static let capacityMin = 4
    /// How far apart the orders of neighbours are at first.
    private static let orderStep: Int64 = 1 << 24

    init() {
        unsafe directory = .allocate(capacity: Self.capacityMin)
    }

    /// A list of records that all are short.
    init(_ records: RecordRun, count: Int) {
        self.init()
        let bytes = records.end - records.start
        precondition(bytes + ListNode.headerBytes <= ListNode.bytesMax, "the records fit a node")
        let node = makeNode(
            at: 0, capacity: min(ListNode.bytesMax, 2 * bytes + ListNode.headerBytes))
        unsafe memcpy(node.base + node.start, records.base + records.start, bytes)
        node.end += bytes
        add(count, bytes: bytes, at: 0)
    }

    deinit {
        for place in first..<last { unsafe directory[place].node.free() }
        unsafe directory.deallocate()
    }

    /// Frees all nodes of a list that is about to go, calling `pause` after each.
    mutating func dismantle(_ pause: () -> Void) {
        while last > first {
            last -= 1
            unsafe directory[last].node.free()
            pause()
        }
    }

    /// All memory of the list, itself included.
    @inline(__always)
    var bytes: Int {
        MemoryLayout<List>.size &+ capacity &* MemoryLayout<Placed>.stride &+ nodeBytes
    }

    // MARK: The directory

    @inline(__always)
    private var nodeCount: Int { last &- first }

    /// Node number `place`.
    @inline(__always)
    private func node(_ place: Int) -> ListNode {
        precondition(place >= 0 && place < nodeCount, "a node that is there")
        return unsafe directory[first &+ place].node
    }

    /// How many elements node number `place` has.
    @inline(__always)
    private func elements(_ place: Int) -> Int {
        precondition(place >= 0 && place < nodeCount, "a node that is there")
        return unsafe directory[first &+ place].count
    }

    /// Counts elements that came to node number `place`, or left it.
    @inline(__always)
    private mutating func add(_ elements: Int, bytes: Int, at place: Int) {
        precondition(place >= 0 && place < nodeCount, "a node that is there")
        unsafe directory[first &+ place].count &+= elements
        count &+= elements
        recordBytes &+= bytes
    }

    /// Makes a node without records and gives it number `place`.
    private mutating func makeNode(
        at place: Int, capacity: Int, isSolo: Bool = false, atEnd: Bool = false
    ) -> ListNode {
        let node = ListNode(
            capacity: capacity, isSolo: isSolo, mark: epoch, order: newOrder(at: place),
            atEnd: atEnd)
        nodeBytes += capacity
        openSlot(place, Placed(node: node, count: 0))
        return node
    }

    /// An order between the nodes that will stand before and behind number `place`.
    private mutating func newOrder(at place: Int) -> Int64 {
        if nodeCount == 0 { return 0 }
        if abs(node(place == 0 ? 0 : nodeCount - 1).order) > 1 << 62 { renewOrders() }
        if place == 0 { return node(0).order - Self.orderStep }
        let before = node(place - 1).order
        if place == nodeCount { return before + Self.orderStep }
        if node(place).order - before < 2 { renewOrders() }
        let low = node(place - 1).order
        return low + (node(place).order - low) / 2
    }

    /// Makes room between all nodes. A walk gets all that it waits for first, in the old order.
    private mutating func renewOrders() {
        for place in 0..<nodeCount { willChange(node(place)) }
        for place in 0..<nodeCount { node(place).order = Int64(place) * Self.orderStep }
    }

    private mutating func openSlot(_ place: Int, _ slot: Placed) {
        let isNearFront = place < nodeCount / 2 || place == 0 && nodeCount > 0
        if isNearFront ? first == 0 : last == capacity { recentre(max(4, nodeCount * 2)) }
        let base = unsafe directory + first
        if isNearFront {
            unsafe memmove(base - 1, base, place * MemoryLayout<Placed>.stride)
            first -= 1
        } else {
            unsafe memmove(
                base + (place + 1), base + place,
                (nodeCount - place) * MemoryLayout<Placed>.stride)
            last += 1
        }
        unsafe directory[first + place] = slot
    }

    private mutating func closeSlot(_ place: Int) {
        let base = unsafe directory + first
        if place < nodeCount / 2 {
            unsafe memmove(base + 1, base, place * MemoryLayout<Placed>.stride)
            first += 1
        } else {
            unsafe memmove(
                base + place, base + (place + 1),
                (nodeCount - place - 1) * MemoryLayout<Placed>.stride)
            last -= 1
        }
        if capacity > 64 && nodeCount < capacity / 8 { recentre(capacity / 4) }
    }

    /// Gives the directory room at both ends: at least `wanted` slots, all moved to the middle. At
    /// least a quarter of the capacity is free at either end afterwards, so this is rare.
    private mutating func recentre(_ wanted: Int) {
        let used = nodeCount
        var capacity = Self.capacityMin
        while capacity < wanted { capacity *= 2 }
        let start = (capacity - used) / 2
        if capacity == self.capacity {
            unsafe memmove(
                directory + start, directory + first, used * MemoryLayout<Placed>.stride)
        } else {
            let other = UnsafeMutablePointer<Placed>.allocate(capacity: capacity)
            unsafe memcpy(other + start, directory + first, used * MemoryLayout<Placed>.stride)
            unsafe directory.deallocate()
            unsafe directory = other
            self.capacity = capacity
        }
        first = start
        last = start + used
    }

    /// Frees node number `place`, whose elements are no longer counted.
    private mutating func dropNode(_ place: Int) {
        let node = node(place)
        nodeBytes -= node.capacity
        closeSlot(place)
        node.free()
    }

    /// Which node has element number `index`, and how many stand before it in there.
    @inline(__always)
    private func locate(_ index: Int) -> (place: Int, within: Int) {
        precondition(index >= 0 && index < count, "an element that is there")
        if index < count / 2 {
            var left = index
            var place = 0
            while left >= elements(place) {
                left &-= elements(place)
                place &+= 1
            }
            return (place, left)
        }
        var right = count &- index
        var place = nodeCount &- 1
        while right > elements(place) {
            right &-= elements(place)
            place &-= 1
        }
        return (place, elements(place) &- right)
    }

    // MARK: Reading

    /// An element, lent until the list changes.
    ///
    /// - Precondition: `0 <= index < count`.
    func element(at index: Int) -> ListElement {
        let (place, within) = locate(index)
        let records = node(place).records
        return records.element(records.offset(of: within, count: elements(place)))
    }

    /// Calls `body` for the elements from `index` on, forward or backward, until it answers false.
    ///
    /// - Precondition: `0 <= index < count`; `body` does not change the list.
    @inline(__always)
    func walk(from index: Int, reversed: Bool, _ body: (ListElement) -> Bool) {
        var (place, within) = locate(index)
        while true {
            let goesOn = node(place).records.walk(
                from: within, count: elements(place), reversed: reversed, body)
            if !goesOn { return }
            place += reversed ? -1 : 1
            if place < 0 || place >= nodeCount { return }
            within = reversed ? elements(place) - 1 : 0
        }
    }

    // MARK: Adding

    /// Puts an element in at an end.
    @inline(__always)
    mutating func push(_ element: ListElement, atFront: Bool) {
        let record = NewRecord(element)
        let place = atFront ? 0 : nodeCount &- 1
        if nodeCount > 0 && record.bytes <= ListNode.sharedRecordBytesMax {
            let node = node(place)
            willChange(node)
            let room =
                atFront ? node.start &- ListNode.headerBytes : node.capacity &- node.end
            if room >= record.bytes || makeRoom(place, record.bytes, atFront: atFront) {
                let node = self.node(place)
                if atFront { node.prepend(record) } else { node.append(record) }
                add(1, bytes: record.bytes, at: place)
                return
            }
        }
        pushNode(record, at: atFront ? 0 : nodeCount, atEnd: atFront)
    }

    /// Puts a record into a node of its own, which others may share later if it is a short one.
    @inline(never)
    private mutating func pushNode(_ record: NewRecord, at place: Int, atEnd: Bool) {
        let isSolo = record.bytes > ListNode.sharedRecordBytesMax
        // Beside a full node others will follow; beside a long record perhaps not, and a node grows.
        let isBesideFull =
            place == 0
            ? nodeCount > 0 && !self.node(0).isSolo
            : place == nodeCount && !self.node(place - 1).isSolo
        let capacity = ListNode.headerBytes + record.bytes
        let node = makeNode(
            at: place,
            capacity: isSolo ? capacity : isBesideFull ? ListNode.bytesMax : 2 * capacity,
            isSolo: isSolo, atEnd: atEnd && !isSolo)
        if atEnd && !isSolo { node.prepend(record) } else { node.append(record) }
        add(1, bytes: record.bytes, at: place)
    }

    /// Gives node number `place` room for `bytes` at one end: it slides or grows; false when it
    /// would not.
    @inline(never)
    private mutating func makeRoom(_ place: Int, _ bytes: Int, atFront: Bool) -> Bool {
        let node = node(place)
        if node.isSolo { return false }
        let free = node.freeBytes
        if free >= bytes && free >= node.capacity / 4 {
            node.slide(to: atFront ? node.capacity - node.usedBytes : ListNode.headerBytes)
            return true
        }
        return grow(place, bytes, atFront: atFront)
    }

    /// Moves node number `place` to a larger block with room for `bytes` at one end; false when that
    /// would be beyond what a node may have.
    private mutating func grow(_ place: Int, _ bytes: Int, atFront: Bool) -> Bool {
        let node = node(place)
        let needed = ListNode.headerBytes + node.usedBytes + bytes
        if node.isSolo || needed > ListNode.bytesMax || node.capacity >= ListNode.bytesMax {
            return false
        }
        let capacity = min(ListNode.bytesMax, max(2 * node.capacity, needed))
        let other = ListNode(
            capacity: capacity, isSolo: false, mark: node.mark, order: node.order, atEnd: false)
        other.append(node, node.start..<node.end)
        if atFront { other.slide(to: capacity - other.usedBytes) }
        nodeBytes += capacity - node.capacity
        unsafe directory[first + place].node = other
        node.free()
        return true
    }

    /// Puts an element in before number `index`, at the end for `count`.
    mutating func insert(_ element: ListElement, at index: Int) {
        if index == 0 || index == count {
            push(element, atFront: index == 0)
            return
        }
        let record = NewRecord(element)
        var (place, within) = locate(index)
        if record.bytes > ListNode.sharedRecordBytesMax || node(place).isSolo {
            // A node of its own, here or between two halves.
            if within > 0 {
                split(place, at: within)
                place += 1
            }
            if record.bytes <= ListNode.sharedRecordBytesMax {
                let before = node(place - 1)
                willChange(before)
                if before.capacity - before.end >= record.bytes
                    || makeRoom(place - 1, record.bytes, atFront: false)
                {
                    node(place - 1).append(record)
                    add(1, bytes: record.bytes, at: place - 1)
                    return
                }
            }
            pushNode(record, at: place, atEnd: false)
            return
        }
        willChange(node(place))
        if node(place).freeBytes < record.bytes && !grow(place, record.bytes, atFront: false) {
            let half = max(1, elements(place) / 2)
            split(place, at: half)
            if within > half {
                within -= half
                place += 1
            }
            if node(place).freeBytes < record.bytes
                && !grow(place, record.bytes, atFront: false)
            {
                // The other half has all the long records.
                insert(element, at: index)
                return
            }
        }
        let node = node(place)
        node.insert(record, at: node.records.offset(of: within, count: elements(place)))
        add(1, bytes: record.bytes, at: place)
    }

    /// Gives the records from number `within` of a node on to a new one behind it.
    ///
    /// - Precondition: both have some.
    private mutating func split(_ place: Int, at within: Int) {
        let node = node(place)
        precondition(within > 0 && within < elements(place), "both halves have records")
        willChange(node)
        let moved = elements(place) - within
        let offset = node.records.offset(of: within, count: elements(place))
        let bytes = node.end - offset
        let other = makeNode(
            at: place + 1, capacity: min(ListNode.bytesMax, 2 * bytes + ListNode.headerBytes))
        other.append(node, offset..<node.end)
        node.cut(offset..<node.end)
        add(-moved, bytes: -bytes, at: place)
        add(moved, bytes: bytes, at: place + 1)
    }

    // MARK: Removing

    /// Removes a range of elements.
    ///
    /// - Precondition: `indexes` is inside `0 ..< count`.
    /// - Complexity: O(r) beyond finding the first.
    @inline(__always)
    mutating func remove(_ indexes: Range<Int>) {
        if indexes.isEmpty { return }
        var (place, within) = locate(indexes.lowerBound)
        var left = indexes.count
        while left > 0 {
            let held = elements(place)
            let taken = min(left, held &- within)
            let node = node(place)
            willChange(node)
            if taken == held {
                add(-held, bytes: -node.usedBytes, at: place)
                dropNode(place)
            } else {
                let records = node.records
                let start = records.offset(of: within, count: held)
                let end =
                    within &+ taken == held
                    ? records.end
                    : taken == 1
                        ? records.next(start) : records.offset(of: within &+ taken, count: held)
                node.cut(start..<end)
                add(-taken, bytes: start &- end, at: place)
                place &+= 1
            }
            left &-= taken
            within = 0
        }
        if place > 1 && place < nodeCount { join(place &- 1) }
    }

    /// Removes up to `limit` elements that equal one, the first or the last.
    ///
    /// - Returns: how many were removed.
    /// - Complexity: O(n).
    mutating func remove(_ element: ListElement, limit: Int, reversed: Bool) -> Int {
        var removed = 0
        var place = reversed ? nodeCount - 1 : 0
        while removed < limit && place >= 0 && place < nodeCount {
            let node = node(place)
            let held = elements(place)
            let hasSome = !node.records.walk(from: 0, count: held, reversed: false) {
                !($0 == element)
            }
            if hasSome {
                willChange(node)
                let (taken, start, end) = node.records.removing(
                    element, limit: limit - removed, reversed: reversed)
                add(-taken, bytes: end - start - node.usedBytes, at: place)
                node.start = start
                node.end = end
                removed += taken
                if taken == held {
                    dropNode(place)
                    if !reversed { place -= 1 }
                } else if join(place) && !reversed {
                    // What joined from behind was not looked at yet.
                    place -= 1
                }
            }
            place += reversed ? -1 : 1
        }
        return removed
    }

    /// Joins a node that is less than a quarter full with a neighbour, if the two leave a quarter of
    /// a node free; true if it did. The node before takes all.
    @discardableResult
    private mutating func join(_ place: Int) -> Bool {
        let node = node(place)
        if node.isSolo || node.usedBytes >= ListNode.bytesMax / 4 { return false }
        let limit = ListNode.bytesMax / 4 * 3
        if place + 1 < nodeCount && !self.node(place + 1).isSolo
            && node.usedBytes + self.node(place + 1).usedBytes <= limit
        {
            merge(place)
            return true
        }
        if place > 0 && !self.node(place - 1).isSolo
            && node.usedBytes + self.node(place - 1).usedBytes <= limit
        {
            merge(place - 1)
            return true
        }
        return false
    }

    /// Gives the records of the node behind number `place` to that.
    private mutating func merge(_ place: Int) {
        let other = node(place + 1)
        let bytes = other.usedBytes
        let moved = elements(place + 1)
        willChange(node(place))
        willChange(other)
        if node(place).freeBytes < bytes { _ = grow(place, bytes, atFront: false) }
        let node = node(place)
        if node.end + bytes > node.capacity { node.slide(to: ListNode.headerBytes) }
        node.append(other, other.start..<other.end)
        add(-moved, bytes: -bytes, at: place + 1)
        add(moved, bytes: bytes, at: place)
        dropNode(place + 1)
    }

    /// Puts another element in the place of number `index`.
    ///
    /// - Precondition: `0 <= index < count`.
    mutating func replace(at index: Int, with element: ListElement) {
        let record = NewRecord(element)
        let (place, within) = locate(index)
        let node = node(place)
        let offset = node.records.offset(of: within, count: elements(place))
        if node.records.next(offset) - offset == record.bytes {
            willChange(node)
            node.overwrite(record, at: offset)
            return
        }
        remove(index..<(index + 1))
        insert(element, at: index)
    }

    // MARK: Copies, snapshots, checks

    /// A list with the same elements.
    func copy() -> List {
        var other = List()
        for place in 0..<nodeCount {
            let node = node(place)
            let made = other.makeNode(at: place, capacity: node.capacity, isSolo: node.isSolo)
            made.append(node, node.start..<node.end)
            other.add(elements(place), bytes: node.usedBytes, at: place)
        }
        return other
    }

    /// The one place that every change of a node passes first.
    @inline(__always)
    private func willChange(_ node: ListNode) {
        if node.mark != epoch { save(node) }
    }

    @inline(never)
    private func save(_ node: ListNode) {
        node.mark = epoch
        guard let walk = unsafe walk?.takeUnretainedValue() else { return }
        walk.visit(node.order, node.records)
    }

    /// Who began the walk that is under way.
    var walkOwner: AnyObject? { unsafe walk?.takeUnretainedValue().owner }

    /// Begins a walk over all nodes as they are now. `walk` lives until `endWalk`.
    ///
    /// - Precondition: no walk is under way.
    mutating func beginWalk(_ walk: ListWalk) {
        precondition(unsafe self.walk == nil, "one walk at a time")
        epoch &+= 1
        unsafe self.walk = Unmanaged.passUnretained(walk)
    }

    /// Hands over the first `nodes` nodes behind `order` that were not handed over yet.
    ///
    /// - Returns: from where to go on, or nil when the walk has seen all.
    /// - Complexity: O(log n) beyond the nodes passed.
    func walk(behind order: Int64, nodes: Int) -> Int64? {
        var low = 0
        var high = nodeCount
        while low < high {
            let middle = (low + high) / 2
            if node(middle).order > order { high = middle } else { low = middle + 1 }
        }
        let end = min(nodeCount, low + nodes)
        for place in low..<end { willChange(node(place)) }
        return end == nodeCount ? nil : node(end - 1).order
    }

    /// Ends a walk, complete or not. One that has seen all, as `isWhole` says, has set all marks.
    mutating func endWalk(isWhole: Bool = false) {
        unsafe walk = nil
        if isWhole { return }
        for place in 0..<nodeCount { node(place).mark = epoch }
    }

    /// Checks every invariant; for tests. Complexity: O(n).
    func checkInvariants() {
        precondition(first >= 0 && last <= capacity, "the directory has its slots")
        var total = 0
        var inRecords = 0
        var inNodes = 0
        var order = Int64.min
        for place in 0..<nodeCount {
            let node = node(place)
            precondition(elements(place) > 0, "no node is empty")
            precondition(node.start >= ListNode.headerBytes, "records begin behind the header")
            precondition(node.end <= node.capacity, "records end inside")
            precondition(node.order > order, "orders ascend")
            precondition(unsafe walk != nil || node.mark == epoch, "marks are equal after a walk")
            precondition(
                node.isSolo ? elements(place) == 1 : node.capacity <= ListNode.bytesMax,
                "only long records have long nodes")
            node.records.checkInvariants(count: elements(place))
            order = node.order
            total += elements(place)
            inRecords += node.usedBytes
            inNodes += node.capacity
        }
        precondition(total == count, "elements are counted")
        precondition(inRecords == recordBytes, "record bytes are counted")
        precondition(inNodes == nodeBytes, "node bytes are counted")
    }
}
