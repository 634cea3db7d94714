//  MULTI's queue and EXEC: all locks of all queued commands and watched keys at once, then the
//  commands in order, then one unit of effects.
//
//  Raw memory: queued arguments are views into the transaction's own buffer, which nothing changes
//  while EXEC runs.

import CSystem
import MartletBase

extension Executor {
    /// Queues a request of an open transaction and replies `QUEUED`.
    mutating func queue(_ command: Command) -> FollowUp {
        let session = unsafe call.session
        let before = call.reply.buffer.count
        guard let transaction = unsafe session.pointee.transaction else { return .none }
        unsafe transaction.pointee.queue(command.number, call.arguments)
        if unsafe (rows + command.number).pointee.traits.contains(.takesTurn) {
            unsafe transaction.pointee.needsTurn = true
        }
        let record = unsafe session.pointee.record
        let bytes = unsafe transaction.pointee.memoryBytes
        unsafe record.queuedCommands.store(transaction.pointee.commands.count, ordering: .relaxed)
        record.transactionBytes.store(bytes, ordering: .relaxed)
        // What is queued counts as received and not executed.
        if unsafe bytes > call.state.settings.queryBufferBytesMax.load(ordering: .relaxed) {
            return .close
        }
        call.reply.simple("QUEUED")
        silence(from: before)
        return .none
    }

    /// EXEC in a transaction.
    @inline(never)
    mutating func executeTransaction() -> FollowUp {
        let session = unsafe call.session
        guard let transaction = unsafe session.pointee.transaction else { return .none }
        let exec = call.command
        if unsafe transaction.pointee.isAborted {
            let before = call.reply.buffer.count
            call.reply.error("EXECABORT Transaction discarded because of previous errors.")
            countError(from: before)
            statistics.countFailure(exec.number, wasRejected: false)
            if isMonitored(exec) { feedMonitors(exec) }
            call.endTransaction()
            unsafe call.state.unwatch(session)
            return finish(exec.number)
        }
        let needsTurn = unsafe transaction.pointee.needsTurn
        if needsTurn && !takesTurn() { return waitInLine(exec.number) }
        defer { if needsTurn { endTurn() } }
        let views = unsafe transaction.pointee.makeViews()
        let plan = unsafe plan(transaction, views)
        guard takes(plan) else { return waitInLine(exec.number) }
        if let heldUp = heldUp(exec) {
            unsafe Router.unlock(plan, call.state.keyspace.pointee)
            return heldUp
        }
        if unsafe session.pointee.gate.contains(.tracking) { beginTracked() }
        let begin = martlet_ticks()
        let own = call.arguments
        if isTouched() {
            call.reply.nullArray()
        } else if needsTurn {
            return executeWithScripts(exec, plan, since: begin)
        } else {
            let count = unsafe transaction.pointee.commands.count
            call.reply.array(count)
            call.isNested = true
            call.isUnitOpen = true
            for index in 0..<count {
                unsafe runQueued(transaction.pointee.commands[index], views)
            }
            call.isNested = false
            call.isUnitOpen = false
            call.arguments = own
            call.appendUnit(isWrite: true)
            if call.hasReadyKeys {
                call.ready.holds = plan.holds
                call.serveWaiters(statistics.counts)
                call.ready.holds = ReadyKeys.holdsNone
            }
        }
        call.postInvalidations()
        call.commandNumber = exec.number
        call.arguments = own
        if isMonitored(exec) { feedMonitors(exec) }
        unwatchHeld()
        unsafe Router.unlock(plan, call.state.keyspace.pointee)
        call.endTransaction()
        sendMissedPushes()
        // All commands saw one time; those that follow see the present one.
        if martlet_ticks() &- begin >= TickRate.perMillisecond { refreshTime() }
        // What a queued command wanted beyond its reply: QUIT is not queued, CLIENT KILL may be.
        return finish(exec.number)
    }

    /// The rest of EXEC for a transaction with scripts, which may go on after this call.
    private mutating func executeWithScripts(
        _ exec: Command, _ plan: LockPlan, since begin: UInt64
    ) -> FollowUp {
        if isMonitored(exec) { feedMonitors(exec) }
        // Before anything is let go of: what the transaction writes itself does not matter.
        unwatchHeld()
        let followUp = runTransactionWithScripts(plan)
        if followUp == .block { return followUp }
        call.endTransaction()
        sendMissedPushes()
        if martlet_ticks() &- begin >= TickRate.perMillisecond { refreshTime() }
        return followUp
    }

