//  One loop's side of the engine: sessions of its connections, and what happens between events.
//
//  Raw memory: the handler allocates its work with itself, and a client and a session for each
//  connection, freed when the connection is closed. All are touched on the loop's thread.

import Glibc
import MartletBase
import MartletEngine
import MartletTransport
import Synchronization

/// Hands a connection's bytes to the executor and keeps what the engine does not know: sockets.
@safe
final class LoopHandler: ConnectionHandler, @unchecked Sendable {
    // Unchecked: used on its loop's thread alone, to which others post.

    /// A connection's session and its handle.
    @safe
    struct Client: ~Copyable {
        var session: UnsafeMutablePointer<Session>
        var connection: ConnectionReference
        /// Stands among the parked.
        var isParked = false
        /// Is closed as soon as the reply that its wait brought has left: it was killed too late.
        var closesAfterWait = false
    }

    private let context: ServerContext
    /// The context's, at hand in each iteration.
    private let state: EngineState
    private let loop: Int
    private let signals: LoopSignals
    /// In memory of its own: a property of a class would be checked for exclusive access at each use,
    /// which costs more than a request.
    private let work: UnsafeMutablePointer<Work>

    /// What the loop works with at each event.
    @safe
    private struct Work: ~Copyable {
        var executor: Executor
        /// Connections that stopped before a request that must wait, in order of arrival.
        var parked: [UnsafeMutablePointer<Client>] = unsafe []
        /// The engine's count of releases before the first of them was held back.
        var releasesBeforeParking: UInt64 = 0
        /// The same count when this iteration began.
        var releasesBeforeIteration: UInt64 = 0
        var blocked = BlockedClients()
        var fanOut = FanOut()

        init(executor: consuming Executor) { self.executor = executor }
    }

    init(context: ServerContext, loop: Int) {
        self.context = context
        state = context.state
        self.loop = loop
        signals = state.pubSub.signals(ofLoop: loop)
        unsafe work = .allocate(capacity: 1)
        unsafe work.initialize(
            to: Work(
                executor: Executor(state: state, commands: context.commands, loop: loop)))
    }

    deinit {
        unsafe work.deinitialize(count: 1)
        unsafe work.deallocate()
    }

    // MARK: Connections

    func opened(
        _ connection: ConnectionReference, output: inout ByteBuffer
    ) -> UnsafeMutableRawPointer? {
        if let refusal = refusal(of: connection) {
            output.append(refusal)
            context.rejectedConnections.add(1, ordering: .relaxed)
            return nil
        }
        let record = ClientRecord(
            id: state.clients.newID(), loop: loop,
            addresses: ClientAddresses(
                peer: connection.peerAddress, local: connection.localAddress,
                descriptor: connection.descriptor, isUnixSocket: connection.isUnixSocket,
                isLoopback: connection.isLoopback),
            createdMilliseconds: state.clock.wallMilliseconds())
        let client = UnsafeMutablePointer<Client>.allocate(capacity: 1)
        let session = UnsafeMutablePointer<Session>.allocate(capacity: 1)
        unsafe session.initialize(to: Session(record: record))
        unsafe client.initialize(to: Client(session: session, connection: connection))
        unsafe session.pointee.outlet = UnsafeMutableRawPointer(client)
        let settings = context.configuration.settings
        if state.password.isRequired {
            unsafe session.pointee.gate.insert(.unauthenticated)
            connection.setInputLimit(bytes: Limits.preauthQueryBytesMax)
            connection.setOutputLimits(
                hardBytes: Limits.preauthOutputBytesMax, softBytes: 0, softSeconds: 0)
        } else {
            applyLimits(connection, settings)
        }
        unsafe state.begin(session)
        context.connections.add(record.id, connection)
        return UnsafeMutableRawPointer(client)
    }

    private func refusal(of connection: ConnectionReference) -> StaticString? {
        let settings = context.configuration.settings
        if state.clients.count >= context.clientsMax.load(ordering: .relaxed) {
            return "-ERR max number of clients reached\r\n"
        }
        if settings.protectedMode && !state.password.isRequired && !connection.isLoopback
            && !connection.isUnixSocket
        {
            return """
                -DENIED Martlet is running in protected mode because protected mode is enabled and \
                no password is set for the default user. In this mode connections are only \
                accepted from the loopback interface. To connect from elsewhere, set a password \
                with 'CONFIG SET requirepass <password>' or in the configuration file, or turn \
                protected mode off with 'CONFIG SET protected-mode no' from this machine, if no \
                one else can reach the server.\r\n
                """
        }
        return nil
    }

