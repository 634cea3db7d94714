//  The expiry index of a partition: its keys with a TTL in order of time; and, in a second index, the
//  hashes that have fields with a TTL, by the earliest of them.
//
//  A hierarchical timing wheel (Varghese and Lauck 1987) of eleven levels with 64 slots, one tick of
//  8 ms per slot of the lowest. A slot is a doubly linked list through the entries themselves, by
//  4-byte handles: 8 bytes per key, and no search to take one out.
//
//         level 0   64 slots of 8 ms          level l holds a deadline whose highest 6-bit digit
//         level 1   64 slots of 512 ms        that differs from the cursor's is digit l, in the
//         level 2   64 slots of 33 s …        slot of that digit
//
//  The cursor is the tick up to which the wheel was turned. When it enters a slot of a higher level,
//  that slot's entries move down: each entry moves at most once per level, one at a time, so that
//  the work stops and goes on at any point. Nothing is sampled; what is due comes out in order of its
//  tick, the one that ends at or after the deadline. Each move waits for memory, so that coarse ticks,
//  with a level less on the way, make keys cheaper to reclaim than fine ones; those who ask for a
//  key go by its deadline, not by the tick.
//
//  The wheel turns one way only. When the wall clock is set back, the wheel stands still and remembers
//  by how much it is ahead, its *lead*. Keys that come from then on are linked by deadline plus lead;
//  those that are there already come out too early by as much, are found alive and are linked anew:
//  one move each, within the same steps as all other work.
//
//  Raw memory: the index allocates heads and bit map with its first key and frees them when it
//  goes; it is used under the shard's lock only. Handles name live entries, whose memory is the
//  slabs'.

import CSystem
import Glibc
import MartletBase

/// Where an entry has one kind of deadline, and behind it the links of its index: 16 bytes.
protocol DeadlinePlace {
    static func offset(_ header: EntryHeader) -> Int
}

/// The deadline of the key.
enum KeyDeadline: DeadlinePlace {
    @inline(__always)
    static func offset(_ header: EntryHeader) -> Int { 8 }
}

/// The earliest deadline of the fields of a hash.
enum FieldDeadline: DeadlinePlace {
    @inline(__always)
    static func offset(_ header: EntryHeader) -> Int { header.fieldExpiryOffset }
}

/// Keys with a deadline, linked in order of time through their entries.
///
/// - Invariant: an entry with this kind of deadline is in exactly one list; `count` counts them.
@safe
struct ExpiryIndex<Place: DeadlinePlace>: ~Copyable {
    private static var levels: Int { 11 }
    private static var slots: Int { levels * 64 }
    private static var noHandle: UInt32 { .max }
    private static var tickShift: Int64 { 3 }
    /// By how much a key comes out late at most.
    static var lateMillisecondsMax: Int64 { 1 << tickShift - 1 }

    /// First handle of each slot's list; nil before the first TTL.
    private var heads: UnsafeMutablePointer<UInt32>?
    /// One bit per non-empty slot of a level.
    private var occupied: UnsafeMutablePointer<UInt64>?
    private(set) var count = 0
    /// Sum of all deadlines, for the average TTL that INFO shows: to about 16 digits, no overflow.
    private(set) var deadlineSum: Double = 0
    /// In ticks.
    private var cursor: Int64 = 0
    /// Wheel time minus wall clock time in milliseconds; never negative.
    private var lead: Int64 = 0

    init() {
        unsafe heads = nil
        unsafe occupied = nil
    }

    deinit {
        unsafe heads?.deallocate()
        unsafe occupied?.deallocate()
    }

    /// Memory of the wheel itself; the links are part of the entries.
    var bytes: Int { unsafe heads == nil ? 0 : Self.slots * 4 + Self.levels * 8 }

    /// Links an entry in by its deadline. Complexity: O(1).
    mutating func insert(_ entry: Entry, _ slabs: borrowing Slabs, nowMilliseconds: Int64) {
        if unsafe heads == nil { allocate() }
        if count == 0 {
            cursor = max(nowMilliseconds, 0) >> Self.tickShift
            lead = 0
        }
        let deadline = self.deadline(entry)
        count += 1
        deadlineSum += Double(deadline)
        link(entry, deadline, slabs)
    }

