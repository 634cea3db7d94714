//  Keeps what is used within `maxmemory`: evicts in small steps on every loop, and says when there is no
//  room for what needs more.
//
//  Each loop weighs what is used once a millisecond while it has requests, and after a large batch of them,
//  and evicts what is too much: one key at a time, under the lock of its shard alone, for half a
//  millisecond at most (`maxmemory-eviction-tenacity`). What is left goes with the next step; requests are
//  served in between. So no request pays for more than one such step, and no loop outgrows what it evicts:
//  a batch brings less than a step takes away.
//
//  A command that needs memory is refused when nothing is left to evict: the condition `memoryFull` sends
//  every command through admission then, which weighs anew.
//
//  Evicted keys are effects like any others: DEL in the log, `evicted` events, news for client caches.
//
//  Raw memory: nothing here is owned; partitions, slots and entries are used under their shard's lock. A
//  candidate's address is a number that is looked for in the table and never followed.

import CSystem
import MartletBase

/// Where a loop's eviction stands.
struct EvictionCycle {
    /// There is a limit.
    private(set) var isBounded = false
    private(set) var policy = EvictionPolicy(.none)
    private(set) var frequency = AccessFrequency()
    private(set) var samples = 5
    /// What one step may take, in microseconds.
    private(set) var microsecondsMax: UInt64 = 500
    var pool = EvictionPool()
    var random = Random.seededFromSystem()
    /// The wall clock when the loop last weighed.
    var weighedMilliseconds: Int64 = .min
    /// The last step left something.
    var isBehind = false
    /// There is so much room that the next weighing can wait until this wall clock time.
    var restsUntilMilliseconds: Int64 = 0

    /// A batch of requests or replies from this size on is followed by a step.
    static let batchBytes = 32 * 1024
    /// Candidates the pool is to have before the first key goes, if there are so many.
    static let candidatesMin = 32
    /// More samples than that are taken for as many.
    static let samplesMax = 256
    /// A step that is far behind takes so many times longer.
    static let hurryMax = 4
    /// With so much room below the limit, it is weighed only every so many milliseconds: no load fills
    /// that in this time.
    static let roomBytes = 64 << 20
    static let restMilliseconds: Int64 = 10

    /// Whether there is room enough for a while.
    func rests(at nowMilliseconds: Int64) -> Bool {
        let left = restsUntilMilliseconds - nowMilliseconds
        // A clock that was set back ends the rest.
        return left > 0 && left <= Self.restMilliseconds
    }

    /// Takes over the settings.
    mutating func take(over settings: EvictionSettings) {
        isBounded = settings.bytesMax.load(ordering: .relaxed) > 0
        let wanted = settings.policy
        if wanted != policy { pool.removeAll() }
        policy = wanted
        frequency = settings.frequency
        samples = min(settings.samples.load(ordering: .relaxed), Self.samplesMax)
        microsecondsMax = Self.microseconds(
            tenacity: settings.tenacity.load(ordering: .relaxed))
        weighedMilliseconds = .min
        restsUntilMilliseconds = 0
    }

    /// What a step may take at a tenacity from 0 to 100, as in Redis: 50 us each up to 10, then 15 % more
    /// each, some two minutes at 99; at 100 there is no bound.
    static func microseconds(tenacity: Int) -> UInt64 {
        if tenacity <= 10 { return UInt64(max(0, tenacity)) * 50 }
        if tenacity >= 100 { return .max }
        var time = 500.0
        for _ in 10..<tenacity { time *= 1.15 }
        return UInt64(time)
    }
}

/// A key that a write found, and how it was used before.
struct AgedKey: BitwiseCopyable {
    let argument: Int
    let access: UInt32
}

extension EngineState {
    /// Chooses limit and policy. The caller changes the version of the settings.
    package func setEviction(bytesMax: Int, policy: EvictionPolicy) {
        settings.eviction.bytesMax.store(bytesMax, ordering: .relaxed)
        settings.eviction.choose(policy)
        updateSinks(aging: policy.order == .lfu || policy.order == .lrm)
        // Whoever needs memory looks first whether there is any.
        set(.memoryFull, bytesMax > 0)
    }

    /// Bytes used, as `maxmemory` counts them, and keys that a policy may evict. The caller holds no shard.
    ///
    /// - Complexity: O(shards * databases); some microseconds.
    func weigh(_ policy: EvictionPolicy) -> (usedBytes: Int, evictable: Int) {
        let kept = unsafe keyspace.pointee.weigh(policy)
        return (bytesOutside.call() + kept.usedBytes, kept.evictable)
    }
}

extension EngineState {
    /// What snapshots tell of how keys were used.
    package func rememberedUse(at nowMilliseconds: Int64) -> RememberedUse {
        switch settings.eviction.policy.order {
        case .lru, .lrm: .idleTime(atMilliseconds: nowMilliseconds)
        case .lfu: .frequency(settings.eviction.frequency, atMilliseconds: nowMilliseconds)
        case .none, .random, .ttl: .none
        }
    }
}

