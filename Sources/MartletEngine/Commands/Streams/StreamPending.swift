//  XACK, XPENDING, XNACK: what was handed out is done with, listed, or given back.

import MartletBase

extension CommandGroup {
    static let streamPending: CommandGroup = [
        Command(
            "XACK", since: "5.0.0", group: .stream, syntax: "key group id [id ...]",
            summary: "Returns the number of messages that were successfully acknowledged by the "
                + "consumer group member of a stream.",
            complexity: "O(1) for each message ID processed.",
            arity: .atLeast(4), keys: [.one([.readWrite, .update])], access: .write,
            traits: .fast, acl: [.stream], run: xack),
        Command(
            "XPENDING", since: "5.0.0", group: .stream,
            syntax: "key group [[IDLE min-idle-time] start end count [consumer]]",
            summary: "Returns the information and entries from a stream consumer group's pending "
                + "entries list.",
            complexity: "O(N) with N being the number of elements returned, so asking for a small "
                + "fixed number of entries per call is O(1). O(M), where M is the total number of "
                + "entries scanned when used with the IDLE filter. When the command returns just "
                + "the summary and the list of consumers is small, it runs in O(1) time; "
                + "otherwise, an additional O(N) time for iterating every consumer.",
            arity: .atLeast(3), keys: [.one([.readOnly, .access])], access: .read,
            acl: [.stream], tips: ["nondeterministic_output"], run: xpending),
        Command(
            "XNACK", since: "8.8.0", group: .stream,
            syntax: "key group <SILENT | FAIL | FATAL> IDS numids id [id ...] "
                + "[RETRYCOUNT count] [FORCE]",
            summary: "Releases pending messages back to the group's PEL without acknowledging "
                + "them, making them available for re-delivery.",
            complexity: "O(1) for each message ID processed.",
            arity: .atLeast(7), keys: [.one([.readWrite, .update])], access: .write,
            traits: .fast, acl: [.stream], run: xnack),
    ]
}

private func xack(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let name = try call.arguments.next()

    guard let group = try call.keyspace.stream(key).group(named: name) else {
        call.reply.integer(0)
        return .none
    }
    // All ids are looked at before the first goes.
    let first = call.arguments.position
    if call.arguments.remaining > 1 {
        while !call.arguments.isAtEnd { _ = try call.arguments.streamID() }
        call.arguments.position = first
    }
    var acknowledged = 0
    while !call.arguments.isAtEnd {
        if group.acknowledge(try call.arguments.streamID()) { acknowledged += 1 }
    }
    call.reply.integer(acknowledged)
    if acknowledged == 0 { return .none }
    return .changed(.groupChange, count: acknowledged)
}

// MARK: XPENDING

private struct PendingRange {
    var first = StreamID.zero
    var last = StreamID.max
    var idleMillisecondsMin: Int64 = 0
    var count: Int64 = 0
    var consumer: ByteView?

    init(_ call: inout Call) throws(CommandError) {
        guard (6...9).contains(call.arguments.count) else { throw .syntax }
        if call.arguments.skip("idle") {
            idleMillisecondsMin = try call.arguments.integer()
            if call.arguments.count < 8 { throw .syntax }
        }
        // The count is looked at before the range.
        let start = call.arguments.position
        call.arguments.position = start + 2
        count = max(0, try call.arguments.integer())
        call.arguments.position = start
        first = try call.arguments.intervalStart()
        last = try call.arguments.intervalEnd()
        call.arguments.position += 1
        if !call.arguments.isAtEnd { consumer = try call.arguments.next() }
    }
}

