//  XXH3, the hash that DIGEST, SET IFDEQ and DELEX IFDEQ show to clients.
//
//  Not for tables: its secret is public, so anybody can make collisions. The algorithm changes with
//  the length, and each length has its own way through the secret:
//
//      0                                        1 ... 3     4 ... 8     9 ... 16
//      17 ... 128      pairs from both ends inwards
//      129 ... 240     eight pairs, a stir, the other pairs
//      241 ...         stripes of 64 bytes into eight lanes, stirred after each 1 024

/// The 64-bit XXH3 of `bytes` with seed zero.
///
/// - Complexity: O(n), n = bytes.
/// - Source: Collet, xxHash: fast digest algorithm, the specification of XXH3, version 0.8.
package func xxh3(_ bytes: ByteView) -> UInt64 {
    secretBytes.withView { secret in
        switch bytes.count {
        case 0: avalanche64(secret.word(at: 56) ^ secret.word(at: 64))
        case 1...3: xxh3Upto3(bytes, secret)
        case 4...8: xxh3Upto8(bytes, secret)
        case 9...16: xxh3Upto16(bytes, secret)
        case 17...128: xxh3Upto128(bytes, secret)
        case 129...240: xxh3Upto240(bytes, secret)
        default: xxh3Long(bytes, secret)
        }
    }
}

private let prime32A: UInt64 = 0x9E37_79B1
private let prime32B: UInt64 = 0x85EB_CA77
private let prime32C: UInt64 = 0xC2B2_AE3D
private let prime64A: UInt64 = 0x9E37_79B1_85EB_CA87
private let prime64B: UInt64 = 0xC2B2_AE3D_27D4_EB4F
private let prime64C: UInt64 = 0x1656_67B1_9E37_79F9
private let prime64D: UInt64 = 0x85EB_CA77_C2B2_AE63
private let prime64E: UInt64 = 0x27D4_EB2F_1656_67C5

/// The published secret of 192 bytes.
private let secretBytes: [UInt8] = [
    0xB8, 0xFE, 0x6C, 0x39, 0x23, 0xA4, 0x4B, 0xBE, 0x7C, 0x01, 0x81, 0x2C, 0xF7, 0x21, 0xAD, 0x1C,
    0xDE, 0xD4, 0x6D, 0xE9, 0x83, 0x90, 0x97, 0xDB, 0x72, 0x40, 0xA4, 0xA4, 0xB7, 0xB3, 0x67, 0x1F,
    0xCB, 0x79, 0xE6, 0x4E, 0xCC, 0xC0, 0xE5, 0x78, 0x82, 0x5A, 0xD0, 0x7D, 0xCC, 0xFF, 0x72, 0x21,
    0xB8, 0x08, 0x46, 0x74, 0xF7, 0x43, 0x24, 0x8E, 0xE0, 0x35, 0x90, 0xE6, 0x81, 0x3A, 0x26, 0x4C,
    0x3C, 0x28, 0x52, 0xBB, 0x91, 0xC3, 0x00, 0xCB, 0x88, 0xD0, 0x65, 0x8B, 0x1B, 0x53, 0x2E, 0xA3,
    0x71, 0x64, 0x48, 0x97, 0xA2, 0x0D, 0xF9, 0x4E, 0x38, 0x19, 0xEF, 0x46, 0xA9, 0xDE, 0xAC, 0xD8,
    0xA8, 0xFA, 0x76, 0x3F, 0xE3, 0x9C, 0x34, 0x3F, 0xF9, 0xDC, 0xBB, 0xC7, 0xC7, 0x0B, 0x4F, 0x1D,
    0x8A, 0x51, 0xE0, 0x4B, 0xCD, 0xB4, 0x59, 0x31, 0xC8, 0x9F, 0x7E, 0xC9, 0xD9, 0x78, 0x73, 0x64,
    0xEA, 0xC5, 0xAC, 0x83, 0x34, 0xD3, 0xEB, 0xC3, 0xC5, 0x81, 0xA0, 0xFF, 0xFA, 0x13, 0x63, 0xEB,
    0x17, 0x0D, 0xDD, 0x51, 0xB7, 0xF0, 0xDA, 0x49, 0xD3, 0x16, 0x55, 0x26, 0x29, 0xD4, 0x68, 0x9E,
    0x2B, 0x16, 0xBE, 0x58, 0x7D, 0x47, 0xA1, 0xFC, 0x8F, 0xF8, 0xB8, 0xD1, 0x7A, 0xD0, 0x31, 0xCE,
    0x45, 0xCB, 0x3A, 0x8F, 0x95, 0x16, 0x04, 0x28, 0xAF, 0xD7, 0xFB, 0xCA, 0xBB, 0x4B, 0x40, 0x7E,
]

