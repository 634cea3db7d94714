//  Reading a whole value out of an entry: for snapshots, DUMP and whoever writes values elsewhere.
//
//  Raw memory: nothing here is owned. The caller holds the entry's shard, and all that is lent, views,
//  stream blocks, groups, is good until it lets go or changes the value.
//
//  None of this counts as a use of the key. Fields of a hash past their deadline are left out at the
//  time that the caller names: it first asks for their number and then for them, at one time.

import MartletBase

extension Entry {
    /// Whether the key is as good as gone at a time: past its deadline, or a hash all of whose fields
    /// are past theirs.
    package func isOver(at nowMilliseconds: Int64) -> Bool { isGone(at: nowMilliseconds) }

    /// The key's bytes.
    package var keyView: ByteView { key }

    /// The value stands in nodes of its own, which may be many; all others fit a few kilobytes.
    package var isStructure: Bool { encoding == .structure }

    /// OBJECT ENCODING calls the collection small: `listpack`, `intset`.
    package var isCalledSmall: Bool { !header.isModified }

    /// The integer that a string holds in its place.
    package var storedInteger: Int64? { isString && encoding == .integer ? integer : nil }

    /// Lends the bytes of a string.
    ///
    /// - Precondition: the entry is a string.
    package func withString<R, E: Error>(_ body: (ByteView) throws(E) -> R) throws(E) -> R {
        switch encoding {
        case .integer: try integer.withDecimal(body)
        case .heap: try body(heapString.view)
        case .inline, .packed, .structure: try body(inlineValue)
        }
    }

    // MARK: Lists

    /// How many elements a list has.
    package var elementCount: Int {
        if isStructure { return unsafe structure.list.pointee.count }
        return unsafe PackedList(valueAddress, bytes: valueBytes).count
    }

    /// Calls `body` for all elements of a list, the first one first.
    package func forEachElement(_ body: (ListElement) -> Void) {
        if elementCount == 0 { return }
        let visit: (ListElement) -> Bool = { element in
            body(element)
            return true
        }
        if isStructure {
            unsafe structure.list.pointee.walk(from: 0, reversed: false, visit)
        } else {
            let list = unsafe PackedList(valueAddress, bytes: valueBytes)
            _ = list.records.walk(from: 0, count: list.count, reversed: false, visit)
        }
    }

    // MARK: Sets

    /// The set is a small one of integers: `forEachInteger` gives them in ascending order.
    package var isIntegerSet: Bool {
        kind == .set && encoding == .packed && header.holdsIntegers
    }

    /// How many members a set has.
    package var memberCount: Int {
        if isStructure { return unsafe structure.set.pointee.count }
        return header.holdsIntegers
            ? unsafe IntegerSet(valueAddress, bytes: valueBytes).count
            : unsafe PackedSet(valueAddress, bytes: valueBytes).count
    }

    /// Calls `body` for all members of a set, in no order.
    package func forEachMember(_ body: (ByteView) -> Void) {
        if isStructure {
            unsafe structure.set.pointee.forEachMember(body)
        } else if header.holdsIntegers {
            forEachInteger { $0.withDecimal(body) }
        } else {
            unsafe PackedSet(valueAddress, bytes: valueBytes).forEachMember(body)
        }
    }

    /// Calls `body` for all members of a small set of integers.
    package func forEachInteger(_ body: (Int64) -> Void) {
        guard isIntegerSet else { return }
        unsafe IntegerSet(valueAddress, bytes: valueBytes).forEachInteger(body)
    }

    // MARK: Sorted sets

    /// How many members a sorted set has.
    package var scoredMemberCount: Int {
        if isStructure { return unsafe structure.sortedSet.pointee.count }
        return unsafe PackedSortedSet(valueAddress, bytes: valueBytes).count
    }

    /// Calls `body` for all members of a sorted set and their scores, the lowest first.
    package func forEachScoredMember(_ body: (ByteView, Double) -> Void) {
        let count = scoredMemberCount
        if isStructure {
            unsafe structure.sortedSet.pointee.forEach(in: 0..<count, reversed: false, body)
        } else {
            unsafe PackedSortedSet(valueAddress, bytes: valueBytes)
                .forEach(in: 0..<count, reversed: false, body)
        }
    }

    // MARK: Hashes

    /// Some fields of the hash have a deadline.
    package var hasTimedFields: Bool { header.hasFieldExpiry }

    /// How many fields of a hash are not past their deadline at a time.
    package func fieldCount(at nowMilliseconds: Int64) -> Int {
        if isStructure {
            unsafe structure.hash.pointee.advance(to: nowMilliseconds)
            return unsafe structure.hash.pointee.count
        }
        let hash = unsafe PackedHash(valueAddress, bytes: valueBytes)
        if !header.hasFieldExpiry { return hash.count }
        var count = 0
        hash.forEachField(at: nowMilliseconds) { _, _, _ in count += 1 }
        return count
    }

    /// Calls `body` for those fields, their values and their deadlines, in no order.
    package func forEachField(
        at nowMilliseconds: Int64,
        _ body: (_ field: ByteView, _ value: ByteView, _ deadline: Int64?) -> Void
    ) {
        if isStructure {
            let hash = unsafe structure.hash
            unsafe hash.pointee.advance(to: nowMilliseconds)
            let isTimed = header.hasFieldExpiry
            unsafe hash.pointee.forEachField { field, value in
                body(field, value, isTimed ? unsafe hash.pointee.deadline(of: field) : nil)
            }
            return
        }
        let hash = unsafe PackedHash(valueAddress, bytes: valueBytes)
        if header.hasFieldExpiry {
            hash.forEachField(at: nowMilliseconds, body)
        } else {
            hash.forEachField { body($0, $1, nil) }
        }
    }

