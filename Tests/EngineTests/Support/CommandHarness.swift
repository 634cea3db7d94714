//  A server without sockets: engine state, command table and one executor, in this process, on
//  virtual time. Sessions are fed bytes and their replies read.
//
//      let server = CommandHarness()
//      let client = server.client()
//      #expect(client.run("SET", "k", "v") == .simple("OK"))
//      server.time.advance(milliseconds: 10)
//
//  Most command tests are transcripts instead: see `expectTranscript`.

import MartletBase

@testable import MartletEngine

/// A server of one loop in this process.
@safe
final class CommandHarness {
    /// The clock of everything in here.
    let time: VirtualTime
    let state: EngineState
    let commands: CommandTable
    private var executor: Executor
    private var fanOut = FanOut()

    /// When the virtual wall clock starts: 14 November 2023, 22:13:20 UTC.
    static let startMilliseconds: Int64 = 1_700_000_000_000

    init(
        groups: [CommandGroup] = EngineCommands.groups, shards: Int = 16,
        databases: Int = Limits.databases,
        startMilliseconds: Int64 = CommandHarness.startMilliseconds,
        replaysLog: Bool = false
    ) {
        time = VirtualTime(wallMilliseconds: startMilliseconds)
        commands = CommandTable(groups: groups)
        state = EngineState(
            loops: 1, shardCount: shards, databases: databases, commandCount: commands.all.count,
            clock: time.clock, hashKey: HashKey(1, 2))
        executor = Executor(
            state: state, commands: commands, loop: 0, replaysLog: replaysLog)
        state.tracking.send.function = { push in
            if let outlet = unsafe push.record.session?.pointee.outlet {
                unsafe Unmanaged<HarnessClient>.fromOpaque(outlet).takeUnretainedValue()
                    .receive(push.bytes)
            }
        }
    }

    /// What the loop does between its events: tells clients of keys that they keep copies of.
    func tellTrackers() { executor.tellTrackers() }

    /// A new connection.
    func client(isRESP3: Bool = false) -> HarnessClient {
        let client = HarnessClient(self)
        if isRESP3 { client.speakRESP3() }
        return client
    }

    /// Changes to the data so far: `rdb_changes_since_last_save` counts the same.
    var changes: Int { Int(state.statistics[0][.changes]) }

    /// The replies to writes of the event served last.
    var writeReplies: [WriteReply] { executor.writeReplies }

    /// Checks the invariants of all keys of database 0, what they cost included.
    func checkPartitions() {
        for index in unsafe 0..<state.keyspace.pointee.shardCount {
            let shard = unsafe state.keyspace.pointee.shard(index)
            if let partition = unsafe shard.pointee.partition(0) {
                unsafe partition.pointee.checkInvariants()
            }
        }
    }

    /// What the loop does between its events: reclaims keys past their deadline.
    func reclaimExpired() {
        executor.iterationBegan()
        while executor.reclaimExpired() == 0 {}
        executor.iterationEnded()
    }

    /// An iteration of the loop without events; in how many milliseconds it wants the next one.
    func idle() -> Int32 {
        executor.iterationBegan()
        return executor.iterationEnded()
    }

    /// What the loop does between its events: hands messages out to those who listen.
    func deliverMessages() {
        guard state.pubSub.signals(ofLoop: 0).hasMessages else { return }
        unsafe fanOut.deliver(state.pubSub, loop: 0) { session, bytes in
            if let outlet = unsafe session.pointee.outlet {
                unsafe Unmanaged<HarnessClient>.fromOpaque(outlet).takeUnretainedValue()
                    .receive(bytes)
            }
        }
    }

    /// An errand of a client comes back.
    func conclude(_ errand: Errand) { executor.conclude(errand) }

    /// What the loop does when it has served others while a script rested.
    func continueScript() { executor.continueScript() }

    /// What the loop does when a client's wait has ended.
    func finishWaiting(_ session: UnsafeMutablePointer<Session>, output: inout [UInt8]) {
        var replies = ByteBuffer()
        _ = unsafe executor.finishWaiting(session, into: &replies)
        output += replies.view.bytes
    }

    /// What the loop does when a connection has been closed.
    func forget(_ session: UnsafeMutablePointer<Session>) { unsafe executor.forget(session) }

    /// One event of the loop: gives a session's unread bytes to the executor.
    func serve(
        _ session: UnsafeMutablePointer<Session>, _ input: [UInt8], output: inout [UInt8]
    ) -> Served {
        executor.iterationBegan()
        var replies = ByteBuffer()
        let served = input.withView { unsafe executor.serve(session, $0, output: &replies) }
        executor.iterationEnded()
        output += replies.view.bytes
        return served
    }
}

