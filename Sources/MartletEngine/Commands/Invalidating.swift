//  Client-side caching on the path of commands: what reads remember and writes invalidate. The way
//  from here to the clients, and why no copy is stale once its client was told, is in
//  Clients/Tracking.swift.
//
//  Raw memory: nothing here is owned; a shard's table is used while the request holds the shard, the
//  session on its loop's thread.

import MartletBase

extension Call {
    /// Tells clients that keep a copy of a key, or listen to a prefix of it, that it was changed. Its
    /// shard is held.
    ///
    /// Who meets an expired key has not written it, but knows that it is gone: with NOLOOP a copy's
    /// owner is not told, and a listener is, as in Redis.
    mutating func invalidateCopies(of key: Key, byExpiry: Bool) {
        guard keyspace.sinks.contains(.tracking) else { return }
        let tracking = unsafe state.tracking
        let writer = unsafe actor ?? session.pointee.record.id
        let shard = unsafe keyspace.shard(key)
        let own = trackers
        if unsafe !shard.pointee.tracked.isEmpty {
            let trackers = unsafe shard.pointee.tracked.forget(key) { tracker in
                own.caused.append(.key, tracker: tracker, writer: writer, key: key.bytes)
            }
            if trackers > 0 { tracking.count(keys: -1, trackers: -trackers) }
        }
        if tracking.isBroadcasting {
            own.caused.append(.broadcast, writer: byExpiry ? 0 : writer, key: key.bytes)
        }
    }

    /// Posts what the ended command or transaction has caused, its shards still held.
    mutating func postInvalidations() {
        if trackers.caused.isEmpty { return }
        unsafe state.tracking.post(trackers.caused)
        trackers.caused.removeAll()
    }

    /// Tells all clients that track that databases were emptied or exchanged; for one that does so
    /// itself NOLOOP makes no difference. All shards are held.
    ///
    /// SWAPDB is included, other than in Redis: every key of two databases may have changed.
    package mutating func invalidateAllCopies() {
        guard keyspace.sinks.contains(.tracking) else { return }
        let tracking = unsafe state.tracking
        for index in unsafe 0..<keyspace.keyspace.pointee.shardCount {
            let shard = unsafe keyspace.keyspace.pointee.shard(index)
            unsafe tracking.count(
                keys: -shard.pointee.tracked.count, trackers: -shard.pointee.tracked.trackerCount)
            unsafe shard.pointee.tracked.forgetAll()
        }
        trackers.caused.append(
            .everything, writer: unsafe actor ?? session.pointee.record.id)
        if !isNested { postInvalidations() }
    }

    /// Remembers the keys of a command that has read them for a tracking client; keys that are missing
    /// count too. Their shards are held.
    ///
    /// Redis remembers the keys that the arguments name: not those that SORT_RO reaches by its
    /// patterns.
    mutating func rememberKeys(of command: Command) { rememberKeys(of: command, for: record) }

    /// The same for the client whose script has run the command.
    mutating func rememberKeys(of command: Command, for record: ClientRecord) {
        guard command.access == .read, !command.keys.isEmpty, record.tracking.remembersReads
        else { return }
        let tracking = unsafe state.tracking
        let tracker = Tracker(client: record.id, loop: loop)
        let keyspace = keyspace
        let arguments = arguments
        _ = KeySpec.forEachKey(command.keys, arguments) { index, _ in
            let key = unsafe keyspace.keyspace.pointee.key(arguments[index])
            let shard = unsafe keyspace.shard(key)
            let added = unsafe shard.pointee.tracked.remember(key, for: tracker)
            tracking.count(keys: added.keys, trackers: added.trackers)
        }
        if tracking.isOverfull { forgetSome(arguments, command) }
    }

    /// Remembers one key that a client of this loop has read. Its shard is held.
    func remember(_ key: Key, for record: ClientRecord) {
        let shard = unsafe keyspace.shard(key)
        let added = unsafe shard.pointee.tracked.remember(
            key, for: Tracker(client: record.id, loop: loop))
        unsafe state.tracking.count(keys: added.keys, trackers: added.trackers)
    }

    /// Makes room for keys just remembered: one of the same shard goes for each, perhaps itself.
    private mutating func forgetSome(_ arguments: Arguments, _ command: Command) {
        let state = unsafe self.state
        let keyspace = unsafe self.keyspace.keyspace
        _ = KeySpec.forEachKey(command.keys, arguments) { index, _ in
            if !state.tracking.isOverfull { return }
            let key = unsafe keyspace.pointee.key(arguments[index])
            _ = unsafe state.forgetOne(shard: keyspace.pointee.shardIndex(key.hash))
        }
    }
}
