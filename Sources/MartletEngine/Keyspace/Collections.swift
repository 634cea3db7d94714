//  How an entry holds a collection, whatever its type: as packed bytes, or as a structure.
//
//  Raw memory: a structure's root is allocated by its type, owned by one entry, and freed through
//  `Partition.freeValue`, at once or on the reclaimer's thread. All of it is used under the shard's
//  lock. Packed bytes belong to their entry.
//
//  *Packed.* A small collection is one run of bytes in the entry's value region, behind the key. The
//  type says what the bytes mean (`Structures/Packed….swift`); the partition says how many there
//  are: `resizePacked` makes the region longer or shorter, in place within a size class.
//
//  *Structure.* A large one is a `~Copyable` struct of the type (`Structures/SortedSet.swift`) at the
//  address that the entry holds. It knows all its memory (`bytes`). Whoever changes it tells the
//  partition by how much that grew, so that `used_memory` is exact at any time: see `changing` in
//  `SortedSetValue.swift`.
//
//  To add a type: its two forms in `Structures/`, its cases in `Structure` below, in
//  `collectionEncodingName` and `mixMembers`, and a `…Value.swift` like the sorted set's, through
//  which commands see it. Everything else (DEL, SET over it, expiry, flush, RENAME, COPY, MEMORY
//  USAGE, DEBUG DIGEST) is here and works by itself.

import CSystem
import Glibc
import MartletBase

/// Up to where a collection is kept, and called, small: the `…-max-listpack-…` settings.
package struct PackedLimits: Sendable, Equatable {
    package var entriesMax: Int
    package var elementBytesMax: Int

    package init(entriesMax: Int, elementBytesMax: Int) {
        self.entriesMax = entriesMax
        self.elementBytesMax = elementBytesMax
    }
}

/// The root of a large collection.
@safe
struct Structure {
    let address: UnsafeMutableRawPointer
    let kind: ValueKind

    /// Takes a structure over into memory of its own.
    init(_ set: consuming SortedSet) {
        let root = UnsafeMutablePointer<SortedSet>.allocate(capacity: 1)
        unsafe root.initialize(to: set)
        unsafe address = UnsafeMutableRawPointer(root)
        kind = .sortedSet
    }

    /// The same for a hash.
    init(_ hash: consuming FieldTable) {
        let root = UnsafeMutablePointer<FieldTable>.allocate(capacity: 1)
        unsafe root.initialize(to: hash)
        unsafe address = UnsafeMutableRawPointer(root)
        kind = .hash
    }

    /// The same for a set.
    init(_ set: consuming MemberSet) {
        let root = UnsafeMutablePointer<MemberSet>.allocate(capacity: 1)
        unsafe root.initialize(to: set)
        unsafe address = UnsafeMutableRawPointer(root)
        kind = .set
    }

    /// The same for a list.
    init(_ list: consuming List) {
        let root = UnsafeMutablePointer<List>.allocate(capacity: 1)
        unsafe root.initialize(to: list)
        unsafe address = UnsafeMutableRawPointer(root)
        kind = .list
    }

    /// The same for a stream, which has no other form.
    init(_ stream: consuming Stream) {
        let root = UnsafeMutablePointer<Stream>.allocate(capacity: 1)
        unsafe root.initialize(to: stream)
        unsafe address = UnsafeMutableRawPointer(root)
        kind = .stream
    }

    fileprivate init(_ address: UnsafeMutableRawPointer, _ kind: ValueKind) {
        unsafe self.address = address
        self.kind = kind
    }

    @inline(__always)
    var sortedSet: UnsafeMutablePointer<SortedSet> {
        unsafe address.assumingMemoryBound(to: SortedSet.self)
    }

    @inline(__always)
    var hash: UnsafeMutablePointer<FieldTable> {
        unsafe address.assumingMemoryBound(to: FieldTable.self)
    }

    @inline(__always)
    var set: UnsafeMutablePointer<MemberSet> {
        unsafe address.assumingMemoryBound(to: MemberSet.self)
    }

    @inline(__always)
    var list: UnsafeMutablePointer<List> {
        unsafe address.assumingMemoryBound(to: List.self)
    }

    @inline(__always)
    var stream: UnsafeMutablePointer<Stream> {
        unsafe address.assumingMemoryBound(to: Stream.self)
    }

    /// All its memory.
    var bytes: Int {
        switch kind {
        case .list: unsafe list.pointee.bytes
        case .sortedSet: unsafe sortedSet.pointee.bytes
        case .hash: unsafe hash.pointee.bytes
        case .set: unsafe set.pointee.bytes
        case .stream: unsafe stream.pointee.bytes
        case .string: preconditionFailure("no such structure")
        }
    }

