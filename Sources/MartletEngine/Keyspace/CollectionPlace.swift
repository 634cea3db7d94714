//  Where a collection stands among the keys, present or not: what every `…Value.swift` needs of the
//  keyspace, so that it deals with its two forms alone.
//
//  Raw memory: nothing here is owned; the slot and the partition are the shard's, lent for the
//  command that runs. A place is not kept while keys of its shard are created by others.

import MartletBase

/// A key that holds a collection of one type, or nothing yet.
@safe
struct CollectionPlace {
    private let partition: UnsafeMutablePointer<Partition>
    /// Where the key stands, nil while it does not exist.
    private var slot: Slot?
    private let key: Key
    private let kind: ValueKind
    let hashKey: HashKey
    private let access: UInt32
    private let epoch: UInt8
    private let nowMilliseconds: Int64
    private let births: Births

    init(
        _ key: Key, _ kind: ValueKind, at slot: Slot?,
        in partition: UnsafeMutablePointer<Partition>, _ keyspace: KeyAccess, epoch: UInt8
    ) {
        self.key = key
        self.kind = kind
        self.slot = slot
        unsafe self.partition = partition
        unsafe hashKey = keyspace.keyspace.pointee.hashKey
        access = keyspace.newAccess
        nowMilliseconds = keyspace.nowMilliseconds
        self.epoch = epoch
        births = keyspace.births
    }

    /// The key's entry, nil while there is none; good until it is resized, replaced or removed.
    @inline(__always)
    var entry: Entry? { slot?.entry }

    @inline(__always)
    var isPacked: Bool {
        guard let entry else { return false }
        return entry.header.encodingBits == ValueEncoding.packed.rawValue
    }

    /// The value is packed, and no hash with fields that have deadlines.
    @inline(__always)
    var isPlainPacked: Bool {
        guard let entry else { return false }
        return entry.header.bits & (EntryHeader.hasFieldExpiryBit | 0xF0)
            == UInt64(ValueEncoding.packed.rawValue) << 4
    }

    /// Makes the key, which does not exist, with a packed value of `bytes`, which `fill` writes.
    @inline(__always)
    mutating func create(bytes: Int, fill: (Entry) -> Void) throws(CommandError) {
        slot = unsafe partition.pointee.createPacked(
            key, kind: kind, bytes: bytes, access: access, epoch: epoch, fill: fill)
        if slot == nil { throw .outOfMemory }
        births.note(key)
    }

    /// Makes the packed value longer or shorter; what both sizes have is kept.
    ///
    /// - Throws: `.outOfMemory`; nothing changed then.
    @inline(__always)
    func resize(bytes: Int) throws(CommandError) -> Entry {
        guard let slot,
            let entry = unsafe partition.pointee.resizePacked(
                at: slot, key: key, bytes: bytes, nowMilliseconds: nowMilliseconds)
        else { throw .outOfMemory }
        return entry
    }

    /// Takes bytes `start ..< end` out of the packed value.
    func cut(_ start: Int, _ end: Int) {
        guard let slot else { return }
        unsafe partition.pointee.cutPacked(
            at: slot, key: key, start, end, nowMilliseconds: nowMilliseconds)
    }

    /// Makes a structure the key's value; what it had is freed, its deadline stays.
    mutating func adopt(_ structure: Structure) throws(CommandError) {
        let flags = (entry?.header.bits ?? 0) & EntryHeader.collectionBits
        let made = unsafe partition.pointee.setStructure(
            structure, for: key, at: slot, expiry: .keep, access: access, epoch: epoch,
            nowMilliseconds: nowMilliseconds)
        guard let made else {
            structure.free()
            throw .outOfMemory
        }
        made.header.bits |= flags
        if slot == nil {
            find()
            births.note(key)
        }
    }

    /// Gives the key another packed value of `bytes`, which `fill` writes while the old one still
    /// stands, and the earliest deadline of its fields.
    ///
    /// - Throws: `.outOfMemory`; nothing changed then.
    func exchangePacked(
        bytes: Int, fieldDeadline: Int64?, fill: (Entry) -> Void
    ) throws(CommandError) {
        guard let slot else { return }
        let flags = slot.entry.header.bits & EntryHeader.collectionBits
        let made = unsafe partition.pointee.replace(
            key, at: slot, kind: kind, encoding: .packed, valueBytes: bytes, expiry: .keep,
            access: access, epoch: epoch, nowMilliseconds: nowMilliseconds,
            fieldDeadline: fieldDeadline, fill: fill)
        guard let made else { throw .outOfMemory }
        made.header.bits |= flags
        if fieldDeadline != nil { made.header.bits |= EntryHeader.hadFieldExpiryBit }
    }

    /// Sets, moves or clears the earliest deadline of the hash's fields in its entry.
    ///
    /// - Throws: `.outOfMemory`; nothing changed then.
    func setFieldExpiry(_ deadline: Int64?) throws(CommandError) {
        guard let slot, slot.entry.fieldExpiryMilliseconds != deadline else { return }
        guard
            unsafe partition.pointee.setFieldExpiry(
                deadline, at: slot, nowMilliseconds: nowMilliseconds)
        else { throw .outOfMemory }
        if deadline != nil { slot.entry.header.bits |= EntryHeader.hadFieldExpiryBit }
    }

    private mutating func find() {
        slot = unsafe partition.pointee.table.find(key.bytes, hash: key.hash)
    }

    /// Counts by how much the structure's memory changed.
    @inline(__always)
    func countMemory(_ difference: Int) { unsafe partition.pointee.heapBytes += difference }

    /// Remembers that the collection is, or was, beyond what Redis keeps in a small form.
    @inline(__always)
    func markBeyondLimits() {
        guard let entry, !entry.header.isModified else { return }
        entry.header.bits |= EntryHeader.isModifiedBit
    }

    /// Says whether the collection, a set, is known to hold integers alone.
    func setHoldsIntegers(_ holds: Bool) {
        guard let entry else { return }
        if holds {
            entry.header.bits |= EntryHeader.holdsIntegersBit
        } else {
            entry.header.bits &= ~EntryHeader.holdsIntegersBit
        }
    }

    /// Removes the key.
    mutating func remove() {
        guard let slot else { return }
        unsafe partition.pointee.remove(slot, hash: key.hash)
        self.slot = nil
    }
}

extension KeyAccess {
    /// The place of a key that holds a collection of one type, or nothing.
    ///
    /// - Throws: `.wrongType`.
    @inline(__always)
    func place(_ key: Key, _ kind: ValueKind) throws(CommandError) -> CollectionPlace {
        let shard = unsafe shard(key)
        guard let found = unsafe slot(key, database) else {
            let partition = unsafe shard.pointee.makePartition(
                database, hashKey: keyspace.pointee.hashKey)
            return unsafe CollectionPlace(
                key, kind, at: nil, in: partition, self, epoch: shard.pointee.epoch)
        }
        let entry = unsafe found.slot.entry
        if entry.header.kindBits != kind.rawValue { throw .wrongType }
        touch(entry)
        return unsafe CollectionPlace(
            key, kind, at: found.slot, in: found.partition, self, epoch: shard.pointee.epoch)
    }

    /// The same to be read from: counts a hit or a miss.
    @inline(__always)
    func readPlace(_ key: Key, _ kind: ValueKind) throws(CommandError) -> CollectionPlace {
        let place = try place(key, kind)
        if place.entry == nil {
            noteMiss(key)
        } else {
            unsafe counters.pointee.hits &+= 1
        }
        return place
    }
}
