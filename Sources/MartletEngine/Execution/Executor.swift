//  One loop's requests, from bytes to published effects.
//
//  `serve` takes what a connection has sent. It works in batches: parse up to 32 requests, hash their
//  keys and fetch their table groups, then execute in order, each entry being fetched some commands
//  before its own. That hides most cache misses behind each other and behind work; it is the largest
//  single gain on this path.
//
//  Replies go to the call's buffer. What was executed is in the count of consumed bytes; a request
//  that must wait (a pause, a claim) is left there and comes again when the connection is resumed.
//
//  Raw memory: batch, effects, counters and scratch are allocated here, used on the loop's thread
//  and freed with the executor. A batch holds at most `batchSize` items.

import CSystem
import MartletBase

/// What became of a connection's bytes.
package struct Served {
    package enum Next {
        case readOn
        /// Stopped before a request that must wait; call again when the server is ready for it.
        case park
        /// Replies have piled up: send them, let others have their turn, then call again.
        case yield
        case closeAfterReply
        case close
        /// The client waits for a key: call again when its wait has ended.
        case block
    }

    /// Bytes that were executed or skipped.
    package var consumed: Int
    package var next: Next
    /// So many bytes must be there before another call makes sense.
    package var bytesNeeded: Int
    /// The position of the log that the replies wait for, 0 for none: under `appendfsync always`.
    package var logPosition: UInt64 = 0
}

/// The replies to a write among those of one event.
package struct WriteReply {
    /// Bytes, counted from the event's first reply.
    package let range: Range<Int>
    /// The position of the log that it waits for.
    package let logPosition: UInt64
}

