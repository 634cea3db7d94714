//  SET and GET.

import MartletBase

extension CommandGroup {
    static let stringSet: CommandGroup = [
        Command(
            "GET", since: "1.0.0", group: .string, syntax: "key",
            summary: "Returns the string value of a key.",
            arity: .exactly(2), keys: [.one(at: 1, [.readOnly, .access])], access: .read,
            traits: .fast, acl: [.string], run: get),
        Command(
            "SET", since: "1.0.0", group: .string,
            syntax: "key value [NX | XX | IFEQ value | IFNE value | IFDEQ digest | IFDNE digest] "
                + "[GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | "
                + "PXAT unix-time-milliseconds | KEEPTTL]",
            summary: "Sets the string value of a key, ignoring its type. The key is created if it "
                + "doesn't exist.",
            arity: .atLeast(3),
            keys: [.one(at: 1, [.readWrite, .access, .update, .insert, .variable])],
            access: .write, traits: .growsMemory, acl: [.string], run: set),
    ]
}

private func get(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    if let value = try call.keyspace.readString(key) {
        call.reply.bulk(value)
    } else {
        call.reply.null()
    }
    return .none
}

private func set(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let value = try call.arguments.next()
    if call.arguments.isAtEnd {
        try call.keyspace.setString(key, value, expiry: .clear)
        call.reply.ok()
        return .changed(.set)
    }
    throw .syntax
}
