//  LZF: the compression of strings in RDB files.
//
//  A compressed run is a sequence of two kinds of pieces, told apart by the first byte:
//
//         000LLLLL  L + 1 bytes that stand for themselves                           1 … 32
//         LLLDDDDD DDDDDDDD           L + 2 bytes from D + 1 bytes back, L = 1 … 6   3 … 8
//         111DDDDD LLLLLLLL DDDDDDDD  L + 9 bytes from there                         9 … 264
//
//  What is copied may reach into what it makes: a distance of 1 repeats a byte.

import MartletBase

/// Compresses runs of bytes; the table it looks into is kept from one to the next.
///
/// - Source: Lempel and Ziv 1977, with a table of the last place of each three bytes instead of a
///   search, as in Williams' LZRW1, 1991.
struct LZFCompressor {
    private static let tableBitsMax = 13
    private static let distanceMax = 1 << 13
    private static let lengthMax = 264
    private static let literalsMax = 32

    /// Where three bytes of such a hash were last seen, counted from `origin`; less is from another
    /// run, so that the table need not be cleared for each.
    private var table: [UInt32] = []
    private var origin: UInt32 = 1
    private var tableBits = 0

    /// Appends the compressed form of `input` to `output` if it is shorter by four bytes or more.
    ///
    /// - Returns: how many bytes it takes; nil when it is not worth it, and nothing was appended.
    /// - Complexity: O(n).
    mutating func compress(_ input: ByteView, into output: inout ByteBuffer) -> Int? {
        let count = input.count
        if count <= 4 || count > Int(Int32.max) { return nil }
        // No larger than the input needs: a compressor may be made for one short string alone.
        let wantedBits = min(Self.tableBitsMax, Int.bitWidth - count.leadingZeroBitCount)
        if table.isEmpty || tableBits < wantedBits {
            tableBits = wantedBits
            table = [UInt32](repeating: 0, count: 1 << wantedBits)
            origin = 1
        }
        if UInt64(origin) + UInt64(count) > UInt64(UInt32.max) {
            for index in table.indices { table[index] = 0 }
            origin = 1
        }
        let start = output.count
        // Room for the worst case up to the point of giving up: the bytes themselves and a header
        // for each 32 of them.
        let bytesMax = count - 4
        var literals = 0
        var at = 0
        while at < count {
            var length = 0
            var distance = 0
            if at + 2 < count {
                let first = UInt32(input[at])
                let second = UInt32(input[at + 1])
                let third = UInt32(input[at + 2])
                let hash = (first << 16 | second << 8 | third) &* 2_654_435_761
                let slot = Int(hash >> UInt32(32 - tableBits))
                let seen = table[slot]
                table[slot] = origin + UInt32(at)
                if seen >= origin {
                    let place = Int(seen - origin)
                    distance = at - place
                    if distance <= Self.distanceMax && input[place] == input[at]
                        && input[place + 1] == input[at + 1] && input[place + 2] == input[at + 2]
                    {
                        let most = min(Self.lengthMax, count - at)
                        length = 3
                        while length < most && input[place + length] == input[at + length] {
                            length += 1
                        }
                    }
                }
            }
            if length == 0 {
                literals += 1
                at += 1
                if literals == Self.literalsMax {
                    Self.append(input.slice(at - literals, at), to: &output)
                    literals = 0
                }
            } else {
                if literals > 0 { Self.append(input.slice(at - literals, at), to: &output) }
                literals = 0
                let back = distance - 1
                if length <= 8 {
                    output.append(UInt8((length - 2) << 5 | back >> 8))
                } else {
                    output.append(UInt8(7 << 5 | back >> 8))
                    output.append(UInt8(length - 9))
                }
                output.append(UInt8(back & 0xFF))
                at += length
            }
            if output.count - start + literals > bytesMax {
                output.truncate(to: start)
                origin += UInt32(count)
                return nil
            }
        }
        if literals > 0 { Self.append(input.slice(count - literals, count), to: &output) }
        origin += UInt32(count)
        if output.count - start > bytesMax {
            output.truncate(to: start)
            return nil
        }
        return output.count - start
    }

    private static func append(_ literals: ByteView, to output: inout ByteBuffer) {
        output.append(UInt8(literals.count - 1))
        output.append(literals)
    }
}

/// Expands what was compressed.
enum LZF {
    /// One byte of input stands for at most this many: who claims more lies.
    static let growthMax = 132

    /// Appends the `count` bytes that `input` stands for; false, and nothing was appended, when it
    /// stands for other than so many, or is none of this format.
    ///
    /// - Complexity: O(n).
    static func expand(_ input: ByteView, count: Int, into output: inout ByteBuffer) -> Bool {
        guard count >= 0, count <= input.count.multipliedReportingOverflow(by: growthMax).0 else {
            return false
        }
        let start = output.count
        var made = 0
        var at = 0
        output.reserve(count)
        while at < input.count {
            let control = Int(input[at])
            at += 1
            if control < 32 {
                let length = control + 1
                if length > input.count - at || length > count - made {
                    output.truncate(to: start)
                    return false
                }
                output.append(input.slice(at, at + length))
                at += length
                made += length
                continue
            }
            var length = control >> 5
            if length == 7 && at < input.count {
                length += Int(input[at])
                at += 1
            }
            length += 2
            guard at < input.count else {
                output.truncate(to: start)
                return false
            }
            let distance = (control & 31) << 8 + Int(input[at]) + 1
            at += 1
            if distance > made || length > count - made {
                output.truncate(to: start)
                return false
            }
            copy(length, from: distance, in: &output)
            made += length
        }
        if made != count {
            output.truncate(to: start)
            return false
        }
        return true
    }

    /// Appends `length` bytes from `distance` back, which may reach into themselves. The room is there.
    private static func copy(_ length: Int, from distance: Int, in output: inout ByteBuffer) {
        var left = length
        while left > 0 {
            // As many as there are behind that place; twice as many the next time.
            let end = output.count
            let piece = min(left, distance)
            output.append(output.view.slice(end - distance, end - distance + piece))
            left -= piece
        }
    }
}
