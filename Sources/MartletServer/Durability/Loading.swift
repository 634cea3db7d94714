//  Loading at the start: the append-only log where there is to be one, else the snapshot.
//
//  Clients are answered `-LOADING` meanwhile. What cannot be read stops the start; nothing is written
//  over, and nothing is cut that is not kept beside.

import MartletBase
import MartletEngine
import MartletPersistence

extension Durability {
    /// Whether there may be something to load: clients are told so until it is there.
    var loadsAtStart: Bool {
        if settings.keepsLog { return true }
        let size = try? openStorage().size(settings.snapshotFile)
        return size ?? 0 > 0
    }

    /// Loads what the files hold, and begins to log where that is asked for.
    ///
    /// - Throws: what was wrong with which file; the start is to be given up then.
    package func load() throws(StorageError) {
        let begin = context.state.clock.wallMilliseconds()
        state.withLock { $0.status.loadingBeganSeconds = begin / 1000 }
        if settings.keepsLog {
            try loadLog()
        } else {
            let storage = try openStorage()
            if let size = try storage.size(settings.snapshotFile), size > 0 {
                try loadSnapshot(settings.snapshotFile, storage)
                log("DB loaded from disk: \(seconds(since: begin)) seconds")
            }
        }
        context.state.set(.loading, false)
    }

    private func loadLog() throws(StorageError) {
        let begin = context.state.clock.wallMilliseconds()
        let storage = try openStorage()
        let directory = AppendOnlyDirectory(storage, logOptions)
        let parts = try directory.open()
        let total = parts.reduce(0) { $0 + $1.size }
        state.withLock { $0.status.loadingTotalBytes = total }
        for part in parts {
            let partBegin = context.state.clock.wallMilliseconds()
            let scanner = try load(part, storage, in: directory)
            if let cut = try directory.accept(scanner, of: part) {
                context.log.write(
                    .warning,
                    "The log \(cut.name) ended torn (\(cut.reason)): \(cut.length) bytes from offset "
                        + "\(cut.offset) on were cut and are kept in \(cut.keptIn)")
            }
            let kind = part.isBase ? "base" : "incr"
            log("DB loaded from \(kind) file \(part.name): \(seconds(since: partBegin)) seconds")
        }
        var takesSnapshot = false
        if parts.isEmpty, let size = try storage.size(settings.snapshotFile), size > 0 {
            // Redis would begin with nothing here, and lose the snapshot with its next one.
            log("There is no append-only log: it begins with what \(settings.snapshotFile) holds")
            try loadSnapshot(settings.snapshotFile, storage)
            takesSnapshot = true
        }
        if !parts.isEmpty {
            log("DB loaded from append only file: \(seconds(since: begin)) seconds")
        }
        if takesSnapshot { try directory.resumeAnew() } else { try directory.resume() }
        try openWriter(directory)
        if takesSnapshot {
            if let error = rewrite(startsLogging: true) { throw error }
        } else {
            beginLogging()
            logIsWhole()
        }
    }

    /// Loads one file of the log, a snapshot at its beginning included.
    func load(
        _ part: AppendOnlyDirectory.Part, _ storage: any Storage, in directory: AppendOnlyDirectory
    ) throws(StorageError) -> LogScanner {
        let file = try storage.open(part.name)
        var start = 0
        if try LogScanner.startsWithSnapshot(file) {
            start = try loadSnapshot(part.name, storage, isBase: true)
        }
        return try replay(part, from: start, in: directory)
    }

    /// Replays the commands of one file.
    private func replay(
        _ part: AppendOnlyDirectory.Part, from start: Int, in directory: AppendOnlyDirectory
    ) throws(StorageError) -> LogScanner {
        var scanner = try directory.scanner(part, from: start)
        let replay = LogReplay(
            context.state, context.commands, threads: context.loops.count,
            nowMilliseconds: context.state.clock.wallMilliseconds())
        var progress = LoadProgress(name: part.name, bytes: part.size, context.state.clock)
        context.state.expectGrowth(true)
        defer { context.state.expectGrowth(false) }
        while let run = try scanner.next() {
            do throws(LogReplay.Refusal) {
                try replay.feed(run.bytes)
            } catch {
                throw .damaged(path: part.name, offset: run.offset, reason: error.reason)
            }
            let position = scanner.position
            state.withLock { $0.status.loadingLoadedBytes = position }
            if let line = progress.line(at: position) { log(line) }
        }
        do throws(LogReplay.Refusal) {
            try replay.finish()
        } catch {
            throw .damaged(path: part.name, offset: scanner.position, reason: error.reason)
        }
        let errors = replay.errors
        if let first = errors.first {
            context.log.write(
                .warning,
                "\(errors.count) commands of \(part.name) were refused, the first with: \(first)")
        }
        return scanner
    }

