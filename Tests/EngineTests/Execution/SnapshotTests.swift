//  A snapshot is the state at one point in time: random commands of all types run between the steps
//  of its walk, and what it has in the end is compared with a read-out made when it began.
//
//  `MARTLET_SNAPSHOT_SEEDS` says how many seeds are tried, 60 if it is not set; `MARTLET_TEST_SEED`
//  which is the first.

import Glibc
import MartletBase
import Testing

@testable import MartletEngine

@Suite struct SnapshotTests {
    private static var seedCount: UInt64 {
        if let given = unsafe getenv("MARTLET_SNAPSHOT_SEEDS"),
            let count = unsafe UInt64(String(cString: given))
        {
            return count
        }
        return 60
    }

    @Test func `A snapshot has each key as it was when it began, whatever is done meanwhile`() {
        let first = testSeed()
        for seed in first..<(first + Self.seedCount) {
            var run = RandomCommands(seed: seed)
            if let problem = run.play() {
                Issue.record("seed \(seed): \(problem)")
                return
            }
        }
    }

    @Test func `The epoch of entries may wrap around, with walks that end early in between`() {
        let server = CommandHarness(shards: 2)
        let client = server.client()
        for key in 0..<40 { client.run("SET", "k\(key)", "0") }
        for turn in 0..<1_400 {
            let expected = readOut(server.state)
            guard let snapshot = Snapshot.begin(server.state, encoder: TextEncoder()) else {
                Issue.record("turn \(turn): another one is under way")
                return
            }
            client.run("INCR", "k\(turn % 40)")
            // Up to 299 in a row end early: more than eight bits tell apart.
            let isCancelled = turn % 300 != 0 && turn < 1_200
            if isCancelled {
                let (runs, _) = snapshot.step(groups: 1)
                _ = runs
                snapshot.cancel()
            }
            var found = Readings()
            finish(snapshot, into: &found)
            if !isCancelled { #expect(found.values == expected) }
            #expect(found.doubles.isEmpty)
        }
    }

    @Test func `Only one snapshot is under way at a time`() {
        let server = CommandHarness(shards: 2)
        server.client().run("SET", "k", "v")
        var calls = 0
        let snapshot = Snapshot.begin(server.state, encoder: TextEncoder()) { calls += 1 }
        #expect(snapshot != nil)
        #expect(Snapshot.begin(server.state, encoder: TextEncoder()) { calls += 1 } == nil)
        #expect(calls == 1)
        #expect(snapshot?.keyCount == 1)
        let isWhole = snapshot?.walk { database, records in database == 0 && records.count > 0 }
        #expect(isWhole == true)
        #expect(snapshot?.savedCount == 1)
        #expect(snapshot?.heldBytes == 0)
        let next = Snapshot.begin(server.state, encoder: TextEncoder())
        #expect(next != nil)
        let refused = next?.walk { _, _ in false }
        #expect(refused == false)
    }
}

/// What a snapshot brought.
private struct Readings {
    /// Description by database and key.
    var values: [String: String] = [:]
    /// Keys that came twice.
    var doubles: [String] = []

    mutating func add(_ runs: [SnapshotRun]) {
        for run in runs { add(run.database, run.bytes.view) }
    }

