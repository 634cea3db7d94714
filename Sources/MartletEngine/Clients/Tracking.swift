//  Client-side caching: which clients are to be told of writes, and the way the news takes.
//
//  *Remembering.* A command that reads on behalf of a tracking client notes its keys in their shards'
//  tables (`TrackedKeys`) while it still holds those shards. *Invalidating.* Whatever changes a key
//  (a command, expiry, a flush) takes it out of its shard's table while it holds the shard, and posts
//  the news to the inboxes of the loops whose clients are concerned, before it lets go of the shard;
//  the news of one command or transaction in one piece.
//  A loop empties its inbox between events, and a tracking client's command does so under its own
//  locks before it runs; the news stands in the client's stream before that command's reply.
//
//  *No stale read is possible once an invalidation was sent.* Let a client read key k (R), and let a
//  write W of k follow under k's lock. R remembered k before it let the lock go, so W finds it, or
//  somebody took it out in between and posted the news already: in both cases the news is in the inbox
//  before W's lock is free. Hence:
//
//  1. The news of W never overtakes R's reply: that was in the client's output before R let the lock
//     go, and news is only ever appended. What the client cached of R is dropped when the news comes.
//  2. Nothing that the client is told by a later command can know of W, or of anything that came after
//     W, without the news standing before it: if W happened before such a command C, be it through a
//     shard that both held, or because C was sent when W had been answered, then W's post happened
//     before C's look into the inbox, which C takes under its locks. So when a reply shows the state
//     after W, the copy of k is gone already.
//  3. C takes nothing out of the inbox that belongs behind its own reply: a write of a key that C
//     reads comes after C's locks, thus after its look.
//
//  Redirected news takes one hop more, from the tracker's loop to that of the client it goes to, and
//  two connections have no common order in any case, as in Redis.
//
//  A client that stops tracking stays in the tables until its keys are next written: its ID is never
//  given to another one. When nobody tracks any more, the tables are emptied in steps.

import MartletBase
import Synchronization

/// How a client tracks: the conditions that CLIENT TRACKING sets.
package struct TrackingOptions: OptionSet, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package static let on = TrackingOptions(rawValue: 1 << 0)
    /// Told of all keys under its prefixes, read or not.
    package static let broadcast = TrackingOptions(rawValue: 1 << 1)
    package static let optIn = TrackingOptions(rawValue: 1 << 2)
    package static let optOut = TrackingOptions(rawValue: 1 << 3)
    /// Not told of what it writes itself.
    package static let noLoop = TrackingOptions(rawValue: 1 << 4)
    /// CLIENT CACHING was sent and counts for the next command.
    package static let caching = TrackingOptions(rawValue: 1 << 5)
    /// The client that the news was to go to is gone.
    package static let brokenRedirect = TrackingOptions(rawValue: 1 << 6)

    /// Whether a command's keys are remembered.
    var remembersReads: Bool {
        if !contains(.on) || contains(.broadcast) { return false }
        if contains(.optIn) { return contains(.caching) }
        return !(contains(.optOut) && contains(.caching))
    }
}

extension ClientRecord {
    /// How the client tracks. Its own loop alone changes it.
    package var tracking: TrackingOptions {
        get { TrackingOptions(rawValue: trackingWord.load(ordering: .relaxed)) }
        set { trackingWord.store(newValue.rawValue, ordering: .relaxed) }
    }
}

/// News on its way to a loop's clients.
struct Invalidations: ~Copyable {
    enum Kind {
        /// A key that one client remembered.
        case key
        /// A key that was changed, for those who listen to its prefix.
        case broadcast
        /// All keys: a database was flushed or exchanged.
        case everything
    }

    struct Record {
        let kind: Kind
        /// Whom it concerns, if it is one client.
        let tracker: Tracker
        /// Who made the change; 0 when nobody did.
        let writer: Int64
        let keyStart: Int
        let keyCount: Int
    }

    private(set) var records: [Record] = []
    private var keys = ByteBuffer()

    var isEmpty: Bool { records.isEmpty }

