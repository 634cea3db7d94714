//  What a consumer group has handed out and nobody has acknowledged: entry ids in order, each with
//  its consumer, the time of its last delivery and how often it was delivered. And, without these,
//  the ids that one consumer holds.
//
//  Raw memory. Nodes and directory are allocated and freed here. A node's header says how many
//  records it holds and where they begin, inside its capacity. Used under the shard's lock, or by
//  the one thread that tears it down.
//
//         directory:  free │ n0 n1 n2 n3 │ free      32 bytes each: address, a lower bound of the
//                                                    ids, a lower bound of the delivery times
//
//         node:   0  mark      1  the snapshot epoch it was last saved in or born in
//                 1  form      1  bit 0: wide, bit 1: with deliveries
//                 2  capacity  2  records
//                 4  first     2  the record that is the first in use
//                 6  count     2
//                 8  origin    8  milliseconds that narrow ids count from
//                16  ids        capacity × 8    milliseconds - origin : 32, sequence : 32
//                    deliveries capacity × 8    time : 48, count : 16
//                    consumers  capacity × 4
//
//  *Narrow and wide.* Ids of one node are seldom more than days apart, and their sequences small. A
//  node that gets a record which does not fit those bits becomes wide: 16 bytes for an id, 16 for
//  time and count.
//
//  *Ends.* Entries are delivered in order of their ids and acknowledged in about the same order: a
//  record is appended to the last node and taken from the front of the first, and nothing moves. A
//  node that was filled from its end stays full; one that is split in the middle leaves two halves;
//  one that falls below a quarter joins a neighbour.
//
//  *Time.* XREADGROUP CLAIM asks for what was delivered longest ago. The directory keeps a time for
//  each node that no delivery in it is older than; it is made exact when such a search looks into the
//  node. A search passes 200 records with one comparison, and most end with the very first one.
//
//  *Snapshots* (design, invariant 11) work as those of `List`, but that a node needs no order: its
//  records say where it stands.

import Glibc
import MartletBase

/// An entry that was delivered and not acknowledged.
package struct PendingEntry: Equatable {
    package var id: StreamID
    /// The number of its consumer in the group; 0 for nobody's.
    package var consumer: UInt32 = 0
    /// Wall clock; of one that was given back, its place among these: 1 for the first. So they come
    /// before all others in order of time.
    package var deliveredMilliseconds: Int64 = 0
    package var deliveryCount: Int64 = 0

    package init(
        id: StreamID, consumer: UInt32 = 0, deliveredMilliseconds: Int64 = 0,
        deliveryCount: Int64 = 0
    ) {
        self.id = id
        self.consumer = consumer
        self.deliveredMilliseconds = deliveredMilliseconds
        self.deliveryCount = deliveryCount
    }

    /// It was given back, and nobody has it.
    package var isReleased: Bool { consumer == 0 }

    /// When it was delivered; 0 for one that was given back.
    package var lastDeliveredMilliseconds: Int64 { isReleased ? 0 : deliveredMilliseconds }
}

/// What a walk over pending entries calls for the records of each node, in order of their ids.
final class PendingWalk {
    let visit: ([PendingEntry]) -> Void

    init(_ visit: @escaping ([PendingEntry]) -> Void) { self.visit = visit }
}

/// One block of records.
@safe
private struct PendingNode {
    let base: UnsafeMutableRawPointer

    static let headerBytes = 16
    /// With what malloc keeps for itself, 4 KB.
    static let bytesMax = NodeMemory.bytesMax - 8
    static let capacityMin = 6

    /// What a node holds of each entry.
    struct Form {
        let rawValue: UInt8
        @inline(__always) var isWide: Bool { rawValue & 1 != 0 }
        @inline(__always) var hasDeliveries: Bool { rawValue & 2 != 0 }
        @inline(__always) var idBytes: Int { isWide ? 16 : 8 }
        @inline(__always) var deliveryBytes: Int { hasDeliveries ? idBytes : 0 }
        @inline(__always) var consumerBytes: Int { hasDeliveries ? 4 : 0 }
        @inline(__always) var recordBytes: Int { idBytes &+ deliveryBytes &+ consumerBytes }
        /// Records of the largest node.
        var capacityMax: Int { (bytesMax - headerBytes) / recordBytes }
        func bytes(_ capacity: Int) -> Int { headerBytes + capacity * recordBytes }

