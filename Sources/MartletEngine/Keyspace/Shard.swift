//  One lock's part of the keys, and the keyspace that all shards make up.
//
//  Raw memory: shards stand side by side, each on its own cache lines, for the life of the engine.
//  Everything but the lock word is touched under the lock, except what `prefetchTable` reads.
//
//  A key's shard depends on its hash alone, never on its database. Each shard has one partition per
//  database, created when first written and never freed before the keyspace, so that the hint may
//  follow its pointer; SWAPDB exchanges the pointers.

import CSystem
import Glibc
import MartletBase

/// The keys of one lock.
@safe
struct Shard: ~Copyable {
    /// The claim: 0, or the number of the transaction or script that claims the shard.
    var claimant: UInt32 = 0
    /// The latest wall clock used here: time does not run backward for a key.
    private var latestMilliseconds: Int64 = 0
    private let partitions: UnsafeMutablePointer<UnsafeMutablePointer<Partition>?>
    /// Connections that watch keys of this shard.
    var watchers = WatchTable()
    /// Connections that wait for keys of this shard.
    var waits = WaitTable()
    /// Keys that clients keep copies of.
    var tracked = TrackedKeys()
    /// Keys reclaimed after their deadline, for INFO.
    var expiredCount: UInt64 = 0
    /// The snapshot epoch new entries carry.
    var epoch: UInt8 = 0

    /// A step back of the wall clock by more than this is taken as the new truth.
    private static let clockStepMilliseconds: Int64 = 1000

    /// `partitions` has a place for each database.
    init(partitions: UnsafeMutablePointer<UnsafeMutablePointer<Partition>?>) {
        unsafe self.partitions = partitions
    }

    /// Frees the partitions. The shard is not used afterwards.
    mutating func tearDown(databases: Int) {
        for index in 0..<databases {
            if let partition = unsafe partitions[index] {
                unsafe partition.deinitialize(count: 1)
                unsafe partition.deallocate()
            }
        }
    }

    /// The partition of a database, or nil while it was never written.
    @inline(__always)
    func partition(_ database: Int) -> UnsafeMutablePointer<Partition>? {
        unsafe partitions[database]
    }

    /// The partition of a database, created if need be.
    @inline(__always)
    func makePartition(_ database: Int, hashKey: HashKey) -> UnsafeMutablePointer<Partition> {
        if let partition = unsafe partitions[database] { return unsafe partition }
        return unsafe createPartition(database, hashKey)
    }

    @inline(never)
    private func createPartition(
        _ database: Int, _ hashKey: HashKey
    ) -> UnsafeMutablePointer<Partition> {
        let partition = UnsafeMutablePointer<Partition>.allocate(capacity: 1)
        unsafe partition.initialize(to: Partition(hashKey: hashKey))
        unsafe martlet_store_release_64(
            partitions + database, UInt64(UInt(bitPattern: partition)))
        return unsafe partition
    }

    /// Exchanges two databases.
    func swapPartitions(_ first: Int, _ second: Int) {
        let one = unsafe partitions[first]
        let other = unsafe partitions[second]
        unsafe martlet_store_release_64(partitions + first, UInt64(UInt(bitPattern: other)))
        unsafe martlet_store_release_64(partitions + second, UInt64(UInt(bitPattern: one)))
    }

    /// The time to use here: the later of the loop's and the latest used, unless the clock was set
    /// back.
    @inline(__always)
    mutating func advance(to nowMilliseconds: Int64) -> Int64 {
        if nowMilliseconds >= latestMilliseconds
            || latestMilliseconds - nowMilliseconds > Self.clockStepMilliseconds
        {
            latestMilliseconds = nowMilliseconds
        }
        return latestMilliseconds
    }
}

