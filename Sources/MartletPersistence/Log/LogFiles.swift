//  How the log goes from one set of files to the next: increments begun, bases installed, failures
//  repaired. Each step leaves, at every moment, a manifest whose files hold all that was
//  acknowledged.

import MartletBase

/// The names of the log's own files.
struct LogFileName {
    enum Kind {
        case base, increment
    }

    let kind: Kind
    let sequence: Int

    /// What `name` says, if it is one that a log called `file` gives: `file.2.incr.aof`.
    init?(_ name: String, of file: String) {
        let text = Array(name.utf8)
        let start = Array(file.utf8) + [UInt8(ascii: ".")]
        guard text.starts(with: start) else { return nil }
        let parts = text[start.count...].split(
            separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 3,
            let sequence = Array(parts[0]).withView({ $0.parseInteger() }), sequence > 0
        else { return nil }
        self.sequence = Int(sequence)
        let ending = (
            String(decoding: parts[1], as: UTF8.self), String(decoding: parts[2], as: UTF8.self)
        )
        switch ending {
        case ("base", "rdb"), ("base", "aof"): kind = .base
        case ("incr", "aof"): kind = .increment
        default: return nil
        }
    }

    static func base(_ file: String, _ sequence: Int, isSnapshot: Bool) -> String {
        "\(file).\(sequence).base.\(isSnapshot ? "rdb" : "aof")"
    }

    static func increment(_ file: String, _ sequence: Int) -> String {
        "\(file).\(sequence).incr.aof"
    }
}

// Increments.

extension AppendOnlyDirectory {
    /// What is appended from now on goes to a new increment.
    ///
    /// The one before is synced first, and closed: only a clean tail may be left behind.
    ///
    /// - Returns: the sequence number of the new increment, for `installBase`.
    /// - Throws: the log goes on in the old one, unless `failure` is set.
    @discardableResult
    package func beginIncrement() throws(StorageError) -> Int {
        try endGroup()
        try sync()
        if let failure { throw failure }
        let next = try makeIncrement()
        do throws(StorageError) {
            try next.file.sync()
            try storage.syncDirectory(options.directory)
        } catch {
            try? storage.unlink(next.name)
            throw error
        }
        var increment = next
        increment.synced = increment.written
        do throws(StorageError) {
            try write(adding(increment))
        } catch {
            if manifestIsCertain {
                try? storage.unlink(next.name)
            } else {
                // The disk may know of the new one, so that nothing may be added to the old one.
                failure = error
                successor = (increment, 0)
            }
            throw error
        }
        adopt(increment)
        return increment.sequence
    }

    /// The manifest with one more increment, behind the current one, which is closed.
    private func adding(_ increment: Increment) -> LogManifest {
        var next = manifest
        if let current { next.closedLengths[current.sequence] = current.synced }
        next.increments.append(
            .init(name: StorageName.last(of: increment.name), sequence: increment.sequence))
        return next
    }

    /// Makes `increment`, which the manifest names, the one that is appended to.
    private func adopt(_ increment: Increment) {
        if let current {
            closedSize += current.synced
            releaseReserve(of: current)
        }
        current = increment
        lastScan = nil
    }

    /// A new file with its header, which nothing names yet.
    private func makeIncrement() throws(StorageError) -> Increment {
        if try storage.size(manifestPath) == nil {
            try storage.makeDirectory(options.directory)
            try storage.syncDirectory("")
        }
        let sequence = try freeSequence(
            behind: manifest.increments.last?.sequence ?? sequenceFloor
        ) { LogFileName.increment(options.file, $0) }
        let name = path(LogFileName.increment(options.file, sequence))
        let file = try storage.create(name)
        guard options.hasChecksums else {
            return Increment(
                file: file, name: name, sequence: sequence, seed: nil, written: 0, synced: 0)
        }
        let seed = systemRandomWord()
        var header = ByteBuffer()
        LogHeader.write(seed: seed, to: &header)
        do throws(StorageError) {
            try file.append(header.view)
        } catch {
            try? storage.unlink(name)
            throw error
        }
        return Increment(
            file: file, name: name, sequence: sequence, seed: seed, written: header.count,
            synced: 0)
    }

    /// The first number behind `sequence` whose name is free: a file that the manifest does not name
    /// may be all that is left of something, and is not written over.
    private func freeSequence(
        behind sequence: Int, _ name: (Int) -> String
    ) throws(StorageError) -> Int {
        var candidate = sequence
        while true {
            let (next, overflow) = candidate.addingReportingOverflow(1)
            guard !overflow else {
                throw .damaged(path: manifestPath, offset: 0, reason: "no numbers are left")
            }
            candidate = next
            if try storage.size(path(name(candidate))) == nil { return candidate }
        }
    }

    /// Puts `next` on the disk.
    ///
    /// - Throws: where `manifestIsCertain` is false then, either may be there.
    private func write(_ next: LogManifest) throws(StorageError) {
        if waitsForBase {
            manifest = next
            return
        }
        var isCertain = true
        let wasCertain = manifestIsCertain
        do throws(StorageError) {
            try next.encoded(isChecked: options.hasChecksums).withView {
                (bytes) throws(StorageError) in
                try storage.replace(manifestPath, with: bytes, isCertain: &isCertain)
            }
        } catch {
            manifestIsCertain = isCertain && wasCertain
            throw error
        }
        manifestIsCertain = true
        manifest = next
    }
}

// Bases.

extension AppendOnlyDirectory {
    /// Where the bytes of a new base are collected before it is installed. A file of this name is
    /// rubbish until then.
    package var temporaryBasePath: String {
        StorageName.temporary(for: path(options.file + ".base"))
    }

