//  Replays the commands of a log into the keyspace, on several threads.
//
//  One thread cuts the bytes into commands and deals them out: a command with one key goes to the lane of
//  the key's shard, so that the order for every key is that of the log. One that has keys of several lanes,
//  or of none, waits until all lanes have run what they were given and runs alone. MULTI and EXEC are
//  passed over: whoever reads the file hands out whole transactions, and nobody looks on meanwhile. What
//  concerns no keys is passed over as well, and counted.
//
//  Nothing expires meanwhile: what was alive when a command was logged is alive for it again, however
//  long ago its deadline was. Keys past theirs go afterwards, as on any other day.
//
//  Raw memory: a lane allocates its executor, session and lock and frees them when it ends. Executor,
//  session and `work` are touched by the lane's thread while `hasWork`, by the feeding one otherwise.

import CSystem
import Glibc
import MartletBase

/// Replays a log.
@safe
package final class LogReplay {
    /// Why the replay cannot go on: the log holds what this server does not know.
    package struct Refusal: Error {
        package let reason: String
    }

    private let keyspace: UnsafeMutablePointer<Keyspace>
    private let commands: CommandTable
    private let lanes: [ReplayLane]
    private var store = ArgumentStore()
    private var database = 0
    /// Commands that concern no keys, and the first one's name.
    private var passedOverCount = 0
    private var passedOver: String?
    /// Commands replayed so far, SELECT, MULTI and EXEC not counted.
    package private(set) var commandCount = 0

    /// So many bytes are given to a lane at once.
    private static let batchBytes = 256 * 1024

    /// - Parameters:
    ///   - state: of the engine that gets the keys.
    ///   - commands: what it knows.
    ///   - threads: lanes that run beside the thread that feeds; with one, the feeding thread runs all.
    ///   - nowMilliseconds: the wall clock, for the age of keys.
    package init(
        _ state: EngineState, _ commands: CommandTable, threads: Int, nowMilliseconds: Int64
    ) {
        unsafe keyspace = state.keyspace
        self.commands = commands
        lanes = (0..<max(1, threads)).map { _ in
            ReplayLane(state, commands, nowMilliseconds: nowMilliseconds)
        }
        if lanes.count > 1 { for lane in lanes { lane.start() } }
    }

    deinit { for lane in lanes { lane.end() } }

    /// Replays whole commands.
    ///
    /// - Throws: `Refusal` for bytes that are no commands, or commands that do not exist here.
    package func feed(_ bytes: ByteView) throws(Refusal) {
        var parser = RequestParser(from: 0, RequestLimits())
        while parser.position < bytes.count {
            let start = parser.position
            let count = parser.next(bytes, into: &store)
            if count <= 0 {
                if count == RequestParser.stopped {
                    throw Refusal(reason: "what stands there is no command")
                }
                continue
            }
            try deal(bytes.slice(start, parser.position), count)
            store.removeAll()
        }
        for lane in lanes { if let failure = lane.failure { throw Refusal(reason: failure) } }
    }

    /// Waits until everything was replayed.
    package func finish() throws(Refusal) {
        settle()
        for lane in lanes {
            lane.end()
            if let failure = lane.failure { throw Refusal(reason: failure) }
        }
    }

    /// Replies that were errors, and commands that were passed over, with the first of either: the log
    /// and the data disagree.
    package var errors: (count: Int, first: String?) {
        let replied = lanes.lazy.compactMap(\.firstError).first
        return (
            lanes.reduce(passedOverCount) { $0 + $1.errorCount },
            passedOver.map { "ERR '\($0)' has no place in a log" } ?? replied
        )
    }

    private func deal(_ command: ByteView, _ argumentCount: Int) throws(Refusal) {
        let arguments = unsafe Arguments(
            store.views, count: argumentCount, firstKeyIndex: 0, firstKeyHash: 0,
            hashKey: keyspace.pointee.hashKey)
        let name = arguments[0]
        var number = commands.lookup.number(name)
        if number < -1 { number = commands.confirm(name, number) }
        guard number >= 0 else {
            throw Refusal(reason: "Unknown command '\(name.slice(0, min(64, name.count)).string)'")
        }
        if number == commands.execNumber || name.equalsIgnoringCase("multi") { return }
        if name.equalsIgnoringCase("select"), argumentCount == 2 {
            guard let wanted = arguments[1].parseInteger(), wanted >= 0,
                unsafe wanted < Int64(keyspace.pointee.databaseCount)
            else { throw Refusal(reason: "there is no database \(arguments[1].string)") }
            database = Int(wanted)
            return
        }
        guard concernsKeys(number, arguments) else {
            passedOverCount += 1
            passedOver = passedOver ?? name.string
            return
        }
        commandCount += 1
        if lanes.count == 1 {
            give(command, to: lanes[0])
        } else if let lane = lane(of: number, arguments) {
            give(command, to: lane)
        } else {
            settle()
            give(command, to: lanes[0])
            settle()
        }
    }

    /// Whether a command reads or changes keys, as all do that a server logs (Redis logs a PFCOUNT that
    /// renews its cache). SHUTDOWN, say, or CONFIG would do to the server what nobody asks of it now.
    private func concernsKeys(_ number: Int, _ arguments: Arguments) -> Bool {
        var number = number
        if !commands.all[number].subcommands.isEmpty && arguments.count >= 2 {
            let found = commands.subcommand(number, arguments[1])
            // An unknown one is answered with its error.
            if found < 0 { return true }
            number = found
        }
        let command = commands.all[number]
        return command.access != .none && !command.traits.contains(.goesOut)
    }

    private func give(_ command: ByteView, to lane: ReplayLane) {
        lane.append(command, database)
        if lane.filled >= Self.batchBytes { lane.submit() }
    }

    /// The lane of all of a command's keys, or nil when they have none in common.
    private func lane(of number: Int, _ arguments: Arguments) -> ReplayLane? {
        let shape = unsafe commands.rows[number].shape
        guard shape == .one || shape == .several, commands.all[number].reachesUnnamedKeys == nil
        else { return nil }
        var lane: Int?
        var isCommon = true
        let command = commands.all[number]
        let keyspace = unsafe keyspace
        let count = lanes.count
        KeySpec.forEachKey(command.keys, arguments) { index, _ in
            let hash = unsafe keyspace.pointee.hashKey.hash(arguments[index])
            let other = unsafe keyspace.pointee.shardIndex(hash) % count
            if lane == nil { lane = other }
            if lane != other { isCommon = false }
        }
        guard isCommon, let lane else { return nil }
        return lanes[lane]
    }

    /// Waits until all lanes have run what they were given.
    private func settle() {
        for lane in lanes where lane.filled > 0 { lane.submit() }
        for lane in lanes { lane.wait() }
    }
}

