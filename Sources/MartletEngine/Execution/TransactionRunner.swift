//  MULTI's queue and EXEC: all locks of all queued commands and watched keys at once, then the
//  commands in order, then one unit of effects.
//
//  Raw memory: queued arguments are views into the transaction's own buffer, which nothing changes
//  while EXEC runs; the array of views is lent for that time.

import MartletBase

extension Executor {
    /// Queues a request of an open transaction and replies `QUEUED`.
    mutating func queue(_ command: Command) {
        let session = unsafe call.session
        let before = call.reply.buffer.count
        guard let transaction = unsafe session.pointee.transaction else { return }
        let first = transaction.arguments.count
        for index in 0..<call.arguments.count {
            let view = call.arguments[index]
            transaction.arguments.append(
                Transaction.Argument(start: transaction.bytes.count, count: view.count))
            transaction.bytes.append(view)
        }
        transaction.commands.append(
            Transaction.Queued(
                command: command.number, firstArgument: first,
                argumentCount: call.arguments.count))
        let record = unsafe session.pointee.record
        record.queuedCommands.store(transaction.commands.count, ordering: .relaxed)
        record.transactionBytes.store(transaction.memoryBytes, ordering: .relaxed)
        call.reply.simple("QUEUED")
        applyReplyMode(from: before)
    }

    /// EXEC.
    @inline(never)
    mutating func executeTransaction() -> FollowUp {
        let session = unsafe call.session
        guard let transaction = unsafe session.pointee.transaction else { return .none }
        if transaction.isAborted {
            call.reply.error("EXECABORT Transaction discarded because of previous errors.")
            statistics.countError(code: ByteView("EXECABORT"))
            if isMonitored(call.command) { feedMonitors(call.command) }
            endTransaction()
            return .none
        }
        var views: [ByteView] = []
        let bytes = transaction.bytes.view
        views.reserveCapacity(transaction.arguments.count)
        for argument in transaction.arguments {
            views.append(bytes.slice(argument.start, argument.start + argument.count))
        }
        let plan = unsafe views.withUnsafeMutableBufferPointer { buffer in
            unsafe self.plan(transaction, buffer)
        }
        guard unsafe Router.lock(plan, call.state.keyspace.pointee) else { return .park }
        call.keyspace.sinks = unsafe call.state.sinks
        let request = (number: call.commandNumber, arguments: call.arguments)
        if isTouched() {
            call.reply.nullArray()
        } else {
            call.reply.array(transaction.commands.count)
            call.isNested = true
            unsafe views.withUnsafeMutableBufferPointer { buffer in
                for queued in transaction.commands { unsafe runQueued(queued, buffer) }
            }
            call.isNested = false
        }
        call.commandNumber = request.number
        call.arguments = request.arguments
        if isMonitored(call.command) { feedMonitors(call.command) }
        unwatchHeld(plan)
        unsafe Router.unlock(plan, call.state.keyspace.pointee)
        endTransaction()
        // What a queued command wanted beyond its reply: QUIT is not queued, CLIENT KILL may be.
        let followUp = call.followUp
        call.followUp = .none
        return followUp
    }

    private func arguments(
        _ queued: Transaction.Queued, _ views: UnsafeMutableBufferPointer<ByteView>
    ) -> Arguments {
        guard let base = views.baseAddress else {
            preconditionFailure("a queued command has a name")
        }
        return unsafe Arguments(
            base + queued.firstArgument, count: queued.argumentCount, firstKeyIndex: 0,
            firstKeyHash: 0, hashKey: call.state.keyspace.pointee.hashKey)
    }

    /// The shards of all queued commands and of all watched keys.
    private func plan(
        _ transaction: Transaction, _ views: UnsafeMutableBufferPointer<ByteView>
    ) -> LockPlan {
        var set = ShardSet()
        for queued in transaction.commands {
            let command = unsafe call.commands.all[queued.command]
            if !command.traits.isDisjoint(with: [.allShards, .walksShards]) { return .all }
            unsafe Router.shards(
                command, arguments(queued, views), call.state.keyspace.pointee, into: &set)
        }
        if let watch = unsafe call.session.pointee.watch {
            for key in watch.keys {
                set.insert(unsafe call.state.keyspace.pointee.shardIndex(key.hash))
            }
        }
        return .several(set)
    }

    /// A watched key was written, or was alive at WATCH and is past its deadline now.
    private func isTouched() -> Bool {
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
                return slot.entry.isExpired(at: now)
            }
            if isExpired { return true }
        }
        return false
    }

    private mutating func runQueued(
        _ queued: Transaction.Queued, _ views: UnsafeMutableBufferPointer<ByteView>
    ) {
        let command = unsafe call.commands.all[queued.command]
        call.commandNumber = queued.command
        call.arguments = unsafe arguments(queued, views)
        if command.parent != nil { call.arguments.position = 2 }
        runNested(queued.command, isMonitored: isMonitored(command))
    }

    /// EXEC and DISCARD end the transaction and forget what was watched.
    mutating func endTransaction() {
        let session = unsafe call.session
        unsafe session.pointee.endTransaction()
        unsafe call.state.unwatch(session)
    }

    /// Takes the watched keys, whose shards are held, off their shards.
    private mutating func unwatchHeld(_ plan: LockPlan) {
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
