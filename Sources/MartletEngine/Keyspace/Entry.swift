//  One key: a single allocation that holds header, expiry, key bytes and a small value.
//
//  Raw memory. The table's slot is the only owner of an entry; its memory comes from the slabs of
//  its partition (or malloc when larger than a slab object) and goes back there. An `Entry` handle
//  is used only while the shard's lock is held and never stored across it.
//
//         0  header    8 bytes, see `EntryHeader`
//         8  expiry    8 bytes  wall clock milliseconds      | only with `hasExpiry`
//        16  next      4 bytes  handle in the expiry index   | only with `hasExpiry`
//        20  previous  4 bytes  handle or slot of the index  | only with `hasExpiry`
//         …  the same 16 bytes for the earliest deadline of a hash's fields | `hasFieldExpiry`
//         …  wide      8 bytes  key length, value length     | only with `isWide`
//         …  key       its bytes
//         …  value     inline bytes, or an 8-byte integer, or an 8-byte address; unaligned
//
//  How collections use the value region: see `Collections.swift`.

import CSystem
import Glibc
import MartletBase

/// The type of a value, with Redis' numbers where it has one.
package enum ValueKind: UInt8 {
    case string = 0
    case list = 1
    case set = 2
    case sortedSet = 3
    case hash = 4
    case stream = 6

    /// The name TYPE answers.
    package var name: StaticString {
        switch self {
        case .string: "string"
        case .list: "list"
        case .set: "set"
        case .sortedSet: "zset"
        case .hash: "hash"
        case .stream: "stream"
        }
    }
}

/// How the value of an entry stands in memory. The meaning depends on the kind.
package enum ValueEncoding: UInt8 {
    /// Eight bytes inside the entry: a signed integer whose decimal form is the string.
    case integer = 0
    /// The value's bytes stand in the entry behind the key.
    case inline = 1
    /// The entry holds the address of a `HeapString`.
    case heap = 2
    /// A small collection: its bytes stand in the entry behind the key.
    case packed = 3
    /// A large collection: the entry holds the address of the root of a `Structure`.
    case structure = 4
}

/// The first eight bytes of an entry.
///
///     bits  0 ..<  4  kind            bits 24 ..< 48  access: clock or frequency
///     bits  4 ..<  8  encoding        bits 48 ..< 56  key length   | when not wide
///     bits  8 ..< 16  flags           bits 56 ..< 64  value length | when not wide
///     bits 16 ..< 24  snapshot epoch
struct EntryHeader {
    var bits: UInt64

    static let hasExpiryBit: UInt64 = 1 << 8
    static let isWideBit: UInt64 = 1 << 9
    /// A hash some of whose fields have a deadline; the earliest stands in the entry.
    static let hasFieldExpiryBit: UInt64 = 1 << 10
    /// The value was once changed in place; OBJECT ENCODING says `raw` for it, as Redis does. Of a
    /// collection: it was once beyond what Redis keeps in a small form, and never goes back.
    static let isModifiedBit: UInt64 = 1 << 11
    /// Of a set that is not modified: all its members are, and were, integers.
    static let holdsIntegersBit: UInt64 = 1 << 12
    /// Fields of the hash once had deadlines: OBJECT ENCODING says so from then on, as Redis does.
    static let hadFieldExpiryBit: UInt64 = 1 << 13
    /// What stays when a collection's entry is made anew.
    static let collectionBits = isModifiedBit | holdsIntegersBit | hadFieldExpiryBit
    /// Either kind of deadline.
    static let deadlineBits = hasExpiryBit | hasFieldExpiryBit
    static let epochMask: UInt64 = 0xFF << 16
    static let accessMask: UInt64 = 0xFF_FFFF << 24

    @inline(__always) var hasExpiry: Bool { bits & Self.hasExpiryBit != 0 }
    @inline(__always) var hasFieldExpiry: Bool { bits & Self.hasFieldExpiryBit != 0 }
    @inline(__always) var hadFieldExpiry: Bool { bits & Self.hadFieldExpiryBit != 0 }
    @inline(__always) var hasDeadline: Bool { bits & Self.deadlineBits != 0 }
    @inline(__always) var isWide: Bool { bits & Self.isWideBit != 0 }
    @inline(__always) var isModified: Bool { bits & Self.isModifiedBit != 0 }
    @inline(__always) var holdsIntegers: Bool { bits & Self.holdsIntegersBit != 0 }
    @inline(__always) var kindBits: UInt8 { UInt8(truncatingIfNeeded: bits & 15) }
    @inline(__always) var encodingBits: UInt8 { UInt8(truncatingIfNeeded: (bits >> 4) & 15) }

