//  The members of a large collection, each stored once, with a value beside it: a sorted set's
//  score, a hash's value, nothing in a set.
//
//  Raw memory. Records stand in chunks of at most 4 KB that the store allocates and frees; a chunk's
//  header says how far it is filled, and no access goes beyond. Used under the shard's lock, or by
//  the one thread that tears the structure down.
//
//         handle:     chunk number (24 bits) << 8 | slot (8 bits)
//         directory:  by chunk number, address | size: 0 to 3 for 512 to 4 096 bytes. It stands here so
//                     that a lookup reads the slot and the record, and not the chunk's header.
//
//         chunk:    0  mark        1  the snapshot epoch the chunk was last saved in or born in
//                   1  free slot   1  head of the list of free slots, 255 = none
//                   2  slots       2  slots there are, free ones included; at most 255
//                   4  live        2  records
//                   6  end         2  where the next record goes
//                   8  live bytes  2  of the records
//                  10  …           2  unused
//                  12  number      4  within the store
//                  16  order       4  place in the dense list of chunks
//                  20  next        4  in the list the chunk is in
//                  24  previous    4
//                  28  list        1  0 none, 1 roomy, 2 sparse
//                  32  records, growing up … slots of 2 bytes, growing down from the end
//         slot:    the record's offset; of a free slot 0x8000 | the next free one
//         record:  member length, value length if values vary, value, member
//         length:  one byte below 254; 254 and two bytes
//         large:   255, then the address of a malloc'ed block: member length (8 bytes), value length
//                  (8 bytes), value, member
//
//  A slotted page (Gray and Reuter, Transaction Processing, 1992, 14.2): a handle stays the same
//  when the chunk is compacted, records have no padding, and all sizes share the chunks, so that
//  small collections waste little. A record costs its bytes and two for the slot.
//
//  *Room.* Records go to the fill chunk, then to a chunk from the roomy list (less than three
//  quarters live), then to a new one. A chunk that falls below a quarter is sparse: the owner of the
//  handles moves what is left elsewhere (`sparseChunk`, `move`), so that memory comes back when a
//  collection shrinks, whatever the order in which members go.
//
//  *Snapshots* (design, invariant 11). The chunks hold all that a snapshot needs, so they are its
//  nodes: indexes over the records need no mark. `beginWalk` starts a new epoch; a chunk whose mark
//  is older has not been saved yet. Whoever is about to change a chunk calls `willChange`, which
//  hands such a chunk to the walk first; `walk` hands over the others in slices. Chunks born later
//  carry the new epoch and are left out. A walk ends when every mark is the epoch, so eight bits do:
//  outside of a walk all marks are equal, and no older epoch can be met again.

import CSystem
import Glibc
import MartletBase

/// Names a record of a `MemberStore` for as long as the record is there and is not moved.
typealias MemberHandle = UInt32

/// What a walk over a store calls for each record: member and value.
final class MemberWalk: NodeWalk {
    let visit: (_ member: ByteView, _ value: ByteView) -> Void

    init(
        owner: AnyObject? = nil, _ visit: @escaping (_ member: ByteView, _ value: ByteView) -> Void
    ) {
        self.visit = visit
        super.init(owner: owner)
    }
}

/// Records of members, in chunks.
///
/// - Invariant: the first `chunkCount` numbers of `order` are those of the chunks, the others up to
///   `numberCount` are free; `count`, `recordBytes` and `bytes` are sums over the chunks.
@safe
struct MemberStore: ~Copyable {
    /// Chunk addresses and sizes by number, 0 where there is none.
    private var directory: UnsafeMutablePointer<UInt>?
    /// Chunk numbers: those in use, then the free ones.
    private var order: UnsafeMutablePointer<UInt32>?
    private var directoryCapacity = 0
    private var numberCount = 0
    private(set) var chunkCount = 0
    private(set) var count = 0
    /// Bytes of live records.
    private(set) var recordBytes = 0
    /// Memory of chunks, large records and the directory.
    private(set) var bytes = 0
    /// The most slots a chunk has had.
    private var slotsMax = 1
    private var fill = Self.none
    private var roomy = Self.none
    private var sparse = Self.none
    /// Bytes of every value, or -1 when they vary.
    private let valueBytes: Int
    private var epoch: UInt8 = 0
    /// The walk under way, which its owner keeps alive.
    private var walk: Unmanaged<MemberWalk>?