private func xpending(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let name = try call.arguments.next()
    let range = call.arguments.isAtEnd ? nil : try PendingRange(&call)

    guard let group = try call.keyspace.readStream(key).group(named: name) else {
        throw call.noSuchKeyOrGroup(key, name)
    }
    guard let range else {
        writeSummary(group, &call)
        return .none
    }
    var consumer: ConsumerValue?
    if let name = range.consumer {
        guard let found = group.consumer(named: name) else {
            call.reply.array(0)
            return .none
        }
        consumer = found
    }
    // Counted first: the reply begins with the number.
    var found = 0
    let now = call.keyspace.nowMilliseconds
    forEach(range, group, consumer, now) { _ in found += 1 }
    call.reply.array(found)
    forEach(range, group, consumer, now) { entry in
        call.reply.array(4)
        call.reply.bulk(entry.id)
        if let owner = group.consumer(of: entry) {
            call.reply.bulk(owner.name)
            call.reply.integer(entry.idleMilliseconds(now))
        } else {
            call.reply.bulk("")
            call.reply.integer(-1)
        }
        call.reply.integer(entry.deliveryCount)
    }
    return .none
}

extension PendingEntry {
    /// How long ago it was delivered; 0 when the clock went back. One that was given back has been
    /// idle for ever.
    func idleMilliseconds(_ now: Int64) -> Int64 {
        max(0, now.subtractingReportingOverflow(lastDeliveredMilliseconds).partialValue)
    }
}

private func forEach(
    _ range: PendingRange, _ group: GroupValue, _ consumer: ConsumerValue?, _ now: Int64,
    _ body: (PendingEntry) -> Void
) {
    var left = range.count
    if left == 0 { return }
    group.forEachPending(from: range.first, of: consumer) { entry in
        if entry.id > range.last { return false }
        if range.idleMillisecondsMin > 0
            && entry.idleMilliseconds(now) < range.idleMillisecondsMin
        {
            return true
        }
        body(entry)
        left -= 1
        return left > 0
    }
}

private func writeSummary(_ group: GroupValue, _ call: inout Call) {
    call.reply.array(4)
    call.reply.integer(group.pendingCount)
    guard let ends = group.pendingEnds else {
        call.reply.null()
        call.reply.null()
        call.reply.nullArray()
        return
    }
    call.reply.bulk(ends.first)
    call.reply.bulk(ends.last)
    var busy = 0
    for index in 0..<group.consumerCount where group.consumer(at: index).pendingCount > 0 {
        busy += 1
    }
    call.reply.array(busy)
    for index in 0..<group.consumerCount {
        let consumer = group.consumer(at: index)
        if consumer.pendingCount == 0 { continue }
        call.reply.array(2)
        call.reply.bulk(consumer.name)
        call.reply.bulk(decimal: Int64(consumer.pendingCount))
    }
}

// MARK: XNACK

private enum NackMode {
    case silent
    case fail
    case fatal
}

private func xnack(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let name = try call.arguments.next()
    let mode: NackMode
    if call.arguments.skip("silent") {
        mode = .silent
    } else if call.arguments.skip("fail") {
        mode = .fail
    } else if call.arguments.skip("fatal") {
        mode = .fatal
    } else {
        throw .syntax
    }
    guard call.arguments.skip("ids") else { throw .syntax }
    let ids = try call.countedStreamIDs()
    var retryCount: Int64?
    var makes = false
    while !call.arguments.isAtEnd {
        if call.arguments.skip("force") {
            makes = true
        } else if call.arguments.skip("retrycount") {
            let given = try call.arguments.integer()
            if given < 0 { throw .invalid("value for RETRYCOUNT must be positive") }
            retryCount = given
        } else {
            throw .syntax
        }
    }

    let stream = try call.keyspace.stream(key)
    guard let group = stream.group(named: name) else { throw call.noSuchKeyOrGroup(key, name) }
    try call.checkStreamIDs(ids)
    var released = 0
    for _ in ids {
        let id = try call.arguments.streamID()
        var entry: PendingEntry
        if let found = group.pending(id) {
            entry = found
            if mode == .silent { entry.deliveryCount = max(0, entry.deliveryCount - 1) }
        } else {
            guard makes, stream.contains(id) else { continue }
            entry = PendingEntry(id: id)
        }
        if mode == .fatal { entry.deliveryCount = Int64.max }
        if let retryCount { entry.deliveryCount = retryCount }
        group.release(entry)
        released += 1
    }
    call.reply.integer(released)
    if released == 0 { return .none }
    return .changed(.groupChange, count: released)
}
