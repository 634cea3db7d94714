//  Reads one file of the log, an increment or an append-only file of old, and hands out its commands:
//  nothing of a group that was not verified, nothing of a transaction that is not whole.
//
//  A file that begins with the header of `LogLines` is verified group by group. One without is read
//  as Redis reads it. Where a file of ours was closed in order, commands without groups may follow:
//  another server has gone on with it.

import MartletBase

/// Commands of a log, one directly behind the other.
package struct LogRun {
    /// As they stand in the file; valid until the scanner is next asked.
    package let bytes: ByteView
    /// Where they stand in the file.
    package let offset: Int
    package let commandCount: Int
}

/// How a file of the log ends.
package enum LogEnding: Equatable, Sendable {
    case clean
    /// From `cut` on, `length` bytes were being written when the log ended, and may go.
    case tail(cut: Int, length: Int, reason: String)
    /// `length` bytes from `offset` on cannot be read, and what follows them was durable.
    case damaged(offset: Int, length: Int, reason: String)
}

/// Hands out the commands of one file of the log in their order.
///
/// - Memory: one group, or one transaction, and at least `chunkBytes`.
package struct LogScanner: ~Copyable {
    /// How the part of the file that is read now is protected.
    private enum Protection {
        case none
        case groups(seed: UInt64)
    }

    private let file: any StorageFile
    /// Whether a tail may be torn: bytes may have been on their way when the power went.
    private let isLast: Bool
    /// How many bytes of the file belong to the log.
    private let limit: Int
    /// Bytes that the manifest promises and the file does not have.
    private let missing: Int

    private var buffer = ByteBuffer()
    /// Where in the file the buffer begins.
    private var bufferOffset: Int
    private var protection = Protection.none
    private var runs: [Run] = []
    private var runIndex = 0

    /// Commands that may be handed out.
    private struct Run {
        var start: Int
        var end: Int
        var commandCount: Int
    }

    /// Everything before this offset was read and found good.
    package private(set) var position: Int
    /// How the file ends, once `next` has returned nil.
    package private(set) var ending: LogEnding?
    package private(set) var commandCount = 0
    package private(set) var groupCount = 0
    /// The seed of the groups' checksums; nil for a file without.
    package private(set) var seed: UInt64?
    /// Where the line begins that says that the log was closed in order, if it was.
    package private(set) var closingOffset: Int?
    /// Whether commands without checksums stand behind the line that closed the log.
    package private(set) var hasForeignCommands = false
    /// Where the space begins that was filled ahead of the log and that nothing was written to; nil
    /// where there is none at the end of the file.
    package private(set) var reserveOffset: Int?

    /// A base with groups always ends as a log that was closed in order.
    var lacksEndOfBase: Bool { seed != nil && closingOffset == nil }

    /// Bytes that are read at once.
    private static let chunkBytes = 1 << 20

    /// Reads `file` from `start` on: behind an RDB preamble, or from its beginning.
    ///
    /// - Parameters:
    ///   - file: open as long as the scanner reads.
    ///   - start: where the first command begins.
    ///   - isLast: whether it is the last file of its log; only there a torn tail is none's fault.
    ///   - length: what the manifest says of its length; nil where it says nothing.
    package init(
        _ file: any StorageFile, from start: Int = 0, isLast: Bool, length: Int? = nil
    ) {
        self.file = file
        self.isLast = isLast
        limit = min(file.size, length ?? Int.max)
        missing = max(0, (length ?? 0) - file.size)
        position = start
        bufferOffset = start
    }

    /// Whether a file begins with an RDB snapshot, behind which commands may follow.
    package static func startsWithSnapshot(_ file: any StorageFile) throws(StorageError) -> Bool {
        var buffer = ByteBuffer()
        guard try file.read(at: 0, count: 5, into: &buffer) == 5 else { return false }
        return buffer.view == ByteView("REDIS") || buffer.view == ByteView("VALKE")
    }

    /// The next commands; nil at the end, of which `ending` tells then.
    ///
    /// - Throws: what the disk says; the file's content never.
    package mutating func next() throws(StorageError) -> LogRun? {
        while true {
            if runIndex < runs.count {
                let run = runs[runIndex]
                runIndex += 1
                commandCount += run.commandCount
                return LogRun(
                    bytes: buffer.view.slice(run.start - bufferOffset, run.end - bufferOffset),
                    offset: run.start, commandCount: run.commandCount)
            }
            if ending != nil { return nil }
            runs.removeAll(keepingCapacity: true)
            runIndex = 0
            buffer.consume(position - bufferOffset)
            bufferOffset = position
            if position == 0 && seed == nil {
                try readHeader()
                if ending != nil || seed != nil { continue }
            }
            switch protection {
            case .none: try readPlain()
            case .groups(let seed): try readGroup(seed)
            }
        }
    }

    /// Makes sure that the buffer holds the bytes up to `end` of the file, or all up to the limit.
    private mutating func load(through end: Int) throws(StorageError) {
        let loaded = bufferOffset + buffer.count
        let wanted = min(limit, max(end, loaded + Self.chunkBytes))
        guard wanted > loaded else { return }
        let got = try file.read(at: loaded, count: wanted - loaded, into: &buffer)
        guard got == wanted - loaded else {
            throw .damaged(path: file.name, offset: loaded + got, reason: "it became shorter")
        }
    }

    private var loadedEnd: Int { bufferOffset + buffer.count }

    /// Reads the header, where there is one.
    private mutating func readHeader() throws(StorageError) {
        try load(through: LogHeader.length)
        let bytes = buffer.view
        if let found = LogHeader.seed(in: bytes) {
            seed = found
            protection = .groups(seed: found)
            position = LogHeader.length
            return
        }
        let mark = ByteView(LogHeader.mark)
        let common = min(bytes.count, mark.count)
        guard common > 0, bytes.slice(0, common) == mark.slice(0, common) else { return }
        if bytes.count < LogHeader.length {
            fail(at: 0, "the first line is torn")
        } else {
            // It was durable before the first command was written.
            damage(at: 0, length: LogHeader.length, "the first line is not what was written")
        }
    }
}

