//  WAIT, WAITAOF: a client waits until what it has written is safe.
//
//  The position waited for is the log's end when the client asks: behind all that it has written so far,
//  and behind what others have. There are no replicas yet, so nobody ever acknowledges as one.

import MartletBase
import MartletEngine

extension CommandGroup {
    static func waiting(_ context: ServerContext) -> CommandGroup {
        [
            Command(
                "WAIT", since: "3.0.0", group: .generic, syntax: "numreplicas timeout",
                summary:
                    "Blocks until the asynchronous replication of all preceding write commands sent "
                    + "by the connection is completed.",
                arity: .exactly(3), traits: [.blocking], acl: [.connection],
                tips: ["request_policy:all_shards", "response_policy:agg_min"], run: wait),
            Command(
                "WAITAOF", since: "7.2.0", group: .generic, syntax: "numlocal numreplicas timeout",
                summary:
                    "Blocks until all of the preceding write commands sent by the connection are "
                    + "written to the append-only file of the master and/or replicas.",
                arity: .exactly(4), traits: [.blocking], acl: [.connection],
                tips: ["request_policy:all_shards", "response_policy:agg_min"]
            ) { (call) throws(CommandError) in
                try waitForLog(&call, context.durability)
            },
        ]
    }
}

private func wait(_ call: inout Call) throws(CommandError) -> Effect {
    let replicas = try call.arguments.integer()
    let milliseconds = try timeout(&call)

    if replicas <= 0 || call.isNested {
        call.reply.integer(0)
        return .none
    }
    _ = call.wait(milliseconds: milliseconds) { reply, _ in reply.integer(0) }
    return .none
}

private func waitForLog(
    _ call: inout Call, _ durability: Durability
) throws(CommandError) -> Effect {
    let local = try call.arguments.integer()
    guard (0...1).contains(local) else {
        throw .invalid("value is out of range, value must between 0 and 1")
    }
    let outOfRange = CommandError.invalid("value is out of range, must be positive")
    let replicas = try call.arguments.integer(outOfRange)
    if replicas < 0 { throw outOfRange }
    let milliseconds = try timeout(&call)
    if local == 1 && !durability.keepsLog {
        throw .invalid(withoutLog)
    }

    let position = durability.context.state.log.end
    let isDurable = durability.isDurable(position)
    if call.isNested || replicas == 0 && (local == 0 || isDurable) {
        acknowledge(isDurable, &call.reply)
        return .none
    }
    let waiter = call.wait(milliseconds: milliseconds) { reply, outcome in
        // Nothing else ends it while the log is off.
        if outcome == .served && !durability.keepsLog {
            reply.error("ERR \(withoutLog)")
        } else {
            acknowledge(durability.isDurable(position), &reply)
        }
    }
    if local == 1 {
        durability.endWhenDurable(
            replicas == 0 ? position : LogWaits.never, waiter, on: call.loop)
    }
    return .none
}

private let withoutLog: StaticString =
    "WAITAOF cannot be used when numlocal is set but appendonly is disabled."

/// How many have what was waited for on disk: this server, and replicas.
private func acknowledge(_ isDurable: Bool, _ reply: inout ReplyWriter) {
    reply.array(2)
    reply.integer(isDurable ? 1 : 0)
    reply.integer(0)
}

/// The next argument as milliseconds; 0 for ever.
private func timeout(_ call: inout Call) throws(CommandError) -> Int64 {
    let milliseconds = try call.arguments.integer(
        .invalid("timeout is not an integer or out of range"))
    if milliseconds < 0 { throw .invalid("timeout is negative") }
    // Redis adds it to the wall clock in milliseconds.
    if milliseconds > Int64.max - call.keyspace.nowMilliseconds {
        throw .invalid("timeout is out of range")
    }
    return milliseconds
}
