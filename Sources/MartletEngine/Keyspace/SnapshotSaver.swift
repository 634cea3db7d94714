//  What a snapshot under way knows of the keys: which entries it still needs, and what it has of them.
//
//  A snapshot is a point in time (design, invariant 11). While all shards are held for an instant,
//  each of them gets a new *epoch*. From then on an entry that carries another one is not saved yet;
//  entries born later carry the new one and are left out. `step` walks the tables, one part of a shard
//  at a hold, and appends the record of each entry that is not saved. Whoever is about to change such
//  an entry calls `save` first; its record goes to the shard's own records, which the walk collects.
//  So every record is made of the value as it was when the snapshot began.
//
//  *Doors.* A command that may write has all its keys saved before its handler runs
//  (`Executor.runHeld`), whatever the handler does with them; so has one that was waiting when it is
//  served. Beside commands, keys are changed by their expiry, by a flush, and under names that no
//  request gave (`KeyAccess.remove`, `transfer`): these save, too.
//
//  *Large values.* The record of a value in nodes that are many is made in pieces, so that no write ever
//  waits for a whole one: see `SnapshotValue`. The walk takes such values one after the other, and
//  hands nothing else over in between, so that the pieces of a record stand in one row.
//
//  *Tables, not numbers.* The walk goes by partitions, and a partition knows the database it had when
//  the snapshot began: SWAPDB exchanges places, not partitions. A flush takes the contents of a
//  partition away; those that are not saved are given to the snapshot, which walks them at leisure.
//  An entry that moves from table to table carries its epoch along, and the order of a scan is that of
//  hashes, whatever segments split or join meanwhile: see `Table`.
//
//  *Eight bits.* When a walk is over, every entry carries the epoch of its shard: the walk passed all
//  that were there, and all others were born with it. So the next epoch is met in no entry. A walk that
//  ends early leaves the entries it did not come to with an older one; after n of these in a row there
//  are epochs that lie 0 to n back, and the next one is still met in none as long as n < 255. Therefore
//  `earlyEnds` are counted, and beyond `earlyEndsMax` a walk that is cancelled goes on without saving.
//
//  Raw memory: partitions belong to the keyspace and live as long as it does; those that a flush gave
//  away belong to the walk until it hands them to the reclaimer.

import CSystem
import MartletBase
import Synchronization

/// Makes the records of a snapshot.
package protocol SnapshotEncoder: Sendable {
    /// Appends the record of a key: its name, its deadline, its value. Its shard is held; any thread.
    func encode(_ entry: Entry, into buffer: inout ByteBuffer)
    /// Begins the record of a key whose value comes in pieces: appends what stands before the first of
    /// its elements, as many as there are now. Its shard is held; any thread.
    ///
    /// - Returns: what makes the rest; nil, and nothing is appended, for a value that is to be saved
    ///   whole all the same.
    func begin(_ entry: Entry, into buffer: inout ByteBuffer) -> (any SnapshotPieces)?
}

extension SnapshotEncoder {
    package func begin(
        _ entry: Entry, into buffer: inout ByteBuffer
    ) -> (any SnapshotPieces)? { nil }
}

/// Records of one database, one behind the other. A long one may go on in the next run.
package final class SnapshotRun {
    package let database: Int
    package internal(set) var bytes = ByteBuffer()

    init(database: Int) { self.database = database }
}

/// Records in the order in which they were made.
struct SnapshotRuns {
    var all: [SnapshotRun] = []
    /// A run with more than this is not added to: a buffer that grows is copied.
    private static let bytesMax = 64 * 1024

    /// The run to append records of a database to.
    mutating func run(_ database: Int) -> SnapshotRun {
        if let last = all.last, last.database == database, last.bytes.count <= Self.bytesMax {
            return last
        }
        let run = SnapshotRun(database: database)
        all.append(run)
        return run
    }
}

/// What commands saved of one shard; touched while it is held.
private final class SavedRecords {
    var runs = SnapshotRuns()
    /// Values of which they saved a piece.
    var values: [SnapshotValue] = []
}

