//  One shard's keys of one database: table, allocator, expiry index and memory counters.
//
//  Knows what a key's value costs and how a string value changes its form; knows nothing of
//  commands. Everything here runs under the shard's lock. The partition frees entries through its
//  slabs and large values through the reclaimer.
//
//  Raw memory: an entry's size is known from its own header, so no write goes past it.

import CSystem
import Glibc
import MartletBase

/// What a write does to the deadline of the key it writes.
package enum ExpiryChange {
    /// The key has none afterwards.
    case clear
    /// The key keeps the one it has.
    case keep
    /// The key expires at this wall clock time, in milliseconds.
    case at(Int64)
}

/// The keys of one database in one shard.
@safe
struct Partition: ~Copyable {
    var table: Table
    var slabs: Slabs
    var expiry: ExpiryIndex<KeyDeadline>
    /// Hashes with fields that have a deadline, by the earliest of them.
    var fieldExpiry: ExpiryIndex<FieldDeadline>
    /// Fields reclaimed after their deadline, for INFO.
    var expiredFieldCount: UInt64 = 0
    /// Bytes of values outside of entries.
    var heapBytes = 0
    /// Entries whose value stands outside of them: none of these, and a flush need not walk.
    var heapCount = 0
    /// The database it was when a snapshot began that has not walked all of it yet; else -1.
    var snapshotDatabase: Int32 = -1

    /// Strings up to this stand in their entry, if entry and all fit a slab object.
    static let inlineValueBytesMax = 960

    init(hashKey: HashKey) {
        table = Table(hashKey: hashKey)
        slabs = Slabs()
        expiry = ExpiryIndex()
        fieldExpiry = ExpiryIndex()
    }

    deinit { freeValues {} }

    /// Frees what entries hold outside of themselves.
    private func freeValues(_ pause: () -> Void) {
        if heapCount == 0 { return }
        table.forEachEntry { entry in
            switch entry.encoding {
            case .heap:
                unsafe free(entry.heapString.address)
                pause()
            case .structure: entry.structure.free(pausing: pause)
            case .integer, .inline, .packed: break
            }
        }
    }

    /// Frees all values and entries of a partition that is about to go, calling `pause` now and then.
    private mutating func dismantle(_ pause: () -> Void) {
        freeValues(pause)
        heapCount = 0
        slabs.dismantle(pause)
    }

    /// The number of keys, those past their deadline and not yet reclaimed included.
    @inline(__always)
    var count: Int { table.count }

    /// Bytes of entries, values, table and wheels.
    var usedBytes: Int {
        slabs.usedBytes + heapBytes + table.bytes + expiry.bytes + fieldExpiry.bytes
    }

    // MARK: Strings

    /// Sets `key` to a string, whatever it was. `slot` is where the key stands now, or nil when it
    /// is new; `epoch` is the snapshot epoch that new entries carry; with `asText`, bytes that spell
    /// an integer are not stored as one.
    ///
    /// - Returns: the entry, or nil when there is no memory for the value; then nothing changed.
    /// - Complexity: O(value).
    @inline(__always)
    mutating func setString(
        _ key: Key, _ value: ByteView, at slot: Slot?, expiry change: ExpiryChange,
        access: UInt32, epoch: UInt8, nowMilliseconds: Int64, asText: Bool = false
    ) -> Entry? {
        // The most common write: a value of about the same size. It goes where the old one is.
        if let slot, asText || !value.mayBeInteger, overwrite(slot.entry, value, change, access) {
            return slot.entry
        }
        return placeString(
            key, value, at: slot, expiry: change, access: access, epoch: epoch,
            nowMilliseconds: nowMilliseconds, asText: asText)
    }

