//  HyperLogLog: about how many different elements were seen, in 12 KB at most. The value is a string
//  that Redis reads and writes too, byte for byte.
//
//         0  magic       4 bytes  "HYLL"
//         4  encoding    1 byte   0 dense, 1 sparse
//         5  …           3 bytes  unused, zero
//         8  cardinality 8 bytes  cached, little-endian; the highest bit says that it is outdated
//        16  registers   dense:   16 384 of 6 bits each, the first one in the lowest bits: 12 288 bytes
//                        sparse:  runs of registers with the same value:
//                                   00llllll            `l + 1` registers that are 0
//                                   01llllll llllllll   `l + 1` registers that are 0, high bits first
//                                   1vvvvvll            `l + 1` registers that are `v + 1`
//
//  An element's hash names a register by its lowest 14 bits; of the other 50 counts the number of
//  zeros before the first one, plus one: its rank. A register keeps the highest rank it has met.
//
//  The bytes come from clients (SET, APPEND) as well: whatever walks them checks them, and answers
//  nil where they are corrupted.
//
//  Sources: Flajolet, Fusy, Gandouet, Meunier 2007 for the method; Heule, Nunkesser, Hall 2013 for
//  the sparse form; Ertl 2017, "New cardinality estimation algorithms for HyperLogLog sketches",
//  algorithm 6, for the estimate; Appleby's MurmurHash64A. How runs are split and merged, and when a
//  value becomes dense, is part of the format, so that equal PFADDs leave equal bytes.

import Glibc
import MartletBase