/// A snapshot under way.
@safe
final class SnapshotSaver: @unchecked Sendable {
    // Unchecked: `saved` is touched under the lock of its shard; `flushed` is added to while all shards
    // are held and taken while one is; the rest is the walk's, which one thread steps at a time.
    let epoch: UInt8
    private let encoder: any SnapshotEncoder
    /// Called when the snapshot ends, while all shards are held.
    private let whenEnded: () -> Void
    private let keyspace: UnsafeMutablePointer<Keyspace>
    private let saved: [SavedRecords]
    private var flushed: [Part] = []
    /// Values that may be in these.
    private var flushedValues: [SnapshotValue] = []
    /// Structures from this size on are saved in pieces.
    private let pieceBytesMin: Int
    /// Keys that the snapshot has, or had when it began.
    let keyCount: Int
    /// Keys whose record was made.
    let savedCount = Atomic<Int>(0)
    /// Bytes of records that were made and not taken yet.
    let heldBytes = Atomic<Int>(0)
    /// Nobody wants the records any more.
    let isCancelled = Atomic<Bool>(false)

    /// What is still to be walked, in the order of databases.
    private var parts: [Part] = []
    private var next = 0
    /// Contents of flushed partitions, which nobody else knows.
    private var ownParts: [Part] = []
    /// Values that were begun, of which the first is being handed over.
    private var values: [SnapshotValue] = []
    /// The shard whose records are collected next.
    private var collected = 0
    /// Shards to collect from after the walk, in which no entry is left to be saved.
    private var leftToCollect: Int
    private var runs = SnapshotRuns()

    /// A table to walk.
    @safe
    private struct Part {
        let partition: UnsafeMutablePointer<Partition>
        let shard: Int
        let database: Int
        var position: UInt64 = 0
        var isWalked = false
    }

    /// What one step has led to.
    enum Step {
        case goesOn
        /// Shards are claimed: to be tried again a little later.
        case isHeldUp
        /// The snapshot is over.
        case isDone
    }

    /// So many walks in a row may end early: below 255, see the top.
    static let earlyEndsMax = 250

    /// What takes some 20 microseconds to be saved whole.
    static let pieceBytesMinDefault = 16 * 1024

    /// Begins a snapshot of all keys. All shards are held, and none is claimed.
    init(
        _ keyspace: UnsafeMutablePointer<Keyspace>, _ encoder: any SnapshotEncoder,
        pieceBytesMin: Int,
        whenEnded: @escaping () -> Void
    ) {
        unsafe self.keyspace = keyspace
        self.encoder = encoder
        self.pieceBytesMin = pieceBytesMin
        self.whenEnded = whenEnded
        let shards = unsafe keyspace.pointee.shardCount
        var saved: [SavedRecords] = []
        saved.reserveCapacity(shards)
        for index in 0..<shards {
            unsafe keyspace.pointee.shard(index).pointee.epoch &+= 1
            saved.append(SavedRecords())
        }
        epoch = unsafe keyspace.pointee.shard(0).pointee.epoch
        self.saved = saved
        leftToCollect = shards
        var keys = 0
        for database in unsafe 0..<keyspace.pointee.databaseCount {
            for shard in 0..<shards {
                guard
                    let partition = unsafe keyspace.pointee.shard(shard).pointee.partition(
                        database),
                    unsafe partition.pointee.count > 0
                else { continue }
                unsafe partition.pointee.snapshotDatabase = Int32(truncatingIfNeeded: database)
                keys += unsafe partition.pointee.count
                unsafe parts.append(Part(partition: partition, shard: shard, database: database))
            }
        }
        keyCount = keys
    }

    // MARK: Saving

    /// Saves an entry that is about to change, unless it is saved. Its shard is held.
    func save(_ entry: Entry, in partition: UnsafeMutablePointer<Partition>, shard: Int) {
        if entry.epoch == epoch || isCancelled.load(ordering: .relaxed) { return }
        let database = unsafe Int(partition.pointee.snapshotDatabase)
        precondition(database >= 0, "an entry that is not saved stands in a table yet to be walked")
        if let value = begin(entry, database: database, shard: shard) {
            saved[shard].values.append(value)
        } else {
            encode(entry, saved[shard].runs.run(database))
        }
    }

