//  XCLAIM, XAUTOCLAIM: entries that somebody holds get another consumer.

import MartletBase

extension CommandGroup {
    static let streamClaim: CommandGroup = [
        Command(
            "XCLAIM", since: "5.0.0", group: .stream,
            syntax: "key group consumer min-idle-time id [id ...] [IDLE ms] "
                + "[TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] "
                + "[LASTID lastid]",
            summary: "Changes, or acquires, ownership of a message in a consumer group, as if the "
                + "message was delivered a consumer group member.",
            complexity: "O(log N) with N being the number of messages in the PEL of the consumer "
                + "group.",
            arity: .atLeast(6), keys: [.one([.readWrite, .update])], access: .write,
            traits: .fast, acl: [.stream], tips: ["nondeterministic_output"], run: xclaim),
        Command(
            "XAUTOCLAIM", since: "6.2.0", group: .stream,
            syntax: "key group consumer min-idle-time start [COUNT count] [JUSTID]",
            summary: "Changes, or acquires, ownership of messages in a consumer group, as if the "
                + "messages were delivered to as consumer group member.",
            complexity: "O(1) if COUNT is small.",
            arity: .atLeast(6), keys: [.one([.readWrite, .delete])], access: .write,
            traits: .fast, acl: [.stream], tips: ["nondeterministic_output"], run: xautoclaim),
    ]
}

// MARK: XCLAIM

private struct ClaimOptions {
    /// When it counts as delivered; nil for now.
    var deliveredMilliseconds: Int64?
    var retryCount: Int64?
    var makes = false
    var isJustIDs = false
    var lastID: StreamID?

    init(_ call: inout Call) throws(CommandError) {
        let now = call.keyspace.nowMilliseconds
        while !call.arguments.isAtEnd {
            let option = call.arguments[call.arguments.position]
            let hasValue = call.arguments.remaining > 1
            if call.arguments.skip("force") {
                makes = true
            } else if call.arguments.skip("justid") {
                isJustIDs = true
            } else if hasValue && call.arguments.skip("idle") {
                let idle = try call.arguments.integer(
                    .invalid("Invalid IDLE option argument for XCLAIM"))
                let (time, overflows) = now.subtractingReportingOverflow(idle)
                deliveredMilliseconds = overflows ? now : time
            } else if hasValue && call.arguments.skip("time") {
                deliveredMilliseconds = try call.arguments.integer(
                    .invalid("Invalid TIME option argument for XCLAIM"))
            } else if hasValue && call.arguments.skip("retrycount") {
                let given = try call.arguments.integer(
                    .invalid("Invalid RETRYCOUNT option argument for XCLAIM"))
                if given >= 0 { retryCount = given }
            } else if hasValue && call.arguments.skip("lastid") {
                lastID = try call.arguments.streamID()
            } else {
                throw call.error("ERR Unrecognized XCLAIM option '", naming: option, "'")
            }
        }
        // Clients compute with clocks of their own: what cannot be is taken for now.
        if let given = deliveredMilliseconds, given < 0 || given > now {
            deliveredMilliseconds = nil
        }
    }
}

private func xclaim(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let name = try call.arguments.next()
    let consumerName = try call.arguments.next()

    let stream = try call.keyspace.stream(key)
    guard let group = stream.group(named: name) else { throw call.noSuchKeyOrGroup(key, name) }
    let idleMin = max(
        0,
        try call.arguments.integer(.invalid("Invalid min-idle-time argument for XCLAIM")))
    let first = call.arguments.position
    while !call.arguments.isAtEnd,
        call.arguments[call.arguments.position].parseStreamID(sequence: 0) != nil
    {
        call.arguments.position += 1
    }
    let ids = first..<call.arguments.position
    let options = try ClaimOptions(&call)

    var changes = 0
    if let lastID = options.lastID, lastID > group.lastDeliveredID {
        group.lastDeliveredID = lastID
        changes += 1
        call.logGroupID(group, key)
    }
    let consumer = call.consumer(consumerName, in: group, key)
    let now = call.keyspace.nowMilliseconds
    let begin = call.reply.buffer.count
    var claimed = 0
    call.arguments.position = ids.lowerBound
    for _ in ids {
        let id = try call.arguments.streamID()
        guard stream.contains(id) else {
            // It is gone, and nobody is to wait for it.
            if group.acknowledge(id) {
                changes += 1
                call.logGone(id, group, key)
            }
            continue
        }
        var entry: PendingEntry
        if let held = group.pending(id) {
            entry = held
            if idleMin > 0 && held.idleMilliseconds(now) < idleMin { continue }
        } else {
            if !options.makes { continue }
            entry = PendingEntry(id: id, deliveryCount: 1)
        }
        entry.deliveredMilliseconds = options.deliveredMilliseconds ?? now
        if let retryCount = options.retryCount {
            entry.deliveryCount = retryCount
        } else if !options.isJustIDs {
            entry.countDelivery()
        }
        group.put(entry, consumer)
        consumer.activeMilliseconds = now
        call.logClaim(entry, consumer, group, key)
        call.writeClaimed(id, stream, isJustID: options.isJustIDs)
        claimed += 1
    }
    call.reply.insert(at: begin) { $0.array(claimed) }
    changes += claimed
    if changes > 0 { call.keyspace.record(.groupChange, key, count: changes) }
    return .recorded
}

