//  The keys of one shard that clients keep copies of, and which clients: what CLIENT TRACKING
//  remembers of reads until the key is written. Used under the shard's lock.
//
//  A key is remembered by its bytes alone, whatever database it was read in, as in Redis: clients are
//  told names and no databases. Open addressing with linear probing; a slot holds the hash beside the
//  address, so that growth reads no record: 31 000 keys, a shard's part of the default bound, move in
//  less than a tenth of a millisecond.
//
//      record   0  bytes of the key   4
//               4  trackers           4
//               8  room for trackers  4
//              12  unused             4
//              16  trackers           8 each, ascending
//              ..  the key            behind that room
//
//  Raw memory: head, slots and records come from `NodeMemory`, belong to the table, and are freed with
//  it, with their key, or, when a whole table is given up, on the reclaimer's thread.

import MartletBase

/// A tracking client, as remembered: its ID, which no other client ever has, and its loop.
struct Tracker: Hashable {
    let word: UInt64
    private static let loopBits: UInt64 = 8

    init(word: UInt64) { self.word = word }

    init(client: Int64, loop: Int) {
        word = UInt64(client) << Self.loopBits | UInt64(loop)
    }

    var client: Int64 { Int64(word >> Self.loopBits) }
    var loop: Int { Int(word & (1 << Self.loopBits - 1)) }
}

/// The remembered keys of one shard.
///
/// - Memory: 16 bytes of slots at up to 75 % load, 16 + 8 per tracker + the key in one allocation.
@safe
struct TrackedKeys: ~Copyable {
    @safe
    private struct Slot {
        var hash: UInt64
        var record: UnsafeMutableRawPointer?
    }

    @safe
    private struct Head {
        var slots: UnsafeMutablePointer<Slot>
        /// Slots less one.
        var mask: Int
        var keyCount = 0
        var trackerCount = 0
        var recordBytes = 0
        /// Where the next key is taken when there are too many.
        var hand = 0
    }

    /// What was remembered that had not been before.
    struct Added {
        var keys = 0
        var trackers = 0
    }

    /// Nil while nothing was ever remembered: a shard then pays eight bytes.
    private var head: UnsafeMutablePointer<Head>?

    private static let slotsMin = 16
    private static let trackersOffset = 16

    init() { unsafe head = nil }

    deinit { unsafe Self.release(head) }

    @inline(__always)
    var isEmpty: Bool { unsafe head == nil || count == 0 }

    /// Keys remembered.
    var count: Int { unsafe head?.pointee.keyCount ?? 0 }

    /// Trackers of all keys together.
    var trackerCount: Int { unsafe head?.pointee.trackerCount ?? 0 }

    /// Memory asked for.
    var bytes: Int {
        guard let head = unsafe head else { return 0 }
        return unsafe MemoryLayout<Head>.stride + head.pointee.recordBytes
            + (head.pointee.mask + 1) * MemoryLayout<Slot>.stride
    }

    // MARK: Remembering

    /// Remembers that a client has a copy of a key.
    ///
    /// - Returns: what of it was new.
    /// - Complexity: O(1) on average; O(n) for a new tracker, n = those of the key.
    mutating func remember(_ key: Key, for tracker: Tracker) -> Added {
        let head = unsafe madeHead()
        let index = unsafe place(of: key, head)
        if let record = unsafe head.pointee.slots[index].record {
            let isNew = unsafe add(tracker, to: record, index, head)
            unsafe head.pointee.trackerCount += isNew ? 1 : 0
            return Added(trackers: isNew ? 1 : 0)
        }
        let record = unsafe Self.allocate(key: key.bytes, room: 1)
        unsafe record.storeBytes(of: 1, toByteOffset: 4, as: UInt32.self)
        unsafe record.storeBytes(
            of: tracker.word, toByteOffset: Self.trackersOffset, as: UInt64.self)
        unsafe head.pointee.slots[index] = Slot(hash: key.hash, record: record)
        unsafe head.pointee.keyCount += 1
        unsafe head.pointee.trackerCount += 1
        unsafe head.pointee.recordBytes += Self.bytes(record)
        if unsafe head.pointee.keyCount * 4 > (head.pointee.mask + 1) * 3 { unsafe grow(head) }
        return Added(keys: 1, trackers: 1)
    }