    static let none = UInt32.max
    /// Longer records stand in a block of their own: a quarter of a chunk, so that every roomy one
    /// has room for any record.
    static let recordBytesMax = 960
    /// 24 bits of chunk number: 64 GiB of records.
    static let chunksMax = 1 << 24

    init(valueBytes: Int) {
        self.valueBytes = valueBytes
        unsafe directory = nil
        unsafe order = nil
        unsafe walk = nil
    }

    deinit {
        for place in 0..<chunkCount { freeChunk(chunk(unsafe order.unsafelyUnwrapped[place])) }
        unsafe NodeMemory.free(directory)
        unsafe NodeMemory.free(order)
    }

    private func freeChunk(_ chunk: MemberChunk) {
        for slot in 0..<chunk.slotCount {
            if let offset = chunk.offset(ofSlot: slot) { freeLarge(chunk, offset) }
        }
        unsafe NodeMemory.free(chunk.base)
    }

    /// Frees all chunks of a store that is about to go, calling `pause` after each.
    mutating func dismantle(_ pause: () -> Void) {
        while chunkCount > 0 {
            chunkCount -= 1
            freeChunk(chunk(unsafe order.unsafelyUnwrapped[chunkCount]))
            pause()
        }
    }

    // MARK: Reading

    @inline(__always)
    private func chunk(_ number: UInt32) -> MemberChunk {
        unsafe MemberChunk(word: directory.unsafelyUnwrapped[Int(number)])
    }

    /// The record of a handle.
    @inline(__always)
    private func record(_ handle: MemberHandle) -> Record {
        let chunk = chunk(handle >> 8)
        return unsafe record(chunk.base + chunk.offset(Int(handle & 0xFF)))
    }

    @inline(__always)
    private func record(_ start: UnsafeMutableRawPointer) -> Record {
        let length = unsafe start.load(as: UInt8.self)
        if length < 254 && valueBytes >= 0 {
            return unsafe Record(
                start: start, prefixBytes: 1, memberBytes: Int(length), valueBytes: valueBytes)
        }
        return unsafe longRecord(start, length)
    }

    @inline(never)
    private func longRecord(_ start: UnsafeMutableRawPointer, _ length: UInt8) -> Record {
        if length == 255 {
            let block = unsafe Self.largeBlock(start)
            return unsafe Record(
                start: block, prefixBytes: 16, memberBytes: block.load(as: Int.self),
                valueBytes: block.load(fromByteOffset: 8, as: Int.self))
        }
        var at = 0
        let member = unsafe Self.readLength(start, &at)
        let value = valueBytes >= 0 ? valueBytes : unsafe Self.readLength(start, &at)
        return unsafe Record(
            start: start, prefixBytes: at, memberBytes: member, valueBytes: value)
    }

    private static func largeBlock(_ start: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
        unsafe (start + 1).loadUnaligned(as: UnsafeMutableRawPointer.self)
    }

    private static func readLength(_ start: UnsafeMutableRawPointer, _ at: inout Int) -> Int {
        let first = unsafe start.load(fromByteOffset: at, as: UInt8.self)
        if first < 254 {
            at += 1
            return Int(first)
        }
        let length = unsafe start.loadUnaligned(fromByteOffset: at + 1, as: UInt16.self)
        at += 3
        return Int(length)
    }

    private static func writeLength(
        _ length: Int, _ start: UnsafeMutableRawPointer, _ at: inout Int
    ) {
        if length < 254 {
            unsafe start.storeBytes(
                of: UInt8(truncatingIfNeeded: length), toByteOffset: at, as: UInt8.self)
            at += 1
        } else {
            unsafe start.storeBytes(of: 254, toByteOffset: at, as: UInt8.self)
            unsafe start.storeBytes(
                of: UInt16(truncatingIfNeeded: length), toByteOffset: at + 1, as: UInt16.self)
            at += 3
        }
    }