extension Keyspace {
    fileprivate func weigh(_ policy: EvictionPolicy) -> (usedBytes: Int, evictable: Int) {
        var usedBytes = 0
        var evictable = 0
        for index in 0..<shardCount {
            let lock = lock(index)
            lock.lock()
            let shard = unsafe self.shard(index)
            usedBytes += unsafe shard.pointee.tracked.bytes
            for database in 0..<databaseCount {
                guard let partition = unsafe shard.pointee.partition(database) else { continue }
                usedBytes += unsafe partition.pointee.usedBytes
                evictable += unsafe partition.pointee.evictableCount(policy)
            }
            lock.unlock()
        }
        return (usedBytes, evictable)
    }
}

extension Executor {
    /// What became of an attempt to get below the limit.
    private enum Outcome {
        case withinLimit
        case outOfTime
        case nothingLeft
    }

    /// Between a loop's events: evicts what is too much, for a bounded time.
    ///
    /// - Returns: in how many milliseconds there is more to do.
    @inline(never)
    mutating func evictBetweenEvents() -> Int32 {
        if eviction.rests(at: nowMilliseconds) { return .max }
        if nowMilliseconds == eviction.weighedMilliseconds && !eviction.isBehind {
            return hasServed ? 1 : .max
        }
        let outcome = keepWithinLimit()
        eviction.isBehind = outcome == .outOfTime
        // A loop without requests goes on at once.
        return eviction.isBehind ? (hasServed ? 1 : 0) : .max
    }

    /// After a large batch of requests, with more to come.
    mutating func evictAmidRequests() {
        if !eviction.isBounded || eviction.rests(at: nowMilliseconds) { return }
        eviction.isBehind = keepWithinLimit() == .outOfTime
    }

    /// Whether a command that needs memory is to be refused. It is looked at anew: what was freed since
    /// then counts at once. The caller holds no shard.
    mutating func isMemoryFull() -> Bool {
        // A setting may be younger than this loop's iteration.
        eviction.take(over: unsafe call.state.settings.eviction)
        if !eviction.isBounded {
            unsafe call.state.set(.memoryFull, false)
            return false
        }
        return keepWithinLimit() == .nothingLeft
    }

    private mutating func keepWithinLimit() -> Outcome {
        let state = unsafe call.state
        let settings = state.settings.eviction
        let policy = eviction.policy
        eviction.weighedMilliseconds = nowMilliseconds
        let bytesMax = settings.bytesMax.load(ordering: .relaxed)
        let (usedBytes, evictable) = state.weigh(policy)
        let wasted = policy.order == .none ? 0 : settings.wastedBytes.load(ordering: .relaxed)
        let excess = usedBytes + wasted - bytesMax
        settings.excessBytes.store(excess, ordering: .relaxed)
        eviction.restsUntilMilliseconds =
            excess < -EvictionCycle.roomBytes
            ? nowMilliseconds + EvictionCycle.restMilliseconds : 0
        var outcome = Outcome.withinLimit
        if excess > 0 {
            outcome =
                policy.order == .none || evictable == 0 || !mayEvict(state)
                ? .nothingLeft : evict(excess: excess, bytesMax)
            // What is wasted is a reason to evict, and none to refuse anything.
            if outcome == .nothingLeft && usedBytes <= bytesMax { outcome = .withinLimit }
        }
        settings.noteExcess(
            outcome != .withinLimit && usedBytes > bytesMax, at: nowMilliseconds)
        let isFull = outcome == .nothingLeft
        if isFull != state.conditions.contains(.memoryFull) { state.set(.memoryFull, isFull) }
        return outcome
    }

    /// Nothing is removed while writes are held back, as for expired keys.
    private func mayEvict(_ state: EngineState) -> Bool {
        !call.keyspace.isReplaying
            && state.conditions.isDisjoint(
                with: [.pausedAll, .pausedWrites, .refusingWrites, .loading])
    }

    private mutating func evict(excess: Int, _ bytesMax: Int) -> Outcome {
        let state = unsafe call.state
        let settings = state.settings.eviction
        let begin = martlet_ticks()
        // One percent too much is what a batch may bring; more than that is made up for with more time.
        let hurry = min(EvictionCycle.hurryMax, 1 + excess / max(1, bytesMax / 100))
        let microseconds = eviction.microsecondsMax
        let ticksMax =
            microseconds == .max
            ? UInt64.max : TickRate.perMillisecond * microseconds / 1000 * UInt64(hurry)
        call.keyspace.sinks = state.sinks
        let ownActor = call.actor
        call.actor = 0
        defer {
            call.actor = ownActor
            note("eviction-cycle", since: begin)
        }
        var count = 0
        while settings.excessBytes.load(ordering: .relaxed) > 0 {
            guard let freed = evictOne() else { return .nothingLeft }
            settings.excessBytes.subtract(freed, ordering: .relaxed)
            count += 1
            if count & 7 == 0 && martlet_ticks() &- begin > ticksMax { return .outOfTime }
        }
        return .withinLimit
    }

