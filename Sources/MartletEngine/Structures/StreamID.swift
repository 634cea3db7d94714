//  The ID of a stream's entry: when it came, and its number within that millisecond.

import MartletBase

/// 128 bits, ordered by time, then by number.
package struct StreamID: Comparable, Hashable, Sendable {
    package var milliseconds: UInt64
    package var sequence: UInt64

    @inline(__always)
    package init(_ milliseconds: UInt64, _ sequence: UInt64) {
        self.milliseconds = milliseconds
        self.sequence = sequence
    }

    /// The smallest: no entry has it.
    package static let zero = StreamID(0, 0)
    package static let max = StreamID(UInt64.max, UInt64.max)

    @inline(__always)
    package static func < (left: StreamID, right: StreamID) -> Bool {
        left.milliseconds < right.milliseconds
            || left.milliseconds == right.milliseconds && left.sequence < right.sequence
    }

    /// The one right behind, nil for the greatest.
    @inline(__always)
    package var next: StreamID? {
        if sequence < UInt64.max { return StreamID(milliseconds, sequence &+ 1) }
        return milliseconds < UInt64.max ? StreamID(milliseconds &+ 1, 0) : nil
    }

    /// The one right before, nil for the smallest.
    package var previous: StreamID? {
        if sequence > 0 { return StreamID(milliseconds, sequence - 1) }
        return milliseconds > 0 ? StreamID(milliseconds - 1, UInt64.max) : nil
    }

    /// What an entry gets that comes at a time, behind one that has this ID: the clock may have gone
    /// back, IDs never do. Nil when there is none.
    @inline(__always)
    package func following(at milliseconds: UInt64) -> StreamID? {
        milliseconds > self.milliseconds ? StreamID(milliseconds, 0) : next
    }
}

extension ByteView {
    /// Longer ones are none, whatever they spell.
    private static let streamIDBytesMax = 127

    /// An ID as clients write it, `milliseconds-sequence`, or nil when it is none. `sequence` counts
    /// where there is no second part.
    package func parseStreamID(sequence: UInt64) -> StreamID? {
        if count > Self.streamIDBytesMax { return nil }
        if let id = parseWholeStreamID(sequence: sequence) { return id }
        // What stands behind a zero byte is nothing to C.
        return firstIndex(of: 0).flatMap { slice(0, $0).parseWholeStreamID(sequence: sequence) }
    }

    @inline(__always)
    private func parseWholeStreamID(sequence: UInt64) -> StreamID? {
        guard let dash = firstIndex(of: UInt8(ascii: "-")) else {
            return parseStreamNumber().map { StreamID($0, sequence) }
        }
        guard let milliseconds = slice(0, dash).parseStreamNumber(),
            let number = slice(dash + 1, count).parseStreamNumber()
        else { return nil }
        return StreamID(milliseconds, number)
    }

    /// The milliseconds of `milliseconds-*`, an ID whose second part is to be found; nil when it is
    /// not of that form.
    package func parseOpenStreamID() -> UInt64? {
        guard count > 2 && count <= Self.streamIDBytesMax,
            firstIndex(of: UInt8(ascii: "-")) == count - 2, self[count - 1] == UInt8(ascii: "*")
        else { return nil }
        return slice(0, count - 2).parseStreamNumber()
    }

    private func parseStreamNumber() -> UInt64? { parseUnsigned() ?? parseUnsignedLoosely() }
}
