//  A hash table of members: what a set is, and what finds a sorted set's and a hash's members.
//
//  Raw memory. The members stand in a `MemberStore`; the table finds their handles by hash. It
//  allocates and frees directory and segments, knows a segment's size from its word, and is used
//  under the shard's lock, or by the one thread that tears it down.
//
//         hash:       [ directory, d bits | fraction, 16 bits | … | tag, 8 bits ]
//         directory:  2^d segment words: address (48 bits) | groups << 48 | local depth << 56
//         segment:    count (8 bytes), pad (8), groups
//         group:      15 tags, 1 overflow count, 15 handles of 4 bytes             76 bytes
//
//  This is the keyspace's table (Keyspace/Table.swift) with handles for slots: an extendible
//  directory over segments of 15-slot groups, a member at home in group `fraction * groups >> 16`,
//  and a count of the members that had to pass a group that was full, so that there are no
//  tombstones. Its code is apart because that one is read by other threads as a hint, frees through
//  quiescence and follows entries.
//
//  *Growth.* A segment grows by rebuilding up to 53 groups, 4 044 bytes and 795 members, and then
//  splits in two. No step moves more than that: about 50 microseconds. The hashes are computed anew,
//  which costs time on growth and saves two bytes a member for good.
//
//  *SCAN.* The first 48 bits of the hash are a member's position on a line that no growth, split or
//  merge changes. A cursor is a position; a step returns all members whose home group holds it, and
//  moves on to where the next group begins. A member present from the start of a scan to its end is
//  returned, however the table changed meanwhile.

import CSystem
import Glibc
import MartletBase

/// Members that are about to be looked up, and how far fetching them ahead has come. Whoever made the
/// room frees it.
@safe
struct MemberHints {
    @unsafe fileprivate struct Hint {
        var member = ByteView()
        var group: UnsafeRawPointer?
        var handle: MemberHandle = 0
        var tag: UInt8 = 0
    }

    private let room: UnsafeMutablePointer<Hint>
    private let capacity: Int
    private(set) var count = 0

    init(capacity: Int) {
        self.capacity = capacity
        unsafe room = .allocate(capacity: capacity)
        unsafe room.initialize(repeating: Hint(), count: capacity)
    }

    func free() { unsafe room.deallocate() }

    mutating func removeAll() { count = 0 }

    /// Adds a member.
    ///
    /// - Precondition: there is room.
    mutating func append(_ member: ByteView) {
        precondition(count < capacity, "there is room for another member")
        unsafe room[count].member = member
        count += 1
    }

    fileprivate var hints: UnsafeMutableBufferPointer<Hint> {
        unsafe UnsafeMutableBufferPointer(start: room, count: count)
    }
}

/// Members by hash, with a value beside each.
///
/// - Invariant: a handle stands in the first group with room at or after its home, counted in the
///   overflow of every group before that.
/// - Complexity: operations on one member O(1) expected; no step over O(795).
/// - Memory: 23 bytes for a member of 12 bytes in the store, and 5.4 to 10 here.
@safe
struct MemberTable: ~Copyable {
    private(set) var store: MemberStore
    private var directory: UnsafeMutablePointer<UInt64>
    private var depth = 0
    /// Memory of directory and segments.
    private var tableBytes = 0
    private let hashKey: HashKey

