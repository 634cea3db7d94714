//  SISMEMBER, SMISMEMBER, SCARD, SMEMBERS: what stands in a set.

import MartletBase

extension CommandGroup {
    static let setRead: CommandGroup = [
        Command(
            "SISMEMBER", since: "1.0.0", group: .set, syntax: "key member",
            summary: "Determines whether a member belongs to a set.", arity: .exactly(3),
            keys: [.one(at: 1, .readOnly)], access: .read, traits: .fast, acl: [.set],
            member: 2, run: sismember),
        Command(
            "SMISMEMBER", since: "6.2.0", group: .set, syntax: "key member [member ...]",
            summary: "Determines whether multiple members belong to a set.",
            complexity: "O(N) where N is the number of elements being checked for membership",
            arity: .atLeast(3), keys: [.one(at: 1, [.readOnly, .access])], access: .read,
            traits: .fast, acl: [.set], member: 2, run: smismember),
        Command(
            "SCARD", since: "1.0.0", group: .set, syntax: "key",
            summary: "Returns the number of members in a set.", arity: .exactly(2),
            keys: [.one(at: 1, .readOnly)], access: .read, traits: .fast, acl: [.set],
            run: scard),
        Command(
            "SMEMBERS", since: "1.0.0", group: .set, syntax: "key",
            summary: "Returns all members of a set.",
            complexity: "O(N) where N is the set cardinality.", arity: .exactly(2),
            keys: [.one(at: 1, [.readOnly, .access])], access: .read, acl: [.set],
            tips: ["nondeterministic_output_order"], run: smembers),
    ]
}

private func sismember(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let member = try call.arguments.next()
    call.reply.integer(try call.keyspace.readSet(key).contains(member) ? 1 : 0)
    return .none
}

private func smismember(_ call: inout Call) throws(CommandError) -> Effect {
    let set = try call.keyspace.readSet(try call.arguments.key())
    call.reply.array(call.arguments.remaining)
    while !call.arguments.isAtEnd {
        call.reply.integer(set.contains(try call.arguments.next()) ? 1 : 0)
    }
    return .none
}

private func scard(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.integer(try call.keyspace.readSet(try call.arguments.key()).count)
    return .none
}

private func smembers(_ call: inout Call) throws(CommandError) -> Effect {
    let set = try call.keyspace.readSet(try call.arguments.key())
    call.reply.set(set.count)
    set.forEachMember { call.reply.bulk($0) }
    return .none
}
