//  What a stream remembers of producers that may send an entry twice: XADD with IDMP or IDMPAUTO.
//
//  A producer gives each entry an ID of its own, the idempotent ID. Who sends one again that is still
//  remembered gets the ID of the entry that was added, there or not, and nothing is added. An
//  idempotent ID is forgotten after `secondsMax`, or when its producer has `countMax` newer ones.
//
//  Streams seldom have this, so that plain arrays and dictionaries do; their memory is estimated.

import MartletBase

/// The producers of one stream, and how long it remembers them.
struct IdempotentProducers {
    /// How long and how many idempotent IDs are remembered; XCFGSET changes it for a stream.
    struct Limits: Equatable {
        var secondsMax: Int
        /// Of each producer.
        var countMax: Int
    }

    private struct Producer {
        /// Entry by idempotent ID.
        var entries: [[UInt8]: StreamID] = [:]
        /// Idempotent IDs by age; those before `first` are forgotten.
        var order: [[UInt8]] = []
        var first = 0

        /// Forgets the oldest.
        mutating func removeFirst() {
            entries[order[first]] = nil
            first += 1
            if first > 16 && first > order.count / 2 {
                order.removeFirst(first)
                first = 0
            }
        }
    }

    /// By producer ID. None is empty.
    private var producers: [[UInt8]: Producer] = [:]
    /// Whom to look at when time passes: a producer and the entry that was added, by age. An entry
    /// that its producer has forgotten since is left in it.
    private var ages: [(producer: [UInt8], id: StreamID)] = []
    private var firstAge = 0
    /// Idempotent IDs remembered now.
    private(set) var count = 0
    /// Entries ever added with one.
    private(set) var addedCount: UInt64 = 0
    /// Entries not added, because they had been.
    private(set) var duplicateCount: UInt64 = 0
    private(set) var bytes = 0
    /// What was set for this stream; nil while the server's settings hold.
    private(set) var ownLimits: Limits?

    var producerCount: Int { producers.count }

    /// About what arrays and dictionaries take for one beside its bytes.
    private static let entryBytes = 160
    private static let producerBytes = 320

    private func limits(_ settings: Limits) -> Limits { ownLimits ?? settings }

    /// Changes the limits; what was remembered by others is forgotten.
    mutating func setLimits(_ limits: Limits, instead settings: Limits) {
        if limits == self.limits(settings) { return }
        ownLimits = limits
        producers.removeAll()
        ages.removeAll()
        (firstAge, count, bytes) = (0, 0, 0)
    }

    /// The entry that a producer has added with an idempotent ID, and counts the attempt; nil when it
    /// has not, or too long ago.
    mutating func duplicate(
        _ idempotentID: [UInt8], of producer: [UInt8], at milliseconds: Int64, _ settings: Limits
    ) -> StreamID? {
        forget(at: milliseconds, settings)
        guard let id = producers[producer]?.entries[idempotentID] else { return nil }
        duplicateCount += 1
        return id
    }

    /// Remembers an entry that was added.
    ///
    /// - Precondition: `duplicate` has just answered nil for it.
    mutating func note(
        _ id: StreamID, as idempotentID: [UInt8], of producer: [UInt8], _ settings: Limits
    ) {
        if producers[producer] == nil { bytes += Self.producerBytes + producer.count }
        // Out of the dictionary while it changes, so that its arrays are not copied.
        var entry = producers.removeValue(forKey: producer) ?? Producer()
        entry.entries[idempotentID] = id
        entry.order.append(idempotentID)
        count += 1
        addedCount += 1
        bytes += Self.entryBytes + 2 * idempotentID.count
        while entry.entries.count > limits(settings).countMax { forgetFirst(of: &entry) }
        producers[producer] = entry
        ages.append((producer, id))
        trimAges()
    }

    private mutating func forgetFirst(of producer: inout Producer) {
        bytes -= Self.entryBytes + 2 * producer.order[producer.first].count
        count -= 1
        producer.removeFirst()
    }

    /// Forgets what is too old.
    mutating func forget(at milliseconds: Int64, _ settings: Limits) {
        let age = UInt64(limits(settings).secondsMax) * 1000
        let now = UInt64(clamping: milliseconds)
        while firstAge < ages.count {
            let (name, id) = ages[firstAge]
            let (end, isLate) = id.milliseconds.addingReportingOverflow(age)
            if isLate || end > now { break }
            firstAge += 1
            guard var producer = producers.removeValue(forKey: name) else { continue }
            // It may have forgotten this one already, for newer ones.
            if producer.entries[producer.order[producer.first]] == id {
                forgetFirst(of: &producer)
            }
            if producer.entries.isEmpty {
                bytes -= Self.producerBytes + name.count
            } else {
                producers[name] = producer
            }
        }
        trimAges()
    }

