//  What all loops share besides the keys: clients, settings that commands obey, counters.
//
//  Rules: the state word and settings are single atomic words, read relaxed before each command under
//  the command's locks and stored before the reply of whoever changes them leaves; statistics are
//  written by their own loop alone with relaxed stores and summed by readers; the slow log and the
//  latency events have a lock of their own that ranks after the shards'.
//
//  Raw memory: keyspace and words are allocated once and freed with the state, after all loops.

import CSystem
import Glibc
import MartletBase
import Synchronization

/// Conditions of the whole server that send every command the long way through `Admission`.
package struct ServerConditions: OptionSet, Sendable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    /// CLIENT PAUSE ALL: nothing runs.
    package static let pausedAll = ServerConditions(rawValue: 1 << 0)
    /// CLIENT PAUSE WRITE: writes do not run.
    package static let pausedWrites = ServerConditions(rawValue: 1 << 1)
    /// The data set is being loaded.
    package static let loading = ServerConditions(rawValue: 1 << 2)
    /// Some connection monitors.
    package static let monitored = ServerConditions(rawValue: 1 << 3)
    /// The server is on its way out: writes do not run.
    package static let shuttingDown = ServerConditions(rawValue: 1 << 4)
    /// Some claim on a shard is held.
    package static let claimed = ServerConditions(rawValue: 1 << 5)
    /// More memory is used than `maxmemory` allows: commands that need more do not run.
    package static let memoryFull = ServerConditions(rawValue: 1 << 6)
    /// The log, or the disk, is not well: writes are refused. See `EngineState.refuseWrites`.
    package static let refusingWrites = ServerConditions(rawValue: 1 << 7)
}

/// What the append-only log is told.
package enum LogMode: Sendable {
    case off
    /// Every change, as it happens.
    case on
    /// The same, and replies wait until what they tell of is durable: positions are counted.
    case synchronous
}

/// Settings that running commands obey, one atomic word each.
package final class EngineSettings: Sendable {
    /// Grows after each change, so that loops take it over with their next iteration.
    package let version = Atomic<Int>(0)
    package let bulkBytesMax = Atomic<Int>(Limits.bulkBytesMax)
    /// What a client may have queued between MULTI and EXEC.
    package let queryBufferBytesMax = Atomic<Int>(Limits.queryBufferBytesMax)
    package let slowlogMicroseconds = Atomic<Int64>(10_000)
    /// How much of a request the slow log keeps.
    package let notedArgumentsMax = Atomic<Int>(32)
    package let notedArgumentBytesMax = Atomic<Int>(128)
    /// Requests and replies from these sizes on are noted; a negative number notes none.
    package let largeRequestBytes = Atomic<Int>(1 << 20)
    package let largeReplyBytes = Atomic<Int>(1 << 20)
    package let latencyThresholdMilliseconds = Atomic<Int64>(0)
    package let tracksLatency = Atomic<Bool>(true)
    package let eviction = EvictionSettings()
    package let hotKeys = HotKeySampling()
    package let activeExpireEffort = Atomic<Int>(1)
    package let activeExpire = Atomic<Bool>(true)
    /// `list-max-listpack-size`.
    package let listSize = Atomic<Int>(-2)
    /// `zset-max-listpack-entries` and `-value`.
    package let sortedSets = PackedLimitSetting(
        PackedLimits(entriesMax: 128, elementBytesMax: 64))
    /// `hash-max-listpack-entries` and `-value`.
    package let hashes = PackedLimitSetting(
        PackedLimits(entriesMax: 512, elementBytesMax: 64))
    /// `set-max-listpack-entries` and `-value`.
    package let sets = PackedLimitSetting(
        PackedLimits(entriesMax: 128, elementBytesMax: 64))
    /// `set-max-intset-entries`.
    package let integerSetMax = Atomic<Int>(512)
    /// `stream-node-max-entries` and `-bytes`.
    package let streamNodeEntriesMax = Atomic<Int>(100)
    package let streamNodeBytesMax = Atomic<Int>(4096)
    /// `stream-idmp-duration` and `-maxsize`.
    package let streamProducerSecondsMax = Atomic<Int>(100)
    package let streamProducerCountMax = Atomic<Int>(100)
    /// `hll-sparse-max-bytes`.
    package let hyperLogLogSparseBytesMax = Atomic<Int>(3_000)
    /// `notify-keyspace-events`, as `EventClasses`; changed by `EngineState.notify(of:)`.
    let notifications = Atomic<UInt32>(0)
    /// `busy-reply-threshold`; 0 for never.
    package let busyMilliseconds = Atomic<Int64>(5_000)
    package init() {}
}

