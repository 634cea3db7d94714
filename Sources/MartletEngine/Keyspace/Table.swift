//  The hash table of a partition: segments of 15-slot groups, probed 15 tags at a time.
//
//  Raw memory. Changed under the shard's lock only. `prefetch` reads it without the lock, as a hint:
//  by relaxed loads of words, following segments but never entries; therefore directories and
//  segments are published with release stores and freed through `Quiescence` after every loop has
//  passed an iteration boundary.
//
//         hash:       [ directory, d bits | fraction, 16 bits | … | shard | tag, 8 bits ]
//                      most significant                               least significant
//
//         directory:  depth, then 2^depth segment words
//         word:       address (48 bits) | groups in the segment << 48 | local depth << 56
//         segment:    count (8 bytes), pad (8), groups
//         group:      15 tags, 1 overflow count, 15 slots of 8 bytes           136 bytes
//         slot:       entry address (48 bits) | fraction << 48
//
//  *Directory.* Extendible hashing (Fagin et al., 1979): a segment of local depth l serves all
//  directory words that share its first l hash bits. *Fraction.* The 16 hash bits behind those l
//  bits, read as a number in [0, 1), say where in the segment an entry is at home: group
//  `fraction * groups >> 16`. They stand in the slot too, so that a segment is rebuilt with more or
//  fewer groups without touching an entry, and a tag that matches by chance costs no cache miss.
//  *Overflow.* An entry that finds its home full goes to the next group with room; each group it
//  passed counts it. A search goes on while that count is not zero. Deleting subtracts, so there
//  are no tombstones; a count that reached 255 stays until the segment is rebuilt.
//
//  *Growth.* A segment grows in place, by a page of 30 groups at a time, up to 8 pages, then splits in
//  two. That keeps the load between 0.75 and 0.94 (9.1 bytes per slot: 10.6 per key on average, with
//  nothing lost to the allocator) and no step moves more than 3 600 slots: 0.1 ms, the split
//  included, which is the only step that reads entries (to get one more hash bit of each).
//
//  *SCAN.* The first 48 bits of the hash are an entry's position on a line that no growth, split or
//  merge changes. A cursor is a position; a step returns all entries whose home group holds the
//  cursor, and moves on to the position where the next group begins. An entry present from the start
//  of a scan to its end is returned exactly once per position passed, however the table changed.

import CSystem
import Glibc
import MartletBase

/// The keys of one partition, by hash.
///
/// - Invariant: an entry stands in the first group with room at or after its home, counted in the
///   overflow of every group before that; `count` is the sum over segments.
/// - Complexity: all operations on one key O(1) expected; no step over O(`groupsMax` * 15).
@safe
struct Table: ~Copyable {
    private(set) var count = 0
    /// The directory: its depth, then the segment words. Not the first member: others read it without
    /// the lock, and to the thread sanitizer a mutating call on the table is a write to its first byte.
    private(set) var directory: UnsafeMutablePointer<UInt64>
    /// Where the directory stands, in the table and in the partition that begins with it.
    static let directoryOffset = 8
    /// Memory of directory and segments.
    private(set) var bytes = 0
    private let hashKey: HashKey

    static let slotsPerGroup = 15
    static let groupBytes = 16 + 15 * 8
    static let segmentHeaderBytes = 16
    /// 3 600 slots in 8 pages. Twice that makes a split twice as long and saves little.
    static let groupsMax = 240
    static let depthMax = 30
    /// What 4 096 bytes hold behind a segment's header, and almost so every page after the first.
    static let groupsPerPage = 30
    /// The sizes of segments that do not fill a page yet.
    private static let smallSizes: [UInt8] = [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 21, 25]

    /// The smallest size of a segment with `groups` or more.
    private static func size(atLeast groups: Int) -> Int {
        for size in smallSizes where Int(size) >= groups { return Int(size) }
        return (groups + groupsPerPage - 1) / groupsPerPage * groupsPerPage
    }

    static let addressMask: UInt64 = 0xFFFF_FFFF_FFFF