/// One thread's share of a replay.
@safe
final class ReplayLane: @unchecked Sendable {
    // Unchecked: see the top of the file; what both threads touch stands under the mutex.

    private let executor: UnsafeMutablePointer<Executor>
    private let session: UnsafeMutablePointer<Session>
    private let statistics: LoopStatistics
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let changed: UnsafeMutablePointer<pthread_cond_t>
    /// What the feeding thread gathers, and which database the commands behind it are for.
    private var filling = ByteBuffer()
    private var fillingDatabase = 0
    private var work = ByteBuffer()
    private var output = ByteBuffer()
    private var hasWork = false
    private var isEnding = false
    private var thread: WorkerThread?
    private var problem: String?
    private var firstErrorReply: String?

    init(_ state: EngineState, _ commands: CommandTable, nowMilliseconds: Int64) {
        statistics = LoopStatistics(commandCount: commands.all.count)
        unsafe executor = .allocate(capacity: 1)
        unsafe executor.initialize(
            to: Executor(
                state: state, commands: commands, loop: 0, statistics: statistics,
                replaysLog: true))
        unsafe session = .allocate(capacity: 1)
        unsafe session.initialize(
            to: Session(
                record: ClientRecord(
                    id: 0, loop: 0,
                    addresses: ClientAddresses(
                        peer: "", local: "", descriptor: -1, isUnixSocket: true, isLoopback: true),
                    createdMilliseconds: nowMilliseconds)))
        unsafe mutex = .allocate(capacity: 1)
        unsafe pthread_mutex_init(mutex, nil)
        unsafe changed = .allocate(capacity: 1)
        unsafe pthread_cond_init(changed, nil)
    }