/// Up to where collections of one type are kept and called small.
package final class PackedLimitSetting: Sendable {
    private let entriesMax: Atomic<Int>
    private let elementBytesMax: Atomic<Int>

    init(_ initial: PackedLimits) {
        entriesMax = Atomic(initial.entriesMax)
        elementBytesMax = Atomic(initial.elementBytesMax)
    }

    package var limits: PackedLimits {
        PackedLimits(
            entriesMax: entriesMax.load(ordering: .relaxed),
            elementBytesMax: elementBytesMax.load(ordering: .relaxed))
    }

    package func set(_ limits: PackedLimits) {
        entriesMax.store(limits.entriesMax, ordering: .relaxed)
        elementBytesMax.store(limits.elementBytesMax, ordering: .relaxed)
    }
}

/// What all loops and commands share.
@safe
package final class EngineState: @unchecked Sendable {
    // Unchecked: raw pointers are constant for the life of the engine; what they point to follows
    // the rules at the top of this file.
    package let keyspace: UnsafeMutablePointer<Keyspace>
    package let clients = ClientRegistry()
    package let settings = EngineSettings()
    /// The password of the default user.
    package let password = Password()
    /// AUTH and HELLO with a wrong password: INFO's acl_access_denied_auth.
    package let deniedAuthentications = Atomic<Int>(0)
    package let clock: Clock
    package let startedMilliseconds: Int64
    /// Statistics by loop.
    package let statistics: [LoopStatistics]
    package let loopCount: Int
    let conditionsWord: UnsafeMutableRawPointer
    /// Guards the counts along with the word below, and the pause along with its condition.
    private let lock = ShardLock.allocate()
    /// Watched keys of all connections: the watching sink is active while this is not zero.
    private var watchCount = 0
    /// Connections that wait, and the keys they wait for, likewise.
    private var waiterCount = 0
    private var awaitedKeyCount = 0
    /// Clients that track keys, likewise.
    private let trackerCount = Atomic<Int>(0)
    /// A snapshot is under way, likewise.
    private var isSaving = false
    /// The policy of eviction asks for more than the time of the last use.
    private var isAging = false
    let sinksWord: UnsafeMutableRawPointer
    /// The append-only log.
    package let log = LogQueue()
    private var logMode = LogMode.off
    /// Why writes are refused, as the error that tells of it.
    private var refusal: [UInt8] = []
    /// Client-side caching.
    package let tracking: Tracking
    /// Monotonic nanoseconds at which CLIENT PAUSE ends; 0 while there is none.
    package let pauseEndNanoseconds = Atomic<Int64>(0)
    /// How often something has ended that held commands back. A loop that parked connections lets
    /// them come again when this differs from what it was before they were held back.
    package let releaseCount = Atomic<UInt64>(0)
    /// Called when that happened, to wake the loops.
    package let wakeLoops = SharedCallback()
    /// Who waits for a claim on shards.
    package let claimLine = ClaimLine()
    /// Scripts and functions.
    package let scripts = Scripts()
    /// Called to let a loop go on with its script when it has served others.
    package let continueScript = SharedCallback1<Int>()
    /// Channels and their subscribers.
    package let pubSub: PubSub
    /// Called, on the client's loop, when it becomes a subscriber and when it is none any more.
    package let subscriberChanged = SharedCallback1<ClientRecord>()
    /// Called to close a client's connection, which `record.kill()` has stopped already.
    package let closeClient = SharedCallback1<ClientRecord>()
    /// Called, on the client's own loop, when CLIENT NO-EVICT changed.
    package let evictionExemptionChanged = SharedCallback1<ClientRecord>()
    /// Called when a client's wait has ended, to let its own loop finish it; shards may be held.
    package let waiterEnded = SharedCallback1<EndedWaiter>()
    /// Called when a connection begins to monitor, and when one stops that stays open.
    package let beganMonitoring = SharedCallback1<ClientRecord>()
    package let endedMonitoring = SharedCallback1<ClientRecord>()
    /// Called for every command while some connection monitors, its shards still held.
    package let monitorFeed = SharedCallback1<MonitorLine>()
    /// Bytes in use that are not in the keyspace, as `maxmemory` counts them.
    package let bytesOutside = SharedMeasure()
    /// Called for work beside the commands that took as long as the latency monitor asks for.
    package let notedWork = SharedCallback1<NotedWork>()
    /// Called, after it ran, for a command that was slow or large.
    package let notedCommand = SharedCallback1<NotedCommand>()
    /// Called, after it ran, for every command while a session of HOTKEYS is under way.
    package let commandCost = SharedCallback1<CommandCost>()

    package init(
        loops: Int, shardCount: Int, databases: Int, commandCount: Int, clock: Clock,
        hashKey: HashKey
    ) {
        unsafe keyspace = .allocate(capacity: 1)
        unsafe keyspace.initialize(
            to: Keyspace(shardCount: shardCount, databaseCount: databases, hashKey: hashKey))
        self.clock = clock
        startedMilliseconds = clock.wallMilliseconds()
        loopCount = loops
        pubSub = PubSub(loops: loops)
        tracking = Tracking(loops: loops)
        statistics = (0..<loops).map { _ in LoopStatistics(commandCount: commandCount) }
        unsafe conditionsWord = .allocate(byteCount: 64, alignment: 64)
        unsafe conditionsWord.storeBytes(of: 0, as: UInt64.self)
        unsafe sinksWord = .allocate(byteCount: 64, alignment: 64)
        unsafe sinksWord.storeBytes(of: 0, as: UInt32.self)
    }

    deinit {
        unsafe keyspace.deinitialize(count: 1)
        unsafe keyspace.deallocate()
        unsafe conditionsWord.deallocate()
        unsafe sinksWord.deallocate()
        lock.deallocate()
    }

    @inline(__always)
    package var conditions: ServerConditions {
        unsafe ServerConditions(rawValue: martlet_load_relaxed_64(conditionsWord))
    }

    /// Sets or clears a condition, seen by every command that takes its locks afterwards.
    package func set(_ condition: ServerConditions, _ isOn: Bool) {
        if isOn {
            unsafe _ = martlet_or_64(conditionsWord, condition.rawValue)
        } else {
            unsafe _ = martlet_and_64(conditionsWord, ~condition.rawValue)
        }
    }

    @inline(__always)
    var sinks: EffectSinks {
        unsafe EffectSinks(rawValue: martlet_load_relaxed_32(sinksWord))
    }

    /// Counts watched keys up or down. The caller holds the key's shard, whose next holder sees it.
    ///
    /// Count and word change under one lock: a late "nobody watches" must not follow upon an early
    /// "somebody does".
    func changeWatchCount(by change: Int) {
        lock.lock()
        defer { lock.unlock() }
        watchCount += change
        updateSinks()
    }

    /// The same for connections that wait, and for the keys they wait for.
    func changeWaiterCount(by change: Int, keys: Int) {
        lock.lock()
        defer { lock.unlock() }
        waiterCount += change
        awaitedKeyCount += keys
        updateSinks()
    }

    /// The same for clients that track keys.
    func changeTrackingClientCount(by change: Int) {
        lock.lock()
        defer { lock.unlock() }
        trackerCount.add(change, ordering: .relaxed)
        updateSinks()
    }

    /// Clients that track keys.
    package var trackingClientCount: Int { trackerCount.load(ordering: .relaxed) }

    /// Chooses the events that are published.
    package func notify(of classes: EventClasses) {
        lock.lock()
        defer { lock.unlock() }
        settings.notifications.store(classes.rawValue, ordering: .relaxed)
        updateSinks()
    }

    /// Says that files are about to be loaded, or that they were.
    package func expectGrowth(_ isExpected: Bool) { SlabPool.shared.expectGrowth(isExpected) }

    /// A snapshot has begun, or ended. The caller holds all shards, whose next holders see it.
    func setSaving(_ isOn: Bool) {
        lock.lock()
        defer { lock.unlock() }
        isSaving = isOn
        updateSinks()
    }

    /// Turns the log on or off, or begins to count what replies wait for. The caller holds all shards:
    /// what runs before them is not logged, and what runs after them is.
    package func setLog(_ mode: LogMode) {
        let position = mode == .synchronous ? log.end : nil
        if mode != .synchronous || logMode != .synchronous {
            unsafe keyspace.pointee.rememberWrites(from: position)
        }
        lock.lock()
        defer { lock.unlock() }
        logMode = mode
        updateSinks()
    }

    /// Refuses writes from now on, with this error, which begins with its code: `MISCONF ...`; nil lets
    /// them run again. While they are refused, keys past their deadline are hidden and not removed.
    package func refuseWrites(_ reason: String?) {
        lock.lock()
        refusal = Array((reason ?? "").utf8)
        set(.refusingWrites, reason != nil)
        lock.unlock()
    }

    /// The error of refused writes.
    var refusedWrite: [UInt8] {
        lock.lock()
        defer { lock.unlock() }
        return refusal
    }

    /// Says whether the policy of eviction asks for more than the time of the last use.
    func updateSinks(aging: Bool) {
        lock.lock()
        defer { lock.unlock() }
        isAging = aging
        updateSinks()
    }

    private func updateSinks() {
        var sinks: EffectSinks = []
        if isAging { sinks.insert(.aging) }
        if isSaving { sinks.insert(.saving) }
        if logMode != .off { sinks.insert(.logging) }
        if logMode == .synchronous { sinks.insert(.synchronous) }
        if watchCount > 0 { sinks.insert(.watching) }
        if awaitedKeyCount > 0 { sinks.insert(.waiting) }
        if trackingClientCount > 0 { sinks.insert(.tracking) }
        let classes = EventClasses(rawValue: settings.notifications.load(ordering: .relaxed))
        if !classes.isDisjoint(with: [.toKeyspace, .toKeyEvent]) {
            sinks.insert(.notifying)
            if classes.contains(.new) { sinks.insert(.creation) }
            if classes.contains(.miss) { sinks.insert(.misses) }
            if !classes.isDisjoint(with: [.overwritten, .typeChanged]) {
                sinks.insert(.replacements)
            }
        }
        unsafe martlet_store_release_32(sinksWord, sinks.rawValue)
    }

    /// Connections that wait, and the keys they wait for.
    package var waiting: (clients: Int, keys: Int) {
        lock.lock()
        defer { lock.unlock() }
        return (waiterCount, awaitedKeyCount)
    }

    // MARK: Pausing

    /// CLIENT PAUSE. A pause in force gets the new end, and stops no less than before.
    func pause(untilNanoseconds end: Int64, stopsAll: Bool) {
        lock.lock()
        defer { lock.unlock() }
        pauseEndNanoseconds.store(end, ordering: .relaxed)
        set(stopsAll ? .pausedAll : .pausedWrites, true)
    }

    /// CLIENT UNPAUSE.
    func endPause() {
        lock.lock()
        liftPause()
        lock.unlock()
        releaseParked()
    }

    /// Lifts CLIENT PAUSE when its time is over.
    ///
    /// - Returns: how many nanoseconds are left of it, or nil when there is no pause.
    @discardableResult
    package func endPauseIfDue() -> Int64? {
        let end = pauseEndNanoseconds.load(ordering: .relaxed)
        if end == 0 { return nil }
        let now = clock.monotonicNanoseconds()
        if now < end { return end - now }
        lock.lock()
        // Meanwhile somebody may have paused anew.
        let isSame = pauseEndNanoseconds.load(ordering: .relaxed) == end
        if isSame { liftPause() }
        lock.unlock()
        if isSame { releaseParked() }
        return nil
    }

    private func liftPause() {
        pauseEndNanoseconds.store(0, ordering: .relaxed)
        set([.pausedAll, .pausedWrites], false)
    }

    /// Lets all parked connections try again.
    package func releaseParked() {
        releaseCount.add(1, ordering: .releasing)
        wakeLoops.call()
    }
}