    /// Puts an inline value where another one is, if it takes the same memory.
    ///
    /// - Returns: whether it did; if not, nothing changed.
    @inline(__always)
    private mutating func overwrite(
        _ entry: Entry, _ value: ByteView, _ change: ExpiryChange, _ access: UInt32
    ) -> Bool {
        let header = entry.header
        guard value.count <= Self.inlineValueBytesMax, value.count <= 255,
            header.bits & (EntryHeader.isWideBit | 0xFF)
                == UInt64(ValueEncoding.inline.rawValue) << 4,
            keepsPrefix(header, change)
        else { return false }
        let fixed = header.prefixBytes &+ entry.keyBytes
        guard Slabs.areInterchangeable(fixed &+ entry.valueBytes, fixed &+ value.count) else {
            return false
        }
        let kept =
            header.bits & 0x00FF_FFFF_FFFF_FFFF
            & ~(EntryHeader.isModifiedBit | EntryHeader.accessMask)
        entry.header.bits = kept | UInt64(value.count) << 56 | UInt64(access) << 24
        unsafe memcpy(entry.valueAddress, value.address, value.count)
        if case .at(let deadline) = change { expiry.move(entry, to: deadline, slabs) }
        return true
    }

    /// `setString` where the value does not go in the old one's place.
    @inline(never)
    private mutating func placeString(
        _ key: Key, _ value: ByteView, at slot: Slot?, expiry change: ExpiryChange,
        access: UInt32, epoch: UInt8, nowMilliseconds: Int64, asText: Bool
    ) -> Entry? {
        if !asText, value.mayBeInteger, let integer = value.parseInteger() {
            return setInteger(
                key, integer, at: slot, expiry: change, access: access, epoch: epoch,
                nowMilliseconds: nowMilliseconds)
        }
        if let slot, overwrite(slot.entry, value, change, access) { return slot.entry }
        if value.count <= Self.inlineValueBytesMax {
            return replace(
                key, at: slot, kind: .string, encoding: .inline, valueBytes: value.count,
                expiry: change, access: access, epoch: epoch, nowMilliseconds: nowMilliseconds
            ) { entry in
                unsafe memcpy(entry.valueAddress, value.address, value.count)
            }
        }
        guard let string = HeapString.allocate(length: value.count, capacity: value.count) else {
            return nil
        }
        unsafe memcpy(string.bytes, value.address, value.count)
        let entry = adopt(
            string, for: key, at: slot, expiry: change, access: access, epoch: epoch,
            nowMilliseconds: nowMilliseconds)
        if entry == nil { unsafe free(string.address) }
        return entry
    }

    /// Sets `key` to the decimal form of `integer`.
    @inline(__always)
    mutating func setInteger(
        _ key: Key, _ integer: Int64, at slot: Slot?, expiry change: ExpiryChange,
        access: UInt32, epoch: UInt8, nowMilliseconds: Int64
    ) -> Entry? {
        if let slot {
            let entry = slot.entry
            let header = entry.header
            if header.bits & 0xFF == 0, keepsPrefix(header, change) {
                entry.integer = integer
                entry.header.bits = header.bits & ~EntryHeader.isModifiedBit
                entry.access = access
                if case .at(let deadline) = change { expiry.move(entry, to: deadline, slabs) }
                return entry
            }
        }
        return replace(
            key, at: slot, kind: .string, encoding: .integer, valueBytes: 8, expiry: change,
            access: access, epoch: epoch, nowMilliseconds: nowMilliseconds
        ) { entry in
            entry.integer = integer
        }
    }

    /// Makes a heap string the value of `key`, or returns nil and leaves it to the caller when there
    /// is no memory for the entry.
    mutating func adopt(
        _ string: HeapString, for key: Key, at slot: Slot?, expiry change: ExpiryChange,
        access: UInt32, epoch: UInt8, nowMilliseconds: Int64
    ) -> Entry? {
        let entry = replace(
            key, at: slot, kind: .string, encoding: .heap, valueBytes: 8, expiry: change,
            access: access, epoch: epoch, nowMilliseconds: nowMilliseconds
        ) { entry in
            entry.heapString = string
        }
        if entry != nil {
            heapBytes += string.allocationBytes
            heapCount += 1
        }
        return entry
    }