/// What is known of a HyperLogLog from its bytes.
package enum HyperLogLog {
    static let registerCount = 16_384
    static let headerBytes = 16
    package static let denseBytes = headerBytes + registerCount * 6 / 8
    /// Higher ranks are not to be had in the sparse form.
    static let sparseRankMax: UInt8 = 32
    /// Bits of a hash that make up the rank.
    private static let rankBits = 50

    // MARK: Elements

    /// The register that an element falls to, and its rank there.
    package static func place(of element: ByteView) -> (index: Int, rank: UInt8) {
        let hash = murmurHash64A(element, seed: 0xADC8_3B19)
        // A one behind the last bit: the rank is 51 at most.
        let rest = hash >> 14 | 1 << UInt64(rankBits)
        return (Int(hash & 0x3FFF), UInt8(rest.trailingZeroBitCount + 1))
    }

    /// MurmurHash64A of little-endian words, on every machine.
    static func murmurHash64A(_ bytes: ByteView, seed: UInt64) -> UInt64 {
        let multiplier: UInt64 = 0xC6A4_A793_5BD1_E995
        var hash = seed ^ UInt64(truncatingIfNeeded: bytes.count) &* multiplier
        var index = 0
        while index + 8 <= bytes.count {
            var word: UInt64 = 0
            for byte in 0..<8 { word |= UInt64(bytes[index + byte]) << UInt64(byte * 8) }
            word &*= multiplier
            word ^= word >> 47
            hash ^= word &* multiplier
            hash &*= multiplier
            index += 8
        }
        if index < bytes.count {
            for byte in 0..<(bytes.count - index) {
                hash ^= UInt64(bytes[index + byte]) << UInt64(byte * 8)
            }
            hash &*= multiplier
        }
        hash ^= hash >> 47
        hash &*= multiplier
        return hash ^ hash >> 47
    }

    // MARK: The header

    /// Whether a string is a HyperLogLog, by its header and size.
    package static func isOne(_ bytes: ByteView) -> Bool {
        guard bytes.count >= headerBytes, bytes.slice(0, 4) == ByteView("HYLL"), bytes[4] <= 1
        else { return false }
        return bytes[4] == 1 || bytes.count == denseBytes
    }

    /// - Precondition: `isOne`.
    package static func isDense(_ bytes: ByteView) -> Bool { bytes[4] == 0 }

    /// The cardinality that was counted last, unless elements came since.
    package static func cachedCount(_ bytes: ByteView) -> UInt64? {
        if bytes[15] & 0x80 != 0 { return nil }
        return (0..<8).reduce(0) { $0 | UInt64(bytes[8 + $1]) << UInt64($1 * 8) }
    }

    package static func setCachedCount(_ bytes: MutableBytes, _ count: UInt64) {
        for byte in 0..<8 {
            bytes[8 + byte] = UInt8(truncatingIfNeeded: count >> UInt64(byte * 8))
        }
    }

    /// Says that the cached cardinality is outdated.
    package static func outdate(_ bytes: MutableBytes) { bytes[15] |= 0x80 }

    // MARK: Dense registers

    /// Eight registers from number `group * 8` on, six bits each from the lowest on. The bits above are
    /// any.
    @inline(__always)
    static func denseRegisters(_ bytes: ByteView, group: Int) -> UInt64 {
        let at = headerBytes &+ group &* 6
        // The last ones end with the value.
        if at &+ 8 > bytes.count { return UInt64(littleEndian: bytes.word(at: at &- 2)) >> 16 }
        return UInt64(littleEndian: bytes.word(at: at))
    }

    static func denseRegister(_ bytes: ByteView, _ index: Int) -> UInt8 {
        let bit = index * 6
        let at = headerBytes + bit / 8
        let shift = UInt16(bit % 8)
        // The last register ends with the last byte.
        let high = at + 1 < bytes.count ? UInt16(bytes[at + 1]) << 8 : 0
        return UInt8(truncatingIfNeeded: (high | UInt16(bytes[at])) >> shift) & 0x3F
    }

    static func setDenseRegister(_ bytes: MutableBytes, _ index: Int, _ rank: UInt8) {
        let bit = index * 6
        let at = headerBytes + bit / 8
        let shift = UInt16(bit % 8)
        let mask: UInt16 = 0x3F << shift
        let value = UInt16(rank) << shift
        bytes[at] = bytes[at] & ~UInt8(truncatingIfNeeded: mask) | UInt8(truncatingIfNeeded: value)
        if mask > 0xFF {
            bytes[at + 1] =
                bytes[at + 1] & ~UInt8(mask >> 8) | UInt8(truncatingIfNeeded: value >> 8)
        }
    }

    /// Raises a register of a dense value to `rank`; false when it is as high already.
    package static func raiseDense(_ bytes: MutableBytes, _ index: Int, _ rank: UInt8) -> Bool {
        if rank <= denseRegister(bytes.view, index) { return false }
        setDenseRegister(bytes, index, rank)
        return true
    }

    // MARK: Runs

    /// A run of registers with the same value.
    struct Run {
        /// Where it stands.
        let offset: Int
        /// Bytes it takes.
        let size: Int
        let length: Int
        /// 0 for registers that nothing fell to.
        let rank: UInt8

        /// The run at `offset`; nil when the bytes end within it.
        init?(_ bytes: ByteView, at offset: Int) {
            self.offset = offset
            let first = bytes[offset]
            if first & 0x80 != 0 {
                size = 1
                length = Int(first & 3) + 1
                rank = first >> 2 & 0x1F + 1
            } else if first & 0x40 != 0 {
                guard offset + 1 < bytes.count else { return nil }
                size = 2
                length = Int(first & 0x3F) << 8 + Int(bytes[offset + 1]) + 1
                rank = 0
            } else {
                size = 1
                length = Int(first) + 1
                rank = 0
            }
        }
    }

    /// Calls `body` for the runs of a sparse value.
    ///
    /// - Returns: whether they cover all registers and no more.
    static func forEachRun(
        _ bytes: ByteView, _ body: (_ run: Run, _ firstIndex: Int) -> Void
    ) -> Bool {
        var offset = headerBytes
        var index = 0
        while offset < bytes.count {
            guard let run = Run(bytes, at: offset), index + run.length <= registerCount else {
                return false
            }
            body(run, index)
            index += run.length
            offset += run.size
        }
        return index == registerCount
    }

    /// The register `index` of a sparse value and the run that it stands in; nil when there is none.
    static func findRun(
        _ bytes: ByteView, of index: Int, from start: RunPlace = RunPlace()
    ) -> (run: Run, firstIndex: Int, previous: RunPlace?)? {
        var place = start
        var previous: RunPlace?
        while place.offset < bytes.count {
            guard let run = Run(bytes, at: place.offset) else { return nil }
            if index < place.firstIndex + run.length { return (run, place.firstIndex, previous) }
            previous = place
            place.firstIndex += run.length
            place.offset += run.size
        }
        return nil
    }

    /// Where a run stands, and its first register.
    struct RunPlace {
        var offset = headerBytes
        var firstIndex = 0
    }

    /// Whether an element of this rank changes a value; nil when it is corrupted.
    package static func changes(_ bytes: ByteView, _ index: Int, _ rank: UInt8) -> Bool? {
        if isDense(bytes) { return rank > denseRegister(bytes, index) }
        guard let (run, _, _) = findRun(bytes, of: index) else { return nil }
        return rank > run.rank
    }

    /// The runs in the words of PFDEBUG DECODE; nil when they are cut off.
    package static func describe(_ bytes: ByteView) -> String? {
        var words: [String] = []
        var offset = headerBytes
        while offset < bytes.count {
            guard let run = Run(bytes, at: offset) else { return nil }
            words.append(
                run.rank > 0
                    ? "v:\(run.rank),\(run.length)" : "\(run.size == 2 ? "Z" : "z"):\(run.length)")
            offset += run.size
        }
        return words.joined(separator: " ")
    }

    // MARK: Counting

    /// The estimated number of different elements of a value; nil when it is corrupted.
    package static func count(_ bytes: ByteView) -> UInt64? {
        var histogram = InlineArray<64, Int>(repeating: 0)
        if isDense(bytes) {
            // Two, since an increment waits for the one before of the same number.
            var other = histogram
            for group in 0..<(registerCount / 8) {
                let word = denseRegisters(bytes, group: group)
                for index in stride(from: UInt64(0), to: 8, by: 2) {
                    histogram[Int(truncatingIfNeeded: word &>> (index &* 6)) & 63] &+= 1
                    other[Int(truncatingIfNeeded: word &>> (index &* 6 &+ 6)) & 63] &+= 1
                }
            }
            for rank in 0..<64 { histogram[rank] += other[rank] }
        } else if !forEachRun(bytes, { run, _ in histogram[Int(run.rank)] += run.length }) {
            return nil
        }
        return estimate(histogram)
    }

    /// The estimate for registers of which `histogram[v]` have the value `v`.
    static func estimate(_ histogram: InlineArray<64, Int>) -> UInt64 {
        let registers = Double(registerCount)
        let full = Double(histogram[rankBits + 1])
        var sum = registers * tau((registers - full) / registers)
        for rank in stride(from: rankBits, through: 1, by: -1) {
            sum += Double(histogram[rank])
            sum *= 0.5
        }
        sum += registers * sigma(Double(histogram[0]) / registers)
        // 1 / (2 ln 2)
        let estimate = 0.721347520444481703680 * registers * registers / sum
        // Registers at ranks that no element has may count to anything; Redis answers this number.
        guard estimate < 0x1p63 else { return 1 << 63 }
        return UInt64(estimate.rounded())
    }

    /// What registers at the highest rank add.
    private static func tau(_ share: Double) -> Double {
        if share == 0 || share == 1 { return 0 }
        var root = share
        var weight = 1.0
        var sum = 1 - share
        while true {
            root = root.squareRoot()
            let before = sum
            weight *= 0.5
            sum -= (1 - root) * (1 - root) * weight
            if sum == before { return sum / 3 }
        }
    }

    /// What registers that are 0 add; infinite when all are.
    private static func sigma(_ share: Double) -> Double {
        if share == 1 { return .infinity }
        var power = share
        var weight = 1.0
        var sum = share
        while true {
            power *= power
            let before = sum
            sum += power * weight
            weight += weight
            if sum == before { return sum }
        }
    }
}