    mutating func append(
        _ kind: Kind, tracker: Tracker = Tracker(word: 0), writer: Int64,
        key: ByteView = ByteView()
    ) {
        records.append(
            Record(
                kind: kind, tracker: tracker, writer: writer, keyStart: keys.count,
                keyCount: key.count))
        keys.append(key)
    }

    /// The key of a record, valid until something is appended or removed.
    func key(_ record: Record) -> ByteView {
        keys.view.slice(record.keyStart, record.keyStart + record.keyCount)
    }

    /// Appends what concerns a loop.
    mutating func append(
        _ other: borrowing Invalidations, ofLoop loop: Int, broadcasts: Bool, everything: Bool
    ) {
        for record in other.records {
            let concerns =
                switch record.kind {
                case .key: record.tracker.loop == loop
                case .broadcast: broadcasts
                case .everything: everything
                }
            if concerns {
                append(
                    record.kind, tracker: record.tracker, writer: record.writer,
                    key: other.key(record))
            }
        }
    }

    mutating func removeAll() {
        records.removeAll(keepingCapacity: records.count < 1024)
        if keys.capacity > 64 * 1024 { keys.release() } else { keys.removeAll() }
    }
}

/// Where a loop's news arrives.
final class InvalidationInbox: @unchecked Sendable {
    // Unchecked: `news` is touched under `lock`; the rest is atomic.
    private let lock = ShardLock.allocate()
    private var news = Invalidations()
    private let isFilled = Atomic<Bool>(false)
    /// Tracking clients of the loop, and those of them in broadcasting mode.
    let trackerCount = Atomic<Int>(0)
    let broadcastCount = Atomic<Int>(0)

    deinit { lock.deallocate() }

    var isEmpty: Bool { !isFilled.load(ordering: .acquiring) }

    /// Adds what of some news concerns this inbox's loop, all at once.
    ///
    /// - Returns: whether there was none before, and there is some now: the loop must be woken.
    func post(_ news: borrowing Invalidations, loop: Int) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        let wasEmpty = self.news.isEmpty
        self.news.append(
            news, ofLoop: loop, broadcasts: broadcastCount.load(ordering: .relaxed) > 0,
            everything: trackerCount.load(ordering: .relaxed) > 0)
        if !wasEmpty || self.news.isEmpty { return false }
        isFilled.store(true, ordering: .releasing)
        return true
    }

    /// Exchanges the news that has come with none.
    func take(into taken: inout Invalidations) {
        assert(taken.isEmpty, "what was taken before has been delivered")
        lock.lock()
        defer { lock.unlock() }
        swap(&news, &taken)
        isFilled.store(false, ordering: .releasing)
    }
}