    private func encode(_ entry: Entry, _ run: SnapshotRun) {
        entry.epoch = epoch
        if isCancelled.load(ordering: .relaxed) { return }
        let before = run.bytes.count
        encoder.encode(entry, into: &run.bytes)
        heldBytes.add(run.bytes.count - before, ordering: .relaxed)
        savedCount.add(1, ordering: .relaxed)
    }

    /// Begins the record of an entry that is to be made in pieces; nil for others.
    private func begin(_ entry: Entry, database: Int, shard: Int) -> SnapshotValue? {
        guard entry.encoding == .structure, entry.structure.bytes >= pieceBytesMin,
            !isCancelled.load(ordering: .relaxed)
        else { return nil }
        let head = SnapshotRun(database: database)
        guard let pieces = encoder.begin(entry, into: &head.bytes) else { return nil }
        entry.epoch = epoch
        savedCount.add(1, ordering: .relaxed)
        return SnapshotValue(entry.structure, shard: shard, self, head, pieces)
    }

    /// Takes over what a flush took out of a partition, saved or not: its values may be. All shards are
    /// held.
    func keep(_ partition: UnsafeMutablePointer<Partition>) {
        unsafe flushed.append(
            Part(
                partition: partition, shard: -1,
                database: Int(partition.pointee.snapshotDatabase)))
        for records in saved {
            flushedValues += records.values
            records.values = []
        }
    }

    // MARK: Walking

    /// One hold of a shard, and another to collect what commands saved. The caller holds none.
    ///
    /// - Parameters:
    ///   - ticks: after which the hold ends; one group of a table, some 15 keys, is always passed.
    ///   - groups: the same in groups.
    /// - Returns: whether there is more to do.
    func step(ticks: UInt64, groups: Int = .max) -> Step {
        if !values.isEmpty { return advance(ticks: ticks, nodes: groups) }
        if isCancelled.load(ordering: .relaxed),
            unsafe keyspace.pointee.earlyEnds < Self.earlyEndsMax
        {
            return finish(isEarly: true)
        }
        if !ownParts.isEmpty {
            walkOwn(ticks: ticks, groups: groups)
            return .goesOn
        }
        if parts.isEmpty { return finish(isEarly: false) }
        if next >= parts.count { next = 0 }
        let part = parts[next]
        let lock = unsafe keyspace.pointee.lock(part.shard)
        lock.lock()
        if unsafe keyspace.pointee.shard(part.shard).pointee.claimant != 0 {
            lock.unlock()
            next += 1
            // Once round, and nothing but claims.
            return next >= parts.count ? .isHeldUp : .goesOn
        }
        takeFlushed()
        let isOver = walk(&parts[next], ticks: ticks, groups: groups)
        if isOver { unsafe part.partition.pointee.snapshotDatabase = -1 }
        takeSaved(part.shard)
        lock.unlock()
        if isOver { parts.remove(at: next) }
        collect()
        return .goesOn
    }

    /// Goes on with the value that is being handed over.
    private func advance(ticks: UInt64, nodes: Int) -> Step {
        let value = values[0]
        let shard = value.shard.load(ordering: .relaxed)
        var isOver = false
        var taken: [SnapshotRun] = []
        if shard < 0 {
            isOver = value.advance(ticks: ticks, nodes: nodes)
            taken = value.takeReady()
        } else {
            let lock = unsafe keyspace.pointee.lock(shard)
            lock.lock()
            defer { lock.unlock() }
            // The key may have moved to another shard meanwhile.
            if value.shard.load(ordering: .relaxed) != shard { return .goesOn }
            if unsafe keyspace.pointee.shard(shard).pointee.claimant != 0 { return .isHeldUp }
            isOver = value.advance(ticks: ticks, nodes: nodes)
            taken = value.takeReady()
        }
        runs.all += taken
        if isOver { values.removeFirst() }
        return .goesOn
    }

    /// Walks a part of a table; true when it is over.
    private func walk(_ part: inout Part, ticks: UInt64, groups: Int) -> Bool {
        let begin = martlet_ticks()
        let database = part.database
        let shard = part.shard
        let run = runs.run(database)
        var left = groups
        while true {
            let following = unsafe part.partition.pointee.table.scan(from: part.position) {
                if $0.epoch == epoch { return }
                if let value = self.begin($0, database: database, shard: shard) {
                    values.append(value)
                } else {
                    encode($0, run)
                }
            }
            guard let following else { return true }
            part.position = following
            left -= 1
            if left <= 0 || martlet_ticks() &- begin >= ticks { return false }
        }
    }