    /// Whether an entry with `header` has the room for a deadline that `change` asks for, or none.
    @inline(__always)
    private func keepsPrefix(_ header: EntryHeader, _ change: ExpiryChange) -> Bool {
        switch change {
        case .clear: !header.hasExpiry
        case .keep: true
        case .at: header.hasExpiry
        }
    }

    /// Gives `key` a new entry, in place of the one at `slot` if there is one; `fill` writes the
    /// value region of the new entry. `fieldDeadline` is the earliest of a hash's fields.
    @inline(__always)
    mutating func replace(
        _ key: Key, at slot: Slot?, kind: ValueKind, encoding: ValueEncoding, valueBytes: Int,
        expiry change: ExpiryChange, access: UInt32, epoch: UInt8, nowMilliseconds: Int64,
        fieldDeadline: Int64? = nil, fill: (Entry) -> Void
    ) -> Entry? {
        var deadline: Int64?
        switch change {
        case .clear: deadline = nil
        case .keep: deadline = slot?.entry.expiryMilliseconds
        case .at(let time): deadline = time
        }
        let layout = EntryLayout(
            kind: kind, encoding: encoding, keyBytes: key.bytes.count, valueBytes: valueBytes,
            hasExpiry: deadline != nil, hasFieldExpiry: fieldDeadline != nil)
        guard let memory = unsafe slabs.allocate(layout.allocationBytes) else { return nil }
        let entry = unsafe layout.initialize(memory, key: key.bytes, access: access, epoch: epoch)
        fill(entry)
        if let slot {
            let old = slot.entry
            slot.entry = entry
            if old.header.hasExpiry {
                if case .keep = change {
                    expiry.replace(old, with: entry, slabs)
                    deadline = nil
                } else {
                    expiry.remove(old, slabs)
                }
            }
            if old.header.hasFieldExpiry { fieldExpiry.remove(old, slabs) }
            freeValue(old)
            unsafe slabs.free(old.address, bytes: old.allocationBytes)
        } else {
            table.insert(entry, hash: key.hash)
        }
        if let deadline {
            unsafe entry.address.storeBytes(of: deadline, toByteOffset: 8, as: Int64.self)
            expiry.insert(entry, slabs, nowMilliseconds: nowMilliseconds)
        }
        if let fieldDeadline { linkFields(entry, fieldDeadline, nowMilliseconds) }
        return entry
    }

    /// Takes an entry out of the expiry indexes.
    @inline(__always)
    private mutating func unlink(_ entry: Entry) {
        if entry.header.hasExpiry { expiry.remove(entry, slabs) }
        if entry.header.hasFieldExpiry { fieldExpiry.remove(entry, slabs) }
    }

    /// Puts a hash into the index of field deadlines.
    private mutating func linkFields(_ entry: Entry, _ deadline: Int64, _ nowMilliseconds: Int64) {
        unsafe entry.address.storeBytes(
            of: deadline, toByteOffset: entry.header.fieldExpiryOffset, as: Int64.self)
        fieldExpiry.insert(entry, slabs, nowMilliseconds: nowMilliseconds)
    }

    /// Frees what the entry holds outside of itself.
    @inline(__always)
    private mutating func freeValue(_ entry: Entry) {
        let encoding = entry.header.encodingBits
        if encoding == ValueEncoding.heap.rawValue { freeHeapValue(entry) }
        if encoding == ValueEncoding.structure.rawValue { freeStructure(entry) }
    }

    @inline(never)
    private mutating func freeHeapValue(_ entry: Entry) {
        let string = entry.heapString
        heapBytes -= string.allocationBytes
        heapCount -= 1
        unsafe Reclaimer.shared.release(string.address, bytes: string.capacity)
    }

