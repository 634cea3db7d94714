//  What can be said of an RDB file without loading it: each value is made, and given up again.

import MartletBase
import MartletEngine

/// What was found in one RDB file, or in the one that a log begins with.
struct RDBCheck {
    /// Of what was read before an error, if there is one.
    let summary: RDBSummary
    /// What is wrong; the path is the file's name.
    let error: StorageError?
    /// Behind the last record that is whole: what is before can be saved. 0 when there is none.
    let wholeEnd: Int
    /// All could be read but for the checksum: any byte may be the wrong one.
    let isChecksumWrong: Bool
    /// The file has no checksum, so that only what makes no sense is seen.
    let lacksChecksum: Bool

    /// Reads all of it.
    ///
    /// - Throws: when the file cannot be read, not for what stands in it.
    /// - Complexity: O(bytes); memory for the largest value.
    init(_ file: any StorageFile) throws(StorageError) {
        var offset = 0
        let input = RDBInput { (buffer, count) throws(StorageError) in
            let got = try file.read(at: offset, count: count, into: &buffer)
            offset += got
            return got
        }
        var reader = RDBReader(checking: input, path: file.name)
        let (summary, error) = reader.check()
        if let error, case .storage(let failure) = error.reason { throw failure }
        self.summary = summary
        self.error = error?.of(path: file.name)
        wholeEnd = reader.wholeEnd
        isChecksumWrong = error != nil && reader.isAtChecksum
        var checksum = ByteBuffer()
        let end = summary.endOffset
        if error == nil, summary.version >= Self.checksumVersionMin, end >= 8 {
            _ = try file.read(at: end - 8, count: 8, into: &checksum)
        }
        lacksChecksum = error == nil && checksum.view.bytes.allSatisfy { $0 == 0 }
    }

    private static let checksumVersionMin = 5

    /// Keys by type and what else there is, a line each.
    var lines: [String] {
        let kinds: [(ValueKind, String)] = [
            (.string, "string"), (.list, "list"), (.set, "set"), (.sortedSet, "zset"),
            (.hash, "hash"), (.stream, "stream"),
        ]
        var counts = kinds.map { (summary.keysOfKind[Int($0.rawValue)], "keys of type \($1)") }
        counts.append((summary.keysWithDeadline, "keys with a deadline"))
        counts.append((summary.emptyKeys, "keys without members, which are left out"))
        counts.append((summary.functions, "function libraries"))
        return counts.filter { $0.0 > 0 }.map { "  \($0) \($1)" }
    }

    /// Copies what is before the damage into a new file, with an end and a checksum of its own.
    func save(_ file: any StorageFile, to copy: any StorageFile) throws(StorageError) {
        var checksum = CRC64()
        var chunk = ByteBuffer()
        var offset = 0
        while offset < wholeEnd {
            chunk.removeAll()
            let count = min(1 << 20, wholeEnd - offset)
            guard try file.read(at: offset, count: count, into: &chunk) == count else {
                throw .damaged(path: file.name, offset: offset, reason: "it became shorter")
            }
            checksum.update(chunk.view)
            try copy.append(chunk.view)
            offset += count
        }
        chunk.removeAll()
        chunk.append(RDBOpcode.end.rawValue)
        checksum.update(chunk.view)
        if summary.version >= Self.checksumVersionMin {
            for shift in 0..<8 {
                chunk.append(UInt8(truncatingIfNeeded: checksum.value >> UInt64(8 * shift)))
            }
        }
        try copy.append(chunk.view)
        try copy.sync()
    }
}