/// The registers of several values together.
package struct HyperLogLogUnion {
    private var registers = [UInt8](repeating: 0, count: HyperLogLog.registerCount)

    package init() {}

    /// Takes a value in; false, and some of it may be in, when it is corrupted.
    package mutating func include(_ bytes: ByteView) -> Bool {
        if HyperLogLog.isDense(bytes) {
            var span = registers.mutableSpan
            for group in 0..<(HyperLogLog.registerCount / 8) {
                let word = HyperLogLog.denseRegisters(bytes, group: group)
                for index in 0..<8 {
                    let rank = UInt8(truncatingIfNeeded: word &>> UInt64(index &* 6)) & 63
                    let register = group &* 8 &+ index
                    span[register] = max(span[register], rank)
                }
            }
            return true
        }
        return HyperLogLog.forEachRun(bytes) { run, first in
            if run.rank == 0 { return }
            for index in first..<(first + run.length) {
                registers[index] = max(registers[index], run.rank)
            }
        }
    }

    /// The estimated number of different elements.
    package var count: UInt64 {
        var histogram = InlineArray<64, Int>(repeating: 0)
        for rank in registers { histogram[Int(rank)] += 1 }
        return HyperLogLog.estimate(histogram)
    }

    /// The value of each register.
    package var ranks: [UInt8] { registers }
}

