//  A small sorted set in one run of bytes: every question is a scan, and nothing is lost to pointers.
//
//  Raw memory. The bytes belong to the key's entry (Keyspace), which lends them under the shard's
//  lock, resizes them, and says how many there are; nothing here goes beyond. Who adds a record sees
//  to it that the region has room.
//
//         0  count      1 byte
//         1  records in order of score, then member:
//            member length   1 byte
//            score           8 bytes
//            member          its bytes
//         …  unused
//
//  *Slack.* A sliding window loses a record and gains one all the time. So a region that grows gets
//  a quarter more than it needs, and is made shorter only when less than half of it is in use: nearly
//  all changes then happen in place. A move costs more than its bytes, because it touches the
//  neighbours in the expiry index.
//
//  A record costs nine bytes more than its member. Up to about forty members a scan costs less than
//  the way through table and tree, and a tenth of the memory.

import Glibc
import MartletBase

/// Where a member stands in a packed sorted set, or would stand.
enum PackedPlace {
    /// There is such a member, at this offset.
    case taken(Int)
    /// There is none; its record belongs here, and the records end there.
    case free(at: Int, end: Int)
}

/// A lent run of bytes that holds a sorted set.
@safe
struct PackedSortedSet {
    private let base: UnsafeMutableRawPointer
    /// Bytes of the region.
    let bytes: Int

    /// Larger sets are `SortedSet`s, and so are those with longer members. An entry of this size
    /// still is a slab's object.
    static let bytesMax = 900
    static let countMax = 255
    static let memberBytesMax = 255
    static let headerBytes = 1

    @inline(__always)
    init(_ base: UnsafeMutableRawPointer, bytes: Int) {
        unsafe self.base = base
        self.bytes = bytes
    }

    @inline(__always)
    var count: Int {
        get { Int(unsafe base.load(as: UInt8.self)) }
        nonmutating set {
            unsafe base.storeBytes(of: UInt8(truncatingIfNeeded: newValue), as: UInt8.self)
        }
    }

    /// What a record of `member` takes.
    @inline(__always)
    static func recordBytes(_ member: ByteView) -> Int { 9 &+ member.count }

    // MARK: Records by offset

    @inline(__always)
    private func memberBytes(_ offset: Int) -> Int {
        assert(offset + 9 <= bytes)
        return Int(unsafe base.load(fromByteOffset: offset, as: UInt8.self))
    }

    @inline(__always)
    func score(_ offset: Int) -> Double {
        unsafe base.loadUnaligned(fromByteOffset: offset &+ 1, as: Double.self)
    }

    @inline(__always)
    func member(_ offset: Int) -> ByteView {
        unsafe ByteView(base + (offset &+ 9), count: memberBytes(offset))
    }

    /// Where the next record begins.
    @inline(__always)
    func next(_ offset: Int) -> Int { offset &+ 9 &+ memberBytes(offset) }

    /// Offset and rank of a member, or nil.
    @inline(__always)
    func find(_ member: ByteView) -> (offset: Int, rank: Int)? {
        var offset = Self.headerBytes
        var rank = 0
        let count = count
        while rank < count {
            if memberBytes(offset) == member.count && self.member(offset) == member {
                return (offset, rank)
            }
            offset = next(offset)
            rank &+= 1
        }
        return nil
    }

    /// Looks for a member and, in the same pass, for the place that it would have with a score.
    @inline(__always)
    func search(_ member: ByteView, _ score: Double) -> PackedPlace {
        var offset = Self.headerBytes
        var place = 0
        var left = count
        while left > 0 {
            let length = memberBytes(offset)
            if length == member.count && self.member(offset) == member { return .taken(offset) }
            if place == 0 {
                let other = self.score(offset)
                if other > score
                    || other == score && self.member(offset).compare(member) > 0
                {
                    place = offset
                }
            }
            offset &+= 9 &+ length
            left &-= 1
        }
        return .free(at: place == 0 ? offset : place, end: offset)
    }

    /// Offset and rank of the first record that does not stand before score and member.
    @inline(__always)
    func position(_ score: Double, _ member: ByteView) -> (offset: Int, rank: Int) {
        firstPosition { offset in
            let other = self.score(offset)
            return other < score || other == score && self.member(offset).compare(member) < 0
        }
    }

    /// Offset and rank of the first record for which `isBelow` does not hold.
    @inline(__always)
    func firstPosition(_ isBelow: (Int) -> Bool) -> (offset: Int, rank: Int) {
        var offset = Self.headerBytes
        var rank = 0
        let count = count
        while rank < count && isBelow(offset) {
            offset = next(offset)
            rank &+= 1
        }
        return (offset, rank)
    }