    static let slotsPerGroup = 15
    static let groupBytes = 16 + 15 * 4
    static let headerBytes = 16
    static let groupsMax = 53
    private static let sizes: [UInt8] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 34, 53]
    private static let addressMask: UInt64 = 0xFFFF_FFFF_FFFF

    /// An empty table; every value has `valueBytes` bytes, or its own number when that is -1.
    init(hashKey: HashKey, valueBytes: Int) {
        store = MemberStore(valueBytes: valueBytes)
        self.hashKey = hashKey
        unsafe directory = .allocate(capacity: 1)
        unsafe directory[0] = 0
        tableBytes = 8
        unsafe directory[0] = newSegment(groups: 1, localDepth: 0).word
    }

    deinit {
        if unsafe directory[0] != 0 { forEachSegment { unsafe NodeMemory.free($0.base) } }
        unsafe directory.deallocate()
    }

    /// Frees all nodes of a table that is about to go, calling `pause` after each.
    mutating func dismantle(_ pause: () -> Void) {
        store.dismantle(pause)
        forEachSegment {
            unsafe NodeMemory.free($0.base)
            pause()
        }
        unsafe directory[0] = 0
    }

    /// How many members there are.
    @inline(__always)
    var count: Int { store.count }

    /// All memory of table and members.
    @inline(__always)
    var bytes: Int { tableBytes &+ store.bytes }

    @inline(__always)
    func hash(_ member: ByteView) -> UInt64 { hashKey.hash(member) }

    // MARK: Looking up

    @inline(__always)
    private static func tag(_ hash: UInt64) -> UInt8 {
        let tag = UInt8(truncatingIfNeeded: hash)
        return tag == 0 ? 1 : tag
    }

    @inline(__always)
    private func segment(_ hash: UInt64) -> MemberSegment {
        let index = Int(truncatingIfNeeded: (hash &>> 1) &>> UInt64(63 &- depth))
        return unsafe MemberSegment(word: directory[index])
    }

    /// The handle of a member, or nil. `hash` is the member's.
    @inline(__always)
    func find(_ member: ByteView, hash: UInt64) -> MemberHandle? {
        let segment = segment(hash)
        let tag = Self.tag(hash)
        var group = segment.home(hash)
        var left = segment.groups
        while true {
            let base = unsafe segment.group(group)
            var matches = unsafe martlet_match16(base, tag) & 0x7FFF
            while matches != 0 {
                let handle = unsafe MemberSegment.handle(base, matches.trailingZeroBitCount)
                if store.member(handle) == member { return handle }
                matches &= matches &- 1
            }
            if unsafe base.load(fromByteOffset: 15, as: UInt8.self) == 0 { return nil }
            left &-= 1
            if left == 0 { return nil }
            group = group &+ 1 == segment.groups ? 0 : group &+ 1
        }
    }

    // MARK: Fetching ahead

    /// Brings close what looking these members up will read: one stage for all after the other, so
    /// that their cache misses overlap. Measured with 100 000 members of a set and 16 requests in
    /// flight: a lookup waits for three lines in turn, which were 0.4 of the 0.6 microseconds of
    /// user time of an SADD.
    func prefetch(_ members: MemberHints) {
        let hints = unsafe members.hints
        for index in hints.indices {
            let hash = hash(unsafe hints[index].member)
            let segment = segment(hash)
            let group = unsafe segment.group(segment.home(hash))
            unsafe martlet_prefetch(group)
            unsafe martlet_prefetch(group + (Self.groupBytes - 1))
            unsafe hints[index].group = UnsafeRawPointer(group)
            unsafe hints[index].tag = Self.tag(hash)
        }
        for index in hints.indices {
            // A home group that overflowed, or an equal tag in front: then the lookup waits.
            guard let group = unsafe hints[index].group else { continue }
            let matches = unsafe martlet_match16(group, hints[index].tag) & 0x7FFF
            if matches == 0 {
                unsafe hints[index].group = nil
                continue
            }
            let handle = unsafe MemberSegment.handle(group, matches.trailingZeroBitCount)
            unsafe hints[index].handle = handle
            store.prefetchSlot(handle)
        }
        for index in hints.indices where unsafe hints[index].group != nil {
            store.prefetchRecord(unsafe hints[index].handle)
        }
    }

    /// The handle of a member, or nil. Inlined: to call it on a part of what is only read, all of the
    /// table would be copied.
    @inline(__always)
    func find(_ member: ByteView) -> MemberHandle? { find(member, hash: hash(member)) }

    /// A member chosen at random, each as likely as any other.
    ///
    /// - Precondition: there is one.
    func random(_ random: inout Random) -> MemberHandle { store.random(&random) }

    /// `count` different members chosen at random: every choice is as likely as any other.
    ///
    /// - Precondition: there are as many.
    /// - Complexity: O(count) expected, and as much memory.
    func sample(_ count: Int, _ random: inout Random) -> [MemberHandle] {
        precondition(count <= self.count, "there are as many members to choose from")
        var chosen: [MemberHandle] = []
        if count > self.count / 2 {
            chosen.reserveCapacity(self.count)
            store.forEachHandle { chosen.append($0) }
            for index in 0..<count {
                chosen.swapAt(index, index + random.index(below: chosen.count - index))
            }
            chosen.removeLast(chosen.count - count)
            return chosen
        }
        chosen.reserveCapacity(count)
        var met: Set<MemberHandle> = []
        while chosen.count < count {
            let handle = store.random(&random)
            if met.insert(handle).inserted { chosen.append(handle) }
        }
        return chosen
    }

    // MARK: Changing

    /// Puts a member in.
    ///
    /// - Precondition: it is not in the table; `hash` is its hash.
    /// - Returns: its handle, or nil when there is no memory for it; nothing changed then.
    mutating func insert(_ member: ByteView, hash: UInt64, value: ByteView) -> MemberHandle? {
        guard let handle = store.add(member, value: value) else { return nil }
        var segment = segment(hash)
        while segment.isFull {
            makeRoom(hash)
            segment = self.segment(hash)
        }
        segment.place(handle, hash: hash, tag: Self.tag(hash))
        segment.count &+= 1
        return handle
    }

    /// Overwrites a member's value with one of the same size.
    @inline(__always)
    mutating func setValue(_ handle: MemberHandle, _ value: ByteView) {
        store.setValue(handle, value)
    }

    /// Gives a member another value, of any size. Afterwards the owner of other references calls
    /// `settle`; the member's handle may be another one.
    ///
    /// - Precondition: neither view lies in the table; `hash` is the member's.
    /// - Returns: false when there is no memory for it; nothing changed then.
    mutating func replaceValue(
        _ handle: MemberHandle, of member: ByteView, hash: UInt64, _ value: ByteView
    ) -> Bool {
        if store.value(handle).count == value.count {
            store.setValue(handle, value)
            return true
        }
        guard let new = store.add(member, value: value) else { return false }
        segment(hash).replace(handle, with: new, hash: hash)
        store.remove(handle)
        return true
    }

    /// Takes a member out. Afterwards the owner of other references calls `settle`.
    mutating func remove(_ handle: MemberHandle, hash: UInt64) {
        let segment = segment(hash)
        segment.remove(handle, hash: hash)
        segment.count &-= 1
        store.remove(handle)
        if segment.isSparse { giveRoomBack(hash) }
    }

    /// Moves members out of chunks that have become sparse, so that their memory comes back. `moved`
    /// is called with the old and the new handle while both are good, for the owner's references.
    ///
    /// - Complexity: O(1) on average for each removal before.
    @inline(__always)
    mutating func settle(_ moved: (MemberHandle, MemberHandle, borrowing MemberStore) -> Void) {
        while let old = store.strandedRecord {
            if !settle(old, moved) { return }
        }
    }

    @inline(never)
    private mutating func settle(
        _ old: MemberHandle, _ moved: (MemberHandle, MemberHandle, borrowing MemberStore) -> Void
    ) -> Bool {
        guard let new = store.move(old) else { return false }
        let hash = hash(store.member(new))
        segment(hash).replace(old, with: new, hash: hash)
        moved(old, new, store)
        store.forget(old)
        return true
    }

    @inline(never)
    private mutating func makeRoom(_ hash: UInt64) {
        let old = segment(hash)
        if old.groups < Self.groupsMax {
            resize(hash, groups: Self.size(atLeast: old.groups + 1))
            return
        }
        precondition(old.localDepth < 32, "a keyed hash parts members by its bits")
        if old.localDepth == depth { doubleDirectory() }
        let low = newSegment(groups: Self.groupsMax, localDepth: old.localDepth + 1)
        let high = newSegment(groups: Self.groupsMax, localDepth: old.localDepth + 1)
        forEachHashed(old) { handle, hash in
            let isHigh = (hash &<< UInt64(old.localDepth)) &>> 63 != 0
            let half = isHigh ? high : low
            half.place(handle, hash: hash, tag: Self.tag(hash))
            half.count += 1
        }
        let bit: UInt64 = 1 << UInt64(63 - old.localDepth)
        publish(low, for: hash & ~bit)
        publish(high, for: hash | bit)
        free(old)
    }

    /// Calls `body` with every handle of a segment and its hash, members fetched ahead.
    private func forEachHashed(_ segment: MemberSegment, _ body: (MemberHandle, UInt64) -> Void) {
        segment.forEachHandle(ofGroup: 0) { store.prefetchSlot($0) }
        segment.forEachHandle(ofGroup: 0) { store.prefetchRecord($0) }
        segment.forEachHandle(ofGroup: 1) { store.prefetchSlot($0) }
        for group in 0..<segment.groups {
            segment.forEachHandle(ofGroup: group + 1) { store.prefetchRecord($0) }
            segment.forEachHandle(ofGroup: group + 2) { store.prefetchSlot($0) }
            segment.forEachHandle(ofGroup: group) { body($0, hash(store.member($0))) }
        }
    }

    private static func size(atLeast groups: Int) -> Int {
        for size in sizes where Int(size) >= groups { return Int(size) }
        return groupsMax
    }

    /// Rebuilds the segment of `hash` with another number of groups.
    private mutating func resize(_ hash: UInt64, groups: Int) {
        let old = segment(hash)
        let fresh = newSegment(groups: groups, localDepth: old.localDepth)
        forEachHashed(old) { fresh.place($0, hash: $1, tag: Self.tag($1)) }
        fresh.count = old.count
        publish(fresh, for: hash)
        free(old)
    }

    /// A segment fell below a quarter of its slots: merge it with its other half, or shrink it.
    @inline(never)
    private mutating func giveRoomBack(_ hash: UInt64) {
        let segment = segment(hash)
        if segment.localDepth > 0 {
            let bit: UInt64 = 1 << UInt64(64 - segment.localDepth)
            let other = self.segment(hash ^ bit)
            let total = segment.count + other.count
            if other.localDepth == segment.localDepth
                && total <= Self.groupsMax * Self.slotsPerGroup / 2
            {
                let merged = newSegment(
                    groups: Self.size(atLeast: total * 3 / 2 / Self.slotsPerGroup + 1),
                    localDepth: segment.localDepth - 1)
                forEachHashed(segment) { merged.place($0, hash: $1, tag: Self.tag($1)) }
                forEachHashed(other) { merged.place($0, hash: $1, tag: Self.tag($1)) }
                merged.count = total
                publish(merged, for: hash)
                free(segment)
                free(other)
                shrinkDirectory()
                return
            }
        }
        let groups = Self.size(atLeast: segment.count * 2 / Self.slotsPerGroup + 1)
        if groups < segment.groups { resize(hash, groups: groups) }
    }

    /// Lets every directory word that shares the segment's bits of `hash` point to it.
    private func publish(_ segment: MemberSegment, for hash: UInt64) {
        let span = 1 << (depth - segment.localDepth)
        let first = Int(truncatingIfNeeded: (hash &>> 1) &>> UInt64(63 - depth)) & ~(span - 1)
        for index in first..<(first + span) { unsafe directory[index] = segment.word }
    }

    private mutating func doubleDirectory() {
        let old = 1 << depth
        let doubled = UnsafeMutablePointer<UInt64>.allocate(capacity: old * 2)
        for index in 0..<(old * 2) { unsafe doubled[index] = directory[index / 2] }
        unsafe directory.deallocate()
        unsafe directory = doubled
        depth += 1
        tableBytes += old * 8
    }

    private mutating func shrinkDirectory() {
        while depth > 0 {
            let half = 1 << (depth - 1)
            for index in 0..<half {
                if unsafe directory[index * 2] != directory[index * 2 + 1] { return }
            }
            let halved = UnsafeMutablePointer<UInt64>.allocate(capacity: half)
            for index in 0..<half { unsafe halved[index] = directory[index * 2] }
            unsafe directory.deallocate()
            unsafe directory = halved
            depth -= 1
            tableBytes -= half * 8
        }
    }

    private mutating func newSegment(groups: Int, localDepth: Int) -> MemberSegment {
        let size = MemberSegment.bytes(groups: groups)
        tableBytes += size
        let memory = unsafe NodeMemory.allocateZeroed(size)
        let address = UInt64(UInt(bitPattern: memory))
        precondition(address & ~Self.addressMask == 0, "user addresses have 48 bits")
        return MemberSegment(
            word: address | UInt64(groups) << 48 | UInt64(localDepth) << 56)
    }

    private mutating func free(_ segment: MemberSegment) {
        tableBytes -= MemberSegment.bytes(groups: segment.groups)
        unsafe NodeMemory.free(segment.base)
    }

    // MARK: Walking

    private func forEachSegment(_ body: (MemberSegment) -> Void) {
        var index = 0
        while index < 1 << depth {
            let segment = unsafe MemberSegment(word: directory[index])
            index += 1 << (depth - segment.localDepth)
            body(segment)
        }
    }

    /// Calls `body` for all members at home in the group that holds `position` and not before it;
    /// returns the position where the next group begins, or nil at the end of the line.
    func scan(from position: UInt64, _ body: (MemberHandle) -> Void) -> UInt64? {
        let position = position & (1 << Self.positionBits - 1)
        let hash = position << (64 - Self.positionBits)
        let segment = segment(hash)
        let home = segment.home(hash)
        let first = segment.fraction(hash)
        var group = home
        var left = segment.groups
        while left > 0 {
            segment.forEachHandle(ofGroup: group) { handle in
                let fraction = segment.fraction(self.hash(store.member(handle)))
                if fraction >= first && segment.home(ofFraction: fraction) == home { body(handle) }
            }
            if unsafe segment.group(group).load(fromByteOffset: 15, as: UInt8.self) == 0 { break }
            group = group + 1 == segment.groups ? 0 : group + 1
            left -= 1
        }
        // The smallest fraction whose home is the next group: ceil((home + 1) * 65536 / groups).
        let next = ((home + 1) * 65536 + segment.groups - 1) / segment.groups
        let depth = UInt64(segment.localDepth)
        let unit: UInt64 = 1 << (Self.positionBits - 16 - depth)
        let start =
            depth == 0
            ? 0 : (position >> (Self.positionBits - depth)) << (Self.positionBits - depth)
        let following = start + UInt64(next) * unit
        return following >= 1 << Self.positionBits ? nil : following
    }

    /// Bits of a position on the scan line.
    static let positionBits: UInt64 = 48

    /// Hands the store to `body` for what concerns all records: snapshots.
    mutating func withStore<R>(_ body: (inout MemberStore) -> R) -> R { body(&store) }

    /// Checks every invariant; for tests. Complexity: O(n).
    func checkInvariants() {
        store.checkInvariants()
        var total = 0
        var memory = 8 << depth
        forEachSegment { segment in
            memory += MemberSegment.bytes(groups: segment.groups)
            precondition(segment.groups >= 1 && segment.groups <= Self.groupsMax, "group count")
            var passed = [Int](repeating: 0, count: segment.groups)
            var inSegment = 0
            for group in 0..<segment.groups {
                segment.forEachHandle(ofGroup: group) { handle in
                    inSegment += 1
                    let member = store.member(handle)
                    let hash = hash(member)
                    precondition(self.segment(hash).word == segment.word, "in its segment")
                    precondition(find(member, hash: hash) == handle, "every member is found")
                    var walked = segment.home(hash)
                    while walked != group {
                        passed[walked] += 1
                        walked = walked + 1 == segment.groups ? 0 : walked + 1
                    }
                }
            }
            for group in 0..<segment.groups {
                let overflow = unsafe Int(
                    segment.group(group).load(fromByteOffset: 15, as: UInt8.self))
                precondition(overflow == 255 || overflow == passed[group], "overflow counts")
            }
            precondition(inSegment == segment.count, "a segment counts its members")
            total += inSegment
        }
        precondition(total == store.count, "table and store hold the same members")
        precondition(memory == tableBytes, "the table counts its memory")
    }
}

