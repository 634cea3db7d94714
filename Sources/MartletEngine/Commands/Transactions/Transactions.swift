//  MULTI, EXEC, DISCARD, WATCH, UNWATCH. EXEC itself is run by the executor.

import MartletBase

extension CommandGroup {
    static let transactions: CommandGroup = [
        Command(
            "MULTI", since: "1.2.0", group: .transactions,
            summary: "Starts a transaction.", arity: .exactly(1),
            traits: [.fast, .noScript, .loading, .stale, .allowBusy, .notQueued],
            acl: [.transaction], run: multi),
        Command(
            "EXEC", since: "1.2.0", group: .transactions,
            summary: "Executes all commands in a transaction.",
            complexity: "Depends on commands in the transaction", arity: .exactly(1),
            traits: [.noScript, .loading, .stale, .skipSlowlog, .notQueued], acl: [.transaction],
            run: exec),
        Command(
            "DISCARD", since: "2.0.0", group: .transactions,
            summary: "Discards a transaction.",
            complexity: "O(N), when N is the number of queued commands", arity: .exactly(1),
            traits: [.fast, .noScript, .loading, .stale, .allowBusy, .notQueued],
            acl: [.transaction], run: discard),
        Command(
            "WATCH", since: "2.2.0", group: .transactions, syntax: "key [key ...]",
            summary: "Monitors changes to keys to determine the execution of a transaction.",
            complexity: "O(1) for every key.", arity: .atLeast(2),
            keys: [.rest(from: 1, [.readOnly])],
            traits: [.fast, .noScript, .loading, .stale, .allowBusy, .notQueued],
            acl: [.transaction], run: watch),
        Command(
            "UNWATCH", since: "2.2.0", group: .transactions,
            summary: "Forgets about watched keys of a transaction.", arity: .exactly(1),
            traits: [.fast, .noScript, .loading, .stale, .allowBusy],
            acl: [.transaction], run: unwatch),
    ]
}

private func multi(_ call: inout Call) throws(CommandError) -> Effect {
    if unsafe call.session.pointee.gate.contains(.inTransaction) {
        throw .invalid("MULTI calls can not be nested")
    }
    unsafe call.session.pointee.beginTransaction(call.transactions.take())
    call.reply.ok()
    return .none
}

private func exec(_ call: inout Call) throws(CommandError) -> Effect {
    // In a transaction the executor runs its commands instead of this.
    throw .invalid("EXEC without MULTI")
}

private func discard(_ call: inout Call) throws(CommandError) -> Effect {
    guard unsafe call.session.pointee.gate.contains(.inTransaction) else {
        throw .invalid("DISCARD without MULTI")
    }
    call.endTransaction()
    unsafe call.state.unwatch(call.session)
    call.reply.ok()
    return .none
}

private func watch(_ call: inout Call) throws(CommandError) -> Effect {
    if unsafe call.session.pointee.gate.contains(.inTransaction) {
        throw .invalid("WATCH inside MULTI is not allowed")
    }
    while !call.arguments.isAtEnd {
        let key = try call.arguments.key()
        // Left where it is: that it is removed later is no change for who watches it from now on.
        call.keyspace.settleFields(key)
        let isExpired = call.keyspace.isExpired(key)
        unsafe call.state.watch(key, call.keyspace.database, call.session, isExpired: isExpired)
    }
    call.reply.ok()
    return .none
}

private func unwatch(_ call: inout Call) throws(CommandError) -> Effect {
    // In a transaction the shards are held and EXEC itself forgets the keys when it ends.
    if !call.isNested { unsafe call.state.unwatch(call.session) }
    call.reply.ok()
    return .none
}