    // MARK: Streams

    /// What a stream holds.
    ///
    /// - Precondition: the entry is a stream.
    package var streamContents: StreamContents { unsafe StreamContents(structure.stream) }
}

/// A stream that is read as a whole.
@safe
package struct StreamContents {
    private let stream: UnsafeMutablePointer<Stream>

    fileprivate init(_ stream: UnsafeMutablePointer<Stream>) { unsafe self.stream = stream }

    package var count: Int { unsafe stream.pointee.count }
    package var blockCount: Int { unsafe stream.pointee.blockCount }
    package var lastID: StreamID { unsafe stream.pointee.lastID }
    package var firstID: StreamID { unsafe stream.pointee.firstID }
    package var maxDeletedID: StreamID { unsafe stream.pointee.maxDeletedID }
    package var entriesAdded: UInt64 { unsafe stream.pointee.entriesAdded }
    package var groupCount: Int { unsafe stream.pointee.groups.count }

    /// Calls `body` for all blocks of entries in order, `blockCount` of them.
    package func forEachBlock(_ body: (StreamBlockContents) -> Void) {
        unsafe stream.pointee.forEachBlock { body(StreamBlockContents($0)) }
    }

    /// Group number `index` in order of names.
    package func group(at index: Int) -> GroupContents {
        unsafe GroupContents(stream.pointee.groups.group(at: index))
    }

    /// Whether an entry is there. Complexity: O(log n), and the entries of a block.
    package func contains(_ id: StreamID) -> Bool { unsafe stream.pointee.contains(id) }

    /// What the stream remembers of producers; nil when it never had one and no limits of its own.
    package var producers: ProducerRecord? { unsafe stream.pointee.producers.record }
}

/// One block of a stream's entries.
package struct StreamBlockContents {
    private let block: StreamBlock

    init(_ block: StreamBlock) { self.block = block }

    package var count: Int { block.count }

    /// Calls `body` for the entries in order.
    package func forEachEntry(_ body: (StreamEntry) -> Void) {
        _ = block.walk(from: .zero, through: .max) { entry in
            body(entry)
            return true
        }
    }
}

/// A consumer group that is read as a whole.
@safe
package struct GroupContents {
    private let group: UnsafeMutablePointer<ConsumerGroup>

    fileprivate init(_ group: UnsafeMutablePointer<ConsumerGroup>) { unsafe self.group = group }

    package var name: ByteView { unsafe group.pointee.name }
    package var lastDeliveredID: StreamID { unsafe group.pointee.lastDeliveredID }
    package var entriesRead: Int64? { unsafe group.pointee.entriesRead }
    package var pendingCount: Int { unsafe group.pointee.pending.count }
    /// How many of them are nobody's.
    package var releasedCount: Int { unsafe group.pointee.releasedCount }
    package var consumerCount: Int { unsafe group.pointee.consumerCount }

    /// Calls `body` for all pending entries in the order of their IDs.
    package func forEachPending(_ body: (PendingEntry) -> Void) {
        unsafe group.pointee.pending.forEach(from: .zero) { entry in
            body(entry)
            return true
        }
    }

    /// The name of the consumer that a pending entry was delivered to; nil when it is nobody's.
    package func consumerName(of entry: PendingEntry) -> ByteView? {
        unsafe group.pointee.consumer(of: entry)?.pointee.name
    }

    /// Consumer number `index` in order of names.
    package func consumer(at index: Int) -> ConsumerContents {
        unsafe ConsumerContents(group.pointee.consumer(at: index))
    }
}

/// A consumer that is read as a whole.
@safe
package struct ConsumerContents {
    private let consumer: UnsafeMutablePointer<Consumer>

    fileprivate init(_ consumer: UnsafeMutablePointer<Consumer>) {
        unsafe self.consumer = consumer
    }

    package var name: ByteView { unsafe consumer.pointee.name }
    package var seenMilliseconds: Int64 { unsafe consumer.pointee.seenMilliseconds }
    package var activeMilliseconds: Int64? { unsafe consumer.pointee.activeMilliseconds }
    package var pendingCount: Int { unsafe consumer.pointee.pending.count }

    /// Calls `body` for the IDs of what it holds, in order.
    package func forEachPendingID(_ body: (StreamID) -> Void) {
        unsafe consumer.pointee.pending.forEach(from: .zero) { entry in
            body(entry.id)
            return true
        }
    }
}

extension Keyspace {
    /// Keys of a database, and those with a deadline. The caller holds all shards.
    package func counts(ofDatabase number: Int) -> (keys: Int, keysWithDeadline: Int) {
        var counts = (keys: 0, keysWithDeadline: 0)
        for index in 0..<shardCount {
            guard let partition = unsafe shard(index).pointee.partition(number) else { continue }
            counts.keys += unsafe partition.pointee.count
            counts.keysWithDeadline += unsafe partition.pointee.expiry.count
        }
        return counts
    }

    /// Calls `body` for all entries of a database, those past their deadline included. The caller
    /// holds all shards.
    package func forEachEntry(inDatabase number: Int, _ body: (Entry) -> Void) {
        for index in 0..<shardCount {
            guard let partition = unsafe shard(index).pointee.partition(number) else { continue }
            unsafe partition.pointee.table.forEachEntry(body)
        }
    }
}
