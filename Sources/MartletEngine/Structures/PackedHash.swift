//  A small hash in one run of bytes: a field is found by a scan, and nothing is lost to pointers.
//
//  Raw memory. The bytes belong to the key's entry (Keyspace), which lends them under the shard's
//  lock and resizes them; nothing here goes beyond. Who adds to it makes the region longer first.
//
//         0  count      1 byte
//         1  records in the order in which their fields came:
//            field length    1 byte
//            value length    1 byte
//            field           its bytes
//            value           its bytes
//         …  unused: room for what is about to come, or memory for a smaller region was not to be had
//
//  A field costs two bytes more than itself and its value. As of the sorted set, a scan over a few
//  hundred bytes costs less than the way through a table, and a fraction of the memory.

import Glibc
import MartletBase

/// A lent run of bytes that holds a hash.
@safe
struct PackedHash {
    private let base: UnsafeMutableRawPointer
    /// Bytes of the region.
    let bytes: Int

    /// Larger hashes are `FieldTable`s, and so are those with longer fields or values. An entry of
    /// this size still is a slab's object.
    static let bytesMax = 900
    static let countMax = 255
    static let elementBytesMax = 255
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
    static func recordBytes(_ field: ByteView, _ value: ByteView) -> Int {
        2 &+ field.count &+ value.count
    }

    // MARK: Records by offset

    @inline(__always)
    private func byte(_ offset: Int) -> Int {
        assert(offset < bytes)
        return Int(unsafe base.load(fromByteOffset: offset, as: UInt8.self))
    }

    @inline(__always)
    func field(_ offset: Int) -> ByteView {
        unsafe ByteView(base + (offset &+ 2), count: byte(offset))
    }

    @inline(__always)
    func value(_ offset: Int) -> ByteView {
        unsafe ByteView(base + (offset &+ 2 &+ byte(offset)), count: byte(offset &+ 1))
    }

    /// Where the next record begins.
    @inline(__always)
    func next(_ offset: Int) -> Int { offset &+ 2 &+ byte(offset) &+ byte(offset &+ 1) }

    /// The offset of a field's record, or else where the records end.
    @inline(__always)
    func find(_ field: ByteView) -> (offset: Int, isThere: Bool) {
        var offset = Self.headerBytes
        for _ in 0..<count {
            if byte(offset) == field.count && self.field(offset) == field { return (offset, true) }
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

    /// Calls `body` for all fields in the order in which they came.
    @inline(__always)
    func forEachField(_ body: (ByteView, ByteView) -> Void) {
        var offset = Self.headerBytes
        for _ in 0..<count {
            body(field(offset), value(offset))
            offset = next(offset)
        }
    }

    // MARK: Changing

    /// Writes a record at `offset`, where the others end.
    ///
    /// - Precondition: the region has room for it.
    func append(_ field: ByteView, _ value: ByteView, at offset: Int) {
        assert(offset + Self.recordBytes(field, value) <= bytes)
        let place = unsafe base + offset
        unsafe place.storeBytes(of: UInt8(truncatingIfNeeded: field.count), as: UInt8.self)
        unsafe place.storeBytes(
            of: UInt8(truncatingIfNeeded: value.count), toByteOffset: 1, as: UInt8.self)
        unsafe memcpy(place + 2, field.address, field.count)
        unsafe memcpy(place + 2 + field.count, value.address, value.count)
        count += 1
    }

    /// Gives the record at `offset` another value; what stands behind it moves.
    ///
    /// - Precondition: the region has room for what the value is longer.
    @inline(__always)
    func setValue(_ value: ByteView, at offset: Int) {
        let start = offset &+ 2 &+ byte(offset)
        let old = byte(offset &+ 1)
        if old != value.count {
            let end = end
            assert(end - old + value.count <= bytes)
            unsafe memmove(base + (start + value.count), base + (start + old), end - start - old)
            unsafe base.storeBytes(
                of: UInt8(truncatingIfNeeded: value.count), toByteOffset: offset &+ 1,
                as: UInt8.self)
        }
        unsafe memcpy(base + start, value.address, value.count)
    }

    /// Checks every invariant; for tests.
    func checkInvariants() {
        precondition(end <= bytes, "the records fit the region")
        var fields: Set<[UInt8]> = []
        forEachField { field, _ in
            precondition(fields.insert(field.bytes).inserted, "a field is there once")
        }
    }
}
