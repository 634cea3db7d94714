//  Replies as tests see them: read from the bytes a session would send, shown on one line.

import MartletBase

/// One reply of either protocol.
indirect enum Reply: Equatable {
    case simple(String)
    case error(String)
    case integer(Int64)
    case bulk([UInt8])
    case null
    case array([Reply])
    case map([Reply])
    case set([Reply])
    case push([Reply])
    case double(String)
    case boolean(Bool)
    case bigNumber(String)
    case verbatim(format: String, [UInt8])
    case attribute([Reply])

    /// A bulk string of this text.
    static func bulk(_ text: String) -> Reply { .bulk(Array(text.utf8)) }

    /// The text of a bulk, simple or verbatim string or of an error; nil for other types.
    var text: String? {
        switch self {
        case .simple(let text), .error(let text): text
        case .bulk(let bytes), .verbatim(_, let bytes): String(decoding: bytes, as: UTF8.self)
        default: nil
        }
    }

    /// The elements of an array, set, push or (keys and values in turn) map; nil for other types.
    var elements: [Reply]? {
        switch self {
        case .array(let elements), .map(let elements), .set(let elements), .push(let elements):
            elements
        default: nil
        }
    }

    /// The value beside `key` in a map, or in the array that RESP2 sends for one.
    subscript(key: String) -> Reply? {
        guard let elements else { return nil }
        for index in stride(from: 0, to: elements.count - 1, by: 2)
        where elements[index].text == key {
            return elements[index + 1]
        }
        return nil
    }

    /// What RESP2 would have said: transcripts are written once for both protocols.
    var inRESP2: Reply {
        switch self {
        case .array(let all), .map(let all), .set(let all), .push(let all):
            .array(all.map(\.inRESP2))
        case .double(let digits), .bigNumber(let digits): .bulk(digits)
        case .boolean(let value): .integer(value ? 1 : 0)
        case .verbatim(_, let bytes): .bulk(bytes)
        default: self
        }
    }
}

extension Reply: CustomStringConvertible {
    /// One line: `OK`, `(integer) 1`, `"text"`, `(nil)`, `(error) ERR no`, `["a", (nil)]`,
    /// `{"k": "v"}`, `~["member"]`, `>["message"]`, `(double) 1.5`, `(true)`, `(big) 1`,
    /// `(txt) "text"`.
    var description: String {
        switch self {
        case .simple(let text): text
        case .error(let text): "(error) " + text
        case .integer(let value): "(integer) \(value)"
        case .bulk(let bytes): Self.quoted(bytes)
        case .null: "(nil)"
        case .array(let all): "[" + Self.list(all) + "]"
        case .set(let all): "~[" + Self.list(all) + "]"
        case .push(let all): ">[" + Self.list(all) + "]"
        case .map(let all): "{" + Self.pairs(all) + "}"
        case .attribute(let all): "|{" + Self.pairs(all) + "}"
        case .double(let digits): "(double) " + digits
        case .boolean(let value): value ? "(true)" : "(false)"
        case .bigNumber(let digits): "(big) " + digits
        case .verbatim(let format, let bytes): "(\(format)) " + Self.quoted(bytes)
        }
    }

    private static func list(_ replies: [Reply]) -> String {
        replies.map(\.description).joined(separator: ", ")
    }

    private static func pairs(_ replies: [Reply]) -> String {
        stride(from: 0, to: replies.count - 1, by: 2).map {
            replies[$0].description + ": " + replies[$0 + 1].description
        }.joined(separator: ", ")
    }

    /// Bytes in quotes, escaped as redis-cli does it.
    static func quoted(_ bytes: [UInt8]) -> String {
        var text = "\""
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "\\"): text += "\\\\"
            case UInt8(ascii: "\""): text += "\\\""
            case UInt8(ascii: "\n"): text += "\\n"
            case UInt8(ascii: "\r"): text += "\\r"
            case UInt8(ascii: "\t"): text += "\\t"
            case 7: text += "\\a"
            case 8: text += "\\b"
            case 0x20...0x7E: text += String(UnicodeScalar(byte))
            default:
                text += "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
            }
        }
        return text + "\""
    }
}

/// Reads replies from the bytes a server sent.
struct ReplyReader {
    private let bytes: [UInt8]
    private(set) var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var isAtEnd: Bool { position == bytes.count }

    /// The next reply; nil when the bytes are not a whole, well-formed one.
    mutating func next() -> Reply? {
        guard let line = line(), let marker = line.first else { return nil }
        let text = String(decoding: line.dropFirst(), as: UTF8.self)
        switch marker {
        case UInt8(ascii: "+"): return .simple(text)
        case UInt8(ascii: "-"): return .error(text)
        case UInt8(ascii: ":"): return Int64(text).map { .integer($0) }
        case UInt8(ascii: ","): return .double(text)
        case UInt8(ascii: "("): return .bigNumber(text)
        case UInt8(ascii: "_"): return text.isEmpty ? .null : nil
        case UInt8(ascii: "#"): return text == "t" ? .boolean(true) : .boolean(false)
        case UInt8(ascii: "$"):
            if text == "-1" { return .null }
            return Int(text).flatMap { body($0) }.map { .bulk($0) }
        case UInt8(ascii: "="):
            guard let all = Int(text).flatMap({ body($0) }), all.count >= 4 else { return nil }
            return .verbatim(
                format: String(decoding: all.prefix(3), as: UTF8.self), Array(all.dropFirst(4)))
        case UInt8(ascii: "*"):
            if text == "-1" { return .null }
            return Int(text).flatMap { elements($0) }.map { .array($0) }
        case UInt8(ascii: "~"): return Int(text).flatMap { elements($0) }.map { .set($0) }
        case UInt8(ascii: ">"): return Int(text).flatMap { elements($0) }.map { .push($0) }
        case UInt8(ascii: "%"): return Int(text).flatMap { elements($0 * 2) }.map { .map($0) }
        case UInt8(ascii: "|"):
            return Int(text).flatMap { elements($0 * 2) }.map { .attribute($0) }
        default: return nil
        }
    }

    private mutating func line() -> ArraySlice<UInt8>? {
        guard let end = bytes[position...].firstIndex(of: UInt8(ascii: "\r")),
            end + 1 < bytes.count, bytes[end + 1] == UInt8(ascii: "\n")
        else { return nil }
        defer { position = end + 2 }
        return bytes[position..<end]
    }

    private mutating func body(_ count: Int) -> [UInt8]? {
        guard count >= 0, position + count + 2 <= bytes.count else { return nil }
        guard Array(bytes[position + count..<position + count + 2]) == [0x0D, 0x0A] else {
            return nil
        }
        defer { position += count + 2 }
        return Array(bytes[position..<position + count])
    }

    private mutating func elements(_ count: Int) -> [Reply]? {
        guard count >= 0 else { return nil }
        var all: [Reply] = []
        while all.count < count {
            guard let reply = next() else { return nil }
            all.append(reply)
        }
        return all
    }
}
