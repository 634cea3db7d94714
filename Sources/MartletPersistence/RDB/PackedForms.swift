//  The packed forms that values have in RDB files, read: listpack, ziplist, intset, zipmap.
//
//  Each is a run of bytes that was not made here. A reader walks it once from the front, checks all
//  that the form says twice (sizes, counts, lengths for walks from the end) and ends with nil; what it
//  answers is lent as long as the bytes are. A form that breaks its own rules ends in `PackedError`.

import MartletBase
import MartletEngine

/// The bytes are not of the form they should have.
struct PackedError: Error {}

/// A listpack: see `ListpackWriter` for the layout.
struct ListpackReader {
    private let bytes: ByteView
    private var at = 6
    /// Elements that the header speaks of; nil for more than it can say.
    let count: Int?
    private var read = 0

    init(_ bytes: ByteView) throws(PackedError) {
        guard bytes.count >= 7, bytes.slice(0, 4).littleEndian == UInt64(bytes.count),
            bytes[bytes.count - 1] == 255
        else { throw PackedError() }
        self.bytes = bytes
        let elements = Int(bytes.slice(4, 6).littleEndian)
        count = elements == 65535 ? nil : elements
    }

    /// The next element; nil behind the last one.
    mutating func next() throws(PackedError) -> ListElement? {
        let last = bytes.count - 1
        if at == last {
            if let count, count != read { throw PackedError() }
            return nil
        }
        let first = bytes[at]
        var headBytes = 1
        var textBytes: Int?
        var integerBytes = 0
        if first < 0x80 {
            integerBytes = 0
        } else if first < 0xC0 {
            textBytes = Int(first & 0x3F)
        } else if first < 0xE0 {
            headBytes = 2
        } else if first < 0xF0 {
            headBytes = 2
            guard at + 2 <= last else { throw PackedError() }
            textBytes = Int(first & 0x0F) << 8 | Int(bytes[at + 1])
        } else if first == 0xF0 {
            headBytes = 5
            guard at + 5 <= last else { throw PackedError() }
            textBytes = Int(bytes.slice(at + 1, at + 5).littleEndian)
        } else if first <= 0xF4 {
            integerBytes = first == 0xF4 ? 8 : Int(first - 0xF1) + 2
        } else {
            throw PackedError()
        }
        let length = headBytes + (textBytes ?? integerBytes)
        let lengthBytes = Listpack.lengthBytes(length)
        guard length <= last - at, lengthBytes <= last - at - length else { throw PackedError() }
        try check(length, lengthBytes, at: at + length)
        let start = at
        at += length + lengthBytes
        read += 1
        if textBytes != nil { return ListElement(bytes.slice(start + headBytes, start + length)) }
        if first < 0x80 { return .integer(Int64(first)) }
        if first < 0xE0 {
            let bits = UInt64(first & 0x1F) << 8 | UInt64(bytes[start + 1])
            return .integer(Self.signed(bits, bits: 13))
        }
        return .integer(
            Self.signed(
                bytes.slice(start + 1, start + length).littleEndian, bits: 8 * integerBytes))
    }

    private func check(_ length: Int, _ lengthBytes: Int, at place: Int) throws(PackedError) {
        for index in 0..<lengthBytes {
            let shift = 7 * (lengthBytes - 1 - index)
            let group = UInt8(truncatingIfNeeded: length >> shift) & 0x7F
            guard bytes[place + index] == (index == 0 ? group : group | 0x80) else {
                throw PackedError()
            }
        }
    }

    static func signed(_ value: UInt64, bits: Int) -> Int64 {
        let unused = UInt64(64 - bits)
        return Int64(bitPattern: value << unused) >> Int64(unused)
    }
}

/// A ziplist, which listpacks have replaced.
///
///      0  bytes     4   all of it, little-endian like the next two
///      4  last      4   where the last entry begins
///      8  entries   2   65535 for more than can be said
///     10  entries, each: the length of the one before, 1 byte, or 254 and 4 bytes; encoding; content
///      …  255
///
///     00pppppp                       string of up to 63 bytes
///     01pppppp qqqqqqqq              string of up to 16383 bytes
///     10______ 4 bytes               string, its length big-endian
///     11000000, 11010000, 11100000   integer of 2, 4, 8 bytes, little-endian
///     11110000, 11111110             integer of 3, 1 bytes
///     1111xxxx                       the integer xxxx - 1, xxxx from 1 to 13
struct ZiplistReader {
    private let bytes: ByteView
    private var at = 10
    private let lastOffset: Int
    private let count: Int?
    private var read = 0
    /// Bytes of the entry before, and where it began.
    private var before = 0
    private var beforeOffset = 10

    init(_ bytes: ByteView) throws(PackedError) {
        guard bytes.count >= 11, bytes.slice(0, 4).littleEndian == UInt64(bytes.count),
            bytes[bytes.count - 1] == 255
        else { throw PackedError() }
        self.bytes = bytes
        lastOffset = Int(bytes.slice(4, 8).littleEndian)
        let entries = Int(bytes.slice(8, 10).littleEndian)
        count = entries == 65535 ? nil : entries
    }