    /// Appends the messages that came while the transaction changed subscriptions. A RESP2 client that
    /// has ended them all would take them for replies.
    private mutating func sendMissedPushes() {
        if call.pushes.isEmpty { return }
        if unsafe call.reply.isRESP3 || call.session.pointee.gate.contains(.subscriberMode) {
            call.reply.buffer.append(call.pushes.view)
        }
        call.pushes.release()
    }

    mutating func arguments(
        _ queued: Transaction.Queued, _ views: UnsafeMutablePointer<ByteView>?
    ) -> Arguments {
        guard let views = unsafe views else {
            preconditionFailure("a queued command has a name")
        }
        return unsafe Arguments(
            views + queued.firstArgument, count: queued.argumentCount,
            firstKeyIndex: queued.firstKey, firstKeyHash: queued.hash,
            hashKey: call.state.keyspace.pointee.hashKey)
    }

    /// The shards of all queued commands and of all watched keys.
    private mutating func plan(
        _ transaction: UnsafeMutablePointer<Transaction>, _ views: UnsafeMutablePointer<ByteView>?
    ) -> LockPlan {
        var set = ShardSet()
        for index in unsafe 0..<transaction.pointee.commands.count {
            let queued = unsafe transaction.pointee.commands[index]
            let row = unsafe rows + queued.command
            switch unsafe row.pointee.shape {
            case .none: break
            case .all, .walks: return .all
            case .one where queued.firstKey != 0:
                set.insert(unsafe call.state.keyspace.pointee.shardIndex(queued.hash))
            case .one, .several:
                let command = unsafe call.commands.all[queued.command]
                let request = unsafe arguments(queued, views)
                if let reaches = command.reachesUnnamedKeys, reaches(request) { return .all }
                unsafe Router.shards(
                    command, request, call.state.keyspace.pointee, into: &set)
            }
        }
        if let watch = unsafe call.session.pointee.watch {
            for key in watch.keys {
                set.insert(unsafe call.state.keyspace.pointee.shardIndex(key.hash))
            }
        }
        return .several(set)
    }

    /// A watched key was written, or was alive at WATCH and is past its deadline now, or a field of it
    /// is past its own.
    private mutating func isTouched() -> Bool {
        guard let watch = unsafe call.session.pointee.watch else { return false }
        if watch.isTouched { return true }
        for key in watch.keys {
            let shard = unsafe call.state.keyspace.pointee.shard(
                call.state.keyspace.pointee.shardIndex(key.hash))
            guard unsafe shard.pointee.watchers.wasAlive(key, watch) else { continue }
            let now = unsafe shard.pointee.advance(to: call.keyspace.nowMilliseconds)
            let isExpired = key.bytes.withView { bytes in
                guard let partition = unsafe shard.pointee.partition(key.database),
                    let slot = unsafe partition.pointee.table.find(bytes, hash: key.hash)
                else { return false }
                return slot.entry.isExpired(at: now) || slot.entry.hasDueField(at: now)
            }
            if isExpired { return true }
        }
        return false
    }

    private mutating func runQueued(
        _ queued: Transaction.Queued, _ views: UnsafeMutablePointer<ByteView>?
    ) {
        call.commandNumber = queued.command
        call.arguments = unsafe arguments(queued, views)
        call.arguments.position = queued.position
        runNested(queued.command)
        if unsafe call.session.pointee.gate.contains(.tracking) {
            call.rememberKeys(of: unsafe call.commands.all[queued.command])
        }
        if unsafe call.state.conditions.contains(.monitored) {
            let command = unsafe call.commands.all[queued.command]
            if isMonitored(command) { feedMonitors(command) }
        }
    }

    /// Takes the watched keys, whose shards are held, off their shards.
    private mutating func unwatchHeld() {
        let session = unsafe call.session
        guard let watch = unsafe session.pointee.watch else { return }
        for key in watch.keys {
            let shard = unsafe call.state.keyspace.pointee.shard(
                call.state.keyspace.pointee.shardIndex(key.hash))
            unsafe shard.pointee.watchers.remove(key, watch)
            unsafe call.state.changeWatchCount(by: -1)
        }
        unsafe session.pointee.watch = nil
        unsafe session.pointee.record.watchedKeys.store(0, ordering: .relaxed)
    }
}
