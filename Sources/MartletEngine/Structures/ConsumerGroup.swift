//  A consumer group of a stream: how far it has read, what it has handed out, and to whom.
//
//  Raw memory. Groups and consumers stand in directories, which allocate and free them; a group keeps
//  addresses of its own consumers, and that of the stream's account. Used under the shard's lock, or
//  by the one thread that tears them down.
//
//         stream ─ ConsumerGroups ─ ConsumerGroup "mail" ─ Consumer "ann" ─ ids of its pending entries
//                                    │                     Consumer "bob" ─ …
//                                    └ pending entries: id → consumer number, time, count
//
//  A pending entry stands in the group under the number of its consumer and, its id alone, in that
//  consumer: XREADGROUP of a consumer's history, XPENDING of one and XGROUP DELCONSUMER never look at
//  what others hold. Entries that XNACK gave back are nobody's, number 0.

import MartletBase

/// One who reads for a group.
struct Consumer: ~Copyable, Named {
    private let nameBytes: ByteBuffer
    /// What pending entries know it by.
    let number: UInt32
    /// When it last asked for something. Wall clock, like the next one.
    var seenMilliseconds: Int64
    /// When it last got something; nil for never.
    var activeMilliseconds: Int64?
    /// What it got and has not acknowledged.
    fileprivate(set) var pending = PendingEntries(hasDeliveries: false)

    fileprivate init(_ name: ByteView, number: UInt32, nowMilliseconds: Int64) {
        var copy = ByteBuffer(capacity: name.count)
        copy.append(name)
        nameBytes = copy
        self.number = number
        seenMilliseconds = nowMilliseconds
    }

    var name: ByteView { nameBytes.view }

    fileprivate var bytes: Int { MemoryLayout<Consumer>.size + name.count + pending.bytes }
}

/// One group of a stream.
///
/// - Invariant: each pending entry that has a consumer stands in that consumer, and nothing else does.
@safe
struct ConsumerGroup: ~Copyable, Named {
    private let nameBytes: ByteBuffer
    /// Everything up to this id was handed out.
    var lastDeliveredID: StreamID
    /// How many entries that were ever added to the stream have ids up to that; nil for unknown.
    var entriesRead: Int64?
    private(set) var pending = PendingEntries(hasDeliveries: true)
    private var directory = NameDirectory<Consumer>()
    /// Consumers by number less 1; nil for a number that is free.
    private var byNumber: [UnsafeMutablePointer<Consumer>?] = unsafe []
    private var freeNumbers: [UInt32] = []
    /// Pending entries that are nobody's.
    private(set) var releasedCount = 0
    /// How many were given back since there was none.
    private var releases: Int64 = 0
    /// What all groups of the stream take.
    private let account: UnsafeMutablePointer<Int>

    init(
        _ name: ByteView, lastDeliveredID: StreamID, entriesRead: Int64?,
        account: UnsafeMutablePointer<Int>
    ) {
        var copy = ByteBuffer(capacity: name.count)
        copy.append(name)
        nameBytes = copy
        self.lastDeliveredID = lastDeliveredID
        self.entriesRead = entriesRead
        unsafe self.account = account
        charge(ownBytes)
    }

    var name: ByteView { nameBytes.view }

    /// Memory of the group, its consumers left out.
    private var ownBytes: Int {
        MemoryLayout<ConsumerGroup>.size + name.count + pending.bytes + directory.bytes
            + (unsafe byNumber.capacity) * 8 + freeNumbers.capacity * 4
    }

    /// Counts memory that was taken, or with a minus given back, in the stream's account.
    @inline(__always)
    private func charge(_ bytes: Int) {
        // Not `+=`: the compiler fails on it under the thread sanitizer.
        let sum = unsafe account.pointee &+ bytes
        unsafe account.pointee = sum
    }

    /// Memory of all of it. Complexity: O(consumers).
    var bytes: Int {
        var total = ownBytes
        for index in 0..<directory.count { total += unsafe directory[index].pointee.bytes }
        return total
    }

    // MARK: Consumers

    var consumerCount: Int { directory.count }