    init(hashKey: HashKey) {
        self.hashKey = hashKey
        unsafe directory = .allocate(capacity: 2)
        unsafe directory[0] = 0
        unsafe directory[1] = 0
        bytes = 16
        unsafe directory[1] = newSegment(groups: 1, localDepth: 0).word
    }

    deinit {
        forEachSegment { $0.free() }
        unsafe directory.deallocate()
    }

    // MARK: Looking up

    @inline(__always)
    static func tag(_ hash: UInt64) -> UInt8 {
        let tag = UInt8(truncatingIfNeeded: hash)
        return tag == 0 ? 1 : tag
    }

    /// The segment word that serves `hash` in a directory.
    @inline(__always)
    private static func word(
        _ directory: UnsafeMutablePointer<UInt64>, _ hash: UInt64
    ) -> UInt64 {
        let depth = unsafe martlet_load_relaxed_64(directory)
        let index = Int(truncatingIfNeeded: (hash &>> 1) &>> (63 &- depth))
        return unsafe martlet_load_relaxed_64(directory + (1 &+ index))
    }

    @inline(__always)
    private func segment(_ hash: UInt64) -> Segment {
        unsafe Segment(word: Self.word(directory, hash))
    }

    /// The slot of `key`, or nil.
    @inline(__always)
    func find(_ key: ByteView, hash: UInt64) -> Slot? {
        let segment = segment(hash)
        let fraction = segment.fraction(hash)
        let tag = Self.tag(hash)
        var group = segment.home(fraction)
        var left = segment.groups
        while true {
            let base = unsafe segment.group(group)
            var matches = unsafe martlet_match16(base, tag) & 0x7FFF
            while matches != 0 {
                let slot = unsafe base + (16 &+ matches.trailingZeroBitCount &* 8)
                let word = unsafe slot.load(as: UInt64.self)
                if word &>> 48 == fraction {
                    let entry = Slot.entry(word)
                    if entry.key == key { return unsafe Slot(slot) }
                }
                matches &= matches &- 1
            }
            if unsafe base.load(fromByteOffset: 15, as: UInt8.self) == 0 { return nil }
            left &-= 1
            if left == 0 { return nil }
            group &+= 1
            if group == segment.groups { group = 0 }
        }
    }

    /// First stage of the hint: fetches the home group and returns its address for the second.
    @inline(__always)
    static func prefetchGroup(
        _ directory: UnsafeMutablePointer<UInt64>, hash: UInt64
    ) -> UnsafeRawPointer {
        let segment = unsafe Segment(word: word(directory, hash))
        let base = unsafe UnsafeRawPointer(segment.group(segment.home(segment.fraction(hash))))
        unsafe fetch(base)
        return unsafe base
    }

    /// Fetches the home group of a key that will be looked up. The caller holds the lock.
    @inline(__always)
    func prefetch(_ key: ByteView) { prefetch(hash: hashKey.hash(key)) }

    /// Fetches the home group of a key of that hash. The caller holds the lock.
    @inline(__always)
    func prefetch(hash: UInt64) { _ = unsafe Self.prefetchGroup(directory, hash: hash) }

    /// A group lies on three lines.
    @inline(__always)
    private static func fetch(_ group: UnsafeRawPointer) {
        unsafe martlet_prefetch(group)
        unsafe martlet_prefetch(group + 64)
        unsafe martlet_prefetch(group + 128)
    }

    /// Where the home group has no such tag, but was full once: fetches the group behind it and
    /// returns its address for another `prefetchEntry`.
    @inline(never)
    static func prefetchNextGroup(
        _ directory: UnsafeMutablePointer<UInt64>, hash: UInt64
    ) -> UnsafeRawPointer {
        let segment = unsafe Segment(word: word(directory, hash))
        let next = segment.home(segment.fraction(hash)) &+ 1
        let base = unsafe UnsafeRawPointer(segment.group(next == segment.groups ? 0 : next))
        unsafe fetch(base)
        return unsafe base
    }