        init(isWide: Bool, hasDeliveries: Bool) {
            rawValue = (isWide ? 1 : 0) | (hasDeliveries ? 2 : 0)
        }

        @inline(__always)
        init(rawValue: UInt8) { self.rawValue = rawValue }
    }

    init(_ form: Form, capacity: Int, mark: UInt8, origin: UInt64) {
        unsafe base = NodeMemory.allocate(form.bytes(capacity))
        unsafe base.storeBytes(of: mark, as: UInt8.self)
        unsafe base.storeBytes(of: form.rawValue, toByteOffset: 1, as: UInt8.self)
        unsafe base.storeBytes(
            of: UInt16(truncatingIfNeeded: capacity), toByteOffset: 2, as: UInt16.self)
        first = 0
        count = 0
        self.origin = origin
    }

    func free() { unsafe NodeMemory.free(base) }

    var mark: UInt8 {
        get { unsafe base.load(as: UInt8.self) }
        nonmutating set { unsafe base.storeBytes(of: newValue, as: UInt8.self) }
    }
    @inline(__always)
    var form: Form { Form(rawValue: unsafe base.load(fromByteOffset: 1, as: UInt8.self)) }
    @inline(__always)
    var capacity: Int { Int(unsafe base.load(fromByteOffset: 2, as: UInt16.self)) }
    @inline(__always)
    var first: Int {
        get { Int(unsafe base.load(fromByteOffset: 4, as: UInt16.self)) }
        nonmutating set {
            unsafe base.storeBytes(
                of: UInt16(truncatingIfNeeded: newValue), toByteOffset: 4, as: UInt16.self)
        }
    }
    @inline(__always)
    var count: Int {
        get { Int(unsafe base.load(fromByteOffset: 6, as: UInt16.self)) }
        nonmutating set {
            unsafe base.storeBytes(
                of: UInt16(truncatingIfNeeded: newValue), toByteOffset: 6, as: UInt16.self)
        }
    }
    @inline(__always)
    var origin: UInt64 {
        get { unsafe base.load(fromByteOffset: 8, as: UInt64.self) }
        nonmutating set { unsafe base.storeBytes(of: newValue, toByteOffset: 8, as: UInt64.self) }
    }
    var bytes: Int { form.bytes(capacity) }

    /// An origin from which ids of weeks before and after count.
    static func origin(_ id: StreamID) -> UInt64 { max(id.milliseconds, 1 << 31) - 1 << 31 }

    // MARK: Records