/// A value that is being changed: a copy of its bytes.
package struct NewHyperLogLog {
    package private(set) var bytes: [UInt8]
    /// The run in front of the one that was changed last: registers come in ascending order when
    /// values are merged, and each is looked for from here on.
    private var last = HyperLogLog.RunPlace()

    /// An empty one: sparse, a single run of zeros, and a cardinality of 0 that is up to date.
    package init() {
        bytes = Array("HYLL".utf8) + [1] + [UInt8](repeating: 0, count: 11) + [0x7F, 0xFF]
    }

    /// - Precondition: `HyperLogLog.isOne(bytes)`.
    package init(_ bytes: ByteView) { self.bytes = bytes.bytes }

    package var isDense: Bool { bytes[4] == 0 }

    /// Says that the cached cardinality is outdated.
    package mutating func outdate() { bytes[15] |= 0x80 }

    /// Raises a register to `rank`. A sparse value that would become longer than `sparseBytesMax` turns
    /// dense.
    ///
    /// - Returns: false when the register is as high already, nil when the value is corrupted.
    package mutating func raise(_ index: Int, _ rank: UInt8, sparseBytesMax: Int) -> Bool? {
        if isDense { return raiseDense(index, rank) }
        // What only the dense form can hold does not need to be looked for.
        if rank > HyperLogLog.sparseRankMax { return makeDense() ? raiseDense(index, rank) : nil }
        guard let (run, first, previous) = findRun(index) else { return nil }
        if rank <= run.rank { return false }
        if run.length == 1 {
            // Never a run of two bytes: zeros up to 64 may stand in one, but those are made shorter.
            let single = Self.run(of: 1, rank)
            bytes.replaceSubrange(run.offset..<(run.offset + run.size), with: single)
        } else {
            // Up to three runs for one: what is in front, the register, what is behind.
            var runs: [UInt8] = []
            if index > first { runs += Self.run(of: index - first, run.rank) }
            runs += Self.run(of: 1, rank)
            let behind = first + run.length - 1 - index
            if behind > 0 { runs += Self.run(of: behind, run.rank) }
            let growth = runs.count - run.size
            if growth > 0 && bytes.count + growth > sparseBytesMax {
                return makeDense() ? raiseDense(index, rank) : nil
            }
            bytes.replaceSubrange(run.offset..<(run.offset + run.size), with: runs)
        }
        last = previous ?? HyperLogLog.RunPlace()
        mergeRuns(from: last.offset)
        outdate()
        return true
    }

    private func findRun(
        _ index: Int
    ) -> (run: HyperLogLog.Run, firstIndex: Int, previous: HyperLogLog.RunPlace?)? {
        bytes.withView { bytes in
            if index >= last.firstIndex,
                let found = HyperLogLog.findRun(bytes, of: index, from: last), found.previous != nil
            {
                return found
            }
            // The run in front of it must be known as well.
            return HyperLogLog.findRun(bytes, of: index)
        }
    }

    /// Joins runs of the same value among the next five, where one run can hold them.
    private mutating func mergeRuns(from start: Int) {
        var offset = start
        var left = 5
        while offset < bytes.count && left > 0 {
            left -= 1
            if bytes[offset] & 0x80 == 0 {
                offset += bytes[offset] & 0x40 != 0 ? 2 : 1
                continue
            }
            if offset + 1 < bytes.count, bytes[offset + 1] & 0x80 != 0,
                bytes[offset] >> 2 == bytes[offset + 1] >> 2
            {
                let length = bytes[offset] & 3 + 1 + bytes[offset + 1] & 3 + 1
                if length <= 4 {
                    bytes[offset + 1] = bytes[offset] & ~3 | (length - 1)
                    bytes.remove(at: offset)
                    continue
                }
            }
            offset += 1
        }
    }

    /// The bytes of a run.
    private static func run(of length: Int, _ rank: UInt8) -> [UInt8] {
        if rank > 0 { return [0x80 | (rank - 1) << 2 | UInt8(length - 1)] }
        if length <= 64 { return [UInt8(length - 1)] }
        return [
            0x40 | UInt8(truncatingIfNeeded: (length - 1) >> 8),
            UInt8(truncatingIfNeeded: length - 1),
        ]
    }

    /// Gives the value the dense form; false, and nothing changed, when it is corrupted.
    package mutating func makeDense() -> Bool {
        if isDense { return true }
        var dense = Array(bytes[..<HyperLogLog.headerBytes])
        dense[4] = 0
        dense += [UInt8](repeating: 0, count: HyperLogLog.denseBytes - dense.count)
        let isWhole = bytes.withView { sparse in
            dense.withMutableBytes { room in
                HyperLogLog.forEachRun(sparse) { run, first in
                    if run.rank == 0 { return }
                    for index in first..<(first + run.length) {
                        HyperLogLog.setDenseRegister(room, index, run.rank)
                    }
                }
            }
        }
        if isWhole { bytes = dense }
        return isWhole
    }

    /// Gives the registers of a dense value those of a union that it is part of.
    package mutating func setDense(_ union: HyperLogLogUnion) {
        precondition(isDense, "a sparse value has no registers to set")
        for group in 0..<(HyperLogLog.registerCount / 8) {
            var word: UInt64 = 0
            for index in 0..<8 {
                word |= UInt64(union.ranks[group * 8 + index]) << UInt64(index * 6)
            }
            let at = HyperLogLog.headerBytes + group * 6
            for byte in 0..<6 {
                bytes[at + byte] = UInt8(truncatingIfNeeded: word >> UInt64(byte * 8))
            }
        }
    }

    private mutating func raiseDense(_ index: Int, _ rank: UInt8) -> Bool {
        bytes.withMutableBytes { HyperLogLog.raiseDense($0, index, rank) }
    }
}

extension [UInt8] {
    /// Lends the array's bytes to be changed in place.
    fileprivate mutating func withMutableBytes<R>(_ body: (MutableBytes) -> R) -> R {
        unsafe withUnsafeMutableBytes { room in
            guard let base = room.baseAddress else {
                preconditionFailure("a value is never empty")
            }
            return unsafe body(MutableBytes(base, count: room.count))
        }
    }
}