    /// Second stage, in the same iteration: fetches the first entry whose tag matches. Its address is
    /// never followed here.
    ///
    /// - Returns: false when there is none and the search goes on in the next group.
    @inline(__always)
    static func prefetchEntry(_ group: UnsafeRawPointer, hash: UInt64, isLong: Bool) -> Bool {
        let matches = unsafe martlet_match16_hint(group, tag(hash)) & 0x7FFF
        if matches != 0 {
            let slot = unsafe group + (16 &+ matches.trailingZeroBitCount &* 8)
            let address = unsafe UInt(
                truncatingIfNeeded: martlet_load_relaxed_64(slot) & addressMask)
            unsafe martlet_prefetch(UnsafeRawPointer(bitPattern: address))
            unsafe martlet_prefetch(UnsafeRawPointer(bitPattern: address &+ 64))
            if isLong {
                // Ten records of a packed collection; scanning them one would wait for each line.
                unsafe martlet_prefetch(UnsafeRawPointer(bitPattern: address &+ 128))
                unsafe martlet_prefetch(UnsafeRawPointer(bitPattern: address &+ 192))
                unsafe martlet_prefetch(UnsafeRawPointer(bitPattern: address &+ 256))
            }
            return true
        }
        return unsafe martlet_load_relaxed_8(group + 15) == 0
    }

    // MARK: Changing

    /// Puts a new entry in.
    ///
    /// - Precondition: its key is not in the table.
    /// - Returns: where it stands now.
    @inline(__always)
    @discardableResult
    mutating func insert(_ entry: Entry, hash: UInt64) -> Slot {
        var segment = segment(hash)
        if segment.isFull {
            makeRoom(hash)
            segment = self.segment(hash)
        }
        let slot = segment.place(
            entry, fraction: segment.fraction(hash), tag: Self.tag(hash))
        segment.count &+= 1
        count &+= 1
        return slot
    }

    /// Takes the entry of `slot` out; its memory is the caller's.
    @inline(__always)
    mutating func remove(_ slot: Slot, hash: UInt64) {
        let segment = segment(hash)
        var group = segment.home(segment.fraction(hash))
        while true {
            let base = unsafe segment.group(group)
            let offset = unsafe slot.address - base
            if offset >= 16 && offset < Self.groupBytes {
                unsafe martlet_store_relaxed_8(base + ((offset &- 16) >> 3), 0)
                break
            }
            let passed = unsafe base.load(fromByteOffset: 15, as: UInt8.self)
            assert(passed > 0)
            if passed != 255 { unsafe martlet_store_relaxed_8(base + 15, passed &- 1) }
            group &+= 1
            if group == segment.groups { group = 0 }
        }
        segment.count &-= 1
        count &-= 1
        if segment.isSparse { giveRoomBack(hash) }
    }

    @inline(never)
    private mutating func makeRoom(_ hash: UInt64) {
        let segment = segment(hash)
        let groups = segment.groups
        if groups < Self.groupsMax {
            resize(hash, groups: Self.size(atLeast: groups + 1))
            return
        }
        precondition(segment.localDepth < Self.depthMax, "a keyed hash parts keys by its bits")
        split(hash)
        // All keys may have gone to one side; the next bit will part them.
        if self.segment(hash).isFull { makeRoom(hash) }
    }

    /// Rebuilds the segment of `hash` with another number of groups. Entries are not read.
    private mutating func resize(_ hash: UInt64, groups: Int) {
        let old = segment(hash)
        if old.isPaged && groups >= Self.groupsPerPage {
            resizeInPlace(old, hash, groups: groups)
            return
        }
        let fresh = newSegment(groups: groups, localDepth: old.localDepth)
        old.forEachSlot { tag, slotWord in
            fresh.place(Slot.entry(slotWord), fraction: slotWord &>> 48, tag: tag)
        }
        fresh.count = old.count
        publish(fresh.word, for: hash, localDepth: old.localDepth)
        retire(old)
    }