    private static func lengthBytes(_ length: Int) -> Int { length < 254 ? 1 : 3 }

    /// The member's bytes, valid until the store next changes.
    @inline(__always)
    func member(_ handle: MemberHandle) -> ByteView { record(handle).member }

    /// The value's bytes, valid until the store next changes.
    @inline(__always)
    func value(_ handle: MemberHandle) -> ByteView { record(handle).value }

    /// Brings the line close in which a record's slot stands; reads the directory alone.
    @inline(__always)
    func prefetchSlot(_ handle: MemberHandle) {
        chunk(handle >> 8).prefetchSlot(Int(handle & 0xFF))
    }

    /// Brings a record's first line close.
    @inline(__always)
    func prefetchRecord(_ handle: MemberHandle) {
        let chunk = chunk(handle >> 8)
        chunk.prefetch(chunk.offset(Int(handle & 0xFF)))
    }

    /// A record chosen at random, each as likely as any other.
    ///
    /// Random slots are tried until one is taken. Sparse chunks are emptied, so that takes few tries.
    ///
    /// - Precondition: there is a record.
    /// - Complexity: O(1) expected.
    func random(_ random: inout Random) -> MemberHandle {
        precondition(count > 0, "there is a member to choose")
        while true {
            let place = random.index(below: chunkCount)
            let chunk = chunk(unsafe order.unsafelyUnwrapped[place])
            let slot = random.index(below: slotsMax)
            if slot < chunk.slotCount, chunk.offset(ofSlot: slot) != nil {
                return chunk.number << 8 | UInt32(slot)
            }
        }
    }

    // MARK: Changing

    /// Adds a record; its value is copied, or left unspecified when nil is given for a fixed size.
    ///
    /// - Returns: its handle, or nil when there is no memory for it; nothing changed then.
    mutating func add(_ member: ByteView, value: ByteView) -> MemberHandle? {
        assert(valueBytes < 0 || value.count == valueBytes)
        var size = Self.lengthBytes(member.count) + value.count + member.count
        if valueBytes < 0 { size += Self.lengthBytes(value.count) }
        if size > Self.recordBytesMax { return addLarge(member, value) }
        guard let chunk = chunkWithRoom(size) else { return nil }
        let (slot, start) = unsafe place(size, in: chunk)
        var at = 0
        unsafe Self.writeLength(member.count, start, &at)
        if valueBytes < 0 { unsafe Self.writeLength(value.count, start, &at) }
        unsafe memcpy(start + at, value.address, value.count)
        unsafe memcpy(start + at + value.count, member.address, member.count)
        return chunk.number << 8 | UInt32(slot)
    }

    private mutating func addLarge(_ member: ByteView, _ value: ByteView) -> MemberHandle? {
        let size = 16 + member.count + value.count
        guard let block = unsafe malloc(size) else { return nil }
        guard let chunk = chunkWithRoom(9) else {
            unsafe free(block)
            return nil
        }
        unsafe block.storeBytes(of: member.count, as: Int.self)
        unsafe block.storeBytes(of: value.count, toByteOffset: 8, as: Int.self)
        unsafe memcpy(block + 16, value.address, value.count)
        unsafe memcpy(block + 16 + value.count, member.address, member.count)
        bytes += size
        let (slot, start) = unsafe place(9, in: chunk)
        unsafe start.storeBytes(of: 255, as: UInt8.self)
        unsafe start.storeBytes(of: UInt(bitPattern: block), toByteOffset: 1, as: UInt.self)
        return chunk.number << 8 | UInt32(slot)
    }

    /// Takes a slot and `size` bytes of a chunk that has room for them.
    private mutating func place(
        _ size: Int, in chunk: MemberChunk
    ) -> (slot: Int, start: UnsafeMutableRawPointer) {
        willChange(chunk)
        let slot = chunk.takeSlot()
        slotsMax = max(slotsMax, chunk.slotCount)
        let start = unsafe chunk.base + chunk.end
        chunk.setOffset(chunk.end, ofSlot: slot)
        chunk.end += size
        chunk.live += 1
        chunk.liveBytes += size
        count += 1
        recordBytes += size
        return unsafe (slot, start)
    }

