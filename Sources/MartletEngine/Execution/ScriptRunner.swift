//  Scripts from their first slice to their reply: EVAL and its kind, FCALL, and transactions with one.
//
//  See ScriptTurns.swift for what is held meanwhile, ScriptCalls.swift for the commands that a script
//  calls, and `ScriptUnit` for what stands between two slices. All commands of a unit see one time, its
//  effects are appended to the log as one unit when it ends, and whoever waits for a key that it wrote is
//  served then.
//
//  A script that outlasts its slice frees its loop: it goes on when the loop has served its other
//  clients. Its client's connection waits as one of BLPOP does; when it is closed, the script runs to
//  its end all the same.
//
//  Raw memory: the unit and the stand-in session are the executor's, used on its loop's thread; the
//  interpreter is used with the turn.

import CSystem
import Glibc
import MartletBase
import MartletLua

extension Executor {
    /// EVAL, FCALL and the like, outside of a transaction. The caller has the turn.
    mutating func runScript(_ command: Command) -> FollowUp {
        beginUnit(command.number)
        // Weighed while no shard is held; a transaction was weighed before.
        unsafe unit.pointee.isOutOfMemory =
            call.state.conditions.contains(.memoryFull) && isMemoryFull()
        do {
            try openScript()
        } catch {
            fail(error)
            unsafe unit.pointee.end()
            return finish(command.number)
        }
        let plan = plan(command, call.arguments)
        let keyspace = unsafe call.state.keyspace
        guard unsafe Router.lock(plan, keyspace.pointee) else {
            preconditionFailure("nothing is claimed while somebody has the turn")
        }
        if let heldUp = heldUp(command) {
            unsafe Router.unlock(plan, keyspace.pointee)
            closeScript()
            unsafe unit.pointee.end()
            return heldUp
        }
        unsafe unit.pointee.held = plan
        if unsafe unit.pointee.isTracking { beginTracked() }
        unsafe unit.pointee.replyStart = call.reply.buffer.count
        unsafe unit.pointee.replyBegin = call.reply.buffer.count
        if isMonitoredScript { feedMonitors(command) }
        return goOn()
    }

    /// An EXEC with scripts among what was queued. The caller has the turn; the locks of `plan` are held,
    /// nothing watched was touched and nothing is watched any more.
    ///
    /// - Returns: `.block` when it goes on later; else it has ended, and no lock is held.
    mutating func runTransactionWithScripts(_ plan: LockPlan) -> FollowUp {
        let session = unsafe call.session
        guard let transaction = unsafe session.pointee.transaction else { return .none }
        beginUnit(unsafe call.commands.execNumber)
        unsafe unit.pointee.isOutOfMemory = call.state.conditions.contains(.memoryFull)
        unsafe unit.pointee.transaction = transaction
        unsafe unit.pointee.views = transaction.pointee.makeViews()
        unsafe unit.pointee.held = plan
        unsafe unit.pointee.replyStart = call.reply.buffer.count
        call.reply.array(unsafe transaction.pointee.commands.count)
        return goOn()
    }

    private mutating func beginUnit(_ number: Int) {
        unsafe unit.pointee.begin(
            number, of: call.session, isRESP3: call.reply.isRESP3,
            database: call.keyspace.database, ticks: lastTicks)
    }

    // MARK: Slices

    /// Runs the unit's first slice.
    private mutating func goOn() -> FollowUp {
        let own = call.arguments
        let session = unsafe call.session
        let number = unsafe unit.pointee.commandNumber
        let isOver = runSlice()
        call.arguments = own
        unsafe call.session = session
        call.commandNumber = number
        if isOver {
            endUnit()
            lastTicks = unsafe unit.pointee.beginTicks
            unsafe unit.pointee.end()
            return finish(number)
        }
        restFirst()
        return .block
    }

    /// Goes on with the unit of this loop that rests, between requests.
    package mutating func continueScript() {
        guard unsafe unit.pointee.isResting else { return }
        let scripts = unsafe call.state.scripts
        scripts.turn.lock()
        let own = unsafe (call.arguments, call.session, call.commandNumber)
        let ownReply = (call.keyspace.database, call.reply.isRESP3)
        unsafe unit.pointee.isResting = false
        unsafe unit.pointee.session = unit.pointee.caller?.session
        exchangeContext()
        let isOver = runSlice()
        unsafe (call.arguments, call.session, call.commandNumber) = own
        if isOver { endUnit() }
        exchangeContext()
        (call.keyspace.database, call.reply.isRESP3) = ownReply
        call.followUp = .none
        if isOver { concludeUnit() } else { rest() }
        // Who sleeps on the turn would find it taken again and again by the next slice.
        if scripts.turn.unlockReportingSleepers() { usleep(50) }
        refreshTime()
    }