    mutating func add(_ database: Int, _ records: ByteView) {
        for line in records.string.split(separator: "\n") {
            let parts = line.split(separator: "\t", maxSplits: 1)
            let name = "\(database) \(parts[0])"
            if values.updateValue(String(parts[1]), forKey: name) != nil { doubles.append(name) }
        }
    }
}

/// Steps a snapshot to its end.
private func finish(_ snapshot: Snapshot, into found: inout Readings) {
    while true {
        let (runs, isOver) = snapshot.step(groups: .max)
        found.add(runs)
        if isOver { return }
    }
}

/// All keys as they are.
private func readOut(_ state: EngineState) -> [String: String] {
    var found = Readings()
    let keyspace = unsafe state.keyspace
    let encoder = TextEncoder()
    for database in unsafe 0..<keyspace.pointee.databaseCount {
        for shard in unsafe 0..<keyspace.pointee.shardCount {
            guard let partition = unsafe keyspace.pointee.shard(shard).pointee.partition(database)
            else { continue }
            var buffer = ByteBuffer()
            unsafe partition.pointee.table.forEachEntry { encoder.encode($0, into: &buffer) }
            found.add(database, buffer.view)
        }
    }
    return found.values
}

/// A line per key: its name, a tab, its deadline and value.
private struct TextEncoder: SnapshotEncoder {
    func encode(_ entry: Entry, into buffer: inout ByteBuffer) {
        buffer.append(
            "\(entry.key.string)\t\(entry.kind) \(entry.expiryMilliseconds ?? -1) "
                + value(entry) + "\n")
    }

    private func value(_ entry: Entry) -> String {
        switch entry.kind {
        case .string:
            var scratch: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
            return unsafe withUnsafeMutableBytes(of: &scratch) {
                quoted(unsafe entry.stringBytes(scratch: $0))
            }
        case .list: return elements(entry).joined(separator: ",")
        case .set: return members(entry).sorted().joined(separator: ",")
        case .sortedSet: return scores(entry).sorted().joined(separator: ",")
        case .hash: return fields(entry).sorted().joined(separator: ",")
        case .stream: return stream(entry)
        }
    }

    private func quoted(_ bytes: ByteView) -> String {
        if bytes.count > 200 {
            var digest = DataDigest()
            digest.mix(bytes)
            return "\(bytes.count):\(digest)"
        }
        return bytes.bytes.map { String($0, radix: 36) }.joined(separator: ".")
    }

    private func text(_ element: ListElement) -> String {
        switch element {
        case .bytes(let bytes): quoted(bytes)
        case .integer(let integer): "i\(integer)"
        }
    }

    private func elements(_ entry: Entry) -> [String] {
        var all: [String] = []
        if entry.encoding == .packed {
            let list = unsafe PackedList(entry.valueAddress, bytes: entry.valueBytes)
            _ = list.records.walk(from: 0, count: list.count, reversed: false) {
                all.append(text($0))
                return true
            }
        } else {
            unsafe entry.structure.list.pointee.walk(from: 0, reversed: false) {
                all.append(text($0))
                return true
            }
        }
        return all
    }

    private func members(_ entry: Entry) -> [String] {
        var all: [String] = []
        if entry.encoding == .structure {
            unsafe entry.structure.set.pointee.forEachMember { all.append(quoted($0)) }
        } else if entry.header.holdsIntegers {
            unsafe IntegerSet(entry.valueAddress, bytes: entry.valueBytes).forEachInteger {
                $0.withDecimal { all.append(quoted($0)) }
            }
        } else {
            unsafe PackedSet(entry.valueAddress, bytes: entry.valueBytes).forEachMember {
                all.append(quoted($0))
            }
        }
        return all
    }

    private func scores(_ entry: Entry) -> [String] {
        var all: [String] = []
        let add: (ByteView, Double) -> Void = { all.append("\(quoted($0))=\($1)") }
        if entry.encoding == .packed {
            let set = unsafe PackedSortedSet(entry.valueAddress, bytes: entry.valueBytes)
            set.forEach(in: 0..<set.count, reversed: false, add)
        } else {
            let set = unsafe entry.structure.sortedSet
            unsafe set.pointee.forEach(in: 0..<set.pointee.count, reversed: false, add)
        }
        return all
    }