/// One connection to a harness.
@safe
final class HarnessClient {
    private let server: CommandHarness
    private let session: UnsafeMutablePointer<Session>
    private var input: [UInt8] = []
    private var output: [UInt8] = []
    /// The connection stopped before a request that must wait, or behind one that does.
    private(set) var isParked = false
    /// The server has ended the connection.
    private(set) var isClosed = false
    /// The position of the log that the replies of the last event wait for.
    private(set) var position: UInt64 = 0

    init(_ server: CommandHarness) {
        self.server = server
        let id = server.state.clients.newID()
        let record = ClientRecord(
            id: id, loop: 0,
            addresses: ClientAddresses(
                peer: "127.0.0.1:\(50_000 + id)", local: "127.0.0.1:6379",
                descriptor: Int32(7 + id), isUnixSocket: false, isLoopback: true),
            createdMilliseconds: server.time.clock.wallMilliseconds())
        unsafe session = .allocate(capacity: 1)
        unsafe session.initialize(to: Session(record: record))
        unsafe session.pointee.outlet = unsafe Unmanaged.passUnretained(self).toOpaque()
        unsafe server.state.begin(session)
    }

    /// Bytes that were not asked for.
    fileprivate func receive(_ bytes: ByteView) { output += bytes.bytes }

    deinit {
        unsafe server.forget(session)
        unsafe server.state.clients.remove(session.pointee.record)
        unsafe session.deinitialize(count: 1)
        unsafe session.deallocate()
    }

    /// What other threads see of this client.
    var record: ClientRecord { unsafe session.pointee.record }

    /// What the client waits for, or waited for and has not been told of yet.
    var wait: Waiter? { unsafe session.pointee.waiter }

    /// What the loop and admission know of this client.
    var gate: SessionGate {
        get { unsafe session.pointee.gate }
        set { unsafe session.pointee.gate = newValue }
    }

    /// HELLO 3, without its reply.
    func speakRESP3() {
        unsafe session.pointee.isRESP3 = true
        record.isRESP3.store(true, ordering: .relaxed)
    }

    /// Sends one command and returns its reply; nil when there is none.
    @discardableResult
    func run(_ arguments: String...) -> Reply? {
        run(arguments.map { Array($0.utf8) })
    }

    /// The same with text.
    @discardableResult
    func run(_ arguments: [String]) -> Reply? {
        run(arguments.map { Array($0.utf8) })
    }

    /// The same with arguments that are not text.
    @discardableResult
    func run(_ arguments: [[UInt8]]) -> Reply? {
        send(Self.request(arguments))
        return replies().first
    }

    /// A request as clients send it.
    static func request(_ arguments: [[UInt8]]) -> [UInt8] {
        var bytes = Array("*\(arguments.count)\r\n".utf8)
        for argument in arguments {
            bytes += Array("$\(argument.count)\r\n".utf8) + argument + [0x0D, 0x0A]
        }
        return bytes
    }

    /// Gives bytes to the server; their replies wait for `replies()`.
    func send(_ bytes: [UInt8]) {
        input += bytes
        if !isParked { serve() }
    }

    /// Tries the request again that had to wait.
    func resume() {
        isParked = false
        serve()
    }

    /// The reply that the end of its wait brought.
    func endWait() -> Reply? {
        unsafe server.finishWaiting(session, output: &output)
        resume()
        return replies().first
    }

    /// Runs a request to its end, which may have to rest in between, on a machine that is slow.
    @discardableResult
    func runToEnd(_ arguments: String...) -> Reply? {
        send(Self.request(arguments.map { Array($0.utf8) }))
        return wait == nil ? replies().first : finishRest()
    }

    /// Runs a script that rests to its end.
    @discardableResult
    func finishRest() -> Reply? {
        for _ in 0..<100_000 where wait?.outcome == .waiting { server.continueScript() }
        return endWait()
    }

    /// The replies that have arrived since the last call, which must be whole ones.
    func replies() -> [Reply] {
        var reader = ReplyReader(output)
        var all: [Reply] = []
        while !reader.isAtEnd, let reply = reader.next() { all.append(reply) }
        precondition(reader.isAtEnd, "a reply is broken: \(Reply.quoted(output))")
        output = []
        return all
    }

    /// The bytes that have arrived since the last call.
    func rawReplies() -> [UInt8] {
        defer { output = [] }
        return output
    }

    private func serve() {
        defer { server.deliverMessages() }
        defer { server.tellTrackers() }
        while !isClosed && !input.isEmpty {
            let served = unsafe server.serve(session, input, output: &output)
            input.removeFirst(served.consumed)
            position = served.logPosition
            switch served.next {
            case .readOn: return
            case .yield: continue
            case .park, .block:
                isParked = true
                return
            case .closeAfterReply, .close: isClosed = true
            }
        }
    }
}
