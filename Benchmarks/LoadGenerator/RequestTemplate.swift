//  A request as text with placeholders, turned into RESP bytes with fields of fixed width.
//
//      SET key:{key} {value}
//
//      *3\r\n$3\r\nSET\r\n$16\r\nkey:000000000000\r\n$64\r\nxVq…\r\n
//                              ^ field: 12 digits, patched before each send
//
//  Fixed widths are what makes the generator fast: a request is a copy of an image with a few
//  digits overwritten, and its length, which the floor server is told, never changes.

/// One operation: one or several commands with their fields, sent together.
package struct RequestTemplate: Sendable {
    /// A run of digits that changes from operation to operation.
    package struct Field: Sendable, Equatable {
        package enum Source: Sendable, Equatable {
            /// A newly drawn key number.
            case key
            /// The key number drawn last in this operation.
            case sameKey
            /// The number of the operation.
            case sequence
            /// A random number.
            case random
            /// The random number drawn last in this operation.
            case sameRandom
        }
        package let source: Source
        /// Where the digits stand in `bytes`.
        package let offset: Int
        /// How many digits there are, padded with zeros.
        package let width: Int
        /// Added to the number.
        package let base: UInt64
        /// How many numbers a random field draws from.
        package let range: UInt64
    }

    /// The RESP bytes, digits of fields filled in as if all their numbers were 0.
    package let bytes: [UInt8]
    package let fields: [Field]
    /// The commands in it, and so the replies to it.
    package let commandCount: Int

    /// The digits of a key, a sequence number: 16-byte keys come out of `key:{key}`.
    package static let keyWidth = 12

    /// Reads `text`: words separated by spaces, quoted as in redis-cli; a word `;` begins the next
    /// command of the same operation.
    ///
    /// - Throws: `.usage` when quotes or placeholders are wrong; says where.
    package init(_ text: String, valueBytes: Int) throws(BenchmarkError) {
        var commands: [[Word]] = [[]]
        for word in try RequestTemplate.words(text) {
            if word.isSeparator {
                commands.append([])
            } else {
                commands[commands.count - 1].append(word)
            }
        }
        var bytes: [UInt8] = []
        var fields: [Field] = []
        for command in commands {
            if command.isEmpty { throw .usage("a command is empty in '\(text)'") }
            bytes += Array("*\(command.count)\r\n".utf8)
            for word in command {
                let argument = try Argument(word, in: text, valueBytes: valueBytes)
                bytes += Array("$\(argument.bytes.count)\r\n".utf8)
                fields += argument.fields.map { field in
                    Field(
                        source: field.source, offset: field.offset + bytes.count,
                        width: field.width, base: field.base, range: field.range)
                }
                bytes += argument.bytes
                bytes += [13, 10]
            }
        }
        if let first = fields.first(where: { $0.source == .key || $0.source == .sameKey }),
            first.source == .sameKey
        {
            throw .usage("{samekey} comes before any {key} in '\(text)'")
        }
        if let first = fields.first(where: { $0.source == .random || $0.source == .sameRandom }),
            first.source == .sameRandom
        {
            throw .usage("{samerand} comes before any {rand} in '\(text)'")
        }
        // The digits as they stand are a valid request, too.
        var drawn: UInt64 = 0
        for field in fields {
            if field.source == .random { drawn = field.base }
            guard field.source == .sameRandom else { continue }
            var left = field.base + drawn
            for place in (field.offset..<(field.offset + field.width)).reversed() {
                bytes[place] = UInt8(ascii: "0") + UInt8(left % 10)
                left /= 10
            }
        }
        self.bytes = bytes
        self.fields = fields
        commandCount = commands.count
    }

    struct Word {
        var bytes: [UInt8] = []
        var isQuoted = false
        var isSeparator: Bool { !isQuoted && bytes == [UInt8(ascii: ";")] }
    }

    /// Splits `text` at spaces outside of quotes. Double quotes know \n \r \t \\ \" and \xHH.
    static func words(_ text: String) throws(BenchmarkError) -> [Word] {
        let input = Array(text.utf8)
        var words: [Word] = []
        var word: Word?
        var at = 0
        func isSpace(_ byte: UInt8) -> Bool { byte == 32 || (9...13).contains(byte) }
        while at < input.count {
            let byte = input[at]
            if isSpace(byte) {
                if let finished = word { words.append(finished) }
                word = nil
                at += 1
            } else if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") {
                var quoted = word ?? Word()
                quoted.isQuoted = true
                at += 1
                while at < input.count && input[at] != byte {
                    if byte == UInt8(ascii: "\"") && input[at] == UInt8(ascii: "\\") {
                        let (escaped, length) = try escape(input[(at + 1)...], in: text)
                        quoted.bytes.append(escaped)
                        at += 1 + length
                    } else {
                        quoted.bytes.append(input[at])
                        at += 1
                    }
                }
                if at == input.count { throw .usage("a quote is not closed in '\(text)'") }
                at += 1
                word = quoted
            } else {
                var plain = word ?? Word()
                plain.bytes.append(byte)
                word = plain
                at += 1
            }
        }
        if let finished = word { words.append(finished) }
        return words
    }

    private static func escape(
        _ input: ArraySlice<UInt8>, in text: String
    ) throws(BenchmarkError) -> (UInt8, length: Int) {
        switch input.first {
        case UInt8(ascii: "n"): return (10, 1)
        case UInt8(ascii: "r"): return (13, 1)
        case UInt8(ascii: "t"): return (9, 1)
        case UInt8(ascii: "x"):
            let digits = String(decoding: input.dropFirst().prefix(2), as: UTF8.self)
            guard digits.utf8.count == 2, let byte = UInt8(digits, radix: 16) else {
                throw .usage("\\x wants two hexadecimal digits in '\(text)'")
            }
            return (byte, 3)
        case .some(let byte): return (byte, 1)
        case .none: throw .usage("a quote is not closed in '\(text)'")
        }
    }
}

