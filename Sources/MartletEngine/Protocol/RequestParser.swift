//  RESP requests from bytes to arguments: views into the bytes, no copies.
//
//  Bytes come from outside: every load below stands behind a comparison with the end. A request
//  that is not whole yet is left alone; the caller comes back with the same bytes and more. How many
//  it takes at least is answered too, so that a huge request is not read again and again.
//
//  Raw memory: the argument store allocates and frees its views, for the executor of one loop. The
//  bytes they point to belong to the connection and hold still until the batch has run.

import Glibc
import MartletBase

/// Bytes that are not RESP. The text is sent as an error reply; then the connection is closed.
enum ProtocolError: Error, Equatable {
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

    /// Makes room for `extra` more views.
    @inline(__always)
    mutating func reserve(_ extra: Int) {
        while capacity &- count < extra { grow() }
    }

    /// Counts `added` views, written behind the last one into reserved room, as held.
    @inline(__always)
    mutating func commit(_ added: Int) {
        assert(count + added <= capacity)
        count &+= added
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
    /// inside double quotes `\n`, `\xHH` and their like stand for bytes. A zero byte ends the line.
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
            } else if byte == 0 {
                return false
            } else if byte == UInt8(ascii: "\\") && index + 1 < line.count {
                if let (value, length) = Self.escaped(line, index, inside: quote) {
                    decoded.append(value)
                    index += length
                    continue
                }
            } else if byte == quote {
                index += 1
                return index == line.count || isBlank(line[index]) || line[index] == 0
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

/// How far a large request that is not whole yet was looked at, so that its arguments are not looked
/// at again with every read: that would take a time that grows with the square of their number.
struct PartialRequest {
    /// From the request's first byte to the argument that is missing.
    var offset = 0
    /// Arguments that are missing; 0 when there is nothing to continue.
    var argumentsLeft = 0
}

/// Reads one request at a time from a run of bytes.
struct RequestParser {
    /// Where the next request begins.
    private(set) var position: Int
    /// Set when bytes were not RESP.
    private(set) var failure: ProtocolError?
    /// Set when a request is not whole yet: so many bytes must be there in all.
    private(set) var bytesNeeded = 0
    /// Set along with `bytesNeeded` when the request is large.
    private(set) var partial = PartialRequest()
    private let limits: RequestLimits
    /// The limits do not matter to a request of the usual form.
    private let allowsUsual: Bool

    /// `next` found a request that is not whole, or bytes that are no request.
    static let stopped = -1

    init(from position: Int, _ limits: RequestLimits) {
        self.position = position
        self.limits = limits
        allowsUsual =
            limits.isAuthenticated && limits.bulkBytesMax >= 999
            && limits.argumentsMax >= Self.usualArgumentsMax
    }

    /// Reads a request, appending its arguments to `store`.
    ///
    /// - Returns: the number of arguments, 0 for a request with nothing to execute as `*0`, or
    ///   `stopped`.
    /// - Complexity: O(arguments); their bytes are not touched.
    @inline(__always)
    mutating func next(_ input: ByteView, into store: inout ArgumentStore) -> Int {
        let usual = usual(input, into: &store)
        return usual > 0 ? usual : any(input, into: &store)
    }

    private static let usualArgumentsMax = 99

    /// Reads what nearly all requests are: whole, up to 99 arguments of up to 999 bytes. Everything
    /// is kept in registers here; with this, a GET is parsed in a third of the instructions.
    ///
    /// - Returns: the number of arguments, or 0 for any other request, of which nothing was taken.
    @inline(__always)
    private mutating func usual(_ input: ByteView, into store: inout ArgumentStore) -> Int {
        let end = unsafe input.address + input.count
        var at = unsafe input.address + position
        guard allowsUsual, input.count &- position >= 10 else { return 0 }
        let head = unsafe at.loadUnaligned(as: UInt32.self)
        var count = Int((head &>> 8) & 0xFF) &- 0x30
        guard count > 0, count <= 9 else { return 0 }
        if head & 0xFFFF_00FF == 0x0A0D_002A {
            // "*n\r\n"
            unsafe at += 4
        } else {
            // "*nn\r\n"
            let second = Int((head &>> 16) & 0xFF) &- 0x30
            guard head & 0xFF00_00FF == 0x0D00_002A, second >= 0, second <= 9,
                unsafe at.load(fromByteOffset: 4, as: UInt8.self) == 0x0A
            else { return 0 }
            count = count &* 10 &+ second
            unsafe at += 5
        }
        store.reserve(count)
        var next = unsafe store.views + store.count
        var left = count
        repeat {
            // The shortest argument is "$0\r\n\r\n".
            guard unsafe end - at >= 6 else { return 0 }
            let word = unsafe at.loadUnaligned(as: UInt32.self)
            let first = (word &>> 8) & 0xFF &- 0x30
            guard word & 0xFF == UInt32(UInt8(ascii: "$")), first < 10 else { return 0 }
            var bytes = Int(first)
            if word &>> 16 == UInt32(Self.lineEnd) {
                unsafe at += 4
            } else {
                let second = (word &>> 16) & 0xFF &- 0x30
                let rest = unsafe at.loadUnaligned(fromByteOffset: 4, as: UInt16.self)
                guard first != 0, second < 10 else { return 0 }
                bytes = bytes &* 10 &+ Int(second)
                if word &>> 24 == 0x0D {
                    guard rest & 0xFF == 0x0A else { return 0 }
                    unsafe at += 5
                } else {
                    let third = word &>> 24 &- 0x30
                    guard third < 10, rest == Self.lineEnd else { return 0 }
                    bytes = bytes &* 10 &+ Int(third)
                    unsafe at += 6
                }
            }
            guard unsafe end - at >= bytes &+ 2,
                unsafe at.loadUnaligned(fromByteOffset: bytes, as: UInt16.self) == Self.lineEnd
            else { return 0 }
            unsafe next.initialize(to: ByteView(at, count: bytes))
            unsafe next += 1
            unsafe at += bytes &+ 2
            left &-= 1
        } while left > 0
        store.commit(count)
        position = unsafe at - input.address
        return count
    }

    /// Reads a request of any form.
    @inline(never)
    private mutating func any(_ input: ByteView, into store: inout ArgumentStore) -> Int {
        let base = unsafe input.address
        let end = input.count
        var position = self.position
        guard position < end else { return needs(position + 1) }
        if unsafe base.load(fromByteOffset: position, as: UInt8.self) != UInt8(ascii: "*") {
            return inline(input, into: &store)
        }
        position &+= 1
        let count = unsafe length(base, &position, end)
        if count <= 0 {
            if count < Self.notALength { return stop(count, .multibulk) }
            self.position = position
            return 0
        }
        if count > limits.argumentsMax || !limits.isAuthenticated {
            return unusual(input, count, position, into: &store)
        }
        return arguments(input, count, position, into: &store)
    }

    @inline(__always)
    private mutating func arguments(
        _ input: ByteView, _ count: Int, _ start: Int, into store: inout ArgumentStore
    ) -> Int {
        let base = unsafe input.address
        let end = input.count
        // An argument takes six bytes at least, so what is reserved is bounded by what was sent.
        store.reserve(min(count, (end &- start) / 6 &+ 1))
        var next = unsafe store.views + store.count
        let bulkBytesMax = limits.bulkBytesMax
        var position = start
        var left = count
        while left > 0 {
            guard position < end else { return lacks(left, position, position + 1) }
            let marker = unsafe base.load(fromByteOffset: position, as: UInt8.self)
            if marker != UInt8(ascii: "$") { return fail(.expectedBulk(marker)) }
            let argument = position
            position &+= 1
            let bytes = unsafe length(base, &position, end)
            if bytes < 0 || bytes > bulkBytesMax {
                if bytes == Self.incomplete { return lacks(left, argument, end + 1) }
                return stop(bytes, .bulk)
            }
            // Not `bytes + 2`, which overflows where proto-max-bulk-len allows the greatest number.
            guard end &- position &- 2 >= bytes else {
                return lacks(left, argument, position + 2, bytes)
            }
            let after = position &+ bytes
            if unsafe base.loadUnaligned(fromByteOffset: after, as: UInt16.self) != Self.lineEnd {
                return fail(.missingLineEnd)
            }
            unsafe next.initialize(to: ByteView(base + position, count: bytes))
            unsafe next += 1
            position = after &+ 2
            left &-= 1
        }
        store.commit(count)
        self.position = position
        return count
    }

    /// The request is not whole: `left` arguments are missing, the first of which begins at
    /// `position`, and less than `bytesMin + extra` bytes in all can not do.
    @inline(never)
    private mutating func lacks(
        _ left: Int, _ position: Int, _ bytesMin: Int, _ extra: Int = 0
    ) -> Int {
        let (bytes, isTooMany) = bytesMin.addingReportingOverflow(extra)
        bytesNeeded = isTooMany ? Int.max - 1 : bytes
        if position - self.position >= Self.partialBytesMin {
            partial = PartialRequest(offset: position - self.position, argumentsLeft: left)
        }
        return Self.stopped
    }

    /// A smaller request is looked at from its begin each time.
    static let partialBytesMin = 16 * 1024

    /// Looks on at the request that begins the input, from where an earlier look ended.
    ///
    /// - Returns: false while it is not whole; `bytesNeeded` and `partial` are set then. True when it
    ///   is whole or wrong: `next` tells which.
    /// - Complexity: O(arguments that were missing).
    mutating func isWhole(_ input: ByteView, _ known: PartialRequest) -> Bool {
        let base = unsafe input.address
        let end = input.count
        var position = position + known.offset
        var left = known.argumentsLeft
        while left > 0 {
            let argument = position
            guard position < end else {
                _ = lacks(left, argument, argument + 1)
                return false
            }
            if unsafe base.load(fromByteOffset: position, as: UInt8.self) != UInt8(ascii: "$") {
                return true
            }
            position &+= 1
            let bytes = unsafe length(base, &position, end)
            if bytes == Self.incomplete {
                _ = lacks(left, argument, end + 1)
                return false
            }
            if bytes < 0 || bytes > limits.bulkBytesMax { return true }
            guard end &- position &- 2 >= bytes else {
                _ = lacks(left, argument, position + 2, bytes)
                return false
            }
            position &+= bytes
            if unsafe base.loadUnaligned(fromByteOffset: position, as: UInt16.self) != Self.lineEnd
            {
                return true
            }
            position &+= 2
            left &-= 1
        }
        return true
    }

    /// Before a password was given, little is accepted and every bulk is checked for it.
    @inline(never)
    private mutating func unusual(
        _ input: ByteView, _ count: Int, _ start: Int, into store: inout ArgumentStore
    ) -> Int {
        if count > limits.argumentsMax { return fail(.invalidMultibulkLength) }
        if count > Limits.preauthArgumentsMax { return fail(.unauthenticatedMultibulkLength) }
        var position = start
        var left = count
        while left > 0, position < input.count, input[position] == UInt8(ascii: "$") {
            position += 1
            let bytes = unsafe length(input.address, &position, input.count)
            if bytes > limits.bulkBytesMax { return fail(.invalidBulkLength) }
            if bytes > Limits.preauthBulkBytesMax { return fail(.unauthenticatedBulkLength) }
            if bytes < 0 || input.count - position - 2 < bytes { break }
            position += bytes + 2
            left -= 1
        }
        return arguments(input, count, start, into: &store)
    }

    /// CR LF as a little-endian load sees it; both platforms are little-endian.
    private static let lineEnd: UInt16 = 0x0A0D

    /// Below the range of lengths a request may claim: why there is none.
    private static let notALength = Int.min + 8
    private static let incomplete = Int.min
    private static let tooLong = Int.min + 1
    private static let invalid = Int.min + 2
    private static let badLineEnd = Int.min + 3

    private enum Place {
        case multibulk
        case bulk
    }

    @inline(never)
    private mutating func stop(_ reason: Int, _ place: Place) -> Int {
        switch (reason, place) {
        case (Self.incomplete, _): bytesNeeded = Int.max
        case (Self.badLineEnd, _): failure = .missingLineEnd
        case (Self.tooLong, .multibulk): failure = .tooBigMultibulkCount
        case (Self.tooLong, .bulk): failure = .tooBigBulkCount
        case (_, .multibulk): failure = .invalidMultibulkLength
        case (_, .bulk): failure = .invalidBulkLength
        }
        return Self.stopped
    }

    @inline(never)
    private mutating func fail(_ error: ProtocolError) -> Int {
        failure = error
        return Self.stopped
    }

    @inline(__always)
    private mutating func needs(_ bytes: Int) -> Int {
        bytesNeeded = bytes
        return Self.stopped
    }

    /// Reads a decimal number up to CR LF and moves `position` behind it; below `notALength` when
    /// there is none.
    @inline(__always)
    private func length(_ base: UnsafeRawPointer, _ position: inout Int, _ end: Int) -> Int {
        // One and two digits, which nearly all lengths have.
        if end &- position >= 4 {
            let word = unsafe base.loadUnaligned(fromByteOffset: position, as: UInt32.self)
            let first = word & 0xFF &- 0x30
            if first < 10 {
                if (word &>> 8) & 0xFFFF == UInt32(Self.lineEnd) {
                    position &+= 3
                    return Int(first)
                }
                let second = (word &>> 8) & 0xFF &- 0x30
                if second < 10 && first != 0 && word &>> 16 == UInt32(Self.lineEnd) {
                    position &+= 4
                    return Int(first &* 10 &+ second)
                }
            }
        }
        return unsafe longLength(base, &position, end)
    }

    @inline(never)
    private func longLength(_ base: UnsafeRawPointer, _ position: inout Int, _ end: Int) -> Int {
        let rest = unsafe ByteView(base + position, count: end - position)
        guard let lineLength = rest.firstIndex(of: 0x0D) else {
            return rest.count > limits.inlineBytesMax ? Self.tooLong : Self.incomplete
        }
        guard lineLength + 1 < rest.count else { return Self.incomplete }
        guard let value = rest.slice(0, lineLength).parseInteger() else { return Self.invalid }
        guard rest[lineLength + 1] == 0x0A else { return Self.badLineEnd }
        position += lineLength + 2
        // All negative lengths mean the same, and the lowest ones have a meaning here.
        return max(Int(value), -1)
    }

    @inline(never)
    private mutating func inline(_ input: ByteView, into store: inout ArgumentStore) -> Int {
        let rest = input.slice(position, input.count)
        guard let newline = rest.firstIndex(of: 0x0A) else {
            if rest.count > limits.inlineBytesMax { failure = .tooBigInlineRequest }
            bytesNeeded = input.count + 1
            return Self.stopped
        }
        var length = newline
        if length > 0 && rest[length - 1] == 0x0D { length -= 1 }
        let first = store.count
        guard store.appendInline(rest.slice(0, length)) else {
            store.truncate(to: first)
            return fail(.unbalancedQuotes)
        }
        let count = store.count - first
        position += newline + 1
        if count == 0 { return 0 }
        let name = unsafe store.views[first]
        if name.equalsIgnoringCase("post") || name.equalsIgnoringCase("host:") {
            store.truncate(to: first)
            return fail(.crossProtocol)
        }
        return count
    }
}