    /// Overwrites a value with another of the same size.
    @inline(__always)
    mutating func setValue(_ handle: MemberHandle, _ value: ByteView) {
        willChange(chunk(handle >> 8))
        let record = record(handle)
        precondition(record.valueBytes == value.count, "a value's size stays")
        unsafe memcpy(record.start + record.prefixBytes, value.address, value.count)
    }

    /// Removes a record.
    mutating func remove(_ handle: MemberHandle) {
        let chunk = chunk(handle >> 8)
        willChange(chunk)
        let slot = Int(handle & 0xFF)
        let offset = chunk.offset(slot)
        bytes -= freeLarge(chunk, offset)
        drop(slot, offset, from: chunk)
    }

    /// Frees the block of a large record, and answers its size.
    @discardableResult
    private func freeLarge(_ chunk: MemberChunk, _ offset: Int) -> Int {
        let start = unsafe chunk.base + offset
        guard unsafe start.load(as: UInt8.self) == 255 else { return 0 }
        let block = unsafe Self.largeBlock(start)
        let size =
            unsafe 16 + block.load(as: Int.self) + block.load(fromByteOffset: 8, as: Int.self)
        unsafe free(block)
        return size
    }

    /// What a record takes of its chunk.
    private func size(_ start: UnsafeMutableRawPointer) -> Int {
        if unsafe start.load(as: UInt8.self) == 255 { return 9 }
        let record = unsafe record(start)
        return record.prefixBytes + record.valueBytes + record.memberBytes
    }

    /// Takes a record out of its chunk, which may go with it.
    private mutating func drop(_ slot: Int, _ offset: Int, from chunk: MemberChunk) {
        let size = unsafe size(chunk.base + offset)
        chunk.giveSlot(slot)
        chunk.live -= 1
        chunk.liveBytes -= size
        count -= 1
        recordBytes -= size
        if chunk.live == 0 {
            release(chunk)
        } else if chunk.number != fill {
            let used = chunk.usedBytes
            if used * 4 < chunk.capacity {
                if chunk.list != MemberChunk.sparseList { enlist(chunk, MemberChunk.sparseList) }
            } else if used * 4 < chunk.capacity * 3, chunk.list == 0 {
                enlist(chunk, MemberChunk.roomyList)
            }
        }
    }

    // MARK: Chunks

    /// A chunk with contiguous room for a record of `size` and its slot; nil when there are too many.
    private mutating func chunkWithRoom(_ size: Int) -> MemberChunk? {
        if fill != Self.none {
            let chunk = chunk(fill)
            if let ready = prepared(chunk, size) { return ready }
            fill = Self.none
            if chunk.usedBytes * 4 < chunk.capacity * 3 { enlist(chunk, MemberChunk.roomyList) }
        }
        if roomy != Self.none {
            let chunk = chunk(roomy)
            delist(chunk)
            if let ready = prepared(chunk, size) {
                fill = ready.number
                return ready
            }
        }
        guard let fresh = newChunk(size) else { return nil }
        fill = fresh.number
        return fresh
    }

    /// The chunk once it has contiguous room for `size`, or nil when it can not have it.
    private mutating func prepared(_ chunk: MemberChunk, _ size: Int) -> MemberChunk? {
        let slotBytes = chunk.freeSlot == 255 ? 2 : 0
        if slotBytes > 0 && chunk.slotCount == 255 { return nil }
        let limit = chunk.capacity - chunk.slotCount * 2 - slotBytes
        if chunk.end + size <= limit { return chunk }
        let compact = MemberChunk.headerBytes + chunk.liveBytes + size
        if compact <= limit {
            rewrite(chunk, into: chunk)
            return chunk
        }
        var capacity = chunk.capacity
        if capacity == NodeMemory.bytesMax { return nil }
        repeat {
            capacity *= 2
        } while capacity < NodeMemory.bytesMax
            && compact > capacity - chunk.slotCount * 2 - slotBytes
        if compact > capacity - chunk.slotCount * 2 - slotBytes { return nil }
        let grown = unsafe MemberChunk(NodeMemory.allocate(capacity), capacity: capacity)
        unsafe memcpy(grown.base, chunk.base, MemberChunk.headerBytes)
        rewrite(chunk, into: grown)
        bytes += capacity - chunk.capacity
        unsafe directory.unsafelyUnwrapped[Int(chunk.number)] = grown.word
        unsafe NodeMemory.free(chunk.base)
        return grown
    }

