//  A hash as commands see it: under a key, in whichever form, while its shard is held.
//
//  Raw memory: nothing here is owned; see `CollectionPlace`. Views of values are good until the hash
//  next changes.
//
//  A missing key is an empty hash: reading finds nothing, the first field makes the key, and taking
//  the last one removes it. Which form the value has is decided in here and nowhere else.

import MartletBase

/// The hash under a key, present or not.
///
/// - Complexity: as of `FieldTable`; O(n) while the hash is packed and n is small.
@safe
package struct HashValue {
    private var place: CollectionPlace
    private var turn = PackedTurn()

    init(_ place: CollectionPlace) { self.place = place }

    @unsafe private enum Form {
        case missing
        case packed(PackedHash)
        case large(UnsafeMutablePointer<FieldTable>)
    }

    @inline(__always)
    private var form: Form {
        guard let entry = place.entry else { return unsafe .missing }
        if place.isPacked { return unsafe .packed(PackedHash(of: entry)) }
        return unsafe .large(entry.structure.hash)
    }

    // MARK: Reading

    package var count: Int {
        switch unsafe form {
        case .missing: 0
        case .packed(let hash): hash.count
        case .large(let hash): unsafe hash.pointee.count
        }
    }

    /// The key does not exist.
    @inline(__always)
    package var isEmpty: Bool { place.entry == nil }

    @inline(__always)
    package func value(of field: ByteView) -> ByteView? {
        switch unsafe form {
        case .missing: return nil
        case .packed(let hash):
            let (offset, isThere) = hash.find(field)
            return isThere ? hash.value(offset) : nil
        case .large(let hash): return unsafe hash.pointee.value(of: field)
        }
    }

    /// Calls `body` for all fields and their values.
    @inline(__always)
    package func forEachField(_ body: (_ field: ByteView, _ value: ByteView) -> Void) {
        switch unsafe form {
        case .missing: return
        case .packed(let hash): hash.forEachField(body)
        case .large(let hash): unsafe hash.pointee.forEachField(body)
        }
    }

    /// Calls `body` for some fields from a cursor on; returns the next cursor, 0 at the end. A packed
    /// hash is given at once.
    package func scan(
        from cursor: UInt64, count wanted: Int, _ body: (ByteView, ByteView) -> Void
    ) -> UInt64 {
        guard case .large(let hash) = unsafe form else {
            forEachField(body)
            return 0
        }
        var met = 0
        var groups = 0
        var position = cursor & (1 << MemberTable.positionBits - 1)
        while true {
            let next = unsafe hash.pointee.scan(from: position) { field, value in
                met += 1
                body(field, value)
            }
            groups += 1
            guard let next else { return 0 }
            position = next
            if met >= wanted || groups >= wanted * 10 { return position }
        }
    }

    /// Calls `body` for a field chosen at random, if there is one.
    package func random(_ random: inout Random, _ body: (ByteView, ByteView) -> Void) {
        switch unsafe form {
        case .missing: return
        case .packed(let hash):
            let offset = hash.offset(ofRecord: random.index(below: hash.count))
            body(hash.field(offset), hash.value(offset))
        case .large(let hash): unsafe hash.pointee.random(&random, body)
        }
    }

    /// Calls `body` for `count` different fields chosen at random.
    ///
    /// - Precondition: there are as many.
    package func sample(
        _ count: Int, _ random: inout Random, _ body: (ByteView, ByteView) -> Void
    ) {
        switch unsafe form {
        case .missing: return
        case .packed(let hash):
            // Each record is taken with the chance that its rest of the choice leaves it.
            var left = hash.count
            var wanted = count
            hash.forEachField { field, value in
                if random.index(below: left) < wanted {
                    wanted -= 1
                    body(field, value)
                }
                left -= 1
            }
        case .large(let hash): unsafe hash.pointee.sample(count, &random, body)
        }
    }

    // MARK: Changing

    /// Makes a key that does not exist, with room for fields that are about to be set.
    ///
    /// - Parameters:
    ///   - count: how many.
    ///   - bytes: of their records, by `recordBytes`.
    ///   - longest: bytes of the longest field or value.
    ///   - limits: up to where hashes are small.
    /// - Throws: `.outOfMemory`; nothing changed then.
    package mutating func create(
        forFields count: Int, bytes: Int, longest: Int, limits: PackedLimits
    ) throws(CommandError) {
        let all = PackedHash.headerBytes + bytes
        guard Self.fits(count: count, longest: longest, bytes: all, limits) else {
            try place.adopt(Structure(FieldTable(hashKey: place.hashKey)))
            return
        }
        try place.create(bytes: all) { PackedHash(of: $0).count = 0 }
    }

    /// Gives back the room that `create` made and no field needed.
    package func trim() {
        guard case .packed(let hash) = unsafe form else { return }
        let end = hash.end
        if end < hash.bytes { place.cut(end, hash.bytes) }
    }

    /// What a packed record takes.
    package static func recordBytes(_ field: ByteView, _ value: ByteView) -> Int {
        PackedHash.recordBytes(field, value)
    }

    /// Gives a field a value; answers whether it is new. It loses its deadline, unless
    /// `keepsDeadline`.
    ///
    /// - Throws: `.outOfMemory`; nothing changed then.
    @inline(__always)
    package mutating func set(
        _ field: ByteView, _ value: ByteView, keepsDeadline: Bool = false, limits: PackedLimits
    ) throws(CommandError) -> Bool {
        let longest = max(field.count, value.count)
        if isEmpty {
            try create(
                forFields: 1, bytes: PackedHash.recordBytes(field, value), longest: longest,
                limits: limits)
        }
        if place.isPlainPacked, case .packed(let hash) = unsafe form, hash.isNext(turn, field) {
            let offset = turn.offset
            if hash.value(offset).count == value.count {
                turn = hash.after(turn)
                hash.setValue(value, at: offset)
                return false
            }
        }
        turn = PackedTurn()
        if place.isPlainPacked, let isNew = try setPacked(field, value, longest, limits) {
            noteSize(longest, limits)
            return isNew
        }
        if place.isPacked {
            let isNew = try setTimed(field, value, keepsDeadline, longest, limits)
            noteSize(longest, limits)
            return isNew
        }
        guard case .large(let hash) = unsafe form else { return false }
        let before = unsafe hash.pointee.bytes
        let isNew = unsafe hash.pointee.set(field, value, keepsDeadline: keepsDeadline)
        place.countMemory(unsafe hash.pointee.bytes - before)
        settleExpiry()
        guard let isNew else {
            if count == 0 { place.remove() }
            throw .outOfMemory
        }
        noteSize(longest, limits)
        return isNew
    }

    /// Whether a packed hash of `count` fields and `bytes` may be.
    @inline(__always)
    private static func fits(
        count: Int, longest: Int, bytes: Int, _ limits: PackedLimits
    ) -> Bool {
        count <= min(limits.entriesMax, PackedHash.countMax)
            && longest <= min(limits.elementBytesMax, PackedHash.elementBytesMax)
            && bytes <= PackedHash.bytesMax
    }

    /// Remembers that the hash is beyond what Redis keeps small.
    @inline(__always)
    private func noteSize(_ longest: Int, _ limits: PackedLimits) {
        if longest > limits.elementBytesMax || count > limits.entriesMax {
            place.markBeyondLimits()
        }
    }

    /// Sets a field of a packed hash; nil, and the hash is a large one now, when it does not fit.
    @inline(__always)
    private mutating func setPacked(
        _ field: ByteView, _ value: ByteView, _ longest: Int, _ limits: PackedLimits
    ) throws(CommandError) -> Bool? {
        guard case .packed(let hash) = unsafe form else { return nil }
        let (offset, isThere) = hash.find(field)
        let old = isThere ? hash.value(offset).count : 0
        if isThere && old == value.count {
            hash.setValue(value, at: offset)
            return false
        }
        let end = isThere ? hash.end : offset
        let bytes =
            isThere ? end - old + value.count : end + PackedHash.recordBytes(field, value)
        let count = isThere ? hash.count : hash.count + 1
        guard Self.fits(count: count, longest: longest, bytes: bytes, limits) else {
            try unpack(hash)
            return nil
        }
        var target = hash
        if bytes > hash.bytes { target = PackedHash(of: try place.resize(bytes: bytes)) }
        if !isThere {
            target.append(field, value, at: offset)
            return true
        }
        target.setValue(value, at: offset)
        if bytes < target.bytes { place.cut(bytes, target.bytes) }
        return false
    }

    /// Turns the packed hash into a large one.
    @inline(never)
    private mutating func unpack(_ packed: PackedHash) throws(CommandError) {
        try unpack(PackedHashEdit(packed, isTimed: isTimed))
    }

    private mutating func unpack(_ edit: PackedHashEdit) throws(CommandError) {
        let hashKey = place.hashKey
        var hash = FieldTable(hashKey: hashKey)
        edit.forEachRecord { field, value, deadline in
            guard hash.set(field, value) != nil, let deadline else { return }
            _ = hash.setDeadline(deadline, of: field, hashKey: hashKey)
        }
        try place.adopt(Structure(hash))
    }

    /// Removes a field; false when it was not there. The last one takes the key with it.
    package mutating func remove(_ field: ByteView) -> Bool {
        turn = PackedTurn()
        switch unsafe form {
        case .missing: return false
        case .packed(let hash):
            let (offset, isThere) = hash.find(field)
            guard isThere else { return false }
            if hash.count == 1 {
                place.remove()
                return true
            }
            if isTimed {
                removeTimed(field, hash)
                return true
            }
            place.cut(offset, hash.next(offset))
            if let entry = place.entry { PackedHash(of: entry).count -= 1 }
            return true
        case .large(let hash):
            let before = unsafe hash.pointee.bytes
            let wasThere = unsafe hash.pointee.remove(field)
            place.countMemory(unsafe hash.pointee.bytes - before)
            if unsafe hash.pointee.count == 0 { place.remove() } else { settleExpiry() }
            return wasThere
        }
    }

    // MARK: Deadlines

    /// Some fields have a deadline.
    @inline(__always)
    private var isTimed: Bool { place.entry?.header.hasFieldExpiry ?? false }

    /// Remembers that deadlines were spoken of: OBJECT ENCODING of Redis changes with the attempt.
    package func noteDeadlines() {
        place.entry?.header.bits |= EntryHeader.hadFieldExpiryBit
    }

    /// The deadline of a field; nil when it has none or is not there.
    package func deadline(of field: ByteView) -> Int64? {
        guard isTimed else { return nil }
        switch unsafe form {
        case .missing: return nil
        case .packed(let hash): return hash.index(of: field).flatMap { hash.deadline($0) }
        case .large(let hash): return unsafe hash.pointee.deadline(of: field)
        }
    }

    /// Whether a field is there, and its deadline.
    package func time(of field: ByteView) -> FieldTime {
        switch unsafe form {
        case .missing: return .missing
        case .packed(let hash):
            guard let index = hash.index(of: field) else { return .missing }
            return (isTimed ? hash.deadline(index) : nil).map { .until($0) } ?? .unlimited
        case .large(let hash): return unsafe hash.pointee.time(of: field)
        }
    }

    /// Gives a field a deadline, above 0, or takes it away.
    ///
    /// - Precondition: the field is there.
    /// - Throws: `.outOfMemory`; nothing changed then.
    package mutating func setDeadline(
        _ deadline: Int64?, of field: ByteView, limits: PackedLimits
    ) throws(CommandError) {
        turn = PackedTurn()
        if deadline == nil && !isTimed { return }
        switch unsafe form {
        case .missing: return
        case .packed(let hash):
            guard let index = hash.index(of: field) else { return }
            if isTimed {
                let old = hash.deadline(index)
                hash.setDeadline(deadline, index)
                if let earliest = hash.earliestDeadline {
                    return try place.setFieldExpiry(earliest)
                }
                hash.setDeadline(old, index)
            }
            var edit = PackedHashEdit(hash, isTimed: isTimed)
            edit.setDeadline(deadline, index)
            try apply(edit, longest: 0, limits)
        case .large(let hash):
            let before = unsafe hash.pointee.bytes
            let hashKey = place.hashKey
            let done = unsafe hash.pointee.setDeadline(deadline, of: field, hashKey: hashKey)
            if done {
                do throws(CommandError) {
                    if let earliest = unsafe hash.pointee.earliestDeadline {
                        try place.setFieldExpiry(earliest)
                    } else {
                        settleExpiry()
                    }
                } catch {
                    // Only an entry without a deadline may find no room for one: it is the first.
                    _ = unsafe hash.pointee.setDeadline(nil, of: field, hashKey: hashKey)
                    throw error
                }
            }
            place.countMemory(unsafe hash.pointee.bytes - before)
            if !done { throw .outOfMemory }
        }
    }

    /// Takes out fields past their deadline: all of a packed hash, `countMax` of a large one, whose
    /// others are hidden. The last one takes the key with it.
    ///
    /// - Parameters:
    ///   - nowMilliseconds: wall clock.
    ///   - countMax: how many of a large hash.
    ///   - body: called for each before, unless all fields of a large hash go at once.
    /// - Returns: how many.
    mutating func removeDue(
        at nowMilliseconds: Int64, _ countMax: Int, _ body: (ByteView) -> Void
    ) -> Int {
        turn = PackedTurn()
        switch unsafe form {
        case .missing: return 0
        case .packed(let hash):
            var edit = PackedHashEdit(hash, isTimed: isTimed)
            let count = edit.removeDue(at: nowMilliseconds, body)
            shrink(edit, hash)
            return count
        case .large(let hash):
            unsafe hash.pointee.advance(to: nowMilliseconds)
            if unsafe hash.pointee.count == 0 {
                // However many: a large value is freed elsewhere.
                let count = unsafe hash.pointee.timedCount
                place.remove()
                return count
            }
            let before = unsafe hash.pointee.bytes
            let count = unsafe hash.pointee.removeDue(countMax, body)
            place.countMemory(unsafe hash.pointee.bytes - before)
            settleExpiry()
            return count
        }
    }

    /// Sets a field of a packed hash some of whose fields have deadlines.
    @inline(never)
    private mutating func setTimed(
        _ field: ByteView, _ value: ByteView, _ keepsDeadline: Bool, _ longest: Int,
        _ limits: PackedLimits
    ) throws(CommandError) -> Bool {
        guard case .packed(let hash) = unsafe form else { return false }
        let index = hash.index(of: field)
        if index == nil && hash.count == PackedHash.countMax {
            try unpack(hash)
            return try set(field, value, limits: limits)
        }
        var edit = PackedHashEdit(hash, isTimed: true)
        edit.write(field, value, at: index)
        if let index, !keepsDeadline { edit.setDeadline(nil, index) }
        try apply(edit, longest: longest, limits)
        return index == nil
    }

    /// Lets the packed hash become what the edit says; a large one, if that does not fit.
    private mutating func apply(
        _ edit: PackedHashEdit, longest: Int, _ limits: PackedLimits
    ) throws(CommandError) {
        let bytes = edit.bytes
        guard Self.fits(count: edit.count, longest: longest, bytes: bytes, limits) else {
            return try unpack(edit)
        }
        let earliest = edit.earliestDeadline
        try place.exchangePacked(bytes: bytes, fieldDeadline: earliest) { entry in
            edit.write(to: PackedHash(of: entry), isTimed: earliest != nil)
        }
    }

    private mutating func removeTimed(_ field: ByteView, _ hash: PackedHash) {
        guard let index = hash.index(of: field) else { return }
        var edit = PackedHashEdit(hash, isTimed: true)
        edit.remove(index)
        shrink(edit, hash)
    }

    /// Takes fields out of a timed packed hash; with no memory for a shorter one, in the bytes it has.
    private mutating func shrink(_ edit: PackedHashEdit, _ hash: PackedHash) {
        if edit.count == 0 { return place.remove() }
        let earliest = edit.earliestDeadline
        do throws(CommandError) {
            try place.exchangePacked(bytes: edit.bytes, fieldDeadline: earliest) { entry in
                edit.write(to: PackedHash(of: entry), isTimed: earliest != nil)
            }
        } catch {
            unsafe withUnsafeTemporaryAllocation(byteCount: hash.bytes, alignment: 8) { room in
                guard let base = room.baseAddress else { return }
                unsafe edit.write(to: PackedHash(base, bytes: hash.bytes), isTimed: true)
                hash.copy(from: unsafe PackedHash(base, bytes: hash.bytes))
            }
            settleExpiry(earliest)
        }
    }

    /// Lets the entry know the earliest deadline of a large hash.
    @inline(__always)
    private func settleExpiry() {
        guard isTimed, case .large(let hash) = unsafe form else { return }
        settleExpiry(unsafe hash.pointee.earliestDeadline)
    }

    /// No memory is needed for a deadline in place of another. For an entry without it there may be
    /// none: the hash then counts as one with a deadline that never comes.
    @inline(never)
    private func settleExpiry(_ earliest: Int64?) {
        do throws(CommandError) {
            try place.setFieldExpiry(earliest)
        } catch {
            try? place.setFieldExpiry(.max)
        }
    }

    /// Checks the invariants of the form it has; for tests.
    package func checkInvariants() {
        switch unsafe form {
        case .missing: return
        case .packed(let hash): hash.checkInvariants()
        case .large(let hash): unsafe hash.pointee.checkInvariants()
        }
    }
}