    /// The same in the block the segment has. Whoever reads it as a hint meanwhile gets a bad one.
    private mutating func resizeInPlace(_ old: Segment, _ hash: UInt64, groups: Int) {
        let size = Segment.bytes(groups: old.groups)
        guard let copy = unsafe malloc(size) else {
            fatalError("out of memory: a copy of \(size) bytes was refused by the system")
        }
        unsafe memcpy(copy, old.base, size)
        for offset in stride(from: Self.segmentHeaderBytes, to: size, by: 8) {
            unsafe martlet_store_relaxed_64(old.base + offset, 0)
        }
        let word = unsafe Segment.word(old.base, groups: groups, localDepth: old.localDepth)
        let fresh = Segment(word: word)
        unsafe Segment(word: Segment.word(copy, groups: old.groups, localDepth: old.localDepth))
            .forEachSlot { tag, slotWord in
                fresh.place(Slot.entry(slotWord), fraction: slotWord &>> 48, tag: tag)
            }
        unsafe free(copy)
        publish(word, for: hash, localDepth: old.localDepth)
        bytes += Segment.bytes(groups: groups) - size
        if groups < old.groups {
            unsafe SegmentPool.trim(old.base, to: Segment.bytes(groups: groups))
        }
    }

    /// Parts the segment of `hash` by one more hash bit.
    private mutating func split(_ hash: UInt64) {
        let old = segment(hash)
        let depth = old.localDepth
        if unsafe depth == Int(directory[0]) { doubleDirectory() }
        // Each half starts at a load of about 0.75; the share above one half is many times what a
        // good hash deviates by.
        let groups = Self.size(atLeast: (old.count / 2 + old.count / 12) / Self.slotsPerGroup + 1)
        if part(old, hash, groups: groups) { return }
        // One half did not hold its share: start again with room for everything on both sides.
        _ = part(old, hash, groups: old.groups)
    }

    /// Parts a segment into two of `groups` each; false, and nothing is changed, when one of them
    /// would overflow.
    private mutating func part(_ old: Segment, _ hash: UInt64, groups: Int) -> Bool {
        let depth = old.localDepth
        let low = newSegment(groups: groups, localDepth: depth + 1)
        let high = newSegment(groups: groups, localDepth: depth + 1)
        let hashKey = hashKey
        // The entries are all over memory: those of the next group are fetched ahead.
        old.prefetchEntries(ofGroup: 0)
        for group in 0..<old.groups {
            old.prefetchEntries(ofGroup: group + 1)
            old.forEachSlot(ofGroup: group) { tag, slotWord in
                let entry = Slot.entry(slotWord)
                let hash = hashKey.hash(entry.key)
                let half = (hash &<< UInt64(depth)) &>> 63 == 0 ? low : high
                if half.count >= half.groups * Self.slotsPerGroup { return }
                half.place(entry, fraction: half.fraction(hash), tag: tag)
                half.count += 1
            }
        }
        if low.count + high.count != old.count {
            discard(low)
            discard(high)
            return false
        }
        publishHalves(low, high, hash: hash, localDepth: depth + 1)
        retire(old)
        return true
    }

    private mutating func publishHalves(
        _ low: Segment, _ high: Segment, hash: UInt64, localDepth: Int
    ) {
        let bit: UInt64 = 1 << UInt64(64 - localDepth)
        publish(low.word, for: hash & ~bit, localDepth: localDepth)
        publish(high.word, for: hash | bit, localDepth: localDepth)
    }

    /// Lets every directory word of the first `localDepth` bits of `hash` point to a segment.
    private func publish(_ word: UInt64, for hash: UInt64, localDepth: Int) {
        let depth = unsafe Int(directory[0])
        let span = 1 << (depth - localDepth)
        let first = Int(truncatingIfNeeded: (hash &>> 1) &>> UInt64(63 - depth)) & ~(span - 1)
        for index in first..<(first + span) {
            unsafe martlet_store_release_64(directory + (1 + index), word)
        }
    }

    private mutating func doubleDirectory() {
        let depth = unsafe Int(directory[0])
        let old = 1 << depth
        let doubled = UnsafeMutablePointer<UInt64>.allocate(capacity: 1 + old * 2)
        unsafe doubled[0] = UInt64(depth + 1)
        for index in 0..<(old * 2) { unsafe doubled[1 + index] = directory[1 + index / 2] }
        unsafe replaceDirectory(doubled, bytes: old * 8)
    }

    private mutating func replaceDirectory(
        _ new: UnsafeMutablePointer<UInt64>, bytes change: Int
    ) {
        let old = unsafe directory
        // Readers of the hint load this word; they see the new directory whole or not at all.
        unsafe withUnsafeMutablePointer(to: &directory) { place in
            unsafe martlet_store_release_64(place, UInt64(UInt(bitPattern: new)))
        }
        bytes += change
        unsafe Quiescence.shared.retire(UnsafeMutableRawPointer(old))
    }