    /// Writes the records of a chunk one behind the other, into itself or one at least as large whose
    /// header was copied. No record changes, so a snapshot does not mind.
    private func rewrite(_ chunk: MemberChunk, into target: MemberChunk) {
        unsafe withUnsafeTemporaryAllocation(byteCount: NodeMemory.bytesMax, alignment: 8) { room in
            guard let copy = room.baseAddress else { return }
            unsafe memcpy(copy, chunk.base, chunk.capacity)
            let old = unsafe MemberChunk(copy, capacity: chunk.capacity)
            var end = MemberChunk.headerBytes
            for slot in 0..<old.slotCount {
                guard let offset = old.offset(ofSlot: slot) else {
                    target.setRawSlot(old.rawSlot(slot), slot)
                    continue
                }
                let size = unsafe size(copy + offset)
                unsafe memcpy(target.base + end, copy + offset, size)
                target.setOffset(end, ofSlot: slot)
                end += size
            }
            target.end = end
        }
    }

    private mutating func newChunk(_ size: Int) -> MemberChunk? {
        if chunkCount == numberCount {
            if numberCount == Self.chunksMax { return nil }
            if numberCount == directoryCapacity { growDirectory() }
            unsafe order.unsafelyUnwrapped[numberCount] = UInt32(numberCount)
            unsafe directory.unsafelyUnwrapped[numberCount] = 0
            numberCount += 1
        }
        // The first ones grow with the collection; later ones are a small part of it.
        var capacity = chunkCount < 4 ? 512 : NodeMemory.bytesMax
        while capacity < MemberChunk.headerBytes + size + 2 { capacity *= 2 }
        let number = unsafe order.unsafelyUnwrapped[chunkCount]
        let chunk = unsafe MemberChunk(NodeMemory.allocate(capacity), capacity: capacity)
        chunk.initialize(mark: epoch, number: number, order: UInt32(chunkCount))
        unsafe directory.unsafelyUnwrapped[Int(number)] = chunk.word
        chunkCount += 1
        bytes += capacity
        return chunk
    }

    private mutating func growDirectory() {
        let capacity = max(4, directoryCapacity * 2)
        unsafe directory = NodeMemory.resize(directory, to: capacity * 8)
            .assumingMemoryBound(to: UInt.self)
        unsafe order = NodeMemory.resize(order, to: capacity * 4)
            .assumingMemoryBound(to: UInt32.self)
        bytes += (capacity - directoryCapacity) * 12
        directoryCapacity = capacity
    }

    /// Frees a chunk without records; its number may be given anew.
    private mutating func release(_ chunk: MemberChunk) {
        delist(chunk)
        if fill == chunk.number { fill = Self.none }
        guard let order = unsafe order else { return }
        chunkCount -= 1
        let place = chunk.order
        let last = unsafe order[chunkCount]
        unsafe order[Int(place)] = last
        unsafe order[chunkCount] = chunk.number
        self.chunk(last).order = place
        bytes -= chunk.capacity
        unsafe directory.unsafelyUnwrapped[Int(chunk.number)] = 0
        unsafe NodeMemory.free(chunk.base)
    }

    private mutating func enlist(_ chunk: MemberChunk, _ list: UInt8) {
        delist(chunk)
        let head = list == MemberChunk.roomyList ? roomy : sparse
        chunk.list = list
        chunk.next = head
        chunk.previous = Self.none
        if head != Self.none { self.chunk(head).previous = chunk.number }
        if list == MemberChunk.roomyList { roomy = chunk.number } else { sparse = chunk.number }
    }

