//  XLEN, XRANGE, XREVRANGE: how many entries there are, and those of a range of IDs.

import MartletBase

extension CommandGroup {
    static let streamRead: CommandGroup = [
        Command(
            "XLEN", since: "5.0.0", group: .stream, syntax: "key",
            summary: "Return the number of messages in a stream.",
            arity: .exactly(2), keys: [.one(at: 1, .readOnly)], access: .read, traits: .fast,
            acl: [.stream]
        ) { (call) throws(CommandError) in
            let stream = try call.keyspace.readStream(try call.arguments.key())
            call.reply.integer(stream.isMissing ? 0 : stream.read { $0.count })
            return .none
        },
        range(
            "XRANGE", "key start end [COUNT count]",
            "Returns the messages from a stream within a range of IDs.", verb: "being "
        ) { (call) throws(CommandError) in try xrange(&call, isReversed: false) },
        range(
            "XREVRANGE", "key end start [COUNT count]",
            "Returns the messages from a stream within a range of IDs in reverse order."
        ) { (call) throws(CommandError) in try xrange(&call, isReversed: true) },
    ]

    private static func range(
        _ name: String, _ syntax: String, _ summary: String, verb: String = "",
        run: @escaping Handler
    ) -> Command {
        Command(
            name, since: "5.0.0", group: .stream, syntax: syntax, summary: summary,
            complexity:
                "O(N) with N being the number of elements \(verb)returned. If N is constant "
                + "(e.g. always asking for the first 10 elements with COUNT), you can consider it "
                + "O(1).",
            arity: .atLeast(4), keys: [.one(at: 1, [.readOnly, .access])], access: .read,
            acl: [.stream], run: run)
    }
}

private func xrange(_ call: inout Call, isReversed: Bool) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let first = call.arguments.position
    call.arguments.position = isReversed ? first + 1 : first
    let start = try call.arguments.intervalStart()
    call.arguments.position = isReversed ? first : first + 1
    let end = try call.arguments.intervalEnd()
    call.arguments.position = first + 2
    var count = Int.max
    while !call.arguments.isAtEnd {
        guard call.arguments.remaining > 1, call.arguments.skip("count") else { throw .syntax }
        count = Int(max(0, try call.arguments.integer()))
    }

    let stream = try call.keyspace.readStream(key)
    if stream.isMissing {
        call.reply.array(0)
    } else if count == 0 {
        call.reply.nullArray()
    } else {
        call.writeEntries(of: stream, from: start, through: end, reversed: isReversed, count)
    }
    return .none
}

extension Call {
    /// Replies with the entries from one ID through another, at most `count`.
    ///
    /// - Precondition: the stream is there.
    @inline(__always)
    mutating func writeEntries(
        of stream: StreamValue, from start: StreamID, through end: StreamID,
        reversed: Bool = false, _ count: Int
    ) {
        let before = reply.buffer.count
        var written = 0
        stream.read { stream in
            stream.walk(from: start, through: end, reversed: reversed) { entry in
                reply.entry(entry)
                written &+= 1
                return written < count
            }
        }
        // How many there are is known now.
        reply.insert(at: before) { $0.array(written) }
    }
}
