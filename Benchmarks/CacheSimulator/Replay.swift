//  Plays a trace on a server: GET, and SET on a miss, pipelined.
//
//  A step sends what the last one missed and asks for the next keys:
//
//      SET missed SET missed ... GET next GET next GET next ...
//
//  Steps go over the connections in turn, one at a time, so that the order is the trace's. A key that comes
//  again within the step in which it was missed counts as a hit: it would have been set by then.

import Glibc
import LoadGenerator

/// Where and how a trace is played.
package struct ReplayPlan: Sendable {
    package var endpoint: Endpoint
    package var greeting = Greeting()
    package var connections = 4
    /// Requests in flight.
    package var pipeline = 128
    package var rules = PlayRules()
    /// Whether time passes as in `rules`; else requests follow as fast as they are answered.
    package var isPaced = false

    package init(_ endpoint: Endpoint) { self.endpoint = endpoint }

    /// Replies of a step may fill the buffers of a socket, but not more, as it is sent whole before it is
    /// read.
    static let stepBytesMax = 256 << 10
}

/// Plays a trace.
///
/// - Parameters:
///   - trace: what is asked for.
///   - plan: where and how.
///   - progress: told from time to time how many requests were made.
/// - Returns: the hits.
/// - Throws: `.unreachable`, or `.reply` for what is no reply to GET or SET.
package func replay(
    _ trace: Trace, _ plan: ReplayPlan, progress: (Int) -> Void
) throws(BenchmarkError) -> HitCount {
    var replay = try Replay(trace, plan)
    try replay.run(progress)
    return replay.count
}

private struct Replay: ~Copyable {
    private let trace: Trace
    private let plan: ReplayPlan
    private var connections: [ReplayConnection] = []
    private var request: [UInt8] = []
    private let filler: [UInt8]
    /// Of each key, the step in which it was last missed.
    private var missedIn: [Int32]
    private var missed: [Int] = []
    private(set) var count = HitCount()

    init(_ trace: Trace, _ plan: ReplayPlan) throws(BenchmarkError) {
        self.trace = trace
        self.plan = plan
        for _ in 0..<plan.connections {
            connections.append(try ReplayConnection(plan.endpoint, plan.greeting))
        }
        missedIn = [Int32](repeating: -1, count: trace.keyCount)
        let largest = trace.requests.lazy.map(\.valueBytes).max() ?? 0
        filler = [UInt8](repeating: UInt8(ascii: "v"), count: Int(largest))
    }

    mutating func run(_ progress: (Int) -> Void) throws(BenchmarkError) {
        let startedAt = monotonicNanoseconds()
        var next = 0
        var step = 0
        while next < trace.requests.count || !missed.isEmpty {
            let first = next
            var bytes = 0
            while next < trace.requests.count, next - first < plan.pipeline,
                bytes < ReplayPlan.stepBytesMax
            {
                bytes += Int(trace.requests[next].valueBytes)
                next += 1
            }
            if plan.isPaced {
                let due = Double(next) / plan.rules.requestsPerSecond
                sleep(seconds: due - Double(monotonicNanoseconds() - startedAt) / 1e9)
            }
            try play(first..<next, step)
            if step & 255 == 0 { progress(next) }
            step += 1
        }
    }

    /// One step: sets what the last one missed, and asks for these.
    private mutating func play(_ range: Range<Int>, _ step: Int) throws(BenchmarkError) {
        request.removeAll(keepingCapacity: true)
        for index in missed { appendSet(trace.requests[index]) }
        for index in range { appendGet(Int(trace.requests[index].key)) }
        let connection = connections[step % connections.count]
        try connection.send(request)
        for _ in missed where try connection.readReply() == .error { count.errors += 1 }
        missed.removeAll(keepingCapacity: true)
        for index in range {
            let asked = trace.requests[index]
            let key = Int(asked.key)
            let reply = try connection.readReply()
            if reply == .error { count.errors += 1 }
            let isHit = reply == .value || missedIn[key] == step
            if !isHit {
                missedIn[key] = Int32(truncatingIfNeeded: step)
                missed.append(index)
            }
            if index >= plan.rules.uncountedRequests { count.note(asked, isHit: isHit) }
        }
    }

    private mutating func appendGet(_ key: Int) {
        request += getHead
        appendNumber(trace.keyBytes(key))
        trace.appendKey(key, to: &request)
        request += lineEnd
    }

