//  XREADGROUP: hands out entries that nobody of the group got yet, lists those that a consumer holds,
//  takes over those that others have held for too long; or waits for one of the first or last kind.
//
//  A client that waits stands in line at each of its keys. Whatever happens to one of them is looked
//  at with the eyes of each group in the line: new entries go to who came first, and a key or group
//  that is gone is an error for all who wait for it, as Redis 7.2 and later have it.

import MartletBase

extension CommandGroup {
    static let streamGroupRead: CommandGroup = [
        Command(
            "XREADGROUP", since: "5.0.0", group: .stream,
            syntax: "GROUP group consumer [COUNT count] [BLOCK milliseconds] "
                + "[CLAIM min-idle-time] [NOACK] STREAMS key [key ...] id [id ...]",
            summary: "Returns new or historical messages from a stream for a consumer in a group. "
                + "Blocks until a message is available otherwise.",
            complexity: "For each stream mentioned: O(M) with M being the number of elements "
                + "returned. If M is constant (e.g. always asking for the first 10 elements with "
                + "COUNT), you can consider it O(1). On the other side when XREADGROUP blocks, "
                + "XADD will pay the O(N) time in order to serve the N clients blocked on the "
                + "stream getting new data.",
            arity: .atLeast(7), keys: [.streams(from: 4, [.readOnly, .access])], access: .write,
            traits: [.blocking, .movableKeys], acl: [.stream], run: xreadgroup)
    ]
}

/// What is read, and how, whatever the key.
private struct GroupRead {
    var group = ByteView()
    var consumer = ByteView()
    /// Entries of each stream at most.
    var count = Int.max
    /// How long to wait, 0 for ever; nil for not at all.
    var milliseconds: Int64?
    var isAcknowledged = false
    /// What has been idle for so long is taken over.
    var idleMillisecondsMin: Int64?
    /// The arguments that are keys; as many behind them are ids.
    var keys = 0..<0

    init(_ call: inout Call) throws(CommandError) {
        var hasGroup = false
        while !call.arguments.isAtEnd {
            let left = call.arguments.remaining
            if left > 1 && call.arguments.skip("count") {
                let given = try call.arguments.integer()
                count = given <= 0 ? Int.max : Int(given)
            } else if left > 1 && call.arguments.skip("block") {
                milliseconds = try call.millisecondsToWait()
            } else if left > 2 && call.arguments.skip("group") {
                group = try call.arguments.next()
                consumer = try call.arguments.next()
                hasGroup = true
            } else if call.arguments.skip("noack") {
                isAcknowledged = true
            } else if left > 1 && call.arguments.skip("claim") {
                let given = try call.arguments.integer(.invalid("min-idle-time is not an integer"))
                if given < 0 { throw .invalid("min-idle-time must be a positive integer") }
                idleMillisecondsMin = given
            } else if left > 1 && call.arguments.skip("streams") {
                let first = call.arguments.position
                guard (left - 1) % 2 == 0 else {
                    throw call.error(
                        "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID "
                            + "or '>' must be specified.")
                }
                keys = first..<(first + (left - 1) / 2)
                break
            } else {
                throw .syntax
            }
        }
        if keys.isEmpty { throw .syntax }
        if !hasGroup { throw .invalid("Missing GROUP option for XREADGROUP") }
    }

    /// The id behind which a consumer's entries are listed; nil for `>`, new entries.
    func start(ofKeyAt index: Int, _ arguments: Arguments) throws(CommandError) -> StreamID? {
        let text = arguments[index + keys.count]
        if text.count == 1 {
            switch text[0] {
            case UInt8(ascii: ">"): return nil
            case UInt8(ascii: "$"): throw Self.meaningless
            case UInt8(ascii: "+"): throw Self.meaninglessLast
            default: break
            }
        }
        // No entry is behind the greatest id: it means the same, as in Redis.
        let id = try text.streamID()
        return id == .max ? nil : id
    }

    private static let meaningless: CommandError = .invalid(
        """
        The $ ID is meaningless in the context of XREADGROUP: you want to read the history of \
        this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID \
        would just return an empty result set.
        """)
    private static let meaninglessLast: CommandError = .invalid(
        """
        The + ID is meaningless in the context of XREADGROUP: you want to read the history of \
        this consumer by specifying a proper ID, or use the > ID to get new messages. The + ID \
        would just return an empty result set.
        """)
}