    /// Takes an entry out. Complexity: O(1).
    mutating func remove(_ entry: Entry, _ slabs: borrowing Slabs) {
        count -= 1
        deadlineSum = count == 0 ? 0 : deadlineSum - Double(deadline(entry))
        unlink(entry, slabs)
    }

    /// Gives an entry another deadline. Complexity: O(1).
    ///
    /// One that belongs into the same slot stays where it is, and its neighbours, which are seldom
    /// in a cache, are not touched: the rule with EXPIRE of a key in use. It may stand in an earlier
    /// slot than its deadline says now (see *lead* above), never in a later one, so it is met in time.
    mutating func move(_ entry: Entry, to deadline: Int64, _ slabs: borrowing Slabs) {
        let old = self.deadline(entry)
        deadlineSum += Double(deadline) - Double(old)
        let stays = slot(of: old) == slot(of: deadline)
        if !stays { unlink(entry, slabs) }
        unsafe entry.address.storeBytes(
            of: deadline, toByteOffset: Place.offset(entry.header), as: Int64.self)
        if !stays { link(entry, deadline, slabs) }
    }

    /// Lets an entry with the same deadline take another's place.
    mutating func replace(_ old: Entry, with new: Entry, _ slabs: borrowing Slabs) {
        guard let heads = unsafe heads else { return }
        // Deadline and both links.
        unsafe memcpy(
            new.address + Place.offset(new.header), old.address + Place.offset(old.header), 16)
        let next = self.next(old)
        let previous = self.previous(old)
        let handle = unsafe slabs.handle(new.address, bytes: new.allocationBytes)
        if next != Self.noHandle { unsafe setPrevious(Entry(slabs.object(next)), handle) }
        if previous >= Slabs.handleMax {
            unsafe heads[Int(previous - Slabs.handleMax)] = handle
        } else {
            unsafe setNext(Entry(slabs.object(previous)), handle)
        }
    }

    /// The next entry whose tick is over at `nowMilliseconds`, or nil when there is none or `steps`,
    /// how often the wheel may turn or an entry move, are used up. The caller removes it.
    mutating func nextDue(
        _ slabs: borrowing Slabs, nowMilliseconds: Int64, steps: inout Int
    ) -> Entry? {
        guard count > 0, let heads = unsafe heads, let occupied = unsafe occupied else {
            return nil
        }
        // Negative times, which only a test's clock has, are as good as the first one.
        let wallTime = max(nowMilliseconds, 0)
        lead = max(lead, (cursor << Self.tickShift) - wallTime)
        let wheelTime = wallTime.addingClamped(lead) >> Self.tickShift
        while steps > 0 {
            // Finish moving down what the cursor has entered, from the top level down.
            var level = Self.levels - 1
            while level > 0 {
                let slot = level * 64 + digit(cursor, level)
                while unsafe heads[slot] != Self.noHandle {
                    if steps == 0 { return nil }
                    steps -= 1
                    let entry = unsafe Entry(slabs.object(heads[slot]))
                    unlink(entry, slabs)
                    link(entry, deadline(entry), slabs)
                }
                level -= 1
            }
            let due = digit(cursor, 0)
            if unsafe heads[due] != Self.noHandle {
                let entry = unsafe Entry(slabs.object(heads[due]))
                if deadline(entry) <= nowMilliseconds {
                    return entry
                }
                // It was linked before the wall clock was set back: with the lead, it is later.
                unlink(entry, slabs)
                link(entry, deadline(entry), slabs)
                steps -= 1
                continue
            }
            if cursor >= wheelTime { return nil }
            // Jump to the next slot with entries; all lower levels are empty before it.
            var next = wheelTime
            level = 0
            while level < Self.levels {
                let shift = Int64(level * 6)
                let position = digit(cursor, level)
                let later =
                    position == 63
                    ? 0 : unsafe occupied[level] & (UInt64.max << UInt64(position + 1))
                if later != 0 {
                    let start = Int64(later.trailingZeroBitCount)
                    let above = shift + 6 >= 63 ? 0 : (cursor >> (shift + 6)) << (shift + 6)
                    next = min(next, above | (start << shift))
                    break
                }
                level += 1
            }
            cursor = next
            steps -= 1
        }
        return nil
    }

