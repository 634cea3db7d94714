//  DEL, UNLINK, EXISTS, TOUCH, TYPE.

import MartletBase

extension CommandGroup {
    static let keyRemoval: CommandGroup = [
        Command(
            "DEL", since: "1.0.0", group: .generic, syntax: "key [key ...]",
            summary: "Deletes one or more keys.",
            complexity: "O(N) where N is the number of keys that will be removed.",
            arity: .atLeast(2), keys: [.rest(from: 1, [.remove, .delete])], access: .write,
            acl: [.keyspace], tips: ["request_policy:multi_shard", "response_policy:agg_sum"],
            run: delete),
        Command(
            "UNLINK", since: "4.0.0", group: .generic, syntax: "key [key ...]",
            summary: "Asynchronously deletes one or more keys.",
            complexity: "O(1) for each key removed regardless of its size.",
            arity: .atLeast(2), keys: [.rest(from: 1, [.remove, .delete])], access: .write,
            traits: .fast, acl: [.keyspace],
            tips: ["request_policy:multi_shard", "response_policy:agg_sum"], run: delete),
        Command(
            "EXISTS", since: "1.0.0", group: .generic, syntax: "key [key ...]",
            summary: "Determines whether one or more keys exist.",
            complexity: "O(N) where N is the number of keys to check.",
            arity: .atLeast(2), keys: [.rest(from: 1, [.readOnly])], access: .read, traits: .fast,
            acl: [.keyspace], tips: ["request_policy:multi_shard", "response_policy:agg_sum"],
            run: exists),
        Command(
            "TOUCH", since: "3.2.1", group: .generic, syntax: "key [key ...]",
            summary: "Returns the number of existing keys out of those specified after updating "
                + "the time they were last accessed.",
            complexity: "O(N) where N is the number of keys that will be touched.",
            arity: .atLeast(2), keys: [.rest(from: 1, [.readOnly])], access: .read, traits: .fast,
            acl: [.keyspace], tips: ["request_policy:multi_shard", "response_policy:agg_sum"],
            run: touch),
        Command(
            "TYPE", since: "1.0.0", group: .generic, syntax: "key",
            summary: "Determines the type of value stored at a key.", arity: .exactly(2),
            keys: [.one(at: 1, [.readOnly])], access: .read, traits: .fast, acl: [.keyspace],
            run: type),
    ]
}

/// DEL and UNLINK: what is large is freed off the lock by both.
private func delete(_ call: inout Call) throws(CommandError) -> Effect {
    var removed = 0
    while !call.arguments.isAtEnd {
        let key = try call.arguments.key()
        if call.keyspace.remove(key) {
            removed += 1
            call.keyspace.record(.del, key)
        }
    }
    call.reply.integer(removed)
    return .recorded
}

private func exists(_ call: inout Call) throws(CommandError) -> Effect {
    var found = 0
    while !call.arguments.isAtEnd {
        if call.keyspace.readQuietly(try call.arguments.key()) != nil { found += 1 }
    }
    call.reply.integer(found)
    return .none
}

private func touch(_ call: inout Call) throws(CommandError) -> Effect {
    var found = 0
    while !call.arguments.isAtEnd {
        if let entry = call.keyspace.readQuietly(try call.arguments.key()) {
            call.keyspace.touchRegardless(entry)
            found += 1
        }
    }
    call.reply.integer(found)
    return .none
}

private func type(_ call: inout Call) throws(CommandError) -> Effect {
    if let entry = call.keyspace.readQuietly(try call.arguments.key()) {
        call.reply.simple(entry.kind.name)
    } else {
        call.reply.simple("none")
    }
    return .none
}