/// All shards, and what is the same for all of them.
@safe
package struct Keyspace: ~Copyable {
    private let shards: UnsafeMutableRawPointer
    /// The partitions of all shards, those of one side by side.
    private let partitions: UnsafeMutablePointer<UnsafeMutablePointer<Partition>?>
    package let shardCount: Int
    package let databaseCount: Int
    let hashKey: HashKey
    /// The snapshot under way. Changed while all shards are held, read while one is.
    var saver: SnapshotSaver?
    /// Snapshots in a row that did not come to their end, likewise.
    var earlyEnds = 0
    /// Positions of the log behind the last write to each bucket of keys: 256 buckets to a shard, told
    /// by the lowest eight bits of a key's hash, whose next ones tell the shard. There while replies
    /// wait for the log, and touched under the shards' locks.
    private var recent: UnsafeMutablePointer<UInt64>?

    /// Two cache lines, so that no two locks share one and the neighbour prefetch does no harm.
    static let shardBytes = 128
    /// The lock's word comes first and is no part of the `Shard` behind it: to the thread sanitizer a
    /// mutating call on a struct is a write to its first byte.
    fileprivate static let lockBytes = 16
    /// The shard's number is made of hash bits 8 ..< 18.
    static let shardCountMax = 1024

    /// `shardCount` is a power of two, at most `shardCountMax`.
    init(shardCount: Int, databaseCount: Int, hashKey: HashKey) {
        precondition(shardCount > 0 && shardCount & (shardCount - 1) == 0, "a power of two")
        precondition(shardCount <= Self.shardCountMax, "as many shards as hash bits tell apart")
        precondition(
            MemoryLayout<Shard>.size <= Self.shardBytes - Self.lockBytes, "a shard fits its lines")
        self.shardCount = shardCount
        self.databaseCount = databaseCount
        self.hashKey = hashKey
        let partitionCount = shardCount * databaseCount
        unsafe partitions = .allocate(capacity: partitionCount)
        unsafe partitions.initialize(repeating: nil, count: partitionCount)
        unsafe recent = nil
        unsafe shards = .allocate(byteCount: shardCount * Self.shardBytes, alignment: 128)
        for index in 0..<shardCount {
            unsafe (shards + index * Self.shardBytes).storeBytes(of: 0, as: UInt64.self)
            unsafe (shards + index * Self.shardBytes + Self.lockBytes).initializeMemory(
                as: Shard.self, to: Shard(partitions: partitions + index * databaseCount))
        }
    }

    deinit {
        for index in 0..<shardCount {
            let shard = unsafe self.shard(index)
            unsafe shard.pointee.tearDown(databases: databaseCount)
            unsafe shard.deinitialize(count: 1)
        }
        unsafe shards.deallocate()
        unsafe partitions.deallocate()
        unsafe recent?.deallocate()
    }

    @inline(__always)
    func shardIndex(_ hash: UInt64) -> Int {
        Int(truncatingIfNeeded: hash &>> 8) & (shardCount &- 1)
    }

    @inline(__always)
    func shard(_ index: Int) -> UnsafeMutablePointer<Shard> {
        unsafe (shards + ((index & (shardCount &- 1)) &* Self.shardBytes &+ Self.lockBytes))
            .assumingMemoryBound(to: Shard.self)
    }

    /// The directory of a table without the shard's lock: a hint, or nil. With the partitions of all
    /// shards in one array, few loads lead to it that depend on each other.
    @inline(__always)
    func directoryHint(shard: Int, database: Int) -> UnsafeMutablePointer<UInt64>? {
        let place = unsafe partitions + (shard &* databaseCount &+ database)
        let partition = unsafe UInt(truncatingIfNeeded: martlet_load_acquire_64(place))
        guard let partition = unsafe UnsafeRawPointer(bitPattern: partition) else { return nil }
        // Where the directory stands in the partition: see the test.
        return unsafe UnsafeMutablePointer(
            bitPattern: UInt(
                truncatingIfNeeded: martlet_load_acquire_64(partition + Table.directoryOffset)))
    }

    /// The lock of a shard.
    @inline(__always)
    func lock(_ index: Int) -> ShardLock {
        let index = index & (shardCount &- 1)
        return unsafe ShardLock(
            at: shards + index &* Self.shardBytes, rank: ShardLock.rank(ofShard: index))
    }

    private var bucketCount: Int { shardCount << 8 }

    /// Begins, with the position up to which all was written, or ends to remember the last write to each
    /// bucket of keys. The caller holds all locks.
    mutating func rememberWrites(from position: UInt64?) {
        unsafe recent?.deallocate()
        unsafe recent = nil
        guard let position else { return }
        let buckets = UnsafeMutablePointer<UInt64>.allocate(capacity: bucketCount)
        unsafe buckets.initialize(repeating: position, count: bucketCount)
        unsafe recent = buckets
    }

    /// The position behind the last write to the bucket of a key, whose shard is held; 0 while none
    /// are remembered.
    func lastWrite(_ hash: UInt64) -> UInt64 {
        guard let recent = unsafe recent else { return 0 }
        return unsafe recent[Int(truncatingIfNeeded: hash) & (bucketCount - 1)]
    }

    /// A key, whose shard is held, was written, or all were, their shards held.
    func noteWrite(_ hash: UInt64?, at position: UInt64) {
        guard let recent = unsafe recent else { return }
        if let hash {
            unsafe recent[Int(truncatingIfNeeded: hash) & (bucketCount - 1)] = position
        } else {
            unsafe recent.update(repeating: position, count: bucketCount)
        }
    }

    /// The locks alone, as a value that closures may hold.
    var lockTable: LockTable { unsafe LockTable(shards: shards) }

    @inline(__always)
    func key(_ bytes: ByteView) -> Key { Key(bytes, hash: hashKey.hash(bytes)) }

    /// Takes every lock, in ascending order.
    package func lockAll() {
        for index in 0..<shardCount { lock(index).lock() }
    }

    package func unlockAll() {
        for index in 0..<shardCount { lock(index).unlock() }
    }

    /// Whether some shard is claimed. The caller holds all locks.
    var isClaimed: Bool {
        for index in 0..<shardCount where unsafe shard(index).pointee.claimant != 0 { return true }
        return false
    }

    /// Exchanges two databases in all shards. The caller holds all locks.
    func swapDatabases(_ first: Int, _ second: Int) {
        for index in 0..<shardCount {
            unsafe shard(index).pointee.swapPartitions(first, second)
        }
    }
}

/// The locks and claims of a keyspace's shards; valid as long as the keyspace.
@safe
struct LockTable {
    fileprivate let shards: UnsafeMutableRawPointer

    fileprivate init(shards: UnsafeMutableRawPointer) { unsafe self.shards = shards }

    func lock(_ index: Int) -> ShardLock {
        unsafe ShardLock(
            at: shards + index * Keyspace.shardBytes, rank: ShardLock.rank(ofShard: index))
    }

    /// Whether a shard is claimed. The caller holds its lock.
    func isClaimed(_ index: Int) -> Bool {
        unsafe (shards + (index * Keyspace.shardBytes + Keyspace.lockBytes))
            .assumingMemoryBound(to: Shard.self)
            .pointee.claimant != 0
    }
}