    /// Runs the unit until it ends or its slice is over; answers whether it has ended.
    private mutating func runSlice() -> Bool {
        call.isNested = true
        call.isUnitOpen = true
        call.actor = unsafe unit.pointee.callerID
        defer {
            call.isNested = false
            call.isUnitOpen = false
            call.actor = nil
            call.keyspace.database = unsafe unit.pointee.database
            call.reply.isRESP3 = unsafe unit.pointee.isRESP3
        }
        while true {
            if unsafe unit.pointee.isOpen {
                call.keyspace.database = unsafe unit.pointee.selected
                let isOver = resumeScript()
                unsafe unit.pointee.selected = call.keyspace.database
                if !isOver { return false }
            }
            guard let transaction = unsafe unit.pointee.transaction,
                unsafe unit.pointee.nextIndex < transaction.pointee.commands.count
            else { return true }
            call.keyspace.database = unsafe unit.pointee.database
            call.reply.isRESP3 = unsafe unit.pointee.isRESP3
            unsafe runNext(of: transaction)
            unsafe unit.pointee.database = call.keyspace.database
        }
    }

    /// Runs the next queued command of a transaction, or opens its script.
    private mutating func runNext(of transaction: UnsafeMutablePointer<Transaction>) {
        let queued = unsafe transaction.pointee.commands[unit.pointee.nextIndex]
        unsafe unit.pointee.nextIndex += 1
        unsafe call.session = unit.pointee.session ?? standIn
        call.commandNumber = queued.command
        call.arguments = unsafe arguments(queued, unit.pointee.views)
        call.arguments.position = queued.position
        let command = unsafe call.commands.all[queued.command]
        guard command.traits.contains(.runsScript) else {
            runInUnit(queued.command)
            if isMonitored(command) { feedMonitors(command) }
            return
        }
        unsafe unit.pointee.replyBegin = call.reply.buffer.count
        if isMonitoredScript { feedMonitors(command) }
        do {
            try openScript()
        } catch {
            fail(error)
            countScript(queued.command)
        }
    }

    /// Scripts are kept from MONITOR like what administers, so that they can be shown before the commands
    /// that they call.
    private var isMonitoredScript: Bool {
        mutating get { unsafe call.state.conditions.contains(.monitored) }
    }

    // MARK: One script

    /// Finds the script of the running request, looks whether it may run, and gives it its arguments.
    private mutating func openScript() throws(CommandError) {
        let scripts = unsafe call.state.scripts
        let number = call.commandNumber
        _ = try unsafe rows[number].run(&call)
        let chosen = scripts.chosen
        try admitScript(chosen, isReadOnly: unsafe rows[number].isReadOnly)
        unsafe unit.pointee.chosen = chosen
        unsafe unit.pointee.scriptCommand = number
        unsafe unit.pointee.isReadOnly =
            rows[number].isReadOnly || chosen.flags.contains(.noWrites)
        unsafe unit.pointee.allowsOOM =
            !chosen.flags.contains(.promisesNothing) && chosen.flags.contains(.allowOOM)
        unsafe unit.pointee.hasWritten = false
        unsafe unit.pointee.isNoted = false
        unsafe unit.pointee.speaksRESP3 = false
        unsafe unit.pointee.selected = call.keyspace.database
        unsafe unit.pointee.isOpen = true
        if chosen.function == nil {
            unsafe unit.pointee.loader = scripts.loader.take()
        } else {
            try beginInterpreting(chosen)
        }
    }

    /// What a script that says what it does is checked for before it runs; others are checked with each
    /// command that they call.
    private mutating func admitScript(
        _ chosen: ChosenScript, isReadOnly: Bool
    ) throws(CommandError) {
        let flags = chosen.flags
        if flags.contains(.promisesNothing) { return }
        let conditions = unsafe call.state.conditions
        if unsafe unit.pointee.isOutOfMemory, flags.isDisjoint(with: [.allowOOM, .noWrites]) {
            throw .outOfMemory
        }
        if !flags.contains(.noWrites) {
            if conditions.contains(.refusingWrites) {
                call.errorDetail.removeAll()
                for byte in unsafe call.state.refusedWrite { call.errorDetail.append(byte) }
                throw .detailed
            }
            if isReadOnly {
                throw .invalid("Can not execute a script with write flag using *_ro command.")
            }
        }
    }

