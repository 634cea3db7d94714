//  The manifest of an append-only directory: which files make up the log, in which order.
//
//  The format is that of Redis 7 and later, a line per file: the base, the history (files that may be
//  deleted), the increments.
//
//      file appendonly.aof.2.base.rdb seq 2 type b\n
//      file appendonly.aof.4.incr.aof seq 4 type h\n
//      file appendonly.aof.5.incr.aof seq 5 type i\n
//      file appendonly.aof.6.incr.aof seq 6 type i\n
//      #END:5:81920\n
//      #CRC:79f4c4bcfd6e5d3a\n
//
//  Lines that begin with `#` are comments to Redis. Martlet writes the length of each increment that
//  is closed, so that one which was cut is noticed, and a checksum of all that stands before.

import MartletBase

/// The files of an append-only directory.
package struct LogManifest: Equatable, Sendable {
    /// One file; the name is relative to the directory.
    package struct File: Equatable, Sendable {
        package var name: String
        package var sequence: Int

        package init(name: String, sequence: Int) {
            self.name = name
            self.sequence = sequence
        }
    }

    package var base: File?
    /// What newer files have replaced.
    package var history: [File] = []
    /// In the order in which they are loaded; the last one is appended to.
    package var increments: [File] = []
    /// The lengths of increments that are closed, by sequence.
    package var closedLengths: [Int: Int] = [:]
    /// Whether a checksum stood at its end, and fits.
    package private(set) var isChecked = false

    /// No files at all.
    package init() {}

    package var isEmpty: Bool { base == nil && increments.isEmpty && history.isEmpty }

    package static func == (left: LogManifest, right: LogManifest) -> Bool {
        left.base == right.base && left.history == right.history
            && left.increments == right.increments && left.closedLengths == right.closedLengths
    }
}

// Writing.

extension LogManifest {
    /// The manifest's bytes, with lengths and checksum in comments where it `isChecked`.
    package func encoded(isChecked: Bool) -> [UInt8] {
        var text = ByteBuffer()
        if let base { Self.write(base, "b", to: &text) }
        for file in history { Self.write(file, "h", to: &text) }
        for file in increments { Self.write(file, "i", to: &text) }
        guard isChecked else { return text.view.bytes }
        for file in increments {
            guard let length = closedLengths[file.sequence] else { continue }
            text.append("#END:\(file.sequence):\(length)\n" as String)
        }
        let checksum = HexadecimalWord.text(CRC64.checksum(text.view))
        text.append("#CRC:\(checksum)\n" as String)
        return text.view.bytes
    }

    private static func write(_ file: File, _ type: StaticString, to text: inout ByteBuffer) {
        text.append("file ")
        let bytes = Array(file.name.utf8)
        if bytes.contains(where: needsQuotes) {
            text.append("\"")
            for byte in bytes { escape(byte, to: &text) }
            text.append("\"")
        } else {
            text.append(file.name)
        }
        text.append(" seq \(file.sequence) type " as String)
        text.append(type)
        text.append("\n")
    }

    private static func needsQuotes(_ byte: UInt8) -> Bool {
        byte <= 0x20 || byte >= 0x7F || byte == UInt8(ascii: "\\") || byte == UInt8(ascii: "\"")
    }

    private static func escape(_ byte: UInt8, to text: inout ByteBuffer) {
        switch byte {
        case UInt8(ascii: "\\"): text.append("\\\\")
        case UInt8(ascii: "\""): text.append("\\\"")
        case UInt8(ascii: "\n"): text.append("\\n")
        case UInt8(ascii: "\r"): text.append("\\r")
        case UInt8(ascii: "\t"): text.append("\\t")
        case 0x07: text.append("\\a")
        case 0x08: text.append("\\b")
        case 0x20...0x7E: text.append(byte)
        default:
            text.append("\\x")
            text.append(HexadecimalWord.digit(byte >> 4))
            text.append(HexadecimalWord.digit(byte & 0xF))
        }
    }
}

// Reading.

extension LogManifest {
    /// Longer lines are nobody's.
    private static let lineBytesMax = 1024
    /// Larger manifests are nobody's.
    package static let bytesMax = 16 << 20

    /// Reads what Redis, Valkey or Martlet wrote.
    ///
    /// - Throws: `StorageError.damaged` with the offset of the line that is not understood.
    package init(parsing bytes: ByteView, path: String) throws(StorageError) {
        var offset = 0
        while offset < bytes.count {
            guard let end = bytes.firstIndex(of: UInt8(ascii: "\n"), from: offset) else {
                throw .damaged(path: path, offset: offset, reason: "a line without an end")
            }
            do throws(Unreadable) {
                guard end - offset < Self.lineBytesMax else { throw Unreadable("too long a line") }
                guard !isChecked else { throw Unreadable("a line behind the checksum") }
                if bytes[offset] == UInt8(ascii: "#") {
                    try readComment(bytes.slice(offset, end), before: bytes.slice(0, offset))
                } else {
                    try readFile(bytes.slice(offset, end))
                }
            } catch {
                throw .damaged(path: path, offset: offset, reason: error.reason)
            }
            offset = end + 1
        }
        guard base != nil || !increments.isEmpty else {
            throw .damaged(path: path, offset: 0, reason: "an empty manifest")
        }
    }

    /// Why a line is not understood.
    private struct Unreadable: Error {
        let reason: String

