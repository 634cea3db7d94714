//  The log thread: takes what the loops have appended from the engine's queue, writes it in groups, and
//  says up to where it is durable.
//
//      always     each group is synced as soon as it is written; whoever waits for it is told then.
//                 While a sync runs, what comes in gathers: one sync serves many commands.
//      everysec   written within some milliseconds, synced once a second.
//      no         written as above; when it reaches the disk is the system's matter.
//
//  When a write or a sync fails, the server is told, which refuses writes from then on; what was taken
//  stays in memory, and recovery is tried some ten times a second until the disk is well again.
//
//  The directory of the log is touched by this thread alone. Others hand it work with `perform`.
//
//  Raw memory: the mutex, allocated and freed with the writer, passed to the C library alone.

import Glibc
import MartletBase
import MartletEngine

/// Writes the append-only log on a thread of its own.
@safe
package final class LogWriter: @unchecked Sendable {
    // Unchecked: `directory`, `buffer` and what stands under "The log thread" are touched by that
    // thread; `shared` is touched under the mutex; `thread` by whoever starts and ends the writer.

    /// `appendfsync`
    package enum Policy: Sendable {
        case always
        case everySecond
        case never
    }

    /// What the server does when the log's state changes. Called on the log thread.
    package struct Listener: Sendable {
        /// Everything up to this position is durable: replies that wait for it may leave.
        package var durable: @Sendable (UInt64) -> Void
        /// The log cannot be written; writes must be refused.
        package var failed: @Sendable (StorageError) -> Void
        /// It can be written again, and everything that was taken is durable.
        package var recovered: @Sendable () -> Void

        package init(
            durable: @escaping @Sendable (UInt64) -> Void,
            failed: @escaping @Sendable (StorageError) -> Void,
            recovered: @escaping @Sendable () -> Void
        ) {
            self.durable = durable
            self.failed = failed
            self.recovered = recovered
        }
    }

    /// How the log is doing.
    package struct Status: Sendable {
        package var size = 0
        package var baseSize = 0
        /// Bytes written and not synced, or kept back.
        package var unsyncedBytes = 0
        /// When the oldest of them came, by the monotonic clock; nil without any.
        package var unsyncedSinceMilliseconds: Int64?
        package var lastSyncMicroseconds: Int64 = 0
        package var syncCount = 0
        /// Syncs that took longer than a second.
        package var lateSyncCount = 0
        package var failure: StorageError?
        /// Why the switch to the increment asked for last failed; the one before goes on.
        package var switchFailure: StorageError?
        /// The increment that was begun last.
        package var increment = 0
        /// Increments asked for whose beginning was reached.
        package var switchCount = 0
    }

    private struct Shared {
        var policy: Policy
        var status = Status()
        var work: [() -> Void] = []
        var isEnding = false
        var hasEnded = false
    }

    private let queue: LogQueue
    private let directory: AppendOnlyDirectory
    private let clock: Clock
    private let listener: Listener
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private var shared: Shared
    private var thread: WorkerThread?

    // The log thread.

    private var buffer = ByteBuffer()
    private var status = Status()
    private var position: UInt64 = 0
    private var lastSyncMilliseconds: Int64 = 0
    private var nextRecoveryMilliseconds: Int64 = 0

    /// What follows a first command is waited for so long, unless replies wait for a sync.
    private static let gatherMilliseconds: Int64 = 5
    /// So many bytes are written without waiting for more.
    private static let gatherBytes = 1 << 20
    private static let idleMilliseconds: Int64 = 1_000
    /// What is filled ahead for groups that are synced one by one: a millisecond's or two's work.
    private static let reserveBytes = 1 << 20
    private static let recoveryMilliseconds: Int64 = 100
    private static let pollMicroseconds: UInt32 = 500

    /// - Parameters:
    ///   - queue: the engine's.
    ///   - directory: opened and resumed; from now on this object's own.
    ///   - policy: when to sync.
    ///   - clock: for the second of `everysec`.
    ///   - listener: who wants to know.
    package init(
        _ queue: LogQueue, to directory: AppendOnlyDirectory, policy: Policy, clock: Clock,
        listener: Listener
    ) {
        self.queue = queue
        self.directory = directory
        self.clock = clock
        self.listener = listener
        shared = Shared(policy: policy)
        unsafe mutex = .allocate(capacity: 1)
        unsafe pthread_mutex_init(mutex, nil)
        lastSyncMilliseconds = clock.monotonicMilliseconds()
        noteFigures()
    }

    deinit {
        unsafe pthread_mutex_destroy(mutex)
        unsafe mutex.deallocate()
    }

    // MARK: From any thread

    /// Starts the log thread; false when the system has none.
    package func start() -> Bool {
        thread = WorkerThread(name: "log") { [self] in run() }
        return thread != nil
    }

    package var currentStatus: Status { locked { shared.status } }

    package func setPolicy(_ policy: Policy) {
        locked { shared.policy = policy }
        queue.wake()
    }

    /// Runs `work` on the log thread, between two groups, and waits for it.
    ///
    /// - Throws: what the work throws; ESHUTDOWN when the log thread has ended.
    /// - Precondition: the log thread was started, and this is not it.
    package func perform<Value: Sendable>(
        _ work: @escaping @Sendable (AppendOnlyDirectory) throws(StorageError) -> Value
    ) throws(StorageError) -> Value {
        let answer = Answer<Value>()
        locked {
            shared.work.append { [self] in
                let result: Result<Value, StorageError>
                do throws(StorageError) {
                    result = .success(try work(directory))
                } catch {
                    result = .failure(error)
                }
                locked { answer.value = result }
            }
        }
        while true {
            let (result, hasEnded) = locked { (answer.value, shared.hasEnded) }
            if let result { return try result.get() }
            if hasEnded { throw .system(call: "write", path: "the log", code: ESHUTDOWN) }
            // A wake that comes before the thread sleeps is lost.
            queue.wake()
            usleep(Self.pollMicroseconds)
        }
    }

    private final class Answer<Value>: @unchecked Sendable {
        // Unchecked: written by the log thread and read by the one that waits, under the mutex.
        var value: Result<Value, StorageError>?
    }

    /// Writes and syncs what is left, closes the log and ends the thread.
    ///
    /// - Returns: why something of it is not durable, or nil.
    package func end() -> StorageError? {
        locked { shared.isEnding = true }
        while !locked({ shared.hasEnded }) {
            queue.wake()
            usleep(Self.pollMicroseconds)
        }
        thread?.join()
        thread = nil
        return status.failure
    }

    private func locked<Value>(_ body: () -> Value) -> Value {
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe pthread_mutex_unlock(mutex) }
        return body()
    }

    // MARK: The log thread

    private func run() {
        while true {
            let (policy, isEnding) = locked { (shared.policy, shared.isEnding) }
            let hadSome = turn(policy, mayWait: !isEnding)
            runWork()
            if isEnding && !hadSome { break }
        }
        finish()
    }

    /// Takes what there is and brings it as far as it goes.
    ///
    /// - Returns: whether there was anything.
    @discardableResult
    package func turn(_ policy: Policy, mayWait: Bool) -> Bool {
        let taken = takeNext(policy, mayWait: mayWait)
        directory.reserveBytes = policy == .always ? Self.reserveBytes : 0
        if taken.beginsIncrement { beginIncrement() }
        let hasBytes = !buffer.isEmpty
        if hasBytes {
            if status.unsyncedSinceMilliseconds == nil {
                status.unsyncedSinceMilliseconds = clock.monotonicMilliseconds()
            }
            directory.append(buffer.view, unixSeconds: clock.wallSeconds())
        }
        position = taken.end
        attempt { () throws(StorageError) in
            if hasBytes { try directory.endGroup() }
            try syncIfDue(policy)
        }
        if directory.failure != nil { recover() }
        noteFigures()
        return hasBytes || taken.beginsIncrement
    }

    private func takeNext(_ policy: Policy, mayWait: Bool) -> LogQueue.Taken {
        if !mayWait { return take(0) }
        if directory.failure != nil { return take(Self.recoveryMilliseconds / 2) }
        if policy == .always { return take(Self.idleMilliseconds) }
        var wait = Self.idleMilliseconds
        if policy == .everySecond && status.unsyncedSinceMilliseconds != nil {
            wait = max(1, lastSyncMilliseconds + 1_000 - clock.monotonicMilliseconds())
        }
        // A lone command is written at once; of a stream of them, those of some milliseconds together.
        if queue.pendingBytes == 0 { return take(wait) }
        return take(min(wait, Self.gatherMilliseconds), bytesWanted: Self.gatherBytes)
    }

    private func take(_ waitMilliseconds: Int64, bytesWanted: Int = 1) -> LogQueue.Taken {
        queue.take(
            into: &buffer, waitMilliseconds: waitMilliseconds, bytesWanted: bytesWanted,
            standsAlone: true)
    }

    private func beginIncrement() {
        status.switchFailure = nil
        do throws(StorageError) {
            status.increment = try directory.beginIncrement()
            status.unsyncedSinceMilliseconds = nil
        } catch {
            status.switchFailure = error
            noteFailure(error)
        }
        status.switchCount += 1
    }

    private func syncIfDue(_ policy: Policy) throws(StorageError) {
        if directory.failure != nil { return }
        if status.unsyncedSinceMilliseconds == nil { return publish() }
        switch policy {
        case .always: try sync()
        case .everySecond:
            if clock.monotonicMilliseconds() - lastSyncMilliseconds >= 1_000 { try sync() }
        case .never: break
        }
    }

    private func sync() throws(StorageError) {
        let begin = clock.monotonicMicroseconds()
        try directory.sync()
        let end = clock.monotonicMicroseconds()
        status.lastSyncMicroseconds = end - begin
        status.syncCount += 1
        if end - begin > 1_000_000 { status.lateSyncCount += 1 }
        lastSyncMilliseconds = end / 1_000
        publish()
    }

    /// Everything that was taken is durable.
    private func publish() {
        status.unsyncedSinceMilliseconds = nil
        if queue.durable.load(ordering: .relaxed) == position { return }
        queue.durable.store(position, ordering: .releasing)
        listener.durable(position)
    }

    private func attempt(_ step: () throws(StorageError) -> Void) {
        do throws(StorageError) {
            try step()
        } catch {
            noteFailure(error)
        }
    }

    /// Tells of a failure of the log, once.
    private func noteFailure(_ error: StorageError) {
        guard directory.failure != nil else { return }
        let isNew = status.failure == nil
        status.failure = error
        guard isNew else { return }
        noteFigures()
        listener.failed(error)
    }

    private func recover() {
        let now = clock.monotonicMilliseconds()
        if now < nextRecoveryMilliseconds { return }
        nextRecoveryMilliseconds = now + Self.recoveryMilliseconds
        do throws(StorageError) {
            try directory.recover()
            status.failure = nil
            lastSyncMilliseconds = clock.monotonicMilliseconds()
            publish()
            noteFigures()
            listener.recovered()
        } catch {
            status.failure = error
        }
    }

    private func runWork() {
        let work = locked {
            let work = shared.work
            shared.work = []
            return work
        }
        if work.isEmpty { return }
        for item in work { item() }
        noteFigures()
    }

    private func noteFigures() {
        status.size = directory.size
        status.baseSize = directory.baseSize
        status.unsyncedBytes = directory.unsyncedByteCount
        let status = status
        locked { shared.status = status }
    }

    private func finish() {
        do throws(StorageError) {
            if directory.failure != nil { try directory.recover() }
            try directory.close()
            status.failure = nil
            publish()
        } catch {
            status.failure = error
        }
        runWork()
        noteFigures()
        locked { shared.hasEnded = true }
    }
}