    /// Bytes before the key: 8, 16 more for each kind of deadline, 8 more when wide; without a
    /// branch, and one step for two of the bits.
    @inline(__always) var prefixBytes: Int {
        Int(truncatingIfNeeded: 8 &+ ((bits >> 4) & 16) &+ ((bits >> 6) & 24))
    }

    /// Where the earliest deadline of the fields stands, if the entry has it.
    @inline(__always) var fieldExpiryOffset: Int {
        Int(truncatingIfNeeded: 8 &+ ((bits >> 4) & 16))
    }
}

/// A handle to a key's allocation.
@safe
package struct Entry: Equatable {
    let address: UnsafeMutableRawPointer

    @inline(__always)
    init(_ address: UnsafeMutableRawPointer) { unsafe self.address = address }

    @inline(__always)
    package static func == (left: Entry, right: Entry) -> Bool {
        unsafe left.address == right.address
    }

    @inline(__always)
    var header: EntryHeader {
        get { unsafe EntryHeader(bits: address.load(as: UInt64.self)) }
        nonmutating set { unsafe address.storeBytes(of: newValue.bits, as: UInt64.self) }
    }

    @inline(__always)
    package var kind: ValueKind {
        guard let kind = ValueKind(rawValue: header.kindBits) else {
            preconditionFailure("an entry's kind is one of the six")
        }
        return kind
    }

    @inline(__always)
    package var encoding: ValueEncoding {
        guard let encoding = ValueEncoding(rawValue: header.encodingBits) else {
            preconditionFailure("an entry's encoding is a known one")
        }
        return encoding
    }

    @inline(__always)
    var isString: Bool { header.kindBits == ValueKind.string.rawValue }

    @inline(__always)
    var keyBytes: Int {
        let header = header
        if header.isWide { return Int(wideWord & 0xFFFF_FFFF) }
        return Int(truncatingIfNeeded: (header.bits >> 48) & 0xFF)
    }

    /// Bytes of the value inside the entry: the string's length when inline, else 8.
    @inline(__always)
    var valueBytes: Int {
        let header = header
        if header.isWide { return Int(wideWord >> 32) }
        return Int(truncatingIfNeeded: header.bits >> 56)
    }

    /// Says that the value region has `count` bytes now.
    ///
    /// - Precondition: they fit the entry's allocation, and 255 unless the entry is wide.
    @inline(__always)
    func setValueBytes(_ count: Int) {
        let header = header
        if header.isWide {
            let word = wideWord & 0xFFFF_FFFF | UInt64(UInt32(truncatingIfNeeded: count)) << 32
            unsafe address.storeBytes(
                of: word, toByteOffset: header.prefixBytes - 8, as: UInt64.self)
        } else {
            assert(count <= 255)
            self.header.bits = header.bits & 0x00FF_FFFF_FFFF_FFFF | UInt64(count) << 56
        }
    }

    /// The snapshot epoch of the entry: that in which it was born or last saved.
    @inline(__always)
    var epoch: UInt8 {
        get { UInt8(truncatingIfNeeded: header.bits >> 16) }
        nonmutating set {
            header.bits = header.bits & ~EntryHeader.epochMask | UInt64(newValue) << 16
        }
    }

    private var wideWord: UInt64 {
        unsafe address.load(
            fromByteOffset: header.prefixBytes - 8, as: UInt64.self)
    }

    /// The key's bytes, valid while the lock is held and the entry is not replaced.
    @inline(__always)
    var key: ByteView {
        unsafe ByteView(address + header.prefixBytes, count: keyBytes)
    }

    /// The inline bytes of the value region.
    @inline(__always)
    var inlineValue: ByteView {
        unsafe ByteView(valueAddress, count: valueBytes)
    }

    @inline(__always)
    var valueAddress: UnsafeMutableRawPointer {
        unsafe address + (header.prefixBytes &+ keyBytes)
    }

    /// The integer of the `integer` encoding.
    @inline(__always)
    var integer: Int64 {
        get { unsafe valueAddress.loadUnaligned(as: Int64.self) }
        nonmutating set {
            unsafe valueAddress.storeBytes(of: newValue, as: Int64.self)
        }
    }

    /// The heap string of the `heap` encoding.
    @inline(__always)
    var heapString: HeapString {
        get {
            unsafe HeapString(
                valueAddress.loadUnaligned(as: UnsafeMutableRawPointer.self))
        }
        nonmutating set {
            unsafe valueAddress.storeBytes(
                of: UInt(bitPattern: newValue.address), as: UInt.self)
        }
    }

    /// The deadline in wall clock milliseconds, or nil.
    @inline(__always)
    package var expiryMilliseconds: Int64? {
        header.hasExpiry ? unsafe address.load(fromByteOffset: 8, as: Int64.self) : nil
    }

    /// The earliest deadline of a hash's fields, or nil when none has one.
    @inline(__always)
    var fieldExpiryMilliseconds: Int64? {
        let header = header
        guard header.hasFieldExpiry else { return nil }
        return unsafe address.load(fromByteOffset: header.fieldExpiryOffset, as: Int64.self)
    }

    /// Whether a field of the hash is past its deadline at `nowMilliseconds`.
    @inline(__always)
    func hasDueField(at nowMilliseconds: Int64) -> Bool {
        guard let deadline = fieldExpiryMilliseconds else { return false }
        return deadline <= nowMilliseconds
    }

    /// Whether the deadline has passed at `nowMilliseconds`.
    @inline(__always)
    func isExpired(at nowMilliseconds: Int64) -> Bool {
        guard header.hasExpiry else { return false }
        return unsafe address.load(fromByteOffset: 8, as: Int64.self) <= nowMilliseconds
    }

    /// The 24 bits kept for eviction: a clock for LRU, minutes and a counter for LFU.
    package var access: UInt32 {
        get { UInt32(truncatingIfNeeded: (header.bits >> 24) & 0xFF_FFFF) }
        nonmutating set {
            header.bits =
                (header.bits & ~EntryHeader.accessMask) | (UInt64(newValue & 0xFF_FFFF) << 24)
        }
    }

    /// The bytes this entry asks of its allocator.
    @inline(__always)
    var allocationBytes: Int {
        header.prefixBytes &+ keyBytes &+ valueBytes
    }
}

