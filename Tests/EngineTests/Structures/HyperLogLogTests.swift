//  HyperLogLog against a plain array of registers: sparse, dense, merged; and bytes Redis wrote.

import MartletBase
import Testing

@testable import MartletEngine

private func element(_ number: Int) -> [UInt8] { Array("element:\(number)".utf8) }

private func registers(_ value: NewHyperLogLog) -> [UInt8]? {
    var union = HyperLogLogUnion()
    return value.bytes.withView { union.include($0) } ? union.ranks : nil
}

struct HyperLogLogTests {
    @Test(arguments: [0, 100, 3_000, 20_000])
    func `registers are those of a plain array, in both forms`(sparseBytesMax: Int) {
        let seed = testSeed()
        var random = Random(seed: seed)
        var value = NewHyperLogLog()
        var model = [UInt8](repeating: 0, count: HyperLogLog.registerCount)
        for step in 0..<6_000 {
            // Neighbours often, so that runs are split and joined.
            let index =
                step % 3 == 0
                ? random.index(below: HyperLogLog.registerCount) : random.index(below: 300)
            let rank = UInt8(random.index(below: step % 500 == 499 ? 51 : 4) + 1)
            let isHigher = value.raise(index, rank, sparseBytesMax: sparseBytesMax)
            #expect(isHigher == (rank > model[index]), "seed \(seed)")
            model[index] = max(model[index], rank)
            if !value.isDense { #expect(value.bytes.count <= max(18, sparseBytesMax)) }
            if step % 500 == 0 { #expect(registers(value) == model, "seed \(seed)") }
        }
        #expect(registers(value) == model, "seed \(seed)")
        let sparseCount = value.bytes.withView { HyperLogLog.count($0) }
        let isWhole = value.makeDense()
        #expect(isWhole)
        #expect(registers(value) == model, "seed \(seed)")
        #expect(value.bytes.count == HyperLogLog.denseBytes)
        #expect(value.bytes.withView { HyperLogLog.count($0) } == sparseCount)
    }

    @Test func `ascending registers leave the bytes that any way to look for them leaves`() {
        // With and without the place that is remembered.
        var remembered = NewHyperLogLog()
        var anew = NewHyperLogLog()
        for index in stride(from: 3, to: 9_000, by: 7) {
            for (offset, rank) in [(0, 2), (1, 2), (2, 2), (3, 5), (4, 2)] {
                let rank = UInt8(rank)
                _ = remembered.raise(index + offset, rank, sparseBytesMax: 9_000)
                anew = anew.bytes.withView { NewHyperLogLog($0) }
                _ = anew.raise(index + offset, rank, sparseBytesMax: 9_000)
            }
        }
        #expect(remembered.bytes == anew.bytes)
    }

    @Test(arguments: [10, 1_000, 100_000])
    func `the estimate is near`(count: Int) {
        var value = NewHyperLogLog()
        for number in 0..<count {
            let (index, rank) = element(number).withView { HyperLogLog.place(of: $0) }
            _ = value.raise(index, rank, sparseBytesMax: 3_000)
        }
        let estimate = value.bytes.withView { HyperLogLog.count($0) } ?? 0
        #expect((Double(estimate) / Double(count) - 1).magnitude < 0.03)
    }

    @Test func `elements fall where they fall in Redis`() {
        var value = NewHyperLogLog()
        for text in ["a", "b", "c", "", "12345678", "a-longer-element-of-27-bytes"] {
            let (index, rank) = Array(text.utf8).withView { HyperLogLog.place(of: $0) }
            _ = value.raise(index, rank, sparseBytesMax: 3_000)
        }
        #expect(
            value.bytes.withView { HyperLogLog.describe($0) }
                == "Z:5938 v:2,1 Z:2497 v:1,1 Z:2142 v:3,1 Z:2131 v:2,1 Z:3068 v:1,1 Z:240 v:4,1 Z:362"
        )
    }

    @Test func `corrupted values are told from whole ones`() {
        let header = Array("HYLL".utf8) + [1] + [UInt8](repeating: 0, count: 11)
        func check(_ runs: [UInt8]) -> UInt64? {
            (header + runs).withView { HyperLogLog.count($0) }
        }
        #expect(check([0x7F, 0xFF]) == 0)
        #expect(check([]) == nil)
        #expect(check([0x7F]) == nil)
        #expect(check([0x7F, 0xFE]) == nil)
        #expect(check([0x7F, 0xFF, 0x00]) == nil)
        #expect(check([0x7F, 0xFE, 0x80]) != nil)
        var cut = (header + [0x40]).withView { NewHyperLogLog($0) }
        let isHigher = cut.raise(5, 1, sparseBytesMax: 3_000)
        let isDense = cut.makeDense()
        #expect(isHigher == nil && !isDense)
        let isOne = { (bytes: [UInt8]) in bytes.withView { HyperLogLog.isOne($0) } }
        #expect(isOne(header))
        #expect(!isOne(Array(header[..<15])))
        #expect(!isOne(Array("HYLL".utf8) + [0] + [UInt8](repeating: 0, count: 11)))
        #expect(!isOne(Array("HYLL".utf8) + [2] + [UInt8](repeating: 0, count: 11)))
        // Every register beyond what an element can have: as Redis, no trap.
        let full = Array(header[..<4]) + [0] + header[5...] + [UInt8](repeating: 255, count: 12_288)
        #expect(full.withView { HyperLogLog.count($0) } == 1 << 63)
    }
}