    private func applyLimits(
        _ connection: ConnectionReference, _ settings: Settings, isSubscriber: Bool = false
    ) {
        let limits = settings.outputBufferLimits
        let limit = isSubscriber ? limits.pubsub : limits.normal
        connection.setOutputLimits(
            hardBytes: limit.hardBytes, softBytes: limit.softBytes,
            softSeconds: UInt32(clamping: limit.softSeconds))
        connection.setInputLimit(bytes: settings.queryBufferBytesMax)
    }

    func received(
        _ context: UnsafeMutableRawPointer, input: ByteView, output: inout ByteBuffer
    ) -> Outcome {
        let client = unsafe context.assumingMemoryBound(to: Client.self)
        let session = unsafe client.pointee.session
        let wasUnauthenticated = unsafe session.pointee.gate.contains(.unauthenticated)
        let begin = output.count
        let served = unsafe work.pointee.executor.serve(session, input, output: &output)
        // Zero but under `appendfsync always`: only then is the log looked at.
        if served.logPosition != 0 {
            unsafe withhold(client, served.logPosition, replyBytes: output.count - begin)
        }
        if wasUnauthenticated, unsafe !session.pointee.gate.contains(.unauthenticated) {
            unsafe applyLimits(
                client.pointee.connection, self.context.configuration.settings)
        }
        switch served.next {
        case .readOn:
            return Outcome(
                consumed: served.consumed, next: .readOn, minimumBytes: served.bytesNeeded)
        case .park:
            unsafe park(client)
            return Outcome(consumed: served.consumed, next: .pause)
        case .block:
            unsafe work.pointee.blocked.add(client, state.clock)
            unsafe client.pointee.connection.setMayIdle(true)
            return Outcome(consumed: served.consumed, next: .pause)
        case .yield:
            // With nothing left to execute there is nothing to come back for.
            if served.consumed == input.count { return Outcome(consumed: served.consumed) }
            unsafe client.pointee.connection.resume()
            return Outcome(consumed: served.consumed, next: .pause)
        case .closeAfterReply:
            return Outcome(consumed: served.consumed, next: .closeAfterFlush)
        case .close:
            return Outcome(consumed: served.consumed, next: .closeNow)
        }
    }

    /// Keeps replies back until what they tell of is durable. What stands between the replies to writes
    /// waits for all that the request has read and written.
    @inline(never)
    private func withhold(
        _ client: UnsafeMutablePointer<Client>, _ position: UInt64, replyBytes: Int
    ) {
        if position <= state.log.durable.load(ordering: .relaxed) { return }
        let connection = unsafe client.pointee.connection
        var offset = 0
        for write in unsafe work.pointee.executor.writeReplies {
            connection.withhold(
                bytes: write.range.lowerBound - offset, until: position, isRevocable: false)
            connection.withhold(
                bytes: write.range.count, until: write.logPosition, isRevocable: true)
            offset = write.range.upperBound
        }
        connection.withhold(bytes: replyBytes - offset, until: position, isRevocable: false)
    }

    /// What bytes that tell of changes wait for: everything logged so far, under `appendfsync always`.
    private var positionToAwait: UInt64 {
        context.durability.isSynchronous.load(ordering: .relaxed) ? state.log.end : 0
    }

    private func park(_ client: UnsafeMutablePointer<Client>) {
        if unsafe work.pointee.parked.isEmpty {
            // Counted before the request was looked at: a release in between is not missed.
            unsafe work.pointee.releasesBeforeParking = work.pointee.releasesBeforeIteration
        }
        unsafe client.pointee.isParked = true
        unsafe work.pointee.parked.append(client)
    }

    func closed(_ context: UnsafeMutableRawPointer) {
        let client = unsafe context.assumingMemoryBound(to: Client.self)
        if unsafe client.pointee.isParked {
            unsafe work.pointee.parked.removeAll { unsafe $0 == client }
        }
        let session = unsafe client.pointee.session
        let connection = unsafe client.pointee.connection
        let record = unsafe session.pointee.record
        unsafe work.pointee.blocked.remove(record.id)
        unsafe work.pointee.executor.forget(session)
        if unsafe session.pointee.gate.contains(.monitor) {
            self.context.monitors.remove(connection, state)
        }
        state.clients.remove(record)
        self.context.connections.remove(record.id)
        unsafe session.deinitialize(count: 1)
        unsafe session.deallocate()
        unsafe client.deinitialize(count: 1)
        unsafe client.deallocate()
    }

