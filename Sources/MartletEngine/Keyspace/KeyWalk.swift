//  Walking all keys of a database, shard by shard, and emptying or exchanging whole databases.
//
//  Whoever calls holds the shard in question: one for the steps of a walk, all for the rest.
//
//  Raw memory: shards are followed through the keyspace, which outlives every call; see KeyAccess.

import MartletBase

extension KeyAccess {
    package var shardCount: Int { unsafe keyspace.pointee.shardCount }

    /// Calls `body` for the living keys at home in the group of a shard's table that holds
    /// `position`; answers where the next group begins, or nil at the shard's end.
    ///
    /// A key present from the start of a walk to its end is met, however the table changes between
    /// the steps: see `Table`.
    package func scan(
        shard index: Int, from position: UInt64, _ body: (Entry) -> Void
    ) -> UInt64? {
        let shard = unsafe keyspace.pointee.shard(index)
        guard let partition = unsafe shard.pointee.partition(database),
            unsafe partition.pointee.count > 0
        else { return nil }
        let now = unsafe shard.pointee.advance(to: nowMilliseconds)
        return unsafe partition.pointee.table.scan(from: position) { entry in
            if !entry.isGone(at: now) { body(entry) }
        }
    }

    /// Whether a transaction or script has claimed the shard, which is held.
    package func isClaimed(shard index: Int) -> Bool {
        unsafe keyspace.pointee.shard(index).pointee.claimant != 0
    }

    /// The lock of a shard, for walks.
    func lock(ofShard index: Int) -> ShardLock { unsafe keyspace.pointee.lock(index) }

    /// Keys of a shard, those past their deadline and not yet reclaimed included.
    package func count(ofShard index: Int) -> Int {
        guard let partition = unsafe keyspace.pointee.shard(index).pointee.partition(database)
        else {
            return 0
        }
        return unsafe partition.pointee.count
    }

    /// A living key of a shard chosen at random, or nil when chance met none.
    package func randomEntry(ofShard index: Int, _ next: () -> UInt64) -> Entry? {
        let shard = unsafe keyspace.pointee.shard(index)
        guard let partition = unsafe shard.pointee.partition(database),
            let entry = unsafe partition.pointee.table.random(next)
        else { return nil }
        let now = unsafe shard.pointee.advance(to: nowMilliseconds)
        return entry.isGone(at: now) ? nil : entry
    }

    /// Reclaims what is due in a shard, up to `steps`.
    package func reclaimDue(shard index: Int, steps: inout Int) {
        let shard = unsafe keyspace.pointee.shard(index)
        guard let partition = unsafe shard.pointee.partition(database) else { return }
        let now = unsafe shard.pointee.advance(to: nowMilliseconds)
        while let entry = unsafe partition.pointee.nextDue(nowMilliseconds: now, steps: &steps) {
            reclaim(unsafe keyspace.pointee.key(entry.key), inDatabase: database)
            steps -= 1
        }
        unsafe reclaimDueFields(partition, now, database, steps: &steps)
    }

    /// Reclaims fields that are due in the hashes of a partition, up to `steps`. Its shard is held.
    ///
    /// - Returns: by how many milliseconds the last one was late; nil when there was none.
    @discardableResult
    func reclaimDueFields(
        _ partition: UnsafeMutablePointer<Partition>, _ now: Int64, _ database: Int,
        steps: inout Int
    ) -> Int64? {
        guard unsafe partition.pointee.fieldExpiry.count > 0 else { return nil }
        var late: Int64?
        while let entry = unsafe partition.pointee.nextDueFields(
            nowMilliseconds: now, steps: &steps)
        {
            let key = unsafe keyspace.pointee.key(entry.key)
            late = now - (entry.fieldExpiryMilliseconds ?? now)
            steps -= reclaimFields(key, inDatabase: database, max(1, steps))
        }
        return late
    }

    /// Empties a database. All shards are held.
    ///
    /// - Returns: how many keys it had.
    package func flush(database other: Int) -> Int {
        var removed = 0
        var target = self
        target.database = other
        for index in 0..<shardCount {
            let shard = unsafe keyspace.pointee.shard(index)
            guard let partition = unsafe shard.pointee.partition(other) else { continue }
            if unsafe !shard.pointee.watchers.isEmpty {
                unsafe shard.pointee.watchers.replaceAll(
                    in: other, old: { target.presence($0) != .missing }, new: { _ in .missing })
            }
            removed += unsafe partition.pointee.count
            unsafe partition.pointee.flush(
                hashKey: keyspace.pointee.hashKey, keyspace.pointee.saver)
        }
        return removed
    }

    /// Exchanges two databases. All shards are held.
    package func exchange(_ first: Int, _ second: Int) {
        for index in 0..<shardCount {
            let shard = unsafe keyspace.pointee.shard(index)
            if unsafe !shard.pointee.watchers.isEmpty {
                for (database, other) in [(first, second), (second, first)] {
                    var old = self
                    var new = self
                    old.database = database
                    new.database = other
                    unsafe shard.pointee.watchers.replaceAll(
                        in: database, old: { old.presence($0) != .missing },
                        new: { new.presence($0) })
                }
            }
            unsafe shard.pointee.swapPartitions(first, second)
        }
    }

    /// The keys of some databases that clients wait for. The caller holds all shards.
    func awaitedKeys(in databases: [Int]) -> [(database: Int, key: KeyCopy)] {
        var keys: [(Int, KeyCopy)] = []
        for index in 0..<shardCount {
            let shard = unsafe keyspace.pointee.shard(index)
            if unsafe shard.pointee.waits.isEmpty { continue }
            for database in databases {
                keys += unsafe shard.pointee.waits.awaitedKeys(in: database).map { (database, $0) }
            }
        }
        return keys
    }

    private func presence(_ key: WatchedKey) -> WatchTable.Presence {
        key.bytes.withView { bytes in
            let shard = unsafe keyspace.pointee.shard(keyspace.pointee.shardIndex(key.hash))
            guard let partition = unsafe shard.pointee.partition(database),
                let slot = unsafe partition.pointee.table.find(bytes, hash: key.hash)
            else { return .missing }
            let now = unsafe shard.pointee.advance(to: nowMilliseconds)
            return slot.entry.isGone(at: now) ? .expired : .alive
        }
    }
}
