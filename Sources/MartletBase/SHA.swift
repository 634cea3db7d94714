//  SHA-1, which names scripts and digests data sets, and SHA-256, which hides passwords.
//
//  SHA-1 is broken as a signature; clients know their scripts by it, and nothing else relies on it.
//  Both take blocks of 64 bytes and pad the end alike, so that part is here once.

/// The SHA-1 of bytes that come in any number of parts.
///
/// - Memory: no allocation; EVAL names its script on each call.
/// - Source: FIPS 180-4, sections 5 and 6.1.
package struct SHA1 {
    private var state: InlineArray<5, UInt32> = [
        0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0,
    ]
    private var tail = MessageTail()

    package init() {}

    /// Takes the next bytes of the message.
    ///
    /// - Complexity: O(n), n = bytes.
    package mutating func update(_ bytes: ByteView) {
        var rest = bytes
        while let block = tail.nextBlock(of: &rest) { absorb(block) }
    }

    /// The digest of all that was taken; the value is used up.
    package consuming func finish() -> InlineArray<20, UInt8> {
        while let block = tail.nextPadding() { absorb(block) }
        var digest = InlineArray<20, UInt8>(repeating: 0)
        for index in 0..<20 { digest[index] = bigEndianByte(state[index / 4], index % 4) }
        return digest
    }

    /// The digest of one run of bytes.
    package static func digest(_ bytes: ByteView) -> InlineArray<20, UInt8> {
        var hash = SHA1()
        hash.update(bytes)
        return hash.finish()
    }

    private mutating func absorb(_ block: InlineArray<16, UInt32>) {
        // All 80 words beforehand and one loop per phase: twice as fast as sixteen words and a choice
        // in each step.
        var schedule = InlineArray<80, UInt32>(repeating: 0)
        for step in 0..<16 { schedule[step] = block[step] }
        for step in 16..<80 {
            schedule[step] = rotatedLeft(
                schedule[step &- 3] ^ schedule[step &- 8] ^ schedule[step &- 14]
                    ^ schedule[step &- 16], 1)
        }
        var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
        @inline(__always) func mix(_ choice: UInt32, _ constant: UInt32, _ word: UInt32) {
            let next = rotatedLeft(a, 5) &+ choice &+ e &+ constant &+ word
            e = d
            d = c
            c = rotatedLeft(b, 30)
            b = a
            a = next
        }
        for step in 0..<20 { mix(d ^ b & (c ^ d), 0x5A82_7999, schedule[step]) }
        for step in 20..<40 { mix(b ^ c ^ d, 0x6ED9_EBA1, schedule[step]) }
        for step in 40..<60 { mix(b & c | d & (b | c), 0x8F1B_BCDC, schedule[step]) }
        for step in 60..<80 { mix(b ^ c ^ d, 0xCA62_C1D6, schedule[step]) }
        state[0] &+= a
        state[1] &+= b
        state[2] &+= c
        state[3] &+= d
        state[4] &+= e
    }
}

/// The SHA-256 of bytes that come in any number of parts.
///
/// - Source: FIPS 180-4, sections 5 and 6.2.
package struct SHA256 {
    private var state: InlineArray<8, UInt32> = [
        0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A,
        0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19,
    ]
    private var tail = MessageTail()

    package init() {}

    /// Takes the next bytes of the message.
    ///
    /// - Complexity: O(n), n = bytes.
    package mutating func update(_ bytes: ByteView) {
        var rest = bytes
        while let block = tail.nextBlock(of: &rest) { absorb(block) }
    }

    /// The digest of all that was taken; the value is used up.
    package consuming func finish() -> InlineArray<32, UInt8> {
        while let block = tail.nextPadding() { absorb(block) }
        var digest = InlineArray<32, UInt8>(repeating: 0)
        for index in 0..<32 { digest[index] = bigEndianByte(state[index / 4], index % 4) }
        return digest
    }

    /// The digest of one run of bytes.
    package static func digest(_ bytes: ByteView) -> InlineArray<32, UInt8> {
        var hash = SHA256()
        hash.update(bytes)
        return hash.finish()
    }

    private mutating func absorb(_ block: InlineArray<16, UInt32>) {
        var schedule = InlineArray<64, UInt32>(repeating: 0)
        for step in 0..<16 { schedule[step] = block[step] }
        for step in 16..<64 {
            let near = schedule[step &- 2]
            let far = schedule[step &- 15]
            let nearSigma = rotatedLeft(near, 15) ^ rotatedLeft(near, 13) ^ near >> 10
            let farSigma = rotatedLeft(far, 25) ^ rotatedLeft(far, 14) ^ far >> 3
            schedule[step] =
                schedule[step &- 16] &+ farSigma &+ schedule[step &- 7] &+ nearSigma
        }
        var (a, b, c, d) = (state[0], state[1], state[2], state[3])
        var (e, f, g, h) = (state[4], state[5], state[6], state[7])
        for step in 0..<64 {
            let eSigma = rotatedLeft(e, 26) ^ rotatedLeft(e, 21) ^ rotatedLeft(e, 7)
            let aSigma = rotatedLeft(a, 30) ^ rotatedLeft(a, 19) ^ rotatedLeft(a, 10)
            let first =
                h &+ eSigma &+ (g ^ e & (f ^ g)) &+ roundConstants[step] &+ schedule[step]
            let second = aSigma &+ (a & b | c & (a | b))
            h = g
            g = f
            f = e
            e = d &+ first
            d = c
            c = b
            b = a
            a = first &+ second
        }
        state[0] &+= a
        state[1] &+= b
        state[2] &+= c
        state[3] &+= d
        state[4] &+= e
        state[5] &+= f
        state[6] &+= g
        state[7] &+= h
    }
}

