//  A small set in one run of bytes: a member is found by a scan, and nothing is lost to pointers.
//
//  Raw memory. The bytes belong to the key's entry (Keyspace), which lends them under the shard's
//  lock and resizes them; nothing here goes beyond. Who adds to it makes the region longer first.
//
//         0  count      1 byte
//         1  records in the order in which the members came:
//            length          1 byte
//            member          its bytes
//         …  unused: room for what is about to come, or memory for a smaller region was not to be had

import Glibc
import MartletBase

/// A lent run of bytes that holds a set.
@safe
struct PackedSet {
    private let base: UnsafeMutableRawPointer
    /// Bytes of the region.
    let bytes: Int

    /// Larger sets are `MemberSet`s, and so are those with longer members. An entry of this size
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

    /// What a record takes.
    @inline(__always)
    static func recordBytes(_ member: ByteView) -> Int { 1 &+ member.count }

    // MARK: Records by offset

    @inline(__always)
    private func length(_ offset: Int) -> Int {
        assert(offset < bytes)
        return Int(unsafe base.load(fromByteOffset: offset, as: UInt8.self))
    }

    @inline(__always)
    func member(_ offset: Int) -> ByteView {
        unsafe ByteView(base + (offset &+ 1), count: length(offset))
    }

    /// Where the next record begins.
    @inline(__always)
    func next(_ offset: Int) -> Int { offset &+ 1 &+ length(offset) }

    /// The offset of a member's record, or else where the records end.
    @inline(__always)
    func find(_ member: ByteView) -> (offset: Int, isThere: Bool) {
        var offset = Self.headerBytes
        for _ in 0..<count {
            if length(offset) == member.count && self.member(offset) == member {
                return (offset, true)
            }
            offset = next(offset)
        }
        return (offset, false)
    }

    /// Where the records end.
    var end: Int { offset(ofRecord: count) }

    /// The offset of the record that came as number `index`, the end for `count`.
    func offset(ofRecord index: Int) -> Int {
        var offset = Self.headerBytes
        for _ in 0..<index { offset = next(offset) }
        return offset
    }

    /// Calls `body` for all members in the order in which they came.
    @inline(__always)
    func forEachMember(_ body: (ByteView) -> Void) {
        var offset = Self.headerBytes
        for _ in 0..<count {
            body(member(offset))
            offset = next(offset)
        }
    }

    // MARK: Changing

    /// Writes a record at `offset`, where the others end.
    ///
    /// - Precondition: the region has room for it.
    func append(_ member: ByteView, at offset: Int) {
        assert(offset + Self.recordBytes(member) <= bytes)
        let place = unsafe base + offset
        unsafe place.storeBytes(of: UInt8(truncatingIfNeeded: member.count), as: UInt8.self)
        unsafe memcpy(place + 1, member.address, member.count)
        count += 1
    }

    /// Checks every invariant; for tests.
    func checkInvariants() {
        precondition(end <= bytes, "the records fit the region")
        var members: Set<[UInt8]> = []
        forEachMember {
            precondition(members.insert($0.bytes).inserted, "a member is there once")
        }
    }
}