    /// Makes the file at `temporaryBasePath`, complete and synced, the base of the log.
    ///
    /// - Parameters:
    ///   - isSnapshot: whether it is in RDB format.
    ///   - first: the increment that began when the base's point in time was taken.
    /// - Throws: the old files stay the log's, or the new ones are; either holds everything.
    package func installBase(isSnapshot: Bool, first: Int) throws(StorageError) {
        let sequence = try freeSequence(behind: manifest.base?.sequence ?? sequenceFloor) {
            LogFileName.base(options.file, $0, isSnapshot: isSnapshot)
        }
        let name = LogFileName.base(options.file, sequence, isSnapshot: isSnapshot)
        let installedSize = try storage.size(temporaryBasePath) ?? 0
        try storage.rename(temporaryBasePath, to: path(name))
        var next = manifest
        if let base = manifest.base { next.history.append(base) }
        next.base = .init(name: name, sequence: sequence)
        next.history += manifest.increments.filter { $0.sequence < first }
        next.increments.removeAll { $0.sequence < first }
        next.closedLengths = next.closedLengths.filter { $0.key >= first }
        let waited = waitsForBase
        do throws(StorageError) {
            try storage.syncDirectory(options.directory)
            waitsForBase = false
            try write(next)
        } catch {
            if manifestIsCertain {
                waitsForBase = waited
                try? storage.unlink(path(name))
            } else {
                // Both sets of files are whole and stay; the next manifest settles it.
                manifest = next
            }
            throw error
        }
        baseSize = installedSize
        closedSize = next.closedLengths.values.reduce(0, +)
        removeHistory()
    }

    /// Deletes what newer files have replaced. What cannot go stays in the manifest for the next
    /// time: no reader minds it.
    func removeHistory() {
        guard !manifest.history.isEmpty, manifestIsCertain else { return }
        var next = manifest
        next.history = []
        for file in manifest.history {
            do throws(StorageError) {
                if try storage.size(path(file.name)) != nil {
                    try storage.unlink(path(file.name))
                }
            } catch {
                next.history.append(file)
            }
        }
        guard next.history.count < manifest.history.count else { return }
        do throws(StorageError) {
            try storage.syncDirectory(options.directory)
            try write(next)
        } catch {
            // The manifest names files that are gone, as history only.
        }
    }
}

// Failures.

extension AppendOnlyDirectory {
    /// Makes the log whole after a failed write or sync; to be called until it does not throw.
    ///
    /// Then every group that ended before is durable. Nothing is concluded from a sync of the old
    /// file that works again: what it could not write before may be gone.
    package func recover() throws(StorageError) {
        guard failure != nil else { return }
        if successor == nil { successor = try makeSuccessor() }
        guard let (increment, groupCount) = successor else { return }
        try write(adding(increment))
        successor = nil
        failure = nil
        adopt(increment)
        try rewriteKept(from: groupCount)
        try sync()
    }

    /// Cuts the failed increment back and writes the kept groups to a new one.
    private func makeSuccessor() throws(StorageError) -> (Increment, Int) {
        if let current {
            let old = try storage.open(current.name)
            guard old.size >= current.synced else {
                throw .damaged(
                    path: current.name, offset: old.size, reason: "synced bytes are missing")
            }
            if old.size > current.synced { try old.truncate(to: current.synced) }
            try old.sync()
        }
        var increment = try makeIncrement()
        do throws(StorageError) {
            var chunk = ByteBuffer()
            var offset = 0
            for group in keptGroups {
                let start = chunk.count
                chunk.append(kept.view.slice(offset, offset + group.commandBytes))
                Self.writeLine(to: &chunk, from: start, of: increment)
                increment.written += chunk.count - start
                offset += group.commandBytes + group.lineBytes
                if chunk.count >= 1 << 20 {
                    try increment.file.append(chunk.view)
                    chunk.removeAll()
                }
            }
            try increment.file.append(chunk.view)
            try increment.file.sync()
            try storage.syncDirectory(options.directory)
        } catch {
            try? storage.unlink(increment.name)
            throw error
        }
        increment.synced = increment.written
        return (increment, keptGroups.count)
    }

    /// Forgets the kept groups before `first`, which are durable now, and writes the others, which
    /// came while the manifest was not.
    private func rewriteKept(from first: Int) throws(StorageError) {
        var old = ByteBuffer()
        swap(&old, &kept)
        let groups = keptGroups
        let openStart = openStart
        keptGroups = []
        self.openStart = 0
        var offset = 0
        var failed: StorageError?
        for (index, group) in groups.enumerated() {
            if index >= first {
                append(old.view.slice(offset, offset + group.commandBytes))
                do throws(StorageError) {
                    try endGroup()
                } catch {
                    // It is kept, and so are those behind it.
                    failed = error
                }
            }
            offset += group.commandBytes + group.lineBytes
        }
        kept.append(old.view.slice(openStart, old.count))
        if let failed { throw failed }
    }
}