    /// Consumer number `index` in order of names.
    func consumer(at index: Int) -> UnsafeMutablePointer<Consumer> { unsafe directory[index] }

    func consumer(named name: ByteView) -> UnsafeMutablePointer<Consumer>? {
        unsafe directory.find(name)
    }

    /// The consumer of a pending entry; nil for nobody.
    func consumer(of entry: PendingEntry) -> UnsafeMutablePointer<Consumer>? {
        entry.consumer == 0 ? nil : unsafe byNumber[Int(entry.consumer) - 1]
    }

    /// Adds a consumer, whose name is new.
    mutating func addConsumer(
        _ name: ByteView, nowMilliseconds: Int64
    ) -> UnsafeMutablePointer<Consumer> {
        let before = ownBytes
        var number = UInt32(truncatingIfNeeded: unsafe byNumber.count + 1)
        if let free = freeNumbers.popLast() {
            number = free
        } else {
            unsafe byNumber.append(nil)
        }
        let consumer = unsafe directory.insert(
            Consumer(name, number: number, nowMilliseconds: nowMilliseconds))
        unsafe byNumber[Int(number) - 1] = consumer
        charge(unsafe ownBytes - before + consumer.pointee.bytes)
        return unsafe consumer
    }

    /// Removes a consumer with all that it holds.
    ///
    /// - Returns: how many pending entries that were, or nil when there is no such consumer.
    /// - Complexity: O(k log n), k of them.
    mutating func removeConsumer(_ name: ByteView) -> Int? {
        let before = ownBytes
        guard let consumer = unsafe directory.remove(name) else { return nil }
        let held = unsafe consumer.pointee.pending.count
        unsafe consumer.pointee.pending.forEach(from: .zero) {
            pending.remove($0.id)
            return true
        }
        let number = unsafe consumer.pointee.number
        unsafe byNumber[Int(number) - 1] = nil
        freeNumbers.append(number)
        charge(unsafe ownBytes - before - consumer.pointee.bytes)
        unsafe consumer.deinitialize(count: 1)
        unsafe consumer.deallocate()
        return held
    }

    // MARK: Pending entries

    /// Hands an entry to a consumer: a new one, or one that somebody holds.
    @inline(__always)
    mutating func deliver(
        _ id: StreamID, to consumer: UnsafeMutablePointer<Consumer>, nowMilliseconds: Int64
    ) {
        let entry = unsafe PendingEntry(
            id: id, consumer: consumer.pointee.number, deliveredMilliseconds: nowMilliseconds,
            deliveryCount: 1)
        // Behind all others, unless the group was set back.
        if let last = pending.ends?.last, !(last < id), pending.contains(id) {
            unsafe put(entry, consumer)
            return
        }
        let before = unsafe pending.bytes &+ consumer.pointee.pending.bytes
        pending.insert(entry)
        unsafe consumer.pointee.pending.insert(PendingEntry(id: id))
        charge(unsafe pending.bytes &+ consumer.pointee.pending.bytes &- before)
    }

    /// Writes a pending entry, new or not, and gives it to a consumer, or to nobody.
    mutating func put(_ entry: PendingEntry, _ consumer: UnsafeMutablePointer<Consumer>?) {
        var entry = entry
        unsafe entry.consumer = consumer?.pointee.number ?? 0
        let before = pending.bytes
        guard let old = pending.entry(entry.id) else {
            pending.insert(entry)
            charge(pending.bytes - before)
            unsafe give(entry.id, consumer)
            return
        }
        pending.update(entry)
        charge(pending.bytes - before)
        if old.consumer == entry.consumer { return }
        takeFromConsumer(old)
        unsafe give(entry.id, consumer)
    }

    /// Writes a pending entry that is nobody's, behind all others that are: it will be handed out in
    /// its turn, before those that somebody holds.
    mutating func release(_ entry: PendingEntry) {
        var entry = entry
        releases = releasedCount == 0 ? 1 : releases + 1
        entry.deliveredMilliseconds = releases
        unsafe put(entry, nil)
    }

