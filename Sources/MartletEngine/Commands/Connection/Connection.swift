//  PING, ECHO, SELECT, RESET, QUIT.

import MartletBase

extension CommandGroup {
    static let connection: CommandGroup = [
        Command(
            "PING", since: "1.0.0", group: .connection, syntax: "[message]",
            summary: "Returns the server's liveliness response.", arity: .atLeast(1),
            traits: [.fast, .evenWhileSubscribed], acl: [.connection],
            tips: ["request_policy:all_shards", "response_policy:all_succeeded"], run: ping),
        Command(
            "ECHO", since: "1.0.0", group: .connection, syntax: "message",
            summary: "Returns the given string.", arity: .exactly(2),
            traits: [.fast, .loading, .stale], acl: [.connection], run: echo),
        Command(
            "SELECT", since: "1.0.0", group: .connection, syntax: "index",
            summary: "Changes the selected database.", arity: .exactly(2),
            traits: [.fast, .loading, .stale, .endsBatch], acl: [.connection], run: select),
        Command(
            "RESET", since: "6.2.0", group: .connection,
            summary: "Resets the connection.", arity: .exactly(1),
            traits: [
                .fast, .noScript, .loading, .stale, .noAuth, .allowBusy, .endsBatch, .notQueued,
                .evenWhileSubscribed,
            ], acl: [.connection], run: reset),
        Command(
            "QUIT", since: "1.0.0", group: .connection,
            summary: "Closes the connection.", arity: .atLeast(1),
            traits: [
                .fast, .noScript, .loading, .stale, .noAuth, .allowBusy, .endsBatch, .notQueued,
                .evenWhileSubscribed,
            ], acl: [.connection],
            deprecated: Deprecation(
                since: "7.2.0", replacedBy: "just closing the connection"), run: quit),
    ]
}

private func ping(_ call: inout Call) throws(CommandError) -> Effect {
    if call.arguments.count > 2 { throw call.arityError() }
    if unsafe call.session.pointee.gate.contains(.subscriberMode) {
        // In the form of a message, which is all that such a client looks for.
        call.reply.array(2)
        call.reply.bulk("pong")
        call.reply.bulk(call.arguments.isAtEnd ? ByteView() : try call.arguments.next())
        return .none
    }
    if call.arguments.isAtEnd {
        call.reply.simple("PONG")
    } else {
        call.reply.bulk(try call.arguments.next())
    }
    return .none
}

private func echo(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.bulk(try call.arguments.next())
    return .none
}

private func select(_ call: inout Call) throws(CommandError) -> Effect {
    let index = try call.arguments.integer()
    guard index >= Int64(Int32.min), index <= Int64(Int32.max) else {
        throw .invalid("value is out of range, value must between -2147483648 and 2147483647")
    }
    guard index >= 0 && index < Int64(call.keyspace.databaseCount) else {
        throw .databaseOutOfRange
    }
    call.select(Int(index))
    call.reply.ok()
    return .none
}

extension Call {
    /// Changes the database of this connection.
    fileprivate mutating func select(_ database: Int) {
        unsafe session.pointee.database = database
        keyspace.database = database
        record.database.store(database, ordering: .relaxed)
    }
}

/// Makes the connection what it was when it was accepted. What CLIENT SETINFO said of it stays true.
private func reset(_ call: inout Call) throws(CommandError) -> Effect {
    let gate = unsafe call.session.pointee.gate
    if gate.contains(.inTransaction) { call.endTransaction() }
    unsafe call.state.unwatch(call.session)
    call.unsubscribeFromAll()
    call.trackers.stopTracking(call.record)
    call.setEvictionExemption(false)
    if gate.contains(.monitor) { unsafe call.state.endedMonitoring.call(call.record) }
    unsafe call.session.pointee.gate = call.state.password.isRequired ? .unauthenticated : []
    call.select(0)
    call.speak(isRESP3: false)
    call.setClientName(ByteView())
    call.reply.simple("RESET")
    return .none
}

private func quit(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.ok()
    call.followUp = .closeAfterReply
    return .none
}
