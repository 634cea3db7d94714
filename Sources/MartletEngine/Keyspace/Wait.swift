//  A wait for keys: BLPOP, BLMOVE, BZPOPMIN and the like.
//
//  Whoever wants to end it (a push that serves it, its timeout, CLIENT UNBLOCK, KILL, its closed
//  connection) contends for one atomic word; the loser takes nothing with it. The winner tells the
//  client's own loop, which writes the reply and takes the wait off the keys it stood at.

import MartletBase
import Synchronization

/// Why a wait ended.
package enum WaitOutcome: UInt8 {
    case waiting
    /// A key had something for it; the reply is in the wait.
    case served
    case timedOut
    /// CLIENT UNBLOCK, which looks like a timeout.
    case unblocked
    /// CLIENT UNBLOCK with ERROR.
    case unblockedWithError
    /// CLIENT KILL, or the connection was closed.
    case closed
}

/// A key that outlives the request that named it.
final class KeyCopy: @unchecked Sendable {
    // Unchecked: the bytes are written once, here.
    private let bytes: ByteBuffer
    private let hash: UInt64

    init(_ key: Key) {
        var copy = ByteBuffer(capacity: key.bytes.count)
        copy.append(key.bytes)
        bytes = copy
        hash = key.hash
    }

    /// Valid as long as this copy.
    var key: Key { Key(bytes.view, hash: hash) }
}

/// What is waited for, and whether it still is. The client's part is added by `Waiter`.
package class Wait: @unchecked Sendable {
    // Unchecked: `reply` is written by whoever won the word, before it tells the client's loop, which
    // alone reads it then; the rest is constant or atomic.

    /// Order of arrival over all clients.
    let ticket: UInt64
    let database: Int
    /// Where it stands in line.
    let keys: [KeyCopy]
    /// A key that its service writes besides the one that has something; nil for none.
    let destination: KeyCopy?
    /// The type of value it waits for.
    let wanted: ValueKind
    /// Whether it has something to get is for it to say, even of a key that is missing.
    let looksItself: Bool
    /// After how long it looks at its keys again though nothing was written; nil for never.
    package let looksEveryNanoseconds: Int64?
    /// When it is given up, monotonic; nil for never.
    package let deadlineNanoseconds: Int64?
    var reply = ByteBuffer()
    /// The position of the log that the reply waits for.
    package var logPosition: UInt64 = 0
    private let word = Atomic<UInt8>(WaitOutcome.waiting.rawValue)
    private static let lastTicket = Atomic<UInt64>(0)

    init(
        database: Int, keys: [KeyCopy], destination: KeyCopy?, wanted: ValueKind,
        looksItself: Bool = false, looksEveryNanoseconds: Int64? = nil,
        deadlineNanoseconds: Int64?
    ) {
        self.database = database
        self.keys = keys
        self.destination = destination
        self.wanted = wanted
        self.looksItself = looksItself
        self.looksEveryNanoseconds = looksEveryNanoseconds
        self.deadlineNanoseconds = deadlineNanoseconds
        ticket = Self.lastTicket.add(1, ordering: .relaxed).newValue
    }

    package var outcome: WaitOutcome {
        WaitOutcome(rawValue: word.load(ordering: .acquiring)) ?? .waiting
    }

    /// Ends the wait, if nobody did so before.
    ///
    /// - Returns: whether it was this call that did.
    package func end(_ outcome: WaitOutcome) -> Bool {
        word.compareExchange(
            expected: WaitOutcome.waiting.rawValue, desired: outcome.rawValue,
            ordering: .acquiringAndReleasing
        ).exchanged
    }
}
