//  A snapshot is the state at one point in time: random commands of all types run between the steps
//  of its walk, and what it has in the end is compared with a read-out made when it began.
//
//  `MARTLET_SNAPSHOT_SEEDS` says how many seeds are tried, 60 if it is not set; `MARTLET_TEST_SEED`
//  which is the first.

import Glibc
import MartletBase
import Synchronization
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
            var run = RandomPlay(seed: seed)
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

    @Test func `Snapshots are of one point in time while loops write on other threads`() {
        let commands = CommandTable(groups: EngineCommands.groups)
        let state = EngineState(
            loops: 2, shardCount: 8, databases: 4, commandCount: commands.all.count,
            clock: .system, hashKey: HashKey(1, 2))
        setSmallLimits(state)
        let threads = (0..<2).map { CommandThread(state, commands, loop: $0) }
        for thread in threads { thread.start() }
        for turn in 0..<20 {
            usleep(20_000)
            var expected: [String: String] = [:]
            let snapshot = Snapshot.begin(state, TextEncoder(), pieceBytesMin: turn % 2 * 2_000) {
                expected = readOut(state)
            }
            var found = Readings()
            let isWhole = snapshot?.walk { database, records in
                found.add(database, records)
                return turn % 7 != 3 || found.values.count < 20
            }
            if isWhole == true { #expect(found.problem(expected) == nil) }
        }
        for thread in threads { thread.stop() }
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
    /// What is wrong with it, given what there was.
    func problem(_ expected: [String: String]) -> String? {
        if !doubles.isEmpty { return "twice: \(doubles)" }
        for (name, value) in expected where values[name] != value {
            return "\(name) was \(value), is \(values[name] ?? "nothing")"
        }
        for name in values.keys where expected[name] == nil { return "\(name) was not there" }
        return nil
    }

    /// A record that goes on.
    private var rest = ""
    private var database = 0

    mutating func add(_ runs: [SnapshotRun]) {
        for run in runs { add(run.database, run.bytes.view) }
    }

    mutating func add(_ database: Int, _ records: ByteView) {
        precondition(rest.isEmpty || database == self.database, "a record is of one database")
        self.database = database
        var lines = (rest + records.string).split(
            separator: "\n", omittingEmptySubsequences: false)
        rest = String(lines.removeLast())
        for line in lines {
            // Key, kind and deadline, elements, what stands behind them.
            let parts = line.split(separator: "\t", omittingEmptySubsequences: false)
            let name = "\(database) \(parts[0])"
            var elements = parts.count > 2 ? parts[2].split(separator: ",") : []
            if !parts[1].hasPrefix("list") && !parts[1].hasPrefix("stream") { elements.sort() }
            let value = ([parts[1]] + elements + parts.dropFirst(3)).joined(separator: " ")
            if values.updateValue(value, forKey: name) != nil { doubles.append(name) }
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

/// A line per key: name, kind and deadline, elements, and what else there is, with tabs between.
private struct TextEncoder: SnapshotEncoder {
    func encode(_ entry: Entry, into buffer: inout ByteBuffer) {
        let pieces = beginRecord(entry, into: &buffer)
        encodeElements(entry, pieces, &buffer)
        pieces.end(&buffer)
    }

    func begin(_ entry: Entry, into buffer: inout ByteBuffer) -> (any SnapshotPieces)? {
        beginRecord(entry, into: &buffer)
    }

    private func beginRecord(
        _ entry: Entry, into buffer: inout ByteBuffer
    ) -> any SnapshotPieces {
        buffer.append(
            "\(entry.key.string)\t\(entry.kind) \(entry.expiryMilliseconds ?? -1)\t")
        return TextPieces(tail: entry.kind == .stream ? streamTail(entry) : "")
    }

    private func encodeElements(
        _ entry: Entry, _ pieces: any SnapshotPieces, _ buffer: inout ByteBuffer
    ) {
        var text = ByteBuffer()
        let isLarge = entry.encoding == .structure
        switch entry.kind {
        case .string:
            var scratch: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
            unsafe withUnsafeMutableBytes(of: &scratch) {
                text.append(TextPieces.quoted(unsafe entry.stringBytes(scratch: $0)))
            }
        case .list:
            let visit: (ListElement) -> Bool = {
                pieces.append(element: $0, to: &text)
                return true
            }
            if isLarge {
                unsafe entry.structure.list.pointee.walk(from: 0, reversed: false, visit)
            } else {
                let list = unsafe PackedList(entry.valueAddress, bytes: entry.valueBytes)
                _ = list.records.walk(from: 0, count: list.count, reversed: false, visit)
            }
        case .set:
            let visit: (ByteView) -> Void = { pieces.append(member: $0, to: &text) }
            if isLarge {
                unsafe entry.structure.set.pointee.forEachMember(visit)
            } else if entry.header.holdsIntegers {
                unsafe IntegerSet(entry.valueAddress, bytes: entry.valueBytes).forEachInteger {
                    $0.withDecimal(visit)
                }
            } else {
                unsafe PackedSet(entry.valueAddress, bytes: entry.valueBytes)
                    .forEachMember(visit)
            }
        case .sortedSet:
            let visit: (ByteView, Double) -> Void = {
                pieces.append(member: $0, score: $1, to: &text)
            }
            if isLarge {
                let set = unsafe entry.structure.sortedSet
                unsafe set.pointee.forEach(in: 0..<set.pointee.count, reversed: false, visit)
            } else {
                let set = unsafe PackedSortedSet(entry.valueAddress, bytes: entry.valueBytes)
                set.forEach(in: 0..<set.count, reversed: false, visit)
            }
        case .hash:
            if isLarge {
                let hash = unsafe entry.structure.hash
                let deadlines = unsafe hash.pointee.deadlineIndex
                unsafe hash.pointee.withStore { store in
                    store.forEachHandle {
                        let field = store.member($0)
                        pieces.append(
                            field: field, value: store.value($0),
                            deadline: deadlines?.deadline(of: field), to: &text)
                    }
                }
            } else {
                let hash = unsafe PackedHash(entry.valueAddress, bytes: entry.valueBytes)
                var index = 0
                hash.forEachField { field, value in
                    let deadline = entry.header.hasFieldExpiry ? hash.deadline(index) : nil
                    pieces.append(field: field, value: value, deadline: deadline, to: &text)
                    index += 1
                }
            }
        case .stream:
            unsafe entry.structure.stream.pointee.walk(from: .zero, through: .max) {
                text.append(TextPieces.text($0))
                return true
            }
        }
        buffer.append(text.view)
    }

    private func streamTail(_ entry: Entry) -> String {
        let stream = unsafe entry.structure.stream
        var all = unsafe """
        last \(stream.pointee.lastID) deleted \(stream.pointee.maxDeletedID) \
        added \(stream.pointee.entriesAdded) producers \(stream.pointee.producers.count) \
        \(stream.pointee.producers.addedCount) \(stream.pointee.producers.duplicateCount)
        """
        for index in unsafe 0..<stream.pointee.groups.count {
            let group = unsafe stream.pointee.groups.group(at: index)
            unsafe all += """
                 group \(group.pointee.name.string) \(group.pointee.lastDeliveredID) \
                \(group.pointee.entriesRead ?? -1)
                """
            for number in unsafe 0..<group.pointee.consumerCount {
                let consumer = unsafe group.pointee.consumer(at: number)
                unsafe all += """
                     consumer \(consumer.pointee.name.string) \
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
                let name = unsafe owner.map { unsafe $0.pointee.name.string } ?? "nobody"
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

/// The elements of one record: each with a comma behind it.
private final class TextPieces: SnapshotPieces {
    private let tail: String

    init(tail: String) { self.tail = tail }

    static func quoted(_ bytes: ByteView) -> String {
        if bytes.count > 200 {
            var digest = DataDigest()
            digest.mix(bytes)
            return "\(bytes.count):\(digest)".filter { $0 != "," }
        }
        return bytes.bytes.map { String($0, radix: 36) }.joined(separator: ".")
    }

    private static func text(_ element: ListElement) -> String {
        switch element {
        case .bytes(let bytes): quoted(bytes)
        case .integer(let integer): "i\(integer)"
        }
    }

    static func text(_ entry: StreamEntry) -> String {
        var all = "\(entry.id.milliseconds)-\(entry.id.sequence)("
        entry.forEachField { all += "\(text($0))=\(text($1)) " }
        return all + "),"
    }

    func append(element: ListElement, to buffer: inout ByteBuffer) {
        buffer.append(Self.text(element) + ",")
    }

    func append(member: ByteView, to buffer: inout ByteBuffer) {
        buffer.append(Self.quoted(member) + ",")
    }

    func append(member: ByteView, score: Double, to buffer: inout ByteBuffer) {
        buffer.append("\(Self.quoted(member))=\(score),")
    }

    func append(field: ByteView, value: ByteView, deadline: Int64?, to buffer: inout ByteBuffer) {
        buffer.append("\(Self.quoted(field))=\(Self.quoted(value))@\(deadline ?? -1),")
    }

    func append(block: StreamBlockContents, to buffer: inout ByteBuffer) {
        var all = ""
        block.forEachEntry { all += Self.text($0) }
        buffer.append(all)
    }

    func end(_ buffer: inout ByteBuffer) {
        buffer.append("\t\(tail)\n")
    }
}

/// One seed's commands and snapshots.
private struct RandomPlay {
    private let server: CommandHarness
    private let client: HarnessClient
    private let waiters: [HarnessClient]
    private var random: Random
    private var commands: RandomCommands

    init(seed: UInt64) {
        random = Random(seed: seed)
        let isWide = random.index(below: 8) == 0
        commands = RandomCommands(seed: seed, keyMax: isWide ? 1_500 : 6)
        server = CommandHarness(shards: isWide ? 1 : 2, databases: 4)
        client = server.client()
        waiters = [server.client(), server.client()]
        setSmallLimits(server.state)
    }

    /// Plays some snapshots; answers what is wrong.
    mutating func play() -> String? {
        for _ in 0..<(commands.keyMax > 10 ? 3_000 : 150) { act() }
        for turn in 0..<4 {
            let expected = readOut(server.state)
            let begun = Snapshot.begin(
                server.state, TextEncoder(), pieceBytesMin: [0, 0, 4_000][random.index(below: 3)])
            guard let snapshot = begun else { return "another snapshot is under way" }
            var found = Readings()
            let isCancelled = random.index(below: 5) == 0
            let pace = [0, 1, 3, 10][random.index(below: 4)]
            var steps = 0
            while true {
                for _ in 0..<pace { act() }
                let (runs, isOver) = snapshot.step(groups: 1 + random.index(below: 3))
                if !snapshot.isCancelled { found.add(runs) }
                if isOver { break }
                steps += 1
                if isCancelled && steps == 3 { snapshot.cancel() }
            }
            server.checkPartitions()
            if snapshot.heldBytes != 0 { return "turn \(turn): bytes are held" }
            if snapshot.isCancelled { continue }
            if let problem = found.problem(expected) { return "turn \(turn): \(problem)" }
            if snapshot.savedCount != snapshot.keyCount { return "turn \(turn): keys are counted" }
        }
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
            for _ in 0..<(1 + random.index(below: 4)) { client.run(commands.command()) }
            client.run("EXEC")
        case 6..<9:
            let waiter = waiters[random.index(below: 2)]
            if waiter.isParked {
                waiter.resume()
            } else {
                waiter.run(commands.blocking())
            }
            _ = waiter.replies()
        default: client.run(commands.command())
        }
    }
}

/// Lets large forms come early.
private func setSmallLimits(_ state: EngineState) {
    let limits = PackedLimits(entriesMax: 4, elementBytesMax: 24)
    state.settings.hashes.set(limits)
    state.settings.sets.set(limits)
    state.settings.sortedSets.set(limits)
    state.settings.listSize.store(4, ordering: .relaxed)
    state.settings.integerSetMax.store(6, ordering: .relaxed)
    state.settings.streamNodeEntriesMax.store(3, ordering: .relaxed)
}

/// One thread with a loop of its own, on which random commands run until it is told to stop.
@safe
private final class CommandThread: @unchecked Sendable {
    // Unchecked: constant but for the flag.
    private let state: EngineState
    private let commands: CommandTable
    private let loop: Int
    private let isStopped = Atomic<Bool>(false)
    private var thread = pthread_t()

    init(_ state: EngineState, _ commands: CommandTable, loop: Int) {
        self.state = state
        self.commands = commands
        self.loop = loop
    }

    func start() {
        let started = unsafe pthread_create(
            &thread, nil,
            { context in
                guard let context = unsafe context else { return nil }
                unsafe Unmanaged<CommandThread>.fromOpaque(context).takeUnretainedValue().run()
                return nil
            }, Unmanaged.passUnretained(self).toOpaque())
        precondition(started == 0, "a thread is to be had")
    }

    func stop() {
        isStopped.store(true, ordering: .relaxed)
        pthread_join(thread, nil)
    }

    private func run() {
        var executor = Executor(state: state, commands: commands, loop: loop)
        let record = ClientRecord(
            id: state.clients.newID(), loop: loop,
            addresses: ClientAddresses(
                peer: "127.0.0.1:\(50_000 + loop)", local: "127.0.0.1:6379",
                descriptor: Int32(7 + loop), isUnixSocket: false, isLoopback: true),
            createdMilliseconds: state.clock.wallMilliseconds())
        let session = UnsafeMutablePointer<Session>.allocate(capacity: 1)
        unsafe session.initialize(to: Session(record: record))
        unsafe state.begin(session)
        var source = RandomCommands(seed: testSeed() + UInt64(loop), keyMax: 40)
        while !isStopped.load(ordering: .relaxed) {
            executor.iterationBegan()
            var requests: [UInt8] = []
            for _ in 0..<8 {
                let command = source.command()
                // The thread sanitizer takes a flush, which exchanges the table, and the hint that
                // other loops read of it without a lock for a race of accesses.
                if command[0].hasPrefix("FLUSH") { continue }
                requests += HarnessClient.request(command.map { Array($0.utf8) })
            }
            var replies = ByteBuffer()
            requests.withView {
                _ = unsafe executor.serve(session, $0, output: &replies)
            }
            _ = executor.reclaimExpired()
            executor.iterationEnded()
        }
        unsafe executor.forget(session)
        state.clients.remove(record)
        unsafe session.deinitialize(count: 1)
        unsafe session.deallocate()
    }
}

/// Random commands of all types over a few keys of each.
private struct RandomCommands {
    private var random: Random
    /// Keys of each type; more of them, and tables split.
    let keyMax: Int

    init(seed: UInt64, keyMax: Int) {
        random = Random(seed: seed)
        self.keyMax = keyMax
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

    mutating func blocking() -> [String] {
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

    mutating func command() -> [String] {
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