    // MARK: Iterations

    func iterationBegan() {
        unsafe work.pointee.executor.iterationBegan()
        unsafe work.pointee.releasesBeforeIteration = state.releaseCount.load(
            ordering: .acquiring)
        // What was published before a subscriber asked for something goes before the reply to that.
        if signals.hasMessages { deliverMessages() }
    }

    func iterationEnded() -> Int32 {
        let untilExpiry = unsafe work.pointee.executor.reclaimExpired()
        let untilResumption = resumeParked()
        if loop == 0 {
            unsafe context.cron.tick(
                context, nowMilliseconds: work.pointee.executor.nowMilliseconds)
        }
        let untilTimeout = endWaits()
        // Other loops first, so that they deliver while this one does.
        if signals.mustWake {
            for other in state.pubSub.takeWakes(ofLoop: loop) {
                context.loops[other].post {}
            }
        }
        if signals.hasMessages { deliverMessages() }
        let mustEvictMore = context.clientMemory.enforce(loop: loop, context)
        let untilEviction = unsafe work.pointee.executor.iterationEnded()
        if mustEvictMore { return 0 }
        return min(untilExpiry, untilResumption, untilTimeout, untilEviction)
    }

    /// Lets parked connections try again once something that held commands back is over.
    ///
    /// - Returns: in how many milliseconds that may be at the earliest, unless the loop is woken.
    private func resumeParked() -> Int32 {
        if unsafe work.pointee.parked.isEmpty { return .max }
        let pauseLeft = state.endPauseIfDue()
        let releases = state.releaseCount.load(ordering: .acquiring)
        if unsafe releases == work.pointee.releasesBeforeParking {
            return pauseLeft.map { Int32(clamping: $0 / 1_000_000 + 1) } ?? .max
        }
        let waiting = unsafe work.pointee.parked
        unsafe work.pointee.parked = []
        for index in unsafe waiting.indices {
            unsafe waiting[index].pointee.isParked = false
            unsafe waiting[index].pointee.connection.resume()
        }
        return 0
    }

    func acceptFailed(errno: Int32) {
        context.log.write(
            .warning,
            unsafe "Accepting client connection: \(String(cString: unsafe strerror(errno)))")
    }

    func outputLimitExceeded(_ context: UnsafeMutableRawPointer) {
        unsafe log(context, "closed for overcoming of output buffer limits")
    }

    func inputLimitExceeded(_ context: UnsafeMutableRawPointer) {
        unsafe log(context, "closed for reaching the maximum query buffer length")
    }

    func idleLimitExceeded(_ context: UnsafeMutableRawPointer) {
        self.context.log.write(.verbose, "Closing idle client")
    }

    func buffersChanged(
        _ context: UnsafeMutableRawPointer, inputBytes: Int, outputBytes: Int
    ) {
        let client = unsafe context.assumingMemoryBound(to: Client.self)
        let record = unsafe client.pointee.session.pointee.record
        record.queryCapacity.store(inputBytes, ordering: .relaxed)
        record.outputBytes.store(outputBytes, ordering: .relaxed)
    }

    /// Who waits for a key gets nothing any more; requests that were held back are still served.
    func hungUpWhilePaused(_ context: UnsafeMutableRawPointer) -> Bool {
        let client = unsafe context.assumingMemoryBound(to: Client.self)
        return unsafe client.pointee.session.pointee.waiter != nil
    }

    // MARK: Messages

    /// Sends this loop's subscribers what was published since the last time.
    private func deliverMessages() {
        let position = positionToAwait
        unsafe work.pointee.fanOut.deliver(state.pubSub, loop: loop) { session, bytes in
            let client = unsafe session.pointee.outlet?.assumingMemoryBound(to: Client.self)
            unsafe client?.pointee.connection.send(bytes, until: position)
        }
    }

    /// A client of this loop has become a subscriber, or is none any more: other limits apply.
    func subscriberChanged(_ record: ClientRecord) {
        guard let connection = context.connections.connection(record.id) else { return }
        let isSubscriber = record.subscriptionCount > 0
        connection.setMayIdle(isSubscriber)
        applyLimits(connection, context.configuration.settings, isSubscriber: isSubscriber)
    }

