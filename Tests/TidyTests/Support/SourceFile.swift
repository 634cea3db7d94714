//  A Swift file as the tidy tests see it: its code as tokens, without comments, strings apart.
//
//  The scanner knows just enough of Swift: comments that nest, strings with any number of `#`, code
//  inside interpolations. Regular expression literals are not known; this repository has none.

/// One word, symbol or string of a file's code.
struct Token {
    enum Kind {
        case word
        case symbol
        case string
    }

    let kind: Kind
    /// A word or symbol as it stands; a string's contents without its quotes.
    let text: String
    /// Counted from 1.
    let line: Int
    /// Whether it stands right behind the token before it.
    let isAdjacent: Bool
    /// How many braces are open around it.
    let depth: Int
}

/// A Swift file of this repository.
struct SourceFile {
    /// From the root of the repository.
    let path: String
    let lines: [Substring]
    let tokens: [Token]

    init(path: String, text: String) {
        self.path = path
        lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        var scanner = Scanner(text)
        tokens = scanner.scan()
    }

    /// The comment the file opens with, without its slashes.
    var opening: [String] {
        lines.prefix { $0.hasPrefix("//") }.map { String($0.drop { $0 == "/" || $0 == " " }) }
    }

    /// The second component of the path: a target, for the files of one.
    var target: String { component(1) }

    /// The third component of the path: a folder of a target, or a file.
    var folder: String { component(2) }

    private func component(_ index: Int) -> String {
        let parts = path.split(separator: "/")
        return parts.count > index ? String(parts[index]) : ""
    }

    /// Whether a line comment stands on `line` (from 1), on the two above, or on the two below.
    func hasComment(near line: Int) -> Bool {
        lines[max(0, line - 3)..<min(lines.count, line + 2)].contains { $0.contains("//") }
    }

    /// The places where the tokens `pattern` follow each other.
    func occurrences(of pattern: String...) -> [Token] {
        guard tokens.count >= pattern.count else { return [] }
        return (0...(tokens.count - pattern.count)).filter { start in
            pattern.indices.allSatisfy {
                tokens[start + $0].kind != .string && tokens[start + $0].text == pattern[$0]
            }
        }.map { tokens[$0] }
    }

    func place(_ token: Token) -> String { "\(path):\(token.line)" }
}

/// Cuts a file into tokens.
private struct Scanner {
    private let bytes: [UInt8]
    private var index = 0
    private var line = 1
    private var depth = 0
    private var end = -1
    private var tokens: [Token] = []

    init(_ text: String) { bytes = Array(text.utf8) }

    mutating func scan() -> [Token] {
        code(untilParenthesis: false)
        return tokens
    }

    private func peek(_ offset: Int = 0) -> UInt8 {
        index + offset < bytes.count ? bytes[index + offset] : 0
    }

    private mutating func advance(_ count: Int = 1) {
        for _ in 0..<count where index < bytes.count {
            if bytes[index] == UInt8(ascii: "\n") { line += 1 }
            index += 1
        }
    }

    private mutating func add(_ kind: Token.Kind, from start: Int, to limit: Int, line: Int) {
        tokens.append(
            Token(
                kind: kind, text: String(decoding: bytes[start..<limit], as: UTF8.self), line: line,
                isAdjacent: start == end, depth: depth))
        end = index
    }

    /// Scans code to the end, or to the parenthesis that closes an interpolation.
    private mutating func code(untilParenthesis isInterpolation: Bool) {
        var parentheses = 0
        while index < bytes.count {
            let byte = peek()
            let start = index
            let startLine = line
            switch byte {
            case UInt8(ascii: "/") where peek(1) == UInt8(ascii: "/"):
                while index < bytes.count && peek() != UInt8(ascii: "\n") { advance() }
            case UInt8(ascii: "/") where peek(1) == UInt8(ascii: "*"):
                blockComment()
            case UInt8(ascii: "\""):
                string(hashes: 0)
            case UInt8(ascii: "#") where opensRawString:
                var hashes = 0
                while peek() == UInt8(ascii: "#") {
                    hashes += 1
                    advance()
                }
                string(hashes: hashes)
            case UInt8(ascii: "`"):
                advance()
                while index < bytes.count && peek() != UInt8(ascii: "`") { advance() }
                advance()
                add(.word, from: start + 1, to: index - 1, line: startLine)
            case _ where isWordByte(byte):
                while isWordByte(peek()) { advance() }
                add(.word, from: start, to: index, line: startLine)
            case UInt8(ascii: " "), UInt8(ascii: "\n"), UInt8(ascii: "\t"):
                advance()
            default:
                if byte == UInt8(ascii: "(") { parentheses += 1 }
                if byte == UInt8(ascii: ")") {
                    if isInterpolation && parentheses == 0 { return }
                    parentheses -= 1
                }
                if byte == UInt8(ascii: "}") { depth -= 1 }
                advance()
                add(.symbol, from: start, to: index, line: startLine)
                if byte == UInt8(ascii: "{") { depth += 1 }
            }
        }
    }

    private func isWordByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), 0x80...:
            true
        default: false
        }
    }

    private var opensRawString: Bool {
        var offset = 0
        while peek(offset) == UInt8(ascii: "#") { offset += 1 }
        return peek(offset) == UInt8(ascii: "\"")
    }

    private mutating func blockComment() {
        var open = 0
        repeat {
            if peek() == UInt8(ascii: "/") && peek(1) == UInt8(ascii: "*") {
                open += 1
                advance(2)
            } else if peek() == UInt8(ascii: "*") && peek(1) == UInt8(ascii: "/") {
                open -= 1
                advance(2)
            } else {
                advance()
            }
        } while open > 0 && index < bytes.count
    }

    private mutating func string(hashes: Int) {
        let startLine = line
        let quote = UInt8(ascii: "\"")
        let quotes = peek(1) == quote && peek(2) == quote ? 3 : 1
        let before = index
        advance(quotes)
        let start = index
        while index < bytes.count {
            if peek() == UInt8(ascii: "\\") && follows(hashes, at: 1) {
                advance(1 + hashes)
                if peek() == UInt8(ascii: "(") {
                    advance()
                    code(untilParenthesis: true)
                }
                advance()
            } else if (0..<quotes).allSatisfy({ peek($0) == quote }) && follows(hashes, at: quotes)
            {
                let limit = index
                advance(quotes + hashes)
                end = end == before - hashes ? start : -1
                add(.string, from: start, to: limit, line: startLine)
                return
            } else {
                advance()
            }
        }
    }

    private func follows(_ hashes: Int, at offset: Int) -> Bool {
        (0..<hashes).allSatisfy { peek(offset + $0) == UInt8(ascii: "#") }
    }
}