    /// The slot of record `index`, which is in use.
    @inline(__always)
    private func slot(_ index: Int) -> Int {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "a record that is there")
        return first &+ index
    }

    @inline(__always)
    private func word(_ offset: Int) -> UInt64 {
        unsafe base.load(fromByteOffset: offset, as: UInt64.self)
    }

    @inline(__always)
    private func setWord(_ offset: Int, _ value: UInt64) {
        unsafe base.storeBytes(of: value, toByteOffset: offset, as: UInt64.self)
    }

    @inline(__always)
    func id(_ index: Int) -> StreamID {
        let slot = slot(index)
        if form.isWide {
            let offset = Self.headerBytes &+ slot &* 16
            return StreamID(word(offset), word(offset &+ 8))
        }
        let code = word(Self.headerBytes &+ slot &* 8)
        return StreamID(origin &+ code >> 32, code & 0xFFFF_FFFF)
    }

    func delivered(_ index: Int) -> Int64 {
        let form = form
        guard form.hasDeliveries else { return 0 }
        let offset = Self.headerBytes &+ capacity &* form.idBytes &+ slot(index) &* form.idBytes
        let word = word(offset)
        return Int64(truncatingIfNeeded: form.isWide ? word : word >> 16)
    }

    func entry(_ index: Int) -> PendingEntry {
        var entry = PendingEntry(id: id(index))
        let form = form
        guard form.hasDeliveries else { return entry }
        let deliveries = Self.headerBytes &+ capacity &* form.idBytes
        let offset = deliveries &+ slot(index) &* form.idBytes
        if form.isWide {
            entry.deliveredMilliseconds = Int64(bitPattern: word(offset))
            entry.deliveryCount = Int64(bitPattern: word(offset &+ 8))
        } else {
            entry.deliveredMilliseconds = Int64(truncatingIfNeeded: word(offset) >> 16)
            entry.deliveryCount = Int64(truncatingIfNeeded: word(offset) & 0xFFFF)
        }
        let consumers = deliveries &+ capacity &* form.idBytes
        entry.consumer = unsafe base.load(
            fromByteOffset: consumers &+ slot(index) &* 4, as: UInt32.self)
        return entry
    }

    /// Writes record `index`, which is in use and fits.
    @inline(__always)
    func set(_ index: Int, _ entry: PendingEntry) {
        let slot = slot(index)
        let form = form
        let ids = Self.headerBytes &+ slot &* form.idBytes
        let deliveries = Self.headerBytes &+ (capacity &+ slot) &* form.idBytes
        if form.isWide {
            setWord(ids, entry.id.milliseconds)
            setWord(ids &+ 8, entry.id.sequence)
        } else {
            setWord(ids, (entry.id.milliseconds &- origin) << 32 | entry.id.sequence)
        }
        guard form.hasDeliveries else { return }
        if form.isWide {
            setWord(deliveries, UInt64(bitPattern: entry.deliveredMilliseconds))
            setWord(deliveries &+ 8, UInt64(bitPattern: entry.deliveryCount))
        } else {
            setWord(
                deliveries,
                UInt64(truncatingIfNeeded: entry.deliveredMilliseconds) << 16
                    | UInt64(truncatingIfNeeded: entry.deliveryCount))
        }
        let consumers = Self.headerBytes &+ 2 &* capacity &* form.idBytes
        unsafe base.storeBytes(
            of: entry.consumer, toByteOffset: consumers &+ slot &* 4, as: UInt32.self)
    }

    /// Whether a record can be written in the form that the node has.
    @inline(__always)
    func fits(_ entry: PendingEntry) -> Bool {
        if form.isWide { return true }
        return entry.id.milliseconds >= origin && entry.id.milliseconds &- origin < 1 << 32
            && entry.id.sequence < 1 << 32
            && UInt64(bitPattern: entry.deliveredMilliseconds) < 1 << 48
            && UInt64(bitPattern: entry.deliveryCount) < 1 << 16
    }

    /// How many records have a smaller id.
    @inline(__always)
    func countBelow(_ id: StreamID) -> Int {
        let count = count
        if count == 0 { return 0 }
        if form.isWide { return countBelowWide(id) }
        if id.milliseconds < origin { return 0 }
        let distance = id.milliseconds &- origin
        if distance >= 1 << 32 { return count }
        // A sequence beyond 32 bits is above all that stand here with its milliseconds.
        if id.sequence >= 1 << 32 && distance == 0xFFFF_FFFF { return count }
        let code =
            id.sequence >= 1 << 32 ? (distance &+ 1) << 32 : distance << 32 | id.sequence
        let codes = Self.headerBytes &+ first &* 8
        if word(codes) >= code { return 0 }
        if word(codes &+ (count &- 1) &* 8) < code { return count }
        var low = 1
        var high = count &- 1
        while low < high {
            let middle = (low &+ high) / 2
            if word(codes &+ middle &* 8) < code { low = middle &+ 1 } else { high = middle }
        }
        return low
    }

    @inline(never)
    private func countBelowWide(_ wanted: StreamID) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if id(middle) < wanted { low = middle + 1 } else { high = middle }
        }
        return low
    }

    // MARK: Moving

    /// Moves `moved` slots from `from` to `to` in each of the arrays.
    private func shift(from: Int, to: Int, _ moved: Int) {
        if moved == 0 || from == to { return }
        let form = form
        var array = Self.headerBytes
        var step = form.idBytes
        for part in 0..<(form.hasDeliveries ? 3 : 1) {
            if part == 2 { step = 4 }
            unsafe memmove(base + (array + to * step), base + (array + from * step), moved * step)
            array += capacity * step
        }
    }

    /// Makes room for a record before `index` and writes it. The node is not full, and it fits.
    @inline(__always)
    func insert(_ entry: PendingEntry, at index: Int) {
        if index == count && first &+ count < capacity {
            count &+= 1
        } else {
            open(index)
        }
        set(index, entry)
    }

    @inline(never)
    private func open(_ index: Int) {
        let count = count
        precondition(count < capacity && index <= count, "there is room")
        if first + count == capacity || first > 0 && index < count / 2 {
            // At the end all of what was acknowledged in front is free: take it at one go.
            let to = index == count ? 0 : first - 1
            shift(from: first, to: to, index)
            if index == count {
                first = 0
            } else {
                first = to
            }
        } else {
            shift(from: first + index, to: first + index + 1, count - index)
        }
        self.count = count + 1
    }

    /// Takes record `index` out.
    @inline(__always)
    func remove(_ index: Int) {
        let slot = slot(index)
        if index == 0 {
            first &+= 1
        } else if index < count / 2 {
            shift(from: first, to: first + 1, index)
            first += 1
        } else {
            shift(from: slot + 1, to: slot, count - index - 1)
        }
        count &-= 1
        if count == 0 { first = 0 }
    }

    /// Appends records of another node, all of which fit.
    func append(_ other: PendingNode, _ indices: Range<Int>) {
        for index in indices { insert(other.entry(index), at: count) }
    }

    /// Forgets the records from `index` on.
    func cut(at index: Int) { count = index }
}

