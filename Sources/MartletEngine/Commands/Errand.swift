//  What a command goes on with outside of the process, while its client waits and nobody touches its keys.
//
//      handler, shards held:    read what is to go out; `call.goOut(...)`
//      shards claimed, released
//      begin, no shard held:    hand it to a thread that may wait; it posts the errand to `loop`
//      end, shards held again:  change the keys by what came back, and reply
//
//  The shards are claimed from the first hold to the second: for everybody else the command is one step,
//  however long it takes, and whoever asks for a key of them is parked. Claimants run one at a time.
//
//  The errand outlives its client: a closed connection gets no reply, and all else happens. CLIENT
//  UNBLOCK does not end it.

import MartletBase

/// One command's way outside.
package final class Errand: @unchecked Sendable {
    // Unchecked: nothing changes after `begin`; what `Waiter` has is atomic, or the winner's alone.
    let waiter: Waiter
    let begin: @Sendable (Errand) -> Void
    let end: @Sendable (inout Call) -> Void
    /// What keeps its keys from all others, set before `begin`.
    var claim: AnyObject?
    /// Nobody ever serves it.
    private static let service = WaiterService({ (_, _) in }, isReady: nil)

    fileprivate init(
        _ call: borrowing Call, _ begin: @escaping @Sendable (Errand) -> Void,
        _ end: @escaping @Sendable (inout Call) -> Void
    ) {
        waiter = unsafe Waiter(
            call.session.pointee.record, database: call.keyspace.database, keys: [],
            destination: nil, wanted: .string, looksItself: false, looksEveryNanoseconds: nil,
            isRESP3: call.reply.isRESP3,
            isSilent: !call.session.pointee.gate.isDisjoint(with: [.repliesOff, .skipNextReply]),
            deadlineNanoseconds: nil, service: Self.service)
        self.begin = begin
        self.end = end
    }

    /// The loop of the client, on which the errand ends.
    package var loop: Int { waiter.record.loop }
}

extension Call {
    /// Goes on outside once the running command's shards are released, which stay claimed.
    ///
    /// - Parameters:
    ///   - begin: called with no shard held; sees to it that the errand comes to `Executor.conclude`.
    ///   - end: called there, the same shards held and the same database selected: records what it
    ///     changes and writes the reply.
    /// - Returns: the handler's effect: none yet.
    /// - Precondition: the command is declared `.goesOut`, which no log and no transaction runs.
    package mutating func goOut(
        begin: @escaping @Sendable (Errand) -> Void,
        end: @escaping @Sendable (inout Call) -> Void
    ) -> Effect {
        precondition(command.traits.contains(.goesOut) && !isNested, "its shards are claimed")
        let errand = Errand(self, begin, end)
        let session = unsafe self.session
        // Not among the waiters that CLIENT UNBLOCK finds.
        unsafe state.changeWaiterCount(by: 1, keys: 0)
        unsafe session.pointee.waiter = errand.waiter
        unsafe session.pointee.gate.insert(.blocked)
        self.errand = errand
        followUp = .block
        return .none
    }
}
