//  A sorted set as commands see it: under a key, in whichever form, while its shard is held.
//
//  Raw memory: nothing here is owned; the slot and the partition are the shard's, lent for the
//  command that runs. A value is not kept while keys of its shard are created by others.
//
//  This is the pattern for all collections. A missing key is an empty collection: reading finds
//  nothing, the first member makes the key, and taking the last one removes it, so that no handler
//  has to think of either. Which form the value has is decided in here and nowhere else. Whatever
//  changes a structure goes through `changing`, which keeps the partition's memory exact.

import MartletBase

/// The sorted set under a key, present or not.
///
/// - Complexity: as of `SortedSet`; O(n) while the set is packed and n is small.
@safe
package struct SortedSetValue {
    private let partition: UnsafeMutablePointer<Partition>
    /// Where the key stands, nil while it does not exist.
    private var slot: Slot?
    private let key: Key
    private let hashKey: HashKey
    private let access: UInt32
    private let epoch: UInt8
    private let nowMilliseconds: Int64
    private let births: Births

    fileprivate init(
        _ key: Key, at slot: Slot?, in partition: UnsafeMutablePointer<Partition>,
        _ keyspace: KeyAccess, epoch: UInt8
    ) {
        self.key = key
        self.slot = slot
        unsafe self.partition = partition
        unsafe hashKey = keyspace.keyspace.pointee.hashKey
        access = keyspace.newAccess
        nowMilliseconds = keyspace.nowMilliseconds
        births = keyspace.births
        self.epoch = epoch
    }

    @unsafe private enum Form {
        case missing
        case packed(PackedSortedSet)
        case large(UnsafeMutablePointer<SortedSet>)
    }

    @inline(__always)
    private var form: Form {
        guard let slot else { return unsafe .missing }
        let entry = slot.entry
        if entry.header.encodingBits == ValueEncoding.packed.rawValue {
            return unsafe .packed(PackedSortedSet(entry.valueAddress, bytes: entry.valueBytes))
        }
        return unsafe .large(entry.structure.sortedSet)
    }

    // MARK: Reading

    package var count: Int {
        switch unsafe form {
        case .missing: 0
        case .packed(let set): set.count
        case .large(let set): unsafe set.pointee.count
        }
    }

    /// The key does not exist.
    @inline(__always)
    package var isEmpty: Bool { slot == nil }

    package func score(of member: ByteView) -> Double? {
        switch unsafe form {
        case .missing: nil
        case .packed(let set): set.find(member).map { set.score($0.offset) }
        case .large(let set): unsafe set.pointee.score(of: member)
        }
    }

    package func rank(of member: ByteView) -> (rank: Int, score: Double)? {
        switch unsafe form {
        case .missing: nil
        case .packed(let set): set.find(member).map { ($0.rank, set.score($0.offset)) }
        case .large(let set): unsafe set.pointee.rank(of: member)
        }
    }

    /// The ranks of the members in an interval of scores.
    package func ranks(_ range: ScoreRange) -> Range<Int> {
        if range.isEmpty { return 0..<0 }
        return switch unsafe form {
        case .missing: 0..<0
        case .packed(let set): set.ranks(range)
        case .large(let set): unsafe set.pointee.ranks(range)
        }
    }

    /// The ranks of the members in an interval, where all scores are equal.
    package func ranks(_ range: MemberRange) -> Range<Int> {
        if range.isEmpty { return 0..<0 }
        return switch unsafe form {
        case .missing: 0..<0
        case .packed(let set): set.ranks(range)
        case .large(let set): unsafe set.pointee.ranks(range)
        }
    }

    /// Calls `body` for the members of a range of ranks in order, or in reverse.
    ///
    /// - Precondition: `ranks` is inside `0 ..< count`; `body` does not change the set.
    @inline(__always)
    package func forEach(
        in ranks: Range<Int>, reversed: Bool = false, _ body: (ByteView, Double) -> Void
    ) {
        if ranks.isEmpty { return }
        switch unsafe form {
        case .missing: return
        case .packed(let set): set.forEach(in: ranks, reversed: reversed, body)
        case .large(let set): unsafe set.pointee.forEach(in: ranks, reversed: reversed, body)
        }
    }

    /// Calls `body` for all members.
    @inline(__always)
    package func forEachMember(_ body: (ByteView, Double) -> Void) {
        forEach(in: 0..<count, body)
    }

    /// Calls `body` for some members from a cursor on; returns the next cursor, 0 at the end. A
    /// packed set is given at once.
    package func scan(
        from cursor: UInt64, count wanted: Int, _ body: (ByteView, Double) -> Void
    ) -> UInt64 {
        guard case .large(let set) = unsafe form else {
            forEachMember(body)
            return 0
        }
        var met = 0
        var groups = 0
        var position = cursor & (1 << MemberTable.positionBits - 1)
        while true {
            let next = unsafe set.pointee.scan(from: position) { member, score in
                met += 1
                body(member, score)
            }
            groups += 1
            guard let next else { return 0 }
            position = next
            if met >= wanted || groups >= wanted * 10 { return position }
        }
    }

    // MARK: Changing

    /// Runs `body` on the large form and counts what its memory became.
    @inline(__always)
    private func changing<R>(
        _ set: UnsafeMutablePointer<SortedSet>, _ body: (UnsafeMutablePointer<SortedSet>) -> R
    ) -> R {
        let before = unsafe set.pointee.bytes
        let result = unsafe body(set)
        unsafe partition.pointee.heapBytes += set.pointee.bytes - before
        return result
    }

    /// Puts a member at a score, or moves it there, as the rule allows.
    ///
    /// A small set has no negative zero, as in Redis, whose small form keeps whole numbers.
    ///
    /// - Throws: `.outOfMemory`; nothing changed then.
    /// - Precondition: `!given.isNaN`.
    package mutating func place(
        _ member: ByteView, _ given: Double, rule: ScoreRule, limits: PackedLimits
    ) throws(CommandError) -> Placement {
        guard let slot else {
            if rule.contains(.onlyExisting) { return .refused }
            try create(member, given, limits)
            return .added(given)
        }
        let score = given.isZero && staysSmall(member, limits) ? 0 : given
        if slot.entry.header.encodingBits == ValueEncoding.packed.rawValue {
            if let done = try placePacked(slot, member, score, rule, limits) {
                if case .added = done { return .added(given) }
                return done
            }
        }
        let set = unsafe slot.entry.structure.sortedSet
        let placement = unsafe changing(set) {
            unsafe $0.pointee.place(member, score, rule: rule)
        }
        guard let placement else { throw .outOfMemory }
        guard case .added = placement else { return placement }
        noteGrowth(member, limits)
        return .added(given)
    }

    /// Whether the set is one that Redis keeps small, with another member too.
    private func staysSmall(_ member: ByteView, _ limits: PackedLimits) -> Bool {
        guard let entry = slot?.entry, !entry.header.isModified else { return false }
        return member.count <= limits.elementBytesMax && count < limits.entriesMax
    }

    /// Remembers that the set is beyond what Redis keeps small.
    @inline(__always)
    private func noteGrowth(_ member: ByteView, _ limits: PackedLimits) {
        guard let entry = slot?.entry, !entry.header.isModified else { return }
        if member.count > limits.elementBytesMax || count > limits.entriesMax {
            entry.header.bits |= EntryHeader.isModifiedBit
        }
    }

    /// Whether a packed set of `count` members and `bytes` may be.
    @inline(__always)
    private static func fits(
        _ member: ByteView, count: Int, bytes: Int, _ limits: PackedLimits
    ) -> Bool {
        count <= min(limits.entriesMax, PackedSortedSet.countMax)
            && member.count <= min(limits.elementBytesMax, PackedSortedSet.memberBytesMax)
            && bytes <= PackedSortedSet.bytesMax
    }

    /// Places into a packed set; nil, and the set is a large one now, when the member does not fit.
    @inline(__always)
    private mutating func placePacked(
        _ slot: Slot, _ member: ByteView, _ given: Double, _ rule: ScoreRule,
        _ limits: PackedLimits
    ) throws(CommandError) -> Placement? {
        let entry = slot.entry
        let set = unsafe PackedSortedSet(entry.valueAddress, bytes: entry.valueBytes)
        switch set.search(member, given) {
        case .taken(let offset):
            let placement = rule.decide(old: set.score(offset), given: given)
            if case .moved(let new) = placement {
                set.move(from: offset, to: set.position(new, member).offset, score: new)
            }
            return placement
        case .free(let offset, let end):
            if rule.contains(.onlyExisting) { return .refused }
            let bytes = end &+ PackedSortedSet.recordBytes(member)
            guard Self.fits(member, count: set.count &+ 1, bytes: bytes, limits) else {
                try unpack(slot)
                return nil
            }
            if bytes <= set.bytes {
                set.insert(member, given, at: offset, end: end)
                return .added(given)
            }
            let grown = PackedSortedSet.grown(bytes)
            let resized = unsafe partition.pointee.resizePacked(
                at: slot, key: key, bytes: grown, nowMilliseconds: nowMilliseconds)
            guard let resized else { throw .outOfMemory }
            unsafe PackedSortedSet(resized.valueAddress, bytes: grown)
                .insert(member, given, at: offset, end: end)
            return .added(given)
        }
    }

    /// Makes the key with its first member.
    private mutating func create(
        _ member: ByteView, _ score: Double, _ limits: PackedLimits
    ) throws(CommandError) {
        let bytes = PackedSortedSet.headerBytes + PackedSortedSet.recordBytes(member)
        guard Self.fits(member, count: 1, bytes: bytes, limits) else {
            var set = SortedSet(hashKey: hashKey)
            guard set.place(member, score, rule: []) != nil else { throw .outOfMemory }
            try adopt(set)
            noteGrowth(member, limits)
            return
        }
        slot = unsafe partition.pointee.createPacked(
            key, kind: .sortedSet, bytes: bytes, access: access, epoch: epoch
        ) { entry in
            let set = unsafe PackedSortedSet(entry.valueAddress, bytes: bytes)
            set.count = 0
            set.append(member, score.isZero ? 0 : score, at: PackedSortedSet.headerBytes)
        }
        if slot == nil { throw .outOfMemory }
        births.note(key)
    }

    private mutating func find() {
        slot = unsafe partition.pointee.table.find(key.bytes, hash: key.hash)
    }

    /// Turns the packed set at `slot` into a large one.
    @inline(never)
    private mutating func unpack(_ slot: Slot) throws(CommandError) {
        let entry = slot.entry
        let packed = unsafe PackedSortedSet(entry.valueAddress, bytes: entry.valueBytes)
        var set = SortedSet(hashKey: hashKey)
        packed.forEach(in: 0..<packed.count, reversed: false) { member, score in
            _ = set.place(member, score, rule: [])
        }
        try adopt(set)
    }

    /// Makes a large set the key's value; what it had is freed, its deadline stays.
    private mutating func adopt(_ set: consuming SortedSet) throws(CommandError) {
        let structure = Structure(set)
        let flags = (slot?.entry.header.bits ?? 0) & EntryHeader.isModifiedBit
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

    /// Removes a member; false when it was not there. The last one takes the key with it.
    package mutating func remove(_ member: ByteView) -> Bool {
        switch unsafe form {
        case .missing: return false
        case .packed(let set):
            guard let (_, rank) = set.find(member) else { return false }
            remove(rank..<(rank &+ 1))
            return true
        case .large(let set):
            guard unsafe changing(set, { unsafe $0.pointee.remove(member) }) else { return false }
            if unsafe set.pointee.count == 0 { removeKey() }
            return true
        }
    }

    /// Removes the members of a range of ranks. The last one takes the key with it.
    ///
    /// - Precondition: `ranks` is inside `0 ..< count`.
    package mutating func remove(_ ranks: Range<Int>) {
        if ranks.isEmpty { return }
        if ranks.count == count {
            removeKey()
            return
        }
        switch unsafe form {
        case .missing: return
        case .packed(let set):
            guard let slot else { return }
            let used = set.remove(ranks)
            if set.isTooLong(used: used) {
                // It stays as it is when there is no memory for a shorter one.
                _ = unsafe partition.pointee.resizePacked(
                    at: slot, key: key, bytes: PackedSortedSet.grown(used),
                    nowMilliseconds: nowMilliseconds)
            }
        case .large(let set):
            unsafe changing(set) { unsafe $0.pointee.remove(ranks) }
        }
    }

    private mutating func removeKey() {
        guard let slot else { return }
        unsafe partition.pointee.remove(slot, hash: key.hash)
        self.slot = nil
    }

    /// Checks the invariants of the form it has; for tests.
    package func checkInvariants() {
        switch unsafe form {
        case .missing: return
        case .packed(let set): set.checkInvariants()
        case .large(let set): unsafe set.pointee.checkInvariants()
        }
    }
}

/// A sorted set that is being computed and has no key yet.
package struct NewSortedSet: ~Copyable {
    fileprivate var set: SortedSet
    fileprivate var lacksMemory = false

    fileprivate init(hashKey: HashKey) { set = SortedSet(hashKey: hashKey) }

    package var count: Int { self.set.count }

    /// Puts a member in, or gives it another score.
    package mutating func add(_ member: ByteView, _ score: Double) {
        guard let placement = set.place(member, score, rule: []) else {
            lacksMemory = true
            return
        }
        // Zeros of both signs are equal, but they are not written alike.
        if case .unchanged(let old) = placement, old.sign != score.sign {
            remove(member)
            add(member, score)
        }
    }

    package func score(of member: ByteView) -> Double? { set.score(of: member) }

    package mutating func remove(_ member: ByteView) { _ = set.remove(member) }

    /// Calls `body` for all members in order.
    package func forEachMember(_ body: (ByteView, Double) -> Void) {
        set.forEach(in: 0..<set.count, reversed: false, body)
    }
}

extension KeyAccess {
    /// A sorted set to compute into.
    package func newSortedSet() -> NewSortedSet {
        unsafe NewSortedSet(hashKey: keyspace.pointee.hashKey)
    }

    /// Makes a computed sorted set, which is not empty, the value of a key, whatever it was.
    ///
    /// - Throws: `.outOfMemory`; nothing changed then.
    package func setSortedSet(
        _ key: Key, _ new: consuming NewSortedSet, limits: PackedLimits
    ) throws(CommandError) {
        if new.lacksMemory { throw .outOfMemory }
        let shard = unsafe shard(key)
        let partition = unsafe shard.pointee.makePartition(
            database, hashKey: keyspace.pointee.hashKey)
        let old = kindReplaced(key)
        let slot = unsafe slot(key, database)?.slot
        let epoch = unsafe shard.pointee.epoch
        var bytes = PackedSortedSet.headerBytes
        var longest = 0
        new.forEachMember { member, _ in
            bytes += PackedSortedSet.recordBytes(member)
            longest = max(longest, member.count)
        }
        var made: Entry?
        if new.count <= min(limits.entriesMax, PackedSortedSet.countMax)
            && longest <= min(limits.elementBytesMax, PackedSortedSet.memberBytesMax)
            && bytes <= PackedSortedSet.bytesMax
        {
            made = unsafe partition.pointee.setPacked(
                key, kind: .sortedSet, bytes: bytes, at: slot, expiry: .clear, access: newAccess,
                epoch: epoch, nowMilliseconds: nowMilliseconds
            ) { entry in
                let packed = unsafe PackedSortedSet(entry.valueAddress, bytes: bytes)
                packed.count = 0
                var offset = PackedSortedSet.headerBytes
                new.forEachMember { member, score in
                    packed.append(member, score.isZero ? 0 : score, at: offset)
                    offset = packed.next(offset)
                }
            }
        } else {
            let isBeyond = new.count > limits.entriesMax || longest > limits.elementBytesMax
            let structure = Structure(new.takeSet())
            made = unsafe partition.pointee.setStructure(
                structure, for: key, at: slot, expiry: .clear, access: newAccess, epoch: epoch,
                nowMilliseconds: nowMilliseconds)
            if made == nil { structure.free() }
            if isBeyond { made?.header.bits |= EntryHeader.isModifiedBit }
        }
        if made == nil { throw .outOfMemory }
        if slot == nil { births.note(key) }
        noteReplacement(of: old, by: .sortedSet, key)
    }
}

extension NewSortedSet {
    fileprivate consuming func takeSet() -> SortedSet { set }
}

extension KeyAccess {
    /// The sorted set of a key, to be read; counts a hit or a miss.
    ///
    /// - Throws: `.wrongType`.
    @inline(__always)
    package func readSortedSet(_ key: Key) throws(CommandError) -> SortedSetValue {
        let set = try sortedSet(key)
        if set.isEmpty {
            noteMiss(key)
        } else {
            unsafe counters.pointee.hits &+= 1
        }
        return set
    }

    /// The sorted set of a key, to be written.
    ///
    /// - Throws: `.wrongType`.
    @inline(__always)
    package func sortedSet(_ key: Key) throws(CommandError) -> SortedSetValue {
        let shard = unsafe shard(key)
        guard let found = unsafe slot(key, database) else {
            let partition = unsafe shard.pointee.makePartition(
                database, hashKey: keyspace.pointee.hashKey)
            return unsafe SortedSetValue(
                key, at: nil, in: partition, self, epoch: shard.pointee.epoch)
        }
        let entry = unsafe found.slot.entry
        if entry.header.kindBits != ValueKind.sortedSet.rawValue { throw .wrongType }
        touch(entry)
        return unsafe SortedSetValue(
            key, at: found.slot, in: found.partition, self, epoch: shard.pointee.epoch)
    }
}

extension Entry {
    /// Members and scores in the order-free way of DEBUG DIGEST.
    func mixSortedSet(into digest: inout DataDigest) {
        var total = digest
        let mix: (ByteView, Double) -> Void = { member, score in
            var one = DataDigest()
            one.mix(member)
            var text = ByteBuffer()
            text.append(doubleInSeventeenDigits: score)
            one.mix(text.view)
            total.combine(one)
        }
        if encoding == .packed {
            let set = unsafe PackedSortedSet(valueAddress, bytes: valueBytes)
            set.forEach(in: 0..<set.count, reversed: false, mix)
        } else {
            let set = unsafe structure.sortedSet
            unsafe set.pointee.forEach(in: 0..<set.pointee.count, reversed: false, mix)
        }
        digest = total
    }
}