/// A segment as its directory word describes it.
@safe
private struct MemberSegment {
    let word: UInt64

    static func bytes(groups: Int) -> Int {
        MemberTable.headerBytes + groups * MemberTable.groupBytes
    }

    @inline(__always)
    var base: UnsafeMutableRawPointer {
        unsafe UnsafeMutableRawPointer(
            bitPattern: UInt(truncatingIfNeeded: word & 0xFFFF_FFFF_FFFF)
        ).unsafelyUnwrapped
    }
    @inline(__always)
    var groups: Int { Int(truncatingIfNeeded: (word &>> 48) & 0xFF) }
    @inline(__always)
    var localDepth: Int { Int(truncatingIfNeeded: word &>> 56) }

    @inline(__always)
    var count: Int {
        get { unsafe base.load(as: Int.self) }
        nonmutating set { unsafe base.storeBytes(of: newValue, as: Int.self) }
    }

    /// More than 0.94 of the slots are taken.
    @inline(__always)
    var isFull: Bool { count &* 64 >= groups &* (15 * 60) }

    /// Less than a quarter of the slots are taken, and there is something to give back.
    @inline(__always)
    var isSparse: Bool { groups > 2 && count &* 4 < groups &* 15 }

    @inline(__always)
    func fraction(_ hash: UInt64) -> UInt64 { (hash &<< UInt64(localDepth)) &>> 48 }

