//  Space that is filled ahead of the log, for `appendfsync always`.
//
//  To sync bytes that make a file longer, the file system writes its journal as well; to sync bytes that
//  are put over others it writes only these, in about half the time. So a stretch behind the end is
//  filled and synced once, and the groups are written into it:
//
//      [ group | group | ############################## \r\n ]
//                      ^ end of the log                      ^ end of the file
//
//  The filling is one long line that begins with '#': Redis 7 and later skip it as they skip every
//  comment, in pieces, wherever in it the log ends; and what they append stands on lines of its own. It
//  is cut off when the log is closed or goes on in another file; after a crash it is still there, and the
//  next start cuts it off. Without checksums nothing is filled: a command that came to the disk in part
//  could not be told from one with such a value.

import MartletBase

/// What space ahead of the log is filled with.
enum LogFiller {
    static let byte = UInt8(ascii: "#")
    /// The end of the line, so that what another server appends is not taken for a part of it.
    static let lineEnd: StaticString = "\r\n"
    static let lineEndLength = 2

    private static let row: StaticString =
        "################################################################"
    /// Whether a byte may stand in it.
    static func has(_ other: UInt8) -> Bool {
        other == byte || other == UInt8(ascii: "\r") || other == UInt8(ascii: "\n")
    }

    /// Bytes that are written or read at once.
    fileprivate static let chunkBytes = 1 << 16

    fileprivate static func chunk() -> ByteBuffer {
        var chunk = ByteBuffer(capacity: chunkBytes)
        while chunk.count < chunkBytes { chunk.append(row) }
        return chunk
    }

    /// Where the filling ends that begins at `offset` of a file: behind its line, or at `limit`; nil
    /// where there is none.
    static func end(
        in file: any StorageFile, from offset: Int, limit: Int
    ) throws(StorageError) -> Int? {
        var chunk = ByteBuffer()
        var position = offset
        while position < limit {
            chunk.removeAll()
            let count = min(chunkBytes, limit - position)
            guard try file.read(at: position, count: count, into: &chunk) == count else {
                return nil
            }
            let bytes = chunk.view
            var index = 0
            while index < count, bytes[index] == byte { index += 1 }
            position += index
            if index == count { continue }
            if position == offset { return nil }
            // The end of the line may stand in the next chunk.
            chunk.removeAll()
            let endCount = min(lineEndLength, limit - position)
            guard try file.read(at: position, count: endCount, into: &chunk) == endCount,
                chunk.view == ByteView(lineEnd).slice(0, endCount)
            else { return nil }
            return position + endCount
        }
        return limit
    }
}

extension AppendOnlyDirectory {
    /// Sees to it that `count` more bytes go into space that is filled. Without success they make the
    /// file longer, as they would without it.
    func makeRoom(for count: Int, in increment: Increment) {
        // At least one byte and the end of the line stay behind them.
        let needed = increment.written + count + 1 + LogFiller.lineEndLength
        guard reserveBytes > 0, increment.seed != nil, increment.file.size < needed else {
            return
        }
        try? fill(increment, to: needed + reserveBytes)
    }

    private func fill(_ increment: Increment, to end: Int) throws(StorageError) {
        let chunk = LogFiller.chunk()
        // The line goes on: its end is written over.
        var offset = max(increment.written, increment.file.size - LogFiller.lineEndLength)
        let lineEnd = end - LogFiller.lineEndLength
        while offset < lineEnd {
            let count = min(chunk.count, lineEnd - offset)
            try increment.file.write(chunk.view.slice(0, count), at: offset)
            offset += count
        }
        try increment.file.write(ByteView(LogFiller.lineEnd), at: offset)
        try increment.file.sync()
    }

    /// The end of a line without its line would be no comment: it goes.
    func endReserve(of increment: Increment) throws(StorageError) {
        let left = increment.file.size - increment.written
        if left > 0 && left <= LogFiller.lineEndLength {
            try increment.file.truncate(to: increment.written)
        }
    }

    /// Cuts off what is filled behind the end of a file that nothing is added to any more.
    func releaseReserve(of increment: Increment) {
        // It is in nobody's way where it cannot be cut off.
        if increment.file.size > increment.written {
            try? increment.file.truncate(to: increment.written)
        }
    }
}