extension PendingEntry {
    mutating func countDelivery() {
        if deliveryCount < Int64.max { deliveryCount += 1 }
    }
}

extension Call {
    fileprivate mutating func writeClaimed(
        _ id: StreamID, _ stream: StreamValue, isJustID: Bool
    ) {
        if isJustID {
            reply.bulk(id)
        } else {
            _ = writeEntry(id, of: stream)
        }
    }

    /// Writes an entry, if it is there.
    mutating func writeEntry(_ id: StreamID, of stream: StreamValue) -> Bool {
        stream.read { stream in
            guard let entry = stream.entry(id) else { return false }
            reply.entry(entry)
            return true
        }
    }
}

// MARK: XAUTOCLAIM

private func xautoclaim(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let name = try call.arguments.next()
    let consumerName = try call.arguments.next()
    let idleMin = max(
        0, try call.arguments.integer(.invalid("Invalid min-idle-time argument for XAUTOCLAIM")))
    let start = try call.arguments.intervalStart()
    var count = 100
    var isJustIDs = false
    while !call.arguments.isAtEnd {
        if call.arguments.remaining > 1 && call.arguments.skip("count") {
            let given = try call.arguments.integer(.invalid("COUNT must be > 0"))
            // So that ten times as many can be counted; CVE-2022-35951.
            guard given > 0 && given <= Int64.max / 16 else {
                throw .invalid("COUNT must be > 0")
            }
            count = Int(given)
        } else if call.arguments.skip("justid") {
            isJustIDs = true
        } else {
            throw .syntax
        }
    }

    let stream = try call.keyspace.stream(key)
    guard let group = stream.group(named: name) else { throw call.noSuchKeyOrGroup(key, name) }
    let consumer = call.consumer(consumerName, in: group, key)
    let now = call.keyspace.nowMilliseconds
    call.reply.array(3)
    // The cursor comes first, and is known last.
    let begin = call.reply.buffer.count
    var claimed = 0
    var gone: [StreamID] = []
    var attempts = count * 10
    var next = group.nextPending(atOrBehind: start)
    while attempts > 0 && claimed + gone.count < count, var entry = next {
        attempts -= 1
        next = entry.id.next.flatMap(group.nextPending(atOrBehind:))
        guard stream.contains(entry.id) else {
            _ = group.acknowledge(entry.id)
            call.logGone(entry.id, group, key)
            gone.append(entry.id)
            continue
        }
        if idleMin > 0 && entry.idleMilliseconds(now) < idleMin { continue }
        entry.deliveredMilliseconds = now
        if !isJustIDs { entry.countDelivery() }
        group.put(entry, consumer)
        consumer.activeMilliseconds = now
        call.logClaim(entry, consumer, group, key)
        call.writeClaimed(entry.id, stream, isJustID: isJustIDs)
        claimed += 1
    }
    call.reply.insert(at: begin) {
        $0.bulk(next?.id ?? .zero)
        $0.array(claimed)
    }
    call.reply.array(gone.count)
    for id in gone { call.reply.bulk(id) }
    if claimed + gone.count > 0 {
        call.keyspace.record(.groupChange, key, count: claimed + gone.count)
    }
    return .recorded
}
