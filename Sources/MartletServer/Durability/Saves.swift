//  Snapshots to a file, and the log's new base: written from a point in time while commands go on.

import Glibc
import MartletBase
import MartletEngine
import MartletPersistence

extension Durability {
    /// Why a snapshot or a rewrite does not begin now.
    enum Refusal: Error {
        case saveInProgress
        case rewriteInProgress
    }

    // MARK: Asked for

    /// Notes that a job is under way, unless one is.
    private func begin(_ job: Job) throws(Refusal) {
        let now = context.state.clock.wallSeconds()
        try state.withLock { (state) throws(Refusal) in
            switch state.job {
            case .save: throw .saveInProgress
            case .rewrite: throw .rewriteInProgress
            case nil: if state.isReloading { throw .saveInProgress }
            }
            state.job = job
            state.jobBeganSeconds = now
            if job == .save { state.status.lastTryUnixSeconds = now }
        }
    }

    /// BGSAVE. The caller holds all shards: that is the point in time.
    func beginSave() throws(Refusal) {
        try begin(.save)
        let changes = context.count(.changes)
        let snapshot = Snapshot.begin(
            context.state, encoder: encoder, holdsAllShards: true)
        guard let snapshot else {
            state.withLock { $0.job = nil }
            throw .rewriteInProgress
        }
        state.withLock { $0.snapshot = snapshot }
        context.log.write(.notice, "Background saving started")
        let name = settings.snapshotFile
        later("save") { durability in
            let error = durability.write(snapshot, to: name, isBase: false)
            durability.saveEnded(error, changes: changes, inBackground: true)
        }
    }

    /// SAVE: everybody waits. The caller holds all shards.
    func saveNow() throws(StorageError) {
        let changes = context.count(.changes)
        let now = context.state.clock.wallMilliseconds()
        state.withLock { state in
            state.jobBeganSeconds = now / 1000
            state.status.lastTryUnixSeconds = now / 1000
        }
        do throws(StorageError) {
            try replaceFile(settings.snapshotFile, isHeld: true) {
                (writer) throws(StorageError) in
                writer.whole(context.state, at: now)
            }
        } catch {
            saveEnded(error, changes: changes, inBackground: false)
            throw error
        }
        saveEnded(nil, changes: changes, inBackground: false)
    }

    /// BGREWRITEAOF, and what begins a log: a new base of what is there, and an increment behind it.
    ///
    /// - Returns: why it failed, or nil.
    @discardableResult
    func rewrite(startsLogging: Bool = false) -> StorageError? {
        guard let writer = state.withLock({ $0.writer }) else { return nil }
        let switches = writer.currentStatus.switchCount
        let queue = context.state.log
        let policy = settings.policy
        let isSnapshot = settings.basesAreSnapshots
        let snapshot = Snapshot.begin(
            context.state,
            encoder: isSnapshot
                ? encoder : CommandSnapshotEncoder(at: context.state.clock.wallMilliseconds()),
            whileHeld: { [self] in
                if startsLogging {
                    isSynchronous.store(policy == .always, ordering: .relaxed)
                    context.state.setLog(policy == .always ? .synchronous : .on)
                }
                queue.beginIncrement()
            },
            // Who ends the server does not wait for whom a claim waits for.
            mayWait: { [self] in context.shutdown.wish == nil })
        guard let snapshot else {
            return .system(call: "snapshot", path: settings.logFile, code: ECANCELED)
        }
        queue.wake()
        state.withLock { $0.snapshot = snapshot }
        do throws(StorageError) {
            let name = try writer.perform { $0.temporaryBasePath }
            let error =
                isSnapshot
                ? write(snapshot, to: name, isBase: true) : writeCommands(of: snapshot, to: name)
            if let error { throw error }
            var status = writer.currentStatus
            while status.switchCount == switches {
                queue.wake()
                usleep(1_000)
                status = writer.currentStatus
            }
            if let error = status.switchFailure { throw error }
            let first = status.increment
            try writer.perform { (directory) throws(StorageError) in
                try directory.installBase(isSnapshot: isSnapshot, first: first)
            }
        } catch {
            return error
        }
        logIsWhole()
        return nil
    }

