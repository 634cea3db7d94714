//  A connection that listens to `expired` events and tells how late each of them came.

import Glibc

/// Keys named by when they expire, and the events that say so.
///
/// All frames are equally long, so nothing is searched for in them:
///
///     *3 $7 message $22 __keyevent@0__:expired $23 e:<milliseconds, 13 digits>:<number, 7 digits>
@safe
package struct ExpiryListener: ~Copyable {
    private let descriptor: Int32
    private let endpoint: Endpoint
    private var chunk = [UInt8](repeating: 0, count: 256 * 1024)
    /// Bytes of a frame that began in the chunk before.
    private var kept = 0

    private static let channel = "__keyevent@0__:expired"
    private static let frame = Array(
        "*3\r\n$7\r\nmessage\r\n$\(channel.utf8.count)\r\n\(channel)\r\n$\(key(0, 0).utf8.count)\r\n"
            .utf8)
    private static let frameBytes = frame.count + key(0, 0).utf8.count + 2

    /// The name of key `number`, which expires at a Unix time.
    package static func key(_ milliseconds: Int, _ number: Int) -> String {
        func padded(_ number: Int, _ digits: Int) -> String {
            let text = String(number)
            return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
        }
        return "e:\(padded(milliseconds, 13)):\(padded(number, 7))"
    }

    /// Connects and listens from now on.
    package init(_ endpoint: Endpoint, _ greeting: Greeting) throws(BenchmarkError) {
        self.endpoint = endpoint
        var client = try ControlClient.connect(endpoint, greeting: greeting)
        _ = try client.command(["SUBSCRIBE", Self.channel])
        descriptor = client.releaseDescriptor()
    }

    deinit { close(descriptor) }

    /// Takes events until `count` have come, or a time has passed, and adds the nanoseconds between
    /// the deadline and the arrival of each to `lateness`.
    ///
    /// - Returns: how many have come.
    /// - Throws: `.unreachable` when the connection ends; `.reply` for another frame, or an event
    ///   before its time.
    package mutating func listen(
        for count: Int, until endNanoseconds: UInt64, into lateness: inout Histogram
    ) throws(BenchmarkError) -> Int {
        var seen = 0
        while seen < count && monotonicNanoseconds() < endNanoseconds {
            var waited = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            if unsafe poll(&waited, 1, 20) <= 0 { continue }
            let got = unsafe chunk.withUnsafeMutableBytes { raw in
                unsafe recv(
                    descriptor, raw.baseAddress.unsafelyUnwrapped + kept, raw.count - kept, 0)
            }
            let now = clockNanoseconds(CLOCK_REALTIME)
            guard got > 0 else {
                if got < 0 && errno == EINTR { continue }
                throw .unreachable("\(endpoint.text): the listener was cut off")
            }
            let end = kept + got
            var begin = 0
            while end - begin >= Self.frameBytes {
                let deadline = try milliseconds(ofFrameAt: begin)
                guard now >= deadline * 1_000_000 else {
                    throw .reply("\(endpoint.text) announced a key before its deadline")
                }
                lateness.record(now - deadline * 1_000_000)
                seen += 1
                begin += Self.frameBytes
            }
            kept = end - begin
            for index in 0..<kept { chunk[index] = chunk[begin + index] }
        }
        return seen
    }

    private func milliseconds(ofFrameAt begin: Int) throws(BenchmarkError) -> UInt64 {
        let key = begin + Self.frame.count
        var value: UInt64 = 0
        for index in key + 2..<key + 15 {
            let digit = chunk[index] &- 0x30
            guard digit < 10 else {
                throw .reply("\(endpoint.text) sent another event than that of a key of ours")
            }
            value = value * 10 + UInt64(digit)
        }
        return value
    }
}
