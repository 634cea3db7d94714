//  A base of commands while it is written: `aof-use-rdb-preamble no`. It has the lines of an increment,
//  and ends as one that was closed in order, so that each byte of it can be verified and none can lack.

import MartletBase

/// Writes a base of commands.
package struct LogBaseWriter: ~Copyable {
    private let file: any StorageFile
    /// Of the checksums; nil for a file without.
    private let seed: UInt64?
    /// What is not written yet: the open group, before the first one the header too.
    private var buffer = ByteBuffer()
    /// Where the open group begins in the buffer.
    private var groupStart = 0
    /// Bytes of the file.
    private var written = 0
    private var database = -1

    /// A group with so many bytes is ended.
    private static let groupBytes = 256 * 1024

    /// - Parameters:
    ///   - file: empty.
    ///   - hasChecksums: whether groups end with checksum lines.
    package init(_ file: any StorageFile, hasChecksums: Bool) {
        self.file = file
        seed = hasChecksums ? systemRandomWord() : nil
        if let seed { LogHeader.write(seed: seed, to: &buffer) }
        groupStart = buffer.count
    }

    /// Appends whole commands for a database.
    package mutating func append(_ commands: ByteView, database: Int) throws(StorageError) {
        if database != self.database {
            self.database = database
            let number = String(database)
            buffer.append(
                "*2\r\n$6\r\nSELECT\r\n$\(number.utf8.count)\r\n\(number)\r\n" as String)
        }
        buffer.append(commands)
        if buffer.count - groupStart >= Self.groupBytes { try endGroup() }
    }

    /// Appends the commands that load function libraries, before any key.
    package mutating func append(functions texts: [Bytes]) throws(StorageError) {
        for text in texts {
            buffer.append("*4\r\n$8\r\nFUNCTION\r\n$4\r\nLOAD\r\n$7\r\nREPLACE\r\n" as String)
            buffer.append("$\(text.count)\r\n" as String)
            text.withView { buffer.append($0) }
            buffer.append("\r\n")
            if buffer.count - groupStart >= Self.groupBytes { try endGroup() }
        }
    }

    /// Ends the file and makes it durable.
    package mutating func end() throws(StorageError) {
        try endGroup()
        if let seed {
            LogGroupLine.closing(at: written, seed).write(to: &buffer)
            try write()
        }
        try file.sync()
    }

    private mutating func endGroup() throws(StorageError) {
        if buffer.count > groupStart { appendLine() }
        try write()
    }

    /// The line behind the open group.
    private mutating func appendLine() {
        guard let seed else { return }
        var crc = CRC64(seed)
        crc.update(buffer.view.slice(groupStart, buffer.count))
        // Nothing of a base counts before all of it is durable.
        var line = LogGroupLine(
            offset: written + groupStart, length: buffer.count - groupStart, synced: 0)
        line.checksum = line.checksum(after: crc)
        line.write(to: &buffer)
    }

    private mutating func write() throws(StorageError) {
        if !buffer.isEmpty { try file.append(buffer.view) }
        written += buffer.count
        buffer.removeAll()
        groupStart = 0
    }
}
