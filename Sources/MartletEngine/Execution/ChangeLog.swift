//  The one door for writes: effects in, sinks out, in a fixed order, while the shards are held.
//
//  Sinks: the append-only log, watched keys, notifications, clients' caches, and clients that wait for
//  keys. The log comes first, so that whoever is told of a change finds it there. The replication
//  backlog will take its place behind it, with a bit of its own in `EffectSinks`.

import MartletBase

/// Gives effects to the sinks that are active.
enum ChangeLog {
    /// Publishes the effect a handler returned and all that was recorded beside it.
    @inline(__always)
    static func publish(
        _ effect: Effect, _ call: inout Call, _ counts: LoopCounts
    ) {
        let changes = effect.isRecorded ? 0 : Int(effect.count)
        if unsafe call.keyspace.effects.pointee.isEmpty {
            if changes == 0 { return }
            counts.countChanges(changes)
            if call.keyspace.sinks.isEmpty { return }
        } else {
            unsafe counts.countChanges(changes &+ call.keyspace.effects.pointee.changeCount)
        }
        deliver(effect, &call, counts)
    }

    @inline(never)
    private static func deliver(_ effect: Effect, _ call: inout Call, _ counts: LoopCounts) {
        let effects = unsafe call.keyspace.effects
        if call.keyspace.isLogging { call.log(effect) }
        if call.keyspace.sinks.haveListeners {
            for record in unsafe effects.pointee.records {
                let key = unsafe effects.pointee.key(record)
                if record.event.isChange && !record.event.isUnwatched {
                    touchWatchers(
                        key, record.database, byExpiry: record.event == .expired, call.keyspace)
                }
                call.notify(record.event, key.bytes, record.database)
                if record.event.isChange {
                    call.invalidateCopies(of: key, byExpiry: record.event.isExpiry)
                    call.noteWritten(key, record.database)
                }
            }
            if effect.count > 0 && effect.keyIndex > 0 {
                let bytes = call.arguments[Int(effect.keyIndex)]
                let key = unsafe call.keyspace.keyspace.pointee.key(bytes)
                if !effect.event.isUnwatched {
                    touchWatchers(key, call.keyspace.database, byExpiry: false, call.keyspace)
                }
                call.notify(effect.event, bytes, call.keyspace.database)
                call.invalidateCopies(of: key, byExpiry: false)
                call.noteWritten(key, call.keyspace.database)
            }
        }
        unsafe effects.pointee.removeAll()
        // Within a transaction the rest waits for its end.
        if call.isNested { return }
        call.postInvalidations()
        if call.hasReadyKeys { call.serveWaiters(counts) }
    }

    private static func touchWatchers(
        _ key: Key, _ database: Int, byExpiry: Bool, _ keyspace: KeyAccess
    ) {
        let shard = unsafe keyspace.keyspace.pointee.shard(
            keyspace.keyspace.pointee.shardIndex(key.hash))
        if unsafe shard.pointee.watchers.isEmpty { return }
        unsafe shard.pointee.watchers.touch(
            WatchedKey(database: database, bytes: key.bytes.bytes, hash: key.hash),
            byExpiry: byExpiry)
    }
}
