//  Commands that wait for a key stand in line at it before their locks are released; what is written
//  to a key with a line is noted. Serving is in Execution/Serving.swift.

import MartletBase

/// What a waiter gets from a key, under the locks of all keys it touches. It replies and records its
/// effects.
final class WaiterService: Sendable {
    typealias Body = @Sendable (inout Call, Key) throws(CommandError) -> Void
    typealias Test = @Sendable (borrowing Call, Key) -> Bool
    /// Replies from all keys of the wait; false when none has anything.
    typealias Reading = @Sendable (inout Call) throws(CommandError) -> Bool
    let run: Body
    /// Whether a key has something for the client, an error for one that is missing included; nil
    /// when any value of the wanted type has.
    let isReady: Test?
    /// What takes nothing away is not run by whoever made the key ready, but by the client's own loop.
    let read: Reading?

    init(_ run: @escaping Body, isReady: Test?) {
        self.run = run
        self.isReady = isReady
        read = nil
    }

    init(_ read: @escaping Reading, isReady: @escaping Test) {
        run = { (_, _) in }
        self.isReady = isReady
        self.read = read
    }
}

/// A key to look at for those who wait for it.
struct ReadyKey {
    let database: Int
    let key: KeyCopy
    /// The shard that the next in line needs besides the key's own, if that is known.
    var otherShard: Int?
}

/// A loop's keys that became ready, and what is held to serve them.
final class ReadyKeys {
    /// To be served before the locks are released.
    var now: [ReadyKey] = []
    /// To be served under locks of their own.
    var later: [ReadyKey] = []
    /// Whether the running request holds a shard, besides that of the ready key.
    var holds: @Sendable (Int) -> Bool = ReadyKeys.holdsNone
    static let holdsNone: @Sendable (Int) -> Bool = { _ in false }
}

extension Call {
    /// In a transaction nobody waits, nor while a log is loaded: there is no client then.
    private var mayNotWait: Bool { isNested || keyspace.isReplaying }

    /// Has the client wait until one of the keys, whose shards are held, has something for it. Where
    /// nobody may wait it gets `null` instead.
    ///
    /// - Parameters:
    ///   - keys: where it stands in line; none of them has anything now.
    ///   - destination: a key its service writes besides.
    ///   - wanted: the type of value it waits for.
    ///   - milliseconds: how long; 0 for ever.
    ///   - null: the reply where nobody may wait.
    ///   - isReady: whether a key has something for the client, be it missing or of any type; nil
    ///     when any value of the wanted type has.
    ///   - looksEvery: after how many milliseconds that is asked again though nothing was written.
    ///   - service: run for such a key; replies and records its effects.
    /// - Returns: the handler's effect: none yet.
    mutating func wait(
        for keys: [Key], destination: Key? = nil, wanted: ValueKind, milliseconds: Int64,
        null: (inout ReplyWriter) -> Void = { $0.nullArray() },
        isReady: WaiterService.Test? = nil, looksEvery: Int64? = nil,
        service: @escaping WaiterService.Body
    ) -> Effect {
        if mayNotWait {
            null(&reply)
            return .none
        }
        standInLine(
            at: keys, destination: destination, wanted: wanted, milliseconds: milliseconds,
            looksEvery: looksEvery, WaiterService(service, isReady: isReady))
        return .none
    }

    /// The same for what takes nothing away: the client's own loop runs `read` for all keys together
    /// when one of them is ready.
    mutating func wait(
        for keys: [Key], wanted: ValueKind, milliseconds: Int64,
        isReady: @escaping WaiterService.Test, read: @escaping WaiterService.Reading
    ) -> Effect {
        if mayNotWait {
            reply.nullArray()
            return .none
        }
        standInLine(
            at: keys, wanted: wanted, milliseconds: milliseconds,
            WaiterService(read, isReady: isReady))
        return .none
    }

