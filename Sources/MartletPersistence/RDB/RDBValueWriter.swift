//  Values in RDB form: which type each gets, and its bytes.
//
//  The caller holds the entry's shard. A value in nodes is written as a number of members and then the
//  members, in whatever order they are met; `append(countOf:)` and the `append(member:)` family are
//  what whoever walks such a value in slices needs, and `append(value:)` is made of the same.

import MartletBase
import MartletEngine

extension RDBOutput {
    // MARK: Keys

    /// Writes a key: deadline, idle time, type, name and value.
    ///
    /// A hash all of whose fields are past their deadline, and a key past its own, are left out.
    ///
    /// - Parameters:
    ///   - entry: its shard is held.
    ///   - nowMilliseconds: wall clock; fields past their deadline are left out.
    ///   - use: how the key was used, as far as that is to be written.
    /// - Returns: whether it was written.
    @discardableResult
    package mutating func append(
        key entry: Entry, at nowMilliseconds: Int64, use: KeyUse = KeyUse()
    ) -> Bool {
        if entry.isOver(at: nowMilliseconds) { return false }
        let type = entry.rdbType(at: nowMilliseconds)
        append(keyOf: entry, as: type, use: use)
        append(valueOf: entry, as: type, at: nowMilliseconds)
        return true
    }

    /// Writes all that stands before a value.
    package mutating func append(
        keyOf entry: Entry, as type: RDBType, use: KeyUse = KeyUse()
    ) {
        if let deadline = entry.expiryMilliseconds {
            append(RDBOpcode.expireMilliseconds.rawValue)
            append64(UInt64(bitPattern: deadline))
        }
        if let idleSeconds = use.idleSeconds {
            append(RDBOpcode.idle.rawValue)
            append(length: Int(clamping: idleSeconds))
        }
        if let frequency = use.frequency {
            append(RDBOpcode.frequency.rawValue)
            append(frequency)
        }
        append(type.rawValue)
        append(string: entry.keyView)
    }

    // MARK: Values

    /// Writes a value as a type.
    ///
    /// - Precondition: `type` is what `Entry.rdbType` answers for it now.
    package mutating func append(
        valueOf entry: Entry, as type: RDBType, at nowMilliseconds: Int64
    ) {
        switch type {
        case .list:
            append(length: entry.elementCount)
            entry.forEachElement {
                append(element: $0)
                spill()
            }
        case .set:
            append(length: entry.memberCount)
            entry.forEachMember {
                append(string: $0)
                spill()
            }
        case .zset2:
            append(length: entry.scoredMemberCount)
            entry.forEachScoredMember {
                append(member: $0, score: $1)
                spill()
            }
        case .hash:
            append(length: entry.fieldCount(at: nowMilliseconds))
            entry.forEachField(at: nowMilliseconds) { field, value, _ in
                append(string: field)
                append(string: value)
                spill()
            }
        case .hashMetadata: appendTimedHash(entry, nowMilliseconds)
        case .hashListpackEx: appendTimedListpack(entry, nowMilliseconds)
        case .setIntset: appendIntset(entry)
        case .hashListpack, .zsetListpack, .listQuicklist2:
            appendListpack(entry, as: type, nowMilliseconds)
        case .stream2, .stream4, .stream5: append(stream: entry.streamContents, as: type)
        default: appendString(entry)
        }
    }

    private mutating func appendString(_ entry: Entry) {
        if let integer = entry.storedInteger {
            append(integer: integer)
        } else {
            entry.withString { append(string: $0) }
        }
        spill()
    }

    /// A member of a sorted set.
    package mutating func append(member: ByteView, score: Double) {
        append(string: member)
        append64(score.bitPattern)
    }

    // MARK: Small collections

    private mutating func appendListpack(
        _ entry: Entry, as type: RDBType, _ nowMilliseconds: Int64
    ) {
        var listpack = ListpackWriter()
        switch type {
        case .listQuicklist2:
            entry.forEachElement { listpack.append($0) }
            // One node, packed.
            append(length: 1)
            append(length: 2)
        case .zsetListpack:
            entry.forEachScoredMember { member, score in
                listpack.append(member)
                listpack.append(score: score)
            }
        default:
            entry.forEachField(at: nowMilliseconds) { field, value, _ in
                listpack.append(field)
                listpack.append(value)
            }
        }
        append(opaque: listpack.end())
        spill()
    }

