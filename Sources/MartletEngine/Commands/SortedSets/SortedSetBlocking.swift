//  BZPOPMIN, BZPOPMAX, BZMPOP: what their namesakes without B do, but wait for a member.

import MartletBase

extension CommandGroup {
    static let sortedSetBlocking: CommandGroup = [
        pop("BZPOPMIN", "lowest", highest: false),
        pop("BZPOPMAX", "highest", highest: true),
        Command(
            "BZMPOP", since: "7.0.0", group: .sortedSet,
            syntax: "timeout numkeys key [key ...] <MIN | MAX> [COUNT count]",
            summary: "Removes and returns a member by score from one or more sorted sets. Blocks "
                + "until a member is available otherwise. Deletes the sorted set if the last "
                + "element was popped.",
            complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the "
                + "number of elements in the sorted set, and M being the number of elements popped.",
            arity: .atLeast(5), keys: [.counted(at: 2, [.readWrite, .access, .delete])],
            access: .write, traits: [.blocking, .movableKeys], acl: [.sortedset]
        ) { (call) throws(CommandError) in
            let timeout = try call.arguments.next()
            let keys = try call.arguments.countedKeys()
            let highest = try call.arguments.isHighest()
            let wanted = try call.arguments.popCount()
            return try popOrWait(&call, keys, try call.timeout(timeout)) {
                (call, key) throws(CommandError) in
                _ = try popScored(wanted, highest: highest, key, &call)
            }
        },
    ]

    private static func pop(_ name: String, _ which: String, highest: Bool) -> Command {
        Command(
            name, since: "5.0.0", group: .sortedSet, syntax: "key [key ...] timeout",
            summary:
                "Removes and returns the member with the \(which) score from one or more sorted "
                + "sets. Blocks until a member is available otherwise. Deletes the sorted set if "
                + "the last element was popped.",
            complexity: "O(log(N)) with N being the number of elements in the sorted set.",
            arity: .atLeast(3), keys: [.rest(but: 1, [.readWrite, .access, .delete])],
            access: .write, traits: [.fast, .blocking], acl: [.sortedset]
        ) { (call) throws(CommandError) in
            let (keys, milliseconds) = try call.keysAndTimeout()
            return try popOrWait(&call, keys, milliseconds) {
                (call, key) throws(CommandError) in
                _ = try popScoredWithKey(highest: highest, key, &call)
            }
        }
    }
}

/// Runs `service` for the first sorted set that is there, now or later.
private func popOrWait(
    _ call: inout Call, _ keys: [Key], _ milliseconds: Int64, service: @escaping WaiterService.Body
) throws(CommandError) -> Effect {
    for key in keys {
        if try call.keyspace.sortedSet(key).isEmpty { continue }
        try service(&call, key)
        return .recorded
    }
    return call.wait(for: keys, wanted: .sortedSet, milliseconds: milliseconds, service: service)
}
