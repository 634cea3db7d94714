//  A small set of integers in one run of bytes: sorted, all of the width that the widest needs.
//
//  Raw memory. The bytes belong to the key's entry (Keyspace), which lends them under the shard's
//  lock and resizes them; nothing here goes beyond. Who adds to it makes the region longer first.
//
//         0  width       1 byte   1, 2, 3, 4 or 8: bytes of every integer
//         1  count       2 bytes
//         3  integers    `width` bytes each, little-endian two's complement, ascending
//         …  unused: room for what is about to come, or memory for a smaller region was not to be had
//
//  The first integer that does not fit the width makes all of them wider; they stay so, whatever is
//  removed later. Redis' intset is this with a header of 8 bytes and no widths of 1 and 3.

import Glibc
import MartletBase

/// A lent run of bytes that holds a set of integers.
///
/// - Complexity: lookups O(log n); changes move O(n) bytes.
@safe
struct IntegerSet {
    private let base: UnsafeMutableRawPointer
    /// Bytes of the region.
    let bytes: Int

    /// Larger sets are `MemberSet`s: 512 integers of any size, the default of
    /// `set-max-intset-entries`, fit; and moving half of this costs less than a table's cache misses.
    static let bytesMax = headerBytes + 512 * 8
    static let headerBytes = 3

    @inline(__always)
    init(_ base: UnsafeMutableRawPointer, bytes: Int) {
        unsafe self.base = base
        self.bytes = bytes
    }

    @inline(__always)
    private(set) var width: Int {
        get { Int(unsafe base.load(as: UInt8.self)) }
        nonmutating set {
            unsafe base.storeBytes(of: UInt8(truncatingIfNeeded: newValue), as: UInt8.self)
        }
    }

    @inline(__always)
    private(set) var count: Int {
        get { Int(unsafe base.loadUnaligned(fromByteOffset: 1, as: UInt16.self)) }
        nonmutating set {
            unsafe base.storeBytes(
                of: UInt16(truncatingIfNeeded: newValue), toByteOffset: 1, as: UInt16.self)
        }
    }

    /// Makes a fresh region an empty set of integers of `width` bytes.
    func initialize(width: Int) {
        self.width = width
        count = 0
    }

    /// Bytes that an integer needs.
    @inline(__always)
    static func width(of value: Int64) -> Int {
        // Bits that tell it apart from its sign.
        let bits = 64 &- (value < 0 ? ~value : value).leadingZeroBitCount
        return bits < 32 ? bits / 8 &+ 1 : 8
    }

    /// Bytes of a region for `count` integers.
    @inline(__always)
    static func bytes(count: Int, width: Int) -> Int { headerBytes &+ count &* width }

    /// Bytes that are in use.
    @inline(__always)
    var usedBytes: Int { Self.bytes(count: count, width: width) }

    // MARK: Reading

    /// The integer at `index`.
    @inline(__always)
    subscript(index: Int) -> Int64 { value(index, width) }

    @inline(__always)
    private func value(_ index: Int, _ width: Int) -> Int64 {
        assert(Self.headerBytes + (index + 1) * width <= bytes)
        let place = unsafe base + (Self.headerBytes &+ index &* width)
        switch width {
        case 1: return Int64(unsafe place.load(as: Int8.self))
        case 2: return Int64(unsafe place.loadUnaligned(as: Int16.self))
        case 3:
            return Int64(unsafe place.loadUnaligned(as: UInt16.self))
                | Int64(unsafe place.load(fromByteOffset: 2, as: Int8.self)) &<< 16
        case 4: return Int64(unsafe place.loadUnaligned(as: Int32.self))
        default: return unsafe place.loadUnaligned(as: Int64.self)
        }
    }

    /// The index of an integer, or else the one at which it would stand.
    @inline(__always)
    func find(_ value: Int64) -> (index: Int, isThere: Bool) {
        let width = width
        var low = 0
        var high = count
        // Integers often come in their order.
        if high > 0 {
            let last = self.value(high &- 1, width)
            if value > last { return (high, false) }
        }
        while low < high {
            let middle = (low &+ high) / 2
            let found = self.value(middle, width)
            if found == value { return (middle, true) }
            if found < value { low = middle &+ 1 } else { high = middle }
        }
        return (low, false)
    }

    /// Calls `body` for all integers in ascending order.
    @inline(__always)
    func forEachInteger(_ body: (Int64) -> Void) {
        let width = width
        for index in 0..<count { body(value(index, width)) }
    }

    // MARK: Changing

    /// Puts in an integer at the index where it belongs, after making all of them wider if it needs
    /// that.
    ///
    /// - Precondition: the region has room for one more, at the width that results.
    func insert(_ value: Int64, at index: Int) {
        let needed = Self.width(of: value)
        if needed > width { widen(to: needed) }
        let width = width
        let count = count
        precondition(Self.bytes(count: count + 1, width: width) <= bytes, "the region has room")
        let place = unsafe base + (Self.headerBytes + index * width)
        if index < count { unsafe memmove(place + width, place, (count - index) * width) }
        store(value, at: index, width)
        self.count = count + 1
    }

    private func store(_ value: Int64, at index: Int, _ width: Int) {
        let place = unsafe base + (Self.headerBytes + index * width)
        switch width {
        case 1: unsafe place.storeBytes(of: Int8(truncatingIfNeeded: value), as: Int8.self)
        case 3:
            unsafe place.storeBytes(of: Int16(truncatingIfNeeded: value), as: Int16.self)
            unsafe place.storeBytes(
                of: Int8(truncatingIfNeeded: value &>> 16), toByteOffset: 2, as: Int8.self)
        case 2: unsafe place.storeBytes(of: Int16(truncatingIfNeeded: value), as: Int16.self)
        case 4: unsafe place.storeBytes(of: Int32(truncatingIfNeeded: value), as: Int32.self)
        default: unsafe place.storeBytes(of: value, as: Int64.self)
        }
    }

    private func widen(to wider: Int) {
        let narrow = width
        precondition(Self.bytes(count: count, width: wider) <= bytes, "the region has room")
        // From the last one on: none is overwritten before it was read.
        for index in stride(from: count - 1, through: 0, by: -1) {
            store(value(index, narrow), at: index, wider)
        }
        width = wider
    }

    /// Takes the integer at `index` out; the region is longer than needed afterwards.
    func remove(at index: Int) {
        let width = width
        let count = count
        precondition(index < count, "an integer that is there")
        let place = unsafe base + (Self.headerBytes + index * width)
        unsafe memmove(place, place + width, (count - index - 1) * width)
        self.count = count - 1
    }

    /// Checks every invariant; for tests.
    func checkInvariants() {
        precondition((1...4).contains(width) || width == 8, "a width there is")
        precondition(usedBytes <= bytes, "the integers fit the region")
        for index in 1..<max(1, count) {
            precondition(self[index - 1] < self[index], "integers ascend")
        }
    }
}
