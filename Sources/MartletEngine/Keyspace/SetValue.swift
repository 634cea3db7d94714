//  A set as commands see it: under a key, in whichever form, while its shard is held.
//
//  Raw memory: nothing here is owned; see `CollectionPlace`. Views of members are good until the set
//  next changes.
//
//  A missing key is an empty set: reading finds nothing, the first member makes the key, and taking
//  the last one removes it. Which form the value has is decided in here and nowhere else.
//
//  OBJECT ENCODING answers by Redis' limits, which are not ours: `holdsIntegers` in the entry's
//  header stands for `intset`, `isModified` for `hashtable`, neither for `listpack`. A set goes that
//  way only, whatever is removed, and a stored result begins anew.

import MartletBase

/// Up to where sets are kept, and called, small: the `set-max-…` settings.
package struct SetLimits: Sendable, Equatable {
    /// Members of a set of integers.
    package var integersMax: Int
    /// Of other sets.
    package var packed: PackedLimits

    package init(integersMax: Int, packed: PackedLimits) {
        self.integersMax = integersMax
        self.packed = packed
    }
}

/// The set under a key, present or not.
///
/// - Complexity: as of `MemberSet`; O(n) while the set is small, O(log n) while it is one of
///   integers.
@safe
package struct SetValue {
    private var place: CollectionPlace

    fileprivate init(_ place: CollectionPlace) { self.place = place }

    @unsafe private enum Form {
        case missing
        case integers(IntegerSet)
        case packed(PackedSet)
        case large(UnsafeMutablePointer<MemberSet>)
    }

    @inline(__always)
    private var form: Form {
        guard let entry = place.entry else { return unsafe .missing }
        if !place.isPacked { return unsafe .large(entry.structure.set) }
        return entry.header.holdsIntegers
            ? unsafe .integers(IntegerSet(of: entry)) : unsafe .packed(PackedSet(of: entry))
    }

    // MARK: Reading

    package var count: Int {
        switch unsafe form {
        case .missing: 0
        case .integers(let set): set.count
        case .packed(let set): set.count
        case .large(let set): unsafe set.pointee.count
        }
    }

    /// The key does not exist.
    @inline(__always)
    package var isEmpty: Bool { place.entry == nil }

    @inline(__always)
    package func contains(_ member: ByteView) -> Bool {
        switch unsafe form {
        case .missing: return false
        case .integers(let set):
            guard let value = member.parseInteger() else { return false }
            return set.find(value).isThere
        case .packed(let set): return set.find(member).isThere
        case .large(let set): return unsafe set.pointee.contains(member)
        }
    }

    /// Calls `body` for all members.
    @inline(__always)
    package func forEachMember(_ body: (ByteView) -> Void) {
        switch unsafe form {
        case .missing: return
        case .integers(let set): set.forEachInteger { $0.withDecimal(body) }
        case .packed(let set): set.forEachMember(body)
        case .large(let set): unsafe set.pointee.forEachMember(body)
        }
    }

    /// Calls `body` for some members from a cursor on; returns the next cursor, 0 at the end. A small
    /// set is given at once.
    package func scan(
        from cursor: UInt64, count wanted: Int, _ body: (ByteView) -> Void
    ) -> UInt64 {
        guard case .large(let set) = unsafe form else {
            forEachMember(body)
            return 0
        }
        var met = 0
        var groups = 0
        var position = cursor & (1 << MemberTable.positionBits - 1)
        while true {
            let next = unsafe set.pointee.scan(from: position) { member in
                met += 1
                body(member)
            }
            groups += 1
            guard let next else { return 0 }
            position = next
            if met >= wanted || groups >= wanted * 10 { return position }
        }
    }

    /// Calls `body` for a member chosen at random, if there is one.
    package func random(_ random: inout Random, _ body: (ByteView) -> Void) {
        switch unsafe form {
        case .missing: return
        case .integers(let set): set[random.index(below: set.count)].withDecimal(body)
        case .packed(let set):
            body(set.member(set.offset(ofRecord: random.index(below: set.count))))
        case .large(let set): body(unsafe set.pointee.random(&random))
        }
    }

    /// Calls `body` for `count` different members chosen at random.
    ///
    /// - Precondition: there are as many.
    package func sample(_ count: Int, _ random: inout Random, _ body: (ByteView) -> Void) {
        if case .large(let set) = unsafe form {
            unsafe set.pointee.sample(count, &random, body)
            return
        }
        // Each member is taken with the chance that its rest of the choice leaves it.
        var left = self.count
        var wanted = count
        forEachMember { member in
            if random.index(below: left) < wanted {
                wanted -= 1
                body(member)
            }
            left -= 1
        }
    }

    // MARK: Adding

    /// Makes ready for members that are about to be added: room, so that the key's memory is not
    /// moved for each, and the form that Redis chooses by their number alone.
    ///
    /// - Throws: `.outOfMemory`; no member changed then.
    package mutating func expect(
        _ members: MemberOutline, limits: SetLimits
    ) throws(CommandError) {
        guard let entry = place.entry else {
            try create(members, limits)
            return
        }
        if entry.header.isModified { return }
        let most = entry.header.holdsIntegers ? limits.integersMax : limits.packed.entriesMax
        if members.count > most {
            try unpack()
            place.markBeyondLimits()
        }
    }

    private mutating func create(
        _ members: MemberOutline, _ limits: SetLimits
    ) throws(CommandError) {
        if let firstWidth = members.firstWidth, members.count <= limits.integersMax {
            // Others may follow that are no integers: adding them changes the form.
            let width = members.width ?? firstWidth
            let bytes = IntegerSet.bytes(
                count: members.width == nil ? 1 : members.count, width: width)
            if bytes <= IntegerSet.bytesMax {
                try place.create(bytes: bytes) { IntegerSet(of: $0).initialize(width: width) }
            } else {
                try place.adopt(Structure(MemberSet(hashKey: place.hashKey)))
            }
            place.setHoldsIntegers(true)
            return
        }
        let bytes = PackedSet.headerBytes + members.recordBytes
        if Self.fits(count: members.count, longest: members.longest, bytes: bytes, limits.packed) {
            try place.create(bytes: bytes) { PackedSet(of: $0).count = 0 }
            return
        }
        try place.adopt(Structure(MemberSet(hashKey: place.hashKey)))
        if members.count > limits.packed.entriesMax { place.markBeyondLimits() }
    }

    /// Makes the key, which does not exist, a large set.
    mutating func adoptLarge() throws(CommandError) {
        try place.adopt(Structure(MemberSet(hashKey: place.hashKey)))
        place.markBeyondLimits()
    }

    /// Gives back the room that `expect` made and no member needed.
    package func trim() {
        switch unsafe form {
        case .missing, .large: return
        case .integers(let set): shrink(set)
        case .packed(let set):
            let end = set.end
            if end < set.bytes { place.cut(end, set.bytes) }
        }
    }

    /// Puts a member in; answers whether it is new.
    ///
    /// - Throws: `.outOfMemory`; no member changed then.
    @inline(__always)
    package mutating func add(
        _ member: ByteView, limits: SetLimits
    ) throws(CommandError) -> Bool {
        if case .large(let set) = unsafe form { return try unsafe add(member, to: set, limits) }
        return try addSmall(member, limits)
    }

    private mutating func add(
        _ member: ByteView, to set: UnsafeMutablePointer<MemberSet>, _ limits: SetLimits
    ) throws(CommandError) -> Bool {
        let before = unsafe set.pointee.bytes
        let isNew = unsafe set.pointee.add(member)
        place.countMemory(unsafe set.pointee.bytes - before)
        guard let isNew else {
            if count == 0 { place.remove() }
            throw .outOfMemory
        }
        if isNew { noteGrowth(member, limits) }
        return isNew
    }

    /// Gives a large set that has grown the name that Redis would.
    @inline(__always)
    private func noteGrowth(_ member: ByteView, _ limits: SetLimits) {
        guard let entry = place.entry, !entry.header.isModified else { return }
        if entry.header.holdsIntegers {
            if member.parseInteger() != nil {
                if count > limits.integersMax { place.markBeyondLimits() }
                return
            }
            place.setHoldsIntegers(false)
        }
        if count > limits.packed.entriesMax || member.count > limits.packed.elementBytesMax {
            place.markBeyondLimits()
        }
    }

    /// Adds to a set that is not large, or was not until now.
    @inline(never)
    private mutating func addSmall(
        _ member: ByteView, _ limits: SetLimits
    ) throws(CommandError) -> Bool {
        if isEmpty {
            var outline = MemberOutline()
            outline.include(member)
            try create(outline, limits)
        }
        if case .integers(let set) = unsafe form {
            if let value = member.parseInteger() {
                if let isNew = try add(value, to: set, limits) { return isNew }
            } else {
                try admitText(set, member, limits)
            }
        }
        if case .packed(let set) = unsafe form, let isNew = try add(member, to: set, limits) {
            return isNew
        }
        guard case .large(let set) = unsafe form else { return false }
        return try unsafe add(member, to: set, limits)
    }

    /// Adds an integer; nil, and the set is a large one now, when it does not fit.
    private mutating func add(
        _ value: Int64, to set: IntegerSet, _ limits: SetLimits
    ) throws(CommandError) -> Bool? {
        let (index, isThere) = set.find(value)
        if isThere { return false }
        let count = set.count + 1
        let bytes = IntegerSet.bytes(
            count: count, width: max(set.width, IntegerSet.width(of: value)))
        if count > limits.integersMax || bytes > IntegerSet.bytesMax {
            try unpack()
            return nil
        }
        var target = set
        if bytes > set.bytes {
            target = IntegerSet(of: try place.resize(bytes: Self.regionBytes(bytes)))
        }
        target.insert(value, at: index)
        return true
    }

    /// What a region for `bytes` of integers gets: beyond the slabs each other size is another
    /// allocation, so that some room is left.
    private static func regionBytes(_ bytes: Int) -> Int {
        bytes <= PackedSet.bytesMax ? bytes : (bytes + 63) & ~63
    }

    /// Gives back what a set of integers no longer needs. It stays as it is when there is no memory
    /// for a smaller one.
    private func shrink(_ set: IntegerSet) {
        let bytes = Self.regionBytes(set.usedBytes)
        if bytes < set.bytes { _ = try? place.resize(bytes: bytes) }
    }

    /// Turns a set of integers into one of any members, since one comes that is none.
    @inline(never)
    private mutating func admitText(
        _ set: IntegerSet, _ member: ByteView, _ limits: SetLimits
    ) throws(CommandError) {
        var outline = MemberOutline()
        set.forEachInteger { $0.withDecimal { outline.include($0) } }
        outline.include(member)
        let bytes = PackedSet.headerBytes + outline.recordBytes
        let isSmall =
            outline.count <= limits.packed.entriesMax
            && outline.longest <= limits.packed.elementBytesMax
        let fits = Self.fits(
            count: outline.count, longest: outline.longest, bytes: bytes, limits.packed)
        guard fits else {
            try unpack()
            place.setHoldsIntegers(false)
            if !isSmall { place.markBeyondLimits() }
            return
        }
        var integers: [Int64] = []
        integers.reserveCapacity(set.count)
        set.forEachInteger { integers.append($0) }
        let packed = PackedSet(of: try place.resize(bytes: max(bytes, set.bytes)))
        place.setHoldsIntegers(false)
        packed.count = 0
        var offset = PackedSet.headerBytes
        for integer in integers {
            integer.withDecimal { packed.append($0, at: offset) }
            offset = packed.next(offset)
        }
    }

    /// Whether a packed set of `count` members and `bytes` may be.
    @inline(__always)
    private static func fits(
        count: Int, longest: Int, bytes: Int, _ limits: PackedLimits
    ) -> Bool {
        count <= min(limits.entriesMax, PackedSet.countMax)
            && longest <= min(limits.elementBytesMax, PackedSet.memberBytesMax)
            && bytes <= PackedSet.bytesMax
    }

    /// Adds to a packed set; nil, and the set is a large one now, when the member does not fit.
    private mutating func add(
        _ member: ByteView, to set: PackedSet, _ limits: SetLimits
    ) throws(CommandError) -> Bool? {
        let (offset, isThere) = set.find(member)
        if isThere { return false }
        let bytes = offset + PackedSet.recordBytes(member)
        guard
            Self.fits(
                count: set.count + 1, longest: member.count, bytes: bytes, limits.packed)
        else {
            try unpack()
            return nil
        }
        var target = set
        if bytes > set.bytes { target = PackedSet(of: try place.resize(bytes: bytes)) }
        target.append(member, at: offset)
        return true
    }

    /// Turns a small set into a large one.
    @inline(never)
    private mutating func unpack() throws(CommandError) {
        if case .large = unsafe form { return }
        var set = MemberSet(hashKey: place.hashKey)
        forEachMember { _ = set.add($0) }
        try place.adopt(Structure(set))
    }

    // MARK: Removing

    /// Removes a member; false when it was not there. The last one takes the key with it.
    package mutating func remove(_ member: ByteView) -> Bool {
        switch unsafe form {
        case .missing: return false
        case .integers(let set):
            guard let value = member.parseInteger() else { return false }
            let (index, isThere) = set.find(value)
            if isThere { remove(at: index, from: set) }
            return isThere
        case .packed(let set):
            let (offset, isThere) = set.find(member)
            if isThere { remove(at: offset, from: set) }
            return isThere
        case .large(let set):
            let before = unsafe set.pointee.bytes
            guard unsafe set.pointee.remove(member) else { return false }
            place.countMemory(unsafe set.pointee.bytes - before)
            if unsafe set.pointee.count == 0 { place.remove() }
            return true
        }
    }

    private mutating func remove(at index: Int, from set: IntegerSet) {
        if set.count == 1 {
            place.remove()
            return
        }
        set.remove(at: index)
        shrink(set)
    }

    private mutating func remove(at offset: Int, from set: PackedSet) {
        if set.count == 1 {
            place.remove()
            return
        }
        place.cut(offset, set.next(offset))
        if let entry = place.entry { PackedSet(of: entry).count -= 1 }
    }

    /// Removes `count` members chosen at random, or all if there are no more; `body` is called for
    /// each before it goes.
    ///
    /// - Complexity: O(count) expected for a large set.
    package mutating func take(
        _ count: Int, _ random: inout Random, _ body: (ByteView) -> Void
    ) {
        if count >= self.count {
            forEachMember(body)
            place.remove()
            return
        }
        if case .large(let set) = unsafe form {
            let before = unsafe set.pointee.bytes
            unsafe set.pointee.take(count, &random, body)
            place.countMemory(unsafe set.pointee.bytes - before)
            return
        }
        for _ in 0..<count {
            if case .integers(let set) = unsafe form {
                let index = random.index(below: set.count)
                set[index].withDecimal(body)
                remove(at: index, from: set)
            } else if case .packed(let set) = unsafe form {
                let offset = set.offset(ofRecord: random.index(below: set.count))
                body(set.member(offset))
                remove(at: offset, from: set)
            }
        }
    }

    /// Checks the invariants of the form it has; for tests.
    package func checkInvariants() {
        switch unsafe form {
        case .missing: return
        case .integers(let set): set.checkInvariants()
        case .packed(let set): set.checkInvariants()
        case .large(let set): unsafe set.pointee.checkInvariants()
        }
    }
}

