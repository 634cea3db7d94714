//  The elements of a list in memory, one record behind the other, both small and large lists alike.
//  Fields and values of a stream's entries are the same without the length at the end.
//
//  Raw memory. The bytes belong to the key's entry or to a node, which lend them under the shard's
//  lock; a run says where its records begin and end, and nothing here goes beyond.
//
//  The layout is that of the elements of a listpack, so that a run is what an RDB file holds, and so
//  that its length decides what OBJECT ENCODING answers:
//
//         0xxxxxxx                      integer 0 to 127
//         10xxxxxx  bytes               up to 63 bytes
//         110xxxxx  8 bits              integer of 13 bits
//         1110xxxx  8 bits  bytes       up to 4095 bytes
//         11110000  32 bits  bytes      longer ones
//         11110001, …010, …011, …100    integer of 16, 24, 32, 64 bits
//         …  then the length of all this, 7 bits a byte, so that it can be read backward
//
//  Bytes that spell an integer are kept as one.

import Glibc
import MartletBase

/// An element as it stands in a list.
package enum ListElement {
    /// Bytes that spell no integer, lent while the list does not change.
    case bytes(ByteView)
    case integer(Int64)

    /// The form that bytes take in a list.
    @inline(__always)
    package init(_ bytes: ByteView) {
        if bytes.count <= Limits.integerDigitsMax, let integer = bytes.parseInteger() {
            self = .integer(integer)
        } else {
            self = .bytes(bytes)
        }
    }

    @inline(__always)
    static func == (left: ListElement, right: ListElement) -> Bool {
        switch (left, right) {
        case (.integer(let one), .integer(let other)): one == other
        case (.bytes(let one), .bytes(let other)): one == other
        default: false
        }
    }
}

/// A record that is about to be written.
@safe
struct NewRecord {
    let element: ListElement
    /// Bytes of it without the length at its end.
    let bodyBytes: Int
    /// Bytes it takes.
    let bytes: Int

    @inline(__always)
    init(_ element: ListElement) {
        self.element = element
        bodyBytes =
            switch element {
            case .bytes(let view):
                view.count &+ (view.count < 64 ? 1 : view.count < 4096 ? 2 : 5)
            case .integer(let value):
                switch value {
                case 0...127: 1
                case -4096...4095: 2
                case -0x8000...0x7FFF: 3
                case -0x80_0000...0x7F_FFFF: 4
                case Int64(Int32.min)...Int64(Int32.max): 5
                default: 9
                }
            }
        bytes = bodyBytes &+ Self.lengthBytes(bodyBytes)
    }

    /// How many bytes the length at the end of a record takes.
    @inline(__always)
    static func lengthBytes(_ bodyBytes: Int) -> Int {
        if bodyBytes <= 127 { return 1 }
        if bodyBytes < 16_383 { return 2 }
        if bodyBytes < 2_097_151 { return 3 }
        return bodyBytes < 268_435_455 ? 4 : 5
    }

    /// Writes the record to `place`, which has room for `bytes`.
    @inline(__always)
    func write(to place: UnsafeMutableRawPointer) {
        unsafe writeBody(to: place)
        let bodyBytes = bodyBytes
        if bodyBytes <= 127 {
            unsafe place.storeBytes(
                of: UInt8(truncatingIfNeeded: bodyBytes), toByteOffset: bodyBytes, as: UInt8.self)
            return
        }
        let count = bytes - bodyBytes
        for index in 0..<count {
            let bits = UInt8(truncatingIfNeeded: bodyBytes >> (7 * (count - 1 - index))) & 0x7F
            unsafe place.storeBytes(
                of: index == 0 ? bits : bits | 0x80, toByteOffset: bodyBytes + index,
                as: UInt8.self)
        }
    }

