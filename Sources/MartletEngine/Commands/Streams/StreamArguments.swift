//  Ids and ranges of ids among the arguments of the X commands.

import MartletBase

extension CommandError {
    static let invalidStreamID: CommandError = .invalid(
        "Invalid stream ID specified as stream command argument")
}

extension ByteView {
    /// An id whose second part is 0 where it is missing.
    func streamID() throws(CommandError) -> StreamID {
        guard let id = parseStreamID(sequence: 0) else { throw .invalidStreamID }
        return id
    }
}

extension Arguments {
    /// The next argument as an id; its second part is 0 where it is missing.
    mutating func streamID() throws(CommandError) -> StreamID { try next().streamID() }

    /// The next argument as the start of a range: an id, `(` in front to leave it out, or `-`, `+`.
    mutating func intervalStart() throws(CommandError) -> StreamID {
        let (id, isOpen) = try bound(sequence: 0)
        if !isOpen { return id }
        guard let next = id.next else { throw .invalid("invalid start ID for the interval") }
        return next
    }

    /// The next argument as the end of a range.
    mutating func intervalEnd() throws(CommandError) -> StreamID {
        let (id, isOpen) = try bound(sequence: UInt64.max)
        if !isOpen { return id }
        guard let previous = id.previous else { throw .invalid("invalid end ID for the interval") }
        return previous
    }

    private mutating func bound(
        sequence: UInt64
    ) throws(CommandError) -> (id: StreamID, isOpen: Bool) {
        let text = try next()
        if text.count == 1 {
            if text[0] == UInt8(ascii: "-") { return (.zero, false) }
            if text[0] == UInt8(ascii: "+") { return (.max, false) }
        }
        let isOpen = text.count > 1 && text[0] == UInt8(ascii: "(")
        let plain = isOpen ? text.slice(1, text.count) : text
        guard let id = plain.parseStreamID(sequence: sequence) else { throw .invalidStreamID }
        return (id, isOpen)
    }
}

extension Call {
    /// How long to wait, in milliseconds; 0 for ever.
    mutating func millisecondsToWait() throws(CommandError) -> Int64 {
        let given = try arguments.integer(.invalid("timeout is not an integer or out of range"))
        if given < 0 { throw .invalid("timeout is negative") }
        // Redis adds it to the wall clock.
        guard given < Int64.max - keyspace.nowMilliseconds else {
            throw .invalid("timeout is out of range")
        }
        return given
    }
}
