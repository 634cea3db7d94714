//  Loading a file with several threads: the one that reads it finds where each key ends, and the
//  others make the keys.
//
//         file ─▶ reader: skips values, checks the sum ─▶ batches of whole records ─▶ makers
//
//  A batch is a piece of the file, some hundred keys of one database, which a maker reads as a file of
//  its own without magic and end. Collections of very many members are not put into a batch: the
//  reader makes them itself while it reads them, so that no value is ever held twice in memory. When
//  batches pile up the reader makes keys too.
//
//  Raw memory: none but the lock and the condition that the queue owns; a thread keeps the queue alive
//  through the reference it is started with.

import Glibc
import MartletBase
import MartletEngine

/// Whole records of one database.
final class RDBBatch: @unchecked Sendable {
    // Unchecked: filled by the reader, then read by the one maker that took it.
    var bytes = ByteBuffer()
    /// Where its keys stand in `bytes`, in order; those that are packed are left out.
    var keys: [Range<Int>] = []
    let database: Int
    /// Where the first record begins in the file.
    let offset: Int

    init(database: Int, offset: Int) {
        self.database = database
        self.offset = offset
    }
}

/// Batches on their way, and what came of those that were made.
@safe
final class RDBBatchQueue: @unchecked Sendable {
    // Unchecked: all that changes is touched under `lock` alone.
    private let lock: UnsafeMutablePointer<pthread_mutex_t>
    private let wakeUp: UnsafeMutablePointer<pthread_cond_t>
    private var batches: [RDBBatch] = []
    private var isClosed = false
    private var summary = RDBSummary()
    private var failure: RDBError?
    /// More are not kept waiting.
    private let batchesMax: Int

    init(threads: Int) {
        // Alone, the reader makes each batch as soon as it is full.
        batchesMax = threads > 1 ? 2 * threads : 0
        unsafe lock = .allocate(capacity: 1)
        unsafe lock.initialize(to: pthread_mutex_t())
        unsafe pthread_mutex_init(lock, nil)
        unsafe wakeUp = .allocate(capacity: 1)
        unsafe wakeUp.initialize(to: pthread_cond_t())
        unsafe pthread_cond_init(wakeUp, nil)
    }

    deinit {
        unsafe pthread_mutex_destroy(lock)
        unsafe lock.deallocate()
        unsafe pthread_cond_destroy(wakeUp)
        unsafe wakeUp.deallocate()
    }

    private func locked<R>(_ body: () -> R) -> R {
        unsafe pthread_mutex_lock(lock)
        defer { unsafe pthread_mutex_unlock(lock) }
        return body()
    }

    /// Adds a batch for the makers; false when it was not taken, because they have enough to do.
    func add(_ batch: RDBBatch) -> Bool {
        locked {
            if batches.count >= batchesMax { return false }
            batches.append(batch)
            unsafe pthread_cond_signal(wakeUp)
            return true
        }
    }

    /// The next batch; nil when there will be none.
    func take() -> RDBBatch? {
        locked {
            while batches.isEmpty && !isClosed && failure == nil {
                unsafe pthread_cond_wait(wakeUp, lock)
            }
            return batches.isEmpty || failure != nil ? nil : batches.removeFirst()
        }
    }

    /// No more batches will come.
    func close() {
        locked {
            isClosed = true
            unsafe pthread_cond_broadcast(wakeUp)
        }
    }

    /// Counts what was made.
    func note(_ made: RDBSummary) { locked { summary.add(made) } }

    /// Keeps the first error by its place; nothing is made any more.
    func fail(_ error: RDBError) {
        locked {
            if failure.map({ error.offset < $0.offset }) ?? true { failure = error }
            unsafe pthread_cond_broadcast(wakeUp)
        }
    }

    var error: RDBError? { locked { failure } }

    var made: RDBSummary { locked { summary } }
}

/// What a maker's thread needs.
final class RDBMaker: Sendable {
    private let queue: RDBBatchQueue
    private let state: EngineState
    private let options: RDBOptions
    private let isValkey: Bool

    init(_ queue: RDBBatchQueue, _ state: EngineState, _ options: RDBOptions, isValkey: Bool) {
        self.queue = queue
        self.state = state
        self.options = options
        self.isValkey = isValkey
    }

    /// Makes the keys of all batches that come.
    func run() { while let batch = queue.take() { make(batch) } }

    func make(_ batch: RDBBatch) {
        var reader = RDBReader(batch, into: state, options, isValkey: isValkey)
        do throws(RDBError) {
            queue.note(try reader.readRecords(of: batch))
        } catch {
            queue.fail(error)
        }
    }

    /// Starts a thread that makes keys; nil when there is none to be had.
    func startThread() -> pthread_t? {
        var thread = pthread_t()
        let context = unsafe Unmanaged.passRetained(self).toOpaque()
        let status = unsafe pthread_create(
            &thread, nil,
            { context in
                if let context = unsafe context {
                    unsafe Unmanaged<RDBMaker>.fromOpaque(context).takeRetainedValue().run()
                }
                return nil
            }, context)
        if status == 0 { return thread }
        unsafe Unmanaged<RDBMaker>.fromOpaque(context).release()
        return nil
    }
}

extension RDBSummary {
    /// Adds the keys of a part of the file.
    mutating func add(_ part: RDBSummary) {
        keys += part.keys
        for kind in keysOfKind.indices { keysOfKind[kind] += part.keysOfKind[kind] }
        keysWithDeadline += part.keysWithDeadline
        expiredKeys += part.expiredKeys
        emptyKeys += part.emptyKeys
    }
}