// Files with groups.

extension LogScanner {
    /// Reads to the end of one group, verifies it, and makes its commands available.
    private mutating func readGroup(_ seed: UInt64) throws(StorageError) {
        let start = position
        var offset = start
        var run = Run(start: start, end: start, commandCount: 0)
        while true {
            if offset == limit {
                if offset == start {
                    finishAtLimit()
                } else {
                    try judge(start, seed, "the last group has no end")
                }
                return
            }
            if offset == loadedEnd { try load(through: offset + 1) }
            if buffer.view[offset - bufferOffset] == UInt8(ascii: "#") {
                if offset == start, try skipFiller() { return }
                guard let end = try lineEnd(from: offset) else {
                    return try judge(start, seed, "a line has no end")
                }
                if run.commandCount > 0 { runs.append(run) }
                let line = buffer.view.slice(offset - bufferOffset, end - 2 - bufferOffset)
                if let found = LogGroupLine(parsing: line) {
                    return try endGroup(found, from: start, line: offset, end: end, seed)
                }
                offset = end
                run = Run(start: end, end: end, commandCount: 0)
                continue
            }
            switch LogFrame.command(in: buffer.view, at: offset - bufferOffset) {
            case .whole(let end, _):
                offset = bufferOffset + end
                run.end = offset
                run.commandCount += 1
            case .incomplete(let bytes):
                guard bytes <= limit - loadedEnd else {
                    return try judge(start, seed, "a command goes on behind the end")
                }
                try load(through: loadedEnd + bytes)
            case .malformed(let reason):
                return try judge(start, seed, "\(reason), at offset \(offset)")
            }
        }
    }

    /// Verifies the group from `start` to its line.
    private mutating func endGroup(
        _ line: LogGroupLine, from start: Int, line lineStart: Int, end: Int, _ seed: UInt64
    ) throws(StorageError) {
        guard line.offset == start, line.length == lineStart - start else {
            return try judge(start, seed, "a group is not where its end says")
        }
        var crc = CRC64(seed)
        crc.update(buffer.view.slice(start - bufferOffset, lineStart - bufferOffset))
        guard line.checksum(after: crc) == line.checksum else {
            return try judge(start, seed, "the checksum of a group does not fit")
        }
        position = end
        if line.closesLog {
            closingOffset = start
            // What follows was written by a server that does not know of groups.
            protection = .none
        } else {
            groupCount += 1
        }
    }