    /// The same in the background.
    func beginRewrite() throws(Refusal) {
        try begin(.rewrite)
        context.log.write(.notice, "Background append only file rewriting started")
        later("rewrite") { durability in
            durability.rewriteEnded(durability.rewrite())
        }
    }

    // MARK: Due

    /// After a save that failed, the next one is tried so much later.
    private static let retrySeconds: Int64 = 5

    /// Begins what was scheduled, what the save points ask for, or a rewrite of a log that has grown.
    /// Called some ten times a second by a loop that holds no shard.
    func beginWhatIsDue(nowSeconds now: Int64) {
        let (isIdle, savesNow, rewritesNow, status, writer) = state.withLock { state in
            let isIdle = state.job == nil
            let saves = isIdle && state.isSaveScheduled
            let rewrites = isIdle && !saves && state.isRewriteScheduled
            if saves { state.isSaveScheduled = false }
            if rewrites { state.isRewriteScheduled = false }
            return (isIdle, saves, rewrites, state.status, state.writer)
        }
        guard isIdle, !context.state.conditions.contains(.loading) else { return }
        let changes = context.count(.changes)
        let unsaved = changes >= status.changesSaved ? changes - status.changesSaved : changes
        let mayTry = status.lastSaveSucceeded || now - status.lastTryUnixSeconds > Self.retrySeconds
        let isDue = settings.savePoints.contains {
            unsaved >= UInt64($0.changes) && now - status.lastSaveUnixSeconds > Int64($0.seconds)
        }
        if savesNow || isDue && mayTry {
            if !savesNow {
                context.log.write(.notice, "\(unsaved) changes since the last snapshot. Saving...")
            }
            context.state.whileHoldingAllShards { try? beginSave() }
        } else if rewritesNow {
            try? beginRewrite()
        } else if let writer {
            rewriteIfGrown(writer.currentStatus)
        }
    }

    /// auto-aof-rewrite-percentage and -min-size.
    private func rewriteIfGrown(_ log: LogWriter.Status) {
        guard settings.rewriteGrowthPercent > 0, log.failure == nil,
            log.size >= settings.rewriteBytesMin
        else { return }
        let base = max(1, log.baseSize)
        let growth = (log.size - base) / max(1, base / 100)
        guard growth >= settings.rewriteGrowthPercent else { return }
        context.log.write(
            .notice, "Starting automatic rewriting of AOF on \(growth)% growth")
        try? beginRewrite()
    }

    // MARK: Ended

    private func saveEnded(_ error: StorageError?, changes: UInt64, inBackground: Bool) {
        let now = context.state.clock.wallSeconds()
        state.withLock { state in
            state.status.lastSaveSeconds = now - state.jobBeganSeconds
            state.status.lastSaveSucceeded = error == nil
            if error == nil {
                state.status.lastSaveUnixSeconds = now
                state.status.changesSaved = changes
                state.status.saveCount += 1
            }
            if inBackground {
                state.job = nil
                state.snapshot = nil
            }
        }
        if let error {
            context.log.write(.warning, "Saving failed: \(error)")
        } else {
            context.log.write(.notice, "DB saved on disk")
        }
        refuseAfterFailedSave(error)
    }

    /// stop-writes-on-bgsave-error: who counts on snapshots is told that there are none.
    private func refuseAfterFailedSave(_ error: StorageError?) {
        if error != nil && settings.stopsWritesOnFailedSave && !settings.savePoints.isEmpty {
            context.state.refuseWrites(
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to "
                    + "persist to disk. Commands that may modify the data set are disabled, because "
                    + "this instance is configured to report errors during writes if RDB snapshotting "
                    + "fails (stop-writes-on-bgsave-error option). Please check the Redis logs for "
                    + "details about the RDB error.")
        } else if state.withLock({ $0.writer?.currentStatus.failure }) == nil {
            context.state.refuseWrites(nil)
        }
    }

