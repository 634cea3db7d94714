//  One client: who it is, which database and protocol it uses, what it has queued.
//
//  Raw memory, one per connection, owned by the loop the connection belongs to and touched on its
//  thread only; what other threads may see of it stands in its `ClientRecord`.

import MartletBase
import Synchronization

/// Conditions under which a command takes the long way through `Admission`. Zero nearly always.
package struct SessionGate: OptionSet {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// A password is required and was not given yet.
    package static let unauthenticated = SessionGate(rawValue: 1 << 0)
    /// Between MULTI and EXEC.
    package static let inTransaction = SessionGate(rawValue: 1 << 1)
    /// CLIENT REPLY OFF.
    package static let repliesOff = SessionGate(rawValue: 1 << 2)
    /// CLIENT REPLY SKIP: the next command's reply is dropped.
    package static let skipNextReply = SessionGate(rawValue: 1 << 3)
    /// MONITOR was sent on this connection.
    package static let monitor = SessionGate(rawValue: 1 << 4)
    /// CLIENT REPLY SKIP was the command just executed.
    package static let skipArmed = SessionGate(rawValue: 1 << 5)
    /// CLIENT NO-TOUCH ON.
    package static let noTouch = SessionGate(rawValue: 1 << 6)
    /// The next command met a claim and has a place in the line: see `ClaimLine`.
    static let waitsInLine = SessionGate(rawValue: 1 << 7)
    /// Waits for a key: see `Waiter`.
    static let blocked = SessionGate(rawValue: 1 << 8)
    /// Subscribed to something, and speaks RESP2: see `Call.updateSubscriberMode`.
    package static let subscriberMode = SessionGate(rawValue: 1 << 9)
    /// CLIENT TRACKING ON.
    package static let tracking = SessionGate(rawValue: 1 << 10)
}

/// What a connection's loop must do after the current command, beyond sending its reply.
package enum FollowUp: UInt8 {
    case none
    /// Close once the replies are sent.
    case closeAfterReply
    /// Close at once, without a reply.
    case close
    /// Not executed: stop here and try the command again when what holds it up is over.
    case park
    /// Not executed to its end, and nothing replied: let others have their turn, then run the command
    /// anew.
    case again
    /// Waits for a key: read no more before its wait has ended.
    case block
    /// Keys were written whose waiters need other locks than the command held.
    case serveWaiters

    /// The command comes again.
    @inline(__always)
    var isRepeated: Bool { self == .park || self == .again }
}

/// A client's state on its own loop.
@safe
package struct Session: ~Copyable {
    package var gate: SessionGate = [] {
        didSet { record.gate.store(gate.rawValue, ordering: .relaxed) }
    }
    package var database = 0
    package var isRESP3 = false
    /// What every thread may see and ask of this client.
    package let record: ClientRecord
    /// How far a large request was looked at that is not whole yet.
    var partialRequest = PartialRequest()
    /// The place in the line of a command that met a claim; 0 for none.
    var place: UInt64 = 0
    /// Commands queued since MULTI; nil outside of transactions.
    var transaction: UnsafeMutablePointer<Transaction>?
    /// What the connection watches; nil when nothing.
    var watch: WatchState?
    /// What the connection waits for; nil when nothing.
    package internal(set) var waiter: Waiter?

    /// What the connection is subscribed to; nil when nothing.
    var subscriptions: Subscriptions?
    /// It has got what came to its loop's inbox before this number.
    var messagesThrough: UInt64 = 0
    /// The last round of `FanOut` that has something for it, and its place among the recipients.
    var fanOutRound: UInt64 = 0
    var fanOutIndex = 0
    /// What the server keeps for this connection; the engine only hands it back.
    package var outlet: UnsafeMutableRawPointer?

    /// The record's word that says whether the client was killed.
    let killedWord: UnsafeMutableRawPointer

    package init(record: ClientRecord) {
        self.record = record
        unsafe killedWord = record.killedWord
        unsafe transaction = nil
        unsafe outlet = nil
    }

    deinit {
        if let transaction = unsafe transaction { unsafe TransactionPool.free(transaction) }
    }
}

extension Session {
    /// Leaves in the record what other threads may ask about this client, once an event.
    ///
    /// - Parameters:
    ///   - nowMilliseconds: wall clock.
    ///   - commandCount: requests executed or refused.
    ///   - lastCommand: the number of the last of them; of no meaning when there was none.
    ///   - bytesIn: bytes of requests taken.
    ///   - bytesLeft: bytes of requests that came and are not taken yet.
    ///   - bytesOut: bytes of replies.
    @inline(__always)
    func noteActivity(
        nowMilliseconds: Int64, commandCount: Int, lastCommand: Int, bytesIn: Int, bytesLeft: Int,
        bytesOut: Int
    ) {
        let record = record
        record.lastActiveMilliseconds.store(nowMilliseconds, ordering: .relaxed)
        record.queryBytes.store(bytesLeft, ordering: .relaxed)
        if commandCount == 0 { return }
        record.lastCommand.store(lastCommand, ordering: .relaxed)
        // One writer: no need for an atomic addition.
        func add(_ amount: Int, to counter: borrowing Atomic<Int>) {
            counter.store(counter.load(ordering: .relaxed) &+ amount, ordering: .relaxed)
        }
        add(commandCount, to: record.commandCount)
        add(bytesIn, to: record.netInputBytes)
        add(bytesOut, to: record.netOutputBytes)
    }

    /// MULTI: what follows is queued in `transaction`, an empty one.
    mutating func beginTransaction(_ transaction: UnsafeMutablePointer<Transaction>) {
        gate.insert(.inTransaction)
        unsafe self.transaction = transaction
        record.queuedCommands.store(0, ordering: .relaxed)
    }

    /// Forgets what was queued; returns the transaction, to be used again.
    mutating func endTransaction() -> UnsafeMutablePointer<Transaction>? {
        gate.remove(.inTransaction)
        record.queuedCommands.store(-1, ordering: .relaxed)
        record.transactionBytes.store(0, ordering: .relaxed)
        let ended = unsafe transaction
        unsafe transaction = nil
        return unsafe ended
    }
}
