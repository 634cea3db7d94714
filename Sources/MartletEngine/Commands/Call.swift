//  One request while it runs: what a handler gets and works through.
//
//  Raw memory: the session belongs to its connection and is touched on the loop's thread; the call
//  borrows it for one request.

import MartletBase

/// A write of the current event, whose reply waits for its place in the log.
@safe
struct LoggedWrite: BitwiseCopyable {
    /// The arguments of its request, by which it is found among those of the batch.
    let arguments: UnsafePointer<ByteView>
    let position: UInt64
}

/// A running request: its arguments, its keys, its reply.
@safe
package struct Call: ~Copyable {
    /// The arguments, read in order.
    package var arguments: Arguments
    /// Where the reply goes.
    package var reply = ReplyWriter()
    /// The keys, their shards held.
    package var keyspace: KeyAccess
    /// The client that asked.
    package var session: UnsafeMutablePointer<Session>
    /// What is to happen after the reply.
    package var followUp = FollowUp.none
    /// The text of a `.detailed` error.
    package var errorDetail = ByteBuffer()
    /// Inside EXEC or a script: all locks that the command may need are held already.
    package internal(set) var isNested = false
    /// Messages that came amid a transaction and go behind its reply.
    var pushes = ByteBuffer()
    /// The channel of a keyspace event while it is published.
    var eventChannel = ByteBuffer()
    /// Empty transactions for MULTI.
    var transactions = TransactionPool()
    /// Keys written that somebody waits for.
    let ready = ReadyKeys()
    /// There are such keys, to be served before the locks are released.
    var hasReadyKeys = false
    /// Some of them are left to be served under locks of their own.
    var hasLateWaiters = false
    /// The loop's clients that keep copies of keys.
    let trackers: LoopTrackers
    /// Who changes keys now, if it is not the client that asked: one that is served what it waited
    /// for, or 0 for nobody.
    var actor: Int64?
    /// The position of the log that this event's replies wait for; counted while replies wait.
    package internal(set) var logPosition: UInt64 = 0
    /// The writes among them.
    var writes = GrowingArray<LoggedWrite>()
    /// Within EXEC: what is staged for the log is appended at its end.
    var isUnitOpen = false
    /// The log, without its object.
    let appender: LogAppender
    /// The number of the command that runs.
    package internal(set) var commandNumber = 0
    /// What all loops share.
    package unowned(unsafe) let state: EngineState
    /// All commands.
    package unowned(unsafe) let commands: CommandTable
    /// The loop it runs on.
    package let loop: Int
    /// What the running command goes on with outside, once its locks are released.
    var errand: Errand?

    init(
        arguments: Arguments, keyspace: KeyAccess, session: UnsafeMutablePointer<Session>,
        state: EngineState, commands: CommandTable, loop: Int
    ) {
        self.arguments = arguments
        self.keyspace = keyspace
        unsafe self.session = session
        unsafe self.state = state
        unsafe self.commands = commands
        self.loop = loop
        trackers = LoopTrackers(state: state, loop: loop)
        appender = state.log.appender
    }

    /// What every thread may see and ask of the client.
    package var record: ClientRecord { unsafe session.pointee.record }

    /// Logs the running command as it came, though it counts no change.
    mutating func logAsItCame() {
        if !keyspace.isLogging { return }
        unsafe keyspace.effects.pointee.stage(
            arguments.all, count: arguments.count, database: keyspace.database, isOwn: true)
    }

    /// Ends the session's transaction, if one is open.
    mutating func endTransaction() {
        unsafe transactions.giveBack(session.pointee.endTransaction())
    }

    /// The command that runs.
    package var command: Command { unsafe commands.all[commandNumber] }

    /// An error whose text is made at run time; `text` begins with its code.
    package mutating func error(_ text: String) -> CommandError {
        errorDetail.removeAll()
        errorDetail.append(text)
        return .detailed
    }

    /// An error that names an argument byte for byte, up to a zero byte, as Redis prints it.
    package mutating func error(
        _ before: String, naming argument: ByteView, _ after: String
    ) -> CommandError {
        errorDetail.removeAll()
        errorDetail.append(before)
        errorDetail.append(argument.slice(0, argument.firstIndex(of: 0) ?? argument.count))
        errorDetail.append(after)
        return .detailed
    }

    /// The error of a wrong number of arguments.
    package mutating func arityError() -> CommandError {
        error("ERR wrong number of arguments for '\(command.fullName)' command")
    }
}