    // MARK: Waiting for keys

    /// Ends the waits that are over, on the loop's thread.
    ///
    /// - Returns: in how many milliseconds the next one times out.
    private func endWaits() -> Int32 {
        var isLate = unsafe work.pointee.executor.serveLeftWaiters()
        if unsafe work.pointee.blocked.isEmpty { return isLate ? 1 : .max }
        let now = state.clock.monotonicNanoseconds()
        // What is there while data are loaded is nothing to be served from.
        while !state.conditions.contains(.loading),
            let waiter = unsafe work.pointee.blocked.nextLook(nowNanoseconds: now)
        {
            isLate = unsafe work.pointee.executor.lookAgain(waiter)
        }
        unsafe work.pointee.blocked.takeUpPostponed()
        while let id = unsafe work.pointee.blocked.nextEnded(nowNanoseconds: now) { finishWait(id) }
        let left = unsafe work.pointee.blocked.millisecondsLeft(nowNanoseconds: now)
        let hasMore = unsafe work.pointee.blocked.hasPostponed
        return isLate || hasMore ? 1 : left
    }

    /// Sends bytes that were not asked for to a client of this loop that is not being served.
    func send(_ bytes: ByteView, to record: ClientRecord) {
        let client = unsafe record.session?.pointee.outlet?.assumingMemoryBound(to: Client.self)
        unsafe client?.pointee.connection.append(bytes, until: positionToAwait)
    }

    /// Tells this loop's clients of keys that were changed. No request is being served.
    func tellTrackers() { unsafe work.pointee.executor.tellTrackers() }

    /// A wait of this loop's client was ended by this loop, which may be in the middle of a request.
    func waitEnded(_ record: ClientRecord) { unsafe work.pointee.blocked.noteEnded(record.id) }

    /// An errand of a client of this loop has ended, be the client still there or not.
    func conclude(_ errand: Errand) { unsafe work.pointee.executor.conclude(errand) }

    /// Goes on with this loop's script, now that others have had their turn.
    func continueScript() { unsafe work.pointee.executor.continueScript() }

    /// Replies to a client whose wait has ended, and reads on.
    func finishWait(_ id: Int64) {
        guard let client = unsafe work.pointee.blocked.remove(id) else { return }
        var reply = ByteBuffer()
        // What tells of no key waits for nothing: of a log that fails it is told all the same.
        let isOfKeys = unsafe client.pointee.session.pointee.waiter?.isForKeys ?? true
        // What its reply shows comes after what it is told of.
        unsafe work.pointee.executor.tellTrackers()
        let connection = unsafe client.pointee.connection
        let end = unsafe work.pointee.executor.finishWaiting(
            client.pointee.session, into: &reply)
        if end != .replied {
            if unsafe client.pointee.closesAfterWait {
                connection.close(afterFlush: true)
                return
            }
            unsafe work.pointee.blocked.add(client, state.clock)
            if end == .isHeldUp { unsafe work.pointee.blocked.postpone(id) }
            return
        }
        connection.setMayIdle(unsafe client.pointee.session.pointee.record.subscriptionCount > 0)
        // At once: a KILL that came too late to end the wait must not drop what it brought.
        if !reply.isEmpty {
            let awaited = unsafe work.pointee.executor.logPosition
            connection.send(reply.view, until: isOfKeys ? positionToAwait : awaited)
        }
        if unsafe client.pointee.closesAfterWait {
            connection.close(afterFlush: true)
        } else {
            connection.resume()
        }
    }

    /// Closes the connection of a client that was killed, after the reply that it was served before.
    func closeKilled(_ record: ClientRecord) {
        if let client = unsafe work.pointee.blocked.client(record.id),
            unsafe client.pointee.session.pointee.waiter?.outcome == .served
        {
            unsafe client.pointee.closesAfterWait = true
        } else {
            context.connections.connection(record.id)?.close(afterFlush: false)
        }
    }

    private func log(_ context: UnsafeMutableRawPointer, _ reason: String) {
        let client = unsafe context.assumingMemoryBound(to: Client.self)
        let record = unsafe client.pointee.session.pointee.record
        self.context.log.write(
            .warning, "Client id=\(record.id) addr=\(record.addresses.peer) \(reason)")
    }
}
