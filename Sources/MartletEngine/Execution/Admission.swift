//  The checks before a handler runs, in Redis' order, for the requests that need any: an unusual
//  connection, an unusual state of the server, a container's subcommand, or an error.
//
//  Raw memory: nothing here is owned; the session belongs to its connection and is touched on its
//  loop's thread.

import CSystem
import MartletBase

extension Executor {
    /// Arguments quoted by the error of an unknown command, and bytes of each, as Redis does.
    private static let quotedBytesMax = 128

    /// Replies with the error of an unknown command or a wrong number of arguments; a transaction
    /// that is being queued is spoilt by it.
    @inline(never)
    mutating func reject(unknown: Bool, row: Int) -> FollowUp {
        if row >= 0 {
            return rejected(row, call.arityError())
        }
        // A browser's POST request or Host header: see `ProtocolError.crossProtocol`.
        let name = call.arguments[0]
        if name.equalsIgnoringCase("post") || name.equalsIgnoringCase("host:") { return .close }
        endCaching(nil)
        return reject(unknownCommandError())
    }

    private mutating func unknownCommandError() -> CommandError {
        call.errorDetail.removeAll()
        call.errorDetail.append("ERR unknown command '")
        call.errorDetail.append(Self.quoted(call.arguments[0], Self.quotedBytesMax))
        call.errorDetail.append("', with args beginning with: ")
        let begin = call.errorDetail.count
        for index in 1..<max(1, call.arguments.count) {
            let left = Self.quotedBytesMax - (call.errorDetail.count - begin)
            if left <= 0 { break }
            call.errorDetail.append("'")
            call.errorDetail.append(Self.quoted(call.arguments[index], left))
            call.errorDetail.append("' ")
        }
        return .detailed
    }

    private mutating func unknownSubcommandError(_ container: Command) -> CommandError {
        let shown = Self.quoted(call.arguments[1], Self.quotedBytesMax)
        if container.awaited.contains(shown.string.uppercased()) {
            return call.error(
                "ERR \(container.name) \(shown.string.uppercased()) is not available in this version"
            )
        }
        call.errorDetail.removeAll()
        call.errorDetail.append("ERR unknown subcommand '")
        call.errorDetail.append(shown)
        call.errorDetail.append("'. Try ")
        call.errorDetail.append(container.name.uppercased())
        call.errorDetail.append(" HELP.")
        return .detailed
    }

    /// What an error shows of an argument: its first bytes, as they are, up to a zero byte.
    private static func quoted(_ argument: ByteView, _ bytesMax: Int) -> ByteView {
        let shown = argument.slice(0, min(argument.count, bytesMax))
        return shown.slice(0, shown.firstIndex(of: 0) ?? shown.count)
    }

    /// Writes an error for a request that was not run.
    private mutating func reject(_ error: CommandError) -> FollowUp {
        if unsafe call.session.pointee.gate.contains(.inTransaction) {
            unsafe call.session.pointee.transaction?.pointee.isAborted = true
        }
        let before = call.reply.buffer.count
        error.write(to: &call.reply, detail: call.errorDetail.view)
        countError(from: before)
        silence(from: before)
        endReplyMode()
        return .none
    }

    /// The same for a known command. An EXEC that may not run ends its transaction.
    private mutating func rejected(_ number: Int, _ error: CommandError) -> FollowUp {
        statistics.countFailure(number, wasRejected: true)
        endCaching(unsafe call.commands.all[number])
        // It may have waited: memory has run out since, or the data are loaded anew.
        leaveLine()
        guard unsafe number == call.commands.execNumber else { return reject(error) }
        var reason = ReplyWriter()
        error.write(to: &reason, detail: call.errorDetail.view)
        let text = reason.buffer.view.slice(1, reason.buffer.count - 2)
        call.errorDetail.removeAll()
        call.errorDetail.append("EXECABORT Transaction discarded because of: ")
        let code = ByteView("ERR ")
        let hasPlainCode = text.count >= code.count && text.slice(0, code.count) == code
        call.errorDetail.append(hasPlainCode ? text.slice(code.count, text.count) : text)
        call.endTransaction()
        unsafe call.state.unwatch(call.session)
        return reject(.detailed)
    }

