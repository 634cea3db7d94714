//  Generated traces have the shapes their classes promise; trace files are read as documented.

import Foundation
import Testing

@testable import CacheSimulator
@testable import LoadGenerator

@Suite struct TraceTests {
    private var shape: TraceShape {
        var shape = TraceShape()
        shape.keyCount = 10_000
        shape.requestCount = 100_000
        return shape
    }

    private func counts(_ requests: some Sequence<TraceRequest>) -> [UInt32: Int] {
        var counts: [UInt32: Int] = [:]
        for request in requests { counts[request.key, default: 0] += 1 }
        return counts
    }

    private func isClose(_ count: Int, of total: Int, to share: Double, within: Double) -> Bool {
        let found = Double(count) / Double(total)
        return abs(found - share) < within
    }

    @Test(arguments: TraceClass.allCases)
    func `a seed gives the same trace again, another one does not`(kind: TraceClass) {
        let trace = Trace.generated(kind, shape)
        #expect(trace.requests == Trace.generated(kind, shape).requests)
        var other = shape
        other.seed = 2
        #expect(trace.requests != Trace.generated(kind, other).requests)
        #expect(trace.requests.count == shape.requestCount)
        #expect(trace.requests.allSatisfy { $0.key < trace.keyCount })
    }

    @Test(arguments: TraceClass.allCases)
    func `a key keeps its size and its TTL`(kind: TraceClass) {
        var known: [UInt32: TraceRequest] = [:]
        for request in Trace.generated(kind, shape).requests {
            #expect(known[request.key, default: request] == request)
            known[request.key] = request
        }
    }

    @Test func `zipf keys are asked for by their law`() {
        let counts = counts(Trace.generated(.zipf, shape).requests)
        let total = (1...shape.keyCount).map { pow(Double($0), -shape.exponent) }.reduce(0, +)
        for key in [0, 1, 9, 99] {
            let expected = 100_000 * pow(Double(key + 1), -shape.exponent) / total
            let found = Double(counts[UInt32(key)] ?? 0)
            let deviation = abs(found - expected)
            #expect(deviation < 6 * expected.squareRoot())
        }
    }

    @Test func `what drifts is hot first and cold later`() {
        let requests = Trace.generated(.drift, shape).requests
        func hottest(_ part: some Sequence<TraceRequest>) -> Set<UInt32> {
            Set(counts(part).sorted { $0.value > $1.value }.prefix(100).map(\.key))
        }
        let early = hottest(requests.prefix(10_000))
        let late = hottest(requests.suffix(10_000))
        #expect(early.isDisjoint(with: late))
        #expect((early.min() ?? 0) < (late.min() ?? 0))
    }

    @Test func `a quarter of the requests belongs to scans in order`() {
        // Scans are long: only many requests show how many there are.
        var long = shape
        long.keyCount = 1_000
        let requests = Trace.generated(.scan, long).requests
        let scanned = requests.filter { $0.key >= 1_000 }
        #expect(isClose(scanned.count, of: 100_000, to: 0.25, within: 0.03))
        for (one, next) in zip(scanned, scanned.dropFirst()) {
            #expect(next.key == one.key + 1 || next.key == 1_000)
        }
    }

    @Test func `half of the requests walks in circles`() {
        let requests = Trace.generated(.loop, shape).requests
        let walking = requests.filter { $0.key >= 10_000 }
        #expect(isClose(walking.count, of: 100_000, to: 0.5, within: 0.02))
        // The smallest circle has 10_000 >> 8 keys: each comes around as often as the others.
        let small = counts(walking.filter { $0.key < 10_039 })
        #expect(small.count == 39)
        let most = small.values.max() ?? 0
        let least = small.values.min() ?? 0
        #expect(most - least <= 1)
    }

    @Test func `a third of the requests is for keys that never come again`() {
        let counts = counts(Trace.generated(.oneHit, shape).requests)
        let strangers = counts.filter { $0.key >= 10_000 }
        #expect(strangers.values.allSatisfy { $0 == 1 })
        #expect(isClose(strangers.count, of: 100_000, to: 1.0 / 3, within: 0.02))
    }