extension Entry {
    /// The bytes of a string value, whatever its encoding. The decimal form of an integer is written
    /// to `scratch`, which has at least 24 bytes.
    ///
    /// - Precondition: the entry is a string.
    @inline(__always)
    func stringBytes(scratch: UnsafeMutableRawBufferPointer) -> ByteView {
        let encoding = header.encodingBits
        if encoding == ValueEncoding.inline.rawValue { return inlineValue }
        if encoding == ValueEncoding.heap.rawValue { return heapString.view }
        guard let base = scratch.baseAddress else { return ByteView() }
        let value = integer
        var length = decimalDigitCount(value.magnitude)
        if value < 0 {
            unsafe base.storeBytes(of: UInt8(ascii: "-"), as: UInt8.self)
            unsafe writeDecimal(value.magnitude, digits: length, to: base + 1)
            length += 1
        } else {
            unsafe writeDecimal(value.magnitude, digits: length, to: base)
        }
        return unsafe ByteView(base, count: length)
    }

    /// What OBJECT ENCODING answers.
    package var encodingName: StaticString {
        switch encoding {
        case .integer: "int"
        case .inline where valueBytes <= 44 && !header.isModified: "embstr"
        case .inline, .heap: "raw"
        case .packed, .structure: collectionEncodingName
        }
    }

    /// The length of a string value in bytes, 0 for a collection.
    package var stringLength: Int {
        switch encoding {
        case .inline: valueBytes
        case .heap: heapString.length
        case .integer: decimalDigitCount(integer.magnitude) + (integer < 0 ? 1 : 0)
        case .packed, .structure: 0
        }
    }
}

/// What a new entry is to look like; answers its size before it is allocated.
struct EntryLayout {
    let kind: ValueKind
    let encoding: ValueEncoding
    let keyBytes: Int
    let valueBytes: Int
    let hasExpiry: Bool
    let hasFieldExpiry: Bool