    /// The entry that is due after `entry`, which `nextDue` returned, if it has the same tick; the
    /// one behind it is fetched meanwhile.
    @inline(__always)
    func following(_ entry: Entry, _ slabs: borrowing Slabs) -> Entry? {
        let next = self.next(entry)
        if next == Self.noHandle { return nil }
        let following = unsafe Entry(slabs.object(next))
        let third = self.next(following)
        if third != Self.noHandle { unsafe martlet_prefetch(slabs.object(third)) }
        return following
    }

    /// Calls `body` for up to `countMax` entries among which is one that is due next, or nearly so: those
    /// of one slot are in no order, and it may hold more. The wheel is not turned.
    func forEachSoon(_ slabs: borrowing Slabs, _ countMax: Int, _ body: (Entry) -> Void) {
        guard count > 0, let occupied = unsafe occupied else { return }
        for level in 0..<Self.levels {
            // What is in lower slots of a level belongs to a higher one, or has been due.
            let later = unsafe occupied[level] & (UInt64.max << UInt64(digit(cursor, level)))
            if later == 0 { continue }
            var left = max(countMax, Self.soonMin)
            forEach(inSlot: level * 64 + later.trailingZeroBitCount, slabs, &left, body)
            return
        }
    }

    private static var soonMin: Int { 16 }

    /// Calls `body` for up to `countMax` entries from a slot chosen by chance on, some of its first ones
    /// passed over.
    func forEachSomewhere(
        _ slabs: borrowing Slabs, _ random: UInt64, _ countMax: Int, _ body: (Entry) -> Void
    ) {
        guard count > 0, let occupied = unsafe occupied else { return }
        var slotCount = 0
        for level in 0..<Self.levels { slotCount += unsafe occupied[level].nonzeroBitCount }
        guard slotCount > 0 else { return }
        var skipped = Int(random >> 48) % slotCount
        var passed = Int(random & 63)
        var left = countMax
        // Twice: from the chosen slot to the last one, then from the first one on.
        for round in 0..<2 {
            for level in 0..<Self.levels {
                var bits = unsafe occupied[level]
                while bits != 0 && left > 0 {
                    let slot = level * 64 + bits.trailingZeroBitCount
                    bits &= bits - 1
                    if skipped > 0 && round == 0 {
                        skipped -= 1
                        continue
                    }
                    forEach(inSlot: slot, slabs, &left) { entry in
                        if passed > 0 {
                            passed -= 1
                        } else {
                            body(entry)
                        }
                    }
                }
            }
            passed = 0
        }
    }

    private func forEach(
        inSlot slot: Int, _ slabs: borrowing Slabs, _ left: inout Int, _ body: (Entry) -> Void
    ) {
        guard let heads = unsafe heads else { return }
        var handle = unsafe heads[slot]
        while handle != Self.noHandle && left > 0 {
            let entry = unsafe Entry(slabs.object(handle))
            body(entry)
            left -= 1
            handle = next(entry)
        }
    }

    private mutating func allocate() {
        let heads = UnsafeMutablePointer<UInt32>.allocate(capacity: Self.slots)
        unsafe heads.initialize(repeating: Self.noHandle, count: Self.slots)
        let occupied = UnsafeMutablePointer<UInt64>.allocate(capacity: Self.levels)
        unsafe occupied.initialize(repeating: 0, count: Self.levels)
        unsafe self.heads = heads
        unsafe self.occupied = occupied
    }

    @inline(__always)
    private func digit(_ tick: Int64, _ level: Int) -> Int {
        Int((tick >> Int64(level * 6)) & 63)
    }

    @inline(__always)
    private func deadline(_ entry: Entry) -> Int64 {
        unsafe entry.address.load(fromByteOffset: Place.offset(entry.header), as: Int64.self)
    }

    // The links: the handle of the next entry, and the handle of the previous one or the slot.