    /// The record that a snapshot is making of it in pieces.
    var snapshotValue: SnapshotValue? {
        let owner: AnyObject? =
            switch kind {
            case .list: unsafe list.pointee.walkOwner
            case .sortedSet: unsafe sortedSet.pointee.walkOwner
            case .hash: unsafe hash.pointee.walkOwner
            case .set: unsafe set.pointee.walkOwner
            case .stream: unsafe stream.pointee.walkOwner
            case .string: nil
            }
        return owner as? SnapshotValue
    }

    /// The earliest deadline of a hash's fields.
    var fieldDeadline: Int64? {
        kind == .hash ? unsafe hash.pointee.earliestDeadline : nil
    }

    /// Brings members close that are about to be looked up.
    func prefetch(_ hints: MemberHints) {
        switch kind {
        case .sortedSet: unsafe sortedSet.pointee.prefetch(hints)
        case .hash: unsafe hash.pointee.prefetch(hints)
        case .set: unsafe set.pointee.prefetch(hints)
        case .list, .string, .stream: break
        }
    }

    /// A structure with the same contents.
    func copy(hashKey: HashKey) -> Structure {
        switch kind {
        case .list: unsafe Structure(list.pointee.copy())
        case .sortedSet: unsafe Structure(sortedSet.pointee.copy(hashKey: hashKey))
        case .hash: unsafe Structure(hash.pointee.copy(hashKey: hashKey))
        case .set: unsafe Structure(set.pointee.copy(hashKey: hashKey))
        case .stream: unsafe Structure(stream.pointee.copy())
        case .string: preconditionFailure("no such structure")
        }
    }

    /// Frees it; any thread may. Complexity: O(nodes).
    func free() {
        switch kind {
        case .list:
            unsafe list.deinitialize(count: 1)
            unsafe list.deallocate()
        case .sortedSet:
            unsafe sortedSet.deinitialize(count: 1)
            unsafe sortedSet.deallocate()
        case .hash:
            unsafe hash.deinitialize(count: 1)
            unsafe hash.deallocate()
        case .set:
            unsafe set.deinitialize(count: 1)
            unsafe set.deallocate()
        case .stream:
            unsafe stream.deinitialize(count: 1)
            unsafe stream.deallocate()
        case .string: preconditionFailure("no such structure")
        }
    }
}

extension Structure {
    /// Frees it node by node, calling `pause` after each; any thread may.
    func free(pausing pause: () -> Void) {
        switch kind {
        case .list: unsafe list.pointee.dismantle(pause)
        case .sortedSet: unsafe sortedSet.pointee.dismantle(pause)
        case .hash: unsafe hash.pointee.dismantle(pause)
        case .set: unsafe set.pointee.dismantle(pause)
        case .stream: unsafe stream.pointee.dismantle(pause)
        case .string: preconditionFailure("no such structure")
        }
        free()
    }
}

extension Structure {
    /// Frees it here when it is small, else on the reclaimer's thread. No entry has it any more.
    func release() {
        let bytes = bytes
        if bytes <= Reclaimer.immediateBytesMax {
            free()
            return
        }
        let address = unsafe UInt(bitPattern: address)
        let kind = kind
        Reclaimer.shared.run(objects: 1) {
            guard let address = unsafe UnsafeMutableRawPointer(bitPattern: address) else { return }
            unsafe Structure(address, kind).free { Reclaimer.shared.pause() }
        }
    }
}

extension Entry {
    /// The structure of the `structure` encoding.
    @inline(__always)
    var structure: Structure {
        unsafe Structure(valueAddress.loadUnaligned(as: UnsafeMutableRawPointer.self), kind)
    }

    func setStructure(_ structure: Structure) {
        unsafe valueAddress.storeBytes(of: UInt(bitPattern: structure.address), as: UInt.self)
    }

    /// Bytes of the value outside of the entry.
    var outsideBytes: Int {
        switch encoding {
        case .heap: heapString.allocationBytes
        case .structure: structure.bytes
        case .integer, .inline, .packed: 0
        }
    }

    /// What OBJECT ENCODING answers for a collection, by Redis' names and limits: ours are others.
    var collectionEncodingName: StaticString {
        switch kind {
        case .sortedSet: header.isModified ? "skiplist" : "listpack"
        case .hash:
            header.isModified ? "hashtable" : header.hadFieldExpiry ? "listpackex" : "listpack"
        case .set:
            header.isModified ? "hashtable" : header.holdsIntegers ? "intset" : "listpack"
        case .list: header.isModified ? "quicklist" : "listpack"
        case .stream: "stream"
        case .string: "raw"
        }
    }

