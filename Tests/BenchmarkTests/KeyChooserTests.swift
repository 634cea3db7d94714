//  Distributions of keys against their definition.

import Foundation
import Testing

@testable import LoadGenerator

@Suite struct KeyChooserTests {
    private func counts(
        _ distribution: KeyDistribution, keyCount: Int, draws: Int
    ) -> [Int] {
        var random = RandomBits(seed: 11)
        var chooser = KeyChooser(distribution, keyCount: keyCount)
        var counts = [Int](repeating: 0, count: keyCount)
        for _ in 0..<draws { counts[Int(chooser.next(&random))] += 1 }
        return counts
    }

    @Test func `uniform keys are alike often`() {
        for count in counts(.uniform, keyCount: 100, draws: 1_000_000) {
            // Six standard deviations of a binomial with mean 10 000.
            #expect(abs(count - 10_000) < 600)
        }
    }

    @Test(arguments: [0.5, 0.99, 1.2, 3.0])
    func `zipf keys follow their law`(exponent: Double) {
        let keyCount = 1_000
        let draws = 1_000_000
        let found = counts(.zipf(exponent: exponent), keyCount: keyCount, draws: draws)
        let weights = (0..<keyCount).map { pow(Double($0 + 1), -exponent) }
        let total = weights.reduce(0, +)
        for key in 0..<keyCount {
            let expected = Double(draws) * weights[key] / total
            #expect(abs(Double(found[key]) - expected) <= 6 * expected.squareRoot() + 1)
        }
    }

    @Test func `zipf of one key draws that key`() {
        #expect(counts(.zipf(exponent: 0.99), keyCount: 1, draws: 10) == [10])
    }

    @Test func `sequential workers draw every key once`() {
        var random = RandomBits(seed: 1)
        var seen = [Int](repeating: 0, count: 10)
        for worker in 0..<3 {
            var chooser = KeyChooser(.sequential, keyCount: 10, first: worker, step: 3)
            for _ in 0..<(10 / 3 + (worker < 10 % 3 ? 1 : 0)) {
                seen[Int(chooser.next(&random))] += 1
            }
        }
        #expect(seen == [Int](repeating: 1, count: 10))
    }
}