    @inline(__always)
    private func next(_ entry: Entry) -> UInt32 {
        unsafe entry.address.load(fromByteOffset: Place.offset(entry.header) &+ 8, as: UInt32.self)
    }

    @inline(__always)
    private func setNext(_ entry: Entry, _ handle: UInt32) {
        unsafe entry.address.storeBytes(
            of: handle, toByteOffset: Place.offset(entry.header) &+ 8, as: UInt32.self)
    }

    @inline(__always)
    private func previous(_ entry: Entry) -> UInt32 {
        unsafe entry.address.load(fromByteOffset: Place.offset(entry.header) &+ 12, as: UInt32.self)
    }

    @inline(__always)
    private func setPrevious(_ entry: Entry, _ handle: UInt32) {
        unsafe entry.address.storeBytes(
            of: handle, toByteOffset: Place.offset(entry.header) &+ 12, as: UInt32.self)
    }

    /// Where a deadline belongs as the cursor stands.
    @inline(__always)
    private func slot(of deadline: Int64) -> Int {
        let time = deadline.addingClamped(lead)
        let isWhole = time & Self.lateMillisecondsMax == 0
        let tick = max(time >> Self.tickShift &+ (isWhole ? 0 : 1), cursor)
        let different = UInt64(bitPattern: tick ^ cursor)
        let level = (63 &- (different | 1).leadingZeroBitCount) / 6
        return level &* 64 &+ digit(tick, level)
    }

    private func link(_ entry: Entry, _ deadline: Int64, _ slabs: borrowing Slabs) {
        guard let heads = unsafe heads, let occupied = unsafe occupied else { return }
        let slot = slot(of: deadline)
        let handle = unsafe slabs.handle(entry.address, bytes: entry.allocationBytes)
        let first = unsafe heads[slot]
        setNext(entry, first)
        setPrevious(entry, Slabs.handleMax + UInt32(slot))
        if first != Self.noHandle { unsafe setPrevious(Entry(slabs.object(first)), handle) }
        unsafe heads[slot] = handle
        unsafe occupied[slot / 64] |= 1 << UInt64(slot & 63)
    }

    private func unlink(_ entry: Entry, _ slabs: borrowing Slabs) {
        guard let heads = unsafe heads, let occupied = unsafe occupied else { return }
        let next = self.next(entry)
        let previous = self.previous(entry)
        if next != Self.noHandle { unsafe setPrevious(Entry(slabs.object(next)), previous) }
        if previous >= Slabs.handleMax {
            let slot = Int(previous - Slabs.handleMax)
            unsafe heads[slot] = next
            if next == Self.noHandle { unsafe occupied[slot / 64] &= ~(1 << UInt64(slot & 63)) }
        } else {
            unsafe setNext(Entry(slabs.object(previous)), next)
        }
    }

    /// Checks that every list is well linked and counted; for tests. Complexity: O(count).
    func checkInvariants(_ slabs: borrowing Slabs) {
        guard let heads = unsafe heads, let occupied = unsafe occupied else {
            precondition(count == 0, "no wheel, no keys")
            return
        }
        var total = 0
        for slot in 0..<Self.slots {
            var handle = unsafe heads[slot]
            let isOccupied = unsafe occupied[slot / 64] & (1 << UInt64(slot & 63)) != 0
            precondition(isOccupied == (handle != Self.noHandle), "the bit map shows the lists")
            var previous = Slabs.handleMax + UInt32(slot)
            while handle != Self.noHandle {
                let entry = unsafe Entry(slabs.object(handle))
                precondition(entry.header.hasDeadline, "a linked entry has a deadline")
                precondition(self.previous(entry) == previous, "links go both ways")
                previous = handle
                handle = next(entry)
                total += 1
            }
        }
        precondition(total == count, "the index counts its keys")
    }
}

extension Int64 {
    /// The sum, or the largest or smallest number where it would lie beyond.
    @inline(__always)
    fileprivate func addingClamped(_ other: Int64) -> Int64 {
        let (sum, overflows) = addingReportingOverflow(other)
        return overflows ? (other > 0 ? .max : .min) : sum
    }
}