    /// Gives a string value `length` bytes that may be changed in place, zero-padded when it grows,
    /// and calls `body` with their address.
    ///
    /// The value becomes a heap string when it does not fit its entry any more; a heap string that
    /// grows gets half as much again, so that APPEND costs O(1) a byte on average.
    ///
    /// - Returns: false when there was no memory; nothing changed then.
    /// - Precondition: the entry at `slot` is a string; `length` is at least its present length.
    mutating func withMutableString(
        at slot: Slot, key: Key, length: Int, nowMilliseconds: Int64,
        _ body: (UnsafeMutableRawPointer) -> Void
    ) -> Bool {
        let entry = slot.entry
        switch entry.encoding {
        case .heap:
            let string = entry.heapString
            let old = string.length
            precondition(length >= old, "a string is not made shorter here")
            if length <= string.capacity {
                unsafe memset(string.bytes + old, 0, length - old)
                string.length = length
                unsafe body(string.bytes)
                return true
            }
            let oldCapacity = string.capacity
            let capacity = max(length, min(length + length / 2, length + 1 << 20))
            guard
                let memory = unsafe realloc(string.address, HeapString.headerBytes + capacity)
            else { return false }
            heapBytes += capacity - oldCapacity
            let moved = unsafe HeapString(memory)
            moved.setCapacity(capacity)
            unsafe memset(moved.bytes + old, 0, length - old)
            moved.length = length
            entry.heapString = moved
            unsafe body(moved.bytes)
            return true
        case .inline where length == entry.valueBytes:
            entry.header.bits |= EntryHeader.isModifiedBit
            unsafe body(entry.valueAddress)
            return true
        case .packed, .structure: preconditionFailure("the entry is a string")
        case .inline, .integer:
            var scratch: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
            var oldLength = 0
            return unsafe withUnsafeMutableBytes(of: &scratch) { scratch in
                // The old value must outlive its entry.
                let text = unsafe entry.stringBytes(scratch: scratch)
                oldLength = text.count
                precondition(length >= oldLength, "a string is not made shorter here")
                guard
                    let string = HeapString.allocate(
                        length: length,
                        capacity: length <= Self.inlineValueBytesMax
                            ? length : max(length, min(length + length / 2, length + 1 << 20)))
                else { return false }
                unsafe memcpy(string.bytes, text.address, oldLength)
                unsafe memset(string.bytes + oldLength, 0, length - oldLength)
                unsafe body(string.bytes)
                let access = entry.access
                let epoch = UInt8(truncatingIfNeeded: entry.header.bits >> 16)
                if length <= Self.inlineValueBytesMax {
                    // Small enough for the entry: the heap string was only the place to build it.
                    let made = replace(
                        key, at: slot, kind: .string, encoding: .inline, valueBytes: length,
                        expiry: .keep, access: access, epoch: epoch,
                        nowMilliseconds: nowMilliseconds
                    ) { unsafe memcpy($0.valueAddress, string.bytes, length) }
                    unsafe free(string.address)
                    guard let made else { return false }
                    made.header.bits |= EntryHeader.isModifiedBit
                    return true
                }
                let isAdopted =
                    adopt(
                        string, for: key, at: slot, expiry: .keep, access: access, epoch: epoch,
                        nowMilliseconds: nowMilliseconds) != nil
                if !isAdopted { unsafe free(string.address) }
                return isAdopted
            }
        }
    }

    /// Takes the heap string of an entry that is about to be removed: it now belongs to the caller.
    mutating func takeHeapString(of entry: Entry) -> HeapString {
        let string = entry.heapString
        heapBytes -= string.allocationBytes
        heapCount -= 1
        // What is left is an entry of the same size that owns nothing.
        entry.header.bits &= ~UInt64(0xF0)
        entry.integer = 0
        return string
    }