    /// Walks what a flush has left. No lock is needed: nobody else knows it. It is freed when the values
    /// that were found in it have been handed over, too.
    private func walkOwn(ticks: UInt64, groups: Int) {
        if ownParts[0].isWalked {
            let part = ownParts.removeFirst()
            unsafe Partition.release(part.partition)
            return
        }
        if ownParts[0].database < 0 {
            // All of it was saved, or born later.
            ownParts[0].isWalked = true
        } else {
            ownParts[0].isWalked = walk(&ownParts[0], ticks: ticks, groups: groups)
        }
    }

    /// Takes over what flushes gave. Some shard is held.
    private func takeFlushed() {
        if flushed.isEmpty { return }
        ownParts += flushed
        values += flushedValues
        flushed = []
        flushedValues = []
    }

    /// Takes the records that commands made in a shard, which is held, and the values they began.
    private func takeSaved(_ shard: Int) {
        let records = saved[shard]
        if !records.runs.all.isEmpty {
            runs.all += records.runs.all
            records.runs.all = []
        }
        if !records.values.isEmpty {
            values += records.values
            records.values = []
        }
    }

    /// Takes the records of one other shard: each gets its turn while the walk goes on, so that they
    /// do not pile up.
    private func collect() {
        collected = collected + 1 >= saved.count ? 0 : collected + 1
        let lock = unsafe keyspace.pointee.lock(collected)
        guard lock.tryLock() else { return }
        if unsafe keyspace.pointee.shard(collected).pointee.claimant == 0 { takeSaved(collected) }
        lock.unlock()
    }

    /// All tables are walked, or need not be: collects what is left in the shards and ends.
    private func finish(isEarly: Bool) -> Step {
        while leftToCollect > 0 {
            let shard = leftToCollect - 1
            let lock = unsafe keyspace.pointee.lock(shard)
            lock.lock()
            defer { lock.unlock() }
            if unsafe keyspace.pointee.shard(shard).pointee.claimant != 0 { return .isHeldUp }
            takeFlushed()
            takeSaved(shard)
            leftToCollect -= 1
        }
        if !values.isEmpty || !isEarly && !ownParts.isEmpty { return .goesOn }
        return end(isEarly: isEarly)
    }

    /// Ends the snapshot for all shards at once.
    private func end(isEarly: Bool) -> Step {
        unsafe keyspace.pointee.lockAll()
        defer { unsafe keyspace.pointee.unlockAll() }
        if unsafe keyspace.pointee.isClaimed { return .isHeldUp }
        takeFlushed()
        if !values.isEmpty { return .goesOn }
        for part in parts { unsafe part.partition.pointee.snapshotDatabase = -1 }
        for part in ownParts { unsafe Partition.release(part.partition) }
        parts = []
        ownParts = []
        unsafe keyspace.pointee.earlyEnds = isEarly ? keyspace.pointee.earlyEnds + 1 : 0
        unsafe keyspace.pointee.saver = nil
        whenEnded()
        return .isDone
    }

    /// The records that the steps since the last call have brought.
    func takeRuns() -> [SnapshotRun] {
        let taken = runs.all
        runs.all = []
        for run in taken { heldBytes.subtract(run.bytes.count, ordering: .relaxed) }
        return taken
    }
}

extension KeyAccess {
    /// Saves what a key holds for the snapshot under way, if there is one, before it is changed.
    @inline(never)
    func save(_ key: Key, inDatabase database: Int) {
        guard let saver = unsafe keyspace.pointee.saver else { return }
        let index = unsafe keyspace.pointee.shardIndex(key.hash)
        guard let partition = unsafe keyspace.pointee.shard(index).pointee.partition(database),
            let slot = unsafe partition.pointee.table.find(key.bytes, hash: key.hash)
        else { return }
        unsafe saver.save(slot.entry, in: partition, shard: index)
    }
}
