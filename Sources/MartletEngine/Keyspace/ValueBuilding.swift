//  Making keys otherwise than by commands: from snapshots, RESTORE payloads, and whatever else brings
//  whole values.
//
//  Raw memory: a loader owns what its view of the keys needs, effects, counters and scratch, and
//  frees them; the keyspace outlives it. One thread uses a loader; several loaders may fill one
//  keyspace at a time, each holding the shard of the key that it makes.
//
//  Values are made through the same doors as commands use, so that limits, encodings and the counting
//  of memory are theirs. Nothing is told to watchers, listeners or waiters: the caller does, or there
//  are none.

import MartletBase

/// Up to where values are small, and what else of the settings decides how they stand in memory.
package struct ValueLimits: Sendable {
    package var lists: ListLimit
    package var sets: SetLimits
    package var sortedSets: PackedLimits
    package var hashes: PackedLimits
    package var streams: StreamNodeLimits
    package var producerSecondsMax: Int
    package var producerCountMax: Int
    /// What entries remember of their use.
    package var eviction: EvictionPolicy

    package init(
        lists: ListLimit, sets: SetLimits, sortedSets: PackedLimits, hashes: PackedLimits,
        streams: StreamNodeLimits, producerSecondsMax: Int, producerCountMax: Int,
        eviction: EvictionPolicy = EvictionPolicy(.none)
    ) {
        self.lists = lists
        self.sets = sets
        self.sortedSets = sortedSets
        self.hashes = hashes
        self.streams = streams
        self.producerSecondsMax = producerSecondsMax
        self.producerCountMax = producerCountMax
        self.eviction = eviction
    }
}

/// Puts whole values into a keyspace.
@safe
package struct ValueLoader: ~Copyable {
    private let effects: UnsafeMutablePointer<EffectBuffer>
    private let counters: UnsafeMutablePointer<KeyCounters>
    private let scratch: UnsafeMutableRawPointer
    private let keyspace: UnsafeMutablePointer<Keyspace>
    /// The keyspace is this loader's own: where a value is made before it is known to be whole.
    private let ownsKeyspace: Bool
    /// The keys of the database that is being filled. Those past their deadline are kept.
    package var keys: KeyAccess
    package let limits: ValueLimits

    /// A loader into a keyspace that others use too.
    package init(
        into keyspace: UnsafeMutablePointer<Keyspace>, limits: ValueLimits, nowMilliseconds: Int64
    ) {
        unsafe self.init(
            keyspace, owned: false, limits: limits, nowMilliseconds: nowMilliseconds)
    }

    /// A loader into a keyspace of its own with one shard, from which values go to another one.
    ///
    /// - Parameters:
    ///   - target: where they will go; keys are hashed alike.
    ///   - limits: up to where values are small.
    ///   - nowMilliseconds: wall clock.
    package init(apartFrom target: KeyAccess, limits: ValueLimits, nowMilliseconds: Int64) {
        let keyspace = UnsafeMutablePointer<Keyspace>.allocate(capacity: 1)
        unsafe keyspace.initialize(
            to: Keyspace(
                shardCount: 1, databaseCount: 1, hashKey: target.keyspace.pointee.hashKey))
        unsafe self.init(
            keyspace, owned: true, limits: limits, nowMilliseconds: nowMilliseconds)
    }

    /// A loader into a keyspace of its own that nothing leaves: to see whether values can be made. It
    /// lives at the beginning of time, so that no deadline has passed.
    package init(alone limits: ValueLimits) {
        let keyspace = UnsafeMutablePointer<Keyspace>.allocate(capacity: 1)
        unsafe keyspace.initialize(
            to: Keyspace(shardCount: 1, databaseCount: 1, hashKey: .random()))
        unsafe self.init(keyspace, owned: true, limits: limits, nowMilliseconds: 0)
    }

    private init(
        _ keyspace: UnsafeMutablePointer<Keyspace>, owned: Bool, limits: ValueLimits,
        nowMilliseconds: Int64
    ) {
        unsafe effects = .allocate(capacity: 1)
        unsafe effects.initialize(to: EffectBuffer())
        unsafe counters = .allocate(capacity: 1)
        unsafe counters.initialize(to: KeyCounters())
        unsafe scratch = .allocate(byteCount: 128, alignment: 64)
        unsafe self.keyspace = keyspace
        ownsKeyspace = owned
        self.limits = limits
        keys = unsafe KeyAccess(
            keyspace: keyspace, effects: effects, counters: counters, scratch: scratch)
        keys.setTime(nowMilliseconds, limits.eviction, isPrecise: true)
        keys.keepsExpired = true
    }

    deinit {
        unsafe effects.deinitialize(count: 1)
        unsafe effects.deallocate()
        unsafe counters.deinitialize(count: 1)
        unsafe counters.deallocate()
        unsafe scratch.deallocate()
        if ownsKeyspace {
            unsafe keyspace.deinitialize(count: 1)
            unsafe keyspace.deallocate()
        }
    }

    /// A key of bytes that live as long as the call it is used in.
    package func key(_ bytes: ByteView) -> Key { unsafe keyspace.pointee.key(bytes) }

    /// Brings close what will be touched first when a key of these bytes is made, which a load of
    /// millions finds in memory and not in a cache. Nothing is held.
    package func prefetch(_ bytes: ByteView) {
        let key = key(bytes)
        lock(key)
        keys.prefetch(key)
        unlock(key)
    }

    /// Takes the shard of a key.
    package func lock(_ key: Key) { lock(of: key).lock() }

    /// Lets it go.
    package func unlock(_ key: Key) { lock(of: key).unlock() }

    private func lock(of key: Key) -> ShardLock {
        unsafe keyspace.pointee.lock(keyspace.pointee.shardIndex(key.hash))
    }

    /// Says when a key ends, and how it was used. The key exists; its shard is held.
    ///
    /// - Throws: `.outOfMemory`.
    package func settle(_ key: Key, deadline: Int64?, use: KeyUse) throws(CommandError) {
        if let deadline { _ = try keys.setExpiry(key, deadline) }
        keys.setUse(key, use)
    }
}