    private func fields(_ entry: Entry) -> [String] {
        var all: [String] = []
        if entry.encoding == .packed {
            let hash = unsafe PackedHash(entry.valueAddress, bytes: entry.valueBytes)
            let isTimed = entry.header.hasFieldExpiry
            var index = 0
            hash.forEachField { field, value in
                let deadline = isTimed ? hash.deadline(index) : nil
                all.append("\(quoted(field))=\(quoted(value))@\(deadline ?? -1)")
                index += 1
            }
        } else {
            let hash = unsafe entry.structure.hash
            unsafe hash.pointee.forEachField { field, value in
                let deadline = unsafe hash.pointee.deadline(of: field)
                all.append("\(quoted(field))=\(quoted(value))@\(deadline ?? -1)")
            }
        }
        return all
    }

    private func stream(_ entry: Entry) -> String {
        let stream = unsafe entry.structure.stream
        var all = ""
        unsafe stream.pointee.walk(from: .zero, through: .max) { item in
            all += "\(item.id.milliseconds)-\(item.id.sequence)("
            item.forEachField { all += "\(text($0))=\(text($1)) " }
            all += ")"
            return true
        }
        unsafe all += """
             last \(stream.pointee.lastID) deleted \(stream.pointee.maxDeletedID) \
            added \(stream.pointee.entriesAdded) producers \(stream.pointee.producers.count) \
            \(stream.pointee.producers.addedCount) \(stream.pointee.producers.duplicateCount)
            """
        for index in unsafe 0..<stream.pointee.groups.count {
            let group = unsafe stream.pointee.groups.group(at: index)
            unsafe all += """
                 group \(quoted(group.pointee.name)) \(group.pointee.lastDeliveredID) \
                \(group.pointee.entriesRead ?? -1)
                """
            for number in unsafe 0..<group.pointee.consumerCount {
                let consumer = unsafe group.pointee.consumer(at: number)
                unsafe all += """
                     consumer \(quoted(consumer.pointee.name)) \
                    \(consumer.pointee.seenMilliseconds) \
                    \(consumer.pointee.activeMilliseconds ?? -1)
                    """
                unsafe consumer.pointee.pending.forEach(from: .zero) {
                    all += " \($0.id)"
                    return true
                }
            }
            unsafe group.pointee.pending.forEach(from: .zero) { pending in
                let owner = unsafe group.pointee.consumer(of: pending)
                let name = unsafe owner.map { unsafe quoted($0.pointee.name) } ?? "nobody"
                all += """
                     pending \(pending.id) \(name) \(pending.deliveredMilliseconds) \
                    \(pending.deliveryCount)
                    """
                return true
            }
        }
        return all
    }
}

/// One seed's commands and snapshots.
private struct RandomCommands {
    private let server: CommandHarness
    private let client: HarnessClient
    private let waiters: [HarnessClient]
    private var random: Random
    /// More keys than these of a type, and tables split.
    private let keyMax: Int

    init(seed: UInt64) {
        random = Random(seed: seed)
        let isWide = random.index(below: 8) == 0
        keyMax = isWide ? 1_500 : 6
        server = CommandHarness(shards: isWide ? 1 : 2, databases: 4)
        client = server.client()
        waiters = [server.client(), server.client()]
        // Large forms come early.
        let limits = PackedLimits(entriesMax: 4, elementBytesMax: 24)
        server.state.settings.hashes.set(limits)
        server.state.settings.sets.set(limits)
        server.state.settings.sortedSets.set(limits)
        server.state.settings.listSize.store(4, ordering: .relaxed)
        server.state.settings.integerSetMax.store(6, ordering: .relaxed)
        server.state.settings.streamNodeEntriesMax.store(3, ordering: .relaxed)
    }