/// What all loops share of client-side caching.
package final class Tracking: @unchecked Sendable {
    // Unchecked: `prefixes` is touched under `lock`; the rest is constant or atomic.

    /// By loop.
    let inboxes: [InvalidationInbox]
    /// Remembered keys of all shards, and their trackers.
    private let keys = Atomic<Int>(0)
    private let trackers = Atomic<Int>(0)
    /// `tracking-table-max-keys`; 0 for no bound.
    package let keysMax = Atomic<Int>(1_000_000)
    private let lock = ShardLock.allocate()
    /// Prefixes of broadcasting clients, and how many listen to each.
    private var prefixes: [Bytes: Int] = [:]
    /// The shard that was trimmed last.
    private let trimmed = Atomic<Int>(0)
    /// Keys that are forgotten under one hold of a shard: some ten microseconds.
    static let keysPerHold = 128
    /// Called when news has come to a loop that had none; shards may be held.
    package let arrived = SharedCallback1<Int>()
    /// Called to send bytes to a client that is not being served.
    package let send = SharedCallback1<PushedBytes>()

    init(loops: Int) {
        inboxes = (0..<loops).map { _ in InvalidationInbox() }
    }

    deinit { lock.deallocate() }

    /// INFO's tracking_total_keys.
    package var keyCount: Int { keys.load(ordering: .relaxed) }
    /// INFO's tracking_total_items.
    package var trackerCount: Int { trackers.load(ordering: .relaxed) }
    /// INFO's tracking_total_prefixes.
    package var prefixCount: Int {
        lock.lock()
        defer { lock.unlock() }
        return prefixes.count
    }

    /// Somebody listens to a prefix.
    var isBroadcasting: Bool {
        inboxes.contains { $0.broadcastCount.load(ordering: .relaxed) > 0 }
    }

    /// More keys are remembered than may be.
    package var isOverfull: Bool {
        let most = keysMax.load(ordering: .relaxed)
        return most > 0 && keys.load(ordering: .relaxed) > most
    }

    func count(keys change: Int, trackers trackerChange: Int) {
        if change != 0 { keys.add(change, ordering: .relaxed) }
        if trackerChange != 0 { trackers.add(trackerChange, ordering: .relaxed) }
    }

    fileprivate func nextTrimmed(below shards: Int) -> Int {
        (trimmed.wrappingAdd(1, ordering: .relaxed).newValue & Int.max) % shards
    }

    func addPrefix(_ prefix: Bytes) {
        lock.lock()
        defer { lock.unlock() }
        prefixes[prefix, default: 0] += 1
    }

    func removePrefix(_ prefix: Bytes) {
        lock.lock()
        defer { lock.unlock() }
        let left = (prefixes[prefix] ?? 0) - 1
        prefixes[prefix] = left > 0 ? left : nil
    }

    /// Posts news to the loops that it concerns. The caller holds the shards of its keys.
    func post(_ news: borrowing Invalidations) {
        if news.isEmpty { return }
        for loop in inboxes.indices
        where inboxes[loop].trackerCount.load(ordering: .relaxed) > 0 {
            if inboxes[loop].post(news, loop: loop) { arrived.call(loop) }
        }
    }
}

/// Bytes for a client of this or another loop, outside of a reply.
package struct PushedBytes {
    package let record: ClientRecord
    /// The loop that sends them.
    package let loop: Int
    /// Valid for the length of the call.
    package let bytes: ByteView
}

extension EngineState {
    /// Forgets remembered keys while there are more than may be, or when nobody tracks any more: one
    /// shard's at a time, each held for `Tracking.keysPerHold` keys. The caller holds no shard.
    ///
    /// - Parameter shards: how many to look at.
    /// - Returns: whether there is more to do.
    package func trimTracking(shards: Int) -> Bool {
        if tracking.keyCount == 0 { return false }
        let isUnused = trackingClientCount == 0
        for _ in 0..<shards {
            if !isUnused && !tracking.isOverfull { return false }
            let index = unsafe tracking.nextTrimmed(below: keyspace.pointee.shardCount)
            let lock = unsafe keyspace.pointee.lock(index)
            lock.lock()
            trimTracking(shard: index, isUnused: isUnused)
            lock.unlock()
        }
        return isUnused ? tracking.keyCount > 0 : tracking.isOverfull
    }

    private func trimTracking(shard index: Int, isUnused: Bool) {
        let shard = unsafe keyspace.pointee.shard(index)
        // Somebody may have begun to track meanwhile, and remembers keys from then on.
        if isUnused && trackingClientCount == 0 {
            unsafe tracking.count(
                keys: -shard.pointee.tracked.count, trackers: -shard.pointee.tracked.trackerCount)
            unsafe shard.pointee.tracked.forgetAll()
            return
        }
        for _ in 0..<Tracking.keysPerHold {
            if !tracking.isOverfull || !forgetOne(shard: index) { return }
        }
    }

    /// Forgets one remembered key of a shard, which the caller holds, and tells its trackers.
    ///
    /// - Returns: false when none is remembered there.
    @discardableResult
    func forgetOne(shard index: Int) -> Bool {
        let shard = unsafe keyspace.pointee.shard(index)
        var news = Invalidations()
        let trackers = unsafe shard.pointee.tracked.forgetOne { key, tracker in
            news.append(.key, tracker: tracker, writer: 0, key: key)
        }
        if trackers == 0 { return false }
        tracking.post(news)
        tracking.count(keys: -1, trackers: -trackers)
        return true
    }
}
