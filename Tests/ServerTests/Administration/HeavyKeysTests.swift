//  The heaviest keys of a stream against exact sums.

import MartletBase
import Testing

@testable import MartletServer

@Suite struct HeavyKeysTests {
    private func key(_ number: Int) -> [UInt8] { Array("key:\(number)".utf8) }

    @Test func `sums are exact while every key has a place`() {
        var heavy = HeavyKeys(countMax: 50)
        var exact: [Int: UInt64] = [:]
        var random = Random(seed: 5)
        for _ in 0..<5_000 {
            let number = random.index(below: 50)
            let amount = UInt64(random.index(below: 100))
            heavy.add(key(number), amount)
            exact[number, default: 0] += amount
            heavy.checkInvariants()
        }
        let largest = heavy.largest(50)
        #expect(largest.map(\.sum) == exact.values.sorted(by: >))
        for (name, sum) in largest {
            #expect(exact.contains { key($0.key) == name && $0.value == sum })
        }
    }

    @Test func `keys heavier than the average place are found among many`() {
        var heavy = HeavyKeys(countMax: 100)
        var random = Random(seed: 6)
        // Ten keys get half of all, ten thousand the rest.
        for _ in 0..<100_000 {
            let number =
                random.index(below: 2) == 0
                ? random.index(below: 10) : 10 + random.index(below: 10_000)
            heavy.add(key(number), 10)
        }
        heavy.checkInvariants()
        let largest = heavy.largest(10)
        #expect(Set(largest.map(\.key)) == Set((0..<10).map(key)))
        // What is told is certain: never more than there was.
        #expect(largest.allSatisfy { $0.sum <= 60_000 && $0.sum >= 40_000 })
    }

    @Test func `very long keys and amounts of zero take no place`() {
        var heavy = HeavyKeys(countMax: 2)
        heavy.add([UInt8](repeating: 1, count: HeavyKeys.keyBytesMax + 1), 9)
        heavy.add(key(1), 0)
        #expect(heavy.largest(2).isEmpty)
        heavy.add(key(1), 1)
        #expect(heavy.largest(2).count == 1)
    }
}
