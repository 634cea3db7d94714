//  SCAN, KEYS, RANDOMKEY, RM, DBSIZE: walks over all keys of a database.
//
//  A walk holds one shard at a time, for a bounded number of groups; RM and transactions hold them all. A cursor is a shard's number and a position on its scan line.

import MartletBase

extension CommandGroup {
    static let keyScanning: CommandGroup = [
        Command(
            "SCAN", since: "2.8.0", group: .generic,
            syntax: "cursor [MATCH pattern] [COUNT count] [TYPE type]",
            summary: "Iterates over the key names in the database.",
            complexity: "O(1) for every call. O(N) for a complete iteration, including enough "
                + "command calls for the cursor to return back to 0. N is the number of elements "
                + "inside the collection.",
            arity: .atLeast(2), access: .read, traits: .walksShards, acl: [.keyspace],
            tips: ["nondeterministic_output", "request_policy:special", "response_policy:special"],
            run: scan),
        Command(
            "KEYS", since: "1.0.0", group: .generic, syntax: "pattern",
            summary: "Returns all key names that match a pattern.",
            complexity: "O(N) with N being the number of keys in the database, under the "
                + "assumption that the key names in the database and the given pattern have "
                + "limited length.",
            arity: .exactly(2), access: .read, traits: .walksShards, acl: [.keyspace, .dangerous],
            tips: ["request_policy:all_shards", "nondeterministic_output_order"], run: keys),
        Command(
            "RANDOMKEY", since: "1.0.0", group: .generic,
            summary: "Returns a random key name from the database.", arity: .exactly(1),
            access: .read, traits: .walksShards, acl: [.keyspace],
            tips: [
                "request_policy:all_shards", "response_policy:special", "nondeterministic_output",
            ],
            run: randomKey),
        Command(
            "RM", since: "8.0.0", group: .generic,
            syntax: "cursor [MATCH pattern] [COUNT count] [TYPE type]",
            summary: "Deletes keys as SCAN iterates over them. Replies with the next cursor and "
                + "the number of keys deleted.",
            complexity: "As SCAN.", arity: .atLeast(2), access: .write, traits: .allShards,
            acl: [.keyspace, .dangerous], run: removeScanned),
        Command(
            "DBSIZE", since: "1.0.0", group: .server,
            summary: "Returns the number of keys in the database.", arity: .exactly(1),
            access: .read, traits: [.fast, .allShards], acl: [.keyspace],
            tips: ["request_policy:all_shards", "response_policy:agg_sum"], run: databaseSize),
    ]
}

/// What SCAN filters by, and how far it goes.
private struct ScanOptions {
    private(set) var cursor: UInt64
    private(set) var count = 10
    private var pattern: ByteView?
    private var type: ByteView?

    /// More would hold a connection's loop for long; the cursor goes on from there.
    private static let countMax = 1_000_000

    init(reading call: inout Call) throws(CommandError) {
        let text = try call.arguments.next()
        // Loose as Redis is, but for leading blanks.
        guard !text.isEmpty, !isBlank(text[0]), let cursor = text.parseUnsignedLoosely() else {
            throw .invalidCursor
        }
        self.cursor = cursor
        while !call.arguments.isAtEnd {
            if call.arguments.skip("match") {
                pattern = try call.arguments.next()
            } else if call.arguments.skip("count") {
                let count = try call.arguments.integer()
                if count < 1 { throw .syntax }
                self.count = Int(min(count, Int64(Self.countMax)))
            } else if call.arguments.skip("type") {
                type = try call.arguments.next()
            } else {
                throw .syntax
            }
        }
    }

    func admits(_ entry: Entry) -> Bool {
        if let type, !type.equalsIgnoringCase(entry.kind.name) { return false }
        return matches(entry.key, pattern)
    }
}

/// Whether a key matches; `*` alone matches every key, the empty one too.
private func matches(_ key: ByteView, _ pattern: ByteView?) -> Bool {
    guard let pattern else { return true }
    if pattern.count == 1 && pattern[0] == UInt8(ascii: "*") { return true }
    return key.matches(pattern)
}

extension Call {
    /// Groups of a table walked under one hold of its lock: below a tenth of a millisecond.
    private static let groupsPerHold = 64

    /// Walks keys from `cursor` on until about `count` were met; answers the next cursor, 0 at the
    /// end. Claimed shards are waited for by coming back to them: the cursor stays there.
    fileprivate func walk(
        from cursor: UInt64, count: Int, _ body: (Entry) -> Void
    ) -> UInt64 {
        let positionMask = (UInt64(1) << Table.positionBits) - 1
        var shard = Int(truncatingIfNeeded: (cursor >> Table.positionBits) & 0x3FF)
        var position = cursor & positionMask
        var met = 0
        var groups = 0
        let groupsMax = count == .max ? Int.max : count &* 10
        while shard < keyspace.shardCount {
            let next = holding(shard) {
                keyspace.scan(
                    shard: shard, from: position, groups: count < 64 ? 1 : Self.groupsPerHold
                ) { entry in
                    met += 1
                    body(entry)
                }
            }
            groups += 1
            if let next {
                position = next
            } else {
                shard += 1
                position = 0
            }
            if met >= count || groups >= groupsMax { break }
        }
        return shard < keyspace.shardCount ? UInt64(shard) << Table.positionBits | position : 0
    }

