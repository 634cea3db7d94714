//  What the transport asks of whoever understands the bytes. The transport knows bytes and
//  readiness; the handler knows requests and replies.
//
//  Raw memory: the context is the handler's own. The transport stores the pointer with the
//  connection, never follows it, and hands it back on the loop's thread until `closed`.

import MartletBase

/// What to do with a connection after its bytes were looked at.
package enum Next: UInt8, Sendable {
    /// Keep reading. Unconsumed bytes are an incomplete request and are kept.
    case readOn

    /// Stop reading and keep the unconsumed bytes until `ConnectionReference.resume()`. Replies
    /// are written all the same. A handler that returns this and calls `resume()` yields: its
    /// replies go out and the others have their turn before it continues.
    case pause

    /// Write out what is pending, then close; read no more.
    case closeAfterFlush

    /// Close at once; the replies of this call are dropped.
    case closeNow
}

/// What the handler made of the bytes it was shown.
package struct Outcome: Sendable {
    /// How many bytes, from the front, are done with.
    package var consumed: Int

    package var next: Next

    /// At least this many bytes, unconsumed ones included, must be there before `received` is
    /// called again; 0 for any. It spares parsing the head of a large request at each read. It is
    /// never taken as a size to allocate.
    package var minimumBytes: Int

    package init(consumed: Int, next: Next = .readOn, minimumBytes: Int = 0) {
        self.consumed = consumed
        self.next = next
        self.minimumBytes = minimumBytes
    }
}

/// The engine's side of the connections of one loop.
///
/// Each loop has its own handler and calls it on its own thread only. The loop never calls it from
/// within a call that the handler makes to a `ConnectionReference`: such calls take effect when the
/// loop has come back from the handler. A handler refers to its loop without owning it.
package protocol ConnectionHandler: AnyObject {
    /// A connection was accepted.
    ///
    /// - Parameters:
    ///   - connection: valid until `closed` was called with the context returned here.
    ///   - output: bytes to send at once, a refusal for example.
    /// - Returns: the pointer handed to every later call, or nil to refuse the connection: it is
    ///   closed as soon as `output` was offered to it, and `closed` is not called.
    func opened(
        _ connection: ConnectionReference, output: inout ByteBuffer
    ) -> UnsafeMutableRawPointer?

    /// There are new bytes, or the connection was resumed with unconsumed ones.
    ///
    /// - Parameters:
    ///   - context: what `opened` returned.
    ///   - input: all bytes not yet consumed, readable during this call only.
    ///   - output: where replies are appended. The loop writes them with one call after this one.
    ///     Handlers only append.
    /// - Returns: how far it came, and what is next.
    func received(
        _ context: UnsafeMutableRawPointer, input: ByteView, output: inout ByteBuffer
    ) -> Outcome

    /// The connection is gone, whoever ended it. Called exactly once for each context, as the last
    /// call with it; its `ConnectionReference` is stale afterwards.
    func closed(_ context: UnsafeMutableRawPointer)

    /// An iteration begins: the wait returned, no event has been served. The time is read here.
    func iterationBegan()

    /// All events of an iteration were served.
    ///
    /// - Returns: how many milliseconds the loop may sleep; 0 to come back at once, a negative
    ///   number for any time.
    func iterationEnded() -> Int32

    /// A connection could not be accepted. After an error that would come back at once, as that of
    /// a full descriptor table, the listener rests for a tenth of a second.
    func acceptFailed(errno: Int32)

    /// The connection is closed because it does not read its replies; `closed` follows.
    func outputLimitExceeded(_ context: UnsafeMutableRawPointer)

    /// The connection is closed because its incomplete request is too large; `closed` follows.
    func inputLimitExceeded(_ context: UnsafeMutableRawPointer)

    /// The connection is closed because it was idle for too long; `closed` follows.
    func idleLimitExceeded(_ context: UnsafeMutableRawPointer)

    /// The memory of a connection's own buffers has changed: most have none, as requests are read into one
    /// of the loop's and replies leave at once. May be called from within a call to a
    /// `ConnectionReference`.
    ///
    /// - Parameters:
    ///   - context: what `opened` returned.
    ///   - inputBytes: what its incomplete request stands in.
    ///   - outputBytes: replies that the peer has not taken.
    func buffersChanged(_ context: UnsafeMutableRawPointer, inputBytes: Int, outputBytes: Int)

    /// The peer of a paused connection has ended its side.
    ///
    /// - Returns: true to close it, as a client that waits for a key is given up; false when what
    ///   it sent before is still to be served after `resume()`.
    func hungUpWhilePaused(_ context: UnsafeMutableRawPointer) -> Bool
}

extension ConnectionHandler {
    package func buffersChanged(
        _ context: UnsafeMutableRawPointer, inputBytes: Int, outputBytes: Int
    ) {}
}
