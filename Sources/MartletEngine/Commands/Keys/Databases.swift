//  FLUSHALL, FLUSHDB, SWAPDB: all shards are held.

import MartletBase

extension CommandGroup {
    static let databases: CommandGroup = [
        Command(
            "FLUSHALL", since: "1.0.0", group: .server, syntax: "[ASYNC | SYNC]",
            summary: "Removes all keys from all databases.",
            complexity: "O(N) where N is the total number of keys in all databases",
            arity: .atLeast(1), access: .write, traits: .allShards, acl: [.keyspace, .dangerous],
            tips: ["request_policy:all_shards", "response_policy:all_succeeded"], run: flushAll),
        Command(
            "FLUSHDB", since: "1.0.0", group: .server, syntax: "[ASYNC | SYNC]",
            summary: "Removes all keys from the current database.",
            complexity: "O(N) where N is the number of keys in the selected database",
            arity: .atLeast(1), access: .write, traits: .allShards, acl: [.keyspace, .dangerous],
            tips: ["request_policy:all_shards", "response_policy:all_succeeded"],
            run: flushDatabase),
        Command(
            "SWAPDB", since: "4.0.0", group: .server, syntax: "index1 index2",
            summary: "Swaps two Redis databases.",
            complexity: "O(N) where N is the count of clients watching or blocking on keys from "
                + "both databases.",
            arity: .exactly(3), access: .write, traits: [.fast, .allShards],
            acl: [.keyspace, .dangerous], run: swapDatabases),
    ]
}

/// SYNC and ASYNC: the keys are gone at once with both, their memory is freed on another thread.
private func readFlushMode(_ call: inout Call) throws(CommandError) {
    if call.arguments.isAtEnd { return }
    guard call.arguments.remaining == 1,
        call.arguments.skip("async") || call.arguments.skip("sync")
    else { throw .syntax }
}

extension Call {
    /// Notes that all keys that somebody waits for may have changed: one may want to know that its key
    /// is gone.
    fileprivate mutating func noteAwaited(in databases: [Int]) {
        for (database, key) in keyspace.awaitedKeys(in: databases) {
            noteWritten(key.key, database)
        }
    }
}

private func flushAll(_ call: inout Call) throws(CommandError) -> Effect {
    try readFlushMode(&call)
    var removed = 0
    for database in 0..<call.keyspace.databaseCount {
        removed += call.keyspace.flush(database: database)
    }
    call.noteAwaited(in: Array(0..<call.keyspace.databaseCount))
    call.invalidateAllCopies()
    call.reply.ok()
    return .wholeDatabase(count: removed)
}

private func flushDatabase(_ call: inout Call) throws(CommandError) -> Effect {
    try readFlushMode(&call)
    let removed = call.keyspace.flush(database: call.keyspace.database)
    call.noteAwaited(in: [call.keyspace.database])
    call.invalidateAllCopies()
    call.reply.ok()
    return .wholeDatabase(count: removed)
}

private func swapDatabases(_ call: inout Call) throws(CommandError) -> Effect {
    let first = try call.arguments.integer(.invalid("invalid first DB index"))
    let second = try call.arguments.integer(.invalid("invalid second DB index"))
    let count = Int64(call.keyspace.databaseCount)
    guard first >= 0, first < count, second >= 0, second < count else {
        throw .databaseOutOfRange
    }
    if first != second {
        call.keyspace.exchange(Int(first), Int(second))
        call.invalidateAllCopies()
        call.noteAwaited(in: [Int(first), Int(second)])
    }
    call.reply.ok()
    return .wholeDatabase(count: 1)
}