    @inline(__always)
    init(
        kind: ValueKind, encoding: ValueEncoding, keyBytes: Int, valueBytes: Int, hasExpiry: Bool,
        hasFieldExpiry: Bool = false
    ) {
        self.kind = kind
        self.encoding = encoding
        self.keyBytes = keyBytes
        self.valueBytes = valueBytes
        self.hasExpiry = hasExpiry
        self.hasFieldExpiry = hasFieldExpiry
    }

    @inline(__always)
    var isWide: Bool { keyBytes > 255 || valueBytes > 255 }

    @inline(__always)
    var allocationBytes: Int {
        8 &+ (hasExpiry ? 16 : 0) &+ (hasFieldExpiry ? 16 : 0) &+ (isWide ? 8 : 0) &+ keyBytes
            &+ valueBytes
    }

    /// Writes header, wide word and key to fresh memory; expiry and value are the caller's.
    ///
    /// - Precondition: `memory` has room for `allocationBytes`.
    @inline(__always)
    func initialize(
        _ memory: UnsafeMutableRawPointer, key: ByteView, access: UInt32, epoch: UInt8
    ) -> Entry {
        var bits = UInt64(kind.rawValue) | UInt64(encoding.rawValue) << 4
        bits |= UInt64(epoch) << 16 | UInt64(access) << 24
        var offset = 8
        if hasExpiry {
            bits |= EntryHeader.hasExpiryBit
            offset = 24
        }
        if hasFieldExpiry {
            bits |= EntryHeader.hasFieldExpiryBit
            offset &+= 16
        }
        if isWide {
            bits |= EntryHeader.isWideBit
            unsafe memory.storeBytes(
                of: UInt64(UInt32(truncatingIfNeeded: keyBytes))
                    | UInt64(UInt32(truncatingIfNeeded: valueBytes)) << 32,
                toByteOffset: offset, as: UInt64.self)
            offset &+= 8
        } else {
            bits |= UInt64(keyBytes) << 48 | UInt64(valueBytes) << 56
        }
        unsafe memory.storeBytes(of: bits, as: UInt64.self)
        unsafe memcpy(memory + offset, key.address, keyBytes)
        return unsafe Entry(memory)
    }
}

/// A string too large to stand in its entry: length, capacity and bytes in one malloc.
///
///      0  length    8 bytes        16  bytes, `capacity` of them, zero beyond `length` unspecified
///      8  capacity  8 bytes
///
/// - Memory: owned by exactly one entry, or by the reclaimer once it was unlinked.
@safe
struct HeapString {
    let address: UnsafeMutableRawPointer

    static let headerBytes = 16

    @inline(__always)
    init(_ address: UnsafeMutableRawPointer) { unsafe self.address = address }

    /// Allocates room for `capacity` bytes, or returns nil when the system refuses.
    static func allocate(length: Int, capacity: Int) -> HeapString? {
        precondition(length >= 0 && length <= capacity, "a string fits its capacity")
        guard let memory = unsafe malloc(headerBytes + capacity) else { return nil }
        unsafe memory.storeBytes(of: length, as: Int.self)
        unsafe memory.storeBytes(of: capacity, toByteOffset: 8, as: Int.self)
        return unsafe HeapString(memory)
    }

    @inline(__always)
    var length: Int {
        get { unsafe address.load(as: Int.self) }
        nonmutating set {
            assert(newValue >= 0 && newValue <= capacity)
            unsafe address.storeBytes(of: newValue, as: Int.self)
        }
    }

    @inline(__always)
    var capacity: Int { unsafe address.load(fromByteOffset: 8, as: Int.self) }

    func setCapacity(_ capacity: Int) {
        unsafe address.storeBytes(of: capacity, toByteOffset: 8, as: Int.self)
    }

    @inline(__always)
    var bytes: UnsafeMutableRawPointer { unsafe address + Self.headerBytes }

    @inline(__always)
    var view: ByteView { unsafe ByteView(bytes, count: length) }

    /// What malloc was asked for, its own header included: the cost that is counted.
    var allocationBytes: Int { Self.headerBytes + capacity + 8 }
}