extension EngineState {
    /// Takes and releases every shard: a command that did not see what was stored before this call
    /// has ended when it returns. The caller holds no shard.
    func passEveryShard() {
        for shard in unsafe 0..<keyspace.pointee.shardCount {
            let lock = unsafe keyspace.pointee.lock(shard)
            lock.lock()
            lock.unlock()
        }
    }

    /// WATCH: lets a session watch a key, whose shard the caller holds. `isExpired` says that the key
    /// is past its deadline and only not reclaimed yet.
    func watch(
        _ key: Key, _ database: Int, _ session: UnsafeMutablePointer<Session>, isExpired: Bool
    ) {
        let watched = WatchedKey(database: database, bytes: key.bytes.bytes, hash: key.hash)
        let record = unsafe session.pointee.record
        let watch =
            unsafe session.pointee.watch
            ?? WatchState(word: record.watchWord, owner: record)
        unsafe session.pointee.watch = watch
        guard watch.keys.insert(watched).inserted else { return }
        let shard = unsafe keyspace.pointee.shard(keyspace.pointee.shardIndex(key.hash))
        unsafe shard.pointee.watchers.add(watched, watch, wasExpired: isExpired)
        changeWatchCount(by: 1)
        record.watchedKeys.store(watch.keys.count, ordering: .relaxed)
    }