/// What members that are about to be added need.
package struct MemberOutline {
    private(set) var count = 0
    /// Bytes of the longest one.
    private(set) var longest = 0
    /// What they take as packed records.
    private(set) var recordBytes = 0
    /// The width of integers they need, nil when one is none.
    private(set) var width: Int? = 0
    /// The width that the first one needs, if it is an integer.
    private(set) var firstWidth: Int?

    package init() {}

    package mutating func include(_ member: ByteView) {
        if let known = width {
            width = member.parseInteger().map { max(known, IntegerSet.width(of: $0)) }
        }
        if count == 0 { firstWidth = width }
        count += 1
        longest = max(longest, member.count)
        recordBytes += PackedSet.recordBytes(member)
    }
}

/// A set that is being computed and has no key yet.
package struct NewSet: ~Copyable {
    fileprivate var set: MemberSet
    fileprivate var lacksMemory = false

    fileprivate init(hashKey: HashKey) { set = MemberSet(hashKey: hashKey) }

    package var count: Int { self.set.count }

    package mutating func add(_ member: ByteView) {
        if set.add(member) == nil { lacksMemory = true }
    }

    /// Calls `body` for all members.
    package func forEachMember(_ body: (ByteView) -> Void) { set.forEachMember(body) }

    fileprivate consuming func takeSet() -> MemberSet { set }
}