// MARK: - Short input

private func xxh3Upto3(_ bytes: ByteView, _ secret: ByteView) -> UInt64 {
    let count = bytes.count
    let combined =
        UInt64(bytes[0]) << 16 | UInt64(bytes[count >> 1]) << 24 | UInt64(bytes[count - 1])
        | UInt64(count) << 8
    return avalanche64(combined ^ (secret.halfWord(at: 0) ^ secret.halfWord(at: 4)))
}

private func xxh3Upto8(_ bytes: ByteView, _ secret: ByteView) -> UInt64 {
    let count = bytes.count
    let word = bytes.halfWord(at: count - 4) &+ bytes.halfWord(at: 0) << 32
    let mixer: UInt64 = 0x9FB2_1C65_1E98_DF25
    var hash = word ^ (secret.word(at: 8) ^ secret.word(at: 16))
    hash ^= (hash << 49 | hash >> 15) ^ (hash << 24 | hash >> 40)
    hash &*= mixer
    hash ^= (hash >> 35) &+ UInt64(count)
    hash &*= mixer
    return hash ^ hash >> 28
}

private func xxh3Upto16(_ bytes: ByteView, _ secret: ByteView) -> UInt64 {
    let count = bytes.count
    let low = bytes.word(at: 0) ^ (secret.word(at: 24) ^ secret.word(at: 32))
    let high = bytes.word(at: count - 8) ^ (secret.word(at: 40) ^ secret.word(at: 48))
    return avalanche(UInt64(count) &+ low.byteSwapped &+ high &+ foldedProduct(low, high))
}

private func xxh3Upto128(_ bytes: ByteView, _ secret: ByteView) -> UInt64 {
    let count = bytes.count
    var hash = UInt64(count) &* prime64A
    for pair in 0...((count - 1) / 32) {
        hash &+= mixed(bytes, 16 * pair, secret, 32 * pair)
        hash &+= mixed(bytes, count - 16 * (pair + 1), secret, 32 * pair + 16)
    }
    return avalanche(hash)
}

private func xxh3Upto240(_ bytes: ByteView, _ secret: ByteView) -> UInt64 {
    let count = bytes.count
    var hash = UInt64(count) &* prime64A
    for part in 0..<8 { hash &+= mixed(bytes, 16 * part, secret, 16 * part) }
    hash = avalanche(hash)
    for part in 8..<(count / 16) {
        hash &+= mixed(bytes, 16 * part, secret, 16 * (part - 8) + 3)
    }
    return avalanche(hash &+ mixed(bytes, count - 16, secret, 119))
}

// MARK: - Long input

private let stripeBytes = 64
private let stripesPerBlock = 16

