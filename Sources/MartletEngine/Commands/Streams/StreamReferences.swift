//  XACKDEL, XDELEX: entries go, and what groups hold of them.

import MartletBase

extension CommandGroup {
    static let streamReferences: CommandGroup = [
        Command(
            "XACKDEL", since: "8.2.0", group: .stream,
            syntax: "key group [KEEPREF | DELREF | ACKED] IDS numids id [id ...]",
            summary: "Acknowledges and deletes one or multiple messages for a stream consumer "
                + "group.",
            complexity: "O(1) for each message ID processed.",
            arity: .atLeast(6), keys: [.one([.readWrite, .update, .delete])], access: .write,
            traits: .fast, acl: [.stream], run: xackdel),
        Command(
            "XDELEX", since: "8.2.0", group: .stream,
            syntax: "key [KEEPREF | DELREF | ACKED] IDS numids id [id ...]",
            summary: "Deletes one or multiple entries from the stream.",
            complexity: "O(1) for each single item to delete in the stream, regardless of the "
                + "stream size.",
            arity: .atLeast(5), keys: [.one([.readWrite, .delete])], access: .write,
            traits: .fast, acl: [.stream], run: xdelex),
    ]
}

extension Call {
    /// `numids id [id ...]`: a count, and as many ids as it says, which are not looked at yet.
    ///
    /// - Returns: the numbers of the arguments that are ids.
    mutating func countedStreamIDs() throws(CommandError) -> Range<Int> {
        let count = try arguments.integer(.invalid("Number of IDs must be a positive integer"))
        if count <= 0 {
            throw .invalid("Number of IDs must be a positive integer")
        }
        guard count <= Int64(arguments.remaining) else {
            throw .invalid("The `numids` parameter must match the number of arguments")
        }
        let first = arguments.position
        arguments.position += Int(count)
        return first..<arguments.position
    }

    /// Looks at all ids before the first of them is used, and goes back to it.
    mutating func checkStreamIDs(_ ids: Range<Int>) throws(CommandError) {
        for index in ids { _ = try arguments[index].streamID() }
        arguments.position = ids.lowerBound
    }

    /// What stands behind key and group: a policy and ids, in any order.
    fileprivate mutating func deletion() throws(CommandError) -> (
        policy: ReferencePolicy, ids: Range<Int>
    ) {
        var policy: ReferencePolicy?
        var ids: Range<Int>?
        while !arguments.isAtEnd {
            var given: ReferencePolicy?
            if arguments.skip("keepref") {
                given = .keep
            } else if arguments.skip("delref") {
                given = .remove
            } else if arguments.skip("acked") {
                given = .acknowledged
            }
            if let given {
                if policy != nil { throw .syntax }
                policy = given
                continue
            }
            guard arguments.remaining > 1, arguments.skip("ids") else {
                throw .syntax
            }
            ids = try countedStreamIDs()
        }
        guard let ids else { throw .syntax }
        return (policy ?? .keep, ids)
    }
}

/// What became of an entry, as the reply says it.
private enum Outcome {
    static let deleted = 1
    static let missing = -1
    static let stillReferenced = 2
}

extension Call {
    fileprivate mutating func writeMissing(_ ids: Range<Int>) {
        reply.array(ids.count)
        for _ in ids { reply.integer(Outcome.missing) }
    }
}

private func xackdel(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let name = try call.arguments.next()
    // Redis looks at the key before it reads the policy.
    let stream = try call.keyspace.stream(key)
    let (policy, ids) = try call.deletion()
    guard let group = stream.group(named: name) else {
        call.writeMissing(ids)
        return .none
    }
    try call.checkStreamIDs(ids)
    call.reply.array(ids.count)
    var acknowledged = 0
    var deleted = 0
    for _ in ids {
        let id = try call.arguments.streamID()
        guard group.acknowledge(id) else {
            call.reply.integer(Outcome.missing)
            continue
        }
        acknowledged += 1
        if policy == .acknowledged && stream.isReferenced(id) {
            call.reply.integer(Outcome.stillReferenced)
            continue
        }
        if policy == .remove { stream.removeReferences(to: id) }
        if stream.removeEntry(id) { deleted += 1 }
        call.reply.integer(Outcome.deleted)
    }
    if deleted > 0 { call.keyspace.record(.xdel, key, count: deleted) }
    if acknowledged > deleted {
        call.keyspace.record(.groupChange, key, count: acknowledged - deleted)
    }
    return .recorded
}

private func xdelex(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let stream = try call.keyspace.stream(key)
    let (policy, ids) = try call.deletion()
    if stream.isMissing {
        call.writeMissing(ids)
        return .none
    }
    try call.checkStreamIDs(ids)
    call.reply.array(ids.count)
    var deleted = 0
    var removesReferences = false
    for _ in ids {
        let id = try call.arguments.streamID()
        if policy == .remove {
            removesReferences = true
            stream.removeReferences(to: id)
        }
        if policy == .acknowledged && stream.isReferenced(id) {
            call.reply.integer(Outcome.stillReferenced)
        } else if stream.removeEntry(id) {
            call.reply.integer(Outcome.deleted)
            deleted += 1
        } else {
            call.reply.integer(Outcome.missing)
        }
    }
    if deleted == 0 {
        // References to what was gone before count as no change, but are one.
        if removesReferences { call.logAsItCame() }
        return .none
    }
    return .changed(.xdel, count: deleted)
}