extension KeyAccess {
    /// The set of a key, to be read; counts a hit or a miss.
    ///
    /// - Throws: `.wrongType`.
    @inline(__always)
    package func readSet(_ key: Key) throws(CommandError) -> SetValue {
        SetValue(try readPlace(key, .set))
    }

    /// The set of a key, to be written.
    ///
    /// - Throws: `.wrongType`.
    @inline(__always)
    package func set(_ key: Key) throws(CommandError) -> SetValue {
        SetValue(try place(key, .set))
    }

    /// A set to compute into.
    package func newSet() -> NewSet { unsafe NewSet(hashKey: keyspace.pointee.hashKey) }

    /// Makes a computed set, which is not empty, the value of a key, whatever it was.
    ///
    /// - Throws: `.outOfMemory`; then the key may be gone.
    package func setSet(
        _ key: Key, _ new: consuming NewSet, limits: SetLimits
    ) throws(CommandError) {
        if new.lacksMemory { throw .outOfMemory }
        var target = self
        let old = kindReplaced(key)
        // Another value is no other key.
        if remove(key) { target.sinks.remove(.creation) }
        var outline = MemberOutline()
        new.forEachMember { outline.include($0) }
        let isOfIntegers = outline.width != nil && outline.count <= limits.integersMax
        let isSmall =
            isOfIntegers
            || outline.count <= limits.packed.entriesMax
                && outline.longest <= limits.packed.elementBytesMax
        var place = try target.place(key, .set)
        var value = SetValue(place)
        if isSmall {
            try value.expect(outline, limits: limits)
            var failure: CommandError?
            new.forEachMember { member in
                do throws(CommandError) {
                    _ = try value.add(member, limits: limits)
                } catch {
                    failure = error
                }
            }
            if let failure { throw failure }
        } else {
            try place.adopt(Structure(new.takeSet()))
            place.markBeyondLimits()
        }
        noteReplacement(of: old, by: .set, key)
    }
}

extension IntegerSet {
    /// The set of integers of an entry.
    @inline(__always)
    fileprivate init(of entry: Entry) {
        unsafe self.init(entry.valueAddress, bytes: entry.valueBytes)
    }
}

extension PackedSet {
    /// The packed set of an entry.
    @inline(__always)
    fileprivate init(of entry: Entry) {
        unsafe self.init(entry.valueAddress, bytes: entry.valueBytes)
    }
}

extension Entry {
    /// Members in the order-free way of DEBUG DIGEST.
    func mixSet(into digest: inout DataDigest) {
        var total = digest
        if encoding == .structure {
            unsafe structure.set.pointee.forEachMember { total.combine($0) }
        } else if header.holdsIntegers {
            IntegerSet(of: self).forEachInteger { $0.withDecimal { total.combine($0) } }
        } else {
            PackedSet(of: self).forEachMember { total.combine($0) }
        }
        digest = total
    }
}