    private mutating func appendSet(_ missed: TraceRequest) {
        let lifetime = Int(missed.lifetimeMilliseconds)
        request += lifetime > 0 ? expiringSetHead : setHead
        appendNumber(trace.keyBytes(Int(missed.key)))
        trace.appendKey(Int(missed.key), to: &request)
        request += lineEnd
        request.append(UInt8(ascii: "$"))
        appendNumber(Int(missed.valueBytes))
        request += filler[..<Int(missed.valueBytes)]
        request += lineEnd
        if lifetime > 0 {
            let digits = Array(String(lifetime).utf8)
            request += expiryHead
            appendNumber(digits.count)
            request += digits
            request += lineEnd
        }
    }

    private mutating func appendNumber(_ number: Int) {
        request += String(number).utf8
        request += lineEnd
    }
}

private let lineEnd: [UInt8] = [13, 10]
private let getHead = Array("*2\r\n$3\r\nGET\r\n$".utf8)
private let setHead = Array("*3\r\n$3\r\nSET\r\n$".utf8)
private let expiringSetHead = Array("*5\r\n$3\r\nSET\r\n$".utf8)
private let expiryHead = Array("$2\r\nPX\r\n$".utf8)

/// A reply, as far as a replay looks at it.
enum ReplayReply: Equatable {
    /// A value, or OK.
    case value
    case missing
    case error
}

/// Reads the replies to GET and SET out of bytes that come in pieces.
struct ReplayReader {
    private var bytes: [UInt8] = []
    private var at = 0

    /// Takes over what was received.
    mutating func append(_ received: ArraySlice<UInt8>) {
        if at == bytes.count {
            bytes.removeAll(keepingCapacity: true)
            at = 0
        }
        bytes += received
    }

    /// The next reply, or nil when it is not there as a whole.
    ///
    /// - Throws: `.reply` for what is no reply to GET or SET.
    mutating func next() throws(BenchmarkError) -> ReplayReply? {
        guard at < bytes.count else { return nil }
        var end = at + 1
        while end < bytes.count && bytes[end] != 10 { end += 1 }
        if end == bytes.count { return nil }
        switch bytes[at] {
        case UInt8(ascii: "+"):
            at = end + 1
            return .value
        case UInt8(ascii: "-"):
            at = end + 1
            return .error
        case UInt8(ascii: "_"):
            at = end + 1
            return .missing
        case UInt8(ascii: "$"):
            guard
                let length = Int(String(decoding: bytes[(at + 1)..<(end - 1)], as: UTF8.self)),
                length <= 1 << 30
            else { break }
            if length < 0 {
                at = end + 1
                return .missing
            }
            if bytes.count < end + 1 + length + 2 { return nil }
            at = end + 1 + length + 2
            return .value
        default: break
        }
        throw .reply(
            "the server replied to GET or SET: "
                + String(decoding: bytes[at..<min(end, at + 100)], as: UTF8.self))
    }
}

/// A blocking connection for requests whose replies are read one by one.
private final class ReplayConnection {
    private let descriptor: Int32
    private let name: String
    private var reader = ReplayReader()
    private var chunk = [UInt8](repeating: 0, count: 64 << 10)

    init(_ endpoint: Endpoint, _ greeting: Greeting) throws(BenchmarkError) {
        name = endpoint.text
        let client = try ControlClient.connect(endpoint, greeting: greeting)
        descriptor = client.releaseDescriptor()
    }

    deinit { close(descriptor) }

    func send(_ bytes: [UInt8]) throws(BenchmarkError) {
        var sent = 0
        while sent < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { raw in
                unsafe Glibc.send(
                    descriptor, raw.baseAddress.unsafelyUnwrapped + sent, raw.count - sent,
                    Int32(MSG_NOSIGNAL))
            }
            if count < 0 {
                if errno == EINTR { continue }
                throw .unreachable("\(name): \(systemMessage(errno))")
            }
            sent += count
        }
    }

    func readReply() throws(BenchmarkError) -> ReplayReply {
        while true {
            if let reply = try reader.next() { return reply }
            let got = unsafe recv(descriptor, &chunk, chunk.count, 0)
            if got > 0 {
                reader.append(chunk[..<got])
            } else if got == 0 {
                throw .unreachable("\(name) closed the connection")
            } else if errno != EINTR {
                throw .unreachable("\(name): \(systemMessage(errno))")
            }
        }
    }
}
