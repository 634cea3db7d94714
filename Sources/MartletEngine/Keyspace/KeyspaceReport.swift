//  What the keys of all shards add up to, for INFO, MEMORY STATS and the cron.
//
//  Each shard is held for as long as it takes to add up a handful of counters per database, so the
//  sums are right per shard and close to right in all.

import CSystem

/// Counts and memory of the whole keyspace.
package struct KeyspaceReport: Sendable {
    /// One database.
    package struct Database: Sendable {
        /// Keys, those past their deadline and not yet reclaimed included.
        package var keys = 0
        /// Keys with a deadline.
        package var expires = 0
        /// Hashes with fields that have a deadline.
        package var subexpiry = 0
        /// Memory of the tables and of the expiry wheels.
        package var tableBytes = 0
        package var wheelBytes = 0
        fileprivate var deadlineSum = 0.0

        /// The time that keys with a deadline have left on average; 0 when there are none.
        package func averageTTLMilliseconds(at nowMilliseconds: Int64) -> Int64 {
            guard expires > 0 else { return 0 }
            let left = deadlineSum / Double(expires) - Double(nowMilliseconds)
            return left <= 0 ? 0 : (left < 9e18 ? Int64(left) : .max)
        }
    }

    /// By number.
    package var databases: [Database]
    /// Bytes of entries, values, tables and wheels, and of what is remembered for client-side caching.
    package var usedBytes = 0
    /// Bytes of values outside of entries, which come from malloc.
    package var heapBytes = 0
    /// Bytes of slabs, and the part of them that no entry uses.
    package var slabBytes = 0
    package var slackBytes = 0
    /// The last of these: see `TrackedKeys`.
    package var trackingBytes = 0
    /// Keys reclaimed after their deadline, since the start or the last reset.
    package var expiredKeys: UInt64 = 0
    /// Fields of hashes likewise.
    package var expiredFields: UInt64 = 0

    fileprivate mutating func add(_ partition: borrowing Partition, _ database: Int) {
        usedBytes += partition.usedBytes
        heapBytes += partition.heapBytes
        slabBytes += partition.slabs.slabCount * SlabClass.slabBytes
        slackBytes += partition.slabs.slackBytes
        expiredFields += partition.expiredFieldCount
        databases[database].keys += partition.count
        databases[database].expires += partition.expiry.count
        databases[database].subexpiry += partition.fieldExpiry.count
        databases[database].deadlineSum += partition.expiry.deadlineSum
        databases[database].tableBytes += partition.table.bytes
        databases[database].wheelBytes += partition.expiry.bytes + partition.fieldExpiry.bytes
    }

    package var keys: Int { databases.reduce(0) { $0 + $1.keys } }
    package var tableBytes: Int { databases.reduce(0) { $0 + $1.tableBytes + $1.wheelBytes } }
}

extension Keyspace {
    /// Adds up all shards.
    ///
    /// - Parameter isHeld: the caller holds all shards; else it holds none.
    /// - Returns: the sums, right per shard.
    /// - Complexity: O(shards * databases).
    package func report(isHeld: Bool) -> KeyspaceReport {
        var report = KeyspaceReport(databases: .init(repeating: .init(), count: databaseCount))
        for index in 0..<shardCount {
            if !isHeld { lock(index).lock() }
            add(shard: index, to: &report)
            if !isHeld { lock(index).unlock() }
        }
        return report
    }

    private func add(shard index: Int, to report: inout KeyspaceReport) {
        let shard = unsafe shard(index)
        report.expiredKeys += unsafe shard.pointee.expiredCount
        let trackingBytes = unsafe shard.pointee.tracked.bytes
        report.trackingBytes += trackingBytes
        report.usedBytes += trackingBytes
        for database in 0..<databaseCount {
            guard let partition = unsafe shard.pointee.partition(database) else { continue }
            unsafe report.add(partition.pointee, database)
        }
    }

    /// Forgets how many keys and fields expired and how many objects were freed beside the commands: CONFIG
    /// RESETSTAT.
    package func resetStatistics(isHeld: Bool) {
        for index in 0..<shardCount {
            if !isHeld { lock(index).lock() }
            unsafe shard(index).pointee.expiredCount = 0
            for database in 0..<databaseCount {
                unsafe shard(index).pointee.partition(database)?.pointee.expiredFieldCount = 0
            }
            if !isHeld { lock(index).unlock() }
        }
        Reclaimer.shared.resetStatistics()
    }
}

/// Memory of entries that belongs to no shard.
package enum SparedMemory {
    /// Objects freed beside the commands, and those that wait for it.
    package static var lazilyFreed: (freed: Int, pending: Int) {
        (Reclaimer.shared.freedCount, Reclaimer.shared.pendingCount)
    }

    /// Bytes of slabs that are empty and kept for the next entries.
    package static var emptySlabBytes: Int { SlabPool.shared.warmBytes }

    /// Gives the pages of empty slabs back to the system: MEMORY PURGE.
    package static func trim() { SlabPool.shared.trim() }

    /// Lets malloc give its free pages back, beside the commands.
    package static func trimMallocLater() {
        Reclaimer.shared.run(objects: 0) { _ = martlet_malloc_trim() }
    }
}
