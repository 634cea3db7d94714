//  The two clocks: monotonic for timeouts and measurements, wall for TTLs and what people read.
//
//  Loops read them once per iteration and hand the time on; nobody else asks the system. A test
//  replaces both by a `VirtualTime` that stands still until it is told to move.
//
//  Raw memory: a `VirtualTime` allocates the two words that its clocks read and frees them when it
//  goes; any thread may touch them, by atomic accesses alone.

import CSystem
import Glibc

/// A source of time: the system's clocks, or a test's.
///
/// It is a pointer that is nil for the system, not a protocol: a read on the hot path is a
/// predictable branch and `clock_gettime`, about 20 ns, without a witness table.
///
/// - Memory: 8 bytes, trivially copied.
@safe
@frozen
@usableFromInline
package struct Clock: @unchecked Sendable {
    // Sendable: the cell is read and written by atomic accesses only, and outlives the clock.
    @usableFromInline let cell: UnsafeMutableRawPointer?

    @usableFromInline
    init(cell: UnsafeMutableRawPointer?) {
        unsafe self.cell = cell
    }

    /// The system's clocks.
    @inlinable
    package static var system: Clock { unsafe Clock(cell: nil) }

    /// Nanoseconds since some fixed moment; never steps back.
    @inlinable @inline(__always)
    package func monotonicNanoseconds() -> Int64 {
        if let cell = unsafe cell {
            return unsafe Int64(bitPattern: martlet_load_relaxed_64(cell))
        }
        return Self.read(CLOCK_MONOTONIC)
    }

    @inlinable @inline(__always)
    package func monotonicMicroseconds() -> Int64 { monotonicNanoseconds() / 1_000 }

    @inlinable @inline(__always)
    package func monotonicMilliseconds() -> Int64 { monotonicNanoseconds() / 1_000_000 }

    /// Nanoseconds since 1970; steps when somebody sets the clock.
    @inlinable @inline(__always)
    package func wallNanoseconds() -> Int64 {
        if let cell = unsafe cell {
            return unsafe Int64(bitPattern: martlet_load_relaxed_64(cell + 8))
        }
        return Self.read(CLOCK_REALTIME)
    }

    @inlinable @inline(__always)
    package func wallMicroseconds() -> Int64 { wallNanoseconds() / 1_000 }

    @inlinable @inline(__always)
    package func wallMilliseconds() -> Int64 { wallNanoseconds() / 1_000_000 }

    @inlinable @inline(__always)
    package func wallSeconds() -> Int64 { wallNanoseconds() / 1_000_000_000 }

    /// Nanoseconds of processor time that the calling thread has used; always the system's.
    package static func threadNanoseconds() -> Int64 { read(CLOCK_THREAD_CPUTIME_ID) }

    @usableFromInline
    static func read(_ source: clockid_t) -> Int64 {
        var time = timespec()
        // These three clocks always exist and the address is ours: it cannot fail.
        _ = unsafe clock_gettime(source, &time)
        return Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
    }
}

/// Time that a test moves by hand. Threads may read it while the test writes.
///
///         cell: [ monotonic ns: 8 | wall ns: 8 ]
@safe
package final class VirtualTime: @unchecked Sendable {
    // Sendable: the cell is read and written by atomic accesses only.
    private let cell: UnsafeMutableRawPointer

    /// Time that stands at the given moments.
    package init(monotonicNanoseconds: Int64 = 1_000_000_000, wallMilliseconds: Int64) {
        unsafe cell = .allocate(byteCount: 16, alignment: 8)
        unsafe martlet_store_relaxed_64(cell, UInt64(bitPattern: monotonicNanoseconds))
        setWall(milliseconds: wallMilliseconds)
    }

    deinit { unsafe cell.deallocate() }

    /// A clock that shows this time.
    ///
    /// - Precondition: this object lives as long as the clock is used.
    package var clock: Clock { unsafe Clock(cell: cell) }

    /// Moves both clocks forward.
    package func advance(nanoseconds: Int64) {
        precondition(nanoseconds >= 0, "monotonic time does not go back")
        unsafe _ = martlet_add_relaxed_64(cell, UInt64(bitPattern: nanoseconds))
        unsafe _ = martlet_add_relaxed_64(cell + 8, UInt64(bitPattern: nanoseconds))
    }

    /// Moves both clocks forward.
    package func advance(milliseconds: Int64) {
        advance(nanoseconds: milliseconds * 1_000_000)
    }

    /// Sets the wall clock, backward too, as an administrator may.
    package func setWall(milliseconds: Int64) {
        unsafe martlet_store_relaxed_64(cell + 8, UInt64(bitPattern: milliseconds * 1_000_000))
    }
}
