//  SHUTDOWN: the process ends in order.

import MartletBase
import MartletEngine

extension CommandGroup {
    static func shutdown(_ context: ServerContext) -> CommandGroup {
        [
            Command(
                "SHUTDOWN", since: "1.0.0", group: .server,
                syntax: "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
                summary: "Synchronously saves the database(s) to disk and shuts down the Redis "
                    + "server.",
                complexity:
                    "O(N) when saving, where N is the total number of keys in all databases "
                    + "when saving data, otherwise O(1)",
                arity: .atLeast(1),
                traits: [
                    .admin, .noScript, .loading, .stale, .noMulti, .allowBusy, .evenWhilePaused,
                ]
            ) { (call) throws(CommandError) in
                try shutDown(&call, context)
            }
        ]
    }
}

private func shutDown(
    _ call: inout Call, _ context: ServerContext
) throws(CommandError) -> Effect {
    var saves = false
    var savesNot = false
    var isNow = false
    var isForced = false
    var aborts = false
    while !call.arguments.isAtEnd {
        if call.arguments.skip("nosave") {
            savesNot = true
        } else if call.arguments.skip("save") {
            saves = true
        } else if call.arguments.skip("now") {
            isNow = true
        } else if call.arguments.skip("force") {
            isForced = true
        } else if call.arguments.skip("abort") {
            aborts = true
        } else {
            throw .syntax
        }
    }
    if saves && savesNot { throw .syntax }
    if aborts {
        if saves || savesNot || isNow || isForced { throw .syntax }
        // Nothing waits here for replicas to catch up, so there is nothing to call off: what was
        // asked for happens at once.
        throw .invalid("No shutdown in progress.")
    }
    context.log.write(.warning, "User requested shutdown...")
    // No reply but when the server goes on: the client sees the connection close, as with Redis.
    let waiter = call.wait(milliseconds: 0, mayBeUnblocked: false) { reply, _ in
        reply.error("ERR Errors trying to SHUTDOWN. Check logs." as String)
    }
    let wish = ShutdownRequest.Wish(
        isNow: isNow, saves: saves ? true : savesNot ? false : nil, isForced: isForced)
    context.shutdown.ask(wish, waiter)
    return .none
}