    /// Gives a session's place in the line back: its command ran, was paused, or will never come.
    func leaveLine(_ session: UnsafeMutablePointer<Session>) {
        if unsafe claimLine.leave(&session.pointee.place) { releaseParked() }
    }

    /// A session begins. From now on its record leads to it.
    package func begin(_ session: UnsafeMutablePointer<Session>) {
        unsafe session.pointee.record.session = session
        unsafe clients.add(session.pointee.record)
    }

    /// A session will never come again: gives back what others hold for it.
    package func forget(_ session: UnsafeMutablePointer<Session>) {
        unsafe unwatch(session)
        unsafe leaveLine(session)
        _ = unsafe session.pointee.waiter?.end(.closed)
        unsafe stopWaiting(session)
        var unread = ByteBuffer()
        unsafe pubSub.unsubscribe(session, missed: &unread)
        unsafe session.pointee.record.session = nil
    }

    /// Takes all watched keys of a session off their shards. The caller holds no shard.
    package func unwatch(_ session: UnsafeMutablePointer<Session>) {
        guard let watch = unsafe session.pointee.watch else { return }
        for key in watch.keys {
            let index = unsafe keyspace.pointee.shardIndex(key.hash)
            let lock = unsafe keyspace.pointee.lock(index)
            lock.lock()
            unsafe keyspace.pointee.shard(index).pointee.watchers.remove(key, watch)
            changeWatchCount(by: -1)
            lock.unlock()
        }
        unsafe session.pointee.watch = nil
        unsafe session.pointee.record.watchedKeys.store(0, ordering: .relaxed)
    }
}

