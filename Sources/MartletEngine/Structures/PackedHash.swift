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
//         …  deadline of each field, 0 for none   8 bytes each, in the order of the records,
//                                                  up to the region's end | only of a timed hash
//
//  Who lends the bytes knows whether the hash is timed. The records of a timed one are where those of
//  any other are, so that reading is the same; a change that moves them goes by way of a
//  `PackedHashEdit`, which writes all anew.
//
//  A field costs two bytes more than itself and its value. As of the sorted set, a scan over a few
//  hundred bytes costs less than the way through a table, and a fraction of the memory.

import Glibc
import MartletBase

/// The record that is looked at first: fields are often given in the order in which they stand.
struct PackedTurn {
    var offset = PackedHash.headerBytes
    var record = 0
}

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

    /// Whether the record that is next in turn is the field's.
    @inline(__always)
    func isNext(_ turn: PackedTurn, _ field: ByteView) -> Bool {
        turn.record < count && byte(turn.offset) == field.count && self.field(turn.offset) == field
    }

    /// The turn behind this one.
    @inline(__always)
    func after(_ turn: PackedTurn) -> PackedTurn {
        PackedTurn(offset: next(turn.offset), record: turn.record &+ 1)
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

    /// Takes over the bytes of a region of the same size.
    func copy(from other: PackedHash) {
        precondition(bytes == other.bytes, "regions of the same size")
        unsafe memcpy(base, other.base, bytes)
    }

    // MARK: Deadlines

    /// The number of a field's record, nil when it is not there.
    func index(of field: ByteView) -> Int? {
        var offset = Self.headerBytes
        for index in 0..<count {
            if self.field(offset) == field { return index }
            offset = next(offset)
        }
        return nil
    }

    /// The deadline of the field that came as number `index`, nil when it has none.
    ///
    /// - Precondition: the hash is timed.
    func deadline(_ index: Int) -> Int64? {
        assert(index < count)
        let deadline = unsafe base.loadUnaligned(
            fromByteOffset: bytes - 8 * (count - index), as: Int64.self)
        return deadline == 0 ? nil : deadline
    }

    /// Gives the field that came as number `index` a deadline, or takes it away.
    ///
    /// - Precondition: the hash is timed, and the deadline is above 0.
    func setDeadline(_ deadline: Int64?, _ index: Int) {
        assert(index < count)
        unsafe base.storeBytes(
            of: deadline ?? 0, toByteOffset: bytes - 8 * (count - index), as: Int64.self)
    }

    /// The earliest deadline of a timed hash, nil when no field has one.
    var earliestDeadline: Int64? {
        var earliest: Int64?
        for index in 0..<count {
            guard let deadline = deadline(index) else { continue }
            earliest = min(earliest ?? deadline, deadline)
        }
        return earliest
    }

    /// Calls `body` for the fields of a timed hash that are not past their deadline.
    func forEachField(
        at nowMilliseconds: Int64, _ body: (ByteView, ByteView, _ deadline: Int64?) -> Void
    ) {
        var offset = Self.headerBytes
        for index in 0..<count {
            let deadline = deadline(index)
            if deadline ?? .max > nowMilliseconds { body(field(offset), value(offset), deadline) }
            offset = next(offset)
        }
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

/// A packed hash as it is to be: fields removed, one written, deadlines changed.
///
/// Made from the hash as it is, whose bytes stay where they are until `write` has copied what stays.
struct PackedHashEdit {
    private let source: PackedHash
    /// Of each record in the order in which they came: its deadline, 0 for none, or that it goes.
    private var marks = InlineArray<256, Int64>(repeating: 0)
    /// Records, with those that go and the one that comes.
    private var marked: Int
    /// The record that gets a new value, or comes as the last one.
    private var written: (index: Int, field: ByteView, value: ByteView)?

    private static let removed: Int64 = -1

    init(_ source: PackedHash, isTimed: Bool) {
        self.source = source
        marked = source.count
        for index in 0..<marked where isTimed { marks[index] = source.deadline(index) ?? 0 }
    }

    func deadline(_ index: Int) -> Int64? { marks[index] > 0 ? marks[index] : nil }

    mutating func setDeadline(_ deadline: Int64?, _ index: Int) { marks[index] = deadline ?? 0 }

    mutating func remove(_ index: Int) { marks[index] = Self.removed }

    /// Removes what is due, calling `body` for each field before; answers how many those are.
    mutating func removeDue(at nowMilliseconds: Int64, _ body: (ByteView) -> Void) -> Int {
        var count = 0
        var index = 0
        source.forEachField { field, _ in
            if marks[index] > 0 && marks[index] <= nowMilliseconds {
                body(field)
                remove(index)
                count += 1
            }
            index += 1
        }
        return count
    }

    /// Gives the record of number `index`, or one more when that is nil, this value.
    ///
    /// - Precondition: called once; there are fewer than `PackedHash.countMax` records.
    mutating func write(_ field: ByteView, _ value: ByteView, at index: Int?) {
        written = (index ?? marked, field, value)
        if index == nil { marked += 1 }
    }

    /// How many fields there are to be.
    var count: Int {
        var count = 0
        for index in 0..<marked where marks[index] != Self.removed { count += 1 }
        return count
    }

    var earliestDeadline: Int64? {
        var earliest: Int64?
        for index in 0..<marked where marks[index] > 0 {
            earliest = min(earliest ?? marks[index], marks[index])
        }
        return earliest
    }

    /// Bytes that the hash is to have.
    var bytes: Int {
        var bytes = PackedHash.headerBytes
        forEachRecord { field, value, _ in bytes += PackedHash.recordBytes(field, value) }
        return earliestDeadline == nil ? bytes : bytes + 8 * count
    }

    /// Calls `body` for the fields that are to be there.
    func forEachRecord(_ body: (ByteView, ByteView, _ deadline: Int64?) -> Void) {
        var offset = PackedHash.headerBytes
        for index in 0..<marked {
            let isThere = index < source.count
            if let written, written.index == index {
                body(written.field, written.value, deadline(index))
            } else if isThere && marks[index] != Self.removed {
                body(source.field(offset), source.value(offset), deadline(index))
            }
            if isThere { offset = source.next(offset) }
        }
    }

    /// Writes the hash to bytes that are none of the source's.
    ///
    /// - Parameters:
    ///   - target: where it goes.
    ///   - isTimed: with room for deadlines at the end, whether there are any or not.
    func write(to target: PackedHash, isTimed: Bool) {
        target.count = 0
        var end = PackedHash.headerBytes
        forEachRecord { field, value, _ in
            target.append(field, value, at: end)
            end = target.next(end)
        }
        if !isTimed { return }
        var index = 0
        forEachRecord { _, _, deadline in
            target.setDeadline(deadline, index)
            index += 1
        }
    }
}