/// The first 32 bits of the fractions of the cube roots of the first 64 primes.
private let roundConstants: InlineArray<64, UInt32> = [
    0x428A_2F98, 0x7137_4491, 0xB5C0_FBCF, 0xE9B5_DBA5, 0x3956_C25B, 0x59F1_11F1, 0x923F_82A4,
    0xAB1C_5ED5, 0xD807_AA98, 0x1283_5B01, 0x2431_85BE, 0x550C_7DC3, 0x72BE_5D74, 0x80DE_B1FE,
    0x9BDC_06A7, 0xC19B_F174, 0xE49B_69C1, 0xEFBE_4786, 0x0FC1_9DC6, 0x240C_A1CC, 0x2DE9_2C6F,
    0x4A74_84AA, 0x5CB0_A9DC, 0x76F9_88DA, 0x983E_5152, 0xA831_C66D, 0xB003_27C8, 0xBF59_7FC7,
    0xC6E0_0BF3, 0xD5A7_9147, 0x06CA_6351, 0x1429_2967, 0x27B7_0A85, 0x2E1B_2138, 0x4D2C_6DFC,
    0x5338_0D13, 0x650A_7354, 0x766A_0ABB, 0x81C2_C92E, 0x9272_2C85, 0xA2BF_E8A1, 0xA81A_664B,
    0xC24B_8B70, 0xC76C_51A3, 0xD192_E819, 0xD699_0624, 0xF40E_3585, 0x106A_A070, 0x19A4_C116,
    0x1E37_6C08, 0x2748_774C, 0x34B0_BCB5, 0x391C_0CB3, 0x4ED8_AA4A, 0x5B9C_CA4F, 0x682E_6FF3,
    0x748F_82EE, 0x78A5_636F, 0x84C8_7814, 0x8CC7_0208, 0x90BE_FFFA, 0xA450_6CEB, 0xBEF9_A3F7,
    0xC671_78F2,
]

/// What is left of a message between two parts of it, and the padding at its end:
///
///     [ last bytes: 0 ... 63 | 0x80 | zeros, up to a multiple of 64 less 8 | length in bits: 8 ]
private struct MessageTail {
    private var bytes = InlineArray<64, UInt8>(repeating: 0)
    private var byteCount: UInt64 = 0
    private var padding = Padding.none

    private enum Padding {
        case none
        // The one bit stands in a block without room for the length.
        case marked
        case done
    }

    /// Takes one block off the front of `rest`; nil when less is there, which is kept.
    mutating func nextBlock(of rest: inout ByteView) -> InlineArray<16, UInt32>? {
        let held = Int(byteCount & 63)
        if held == 0 && rest.count >= 64 {
            byteCount += 64
            let block = words { unsafe rest.address.load(fromByteOffset: $0, as: UInt8.self) }
            rest = rest.slice(64, rest.count)
            return block
        }
        let taken = min(64 - held, rest.count)
        for index in 0..<taken { bytes[held + index] = rest[index] }
        rest = rest.slice(taken, rest.count)
        byteCount += UInt64(taken)
        return held + taken == 64 ? words { bytes[$0] } : nil
    }

    /// The last one or two blocks, then nil.
    mutating func nextPadding() -> InlineArray<16, UInt32>? {
        if padding == .done { return nil }
        let held = padding == .marked ? 0 : Int(byteCount & 63)
        for index in held..<64 { bytes[index] = 0 }
        if padding == .none { bytes[held] = 0x80 }
        if padding == .none && held >= 56 {
            padding = .marked
            return words { bytes[$0] }
        }
        padding = .done
        var block = words { bytes[$0] }
        let bitCount = byteCount &* 8
        block[14] = UInt32(truncatingIfNeeded: bitCount >> 32)
        block[15] = UInt32(truncatingIfNeeded: bitCount)
        return block
    }

    /// Sixteen big-endian words of the 64 bytes that `byte` gives.
    @inline(__always)
    private func words(_ byte: (Int) -> UInt8) -> InlineArray<16, UInt32> {
        InlineArray { index in
            UInt32(byte(4 * index)) << 24 | UInt32(byte(4 * index + 1)) << 16
                | UInt32(byte(4 * index + 2)) << 8 | UInt32(byte(4 * index + 3))
        }
    }
}

@inline(__always)
private func rotatedLeft(_ word: UInt32, _ bits: UInt32) -> UInt32 {
    word &<< bits | word &>> (32 &- bits)
}

@inline(__always)
private func bigEndianByte(_ word: UInt32, _ index: Int) -> UInt8 {
    UInt8(truncatingIfNeeded: word >> UInt32(24 - 8 * index))
}

// MARK: - Digests as text

extension ByteBuffer {
    /// Appends two lower-case hexadecimal digits a byte.
    package mutating func append<let count: Int>(hexadecimal digest: InlineArray<count, UInt8>) {
        for index in 0..<count {
            append(hexadecimalDigit(digest[index] >> 4))
            append(hexadecimalDigit(digest[index] & 15))
        }
    }

    /// Appends the 16 lower-case hexadecimal digits of `word`.
    package mutating func append(hexadecimal word: UInt64) {
        for index in 0..<16 {
            append(hexadecimalDigit(UInt8(truncatingIfNeeded: word >> UInt64(60 - 4 * index)) & 15))
        }
    }
}

private func hexadecimalDigit(_ value: UInt8) -> UInt8 {
    value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
}
