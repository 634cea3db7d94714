//  What can go wrong in a benchmark, and how it is said.

import Glibc

/// A failure that ends the program with a message and a status other than 0.
package enum BenchmarkError: Error, Sendable {
    /// The command line asks for something that does not exist or is out of range.
    case usage(String)
    /// No connection to the server, or it closed one.
    case unreachable(String)
    /// The server replied an error, or something that is not RESP.
    case reply(String)
    /// The system refused a call.
    case system(call: String, errorNumber: Int32)
    /// A measurement could not be taken.
    case measurement(String)

    package var message: String {
        switch self {
        case .usage(let text), .unreachable(let text), .reply(let text), .measurement(let text):
            text
        case .system(let call, let errorNumber):
            "\(call): \(systemMessage(errorNumber))"
        }
    }
}

/// The C library's text for `errorNumber`.
package func systemMessage(_ errorNumber: Int32) -> String {
    guard let text = unsafe strerror(errorNumber) else { return "error \(errorNumber)" }
    return unsafe String(cString: text)
}

/// Nanoseconds of the monotonic clock.
@inline(__always)
package func monotonicNanoseconds() -> UInt64 {
    clockNanoseconds(CLOCK_MONOTONIC)
}

/// Nanoseconds of `clock`; the clocks used here always exist.
@inline(__always)
package func clockNanoseconds(_ clock: clockid_t) -> UInt64 {
    var now = timespec()
    unsafe clock_gettime(clock, &now)
    return UInt64(now.tv_sec) &* 1_000_000_000 &+ UInt64(now.tv_nsec)
}

/// Milliseconds of the wall clock, as TTLs count them.
package func wallMilliseconds() -> Int {
    Int(clockNanoseconds(CLOCK_REALTIME) / 1_000_000)
}

/// Sleeps for `seconds`, through interruptions.
package func sleep(seconds: Double) {
    guard seconds > 0 else { return }
    var left = timespec(
        tv_sec: Int(seconds), tv_nsec: Int((seconds - seconds.rounded(.down)) * 1_000_000_000))
    var rest = left
    while unsafe nanosleep(&left, &rest) != 0 && errno == EINTR { left = rest }
}