private func xreadgroup(_ call: inout Call) throws(CommandError) -> Effect {
    let read = try GroupRead(&call)
    call.arguments.position = read.keys.lowerBound
    if read.keys.count == 1 {
        let key = try call.arguments.key()
        let stream = try call.keyspace.readStream(key)
        guard let group = stream.group(named: read.group) else {
            throw call.noSuchGroupToRead(key, read.group)
        }
        let start = try read.start(ofKeyAt: read.keys.lowerBound, call.arguments)
        let before = call.reply.buffer.count
        call.reply.map(ofStreams: 1)
        if call.serve(read, key, stream, group, behind: start) { return .recorded }
        call.reply.buffer.truncate(to: before)
        return try call.waitOrGiveUp(read)
    }
    // All keys, groups and ids are looked at before the first entry is handed out.
    for index in read.keys {
        let key = try call.arguments.key()
        guard try call.keyspace.readStream(key).group(named: read.group) != nil else {
            throw call.noSuchGroupToRead(key, read.group)
        }
        _ = try read.start(ofKeyAt: index, call.arguments)
    }
    let begin = call.reply.buffer.count
    var served = 0
    call.arguments.position = read.keys.lowerBound
    for index in read.keys {
        let key = try call.arguments.key()
        let stream = try call.keyspace.stream(key)
        // One that has expired while the others were looked at.
        guard let group = stream.group(named: read.group) else { continue }
        let start = try read.start(ofKeyAt: index, call.arguments)
        if call.serve(read, key, stream, group, behind: start) { served += 1 }
    }
    if served > 0 {
        call.reply.insert(at: begin) { $0.map(ofStreams: served) }
        return .recorded
    }
    return try call.waitOrGiveUp(read)
}

extension ReplyWriter {
    /// The header of a reply that has entries of `count` streams.
    mutating func map(ofStreams count: Int) {
        if isRESP3 { map(count) } else { array(count) }
    }

    /// The header of one of them: its key, and its entries follow.
    fileprivate mutating func stream(_ key: Key) {
        if !isRESP3 { array(2) }
        bulk(key.bytes)
    }
}

extension GroupValue {
    /// The entries that were delivered at a time or before, longest ago first, `limit` of them at
    /// most. Those on the way that were deleted leave the group, `body` being told of each: nobody is to
    /// wait for them.
    ///
    /// - Returns: the entries, which are all there, and how many were not.
    /// - Complexity: that of `PendingEntries.oldest` for the entries and the deleted ones, a few times.
    fileprivate func takeIdle(
        through time: Int64, limit: Int, in stream: StreamValue, _ body: (StreamID) -> Void
    ) -> (entries: [PendingEntry], gone: Int) {
        let limit = min(limit, pendingCount)
        var gone = 0
        var surplus = 0
        while true {
            let found = oldest(through: time, limit: limit + surplus)
            var there: [PendingEntry] = []
            for entry in found where there.count < limit {
                if stream.contains(entry.id) {
                    there.append(entry)
                } else {
                    _ = acknowledge(entry.id)
                    body(entry.id)
                    gone += 1
                }
            }
            if there.count == limit || found.count < limit + surplus { return (there, gone) }
            // Deleted ones were in the way of others. More of them each time: not many rounds.
            surplus = max(16, surplus * 2)
        }
    }
}

extension Call {
    fileprivate mutating func noSuchGroupToRead(_ key: Key, _ group: ByteView) -> CommandError {
        noSuchKeyOrGroup(key, group, " in XREADGROUP with GROUP option")
    }

    /// Writes what a stream has for the consumer, and hands it out.
    ///
    /// - Returns: whether it has anything; nothing is written else.
    fileprivate mutating func serve(
        _ read: GroupRead, _ key: Key, _ stream: StreamValue, _ group: GroupValue,
        behind start: StreamID?
    ) -> Bool {
        let consumer = consumer(read.consumer, in: group, key)
        if let start {
            reply.stream(key)
            list(read, key, stream, group, consumer, behind: start)
            return true
        }
        if let idleMin = read.idleMillisecondsMin {
            return claim(read, key, stream, group, consumer, idleMin: idleMin)
        }
        let expected = read.count == 1 ? 1 : min(read.count, group.lag)
        if expected == 0 { return false }
        let now = keyspace.nowMilliseconds
        let isLogged = keyspace.isLogging && !read.isAcknowledged
        var isFirst = true
        let given = group.handOut(
            to: consumer, atMost: expected, isPending: !read.isAcknowledged, nowMilliseconds: now
        ) { entry in
            if isFirst {
                isFirst = false
                reply.stream(key)
                reply.array(expected)
            }
            reply.entry(entry)
            if isLogged { collectClaim(of: entry.id, consumer, group, key) }
        }
        if given == 0 { return false }
        logHandedOut(to: consumer, group, key)
        keyspace.record(.groupChange, key, count: given)
        return true
    }

    /// Writes what a consumer holds behind an id. That counts as a delivery of each.
    private mutating func list(
        _ read: GroupRead, _ key: Key, _ stream: StreamValue, _ group: GroupValue,
        _ consumer: ConsumerValue, behind start: StreamID
    ) {
        let begin = reply.buffer.count
        let now = keyspace.nowMilliseconds
        var listed = 0
        var id = start
        while listed < read.count, let next = consumer.nextPending(behind: id) {
            id = next
            listed += 1
            if writeEntry(id, of: stream) {
                guard var entry = group.pending(id) else { continue }
                entry.deliveredMilliseconds = now
                entry.countDelivery()
                group.put(entry, consumer)
                logClaim(entry, consumer, group, key)
            } else {
                reply.array(2)
                reply.bulk(id)
                reply.nullArray()
            }
        }
        reply.insert(at: begin) { $0.array(listed) }
        if listed > 0 { keyspace.record(.groupChange, key, count: listed) }
    }