    private mutating func appendIntset(_ entry: Entry) {
        var width = 2
        entry.forEachInteger { integer in
            if Int32(exactly: integer) == nil {
                width = 8
            } else if width < 4 && Int16(exactly: integer) == nil {
                width = 4
            }
        }
        var blob = ByteBuffer(capacity: 8 + width * entry.memberCount)
        for number in [width, entry.memberCount] {
            for shift in [0, 8, 16, 24] { blob.append(UInt8(truncatingIfNeeded: number >> shift)) }
        }
        entry.forEachInteger { integer in
            for index in 0..<width {
                blob.append(UInt8(truncatingIfNeeded: integer >> Int64(8 * index)))
            }
        }
        append(opaque: blob.view)
        spill()
    }

    // MARK: Hashes with deadlines

    private static func earliestDeadline(_ entry: Entry, _ nowMilliseconds: Int64) -> Int64 {
        var earliest = Int64.max
        entry.forEachField(at: nowMilliseconds) { _, _, deadline in
            earliest = min(earliest, deadline ?? .max)
        }
        return earliest
    }

    /// The earliest deadline, then each field with its own counted from there, plus 1; 0 for none.
    private mutating func appendTimedHash(_ entry: Entry, _ nowMilliseconds: Int64) {
        let earliest = Self.earliestDeadline(entry, nowMilliseconds)
        append64(UInt64(bitPattern: earliest))
        append(length: entry.fieldCount(at: nowMilliseconds))
        entry.forEachField(at: nowMilliseconds) { field, value, deadline in
            append(number: deadline.map { UInt64($0 - earliest) + 1 } ?? 0)
            append(string: field)
            append(string: value)
            spill()
        }
    }

    /// The same with field, value and deadline in a listpack, by deadline; those without, 0, at the end.
    private mutating func appendTimedListpack(_ entry: Entry, _ nowMilliseconds: Int64) {
        append64(UInt64(bitPattern: Self.earliestDeadline(entry, nowMilliseconds)))
        var deadlines: [Int64] = []
        entry.forEachField(at: nowMilliseconds) { _, _, deadline in
            deadlines.append(deadline ?? .max)
        }
        // A packed hash has a few hundred fields at most.
        let order = deadlines.indices.sorted { (deadlines[$0], $0) < (deadlines[$1], $1) }
        var fields: [(ByteView, ByteView)] = []
        entry.forEachField(at: nowMilliseconds) { field, value, _ in fields.append((field, value)) }
        var listpack = ListpackWriter()
        for index in order {
            listpack.append(fields[index].0)
            listpack.append(fields[index].1)
            listpack.append(deadlines[index] == .max ? 0 : deadlines[index])
        }
        append(opaque: listpack.end())
        spill()
    }

    // MARK: Streams

    private mutating func append(stream: StreamContents, as type: RDBType) {
        append(length: stream.blockCount)
        stream.forEachBlock { block in
            append(block: block)
            spill()
        }
        append(tailOf: stream, as: type)
    }

    /// What stands behind the blocks of a stream.
    mutating func append(tailOf stream: StreamContents, as type: RDBType) {
        append(length: stream.count)
        append(id: stream.lastID)
        append(id: stream.firstID)
        append(id: stream.maxDeletedID)
        append(number: stream.entriesAdded)
        append(length: stream.groupCount)
        for index in 0..<stream.groupCount { append(group: stream.group(at: index), as: type) }
        if type != .stream2 { append(producers: stream.producers ?? ProducerRecord()) }
    }

    /// One block of a stream: the ID that its entries count from, and a listpack of them.
    ///
    ///     master:  entries, deleted ones, number of fields, their names, 0
    ///     entry:   flags, milliseconds and sequence from the master's,
    ///              with the master's names (flag 2): its values
    ///              else: number of fields, names and values in turn
    ///              how many elements it has
    package mutating func append(block: StreamBlockContents) {
        var listpack = ListpackWriter()
        var master = StreamID.zero
        var names: [ListElement] = []
        block.forEachEntry { entry in
            if names.isEmpty {
                master = entry.id
                entry.forEachField { name, _ in names.append(name) }
                listpack.append(Int64(block.count))
                listpack.append(0)
                listpack.append(Int64(names.count))
                for name in names { listpack.append(name) }
                listpack.append(0)
            }
            var index = 0
            var sharesNames = entry.fieldCount == names.count
            if sharesNames {
                entry.forEachField { name, _ in
                    if !name.isSame(as: names[index]) { sharesNames = false }
                    index += 1
                }
            }
            listpack.append(sharesNames ? 2 : 0)
            listpack.append(
                Int64(bitPattern: entry.id.milliseconds &- master.milliseconds))
            listpack.append(Int64(bitPattern: entry.id.sequence &- master.sequence))
            if !sharesNames { listpack.append(Int64(entry.fieldCount)) }
            entry.forEachField { name, value in
                if !sharesNames { listpack.append(name) }
                listpack.append(value)
            }
            let elements = sharesNames ? entry.fieldCount + 3 : 2 * entry.fieldCount + 4
            listpack.append(Int64(elements))
        }
        // As a string of 16 bytes.
        append(length: 16)
        append(rawID: master)
        append(opaque: listpack.end())
    }