    /// Adds a tracker to a record, which moves when it has no room.
    ///
    /// - Returns: false when it was there.
    private func add(
        _ tracker: Tracker, to record: UnsafeMutableRawPointer, _ index: Int,
        _ head: UnsafeMutablePointer<Head>
    ) -> Bool {
        let count = unsafe Self.trackers(record)
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if unsafe Self.tracker(record, middle).word < tracker.word {
                low = middle + 1
            } else {
                high = middle
            }
        }
        if low < count, unsafe Self.tracker(record, low) == tracker { return false }
        var target = unsafe record
        if unsafe count == Self.room(record) {
            let key = unsafe Self.key(record)
            unsafe target = Self.allocate(key: key, room: count * 2)
            unsafe (target + Self.trackersOffset).copyMemory(
                from: record + Self.trackersOffset, byteCount: count * 8)
            unsafe head.pointee.recordBytes += Self.bytes(target) - Self.bytes(record)
            unsafe head.pointee.slots[index].record = target
            unsafe NodeMemory.free(record)
        }
        let place = unsafe target + Self.trackersOffset + low * 8
        unsafe (place + 8).copyMemory(from: place, byteCount: (count - low) * 8)
        unsafe place.storeBytes(of: tracker.word, as: UInt64.self)
        unsafe target.storeBytes(of: UInt32(count + 1), toByteOffset: 4, as: UInt32.self)
        return true
    }

    // MARK: Forgetting

    /// Forgets a key.
    ///
    /// - Parameters:
    ///   - key: which one.
    ///   - body: told each of its trackers.
    /// - Returns: how many there were; 0 when the key was not remembered.
    mutating func forget(_ key: Key, _ body: (Tracker) -> Void) -> Int {
        guard let head = unsafe head, !isEmpty else { return 0 }
        let index = unsafe place(of: key, head)
        guard let record = unsafe head.pointee.slots[index].record else { return 0 }
        let count = unsafe Self.trackers(record)
        for number in 0..<count { body(unsafe Self.tracker(record, number)) }
        unsafe remove(index, head)
        return count
    }

    /// Forgets one key, that which a hand going round over the slots comes to: with the hash keyed by
    /// chance, none that anybody could choose.
    ///
    /// - Parameter body: told the key and each of its trackers.
    /// - Returns: how many trackers there were; 0 when no key is remembered.
    mutating func forgetOne(_ body: (ByteView, Tracker) -> Void) -> Int {
        guard let head = unsafe head, !isEmpty else { return 0 }
        while true {
            let index = unsafe head.pointee.hand & head.pointee.mask
            unsafe head.pointee.hand = index + 1
            guard let record = unsafe head.pointee.slots[index].record else { continue }
            let count = unsafe Self.trackers(record)
            let key = unsafe Self.key(record)
            for number in 0..<count { body(key, unsafe Self.tracker(record, number)) }
            unsafe remove(index, head)
            return count
        }
    }

    /// Forgets all keys. Many are freed on the reclaimer's thread.
    mutating func forgetAll() {
        guard let old = unsafe head else { return }
        unsafe head = nil
        if unsafe old.pointee.keyCount < 64 {
            unsafe Self.release(old)
            return
        }
        let address = UInt(bitPattern: old)
        Reclaimer.shared.run(objects: 1) {
            unsafe Self.release(UnsafeMutablePointer(bitPattern: address)) {
                Reclaimer.shared.pause()
            }
        }
    }

    /// Frees a table, calling `pause` after each record.
    private static func release(
        _ head: UnsafeMutablePointer<Head>?, _ pause: () -> Void = {}
    ) {
        guard let head = unsafe head else { return }
        for index in unsafe 0...head.pointee.mask {
            guard let record = unsafe head.pointee.slots[index].record else { continue }
            unsafe NodeMemory.free(record)
            pause()
        }
        unsafe NodeMemory.free(head.pointee.slots)
        unsafe NodeMemory.free(head)
    }

    /// Empties a slot and moves those behind it back that its key had pushed on.
    private func remove(_ index: Int, _ head: UnsafeMutablePointer<Head>) {
        let slots = unsafe head.pointee.slots
        let mask = unsafe head.pointee.mask
        if let record = unsafe slots[index].record {
            unsafe head.pointee.keyCount -= 1
            unsafe head.pointee.trackerCount -= Self.trackers(record)
            unsafe head.pointee.recordBytes -= Self.bytes(record)
            unsafe NodeMemory.free(record)
        }
        var hole = index
        var next = (index + 1) & mask
        while unsafe slots[next].record != nil {
            let home = unsafe Self.home(slots[next].hash) & mask
            // It may move into the hole unless its home lies between the two.
            if (next - home) & mask >= (next - hole) & mask {
                unsafe slots[hole] = slots[next]
                hole = next
            }
            next = (next + 1) & mask
        }
        unsafe slots[hole] = Slot(hash: 0, record: nil)
    }

    // MARK: Slots

    /// Bits that neither tell the shard nor stand first in the table of keys.
    private static func home(_ hash: UInt64) -> Int { Int(truncatingIfNeeded: hash >> 24) }

    /// Where a key stands, or the free slot where it would.
    private func place(of key: Key, _ head: UnsafeMutablePointer<Head>) -> Int {
        let mask = unsafe head.pointee.mask
        var index = Self.home(key.hash) & mask
        while let record = unsafe head.pointee.slots[index].record {
            if unsafe head.pointee.slots[index].hash == key.hash,
                unsafe Self.key(record) == key.bytes
            {
                return index
            }
            index = (index + 1) & mask
        }
        return index
    }

    private mutating func madeHead() -> UnsafeMutablePointer<Head> {
        if let head = unsafe head { return unsafe head }
        let made = unsafe NodeMemory.allocate(MemoryLayout<Head>.stride)
            .bindMemory(to: Head.self, capacity: 1)
        unsafe made.initialize(
            to: Head(slots: Self.slots(Self.slotsMin), mask: Self.slotsMin - 1))
        unsafe head = made
        return unsafe made
    }

    private static func slots(_ count: Int) -> UnsafeMutablePointer<Slot> {
        // All zeros are a free slot.
        unsafe NodeMemory.allocateZeroed(count * MemoryLayout<Slot>.stride)
            .bindMemory(to: Slot.self, capacity: count)
    }

    private func grow(_ head: UnsafeMutablePointer<Head>) {
        let old = unsafe head.pointee.slots
        let oldCount = unsafe head.pointee.mask + 1
        let mask = oldCount * 2 - 1
        let slots = unsafe Self.slots(oldCount * 2)
        for index in 0..<oldCount where unsafe old[index].record != nil {
            var target = unsafe Self.home(old[index].hash) & mask
            while unsafe slots[target].record != nil { target = (target + 1) & mask }
            unsafe slots[target] = old[index]
        }
        unsafe head.pointee.slots = slots
        unsafe head.pointee.mask = mask
        unsafe NodeMemory.free(old)
    }

    // MARK: Records

    private static func allocate(key: ByteView, room: Int) -> UnsafeMutableRawPointer {
        let record = unsafe NodeMemory.allocate(trackersOffset + room * 8 + key.count)
        unsafe record.storeBytes(of: UInt32(key.count), as: UInt32.self)
        unsafe record.storeBytes(of: UInt32(room), toByteOffset: 8, as: UInt32.self)
        unsafe key.copy(to: record + trackersOffset + room * 8)
        // The number of trackers is the caller's.
        unsafe record.storeBytes(of: 0, toByteOffset: 4, as: UInt32.self)
        return unsafe record
    }

    private static func room(_ record: UnsafeMutableRawPointer) -> Int {
        Int(unsafe record.load(fromByteOffset: 8, as: UInt32.self))
    }

    private static func trackers(_ record: UnsafeMutableRawPointer) -> Int {
        Int(unsafe record.load(fromByteOffset: 4, as: UInt32.self))
    }

    private static func tracker(_ record: UnsafeMutableRawPointer, _ index: Int) -> Tracker {
        unsafe Tracker(
            word: record.load(fromByteOffset: trackersOffset + index * 8, as: UInt64.self))
    }

    private static func key(_ record: UnsafeMutableRawPointer) -> ByteView {
        unsafe ByteView(
            record + trackersOffset + room(record) * 8,
            count: Int(record.load(as: UInt32.self)))
    }

    /// What malloc takes for a record: its own word, and sizes of 16 bytes.
    private static func bytes(_ record: UnsafeMutableRawPointer) -> Int {
        let asked = unsafe trackersOffset + room(record) * 8 + key(record).count
        return max(32, (asked + 8 + 15) & ~15)
    }

    /// Checks the slots against the counts; for tests.
    func checkInvariants() {
        guard let head = unsafe head else { return }
        var keys = 0
        var trackers = 0
        var recordBytes = 0
        for index in unsafe 0...head.pointee.mask {
            guard let record = unsafe head.pointee.slots[index].record else { continue }
            keys += 1
            let count = unsafe Self.trackers(record)
            trackers += count
            recordBytes += unsafe Self.bytes(record)
            precondition(count > 0, "a remembered key has a tracker")
            precondition(unsafe count <= Self.room(record), "trackers have room")
            for number in 1..<max(1, count) {
                precondition(
                    unsafe Self.tracker(record, number - 1).word
                        < Self.tracker(record, number).word, "trackers ascend")
            }
            let key = unsafe Key(Self.key(record), hash: head.pointee.slots[index].hash)
            precondition(unsafe place(of: key, head) == index, "a key is found where it stands")
        }
        precondition(unsafe keys == head.pointee.keyCount, "keys are counted")
        precondition(unsafe trackers == head.pointee.trackerCount, "trackers are counted")
        precondition(unsafe recordBytes == head.pointee.recordBytes, "records are counted")
    }
}
