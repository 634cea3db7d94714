//  What ZSCAN, HSCAN and SSCAN have in common: a cursor, a pattern, a count, and a reply whose length
//  is known only at its end.

import MartletBase

/// Reads the cursor of a scan: loose as Redis is, but for leading blanks.
func scanCursor(_ arguments: inout Arguments) throws(CommandError) -> UInt64 {
    let text = try arguments.next()
    guard !text.isEmpty, !isBlank(text[0]), let cursor = text.parseUnsignedLoosely() else {
        throw .invalidCursor
    }
    return cursor
}

/// The options of a scan within one key.
struct CollectionScanOptions {
    private(set) var count = 10
    private(set) var pattern: ByteView?
    private(set) var omitsValues = false

    /// More would hold the shard for long; the cursor goes on from there.
    private static let countMax = 10_000

    /// Reads what follows the cursor; `takesNoValues` says whether NOVALUES, HSCAN's, may.
    init(
        reading arguments: inout Arguments, takesNoValues: Bool = false
    ) throws(CommandError) {
        while !arguments.isAtEnd {
            if arguments.remaining >= 2 && arguments.skip("match") {
                pattern = try arguments.next()
            } else if arguments.remaining >= 2 && arguments.skip("count") {
                let count = try arguments.integer()
                if count < 1 { throw .syntax }
                self.count = Int(min(count, Int64(Self.countMax)))
            } else if arguments.skip("novalues") {
                if !takesNoValues {
                    throw .invalid("NOVALUES option can only be used in HSCAN")
                }
                omitsValues = true
            } else {
                throw .syntax
            }
        }
    }

    /// Whether a member is wanted; `*` alone wants every member, the empty one too.
    func wants(_ member: ByteView) -> Bool {
        guard let pattern else { return true }
        return pattern.count == 1 && pattern[0] == UInt8(ascii: "*") || member.matches(pattern)
    }
}

extension Call {
    /// Replies with a cursor and the elements that `body` writes; it returns the cursor and how many
    /// elements there are.
    mutating func replyScan(
        _ body: (inout ReplyWriter) throws(CommandError) -> (cursor: UInt64, elements: Int)
    ) throws(CommandError) {
        // Written apart: the header in front says how many there are.
        var elements = ReplyWriter()
        elements.isRESP3 = reply.isRESP3
        let (cursor, count) = try body(&elements)
        reply.array(2)
        reply.bulk(unsignedDecimal: cursor)
        reply.array(count)
        reply.buffer.append(elements.buffer.view)
    }
}
