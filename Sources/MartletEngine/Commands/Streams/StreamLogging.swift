//  What is logged of consumer groups: not who asked for entries and how, but who holds which of them
//  since when, as Redis writes it down too.
//
//      XREADGROUP GROUP g c STREAMS s >   ->   XCLAIM s g c 0 1-1 1-2 TIME t RETRYCOUNT 1 FORCE JUSTID
//                                              XGROUP SETID s g 1-2 ENTRIESREAD 2
//
//  When a consumer was seen last, and when it last got anything, is not logged: it is the time at which
//  the log is read, as in Redis.

import MartletBase

extension Call {
    /// Logs a pending entry as it is now.
    func logClaim(_ entry: PendingEntry, _ consumer: ConsumerValue, _ group: GroupValue, _ key: Key)
    {
        if !keyspace.isLogging { return }
        keyspace.collect(entry.id)
        logClaims(consumer, group, key, entry.deliveredMilliseconds, entry.deliveryCount)
    }

    /// Collects an entry that is handed out for the first time.
    func collectClaim(
        of id: StreamID, _ consumer: ConsumerValue, _ group: GroupValue, _ key: Key
    ) {
        keyspace.collect(id)
        if keyspace.collectedCount == KeyAccess.collectedMax {
            logClaims(consumer, group, key, keyspace.nowMilliseconds, 1)
        }
    }

    /// Logs that the collected entries were handed out, and up to where the group has read.
    func logHandedOut(to consumer: ConsumerValue, _ group: GroupValue, _ key: Key) {
        if !keyspace.isLogging { return }
        if keyspace.collectedCount > 0 {
            logClaims(consumer, group, key, keyspace.nowMilliseconds, 1)
        }
        logGroupID(group, key)
    }

    /// Logs up to where a group has read.
    func logGroupID(_ group: GroupValue, _ key: Key) {
        if !keyspace.isLogging { return }
        keyspace.begin("XGROUP", arguments: 7)
        keyspace.logged("SETID")
        keyspace.logged(key.bytes)
        keyspace.logged(group.name)
        keyspace.logged(group.lastDeliveredID)
        keyspace.logged("ENTRIESREAD")
        keyspace.logged(group.entriesRead ?? -1)
    }

    /// Logs that a pending entry is none any more, since it was deleted.
    func logGone(_ id: StreamID, _ group: GroupValue, _ key: Key) {
        if !keyspace.isLogging { return }
        keyspace.begin("XACK", arguments: 4)
        keyspace.logged(key.bytes)
        keyspace.logged(group.name)
        keyspace.logged(id)
    }

    private func logClaims(
        _ consumer: ConsumerValue, _ group: GroupValue, _ key: Key, _ milliseconds: Int64,
        _ deliveryCount: Int64
    ) {
        keyspace.begin("XCLAIM", arguments: 11 + keyspace.collectedCount)
        keyspace.logged(key.bytes)
        keyspace.logged(group.name)
        keyspace.logged(consumer.name)
        keyspace.logged(0)
        keyspace.loggedCollected()
        keyspace.logged("TIME")
        keyspace.logged(milliseconds)
        keyspace.logged("RETRYCOUNT")
        keyspace.logged(deliveryCount)
        keyspace.logged("FORCE")
        keyspace.logged("JUSTID")
    }
}