    /// Has the client wait for something that is no key. Whoever brings it about ends the wait as
    /// `.served` and tells `EngineState.waiterEnded`.
    ///
    /// - Parameters:
    ///   - milliseconds: how long; 0 for ever.
    ///   - mayBeUnblocked: CLIENT UNBLOCK may end the wait.
    ///   - reply: what it is told; run on the client's loop, under no lock. UNBLOCK with ERROR replies
    ///     by itself.
    /// - Returns: the wait.
    /// - Precondition: not inside MULTI, nor while a log is loaded, where nobody waits.
    package mutating func wait(
        milliseconds: Int64, mayBeUnblocked: Bool = true, reply: @escaping WaitEnding.Body
    ) -> Waiter {
        precondition(!mayNotWait, "nobody waits in a transaction or while a log is loaded")
        let waiter = unsafe Waiter(
            session.pointee.record, database: keyspace.database, keys: [], destination: nil,
            wanted: .string, looksItself: false, looksEveryNanoseconds: nil,
            isRESP3: self.reply.isRESP3, isSilent: isSilent,
            deadlineNanoseconds: Self.deadline(milliseconds, state.clock),
            service: WaitEnding(mayBeUnblocked: mayBeUnblocked, reply))
        begin(waiter, newKeys: 0)
        return waiter
    }

    /// The client does not want the reply to the command that runs.
    private var isSilent: Bool {
        unsafe !session.pointee.gate.isDisjoint(with: [.repliesOff, .skipNextReply])
    }

    private mutating func begin(_ waiter: Waiter, newKeys: Int) {
        unsafe state.changeWaiterCount(by: 1, keys: newKeys)
        unsafe state.clients.setWaiter(waiter, of: waiter.record)
        unsafe session.pointee.waiter = waiter
        unsafe session.pointee.gate.insert(.blocked)
        followUp = .block
    }

    private mutating func standInLine(
        at keys: [Key], destination: Key? = nil, wanted: ValueKind, milliseconds: Int64,
        looksEvery: Int64? = nil, _ service: WaiterService
    ) {
        let state = unsafe self.state
        var distinct: [KeyCopy] = []
        for key in keys where !distinct.contains(where: { $0.key.bytes == key.bytes }) {
            distinct.append(KeyCopy(key))
        }
        let waiter = unsafe Waiter(
            session.pointee.record, database: keyspace.database, keys: distinct,
            destination: destination.map(KeyCopy.init), wanted: wanted,
            looksItself: service.isReady != nil,
            looksEveryNanoseconds: looksEvery.map { $0 * 1_000_000 }, isRESP3: reply.isRESP3,
            isSilent: isSilent, deadlineNanoseconds: Self.deadline(milliseconds, state.clock),
            service: service)
        var newKeys = 0
        for key in distinct {
            let shard = unsafe keyspace.shard(key.key)
            if unsafe shard.pointee.waits.add(waiter, at: key) { newKeys += 1 }
        }
        begin(waiter, newKeys: newKeys)
    }

    /// The end of a wait; nil for never, and for what no server lives to see.
    private static func deadline(_ milliseconds: Int64, _ clock: Clock) -> Int64? {
        if milliseconds == 0 { return nil }
        let (length, isTooLong) = milliseconds.multipliedReportingOverflow(by: 1_000_000)
        let (end, isTooLate) = length.addingReportingOverflow(clock.monotonicNanoseconds())
        return isTooLong || isTooLate ? nil : end
    }

    /// Notes that a key was written: somebody may wait for it.
    mutating func noteWritten(_ key: Key, _ database: Int) {
        let shard = unsafe keyspace.shard(key)
        if unsafe shard.pointee.waits.isEmpty { return }
        guard unsafe shard.pointee.waits.isAwaited(key, database),
            !ready.now.contains(where: {
                $0.database == database && $0.key.key.bytes == key.bytes
            })
        else { return }
        ready.now.append(ReadyKey(database: database, key: KeyCopy(key)))
        hasReadyKeys = true
    }
}