    private mutating func append(group: GroupContents, as type: RDBType) {
        append(string: group.name)
        append(id: group.lastDeliveredID)
        append(number: UInt64(bitPattern: group.entriesRead ?? -1))
        append(length: group.pendingCount)
        group.forEachPending { entry in
            append(rawID: entry.id)
            // Of one that was given back it is no time: see below.
            append64(UInt64(bitPattern: entry.lastDeliveredMilliseconds))
            append(number: UInt64(bitPattern: entry.deliveryCount))
            spill()
        }
        append(length: group.consumerCount)
        for index in 0..<group.consumerCount {
            let consumer = group.consumer(at: index)
            append(string: consumer.name)
            append64(UInt64(bitPattern: consumer.seenMilliseconds))
            if type != .stream2 {
                append64(UInt64(bitPattern: consumer.activeMilliseconds ?? -1))
            }
            append(length: consumer.pendingCount)
            consumer.forEachPendingID {
                append(rawID: $0)
                spill()
            }
        }
        if type == .stream5 {
            // In the order they were given back, which is their time of delivery.
            var released: [PendingEntry] = []
            group.forEachPending { if $0.isReleased { released.append($0) } }
            released.sort { $0.deliveredMilliseconds < $1.deliveredMilliseconds }
            append(length: released.count)
            for entry in released { append(rawID: entry.id) }
        }
    }

    private mutating func append(producers record: ProducerRecord) {
        append(length: record.secondsMax ?? 100)
        append(length: record.countMax ?? 100)
        append(length: record.producers.count)
        for producer in record.producers {
            producer.name.withView { append(opaque: $0) }
            append(length: producer.entries.count)
            for entry in producer.entries {
                entry.idempotentID.withView { append(opaque: $0) }
                append(id: entry.id)
            }
            spill()
        }
        append(number: record.addedCount)
        append(number: record.duplicateCount)
    }
}

extension ListpackWriter {
    /// A score, as an integer if it is a whole number that doubles tell apart, else in the shortest
    /// decimal form.
    fileprivate mutating func append(score: Double) {
        if let integer = Int64(exactly: score), integer.magnitude < 1 << 53 {
            append(integer)
            return
        }
        var text = ByteBuffer()
        text.append(double: score)
        append(text.view)
    }
}

extension ListElement {
    fileprivate func isSame(as other: ListElement) -> Bool {
        switch (self, other) {
        case (.bytes(let one), .bytes(let two)): one == two
        case (.integer(let one), .integer(let two)): one == two
        default: false
        }
    }
}

extension Entry {
    /// The oldest type that holds all of the value.
    package func rdbType(at nowMilliseconds: Int64) -> RDBType {
        switch kind {
        case .string: .string
        case .list: isStructure ? .list : .listQuicklist2
        case .set: isIntegerSet && isCalledSmall ? .setIntset : .set
        case .sortedSet: isStructure ? .zset2 : .zsetListpack
        case .hash:
            if hasLivingDeadline(at: nowMilliseconds) {
                isStructure ? .hashMetadata : .hashListpackEx
            } else {
                isStructure ? .hash : .hashListpack
            }
        case .stream: streamContents.rdbType
        }
    }

    private func hasLivingDeadline(at nowMilliseconds: Int64) -> Bool {
        guard hasTimedFields else { return false }
        var hasDeadline = false
        forEachField(at: nowMilliseconds) { _, _, deadline in
            if deadline != nil { hasDeadline = true }
        }
        return hasDeadline
    }
}

extension StreamContents {
    fileprivate var rdbType: RDBType {
        for index in 0..<groupCount where group(at: index).releasedCount > 0 { return .stream5 }
        return producers == nil ? .stream2 : .stream4
    }
}
