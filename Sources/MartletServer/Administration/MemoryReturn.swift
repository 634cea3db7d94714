//  Holds what the process has in memory against what is used, ten times a second: lets malloc give free
//  pages back when they are many, and lets eviction make up for what cannot be given back.
//
//  Allocators keep a part of what was freed: slabs with few entries, gaps between values. `maxmemory` is
//  to hold for the process all the same: what it has beyond an allowance is evicted as if it were used.

import MartletEngine
import Synchronization

/// When malloc gave back last, and what that brought. Touched by the cron, on one loop.
package final class MemoryReturn: Sendable {
    private struct State {
        /// Wall clock milliseconds from which on malloc may be asked again.
        var nextMilliseconds: Int64 = 0
        /// What the process had when it was asked, and what of it nobody used; 0 when that was judged.
        var residentBytes = 0
        var unusedBytes = 0
        /// When it was looked at last.
        var second: Int64 = 0
        /// Doubles each time that little came of it.
        var restMilliseconds = restMin
    }

    private let state = Locked(State())

    private static let restMin: Int64 = 1000
    private static let restMax: Int64 = 256_000
    /// Less is not worth it.
    private static let unusedBytesMin = 16 << 20

    package init() {}

    /// Whether a second has passed since the last look.
    func isAsked(at nowMilliseconds: Int64) -> Bool {
        state.withLock { state in
            let second = nowMilliseconds / 1000
            defer { state.second = second }
            return second != state.second
        }
    }

    /// Whether malloc is to be asked for free pages now.
    ///
    /// It holds up whoever needs memory meanwhile, for some milliseconds: so only when there is much to
    /// get, and ever less often when there turns out to be nothing.
    func isDue(
        residentBytes: Int, unusedBytes: Int, tolerated: Int, nowMilliseconds now: Int64
    ) -> Bool {
        state.withLock { state in
            if now < state.nextMilliseconds && state.nextMilliseconds - now <= Self.restMax {
                return false
            }
            if state.unusedBytes > 0 {
                let gained = state.residentBytes - residentBytes
                state.restMilliseconds =
                    gained >= state.unusedBytes / 4
                    ? Self.restMin : min(state.restMilliseconds * 2, Self.restMax)
                state.unusedBytes = 0
                state.nextMilliseconds = now + state.restMilliseconds
                if state.restMilliseconds > Self.restMin { return false }
            }
            guard unusedBytes > max(tolerated, Self.unusedBytesMin) else { return false }
            state.residentBytes = residentBytes
            state.unusedBytes = unusedBytes
            state.nextMilliseconds = now + Self.restMin
            return true
        }
    }
}

extension ServerContext {
    /// What a process may have in memory beyond `maxmemory` before eviction makes up for it, in percent.
    private static let allowedPercent = 7
    /// By how much eviction may go below `maxmemory` for that, in percent.
    private static let makeUpPercentMax = 15

    /// Compares what the process has in memory with what is used.
    func weighResident(usedBytes: Int, nowMilliseconds: Int64) {
        let eviction = state.settings.eviction
        let bytesMax = eviction.bytesMax.load(ordering: .relaxed)
        // Without a limit there is no hurry.
        if bytesMax == 0 && !memoryReturn.isAsked(at: nowMilliseconds) { return }
        guard let resident = Self.residentBytes() else { return }
        let grown = resident - startupResidentBytes
        let unused = grown - (usedBytes - startupBytes) - SparedMemory.emptySlabBytes
        let tolerated = bytesMax > 0 ? bytesMax / 100 * Self.allowedPercent : resident / 8
        if memoryReturn.isDue(
            residentBytes: resident, unusedBytes: unused, tolerated: tolerated,
            nowMilliseconds: nowMilliseconds)
        {
            SparedMemory.trimMallocLater()
        }
        if bytesMax == 0 {
            eviction.wastedBytes.store(0, ordering: .relaxed)
            return
        }
        let excess = grown - bytesMax / 100 * (100 + Self.allowedPercent)
        let wasted = eviction.wastedBytes.load(ordering: .relaxed)
        // Quickly up, as the process must not grow on; slowly down, as what it has is seldom given back.
        let next = wasted + (excess > 0 ? excess / 4 : excess / 32)
        eviction.wastedBytes.store(
            min(max(next, 0), bytesMax / 100 * Self.makeUpPercentMax), ordering: .relaxed)
    }
}
