//  Several loops write to the same keys at once: the order of the log is, for each key, the order in
//  which the commands ran.

import Glibc
import MartletBase
import Testing

@testable import MartletEngine

/// A loop with one client, on a thread of its own.
@safe
private final class LoopThread {
    private let time = VirtualTime(wallMilliseconds: CommandHarness.startMilliseconds)
    private let state: EngineState
    private var executor: Executor
    private let session: UnsafeMutablePointer<Session>
    private var random: Random
    private let loop: Int

    init(_ state: EngineState, _ commands: CommandTable, loop: Int) {
        self.state = state
        self.loop = loop
        random = Random(seed: UInt64(loop))
        executor = Executor(state: state, commands: commands, loop: loop)
        let record = ClientRecord(
            id: state.clients.newID(), loop: loop,
            addresses: ClientAddresses(
                peer: "127.0.0.1:\(50_000 + loop)", local: "127.0.0.1:6379",
                descriptor: Int32(7 + loop), isUnixSocket: false, isLoopback: true),
            createdMilliseconds: CommandHarness.startMilliseconds)
        unsafe session = .allocate(capacity: 1)
        unsafe session.initialize(to: Session(record: record))
        unsafe state.begin(session)
    }

    deinit {
        unsafe executor.forget(session)
        unsafe state.clients.remove(session.pointee.record)
        unsafe session.deinitialize(count: 1)
        unsafe session.deallocate()
    }

    /// Runs commands and answers their replies.
    func serve(_ commands: [[String]]) -> [UInt8] {
        let request = commands.flatMap { command in
            HarnessClient.request(command.map { Array($0.utf8) })
        }
        executor.iterationBegan()
        var replies = ByteBuffer()
        _ = request.withView { unsafe executor.serve(session, $0, output: &replies) }
        executor.iterationEnded()
        return replies.view.bytes
    }

    /// Appends what tells loop and step to a few keys of two databases, alone and in transactions.
    func write(steps: Int) {
        for step in 0..<steps {
            let appends = (0..<3).map { _ in
                ["APPEND", "k\(random.index(below: 6))", "\(loop).\(step);"]
            }
            if random.index(below: 10) == 0 {
                _ = serve([["SELECT", "\(random.index(below: 2))"]])
            }
            if random.index(below: 3) == 0 {
                _ = serve([["MULTI"]] + appends + [["EXEC"]])
            } else {
                _ = serve(appends)
            }
        }
    }

    /// Calls `write` on a thread of its own.
    func start(steps: Int) -> pthread_t {
        final class Job {
            let thread: LoopThread
            let steps: Int
            init(_ thread: LoopThread, _ steps: Int) {
                self.thread = thread
                self.steps = steps
            }
        }
        var thread = pthread_t()
        unsafe pthread_create(
            &thread, nil,
            { argument in
                if let argument = unsafe argument {
                    let job = unsafe Unmanaged<Job>.fromOpaque(argument).takeRetainedValue()
                    job.thread.write(steps: job.steps)
                }
                return nil
            }, Unmanaged.passRetained(Job(self, steps)).toOpaque())
        return thread
    }
}

struct LogOrderTests {
    @Test func `the log has the order of execution`() {
        let time = VirtualTime(wallMilliseconds: CommandHarness.startMilliseconds)
        let commands = CommandTable(groups: EngineCommands.groups)
        let state = EngineState(
            loops: 4, shardCount: 16, databases: 2, commandCount: commands.all.count,
            clock: time.clock, hashKey: HashKey(1, 2))
        unsafe state.keyspace.pointee.lockAll()
        state.setLog(.synchronous)
        unsafe state.keyspace.pointee.unlockAll()

        let loops = (0..<4).map { LoopThread(state, commands, loop: $0) }
        let threads = loops.map { $0.start(steps: 1500) }
        // What the log thread does, and a turn to another increment now and then.
        var log: [UInt8] = []
        var bytes = ByteBuffer()
        var increments = 0
        for turn in 0..<400 {
            let taken = state.log.take(into: &bytes, waitMilliseconds: 2)
            log += bytes.view.bytes
            if taken.beginsIncrement { increments += 1 }
            #expect(UInt64(log.count) == taken.end)
            if turn % 40 == 0 {
                unsafe state.keyspace.pointee.lockAll()
                state.log.beginIncrement()
                unsafe state.keyspace.pointee.unlockAll()
            }
        }
        for thread in threads { pthread_join(thread, nil) }
        while log.count < Int(state.log.end) {
            let taken = state.log.take(into: &bytes, waitMilliseconds: 0)
            log += bytes.view.bytes
            if taken.beginsIncrement { increments += 1 }
        }
        #expect(increments == 10)

        let copy = CommandHarness(databases: 2, replaysLog: true)
        let reader = copy.client()
        for command in CommandHarness.commands(log) { reader.run(command) }
        for database in 0..<2 {
            reader.run("SELECT", "\(database)")
            _ = loops[0].serve([["SELECT", "\(database)"]])
            for key in 0..<6 {
                reader.send(HarnessClient.request([Array("GET".utf8), Array("k\(key)".utf8)]))
                #expect(reader.rawReplies() == loops[0].serve([["GET", "k\(key)"]]))
            }
        }
        _ = time
    }
}
