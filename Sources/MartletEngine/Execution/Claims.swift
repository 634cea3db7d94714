//  Claims: shards kept for somebody who learns its keys while it runs (a script, a transaction with
//  one, SORT with BY or GET). Those who wait stand in the `ClaimLine`. How a script comes to claim
//  anything at all: ScriptTurns.swift.
//
//  A lock is short and somebody may sleep on it; a claim is long and nobody does. Claimants run one
//  at a time. Each takes the lock of a shard for a moment to set its claim there, and again for each
//  of its own accesses, so that what only looks at a shard (statistics, walks, reclaiming) needs no
//  more than the lock. It holds claims, never locks, to its end. A command that meets a claim lets
//  go of its locks, takes a place in the line, and its connection is parked; so no cycle forms.
//
//  When a claim ends, everybody parked comes again in order of arrival. The next claimant begins only
//  when all who came before it have had their turn, which each of them gives back as soon as it meets
//  no claim: nobody starves. A pause does not hold the line up, and a closed connection leaves it.

import MartletBase

/// What one claimant has claimed.
struct Claim: ~Copyable {
    /// Stands in the claimed shards; never 0.
    let number: UInt32
    private(set) var shards = ShardSet()

    init(number: UInt32) { self.number = number }

    fileprivate mutating func add(_ shard: Int) { shards.insert(shard) }
}

extension EngineState {
    /// Begins a claim, or stands in line for it; `place` is kept until it begins. The caller holds no shard.
    func beginClaim(_ place: inout UInt64) -> Claim? {
        // Not while a script has the turn: it may become a claimant.
        scripts.turn.lock()
        defer { scripts.turn.unlock() }
        return claimLine.begin(&place).map { Claim(number: $0) }
    }

    /// Claims a shard. The caller holds no lock.
    func add(_ shard: Int, to claim: inout Claim) {
        if claim.shards.contains(shard) { return }
        let lock = unsafe keyspace.pointee.lock(shard)
        lock.lock()
        unsafe assert(keyspace.pointee.shard(shard).pointee.claimant == 0)
        unsafe keyspace.pointee.shard(shard).pointee.claimant = claim.number
        lock.unlock()
        claim.add(shard)
    }

    /// Claims shards that the caller holds.
    func add(held shards: ShardSet, to claim: inout Claim) {
        shards.forEachShard { shard in
            unsafe assert(keyspace.pointee.shard(shard).pointee.claimant == 0)
            unsafe keyspace.pointee.shard(shard).pointee.claimant = claim.number
        }
        shards.forEachShard { claim.add($0) }
    }

    /// Gives all shards of a claim back and lets the line come again. The caller holds no lock.
    func end(_ claim: consuming Claim) {
        claim.shards.forEachShard { shard in
            let lock = unsafe keyspace.pointee.lock(shard)
            lock.lock()
            unsafe keyspace.pointee.shard(shard).pointee.claimant = 0
            lock.unlock()
        }
        if claimLine.end(claim.number) { releaseParked() }
    }
}
