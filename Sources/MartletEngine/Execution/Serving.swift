//  How a write to a key serves those who wait for it.
//
//  Every effect on a key with a line makes it ready; when the command, transaction or script that caused it has
//  ended, its locks still held, ready keys are served: first come, first served, as long as there is
//  something. What serving brings about (BLMOVE pushes to another key) makes keys ready in turn, one
//  after the other and not nested in each other.
//
//  A waiter that needs a key whose shard is not held is served right after the locks were released,
//  under new ones; until then nobody behind it is, so that order is kept.
//
//  Raw memory: nothing here is owned. Shards are used under locks that the request holds, or that are
//  taken here; a session is touched on its loop's thread.

import MartletBase

extension Call {
    /// Serves those who wait for what the ended request has written. Its locks are still held.
    mutating func serveWaiters(_ counts: LoopCounts) {
        let own = (arguments, keyspace.database, reply.isRESP3, isNested)
        var ownReply = ByteBuffer()
        swap(&reply.buffer, &ownReply)
        isNested = true
        while !ready.now.isEmpty {
            serve(ready.now.removeFirst(), counts)
        }
        hasReadyKeys = false
        // An expiry that was met when nobody got anything.
        ChangeLog.publish(.none, &self, counts)
        swap(&reply.buffer, &ownReply)
        (arguments, keyspace.database, reply.isRESP3, isNested) = own
        if !isNested { postInvalidations() }
        hasLateWaiters = !ready.later.isEmpty
        if hasLateWaiters && followUp == .none { followUp = .serveWaiters }
    }

    private mutating func serve(_ ready: ReadyKey, _ counts: LoopCounts) {
        let key = ready.key.key
        keyspace.database = ready.database
        let shardIndex = unsafe keyspace.keyspace.pointee.shardIndex(key.hash)
        let shard = unsafe keyspace.shard(key)
        var ticket: UInt64 = 0
        while let waiter = unsafe shard.pointee.waits.next(
            at: key, ready.database, after: ticket) as? Waiter
        {
            ticket = waiter.ticket
            let service = waiter.service as? WaiterService
            if let isReady = service?.isReady {
                guard waiter.outcome == .waiting, isReady(self, key) else { continue }
            } else {
                guard let entry = keyspace.find(key) else {
                    if unsafe shard.pointee.waits.isWatched(key, ready.database) { continue }
                    return
                }
                guard entry.kind == waiter.wanted else { continue }
            }
            if let destination = waiter.destination {
                let other = unsafe keyspace.keyspace.pointee.shardIndex(destination.key.hash)
                if other != shardIndex && !self.ready.holds(other) {
                    if waiter.outcome == .waiting {
                        var late = ready
                        late.otherShard = other
                        self.ready.later.append(late)
                        return
                    }
                    continue
                }
            }
            guard waiter.end(.served) else { continue }
            if service?.read != nil {
                // It takes nothing: its own loop reads for it, later.
                unsafe state.waiterEnded.call(EndedWaiter(waiter: waiter, loop: loop))
                continue
            }
            reply.isRESP3 = waiter.isRESP3
            let ownActor = actor
            actor = waiter.record.id
            if keyspace.sinks.contains(.saving) {
                keyspace.save(key, inDatabase: ready.database)
                if let destination = waiter.destination {
                    keyspace.save(destination.key, inDatabase: ready.database)
                }
            }
            do {
                try service?.run(&self, key)
            } catch {
                error.write(to: &reply, detail: errorDetail.view)
            }
            let ownPosition = logPosition
            ChangeLog.publish(.none, &self, counts)
            if keyspace.sinks.contains(.synchronous) {
                waiter.logPosition = max(
                    logPosition, unsafe keyspace.keyspace.pointee.lastWrite(key.hash))
                logPosition = ownPosition
            }
            actor = ownActor
            swap(&waiter.reply, &reply.buffer)
            // Before its reply: a copy that it has of this key is old.
            postInvalidations()
            unsafe state.waiterEnded.call(EndedWaiter(waiter: waiter, loop: loop))
        }
    }
}

