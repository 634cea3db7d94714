//  PING, ECHO, SELECT, QUIT.

import MartletBase

extension CommandGroup {
    static let connection: CommandGroup = [
        Command(
            "PING", since: "1.0.0", group: .connection, syntax: "[message]",
            summary: "Returns the server's liveliness response.", arity: .atLeast(1),
            traits: [.fast, .loading, .stale], acl: [.connection], run: ping),
        Command(
            "ECHO", since: "1.0.0", group: .connection, syntax: "message",
            summary: "Returns the given string.", arity: .exactly(2),
            traits: [.fast, .loading, .stale], acl: [.connection], run: echo),
        Command(
            "SELECT", since: "1.0.0", group: .connection, syntax: "index",
            summary: "Changes the selected database.", arity: .exactly(2),
            traits: [.fast, .loading, .stale, .endsBatch], acl: [.connection], run: select),
        Command(
            "QUIT", since: "1.0.0", group: .connection,
            summary: "Closes the connection.", arity: .atLeast(1),
            traits: [
                .fast, .noScript, .loading, .stale, .noAuth, .allowBusy, .endsBatch, .notQueued,
                .evenWhilePaused,
            ], acl: [.connection], run: quit),
    ]
}

private func ping(_ call: inout Call) throws(CommandError) -> Effect {
    if call.arguments.count > 2 { throw call.arityError() }
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
    let index = try call.arguments.integer(.invalid("invalid DB index"))
    guard index >= 0 && index < Int64(call.keyspace.databaseCount) else {
        throw .databaseOutOfRange
    }
    unsafe call.session.pointee.database = Int(index)
    call.keyspace.database = Int(index)
    unsafe call.session.pointee.record.database.store(Int(index), ordering: .relaxed)
    call.reply.ok()
    return .none
}

private func quit(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.ok()
    call.followUp = .closeAfterReply
    return .none
}
