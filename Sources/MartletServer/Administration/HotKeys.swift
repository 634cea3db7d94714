//  The session of HOTKEYS: which keys cost the most time and network.
//
//  Written from any loop after a command has released its shards, under one lock that ranks after theirs;
//  while there is no session, never.

import Glibc
import MartletBase
import MartletEngine
import Synchronization

/// The keys that cost the most, while a session collects them and until they are reset.
package final class HotKeys: Sendable {
    /// What a session was asked for.
    struct Request {
        var measuresTime = false
        var measuresBytes = false
        var count = 10
        var ratio = 1
        var seconds: Int?
    }

    /// What a session found.
    struct Report {
        let request: Request
        let isActive: Bool
        let allMicroseconds: UInt64
        let allBytes: UInt64
        let startUnixMilliseconds: Int64
        let durationMilliseconds: Int64
        let userMilliseconds: Int64
        let systemMilliseconds: Int64
        let networkBytes: UInt64
        let byTime: [(key: [UInt8], microseconds: UInt64)]
        let byBytes: [(key: [UInt8], bytes: UInt64)]
    }

    private struct Session {
        let request: Request
        let startUnixMilliseconds: Int64
        let startNanoseconds: Int64
        let deadlineNanoseconds: Int64?
        let startTotals: ProcessTotals
        /// When it stopped, and how things stood then.
        var end: (nanoseconds: Int64, totals: ProcessTotals)?
        var ticks: UInt64 = 0
        var bytes: UInt64 = 0
        var byTicks: HeavyKeys
        var byBytes: HeavyKeys
    }

    /// Places for each key that is asked for: the more, the smaller the errors.
    private static let placesPerKey = 16

    private let session = Locked<Session?>(nil)

    package init() {}

    /// Whether a session is under way.
    func isActive(_ context: ServerContext) -> Bool {
        session.withLock {
            endInTime(&$0, context)
            return $0.map { $0.end == nil } ?? false
        }
    }

    /// Begins a session in place of the last one, which has ended.
    func start(_ request: Request, _ context: ServerContext) {
        let clock = context.state.clock
        let now = clock.monotonicNanoseconds()
        let places = request.count * Self.placesPerKey
        session.withLock {
            $0 = Session(
                request: request, startUnixMilliseconds: clock.wallMilliseconds(),
                startNanoseconds: now,
                deadlineNanoseconds: request.seconds.map { now + Int64($0) * 1_000_000_000 },
                startTotals: ProcessTotals(context),
                byTicks: HeavyKeys(countMax: places), byBytes: HeavyKeys(countMax: places))
            set(active: true, ratio: request.ratio, context)
        }
    }

    /// Ends the session and keeps what it found; false when none is under way.
    func stop(_ context: ServerContext) -> Bool {
        session.withLock {
            endInTime(&$0, context)
            guard $0 != nil, $0?.end == nil else { return false }
            end(&$0, at: context.state.clock.monotonicNanoseconds(), context)
            return true
        }
    }

    /// Forgets what the last session found.
    func reset() { session.withLock { $0 = nil } }

    /// What the session has found; nil when there was none since the last reset.
    func report(_ context: ServerContext) -> Report? {
        session.withLock {
            endInTime(&$0, context)
            guard let session = $0 else { return nil }
            let now =
                session.end ?? (context.state.clock.monotonicNanoseconds(), ProcessTotals(context))
            let start = session.startTotals
            let count = session.request.count
            return Report(
                request: session.request, isActive: session.end == nil,
                allMicroseconds: UInt64(TickRate.microseconds(session.ticks)),
                allBytes: session.bytes, startUnixMilliseconds: session.startUnixMilliseconds,
                durationMilliseconds: (now.0 - session.startNanoseconds) / 1_000_000,
                userMilliseconds: now.1.userMilliseconds - start.userMilliseconds,
                systemMilliseconds: now.1.systemMilliseconds - start.systemMilliseconds,
                networkBytes: now.1.networkBytes &- start.networkBytes,
                byTime: session.byTicks.largest(count).map {
                    ($0.key, UInt64(TickRate.microseconds($0.sum)))
                }.filter { $0.1 > 0 },
                byBytes: session.byBytes.largest(count).map { ($0.key, $0.sum) })
        }
    }

    /// Takes what a command cost.
    func take(_ cost: CommandCost, _ context: ServerContext) {
        session.withLock {
            endInTime(&$0, context)
            if $0 == nil || $0?.end != nil { return }
            switch cost.amount {
            case .ticks(let ticks):
                $0?.ticks &+= ticks
                if $0?.request.measuresTime == true {
                    for key in cost.keys { $0?.byTicks.add(key, ticks) }
                }
            case .bytes(let bytes):
                $0?.bytes &+= UInt64(bytes)
                if $0?.request.measuresBytes == true {
                    for key in cost.keys { $0?.byBytes.add(key, UInt64(bytes)) }
                }
            }
        }
    }

    /// Ends a session whose duration is over.
    private func endInTime(_ session: inout Session?, _ context: ServerContext) {
        guard let deadline = session?.deadlineNanoseconds, session?.end == nil,
            context.state.clock.monotonicNanoseconds() >= deadline
        else { return }
        end(&session, at: deadline, context)
    }

    private func end(
        _ session: inout Session?, at nanoseconds: Int64, _ context: ServerContext
    ) {
        session?.end = (nanoseconds, ProcessTotals(context))
        set(active: false, ratio: 1, context)
    }

    private func set(active: Bool, ratio: Int, _ context: ServerContext) {
        let settings = context.state.settings
        settings.hotKeys.ratio.store(ratio, ordering: .relaxed)
        settings.hotKeys.isActive.store(active, ordering: .relaxed)
        settings.version.wrappingAdd(1, ordering: .relaxed)
    }
}

/// What the process has used so far.
private struct ProcessTotals {
    let userMilliseconds: Int64
    let systemMilliseconds: Int64
    let networkBytes: UInt64

    init(_ context: ServerContext) {
        var usage = rusage()
        _ = unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        func milliseconds(_ time: timeval) -> Int64 {
            Int64(time.tv_sec) * 1000 + Int64(time.tv_usec) / 1000
        }
        userMilliseconds = milliseconds(usage.ru_utime)
        systemMilliseconds = milliseconds(usage.ru_stime)
        var bytes: UInt64 = 0
        for loop in context.loops {
            bytes &+= loop.counters.bytesIn.load(ordering: .relaxed)
            bytes &+= loop.counters.bytesOut.load(ordering: .relaxed)
        }
        networkBytes = bytes
    }
}