    /// The offset of the record at `rank`, the end for `count`.
    func offset(ofRank rank: Int) -> Int {
        var offset = Self.headerBytes
        for _ in 0..<rank { offset = next(offset) }
        return offset
    }

    // MARK: Ranges

    func ranks(_ range: ScoreRange) -> Range<Int> {
        let low = firstPosition { range.isBelow(score($0)) }.rank
        let high = firstPosition { !range.isAbove(score($0)) }.rank
        return low..<max(low, high)
    }

    /// Where scores differ the order of members means little; this is what Redis makes of it.
    func ranks(_ range: MemberRange) -> Range<Int> {
        let low = firstPosition { range.isBelow(member($0)) }
        var rank = low.rank
        var offset = low.offset
        let count = count
        while rank < count && !range.isAbove(member(offset)) {
            offset = next(offset)
            rank += 1
        }
        return low.rank..<rank
    }

    /// Calls `body` for the members of a range of ranks in order, or in reverse.
    @inline(__always)
    func forEach(in ranks: Range<Int>, reversed: Bool, _ body: (ByteView, Double) -> Void) {
        if ranks.isEmpty { return }
        var offset = offset(ofRank: ranks.lowerBound)
        if !reversed {
            for _ in ranks {
                body(member(offset), score(offset))
                offset = next(offset)
            }
            return
        }
        // Records know their successor only.
        var offsets = InlineArray<256, UInt16>(repeating: 0)
        for index in 0..<ranks.count {
            offsets[index] = UInt16(truncatingIfNeeded: offset)
            offset = next(offset)
        }
        for index in stride(from: ranks.count - 1, through: 0, by: -1) {
            let offset = Int(offsets[index])
            body(member(offset), score(offset))
        }
    }

    // MARK: Changing

    /// What a region is to have that grows to `used` bytes.
    @inline(__always)
    static func grown(_ used: Int) -> Int {
        // Beyond 255 an entry takes eight bytes more.
        min(used &+ used / 4 &+ 16, used <= 255 ? 255 : bytesMax)
    }

    /// Whether a region in which `used` bytes are used should be shorter.
    @inline(__always)
    func isTooLong(used: Int) -> Bool { bytes > used &* 2 &+ 64 }

    /// Writes a record at `offset`, where the records from there on end at `end`. There is room.
    @inline(__always)
    func insert(_ member: ByteView, _ score: Double, at offset: Int, end: Int) {
        let size = Self.recordBytes(member)
        precondition(end &+ size <= bytes, "the region has room")
        if offset < end {
            unsafe memmove(base + (offset + size), base + offset, end &- offset)
        }
        append(member, score, at: offset)
    }

    /// Takes the records of a range of ranks out.
    ///
    /// - Returns: how many bytes are in use now.
    func remove(_ ranks: Range<Int>) -> Int {
        let start = offset(ofRank: ranks.lowerBound)
        var end = start
        for _ in ranks { end = next(end) }
        var used = end
        for _ in ranks.upperBound..<count { used = next(used) }
        if end < used { unsafe memmove(base + start, base + end, used - end) }
        count &-= ranks.count
        return used &- (end &- start)
    }

    /// Writes a record at `offset`, where the others end.
    func append(_ member: ByteView, _ score: Double, at offset: Int) {
        let place = unsafe base + offset
        unsafe place.storeBytes(of: UInt8(truncatingIfNeeded: member.count), as: UInt8.self)
        unsafe place.storeBytes(of: score, toByteOffset: 1, as: Double.self)
        unsafe memcpy(place + 9, member.address, member.count)
        count += 1
    }

    /// Moves the record at `from` to where `to` is now, with another score. No byte more is needed.
    func move(from: Int, to: Int, score: Double) {
        let size = next(from) - from
        unsafe withUnsafeTemporaryAllocation(byteCount: 9 + Self.memberBytesMax, alignment: 1) {
            guard let copy = $0.baseAddress else { return }
            unsafe memcpy(copy, base + from, size)
            unsafe copy.storeBytes(of: score, toByteOffset: 1, as: Double.self)
            if to > from {
                unsafe memmove(base + from, base + (from + size), to - from - size)
                unsafe memcpy(base + (to - size), copy, size)
            } else {
                unsafe memmove(base + (to + size), base + to, from - to)
                unsafe memcpy(base + to, copy, size)
            }
        }
    }

    /// Checks every invariant; for tests.
    func checkInvariants() {
        var offset = Self.headerBytes
        var records = 0
        var last: (score: Double, member: ByteView)?
        while records < count {
            let score = score(offset)
            let member = member(offset)
            if let last {
                precondition(
                    last.score < score || last.score == score && last.member.compare(member) < 0,
                    "records ascend")
            }
            last = (score, member)
            records += 1
            offset = next(offset)
        }
        precondition(offset <= bytes, "the records fit the region")
    }
}
