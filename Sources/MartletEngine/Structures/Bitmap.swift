//  Bits of byte strings: bit 0 is the most significant of byte 0.
//
//  Works on borrowed bytes and knows nothing of keys.

import MartletBase

/// Queries over the bits of a string.
package enum Bitmap {
    /// The number of set bits in bytes `start ..< end`.
    ///
    /// - Precondition: `0 <= start <= end <= bytes.count`.
    /// - Complexity: O(end - start), eight bytes at a time.
    package static func count(_ bytes: ByteView, _ start: Int, _ end: Int) -> Int {
        let part = bytes.slice(start, end)
        var total = 0
        var index = 0
        while index + 8 <= part.count {
            total += part.word(at: index).nonzeroBitCount
            index += 8
        }
        while index < part.count {
            total += part[index].nonzeroBitCount
            index += 1
        }
        return total
    }

    /// The number of set bits from bit `start` through bit `end`.
    ///
    /// - Precondition: `0 <= start <= end < bytes.count * 8`.
    package static func count(_ bytes: ByteView, bits start: Int, through end: Int) -> Int {
        var total = count(bytes, start / 8, end / 8 + 1)
        total -= (bytes[start / 8] & ~(0xFF >> UInt8(start % 8))).nonzeroBitCount
        total -= (bytes[end / 8] & (0x7F >> UInt8(end % 8))).nonzeroBitCount
        return total
    }

    /// The first bit from `start` through `end` that is `bit`, or nil.
    ///
    /// - Precondition: `0 <= start <= end < bytes.count * 8`.
    package static func firstIndex(
        of bit: Bool, _ bytes: ByteView, bits start: Int, through end: Int
    ) -> Int? {
        var position = start
        let uninteresting: UInt8 = bit ? 0 : 0xFF
        while position <= end {
            // Whole bytes, and words of them, without the bit are passed over.
            if position % 8 == 0 {
                let word: UInt64 = bit ? 0 : .max
                while position + 63 <= end && bytes.word(at: position / 8) == word {
                    position += 64
                }
                while position + 7 <= end && bytes[position / 8] == uninteresting { position += 8 }
                if position > end { return nil }
            }
            if isSet(bytes, position) == bit { return position }
            position += 1
        }
        return nil
    }

    /// Whether a bit is set; bits behind the end are not.
    package static func isSet(_ bytes: ByteView, _ position: Int) -> Bool {
        let index = position / 8
        return index < bytes.count && bytes[index] & (0x80 >> UInt8(position % 8)) != 0
    }

    /// The unsigned number of `width` bits at bit `offset`; bits behind the end are 0.
    ///
    /// - Precondition: `1 <= width <= 64`.
    package static func field(_ bytes: ByteView, at offset: Int, width: Int) -> UInt64 {
        var value: UInt64 = 0
        for position in offset..<(offset + width) {
            value = value << 1 | (isSet(bytes, position) ? 1 : 0)
        }
        return value
    }

    /// Writes the lowest `width` bits of `value` at bit `offset`.
    ///
    /// - Precondition: the bytes reach beyond the last bit.
    package static func setField(
        _ bytes: MutableBytes, at offset: Int, width: Int, _ value: UInt64
    ) {
        for index in 0..<width {
            let position = offset + index
            let mask = UInt8(0x80) >> UInt8(position % 8)
            let isSet = value >> UInt64(width - 1 - index) & 1 != 0
            let old = bytes[position / 8]
            bytes[position / 8] = isSet ? old | mask : old & ~mask
        }
    }
}

extension ByteView {
    /// Eight bytes from `index` on as one number, in no particular byte order.
    @inline(__always)
    func word(at index: Int) -> UInt64 {
        precondition(index >= 0 && index + 8 <= count, "eight bytes inside the view")
        return unsafe address.loadUnaligned(fromByteOffset: index, as: UInt64.self)
    }
}