    deinit {
        unsafe executor.deinitialize(count: 1)
        unsafe executor.deallocate()
        unsafe session.deinitialize(count: 1)
        unsafe session.deallocate()
        unsafe pthread_mutex_destroy(mutex)
        unsafe mutex.deallocate()
        unsafe pthread_cond_destroy(changed)
        unsafe changed.deallocate()
    }

    // MARK: The feeding thread

    /// Bytes that were not given to the lane's thread yet.
    var filled: Int { filling.count }

    func append(_ command: ByteView, _ database: Int) {
        if database != fillingDatabase {
            appendSelect(database, to: &filling)
            fillingDatabase = database
        }
        filling.append(command)
    }

    /// Has what was gathered run: on the lane's thread, or here where it has none.
    func submit() {
        if thread == nil {
            swap(&filling, &work)
            run()
            return
        }
        unsafe pthread_mutex_lock(mutex)
        while hasWork { unsafe pthread_cond_wait(changed, mutex) }
        swap(&filling, &work)
        hasWork = true
        unsafe pthread_cond_broadcast(changed)
        unsafe pthread_mutex_unlock(mutex)
    }

    /// Waits until everything submitted has run.
    func wait() {
        unsafe pthread_mutex_lock(mutex)
        while hasWork { unsafe pthread_cond_wait(changed, mutex) }
        unsafe pthread_mutex_unlock(mutex)
    }

    /// Gives the lane a thread; without one, what is submitted runs at once.
    func start() { thread = WorkerThread(name: "loader") { [self] in runToEnd() } }

    /// Ends the lane's thread.
    func end() {
        guard let running = thread else { return }
        thread = nil
        unsafe pthread_mutex_lock(mutex)
        isEnding = true
        unsafe pthread_cond_broadcast(changed)
        unsafe pthread_mutex_unlock(mutex)
        running.join()
    }

    /// Why this lane cannot go on.
    var failure: String? { locked { problem } }
    var firstError: String? { locked { firstErrorReply } }
    var errorCount: Int { Int(statistics[.errors]) }

    private func locked<Result>(_ body: () -> Result) -> Result {
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe pthread_mutex_unlock(mutex) }
        return body()
    }

    // MARK: The lane's thread

    private func runToEnd() {
        while true {
            unsafe pthread_mutex_lock(mutex)
            while !hasWork && !isEnding { unsafe pthread_cond_wait(changed, mutex) }
            let isOver = !hasWork
            unsafe pthread_mutex_unlock(mutex)
            if isOver { return }
            run()
            unsafe pthread_mutex_lock(mutex)
            hasWork = false
            unsafe pthread_cond_broadcast(changed)
            unsafe pthread_mutex_unlock(mutex)
        }
    }

    private func run() {
        unsafe executor.pointee.iterationBegan()
        var offset = 0
        while offset < work.count {
            let errors = statistics[.errors]
            let served = unsafe executor.pointee.serve(
                session, work.view.slice(offset, work.count), output: &output)
            if statistics[.errors] != errors { noteError() }
            output.removeAll()
            offset += served.consumed
            if served.consumed == 0 {
                locked { problem = "a command cannot be run" }
                break
            }
        }
        work.removeAll()
        unsafe executor.pointee.iterationEnded()
    }

    /// Remembers the first error among the replies.
    private func noteError() {
        if locked({ firstErrorReply != nil }) { return }
        let replies = output.view
        var start = 0
        while let end = replies.firstIndex(of: UInt8(ascii: "\r"), from: start) {
            if replies[start] == UInt8(ascii: "-") {
                let text = replies.slice(start + 1, end).string
                locked { firstErrorReply = text }
                return
            }
            start = end + 2
            if start >= replies.count { return }
        }
    }
}
