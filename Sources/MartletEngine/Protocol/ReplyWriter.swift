//  Replies in both protocols, written into the loop's output buffer as the handler runs.
//
//  Every method writes one whole reply, or one header whose elements follow. Where RESP2 has no such
//  type, the form that Redis falls back to is written.

import CSystem
import Glibc
import MartletBase

/// Writes replies of one protocol version into a buffer.
package struct ReplyWriter: ~Copyable {
    /// Replies of the current event, sent when it ends.
    package var buffer = ByteBuffer()
    /// The client speaks RESP3.
    package var isRESP3 = false
    /// Where a number is written before its length is known.
    private var digits = ByteBuffer()

    package init() {}

    /// `+OK`.
    @inline(__always)
    package mutating func ok() { buffer.append("+OK\r\n") }

    /// A simple string of our own text, which holds no line ends.
    @inline(__always)
    package mutating func simple(_ text: StaticString) {
        buffer.append(UInt8(ascii: "+"))
        buffer.append(text)
        lineEnd()
    }

    /// A simple string; line ends in it would break the framing and become blanks.
    package mutating func simple(_ text: ByteView) {
        buffer.append(UInt8(ascii: "+"))
        appendScrubbed(text)
        lineEnd()
    }

    /// A simple string from text, for paths that may allocate.
    package mutating func simple(text: String) { text.withView { simple($0) } }

    /// An error, `text` being code and message without the leading minus. Line ends at its end, which
    /// an argument it names may have, are left out, as Redis does; others become blanks.
    package mutating func error(_ text: ByteView) {
        var count = text.count
        while count > 0 && (text[count - 1] == 0x0D || text[count - 1] == 0x0A) { count -= 1 }
        buffer.append(UInt8(ascii: "-"))
        appendScrubbed(text.slice(0, count))
        lineEnd()
    }

    /// An error from text, for paths that may allocate.
    package mutating func error(_ text: String) {
        text.withView { error($0) }
    }

    @inline(__always)
    package mutating func integer(_ value: Int) { integer(Int64(value)) }

    @inline(__always)
    package mutating func integer(_ value: Int64) {
        buffer.append(UInt8(ascii: ":"))
        buffer.append(decimal: value)
        lineEnd()
    }

    /// A bulk string.
    @inline(__always)
    package mutating func bulk(_ bytes: ByteView) {
        header(UInt8(ascii: "$"), bytes.count)
        let room = unsafe buffer.writable(bytes.count &+ 2)
        unsafe bytes.copy(to: room)
        unsafe (room + bytes.count).storeBytes(of: 0x0A0D, as: UInt16.self)
        buffer.commit(bytes.count &+ 2)
    }

    package mutating func bulk(_ text: StaticString) { bulk(ByteView(text)) }

    /// A bulk string from text, for paths that may allocate.
    @_disfavoredOverload
    package mutating func bulk(_ text: String) { text.withView { bulk($0) } }

    /// A bulk string of the decimal form of an integer.
    package mutating func bulk(decimal value: Int64) {
        let digits = decimalDigitCount(value.magnitude)
        header(UInt8(ascii: "$"), value < 0 ? digits + 1 : digits)
        buffer.append(decimal: value)
        lineEnd()
    }

    /// A bulk string of the decimal form of an unsigned integer.
    package mutating func bulk(unsignedDecimal value: UInt64) {
        header(UInt8(ascii: "$"), decimalDigitCount(value))
        buffer.append(unsignedDecimal: value)
        lineEnd()
    }

    /// A RESP3 double, or in RESP2 a bulk string of the same digits.
    package mutating func double(_ value: Double) {
        if isRESP3 {
            buffer.append(UInt8(ascii: ","))
            buffer.append(double: value)
            lineEnd()
            return
        }
        // Scores are whole numbers more often than not.
        if value.magnitude < 1e15, value == value.rounded(.towardZero), !value.isZero {
            bulk(decimal: Int64(value))
            return
        }
        digits.removeAll()
        digits.append(double: value)
        bulk(digits.view)
    }

    /// The null of the protocol in a place where RESP2 has a bulk string.
    @inline(__always)
    package mutating func null() {
        if isRESP3 { buffer.append("_\r\n") } else { buffer.append("$-1\r\n") }
    }

    /// The null of the protocol in a place where RESP2 has an array.
    package mutating func nullArray() {
        if isRESP3 { buffer.append("_\r\n") } else { buffer.append("*-1\r\n") }
    }

    /// A RESP3 boolean, or in RESP2 the integer 1 or 0.
    package mutating func boolean(_ value: Bool) {
        if isRESP3 {
            buffer.append(value ? "#t\r\n" : "#f\r\n")
        } else {
            buffer.append(value ? ":1\r\n" : ":0\r\n")
        }
    }

    /// The header of an array of `count` replies.
    @inline(__always)
    package mutating func array(_ count: Int) { header(UInt8(ascii: "*"), count) }

    /// The header of a map of `count` pairs; in RESP2 an array of twice as many.
    package mutating func map(_ count: Int) {
        if isRESP3 { header(UInt8(ascii: "%"), count) } else { array(count * 2) }
    }

    /// The answer to `<container> HELP`: an opening line, the given ones, and those of HELP itself.
    ///
    /// - Parameters:
    ///   - container: the command, in capitals.
    ///   - lines: each subcommand's form, followed by indented lines that explain it.
    package mutating func help(_ container: StaticString, _ lines: [StaticString]) {
        array(lines.count + 3)
        buffer.append("+")
        buffer.append(container)
        buffer.append(" <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n")
        for line in lines { simple(line) }
        simple("HELP")
        simple("    Print this help.")
    }

    /// The header of a set; in RESP2 an array.
    package mutating func set(_ count: Int) {
        header(isRESP3 ? UInt8(ascii: "~") : UInt8(ascii: "*"), count)
    }

    /// Writes what `body` does, a header say, in front of what was written from `offset` on.
    ///
    /// - Complexity: O(bytes from there on).
    package mutating func insert(at offset: Int, _ body: (inout ReplyWriter) -> Void) {
        let end = buffer.count
        body(&self)
        buffer.moveTail(from: end, to: offset)
    }

    /// The header of a push; in RESP2 an array.
    package mutating func push(_ count: Int) {
        header(isRESP3 ? UInt8(ascii: ">") : UInt8(ascii: "*"), count)
    }

    /// A big number of decimal digits; in RESP2 a bulk string of the same bytes.
    package mutating func bigNumber(_ digits: ByteView) {
        if isRESP3 {
            buffer.append(UInt8(ascii: "("))
        } else {
            header(UInt8(ascii: "$"), digits.count)
        }
        appendScrubbed(digits)
        lineEnd()
    }

    /// Text for people: `txt` or `mkd` in RESP3, a bulk string in RESP2.
    package mutating func verbatim(_ text: ByteView, format: StaticString = "txt") {
        guard isRESP3 else {
            bulk(text)
            return
        }
        header(UInt8(ascii: "="), text.count + 4)
        buffer.append(format)
        buffer.append(UInt8(ascii: ":"))
        buffer.append(text)
        lineEnd()
    }

    /// The same with a format that is foreign bytes: the first three of them, blanks where there are
    /// fewer or where one would break the framing.
    package mutating func verbatim(_ text: ByteView, format: ByteView) {
        guard isRESP3 else {
            bulk(text)
            return
        }
        header(UInt8(ascii: "="), text.count + 4)
        for index in 0..<3 {
            appendScrubbed(index < format.count ? format.slice(index, index + 1) : ByteView(" "))
        }
        buffer.append(UInt8(ascii: ":"))
        buffer.append(text)
        lineEnd()
    }

    /// The same from text, for paths that may allocate.
    package mutating func verbatim(_ text: String, format: StaticString = "txt") {
        text.withView { verbatim($0, format: format) }
    }

    /// The header of attributes that precede a reply. RESP3 only.
    package mutating func attribute(_ count: Int) {
        assert(isRESP3)
        header(UInt8(ascii: "|"), count)
    }

    @inline(__always)
    private mutating func header(_ marker: UInt8, _ count: Int) {
        let room = unsafe buffer.writable(24)
        if count < 10 {
            // All of it in one store.
            let digit = 0x30 &+ UInt32(truncatingIfNeeded: count)
            unsafe room.storeBytes(
                of: 0x0A0D_0000 | digit &<< 8 | UInt32(marker), as: UInt32.self)
            buffer.commit(4)
            return
        }
        if count < 100 {
            let tens = UInt64(truncatingIfNeeded: count) / 10
            let ones = UInt64(truncatingIfNeeded: count) &- tens &* 10
            unsafe room.storeBytes(
                of: 0x0A_0D30_3000 | ones &<< 16 | tens &<< 8 | UInt64(marker), as: UInt64.self)
            buffer.commit(5)
            return
        }
        unsafe room.storeBytes(of: marker, as: UInt8.self)
        let digits = decimalDigitCount(UInt64(count))
        unsafe writeDecimal(UInt64(count), digits: digits, to: room + 1)
        unsafe (room + 1 + digits).storeBytes(of: 0x0A0D, as: UInt16.self)
        buffer.commit(digits &+ 3)
    }

    @inline(__always)
    private mutating func lineEnd() {
        let room = unsafe buffer.writable(2)
        unsafe room.storeBytes(of: 0x0A0D, as: UInt16.self)
        buffer.commit(2)
    }

    /// The one place where foreign bytes enter a line: CR and LF become blanks.
    private mutating func appendScrubbed(_ text: ByteView) {
        for index in 0..<text.count {
            let byte = text[index]
            buffer.append(byte == 0x0D || byte == 0x0A ? UInt8(ascii: " ") : byte)
        }
    }
}
