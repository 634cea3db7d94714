//  Where a command of the log ends: RESP framing, nothing of its meaning but MULTI and EXEC.

import MartletBase

/// One command in the bytes of a log.
enum LogFrame {
    /// What a log needs to know of it.
    enum Kind {
        case ordinary, multi, exec
    }

    /// What stands at an offset.
    enum Outcome {
        /// A whole command that ends before `end`.
        case whole(end: Int, Kind)
        /// It goes on behind the bytes that are there: at least `bytes` of them are missing.
        case incomplete(bytes: Int)
        case malformed(StaticString)
    }

    /// More arguments than any server takes.
    private static let argumentsMax = 1 << 31
    /// Longer arguments than any server takes.
    private static let argumentBytesMax = 1 << 40

    /// Looks at the command that begins at `start` of `bytes`.
    ///
    /// - Complexity: O(arguments); their bytes are skipped.
    static func command(in bytes: ByteView, at start: Int) -> Outcome {
        guard start < bytes.count else { return .incomplete(bytes: 1) }
        guard bytes[start] == UInt8(ascii: "*") else {
            return .malformed("no command begins here")
        }
        var position = start + 1
        let (count, status) = number(in: bytes, at: &position)
        switch status {
        case .whole: break
        case .incomplete: return .incomplete(bytes: 1)
        case .malformed: return .malformed("the number of arguments is none")
        }
        guard count >= 1 && count <= argumentsMax else {
            return .malformed("the number of arguments is out of range")
        }
        var kind = Kind.ordinary
        for index in 0..<count {
            guard position < bytes.count else { return .incomplete(bytes: 1) }
            guard bytes[position] == UInt8(ascii: "$") else {
                return .malformed("no argument begins here")
            }
            position += 1
            let (length, status) = number(in: bytes, at: &position)
            switch status {
            case .whole: break
            case .incomplete: return .incomplete(bytes: 1)
            case .malformed: return .malformed("the length of an argument is none")
            }
            guard length <= argumentBytesMax else {
                return .malformed("the length of an argument is out of range")
            }
            let end = position + length + 2
            guard end <= bytes.count else { return .incomplete(bytes: end - bytes.count) }
            guard bytes[end - 2] == UInt8(ascii: "\r"), bytes[end - 1] == UInt8(ascii: "\n") else {
                return .malformed("an argument does not end where it should")
            }
            if index == 0 && count == 1 {
                let name = bytes.slice(position, end - 2)
                if name.equalsIgnoringCase("multi") { kind = .multi }
                if name.equalsIgnoringCase("exec") { kind = .exec }
            }
            position = end
        }
        return .whole(end: position, kind)
    }

    /// The name of the whole command that begins at `start`, in capitals.
    static func name(in bytes: ByteView, at start: Int) -> String {
        var position = start + 1
        _ = number(in: bytes, at: &position)
        position += 1
        let (length, _) = number(in: bytes, at: &position)
        guard position + length <= bytes.count else { return "" }
        return bytes.slice(position, position + length).string.uppercased()
    }

    private enum Status {
        case whole, incomplete, malformed
    }

    /// Reads a number that CR LF ends, and steps behind that.
    @inline(__always)
    private static func number(in bytes: ByteView, at position: inout Int) -> (Int, Status) {
        var value = 0
        let start = position
        while position < bytes.count {
            let byte = bytes[position]
            let digit = byte &- UInt8(ascii: "0")
            if digit > 9 { break }
            // Twelve digits are more than any of our bounds.
            if position - start == 12 { return (0, .malformed) }
            value = value &* 10 &+ Int(digit)
            position += 1
        }
        if position == bytes.count { return (0, .incomplete) }
        guard position > start, bytes[position] == UInt8(ascii: "\r") else {
            return (0, .malformed)
        }
        if position + 1 == bytes.count { return (0, .incomplete) }
        guard bytes[position + 1] == UInt8(ascii: "\n") else { return (0, .malformed) }
        position += 2
        return (value, .whole)
    }
}