/// Pending entries by id.
///
/// - Invariant: ids ascend; no node is empty unless it is the only one; `count` and `nodeBytes` are
///   sums over the nodes.
/// - Complexity: O(log n) comparisons for an operation on one entry and at most 4 KB moved, none at
///   the ends; n/200 directory slots of 32 bytes move when a node comes or goes in the middle.
/// - Memory: 20.3 bytes an entry, 8.1 in the form without deliveries; at the worst 37 and 17, half
///   as full.
@safe
struct PendingEntries: ~Copyable {
    private struct Placed {
        var node: PendingNode
        /// No id in the node is below it, none in the node before is not.
        var low: StreamID
        /// No delivery in the node is older.
        var earliest: Int64
    }

    private var directory: UnsafeMutablePointer<Placed>
    private var capacity: UInt32 = 1
    /// The slots in use are `start ..< start + nodeCount`.
    private var start: UInt32 = 0
    private var slotCount: UInt32 = 0
    private var epoch: UInt8 = 0
    private let hasDeliveries: Bool
    private(set) var count = 0
    private var nodeBytes = 0
    /// No delivery at all is older.
    private var earliest = Int64.max
    private var walk: Unmanaged<PendingWalk>?

    /// - Parameter hasDeliveries: whether each entry has its consumer, time and count; the ids of one
    ///   consumer do without.
    init(hasDeliveries: Bool) {
        self.hasDeliveries = hasDeliveries
        unsafe directory = .allocate(capacity: 1)
    }

    deinit {
        for place in 0..<nodeCount { node(place).free() }
        unsafe directory.deallocate()
    }

    /// Frees all nodes of entries that are about to go, calling `pause` after each.
    mutating func dismantle(_ pause: () -> Void) {
        while nodeCount > 0 {
            node(nodeCount - 1).free()
            slotCount -= 1
            pause()
        }
    }

    /// Memory beyond the struct itself.
    @inline(__always)
    var bytes: Int { Int(capacity) &* MemoryLayout<Placed>.stride &+ nodeBytes }

    // MARK: The directory

    @inline(__always)
    private var nodeCount: Int { Int(slotCount) }

    @inline(__always)
    private func placed(_ place: Int) -> UnsafeMutablePointer<Placed> {
        precondition(place >= 0 && place < nodeCount, "a node that is there")
        return unsafe directory + (Int(start) &+ place)
    }

    @inline(__always)
    private func node(_ place: Int) -> PendingNode { unsafe placed(place).pointee.node }

