//  Reclaims keys past their deadline, in order of time, between a loop's events.
//
//  Each loop owns the shards whose number leaves its own when divided by the number of loops. Twenty
//  times a second it takes what is due from their expiry indexes: nothing is sampled. A slice ends
//  after a fraction of a millisecond so that requests are served in between; what is left is taken
//  up at the end of the next iteration. A shard that somebody holds or claims is left for the next
//  round.

import CSystem
import MartletBase

/// Where a loop's cycle stands.
struct ExpiryCycle {
    /// When the next round begins, in wall clock milliseconds.
    var nextRoundMilliseconds: Int64 = 0
    /// The shard the round goes on with, or nil between rounds.
    var shard: Int?

    /// A deadline is met at most this late by a server that has time.
    static let roundMilliseconds: Int64 = 50
    /// Keys looked at under one hold of a shard's lock: below 0.1 ms.
    static let stepsPerHold = 128
    /// What a slice may take at an effort of 1, in microseconds; each further effort adds as much
    /// again, up to 10.
    static let sliceMicroseconds: UInt64 = 200
}

extension Executor {
    /// Reclaims expired keys of this loop's shards for a fraction of a millisecond.
    ///
    /// - Returns: in how many milliseconds there is more to do; 0 for at once.
    package mutating func reclaimExpired() -> Int32 {
        let now = nowMilliseconds
        let state = unsafe call.state
        if expiryCycle.shard == nil {
            let left = expiryCycle.nextRoundMilliseconds - now
            // A clock that was set back does not stop the cycle.
            if left > 0 && left <= ExpiryCycle.roundMilliseconds { return Int32(left) }
            guard state.settings.activeExpire.load(ordering: .relaxed),
                state.conditions.isDisjoint(with: [.pausedAll, .pausedWrites])
            else { return Int32(ExpiryCycle.roundMilliseconds) }
            expiryCycle.nextRoundMilliseconds = now + ExpiryCycle.roundMilliseconds
            expiryCycle.shard = call.loop
        }
        let effort = UInt64(clamping: state.settings.activeExpireEffort.load(ordering: .relaxed))
        let begin = martlet_ticks()
        let ticksMax =
            max(effort, 1) * ExpiryCycle.sliceMicroseconds * TickRate.perMillisecond / 1000
        while let shard = expiryCycle.shard {
            while reclaimExpired(ofShard: shard) {
                if martlet_ticks() &- begin > ticksMax { return 0 }
            }
            let next = shard + state.loopCount
            expiryCycle.shard = unsafe next < state.keyspace.pointee.shardCount ? next : nil
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
        var steps = ExpiryCycle.stepsPerHold
        for database in unsafe 0..<keyspace.pointee.databaseCount {
            guard let partition = unsafe shard.pointee.partition(database),
                unsafe partition.pointee.expiry.count > 0
            else { continue }
            while let entry = unsafe partition.pointee.nextDue(
                nowMilliseconds: now, steps: &steps)
            {
                let key = unsafe keyspace.pointee.key(entry.key)
                call.keyspace.reclaim(key, inDatabase: database)
                steps -= 1
            }
            if steps <= 0 { break }
        }
        publishReclaimed()
        return steps <= 0
    }
}
