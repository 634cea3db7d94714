//  SAVE, BGSAVE, BGREWRITEAOF, LASTSAVE: snapshots and a shorter log, on demand.

import MartletBase
import MartletEngine
import MartletPersistence

extension CommandGroup {
    static func saving(_ context: ServerContext) -> CommandGroup {
        [
            Command(
                "SAVE", since: "1.0.0", group: .server,
                summary: "Synchronously saves the database(s) to disk.",
                complexity: "O(N) where N is the total number of keys in all databases",
                arity: .exactly(1),
                traits: [.admin, .noScript, .noAsyncLoading, .noMulti, .allShards]
            ) { (call) throws(CommandError) in
                try save(&call, context)
            },
            Command(
                "BGSAVE", since: "1.0.0", group: .server, syntax: "[SCHEDULE | CANCEL]",
                summary: "Asynchronously saves the database(s) to disk.",
                complexity: "O(1)",
                arity: .atLeast(1), traits: [.admin, .noScript, .noAsyncLoading, .allShards]
            ) { (call) throws(CommandError) in
                try saveInBackground(&call, context)
            },
            Command(
                "BGREWRITEAOF", since: "1.0.0", group: .server,
                summary: "Asynchronously rewrites the append-only file to disk.",
                complexity: "O(1)",
                arity: .exactly(1), traits: [.admin, .noScript, .noAsyncLoading]
            ) { (call) throws(CommandError) in
                try rewriteLog(&call, context)
            },
            Command(
                "LASTSAVE", since: "1.0.0", group: .server,
                summary: "Returns the Unix timestamp of the last successful save to disk.",
                arity: .exactly(1), traits: [.fast, .loading, .stale],
                acl: [.admin, .dangerous], tips: ["nondeterministic_output"]
            ) { (call) throws(CommandError) in
                call.reply.integer(
                    Int(context.durability.state.withLock { $0.status.lastSaveUnixSeconds }))
                return .none
            },
        ]
    }
}

private func save(
    _ call: inout Call, _ context: ServerContext
) throws(CommandError) -> Effect {
    let durability = context.durability
    if durability.state.withLock({ $0.job == .save }) {
        throw .invalid("Background save already in progress")
    }
    do throws(StorageError) {
        try durability.saveNow()
    } catch {
        throw call.error("ERR \(error)")
    }
    call.reply.simple("OK")
    return .none
}

private func saveInBackground(
    _ call: inout Call, _ context: ServerContext
) throws(CommandError) -> Effect {
    var isScheduled = false
    var cancels = false
    if !call.arguments.isAtEnd {
        if call.arguments.skip("schedule") {
            isScheduled = true
        } else if call.arguments.skip("cancel") {
            cancels = true
        } else {
            throw .syntax
        }
        if !call.arguments.isAtEnd { throw .syntax }
    }
    let durability = context.durability
    if cancels { return try cancelSave(&call, durability) }
    if call.isNested {
        // The middle of a transaction is no point in time.
        durability.state.withLock { $0.isSaveScheduled = true }
        call.reply.simple("Background saving scheduled")
        return .none
    }
    do throws(Durability.Refusal) {
        try durability.beginSave()
    } catch {
        switch error {
        case .saveInProgress: throw .invalid("Background save already in progress")
        case .rewriteInProgress where isScheduled:
            durability.state.withLock { $0.isSaveScheduled = true }
            call.reply.simple("Background saving scheduled")
            return .none
        case .rewriteInProgress:
            throw call.error(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE "
                    + "SCHEDULE in order to schedule a BGSAVE whenever possible.")
        }
    }
    call.reply.simple("Background saving started")
    return .none
}

private func cancelSave(
    _ call: inout Call, _ durability: Durability
) throws(CommandError) -> Effect {
    let wasScheduled = durability.state.withLock { state in
        defer { state.isSaveScheduled = false }
        if state.job == .save { state.snapshot?.cancel() }
        return state.isSaveScheduled
    }
    if durability.state.withLock({ $0.job == .save }) {
        call.reply.simple("Background saving cancelled")
    } else if wasScheduled {
        call.reply.simple("Scheduled background saving cancelled")
    } else {
        throw .invalid("Background saving is currently not in progress or scheduled")
    }
    return .none
}

private func rewriteLog(
    _ call: inout Call, _ context: ServerContext
) throws(CommandError) -> Effect {
    let durability = context.durability
    if durability.state.withLock({ $0.writer }) == nil {
        throw .invalid("The append-only log is off: turn it on with 'CONFIG SET appendonly yes'")
    }
    do throws(Durability.Refusal) {
        try durability.beginRewrite()
        call.reply.simple("Background append only file rewriting started")
    } catch {
        switch error {
        case .rewriteInProgress:
            throw .invalid("Background append only file rewriting already in progress")
        case .saveInProgress:
            durability.state.withLock { $0.isRewriteScheduled = true }
            call.reply.simple("Background append only file rewriting scheduled")
        }
    }
    return .none
}