    private mutating func delist(_ chunk: MemberChunk) {
        if chunk.list == 0 { return }
        if chunk.previous != Self.none {
            self.chunk(chunk.previous).next = chunk.next
        } else if chunk.list == MemberChunk.roomyList {
            roomy = chunk.next
        } else {
            sparse = chunk.next
        }
        if chunk.next != Self.none { self.chunk(chunk.next).previous = chunk.previous }
        chunk.list = 0
    }

    // MARK: Giving room back

    /// The handle of a record that should be moved so that its chunk can be freed, or nil.
    ///
    /// Whoever keeps handles asks after removals, until there is none:
    /// `let new = move(old)`, exchange the handles, `remove(old)`.
    var strandedRecord: MemberHandle? {
        if sparse == Self.none || chunkCount < 4 { return nil }
        let chunk = chunk(sparse)
        for slot in 0..<chunk.slotCount where chunk.offset(ofSlot: slot) != nil {
            return chunk.number << 8 | UInt32(slot)
        }
        return nil
    }

    /// Copies a record to another chunk; the old handle is good until `forget`.
    ///
    /// For a snapshot both chunks change: the old one is saved with the record, the new one without.
    mutating func move(_ handle: MemberHandle) -> MemberHandle? {
        let old = chunk(handle >> 8)
        willChange(old)
        let from = unsafe old.base + old.offset(Int(handle & 0xFF))
        let size = unsafe size(from)
        guard let chunk = chunkWithRoom(size) else { return nil }
        let (slot, start) = unsafe place(size, in: chunk)
        unsafe memcpy(start, from, size)
        return chunk.number << 8 | UInt32(slot)
    }

    /// Takes the old copy of a moved record away.
    mutating func forget(_ handle: MemberHandle) {
        let chunk = chunk(handle >> 8)
        let slot = Int(handle & 0xFF)
        drop(slot, chunk.offset(slot), from: chunk)
    }

    // MARK: Snapshots

    /// The one place that every change of a chunk passes first.
    @inline(__always)
    private func willChange(_ chunk: MemberChunk) {
        if chunk.mark != epoch { save(chunk) }
    }

    @inline(never)
    private func save(_ chunk: MemberChunk) {
        chunk.mark = epoch
        guard let walk = unsafe walk?.takeUnretainedValue() else { return }
        for slot in 0..<chunk.slotCount {
            guard let offset = chunk.offset(ofSlot: slot) else { continue }
            let record = unsafe record(chunk.base + offset)
            walk.visit(record.member, record.value)
        }
    }

    /// Hands the chunk of a record over, if a walk waits for it: something that the walk's owner keeps
    /// elsewhere for this record is about to change.
    func preserve(_ handle: MemberHandle) { willChange(chunk(handle >> 8)) }

    /// A walk is under way.
    var isWalked: Bool { unsafe walk != nil }

    /// Who began the walk that is under way.
    var walkOwner: AnyObject? { unsafe walk?.takeUnretainedValue().owner }

    /// Begins a walk over all records as they are now. `walk` lives until `endWalk`.
    ///
    /// - Precondition: no walk is under way.
    mutating func beginWalk(_ walk: MemberWalk) {
        precondition(unsafe self.walk == nil, "one walk at a time")
        epoch &+= 1
        unsafe self.walk = Unmanaged.passUnretained(walk)
    }

    /// Hands over up to `chunks` chunks that were not handed over yet, from chunk number `position`
    /// on.
    ///
    /// - Returns: where to go on, or nil when the walk has seen all.
    func walk(from position: Int, chunks: Int) -> Int? {
        var position = position
        var left = chunks
        while left > 0 {
            if position >= numberCount { return nil }
            if unsafe directory.unsafelyUnwrapped[position] != 0 {
                willChange(chunk(UInt32(position)))
                left -= 1
            }
            position += 1
        }
        return position
    }