    /// Plays some snapshots; answers what is wrong.
    mutating func play() -> String? {
        for _ in 0..<(keyMax > 10 ? 3_000 : 150) { act() }
        for turn in 0..<4 {
            let expected = readOut(server.state)
            guard let snapshot = Snapshot.begin(server.state, encoder: TextEncoder()) else {
                return "another snapshot is under way"
            }
            var found = Readings()
            let isCancelled = random.index(below: 5) == 0
            let pace = [0, 1, 3, 10][random.index(below: 4)]
            var steps = 0
            while true {
                for _ in 0..<pace { act() }
                let (runs, isOver) = snapshot.step(groups: 1 + random.index(below: 3))
                found.add(runs)
                if isOver { break }
                steps += 1
                if isCancelled && steps == 3 { snapshot.cancel() }
            }
            if isCancelled { continue }
            if !found.doubles.isEmpty { return "turn \(turn): twice: \(found.doubles)" }
            for (name, value) in expected where found.values[name] != value {
                return "turn \(turn): \(name) was \(value), is \(found.values[name] ?? "nothing")"
            }
            for name in found.values.keys where expected[name] == nil {
                return "turn \(turn): \(name) was not there"
            }
            if snapshot.savedCount != snapshot.keyCount { return "turn \(turn): keys are counted" }
        }
        server.checkPartitions()
        return nil
    }

    /// One command, transaction or tick.
    private mutating func act() {
        switch random.index(below: 100) {
        case 0..<3:
            server.time.advance(milliseconds: Int64(random.index(below: 400)))
            server.reclaimExpired()
        case 3..<6:
            client.run("MULTI")
            for _ in 0..<(1 + random.index(below: 4)) { client.run(command()) }
            client.run("EXEC")
        case 6..<9:
            let waiter = waiters[random.index(below: 2)]
            if waiter.isParked {
                waiter.resume()
            } else {
                waiter.run(blocking())
            }
            _ = waiter.replies()
        default: client.run(command())
        }
    }

    private mutating func number(_ bound: Int) -> String { String(random.index(below: bound)) }

    private mutating func key(_ type: String) -> String {
        let types = ["s", "l", "h", "z", "e", "x"]
        let type = random.index(below: 12) == 0 ? types[random.index(below: 6)] : type
        return type + number(keyMax)
    }

    private mutating func anyKey() -> String {
        key(["s", "l", "h", "z", "e", "x"][random.index(below: 6)])
    }

    private mutating func value() -> String {
        switch random.index(below: 12) {
        case 0: String(repeating: "v", count: 30 + random.index(below: 60))
        case 1: String(repeating: "w", count: 900 + random.index(below: 800))
        case 2: "text" + number(50)
        default: number(2_000)
        }
    }

    private mutating func member() -> String {
        random.index(below: 4) == 0 ? "member-" + number(40) : number(40)
    }

    private mutating func blocking() -> [String] {
        switch random.index(below: 6) {
        case 0: ["BLPOP", key("l"), key("l"), "0"]
        case 1: ["BLMOVE", key("l"), key("l"), "LEFT", "RIGHT", "0"]
        case 2: ["BZPOPMIN", key("z"), "0"]
        case 3: ["BLMPOP", "0", "2", key("l"), key("l"), "RIGHT", "COUNT", "2"]
        case 4:
            ["XREADGROUP", "GROUP", "g" + number(2), "w", "BLOCK", "0", "STREAMS", key("x"), ">"]
        default: ["XREAD", "BLOCK", "0", "STREAMS", key("x"), "$"]
        }
    }

    private mutating func command() -> [String] {
        switch random.index(below: 20) {
        case 0..<4: strings()
        case 4..<6: lists()
        case 6..<9: hashes()
        case 9..<11: sets()
        case 11..<14: sortedSets()
        case 14..<17: streams()
        default: keys()
        }
    }