    private mutating func trimAges() {
        if firstAge > 64 && firstAge > ages.count / 2 {
            ages.removeFirst(firstAge)
            firstAge = 0
        }
        if ages.count - firstAge > 2 * count + 64 {
            // Most of them are forgotten.
            ages = ages[firstAge...].filter { age in
                guard let producer = producers[age.producer] else { return false }
                return producer.entries[producer.order[producer.first]] ?? .max <= age.id
            }
            firstAge = 0
        }
    }

    /// All that is remembered; nil when nothing ever was and the server's settings hold.
    var record: ProducerRecord? {
        if ownLimits == nil && addedCount == 0 && producers.isEmpty { return nil }
        var record = ProducerRecord()
        record.secondsMax = ownLimits?.secondsMax
        record.countMax = ownLimits?.countMax
        record.addedCount = addedCount
        record.duplicateCount = duplicateCount
        for (name, producer) in producers {
            let entries = producer.order[producer.first...].compactMap { idempotentID in
                producer.entries[idempotentID].map { (idempotentID, $0) }
            }
            record.producers.append((name, entries))
        }
        return record
    }

    /// Takes over what a record says, when nothing was remembered yet.
    ///
    /// - Returns: false, and nothing changed, when the record contradicts itself.
    mutating func restore(_ record: ProducerRecord, _ settings: Limits) -> Bool {
        var made = IdempotentProducers()
        let limits = Limits(
            secondsMax: record.secondsMax ?? settings.secondsMax,
            countMax: record.countMax ?? settings.countMax)
        guard 1...86_400 ~= limits.secondsMax, 1...10_000 ~= limits.countMax else { return false }
        if limits != settings { made.ownLimits = limits }
        for (name, entries) in record.producers {
            if name.isEmpty || entries.isEmpty || entries.count > limits.countMax { return false }
            if made.producers[name] != nil { return false }
            for (idempotentID, id) in entries {
                let isKnown = made.producers[name]?.entries[idempotentID] != nil
                if idempotentID.isEmpty || isKnown { return false }
                made.note(id, as: idempotentID, of: name, limits)
            }
        }
        // Noted producer by producer, but they are forgotten by age.
        made.ages.sort { $0.id < $1.id }
        made.addedCount = record.addedCount
        made.duplicateCount = record.duplicateCount
        self = made
        return true
    }

    /// Checks every invariant; for tests.
    func checkInvariants() {
        var found = 0
        for producer in producers.values {
            precondition(!producer.entries.isEmpty, "no producer is empty")
            precondition(
                producer.order.count - producer.first == producer.entries.count,
                "idempotent IDs are in order")
            found += producer.entries.count
        }
        precondition(found == count, "idempotent IDs are counted")
        precondition(ages.count - firstAge >= count, "each has its age")
        precondition(bytes >= 0 && (count > 0 || bytes == 0), "bytes are counted")
    }
}

/// What a stream remembers of its producers, as it is kept in files.
package struct ProducerRecord {
    /// What was set for the stream; nil while the server's settings hold.
    package var secondsMax: Int?
    package var countMax: Int?
    package var addedCount: UInt64 = 0
    package var duplicateCount: UInt64 = 0
    /// Each with its idempotent IDs, the oldest first, and what entry they stand for.
    package var producers: [(name: [UInt8], entries: [(idempotentID: [UInt8], id: StreamID)])] = []

    package init() {}
}

extension NewStreamEntry {
    /// An idempotent ID made of names and values, whatever their order: the sums of two hashes of each
    /// pair.
    func contentID() -> [UInt8] {
        var sums: (UInt64, UInt64) = (0, 0)
        var pair = ByteBuffer()
        for index in 0..<fieldCount {
            pair.removeAll()
            pair.append(unsignedDecimal: UInt64(name(index).count))
            pair.append(UInt8(ascii: ":"))
            pair.append(name(index))
            pair.append(value(index))
            let first = xxh3(pair.view)
            pair.append(unsignedDecimal: first)
            sums.0 &+= first
            sums.1 &+= xxh3(pair.view)
        }
        return unsafe withUnsafeBytes(of: sums) { unsafe Array($0) }
    }
}
