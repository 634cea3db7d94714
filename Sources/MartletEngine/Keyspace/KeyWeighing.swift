//  Looking for keys with much memory: a walk over all keys of all databases in small steps, which the
//  server takes a few times a second for the list of its biggest keys.
//
//  Values that stand in their entry cost a few hundred bytes at most and are passed over. Whoever calls
//  holds no shard; a step holds one at a time, for a few hundred keys, and leaves one that somebody
//  holds for the next step.
//
//  Raw memory: shards and partitions are followed through the keyspace and used under the shard's lock.

import MartletBase

/// A key and what it costs.
package struct WeighedKey: Sendable {
    package let key: [UInt8]
    package let database: Int
    package let kind: ValueKind
    /// As MEMORY USAGE says.
    package let bytes: Int
}

/// Where a walk stands.
package struct KeyWeighing: Sendable {
    private var shard = 0
    private var database = 0
    private var position: UInt64 = 0

    /// Keys looked at under one hold of a shard's lock.
    private static let keysPerHold = 256

    package init() {}

    /// Looks at about `keys` keys, or fewer at the end of a round, and calls `body` for those that cost more
    /// than `bytesMin`.
    ///
    /// - Parameters:
    ///   - keyspace: whose keys.
    ///   - keys: how many to look at.
    ///   - bytesMin: what is asked for anew for each key, since it grows with what is found.
    ///   - body: gets the key, by its full name.
    /// - Returns: whether the round is over; the next step begins another one.
    /// - Complexity: O(`keys`); a key that is there from a round's beginning to its end is met.
    package mutating func step(
        _ keyspace: UnsafeMutablePointer<Keyspace>, keys: Int, bytesMin: () -> Int,
        _ body: (WeighedKey) -> Void
    ) -> Bool {
        var left = keys
        while left > 0 {
            let lock = unsafe keyspace.pointee.lock(shard)
            guard lock.tryLock() else { return false }
            unsafe hold(keyspace, &left, bytesMin, body)
            lock.unlock()
            if unsafe database < keyspace.pointee.databaseCount { continue }
            database = 0
            shard += 1
            // An empty shard costs a little as well.
            left -= 1
            if unsafe shard == keyspace.pointee.shardCount {
                shard = 0
                return true
            }
        }
        return false
    }

    /// One hold of a shard's lock: goes on to the next databases while there is nothing to look at.
    private mutating func hold(
        _ keyspace: UnsafeMutablePointer<Keyspace>, _ left: inout Int, _ bytesMin: () -> Int,
        _ body: (WeighedKey) -> Void
    ) {
        let held = unsafe keyspace.pointee.shard(shard)
        var seen = 0
        while unsafe database < keyspace.pointee.databaseCount && seen < Self.keysPerHold {
            guard let partition = unsafe held.pointee.partition(database),
                unsafe partition.pointee.count > 0
            else {
                database += 1
                position = 0
                continue
            }
            let following = unsafe partition.pointee.table.scan(from: position) { entry in
                seen += 1
                guard entry.encoding == .structure || entry.encoding == .heap else { return }
                let bytes = unsafe partition.pointee.memoryUsage(entry)
                if bytes <= bytesMin() { return }
                body(
                    WeighedKey(
                        key: entry.key.bytes, database: database, kind: entry.kind, bytes: bytes))
            }
            // A group without keys costs a little as well.
            seen += 1
            position = following ?? 0
            if following == nil { database += 1 }
        }
        left -= seen
    }
}

extension Keyspace {
    /// What a key costs now; nil when it is gone. The caller holds all shards or, if not `isHeld`, none.
    package func weigh(_ known: WeighedKey, isHeld: Bool) -> WeighedKey? {
        known.key.withView { bytes in
            let key = key(bytes)
            let index = shardIndex(key.hash)
            if !isHeld { lock(index).lock() }
            defer { if !isHeld { lock(index).unlock() } }
            guard let partition = unsafe shard(index).pointee.partition(known.database),
                let slot = unsafe partition.pointee.table.find(bytes, hash: key.hash)
            else { return nil }
            return WeighedKey(
                key: known.key, database: known.database, kind: slot.entry.kind,
                bytes: unsafe partition.pointee.memoryUsage(slot.entry))
        }
    }
}
