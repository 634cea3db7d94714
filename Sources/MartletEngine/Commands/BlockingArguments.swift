//  What commands that wait for a key have in common: their timeout and the tail of their arguments.

import MartletBase

extension Call {
    /// How long to wait, in milliseconds; 0 for ever. Seconds in the argument, parts of a millisecond
    /// count as a whole one.
    mutating func timeout(_ argument: ByteView) throws(CommandError) -> Int64 {
        guard let seconds = argument.parseDouble(), !seconds.isNaN else {
            throw .invalid("timeout is not a float or out of range")
        }
        let milliseconds = (seconds * 1000).rounded(.up)
        if milliseconds < 0 { throw .invalid("timeout is negative") }
        // Redis adds it to the wall clock in milliseconds.
        guard milliseconds < Double(Int64.max - keyspace.nowMilliseconds) else {
            throw .invalid("timeout is out of range")
        }
        return Int64(milliseconds)
    }

    /// Keys up to the last argument, which is the timeout.
    mutating func keysAndTimeout() throws(CommandError) -> (keys: [Key], milliseconds: Int64) {
        var keys: [Key] = []
        while arguments.remaining > 1 { keys.append(try arguments.key()) }
        return (keys, try timeout(try arguments.next()))
    }
}
