//  SCAN, KEYS, RANDOMKEY, RM, DBSIZE: walks over all keys of a database.
//
//  A walk holds one shard at a time, for as long as it takes to copy the names of some hundred keys;
//  patterns, which a client may make expensive, are matched after that. A shard that a script or
//  transaction has claimed is not looked at: the command waits until the claim ends, or, when it has
//  something to show already, ends there and lets its cursor come back. RM, DBSIZE and whatever runs
//  in a transaction hold all shards.
//
//         cursor:  zero, 6 bits | shard, 10 bits | position on the shard's scan line, 48 bits

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
    private(set) var pattern: ByteView?
    private(set) var type: ByteView?

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
            } else if call.arguments.skip("novalues") {
                throw .invalid("NOVALUES option can only be used in HSCAN")
            } else {
                throw .syntax
            }
        }
    }
}

/// Names of keys, copied while their shard was held.
private struct KeyNames: ~Copyable {
    private var bytes = ByteBuffer()
    private var ends: [Int] = []

    var count: Int { ends.count }
    var byteCount: Int { bytes.count }

    mutating func append(_ key: ByteView) {
        bytes.append(key)
        ends.append(bytes.count)
    }

    /// Calls `body` for the names that match; `*` alone matches every name, the empty one too.
    func forEach(matching pattern: ByteView?, _ body: (ByteView) -> Void) {
        let matchesAll = pattern.map { $0.count == 1 && $0[0] == UInt8(ascii: "*") } ?? true
        var begin = 0
        for end in ends {
            let name = bytes.view.slice(begin, end)
            if matchesAll || pattern.map({ name.matches($0) }) ?? true { body(name) }
            begin = end
        }
    }

    mutating func removeAll() {
        bytes.removeAll()
        ends.removeAll(keepingCapacity: true)
    }
}

/// Where a walk over the keys of a database stands.
private struct Walk {
    private var shard: Int
    private var position: UInt64
    private let shardCount: Int
    /// Keys met so far that are alive, of whatever type and name.
    private(set) var met = 0
    /// Groups of the tables looked at so far.
    private(set) var groups = 0

    /// Groups under one hold of a lock: below a tenth of a millisecond.
    private static let groupsPerHold = 64
    /// Bytes of names copied under one hold; a single group may exceed them.
    private static let nameBytesPerHold = 64 * 1024

    /// A walk from a cursor on. Any cursor is legal: one beyond the last shard is at the end.
    init(from cursor: UInt64, _ call: borrowing Call) {
        shard = Int(truncatingIfNeeded: cursor >> Table.positionBits)
        position = cursor & (1 << Table.positionBits - 1)
        shardCount = call.keyspace.shardCount
    }

    var isAtEnd: Bool { shard >= shardCount }

    /// The cursor that goes on from here; 0 at the end.
    var cursor: UInt64 { isAtEnd ? 0 : UInt64(shard) << Table.positionBits | position }

    /// Copies the names of about `wanted` keys of a type, or of all types, that come next.
    ///
    /// - Returns: false, and nothing was done, when the shard is claimed.
    mutating func step(
        _ call: borrowing Call, wanted: Int, type: ByteView?, into names: inout KeyNames
    ) -> Bool {
        var walk = self
        let isDone: Void? = call.holding(shard) {
            // A group has 15 slots, mostly taken.
            var left = min(Self.groupsPerHold, max(1, wanted / Table.slotsPerGroup))
            while left > 0 && names.byteCount < Self.nameBytesPerHold {
                let next = call.keyspace.scan(shard: walk.shard, from: walk.position) { entry in
                    walk.met += 1
                    if type.map({ $0.equalsIgnoringCase(entry.kind.name) }) ?? true {
                        names.append(entry.key)
                    }
                }
                walk.groups += 1
                guard let next else {
                    walk.shard += 1
                    walk.position = 0
                    return
                }
                walk.position = next
                left -= 1
            }
        }
        guard isDone != nil else { return false }
        self = walk
        return true
    }
}

extension Call {
    /// Runs `body` with a shard held, unless the command or its transaction holds them all; nil, and
    /// nothing was run, while the shard is claimed.
    fileprivate borrowing func holding<R>(_ shard: Int, _ body: () -> R) -> R? {
        if isNested || command.traits.contains(.allShards) { return body() }
        let lock = keyspace.lock(ofShard: shard)
        lock.lock()
        defer { lock.unlock() }
        return keyspace.isClaimed(shard: shard) ? nil : body()
    }

    /// Calls `body` for the bytes of each living key of the database until it returns false; no shard
    /// is held for longer than a step of the walk, and none while `body` runs.
    ///
    /// - Returns: false when the command must come again, since a shard is claimed; the caller has
    ///   written nothing and returns `.none`.
    package mutating func walkKeys(_ body: (ByteView) -> Bool) -> Bool {
        var walk = Walk(from: 0, self)
        var names = KeyNames()
        var goesOn = true
        while goesOn && !walk.isAtEnd {
            guard walk.step(self, wanted: .max, type: nil, into: &names) else {
                parkAtClaim()
                return false
            }
            names.forEach(matching: nil) { name in
                if goesOn { goesOn = body(name) }
            }
            names.removeAll()
        }
        return true
    }

    /// Lets the command come again later: a shard is claimed, and nothing was written yet.
    fileprivate mutating func waitForClaim() throws(CommandError) -> Effect {
        if let busy = unsafe state.scripts.running.busyError { throw .coded(busy) }
        parkAtClaim()
        return .none
    }

