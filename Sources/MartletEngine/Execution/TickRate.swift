//  How fast the processor's tick counter runs, measured once against the monotonic clock.

import CSystem
import Glibc
import MartletBase

/// The rate of `martlet_ticks`.
package enum TickRate {
    /// Ticks in a millisecond, at least 1.
    package static let perMillisecond: UInt64 = measure()

    /// Ticks as microseconds.
    package static func microseconds(_ ticks: UInt64) -> Double {
        Double(ticks) * 1000 / Double(perMillisecond)
    }

    private static func measure() -> UInt64 {
        // Five milliseconds at start-up give a rate right to better than a thousandth.
        let clock = Clock.system
        let begin = clock.monotonicNanoseconds()
        let beginTicks = martlet_ticks()
        usleep(5000)
        let nanoseconds = clock.monotonicNanoseconds() - begin
        let ticks = martlet_ticks() - beginTicks
        return max(1, UInt64(Double(ticks) * 1_000_000 / Double(max(nanoseconds, 1))))
    }
}
