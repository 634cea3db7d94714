//  RESP requests from bytes to arguments: views into the bytes, no copies.
//
//  Bytes come from outside: every load below stands behind a comparison with the end. A request
//  that is not whole yet is left alone; the caller comes back with the same bytes and more. How many
//  it takes at least is answered too, so that a huge request is not read again and again.

import Glibc
import MartletBase

/// Bytes that are not RESP. The text is sent as an error reply; then the connection is closed.
enum ProtocolError: Error {
    case tooBigInlineRequest
    case unbalancedQuotes
    case tooBigMultibulkCount
    case invalidMultibulkLength
    case tooBigBulkCount
    case expectedBulk(UInt8)
    case invalidBulkLength
    case missingLineEnd
    case unauthenticatedMultibulkLength
    case unauthenticatedBulkLength
    /// `POST` or `Host:`: somebody's browser was sent here. Closed without a reply.
    case crossProtocol
}

/// What was found at the front of the bytes.
enum ParsedRequest {
    /// Arguments stand in the store; the request ends before this offset.
    case request(count: Int, end: Int)
    /// Nothing to execute, as `*0`; goes on at this offset.
    case empty(end: Int)
    /// Not whole yet: at least so many bytes must be there in all.
    case incomplete(bytesNeeded: Int)
    case malformed(ProtocolError)
}

/// Bounds that depend on configuration and on who sends.
struct RequestLimits {
    var bulkBytesMax = Limits.bulkBytesMax
    var argumentsMax = Limits.argumentsMax
    var inlineBytesMax = Limits.inlineBytesMax
    var isAuthenticated = true
}

/// The arguments of the requests of one batch: a growing array of views in raw memory.
///
/// - Invariant: `capacity` views are allocated, the first `count` of them initialized.
@safe
struct ArgumentStore: ~Copyable {
    private(set) var views: UnsafeMutablePointer<ByteView>
    private(set) var count = 0
    private var capacity: Int
    /// What inline arguments decode to. One inline request at a time.
    private var decoded = ByteBuffer()

    /// Room that is kept between batches; more is given back.
    static let keptCapacity = 1024

    init() {
        capacity = Self.keptCapacity
        unsafe views = .allocate(capacity: capacity)
    }

    deinit { unsafe views.deallocate() }

    @inline(__always)
    mutating func append(_ view: ByteView) {
        if count == capacity { grow() }
        unsafe views[count] = view
        count &+= 1
    }

    @inline(never)
    private mutating func grow() {
        let grown = UnsafeMutablePointer<ByteView>.allocate(capacity: capacity * 2)
        unsafe grown.update(from: views, count: count)
        unsafe views.deallocate()
        unsafe views = grown
        capacity *= 2
    }

    @inline(__always)
    mutating func truncate(to count: Int) { self.count = count }

    /// Forgets all views and gives the memory of an unusually large batch back.
    @inline(__always)
    mutating func removeAll() {
        count = 0
        if capacity > Self.keptCapacity { shrink() }
    }

    @inline(never)
    private mutating func shrink() {
        unsafe views.deallocate()
        capacity = Self.keptCapacity
        unsafe views = .allocate(capacity: capacity)
        decoded.release()
    }

    /// Splits an inline request into arguments: blanks part them, quotes keep them together, and
    /// inside double quotes `\n`, `\xHH` and their like stand for bytes.
    ///
    /// - Returns: false when quotes are unbalanced or a closing one is not followed by a blank.
    mutating func appendInline(_ line: ByteView) -> Bool {
        decoded.removeAll()
        // Decoding never lengthens: with this room the views below stay where they are.
        decoded.reserve(line.count + 1)
        var index = 0
        while true {
            while index < line.count && isBlank(line[index]) { index += 1 }
            if index == line.count || line[index] == 0 { return true }
            let start = decoded.count
            guard decodeArgument(line, &index) else { return false }
            append(decoded.view.slice(start, decoded.count))
        }
    }

