//  BLPOP, BRPOP, BLMPOP, BLMOVE, BRPOPLPUSH: what their namesakes without B do, but wait for an element.

import MartletBase

extension CommandGroup {
    static let listBlocking: CommandGroup = [
        pop("BLPOP", "first", atFront: true),
        pop("BRPOP", "last", atFront: false),
        Command(
            "BLMPOP", since: "7.0.0", group: .list,
            syntax: "timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
            summary:
                "Pops the first element from one of multiple lists. Blocks until an element is "
                + "available otherwise. Deletes the list if the last element was popped.",
            complexity: "O(N+M) where N is the number of provided keys and M is the number of "
                + "elements returned.",
            arity: .atLeast(5), keys: [.counted(at: 2, [.readWrite, .access, .delete])],
            access: .write, traits: [.blocking, .movableKeys], acl: [.list], run: blmpop),
        Command(
            "BLMOVE", since: "6.2.0", group: .list,
            syntax: "source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout",
            summary:
                "Pops an element from a list, pushes it to another list and returns it. Blocks "
                + "until an element is available otherwise. Deletes the list if the last element "
                + "was moved.",
            arity: .exactly(6), keys: moveKeys, access: .write,
            traits: [.growsMemory, .blocking], acl: [.list]
        ) { (call) throws(CommandError) in
            let source = try call.arguments.key()
            let destination = try call.arguments.key()
            let fromFront = try call.arguments.isFront()
            let toFront = try call.arguments.isFront()
            return try moveOrWait(
                &call, source, destination, fromFront: fromFront, toFront: toFront)
        },
        Command(
            "BRPOPLPUSH", since: "2.2.0", group: .list, syntax: "source destination timeout",
            summary: "Pops an element from a list, pushes it to another list and returns it. Block "
                + "until an element is available otherwise. Deletes the list if the last element "
                + "was popped.",
            arity: .exactly(4), keys: moveKeys, access: .write,
            traits: [.growsMemory, .blocking], acl: [.list],
            deprecated: Deprecation(
                since: "6.2.0", replacedBy: "`BLMOVE` with the `RIGHT` and `LEFT` arguments")
        ) { (call) throws(CommandError) in
            let source = try call.arguments.key()
            let destination = try call.arguments.key()
            return try moveOrWait(&call, source, destination, fromFront: false, toFront: true)
        },
    ]

    private static let moveKeys: [KeySpec] = [
        .one(at: 1, [.readWrite, .access, .delete]), .one(at: 2, [.readWrite, .insert]),
    ]

    private static func pop(_ name: String, _ which: String, atFront: Bool) -> Command {
        Command(
            name, since: "2.0.0", group: .list, syntax: "key [key ...] timeout",
            summary: "Removes and returns the \(which) element in a list. Blocks until an element "
                + "is available otherwise. Deletes the list if the last element was popped.",
            complexity: "O(N) where N is the number of provided keys.",
            arity: .atLeast(3), keys: [.rest(but: 1, [.readWrite, .access, .delete])],
            access: .write, traits: .blocking, acl: [.list]
        ) { (call) throws(CommandError) in
            let (keys, milliseconds) = try call.keysAndTimeout()
            return try popOrWait(&call, keys, milliseconds) {
                (call, key) throws(CommandError) in
                _ = try popWithKey(atFront: atFront, key, &call)
            }
        }
    }
}

private func blmpop(_ call: inout Call) throws(CommandError) -> Effect {
    let timeout = try call.arguments.next()
    let keys = try call.arguments.countedKeys()
    let atFront = try call.arguments.isFront()
    let wanted = try call.arguments.popCount()
    return try popOrWait(&call, keys, try call.timeout(timeout)) {
        (call, key) throws(CommandError) in
        _ = try popSeveral(wanted, atFront: atFront, key, &call)
    }
}

/// Runs `service` for the first list that is there, now or later.
private func popOrWait(
    _ call: inout Call, _ keys: [Key], _ milliseconds: Int64, service: @escaping WaiterService.Body
) throws(CommandError) -> Effect {
    for key in keys {
        if try call.keyspace.list(key).isEmpty { continue }
        try service(&call, key)
        return .recorded
    }
    return call.wait(for: keys, wanted: .list, milliseconds: milliseconds, service: service)
}

private func moveOrWait(
    _ call: inout Call, _ source: Key, _ destination: Key, fromFront: Bool, toFront: Bool
) throws(CommandError) -> Effect {
    let milliseconds = try call.timeout(try call.arguments.next())
    if try !call.keyspace.list(source).isEmpty {
        return try moveAndLog(
            &call, source, destination, fromFront: fromFront, toFront: toFront)
    }
    let copy = KeyCopy(destination)
    let service: WaiterService.Body = { (call, source) throws(CommandError) in
        _ = try moveAndLog(&call, source, copy.key, fromFront: fromFront, toFront: toFront)
    }
    return call.wait(
        for: [source], destination: destination, wanted: .list, milliseconds: milliseconds,
        null: { $0.null() }, service: service)
}

/// LMOVE, and nothing that waits, is what is logged.
private func moveAndLog(
    _ call: inout Call, _ source: Key, _ destination: Key, fromFront: Bool, toFront: Bool
) throws(CommandError) -> Effect {
    let effect = try move(&call, source, destination, fromFront: fromFront, toFront: toFront)
    if call.keyspace.isLogging && effect.isRecorded {
        call.keyspace.begin("LMOVE", arguments: 5)
        call.keyspace.logged(source.bytes)
        call.keyspace.logged(destination.bytes)
        call.keyspace.logged(fromFront ? "LEFT" : "RIGHT")
        call.keyspace.logged(toFront ? "LEFT" : "RIGHT")
    }
    return effect
}