    /// The node where an id is, or would be; there is one.
    @inline(__always)
    private func place(of id: StreamID) -> Int {
        let last = nodeCount &- 1
        if last == 0 { return 0 }
        if unsafe placed(last).pointee.low <= id { return last }
        if unsafe id < placed(1).pointee.low { return 0 }
        var low = 1
        var high = last
        // low's bound is not above the id, high's is.
        while high &- low > 1 {
            let middle = (low &+ high) / 2
            if unsafe id < placed(middle).pointee.low { high = middle } else { low = middle }
        }
        return low
    }

    /// The first entry at an id or behind it, if there is one.
    @inline(__always)
    private func position(atOrBehind id: StreamID) -> (place: Int, index: Int)? {
        if count == 0 { return nil }
        let place = place(of: id)
        let node = node(place)
        let index = node.countBelow(id)
        if index < node.count { return (place, index) }
        return place &+ 1 < nodeCount ? (place &+ 1, 0) : nil
    }

    private mutating func openSlot(_ place: Int, _ slot: Placed) {
        if Int(start) + nodeCount == Int(capacity) { makeRoom() }
        let base = unsafe directory + Int(start)
        if place == 0 && start > 0 {
            start -= 1
            slotCount += 1
            unsafe (base - 1).pointee = slot
            return
        }
        unsafe memmove(
            base + (place + 1), base + place, (nodeCount - place) * MemoryLayout<Placed>.stride)
        unsafe base[place] = slot
        slotCount += 1
    }

    /// Makes room for a slot behind the last: in a row where half of the directory is unused, the
    /// slots move to its front, else it doubles.
    private mutating func makeRoom() {
        let used = nodeCount
        if start > capacity / 2 {
            unsafe memmove(directory, directory + Int(start), used * MemoryLayout<Placed>.stride)
            start = 0
            return
        }
        resizeDirectory(max(1, used * 2))
    }

    private mutating func resizeDirectory(_ wanted: Int) {
        let used = nodeCount
        let new = UnsafeMutablePointer<Placed>.allocate(capacity: wanted)
        unsafe memcpy(new, directory + Int(start), used * MemoryLayout<Placed>.stride)
        unsafe directory.deallocate()
        unsafe directory = new
        start = 0
        capacity = UInt32(truncatingIfNeeded: wanted)
    }

    private mutating func closeSlot(_ place: Int) {
        if place == 0 {
            start += 1
        } else {
            let base = unsafe directory + Int(start)
            unsafe memmove(
                base + place, base + (place + 1),
                (nodeCount - place - 1) * MemoryLayout<Placed>.stride)
        }
        slotCount -= 1
        if capacity > 16 && slotCount < capacity / 8 { resizeDirectory(Int(capacity) / 4) }
    }

    private mutating func makeNode(
        at place: Int, isWide: Bool, capacity: Int, origin: UInt64, low: StreamID
    ) -> PendingNode {
        let form = PendingNode.Form(isWide: isWide, hasDeliveries: hasDeliveries)
        let node = PendingNode(form, capacity: capacity, mark: epoch, origin: origin)
        nodeBytes += node.bytes
        openSlot(place, Placed(node: node, low: low, earliest: .max))
        return node
    }

    /// Puts another node with the same records in the place of one.
    private mutating func replace(_ place: Int, isWide: Bool, capacity: Int) {
        let old = node(place)
        let form = PendingNode.Form(isWide: isWide, hasDeliveries: hasDeliveries)
        let new = PendingNode(form, capacity: capacity, mark: old.mark, origin: old.origin)
        new.append(old, 0..<old.count)
        nodeBytes += new.bytes - old.bytes
        unsafe placed(place).pointee.node = new
        old.free()
    }

    // MARK: Reading

    /// The entry of an id.
    @inline(__always)
    func entry(_ id: StreamID) -> PendingEntry? {
        guard let (place, index) = position(atOrBehind: id) else { return nil }
        let entry = node(place).entry(index)
        return entry.id == id ? entry : nil
    }

    @inline(__always)
    func contains(_ id: StreamID) -> Bool {
        guard let (place, index) = position(atOrBehind: id) else { return false }
        return node(place).id(index) == id
    }

