//  A consumer group as commands see it: of a stream under a key, while its shard is held.
//
//  Raw memory: nothing here is owned. A group is its stream's, a consumer its group's; both are good
//  until they are removed or the shard is let go.
//
//  Whatever changes a group goes through here, so that the partition knows what its memory became.

import MartletBase

/// A group of a stream.
@safe
package struct GroupValue {
    private let stream: StreamValue
    private let group: UnsafeMutablePointer<ConsumerGroup>

    fileprivate init(_ stream: StreamValue, _ group: UnsafeMutablePointer<ConsumerGroup>) {
        self.stream = stream
        unsafe self.group = group
    }

    package var name: ByteView { unsafe group.pointee.name }

    /// Everything up to this id was handed out.
    @inline(__always)
    package var lastDeliveredID: StreamID {
        get { unsafe group.pointee.lastDeliveredID }
        nonmutating set { unsafe group.pointee.lastDeliveredID = newValue }
    }

    /// How many entries that were ever added have ids up to that; nil for unknown.
    @inline(__always)
    package var entriesRead: Int64? {
        get { unsafe group.pointee.entriesRead }
        nonmutating set { unsafe group.pointee.entriesRead = newValue }
    }

    /// How many entries of the stream wait to be handed out.
    package var lag: Int { stream.read { unsafe $0.count(after: group.pointee.lastDeliveredID) } }

    /// Whether there are such.
    @inline(__always)
    package var hasNews: Bool {
        stream.read { stream in
            let last = unsafe group.pointee.lastDeliveredID
            guard stream.lastID > last, let next = last.next else { return false }
            var isThere = false
            stream.walk(from: next, through: .max) { _ in
                isThere = true
                return false
            }
            return isThere
        }
    }

    // MARK: Consumers

    package var consumerCount: Int { unsafe group.pointee.consumerCount }

    /// Consumer number `index` in order of names.
    package func consumer(at index: Int) -> ConsumerValue {
        unsafe ConsumerValue(group.pointee.consumer(at: index))
    }

    @inline(__always)
    package func consumer(named name: ByteView) -> ConsumerValue? {
        guard let consumer = unsafe group.pointee.consumer(named: name) else { return nil }
        return unsafe ConsumerValue(consumer)
    }

    /// The consumer of a pending entry; nil for nobody.
    package func consumer(of entry: PendingEntry) -> ConsumerValue? {
        guard let consumer = unsafe group.pointee.consumer(of: entry) else { return nil }
        return unsafe ConsumerValue(consumer)
    }

    /// Adds a consumer, whose name is new.
    package func addConsumer(_ name: ByteView, nowMilliseconds: Int64) -> ConsumerValue {
        stream.change { _ in
            unsafe ConsumerValue(
                group.pointee.addConsumer(name, nowMilliseconds: nowMilliseconds))
        }
    }

    /// Removes a consumer with all that it holds; answers how many entries that were, or nil when
    /// there is no such consumer.
    package func removeConsumer(_ name: ByteView) -> Int? {
        stream.change { _ in unsafe group.pointee.removeConsumer(name) }
    }

    // MARK: Pending entries

    @inline(__always)
    package var pendingCount: Int { unsafe group.pointee.pending.count }

    /// How many pending entries are nobody's.
    package var releasedCount: Int { unsafe group.pointee.releasedCount }

    /// The smallest and the greatest id that is pending.
    package var pendingEnds: (first: StreamID, last: StreamID)? {
        unsafe group.pointee.pending.ends
    }

    @inline(__always)
    package func pending(_ id: StreamID) -> PendingEntry? {
        unsafe group.pointee.pending.entry(id)
    }

    /// The first pending entry at an id or behind it.
    @inline(__always)
    package func nextPending(atOrBehind id: StreamID) -> PendingEntry? {
        unsafe group.pointee.pending.next(atOrBehind: id)
    }

    /// Calls `body` for pending entries from an id on, of all or of one consumer, until it answers
    /// false. It changes nothing here.
    package func forEachPending(
        from id: StreamID, of consumer: ConsumerValue? = nil, _ body: (PendingEntry) -> Bool
    ) {
        guard let consumer else {
            unsafe group.pointee.pending.forEach(from: id, body)
            return
        }
        unsafe consumer.address.pointee.pending.forEach(from: id) {
            guard let entry = unsafe group.pointee.pending.entry($0.id) else { return true }
            return body(entry)
        }
    }

    /// The entries delivered at a time or before, those delivered longest ago first.
    package func oldest(through time: Int64, limit: Int?) -> [PendingEntry] {
        unsafe group.pointee.oldest(through: time, limit: limit)
    }

    /// No pending entry was delivered before this time; nil when there is none.
    package var earliestDelivery: Int64? {
        unsafe group.pointee.pending.count == 0 ? nil : group.pointee.pending.earliestBound
    }

    /// Hands an entry to a consumer.
    @inline(__always)
    package func deliver(_ id: StreamID, to consumer: ConsumerValue, nowMilliseconds: Int64) {
        stream.change { _ in
            unsafe group.pointee.deliver(
                id, to: consumer.address, nowMilliseconds: nowMilliseconds)
        }
    }

    /// Hands out entries that nobody got yet, lending each of them to `body`.
    ///
    /// - Parameters:
    ///   - consumer: who gets them.
    ///   - limit: how many at most.
    ///   - isPending: whether they wait to be acknowledged from now on.
    ///   - nowMilliseconds: when that is.
    ///   - body: does not change the stream.
    /// - Returns: how many.
    @inline(__always)
    package func handOut(
        to consumer: ConsumerValue, atMost limit: Int, isPending: Bool, nowMilliseconds: Int64,
        _ body: (StreamEntry) -> Void
    ) -> Int {
        if limit <= 0 { return 0 }
        return stream.change { stream in
            guard let next = unsafe group.pointee.lastDeliveredID.next else { return 0 }
            var given = 0
            let first = stream.firstID
            stream.walk(from: next, through: .max) { entry in
                body(entry)
                unsafe group.pointee.noteRead(entry.id, stream, first: first)
                if isPending {
                    unsafe group.pointee.deliver(
                        entry.id, to: consumer.address, nowMilliseconds: nowMilliseconds)
                }
                given &+= 1
                return given < limit
            }
            if given > 0 && isPending { consumer.activeMilliseconds = nowMilliseconds }
            return given
        }
    }

    /// Writes a pending entry, new or not, and gives it to a consumer, or to nobody.
    package func put(_ entry: PendingEntry, _ consumer: ConsumerValue?) {
        stream.change { _ in unsafe group.pointee.put(entry, consumer?.address) }
    }

    /// Writes a pending entry that is nobody's from now on, behind all others that are.
    package func release(_ entry: PendingEntry) {
        stream.change { _ in unsafe group.pointee.release(entry) }
    }

    /// Takes an entry off the pending ones; false when it was none.
    @inline(__always)
    package func acknowledge(_ id: StreamID) -> Bool {
        stream.change { _ in unsafe group.pointee.acknowledge(id) }
    }
}

