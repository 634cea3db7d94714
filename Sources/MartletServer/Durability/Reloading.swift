//  DEBUG RELOAD and DEBUG LOADAOF: the data set comes from the disk again while the server runs.
//
//  Clients are answered `-LOADING` meanwhile, and the one that asked waits for its reply. What was in
//  memory is given up only when the files were seen to be whole; should loading fail all the same, the
//  server goes on loading, so to speak: nobody is served a part of the data, and no file is written
//  over. Another DEBUG RELOAD NOSAVE or LOADAOF, or a start, may then find the files repaired.

import Glibc
import MartletBase
import MartletEngine
import MartletPersistence

/// What DEBUG RELOAD is to do.
struct ReloadOptions: Sendable {
    /// NOSAVE: the file is loaded as it is.
    var saves = true
    /// NOFLUSH: what is there stays.
    var empties = true
    /// MERGE: keys of the file take the place of those that are there.
    var merges = false
}

extension Durability {
    /// Has the client that runs DEBUG wait while the work is done. The caller holds all shards, and
    /// nobody claims one.
    ///
    /// - Parameters:
    ///   - call: of DEBUG.
    ///   - work: answers with the error, or nil when all went well.
    func reload(
        _ call: inout Call, _ work: @escaping @Sendable (Durability) -> String?
    ) {
        call.invalidateAllCopies()
        context.state.set(.loading, true)
        let failure = Locked<String?>(nil)
        let loop = call.loop
        let waiter = call.wait(milliseconds: 0, mayBeUnblocked: false) { reply, _ in
            if let text = failure.withLock({ $0 }) { reply.error(text) } else { reply.ok() }
        }
        let thread = WorkerThread(name: "reload") { [self] in
            waitForOthers()
            let text = filesLock.withLock { _ in work(self) }
            failure.withLock { $0 = text }
            state.withLock { $0.isReloading = false }
            _ = context.state.end(waiter, .served)
        }
        if thread != nil { return }
        context.state.set(.loading, false)
        failure.withLock { $0 = "ERR no thread could be started" }
        _ = context.state.end(waiter, .served, on: loop)
    }

    /// Waits for a snapshot or a rewrite that is under way; from then on none begins.
    private func waitForOthers() {
        while !state.withLock({ state in
            if state.job != nil || state.isReloading { return false }
            state.isReloading = true
            return true
        }) { usleep(1_000) }
    }

    // MARK: RELOAD

    /// Saves a snapshot, and loads it again.
    func reloadSnapshot(_ options: ReloadOptions) -> String? {
        var failure: StorageError?
        if options.saves {
            context.state.whileHoldingAllShards {
                do throws(StorageError) { try saveNow() } catch { failure = error }
            }
        }
        if let failure {
            context.state.set(.loading, false)
            return "ERR \(failure)"
        }
        let refusal = "ERR Error trying to load the RDB dump, check server logs."
        guard canLoadSnapshot(replacesKeys: options.merges || options.empties) else {
            context.state.set(.loading, false)
            return refusal
        }
        if options.empties { emptyAll() }
        do throws(StorageError) {
            try loadSnapshot(
                settings.snapshotFile, try openStorage(), replacesKeys: options.merges)
        } catch {
            context.log.write(.warning, "\(error)")
            failure = error
        }
        if failure != nil && options.empties { return refusal }
        // The log tells of what was there before. Nobody adds to it meanwhile.
        var rewriteFailure: StorageError?
        if keepsLog && !(options.saves && options.empties) { rewriteFailure = rewrite() }
        context.state.set(.loading, false)
        if let rewriteFailure {
            context.log.write(
                .warning, "Rewriting the append only file failed: \(rewriteFailure)")
            return "ERR \(rewriteFailure)"
        }
        if failure != nil { return refusal }
        context.log.write(.notice, "DB reloaded by DEBUG RELOAD")
        return nil
    }

    // MARK: LOADAOF

    /// Loads what the log holds, behind its last command.
    func reloadLog() -> String? {
        let refusal = "ERR Error trying to load the AOF files, check server logs."
        do throws(StorageError) {
            guard let writer = state.withLock({ $0.writer }),
                isLogWhole.load(ordering: .acquiring)
            else {
                context.log.write(.warning, "There is no append-only log to be loaded")
                context.state.set(.loading, false)
                return refusal
            }
            try bringToDisk(writer)
        } catch {
            context.log.write(.warning, "\(error)")
            context.state.set(.loading, false)
            return refusal
        }
        guard canLoadLog() else {
            context.state.set(.loading, false)
            return refusal
        }
        emptyAll()
        do throws(StorageError) {
            try replayLog()
        } catch {
            context.log.write(.warning, "\(error)")
            return refusal
        }
        context.state.set(.loading, false)
        context.log.write(.notice, "Append Only File loaded by DEBUG LOADAOF")
        return nil
    }

    /// Writes and syncs all that was logged. Nobody logs anything meanwhile.
    private func bringToDisk(_ writer: LogWriter) throws(StorageError) {
        repeat {
            // Work runs between two groups: what was taken before is written then.
            try writer.perform { (_) throws(StorageError) in }
        } while context.state.log.pendingBytes > 0
        try writer.perform { (directory) throws(StorageError) in try directory.sync() }
    }

    /// Reads the files of the log, which its thread has open and does not add to.
    private func replayLog() throws(StorageError) {
        let storage = try openStorage()
        let directory = AppendOnlyDirectory(storage, logOptions)
        for part in try directory.open() {
            let scanner = try load(part, storage, in: directory)
            if case .clean = scanner.ending { continue }
            throw .damaged(
                path: part.name, offset: scanner.position, reason: "its end cannot be read")
        }
    }

    // MARK: Both

    /// Whether the snapshot can be read to its end.
    private func canLoadSnapshot(replacesKeys: Bool) -> Bool {
        var options = RDBOptions()
        options.hasChecksum = settings.hasChecksum
        options.onlyLooks = true
        options.replacesKeys = replacesKeys
        do throws(StorageError) {
            var reader = reader(of: try openStorage().open(settings.snapshotFile), options)
            _ = try reader.load()
            return true
        } catch {
            context.log.write(.warning, "\(error)")
            return false
        }
    }

    /// Whether all that the log's manifest names is whole.
    private func canLoadLog() -> Bool {
        let manifest = "\(settings.logDirectory)/\(settings.logFile).manifest"
        do throws(StorageError) {
            let check = LogCheck(try openStorage(), repairs: false) { [context] line in
                context.log.write(.verbose, line)
            }
            if check.check(manifest) { return true }
            context.log.write(.warning, "\(manifest) cannot be loaded: see 'martlet check'")
        } catch {
            context.log.write(.warning, "\(error)")
        }
        return false
    }

    /// Gives up all keys and libraries. Nothing is logged of it.
    private func emptyAll() {
        let state = context.state
        let loader = unsafe ValueLoader(
            into: state.keyspace, limits: state.valueLimits,
            nowMilliseconds: state.clock.wallMilliseconds())
        state.whileHoldingAllShards {
            for database in 0..<loader.keys.databaseCount {
                _ = loader.keys.flush(database: database)
            }
        }
        state.removeLibraries()
    }
}