extension Executor {
    /// The position of the log that the reply to a client which waited waits for, 0 for none.
    package var logPosition: UInt64 {
        // Mutating, as all that is asked of the executor: see `nowMilliseconds`.
        mutating get { call.logPosition }
    }

    /// The same between requests, when no client asks for anything.
    package mutating func serveLeftWaiters() -> Bool {
        if !call.hasLateWaiters { return false }
        call.actor = 0
        defer { call.actor = nil }
        return serveLateWaiters()
    }

    /// Looks whether a wait's keys have something for those in line, though nothing was written: time
    /// has passed. The caller holds no lock.
    ///
    /// - Returns: whether some are left because a shard is claimed: to be tried again.
    package mutating func lookAgain(_ waiter: Waiter) -> Bool {
        for key in waiter.keys {
            call.ready.later.append(ReadyKey(database: waiter.database, key: key))
        }
        call.hasLateWaiters = true
        return serveLeftWaiters()
    }

    /// Serves those who needed more than the locks of the request that made their key ready. The
    /// caller holds none.
    ///
    /// - Returns: whether some are left because a shard is claimed: to be tried again.
    @discardableResult
    mutating func serveLateWaiters() -> Bool {
        if !call.hasLateWaiters { return false }
        let keyspace = unsafe call.state.keyspace
        var claimed: [ReadyKey] = []
        while !call.ready.later.isEmpty {
            let ready = call.ready.later.removeFirst()
            var set = ShardSet()
            set.insert(unsafe keyspace.pointee.shardIndex(ready.key.key.hash))
            if let other = ready.otherShard { set.insert(other) }
            let plan = LockPlan.several(set)
            guard unsafe Router.lock(plan, keyspace.pointee) else {
                claimed.append(ready)
                continue
            }
            call.keyspace.sinks = unsafe call.state.sinks
            call.ready.holds = plan.holds
            call.ready.now.append(ready)
            call.serveWaiters(statistics.counts)
            call.ready.holds = ReadyKeys.holdsNone
            call.followUp = .none
            unsafe Router.unlock(plan, keyspace.pointee)
        }
        call.ready.later = claimed
        call.hasLateWaiters = !claimed.isEmpty
        return call.hasLateWaiters
    }

    /// What became of a wait that had ended.
    package enum WaitEnd {
        /// The reply is written.
        case replied
        /// There was nothing to be read any more: the client waits on.
        case waitsOn
        /// A shard is claimed: to be tried again.
        case isHeldUp
    }

    /// Ends a client's wait on its own loop: takes it off its keys and writes its reply, which waits for
    /// `logPosition`. The caller holds no lock.
    package mutating func finishWaiting(
        _ session: UnsafeMutablePointer<Session>, into output: inout ByteBuffer
    ) -> WaitEnd {
        call.logPosition = 0
        guard let waiter = unsafe session.pointee.waiter else { return .replied }
        let state = unsafe call.state
        if waiter.outcome == .served, let service = waiter.service as? WaiterService,
            let read = service.read
        {
            let end = unsafe self.read(for: session, waiter, read)
            // News that came before its locks; what it has read is to follow it.
            tellTaken()
            if end != .replied { return end }
        }
        unsafe state.stopWaiting(session)
        if waiter.isSilent { return .replied }
        if let ending = waiter.service as? WaitEnding {
            reply(ending, waiter, to: &output)
            return .replied
        }
        switch waiter.outcome {
        case .served:
            call.logPosition = waiter.logPosition
            output.append(waiter.reply.view)
        case .timedOut, .unblocked:
            output.append(waiter.isRESP3 ? "_\r\n" : "*-1\r\n")
        case .unblockedWithError: unblockWithError(&output)
        case .waiting, .closed:
            break
        }
        return .replied
    }