    /// Where the line that begins at `offset` ends, with its CR LF; nil where it does not.
    private mutating func lineEnd(from offset: Int) throws(StorageError) -> Int? {
        try load(through: min(limit, offset + Self.commentBytesMax))
        let bytes = buffer.view
        let start = offset - bufferOffset
        let window = bytes.slice(0, min(bytes.count, start + Self.commentBytesMax))
        guard let feed = window.firstIndex(of: UInt8(ascii: "\n"), from: start),
            feed > start, bytes[feed - 1] == UInt8(ascii: "\r")
        else { return nil }
        return bufferOffset + feed + 1
    }

    /// Redis reads comments of up to so many bytes.
    private static let commentBytesMax = 1024

    /// Ends the scan at a group that cannot be believed, which begins at `start`.
    ///
    /// It is a tail, unless a later group that is good says that it was durable.
    private mutating func judge(
        _ start: Int, _ seed: UInt64, _ reason: String
    ) throws(StorageError) {
        runs.removeAll()
        if isLast, missing == 0, let later = try laterGroup(than: start, seed) {
            damage(at: start, length: later - start, reason)
        } else {
            fail(at: start, reason)
        }
    }

    /// Where the first good group begins that proves that the bytes from `start` on were durable.
    private mutating func laterGroup(
        than start: Int, _ seed: UInt64
    ) throws(StorageError) -> Int? {
        // So much is verified at most: a file full of lines that look like ends of groups does not
        // take hours. Who cannot say that it is a tail says that it is none.
        var budget = 16 * (limit - start) + (1 << 20)
        var window = ByteBuffer()
        var windowStart = start
        while windowStart < limit {
            let loaded = windowStart + window.count
            let count = min(Self.chunkBytes, limit - loaded)
            if count > 0, try file.read(at: loaded, count: count, into: &window) != count {
                throw .damaged(path: file.name, offset: loaded, reason: "it became shorter")
            }
            let isWhole = windowStart + window.count == limit
            // A line that may go on behind the window is looked at with the next one.
            let end = isWhole ? window.count : max(0, window.count - LogGroupLine.bytesMax)
            var from = 0
            while let found = window.view.firstIndex(of: UInt8(ascii: "#"), from: from),
                found < end
            {
                from = found + 1
                let rest = window.view.slice(
                    found, min(window.count, found + LogGroupLine.bytesMax))
                guard let feed = rest.firstIndex(of: UInt8(ascii: "\n")), feed > 0,
                    rest[feed - 1] == UInt8(ascii: "\r"),
                    let line = LogGroupLine(parsing: rest.slice(0, feed - 1)),
                    line.offset >= start, line.synced > start,
                    line.offset + line.length == windowStart + found
                else { continue }
                budget -= line.length
                guard budget >= 0 else { return line.offset }
                if try isGood(line, seed) { return line.offset }
            }
            if isWhole { return nil }
            windowStart += end
            window.consume(end)
        }
        return nil
    }

    /// Whether a group's checksum fits.
    private func isGood(_ line: LogGroupLine, _ seed: UInt64) throws(StorageError) -> Bool {
        var crc = CRC64(seed)
        var chunk = ByteBuffer()
        var offset = line.offset
        let end = line.offset + line.length
        while offset < end {
            chunk.removeAll()
            let count = min(Self.chunkBytes, end - offset)
            guard try file.read(at: offset, count: count, into: &chunk) == count else {
                return false
            }
            crc.update(chunk.view)
            offset += count
        }
        return line.checksum(after: crc) == line.checksum
    }
}

// Files without.