/// The requests of one loop. Lives in the loop's memory and is used on its thread.
@safe
package struct Executor: ~Copyable {
    var call: Call
    private var store = ArgumentStore()
    private let batch: UnsafeMutablePointer<BatchItem>
    let rows: UnsafeMutablePointer<CommandRow>
    private let keyspace: UnsafeMutablePointer<Keyspace>
    private let effects: UnsafeMutablePointer<EffectBuffer>
    private let counters: UnsafeMutablePointer<KeyCounters>
    /// Members of a batch's requests while they are fetched ahead.
    private var hints = MemberHints(capacity: batchSize)
    private let scratch: UnsafeMutableRawPointer
    let statistics: LoopStatistics
    // The hot path reads these instead of the objects that own them: no reference counts.
    private let counts: LoopCounts
    private let lookup: CommandLookup
    private let conditions: UnsafeMutableRawPointer
    /// What holds a replay up, and who is told of it: nothing, and nobody.
    private let noConditions: UnsafeMutableRawPointer
    let sinks: UnsafeMutableRawPointer
    /// Ticks after which a command is looked at more closely.
    private var slowTicks: UInt64 = .max
    /// The version of the settings taken over last.
    private var settingsVersion = -1
    /// Bytes of requests or replies of a batch from which on single ones are looked at.
    private var notedBytes = Int.max
    private var ticksPerMillisecond: UInt64 = 1
    var lastTicks: UInt64 = 0
    /// Requests of the current event that were executed, or refused.
    private var servedCount = 0
    /// Where the current event's replies begin.
    private var repliesBegin = 0
    /// The replies to writes of the event served last, while replies wait for the log.
    package private(set) var writeReplies: [WriteReply] = []
    /// Requests came since the last iteration ended.
    private(set) var hasServed = false
    private let clock: Clock
    var expiryCycle = ExpiryCycle()
    var eviction = EvictionCycle()
    /// Keys of the running write, while uses are counted.
    var aged = GrowingArray<AgedKey>()
    /// The script that runs, or rests, on this loop; and the session that its commands see.
    let unit: UnsafeMutablePointer<ScriptUnit>
    let standIn: UnsafeMutablePointer<Session>
    var scriptBuffers = ScriptCallBuffers()
    /// This loop's number in `Quiescence`.
    private let quiescent: Int

    /// One parsed request of a batch.
    @safe
    private struct BatchItem {
        var row = 0
        var firstArgument = 0
        var argumentCount = 0
        /// The first key's argument, if it is known ahead, else 0.
        var firstKey = 0
        /// Where the request begins and ends in the input.
        var start = 0
        var end = 0
        var hash: UInt64 = 0
        /// The first key's home group, a hint for the second stage of the prefetch; nil for none.
        var group: UnsafeRawPointer?
        /// Where its reply ends in the output, once it has run.
        var replyEnd = 0
    }

    /// More would let the first entries fall out of the nearest cache before they are used.
    static let batchSize = 32
    /// So many commands before its own an entry is fetched.
    private static let entriesAhead = 8
    /// So many bytes of replies are sent before more requests of the connection run: a pipeline of
    /// large reads stays within what output limits and `maxmemory-clients` allow.
    static let replyBytesBeforeYield = 1024 * 1024

    /// The requests of a loop; or, if `replaysLog`, those of a log that is loaded: no state of the server
    /// holds them up, and nothing is past its deadline before the log says so.
    package init(
        state: EngineState, commands: CommandTable, loop: Int,
        statistics: LoopStatistics? = nil, replaysLog: Bool = false
    ) {
        unsafe batch = .allocate(capacity: Self.batchSize)
        unsafe batch.initialize(repeating: BatchItem(), count: Self.batchSize)
        unsafe rows = commands.rows
        unsafe keyspace = state.keyspace
        unsafe effects = .allocate(capacity: 1)
        unsafe effects.initialize(to: EffectBuffer())
        unsafe counters = .allocate(capacity: 1)
        unsafe counters.initialize(to: KeyCounters())
        unsafe counters.pointee.random = .seededFromSystem()
        unsafe scratch = .allocate(byteCount: 128, alignment: 64)
        unsafe unit = .allocate(capacity: 1)
        unsafe unit.initialize(to: ScriptUnit())
        unsafe standIn = .allocate(capacity: 1)
        unsafe standIn.initialize(to: Session(record: ClientRecord.forScripts(loop: loop)))
        self.statistics = statistics ?? state.statistics[loop]
        counts = self.statistics.counts
        lookup = commands.lookup
        clock = state.clock
        unsafe noConditions = .allocate(byteCount: 64, alignment: 64)
        unsafe noConditions.storeBytes(of: 0, as: UInt64.self)
        unsafe conditions = replaysLog ? noConditions : state.conditionsWord
        unsafe sinks = replaysLog ? noConditions : state.sinksWord
        quiescent = Quiescence.shared.register()
        let noArguments = unsafe Arguments(
            store.views, count: 0, firstKeyIndex: 0, firstKeyHash: 0,
            hashKey: keyspace.pointee.hashKey)
        // Replaced before the first command runs.
        let nobody = unsafe UnsafeMutablePointer<Session>(bitPattern: 64).unsafelyUnwrapped
        unsafe call = Call(
            arguments: noArguments,
            keyspace: KeyAccess(
                keyspace: keyspace, effects: effects, counters: counters, scratch: scratch),
            session: nobody, state: state, commands: commands, loop: loop)
        call.keyspace.isReplaying = replaysLog
    }

    deinit {
        Quiescence.shared.unregister(quiescent)
        unsafe batch.deallocate()
        unsafe effects.deinitialize(count: 1)
        unsafe effects.deallocate()
        unsafe counters.deallocate()
        hints.free()
        unsafe scratch.deallocate()
        unsafe unit.deinitialize(count: 1)
        unsafe unit.deallocate()
        unsafe standIn.deinitialize(count: 1)
        unsafe standIn.deallocate()
        unsafe noConditions.deallocate()
    }

    // MARK: Iterations

    /// An iteration of the loop begins: the time is read, and memory retired before may go.
    package mutating func iterationBegan() {
        Quiescence.shared.wake(quiescent)
        refreshTime()
        noteWait(until: lastTicks)
    }

    /// The loop is about to wait.
    ///
    /// - Returns: for how many milliseconds at most.
    @discardableResult
    package mutating func iterationEnded() -> Int32 {
        let untilEviction = eviction.isBounded ? evictBetweenEvents() : .max
        unsafe statistics.add(.hits, counters.pointee.hits)
        unsafe statistics.add(.misses, counters.pointee.misses)
        unsafe counters.pointee.hits = 0
        unsafe counters.pointee.misses = 0
        hasServed = false
        call.appender.announce()
        Quiescence.shared.sleep(quiescent)
        return untilEviction
    }

    /// Wall clock of this iteration.
    package var nowMilliseconds: Int64 {
        // Mutating, as whatever the hot path calls: to lend `self` for reading copies all of it.
        mutating get { call.keyspace.nowMilliseconds }
    }

    mutating func refreshTime() {
        let now = clock.wallMilliseconds()
        lastTicks = martlet_ticks()
        let version = unsafe call.state.settings.version.load(ordering: .relaxed)
        if now == call.keyspace.nowMilliseconds && version == settingsVersion { return }
        if version != settingsVersion {
            settingsVersion = version
            refreshEviction()
        }
        call.keyspace.setTime(now, eviction.policy, isPrecise: eviction.isBounded)
        refreshThresholds()
    }

    /// Takes over changed settings of eviction.
    private mutating func refreshEviction() {
        let settings = unsafe call.state.settings.eviction
        eviction.take(over: settings)
        unsafe counters.pointee.frequency = eviction.frequency
    }

    /// Takes over changed settings.
    private mutating func refreshThresholds() {
        let settings = unsafe call.state.settings
        ticksPerMillisecond = TickRate.perMillisecond
        let slow = settings.slowlogMicroseconds.load(ordering: .relaxed)
        let latency = settings.latencyThresholdMilliseconds.load(ordering: .relaxed)
        // Whatever takes a millisecond gets the time read anew, so that is looked at in any case.
        var threshold = Double(ticksPerMillisecond)
        if slow >= 0 { threshold = min(threshold, Double(slow) * threshold / 1000) }
        if latency > 0 { threshold = min(threshold, Double(latency) * Double(ticksPerMillisecond)) }
        slowTicks = UInt64(threshold)
        notedBytes = notedBytesMin()
        if eviction.isBounded { notedBytes = min(notedBytes, EvictionCycle.batchBytes) }
        if settings.hotKeys.isActive.load(ordering: .relaxed) {
            slowTicks = 0
            notedBytes = 0
        }
    }

    // MARK: Serving

    /// Executes the requests in `input` and appends their replies to `output`.
    ///
    /// - Complexity: of the requests; parsing is O(bytes that are not arguments).
    package mutating func serve(
        _ session: UnsafeMutablePointer<Session>, _ input: ByteView, output: inout ByteBuffer
    ) -> Served {
        swap(&call.reply.buffer, &output)
        defer { swap(&call.reply.buffer, &output) }
        let before = call.reply.buffer.count
        servedCount = 0
        hasServed = true
        call.logPosition = 0
        repliesBegin = before
        if !writeReplies.isEmpty {
            writeReplies.removeAll(keepingCapacity: writeReplies.count < 1024)
        }
        var served = unsafe serveRequests(session, input)
        served.logPosition = call.logPosition
        unsafe session.pointee.noteActivity(
            nowMilliseconds: call.keyspace.nowMilliseconds, commandCount: servedCount,
            lastCommand: call.commandNumber, bytesIn: served.consumed,
            bytesLeft: input.count - served.consumed, bytesOut: call.reply.buffer.count - before)
        return served
    }

    private mutating func serveRequests(
        _ session: UnsafeMutablePointer<Session>, _ input: ByteView
    ) -> Served {
        unsafe call.session = session
        call.reply.isRESP3 = unsafe session.pointee.isRESP3
        call.keyspace.database = unsafe session.pointee.database
        lastTicks = martlet_ticks()
        var limits = RequestLimits()
        limits.bulkBytesMax = unsafe call.state.settings.bulkBytesMax.load(ordering: .relaxed)
        var offset = 0
        if unsafe session.pointee.partialRequest.argumentsLeft > 0,
            let served = unsafe lookOn(session, input, limits)
        {
            return served
        }
        while true {
            limits.isAuthenticated = unsafe !session.pointee.gate.contains(.unauthenticated)
            var parser = RequestParser(from: offset, limits)
            let count = parse(input, &parser, limits)
            let repliesBegin = call.reply.buffer.count
            var next = FollowUp.none
            var index = 0
            // Up to here, members have been fetched.
            var fetched = 0
            if count > 1 {
                while index < Self.entriesAhead {
                    prefetchEntry(index, count)
                    index &+= 1
                }
                index = 0
            }
            while index < count && next == .none {
                prefetchEntry(index &+ Self.entriesAhead, count)
                prefetchOverflowed(index &+ Self.entriesAhead / 2, count)
                if index >= fetched { fetched = fetchMembers(from: index, count) }
                next = unsafe execute(batch + index)
                unsafe batch[index].replyEnd = call.reply.buffer.count
                index &+= 1
                if call.reply.buffer.count > Self.replyBytesBeforeYield { break }
            }
            servedCount &+= index
            if call.writes.count > 0 { noteWriteReplies(batchCount: index, repliesBegin) }
            if parser.position &- offset >= notedBytes
                || call.reply.buffer.count &- repliesBegin >= notedBytes
            {
                noteSizes(batchCount: index, repliesBegin: repliesBegin)
                evictAmidRequests()
            }
            store.removeAll()
            if next != .none {
                let item = unsafe batch[index - 1]
                return Served(
                    consumed: next.isRepeated ? item.start : item.end, next: Self.next(next),
                    bytesNeeded: 0)
            }
            if call.reply.buffer.count > Self.replyBytesBeforeYield {
                let end = unsafe index > 0 ? batch[index - 1].end : parser.position
                return Served(consumed: end, next: .yield, bytesNeeded: 0)
            }
            offset = parser.position
            if let failure = parser.failure { return refuse(failure, input) }
            if parser.bytesNeeded > 0 || offset == input.count {
                unsafe session.pointee.partialRequest = parser.partial
                return Served(
                    consumed: offset, next: .readOn,
                    bytesNeeded: parser.bytesNeeded == Int.max
                        ? 0 : max(0, parser.bytesNeeded - offset))
            }
        }
    }

    /// Looks on at a large request that was not whole when the last bytes came; nil when it is now.
    @inline(never)
    private func lookOn(
        _ session: UnsafeMutablePointer<Session>, _ input: ByteView, _ limits: RequestLimits
    ) -> Served? {
        var parser = RequestParser(from: 0, limits)
        let isWhole = unsafe parser.isWhole(input, session.pointee.partialRequest)
        unsafe session.pointee.partialRequest = parser.partial
        return isWhole
            ? nil : Served(consumed: 0, next: .readOn, bytesNeeded: parser.bytesNeeded)
    }

    /// Answers bytes that are not RESP; the error follows the replies to what came before.
    private mutating func refuse(_ failure: ProtocolError, _ input: ByteView) -> Served {
        if case .crossProtocol = failure {
            return Served(consumed: input.count, next: .close, bytesNeeded: 0)
        }
        failure.write(to: &call.reply)
        statistics.countError(code: ByteView("ERR"))
        return Served(consumed: input.count, next: .closeAfterReply, bytesNeeded: 0)
    }

    /// Looks for the replies to writes among the first `batchCount` of the batch, which have run.
    @inline(never)
    private mutating func noteWriteReplies(batchCount: Int, _ batchReplies: Int) {
        var begin = batchReplies
        var write = 0
        for index in 0..<batchCount {
            let end = unsafe batch[index].replyEnd
            let arguments = unsafe store.views + batch[index].firstArgument
            var position: UInt64?
            while unsafe write < call.writes.count && call.writes[write].arguments == arguments {
                position = call.writes[write].position
                write += 1
            }
            // There is none when the client wants no replies.
            if let position, begin < end {
                writeReplies.append(
                    WriteReply(
                        range: begin - self.repliesBegin..<end - self.repliesBegin,
                        logPosition: position))
            }
            begin = end
        }
        call.writes.removeAll(keeping: 64)
    }

    /// Looks for large requests and replies among the first `batchCount` of the batch, which have run.
    @inline(never)
    private mutating func noteSizes(batchCount: Int, repliesBegin: Int) {
        var replyBegin = repliesBegin
        for index in 0..<batchCount {
            let item = unsafe batch[index]
            defer { replyBegin = item.replyEnd }
            guard item.row >= 0 else { continue }
            let arguments = arguments(item)
            let commands = unsafe call.commands
            var number = item.row
            if !commands.all[number].subcommands.isEmpty && arguments.count > 1 {
                number = commands.subcommand(number, arguments[1])
            }
            if number >= 0 {
                noteSizes(
                    commands.all[number], arguments, requestBytes: item.end - item.start,
                    replyBytes: item.replyEnd - replyBegin)
            }
        }
    }

    private static func next(_ followUp: FollowUp) -> Served.Next {
        switch followUp {
        case .none: .readOn
        case .park: .park
        case .again: .yield
        case .block: .block
        case .serveWaiters: .readOn
        case .closeAfterReply: .closeAfterReply
        case .close: .close
        }
    }

    /// Parses a batch, hashing first keys and fetching what they lead to.
    ///
    /// - Returns: the number of requests in the batch. The parser stands behind the last of them.
    @inline(__always)
    private mutating func parse(
        _ input: ByteView, _ parser: inout RequestParser, _ limits: RequestLimits
    ) -> Int {
        var count = 0
        let size = limits.isAuthenticated ? Self.batchSize : 1
        let database = call.keyspace.database
        var lastKey = ByteView()
        var lastHash: UInt64 = 0
        while count < size && parser.position < input.count {
            let first = store.count
            let start = parser.position
            let arguments = parser.next(input, into: &store)
            if arguments <= 0 {
                if arguments == RequestParser.stopped { break }
                continue
            }
            let name = unsafe store.views[first]
            var number = lookup.number(name)
            if number < -1 { number = unsafe call.commands.confirm(name, number) }
            let item = unsafe batch + count
            count &+= 1
            unsafe item.pointee.row = number
            unsafe item.pointee.firstArgument = first
            unsafe item.pointee.argumentCount = arguments
            unsafe item.pointee.firstKey = 0
            unsafe item.pointee.start = start
            unsafe item.pointee.end = parser.position
            unsafe item.pointee.group = nil
            // An inline request's arguments stand in the store's one buffer for them.
            let endsBatch = !input.contains(name)
            guard number >= 0 else {
                if endsBatch { break }
                continue
            }
            let row = unsafe rows + number
            let key = unsafe Int(row.pointee.firstKey)
            if key != 0 && key < arguments {
                unsafe item.pointee.firstKey = key
                let bytes = unsafe store.views[first &+ key]
                if lastKey == bytes && !bytes.isEmpty {
                    // Several commands on one key: it is hashed, and on its way, already.
                    unsafe item.pointee.hash = lastHash
                    if unsafe row.pointee.endsBatch || endsBatch { break }
                    continue
                }
                let hash = unsafe keyspace.pointee.hashKey.hash(bytes)
                lastKey = bytes
                lastHash = hash
                unsafe item.pointee.hash = hash
                let shard = unsafe keyspace.pointee.shardIndex(hash)
                if let directory = unsafe keyspace.pointee.directoryHint(
                    shard: shard, database: database)
                {
                    unsafe item.pointee.group = Table.prefetchGroup(directory, hash: hash)
                }
            }
            if unsafe row.pointee.endsBatch || endsBatch { break }
        }
        return count
    }

    /// The second stage of the prefetch, for the item `index`; none when there is no such item.
    ///
    /// It runs a few commands ahead of the item's execution: all at once, the fetches of a batch would
    /// wait for each other, and the first would not be there in time.
    @inline(__always)
    private mutating func prefetchEntry(_ index: Int, _ count: Int) {
        if index >= count { return }
        let item = unsafe batch + index
        guard let group = unsafe item.pointee.group else { return }
        let row = unsafe rows + item.pointee.row
        if unsafe Table.prefetchEntry(
            group, hash: item.pointee.hash, isLong: row.pointee.isOfCollection)
        {
            unsafe item.pointee.group = nil
        } else {
            unsafe item.pointee.group = prefetchNextGroup(item.pointee.hash)
        }
    }

    /// The third stage, for keys that found no room in their home group.
    @inline(__always)
    private mutating func prefetchOverflowed(_ index: Int, _ count: Int) {
        if index >= count { return }
        if let group = unsafe batch[index].group {
            _ = unsafe Table.prefetchEntry(group, hash: batch[index].hash, isLong: false)
        }
    }

    @inline(never)
    private mutating func prefetchNextGroup(_ hash: UInt64) -> UnsafeRawPointer? {
        guard
            let directory = unsafe keyspace.pointee.directoryHint(
                shard: keyspace.pointee.shardIndex(hash), database: call.keyspace.database)
        else { return nil }
        return unsafe Table.prefetchNextGroup(directory, hash: hash)
    }

    /// Brings the members close that requests from `index` on name, while they are for one key.
    ///
    /// - Returns: the index of the first request for which that is still to be done.
    @inline(__always)
    private mutating func fetchMembers(from index: Int, _ count: Int) -> Int {
        let item = unsafe batch + index
        let following = index &+ 1
        if unsafe following < count && item.pointee.hash == batch[following].hash
            && item.pointee.firstKey != 0 && batch[following].firstKey != 0
            && call.session.pointee.gate.rawValue == 0
        {
            return fetchMembers(ofKeyOf: index, count)
        }
        return following
    }

    @inline(never)
    private mutating func fetchMembers(ofKeyOf index: Int, _ count: Int) -> Int {
        let hash = unsafe batch[index].hash
        hints.removeAll()
        var end = index
        while unsafe end < count && batch[end].hash == hash && batch[end].firstKey != 0 {
            let item = unsafe batch[end]
            let member = unsafe item.row >= 0 ? Int(rows[item.row].member) : 0
            if member > 0 && member < item.argumentCount {
                unsafe hints.append(store.views[item.firstArgument + member])
            }
            end += 1
        }
        if hints.count < 2 { return end }
        let key = unsafe store.views[batch[index].firstArgument + batch[index].firstKey]
        let shard = unsafe keyspace.pointee.shardIndex(hash)
        let lock = unsafe keyspace.pointee.lock(shard)
        lock.lock()
        if unsafe heldUp | UInt64(keyspace.pointee.shard(shard).pointee.claimant) == 0 {
            call.keyspace.prefetch(hints, of: Key(key, hash: hash))
        }
        lock.unlock()
        return end
    }

    // MARK: One request

    @inline(__always)
    private mutating func arguments(_ item: BatchItem) -> Arguments {
        unsafe Arguments(
            store.views + item.firstArgument, count: item.argumentCount,
            firstKeyIndex: item.firstKey, firstKeyHash: item.hash,
            hashKey: keyspace.pointee.hashKey)
    }

    /// Looks up, admits, locks, runs, publishes.
    @inline(__always)
    private mutating func execute(_ item: UnsafeMutablePointer<BatchItem>) -> FollowUp {
        let number = unsafe item.pointee.row
        let count = unsafe item.pointee.argumentCount
        let hash = unsafe item.pointee.hash
        unsafe call.arguments.begin(
            store.views + item.pointee.firstArgument, count: count,
            firstKeyIndex: item.pointee.firstKey, firstKeyHash: hash)
        guard number >= 0 else { return reject(unknown: true, row: -1) }
        let row = unsafe rows + number
        call.commandNumber = number
        if unsafe row.pointee.isContainer || call.session.pointee.gate.rawValue != 0 {
            return executeGated(number)
        }
        guard unsafe row.pointee.admits(count) else { return reject(unknown: false, row: number) }
        return unsafe run(number, row, hash)
    }

    /// The words that hold a command up, together: the state of the server and that of the client.
    ///
    /// They are read under the command's locks. Whoever changes one then takes every shard once
    /// before it replies, so that no command slips by after the reply: see `passEveryShard`.
    @inline(__always)
    private var heldUp: UInt64 {
        unsafe martlet_load_relaxed_64(conditions)
            | martlet_load_relaxed_64(call.session.pointee.killedWord)
    }

    /// Takes the locks of an admitted request and runs it, or sends it the long way.
    @inline(__always)
    private mutating func run(
        _ number: Int, _ row: UnsafeMutablePointer<CommandRow>, _ hash: UInt64
    ) -> FollowUp {
        if unsafe row.pointee.shape == .one {
            let shard = unsafe keyspace.pointee.shardIndex(hash)
            let lock = unsafe keyspace.pointee.lock(shard)
            lock.lock()
            if unsafe heldUp | UInt64(keyspace.pointee.shard(shard).pointee.claimant) != 0 {
                lock.unlock()
                return executeGated(number)
            }
            unsafe runHeld(row)
            lock.unlock()
        } else if unsafe row.pointee.shape == .none {
            if heldUp != 0 { return executeGated(number) }
            unsafe runHeld(row)
        } else if !runRouted(number) {
            return executeGated(number)
        }
        return finish(number)
    }

    /// Accounts for a command that ran.
    ///
    /// - Returns: what it wants beyond its reply.
    @inline(__always)
    mutating func finish(_ number: Int) -> FollowUp {
        let now = martlet_ticks()
        let ticks = now &- lastTicks
        lastTicks = now
        counts.count(number, ticks: ticks)
        if ticks >= slowTicks { noteSlowCommand(number, ticks: ticks) }
        let followUp = call.followUp
        if followUp == .none { return .none }
        call.followUp = .none
        if followUp == .serveWaiters {
            serveLateWaiters()
            return .none
        }
        return followUp
    }

    /// Runs the handler; its locks are held.
    @inline(__always)
    mutating func runHeld(_ row: UnsafeMutablePointer<CommandRow>) {
        let active = unsafe EffectSinks(rawValue: martlet_load_relaxed_32(sinks))
        call.keyspace.sinks = active
        if !active.isDisjoint(with: [.saving, .aging]) { unsafe prepareKeys(row) }
        do {
            let effect = try unsafe row.pointee.run(&call)
            assert(
                unsafe !row.pointee.isReadOnly || effect.count == 0,
                "a command that is declared to read changes nothing")
            ChangeLog.publish(effect, &call, counts)
        } catch {
            fail(error)
        }
        if !active.isDisjoint(with: [.synchronous, .aging]) { unsafe settleKeys(row) }
    }

    /// What the keys of a command need before it runs: those that it may change are saved for the snapshot
    /// under way (see `SnapshotSaver`), and how they were used is remembered.
    @inline(never)
    private mutating func prepareKeys(_ row: UnsafeMutablePointer<CommandRow>) {
        if call.keyspace.sinks.contains(.aging) { unsafe beginAging(row) }
        if call.keyspace.sinks.contains(.saving) { unsafe saveKeys(row) }
    }

    /// What they need after it has run.
    @inline(never)
    private mutating func settleKeys(_ row: UnsafeMutablePointer<CommandRow>) {
        if call.keyspace.sinks.contains(.aging) { unsafe endAging(row) }
        if call.keyspace.sinks.contains(.synchronous) { call.awaitKeys() }
    }

    /// What flags the keys have does not count: XREADGROUP only reads its key, and changes the group.
    private mutating func saveKeys(_ row: UnsafeMutablePointer<CommandRow>) {
        if unsafe row.pointee.isReadOnly { return }
        let command = unsafe call.commands.all[call.commandNumber]
        let database = call.keyspace.database
        KeySpec.forEachKey(command.keys, call.arguments) { index, _ in
            call.keyspace.save(
                unsafe keyspace.pointee.key(call.arguments[index]), inDatabase: database)
        }
    }

    /// Runs a command of a transaction, whose locks are held.
    mutating func runNested(_ number: Int) {
        let row = unsafe rows + number
        unsafe runHeld(row)
        let now = martlet_ticks()
        let ticks = now &- lastTicks
        lastTicks = now
        counts.count(number, ticks: ticks)
        if ticks >= slowTicks { noteSlowCommand(number, ticks: ticks) }
        // What a command wants beyond its reply, closing say, waits for the end of the transaction.
    }

    /// Publishes what the expiry cycle reclaimed.
    mutating func publishReclaimed() {
        ChangeLog.publish(.none, &call, counts)
    }

    /// Writes a handler's error. What it met on the way, an expiry say, is published all the same.
    @inline(never)
    mutating func fail(_ error: CommandError) {
        let before = call.reply.buffer.count
        error.write(to: &call.reply, detail: call.errorDetail.view)
        countError(from: before)
        statistics.countFailure(call.commandNumber, wasRejected: false)
        ChangeLog.publish(.none, &call, counts)
    }

    /// Counts the error reply that was written from `before` on.
    mutating func countError(from before: Int) {
        let reply = call.reply.buffer.view
        guard before < reply.count, reply[before] == UInt8(ascii: "-") else { return }
        let text = reply.slice(before + 1, reply.count)
        let end = text.firstIndex(of: UInt8(ascii: " ")) ?? text.count
        statistics.countError(code: text.slice(0, min(end, 64)))
    }

    /// Runs a request that needs more than one lock, or locks itself; false when it is held up.
    @inline(never)
    private mutating func runRouted(_ number: Int) -> Bool {
        let command = unsafe call.commands.all[number]
        let plan = plan(command, call.arguments)
        guard unsafe Router.lock(plan, keyspace.pointee) else { return false }
        defer { unsafe Router.unlock(plan, keyspace.pointee) }
        if heldUp != 0 { return false }
        let mayServe = unsafe call.state.sinks.contains(.waiting)
        if mayServe { call.ready.holds = plan.holds }
        unsafe runHeld(rows + number)
        if mayServe { call.ready.holds = ReadyKeys.holdsNone }
        return true
    }

    mutating func plan(_ command: Command, _ arguments: Arguments) -> LockPlan {
        switch unsafe rows[command.number].shape {
        case .none, .walks: return .nothing
        case .all: return .all
        case .one, .several:
            if let reaches = command.reachesUnnamedKeys, reaches(arguments) { return .all }
            var set = ShardSet()
            unsafe Router.shards(command, arguments, keyspace.pointee, into: &set)
            return .several(set)
        }
    }
}
