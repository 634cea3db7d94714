//  A small list in one run of bytes, inside its key's entry.
//
//  Raw memory. The bytes belong to the key's entry (Keyspace), which lends them under the shard's
//  lock, resizes them, and says how many there are; nothing here goes beyond.
//
//         0  count        2 bytes
//         2  record bytes 2 bytes
//         4  records      see ListRecords.swift
//         …  unused
//
//  A queue gains and loses elements all the time: a region that grows gets a quarter more than it
//  needs, and one is made shorter only when less than half of it is in use.

import Glibc
import MartletBase

/// A lent run of bytes that holds a list.
@safe
struct PackedList {
    private let base: UnsafeMutableRawPointer
    /// Bytes of the region.
    let bytes: Int

    /// Larger lists are `List`s. An entry of this size still is a slab's object, and moving its bytes
    /// costs less than another allocation.
    static let bytesMax = 900
    static let headerBytes = 4

    @inline(__always)
    init(_ base: UnsafeMutableRawPointer, bytes: Int) {
        unsafe self.base = base
        self.bytes = bytes
    }

    @inline(__always)
    var count: Int {
        get { Int(unsafe base.loadUnaligned(as: UInt16.self)) }
        nonmutating set {
            unsafe base.storeBytes(of: UInt16(truncatingIfNeeded: newValue), as: UInt16.self)
        }
    }

    /// Bytes of the records.
    @inline(__always)
    private(set) var recordBytes: Int {
        get { Int(unsafe base.loadUnaligned(fromByteOffset: 2, as: UInt16.self)) }
        nonmutating set {
            unsafe base.storeBytes(
                of: UInt16(truncatingIfNeeded: newValue), toByteOffset: 2, as: UInt16.self)
        }
    }

    /// Bytes of the region that are in use.
    @inline(__always)
    var usedBytes: Int { Self.headerBytes &+ recordBytes }

    @inline(__always)
    var records: RecordRun { unsafe RecordRun(base, start: Self.headerBytes, end: usedBytes) }

    /// Makes a fresh region an empty list.
    @inline(__always)
    func initialize() { unsafe base.storeBytes(of: 0, as: UInt32.self) }

    /// Puts a record in before number `index`. The region has room for it.
    @inline(__always)
    func insert(_ record: NewRecord, at index: Int) {
        let used = usedBytes
        precondition(used + record.bytes <= bytes, "the region has room")
        let count = count
        let offset =
            index == 0
            ? Self.headerBytes : index == count ? used : records.offset(of: index, count: count)
        let place = unsafe base + offset
        if offset < used { unsafe memmove(place + record.bytes, place, used - offset) }
        unsafe record.write(to: place)
        self.count = count &+ 1
        recordBytes &+= record.bytes
    }

    /// What a region is to have that grows to `used` bytes.
    @inline(__always)
    static func grown(_ used: Int) -> Int {
        // Beyond 255 an entry takes eight bytes more.
        min(used &+ used / 4 &+ 16, used <= 255 ? 255 : bytesMax)
    }

    /// Whether the region should be shorter.
    @inline(__always)
    var isTooLong: Bool { bytes > usedBytes &* 2 &+ 64 }

    /// Takes the first or the last record out.
    @inline(__always)
    func removeRecord(atFront: Bool) {
        let used = usedBytes
        let start = atFront ? Self.headerBytes : records.previous(used)
        let end = atFront ? records.next(start) : used
        if end < used { unsafe memmove(base + start, base + end, used &- end) }
        count &-= 1
        recordBytes &-= end &- start
    }

    /// Takes records out; the region is longer than needed afterwards.
    @inline(__always)
    func remove(_ indexes: Range<Int>) {
        let used = usedBytes
        let count = count
        let start = records.offset(of: indexes.lowerBound, count: count)
        var end = start
        for _ in indexes { end = records.next(end) }
        if end < used { unsafe memmove(base + start, base + end, used - end) }
        self.count = count &- indexes.count
        recordBytes &-= end &- start
    }

    /// Takes out up to `limit` records of an element; returns how many there were.
    func remove(_ element: ListElement, limit: Int, reversed: Bool) -> Int {
        let (removed, start, end) = records.removing(element, limit: limit, reversed: reversed)
        if start > Self.headerBytes {
            unsafe memmove(base + Self.headerBytes, base + start, end - start)
        }
        count -= removed
        recordBytes = end - start
        return removed
    }

    /// Checks every invariant; for tests.
    func checkInvariants() {
        precondition(usedBytes <= bytes, "the records fit the region")
        records.checkInvariants(count: count)
    }
}
