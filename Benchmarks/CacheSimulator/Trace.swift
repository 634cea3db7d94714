//  What a cache is asked for, in order: generated (TraceGenerator.swift) or read from a file.
//
//  Trace files are CSV, one request a line, with or without this header:
//
//      key,size,ttl        size in bytes of the value; ttl in seconds, may be left out
//      user:17,312,60
//      user:18,5000

import LoadGenerator

/// One request: a GET, followed by a SET of the value when that missed.
package struct TraceRequest: Equatable, Sendable {
    /// The key's number, from 0.
    package let key: UInt32
    package let valueBytes: UInt32
    /// How long a value that is set now lives; 0 for ever.
    package let lifetimeMilliseconds: UInt32

    package init(key: Int, valueBytes: Int, lifetimeMilliseconds: Int = 0) {
        self.key = UInt32(key)
        self.valueBytes = UInt32(valueBytes)
        self.lifetimeMilliseconds = UInt32(lifetimeMilliseconds)
    }
}

/// Requests in their order.
///
/// - Invariant: every key is below `keyCount`.
/// - Memory: 12 bytes a request.
package struct Trace: Sendable {
    package let name: String
    package let requests: [TraceRequest]
    package let keyCount: Int
    /// The keys of a file by their numbers; generated traces have none.
    private let names: [[UInt8]]?

    package static let requestsMax = 200_000_000
    static let valueBytesMax = 64 << 20

    package init(_ name: String, _ requests: [TraceRequest], keyCount: Int) {
        self.name = name
        self.requests = requests
        self.keyCount = keyCount
        names = nil
    }

    /// Whether any value has a TTL, so that time matters.
    package var hasLifetimes: Bool { requests.contains { $0.lifetimeMilliseconds > 0 } }

    /// The length of a key.
    package func keyBytes(_ key: Int) -> Int {
        names.map { $0[key].count } ?? (Trace.prefix.count + Trace.digitCount)
    }

    /// Appends a key as it goes over the wire: generated ones have 16 bytes.
    func appendKey(_ key: Int, to bytes: inout [UInt8]) {
        if let names {
            bytes += names[key]
            return
        }
        bytes += Trace.prefix
        let start = bytes.count
        bytes += repeatElement(48, count: Trace.digitCount)
        var rest = key
        var at = start + Trace.digitCount
        while rest > 0 {
            at -= 1
            bytes[at] = UInt8(48 + rest % 10)
            rest /= 10
        }
    }

    private static let prefix = Array("key:".utf8)
    private static let digitCount = 12

    /// Reads a trace file.
    ///
    /// - Throws: `.usage` with the line that is not as said above, or when there is none.
    package init(name: String, csv text: String) throws(BenchmarkError) {
        var requests: [TraceRequest] = []
        var numbers: [Substring: Int] = [:]
        var names: [[UInt8]] = []
        var lineNumber = 0
        for line in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline) {
            lineNumber += 1
            if line.isEmpty || (lineNumber == 1 && line.hasPrefix("key,size")) { continue }
            let cells = line.split(separator: ",", omittingEmptySubsequences: false)
            guard cells.count == 2 || cells.count == 3, !cells[0].isEmpty,
                let size = Int(cells[1]), (0...Trace.valueBytesMax).contains(size),
                let lifetime = Trace.milliseconds(cells.count == 3 ? cells[2] : "")
            else {
                throw .usage("\(name), line \(lineNumber): not key,size or key,size,ttl")
            }
            guard requests.count < Trace.requestsMax else {
                throw .usage("\(name) has more than \(Trace.requestsMax) requests")
            }
            let key = numbers[cells[0]] ?? names.count
            if key == names.count {
                numbers[cells[0]] = key
                names.append(Array(cells[0].utf8))
            }
            requests.append(
                TraceRequest(key: key, valueBytes: size, lifetimeMilliseconds: lifetime))
        }
        guard !requests.isEmpty else { throw .usage("\(name) has no requests") }
        self.name = name
        self.requests = requests
        self.keyCount = names.count
        self.names = names
    }

    /// A TTL in seconds, or nothing, as milliseconds; nil when it is neither.
    private static func milliseconds(_ text: Substring) -> Int? {
        if text.isEmpty { return 0 }
        guard let seconds = Double(text), seconds >= 0, seconds <= 4_000_000 else { return nil }
        return Int((seconds * 1000).rounded(.up))
    }
}