    /// The first entry at an id or behind it.
    @inline(__always)
    func next(atOrBehind id: StreamID) -> PendingEntry? {
        guard let (place, index) = position(atOrBehind: id) else { return nil }
        return node(place).entry(index)
    }

    /// The smallest and the greatest id.
    var ends: (first: StreamID, last: StreamID)? {
        if count == 0 { return nil }
        let last = node(nodeCount - 1)
        return (node(0).id(0), last.id(last.count - 1))
    }

    /// Calls `body` for the entries from an id on, until it answers false. It changes nothing here.
    func forEach(from id: StreamID, _ body: (PendingEntry) -> Bool) {
        guard var (place, index) = position(atOrBehind: id) else { return }
        while place < nodeCount {
            let node = node(place)
            while index < node.count {
                if !body(node.entry(index)) { return }
                index += 1
            }
            place += 1
            index = 0
        }
    }

    /// Nothing was delivered before this time; `Int64.max` when there is nothing. It may be earlier
    /// than the oldest delivery.
    var earliestBound: Int64 { earliest }

    /// The entries that were delivered at a time or before, or the `limit` oldest of them: those
    /// delivered longest ago first, those of one time by their ids.
    ///
    /// - Complexity: O(1) when the bound says that there are none; O(n/200 + m log m), m = records of
    ///   nodes with such entries.
    mutating func oldest(through time: Int64, limit: Int?) -> [PendingEntry] {
        if time < earliest || count == 0 { return [] }
        var found: [PendingEntry] = []
        /// Once there are enough, later ones are of no interest.
        var time = time
        var bound = Int64.max
        for place in 0..<nodeCount {
            if unsafe placed(place).pointee.earliest <= time {
                let node = node(place)
                var earliest = Int64.max
                for index in 0..<node.count {
                    let delivered = node.delivered(index)
                    earliest = min(earliest, delivered)
                    if delivered <= time { found.append(node.entry(index)) }
                }
                unsafe placed(place).pointee.earliest = earliest
                if let limit, found.count > 2 * limit + 256 {
                    Self.keepOldest(&found, limit)
                    time = found.last?.deliveredMilliseconds ?? time
                }
            }
            bound = min(bound, unsafe placed(place).pointee.earliest)
        }
        earliest = bound
        Self.keepOldest(&found, limit ?? found.count)
        return found
    }

    private static func keepOldest(_ found: inout [PendingEntry], _ limit: Int) {
        found.sort {
            $0.deliveredMilliseconds < $1.deliveredMilliseconds
                || $0.deliveredMilliseconds == $1.deliveredMilliseconds && $0.id < $1.id
        }
        if found.count > limit { found.removeLast(found.count - limit) }
    }

    // MARK: Changing

    /// Puts an entry in.
    ///
    /// - Precondition: its id is not there.
    @inline(__always)
    mutating func insert(_ entry: PendingEntry) {
        if nodeCount > 0 {
            // Nearly always behind all others.
            let place = nodeCount &- 1
            let slot = unsafe placed(place)
            let node = unsafe slot.pointee.node
            let size = node.count
            if size > 0 && node.mark == epoch && node.first &+ size < node.capacity
                && node.id(size &- 1) < entry.id && node.fits(entry)
            {
                node.insert(entry, at: size)
                note(entry, at: place)
                count &+= 1
                return
            }
        }
        insertAnywhere(entry)
    }

    @inline(__always)
    private mutating func note(_ entry: PendingEntry, at place: Int) {
        let slot = unsafe placed(place)
        unsafe slot.pointee.earliest = min(slot.pointee.earliest, entry.deliveredMilliseconds)
        if entry.deliveredMilliseconds < earliest { earliest = entry.deliveredMilliseconds }
    }