    @Test func `nine of ten keys expire, after times of all lengths`() {
        let trace = Trace.generated(.ttl, shape)
        #expect(trace.hasLifetimes)
        #expect(!Trace.generated(.zipf, shape).hasLifetimes)
        var lifetimes: [UInt32: UInt32] = [:]
        for request in trace.requests { lifetimes[request.key] = request.lifetimeMilliseconds }
        let expiring = lifetimes.values.filter { $0 > 0 }
        #expect(isClose(expiring.count, of: lifetimes.count, to: 0.9, within: 0.02))
        #expect(expiring.allSatisfy { (50...50_000).contains($0) })
        // A third in each decade.
        let short = expiring.filter { $0 < 500 }.count
        #expect(isClose(short, of: expiring.count, to: 1.0 / 3, within: 0.03))
    }

    @Test func `sizes are as likely in each doubling`() {
        var sizes: [UInt32: UInt32] = [:]
        for request in Trace.generated(.sizes, shape).requests {
            sizes[request.key] = request.valueBytes
        }
        #expect(sizes.values.allSatisfy { (4...1024).contains($0) })
        let small = sizes.values.filter { $0 < 64 }.count
        #expect(isClose(small, of: sizes.count, to: 0.5, within: 0.03))
    }

    @Test func `a trace file gives keys, sizes and TTLs`() throws {
        let trace = try Trace(name: "file", csv: "key,size,ttl\na,10,1.5\r\nbc,20\n\na,10,\n")
        #expect(
            trace.requests == [
                TraceRequest(key: 0, valueBytes: 10, lifetimeMilliseconds: 1500),
                TraceRequest(key: 1, valueBytes: 20), TraceRequest(key: 0, valueBytes: 10),
            ])
        #expect(trace.keyCount == 2)
        #expect(trace.keyBytes(1) == 2)
        var bytes: [UInt8] = []
        trace.appendKey(1, to: &bytes)
        #expect(bytes == Array("bc".utf8))
    }

    @Test func `a generated key has 16 bytes`() {
        var bytes: [UInt8] = []
        Trace.generated(.zipf, shape).appendKey(42, to: &bytes)
        #expect(String(decoding: bytes, as: UTF8.self) == "key:000000000042")
    }

    @Test(arguments: ["", "key,size\n", "a\n", "a,b\n", "a,-1\n", ",5\n", "a,5,-1\n", "a,5,6,7\n"])
    func `a file that is no trace is refused`(text: String) {
        #expect(throws: BenchmarkError.self) { try Trace(name: "file", csv: text) }
    }

    @Test func `replies are read wherever they are split`() throws {
        let bytes = Array("+OK\r\n$3\r\nabc\r\n$-1\r\n-ERR no\r\n$0\r\n\r\n_\r\n".utf8)
        let expected: [ReplayReply] = [.value, .value, .missing, .error, .value, .missing]
        for step in 1...bytes.count {
            var reader = ReplayReader()
            var found: [ReplayReply] = []
            for start in stride(from: 0, to: bytes.count, by: step) {
                reader.append(bytes[start..<min(start + step, bytes.count)])
                while let reply = try reader.next() { found.append(reply) }
            }
            #expect(found == expected, "\(step)")
        }
        var reader = ReplayReader()
        reader.append(Array("HTTP/1.1 400\r\n".utf8)[...])
        #expect(throws: BenchmarkError.self) { try reader.next() }
    }

    @Test func `a chart has a panel for each trace and a line for each cache`() {
        let line = HitRatioLine(name: "a<b", points: [(1 << 20, 0.5), (2 << 20, 0.75)])
        let svg = hitRatioChart([
            HitRatioPanel(title: "zipf", lines: [line]),
            HitRatioPanel(title: "scan", lines: [line]),
        ])
        #expect(svg.hasPrefix("<svg") && svg.hasSuffix("</svg>\n"))
        #expect(svg.contains(">zipf<") && svg.contains(">scan<"))
        #expect(svg.contains("a&lt;b") && !svg.contains("a<b"))
        #expect(XMLCheck.isWellFormed(svg))
    }
}

/// Whether every element is closed in its turn; enough for pictures without comments.
private enum XMLCheck {
    static func isWellFormed(_ text: String) -> Bool {
        var open: [Substring] = []
        for part in text.split(separator: "<").map({ $0.prefix(while: { $0 != ">" }) }) {
            if part.hasPrefix("/") {
                if open.popLast() != part.dropFirst() { return false }
            } else if !part.hasSuffix("/") {
                open.append(part.prefix(while: { $0 != " " }))
            }
        }
        return open.isEmpty
    }
}