    private mutating func strings() -> [String] {
        let key = key("s")
        return switch random.index(below: 22) {
        case 0..<4: ["SET", key, value()]
        case 4: ["SET", key, value(), "PX", number(600)]
        case 5: ["SET", key, value(), "KEEPTTL", "GET"]
        case 6: ["APPEND", key, value()]
        case 7: ["SETRANGE", key, number(1_300), "xyz"]
        case 8: ["SETBIT", key, number(9_000), number(2)]
        case 9: ["INCRBY", key, number(50)]
        case 10: ["INCRBYFLOAT", key, "1.5"]
        case 11: ["GETSET", key, value()]
        case 12: ["GETDEL", key]
        case 13: ["GETEX", key, "PX", number(900)]
        case 14: ["MSET", key, value(), self.key("s"), value()]
        case 15: ["BITOP", "XOR", key, self.key("s"), self.key("s")]
        case 16: ["BITFIELD", key, "INCRBY", "u8", number(200), "3", "SET", "i16", "#2", "7"]
        case 17: ["PFADD", key, member(), member()]
        case 18: ["PFCOUNT", key]
        case 19: ["PFMERGE", key, self.key("s")]
        case 20: ["GET", key]
        default: ["SETNX", key, value()]
        }
    }

    private mutating func lists() -> [String] {
        let key = key("l")
        return switch random.index(below: 14) {
        case 0..<2: ["RPUSH", key, value(), value(), value()]
        case 2..<4: ["LPUSH", key, value(), value()]
        case 4: ["LPOP", key]
        case 5: ["RPOP", key, number(4)]
        case 6: ["LSET", key, number(5), value()]
        case 7: ["LINSERT", key, "BEFORE", number(2_000), value()]
        case 8: ["LREM", key, "0", number(2_000)]
        case 9: ["LTRIM", key, number(3), "-" + number(4)]
        case 10: ["LMOVE", key, self.key("l"), "LEFT", "RIGHT"]
        case 11: ["RPOPLPUSH", key, key]
        case 12: ["LMPOP", "2", key, self.key("l"), "LEFT", "COUNT", "2"]
        default: ["LRANGE", key, "0", "-1"]
        }
    }

    private mutating func hashes() -> [String] {
        let key = key("h")
        return switch random.index(below: 18) {
        case 0..<4: ["HSET", key, member(), value(), member(), value()]
        case 4: ["HSETNX", key, member(), value()]
        case 5..<7: ["HDEL", key, member(), member()]
        case 7: ["HINCRBY", key, member(), "3"]
        case 8: ["HINCRBYFLOAT", key, member(), "0.5"]
        case 9..<11: ["HPEXPIRE", key, number(700), "FIELDS", "2", member(), member()]
        case 11: ["HPERSIST", key, "FIELDS", "1", member()]
        case 12: ["HSETEX", key, "PX", "300", "FIELDS", "1", member(), value()]
        case 13: ["HGETEX", key, "PX", "200", "FIELDS", "1", member()]
        case 14: ["HGETDEL", key, "FIELDS", "1", member()]
        case 15: ["HGETALL", key]
        case 16: ["HSETEX", key, "KEEPTTL", "FIELDS", "1", member(), value()]
        default: ["HRANDFIELD", key, "2"]
        }
    }

    private mutating func sets() -> [String] {
        let key = key("e")
        return switch random.index(below: 12) {
        case 0..<3: ["SADD", key, member(), member(), member()]
        case 3..<5: ["SREM", key, member(), member()]
        case 5: ["SPOP", key]
        case 6: ["SPOP", key, number(5)]
        case 7: ["SMOVE", key, self.key("e"), member()]
        case 8: ["SUNIONSTORE", key, self.key("e"), self.key("e")]
        case 9: ["SINTERSTORE", key, self.key("e"), self.key("e")]
        case 10: ["SDIFFSTORE", key, self.key("e"), self.key("e")]
        default: ["SMEMBERS", key]
        }
    }

