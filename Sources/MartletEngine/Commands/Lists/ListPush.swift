//  LPUSH, RPUSH, LPUSHX, RPUSHX: put elements in at an end.

import MartletBase

extension CommandGroup {
    static let listPush: CommandGroup = [
        push(
            "LPUSH", "1.0.0",
            "Prepends one or more elements to a list. Creates the key if it "
                + "doesn't exist."
        ) { (call) throws(CommandError) in
            try pushAll(&call, atFront: true, onlyExisting: false)
        },
        push(
            "RPUSH", "1.0.0",
            "Appends one or more elements to a list. Creates the key if it "
                + "doesn't exist."
        ) { (call) throws(CommandError) in
            try pushAll(&call, atFront: false, onlyExisting: false)
        },
        push(
            "LPUSHX", "2.2.0",
            "Prepends one or more elements to a list only when the list "
                + "exists."
        ) { (call) throws(CommandError) in
            try pushAll(&call, atFront: true, onlyExisting: true)
        },
        push("RPUSHX", "2.2.0", "Appends an element to a list only when the list exists.") {
            (call) throws(CommandError) in
            try pushAll(&call, atFront: false, onlyExisting: true)
        },
    ]

    private static func push(
        _ name: String, _ since: String, _ summary: String, run: @escaping Handler
    ) -> Command {
        Command(
            name, since: since, group: .list, syntax: "key element [element ...]",
            summary: summary,
            complexity: "O(1) for each element added, so O(N) to add N elements when the command "
                + "is called with multiple arguments.",
            arity: .atLeast(3), keys: [.one(at: 1, [.readWrite, .insert])], access: .write,
            traits: [.fast, .growsMemory], acl: [.list], run: run)
    }
}

extension Call {
    /// Up to where lists are small.
    @inline(__always)
    var listLimit: ListLimit {
        ListLimit(setting: unsafe state.settings.listSize.load(ordering: .relaxed))
    }
}

private func pushAll(
    _ call: inout Call, atFront: Bool, onlyExisting: Bool
) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let added = call.arguments.remaining
    var bytes = 0
    for index in call.arguments.position..<call.arguments.count {
        bytes &+= call.arguments[index].count
    }

    var list = try call.keyspace.list(key)
    if onlyExisting && list.isEmpty {
        call.reply.integer(0)
        return .none
    }
    list.willGrow(by: added, bytes: bytes, call.listLimit)
    while !call.arguments.isAtEnd {
        try list.push(ListElement(try call.arguments.next()), atFront: atFront)
    }

    call.reply.integer(list.count)
    return .changed(atFront ? .lpush : .rpush, count: added)
}
