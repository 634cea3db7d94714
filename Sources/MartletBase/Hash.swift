//  The keyed hash of keys, fields and members, and a key's cluster slot.
//
//  Keys come from outside, so their hash must not be predictable: SipHash-1-3 under a key drawn anew
//  by each process. The faster wyhash-like functions have no argument against chosen collisions;
//  this one costs about 13 ns for 16 bytes and has stood since 2012.
//
//  Raw memory: read inside the bounds of the view that is hashed, for the length of the call;
//  nothing is kept.

import Glibc

/// The 128-bit secret under which bytes are hashed.
///
/// - Memory: 16 bytes, trivially copied.
/// - Source: Aumasson and Bernstein, SipHash: a fast short-input PRF, 2012; one round per word and
///   three at the end, the form that Rust and CPython use for their tables.
@frozen
@usableFromInline
package struct HashKey: Sendable {
    @usableFromInline package let low: UInt64
    @usableFromInline package let high: UInt64

    /// A chosen key, so that a test repeats itself; a server draws `random()`.
    @inlinable
    package init(_ low: UInt64, _ high: UInt64) {
        self.low = low
        self.high = high
    }

    /// A key nobody can guess.
    package static func random() -> HashKey {
        HashKey(systemRandomWord(), systemRandomWord())
    }

    /// SipHash-1-3 of `bytes` under this key.
    ///
    /// - Complexity: O(n), n = bytes; about 100 instructions for 16 bytes.
    @inlinable @inline(__always)
    package func hash(_ bytes: ByteView) -> UInt64 {
        var state = SipState(self)
        let count = bytes.count
        let address = unsafe bytes.address
        var offset = 0
        while offset &+ 8 <= count {
            let word = unsafe address.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
            state.absorb(word.littleEndian)
            offset &+= 8
        }
        // The last word: up to seven bytes, and the length modulo 256 on top.
        var last = UInt64(truncatingIfNeeded: count) &<< 56
        let left = count &- offset
        if count >= 8 {
            // The eight bytes that end the input, the ones already absorbed shifted out; in two
            // steps, because a masking shift by 64 would shift nothing.
            let word = unsafe address.loadUnaligned(
                fromByteOffset: count &- 8, as: UInt64.self)
            last |= (word.littleEndian &>> 8) &>> UInt64(truncatingIfNeeded: 56 &- 8 &* left)
        } else {
            last |= unsafe shortTail(address, left)
        }
        state.absorb(last)
        return state.finish()
    }

    /// Up to seven bytes as a little-endian word, without reading beyond them.
    @inlinable @inline(__always)
    func shortTail(_ address: UnsafeRawPointer, _ count: Int) -> UInt64 {
        if count >= 4 {
            // Two overlapping loads; where they overlap the bytes are the same.
            let first = unsafe UInt64(
                address.loadUnaligned(as: UInt32.self).littleEndian)
            let last = unsafe UInt64(
                address.loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self).littleEndian)
            return first | last &<< UInt64(truncatingIfNeeded: 8 &* (count &- 4))
        }
        if count == 0 { return 0 }
        let middle = count &>> 1
        let first = unsafe UInt64(address.load(as: UInt8.self))
        let second = unsafe UInt64(address.load(fromByteOffset: middle, as: UInt8.self))
        let third = unsafe UInt64(address.load(fromByteOffset: count &- 1, as: UInt8.self))
        return first | second &<< UInt64(truncatingIfNeeded: 8 &* middle)
            | third &<< UInt64(truncatingIfNeeded: 8 &* (count &- 1))
    }
}

/// The four words of a SipHash under way.
@frozen
@usableFromInline
struct SipState {
    @usableFromInline var v0: UInt64
    @usableFromInline var v1: UInt64
    @usableFromInline var v2: UInt64
    @usableFromInline var v3: UInt64

    @inlinable @inline(__always)
    init(_ key: HashKey) {
        // "somepseudorandomlygeneratedbytes", as the paper has it.
        v0 = key.low ^ 0x736F_6D65_7073_6575
        v1 = key.high ^ 0x646F_7261_6E64_6F6D
        v2 = key.low ^ 0x6C79_6765_6E65_7261
        v3 = key.high ^ 0x7465_6462_7974_6573
    }

    @inlinable @inline(__always)
    mutating func round() {
        v0 = v0 &+ v1
        v1 = (v1 &<< 13 | v1 &>> 51) ^ v0
        v0 = v0 &<< 32 | v0 &>> 32
        v2 = v2 &+ v3
        v3 = (v3 &<< 16 | v3 &>> 48) ^ v2
        v0 = v0 &+ v3
        v3 = (v3 &<< 21 | v3 &>> 43) ^ v0
        v2 = v2 &+ v1
        v1 = (v1 &<< 17 | v1 &>> 47) ^ v2
        v2 = v2 &<< 32 | v2 &>> 32
    }

    @inlinable @inline(__always)
    mutating func absorb(_ word: UInt64) {
        v3 ^= word
        round()
        v0 ^= word
    }

    @inlinable @inline(__always)
    mutating func finish() -> UInt64 {
        v2 ^= 0xFF
        round()
        round()
        round()
        return v0 ^ v1 ^ v2 ^ v3
    }
}

/// The number of cluster slots.
package let keySlotCount = 16_384

/// The cluster slot of `key`, 0 ..< 16 384: CRC-16/XMODEM of its hash tag, or else of all of it.
///
/// The hash tag is what stands between the first `{` and the first `}` after it, unless that is
/// empty: keys with one tag share a slot.
package func keySlot(of key: ByteView) -> Int {
    var tag = key
    if let open = key.firstIndex(of: UInt8(ascii: "{")),
        let close = key.firstIndex(of: UInt8(ascii: "}"), from: open + 1), close > open + 1
    {
        tag = key.slice(open + 1, close)
    }
    // A byte at a time without a table: slots are asked for by CLUSTER KEYSLOT and its kin only.
    var crc: UInt16 = 0
    for index in 0..<tag.count {
        var step = UInt8(truncatingIfNeeded: crc &>> 8) ^ tag[index]
        step ^= step &>> 4
        let wide = UInt16(step)
        crc = (crc &<< 8) ^ (wide &<< 12) ^ (wide &<< 5) ^ wide
    }
    return Int(crc) & (keySlotCount - 1)
}