    /// Ends a walk, complete or not. One that has seen all, as `isWhole` says, has set all marks.
    mutating func endWalk(isWhole: Bool = false) {
        unsafe walk = nil
        if isWhole { return }
        for place in 0..<chunkCount { chunk(unsafe order.unsafelyUnwrapped[place]).mark = epoch }
    }

    // MARK: Copies and checks

    /// Calls `body` for every record.
    func forEachHandle(_ body: (MemberHandle) -> Void) {
        for place in 0..<chunkCount {
            let chunk = chunk(unsafe order.unsafelyUnwrapped[place])
            for slot in 0..<chunk.slotCount where chunk.offset(ofSlot: slot) != nil {
                body(chunk.number << 8 | UInt32(slot))
            }
        }
    }

    /// Checks every invariant; for tests. Complexity: O(n).
    func checkInvariants() {
        var records = 0
        var live = 0
        var memory = directoryCapacity * 12
        for place in 0..<chunkCount {
            let chunk = chunk(unsafe order.unsafelyUnwrapped[place])
            precondition(chunk.order == UInt32(place), "a chunk knows its place")
            precondition(unsafe walk != nil || chunk.mark == epoch, "marks are equal after a walk")
            precondition(chunk.end <= chunk.capacity - chunk.slotCount * 2, "records end at slots")
            var inChunk = 0
            var bytesInChunk = 0
            for slot in 0..<chunk.slotCount {
                guard let offset = chunk.offset(ofSlot: slot) else { continue }
                inChunk += 1
                let start = unsafe chunk.base + offset
                let size = unsafe size(start)
                precondition(offset + size <= chunk.end, "a record stands inside")
                bytesInChunk += size
                if unsafe start.load(as: UInt8.self) == 255 {
                    let record = unsafe record(start)
                    memory += 16 + record.memberBytes + record.valueBytes
                }
            }
            precondition(inChunk == chunk.live && inChunk > 0, "a chunk counts its records")
            precondition(bytesInChunk == chunk.liveBytes, "a chunk counts its bytes")
            records += inChunk
            live += bytesInChunk
            memory += chunk.capacity
        }
        precondition(records == count, "the store counts its records")
        precondition(live == recordBytes, "the store counts its records' bytes")
        precondition(memory == bytes, "the store counts its memory")
    }
}

/// Where the parts of a record stand.
@safe
private struct Record {
    let start: UnsafeMutableRawPointer
    let prefixBytes: Int
    let memberBytes: Int
    let valueBytes: Int

    @inline(__always)
    var member: ByteView {
        unsafe ByteView(start + (prefixBytes &+ valueBytes), count: memberBytes)
    }

    @inline(__always)
    var value: ByteView { unsafe ByteView(start + prefixBytes, count: valueBytes) }
}

/// A chunk's header and slots, by the layout drawn above.
@safe
private struct MemberChunk {
    let base: UnsafeMutableRawPointer
    /// Bytes of the chunk.
    let capacity: Int

    static let headerBytes = 32
    static let roomyList: UInt8 = 1
    static let sparseList: UInt8 = 2

    @inline(__always)
    init(_ base: UnsafeMutableRawPointer, capacity: Int) {
        unsafe self.base = base
        self.capacity = capacity
    }

    /// The chunk of a directory's word.
    @inline(__always)
    init(word: UInt) {
        unsafe base = UnsafeMutableRawPointer(bitPattern: word & ~3).unsafelyUnwrapped
        capacity = 512 &<< Int(truncatingIfNeeded: word & 3)
    }

    /// The directory's word for the chunk.
    var word: UInt {
        let size = UInt(capacity.trailingZeroBitCount - 9)
        precondition(capacity == 512 << size && size <= 3, "a chunk has one of four sizes")
        return unsafe UInt(bitPattern: base) | size
    }

    func initialize(mark: UInt8, number: UInt32, order: UInt32) {
        unsafe memset(base, 0, Self.headerBytes)
        self.mark = mark
        freeSlot = 255
        end = Self.headerBytes
        unsafe base.storeBytes(of: number, toByteOffset: 12, as: UInt32.self)
        self.order = order
    }