    /// The next entry; nil behind the last one.
    mutating func next() throws(PackedError) -> ListElement? {
        let last = bytes.count - 1
        if at == last {
            if let count, count != read { throw PackedError() }
            if lastOffset != beforeOffset { throw PackedError() }
            return nil
        }
        let start = at
        var place = at + 1
        var length = Int(bytes[at])
        if length == 254 {
            guard last - at >= 5 else { throw PackedError() }
            length = Int(bytes.slice(at + 1, at + 5).littleEndian)
            place = at + 5
        }
        // 255 would be the end, and there is none here.
        guard bytes[at] != 255, length == before, place < last else { throw PackedError() }
        let first = bytes[place]
        var headBytes = 1
        var contentBytes = 0
        switch first >> 6 {
        case 0: contentBytes = Int(first & 0x3F)
        case 1:
            headBytes = 2
            guard place + 2 <= last else { throw PackedError() }
            contentBytes = Int(first & 0x3F) << 8 | Int(bytes[place + 1])
        case 2:
            headBytes = 5
            guard first == 0x80, place + 5 <= last else { throw PackedError() }
            contentBytes = Int(bytes.slice(place + 1, place + 5).bigEndian)
        default:
            switch first {
            case 0xC0: contentBytes = 2
            case 0xD0: contentBytes = 4
            case 0xE0: contentBytes = 8
            case 0xF0: contentBytes = 3
            case 0xFE: contentBytes = 1
            case 0xF1...0xFD: contentBytes = 0
            default: throw PackedError()
            }
        }
        guard contentBytes <= last - place - headBytes else { throw PackedError() }
        at = place + headBytes + contentBytes
        before = at - start
        beforeOffset = start
        read += 1
        let content = bytes.slice(place + headBytes, at)
        if first < 0xC0 { return ListElement(content) }
        if contentBytes == 0 { return .integer(Int64(first & 0x0F) - 1) }
        return .integer(ListpackReader.signed(content.littleEndian, bits: 8 * contentBytes))
    }
}

/// A set of integers.
///
///     0  width     4   2, 4 or 8, little-endian like all of it
///     4  integers  4
///     8  integers of that width, ascending
struct IntsetReader {
    private let bytes: ByteView
    private let width: Int
    let count: Int
    private var index = 0
    private var before: Int64?

    init(_ bytes: ByteView) throws(PackedError) {
        guard bytes.count >= 8 else { throw PackedError() }
        let width = Int(bytes.slice(0, 4).littleEndian)
        let count = Int(bytes.slice(4, 8).littleEndian)
        guard width == 2 || width == 4 || width == 8, bytes.count - 8 == count * width else {
            throw PackedError()
        }
        self.bytes = bytes
        self.width = width
        self.count = count
    }

    /// The next integer; nil behind the last one.
    mutating func next() throws(PackedError) -> Int64? {
        if index == count { return nil }
        let start = 8 + index * width
        let integer = ListpackReader.signed(
            bytes.slice(start, start + width).littleEndian, bits: 8 * width)
        if let before, integer <= before { throw PackedError() }
        before = integer
        index += 1
        return integer
    }
}

/// A hash of Redis 2.4 and before.
///
///     0  pairs, each: length, field, length, unused bytes behind the value (1 byte), value, these
///     …  255
///
/// before which stands the number of pairs, 254 for more than can be said. A length is 1 byte, or 254
/// and 4 bytes, little-endian.
struct ZipmapReader {
    private let bytes: ByteView
    private var at = 1
    private var read = 0

    init(_ bytes: ByteView) throws(PackedError) {
        guard bytes.count >= 2, bytes[bytes.count - 1] == 255 else { throw PackedError() }
        self.bytes = bytes
    }

    /// The next field and its value; nil behind the last one.
    mutating func next() throws(PackedError) -> (field: ByteView, value: ByteView)? {
        let last = bytes.count - 1
        if at == last {
            if bytes[0] < 254 && Int(bytes[0]) != read { throw PackedError() }
            return nil
        }
        let field = try part(unused: false)
        let value = try part(unused: true)
        read += 1
        return (field, value)
    }

    private mutating func part(unused hasUnused: Bool) throws(PackedError) -> ByteView {
        let last = bytes.count - 1
        guard at < last, bytes[at] != 255 else { throw PackedError() }
        var length = Int(bytes[at])
        at += 1
        if length == 254 {
            guard last - at >= 4 else { throw PackedError() }
            length = Int(bytes.slice(at, at + 4).littleEndian)
            at += 4
        }
        var unused = 0
        if hasUnused {
            guard at < last else { throw PackedError() }
            unused = Int(bytes[at])
            at += 1
        }
        guard length <= last - at, unused <= last - at - length else { throw PackedError() }
        let start = at
        at += length + unused
        return bytes.slice(start, start + length)
    }
}