    /// The reply to who waited for something else than keys.
    private mutating func reply(
        _ ending: WaitEnding, _ waiter: Waiter, to output: inout ByteBuffer
    ) {
        switch waiter.outcome {
        case .served, .timedOut, .unblocked:
            var reply = ReplyWriter()
            reply.isRESP3 = waiter.isRESP3
            ending.reply(&reply, waiter.outcome)
            if !reply.buffer.isEmpty, reply.buffer.view[0] == UInt8(ascii: "-") {
                statistics.countError(code: ByteView("ERR"))
            }
            output.append(reply.buffer.view)
        case .unblockedWithError: unblockWithError(&output)
        case .waiting, .closed: break
        }
    }

    private mutating func unblockWithError(_ output: inout ByteBuffer) {
        output.append("-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n")
        statistics.countError(code: ByteView("UNBLOCKED"))
    }

    /// Reads for a client whose wait was ended by a write, all its keys held. What was written may be
    /// gone again: then the client stands in line anew, before its keys are let go.
    private mutating func read(
        for session: UnsafeMutablePointer<Session>, _ waiter: Waiter, _ read: WaiterService.Reading
    ) -> WaitEnd {
        let keyspace = unsafe call.state.keyspace
        var set = ShardSet()
        for key in waiter.keys {
            set.insert(unsafe keyspace.pointee.shardIndex(key.key.hash))
        }
        let plan = LockPlan.several(set)
        guard unsafe Router.lock(plan, keyspace.pointee) else { return .isHeldUp }
        defer { unsafe Router.unlock(plan, keyspace.pointee) }
        if !call.trackers.inbox.isEmpty {
            call.trackers.inbox.take(into: &call.trackers.taken)
        }
        call.actor = waiter.record.id
        defer { call.actor = nil }
        // The loop may be in the middle of a request of another client.
        let own = (call.keyspace.database, call.reply.isRESP3)
        var ownReply = ByteBuffer()
        swap(&call.reply.buffer, &ownReply)
        call.keyspace.database = waiter.database
        call.reply.isRESP3 = waiter.isRESP3
        call.keyspace.sinks = unsafe call.state.sinks
        call.ready.holds = plan.holds
        var hasRead = true
        do {
            hasRead = try read(&call)
        } catch {
            error.write(to: &call.reply, detail: call.errorDetail.view)
        }
        // An expiry that was met.
        ChangeLog.publish(.none, &call, statistics.counts)
        call.ready.holds = ReadyKeys.holdsNone
        if hasRead {
            for key in waiter.keys where call.keyspace.sinks.contains(.synchronous) {
                waiter.logPosition = max(
                    waiter.logPosition, unsafe keyspace.pointee.lastWrite(key.key.hash))
            }
            rememberKeys(of: waiter)
            swap(&waiter.reply, &call.reply.buffer)
        } else {
            unsafe renew(waiter, of: session)
        }
        swap(&call.reply.buffer, &ownReply)
        (call.keyspace.database, call.reply.isRESP3) = own
        return hasRead ? .replied : .waitsOn
    }

    /// Remembers what a tracking client has waited for and read now, all its keys held.
    private mutating func rememberKeys(of waiter: Waiter) {
        let record = waiter.record
        let number = record.lastCommand.load(ordering: .relaxed)
        guard record.tracking.remembersReads, number >= 0,
            unsafe call.commands.all[number].access == .read
        else { return }
        for key in waiter.keys { call.remember(key.key, for: record) }
    }

    /// Puts a wait like an ended one in its place; its keys are held.
    private func renew(_ ended: Waiter, of session: UnsafeMutablePointer<Session>) {
        let waiter = Waiter(again: ended)
        for key in ended.keys {
            let shard = unsafe call.keyspace.shard(key.key)
            _ = unsafe shard.pointee.waits.add(waiter, at: key)
            _ = unsafe shard.pointee.waits.remove(ended, at: key)
        }
        unsafe call.state.clients.setWaiter(waiter, of: waiter.record)
        unsafe session.pointee.waiter = waiter
    }
}