/// How a key was used where it comes from, as far as that is known.
package struct KeyUse: Sendable {
    package var idleSeconds: UInt64?
    /// The counter of the frequency policies.
    package var frequency: UInt8?

    package init(idleSeconds: UInt64? = nil, frequency: UInt8? = nil) {
        self.idleSeconds = idleSeconds
        self.frequency = frequency
    }
}

/// What is told of how keys were used, as far as the policy of eviction lets entries remember it.
package enum RememberedUse: Sendable {
    case none
    /// For how long not, at this wall clock time.
    case idleTime(atMilliseconds: Int64)
    case frequency(AccessFrequency, atMilliseconds: Int64)

    package func of(_ entry: Entry) -> KeyUse {
        switch self {
        case .none: KeyUse()
        case .idleTime(let now):
            KeyUse(idleSeconds: UInt64(AccessClock.idleSeconds(entry.access, at: now)))
        case .frequency(let frequency, let now):
            KeyUse(frequency: frequency.counter(entry.access, at: now))
        }
    }
}

extension KeyAccess {
    /// Brings the place of a key in the table close. Its shard is held.
    fileprivate func prefetch(_ key: Key) {
        let shard = unsafe keyspace.pointee.shard(keyspace.pointee.shardIndex(key.hash))
        guard let partition = unsafe shard.pointee.partition(database) else { return }
        unsafe partition.pointee.table.prefetch(hash: key.hash)
    }

    /// Whether a key is there, past its deadline or not. Its shard is held.
    package func isTaken(_ key: Key) -> Bool { holds(key) }

    /// Moves the value and the deadline of a key of another keyspace here, in place of what is here;
    /// that keyspace's key may be left without its value.
    ///
    /// - Throws: `.outOfMemory`; nothing changed here then.
    /// - Precondition: `source` is the database of a keyspace that nobody else uses, and has the key.
    /// - Complexity: O(1) for values in nodes, else O(value).
    package func receive(
        _ key: Key, from source: KeyAccess, use: KeyUse
    ) throws(CommandError) {
        try source.move(key, into: self)
        setUse(key, use)
    }

    /// Says how a key was used, as far as the policy in force remembers that.
    fileprivate func setUse(_ key: Key, _ use: KeyUse) {
        guard use.idleSeconds != nil || use.frequency != nil, let entry = find(key) else { return }
        if countsUses {
            if let frequency = use.frequency { setFrequency(entry, frequency) }
        } else if let seconds = use.idleSeconds {
            setIdle(entry, seconds: seconds)
        }
    }
}

extension SetValue {
    /// Makes the key, which does not exist, for so many members, more than any small set has.
    ///
    /// - Throws: `.outOfMemory`; nothing changed then.
    package mutating func beginLarge() throws(CommandError) { try adoptLarge() }
}

extension StreamValue {
    /// Makes the key, which does not exist, with an empty stream.
    ///
    /// - Throws: `.outOfMemory`; nothing changed then.
    package mutating func begin() throws(CommandError) { try create() }

    /// Adds an entry.
    ///
    /// - Parameters:
    ///   - id: greater than those before.
    ///   - texts: names and values in turn.
    ///   - limits: when blocks are full.
    /// - Returns: false, and nothing changed, when its ID does not follow the others', it has no
    ///   field, or it is too large.
    /// - Throws: `.outOfMemory`.
    /// - Precondition: the key exists.
    package func append(
        _ id: StreamID, _ texts: [ByteView], _ limits: StreamNodeLimits
    ) throws(CommandError) -> Bool {
        if texts.isEmpty || texts.count % 2 != 0 { return false }
        let addition: Stream.Addition? = change { stream in
            if id <= stream.lastID { return nil }
            return unsafe texts.withUnsafeBufferPointer { texts in
                guard let base = texts.baseAddress else { return nil }
                return unsafe stream.append(
                    NewStreamEntry(id, base, fieldCount: texts.count / 2), limits)
            }
        }
        switch addition {
        case .added: return true
        case .noMemory: throw .outOfMemory
        case .tooLarge, nil: return false
        }
    }

    /// Entries there are. The key exists.
    package var count: Int { read { $0.count } }

    /// Sets what the next ID follows upon, and the counters; false, and nothing changed, when they do
    /// not go together.
    ///
    /// - Precondition: the key exists.
    package func settle(
        lastID: StreamID, entriesAdded: UInt64, maxDeletedID: StreamID
    ) -> Bool {
        change { stream in
            guard stream.lastEntryID <= lastID, maxDeletedID <= lastID,
                entriesAdded >= UInt64(stream.count), entriesAdded <= UInt64(Int64.max)
            else { return false }
            stream.setLastID(lastID, entriesAdded: entriesAdded, maxDeletedID: maxDeletedID)
            return true
        }
    }

    /// Sets what the stream remembers of producers; false, and nothing changed, when that contradicts
    /// itself. The stream has remembered nothing so far, and the key exists.
    package func remember(_ record: ProducerRecord, _ limits: ValueLimits) -> Bool {
        change { stream in
            stream.producers.restore(
                record,
                IdempotentProducers.Limits(
                    secondsMax: limits.producerSecondsMax, countMax: limits.producerCountMax))
        }
    }
}