/// A consumer of a group.
@safe
package struct ConsumerValue {
    fileprivate let address: UnsafeMutablePointer<Consumer>

    fileprivate init(_ address: UnsafeMutablePointer<Consumer>) {
        unsafe self.address = address
    }

    package var name: ByteView { unsafe address.pointee.name }

    package var pendingCount: Int { unsafe address.pointee.pending.count }

    /// When it last asked for something.
    package var seenMilliseconds: Int64 {
        get { unsafe address.pointee.seenMilliseconds }
        nonmutating set { unsafe address.pointee.seenMilliseconds = newValue }
    }

    /// When it last got something; nil for never.
    package var activeMilliseconds: Int64? {
        get { unsafe address.pointee.activeMilliseconds }
        nonmutating set { unsafe address.pointee.activeMilliseconds = newValue }
    }

    /// The first id behind one that it holds.
    package func nextPending(behind id: StreamID) -> StreamID? {
        guard let next = id.next else { return nil }
        return unsafe address.pointee.pending.next(atOrBehind: next)?.id
    }
}

extension ConsumerGroup {
    /// Goes on to an entry: it is the last that was handed out now.
    ///
    /// How many were read is counted on while that is certain, else worked out for the first and the
    /// last entry and unknown in between, as in Redis.
    @inline(__always)
    fileprivate mutating func noteRead(
        _ id: StreamID, _ stream: borrowing Stream, first: StreamID
    ) {
        let before = lastDeliveredID
        lastDeliveredID = id
        if let read = entriesRead, before >= first, stream.maxDeletedID < before {
            entriesRead = read &+ 1
        } else {
            entriesRead = stream.entriesRead(through: id, after: before, entriesRead, first: first)
        }
    }
}