    /// Loads a snapshot, or the one that a log begins with.
    ///
    /// - Parameters:
    ///   - name: of the file.
    ///   - storage: where it is.
    ///   - isBase: a log follows: what is past its deadline is kept.
    ///   - replacesKeys: its keys take the place of those that are there.
    /// - Returns: where it ends in the file.
    /// - Throws: what is wrong with the file; a part of its keys may be there then.
    @discardableResult
    func loadSnapshot(
        _ name: String, _ storage: any Storage, isBase: Bool = false, replacesKeys: Bool = false
    ) throws(StorageError) -> Int {
        let file = try storage.open(name)
        var options = RDBOptions()
        options.hasChecksum = settings.hasChecksum
        options.threads = context.loops.count
        options.dropsExpired = !isBase
        options.replacesKeys = replacesKeys
        let total = file.size
        let progress = Locked(LoadProgress(name: name, bytes: total, context.state.clock))
        state.withLock { $0.status.loadingTotalBytes = max($0.status.loadingTotalBytes, total) }
        options.progress = { [self] bytes, _ in
            state.withLock { $0.status.loadingLoadedBytes = bytes }
            if let line = progress.withLock({ $0.line(at: bytes) }) { log(line) }
        }
        context.state.expectGrowth(true)
        defer { context.state.expectGrowth(false) }
        var reader = reader(of: file, options)
        let summary = try reader.load()
        state.withLock { state in
            state.status.keysLoaded += summary.keys
            state.status.keysExpired += summary.expiredKeys
        }
        log(
            "Done loading RDB, keys loaded: \(summary.keys), keys expired: \(summary.expiredKeys).")
        if summary.functions > 0 { log("Function libraries loaded: \(summary.functions).") }
        for module in summary.modules {
            context.log.write(
                .warning, "What the module \(module) wrote into \(name) was passed over")
        }
        return summary.endOffset
    }

    /// A reader of a snapshot.
    func reader(of file: any StorageFile, _ options: RDBOptions) -> RDBReader {
        var offset = 0
        let input = RDBInput(hasChecksum: settings.hasChecksum) {
            (buffer, count) throws(StorageError) in
            let got = try file.read(at: offset, count: count, into: &buffer)
            offset += got
            return got
        }
        return RDBReader(input, path: file.name, into: context.state, options)
    }

    private func log(_ text: String) { context.log.write(.notice, text) }

    private func seconds(since beginMilliseconds: Int64) -> String {
        let elapsed = max(0, context.state.clock.wallMilliseconds() - beginMilliseconds)
        return "\(elapsed / 1000).\(String(elapsed % 1000 + 1000).dropFirst())"
    }
}

/// When to say how far a load has come: once a second.
struct LoadProgress {
    private let name: String
    private let bytes: Int
    private let clock: Clock
    private let beginMilliseconds: Int64
    private var nextMilliseconds: Int64

    init(name: String, bytes: Int, _ clock: Clock) {
        self.name = name
        self.bytes = bytes
        self.clock = clock
        beginMilliseconds = clock.monotonicMilliseconds()
        nextMilliseconds = beginMilliseconds + 1_000
    }

    /// A line for the log, or nil when it is not time for one.
    mutating func line(at position: Int) -> String? {
        let now = clock.monotonicMilliseconds()
        if now < nextMilliseconds { return nil }
        nextMilliseconds = now + 1_000
        let rate = Double(position) / Double(max(1, now - beginMilliseconds)) / 1000
        let percent = bytes > 0 ? position * 100 / bytes : 100
        return "Loading \(name): \(percent) %, \(Int(rate)) MB/s"
    }
}