    /// The open script has ended: its reply is written.
    mutating func closeScript() {
        endInterpreting()
        unsafe call.state.scripts.noteMemory()
        unsafe unit.pointee.isOpen = false
        if unsafe unit.pointee.isNoted {
            unsafe unit.pointee.isNoted = false
            unsafe call.state.scripts.running.end()
        }
        unsafe unit.pointee.chosen = ChosenScript()
        if unsafe unit.pointee.transaction != nil {
            countScript(unsafe unit.pointee.scriptCommand)
        }
    }

    /// Counts a script of a transaction; the time of what it called has been counted there.
    private mutating func countScript(_ number: Int) {
        let now = martlet_ticks()
        statistics.counts.count(number, ticks: now &- lastTicks)
        lastTicks = now
    }

    // MARK: The end

    /// All has run: the log, and whoever waits, get what the unit did. Nothing is held afterwards.
    private mutating func endUnit() {
        let state = unsafe call.state
        guard let claim = unsafe unit.pointee.claim.take() else {
            settle(unsafe unit.pointee.held)
            return
        }
        let plan = LockPlan.several(claim.shards)
        unsafe Router.lockClaimed(plan, state.keyspace.pointee)
        settle(plan)
        state.end(claim)
    }

    /// Appends the unit's effects to the log and serves who waits for its keys, then releases the locks.
    private mutating func settle(_ plan: LockPlan) {
        call.appendUnit(isWrite: unsafe unit.pointee.waiter == nil)
        unsafe call.state.scripts.noteLogged(at: call.logPosition)
        if call.hasReadyKeys {
            call.ready.holds = plan.holds
            call.serveWaiters(statistics.counts)
            call.ready.holds = ReadyKeys.holdsNone
        }
        call.postInvalidations()
        unsafe Router.unlock(plan, call.state.keyspace.pointee)
    }

    /// A unit that has rested is over: replies to its client, if it is still there, and counts.
    private mutating func concludeUnit() {
        let state = unsafe call.state
        let number = unsafe unit.pointee.commandNumber
        let ticks = unsafe martlet_ticks() &- unit.pointee.beginTicks
        statistics.counts.count(number, ticks: ticks)
        noteSlowUnit(ticks)
        guard let waiter = unsafe unit.pointee.waiter else { return }
        let pushes = unsafe unit.pointee.context.pushes.view
        if !pushes.isEmpty,
            unsafe unit.pointee.isRESP3
                || unit.pointee.session?.pointee.gate.contains(.subscriberMode) ?? false
        {
            unsafe unit.pointee.context.reply.append(pushes)
        }
        unsafe unit.pointee.context.pushes.release()
        waiter.logPosition = unsafe unit.pointee.context.logPosition
        unsafe swap(&waiter.reply, &unit.pointee.context.reply)
        unsafe unit.pointee.context.reply.release()
        unsafe unit.pointee.end()
        if waiter.end(.served) {
            state.waiterEnded.call(EndedWaiter(waiter: waiter, loop: call.loop))
        }
    }

    private mutating func noteSlowUnit(_ ticks: UInt64) {
        let settings = unsafe call.state.settings
        let microseconds = Int64(TickRate.microseconds(ticks))
        let slow = settings.slowlogMicroseconds.load(ordering: .relaxed)
        let latency = settings.latencyThresholdMilliseconds.load(ordering: .relaxed)
        let command = unsafe call.commands.all[unit.pointee.commandNumber]
        guard slow >= 0 && microseconds >= slow || latency > 0 && microseconds / 1000 >= latency,
            !command.traits.contains(.skipSlowlog), let record = unsafe unit.pointee.caller
        else { return }
        unsafe call.state.notedCommand.call(
            NotedCommand(
                reason: .duration(microseconds), record: record, commandName: command.fullName,
                isFast: command.traits.contains(.fast), arguments: unit.pointee.shown))
    }

    // MARK: Between two slices