    @inline(__always)
    private func byte(_ offset: Int) -> UInt8 {
        unsafe base.load(fromByteOffset: offset, as: UInt8.self)
    }
    @inline(__always)
    private func short(_ offset: Int) -> Int {
        Int(unsafe base.load(fromByteOffset: offset, as: UInt16.self))
    }
    @inline(__always)
    private func setShort(_ offset: Int, _ value: Int) {
        unsafe base.storeBytes(
            of: UInt16(truncatingIfNeeded: value), toByteOffset: offset, as: UInt16.self)
    }
    @inline(__always)
    private func word(_ offset: Int) -> UInt32 {
        unsafe base.load(fromByteOffset: offset, as: UInt32.self)
    }
    @inline(__always)
    private func setWord(_ offset: Int, _ value: UInt32) {
        unsafe base.storeBytes(of: value, toByteOffset: offset, as: UInt32.self)
    }

    @inline(__always)
    var mark: UInt8 {
        get { byte(0) }
        nonmutating set { unsafe base.storeBytes(of: newValue, as: UInt8.self) }
    }
    @inline(__always)
    var freeSlot: Int {
        get { Int(byte(1)) }
        nonmutating set {
            unsafe base.storeBytes(
                of: UInt8(truncatingIfNeeded: newValue), toByteOffset: 1, as: UInt8.self)
        }
    }
    @inline(__always)
    var slotCount: Int {
        get { short(2) }
        nonmutating set { setShort(2, newValue) }
    }
    @inline(__always)
    var live: Int {
        get { short(4) }
        nonmutating set { setShort(4, newValue) }
    }
    @inline(__always)
    var end: Int {
        get { short(6) }
        nonmutating set { setShort(6, newValue) }
    }
    @inline(__always)
    var liveBytes: Int {
        get { short(8) }
        nonmutating set { setShort(8, newValue) }
    }
    @inline(__always)
    var number: UInt32 { word(12) }
    var order: UInt32 {
        get { word(16) }
        nonmutating set { setWord(16, newValue) }
    }
    var next: UInt32 {
        get { word(20) }
        nonmutating set { setWord(20, newValue) }
    }
    var previous: UInt32 {
        get { word(24) }
        nonmutating set { setWord(24, newValue) }
    }
    @inline(__always)
    var list: UInt8 {
        get { byte(28) }
        nonmutating set { unsafe base.storeBytes(of: newValue, toByteOffset: 28, as: UInt8.self) }
    }

    /// Header, records and slots of what is live.
    var usedBytes: Int { Self.headerBytes + liveBytes + live * 2 }

    @inline(__always)
    func rawSlot(_ slot: Int) -> Int { short(capacity &- 2 &- slot &* 2) }

    @inline(__always)
    func setRawSlot(_ value: Int, _ slot: Int) { setShort(capacity &- 2 &- slot &* 2, value) }

    /// The offset of the record in a slot that is taken.
    @inline(__always)
    func offset(_ slot: Int) -> Int {
        assert(slot < slotCount)
        let value = rawSlot(slot)
        assert(value >= Self.headerBytes && value < end)
        return value
    }

    /// The offset of the record in a slot, or nil when the slot is free.
    func offset(ofSlot slot: Int) -> Int? {
        let value = rawSlot(slot)
        return value & 0x8000 == 0 ? value : nil
    }

    @inline(__always)
    func setOffset(_ offset: Int, ofSlot slot: Int) { setRawSlot(offset, slot) }

    /// A free slot, taken. There is room for one.
    func takeSlot() -> Int {
        let slot = freeSlot
        if slot != 255 {
            freeSlot = rawSlot(slot) & 0xFF
            return slot
        }
        slotCount += 1
        return slotCount - 1
    }

    func giveSlot(_ slot: Int) {
        setRawSlot(0x8000 | freeSlot, slot)
        freeSlot = slot
    }

    @inline(__always)
    func prefetchSlot(_ slot: Int) { unsafe martlet_prefetch(base + (capacity &- 2 &- slot &* 2)) }

    @inline(__always)
    func prefetch(_ offset: Int) { unsafe martlet_prefetch(base + offset) }
}