    /// The long way for a request: finds the subcommand, makes all checks, and runs or queues it.
    @inline(never)
    mutating func executeGated(_ number: Int) -> FollowUp {
        var number = number
        let commands = unsafe call.commands
        var command = commands.all[number]
        let gate = unsafe call.session.pointee.gate
        if unsafe call.session.pointee.record.isKilled { return .close }
        // COMMAND works without a subcommand too; other containers do not by their arity.
        if !command.subcommands.isEmpty && call.arguments.count >= 2 {
            number = commands.subcommand(number, call.arguments[1])
            if number < 0 {
                endCaching(nil)
                return rejected(command.number, unknownSubcommandError(command))
            }
            command = commands.all[number]
            call.arguments.position = 2
        }
        call.commandNumber = number
        if !command.arity.admits(call.arguments.count) {
            return rejected(number, call.arityError())
        }
        let traits = command.traits
        if gate.contains(.unauthenticated) && !traits.contains(.noAuth) {
            return rejected(number, .coded("NOAUTH Authentication required."))
        }
        if gate.contains(.inTransaction) && traits.contains(.noMulti) {
            return rejected(
                number, call.error("ERR Command not allowed inside a transaction"))
        }
        let conditions = unsafe call.keyspace.isReplaying ? [] : call.state.conditions
        if conditions.contains(.memoryFull) && needsMemory(command) && isMemoryFull() {
            return rejected(number, .outOfMemory)
        }
        if conditions.contains(.refusingWrites) && isRefused(command) {
            call.errorDetail.removeAll()
            for byte in unsafe call.state.refusedWrite { call.errorDetail.append(byte) }
            return rejected(number, .detailed)
        }
        if gate.contains(.subscriberMode) && !traits.contains(.evenWhileSubscribed) {
            return rejected(
                number,
                call.error(
                    "ERR Can't execute '\(command.fullName)': only (P|S)SUBSCRIBE / "
                        + "(P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"))
        }
        if conditions.contains(.loading) && !traits.contains(.loading) {
            return rejected(
                number, .coded("LOADING Redis is loading the dataset in memory"))
        }
        // A monitor counts as a replica, which does not touch keys.
        if gate.contains(.monitor) && (command.access != .none || traits.contains(.mayReplicate)) {
            return rejected(number, .invalid("Replica can't interact with the keyspace"))
        }
        if mustWait(command) {
            leaveLine()
            return .park
        }
        if gate.contains(.inTransaction) && !traits.contains(.notQueued) { return queue(command) }
        unsafe call.session.pointee.record.lastCommand.store(number, ordering: .relaxed)
        call.keyspace.leavesNoTrace = gate.contains(.noTouch)
        defer { call.keyspace.leavesNoTrace = false }
        call.keyspace.keepsExpired =
            conditions.contains(.refusingWrites)
            || !conditions.isDisjoint(with: [.pausedAll, .pausedWrites]) && onlyReads(command)
        defer { call.keyspace.keepsExpired = false }
        let before = call.reply.buffer.count
        let isExec = number == commands.execNumber && gate.contains(.inTransaction)
        let followUp =
            isExec
            ? executeTransaction()
            : traits.contains(.goesOut)
                ? runClaiming(command)
                : traits.contains(.takesTurn) ? runInTurn(command) : runGated(command)
        if unsafe !gate.union(call.session.pointee.gate).isDisjoint(with: .tracking) {
            endTracked(command, followUp, from: before)
            return followUp
        }
        // A parked command comes again.
        if !followUp.isRepeated {
            if !traits.contains(.repliesByPush) { silence(from: before) }
            endReplyMode()
        }
        return followUp
    }

    /// Whether a command, or for EXEC one that is queued, may use more memory.
    private mutating func needsMemory(_ command: Command) -> Bool {
        if command.traits.contains(.growsMemory) { return true }
        guard unsafe command.number == call.commands.execNumber,
            let transaction = unsafe call.session.pointee.transaction
        else { return false }
        for index in unsafe 0..<transaction.pointee.commands.count {
            let row = unsafe rows + transaction.pointee.commands[index].command
            if unsafe row.pointee.traits.contains(.growsMemory) { return true }
        }
        return false
    }

    /// Whether a command is a write, or for EXEC one that is queued; or PING, by which Redis too tells of
    /// its state.
    private mutating func isRefused(_ command: Command) -> Bool {
        if command.access == .write || command.name == "PING" { return true }
        guard unsafe command.number == call.commands.execNumber,
            let transaction = unsafe call.session.pointee.transaction
        else { return false }
        for index in unsafe 0..<transaction.pointee.commands.count {
            let number = unsafe transaction.pointee.commands[index].command
            if unsafe call.commands.all[number].access == .write { return true }
        }
        return false
    }

    mutating func runGated(_ command: Command, claim: HeldClaim? = nil) -> FollowUp {
        let plan = plan(command, call.arguments)
        guard takes(plan) else { return waitInLine(command.number) }
        if let heldUp = heldUp(command) {
            unsafe Router.unlock(plan, call.state.keyspace.pointee)
            return heldUp
        }
        let isMonitored = isMonitored(command)
        let mayServe = unsafe call.state.sinks.contains(.waiting)
        if mayServe { call.ready.holds = plan.holds }
        let isTracking = unsafe call.session.pointee.gate.contains(.tracking)
        if isTracking { beginTracked() }
        unsafe runHeld(call.commands.rows + command.number)
        if isTracking { call.rememberKeys(of: command) }
        if mayServe { call.ready.holds = ReadyKeys.holdsNone }
        if isMonitored { feedMonitors(command) }
        if let claim { keep(claim, plan) }
        unsafe Router.unlock(plan, call.state.keyspace.pointee)
        return finish(command.number)
    }

