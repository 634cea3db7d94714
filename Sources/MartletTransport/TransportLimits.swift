//  The bounds of the transport, each with its unit.

/// Sizes and budgets of an event loop. What an operator can set arrives through `EventLoop` and
/// `ConnectionReference`; these are fixed.
enum TransportLimits {
    /// The buffer that all connections of a loop read into.
    static let sharedInputBytes = 64 << 10

    /// The capacity the buffer for replies starts with, and is cut back to after a large reply.
    static let sharedOutputBytes = 64 << 10

    /// A buffer for replies that has grown beyond this is given back at the end of the iteration.
    static let sharedOutputBytesMax = 1 << 20

    /// What the socket did not take is copied up to this size; above it the buffer itself is handed
    /// over. A copy of 16 KB costs less than the new buffer's page faults.
    static let copiedOutputBytesMax = 16 << 10

    /// The stack of a loop's thread: handlers are iterative, but sorting and scripts go deeper than
    /// a few frames, and the pages cost nothing until they are touched.
    static let stackBytes = 8 << 20

    /// An incomplete request up to this size is read on in the loop's shared buffer, so a thousand
    /// connections with half a line each cost a thousand half lines.
    static let smallTailBytesMax = 4 << 10

    /// The least and the most room offered to one read behind a longer incomplete request. The
    /// most is also what one connection may read before the others have their turn.
    static let tailReadBytesMin = 16 << 10
    static let tailReadBytesMax = 1 << 20

    /// So many replies, and so many bytes of them, are held until those of the other connections that
    /// are ready have been made.
    static let heldRepliesMax = 32
    static let heldBytesMax = 16 << 10

    /// Events fetched by one wait.
    static let eventsMax = 256

    /// Connections accepted from one listener before the others have their turn.
    static let acceptsPerEventMax = 64

    /// How long a listener rests after the system had no descriptor or memory for a connection.
    static let acceptPauseMilliseconds: UInt64 = 100

    /// How often a loop with timeouts to watch wakes up for them, and within which time its walk
    /// visits every connection once.
    static let walkTickMilliseconds: UInt64 = 100
    static let walkRoundMilliseconds: UInt64 = 1_000
}
