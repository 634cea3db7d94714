//  Counters of one loop: commands, lookups, errors. Written by the loop, summed by whoever asks.
//
//  Raw memory, 64-byte aligned, for the life of the engine. The loop stores relaxed words, which
//  cost what plain stores cost; readers on other threads load them relaxed.

import CSystem
import MartletBase
import Synchronization

/// Statistics of one command on one loop, as they stand in memory.
///
///      0  calls          8 bytes        24  rejected calls  8 bytes
///      8  ticks          8 bytes        32  histogram       28 counts of 8 bytes, by log2(ticks)
///     16  failed calls   8 bytes
///
/// Narrower counts would wrap around within the hour under full load.
package struct CommandStatistics: Sendable {
    package var calls: UInt64 = 0
    package var ticks: UInt64 = 0
    package var failed: UInt64 = 0
    package var rejected: UInt64 = 0
    /// How many calls took 2^(index + firstExponent) ticks or more, and less than twice that; the
    /// first also counts all shorter ones, the last all longer ones.
    package var histogram: [UInt64] = []

    package init() {}

    static let rowBytes = 256
    static let histogramBuckets = 28
    /// Some 30 ns to some seconds at the rates that tick counters have.
    package static let firstExponent = 6
}

/// The words that the hot path moves, without the object that owns them.
@safe
struct LoopCounts {
    fileprivate let rows: UnsafeMutableRawPointer
    fileprivate let counters: UnsafeMutableRawPointer

    @inline(__always)
    fileprivate static func increase(_ word: UnsafeMutableRawPointer, by amount: UInt64) {
        unsafe martlet_store_relaxed_64(word, martlet_load_relaxed_64(word) &+ amount)
    }

    /// Counts one call of a command that took `ticks`.
    @inline(__always)
    func count(_ command: Int, ticks: UInt64) {
        let row = unsafe rows + command &* CommandStatistics.rowBytes
        unsafe Self.increase(row, by: 1)
        unsafe Self.increase(row + 8, by: ticks)
        let bucket = min(
            63 &- CommandStatistics.firstExponent
                &- (ticks | 1 << CommandStatistics.firstExponent).leadingZeroBitCount,
            CommandStatistics.histogramBuckets &- 1)
        unsafe Self.increase(row + (32 &+ bucket &* 8), by: 1)
    }

    /// Counts changes to the data.
    @inline(__always)
    func countChanges(_ amount: Int) {
        unsafe Self.increase(
            counters + LoopStatistics.Counter.changes.rawValue &* 8,
            by: UInt64(truncatingIfNeeded: amount))
    }
}

/// The counters of one loop.
@safe
package final class LoopStatistics: @unchecked Sendable {
    // Unchecked: `rows` and `counters` point to memory accessed by relaxed atomics alone.
    private let rows: UnsafeMutableRawPointer
    private let counters: UnsafeMutableRawPointer
    private let commandCount: Int
    /// Replies that were errors, by their code.
    private let errorLock = ShardLock.allocate()
    private var errorCodes: [String: UInt64] = [:]

    /// Words in `counters`.
    package enum Counter: Int, CaseIterable, Sendable {
        case commands
        case hits
        case misses
        case changes
        case errors
        case expired
        case batches
        case slowCommands
        case unexpectedErrors
        case evicted
    }

    /// Codes beyond this many are counted as one: a client must not fill memory with them.
    static let errorCodesMax = 128

    init(commandCount: Int) {
        self.commandCount = commandCount
        let bytes = commandCount * CommandStatistics.rowBytes
        unsafe rows = .allocate(byteCount: max(bytes, 64), alignment: 64)
        unsafe rows.initializeMemory(as: UInt8.self, repeating: 0, count: max(bytes, 64))
        unsafe counters = .allocate(byteCount: 128, alignment: 64)
        unsafe counters.initializeMemory(as: UInt8.self, repeating: 0, count: 128)
    }

    deinit {
        unsafe rows.deallocate()
        unsafe counters.deallocate()
        errorLock.deallocate()
    }

    /// The words for the loop's own use.
    var counts: LoopCounts { unsafe LoopCounts(rows: rows, counters: counters) }

    /// Counts a call that failed while it ran, or before (rejected).
    func countFailure(_ command: Int, wasRejected: Bool) {
        unsafe LoopCounts.increase(
            rows + command * CommandStatistics.rowBytes + (wasRejected ? 24 : 16), by: 1)
    }

    @inline(__always)
    package func add(_ counter: Counter, _ amount: UInt64) {
        unsafe LoopCounts.increase(counters + counter.rawValue &* 8, by: amount)
    }

    package subscript(counter: Counter) -> UInt64 {
        unsafe martlet_load_relaxed_64(counters + counter.rawValue * 8)
    }

    /// How often a command ran.
    package func calls(_ number: Int) -> UInt64 {
        unsafe martlet_load_relaxed_64(rows + number * CommandStatistics.rowBytes)
    }

    /// The statistics of a command.
    package func command(_ number: Int) -> CommandStatistics {
        let row = unsafe rows + number * CommandStatistics.rowBytes
        var statistics = CommandStatistics()
        statistics.calls = unsafe martlet_load_relaxed_64(row)
        statistics.ticks = unsafe martlet_load_relaxed_64(row + 8)
        statistics.failed = unsafe martlet_load_relaxed_64(row + 16)
        statistics.rejected = unsafe martlet_load_relaxed_64(row + 24)
        statistics.histogram = (0..<CommandStatistics.histogramBuckets).map {
            unsafe martlet_load_relaxed_64(row + 32 + $0 * 8)
        }
        return statistics
    }

    /// Counts an error reply by its code, the first word of its text.
    func countError(code: ByteView) {
        add(.errors, 1)
        errorLock.lock()
        defer { errorLock.unlock() }
        let name = code.string
        if errorCodes[name] == nil && errorCodes.count >= Self.errorCodesMax {
            errorCodes["ERRORSTATS_OVERFLOW", default: 0] += 1
        } else {
            errorCodes[name, default: 0] += 1
        }
    }

    /// Error replies by code.
    package func errors() -> [String: UInt64] {
        errorLock.lock()
        defer { errorLock.unlock() }
        return errorCodes
    }

    /// CONFIG RESETSTAT. Concurrent increments of the owning loop may survive it.
    package func reset() {
        for offset in stride(from: 0, to: commandCount * CommandStatistics.rowBytes, by: 8) {
            unsafe martlet_store_relaxed_64(rows + offset, 0)
        }
        for counter in Counter.allCases where counter != .changes {
            unsafe martlet_store_relaxed_64(counters + counter.rawValue * 8, 0)
        }
        errorLock.lock()
        errorCodes = [:]
        errorLock.unlock()
    }

    /// Forgets how long a command took.
    package func resetHistogram(_ number: Int) {
        let row = unsafe rows + number * CommandStatistics.rowBytes + 32
        for bucket in 0..<CommandStatistics.histogramBuckets {
            unsafe martlet_store_relaxed_64(row + bucket * 8, 0)
        }
    }
}