    /// Tells the latency monitor of work that took long.
    private func note(_ event: StaticString, since begin: UInt64) {
        let state = unsafe call.state
        let threshold = state.settings.latencyThresholdMilliseconds.load(ordering: .relaxed)
        if threshold <= 0 { return }
        let milliseconds = Int64(TickRate.microseconds(martlet_ticks() &- begin)) / 1000
        if milliseconds >= threshold {
            state.notedWork.call(NotedWork(event: event, milliseconds: milliseconds))
        }
    }

    /// Evicts one key.
    ///
    /// - Returns: the bytes that freed, 0 when chance met none that may go; nil when there is none.
    private mutating func evictOne() -> Int? {
        let scale = EvictionScale(
            policy: eviction.policy, frequency: eviction.frequency,
            nowMilliseconds: nowMilliseconds)
        var tries = 0
        repeat {
            if !gather(scale) { return nil }
            tries += 1
        } while eviction.pool.count < EvictionCycle.candidatesMin && tries < 8
        while let candidate = eviction.pool.removeBest() {
            if let freed = evict(candidate, scale) { return freed }
        }
        return 0
    }

    /// Looks at some keys of a shard chosen by chance; false when no shard has any.
    private mutating func gather(_ scale: EvictionScale) -> Bool {
        let keyspace = unsafe call.state.keyspace
        let shardCount = unsafe keyspace.pointee.shardCount
        let start = eviction.random.index(below: shardCount)
        let samples = eviction.samples
        for step in 0..<shardCount {
            let index = (start + step) & (shardCount - 1)
            let lock = unsafe keyspace.pointee.lock(index)
            lock.lock()
            defer { lock.unlock() }
            let shard = unsafe keyspace.pointee.shard(index)
            if unsafe shard.pointee.claimant != 0 { continue }
            var hasFound = false
            for database in unsafe 0..<keyspace.pointee.databaseCount {
                guard let partition = unsafe shard.pointee.partition(database),
                    unsafe partition.pointee.evictableCount(scale.policy) > 0
                else { continue }
                hasFound = true
                var pool = EvictionPool()
                swap(&pool, &eviction.pool)
                unsafe partition.pointee.sample(scale.policy, &eviction.random, samples) { entry in
                    guard let score = scale.score(entry), pool.admits(score) else { return }
                    pool.add(
                        EvictionCandidate(
                            score: score, hash: unsafe keyspace.pointee.key(entry.key).hash,
                            address: unsafe UInt(bitPattern: entry.address), shard: index,
                            database: database))
                }
                swap(&pool, &eviction.pool)
            }
            if hasFound { return true }
        }
        return false
    }

    /// Evicts a candidate, unless it is gone or was used since it was seen.
    ///
    /// - Returns: the bytes that freed.
    private mutating func evict(_ candidate: EvictionCandidate, _ scale: EvictionScale) -> Int? {
        let keyspace = unsafe call.state.keyspace
        let lock = unsafe keyspace.pointee.lock(candidate.shard)
        lock.lock()
        defer { lock.unlock() }
        let shard = unsafe keyspace.pointee.shard(candidate.shard)
        guard unsafe shard.pointee.claimant == 0,
            let partition = unsafe shard.pointee.partition(candidate.database),
            let slot = unsafe partition.pointee.table.slot(
                of: candidate.address, hash: candidate.hash),
            let score = scale.score(slot.entry), score >= candidate.score
        else { return nil }
        let key = unsafe keyspace.pointee.key(slot.entry.key)
        // Another key may stand where this one did.
        if key.hash != candidate.hash { return nil }
        let freed = unsafe call.keyspace.evict(slot, key, candidate.database, partition)
        statistics.add(.evicted, 1)
        publishReclaimed()
        return freed
    }
}

// MARK: How keys are used

extension Executor {
    /// A command is about to run, its shards held, under a policy that asks more of entries than the time
    /// of their last use: it is noted how the keys of a write were used, since a value that takes
    /// another one's place begins anew.
    mutating func beginAging(_ row: UnsafeMutablePointer<CommandRow>) {
        let isWriting = unsafe !row.pointee.isReadOnly
        call.keyspace.isWriting = isWriting
        if aged.count > 0 { aged.removeAll(keeping: 64) }
        if !isWriting || !call.keyspace.countsUses { return }
        let command = unsafe call.commands.all[call.commandNumber]
        // It says itself how the key was used.
        if command.name == "RESTORE" { return }
        let keyspace = call.keyspace
        let arguments = call.arguments
        var found: [AgedKey] = []
        KeySpec.forEachKey(command.keys, arguments) { index, _ in
            let key = unsafe keyspace.keyspace.pointee.key(arguments[index])
            if let entry = keyspace.entryAsItIs(key) {
                found.append(AgedKey(argument: index, access: entry.access))
            }
        }
        for key in found { aged.append(key) }
    }

    /// It has run: keys whose value is another one now go on from where they were.
    mutating func endAging(_ row: UnsafeMutablePointer<CommandRow>) {
        call.keyspace.isWriting = true
        for index in 0..<aged.count {
            let old = aged[index]
            let key = unsafe call.keyspace.keyspace.pointee.key(call.arguments[old.argument])
            if let entry = call.keyspace.entryAsItIs(key),
                entry.access == call.keyspace.newAccess
            {
                call.keyspace.countUse(of: entry, old.access)
            }
        }
    }
}
