//  How a log is found at the start: by its manifest, or as the single file of servers before Redis 7.

import MartletBase

extension AppendOnlyDirectory {
    /// Finds the log.
    ///
    /// A single append-only file beside the directory becomes the base of a new one, as in Redis 7:
    /// the manifest first, then the file moves; both ends of that are recognized.
    ///
    /// - Returns: what to load, in this order; nothing where there is no log yet.
    /// - Throws: `StorageError.damaged` for a manifest that is not understood, or files that are
    ///   missing.
    package func open() throws(StorageError) -> [Part] {
        try readManifest()
        try upgrade()
        return try parts()
    }

    /// Reads the manifest, where there is one.
    func readManifest() throws(StorageError) {
        let path = manifestPath
        guard try storage.size(path) != nil else { return }
        let bytes = try storage.read(path, bytesMax: LogManifest.bytesMax)
        manifest = try bytes.withView { (view) throws(StorageError) in
            try LogManifest(parsing: view, path: path)
        }
    }

    /// What the manifest names, in the order of loading.
    func parts() throws(StorageError) -> [Part] {
        baseSize = 0
        closedSize = 0
        var files: [(LogManifest.File, Bool)] = manifest.increments.map { ($0, false) }
        if let base = manifest.base { files.insert((base, true), at: 0) }
        var parts: [Part] = []
        for (index, (file, isBase)) in files.enumerated() {
            guard let size = try storage.size(path(file.name)) else {
                throw .damaged(
                    path: path(file.name), offset: 0,
                    reason: "the manifest names it, and it is not there")
            }
            let closed = isBase ? nil : manifest.closedLengths[file.sequence]
            parts.append(
                Part(
                    name: path(file.name), isBase: isBase, sequence: file.sequence, size: size,
                    closedLength: closed, isLast: index == files.count - 1 && closed == nil))
            if isBase { baseSize = size } else { closedSize += size }
        }
        return parts
    }

    /// Takes over an append-only file of a server before Redis 7.
    private func upgrade() throws(StorageError) {
        guard try storage.size(options.file) != nil else { return }
        let movesBase =
            manifest.base?.name == options.file && manifest.increments.isEmpty
            && manifest.history.isEmpty
        guard manifest.isEmpty || movesBase else { return }
        guard try storage.size(path(options.file)) == nil else { return }
        if manifest.isEmpty {
            var next = LogManifest()
            next.base = .init(name: options.file, sequence: 1)
            try storage.makeDirectory(options.directory)
            try storage.syncDirectory("")
            var isCertain = true
            try next.encoded(isChecked: options.hasChecksums).withView {
                (bytes) throws(StorageError) in
                try storage.replace(manifestPath, with: bytes, isCertain: &isCertain)
            }
            manifest = next
        }
        try storage.rename(options.file, to: path(options.file))
        try storage.syncDirectory(options.directory)
        try storage.syncDirectory("")
    }

    /// A scanner of one part, from `offset` on: behind an RDB preamble, else 0.
    package func scanner(_ part: Part, from offset: Int = 0) throws(StorageError) -> LogScanner {
        LogScanner(
            try storage.open(part.name), from: offset, isLast: part.isLast,
            length: part.closedLength)
    }

    /// Takes what the scan of a part has shown, once its scanner has returned nil.
    ///
    /// A torn tail is cut, after its bytes were put aside.
    ///
    /// - Returns: what was cut; nil where the part was whole.
    /// - Throws: `StorageError.damaged` where the log must not be used as it is.
    package func accept(
        _ scanner: borrowing LogScanner, of part: Part
    ) throws(StorageError) -> Cut? {
        var cut: Cut?
        var end = scanner.closingOffset ?? part.size
        switch scanner.ending {
        case .clean:
            guard let reserve = scanner.reserveOffset, part.isLast else { break }
            // Filled ahead of a log that was not closed.
            let file = try storage.open(part.name)
            try file.truncate(to: reserve)
            try file.sync()
            end = reserve
            closedSize -= part.size - reserve
        case .tail(let offset, let length, let reason):
            guard options.acceptsTail else {
                throw .damaged(path: part.name, offset: offset, reason: reason)
            }
            cut = try self.cut(part.name, at: offset, length: length, reason)
            end = scanner.closingOffset ?? offset
        case .damaged(let offset, _, let reason):
            throw .damaged(path: part.name, offset: offset, reason: reason)
        case nil:
            preconditionFailure("a part is accepted after it was scanned to its end")
        }
        if part.isBase && scanner.lacksEndOfBase {
            throw .damaged(
                path: part.name, offset: scanner.position, reason: "its last line is missing")
        }
        if part.isLast && !part.isBase {
            lastScan = LastScan(
                name: part.name, sequence: part.sequence, seed: scanner.seed, end: end,
                mayGoOn: !scanner.hasForeignCommands
                    && (scanner.seed != nil) == options.hasChecksums)
        }
        return cut
    }