extension KeyAccess {
    /// The hash of a key, to be read; counts a hit or a miss.
    ///
    /// - Throws: `.wrongType`.
    @inline(__always)
    package func readHash(_ key: Key) throws(CommandError) -> HashValue {
        HashValue(try readPlace(key, .hash))
    }

    /// The hash of a key, to be written.
    ///
    /// - Throws: `.wrongType`.
    @inline(__always)
    package func hash(_ key: Key) throws(CommandError) -> HashValue {
        if isLogging { settleAllFields(key) }
        return HashValue(try place(key, .hash))
    }
}

extension PackedHash {
    /// The packed hash of an entry.
    @inline(__always)
    fileprivate init(of entry: Entry) {
        unsafe self.init(entry.valueAddress, bytes: entry.valueBytes)
    }
}

extension Entry {
    /// Fields and values in the order-free way of DEBUG DIGEST.
    func mixHash(into digest: inout DataDigest, at nowMilliseconds: Int64) {
        var total = digest
        let mix: (ByteView, ByteView, Int64?) -> Void = { field, value, deadline in
            var one = DataDigest()
            one.mix(field)
            one.mix(value)
            if deadline != nil { one.combine(ByteView("!!hexpire!!")) }
            total.combine(one)
        }
        if encoding == .structure {
            let hash = unsafe structure.hash
            unsafe hash.pointee.advance(to: nowMilliseconds)
            unsafe hash.pointee.forEachField { field, value in
                mix(field, value, unsafe hash.pointee.deadline(of: field))
            }
        } else if header.hasFieldExpiry {
            PackedHash(of: self).forEachField(at: nowMilliseconds, mix)
        } else {
            PackedHash(of: self).forEachField { mix($0, $1, nil) }
        }
        digest = total
    }

    /// Whether the key is as good as gone: past its deadline, or a hash all of whose fields are.
    @inline(__always)
    func isGone(at nowMilliseconds: Int64) -> Bool {
        guard header.hasDeadline else { return false }
        return isExpired(at: nowMilliseconds)
            || hasDueField(at: nowMilliseconds) && !hasLivingField(at: nowMilliseconds)
    }

    /// Of a hash with timed fields.
    @inline(never)
    private func hasLivingField(at nowMilliseconds: Int64) -> Bool {
        if encoding == .structure {
            unsafe structure.hash.pointee.advance(to: nowMilliseconds)
            return unsafe structure.hash.pointee.count > 0
        }
        var lives = false
        PackedHash(of: self).forEachField(at: nowMilliseconds) { _, _, _ in lives = true }
        return lives
    }
}
