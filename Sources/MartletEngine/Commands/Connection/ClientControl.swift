//  CLIENT KILL, PAUSE, UNPAUSE and UNBLOCK: reaching into other connections.
//
//  Once KILL or PAUSE has replied, no command slips by: the word that commands read under their locks
//  is stored first, then every shard is taken once, so that whoever read it too early has ended.

import MartletBase
import Synchronization

extension CommandGroup {
    // `walksShards`: inside EXEC all shards are held, alone they are taken one by one.
    private static let traits: Traits = [.admin, .noScript, .loading, .stale, .walksShards]

    static let clientControl: [Command] = [
        Command(
            "KILL", since: "2.4.0", group: .connection,
            syntax: "ip:port | <<ID client-id | "
                + "TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB> | USER username | "
                + "ADDR ip:port | LADDR ip:port | SKIPME <YES | NO> | MAXAGE maxage> ...>",
            summary: "Terminates open connections.",
            complexity: "O(N) where N is the number of client connections", arity: .atLeast(3),
            traits: traits, acl: [.connection], run: kill),
        Command(
            "PAUSE", since: "3.0.0", group: .connection, syntax: "timeout [WRITE | ALL]",
            summary: "Suspends commands processing.", arity: .atLeast(3), traits: traits,
            acl: [.connection], run: pause),
        Command(
            "UNBLOCK", since: "5.0.0", group: .connection,
            syntax: "client-id [TIMEOUT | ERROR]",
            summary: "Unblocks a client blocked by a blocking command from a different connection.",
            complexity: "O(log N) where N is the number of client connections",
            arity: .atLeast(3), traits: [.admin, .noScript, .loading, .stale],
            acl: [.connection], run: unblock),
        Command(
            "UNPAUSE", since: "6.2.0", group: .connection,
            summary: "Resumes processing commands from paused clients.",
            complexity: "O(N) Where N is the number of paused clients", arity: .exactly(2),
            traits: [.admin, .noScript, .loading, .stale, .evenWhilePaused], acl: [.connection],
            run: unpause),
    ]
}

// MARK: - KILL

private func kill(_ call: inout Call) throws(CommandError) -> Effect {
    let isOldForm = call.arguments.remaining == 1
    let filter = try ClientFilter(reading: &call)

    let clients = unsafe call.state.clients
    var killed: [ClientRecord] = []
    var killsCaller = false
    for record in clients.all() {
        let isCaller = record === call.record
        if isCaller && filter.sparesCaller { continue }
        let texts = clients.withTexts(record) { $0 }
        guard filter.matches(record, texts, nowMilliseconds: call.keyspace.nowMilliseconds)
        else { continue }
        if isCaller {
            killsCaller = true
        } else {
            record.kill()
            unsafe call.state.abandonWait(record)
            unsafe call.state.pubSub.abandon(record)
            killed.append(record)
        }
    }
    if !killed.isEmpty && !call.isNested { unsafe call.state.passEveryShard() }
    for record in killed { unsafe call.state.closeClient.call(record) }
    // The caller still gets its reply.
    if killsCaller { call.followUp = .closeAfterReply }

    let count = killed.count + (killsCaller ? 1 : 0)
    if !isOldForm {
        call.reply.integer(count)
    } else if count == 0 {
        throw .invalid("No such client")
    } else {
        call.reply.ok()
    }
    return .none
}

// MARK: - PAUSE

private func pause(_ call: inout Call) throws(CommandError) -> Effect {
    if call.arguments.count > 4 {
        throw call.error(
            "ERR unknown subcommand or wrong number of arguments for "
                + "'\(call.arguments[1].string)'. Try CLIENT HELP.")
    }
    // The mode is looked at first, as in Redis.
    let timeoutIndex = call.arguments.position
    call.arguments.position += 1
    var stopsAll = true
    if call.arguments.skip("write") {
        stopsAll = false
    } else if !call.arguments.isAtEnd && !call.arguments.skip("all") {
        throw .invalid("CLIENT PAUSE mode must be WRITE or ALL")
    }
    guard let milliseconds = call.arguments[timeoutIndex].parseInteger() else {
        throw .invalid("timeout is not an integer or out of range")
    }
    if milliseconds < 0 { throw .invalid("timeout is negative") }
    let now = unsafe call.state.clock.monotonicNanoseconds()
    let (duration, isTooLong) = milliseconds.multipliedReportingOverflow(by: 1_000_000)
    let (end, isTooLate) = duration.addingReportingOverflow(now)
    if isTooLong || isTooLate { throw .invalid("timeout is out of range") }

    unsafe call.state.pause(untilNanoseconds: end, stopsAll: stopsAll)
    if !call.isNested { unsafe call.state.passEveryShard() }
    call.reply.ok()
    return .none
}

private func unpause(_ call: inout Call) throws(CommandError) -> Effect {
    unsafe call.state.endPause()
    call.reply.ok()
    return .none
}

// MARK: - UNBLOCK

private func unblock(_ call: inout Call) throws(CommandError) -> Effect {
    if call.arguments.count > 4 {
        throw call.error(
            "ERR unknown subcommand or wrong number of arguments for "
                + "'\(call.arguments[1].string)'. Try CLIENT HELP.")
    }
    let idIndex = call.arguments.position
    call.arguments.position += 1
    var outcome = WaitOutcome.unblocked
    if call.arguments.skip("error") {
        outcome = .unblockedWithError
    } else if !call.arguments.isAtEnd && !call.arguments.skip("timeout") {
        throw .invalid("CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    }
    guard let id = call.arguments[idIndex].parseInteger() else { throw .notInteger }

    let clients = unsafe call.state.clients
    if let record = clients.record(id), let waiter = clients.waiter(of: record),
        waiter.mayBeUnblocked, unsafe call.state.end(waiter, outcome, on: call.loop)
    {
        call.reply.integer(1)
    } else {
        call.reply.integer(0)
    }
    return .none
}