    /// Writes the record without the length at its end to `place`, which has room for `bodyBytes`.
    @inline(__always)
    func writeBody(to place: UnsafeMutableRawPointer) {
        switch element {
        case .bytes(let view):
            var header = 1
            if view.count < 64 {
                unsafe place.storeBytes(
                    of: 0x80 | UInt8(truncatingIfNeeded: view.count), as: UInt8.self)
            } else if view.count < 4096 {
                unsafe place.storeBytes(
                    of: (0xE000 | UInt16(truncatingIfNeeded: view.count)).bigEndian,
                    as: UInt16.self)
                header = 2
            } else {
                unsafe place.storeBytes(of: 0xF0, as: UInt8.self)
                unsafe place.storeBytes(
                    of: UInt32(truncatingIfNeeded: view.count).littleEndian, toByteOffset: 1,
                    as: UInt32.self)
                header = 5
            }
            unsafe memcpy(place + header, view.address, view.count)
        case .integer(let value): unsafe write(value, to: place)
        }
    }

    @inline(__always)
    private func write(_ value: Int64, to place: UnsafeMutableRawPointer) {
        let bits = UInt64(bitPattern: value)
        switch bodyBytes {
        case 1: unsafe place.storeBytes(of: UInt8(truncatingIfNeeded: bits), as: UInt8.self)
        case 2:
            unsafe place.storeBytes(
                of: (0xC000 | UInt16(truncatingIfNeeded: bits & 0x1FFF)).bigEndian, as: UInt16.self)
        case 3:
            unsafe place.storeBytes(of: 0xF1, as: UInt8.self)
            unsafe place.storeBytes(
                of: UInt16(truncatingIfNeeded: bits).littleEndian, toByteOffset: 1, as: UInt16.self)
        case 4:
            unsafe place.storeBytes(
                of: (UInt32(truncatingIfNeeded: bits) << 8 | 0xF2).littleEndian, as: UInt32.self)
        case 5:
            unsafe place.storeBytes(of: 0xF3, as: UInt8.self)
            unsafe place.storeBytes(
                of: UInt32(truncatingIfNeeded: bits).littleEndian, toByteOffset: 1, as: UInt32.self)
        default:
            unsafe place.storeBytes(of: 0xF4, as: UInt8.self)
            unsafe place.storeBytes(of: bits.littleEndian, toByteOffset: 1, as: UInt64.self)
        }
    }
}

/// Records one behind the other, by their offsets from an address.
///
/// - Invariant: the records fill `start ..< end` exactly.
@safe
struct RecordRun {
    let base: UnsafeMutableRawPointer
    let start: Int
    let end: Int

    @inline(__always)
    init(_ base: UnsafeMutableRawPointer, start: Int, end: Int) {
        unsafe self.base = base
        self.start = start
        self.end = end
    }

    @inline(__always)
    private func byte(_ offset: Int) -> UInt8 {
        assert(offset >= start && offset < end)
        return unsafe base.load(fromByteOffset: offset, as: UInt8.self)
    }

    /// Where the bytes of the record at `offset` begin and how many they are; nil for an integer.
    @inline(__always)
    private func span(_ offset: Int, _ first: UInt8) -> (start: Int, count: Int)? {
        if first & 0xC0 == 0x80 { return (offset &+ 1, Int(first & 0x3F)) }
        if first & 0xF0 == 0xE0 {
            return (offset &+ 2, Int(first & 0x0F) << 8 | Int(byte(offset &+ 1)))
        }
        if first == 0xF0 {
            let count = unsafe base.loadUnaligned(fromByteOffset: offset &+ 1, as: UInt32.self)
            return (offset &+ 5, Int(UInt32(littleEndian: count)))
        }
        return nil
    }

    /// The element of the record at `offset`.
    @inline(__always)
    func element(_ offset: Int) -> ListElement {
        let first = byte(offset)
        if let (start, count) = span(offset, first) {
            assert(start + count <= end)
            return unsafe .bytes(ByteView(base + start, count: count))
        }
        return .integer(integer(offset, first))
    }

    private func integer(_ offset: Int, _ first: UInt8) -> Int64 {
        if first < 0x80 { return Int64(first) }
        if first < 0xE0 {
            let bits = Int64(first & 0x1F) << 8 | Int64(byte(offset + 1))
            return bits >= 4096 ? bits - 8192 : bits
        }
        let place = unsafe base + (offset + 1)
        switch first {
        case 0xF1: return Int64(Int16(littleEndian: unsafe place.loadUnaligned(as: Int16.self)))
        case 0xF2:
            let bits = UInt32(littleEndian: unsafe (place - 1).loadUnaligned(as: UInt32.self))
            return Int64(Int32(bitPattern: bits) >> 8)
        case 0xF3: return Int64(Int32(littleEndian: unsafe place.loadUnaligned(as: Int32.self)))
        default: return Int64(littleEndian: unsafe place.loadUnaligned(as: Int64.self))
        }
    }

