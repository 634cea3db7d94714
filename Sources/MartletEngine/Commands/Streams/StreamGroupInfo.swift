//  XINFO GROUPS and CONSUMERS, and what XINFO STREAM FULL says of groups.

import MartletBase

extension Command {
    static let infoOfGroups = Command(
        "GROUPS", since: "5.0.0", group: .stream, syntax: "key",
        summary: "Returns a list of the consumer groups of a stream.",
        arity: .exactly(3), keys: [.one(at: 2, [.readOnly, .access])], access: .read,
        acl: [.stream]
    ) { (call) throws(CommandError) in
        let stream = try call.keyspace.readStream(try call.arguments.key())
        if stream.isMissing { throw .noSuchKey }
        call.reply.array(stream.groupCount)
        for index in 0..<stream.groupCount {
            let group = stream.group(at: index)
            call.reply.map(6)
            call.reply.bulk("name")
            call.reply.bulk(group.name)
            call.reply.bulk("consumers")
            call.reply.integer(group.consumerCount)
            call.reply.bulk("pending")
            call.reply.integer(group.pendingCount)
            call.reply.bulk("last-delivered-id")
            call.reply.bulk(group.lastDeliveredID)
            call.writeProgress(group)
        }
        return .none
    }

    static let infoOfConsumers = Command(
        "CONSUMERS", since: "5.0.0", group: .stream, syntax: "key group",
        summary: "Returns a list of the consumers in a consumer group.",
        arity: .exactly(4), keys: [.one(at: 2, [.readOnly, .access])], access: .read,
        acl: [.stream], tips: ["nondeterministic_output"]
    ) { (call) throws(CommandError) in
        let key = try call.arguments.key()
        let name = try call.arguments.next()
        let stream = try call.keyspace.readStream(key)
        if stream.isMissing { throw .noSuchKey }
        guard let group = stream.group(named: name) else { throw call.noSuchGroup(name, key) }
        let now = call.keyspace.nowMilliseconds
        call.reply.array(group.consumerCount)
        for index in 0..<group.consumerCount {
            let consumer = group.consumer(at: index)
            call.reply.map(4)
            call.reply.bulk("name")
            call.reply.bulk(consumer.name)
            call.reply.bulk("pending")
            call.reply.integer(consumer.pendingCount)
            call.reply.bulk("idle")
            call.reply.integer(max(0, now - consumer.seenMilliseconds))
            call.reply.bulk("inactive")
            call.reply.integer(consumer.activeMilliseconds.map { max(0, now - $0) } ?? -1)
        }
        return .none
    }
}

extension Call {
    /// `entries-read` and `lag`.
    fileprivate mutating func writeProgress(_ group: GroupValue) {
        reply.bulk("entries-read")
        if let read = group.entriesRead { reply.integer(read) } else { reply.null() }
        // Counted, so that it is right whatever was deleted, and never unknown.
        reply.bulk("lag")
        reply.integer(group.lag)
    }

    /// The groups of XINFO STREAM FULL, with up to `limit` pending entries of each group and
    /// consumer.
    mutating func writeGroupsInFull(_ stream: StreamValue, limit: Int?) {
        reply.array(stream.groupCount)
        for index in 0..<stream.groupCount {
            let group = stream.group(at: index)
            reply.map(8)
            reply.bulk("name")
            reply.bulk(group.name)
            reply.bulk("last-delivered-id")
            reply.bulk(group.lastDeliveredID)
            writeProgress(group)
            reply.bulk("pel-count")
            reply.integer(group.pendingCount)
            reply.bulk("nacked-count")
            reply.integer(group.releasedCount)
            reply.bulk("pending")
            var left = min(limit ?? Int.max, group.pendingCount)
            reply.array(left)
            group.forEachPending(from: .zero) { entry in
                if left == 0 { return false }
                left -= 1
                reply.array(4)
                reply.bulk(entry.id)
                reply.bulk(group.consumer(of: entry)?.name ?? ByteView())
                reply.integer(entry.lastDeliveredMilliseconds)
                reply.integer(entry.deliveryCount)
                return true
            }
            reply.bulk("consumers")
            reply.array(group.consumerCount)
            for index in 0..<group.consumerCount {
                writeInFull(group.consumer(at: index), group, limit: limit)
            }
        }
    }

    private mutating func writeInFull(
        _ consumer: ConsumerValue, _ group: GroupValue, limit: Int?
    ) {
        reply.map(5)
        reply.bulk("name")
        reply.bulk(consumer.name)
        reply.bulk("seen-time")
        reply.integer(consumer.seenMilliseconds)
        reply.bulk("active-time")
        reply.integer(consumer.activeMilliseconds ?? -1)
        reply.bulk("pel-count")
        reply.integer(consumer.pendingCount)
        reply.bulk("pending")
        var left = min(limit ?? Int.max, consumer.pendingCount)
        reply.array(left)
        group.forEachPending(from: .zero, of: consumer) { entry in
            if left == 0 { return false }
            left -= 1
            reply.array(3)
            reply.bulk(entry.id)
            reply.integer(entry.deliveredMilliseconds)
            reply.integer(entry.deliveryCount)
            return true
        }
    }
}