    private mutating func give(_ id: StreamID, _ consumer: UnsafeMutablePointer<Consumer>?) {
        guard let consumer = unsafe consumer else {
            releasedCount += 1
            return
        }
        let before = unsafe consumer.pointee.pending.bytes
        unsafe consumer.pointee.pending.insert(PendingEntry(id: id))
        charge(unsafe consumer.pointee.pending.bytes - before)
    }

    @inline(__always)
    private mutating func takeFromConsumer(_ entry: PendingEntry) {
        guard let consumer = unsafe consumer(of: entry) else {
            releasedCount -= 1
            return
        }
        let before = unsafe consumer.pointee.pending.bytes
        unsafe consumer.pointee.pending.remove(entry.id)
        charge(unsafe consumer.pointee.pending.bytes &- before)
    }

    /// Takes an entry off the pending ones; false when it was none.
    @inline(__always)
    mutating func acknowledge(_ id: StreamID) -> Bool {
        let before = pending.bytes
        guard let entry = pending.remove(id) else { return false }
        charge(pending.bytes &- before)
        takeFromConsumer(entry)
        return true
    }

    /// The entries delivered at a time or before, the longest ago first: see `PendingEntries.oldest`.
    mutating func oldest(through time: Int64, limit: Int?) -> [PendingEntry] {
        pending.oldest(through: time, limit: limit)
    }

    // MARK: Copies, checks

    borrowing func copy(account: UnsafeMutablePointer<Int>) -> ConsumerGroup {
        var other = unsafe ConsumerGroup(
            name, lastDeliveredID: lastDeliveredID, entriesRead: entriesRead, account: account)
        for index in 0..<directory.count {
            let consumer = unsafe directory[index]
            let made = unsafe other.addConsumer(
                consumer.pointee.name, nowMilliseconds: consumer.pointee.seenMilliseconds)
            unsafe made.pointee.activeMilliseconds = consumer.pointee.activeMilliseconds
        }
        pending.forEach(from: .zero) { entry in
            let owner = unsafe consumer(of: entry)
            unsafe other.put(
                entry, owner.flatMap { unsafe other.directory.find($0.pointee.name) })
            return true
        }
        other.releases = releases
        return other
    }

    /// Frees all pending entries of a group that is about to go, calling `pause` after each node.
    mutating func dismantle(_ pause: () -> Void) {
        pending.dismantle(pause)
        while let consumer = unsafe directory.removeLast() {
            unsafe consumer.pointee.pending.dismantle(pause)
            unsafe consumer.deinitialize(count: 1)
            unsafe consumer.deallocate()
        }
    }

    /// Checks every invariant; for tests. Complexity: O(n log n).
    func checkInvariants() {
        pending.checkInvariants()
        directory.checkInvariants()
        var held = 0
        for index in 0..<directory.count {
            let consumer = unsafe directory[index]
            unsafe consumer.pointee.pending.checkInvariants()
            held += unsafe consumer.pointee.pending.count
            unsafe precondition(
                byNumber[Int(consumer.pointee.number) - 1] == consumer, "it has its number")
        }
        precondition(held + releasedCount == pending.count, "entries are somebody's or nobody's")
        pending.forEach(from: .zero) { entry in
            if let consumer = unsafe consumer(of: entry) {
                precondition(
                    unsafe consumer.pointee.pending.contains(entry.id), "its consumer has it")
            } else {
                precondition(entry.consumer == 0, "a number without a consumer")
            }
            return true
        }
    }
}

/// A group that was taken off its stream.
@safe
struct DetachedGroup: @unchecked Sendable {
    // Unchecked: whoever took it off is the only one that has it.
    private let group: UnsafeMutablePointer<ConsumerGroup>
    let bytes: Int

    init(_ group: UnsafeMutablePointer<ConsumerGroup>, bytes: Int) {
        unsafe self.group = group
        self.bytes = bytes
    }

    /// Frees it, calling `pause` after each node; any thread may.
    func free(pausing pause: () -> Void = {}) {
        unsafe group.pointee.dismantle(pause)
        unsafe group.deinitialize(count: 1)
        unsafe group.deallocate()
    }
}
