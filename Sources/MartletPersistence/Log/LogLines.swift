//  The lines that Martlet puts between the commands of an increment, so that each byte of it can be
//  verified. To Redis 7 and later they are comments. protocol.md, 11.2, shows them byte for byte.
//
//      #MARTLET:1:<seed>:<crc>\r\n                    first line of the file
//      *2\r\n$6\r\nSELECT ...                         a group: commands, whole transactions only
//      #CRC:<offset>:<length>:<crc>:<synced>\r\n      its end
//      ...
//      #CRC:<offset>:0:<crc>:<offset>\r\n             the log was closed in order: an empty group
//
//  A group begins at `offset`, where the line before ended, and has `length` bytes. Its checksum
//  starts from the seed, a random number of each file, so that no value that a client stores can
//  look like a group of this file.

import MartletBase

/// The first line of an increment with checksums.
enum LogHeader {
    private static let start: StaticString = "#MARTLET:1:"
    /// What the first lines of all versions begin with.
    static let mark: StaticString = "#MARTLET:"

    /// Bytes of the line, with its end.
    static let length = 11 + 16 + 1 + 16 + 2

    static func write(seed: UInt64, to buffer: inout ByteBuffer) {
        let text = "1:" + HexadecimalWord.text(seed)
        let checksum = text.withView { CRC64.checksum($0) }
        buffer.append("#MARTLET:\(text):\(HexadecimalWord.text(checksum))\r\n" as String)
    }

    /// The seed of the file that begins with `bytes`; nil where that is no such line.
    static func seed(in bytes: ByteView) -> UInt64? {
        guard bytes.count >= length, bytes.slice(0, 11) == ByteView(start),
            let seed = HexadecimalWord.parse(bytes.slice(11, 27)),
            bytes[27] == UInt8(ascii: ":"),
            let checksum = HexadecimalWord.parse(bytes.slice(28, 44)),
            bytes.slice(44, 46) == ByteView("\r\n"),
            CRC64.checksum(bytes.slice(9, 27)) == checksum
        else { return nil }
        return seed
    }
}

/// The line at the end of a group.
struct LogGroupLine: Equatable {
    /// Where the group begins in its file.
    var offset: Int
    /// Bytes of the group, without this line.
    var length: Int
    /// How much of the file was known durable when the line was written.
    var synced: Int
    var checksum: UInt64 = 0

    static let mark: StaticString = "#CRC:"
    /// No such line is longer, its end included.
    static let bytesMax = 5 + 3 * 20 + 16 + 2

    /// An empty group behind which nothing was written: the log was closed in order.
    var closesLog: Bool { length == 0 && synced == offset }

    func write(to buffer: inout ByteBuffer) {
        let checksum = HexadecimalWord.text(checksum)
        buffer.append("#CRC:\(offset):\(length):\(checksum):\(synced)\r\n" as String)
    }

    /// The line in `bytes`, without its end; nil where it is none.
    init?(parsing bytes: ByteView) {
        guard bytes.count > 5, bytes.count <= Self.bytesMax,
            bytes.slice(0, 5) == ByteView(Self.mark),
            let first = bytes.firstIndex(of: UInt8(ascii: ":"), from: 5),
            let second = bytes.firstIndex(of: UInt8(ascii: ":"), from: first + 1),
            let third = bytes.firstIndex(of: UInt8(ascii: ":"), from: second + 1),
            let offset = bytes.slice(5, first).parseInteger(),
            let length = bytes.slice(first + 1, second).parseInteger(),
            let checksum = HexadecimalWord.parse(bytes.slice(second + 1, third)),
            let synced = bytes.slice(third + 1, bytes.count).parseInteger(),
            offset >= 0, length >= 0, synced >= 0, synced <= offset,
            !offset.addingReportingOverflow(length).overflow
        else { return nil }
        self.offset = Int(offset)
        self.length = Int(length)
        self.synced = Int(synced)
        self.checksum = checksum
    }

    init(offset: Int, length: Int, synced: Int) {
        self.offset = offset
        self.length = length
        self.synced = synced
    }

    /// The line that closes a file at an offset.
    static func closing(at offset: Int, _ seed: UInt64) -> LogGroupLine {
        var line = LogGroupLine(offset: offset, length: 0, synced: offset)
        line.checksum = line.checksum(after: CRC64(seed))
        return line
    }

    /// The checksum that the line must have: of the group's bytes, absorbed by `crc`, and of the
    /// numbers, so that none of these can change unseen.
    func checksum(after crc: CRC64) -> UInt64 {
        var crc = crc
        "\(offset):\(length):\(synced)".withView { crc.update($0) }
        return crc.value
    }
}