private func xxh3Long(_ bytes: ByteView, _ secret: ByteView) -> UInt64 {
    let count = bytes.count
    var lanes = SIMD8<UInt64>(
        prime32C, prime64A, prime64B, prime64C, prime64D, prime32B, prime64E, prime32A)
    // The last stripe is taken from the end of the input, and overlaps the one before.
    for stripe in 0..<((count - 1) / stripeBytes) {
        let part = stripe % stripesPerBlock
        accumulate(&lanes, bytes.lanes(at: stripe * stripeBytes), secret.lanes(at: 8 * part))
        if part == stripesPerBlock - 1 { scramble(&lanes, secret.lanes(at: 128)) }
    }
    accumulate(&lanes, bytes.lanes(at: count - stripeBytes), secret.lanes(at: 121))

    var hash = UInt64(count) &* prime64A
    for pair in 0..<4 {
        hash &+= foldedProduct(
            lanes[2 * pair] ^ secret.word(at: 11 + 16 * pair),
            lanes[2 * pair + 1] ^ secret.word(at: 19 + 16 * pair))
    }
    return avalanche(hash)
}

@inline(__always)
private func accumulate(
    _ lanes: inout SIMD8<UInt64>, _ input: SIMD8<UInt64>, _ secret: SIMD8<UInt64>
) {
    let keyed = input ^ secret
    // Each lane takes its neighbour's input as it is, and its own as a product of the halves.
    let swapped = SIMD8(
        input[1], input[0], input[3], input[2], input[5], input[4], input[7], input[6])
    lanes = lanes &+ swapped &+ (keyed & 0xFFFF_FFFF) &* (keyed &>> 32)
}

@inline(__always)
private func scramble(_ lanes: inout SIMD8<UInt64>, _ secret: SIMD8<UInt64>) {
    lanes = (lanes ^ lanes &>> 47 ^ secret) &* prime32A
}

// MARK: - Mixing

private func mixed(
    _ bytes: ByteView, _ offset: Int, _ secret: ByteView, _ secretOffset: Int
) -> UInt64 {
    foldedProduct(
        bytes.word(at: offset) ^ secret.word(at: secretOffset),
        bytes.word(at: offset + 8) ^ secret.word(at: secretOffset + 8))
}

private func foldedProduct(_ left: UInt64, _ right: UInt64) -> UInt64 {
    let product = left.multipliedFullWidth(by: right)
    return product.high ^ product.low
}

private func avalanche(_ word: UInt64) -> UInt64 {
    var hash = word
    hash ^= hash >> 37
    hash &*= 0x1656_6791_9E37_79F9
    return hash ^ hash >> 32
}

/// The older finish, which the shortest inputs kept.
private func avalanche64(_ word: UInt64) -> UInt64 {
    var hash = word
    hash ^= hash >> 33
    hash &*= prime64B
    hash ^= hash >> 29
    hash &*= prime64C
    return hash ^ hash >> 32
}

extension ByteView {
    /// The four bytes at `offset` as a little-endian number.
    ///
    /// - Precondition: all of them are inside.
    @inline(__always)
    func halfWord(at offset: Int) -> UInt64 {
        precondition(offset >= 0 && offset <= count - 4, "four bytes are inside the view")
        return unsafe UInt64(
            address.loadUnaligned(fromByteOffset: offset, as: UInt32.self).littleEndian)
    }

    /// The eight bytes at `offset` as a little-endian number.
    ///
    /// - Precondition: all of them are inside.
    @inline(__always)
    func word(at offset: Int) -> UInt64 {
        precondition(offset >= 0 && offset <= count - 8, "eight bytes are inside the view")
        return unsafe address.loadUnaligned(fromByteOffset: offset, as: UInt64.self).littleEndian
    }

    /// The 64 bytes at `offset` as eight little-endian numbers.
    @inline(__always)
    fileprivate func lanes(at offset: Int) -> SIMD8<UInt64> {
        precondition(offset >= 0 && offset <= count - 64, "64 bytes are inside the view")
        var lanes = unsafe address.loadUnaligned(
            fromByteOffset: offset, as: SIMD8<UInt64>.self)
        #if _endian(big)
            for index in 0..<8 { lanes[index] = lanes[index].littleEndian }
        #endif
        return lanes
    }
}