    /// Calls `body` for the bytes of each living key of the database until it returns false; no shard
    /// is held for longer than a step of the walk.
    package func walkKeys(_ body: (ByteView) -> Bool) {
        var goesOn = true
        for shard in 0..<keyspace.shardCount {
            var position: UInt64? = 0
            while goesOn, let from = position {
                position = holding(shard) {
                    keyspace.scan(shard: shard, from: from, groups: Self.groupsPerHold) { entry in
                        if goesOn { goesOn = body(entry.key) }
                    }
                }
            }
        }
    }

    /// Runs `body` with a shard held, unless the command or its transaction holds them all.
    func holding<R>(_ shard: Int, _ body: () -> R) -> R {
        if isNested || command.traits.contains(.allShards) { return body() }
        let lock = unsafe keyspace.keyspace.pointee.lock(shard)
        lock.lock()
        defer { lock.unlock() }
        return body()
    }
}

private func scan(_ call: inout Call) throws(CommandError) -> Effect {
    let options = try ScanOptions(reading: &call)
    var found = ReplyWriter()
    var count = 0
    let next = call.walk(from: options.cursor, count: options.count) { entry in
        if options.admits(entry) {
            found.bulk(entry.key)
            count += 1
        }
    }
    call.reply.array(2)
    call.reply.bulk(unsignedDecimal: next)
    call.reply.array(count)
    call.reply.buffer.append(found.buffer.view)
    return .none
}

private func keys(_ call: inout Call) throws(CommandError) -> Effect {
    let pattern = try call.arguments.next()
    var found = ReplyWriter()
    var count = 0
    _ = call.walk(from: 0, count: .max) { entry in
        if matches(entry.key, pattern) {
            found.bulk(entry.key)
            count += 1
        }
    }
    call.reply.array(count)
    call.reply.buffer.append(found.buffer.view)
    return .none
}

private func randomKey(_ call: inout Call) throws(CommandError) -> Effect {
    var random = Random.seededFromSystem()
    for _ in 0..<100 {
        var counts: [Int] = []
        var total = 0
        for shard in 0..<call.keyspace.shardCount {
            let count = call.holding(shard) { call.keyspace.count(ofShard: shard) }
            counts.append(count)
            total += count
        }
        if total == 0 { break }
        var chosen = random.index(below: total)
        var shard = 0
        while chosen >= counts[shard] {
            chosen -= counts[shard]
            shard += 1
        }
        var reply = ReplyWriter()
        let isFound = call.holding(shard) {
            guard let entry = call.keyspace.randomEntry(ofShard: shard, { random.next() }) else {
                return false
            }
            reply.bulk(entry.key)
            return true
        }
        if isFound {
            call.reply.buffer.append(reply.buffer.view)
            return .none
        }
    }
    // Nearly all keys are past their deadline: take the first that is not.
    var reply = ReplyWriter()
    var isFound = false
    var cursor: UInt64 = 0
    repeat {
        cursor = call.walk(from: cursor, count: 1) { entry in
            if !isFound { reply.bulk(entry.key) }
            isFound = true
        }
    } while cursor != 0 && !isFound
    if isFound { call.reply.buffer.append(reply.buffer.view) } else { call.reply.null() }
    return .none
}

private func removeScanned(_ call: inout Call) throws(CommandError) -> Effect {
    let options = try ScanOptions(reading: &call)
    var keys: [[UInt8]] = []
    let next = call.walk(from: options.cursor, count: options.count) { entry in
        if options.admits(entry) { keys.append(entry.key.bytes) }
    }
    var removed = 0
    for bytes in keys {
        bytes.withView { view in
            let key = unsafe call.keyspace.keyspace.pointee.key(view)
            if call.keyspace.remove(key) {
                removed += 1
                call.keyspace.record(.del, key)
            }
        }
    }
    call.reply.array(2)
    call.reply.bulk(unsignedDecimal: next)
    call.reply.integer(removed)
    return .recorded
}

private func databaseSize(_ call: inout Call) throws(CommandError) -> Effect {
    // Keys past their deadline do not count. The index finds them in order; the bound keeps the
    // shards from being held long after a mass expiry, when the count may be late by a round.
    var steps = 20_000
    var count = 0
    for shard in 0..<call.keyspace.shardCount {
        call.keyspace.reclaimDue(shard: shard, steps: &steps)
        count += call.keyspace.count(ofShard: shard)
    }
    call.reply.integer(count)
    return .none
}
