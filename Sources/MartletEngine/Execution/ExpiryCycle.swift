//  Reclaims keys and fields past their deadline, in order of time, between a loop's events.
//
//  Each loop owns the shards whose number leaves its own when divided by the number of loops. Twenty
//  times a second, and fifty times while there is something, it takes what is due from their expiry
//  indexes: nothing is sampled. A slice ends after a fraction of a millisecond so that requests are
//  served in between. A loop without requests goes on at once; one that has some rests between slices,
//  so that a million keys that expire together do not take the time of those who ask for others: a
//  quarter of the loop at most, and more only when the keys are late. What is left of its time is not
//  used up: a processor without any idle time delays the kernel's own work on the network by
//  milliseconds. Events are to come within 0.1 s of the deadlines of 100 000 keys a second. A shard that
//  somebody holds or claims is left for the next round.

import CSystem
import MartletBase

/// Where a loop's cycle stands.
struct ExpiryCycle {
    /// When the next round begins, in wall clock milliseconds.
    var nextRoundMilliseconds: Int64 = 0
    /// The shard the round goes on with, or nil between rounds.
    var shard: Int?
    /// Ticks until which the cycle rests between two slices, and further while requests queue up.
    var restEndTicks: UInt64 = 0
    var queueEndTicks: UInt64 = 0
    /// When the loop went to wait for events, and whether it had to.
    var waitBeginTicks: UInt64 = 0
    var hasWaited = false
    /// By how much the latest key was late when it was reclaimed.
    var lateMilliseconds: Int64 = 0
    /// The round has found something.
    var hasFound = false

    /// A deadline is met at most this late by a server that has time.
    static let roundMilliseconds: Int64 = 50
    /// The same while keys expire all the time.
    static let busyRoundMilliseconds: Int64 = 20
    /// Keys looked at under one hold of a shard's lock: below 0.1 ms.
    static let stepsPerHold = 128
    /// What a slice may take at an effort of 1, in microseconds; each further effort adds as much
    /// again, up to 10.
    static let sliceMicroseconds: UInt64 = 200

    /// How long to rest after a slice while there are requests.
    var restMicroseconds: UInt64 {
        switch lateMilliseconds {
        case ..<40: 600
        case ..<500: 500
        case ..<700: 200
        default: 60
        }
    }
}

extension Executor {
    /// Notes whether the loop had to wait for the events of the iteration that begins at `ticks`.
    @inline(__always)
    mutating func noteWait(until ticks: UInt64) {
        if expiryCycle.shard == nil { return }
        expiryCycle.hasWaited =
            ticks &- expiryCycle.waitBeginTicks > TickRate.perMillisecond / 200
    }

    /// Reclaims expired keys of this loop's shards for a fraction of a millisecond.
    ///
    /// - Returns: in how many milliseconds there is more to do; 0 for at once.
    package mutating func reclaimExpired() -> Int32 {
        let left = expiryCycle.nextRoundMilliseconds - nowMilliseconds
        // A clock that was set back does not stop the cycle.
        if expiryCycle.shard == nil && left > 0 && left <= ExpiryCycle.roundMilliseconds {
            return Int32(left)
        }
        return goOnExpiring()
    }

    @inline(never)
    private mutating func goOnExpiring() -> Int32 {
        let now = nowMilliseconds
        let state = unsafe call.state
        if expiryCycle.shard == nil {
            guard state.settings.activeExpire.load(ordering: .relaxed),
                // What a log that is loaded says later may take a deadline away.
                state.conditions.isDisjoint(
                    with: [.pausedAll, .pausedWrites, .refusingWrites, .loading])
            else { return Int32(ExpiryCycle.roundMilliseconds) }
            expiryCycle.nextRoundMilliseconds =
                now
                + (expiryCycle.hasFound
                    ? ExpiryCycle.busyRoundMilliseconds : ExpiryCycle.roundMilliseconds)
            expiryCycle.hasFound = false
            expiryCycle.shard = call.loop
        }
        let begin = martlet_ticks()
        let perMillisecond = TickRate.perMillisecond
        if hasServed {
            expiryCycle.waitBeginTicks = begin
            if begin < expiryCycle.restEndTicks { return 1 }
            // Requests that were there already when the loop came to wait are a queue: it goes first.
            if !expiryCycle.hasWaited && begin < expiryCycle.queueEndTicks { return 1 }
        }
        let effort = UInt64(clamping: state.settings.activeExpireEffort.load(ordering: .relaxed))
        let ticksMax = max(effort, 1) * ExpiryCycle.sliceMicroseconds * perMillisecond / 1000
        while let shard = expiryCycle.shard {
            if !reclaimExpired(ofShard: shard) {
                let next = shard + state.loopCount
                expiryCycle.shard = unsafe next < state.keyspace.pointee.shardCount ? next : nil
            }
            let ticks = martlet_ticks()
            if ticks &- begin <= ticksMax || expiryCycle.shard == nil { continue }
            if !hasServed { return 0 }
            let rest = expiryCycle.restMicroseconds * perMillisecond / 1000
            expiryCycle.restEndTicks = ticks &+ rest
            expiryCycle.queueEndTicks = ticks &+ 2 * rest
            expiryCycle.waitBeginTicks = ticks
            return 1
        }
        return Int32(max(1, expiryCycle.nextRoundMilliseconds - now))
    }

    /// One hold of a shard's lock; true when more is due there.
    private mutating func reclaimExpired(ofShard index: Int) -> Bool {
        let keyspace = unsafe call.state.keyspace
        let lock = unsafe keyspace.pointee.lock(index)
        guard lock.tryLock() else { return false }
        defer { lock.unlock() }
        let shard = unsafe keyspace.pointee.shard(index)
        if unsafe shard.pointee.claimant != 0 { return false }
        let now = unsafe shard.pointee.advance(to: nowMilliseconds)
        call.keyspace.sinks = unsafe call.state.sinks
        call.actor = 0
        defer { call.actor = nil }
        var steps = ExpiryCycle.stepsPerHold
        for database in unsafe 0..<keyspace.pointee.databaseCount {
            guard let partition = unsafe shard.pointee.partition(database),
                unsafe partition.pointee.expiry.count + partition.pointee.fieldExpiry.count > 0
            else { continue }
            while let entry = unsafe partition.pointee.nextDue(
                nowMilliseconds: now, steps: &steps)
            {
                expiryCycle.lateMilliseconds = now - (entry.expiryMilliseconds ?? now)
                expiryCycle.hasFound = true
                unsafe partition.pointee.prefetchFollowing(entry)
                let key = unsafe keyspace.pointee.key(entry.key)
                call.keyspace.reclaim(key, inDatabase: database)
                steps -= 1
            }
            if let late = unsafe call.keyspace.reclaimDueFields(
                partition, now, database, steps: &steps)
            {
                expiryCycle.lateMilliseconds = late
                expiryCycle.hasFound = true
            }
            if steps <= 0 { break }
        }
        publishReclaimed()
        return steps <= 0
    }
}