    /// Mixes the members of a collection into a digest, as DEBUG DIGEST of Redis does.
    func mixMembers(into digest: inout DataDigest, at nowMilliseconds: Int64) {
        switch kind {
        case .list: mixList(into: &digest)
        case .sortedSet: mixSortedSet(into: &digest)
        case .hash: mixHash(into: &digest, at: nowMilliseconds)
        case .set: mixSet(into: &digest)
        case .stream: mixStream(into: &digest)
        case .string: break
        }
    }
}

extension Partition {
    /// Gives `key` a packed value of `bytes`, in place of what is at `slot`; `fill` writes them.
    ///
    /// - Returns: the entry, or nil when there was no memory.
    @inline(__always)
    mutating func setPacked(
        _ key: Key, kind: ValueKind, bytes: Int, at slot: Slot?, expiry change: ExpiryChange,
        access: UInt32, epoch: UInt8, nowMilliseconds: Int64, fieldDeadline: Int64? = nil,
        fill: (Entry) -> Void
    ) -> Entry? {
        replace(
            key, at: slot, kind: kind, encoding: .packed, valueBytes: bytes, expiry: change,
            access: access, epoch: epoch, nowMilliseconds: nowMilliseconds,
            fieldDeadline: fieldDeadline, fill: fill)
    }

    /// Makes a key that does not exist with a packed value of `bytes`, which `fill` writes.
    ///
    /// - Returns: where it stands, or nil when there was no memory.
    @inline(__always)
    mutating func createPacked(
        _ key: Key, kind: ValueKind, bytes: Int, access: UInt32, epoch: UInt8,
        fill: (Entry) -> Void
    ) -> Slot? {
        let layout = EntryLayout(
            kind: kind, encoding: .packed, keyBytes: key.bytes.count, valueBytes: bytes,
            hasExpiry: false)
        guard let memory = unsafe slabs.allocate(layout.allocationBytes) else { return nil }
        let entry = unsafe layout.initialize(memory, key: key.bytes, access: access, epoch: epoch)
        fill(entry)
        return table.insert(entry, hash: key.hash)
    }

    /// Makes the packed value at `slot` longer or shorter; what both sizes have is kept.
    ///
    /// - Returns: the entry, which may have moved, or nil when there was no memory; nothing changed
    ///   then.
    @inline(__always)
    mutating func resizePacked(
        at slot: Slot, key: Key, bytes: Int, nowMilliseconds: Int64
    ) -> Entry? {
        let entry = slot.entry
        let header = entry.header
        let old = entry.valueBytes
        let fixed = header.prefixBytes &+ entry.keyBytes
        if header.isWide || bytes <= 255, Slabs.areInterchangeable(fixed &+ old, fixed &+ bytes) {
            entry.setValueBytes(bytes)
            return entry
        }
        let moved = replace(
            key, at: slot, kind: entry.kind, encoding: .packed, valueBytes: bytes, expiry: .keep,
            access: entry.access, epoch: entry.epoch, nowMilliseconds: nowMilliseconds
        ) { new in
            unsafe memcpy(new.valueAddress, entry.valueAddress, min(old, bytes))
        }
        moved?.header.bits |= header.bits & EntryHeader.collectionBits
        return moved
    }

    /// Takes bytes `start ..< end` out of the packed value at `slot`.
    ///
    /// The region stays as long as it was when there is no memory for a shorter one.
    mutating func cutPacked(
        at slot: Slot, key: Key, _ start: Int, _ end: Int, nowMilliseconds: Int64
    ) {
        let entry = slot.entry
        let header = entry.header
        let old = entry.valueBytes
        let bytes = old - (end - start)
        let fixed = header.prefixBytes + entry.keyBytes
        var moved: Entry?
        if !Slabs.areInterchangeable(fixed + old, fixed + bytes) {
            moved = replace(
                key, at: slot, kind: entry.kind, encoding: .packed, valueBytes: bytes,
                expiry: .keep,
                access: entry.access, epoch: entry.epoch, nowMilliseconds: nowMilliseconds
            ) { new in
                unsafe memcpy(new.valueAddress, entry.valueAddress, start)
                unsafe memcpy(new.valueAddress + start, entry.valueAddress + end, old - end)
            }
            moved?.header.bits |= header.bits & EntryHeader.collectionBits
        }
        if moved != nil { return }
        let base = unsafe entry.valueAddress
        unsafe memmove(base + start, base + end, old - end)
        if Slabs.areInterchangeable(fixed + old, fixed + bytes) { entry.setValueBytes(bytes) }
    }