/// One line of MONITOR: who ran what.
package struct MonitorLine {
    package let database: Int
    package let record: ClientRecord
    package let arguments: [[UInt8]]
}

/// Work beside the commands that took long.
package struct NotedWork {
    /// Redis' name of the event.
    package let event: StaticString
    package let milliseconds: Int64
}

/// A command that was slow or large, for the logs of such commands.
package struct NotedCommand {
    package enum Reason: Sendable {
        /// It took so many microseconds.
        case duration(Int64)
        case requestBytes(Int)
        case replyBytes(Int)
    }

    package let reason: Reason
    package let record: ClientRecord
    package let commandName: String
    /// It is declared to be fast.
    package let isFast: Bool
    /// As much of the request as the settings allow, secrets left out.
    package let arguments: [[UInt8]]
}

/// A function that is set once the server is wired and called from any loop.
package final class SharedCallback: @unchecked Sendable {
    // Unchecked: set before the loops start, constant afterwards.
    package var function: (@Sendable () -> Void)?
    package init() {}
    package func call() { function?() }
}

/// A number that is asked for.
package final class SharedMeasure: @unchecked Sendable {
    // Unchecked: set before the loops start, constant afterwards.
    package var function: (@Sendable () -> Int)?
    package init() {}
    package func call() -> Int { function?() ?? 0 }
}

/// The same with an argument.
package final class SharedCallback1<Argument>: @unchecked Sendable {
    // Unchecked: set before the loops start, constant afterwards.
    package var function: (@Sendable (Argument) -> Void)?
    package init() {}
    package func call(_ argument: Argument) { function?(argument) }
}

extension EngineState {
    /// How values stand in memory by the settings in force.
    package var valueLimits: ValueLimits { settings.valueLimits }
}

extension EngineSettings {
    /// How values stand in memory by these settings.
    package var valueLimits: ValueLimits {
        ValueLimits(
            lists: ListLimit(setting: listSize.load(ordering: .relaxed)),
            sets: SetLimits(
                integersMax: integerSetMax.load(ordering: .relaxed), packed: sets.limits),
            sortedSets: sortedSets.limits, hashes: hashes.limits,
            streams: StreamNodeLimits(
                entriesMax: streamNodeEntriesMax.load(ordering: .relaxed),
                bytesMax: streamNodeBytesMax.load(ordering: .relaxed)),
            producerSecondsMax: streamProducerSecondsMax.load(ordering: .relaxed),
            producerCountMax: streamProducerCountMax.load(ordering: .relaxed),
            eviction: eviction.policy)
    }
}