    @inline(never)
    private mutating func insertAnywhere(_ entry: PendingEntry) {
        if nodeCount == 0 {
            _ = makeNode(
                at: 0, isWide: false, capacity: PendingNode.capacityMin,
                origin: PendingNode.origin(entry.id), low: entry.id)
        } else if count == 0 {
            willChange(node(0))
            node(0).origin = PendingNode.origin(entry.id)
            unsafe placed(0).pointee.low = entry.id
            unsafe placed(0).pointee.earliest = .max
            earliest = .max
        }
        var place = place(of: entry.id)
        if unsafe entry.id < placed(place).pointee.low {
            unsafe placed(place).pointee.low = entry.id
        }
        willChange(node(place))
        if !node(place).fits(entry) { place = widen(place, for: entry.id) }
        if node(place).count == node(place).capacity { place = makeRoom(at: place, entry) }
        let node = node(place)
        node.insert(entry, at: node.countBelow(entry.id))
        note(entry, at: place)
        count += 1
    }

    /// Makes a node wide; if it has too many records for that, it is split first.
    ///
    /// - Returns: the node where `id` belongs.
    private mutating func widen(_ place: Int, for id: StreamID) -> Int {
        let most = PendingNode.Form(isWide: true, hasDeliveries: hasDeliveries).capacityMax
        var place = place
        while node(place).count >= most {
            split(place, at: node(place).count / 2)
            place = self.place(of: id)
        }
        replace(place, isWide: true, capacity: min(most, node(place).count + 2))
        return place
    }

    /// Makes room in a full node, which has been announced to a snapshot.
    ///
    /// - Returns: the node where the entry belongs.
    private mutating func makeRoom(at place: Int, _ entry: PendingEntry) -> Int {
        let node = node(place)
        let form = node.form
        if node.capacity < form.capacityMax {
            replace(
                place, isWide: form.isWide, capacity: min(form.capacityMax, node.capacity * 2))
            return place
        }
        if place == nodeCount - 1 && node.id(node.count - 1) < entry.id {
            // It stays full. The next one gets full as well, most likely.
            let new = makeNode(
                at: place + 1, isWide: false,
                capacity: PendingNode.Form(isWide: false, hasDeliveries: hasDeliveries).capacityMax,
                origin: PendingNode.origin(entry.id), low: entry.id)
            if new.fits(entry) { return place + 1 }
            return widen(place + 1, for: entry.id)
        }
        split(place, at: node.count / 2)
        return self.place(of: entry.id)
    }

    /// Moves the records from `index` on to a new node.
    private mutating func split(_ place: Int, at index: Int) {
        let node = node(place)
        let right = makeNode(
            at: place + 1, isWide: node.form.isWide, capacity: node.capacity, origin: node.origin,
            low: node.id(index))
        right.append(node, index..<node.count)
        right.mark = node.mark
        node.cut(at: index)
        unsafe placed(place + 1).pointee.earliest = placed(place).pointee.earliest
    }

    /// Takes an entry out.
    ///
    /// - Returns: it, or nil when it was not there.
    @inline(__always)
    @discardableResult
    mutating func remove(_ id: StreamID) -> PendingEntry? {
        guard let (place, index) = position(atOrBehind: id) else { return nil }
        let node = node(place)
        let entry = node.entry(index)
        if entry.id != id { return nil }
        willChange(node)
        node.remove(index)
        count &-= 1
        if count == 0 { earliest = .max }
        let left = node.count
        if left &* 4 < node.capacity { shrink(place) }
        return entry
    }

    /// Frees, joins or shortens a node that has got rather empty.
    @inline(never)
    private mutating func shrink(_ place: Int) {
        let node = node(place)
        if nodeCount == 1 {
            let least = PendingNode.capacityMin * 4
            if node.capacity > least && node.count * 8 < node.capacity {
                replace(place, isWide: node.form.isWide, capacity: node.capacity / 4)
            }
            return
        }
        if node.count == 0 {
            nodeBytes -= node.bytes
            node.free()
            closeSlot(place)
            return
        }
        // From the front it goes away by itself; joining would only move records.
        if node.first > 0 && place == 0 { return }
        if place > 0 && join(place - 1) { return }
        if place + 1 < nodeCount { _ = join(place) }
    }