/// One word with its placeholders expanded; field offsets count from its first byte.
private struct Argument {
    var bytes: [UInt8] = []
    var fields: [RequestTemplate.Field] = []

    /// A brace followed by a lower-case letter begins a placeholder; `{{` is a plain brace, and so
    /// is any other, because scripts are full of them.
    init(_ word: RequestTemplate.Word, in text: String, valueBytes: Int) throws(BenchmarkError) {
        let input = word.bytes
        var at = 0
        while at < input.count {
            guard input[at] == UInt8(ascii: "{"), at + 1 < input.count else {
                bytes.append(input[at])
                at += 1
                continue
            }
            if input[at + 1] == UInt8(ascii: "{") {
                bytes.append(UInt8(ascii: "{"))
                at += 2
                continue
            }
            guard (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(input[at + 1]) else {
                bytes.append(input[at])
                at += 1
                continue
            }
            guard let end = input[at...].firstIndex(of: UInt8(ascii: "}")) else {
                throw .usage("a placeholder is not closed in '\(text)'")
            }
            let name = String(decoding: input[(at + 1)..<end], as: UTF8.self)
            try expand(name, in: text, valueBytes: valueBytes)
            at = end + 1
        }
    }

    private mutating func expand(
        _ placeholder: String, in text: String, valueBytes: Int
    ) throws(BenchmarkError) {
        let parts = placeholder.split(
            separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let detail = parts.count == 2 ? String(parts[1]) : nil
        func wrong(_ why: String) -> BenchmarkError {
            .usage("{\(placeholder)} in '\(text)': \(why)")
        }
        switch (parts[0], detail) {
        case ("key", nil): field(.key, width: RequestTemplate.keyWidth)
        case ("samekey", nil): field(.sameKey, width: RequestTemplate.keyWidth)
        case ("value", nil): bytes += fillerText(valueBytes)
        case ("value", .some(let size)):
            guard let size = Int(size), (0...(1 << 29)).contains(size) else {
                throw wrong("a size in bytes up to 536870912 was expected")
            }
            bytes += fillerText(size)
        case ("seq", nil): field(.sequence, width: RequestTemplate.keyWidth)
        case ("seq", .some(let base)):
            guard let number = UInt64(base), number < 1_000_000_000_000_000_000 else {
                throw wrong("a number with at most 18 digits was expected")
            }
            field(.sequence, width: base.utf8.count, base: number)
        case ("samerand", .some(let offset)):
            guard let number = UInt64(offset), number < 1_000_000_000_000_000_000 else {
                throw wrong("a number to add, as wide as the sum, was expected")
            }
            field(.sameRandom, width: offset.utf8.count, base: number)
        case ("rand", .some(let range)):
            let bounds = range.split(separator: "-", omittingEmptySubsequences: false)
            if bounds.count == 1, let count = UInt64(bounds[0]), count > 0,
                count < 1_000_000_000_000_000_000
            {
                field(.random, width: String(count - 1).utf8.count, range: count)
            } else if bounds.count == 2, let low = UInt64(bounds[0]), let high = UInt64(bounds[1]),
                low <= high, high < 1_000_000_000_000_000_000
            {
                guard String(low).utf8.count == String(high).utf8.count else {
                    throw wrong("both bounds must have the same number of digits")
                }
                field(
                    .random, width: String(high).utf8.count, base: low, range: high - low + 1)
            } else {
                throw wrong("{rand:COUNT} or {rand:LOW-HIGH} was expected")
            }
        default:
            throw wrong(
                "unknown; there are {key} {samekey} {value} {value:BYTES} {seq} {seq:BASE} "
                    + "{rand:COUNT} {rand:LOW-HIGH} {samerand:ADDED}, and {{ for a plain brace")
        }
    }

    private mutating func field(
        _ source: RequestTemplate.Field.Source, width: Int, base: UInt64 = 0, range: UInt64 = 1
    ) {
        fields.append(
            RequestTemplate.Field(
                source: source, offset: bytes.count, width: width, base: base, range: range))
        let digits = Array(String(base).utf8)
        bytes += [UInt8](repeating: UInt8(ascii: "0"), count: max(0, width - digits.count))
        bytes += digits
    }
}

/// `count` bytes that do not compress well and contain neither digits nor `*`.
///
/// Letters only: a value that looks like a number would be stored as one, and the floor server may
/// count the `*` that begin requests.
func fillerText(_ count: Int) -> [UInt8] {
    var random = RandomBits(seed: 64)
    return (0..<count).map { _ in
        let letter = UInt8(random.below(52))
        return letter < 26 ? UInt8(ascii: "a") + letter : UInt8(ascii: "A") + letter - 26
    }
}