    /// Takes over what has been idle too long, longest first, and hands out new entries if there is
    /// room for them. Each is followed by how long it was idle and how often it was delivered before.
    private mutating func claim(
        _ read: GroupRead, _ key: Key, _ stream: StreamValue, _ group: GroupValue,
        _ consumer: ConsumerValue, idleMin: Int64
    ) -> Bool {
        let now = keyspace.nowMilliseconds
        let begin = reply.buffer.count
        let (idle, gone) = group.takeIdle(
            through: now.subtractingReportingOverflow(idleMin).partialValue, limit: read.count,
            in: stream
        ) { logGone($0, group, key) }
        for held in idle {
            reply.array(4)
            stream.read { stream in
                guard let entry = stream.entry(held.id) else { return }
                reply.entryBody(entry)
            }
            reply.integer(held.idleMilliseconds(now))
            reply.integer(held.deliveryCount)
            var entry = held
            entry.deliveredMilliseconds = now
            entry.countDelivery()
            group.put(entry, consumer)
            logClaim(entry, consumer, group, key)
            consumer.activeMilliseconds = now
        }
        var written = idle.count
        let isLogged = keyspace.isLogging && !read.isAcknowledged
        let given = group.handOut(
            to: consumer, atMost: read.count - written, isPending: !read.isAcknowledged,
            nowMilliseconds: now
        ) { entry in
            reply.array(4)
            reply.entryBody(entry)
            reply.integer(0)
            reply.integer(0)
            if isLogged { collectClaim(of: entry.id, consumer, group, key) }
        }
        if given > 0 { logHandedOut(to: consumer, group, key) }
        written += given
        if written + gone > 0 { keyspace.record(.groupChange, key, count: written + gone) }
        if written == 0 {
            reply.buffer.truncate(to: begin)
            return false
        }
        reply.insert(at: begin) { reply in
            reply.stream(key)
            reply.array(written)
        }
        return true
    }

    // MARK: Waiting

    /// BLOCK, or a reply that says that there is nothing. A consumer may have been made.
    fileprivate mutating func waitOrGiveUp(_ read: GroupRead) throws(CommandError) -> Effect {
        guard let milliseconds = read.milliseconds else {
            reply.nullArray()
            return .recorded
        }
        var keys: [Key] = []
        arguments.position = read.keys.lowerBound
        for _ in read.keys { keys.append(try arguments.key()) }
        let kept = KeptRead(read)
        return wait(
            for: keys, wanted: .stream, milliseconds: milliseconds,
            isReady: { call, key in kept.isReady(key, call.keyspace) },
            // What others hold gets old by itself: an eighth of that age late at most.
            looksEvery: read.idleMillisecondsMin.map { min(100, max(1, $0 / 8)) },
            service: { (call, key) throws(CommandError) in try kept.serve(key, &call) })
    }
}

/// What a client that waits has asked for, its names copied.
private final class KeptRead: Sendable {
    private let group: KeyCopy
    private let consumer: KeyCopy
    private let count: Int
    private let isAcknowledged: Bool
    private let idleMillisecondsMin: Int64?

    init(_ read: GroupRead) {
        group = KeyCopy(Key(read.group, hash: 0))
        consumer = KeyCopy(Key(read.consumer, hash: 0))
        count = read.count
        isAcknowledged = read.isAcknowledged
        idleMillisecondsMin = read.idleMillisecondsMin
    }

    private var read: GroupRead {
        GroupRead(
            group: group.key.bytes, consumer: consumer.key.bytes, count: count,
            isAcknowledged: isAcknowledged, idleMillisecondsMin: idleMillisecondsMin)
    }

    /// Whether a key has something for the client, be it an error.
    func isReady(_ key: Key, _ keyspace: KeyAccess) -> Bool {
        guard let stream = try? keyspace.stream(key),
            let group = stream.group(named: self.group.key.bytes)
        else { return true }
        if group.hasNews { return true }
        guard let idleMin = idleMillisecondsMin else { return false }
        let time = keyspace.nowMilliseconds.subtractingReportingOverflow(idleMin).partialValue
        return !group.oldest(through: time, limit: 1).isEmpty
    }

    func serve(_ key: Key, _ call: inout Call) throws(CommandError) {
        let stream = try call.keyspace.stream(key)
        guard let group = stream.group(named: group.key.bytes) else {
            throw call.noSuchGroupToRead(key, self.group.key.bytes)
        }
        let before = call.reply.buffer.count
        call.reply.map(ofStreams: 1)
        if call.serve(read, key, stream, group, behind: nil) { return }
        // All that was idle had been deleted.
        call.reply.buffer.truncate(to: before)
        call.reply.nullArray()
    }
}

extension GroupRead {
    fileprivate init(
        group: ByteView, consumer: ByteView, count: Int, isAcknowledged: Bool,
        idleMillisecondsMin: Int64?
    ) {
        self.group = group
        self.consumer = consumer
        self.count = count
        self.isAcknowledged = isAcknowledged
        self.idleMillisecondsMin = idleMillisecondsMin
    }
}
