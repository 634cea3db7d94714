//  Which key a request names: uniform, zipf, or each once in turn; and the generator behind it.
//
//  Raw memory: the columns of the zipf table are allocated once, one for each key, read by the
//  worker that owns the chooser, and freed with it.

import Glibc

/// SplitMix64 (Steele, Lea and Flood 2014): 64 random bits for two multiplications.
package struct RandomBits {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    @inline(__always)
    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed &>> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed &>> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed &>> 31)
    }

    /// A number below `bound`, by Lemire's multiplication: no division, bias below `bound` / 2^64.
    @inline(__always)
    package mutating func below(_ bound: UInt64) -> UInt64 {
        next().multipliedFullWidth(by: bound).high
    }
}

/// How keys are drawn from the key space.
package enum KeyDistribution: Sendable, Equatable {
    case uniform
    /// Key number i with a probability proportional to 1 / (i + 1)^exponent.
    case zipf(exponent: Double)
    /// Every key once, in ascending order: how a key space is filled.
    case sequential
}

/// Draws key numbers from 0 up to `keyCount`, not included.
///
/// Zipf uses Walker's alias method as Vose (1991) builds it: a column is drawn, then either it or
/// its alias taken, so a draw costs one multiplication and one memory access whatever the
/// exponent; rejection methods pay two powers and a logarithm. Popular keys have low numbers; the
/// server hashes them, so they are not neighbours there.
///
/// - Memory: 8 bytes per key for zipf (why `zipfKeysMax` exists), else none.
@safe
package struct KeyChooser: ~Copyable {
    /// The most keys a zipf table is built for: 256 MB of it.
    package static let zipfKeysMax = 1 << 25

    private struct Column {
        /// The column itself is taken when the fraction, in 2^-32, is below this.
        var threshold: UInt32
        var alias: UInt32
    }

    let keyCount: UInt64
    private let columns: UnsafeMutablePointer<Column>?
    private var nextInOrder: UInt64?
    private let step: UInt64

    /// - Parameters:
    ///   - distribution: how they are drawn.
    ///   - keyCount: at least 1; at most `zipfKeysMax` for zipf.
    ///   - first: where a sequential chooser begins; workers begin side by side.
    ///   - step: how far it goes on; the number of workers.
    package init(
        _ distribution: KeyDistribution, keyCount: Int, first: Int = 0, step: Int = 1
    ) {
        precondition(keyCount >= 1)
        self.keyCount = UInt64(keyCount)
        self.step = UInt64(step)
        switch distribution {
        case .uniform:
            unsafe columns = nil
            nextInOrder = nil
        case .sequential:
            unsafe columns = nil
            nextInOrder = UInt64(first)
        case .zipf(let exponent):
            unsafe columns = KeyChooser.zipfColumns(keyCount: keyCount, exponent: exponent)
            nextInOrder = nil
        }
    }

    deinit { unsafe columns?.deallocate() }

    @inline(__always)
    package mutating func next(_ random: inout RandomBits) -> UInt64 {
        if let columns = unsafe columns {
            let (column, fraction) = random.next().multipliedFullWidth(by: keyCount)
            let drawn = unsafe columns[Int(truncatingIfNeeded: column)]
            let isOwn = UInt32(truncatingIfNeeded: fraction &>> 32) < drawn.threshold
            return isOwn ? column : UInt64(drawn.alias)
        }
        guard let key = nextInOrder else { return random.below(keyCount) }
        let following = key &+ step
        nextInOrder = following >= keyCount ? following % keyCount : following
        return key
    }

    /// Vose's construction: columns of average height 1, each cut into itself and one donor.
    private static func zipfColumns(
        keyCount: Int, exponent: Double
    ) -> UnsafeMutablePointer<Column> {
        precondition(keyCount <= zipfKeysMax)
        let columns = UnsafeMutablePointer<Column>.allocate(capacity: keyCount)
        var heights = [Double](repeating: 0, count: keyCount)
        var total = 0.0
        for index in 0..<keyCount {
            heights[index] = pow(Double(index + 1), -exponent)
            total += heights[index]
        }
        var low: [UInt32] = []
        var high: [UInt32] = []
        for index in 0..<keyCount {
            heights[index] *= Double(keyCount) / total
            if heights[index] < 1 { low.append(UInt32(index)) } else { high.append(UInt32(index)) }
        }
        while let short = low.popLast() {
            guard let tall = high.last else {
                // Rounding left a column short of 1 by a hair: it is taken whole.
                unsafe columns[Int(short)] = Column(threshold: .max, alias: short)
                continue
            }
            let height = heights[Int(short)]
            unsafe columns[Int(short)] = Column(
                threshold: UInt32(min(height * 4_294_967_296, 4_294_967_295)), alias: tall)
            heights[Int(tall)] -= 1 - height
            if heights[Int(tall)] < 1 {
                high.removeLast()
                low.append(tall)
            }
        }
        for whole in high {
            unsafe columns[Int(whole)] = Column(threshold: .max, alias: whole)
        }
        return unsafe columns
    }
}
