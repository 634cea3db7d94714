//  `martlet check`: looks at durable files without keeping what they hold, says what is damaged and
//  where, and saves what is good into new files. Nothing that it looks at is changed.

import MartletBase

/// Checks logs and snapshots of one storage.
package struct LogCheck {
    private let storage: any Storage
    /// Whether what is good of a damaged log is to be saved.
    private let repairs: Bool
    /// Takes one line at a time.
    private let report: (String) -> Void

    package init(_ storage: any Storage, repairs: Bool, report: @escaping (String) -> Void) {
        self.storage = storage
        self.repairs = repairs
        self.report = report
    }

    /// The suffix of what a repair writes.
    private static let repaired = ".repaired"

    /// Checks a file or a directory, and says what it found.
    ///
    /// - Returns: whether all is good, or was saved into new files.
    package func check(_ name: String) -> Bool {
        do throws(StorageError) {
            if let manifest = try manifest(for: name) { return try checkDirectory(manifest) }
            guard let size = try storage.size(name) else {
                report("\(name): no such file")
                return false
            }
            let found = try checkFile(name, isLast: true, length: nil)
            let good = found.good
            for line in found.tally.lines { report(line) }
            if good == size { return true }
            if let snapshot = found.snapshot { return try repair(name, snapshot) }
            guard repairs else {
                report("--fix saves the first \(good) bytes into a new file")
                return false
            }
            guard good > 0 else { return false }
            let copy = name + Self.repaired
            try self.copy(name, good, to: copy)
            try storage.syncDirectory(StorageName.directory(of: copy))
            report("\(copy): the first \(good) bytes; put it in the place of the old one")
            return true
        } catch {
            report("\(error)")
            return false
        }
    }

    /// Saves the keys of a snapshot that stand before the damage.
    private func repair(_ name: String, _ found: RDBCheck) throws(StorageError) -> Bool {
        if found.isChecksumWrong {
            report(
                "Nothing is saved: any value may be wrong. A server with 'rdbchecksum no' loads it")
            return false
        }
        if found.summary.keys == 0 { return false }
        let keys = "\(found.summary.keys) keys in the first \(found.wholeEnd) bytes"
        guard repairs else {
            report("--fix saves the \(keys) into a new file; no checksum says that they are right")
            return false
        }
        let copy = name + Self.repaired
        try found.save(try storage.open(name), to: try storage.create(copy))
        try storage.syncDirectory(StorageName.directory(of: copy))
        report("\(copy): the \(keys); no checksum says that they are right")
        return true
    }

    /// The manifest that `name` leads to: it is one, or is the directory of one, or of its directory.
    private func manifest(for name: String) throws(StorageError) -> String? {
        let suffix = ".manifest"
        if name.hasSuffix(suffix) { return name }
        for directory in [name, StorageName.join(name, "appendonlydir")] {
            // A plain file has no names in it.
            guard let names = try? storage.list(directory) else { continue }
            let found = names.filter {
                $0.hasSuffix(suffix) && !$0.hasPrefix(StorageName.temporaryPrefix)
            }
            if let first = found.sorted().first { return StorageName.join(directory, first) }
        }
        return nil
    }

    private func checkDirectory(_ manifestPath: String) throws(StorageError) -> Bool {
        var options = AppendOnlyDirectory.Options()
        options.directory = StorageName.directory(of: manifestPath)
        options.file = String(StorageName.last(of: manifestPath).dropLast(9))
        let log = AppendOnlyDirectory(storage, options)
        guard try storage.size(manifestPath) != nil else {
            report("\(manifestPath): no such file")
            return false
        }
        try log.readManifest()
        let parts = try log.parts()
        let protection = log.manifest.isChecked ? "its checksum fits" : "it has no checksum"
        report("\(manifestPath): \(parts.count) files, \(protection)")
        var tally = CommandTally()
        for (index, part) in parts.enumerated() {
            let found = try checkFile(
                part.name, isLast: part.isLast, isBase: part.isBase, length: part.closedLength)
            tally.add(found.tally)
            if found.good == part.closedLength ?? part.size && !found.lacksEnd { continue }
            for line in tally.lines { report(line) }
            return try repair(log, parts, damaged: index, good: found.good)
        }
        for line in tally.lines { report(line) }
        report("The log is whole")
        return true
    }

    /// Copies the log up to the damage into a new directory beside the old one.
    private func repair(
        _ log: AppendOnlyDirectory, _ parts: [AppendOnlyDirectory.Part], damaged: Int, good: Int
    ) throws(StorageError) -> Bool {
        let part = parts[damaged]
        for lost in parts[(damaged + 1)...] { report("\(lost.name): follows the damage") }
        guard repairs else {
            report("--fix saves what is before the damage into a new directory")
            return false
        }
        if part.isBase && good == 0 {
            report("Nothing can be saved: the base cannot be read")
            return false
        }
        let directory =
            (log.options.directory.isEmpty ? "log" : log.options.directory) + Self.repaired
        try storage.makeDirectory(directory)
        try storage.syncDirectory(StorageName.directory(of: directory))
        var manifest = log.manifest
        manifest.history = []
        manifest.increments = []
        manifest.closedLengths = [:]
        if !part.isBase || damaged > 0 { manifest.base = log.manifest.base }
        for kept in parts[...damaged] {
            let name = StorageName.last(of: kept.name)
            let length = kept == part ? good : kept.closedLength ?? kept.size
            try copy(
                kept.name, length, to: StorageName.join(directory, name),
                endsBase: kept.isBase && kept == part)
            if kept.isBase { continue }
            manifest.increments.append(.init(name: name, sequence: kept.sequence))
            if kept != part { manifest.closedLengths[kept.sequence] = length }
        }
        let file = try storage.create(
            StorageName.join(directory, log.options.file + ".manifest"))
        try manifest.encoded(isChecked: log.manifest.isChecked).withView {
            (bytes) throws(StorageError) in
            try file.append(bytes)
        }
        try file.sync()
        try storage.syncDirectory(directory)
        report("\(directory): the log up to the damage; put it in the place of the old one")
        return true
    }

    /// Copies the first bytes of a file; behind those of a base of groups comes the line that ends it.
    private func copy(
        _ name: String, _ length: Int, to newName: String, endsBase: Bool = false
    ) throws(StorageError) {
        let old = try storage.open(name)
        let new = try storage.create(newName)
        var chunk = ByteBuffer()
        _ = try old.read(at: 0, count: min(length, LogHeader.length), into: &chunk)
        let seed = LogHeader.seed(in: chunk.view)
        var offset = 0
        while offset < length {
            chunk.removeAll()
            let count = min(1 << 20, length - offset)
            guard try old.read(at: offset, count: count, into: &chunk) == count else {
                throw .damaged(path: name, offset: offset, reason: "it became shorter")
            }
            try new.append(chunk.view)
            offset += count
        }
        if endsBase, let seed {
            chunk.removeAll()
            LogGroupLine.closing(at: length, seed).write(to: &chunk)
            try new.append(chunk.view)
        }
        try new.sync()
    }

    /// How a file is.
    private struct Finding {
        /// How many of its bytes are good.
        var good: Int
        /// The commands in them.
        var tally: CommandTally
        /// It is a base that may have been cut behind a group.
        var lacksEnd = false
        /// The snapshot that cannot be read.
        var snapshot: RDBCheck?
    }

    /// Checks one file, and says how it is.
    private func checkFile(
        _ name: String, isLast: Bool, isBase: Bool = false, length: Int?
    ) throws(StorageError) -> Finding {
        let file = try storage.open(name)
        var tally = CommandTally()
        var start = 0
        if try LogScanner.startsWithSnapshot(file) {
            let found = try RDBCheck(file)
            let end = found.summary.endOffset
            if let error = found.error {
                report("\(error)")
                for line in found.lines { report(line) }
                return Finding(good: 0, tally: tally, snapshot: found)
            }
            let protection = found.lacksChecksum ? "it has no checksum" : "its checksum fits"
            report("\(name): a snapshot of \(end) bytes, \(protection)")
            for line in found.lines { report(line) }
            if end == file.size { return Finding(good: end, tally: tally) }
            start = end
        }
        var scanner = LogScanner(file, from: start, isLast: isLast, length: length)
        while let run = try scanner.next() { tally.add(run) }
        let groups = scanner.seed == nil ? "no checksums" : "\(scanner.groupCount) groups"
        report("\(name): \(scanner.commandCount) commands, \(groups), \(file.size) bytes")
        switch scanner.ending {
        case .tail(let cut, let length, let reason):
            report("\(name): torn at offset \(cut), \(length) bytes: \(reason)")
            return Finding(good: cut, tally: tally)
        case .damaged(let offset, let length, let reason):
            report("\(name): damaged at offset \(offset), \(length) bytes: \(reason)")
            return Finding(good: min(scanner.position, offset), tally: tally)
        case .clean, nil:
            if let reserve = scanner.reserveOffset {
                report("\(name): \(file.size - reserve) bytes at its end are filled and unused")
            }
            let lacksEnd = isBase && scanner.lacksEndOfBase
            if lacksEnd { report("\(name): torn at its end: its last line is missing") }
            return Finding(good: length ?? file.size, tally: tally, lacksEnd: lacksEnd)
        }
    }
}

/// How many commands of which name a log holds.
private struct CommandTally {
    private var counts: [String: Int] = [:]

    mutating func add(_ other: CommandTally) {
        counts.merge(other.counts) { $0 + $1 }
    }

    mutating func add(_ run: LogRun) {
        var offset = 0
        while offset < run.bytes.count,
            case .whole(let end, _) = LogFrame.command(in: run.bytes, at: offset)
        {
            counts[LogFrame.name(in: run.bytes, at: offset), default: 0] += 1
            offset = end
        }
    }

    /// Most frequent first.
    var lines: [String] {
        counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { "  \($0.value) \($0.key)" }
    }
}