    /// A segment fell below a quarter of its slots: shrink it, or merge it with its other half.
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
                merge(hash, total: total)
                return
            }
        }
        let groups = Self.size(atLeast: segment.count * 2 / Self.slotsPerGroup)
        if groups < segment.groups { resize(hash, groups: groups) }
    }

    private mutating func merge(_ hash: UInt64, total: Int) {
        let depth = segment(hash).localDepth
        let bit: UInt64 = 1 << UInt64(64 - depth)
        let low = segment(hash & ~bit)
        let high = segment(hash | bit)
        let groups = Self.size(atLeast: total * 10 / 7 / Self.slotsPerGroup + 1)
        let merged = newSegment(groups: groups, localDepth: depth - 1)
        low.forEachSlot { tag, slotWord in
            let fraction = (slotWord &>> 48) &>> 1
            merged.place(Slot.entry(slotWord), fraction: fraction, tag: tag)
        }
        high.forEachSlot { tag, slotWord in
            let fraction = (slotWord &>> 48) &>> 1 | 0x8000
            merged.place(Slot.entry(slotWord), fraction: fraction, tag: tag)
        }
        merged.count = total
        publish(merged.word, for: hash, localDepth: depth - 1)
        retire(low)
        retire(high)
        shrinkDirectory()
    }

    /// Halves the directory while no segment needs its last bit.
    ///
    /// - Complexity: O(2^depth), and only after a merge that may have freed a bit.
    private mutating func shrinkDirectory() {
        let depth = unsafe Int(directory[0])
        guard depth > 0 else { return }
        let half = 1 << (depth - 1)
        for index in 0..<half {
            if unsafe directory[1 + index * 2] != directory[2 + index * 2] { return }
        }
        // The merge may have freed more than one bit, when one segment alone was so deep.
        defer { shrinkDirectory() }
        let halved = UnsafeMutablePointer<UInt64>.allocate(capacity: 1 + half)
        unsafe halved[0] = UInt64(depth - 1)
        for index in 0..<half { unsafe halved[1 + index] = directory[1 + index * 2] }
        unsafe replaceDirectory(halved, bytes: -half * 8)
    }

    private mutating func newSegment(groups: Int, localDepth: Int) -> Segment {
        let size = Segment.bytes(groups: groups)
        let isPaged = groups >= Self.groupsPerPage
        let memory = unsafe isPaged ? SegmentPool.shared.take() : calloc(1, size)
        guard let memory = unsafe memory else {
            fatalError("out of memory: a table segment of \(size) bytes was refused by the system")
        }
        bytes += size
        return unsafe Segment(word: Segment.word(memory, groups: groups, localDepth: localDepth))
    }

    /// Gives back a segment that was never published.
    private mutating func discard(_ segment: Segment) {
        bytes -= Segment.bytes(groups: segment.groups)
        segment.free()
    }

    /// Gives back a segment that was published, once nobody can read it.
    private mutating func retire(_ segment: Segment) {
        bytes -= Segment.bytes(groups: segment.groups)
        unsafe Quiescence.shared.retire(segment.base, isPaged: segment.isPaged)
    }

    /// Exchanges contents with another table of the same hash key, readable as a hint throughout.
    mutating func exchange(with other: inout Table) {
        let mine = unsafe directory
        let theirs = unsafe other.directory
        unsafe withUnsafeMutablePointer(to: &directory) { place in
            unsafe martlet_store_release_64(place, UInt64(UInt(bitPattern: theirs)))
        }
        unsafe other.directory = mine
        swap(&count, &other.count)
        swap(&bytes, &other.bytes)
    }

    // MARK: Walking

    private func forEachSegment(_ body: (Segment) -> Void) {
        let words = unsafe 1 << Int(directory[0])
        var index = 0
        while index < words {
            let segment = unsafe Segment(word: directory[1 + index])
            body(segment)
            index += unsafe 1 << (Int(directory[0]) - segment.localDepth)
        }
    }

    /// Calls `body` for every entry, in no particular order; `body` does not change the table.
    func forEachEntry(_ body: (Entry) -> Void) {
        forEachSegment { segment in
            segment.forEachSlot { _, word in body(Slot.entry(word)) }
        }
    }

    /// Adds how this table is filled to `statistics`. Complexity: O(groups).
    func addStatistics(to statistics: inout TableStatistics) {
        statistics.keys += count
        forEachSegment { segment in
            statistics.segments += 1
            statistics.slots += segment.groups * Self.slotsPerGroup
            for index in 0..<segment.groups {
                let base = unsafe segment.group(index)
                let free = unsafe (martlet_match16(base, 0) & 0x7FFF).nonzeroBitCount
                statistics.groupsByKeys[Self.slotsPerGroup - free] += 1
                if unsafe base.load(fromByteOffset: 15, as: UInt8.self) != 0 {
                    statistics.passedGroups += 1
                }
            }
        }
    }

    /// Bits of a position on the scan line.
    static let positionBits: UInt64 = 48

    /// Calls `body` for all entries at home in the group that holds `position` and not before it;
    /// returns the position where the next group begins, or nil at the end of the line.
    ///
    /// `body` may not change the table; collect first, then change.
    func scan(from position: UInt64, _ body: (Entry) -> Void) -> UInt64? {
        let hash = position << (64 - Self.positionBits)
        let segment = segment(hash)
        let first = segment.fraction(hash)
        let home = segment.home(first)
        var group = home
        var left = segment.groups
        while left > 0 {
            let base = unsafe segment.group(group)
            for index in 0..<Self.slotsPerGroup
            where unsafe base.load(fromByteOffset: index, as: UInt8.self) != 0 {
                let word = unsafe base.load(fromByteOffset: 16 + index * 8, as: UInt64.self)
                let fraction = word &>> 48
                if fraction >= first && segment.home(fraction) == home { body(Slot.entry(word)) }
            }
            if unsafe base.load(fromByteOffset: 15, as: UInt8.self) == 0 { break }
            group = group + 1 == segment.groups ? 0 : group + 1
            left -= 1
        }
        // The smallest fraction whose home is the next group: ceil((home + 1) * 65536 / groups).
        let next = ((home + 1) * 65536 + segment.groups - 1) / segment.groups
        let depth = UInt64(segment.localDepth)
        let prefix = depth == 0 ? 0 : (position >> (Self.positionBits - depth))
        let unit: UInt64 = 1 << (Self.positionBits - 16 - depth)
        let start = depth == 0 ? 0 : prefix << (Self.positionBits - depth)
        let following = start + UInt64(next) * unit
        return following >= 1 << Self.positionBits ? nil : following
    }

    /// An entry chosen at random, each about as likely as any other; nil when there is none.
    ///
    /// Random slots are tried until one is taken: at a load above a quarter four tries on average.
    func random(_ next: () -> UInt64) -> Entry? {
        guard count > 0 else { return nil }
        for _ in 0..<4096 {
            let hash = next()
            let segment = segment(hash)
            // A segment that serves many directory words is met that much more often, and one
            // with fewer groups gives each of its slots more chances: refusing evens both out.
            let spare = unsafe Int(directory[0]) - segment.localDepth
            if next() & ((1 << UInt64(spare)) - 1) != 0 { continue }
            let isOnly = spare + segment.localDepth == 0
            let groups = isOnly ? segment.groups : Self.groupsMax
            let group = Int(next() % UInt64(groups))
            if group >= segment.groups { continue }
            let base = unsafe segment.group(group)
            let index = Int(next() % UInt64(Self.slotsPerGroup))
            if unsafe base.load(fromByteOffset: index, as: UInt8.self) != 0 {
                return unsafe Slot.entry(base.load(fromByteOffset: 16 + index * 8, as: UInt64.self))
            }
        }
        // A very sparse table: take the first entry from a random position on.
        var found: Entry?
        var position: UInt64? = next() >> (64 - Self.positionBits)
        var wrapped = false
        while found == nil {
            guard let start = position else {
                if wrapped { return nil }
                wrapped = true
                position = 0
                continue
            }
            position = scan(from: start) { if found == nil { found = $0 } }
        }
        return found
    }

    /// Groups that are looked at in one sample, full or not.
    private static let sampledGroupsMax = 32

    /// Calls `body` for up to `countMax` entries that stand together at a place chosen by `hash`; for none
    /// only when there are hardly any.
    ///
    /// A place is as likely as the part of the hash space that it serves, so every entry is about as
    /// likely as any other.
    func sample(_ hash: UInt64, countMax: Int, _ body: (Entry) -> Void) {
        if count == 0 { return }
        let segment = segment(hash)
        var group = segment.home(segment.fraction(hash))
        var left = countMax
        // Where in the first group to begin.
        var first = Int(truncatingIfNeeded: hash & 0xFFFF) % Self.slotsPerGroup
        for _ in 0..<min(segment.groups, Self.sampledGroupsMax) {
            segment.prefetchEntries(ofGroup: group)
            let base = unsafe segment.group(group)
            for step in 0..<Self.slotsPerGroup {
                var index = first + step
                if index >= Self.slotsPerGroup { index -= Self.slotsPerGroup }
                if unsafe base.load(fromByteOffset: index, as: UInt8.self) == 0 { continue }
                body(
                    unsafe Slot.entry(
                        base.load(fromByteOffset: 16 + index * 8, as: UInt64.self)))
                left -= 1
                if left == 0 { return }
            }
            first = 0
            group = group + 1 == segment.groups ? 0 : group + 1
        }
    }

    /// The slot of the entry at `address` whose key has this hash, or nil when it is there no more.
    func slot(of address: UInt, hash: UInt64) -> Slot? {
        let segment = segment(hash)
        let fraction = segment.fraction(hash)
        var group = segment.home(fraction)
        let word = UInt64(address) | fraction << 48
        for _ in 0..<segment.groups {
            let base = unsafe segment.group(group)
            for index in 0..<Self.slotsPerGroup
            where unsafe base.load(fromByteOffset: index, as: UInt8.self) == Self.tag(hash) {
                let slot = unsafe base + (16 + index * 8)
                if unsafe slot.load(as: UInt64.self) == word { return unsafe Slot(slot) }
            }
            if unsafe base.load(fromByteOffset: 15, as: UInt8.self) == 0 { return nil }
            group = group + 1 == segment.groups ? 0 : group + 1
        }
        return nil
    }

    /// Checks every invariant; for tests. Complexity: O(n).
    func checkInvariants() {
        var total = 0
        var memory = unsafe 8 + (8 << Int(directory[0]))
        forEachSegment { segment in
            memory += Segment.bytes(groups: segment.groups)
            precondition(segment.groups >= 1 && segment.groups <= Self.groupsMax, "group count")
            var passed = [Int](repeating: 0, count: segment.groups)
            var inSegment = 0
            for group in 0..<segment.groups {
                let base = unsafe segment.group(group)
                for index in 0..<Self.slotsPerGroup {
                    let tag = unsafe base.load(fromByteOffset: index, as: UInt8.self)
                    if tag == 0 { continue }
                    inSegment += 1
                    let word = unsafe base.load(fromByteOffset: 16 + index * 8, as: UInt64.self)
                    let hash = hashKey.hash(Slot.entry(word).key)
                    precondition(tag == Self.tag(hash), "a slot's tag is its key's")
                    precondition(word &>> 48 == segment.fraction(hash), "a slot's fraction")
                    var walked = segment.home(word &>> 48)
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
            precondition(inSegment == segment.count, "a segment counts its slots")
            total += inSegment
        }
        precondition(total == count, "the table counts its segments")
        precondition(memory == bytes, "the table counts its memory")
    }
}

/// A segment as its directory word describes it.
@safe
struct Segment {
    let word: UInt64

    @inline(__always)
    init(word: UInt64) { self.word = word }

    static func word(
        _ base: UnsafeMutableRawPointer, groups: Int, localDepth: Int
    ) -> UInt64 {
        let address = UInt64(UInt(bitPattern: base))
        precondition(address & ~Table.addressMask == 0, "user addresses have 48 bits")
        return address | UInt64(groups) << 48 | UInt64(localDepth) << 56
    }

    static func bytes(groups: Int) -> Int {
        Table.segmentHeaderBytes + groups * Table.groupBytes
    }

    /// In a block of the pool, where it may grow in place; smaller ones come from malloc.
    var isPaged: Bool { groups >= Table.groupsPerPage }

    /// Gives the memory back at once: nobody else knows the segment, or the whole table goes.
    func free() {
        if isPaged { unsafe SegmentPool.shared.give(base) } else { unsafe Glibc.free(base) }
    }

    @inline(__always)
    var base: UnsafeMutableRawPointer {
        unsafe UnsafeMutableRawPointer(
            bitPattern: UInt(truncatingIfNeeded: word & Table.addressMask)
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
    func home(_ fraction: UInt64) -> Int {
        Int(truncatingIfNeeded: (fraction &* UInt64(groups)) &>> 16)
    }

    @inline(__always)
    func group(_ index: Int) -> UnsafeMutableRawPointer {
        unsafe base + (Table.segmentHeaderBytes &+ index &* Table.groupBytes)
    }

    /// Puts a slot into the first group with room from its home on; counting is the caller's.
    @inline(__always)
    @discardableResult
    func place(_ entry: Entry, fraction: UInt64, tag: UInt8) -> Slot {
        var group = home(fraction)
        while true {
            let base = unsafe self.group(group)
            let empty = unsafe martlet_match16(base, 0) & 0x7FFF
            if empty != 0 {
                let index = empty.trailingZeroBitCount
                let address = UInt64(UInt(bitPattern: unsafe entry.address))
                let slot = unsafe base + (16 &+ index &* 8)
                unsafe martlet_store_relaxed_64(slot, address | fraction &<< 48)
                unsafe martlet_store_relaxed_8(base + index, tag)
                return unsafe Slot(slot)
            }
            let passed = unsafe base.load(fromByteOffset: 15, as: UInt8.self)
            if passed != 255 { unsafe martlet_store_relaxed_8(base + 15, passed &+ 1) }
            group &+= 1
            if group == groups { group = 0 }
        }
    }

    /// Calls `body` with tag and word of every taken slot.
    @inline(__always)
    func forEachSlot(_ body: (UInt8, UInt64) -> Void) {
        for group in 0..<groups { forEachSlot(ofGroup: group, body) }
    }

    @inline(__always)
    func forEachSlot(ofGroup group: Int, _ body: (UInt8, UInt64) -> Void) {
        let base = unsafe self.group(group)
        for position in 0..<Table.slotsPerGroup {
            let tag = unsafe base.load(fromByteOffset: position, as: UInt8.self)
            if tag == 0 { continue }
            body(tag, unsafe base.load(fromByteOffset: 16 + position * 8, as: UInt64.self))
        }
    }

    /// Fetches the entries of a group ahead of their use; beyond the last group nothing.
    func prefetchEntries(ofGroup group: Int) {
        if group >= groups { return }
        forEachSlot(ofGroup: group) { _, word in
            unsafe martlet_prefetch(
                UnsafeRawPointer(bitPattern: UInt(truncatingIfNeeded: word & Table.addressMask)))
        }
    }
}

/// Where an entry's address stands; valid until the table next changes.
@safe
struct Slot {
    let address: UnsafeMutableRawPointer

    @inline(__always)
    init(_ address: UnsafeMutableRawPointer) { unsafe self.address = address }

    @inline(__always)
    static func entry(_ word: UInt64) -> Entry {
        unsafe Entry(
            UnsafeMutableRawPointer(
                bitPattern: UInt(truncatingIfNeeded: word & Table.addressMask)
            ).unsafelyUnwrapped)
    }

    /// The entry; setting it keeps the slot's hash bits: the new entry has the same key.
    @inline(__always)
    var entry: Entry {
        get { unsafe Self.entry(address.load(as: UInt64.self)) }
        nonmutating set {
            let word = unsafe address.load(as: UInt64.self)
            let pointer = UInt64(UInt(bitPattern: unsafe newValue.address))
            unsafe martlet_store_relaxed_64(address, word & ~Table.addressMask | pointer)
        }
    }
}