    private mutating func parkAtClaim() {
        unsafe session.pointee.gate.insert(.waitsInLine)
        let isClaimed = unsafe state.claimLine.takePlace(&session.pointee.place)
        followUp = isClaimed ? .park : .again
    }
}

private func scan(_ call: inout Call) throws(CommandError) -> Effect {
    let options = try ScanOptions(reading: &call)
    var walk = Walk(from: options.cursor, call)
    var names = KeyNames()
    var found = ReplyWriter()
    var count = 0
    // Where there is little to meet, the walk ends after ten groups for each key that is wanted.
    while !walk.isAtEnd && walk.met < options.count && walk.groups < options.count * 10 {
        let wanted = options.count - walk.met
        guard walk.step(call, wanted: wanted, type: options.type, into: &names) else {
            if walk.groups == 0 { return try call.waitForClaim() }
            break
        }
        names.forEach(matching: options.pattern) { name in
            found.bulk(name)
            count += 1
        }
        names.removeAll()
    }
    call.reply.array(2)
    call.reply.bulk(unsignedDecimal: walk.cursor)
    call.reply.array(count)
    call.reply.buffer.append(found.buffer.view)
    return .none
}

private func keys(_ call: inout Call) throws(CommandError) -> Effect {
    let pattern = try call.arguments.next()
    var walk = Walk(from: 0, call)
    var names = KeyNames()
    var found = ReplyWriter()
    var count = 0
    while !walk.isAtEnd {
        guard walk.step(call, wanted: .max, type: nil, into: &names) else {
            return try call.waitForClaim()
        }
        names.forEach(matching: pattern) { name in
            found.bulk(name)
            count += 1
        }
        names.removeAll()
    }
    call.reply.array(count)
    call.reply.buffer.append(found.buffer.view)
    return .none
}

private func randomKey(_ call: inout Call) throws(CommandError) -> Effect {
    var random = Random.seededFromSystem()
    var found = ReplyWriter()
    found.isRESP3 = call.reply.isRESP3
    for _ in 0..<100 {
        var counts: [Int] = []
        for shard in 0..<call.keyspace.shardCount {
            guard let count = call.holding(shard, { call.keyspace.count(ofShard: shard) }) else {
                return try call.waitForClaim()
            }
            counts.append(count)
        }
        let total = counts.reduce(0, +)
        if total == 0 { break }
        var chosen = random.index(below: total)
        var shard = 0
        while chosen >= counts[shard] {
            chosen -= counts[shard]
            shard += 1
        }
        let isDone: Void? = call.holding(shard) {
            // One past its deadline does not count: the dice are thrown again.
            if let entry = call.keyspace.randomEntry(ofShard: shard, { random.next() }) {
                found.bulk(entry.key)
            }
        }
        if isDone == nil { return try call.waitForClaim() }
        if !found.buffer.isEmpty { break }
    }
    if found.buffer.isEmpty {
        // Nothing is there, or nearly all of it is past its deadline.
        var walk = Walk(from: 0, call)
        var names = KeyNames()
        while !walk.isAtEnd && names.count == 0 {
            guard walk.step(call, wanted: .max, type: nil, into: &names) else {
                return try call.waitForClaim()
            }
        }
        if names.count == 0 {
            found.null()
        } else {
            var left = random.index(below: names.count)
            names.forEach(matching: nil) { name in
                if left == 0 { found.bulk(name) }
                left -= 1
            }
        }
    }
    call.reply.buffer.append(found.buffer.view)
    return .none
}

/// Nanoseconds after which RM lets go of the shards, all of which it holds, whatever its COUNT.
private let removalNanosecondsMax: Int64 = 1_000_000

private func removeScanned(_ call: inout Call) throws(CommandError) -> Effect {
    let options = try ScanOptions(reading: &call)
    let clock = unsafe call.state.clock
    let end = clock.monotonicNanoseconds() + removalNanosecondsMax
    var walk = Walk(from: options.cursor, call)
    var names = KeyNames()
    var removed = 0
    while !walk.isAtEnd && walk.met < options.count && walk.groups < options.count * 10 {
        let wanted = options.count - walk.met
        _ = walk.step(call, wanted: wanted, type: options.type, into: &names)
        names.forEach(matching: options.pattern) { name in
            let key = call.keyspace.key(name)
            if call.keyspace.remove(key) {
                removed += 1
                call.keyspace.record(.del, key)
                if call.keyspace.isLogging { call.keyspace.collect(name) }
            }
        }
        names.removeAll()
        if clock.monotonicNanoseconds() >= end { break }
    }
    call.reply.array(2)
    call.reply.bulk(unsignedDecimal: walk.cursor)
    call.reply.integer(removed)
    call.keyspace.logCollected("DEL")
    return .recorded
}

/// Keys that DBSIZE reclaims at a time: a quarter of a millisecond in which all shards are held.
private let reclaimStepsMax = 500

/// Keys past their deadline do not count, so they are reclaimed first. When that is more than fits
/// one hold of all shards, the command comes again and goes on there; within a transaction, or while
/// writes are paused, it cannot.
private func databaseSize(_ call: inout Call) throws(CommandError) -> Effect {
    let mayWait =
        !call.isNested
        && (unsafe call.state.conditions.isDisjoint(
            with: [.pausedAll, .pausedWrites, .refusingWrites]))
    var steps = mayWait ? reclaimStepsMax : Int.max
    var count = 0
    for shard in 0..<call.keyspace.shardCount {
        call.keyspace.reclaimDue(shard: shard, steps: &steps)
        count += call.keyspace.count(ofShard: shard)
    }
    if steps <= 0 {
        call.followUp = .again
        return .none
    }
    call.reply.integer(count)
    return .none
}