    @inline(__always)
    func home(ofFraction fraction: UInt64) -> Int {
        Int(truncatingIfNeeded: (fraction &* UInt64(groups)) &>> 16)
    }

    @inline(__always)
    func home(_ hash: UInt64) -> Int { home(ofFraction: fraction(hash)) }

    @inline(__always)
    func group(_ index: Int) -> UnsafeMutableRawPointer {
        unsafe base + (MemberTable.headerBytes &+ index &* MemberTable.groupBytes)
    }

    @inline(__always)
    static func handle(_ group: UnsafeRawPointer, _ index: Int) -> MemberHandle {
        unsafe group.load(fromByteOffset: 16 &+ index &* 4, as: UInt32.self)
    }

    @inline(__always)
    private func overflow(_ base: UnsafeMutableRawPointer) -> UInt8 {
        unsafe base.load(fromByteOffset: 15, as: UInt8.self)
    }

    /// Puts a handle into the first group with room from its home on; counting is the caller's.
    @inline(__always)
    func place(_ handle: MemberHandle, hash: UInt64, tag: UInt8) {
        var group = home(hash)
        while true {
            let base = unsafe self.group(group)
            let empty = unsafe martlet_match16(base, 0) & 0x7FFF
            if empty != 0 {
                let index = empty.trailingZeroBitCount
                unsafe base.storeBytes(of: handle, toByteOffset: 16 &+ index &* 4, as: UInt32.self)
                unsafe base.storeBytes(of: tag, toByteOffset: index, as: UInt8.self)
                return
            }
            let passed = unsafe overflow(base)
            if passed != 255 {
                unsafe base.storeBytes(of: passed &+ 1, toByteOffset: 15, as: UInt8.self)
            }
            group = group &+ 1 == groups ? 0 : group &+ 1
        }
    }