    /// Moves the records of the node behind `place` into it, if that leaves room.
    private mutating func join(_ place: Int) -> Bool {
        let left = node(place)
        let right = node(place + 1)
        let total = left.count + right.count
        guard left.form.isWide == right.form.isWide,
            left.form.isWide || left.origin == right.origin,
            total <= left.form.capacityMax * 3 / 4
        else { return false }
        willChange(left)
        willChange(right)
        if left.capacity < total {
            replace(place, isWide: left.form.isWide, capacity: left.form.capacityMax)
        }
        node(place).append(right, 0..<right.count)
        let times = unsafe (placed(place).pointee.earliest, placed(place + 1).pointee.earliest)
        unsafe placed(place).pointee.earliest = min(times.0, times.1)
        nodeBytes -= right.bytes
        right.free()
        closeSlot(place + 1)
        return true
    }

    /// Gives the entry of an id that is there another consumer, time and count.
    mutating func update(_ entry: PendingEntry) {
        guard var (place, _) = position(atOrBehind: entry.id) else { return }
        willChange(node(place))
        if !node(place).fits(entry) { place = widen(place, for: entry.id) }
        let index = node(place).countBelow(entry.id)
        precondition(node(place).id(index) == entry.id, "the entry is there")
        node(place).set(index, entry)
        note(entry, at: place)
    }

    // MARK: Copies, snapshots, checks

    /// The same entries.
    func copy() -> PendingEntries {
        var other = PendingEntries(hasDeliveries: hasDeliveries)
        forEach(from: .zero) {
            other.insert($0)
            return true
        }
        return other
    }

    /// The one place that every change of a node passes first.
    @inline(__always)
    private func willChange(_ node: PendingNode) {
        if node.mark != epoch { save(node) }
    }

    @inline(never)
    private func save(_ node: PendingNode) {
        node.mark = epoch
        guard let walk = unsafe walk?.takeUnretainedValue() else { return }
        walk.visit((0..<node.count).map(node.entry))
    }

    /// Begins a walk over all nodes as they are now. `walk` lives until `endWalk`.
    ///
    /// - Precondition: no walk is under way.
    mutating func beginWalk(_ walk: PendingWalk) {
        precondition(unsafe self.walk == nil, "one walk at a time")
        epoch &+= 1
        unsafe self.walk = Unmanaged.passUnretained(walk)
    }

    /// Hands over up to `nodes` nodes from the one of `id` on, those that were not handed over yet.
    ///
    /// - Returns: from where to go on, or nil when the walk has seen all.
    func walk(from id: StreamID, nodes: Int) -> StreamID? {
        if nodeCount == 0 { return nil }
        let first = place(of: id)
        let end = min(nodeCount, first + nodes)
        for place in first..<end { willChange(node(place)) }
        return end < nodeCount ? unsafe placed(end).pointee.low : nil
    }

    /// Ends a walk, complete or not.
    mutating func endWalk() {
        unsafe walk = nil
        for place in 0..<nodeCount { node(place).mark = epoch }
    }

    /// Checks every invariant; for tests. Complexity: O(n).
    func checkInvariants() {
        precondition(start + slotCount <= capacity, "the directory has its slots")
        var total = 0
        var inNodes = 0
        var last: StreamID?
        for place in 0..<nodeCount {
            let node = node(place)
            precondition(nodeCount == 1 || node.count > 0, "no node is empty but a single one")
            precondition(node.first + node.count <= node.capacity, "records end inside")
            precondition(node.bytes <= PendingNode.bytesMax, "a node is not too long")
            precondition(node.form.hasDeliveries == hasDeliveries, "nodes are of one form")
            precondition(unsafe walk != nil || node.mark == epoch, "marks are equal after a walk")
            for index in 0..<node.count {
                let id = node.id(index)
                precondition(last.map { $0 < id } ?? true, "ids ascend")
                precondition(unsafe placed(place).pointee.low <= id, "the bound is not above")
                if hasDeliveries {
                    let time = node.delivered(index)
                    precondition(unsafe placed(place).pointee.earliest <= time, "nothing is older")
                    precondition(earliest <= time, "nothing at all is older")
                }
                last = id
            }
            if place + 1 < nodeCount, let last {
                precondition(unsafe last < placed(place + 1).pointee.low, "bounds part the nodes")
            }
            total += node.count
            inNodes += node.bytes
        }
        precondition(total == count, "entries are counted")
        precondition(inNodes == nodeBytes, "node bytes are counted")
    }
}