    private mutating func sortedSets() -> [String] {
        let key = key("z")
        return switch random.index(below: 20) {
        case 0..<4: ["ZADD", key, number(30), member(), number(30), member()]
        case 4: ["ZADD", key, "GT", "CH", number(30), member()]
        case 5..<7: ["ZINCRBY", key, number(9), member()]
        case 7..<9: ["ZREM", key, member(), member()]
        case 9: ["ZREMRANGEBYSCORE", key, number(10), number(20)]
        case 10: ["ZREMRANGEBYRANK", key, "0", number(3)]
        case 11: ["ZPOPMIN", key, number(3)]
        case 12: ["ZPOPMAX", key]
        case 13: ["ZUNIONSTORE", key, "2", self.key("z"), self.key("e")]
        case 14: ["ZINTERSTORE", key, "2", self.key("z"), self.key("z")]
        case 15: ["ZRANGESTORE", key, self.key("z"), "0", number(9)]
        case 16: ["GEOADD", key, "13.36", "38.11", member()]
        case 17: ["ZMPOP", "1", key, "MAX", "COUNT", "2"]
        case 18: ["ZDIFFSTORE", key, "2", self.key("z"), self.key("z")]
        default: ["ZRANGE", key, "0", "-1"]
        }
    }

    private mutating func streams() -> [String] {
        let key = key("x")
        let group = "g" + number(2)
        let consumer = "c" + number(3)
        let id = String(CommandHarness.startMilliseconds + Int64(random.index(below: 2_000))) + "-0"
        return switch random.index(below: 24) {
        case 0..<5: ["XADD", key, "*", "f", value(), member(), value()]
        case 5: ["XADD", key, "MAXLEN", number(9), "*", "f", value()]
        case 6: ["XGROUP", "CREATE", key, group, "0", "MKSTREAM"]
        case 7: ["XGROUP", "CREATE", key, group, "$"]
        case 8: ["XGROUP", "DESTROY", key, group]
        case 9: ["XGROUP", "CREATECONSUMER", key, group, consumer]
        case 10: ["XGROUP", "DELCONSUMER", key, group, consumer]
        case 11: ["XGROUP", "SETID", key, group, random.index(below: 2) == 0 ? "0" : "$"]
        case 12..<15:
            ["XREADGROUP", "GROUP", group, consumer, "COUNT", number(4), "STREAMS", key, ">"]
        case 15: ["XREADGROUP", "GROUP", group, consumer, "NOACK", "STREAMS", key, "0"]
        case 16: ["XACK", key, group, id]
        case 17: ["XAUTOCLAIM", key, group, consumer, "0", "0", "COUNT", "3"]
        case 18: ["XCLAIM", key, group, consumer, "0", id]
        case 19: ["XDEL", key, id]
        case 20: ["XTRIM", key, "MAXLEN", number(8)]
        case 21: ["XADD", key, "IDMP", "p", number(9), "*", "f", value()]
        case 22: ["XSETID", key, "9999999999999-1"]
        default: ["XRANGE", key, "-", "+"]
        }
    }

    private mutating func keys() -> [String] {
        let key = anyKey()
        return switch random.index(below: 40) {
        case 0..<5: ["DEL", key, anyKey()]
        case 5..<7: ["UNLINK", key]
        case 7..<10: ["RENAME", key, anyKey()]
        case 10: ["RENAMENX", key, anyKey()]
        case 11..<14: ["COPY", key, anyKey(), "REPLACE"]
        case 14..<16: ["COPY", key, anyKey(), "DB", number(4), "REPLACE"]
        case 16..<18: ["MOVE", key, number(4)]
        case 18..<22: ["PEXPIRE", key, number(900)]
        case 22: ["PERSIST", key]
        case 23: ["PEXPIRE", key, "-1"]
        case 24..<31: ["SELECT", number(4)]
        case 31..<33: ["SWAPDB", number(4), number(4)]
        case 33: random.index(below: 3) == 0 ? ["FLUSHDB"] : ["EXISTS", key]
        case 34: random.index(below: 6) == 0 ? ["FLUSHALL"] : ["TYPE", key]
        case 35: ["SORT", key, "ALPHA", "STORE", anyKey()]
        case 36: ["TOUCH", key]
        case 37: ["OBJECT", "ENCODING", key]
        case 38: ["SCAN", "0", "COUNT", "100"]
        default: ["RANDOMKEY"]
        }
    }
}
