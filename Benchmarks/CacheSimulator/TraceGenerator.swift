//  Traces of the kinds that caches meet, from a seed.
//
//  What is said of popularity is true for all: key number i is asked for in proportion to
//  1 / (i + 1)^exponent, as in the workloads of Breslau et al. 1999 and of most caches since. What is
//  mixed in differs. Keys beyond `TraceShape.keyCount` belong to scans, loops and one-hit wonders.

import LoadGenerator

/// The kinds of generated traces.
package enum TraceClass: String, CaseIterable, Sendable {
    /// Popularity that stays.
    case zipf
    /// Keys are born popular and fall behind, as news do: over the trace as many are born as half of the
    /// keys.
    case drift
    /// One request in four belongs to scans, each of which walks a tenth of a set of cold keys.
    case scan
    /// Half of the requests walk in circles, of sizes from a hundredth of the keys to half of them.
    case loop
    /// One request in three is for a key that never comes again.
    case oneHit = "one-hit"
    /// Nine of ten keys live between a twentieth of a second and fifty.
    case ttl
    /// Sizes of values are log-uniform, from a sixteenth of `valueBytes` to sixteen times of it.
    case sizes

    /// Whether popularity alone decides.
    package var isZipf: Bool { self == .zipf || self == .drift }

    package var summary: String {
        switch self {
        case .zipf: "popularity follows a zipf law and stays"
        case .drift: "zipf, and keys grow old: half as many again are born over the trace"
        case .scan: "zipf, with a quarter of the requests in scans over cold keys"
        case .loop: "zipf, with half of the requests walking in circles of several sizes"
        case .oneHit: "zipf, with a third of the requests for keys that never come again"
        case .ttl: "zipf, with nine of ten keys living between 0.05 and 50 seconds"
        case .sizes: "zipf, with sizes log-uniform around the value size"
        }
    }
}

/// What all classes have in common.
package struct TraceShape: Sendable {
    package var keyCount = 1_000_000
    package var requestCount = 3_000_000
    package var exponent = 0.9
    package var valueBytes = 64
    package var seed: UInt64 = 1

    package init() {}
}

extension Trace {
    /// Generates a trace; the same shape gives the same one.
    ///
    /// - Complexity: O(keys + requests).
    package static func generated(_ kind: TraceClass, _ shape: TraceShape) -> Trace {
        var generator = TraceGenerator(kind, shape)
        var requests: [TraceRequest] = []
        requests.reserveCapacity(shape.requestCount)
        var keyCount = shape.keyCount
        for index in 0..<shape.requestCount {
            let key = generator.next(index)
            keyCount = max(keyCount, key + 1)
            requests.append(generator.request(for: key))
        }
        return Trace(kind.rawValue, requests, keyCount: keyCount)
    }
}

/// Draws the requests of one trace.
private struct TraceGenerator: ~Copyable {
    private let kind: TraceClass
    private let shape: TraceShape
    private var popular: KeyChooser
    private var random: RandomBits
    /// The next key that was never asked for.
    private var fresh: Int
    private var scanned = 0
    private var scanLeft = 0
    private var circles: [Circle] = []

    /// Keys that are asked for one after the other, again and again.
    private struct Circle {
        let first: Int
        let count: Int
        var at = 0
    }

    init(_ kind: TraceClass, _ shape: TraceShape) {
        self.kind = kind
        self.shape = shape
        popular = KeyChooser(.zipf(exponent: shape.exponent), keyCount: shape.keyCount)
        random = RandomBits(seed: shape.seed)
        fresh = shape.keyCount
        // Eight circles, each twice as large as the one before.
        var first = shape.keyCount
        for step in 0..<8 where kind == .loop {
            let count = max(1, shape.keyCount >> (8 - step))
            circles.append(Circle(first: first, count: count))
            first += count
        }
    }

    /// The key of the request with this number.
    mutating func next(_ index: Int) -> Int {
        switch kind {
        case .zipf, .ttl, .sizes: return nextPopular()
        case .drift:
            // A key born later is more popular: ranks count from the youngest.
            let born = index * (shape.keyCount / 2) / max(1, shape.requestCount)
            return shape.keyCount - 1 + born - nextPopular()
        case .scan: return nextOfScans()
        case .loop: return nextOfCircles()
        case .oneHit:
            if random.below(3) > 0 { return nextPopular() }
            fresh += 1
            return fresh - 1
        }
    }

    private mutating func nextPopular() -> Int { Int(popular.next(&random)) }

    /// A scan goes on undisturbed once it has begun; how often one begins makes it a quarter of all.
    private mutating func nextOfScans() -> Int {
        let length = max(1, shape.keyCount / 10)
        if scanLeft == 0 && random.below(UInt64(3 * length)) == 0 { scanLeft = length }
        guard scanLeft > 0 else { return nextPopular() }
        scanLeft -= 1
        scanned = (scanned + 1) % shape.keyCount
        return shape.keyCount + scanned
    }

    private mutating func nextOfCircles() -> Int {
        if random.below(2) == 0 { return nextPopular() }
        let chosen = Int(random.below(UInt64(circles.count)))
        let circle = circles[chosen]
        circles[chosen].at = (circle.at + 1) % circle.count
        return circle.first + circle.at
    }

    /// Size and lifetime of a value depend on its key alone.
    func request(for key: Int) -> TraceRequest {
        var bits = RandomBits(seed: shape.seed ^ (UInt64(key) &* 0xD6E8_FEB8_6659_FD93))
        switch kind {
        case .sizes:
            let smallest = max(1, shape.valueBytes / 16)
            return TraceRequest(
                key: key, valueBytes: logUniform(smallest, shape.valueBytes * 16, &bits))
        case .ttl where bits.below(10) > 0:
            return TraceRequest(
                key: key, valueBytes: shape.valueBytes,
                lifetimeMilliseconds: logUniform(50, 50_000, &bits))
        default: return TraceRequest(key: key, valueBytes: shape.valueBytes)
        }
    }
}

/// A number between both bounds, each doubling as likely as any other.
private func logUniform(_ low: Int, _ high: Int, _ bits: inout RandomBits) -> Int {
    let share = Double(bits.next() >> 11) / Double(1 << 53)
    return min(high, Int(Double(low) * power(Double(high) / Double(low), share)))
}