    /// Puts the bytes from `offset` on into a file of their own, and cuts them off.
    private func cut(
        _ name: String, at offset: Int, length: Int, _ reason: String
    ) throws(StorageError) -> Cut {
        let file = try storage.open(name)
        let side = try freeSideName(for: name, offset)
        do throws(StorageError) {
            let aside = try storage.create(side)
            var chunk = ByteBuffer()
            var position = offset
            while position < file.size {
                chunk.removeAll()
                let count = min(1 << 20, file.size - position)
                let got = try file.read(at: position, count: count, into: &chunk)
                if got == 0 { break }
                position += got
                try aside.append(chunk.view)
            }
            try aside.sync()
            try storage.syncDirectory(StorageName.directory(of: side))
        } catch {
            try? storage.unlink(side)
            throw error
        }
        try file.truncate(to: offset)
        try file.sync()
        return Cut(name: name, offset: offset, length: length, reason: reason, keptIn: side)
    }

    private func freeSideName(for name: String, _ offset: Int) throws(StorageError) -> String {
        var candidate = "\(name).cut-\(offset)"
        var number = 1
        while try storage.size(candidate) != nil {
            number += 1
            candidate = "\(name).cut-\(offset).\(number)"
        }
        return candidate
    }

    /// Makes the log ready to append: at the end of the last increment, if it is one of ours, or in
    /// a new one.
    package func resume() throws(StorageError) {
        precondition(current == nil && failure == nil, "a log is resumed once")
        if !manifest.isEmpty {
            // The process before may have ended between a rename and the sync of its directory.
            try storage.syncDirectory(options.directory)
            try storage.syncDirectory("")
        }
        if let scan = lastScan, scan.mayGoOn {
            let file = try storage.open(scan.name)
            if file.size > scan.end {
                // The line that closed it: the log is open again.
                try file.truncate(to: scan.end)
            }
            // The process before may have ended with bytes on their way, which were loaded now.
            try file.sync()
            current = Increment(
                file: file, name: scan.name, sequence: scan.sequence, seed: scan.seed,
                written: scan.end, synced: scan.end)
            closedSize -= min(closedSize, scan.end)
            lastScan = nil
        } else {
            if let last = manifest.increments.last, manifest.closedLengths[last.sequence] == nil {
                let file = try storage.open(path(last.name))
                try file.sync()
                manifest.closedLengths[last.sequence] = file.size
            }
            try beginIncrement()
        }
        try removeLeftovers()
    }

    /// Makes the log ready to append, as one that holds nothing of what the directory held so far.
    ///
    /// What was there stays what the next start loads until `installBase` has given the new log its
    /// base: increments without one would be all that it finds.
    package func resumeAnew() throws(StorageError) {
        precondition(current == nil && failure == nil, "a log is resumed once")
        let old = [manifest.base].compactMap { $0 } + manifest.increments
        sequenceFloor = (old + manifest.history).map(\.sequence).max() ?? 0
        var anew = LogManifest()
        anew.history = manifest.history + old
        manifest = anew
        baseSize = 0
        closedSize = 0
        waitsForBase = true
        try beginIncrement()
    }

    /// Removes what a crash has left and what newer files have replaced: never an increment with
    /// commands in it.
    private func removeLeftovers() throws(StorageError) {
        removeHistory()
        let named = Set(
            ([manifest.base].compactMap { $0 } + manifest.history + manifest.increments).map(\.name)
        )
        for name in try storage.list(options.directory) where !named.contains(name) {
            var isRubbish = name.hasPrefix(StorageName.temporaryPrefix)
            if let file = LogFileName(name, of: options.file) {
                switch file.kind {
                case .base: isRubbish = file.sequence > manifest.base?.sequence ?? 0
                case .increment:
                    isRubbish = try storage.size(path(name)) ?? 0 <= LogHeader.length
                }
            }
            // It is in nobody's way.
            if isRubbish { try? storage.unlink(path(name)) }
        }
    }
}