    /// Gives back what `takeHeapString` took, when it found no other place.
    mutating func putHeapStringBack(_ string: HeapString, into entry: Entry) {
        entry.header.bits |= UInt64(ValueEncoding.heap.rawValue) << 4
        entry.heapString = string
        heapBytes += string.allocationBytes
        heapCount += 1
    }

    // MARK: Any value

    /// Removes the key at `slot`.
    @inline(__always)
    mutating func remove(_ slot: Slot, hash: UInt64) {
        let entry = slot.entry
        if entry.header.hasDeadline { unlink(entry) }
        table.remove(slot, hash: hash)
        freeValue(entry)
        unsafe slabs.free(entry.address, bytes: entry.allocationBytes)
    }

    /// Sets, moves or clears the deadline of the key at `slot`; the value stays where it is or
    /// moves with its entry.
    ///
    /// - Returns: false when there was no memory for an entry with a deadline.
    /// - Complexity: O(entry) when it must be moved, else O(1).
    mutating func setExpiry(_ deadline: Int64?, at slot: Slot, nowMilliseconds: Int64) -> Bool {
        let old = slot.entry
        if let deadline, old.header.hasExpiry {
            expiry.move(old, to: deadline, slabs)
            return true
        }
        if deadline == nil && !old.header.hasExpiry { return true }
        let fieldDeadline = old.fieldExpiryMilliseconds
        guard let entry = exchangeHeader(at: slot, EntryHeader.hasExpiryBit, at: 8) else {
            return false
        }
        if let deadline {
            unsafe entry.address.storeBytes(of: deadline, toByteOffset: 8, as: Int64.self)
            expiry.insert(entry, slabs, nowMilliseconds: nowMilliseconds)
        }
        if let fieldDeadline { linkFields(entry, fieldDeadline, nowMilliseconds) }
        return true
    }

    /// Sets, moves or clears the earliest deadline of the fields of the hash at `slot`.
    ///
    /// - Returns: false when there was no memory for an entry with one; nothing changed then.
    /// - Complexity: as of `setExpiry`.
    mutating func setFieldExpiry(
        _ fieldDeadline: Int64?, at slot: Slot, nowMilliseconds: Int64
    ) -> Bool {
        let old = slot.entry
        if let fieldDeadline, old.header.hasFieldExpiry {
            fieldExpiry.move(old, to: fieldDeadline, slabs)
            return true
        }
        if fieldDeadline == nil && !old.header.hasFieldExpiry { return true }
        let deadline = old.expiryMilliseconds
        guard
            let entry = exchangeHeader(
                at: slot, EntryHeader.hasFieldExpiryBit, at: old.header.fieldExpiryOffset)
        else { return false }
        if deadline != nil { expiry.insert(entry, slabs, nowMilliseconds: nowMilliseconds) }
        if let fieldDeadline { linkFields(entry, fieldDeadline, nowMilliseconds) }
        return true
    }

    /// Moves the entry at `slot` to one with, or without, the 16 bytes at `offset` that `bit` stands
    /// for. It is in no expiry index then: the caller puts it into those that it belongs to.
    ///
    /// - Returns: nil when there was no memory; nothing changed then.
    private mutating func exchangeHeader(at slot: Slot, _ bit: UInt64, at offset: Int) -> Entry? {
        let old = slot.entry
        let oldBytes = old.allocationBytes
        let hadBit = old.header.bits & bit != 0
        guard let memory = unsafe slabs.allocate(hadBit ? oldBytes - 16 : oldBytes + 16) else {
            return nil
        }
        unlink(old)
        let source = offset + (hadBit ? 16 : 0)
        let target = offset + (hadBit ? 0 : 16)
        unsafe memcpy(memory, old.address, offset)
        unsafe memcpy(memory + target, old.address + source, oldBytes - source)
        let entry = unsafe Entry(memory)
        entry.header.bits ^= bit
        slot.entry = entry
        unsafe slabs.free(old.address, bytes: oldBytes)
        return entry
    }

