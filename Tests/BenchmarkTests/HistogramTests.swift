//  The histogram against sorted values.

import Testing

@testable import LoadGenerator

@Suite struct HistogramTests {
    @Test func `buckets cover all values without gap or overlap`() {
        #expect(Histogram.bucket(of: 0) == 0)
        for bucket in 1..<4352 {
            let end = Histogram.lowerBound(of: bucket - 1) + Histogram.width(of: bucket - 1)
            #expect(Histogram.lowerBound(of: bucket) == end)
            #expect(Histogram.bucket(of: end) == bucket)
            #expect(Histogram.bucket(of: end - 1) == bucket - 1)
        }
        #expect(Histogram.bucket(of: 1 << 40 - 1) == 4351)
    }

    @Test(arguments: [0.0, 0.5, 0.99, 0.999, 1.0])
    func `a quantile is within one percent of the sorted values`(fraction: Double) {
        var random = RandomBits(seed: 7)
        var histogram = Histogram()
        var values: [UInt64] = []
        for _ in 0..<20_000 {
            // All magnitudes alike, up to 2^37 ns: more than two minutes.
            let value = random.next() >> (27 + random.below(37))
            values.append(value)
            histogram.record(value)
        }
        values.sort()
        let rank = max(1, Int((fraction * 20_000).rounded(.up)))
        let exact = Double(values[rank - 1])
        let found = Double(histogram.quantile(fraction))
        #expect(abs(found - exact) <= exact * 0.01)
        #expect(histogram.count == 20_000)
        #expect(histogram.maximum == values.last)
        #expect(histogram.minimum == values.first)
    }

    @Test func `merging counts what both counted`() {
        var one = Histogram()
        var other = Histogram()
        one.record(100, times: 3)
        other.record(5_000_000)
        one.merge(other)
        #expect(one.count == 4)
        #expect(one.quantile(0.5) == 100)
        #expect(one.maximum == 5_000_000)
        #expect(one.mean == (3 * 100 + 5_000_000) / 4)
    }

    @Test func `an empty histogram answers zero`() {
        let histogram = Histogram()
        #expect(histogram.quantile(0.999) == 0)
        #expect(histogram.mean == 0)
    }

    @Test func `values beyond the last bucket are counted and the maximum stays exact`() {
        var histogram = Histogram()
        histogram.record(.max)
        #expect(histogram.count == 1)
        #expect(histogram.maximum == .max)
    }
}
