//  A client that waits, for keys nearly always.
//
//  Raw memory: a session belongs to its connection and is touched on the loop's thread; shards are
//  used under their locks.

import MartletBase

/// One client's wait.
package final class Waiter: Wait, @unchecked Sendable {
    // Unchecked: constant beside what `Wait` has.

    package let record: ClientRecord
    let isRESP3: Bool
    /// The client does not want this reply.
    let isSilent: Bool
    /// What it gets: see `WaiterService`; of a wait for something else than keys, `WaitEnding`.
    let service: AnyObject

    init(
        _ record: ClientRecord, database: Int, keys: [KeyCopy], destination: KeyCopy?,
        wanted: ValueKind, looksItself: Bool, looksEveryNanoseconds: Int64?, isRESP3: Bool,
        isSilent: Bool, deadlineNanoseconds: Int64?, service: AnyObject
    ) {
        self.record = record
        self.isRESP3 = isRESP3
        self.isSilent = isSilent
        self.service = service
        super.init(
            database: database, keys: keys, destination: destination, wanted: wanted,
            looksItself: looksItself, looksEveryNanoseconds: looksEveryNanoseconds,
            deadlineNanoseconds: deadlineNanoseconds)
    }

    /// It waits for keys, and its reply shows what they hold.
    package var isForKeys: Bool { !keys.isEmpty }

    /// CLIENT UNBLOCK may end it.
    var mayBeUnblocked: Bool { (service as? WaitEnding)?.mayBeUnblocked ?? true }

    /// A wait like one that has ended, which goes on.
    init(again other: Waiter) {
        record = other.record
        isRESP3 = other.isRESP3
        isSilent = other.isSilent
        service = other.service
        super.init(
            database: other.database, keys: other.keys, destination: other.destination,
            wanted: other.wanted, looksItself: other.looksItself,
            deadlineNanoseconds: other.deadlineNanoseconds)
    }
}

/// What a client that waits for something else than keys is told when its wait has ended, whatever ended
/// it.
package final class WaitEnding: Sendable {
    package typealias Body = @Sendable (inout ReplyWriter, WaitOutcome) -> Void
    let reply: Body
    /// CLIENT UNBLOCK may end the wait.
    let mayBeUnblocked: Bool

    init(mayBeUnblocked: Bool, _ reply: @escaping Body) {
        self.mayBeUnblocked = mayBeUnblocked
        self.reply = reply
    }
}

/// A wait that has ended, for the loop of its client.
package struct EndedWaiter: Sendable {
    package let waiter: Waiter
    /// The loop that ended it.
    package let loop: Int
}

extension EngineState {
    /// Takes a client, whose wait has ended, off the keys it stood at. The caller holds no lock.
    func stopWaiting(_ session: UnsafeMutablePointer<Session>) {
        guard let waiter = unsafe session.pointee.waiter else { return }
        unsafe session.pointee.waiter = nil
        unsafe session.pointee.gate.remove(.blocked)
        clients.setWaiter(nil, of: waiter.record)
        var emptied = 0
        for key in waiter.keys {
            let index = unsafe keyspace.pointee.shardIndex(key.key.hash)
            let lock = unsafe keyspace.pointee.lock(index)
            lock.lock()
            if unsafe keyspace.pointee.shard(index).pointee.waits.remove(waiter, at: key) {
                emptied += 1
            }
            lock.unlock()
        }
        changeWaiterCount(by: -1, keys: -emptied)
    }

    /// Ends a wait, if it goes on, and has its client told.
    ///
    /// - Parameters:
    ///   - waiter: the wait.
    ///   - outcome: why it ends.
    ///   - loop: the one that this runs on; nil for a thread that is no loop.
    /// - Returns: whether it was this call that ended it.
    package func end(_ waiter: Waiter, _ outcome: WaitOutcome, on loop: Int? = nil) -> Bool {
        guard waiter.end(outcome) else { return false }
        waiterEnded.call(EndedWaiter(waiter: waiter, loop: loop ?? -1))
        return true
    }

    /// Ends a client's wait without a reply, because its connection goes.
    func abandonWait(_ record: ClientRecord) {
        _ = clients.waiter(of: record)?.end(.closed)
    }
}