extension LogScanner {
    /// Makes the whole commands available that the buffer holds, or comes to hold.
    private mutating func readPlain() throws(StorageError) {
        var offset = position
        /// Where the transaction began that has not ended yet.
        var transaction: Int?
        var run = Run(start: offset, end: offset, commandCount: 0)
        /// Up to here commands may be handed out, and so many of the run that this is in.
        var ready = offset
        var readyCount = 0
        reading: while true {
            if offset == limit {
                if let transaction {
                    fail(at: transaction, "a transaction has no end")
                } else if offset == position {
                    finishAtLimit()
                }
                break
            }
            if offset == loadedEnd {
                // What there is goes out before more is read.
                if transaction == nil && ready > position { break }
                try load(through: offset + 1)
            }
            if buffer.view[offset - bufferOffset] == UInt8(ascii: "#") {
                if offset == position, try skipFiller() { return }
                guard let end = try lineEnd(from: offset) else {
                    try failAtComment(offset, cut: transaction ?? offset)
                    break
                }
                let line = buffer.view.slice(offset - bufferOffset, end - 2 - bufferOffset)
                if LogGroupLine(parsing: line) != nil {
                    damage(
                        at: position, length: end - position,
                        "a group ends here, and the file has none")
                    break
                }
                if run.commandCount > 0 { runs.append(run) }
                offset = end
                run = Run(start: end, end: end, commandCount: 0)
                if transaction == nil {
                    ready = end
                    readyCount = 0
                }
                continue
            }
            switch LogFrame.command(in: buffer.view, at: offset - bufferOffset) {
            case .whole(let end, let kind):
                if kind == .multi && transaction == nil { transaction = offset }
                if kind == .exec { transaction = nil }
                offset = bufferOffset + end
                run.end = offset
                run.commandCount += 1
                if transaction == nil {
                    ready = offset
                    readyCount = run.commandCount
                }
            case .incomplete(let bytes):
                if bytes > limit - loadedEnd {
                    fail(at: transaction ?? offset, "a command goes on behind the end")
                    break reading
                }
                if transaction == nil && ready > position { break reading }
                try load(through: loadedEnd + bytes)
            case .malformed(let reason):
                if try isBlank(from: offset) {
                    // The space was there before the bytes came: nothing of it was ever durable.
                    fail(at: transaction ?? offset, "zeros up to the end")
                } else {
                    damage(at: offset, length: limit - offset, "\(reason)")
                }
                break reading
            }
        }
        if run.commandCount > 0 { runs.append(run) }
        while let last = runs.last, last.start >= ready { runs.removeLast() }
        if let last = runs.last, last.end > ready {
            runs[runs.count - 1].end = ready
            runs[runs.count - 1].commandCount = readyCount
        }
        if closingOffset != nil && !runs.isEmpty { hasForeignCommands = true }
        position = ready
    }

    /// Ends the scan at a comment without an end: one that was being written, or none at all.
    private mutating func failAtComment(_ offset: Int, cut: Int) throws(StorageError) {
        let reason = "a comment has no end"
        let isShort = limit - offset < Self.commentBytesMax
        let isTorn = isShort ? true : try isBlank(from: offset)
        if isTorn {
            fail(at: cut, reason)
        } else {
            damage(at: offset, length: limit - offset, reason)
        }
    }

    /// Whether nothing follows but zeros and what space ahead of a log is filled with.
    private mutating func isBlank(from start: Int) throws(StorageError) -> Bool {
        var chunk = ByteBuffer()
        var offset = start
        while offset < limit {
            chunk.removeAll()
            let count = min(Self.chunkBytes, limit - offset)
            guard try file.read(at: offset, count: count, into: &chunk) == count else {
                return false
            }
            let bytes = chunk.view
            for index in 0..<count where bytes[index] != 0 {
                guard LogFiller.has(bytes[index]) else { return false }
            }
            offset += count
        }
        return true
    }
}

// Endings.

extension LogScanner {
    /// Passes over space that was filled ahead of the log, if it begins here: to the end of the file, or
    /// to what another server has put behind it.
    private mutating func skipFiller() throws(StorageError) -> Bool {
        let next = position + 1
        if next < limit {
            try load(through: next + 1)
            guard LogFiller.has(buffer.view[next - bufferOffset]) else { return false }
        }
        guard let end = try LogFiller.end(in: file, from: position, limit: limit) else {
            return false
        }
        if end == limit {
            reserveOffset = position
            finishAtLimit()
        } else {
            // No group stands behind it: ours are written into it.
            hasForeignCommands = true
            protection = .none
            position = end
            buffer.removeAll()
            bufferOffset = end
        }
        return true
    }

    private mutating func finishAtLimit() {
        if missing > 0 {
            damage(at: limit, length: missing, "the manifest knows of more bytes")
        } else {
            ending = .clean
        }
    }

    /// Ends the scan with a tail, which is damage in a file that others follow.
    private mutating func fail(at cut: Int, _ reason: String) {
        if isLast && missing == 0 {
            ending = .tail(cut: cut, length: limit - cut, reason: reason)
        } else {
            damage(at: cut, length: limit - cut + missing, reason)
        }
    }

    private mutating func damage(at offset: Int, length: Int, _ reason: String) {
        ending = .damaged(offset: offset, length: length, reason: reason)
    }
}
