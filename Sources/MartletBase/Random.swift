//  Random numbers: a seedable generator for the server's own choices, and the system's for secrets.
//
//  RANDOMKEY, SRANDMEMBER, eviction sampling and the like draw from a `Random` that is handed to
//  them, so a test that fixes the seed repeats itself. Secrets (hash keys, generated passwords, run
//  identifiers) come from `fillFromSystem`, never from here.
//
//  Raw memory: `fillFromSystem` writes the `count` bytes it is lent and keeps nothing.

import CSystem
import Glibc

/// xoshiro256**: fast, 256 bits of state, not for secrets.
///
/// - Memory: 32 bytes, trivially copied.
/// - Source: Blackman and Vigna, Scrambled Linear Pseudorandom Number Generators, 2018; seeded
///   through SplitMix64, as its authors advise.
@frozen
@usableFromInline
package struct Random: RandomNumberGenerator, Sendable {
    @usableFromInline var s0: UInt64
    @usableFromInline var s1: UInt64
    @usableFromInline var s2: UInt64
    @usableFromInline var s3: UInt64

    /// A generator that repeats itself for the same seed.
    @inlinable
    package init(seed: UInt64) {
        var state = seed
        func splitMix() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var word = state
            word = (word ^ word &>> 30) &* 0xBF58_476D_1CE4_E5B9
            word = (word ^ word &>> 27) &* 0x94D0_49BB_1331_11EB
            return word ^ word &>> 31
        }
        // Four consecutive outputs of a bijection are never all zero, the one forbidden state.
        s0 = splitMix()
        s1 = splitMix()
        s2 = splitMix()
        s3 = splitMix()
    }

    /// A generator seeded by the system.
    package static func seededFromSystem() -> Random {
        Random(seed: systemRandomWord())
    }

    @inlinable @inline(__always)
    package mutating func next() -> UInt64 {
        let scrambled = s1 &* 5
        let result = (scrambled &<< 7 | scrambled &>> 57) &* 9
        let shifted = s1 &<< 17
        s2 ^= s0
        s3 ^= s1
        s1 ^= s2
        s0 ^= s3
        s2 ^= shifted
        s3 = s3 &<< 45 | s3 &>> 19
        return result
    }

    /// A number in `0 ..< bound`, each as likely as the other.
    ///
    /// - Precondition: `bound > 0`.
    /// - Source: Lemire, Fast Random Integer Generation in an Interval, 2019.
    @inlinable @inline(__always)
    package mutating func next(below bound: UInt64) -> UInt64 {
        precondition(bound > 0, "there is a number below the bound")
        var product = next().multipliedFullWidth(by: bound)
        if product.low < bound {
            let rejected = (0 &- bound) % bound
            while product.low < rejected { product = next().multipliedFullWidth(by: bound) }
        }
        return product.high
    }

    /// An index in `0 ..< count`.
    ///
    /// - Precondition: `count > 0`.
    @inlinable @inline(__always)
    package mutating func index(below count: Int) -> Int {
        precondition(count > 0, "there is an index below the count")
        return Int(truncatingIfNeeded: next(below: UInt64(truncatingIfNeeded: count)))
    }

    /// A number in `0.0 ..< 1.0`, a multiple of 2 to the -53.
    @inlinable @inline(__always)
    package mutating func nextUnit() -> Double {
        Double(next() &>> 11) * 0x1p-53
    }
}

/// Fills `count` bytes at `address` with what the system holds to be unguessable.
package func fillFromSystem(_ address: UnsafeMutableRawPointer, count: Int) {
    precondition(count >= 0, "a size is not negative")
    var filled = 0
    while filled < count {
        let got = unsafe martlet_random(address + filled, count - filled)
        if got > 0 {
            filled += got
        } else if errno != EINTR {
            fatalError("getrandom failed with error \(errno): there are no secrets without it")
        }
    }
}

/// 64 bits from the system.
package func systemRandomWord() -> UInt64 {
    var word: UInt64 = 0
    unsafe withUnsafeMutableBytes(of: &word) { buffer in
        if let base = buffer.baseAddress { unsafe fillFromSystem(base, count: buffer.count) }
    }
    return word
}