    private func rewriteEnded(_ error: StorageError?) {
        let now = context.state.clock.wallSeconds()
        state.withLock { state in
            state.status.lastRewriteSeconds = now - state.jobBeganSeconds
            state.status.lastRewriteSucceeded = error == nil
            if error == nil {
                state.status.rewriteCount += 1
                state.status.failedRewrites = 0
            } else {
                state.status.failedRewrites += 1
            }
            state.job = nil
            state.snapshot = nil
        }
        if let error {
            context.log.write(.warning, "Rewriting the append only file failed: \(error)")
        } else {
            context.log.write(.notice, "Background AOF rewrite finished successfully")
        }
    }

    // MARK: Writing

    private var encoder: RDBSnapshotEncoder {
        let now = context.state.clock.wallMilliseconds()
        return RDBSnapshotEncoder(
            compresses: settings.compresses, at: now, use: context.state.rememberedUse(at: now))
    }

    /// Writes a snapshot's records to a file: the base of a log as it is, a snapshot file in the place
    /// of the one before.
    private func write(_ snapshot: Snapshot, to name: String, isBase: Bool) -> StorageError? {
        do throws(StorageError) {
            let fill = { (writer: inout RDBWriter) throws(StorageError) in
                writer.functions(snapshot.libraries)
                var database = -1
                let isWhole = snapshot.walk { number, records in
                    if number != database {
                        writer.database(number, keys: 0, keysWithDeadline: 0)
                        database = number
                    }
                    writer.keys(records, count: 0)
                    return writer.failure == nil
                }
                if !isWhole && writer.failure == nil {
                    throw .system(call: "snapshot", path: name, code: ECANCELED)
                }
            }
            if isBase {
                try writeFile(name, isBase: true, fill)
            } else {
                try replaceFile(name, fill)
            }
        } catch {
            // Whatever was begun is walked to its end: see `Snapshot`.
            snapshot.cancel()
            _ = snapshot.walk { _, _ in false }
            return error
        }
        return nil
    }

    /// Writes a snapshot's commands to the file that becomes the base of a log.
    private func writeCommands(of snapshot: Snapshot, to name: String) -> StorageError? {
        do throws(StorageError) {
            try createFile(name) { [settings] (file) throws(StorageError) in
                var writer = LogBaseWriter(file, hasChecksums: settings.logHasChecksums)
                try writer.append(functions: snapshot.libraries)
                var failure: StorageError?
                let isWhole = snapshot.walk { database, commands in
                    do throws(StorageError) {
                        try writer.append(commands, database: database)
                    } catch {
                        failure = error
                    }
                    return failure == nil
                }
                if let failure { throw failure }
                if !isWhole { throw .system(call: "snapshot", path: name, code: ECANCELED) }
                try writer.end()
            }
        } catch {
            snapshot.cancel()
            _ = snapshot.walk { _, _ in false }
            return error
        }
        return nil
    }

    private func replaceFile(
        _ name: String, isHeld: Bool = false,
        _ fill: (inout RDBWriter) throws(StorageError) -> Void
    ) throws(StorageError) {
        let temporary = "temp-\(getpid()).rdb"
        try writeFile(temporary, isBase: false, isHeld: isHeld, fill)
        let storage = try openStorage()
        try storage.rename(temporary, to: name)
        try storage.syncDirectory("")
    }

    private func writeFile(
        _ name: String, isBase: Bool, isHeld: Bool = false,
        _ fill: (inout RDBWriter) throws(StorageError) -> Void
    ) throws(StorageError) {
        try createFile(name) { (file) throws(StorageError) in
            var writer = RDBWriter(
                compresses: settings.compresses, hasChecksum: settings.hasChecksum
            ) { (chunk) throws(StorageError) in try file.append(chunk) }
            writer.begin(
                version: Version.text, at: context.state.clock.wallMilliseconds(),
                usedBytes: context.usedBytes(context.keyspaceReport(isHeld: isHeld)), isBase: isBase
            )
            try fill(&writer)
            try writer.end()
            try file.sync()
        }
    }

    /// Makes a file, which goes again if it cannot be filled.
    private func createFile(
        _ name: String, _ fill: (any StorageFile) throws(StorageError) -> Void
    ) throws(StorageError) {
        let storage = try openStorage()
        if try storage.size(name) != nil { try storage.unlink(name) }
        let file = try storage.create(name)
        do throws(StorageError) {
            try fill(file)
        } catch {
            try? storage.unlink(name)
            throw error
        }
    }
}