    private mutating func decodeArgument(_ line: ByteView, _ index: inout Int) -> Bool {
        var quote: UInt8 = 0
        while index < line.count {
            let byte = line[index]
            if quote == 0 {
                if isBlank(byte) || byte == 0 { return true }
                if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") {
                    quote = byte
                    index += 1
                    continue
                }
            } else if byte == UInt8(ascii: "\\") && index + 1 < line.count {
                if let (value, length) = Self.escaped(line, index, inside: quote) {
                    decoded.append(value)
                    index += length
                    continue
                }
            } else if byte == quote {
                index += 1
                return index == line.count || isBlank(line[index])
            }
            decoded.append(byte)
            index += 1
        }
        return quote == 0
    }

    /// The byte an escape at `index` stands for and its length; nil when the backslash is itself.
    private static func escaped(
        _ line: ByteView, _ index: Int, inside quote: UInt8
    ) -> (UInt8, Int)? {
        let next = line[index + 1]
        if quote == UInt8(ascii: "'") { return next == quote ? (quote, 2) : nil }
        switch next {
        case UInt8(ascii: "x") where index + 3 < line.count:
            guard let high = hexDigit(line[index + 2]), let low = hexDigit(line[index + 3]) else {
                return (next, 2)
            }
            return (high << 4 | low, 4)
        case UInt8(ascii: "n"): return (0x0A, 2)
        case UInt8(ascii: "r"): return (0x0D, 2)
        case UInt8(ascii: "t"): return (0x09, 2)
        case UInt8(ascii: "b"): return (0x08, 2)
        case UInt8(ascii: "a"): return (0x07, 2)
        default: return (next, 2)
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
}

/// Reads one request at a time from the front of a run of bytes.
enum RequestParser {
    /// Reads the request that begins at `start`, appending its arguments to `store`.
    ///
    /// - Complexity: O(arguments); argument bytes are not touched.
    @inline(__always)
    static func parse(
        _ input: ByteView, from start: Int, limits: RequestLimits, into store: inout ArgumentStore
    ) -> ParsedRequest {
        let base = unsafe input.address
        let end = input.count
        guard start < end else { return .incomplete(bytesNeeded: start + 1) }
        if unsafe base.load(fromByteOffset: start, as: UInt8.self) != UInt8(ascii: "*") {
            return parseInline(input, from: start, limits: limits, into: &store)
        }
        var position = start &+ 1
        var left = 0
        switch unsafe length(base, &position, end, limits) {
        case .value(let value): left = value
        case .incomplete: return .incomplete(bytesNeeded: end + 1)
        case .tooLong: return .malformed(.tooBigMultibulkCount)
        case .invalid: return .malformed(.invalidMultibulkLength)
        case .badLineEnd: return .malformed(.missingLineEnd)
        }
        if left <= 0 { return .empty(end: position) }
        if left > limits.argumentsMax { return .malformed(.invalidMultibulkLength) }
        if !limits.isAuthenticated && left > Limits.preauthArgumentsMax {
            return .malformed(.unauthenticatedMultibulkLength)
        }
        let count = left
        while left > 0 {
            guard position < end else { return .incomplete(bytesNeeded: position + left &* 6) }
            let marker = unsafe base.load(fromByteOffset: position, as: UInt8.self)
            if marker != UInt8(ascii: "$") { return .malformed(.expectedBulk(marker)) }
            position &+= 1
            var bytes = 0
            switch unsafe length(base, &position, end, limits) {
            case .value(let value): bytes = value
            case .incomplete: return .incomplete(bytesNeeded: end + 1)
            case .tooLong: return .malformed(.tooBigBulkCount)
            case .invalid: return .malformed(.invalidBulkLength)
            case .badLineEnd: return .malformed(.missingLineEnd)
            }
            if bytes < 0 || bytes > limits.bulkBytesMax { return .malformed(.invalidBulkLength) }
            if !limits.isAuthenticated && bytes > Limits.preauthBulkBytesMax {
                return .malformed(.unauthenticatedBulkLength)
            }
            guard end &- position >= bytes &+ 2 else {
                return .incomplete(bytesNeeded: position + bytes + 2 + (left - 1) &* 6)
            }
            let after = position &+ bytes
            if unsafe base.loadUnaligned(fromByteOffset: after, as: UInt16.self) != lineEnd {
                return .malformed(.missingLineEnd)
            }
            store.append(unsafe ByteView(base + position, count: bytes))
            position = after &+ 2
            left &-= 1
        }
        return .request(count: count, end: position)
    }

    /// CR LF as a little-endian load sees it; both platforms are little-endian.
    private static let lineEnd: UInt16 = 0x0A0D

    private enum Length {
        case value(Int)
        case incomplete
        case tooLong
        case invalid
        case badLineEnd
    }

    /// Reads a decimal number up to CR LF and moves `position` behind it.
    @inline(__always)
    private static func length(
        _ base: UnsafeRawPointer, _ position: inout Int, _ end: Int, _ limits: RequestLimits
    ) -> Length {
        // One and two digits, which nearly all lengths have.
        if end &- position >= 4 {
            let first = unsafe base.load(fromByteOffset: position, as: UInt8.self) &- 0x30
            if first < 10 {
                if unsafe base.loadUnaligned(fromByteOffset: position &+ 1, as: UInt16.self)
                    == lineEnd
                {
                    position &+= 3
                    return .value(Int(first))
                }
                let second = unsafe base.load(fromByteOffset: position &+ 1, as: UInt8.self) &- 0x30
                if second < 10 && first != 0,
                    unsafe base.loadUnaligned(fromByteOffset: position &+ 2, as: UInt16.self)
                        == lineEnd
                {
                    position &+= 4
                    return .value(Int(first) &* 10 &+ Int(second))
                }
            }
        }
        return unsafe longLength(base, &position, end, limits.inlineBytesMax)
    }

    @inline(never)
    private static func longLength(
        _ base: UnsafeRawPointer, _ position: inout Int, _ end: Int, _ lineBytesMax: Int
    ) -> Length {
        let rest = unsafe ByteView(base + position, count: end - position)
        guard let lineLength = rest.firstIndex(of: 0x0D) else {
            return rest.count > lineBytesMax ? .tooLong : .incomplete
        }
        guard lineLength + 1 < rest.count else { return .incomplete }
        guard let value = rest.slice(0, lineLength).parseInteger() else { return .invalid }
        guard rest[lineLength + 1] == 0x0A else { return .badLineEnd }
        position += lineLength + 2
        return .value(Int(value))
    }

    @inline(never)
    private static func parseInline(
        _ input: ByteView, from start: Int, limits: RequestLimits, into store: inout ArgumentStore
    ) -> ParsedRequest {
        let rest = input.slice(start, input.count)
        guard let newline = rest.firstIndex(of: 0x0A) else {
            if rest.count > limits.inlineBytesMax { return .malformed(.tooBigInlineRequest) }
            return .incomplete(bytesNeeded: input.count + 1)
        }
        var length = newline
        if length > 0 && rest[length - 1] == 0x0D { length -= 1 }
        let before = store.count
        guard store.appendInline(rest.slice(0, length)) else {
            store.truncate(to: before)
            return .malformed(.unbalancedQuotes)
        }
        let count = store.count - before
        let end = start + newline + 1
        if count == 0 { return .empty(end: end) }
        let name = unsafe store.views[before]
        if name.equalsIgnoringCase("post") || name.equalsIgnoringCase("host:") {
            return .malformed(.crossProtocol)
        }
        return .request(count: count, end: end)
    }
}
