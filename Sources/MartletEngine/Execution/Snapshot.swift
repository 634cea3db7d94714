//  A snapshot of all keys and function libraries at one point in time, without a fork and without a
//  pause: begun with all shards held for an instant, then walked in short holds on a thread of its
//  caller's.
//
//      let snapshot = Snapshot.begin(state, encoder: encoder) { log.beginIncrement() }
//      let isWhole = snapshot?.walk { database, records in file.append(records) }
//
//  How it stays the state of that one point while commands go on: see `SnapshotSaver`. One snapshot at
//  a time: `begin` answers nil while another is under way. Whoever began one walks it to its end, or
//  cancels it and then walks on, which ends at once; until then its records pile up.
//
//  Threads: begun anywhere, walked by one thread that is no loop; cancelled and asked by any.

import CSystem
import Glibc
import MartletBase
import Synchronization

/// One snapshot under way.
package final class Snapshot: Sendable {
    private let saver: SnapshotSaver
    /// The texts of the function libraries there were when it began.
    package let libraries: [Bytes]

    /// What a shard is held for at a time, but for a last group of some 15 keys, or a last node.
    private static let holdMicroseconds: UInt64 = 30
    /// Between two holds: longer, so that the loops have the processors.
    private static let restMicroseconds: UInt32 = 60
    /// While transactions or scripts claim what is left to be walked.
    private static let claimRestMicroseconds: UInt32 = 1000

    private init(_ saver: SnapshotSaver, libraries: [Bytes]) {
        self.saver = saver
        self.libraries = libraries
    }

    /// Begins a snapshot of all keys as they are.
    ///
    /// - Parameters:
    ///   - state: of the engine.
    ///   - encoder: makes the records.
    ///   - holdsAllShards: the caller holds them, a command that is declared so for instance; else they
    ///     are taken here, as soon as nobody claims one.
    ///   - whileHeld: called at the very point in time: what is changed before is in the snapshot, what
    ///     is changed later is not.
    ///   - mayWait: whether to go on waiting while somebody claims a shard.
    /// - Returns: nil when another snapshot is under way, or it was not to wait any more; `whileHeld`
    ///   was not called then.
    /// - Complexity: O(shards · databases).
    package static func begin(
        _ state: EngineState, encoder: any SnapshotEncoder, holdsAllShards: Bool = false,
        whileHeld: () -> Void = {}, mayWait: () -> Bool = { true }
    ) -> Snapshot? {
        begin(
            state, encoder, holdsAllShards: holdsAllShards,
            pieceBytesMin: SnapshotSaver.pieceBytesMinDefault, whileHeld, mayWait: mayWait)
    }

    /// The same with structures saved in pieces from another size on, for tests.
    static func begin(
        _ state: EngineState, _ encoder: any SnapshotEncoder, holdsAllShards: Bool = false,
        pieceBytesMin: Int, _ whileHeld: () -> Void = {}, mayWait: () -> Bool = { true }
    ) -> Snapshot? {
        let keyspace = unsafe state.keyspace
        if !holdsAllShards {
            unsafe keyspace.pointee.lockAll()
            // In the middle of a script is no point in time.
            while unsafe keyspace.pointee.isClaimed {
                unsafe keyspace.pointee.unlockAll()
                if !mayWait() { return nil }
                usleep(claimRestMicroseconds)
                unsafe keyspace.pointee.lockAll()
            }
        }
        defer { if !holdsAllShards { unsafe keyspace.pointee.unlockAll() } }
        if unsafe keyspace.pointee.saver != nil { return nil }
        let saver = unsafe SnapshotSaver(
            keyspace, encoder, pieceBytesMin: pieceBytesMin
        ) { [unowned state] in state.setSaving(false) }
        unsafe keyspace.pointee.saver = saver
        state.setSaving(true)
        whileHeld()
        return Snapshot(saver, libraries: state.libraryTexts)
    }

    /// Walks the keys to the end and hands the records to `write`, some thousand bytes at a time: of one
    /// database at a time, in no particular order. A long record goes on with the next bytes. No shard
    /// is held meanwhile.
    ///
    /// - Parameter write: answers whether to go on; if not, the snapshot is cancelled.
    /// - Returns: whether all records were handed over.
    package func walk(_ write: (_ database: Int, _ records: ByteView) -> Bool) -> Bool {
        let ticks = Self.holdMicroseconds * TickRate.perMillisecond / 1000
        while true {
            let step = saver.step(ticks: max(1, ticks))
            for run in saver.takeRuns() where !isCancelled && !run.bytes.isEmpty {
                if !write(run.database, run.bytes.view) { cancel() }
            }
            switch step {
            case .goesOn: usleep(Self.restMicroseconds)
            case .isHeldUp: usleep(Self.claimRestMicroseconds)
            case .isDone: return !isCancelled
            }
        }
    }

    /// One hold of at most `groups` groups of a table, or nodes of a value, for tests, which take the walk step by step.
    ///
    /// - Returns: the records it brought, and whether the snapshot is over.
    func step(groups: Int) -> (runs: [SnapshotRun], isOver: Bool) {
        let step = saver.step(ticks: .max, groups: groups)
        return (saver.takeRuns(), step == .isDone)
    }

    /// Gives the snapshot up; whoever walks it ends soon.
    package func cancel() { saver.isCancelled.store(true, ordering: .relaxed) }

    package var isCancelled: Bool { saver.isCancelled.load(ordering: .relaxed) }

    /// Keys there were when it began.
    package var keyCount: Int { saver.keyCount }

    /// Those of them whose record was made.
    package var savedCount: Int { saver.savedCount.load(ordering: .relaxed) }

    /// Bytes of records that were made and not handed over yet.
    package var heldBytes: Int { saver.heldBytes.load(ordering: .relaxed) }
}