extension Stream {
    /// How many entries were ever added up to one that is there; nil for unknown.
    fileprivate borrowing func entriesRead(
        through id: StreamID, after before: StreamID, _ read: Int64?, first: StreamID
    ) -> Int64? {
        let mayBeHoles = maxDeletedID != .zero && first <= maxDeletedID
        if let read, before >= first, !(mayBeHoles && before <= maxDeletedID) {
            return read &+ 1
        }
        let added = Int64(clamping: entriesAdded)
        if id == lastID { return added }
        if !mayBeHoles && id == first { return added - Int64(count) + 1 }
        return nil
    }
}

extension StreamValue {
    /// What the next id follows upon; zero for a missing key.
    package var lastID: StreamID { isMissing ? .zero : read { $0.lastID } }

    /// How many entries were ever added. The key exists.
    package var entriesAdded: Int64 { read { Int64(clamping: $0.entriesAdded) } }

    /// Whether there is an entry of this id. The key exists.
    package func contains(_ id: StreamID) -> Bool { read { $0.contains(id) } }

    /// Removes an entry; false when there is none of this id. The key exists.
    package func removeEntry(_ id: StreamID) -> Bool { change { $0.remove(id) } }

    /// Whether an entry was not delivered to some group yet, or is pending in one. The key exists.
    package func isReferenced(_ id: StreamID) -> Bool { read { $0.groups.isReferenced(id) } }

    /// Takes an entry out of what is pending in any group. The key exists.
    package func removeReferences(to id: StreamID) { change { $0.groups.removeReferences(to: id) } }

    package var groupCount: Int { isMissing ? 0 : read { $0.groups.count } }

    /// Group number `index` in order of names.
    package func group(at index: Int) -> GroupValue {
        unsafe GroupValue(self, read { unsafe $0.groups.group(at: index) })
    }

    /// The group of a name, if the key and the group exist.
    @inline(__always)
    package func group(named name: ByteView) -> GroupValue? {
        if isMissing { return nil }
        guard let group = unsafe read({ unsafe $0.groups.group(named: name) }) else { return nil }
        return unsafe GroupValue(self, group)
    }

    /// Adds a group; false when there is one of that name. The key exists.
    package func addGroup(
        _ name: ByteView, lastDeliveredID: StreamID, entriesRead: Int64?
    ) -> Bool {
        if group(named: name) != nil { return false }
        change {
            _ = unsafe $0.groups.add(
                name, lastDeliveredID: lastDeliveredID, entriesRead: entriesRead)
        }
        return true
    }

    /// Removes a group; false when there is none of that name. A large one is freed elsewhere.
    package func removeGroup(_ name: ByteView) -> Bool {
        guard let detached = change({ $0.groups.remove(name) }) else { return false }
        if detached.bytes <= Reclaimer.immediateBytesMax {
            detached.free()
        } else {
            Reclaimer.shared.run(objects: 0) { detached.free { Reclaimer.shared.pause() } }
        }
        return true
    }
}
