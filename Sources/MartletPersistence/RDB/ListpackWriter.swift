//  Listpacks: how RDB files keep small collections, list nodes and stream blocks.
//
//         0  bytes     4   all of it, little-endian
//         4  elements  2   65535 for more than can be said
//         6  elements, each: encoding, content, its own length for walks from the end
//         …  255
//
//         0xxxxxxx                             integer of 7 bits, not negative
//         10xxxxxx bytes                       string of up to 63 bytes
//         110xxxxx xxxxxxxx                    integer of 13 bits, two's complement
//         1110xxxx xxxxxxxx bytes              string of up to 4095 bytes
//         11110000 4 bytes of length, bytes    string
//         11110001, 2, 3, 4 and 2, 3, 4, 8     integer, little-endian
//
//  The length behind an element counts encoding and content, in groups of 7 bits, the highest first,
//  all but the first of them with the upper bit set.

import MartletBase
import MartletEngine

/// What readers and writers of listpacks share.
enum Listpack {
    /// Bytes that an element's length behind it takes. The last value of each size but the first has a
    /// byte more than it needs, in Redis, which counts on it.
    @inline(__always)
    static func lengthBytes(_ length: Int) -> Int {
        length <= 127
            ? 1 : length < 16_383 ? 2 : length < 2_097_151 ? 3 : length < 268_435_455 ? 4 : 5
    }
}

/// One listpack while it is written.
struct ListpackWriter: ~Copyable {
    private var buffer = ByteBuffer()
    private(set) var count = 0

    private static let headerBytes = 6

    init() { begin() }

    /// Begins another one.
    mutating func begin() {
        buffer.removeAll()
        count = 0
        for _ in 0..<Self.headerBytes { buffer.append(0) }
    }

    /// Bytes it takes when it ends here.
    var bytes: Int { buffer.count + 1 }

    /// Ends it; all of it, lent until it is changed.
    mutating func end() -> ByteView {
        buffer.append(255)
        let size = buffer.count
        let elements = min(count, 65535)
        // The header's bytes were kept free.
        buffer.overwrite(
            at: 0,
            [
                UInt8(truncatingIfNeeded: size), UInt8(truncatingIfNeeded: size >> 8),
                UInt8(truncatingIfNeeded: size >> 16), UInt8(truncatingIfNeeded: size >> 24),
                UInt8(truncatingIfNeeded: elements), UInt8(truncatingIfNeeded: elements >> 8),
            ])
        return buffer.view
    }

    /// Appends bytes, as an integer if they spell one.
    mutating func append(_ bytes: ByteView) { append(ListElement(bytes)) }

    mutating func append(_ element: ListElement) {
        switch element {
        case .bytes(let bytes): append(text: bytes)
        case .integer(let integer): append(integer)
        }
    }

    private mutating func append(text: ByteView) {
        let length = text.count
        var headBytes = 1
        if length < 64 {
            buffer.append(UInt8(0x80 | length))
        } else if length < 4096 {
            headBytes = 2
            buffer.append(UInt8(0xE0 | length >> 8))
            buffer.append(UInt8(length & 0xFF))
        } else {
            headBytes = 5
            buffer.append(0xF0)
            for shift in [0, 8, 16, 24] {
                buffer.append(UInt8(truncatingIfNeeded: length >> shift))
            }
        }
        buffer.append(text)
        close(headBytes + length)
    }

    mutating func append(_ integer: Int64) {
        if 0...127 ~= integer {
            buffer.append(UInt8(integer))
            close(1)
        } else if -4096...4095 ~= integer {
            let bits = UInt16(truncatingIfNeeded: integer) & 0x1FFF
            buffer.append(UInt8(0xC0 | bits >> 8))
            buffer.append(UInt8(bits & 0xFF))
            close(2)
        } else {
            let bytes =
                Int64(Int16.min)...Int64(Int16.max) ~= integer
                ? 2
                : -0x80_0000...0x7F_FFFF ~= integer
                    ? 3 : Int64(Int32.min)...Int64(Int32.max) ~= integer ? 4 : 8
            buffer.append(bytes == 8 ? 0xF4 : UInt8(0xF1 + bytes - 2))
            for index in 0..<bytes {
                buffer.append(UInt8(truncatingIfNeeded: integer >> Int64(8 * index)))
            }
            close(1 + bytes)
        }
    }

    /// Writes the length of an element behind it.
    private mutating func close(_ length: Int) {
        count += 1
        let groups = Listpack.lengthBytes(length)
        for group in (0..<groups).reversed() {
            let bits = UInt8(length >> (7 * group) & 0x7F)
            buffer.append(group == groups - 1 ? bits : bits | 0x80)
        }
    }
}
