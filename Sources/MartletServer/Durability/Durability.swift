//  What keeps the data on disk: the log while it is written, snapshots when they are asked for or due,
//  and what INFO tells of both.
//
//  Everything that waits for the disk runs on a thread of its own, one piece of work at a time; the loops
//  only store words and are posted to.

import Glibc
import MartletBase
import MartletEngine
import MartletPersistence
import Synchronization

/// The server's files.
package final class Durability: @unchecked Sendable {
    // Unchecked: `writer` is set and cleared under `state`; the context is wired before anybody asks.

    /// What is under way beside the log.
    enum Job: Equatable {
        case save
        case rewrite
    }

    struct State {
        var writer: LogWriter?
        /// A log that was turned off is not closed yet: its files have their owner still.
        var isClosing = false
        /// DEBUG RELOAD or LOADAOF is at work: no job begins.
        var isReloading = false
        /// Changes there were when the snapshot of the end was saved.
        var changesAtEnd: UInt64?
        var job: Job?
        var snapshot: Snapshot?
        var jobBeganSeconds: Int64 = 0
        var isSaveScheduled = false
        var isRewriteScheduled = false
        var status = DurabilityStatus()
    }

    unowned let context: ServerContext
    let state = Locked(State())
    /// Whoever changes the log's state, or replaces a file, does so alone.
    let filesLock = Locked(())
    /// Replies wait for the log: `appendfsync always`.
    package let isSynchronous = Atomic<Bool>(false)
    /// The files of the log hold all that is there, up to the log's durable position: not yet when it was
    /// just turned on.
    let isLogWhole = Atomic<Bool>(false)
    private let waits = LogWaits()

    init(_ context: ServerContext) {
        self.context = context
        // Redis, too, says when it started as long as it has saved nothing.
        let started = context.state.startedMilliseconds / 1000
        state.withLock { $0.status.lastSaveUnixSeconds = started }
    }

    var settings: DurabilitySettings { context.configuration.settings.durability }

    /// The directory of all files: the process stands in it.
    func openStorage() throws(StorageError) -> any Storage { try DiskStorage(".") }

    // MARK: The log

    /// Makes the log ready to be written and starts its thread. Nothing is logged yet.
    func openWriter(_ directory: AppendOnlyDirectory) throws(StorageError) {
        let writer = LogWriter(
            context.state.log, to: directory, policy: settings.policy, clock: context.state.clock,
            listener: listener)
        guard writer.start() else {
            throw .system(call: "pthread_create", path: "the log", code: EAGAIN)
        }
        state.withLock { $0.writer = writer }
    }

    /// Lets changes be logged from now on.
    func beginLogging() {
        let isSynchronous = settings.policy == .always
        self.isSynchronous.store(isSynchronous, ordering: .relaxed)
        context.state.whileHoldingAllShards {
            context.state.setLog(isSynchronous ? .synchronous : .on)
        }
    }

    // MARK: Waiting for the log

    /// The log is on: WAITAOF may ask for it.
    var keepsLog: Bool { state.withLock { $0.writer != nil } }

    /// Whether everything logged before a position would survive a power cut.
    func isDurable(_ position: UInt64) -> Bool {
        isLogWhole.load(ordering: .acquiring)
            && context.state.log.durable.load(ordering: .acquiring) >= position
    }

    /// Ends a wait when the log is durable up to a position, or is turned off.
    ///
    /// - Parameters:
    ///   - position: of the log.
    ///   - waiter: the wait.
    ///   - loop: the client's, on which this runs.
    func endWhenDurable(_ position: UInt64, _ waiter: Waiter, on loop: Int) {
        waits.add(waiter, until: position)
        // It may have come about before the wait was there to be ended.
        if isDurable(position) || !keepsLog {
            _ = context.state.end(waiter, .served, on: loop)
        }
    }

    /// The files of the log hold all that is there from now on.
    func logIsWhole() {
        isLogWhole.store(true, ordering: .releasing)
        waits.end(upTo: context.state.log.durable.load(ordering: .acquiring), context.state)
    }

    private var listener: LogWriter.Listener {
        LogWriter.Listener(
            durable: { [self] position in
                for loop in context.loops {
                    loop.post { [unowned loop] in loop.release(upTo: position) }
                }
                if isLogWhole.load(ordering: .acquiring) {
                    waits.end(upTo: position, context.state)
                }
            },
            failed: { [context] error in
                context.log.write(
                    .warning,
                    "The append-only log cannot be written: \(error). Writes are refused until it can"
                )
                let text = "MISCONF Errors writing to the AOF file: \(error.reason)"
                context.state.refuseWrites(text)
                let reply =
                    "-\(text). Whether this command is kept is not known\r\n"
                for loop in context.loops {
                    loop.post { [unowned loop] in reply.withView { loop.revokeWithheld($0) } }
                }
            },
            recovered: { [context] in
                context.log.write(.notice, "The append-only log is written again")
                context.state.refuseWrites(nil)
            })
    }

    private var wish: ShutdownRequest.Wish { context.shutdown.wish ?? ShutdownRequest.Wish() }

    /// A snapshot is due when the server ends.
    private var savesAtEnd: Bool {
        // Of data that are not there as a whole none takes the place of a good one.
        !context.state.conditions.contains(.loading)
            && (wish.saves ?? !settings.savePoints.isEmpty)
    }

    /// Saves the snapshot that is due when the server ends, while it still serves.
    ///
    /// - Returns: whether the server may end.
    func saveBeforeEnd() -> Bool {
        if !savesAtEnd { return true }
        state.withLock { $0.snapshot }?.cancel()
        if filesLock.withLock({ _ in saveAtEnd() }) { return true }
        if wish.isForced {
            context.log.write(.warning, "Error trying to save the DB. Exit anyway.")
            return true
        }
        context.log.write(.warning, "Error trying to save the DB, can't exit.")
        context.log.write(
            .warning,
            "Errors trying to shut down the server. Check the logs for more information.")
        return false
    }

    /// Saves the last snapshot, unless that was done and nothing changed since.
    private func saveAtEnd() -> Bool {
        if let saved = state.withLock({ $0.changesAtEnd }), saved == context.count(.changes) {
            return true
        }
        context.log.write(.notice, "Saving the final RDB snapshot before exiting.")
        var isSaved = false
        context.state.whileHoldingAllShards {
            do throws(StorageError) {
                try saveNow()
                isSaved = true
            } catch {
                // It is in the log.
            }
        }
        state.withLock { $0.changesAtEnd = isSaved ? $0.status.changesSaved : nil }
        return isSaved
    }

    /// Ends in order, after the last command: a snapshot where one is due, and the end of the log.
    ///
    /// - Returns: whether everything that was acknowledged is as durable as it was promised to be.
    func end() -> Bool {
        state.withLock { $0.snapshot }?.cancel()
        // A log that was just turned off is brought to its end all the same.
        while state.withLock({ $0.isClosing || $0.isReloading }) { usleep(1_000) }
        return filesLock.withLock { _ in
            var isWhole = true
            if savesAtEnd && !saveAtEnd() && !wish.isForced { isWhole = false }
            if let error = state.withLock({ $0.writer })?.end() {
                context.log.write(
                    .warning,
                    "What was written last is not in the append-only log: \(error)")
                isWhole = false
            }
            return isWhole
        }
    }

    // MARK: Configuration

    /// CONFIG SET appendonly, appendfsync.
    func settingsChanged(_ before: DurabilitySettings, _ after: DurabilitySettings)
        throws(ValueError)
    {
        if before.keepsLog != after.keepsLog {
            if context.state.conditions.contains(.loading) {
                throw ValueError(text: "the data are being loaded: try again")
            }
            if after.keepsLog { try turnOn() } else { turnOff() }
        } else if after.keepsLog && before.policy != after.policy {
            later("policy") { durability in
                // It may have been turned off meanwhile.
                guard let writer = durability.state.withLock({ $0.writer }) else { return }
                durability.beginLogging()
                writer.setPolicy(after.policy)
            }
        }
    }

    private func turnOn() throws(ValueError) {
        if state.withLock({ $0.isClosing }) {
            throw ValueError(text: "the append-only log is still being closed: try again")
        }
        do throws(StorageError) {
            let directory = AppendOnlyDirectory(try openStorage(), logOptions)
            _ = try directory.open()
            try directory.resumeAnew()
            try openWriter(directory)
        } catch {
            throw ValueError(text: "the append-only log cannot be opened: \(error)")
        }
        // What is there now comes into the log as its base; the log is whole from then on.
        later("rewrite") { _ = $0.rewrite(startsLogging: true) }
    }

    private func turnOff() {
        let closed = state.withLock { state in
            defer { state.writer = nil }
            state.isClosing = state.writer != nil
            return state.writer
        }
        isLogWhole.store(false, ordering: .releasing)
        waits.end(upTo: LogWaits.never, context.state)
        guard let writer = closed else { return }
        later("log-off") { durability in
            // A rewrite that was under way may have said the contrary.
            durability.isLogWhole.store(false, ordering: .releasing)
            durability.context.state.whileHoldingAllShards {
                durability.context.state.setLog(.off)
            }
            durability.isSynchronous.store(false, ordering: .relaxed)
            if let error = writer.end() {
                durability.context.log.write(
                    .warning, "The append-only log was not closed: \(error)")
            }
            durability.context.state.refuseWrites(nil)
            durability.state.withLock { $0.isClosing = false }
        }
    }

    var logOptions: AppendOnlyDirectory.Options {
        var options = AppendOnlyDirectory.Options()
        options.directory = settings.logDirectory
        options.file = settings.logFile
        options.hasChecksums = settings.logHasChecksums
        options.hasTimestamps = settings.logHasTimestamps
        options.acceptsTail = settings.acceptsTornTail
        return options
    }

    /// Runs work that waits for the disk or for all shards, after what was given before.
    func later(_ name: String, _ work: @escaping @Sendable (Durability) -> Void) {
        let thread = WorkerThread(name: name) { [self] in
            filesLock.withLock { _ in work(self) }
        }
        if thread == nil {
            context.log.write(.warning, "No thread could be started for: \(name)")
        }
    }
}

extension EngineState {
    /// Runs `body` while nobody changes anything.
    func whileHoldingAllShards(_ body: () -> Void) {
        unsafe keyspace.pointee.lockAll()
        body()
        unsafe keyspace.pointee.unlockAll()
    }
}

extension StorageError {
    /// What the system said, without the file.
    var reason: String {
        switch self {
        case .system(_, _, let code): unsafe String(cString: strerror(code))
        case .damaged(_, _, let reason): reason
        }
    }
}