    /// The next key past its deadline, or nil when there is none or `steps` are used up. It stays
    /// until it is removed.
    mutating func nextDue(nowMilliseconds: Int64, steps: inout Int) -> Entry? {
        expiry.nextDue(slabs, nowMilliseconds: nowMilliseconds, steps: &steps)
    }

    /// Fetches what reclaiming the key behind `entry` will look at, while `entry`, which `nextDue`
    /// returned, is reclaimed: such keys are seldom in a cache.
    func prefetchFollowing(_ entry: Entry) {
        guard let following = expiry.following(entry, slabs) else { return }
        table.prefetch(following.key)
    }

    /// The next hash with fields past their deadline, likewise. It stays until they are removed.
    mutating func nextDueFields(nowMilliseconds: Int64, steps: inout Int) -> Entry? {
        fieldExpiry.nextDue(slabs, nowMilliseconds: nowMilliseconds, steps: &steps)
    }

    /// What the key at `entry` costs in all: entry, value, its share of the table.
    func memoryUsage(_ entry: Entry) -> Int {
        var bytes = Slabs.allocationBytes(entry.allocationBytes)
        bytes += entry.outsideBytes
        return bytes + (count == 0 ? 0 : table.bytes / count)
    }

    /// Empties the partition; the old contents are freed elsewhere once no loop can read them, and a
    /// snapshot that still needs some of them is through.
    mutating func flush(hashKey: HashKey, _ saver: SnapshotSaver?) {
        guard count > 0 else { return }
        var old = Partition(hashKey: hashKey)
        table.exchange(with: &old.table)
        swap(&slabs, &old.slabs)
        swap(&expiry, &old.expiry)
        swap(&fieldExpiry, &old.fieldExpiry)
        swap(&heapBytes, &old.heapBytes)
        swap(&heapCount, &old.heapCount)
        swap(&snapshotDatabase, &old.snapshotDatabase)
        let box = UnsafeMutablePointer<Partition>.allocate(capacity: 1)
        unsafe box.initialize(to: old)
        if let saver {
            unsafe saver.keep(box)
        } else {
            unsafe Self.release(box)
        }
    }

    /// Frees, elsewhere, a partition that a flush took its contents into.
    static func release(_ box: UnsafeMutablePointer<Partition>) {
        let removed = unsafe box.pointee.count
        let address = UInt(bitPattern: box)
        Reclaimer.shared.run(objects: removed) {
            Quiescence.shared.synchronize()
            guard let box = unsafe UnsafeMutablePointer<Partition>(bitPattern: address) else {
                return
            }
            unsafe box.pointee.dismantle { Reclaimer.shared.pause() }
            unsafe box.deinitialize(count: 1)
            unsafe box.deallocate()
        }
    }

    /// Checks table and expiry index and that they agree; for tests.
    func checkInvariants() {
        table.checkInvariants()
        slabs.checkInvariants()
        expiry.checkInvariants(slabs)
        fieldExpiry.checkInvariants(slabs)
        var withExpiry = 0
        var withFieldExpiry = 0
        var objects = 0
        var heap = 0
        var inHeap = 0
        table.forEachEntry { entry in
            if entry.header.hasExpiry { withExpiry += 1 }
            if entry.header.hasFieldExpiry { withFieldExpiry += 1 }
            if entry.encoding == .heap || entry.encoding == .structure {
                heap += 1
                inHeap += entry.outsideBytes
            }
            objects += Slabs.allocationBytes(entry.allocationBytes)
        }
        precondition(withExpiry == expiry.count, "every key with a deadline is indexed")
        precondition(
            withFieldExpiry == fieldExpiry.count, "every hash with timed fields is indexed")
        precondition(objects == slabs.usedBytes, "every object belongs to a key")
        precondition(heap == heapCount, "heap values are counted")
        precondition(inHeap == heapBytes, "the bytes of heap values are counted")
    }
}
