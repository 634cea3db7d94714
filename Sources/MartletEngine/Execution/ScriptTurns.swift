//  Scripts take turns. Who has the turn holds the interpreter's lock and has made sure that nobody claims
//  anything; it keeps that lock for a slice of about a millisecond at most.
//
//      turn taken -> locks of the declared keys -> slice -> ended: all released, nothing was claimed
//                                                        -> another key, or the slice is over:
//                                                           the locks become claims, and what follows
//                                                           takes locks for single commands only
//
//  A script that ends within its first slice, as nearly all do, costs what a command of several keys
//  costs, and one lock more. It never claims: nobody is parked because of it, and nobody has to be woken.
//  The turn is what makes that safe: a claimant begins with the turn in hand, so a short script may become
//  one at any time. One interpreter serves all loops: two scripts never run at the same time.
//
//  Raw memory: the unit belongs to the executor; a session is touched on its loop's thread; shards are
//  used under their locks or claims.

import CSystem
import MartletBase

extension Executor {
    /// Takes the turn for a client's command, or gives it a place in the line.
    ///
    /// - Returns: whether it has the turn, which `state.scripts.turn.unlock()` ends.
    mutating func takesTurn() -> Bool {
        let state = unsafe call.state
        if call.keyspace.isReplaying {
            state.beginTurn()
            return true
        }
        state.scripts.turn.lock()
        let session = unsafe call.session
        // Acquired: who sees that nobody runs finds no shard claimed either.
        if !state.claimLine.isBusy.load(ordering: .acquiring),
            unsafe session.pointee.place == 0
        {
            return true
        }
        if unsafe state.claimLine.mayBegin(&session.pointee.place) {
            unsafe session.pointee.gate.remove(.waitsInLine)
            return true
        }
        unsafe session.pointee.gate.insert(.waitsInLine)
        state.scripts.turn.unlock()
        return false
    }

    /// Gives the turn back. Whoever stands in line and came too early, while this one had its place before
    /// them, comes again.
    mutating func endTurn() {
        let state = unsafe call.state
        state.scripts.turn.unlock()
        if state.claimLine.isBusy.load(ordering: .relaxed), state.claimLine.mayGoOn {
            state.releaseParked()
        }
    }

    /// What becomes of a command that met a claim: it waits, unless the script that holds it has run for
    /// too long.
    mutating func waitInLine(_ number: Int) -> FollowUp {
        guard let busy = unsafe call.state.scripts.running.busyError else { return .park }
        unsafe call.session.pointee.gate.remove(.waitsInLine)
        unsafe call.state.leaveLine(call.session)
        statistics.countFailure(number, wasRejected: true)
        let before = call.reply.buffer.count
        if unsafe number == call.commands.execNumber,
            unsafe call.session.pointee.gate.contains(.inTransaction)
        {
            call.endTransaction()
            unsafe call.state.unwatch(call.session)
            call.reply.error("EXECABORT Transaction discarded because of: \(busy)")
        } else {
            call.reply.error(ByteView(busy))
        }
        countError(from: before)
        return .none
    }

    /// Runs a command that needs the interpreter, or what is kept with it.
    mutating func runInTurn(_ command: Command) -> FollowUp {
        guard takesTurn() else { return waitInLine(command.number) }
        defer { endTurn() }
        if command.traits.contains(.runsScript) { return runScript(command) }
        let followUp = runGated(command)
        unsafe call.state.scripts.noteLogged(at: call.logPosition)
        return followUp
    }

    // MARK: From locks to claims

    /// The unit goes on with claims in place of the locks it holds.
    mutating func claimHeld() {
        if unsafe unit.pointee.claim != nil { return }
        let state = unsafe call.state
        let plan = unsafe unit.pointee.held
        var claim = state.claimInTurn()
        var shards = ShardSet()
        switch plan {
        case .nothing: break
        case .one(let shard): shards.insert(shard)
        case .several(let set): shards = set
        case .all:
            for shard in unsafe 0..<state.keyspace.pointee.shardCount { shards.insert(shard) }
        }
        state.add(held: shards, to: &claim)
        unsafe Router.unlock(plan, state.keyspace.pointee)
        unsafe unit.pointee.held = .nothing
        unsafe unit.pointee.claim = consume claim
    }

    /// Claims the shards of a plan that are not claimed yet, then takes the locks of all of them.
    ///
    /// - Complexity: one lock and unlock for each shard that is new.
    mutating func lockClaimed(_ plan: LockPlan) {
        let state = unsafe call.state
        guard var claim = unsafe unit.pointee.claim.take() else {
            preconditionFailure("the unit claims")
        }
        switch plan {
        case .nothing: break
        case .one(let shard): state.add(shard, to: &claim)
        case .several(let set):
            let claimed = claim.shards
            var missing: [Int] = []
            set.forEachShard { if !claimed.contains($0) { missing.append($0) } }
            for shard in missing { state.add(shard, to: &claim) }
        case .all:
            for shard in unsafe 0..<state.keyspace.pointee.shardCount {
                state.add(shard, to: &claim)
            }
        }
        unsafe unit.pointee.claim = consume claim
        unsafe Router.lockClaimed(plan, state.keyspace.pointee)
    }
}

extension EngineState {
    /// Begins a claim. The caller has the turn, so that nobody else has one.
    func claimInTurn() -> Claim { Claim(number: claimLine.beginInTurn()) }
}
