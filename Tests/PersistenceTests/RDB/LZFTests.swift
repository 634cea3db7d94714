//  The compression of strings: what was compressed comes back, and no input is trusted.

import MartletBase
import Testing

@testable import MartletPersistence

struct LZFTests {
    private func compressed(_ bytes: [UInt8], _ compressor: inout LZFCompressor) -> [UInt8]? {
        var output = ByteBuffer()
        guard let count = bytes.withView({ compressor.compress($0, into: &output) }) else {
            #expect(output.count == 0)
            return nil
        }
        #expect(count == output.count)
        #expect(count + 4 <= bytes.count)
        return output.view.bytes
    }

    private func expanded(_ bytes: [UInt8], count: Int) -> [UInt8]? {
        var output = ByteBuffer()
        output.append("kept")
        let isDone = bytes.withView { LZF.expand($0, count: count, into: &output) }
        #expect(output.view.slice(0, 4).string == "kept")
        if !isDone { #expect(output.count == 4) }
        return isDone ? output.view.slice(4, output.count).bytes : nil
    }

    @Test func `what was compressed comes back`() {
        var random = Random(seed: 7)
        var compressor = LZFCompressor()
        var shorter = 0
        for round in 0..<600 {
            let letters = 1 + random.index(below: round % 3 == 0 ? 4 : 200)
            let count = random.index(below: round % 50 == 0 ? 100_000 : 700)
            var bytes: [UInt8] = []
            while bytes.count < count {
                if bytes.count > 20 && random.index(below: 4) == 0 {
                    // A copy of what was there, near or far.
                    let start = random.index(below: bytes.count)
                    let end = min(bytes.count, start + random.index(below: 400))
                    bytes += bytes[start..<end]
                } else {
                    bytes.append(UInt8(random.index(below: letters)))
                }
            }
            guard let small = compressed(bytes, &compressor) else { continue }
            shorter += 1
            #expect(expanded(small, count: bytes.count) == bytes)
            #expect(expanded(small, count: bytes.count - 1) == nil)
            #expect(expanded(small, count: bytes.count + 1) == nil)
            #expect(expanded(Array(small.dropLast()), count: bytes.count) == nil)
        }
        #expect(shorter > 200)
    }

    @Test func `a repeated byte takes next to nothing`() throws {
        var compressor = LZFCompressor()
        let bytes = [UInt8](repeating: 65, count: 10_000)
        let small = try #require(compressed(bytes, &compressor))
        #expect(small.count < 150)
        #expect(expanded(small, count: 10_000) == bytes)
    }

    @Test func `what redis-server compresses is understood`() {
        #expect(expanded([0, 97, 0xE0, 6, 0], count: 16) == [UInt8](repeating: 97, count: 16))
        #expect(expanded([2, 97, 98, 99, 0x20, 2], count: 6) == Array("abcabc".utf8))
    }

    @Test func `no input traps, and none makes more than it says`() {
        var random = Random(seed: 11)
        for _ in 0..<20_000 {
            let bytes = (0..<random.index(below: 40)).map { _ in
                UInt8(truncatingIfNeeded: random.next())
            }
            let count = random.index(below: 300)
            if let made = expanded(bytes, count: count) { #expect(made.count == count) }
        }
        #expect(expanded([], count: Int.max) == nil)
        #expect(expanded([0, 1], count: -1) == nil)
    }
}
