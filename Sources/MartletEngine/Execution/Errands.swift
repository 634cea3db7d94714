//  Commands that go on outside: their claim, and what happens when they come back. See `Errand`.
//
//  Raw memory: shards are used under their locks; a session is touched on its loop's thread.

import MartletBase

/// A claim that outlives the request it was begun for.
final class HeldClaim: @unchecked Sendable {
    // Unchecked: only its client's loop touches it.
    private var claim: Claim?

    init(_ claim: consuming Claim) { self.claim = consume claim }

    /// The shards it holds.
    var shards: ShardSet { claim?.shards ?? ShardSet() }

    /// Claims shards that the caller holds.
    func add(_ shards: ShardSet, _ state: EngineState) {
        guard var claim = claim.take() else { return }
        state.add(held: shards, to: &claim)
        self.claim = consume claim
    }

    /// Gives all shards back. The caller holds no lock.
    func end(_ state: EngineState) { if let claim = claim.take() { state.end(claim) } }
}

extension Executor {
    /// Runs a command that may go on outside, as the one claimant; or lets it wait for its turn.
    mutating func runClaiming(_ command: Command) -> FollowUp {
        let session = unsafe call.session
        guard let begun = unsafe call.state.beginClaim(&session.pointee.place) else {
            unsafe session.pointee.gate.insert(.waitsInLine)
            return .park
        }
        unsafe session.pointee.gate.remove(.waitsInLine)
        let claim = HeldClaim(begun)
        let followUp = runGated(command, claim: claim)
        guard let errand = call.errand else {
            unsafe claim.end(call.state)
            return followUp
        }
        call.errand = nil
        errand.begin(errand)
        return followUp
    }

    /// Claims the shards that the running command holds, if it goes outside.
    mutating func keep(_ claim: HeldClaim, _ plan: LockPlan) {
        guard let errand = call.errand else { return }
        guard case .several(let shards) = plan else {
            preconditionFailure("a command that goes out names its keys")
        }
        unsafe claim.add(shards, call.state)
        errand.claim = claim
    }

    /// Ends an errand of this loop's client, between requests. The caller holds no lock.
    package mutating func conclude(_ errand: Errand) {
        let waiter = errand.waiter
        let keyspace = unsafe call.state.keyspace
        guard let claim = errand.claim as? HeldClaim else { return }
        let shards = claim.shards
        shards.forEachShard { unsafe keyspace.pointee.lock($0).lock() }
        let own = (call.keyspace.database, call.reply.isRESP3)
        var ownReply = ByteBuffer()
        swap(&call.reply.buffer, &ownReply)
        call.keyspace.database = waiter.database
        call.reply.isRESP3 = waiter.isRESP3
        call.keyspace.sinks = unsafe call.state.sinks
        call.actor = waiter.record.id
        call.logPosition = 0
        call.isNested = true
        errand.end(&call)
        countError(from: 0)
        ChangeLog.publish(.none, &call, statistics.counts)
        call.isNested = false
        if call.hasReadyKeys {
            call.ready.holds = LockPlan.several(shards).holds
            call.serveWaiters(statistics.counts)
            call.ready.holds = ReadyKeys.holdsNone
            call.followUp = .none
        }
        call.postInvalidations()
        waiter.logPosition = call.logPosition
        call.logPosition = 0
        call.actor = nil
        swap(&waiter.reply, &call.reply.buffer)
        swap(&call.reply.buffer, &ownReply)
        (call.keyspace.database, call.reply.isRESP3) = own
        shards.forEachShard { unsafe keyspace.pointee.lock($0).unlock() }
        unsafe claim.end(call.state)
        if waiter.end(.served) {
            unsafe call.state.waiterEnded.call(EndedWaiter(waiter: waiter, loop: call.loop))
        }
    }
}

extension EngineState {
    /// All loops have ended: what is awaited from outside comes too late.
    package func abandonErrands() {
        for shard in unsafe 0..<keyspace.pointee.shardCount {
            let lock = unsafe keyspace.pointee.lock(shard)
            lock.lock()
            unsafe keyspace.pointee.shard(shard).pointee.claimant = 0
            lock.unlock()
        }
    }
}
