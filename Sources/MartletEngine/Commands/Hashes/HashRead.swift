//  HGET, HMGET, HLEN, HEXISTS, HSTRLEN, HKEYS, HVALS, HGETALL: what stands in a hash.

import MartletBase

extension CommandGroup {
    static let hashRead: CommandGroup = [
        question(
            "HGET", "key field", "Returns the value of a field in a hash.", .exactly(3),
            run: hget),
        question(
            "HMGET", "key field [field ...]", "Returns the values of all fields in a hash.",
            .atLeast(3), complexity: "O(N) where N is the number of fields being requested.",
            run: hmget),
        question(
            "HLEN", "key", "Returns the number of fields in a hash.", .exactly(2),
            flags: .readOnly, run: hlen),
        question(
            "HEXISTS", "key field", "Determines whether a field exists in a hash.", .exactly(3),
            flags: .readOnly, run: hexists),
        question(
            "HSTRLEN", "key field", "Returns the length of the value of a field.", .exactly(3),
            since: "3.2.0", flags: .readOnly, run: hstrlen),
        listing("HKEYS", "fields") { (call) throws(CommandError) in
            let hash = try call.keyspace.readHash(try call.arguments.key())
            call.reply.array(hash.count)
            hash.forEachField { field, _ in call.reply.bulk(field) }
            return .none
        },
        listing("HVALS", "values") { (call) throws(CommandError) in
            let hash = try call.keyspace.readHash(try call.arguments.key())
            call.reply.array(hash.count)
            hash.forEachField { _, value in call.reply.bulk(value) }
            return .none
        },
        listing("HGETALL", "fields and values") { (call) throws(CommandError) in
            let hash = try call.keyspace.readHash(try call.arguments.key())
            call.reply.map(hash.count)
            hash.forEachField { field, value in
                call.reply.bulk(field)
                call.reply.bulk(value)
            }
            return .none
        },
    ]

    private static func question(
        _ name: String, _ syntax: String, _ summary: String, _ arity: Arity,
        since: String = "2.0.0", complexity: String = "O(1)",
        flags: KeyFlags = [.readOnly, .access], run: @escaping Handler
    ) -> Command {
        Command(
            name, since: since, group: .hash, syntax: syntax, summary: summary,
            complexity: complexity, arity: arity, keys: [.one(at: 1, flags)], access: .read,
            traits: .fast, acl: [.hash], member: syntax.hasPrefix("key field") ? 2 : 0, run: run)
    }

    private static func listing(
        _ name: String, _ what: String, run: @escaping Handler
    ) -> Command {
        Command(
            name, since: "2.0.0", group: .hash, syntax: "key",
            summary: "Returns all \(what) in a hash.",
            complexity: "O(N) where N is the size of the hash.", arity: .exactly(2),
            keys: [.one(at: 1, [.readOnly, .access])], access: .read, acl: [.hash],
            tips: ["nondeterministic_output_order"], run: run)
    }
}

private func hget(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let field = try call.arguments.next()
    let value = try call.keyspace.readHash(key).value(of: field)
    if let value { call.reply.bulk(value) } else { call.reply.null() }
    return .none
}

private func hmget(_ call: inout Call) throws(CommandError) -> Effect {
    let hash = try call.keyspace.readHash(try call.arguments.key())
    call.reply.array(call.arguments.remaining)
    while !call.arguments.isAtEnd {
        let value = hash.value(of: try call.arguments.next())
        if let value { call.reply.bulk(value) } else { call.reply.null() }
    }
    return .none
}

private func hlen(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.integer(try call.keyspace.readHash(try call.arguments.key()).count)
    return .none
}

private func hexists(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let field = try call.arguments.next()
    let value = try call.keyspace.readHash(key).value(of: field)
    call.reply.integer(value == nil ? 0 : 1)
    return .none
}

private func hstrlen(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let field = try call.arguments.next()
    let value = try call.keyspace.readHash(key).value(of: field)
    call.reply.integer(value?.count ?? 0)
    return .none
}
