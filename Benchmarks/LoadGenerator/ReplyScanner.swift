//  Counts replies in what was read, wherever it was split, without building them.
//
//  One scanner per connection keeps a few words of state between reads; no reply is ever copied,
//  but the text of the first errors. Both protocols are known; a push frame is not a reply.
//  `scan` reads raw memory inside the `count` bytes it is lent and keeps no pointer.

/// Texts of the first error replies of a worker.
package struct ErrorTexts: Sendable {
    package static let kept = 3
    private static let bytesMax = 200

    package private(set) var texts: [String] = []
    private var open: [UInt8] = []

    package init() {}

    mutating func append(_ byte: UInt8) {
        if texts.count < ErrorTexts.kept && open.count < ErrorTexts.bytesMax { open.append(byte) }
    }

    mutating func close() {
        guard !open.isEmpty else { return }
        let text = String(decoding: open, as: UTF8.self)
        if !texts.contains(text) { texts.append(text) }
        open.removeAll(keepingCapacity: true)
    }
}

/// Finds the ends of replies in a stream.
///
/// A reply is a value; an aggregate of n values makes n more values missing. No stack is needed
/// to find its end: `missing` counts what the open reply still lacks, whatever the nesting.
///
///         *2 \r\n  $3 \r\n foo \r\n  *1 \r\n  :5 \r\n
///     missing: 2              1         1      0: one reply
package struct ReplyScanner {
    /// Values the open reply still lacks; 0 between replies.
    private var missing = 0
    /// Bytes of a bulk payload, with its line end, still to come.
    private var payload = 0
    /// The type byte of the line being read, 0 between lines.
    private var kind: UInt8 = 0
    /// The number on that line so far.
    private var number = 0
    private var digits = 0
    private var isNegative = false
    /// Whether the open value is a push frame.
    private var isPush = false

    /// Replies and parts of replies that are errors.
    package private(set) var errors = 0
    /// Null replies, as a GET of a missing key gives.
    package private(set) var nulls = 0
    /// Whether something came that is not RESP; nothing is scanned any more.
    package private(set) var isMalformed = false

    package init() {}

    /// Whether the stream stands between two replies.
    package var isBetweenReplies: Bool { missing == 0 && payload == 0 && kind == 0 }

    /// Scans `count` bytes at `bytes` and returns how many replies end in them.
    package mutating func scan(
        _ bytes: UnsafeRawPointer, count: Int, errorTexts: inout ErrorTexts
    ) -> Int {
        var replies = 0
        var at = 0
        while at < count {
            if payload > 0 {
                at &+= unsafe skipPayload(bytes + at, count: count &- at, errorTexts: &errorTexts)
                if payload == 0 { replies &+= endValue() }
                continue
            }
            if kind == 0 {
                if missing == 0 {
                    let (ended, taken) = unsafe scanWhole(bytes + at, count: count &- at)
                    replies &+= ended
                    at &+= taken
                    if at == count { break }
                }
                kind = unsafe bytes.load(fromByteOffset: at, as: UInt8.self)
                at &+= 1
                number = 0
                digits = 0
                isNegative = false
                guard isKnown(kind) else {
                    isMalformed = true
                    return replies
                }
                continue
            }
            let byte = unsafe bytes.load(fromByteOffset: at, as: UInt8.self)
            at &+= 1
            if byte == 10 {
                replies &+= endLine(&errorTexts)
                if isMalformed { return replies }
            } else if byte == 13 {
                continue
            } else if hasLength(kind) {
                readDigit(byte)
                if isMalformed { return replies }
            } else if kind == UInt8(ascii: "-") {
                errorTexts.append(byte)
            }
        }
        return replies
    }

    /// Takes the replies that lie whole in the bytes and are of the usual kinds: `+`, `:`, `$`.
    ///
    /// Returns how many it took and their length, up to the first it leaves to the general path.
    @inline(__always)
    private mutating func scanWhole(
        _ bytes: UnsafeRawPointer, count: Int
    ) -> (replies: Int, length: Int) {
        var replies = 0
        var taken = 0
        while taken &+ 4 <= count {
            let first = unsafe bytes.load(fromByteOffset: taken, as: UInt8.self)
            var at = taken &+ 1
            if first == UInt8(ascii: "$") {
                var length = 0
                var byte = unsafe bytes.load(fromByteOffset: at, as: UInt8.self)
                while byte >= 48 && byte <= 57 && length < 1_000_000_000_000 && at &+ 1 < count {
                    length = length &* 10 &+ Int(byte &- 48)
                    at &+= 1
                    byte = unsafe bytes.load(fromByteOffset: at, as: UInt8.self)
                }
                // What is not digits, a line end and the whole payload goes the general way.
                guard byte == 13, at > taken &+ 1, at &+ 4 &+ length <= count else { break }
                at &+= 4 &+ length
            } else if first == UInt8(ascii: "+") || first == UInt8(ascii: ":") {
                while at < count, unsafe bytes.load(fromByteOffset: at, as: UInt8.self) != 10 {
                    at &+= 1
                }
                if at == count { break }
                at &+= 1
            } else {
                break
            }
            replies &+= 1
            taken = at
        }
        return (replies, taken)
    }

    private mutating func skipPayload(
        _ bytes: UnsafeRawPointer, count: Int, errorTexts: inout ErrorTexts
    ) -> Int {
        let step = min(payload, count)
        if kind == UInt8(ascii: "!") {
            // The last two bytes are the line end.
            let text = max(0, min(step, payload &- 2))
            for index in 0..<text {
                errorTexts.append(unsafe bytes.load(fromByteOffset: index, as: UInt8.self))
            }
            if step == payload { errorTexts.close() }
        }
        payload &-= step
        return step
    }

    private mutating func readDigit(_ byte: UInt8) {
        if byte >= 48 && byte <= 57 {
            digits &+= 1
            number = number &* 10 &+ Int(byte &- 48)
            // 12 digits: more than any server sends, and far from overflow with all that is added.
            if digits > 12 { isMalformed = true }
        } else if byte == UInt8(ascii: "-") && digits == 0 && !isNegative {
            isNegative = true
        } else {
            isMalformed = true
        }
    }

    /// A line has ended: the value is complete, or a payload or elements follow.
    private mutating func endLine(_ errorTexts: inout ErrorTexts) -> Int {
        if hasLength(kind) && digits == 0 {
            isMalformed = true
            return 0
        }
        switch kind {
        case UInt8(ascii: "-"):
            errors &+= 1
            errorTexts.close()
            return endValue()
        case UInt8(ascii: "_"):
            nulls &+= 1
            return endValue()
        case UInt8(ascii: "$"), UInt8(ascii: "="), UInt8(ascii: "!"):
            if kind == UInt8(ascii: "!") { errors &+= 1 }
            if isNegative {
                nulls &+= 1
                return endValue()
            }
            payload = number &+ 2
            return 0
        case UInt8(ascii: "*"), UInt8(ascii: "~"), UInt8(ascii: ">"), UInt8(ascii: "%"):
            if isNegative {
                nulls &+= 1
                return endValue()
            }
            if kind == UInt8(ascii: ">") && missing == 0 { isPush = true }
            let elements = kind == UInt8(ascii: "%") ? number &* 2 : number
            // One more for the aggregate itself, unless it was already counted as missing.
            if missing == 0 { missing = 1 }
            missing &+= elements
            return endValue()
        case UInt8(ascii: "|"):
            // An attribute comes before the value it belongs to and is none itself.
            if missing == 0 { missing = 1 }
            missing &+= number &* 2
            kind = 0
            return 0
        default:
            return endValue()
        }
    }

    /// A value is complete; returns 1 when a reply is complete with it.
    @inline(__always)
    private mutating func endValue() -> Int {
        kind = 0
        if missing > 0 { missing &-= 1 }
        guard missing == 0 else { return 0 }
        if isPush {
            isPush = false
            return 0
        }
        return 1
    }
}

/// Whether a line of this type carries a length or a count.
@inline(__always)
private func hasLength(_ kind: UInt8) -> Bool {
    switch kind {
    case UInt8(ascii: "$"), UInt8(ascii: "*"), UInt8(ascii: "%"), UInt8(ascii: "~"),
        UInt8(ascii: ">"), UInt8(ascii: "="), UInt8(ascii: "!"), UInt8(ascii: "|"):
        true
    default:
        false
    }
}

@inline(__always)
private func isKnown(_ kind: UInt8) -> Bool {
    switch kind {
    case UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: ":"), UInt8(ascii: "_"),
        UInt8(ascii: "#"), UInt8(ascii: ","), UInt8(ascii: "("):
        true
    default:
        hasLength(kind)
    }
}
