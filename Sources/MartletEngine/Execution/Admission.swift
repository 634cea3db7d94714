//  The checks before a handler runs, in Redis' order, for the requests that need any: an unusual
//  connection, an unusual state of the server, a container's subcommand, or an error.

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
            unsafe call.session.pointee.transaction?.isAborted = true
        }
        let before = call.reply.buffer.count
        error.write(to: &call.reply, detail: call.errorDetail.view)
        countError(from: before)
        applyReplyMode(from: before)
        return .none
    }

    /// The long way for a request: finds the subcommand, makes all checks, and runs or queues it.
    @inline(never)
    mutating func executeGated(_ number: Int, hash: UInt64) -> FollowUp {
        var number = number
        let commands = unsafe call.commands
        var command = commands.all[number]
        var gate = unsafe call.session.pointee.gate
        if unsafe call.session.pointee.record.isKilled { return .close }
        // COMMAND works without a subcommand too; other containers do not by their arity.
        if !command.subcommands.isEmpty && call.arguments.count >= 2 {
            number = commands.subcommand(number, call.arguments[1])
            if number < 0 { return rejected(command.number, unknownSubcommandError(command)) }
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
        let conditions = unsafe call.state.conditions
        if conditions.contains(.memoryFull) && needsMemory(command) && isMemoryFull() {
            return refuseForMemory(number)
        }
        if conditions.contains(.loading) && !traits.contains(.loading) {
            return rejected(
                number, .coded("LOADING Redis is loading the dataset in memory"))
        }
        // A monitor counts as a replica, which does not touch keys.
        if gate.contains(.monitor) && (command.access != .none || traits.contains(.mayReplicate)) {
            return rejected(number, .invalid("Replica can't interact with the keyspace"))
        }
        if gate.contains(.inTransaction) && !traits.contains(.notQueued) {
            queue(command)
            return .none
        }
        if mustWait(command, conditions) { return .park }
        if gate.contains(.noTouch) { call.keyspace.leavesNoTrace = true }
        defer { call.keyspace.leavesNoTrace = false }
        let before = call.reply.buffer.count
        unsafe call.session.pointee.record.lastCommand.store(number, ordering: .relaxed)
        let row = unsafe commands.rows + number
        let followUp = unsafe run(
            number, row, subcommandHash(command, hash), isMonitored: isMonitored(command))
        gate = unsafe call.session.pointee.gate
        // A parked command comes again, and is skipped then.
        if followUp != .park, !gate.isDisjoint(with: [.repliesOff, .skipNextReply, .skipArmed]) {
            applyReplyMode(from: before)
        }
        return followUp
    }

    /// Whether a command, or for EXEC one that is queued, may use more memory.
    private func needsMemory(_ command: Command) -> Bool {
        if command.traits.contains(.growsMemory) { return true }
        guard command.name == "EXEC",
            let transaction = unsafe call.session.pointee.transaction
        else { return false }
        return transaction.commands.contains { queued in
            unsafe call.commands.all[queued.command].traits.contains(.growsMemory)
        }
    }

    /// Memory is weighed ten times a second; what was freed since then counts at once.
    private func isMemoryFull() -> Bool {
        unsafe call.state.weighMemory.call()
        return unsafe call.state.conditions.contains(.memoryFull)
    }

    private mutating func refuseForMemory(_ number: Int) -> FollowUp {
        guard unsafe call.commands.all[number].name == "EXEC" else {
            return rejected(number, .outOfMemory)
        }
        let error = call.error(
            "EXECABORT Transaction discarded because of: OOM command not allowed when used memory "
                + "> 'maxmemory'.")
        let followUp = rejected(number, error)
        unsafe call.session.pointee.endTransaction()
        unsafe call.state.unwatch(call.session)
        return followUp
    }

    private mutating func rejected(_ number: Int, _ error: CommandError) -> FollowUp {
        statistics.countFailure(number, wasRejected: true)
        if unsafe call.commands.all[number].name == "EXEC" { return abortTransaction(error) }
        return reject(error)
    }

    /// An EXEC that is refused ends its transaction, whatever the reason.
    private mutating func abortTransaction(_ error: CommandError) -> FollowUp {
        var reason = ReplyWriter()
        error.write(to: &reason, detail: call.errorDetail.view)
        let text = reason.buffer.view
        // Of `-ERR text` the text, without the line's end.
        let begin = (text.firstIndex(of: UInt8(ascii: " ")) ?? 0) + 1
        call.errorDetail.removeAll()
        call.errorDetail.append("EXECABORT Transaction discarded because of: ")
        call.errorDetail.append(text.slice(begin, max(begin, text.count - 2)))
        endTransaction()
        return reject(.detailed)
    }

    /// The hash of the first key: a subcommand's stands elsewhere than its container's.
    private func subcommandHash(_ command: Command, _ hash: UInt64) -> UInt64 {
        guard command.parent != nil, let spec = command.keys.first,
            spec.first < call.arguments.count
        else { return hash }
        return unsafe call.keyspace.keyspace.pointee.hashKey.hash(call.arguments[spec.first])
    }

    /// CLIENT PAUSE holds the command back, or a shutdown does.
    private func mustWait(_ command: Command, _ conditions: ServerConditions) -> Bool {
        if command.traits.contains(.evenWhilePaused) { return false }
        if conditions.contains(.pausedAll) { return true }
        guard !conditions.isDisjoint(with: [.pausedWrites, .shuttingDown]) else { return false }
        if command.access == .write || command.traits.contains(.mayReplicate) { return true }
        guard command.name == "EXEC",
            let transaction = unsafe call.session.pointee.transaction
        else { return false }
        return transaction.commands.contains { queued in
            let command = unsafe call.commands.all[queued.command]
            return command.access == .write || command.traits.contains(.mayReplicate)
        }
    }

    /// Drops the reply written from `before` on if the client asked for that.
    mutating func applyReplyMode(from before: Int) {
        let session = unsafe call.session
        if unsafe session.pointee.gate.contains(.skipArmed) {
            unsafe session.pointee.gate.remove(.skipArmed)
            unsafe session.pointee.gate.insert(.skipNextReply)
            call.reply.buffer.truncate(to: before)
            return
        }
        if unsafe !session.pointee.gate.isDisjoint(with: [.repliesOff, .skipNextReply]) {
            call.reply.buffer.truncate(to: before)
            unsafe session.pointee.gate.remove(.skipNextReply)
        }
    }

    /// What MONITOR may show of a request.
    func shownArguments(_ command: Command) -> [[UInt8]] {
        command.shown(call.arguments, countMax: .max, bytesMax: .max)
    }

    /// Whether somebody monitors and may see this command. Administration shows the keys of the
    /// house: Redis keeps it from MONITOR too.
    func isMonitored(_ command: Command) -> Bool {
        unsafe call.state.conditions.contains(.monitored)
            && command.traits.isDisjoint(with: [.skipMonitor, .admin])
    }

    /// Shows the current request to the monitors. Its shards are held still, so that the order of
    /// lines is the order of execution.
    func feedMonitors(_ command: Command) {
        unsafe call.state.monitorFeed.call(
            MonitorLine(
                database: call.keyspace.database, record: call.session.pointee.record,
                arguments: shownArguments(command)))
    }
}