    /// Makes a structure the value of `key`, in place of what is at `slot`; its memory is counted
    /// from now on.
    ///
    /// - Returns: the entry, or nil, and the structure is still the caller's, when there was no
    ///   memory.
    mutating func setStructure(
        _ structure: Structure, for key: Key, at slot: Slot?, expiry change: ExpiryChange,
        access: UInt32, epoch: UInt8, nowMilliseconds: Int64
    ) -> Entry? {
        let entry = replace(
            key, at: slot, kind: structure.kind, encoding: .structure, valueBytes: 8,
            expiry: change, access: access, epoch: epoch, nowMilliseconds: nowMilliseconds,
            fieldDeadline: structure.fieldDeadline
        ) { $0.setStructure(structure) }
        guard let entry else { return nil }
        heapBytes += structure.bytes
        heapCount += 1
        return entry
    }

    /// Frees the structure of an entry that is on its way out: here when it is small, else on the
    /// reclaimer's thread. One that a snapshot has not walked to its end is the snapshot's now.
    @inline(never)
    mutating func freeStructure(_ entry: Entry) {
        let structure = entry.structure
        heapBytes -= structure.bytes
        heapCount -= 1
        if let value = structure.snapshotValue {
            value.hasLostKey()
        } else {
            structure.release()
        }
    }

    /// Takes the structure of an entry that is about to be removed: it now belongs to the caller.
    fileprivate mutating func takeStructure(of entry: Entry) -> Structure {
        let structure = entry.structure
        heapBytes -= structure.bytes
        heapCount -= 1
        // What is left is an entry of the same size that owns nothing.
        entry.header.bits &= ~UInt64(0xF0)
        return structure
    }

    /// Gives back what `takeStructure` took, when it found no other place.
    fileprivate mutating func putStructureBack(_ structure: Structure, into entry: Entry) {
        entry.header.bits |= UInt64(ValueEncoding.structure.rawValue) << 4
        heapBytes += structure.bytes
        heapCount += 1
    }
}

extension KeyAccess {
    /// Brings members of a key close, if it is a large collection. The caller holds its shard.
    func prefetch(_ hints: MemberHints, of key: Key) {
        guard let partition = unsafe shard(key).pointee.partition(database),
            let slot = unsafe partition.pointee.table.find(key.bytes, hash: key.hash),
            slot.entry.header.encodingBits == ValueEncoding.structure.rawValue
        else { return }
        slot.entry.structure.prefetch(hints)
    }

    /// Makes the collection of `entry`, which stands in `source`, the value of `key` here: a copy of
    /// it, or the thing itself, whose entry the caller then removes.
    ///
    /// - Complexity: O(n) for a copy and for packed bytes, else O(1).
    func takeOver(
        _ entry: Entry, from source: UnsafeMutablePointer<Partition>, as key: Key,
        expiry: ExpiryChange, keepsSource: Bool
    ) throws(CommandError) {
        let shard = unsafe shard(key)
        let hashKey = unsafe keyspace.pointee.hashKey
        let partition = unsafe shard.pointee.makePartition(database, hashKey: hashKey)
        let slot = unsafe slot(key, database)?.slot
        let epoch = unsafe shard.pointee.epoch
        var made: Entry?
        if entry.encoding == .packed {
            let bytes = entry.valueBytes
            made = unsafe partition.pointee.setPacked(
                key, kind: entry.kind, bytes: bytes, at: slot, expiry: expiry, access: newAccess,
                epoch: epoch, nowMilliseconds: nowMilliseconds,
                fieldDeadline: entry.fieldExpiryMilliseconds
            ) { unsafe memcpy($0.valueAddress, entry.valueAddress, bytes) }
        } else {
            let structure =
                keepsSource
                ? entry.structure.copy(hashKey: hashKey)
                : unsafe source.pointee.takeStructure(of: entry)
            made = unsafe partition.pointee.setStructure(
                structure, for: key, at: slot, expiry: expiry, access: newAccess, epoch: epoch,
                nowMilliseconds: nowMilliseconds)
            if made == nil {
                if keepsSource {
                    structure.free()
                } else {
                    unsafe source.pointee.putStructureBack(structure, into: entry)
                }
            } else if !keepsSource, let value = structure.snapshotValue {
                value.shard.store(
                    unsafe keyspace.pointee.shardIndex(key.hash), ordering: .relaxed)
            }
        }
        guard let made else { throw .outOfMemory }
        made.header.bits |= entry.header.bits & EntryHeader.collectionBits
        if slot == nil { births.note(key) }
    }
}