    /// Bytes of the record at `offset` without the length at its end.
    @inline(__always)
    func bodyBytes(_ offset: Int) -> Int {
        let first = byte(offset)
        if let (start, count) = span(offset, first) { return start &- offset &+ count }
        if first < 0x80 { return 1 }
        if first < 0xE0 { return 2 }
        return first == 0xF4 ? 9 : Int(first & 0x0F) &+ 2
    }

    /// Where the record behind the one at `offset` begins.
    @inline(__always)
    func next(_ offset: Int) -> Int {
        let body = bodyBytes(offset)
        return offset &+ body &+ NewRecord.lengthBytes(body)
    }

    /// Where the record begins that ends at `offset`.
    @inline(__always)
    func previous(_ offset: Int) -> Int {
        var place = offset &- 1
        var bits = byte(place)
        if bits < 0x80 { return place &- Int(bits) }
        var body = Int(bits & 0x7F)
        var shift = 7
        while bits >= 0x80 {
            place &-= 1
            bits = byte(place)
            body |= Int(bits & 0x7F) << shift
            shift &+= 7
        }
        return place &- body
    }

    /// Where record number `index` of `count` begins, the end for `count` itself.
    func offset(of index: Int, count: Int) -> Int {
        precondition(index >= 0 && index <= count, "a record that is there")
        if index <= count / 2 {
            var offset = start
            for _ in 0..<index { offset = next(offset) }
            return offset
        }
        var offset = end
        for _ in index..<count { offset = previous(offset) }
        return offset
    }

    /// Calls `body` for records from number `index` on, forward or backward, until it answers false.
    ///
    /// - Returns: false when `body` did.
    @inline(__always)
    func walk(
        from index: Int, count: Int, reversed: Bool, _ body: (ListElement) -> Bool
    ) -> Bool {
        if reversed {
            var offset = offset(of: index + 1, count: count)
            while offset > start {
                offset = previous(offset)
                if !body(element(offset)) { return false }
            }
        } else {
            var offset = offset(of: index, count: count)
            while offset < end {
                if !body(element(offset)) { return false }
                offset = next(offset)
            }
        }
        return true
    }

    /// Takes out up to `limit` records of an element, the first or the last ones; the others close
    /// up towards the start, or the end when `reversed`.
    ///
    /// - Returns: how many were taken out, and where the others now begin and end.
    func removing(
        _ element: ListElement, limit: Int, reversed: Bool
    ) -> (removed: Int, start: Int, end: Int) {
        var removed = 0
        if !reversed {
            var from = start
            var to = start
            while from < end {
                let next = next(from)
                if removed < limit && self.element(from) == element {
                    removed += 1
                } else {
                    if to != from { unsafe memmove(base + to, base + from, next - from) }
                    to += next - from
                }
                from = next
            }
            return (removed, start, to)
        }
        var from = end
        var to = end
        while from > start {
            let record = previous(from)
            let size = from - record
            if removed < limit && self.element(record) == element {
                removed += 1
            } else {
                to -= size
                if to != record { unsafe memmove(base + to, base + record, size) }
            }
            from = record
        }
        return (removed, to, end)
    }

    /// Checks that `count` records fill the run and can be read both ways; for tests.
    func checkInvariants(count: Int) {
        var offsets: [Int] = []
        var offset = start
        while offset < end {
            offsets.append(offset)
            let record = NewRecord(element(offset))
            precondition(next(offset) - offset == record.bytes, "a record has its shortest form")
            offset = next(offset)
        }
        precondition(offset == end, "the records end with the run")
        precondition(offsets.count == count, "the records are counted")
        for start in offsets.reversed() {
            offset = previous(offset)
            precondition(offset == start, "records are the same backward")
        }
    }
}
