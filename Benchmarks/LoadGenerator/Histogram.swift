//  Latencies in a histogram of high dynamic range: log-linear buckets in raw memory.
//
//  A worker owns one and records into it between two reads of a socket; nothing here allocates
//  after `init`. Histograms of several workers are merged when they have stopped.

import Glibc

/// Counts of values between 0 and 18 minutes of nanoseconds, each known to better than 0.4 %.
///
/// Values below 256 have a bucket each. Above, every power of two is cut into 128 buckets:
///
///         value          2^8 ..< 2^9    2^9 ..< 2^10    …    2^39 ..< 2^40
///         bucket width   2              4                    2^32
///         buckets        256 ..< 384    384 ..< 512          4224 ..< 4352
///
/// A quantile is the middle of its bucket, so it is wrong by at most half a bucket: 1/256.
///
/// - Invariant: `count` is the sum of all buckets; `minimum <= maximum` unless `count == 0`.
/// - Memory: 34 KB, of which a run touches the few lines around its latencies.
@safe
package struct Histogram: ~Copyable {
    private static let bucketCount = 4352
    /// The largest value with a bucket; larger ones are counted there, `maximum` stays exact.
    private static let valueMax: UInt64 = 1 << 40 - 1

    private let buckets: UnsafeMutablePointer<UInt64>
    package private(set) var count: UInt64 = 0
    package private(set) var maximum: UInt64 = 0
    package private(set) var minimum: UInt64 = .max
    private var sum: Double = 0

    /// A histogram without values.
    package init() {
        unsafe buckets = .allocate(capacity: Histogram.bucketCount)
        unsafe buckets.initialize(repeating: 0, count: Histogram.bucketCount)
    }

    deinit { unsafe buckets.deallocate() }

    /// Counts `value` as seen `times` times.
    @inline(__always)
    package mutating func record(_ value: UInt64, times: Int = 1) {
        let index = Histogram.bucket(of: min(value, Histogram.valueMax))
        unsafe buckets[index] &+= UInt64(truncatingIfNeeded: times)
        count &+= UInt64(truncatingIfNeeded: times)
        sum += Double(value) * Double(times)
        if value > maximum { maximum = value }
        if value < minimum { minimum = value }
    }

    /// Forgets all values.
    package mutating func removeAll() {
        unsafe buckets.update(repeating: 0, count: Histogram.bucketCount)
        count = 0
        maximum = 0
        minimum = .max
        sum = 0
    }

    /// Adds the values of `other`.
    package mutating func merge(_ other: borrowing Histogram) {
        for index in 0..<Histogram.bucketCount {
            unsafe buckets[index] &+= other.buckets[index]
        }
        count &+= other.count
        sum += other.sum
        maximum = max(maximum, other.maximum)
        minimum = min(minimum, other.minimum)
    }

    /// The mean of all values, 0 when there are none.
    package var mean: Double { count == 0 ? 0 : sum / Double(count) }

    /// The value that a share `fraction` of all values does not exceed, 0 when there are none;
    /// 0.999 asks for p99.9.
    package func quantile(_ fraction: Double) -> UInt64 {
        guard count > 0 else { return 0 }
        let rank = max(1, min(count, UInt64((fraction * Double(count)).rounded(.up))))
        var seen: UInt64 = 0
        for index in 0..<Histogram.bucketCount {
            unsafe seen &+= buckets[index]
            if seen >= rank {
                let middle = Histogram.lowerBound(of: index) + (Histogram.width(of: index) - 1) / 2
                return min(max(middle, minimum), maximum)
            }
        }
        return maximum
    }

    @inline(__always)
    static func bucket(of value: UInt64) -> Int {
        if value < 256 { return Int(truncatingIfNeeded: value) }
        let shift = 56 &- value.leadingZeroBitCount
        return (shift &<< 7) &+ Int(truncatingIfNeeded: value &>> UInt64(shift))
    }

    static func lowerBound(of bucket: Int) -> UInt64 {
        if bucket < 256 { return UInt64(bucket) }
        return UInt64(128 + bucket & 127) << UInt64(bucket >> 7 - 1)
    }

    static func width(of bucket: Int) -> UInt64 {
        bucket < 256 ? 1 : 1 << UInt64(bucket >> 7 - 1)
    }
}

/// What a run says about its latencies, in nanoseconds.
package struct LatencySummary: Sendable {
    package var count: UInt64
    package var mean: Double
    package var p50: UInt64
    package var p99: UInt64
    package var p999: UInt64
    package var maximum: UInt64

    package init(_ histogram: borrowing Histogram) {
        count = histogram.count
        mean = histogram.mean
        p50 = histogram.quantile(0.5)
        p99 = histogram.quantile(0.99)
        p999 = histogram.quantile(0.999)
        maximum = histogram.maximum
    }
}