        init(_ reason: String) { self.reason = reason }
    }

    private mutating func readComment(
        _ line: ByteView, before: ByteView
    ) throws(Unreadable) {
        if line.count >= 5, line.slice(0, 5) == ByteView("#CRC:") {
            let expected = CRC64.checksum(before)
            guard HexadecimalWord.parse(line.slice(5, line.count)) == expected else {
                throw Unreadable("the checksum does not fit what stands before it")
            }
            isChecked = true
        } else if line.count >= 5, line.slice(0, 5) == ByteView("#END:") {
            guard let colon = line.firstIndex(of: UInt8(ascii: ":"), from: 5),
                let sequence = line.slice(5, colon).parseInteger().map({ Int($0) }),
                let length = line.slice(colon + 1, line.count).parseInteger().map({ Int($0) }),
                length >= 0, increments.contains(where: { $0.sequence == sequence })
            else { throw Unreadable("not the length of an increment") }
            closedLengths[sequence] = length
        }
    }

    private mutating func readFile(_ line: ByteView) throws(Unreadable) {
        guard let words = Self.words(line), words.count >= 6, words.count % 2 == 0 else {
            throw Unreadable("not `file NAME seq NUMBER type LETTER`")
        }
        var file = File(name: "", sequence: 0)
        var type: [UInt8] = []
        for index in stride(from: 0, to: words.count, by: 2) {
            let value = words[index + 1]
            // Newer servers add pairs of their own.
            switch words[index].withView({ $0.string.lowercased() }) {
            case "file":
                guard let name = String(validating: value, as: UTF8.self) else {
                    throw Unreadable("a name that is not UTF-8")
                }
                file.name = name
            case "seq": file.sequence = value.withView { Int($0.parseInteger() ?? 0) }
            case "type": type = value
            default: break
            }
        }
        guard file.sequence > 0 else { throw Unreadable("a sequence number that is none") }
        // A name leads to a file of this directory and to no other.
        guard !file.name.isEmpty, !file.name.utf8.contains(UInt8(ascii: "/")),
            !file.name.utf8.contains(0), file.name != ".", file.name != ".."
        else { throw Unreadable("a name that is a path") }
        switch type {
        case [UInt8(ascii: "b")]:
            guard base == nil else { throw Unreadable("a second base") }
            base = file
        case [UInt8(ascii: "h")]: history.append(file)
        case [UInt8(ascii: "i")]:
            guard file.sequence > (increments.last?.sequence ?? 0) else {
                throw Unreadable("increments out of order")
            }
            increments.append(file)
        default: throw Unreadable("an unknown type of file")
        }
    }

    /// The words of a line, of which some may be quoted; nil where a quote does not end.
    private static func words(_ line: ByteView) -> [[UInt8]]? {
        var words: [[UInt8]] = []
        var index = 0
        while true {
            while index < line.count, line[index] <= 0x20 { index += 1 }
            guard index < line.count else { return words }
            var word: [UInt8] = []
            if line[index] == UInt8(ascii: "\"") {
                guard let end = quoted(line, from: index + 1, into: &word) else { return nil }
                index = end
            } else {
                while index < line.count, line[index] > 0x20 {
                    word.append(line[index])
                    index += 1
                }
            }
            words.append(word)
        }
    }

    /// Reads to behind the closing quote, behind which a blank or the end must be.
    private static func quoted(
        _ line: ByteView, from start: Int, into word: inout [UInt8]
    ) -> Int? {
        var index = start
        while index < line.count {
            let byte = line[index]
            index += 1
            if byte == UInt8(ascii: "\"") {
                return index == line.count || line[index] <= 0x20 ? index : nil
            }
            guard byte == UInt8(ascii: "\\"), index < line.count else {
                word.append(byte)
                continue
            }
            let escaped = line[index]
            index += 1
            switch escaped {
            case UInt8(ascii: "n"): word.append(0x0A)
            case UInt8(ascii: "r"): word.append(0x0D)
            case UInt8(ascii: "t"): word.append(0x09)
            case UInt8(ascii: "a"): word.append(0x07)
            case UInt8(ascii: "b"): word.append(0x08)
            case UInt8(ascii: "x"):
                guard index + 2 <= line.count, let high = HexadecimalWord.value(line[index]),
                    let low = HexadecimalWord.value(line[index + 1])
                else {
                    word.append(escaped)
                    continue
                }
                word.append(high << 4 | low)
                index += 2
            default: word.append(escaped)
            }
        }
        return nil
    }
}

/// Sixty-four bits as sixteen lowercase hexadecimal digits.
enum HexadecimalWord {
    static let digitCount = 16

    static func digit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
    }

    /// What a digit, in either case, stands for.
    static func value(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    static func text(_ word: UInt64) -> String {
        let digits = (0..<16).map { digit(UInt8(word >> (60 - 4 * $0) & 0xF)) }
        return String(decoding: digits, as: UTF8.self)
    }

    /// The word; nil unless there are exactly sixteen lowercase digits.
    static func parse(_ digits: ByteView) -> UInt64? {
        guard digits.count == digitCount else { return nil }
        var word: UInt64 = 0
        for index in 0..<digitCount {
            let byte = digits[index]
            if byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "F") { return nil }
            guard let value = value(byte) else { return nil }
            word = word << 4 | UInt64(value)
        }
        return word
    }
}
