//  One line of a configuration file: split into words by Redis' quoting rules, and quoted back.
//
//  Outside of quotes, blanks separate words. Inside of double quotes, `\n \r \t \b \a` and `\xHH`
//  stand for bytes and any other `\c` for `c`; inside of single quotes only `\'` is special. A
//  closing quote must end its word.

/// Splits a line into words, and quotes words for a line.
enum ConfigurationLine {
    /// The words of `line`, or nil when its quotes are not balanced.
    static func split(_ line: [UInt8]) -> [[UInt8]]? {
        var words: [[UInt8]] = []
        var index = 0
        while true {
            while index < line.count, isSpace(line[index]) { index += 1 }
            guard index < line.count else { return words }
            guard let word = takeWord(line, &index) else { return nil }
            words.append(word)
        }
    }

    /// `word` as it must be written so that `split` gives it back.
    static func quote(_ word: [UInt8]) -> [UInt8] {
        let isPlain =
            !word.isEmpty && word.first != UInt8(ascii: "#")
            && !word.contains {
                $0 <= 0x20 || $0 >= 0x7F || $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "'")
                    || $0 == UInt8(ascii: "\\")
            }
        return isPlain ? word : quoteAlways(word)
    }

    /// `word` in double quotes.
    static func quoteAlways(_ word: [UInt8]) -> [UInt8] {
        var quoted: [UInt8] = [UInt8(ascii: "\"")]
        for byte in word {
            switch byte {
            case UInt8(ascii: "\\"), UInt8(ascii: "\""):
                quoted.append(UInt8(ascii: "\\"))
                quoted.append(byte)
            case 0x20..<0x7F: quoted.append(byte)
            default:
                let digits = String(byte, radix: 16)
                quoted.append(contentsOf: "\\x\(digits.count == 1 ? "0" : "")\(digits)".utf8)
            }
        }
        quoted.append(UInt8(ascii: "\""))
        return quoted
    }

    private static func takeWord(_ line: [UInt8], _ index: inout Int) -> [UInt8]? {
        var word: [UInt8] = []
        while index < line.count, !isSpace(line[index]) {
            let byte = line[index]
            index += 1
            guard byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") else {
                word.append(byte)
                continue
            }
            guard takeQuoted(line, &index, quote: byte, into: &word) else { return nil }
            return index == line.count || isSpace(line[index]) ? word : nil
        }
        return word
    }

    private static func takeQuoted(
        _ line: [UInt8], _ index: inout Int, quote: UInt8, into word: inout [UInt8]
    ) -> Bool {
        let isDouble = quote == UInt8(ascii: "\"")
        while index < line.count {
            let byte = line[index]
            index += 1
            if byte == quote { return true }
            guard byte == UInt8(ascii: "\\"), index < line.count,
                isDouble || line[index] == quote
            else {
                word.append(byte)
                continue
            }
            if isDouble, line[index] == UInt8(ascii: "x"), index + 2 < line.count,
                let high = hexDigit(line[index + 1]), let low = hexDigit(line[index + 2])
            {
                word.append(high << 4 | low)
                index += 3
                continue
            }
            word.append(isDouble ? escaped(line[index]) : line[index])
            index += 1
        }
        return false
    }

    private static func escaped(_ byte: UInt8) -> UInt8 {
        switch byte {
        case UInt8(ascii: "n"): 0x0A
        case UInt8(ascii: "r"): 0x0D
        case UInt8(ascii: "t"): 0x09
        case UInt8(ascii: "b"): 0x08
        case UInt8(ascii: "a"): 0x07
        default: byte
        }
    }

    private static func hexDigit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x41 + 10
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }

    static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (byte >= 0x09 && byte <= 0x0D) }
}