    /// Takes the locks of a plan. A command that meets a claim is given a place in the line, which
    /// it keeps until it comes again and meets none.
    mutating func takes(_ plan: LockPlan) -> Bool {
        while true {
            if unsafe Router.lock(plan, call.state.keyspace.pointee) {
                leaveLine()
                return true
            }
            unsafe call.session.pointee.gate.insert(.waitsInLine)
            if unsafe call.state.claimLine.takePlace(&call.session.pointee.place) { return false }
        }
    }

    private mutating func leaveLine() {
        if unsafe !call.session.pointee.gate.contains(.waitsInLine) { return }
        unsafe call.session.pointee.gate.remove(.waitsInLine)
        unsafe call.state.leaveLine(call.session)
    }

    /// What keeps a command from running although it was admitted: a KILL or PAUSE that came before
    /// its locks were taken. The caller holds them.
    mutating func heldUp(_ command: Command) -> FollowUp? {
        if unsafe call.session.pointee.record.isKilled { return .close }
        return mustWait(command) ? .park : nil
    }

    /// CLIENT PAUSE holds the command back, or a shutdown does.
    private mutating func mustWait(_ command: Command) -> Bool {
        let conditions = unsafe call.keyspace.isReplaying ? [] : call.state.conditions
        if command.traits.contains(.evenWhilePaused) { return false }
        if conditions.contains(.pausedAll) { return true }
        guard !conditions.isDisjoint(with: [.pausedWrites, .shuttingDown]) else { return false }
        if command.access == .write || command.traits.contains(.mayReplicate) { return true }
        guard unsafe command.number == call.commands.execNumber,
            let transaction = unsafe call.session.pointee.transaction
        else { return false }
        for index in unsafe 0..<transaction.pointee.commands.count {
            let command = unsafe call.commands.all[transaction.pointee.commands[index].command]
            if command.access == .write || command.traits.contains(.mayReplicate) { return true }
        }
        return false
    }

    /// Whether a command, or for EXEC all that is queued, is declared to read.
    private mutating func onlyReads(_ command: Command) -> Bool {
        guard unsafe command.number == call.commands.execNumber,
            let transaction = unsafe call.session.pointee.transaction
        else { return command.access == .read }
        for index in unsafe 0..<transaction.pointee.commands.count {
            let number = unsafe transaction.pointee.commands[index].command
            if unsafe call.commands.all[number].access != .read { return false }
        }
        return true
    }

    // MARK: Replies that are not wanted

    /// Drops the reply written from `before` on if the client asked for that with CLIENT REPLY. Of a
    /// transaction that asks for it midway, the whole reply: half of one breaks the framing.
    mutating func silence(from before: Int) {
        let silencing: SessionGate = [.repliesOff, .skipNextReply, .skipArmed]
        if unsafe call.session.pointee.gate.isDisjoint(with: silencing) { return }
        call.reply.buffer.truncate(to: before)
    }

    /// A request has ended: CLIENT REPLY SKIP counts for the one that follows it.
    mutating func endReplyMode() {
        let session = unsafe call.session
        if unsafe session.pointee.gate.isDisjoint(with: [.skipNextReply, .skipArmed]) { return }
        let isArmed = unsafe session.pointee.gate.contains(.skipArmed)
        unsafe session.pointee.gate.subtract([.skipNextReply, .skipArmed])
        if isArmed { unsafe session.pointee.gate.insert(.skipNextReply) }
    }

    // MARK: What others are shown

    /// What MONITOR may show of a request.
    mutating func shownArguments(_ command: Command) -> [[UInt8]] {
        command.shown(call.arguments, countMax: .max, bytesMax: .max)
    }

    /// Whether somebody monitors and may see this command. Administration shows the keys of the
    /// house: Redis keeps it from MONITOR too.
    mutating func isMonitored(_ command: Command) -> Bool {
        unsafe call.state.conditions.contains(.monitored)
            && command.traits.isDisjoint(with: [.skipMonitor, .admin])
    }

    /// Shows the current request to the monitors. Its shards are held still, so that the order of
    /// lines is the order of execution.
    mutating func feedMonitors(_ command: Command) {
        unsafe call.state.monitorFeed.call(
            MonitorLine(
                database: call.keyspace.database, record: call.session.pointee.record,
                arguments: shownArguments(command)))
    }
}