    /// The first slice is over: the client waits, and what the unit has gathered is put aside.
    private mutating func restFirst() {
        let state = unsafe call.state
        let session = unsafe call.session
        claimHeld()
        let silencing: SessionGate = [.repliesOff, .skipNextReply]
        let waiter = unsafe Waiter(
            session.pointee.record, database: unit.pointee.database, keys: [], destination: nil,
            wanted: .string, looksItself: false, looksEveryNanoseconds: nil,
            isRESP3: unit.pointee.isRESP3,
            isSilent: !session.pointee.gate.isDisjoint(with: silencing), deadlineNanoseconds: nil,
            service: Self.nobody)
        unsafe unit.pointee.waiter = waiter
        // Not among the waiters that CLIENT UNBLOCK finds.
        state.changeWaiterCount(by: 1, keys: 0)
        unsafe session.pointee.waiter = waiter
        unsafe session.pointee.gate.insert(.blocked)
        if unsafe unit.pointee.transaction != nil {
            unsafe unit.pointee.ownsTransaction = true
            _ = unsafe session.pointee.endTransaction()
        }
        let settings = state.settings
        unsafe unit.pointee.shown = call.command.shown(
            call.arguments, countMax: settings.notedArgumentsMax.load(ordering: .relaxed),
            bytesMax: settings.notedArgumentBytesMax.load(ordering: .relaxed))
        // Its reply leaves the batch's; all else of the call is the unit's, but for the time.
        let start = unsafe unit.pointee.replyStart
        var reply = ByteBuffer()
        reply.append(call.reply.buffer.view.slice(start, call.reply.buffer.count))
        call.reply.buffer.truncate(to: start)
        unsafe unit.pointee.replyBegin -= start
        let outer = (call.keyspace.nowMilliseconds, call.logPosition)
        let traces = (call.keyspace.leavesNoTrace, call.keyspace.keepsExpired)
        exchangeContext()
        let unit = unsafe unit
        unsafe swap(&call.reply.buffer, &unit.pointee.context.reply)
        unsafe unit.pointee.context.reply = reply
        (call.keyspace.nowMilliseconds, call.logPosition) = outer
        (call.keyspace.leavesNoTrace, call.keyspace.keepsExpired) = traces
        call.followUp = .none
        rest()
    }

    /// Nobody serves the wait of a script's client but the script's end.
    private static let nobody = WaiterService({ (_, _) in }, isReady: nil)

    /// Exchanges what the call has gathered for its loop's requests and what it has for the unit.
    private mutating func exchangeContext() {
        // A pointer of its own: to reach it through the executor is an access to all of that.
        let unit = unsafe unit
        unsafe swap(&call.keyspace.nowMilliseconds, &unit.pointee.context.nowMilliseconds)
        unsafe swap(&call.keyspace.leavesNoTrace, &unit.pointee.context.leavesNoTrace)
        unsafe swap(&call.keyspace.keepsExpired, &unit.pointee.context.keepsExpired)
        unsafe swap(&call.keyspace.effects.pointee, &unit.pointee.context.effects)
        unsafe swap(&call.trackers.caused, &unit.pointee.context.caused)
        unsafe swap(&call.ready.now, &unit.pointee.context.ready)
        unsafe swap(&call.hasReadyKeys, &unit.pointee.context.hasReadyKeys)
        unsafe swap(&call.pushes, &unit.pointee.context.pushes)
        unsafe swap(&call.logPosition, &unit.pointee.context.logPosition)
        unsafe swap(&call.reply.buffer, &unit.pointee.context.reply)
    }

    /// Lets the loop serve others, then go on.
    private mutating func rest() {
        let state = unsafe call.state
        unsafe unit.pointee.isResting = true
        unsafe unit.pointee.session = nil
        let now = state.clock.monotonicNanoseconds()
        let running = state.scripts.running
        if unsafe !unit.pointee.isNoted {
            unsafe unit.pointee.isNoted = true
            unsafe unit.pointee.noticedNanoseconds = now
            unsafe running.begin(
                RunningScript.Note(
                    name: unit.pointee.chosen.name, command: unit.pointee.shown,
                    beganNanoseconds: now),
                isFunction: unit.pointee.chosen.isFunction, hasWritten: unit.pointee.hasWritten)
        }
        let threshold = state.settings.busyMilliseconds.load(ordering: .relaxed)
        if threshold > 0, !running.isBusy,
            unsafe now - unit.pointee.noticedNanoseconds >= threshold * 1_000_000
        {
            running.becomeBusy()
            // Who waits is told.
            state.releaseParked()
        }
        state.continueScript.call(call.loop)
    }
}