    /// Where a handle stands from its home on, and its group's base.
    ///
    /// - Precondition: it is in the segment.
    @inline(__always)
    private func index(of handle: MemberHandle, _ base: UnsafeMutableRawPointer) -> Int? {
        for index in 0..<MemberTable.slotsPerGroup
        where unsafe Self.handle(base, index) == handle {
            if unsafe base.load(fromByteOffset: index, as: UInt8.self) != 0 { return index }
        }
        return nil
    }

    func remove(_ handle: MemberHandle, hash: UInt64) {
        var group = home(hash)
        while true {
            let base = unsafe self.group(group)
            if let index = unsafe index(of: handle, base) {
                unsafe base.storeBytes(of: 0, toByteOffset: index, as: UInt8.self)
                return
            }
            let passed = unsafe overflow(base)
            precondition(passed > 0, "a handle that is removed is in the table")
            if passed != 255 {
                unsafe base.storeBytes(of: passed &- 1, toByteOffset: 15, as: UInt8.self)
            }
            group = group &+ 1 == groups ? 0 : group &+ 1
        }
    }

    func replace(_ handle: MemberHandle, with new: MemberHandle, hash: UInt64) {
        var group = home(hash)
        while true {
            let base = unsafe self.group(group)
            if let index = unsafe index(of: handle, base) {
                unsafe base.storeBytes(of: new, toByteOffset: 16 &+ index &* 4, as: UInt32.self)
                return
            }
            precondition(unsafe overflow(base) > 0, "a handle that is replaced is in the table")
            group = group &+ 1 == groups ? 0 : group &+ 1
        }
    }

    /// Calls `body` for the handles of a group; beyond the last group nothing.
    @inline(__always)
    func forEachHandle(ofGroup group: Int, _ body: (MemberHandle) -> Void) {
        if group >= groups { return }
        let base = unsafe self.group(group)
        for index in 0..<MemberTable.slotsPerGroup
        where unsafe base.load(fromByteOffset: index, as: UInt8.self) != 0 {
            body(unsafe Self.handle(base, index))
        }
    }
}
