//  A command's view of the keys: finds them, hides what has expired, writes them, notes effects.
//
//  Handlers see keys through here alone. The executor holds the locks of all shards that the
//  command declared; a method below never takes one.
//
//  Raw memory: nothing here is owned. The keyspace outlives the executor, whose loop lends
//  effects, counters and 128 bytes of scratch; entries are followed under their shard's lock only.

import MartletBase

/// Counters of one loop that key lookups move.
struct KeyCounters {
    var hits: UInt64 = 0
    var misses: UInt64 = 0
    /// What counts uses by chance.
    var random = Random(seed: 1)
    var frequency = AccessFrequency()
}

/// Where a key that begins to exist is noted, if somebody wants to know.
@safe
struct Births {
    let effects: UnsafeMutablePointer<EffectBuffer>
    let database: Int
    let sinks: EffectSinks

    @inline(__always)
    func note(_ key: Key) {
        if sinks.contains(.creation) {
            unsafe effects.pointee.append(.created, key, database: database, sinks: sinks, count: 0)
        }
    }
}

/// The keys of one database while the shards of a command are held.
@safe
package struct KeyAccess {
    let keyspace: UnsafeMutablePointer<Keyspace>
    /// Effects beyond the one that the handler returns.
    let effects: UnsafeMutablePointer<EffectBuffer>
    let counters: UnsafeMutablePointer<KeyCounters>
    /// Room for decimal forms of integer values: four of 32 bytes, used in turn.
    private let scratch: UnsafeMutableRawPointer
    private var scratchTurn = 0
    /// The database the connection has selected.
    package var database = 0
    /// Wall clock of the loop's iteration.
    package var nowMilliseconds: Int64 = 0
    /// The access clock that lookups leave in entries; while uses are counted, what no entry has.
    private var accessClock: UInt32 = 0
    /// What a new entry remembers.
    private(set) var newAccess: UInt32 = 0
    /// CLIENT NO-TOUCH: lookups leave no trace.
    package var leavesNoTrace = false { didSet { updateTrace() } }
    private var trace = AccessTrace.clock { didSet { updateTrace() } }
    /// The running command writes. Known while some policy asks.
    var isWriting = true
    /// Lookups leave the clock, and that is all.
    private var hasPlainTrace = true
    var sinks: EffectSinks = []
    /// The log is read: nothing is past its deadline before the log says so.
    var isReplaying = false
    /// Writes are held back, and with them the removal of expired keys: a read hides them only. Fields
    /// are taken out all the same, since small hashes hide none.
    var keepsExpired = false

    init(
        keyspace: UnsafeMutablePointer<Keyspace>, effects: UnsafeMutablePointer<EffectBuffer>,
        counters: UnsafeMutablePointer<KeyCounters>, scratch: UnsafeMutableRawPointer
    ) {
        unsafe self.keyspace = keyspace
        unsafe self.effects = effects
        unsafe self.counters = counters
        unsafe self.scratch = scratch
    }

    // MARK: Finding

    @inline(__always)
    func shard(_ key: Key) -> UnsafeMutablePointer<Shard> {
        unsafe keyspace.pointee.shard(keyspace.pointee.shardIndex(key.hash))
    }

    /// Where the key stands in a database, if it is there and alive. An expired one is removed, and so
    /// are fields of a hash past their deadline.
    @inline(__always)
    func slot(
        _ key: Key, _ database: Int
    ) -> (slot: Slot, partition: UnsafeMutablePointer<Partition>)? {
        let shard = unsafe shard(key)
        guard let partition = unsafe shard.pointee.partition(database),
            let slot = unsafe partition.pointee.table.find(key.bytes, hash: key.hash)
        else { return nil }
        let entry = slot.entry
        if entry.header.hasDeadline && !isReplaying {
            let now = unsafe shard.pointee.advance(to: nowMilliseconds)
            if entry.isExpired(at: now) {
                unsafe expire(slot, key, database, partition)
                return nil
            }
            if entry.hasDueField(at: now),
                unsafe expireFields(slot, key, database, partition, now, Self.fieldsPerAccess)
                    == nil
            {
                return nil
            }
        }
        return unsafe (slot, partition)
    }

    /// Removes a key whose deadline has passed.
    @inline(never)
    private func expire(
        _ slot: Slot, _ key: Key, _ database: Int, _ partition: UnsafeMutablePointer<Partition>
    ) {
        if keepsExpired { return }
        save(key, inDatabase: database)
        // No change that somebody made: what INFO counts since the last save leaves it out.
        unsafe effects.pointee.append(.expired, key, database: database, sinks: sinks, count: 0)
        if isLogging { logExpired(key, inDatabase: database) }
        unsafe partition.pointee.remove(slot, hash: key.hash)
        unsafe shard(key).pointee.expiredCount += 1
    }

    /// How many fields of a large hash past their deadline an access takes out, in well below a
    /// millisecond; more are hidden until the next one, or the expiry cycle, comes to them.
    private static let fieldsPerAccess = 256

    /// Removes fields past their deadline, and the key if no field is left.
    ///
    /// - Returns: how many fields; nil when the key is gone.
    @inline(never)
    @discardableResult
    private func expireFields(
        _ slot: Slot, _ key: Key, _ database: Int, _ partition: UnsafeMutablePointer<Partition>,
        _ now: Int64, _ countMax: Int
    ) -> Int? {
        save(key, inDatabase: database)
        var hash = unsafe HashValue(
            CollectionPlace(
                key, .hash, at: slot, in: partition, self, epoch: shard(key).pointee.epoch))
        let count = hash.removeDue(at: now, countMax) { field in
            if !isLogging { return }
            collect(field)
            if collectedCount == Self.collectedMax {
                logExpiredFields(key, inDatabase: database, isGone: false)
            }
        }
        if isLogging { logExpiredFields(key, inDatabase: database, isGone: hash.isEmpty) }
        unsafe partition.pointee.expiredFieldCount += UInt64(count)
        // No change that somebody made, as for keys.
        unsafe effects.pointee.append(.hexpired, key, database: database, sinks: sinks, count: 0)
        if !hash.isEmpty { return count }
        unsafe effects.pointee.append(.del, key, database: database, sinks: sinks, count: 0)
        return nil
    }

    /// Removes fields past their deadline as the expiry cycle found their hash, at most `countMax`;
    /// answers how many steps that took. The caller holds the key's shard.
    func reclaimFields(_ key: Key, inDatabase database: Int, _ countMax: Int) -> Int {
        let shard = unsafe shard(key)
        guard let partition = unsafe shard.pointee.partition(database),
            let slot = unsafe partition.pointee.table.find(key.bytes, hash: key.hash)
        else { return 1 }
        let now = unsafe shard.pointee.advance(to: nowMilliseconds)
        return max(1, unsafe expireFields(slot, key, database, partition, now, countMax) ?? 1)
    }

    /// Removes all fields past their deadline before a hash is written: what is logged is to find
    /// none that is hidden here.
    func settleAllFields(_ key: Key) {
        // A look takes out the first ones, and the key if it is past its own deadline.
        guard let found = unsafe slot(key, database) else { return }
        let now = unsafe shard(key).pointee.advance(to: nowMilliseconds)
        if unsafe found.slot.entry.hasDueField(at: now) {
            unsafe expireFields(found.slot, key, database, found.partition, now, .max)
        }
    }

    /// Removes fields of a key past their deadline; of a key past its own nothing.
    func settleFields(_ key: Key) { if !isExpired(key) { _ = find(key) } }

    /// Deadlines up to here have passed.
    @inline(__always)
    package var passedMilliseconds: Int64 { isReplaying ? Int64.min : nowMilliseconds }

    /// Whether a key is there, but past its deadline. It is left where it is.
    func isExpired(_ key: Key) -> Bool {
        let shard = unsafe shard(key)
        guard let partition = unsafe shard.pointee.partition(database),
            let slot = unsafe partition.pointee.table.find(key.bytes, hash: key.hash)
        else { return false }
        return slot.entry.isExpired(at: unsafe shard.pointee.advance(to: nowMilliseconds))
    }

    /// Removes a key because memory is full. The caller holds its shard.
    ///
    /// - Returns: how many bytes less are used.
    func evict(
        _ slot: Slot, _ key: Key, _ database: Int, _ partition: UnsafeMutablePointer<Partition>
    ) -> Int {
        save(key, inDatabase: database)
        // No change that somebody made, as for expired keys.
        unsafe effects.pointee.append(.evicted, key, database: database, sinks: sinks, count: 0)
        if isLogging { logExpired(key, inDatabase: database) }
        let before = unsafe partition.pointee.usedBytes
        unsafe partition.pointee.remove(slot, hash: key.hash)
        return unsafe before - partition.pointee.usedBytes
    }

    /// Removes a key past its deadline as the expiry cycle found it. The caller holds its shard.
    func reclaim(_ key: Key, inDatabase database: Int) {
        guard let partition = unsafe shard(key).pointee.partition(database),
            let slot = unsafe partition.pointee.table.find(key.bytes, hash: key.hash)
        else { return }
        unsafe expire(slot, key, database, partition)
    }

    /// The entry of a key to read from; counts a hit or a miss and leaves the access clock.
    @inline(__always)
    package func read(_ key: Key) -> Entry? {
        guard let found = unsafe slot(key, database) else {
            noteMiss(key)
            return nil
        }
        unsafe counters.pointee.hits &+= 1
        let entry = unsafe found.slot.entry
        touch(entry)
        return entry
    }

    /// The entry of a key to look at without counting as a use of it: EXISTS, TYPE, TTL. Counts a hit
    /// or a miss, of which OBJECT does not tell the listeners.
    package func readQuietly(_ key: Key, announcesMiss: Bool = true) -> Entry? {
        let entry = find(key)
        if entry == nil {
            noteMiss(key, isAnnounced: announcesMiss)
        } else {
            unsafe counters.pointee.hits &+= 1
        }
        return entry
    }

    /// The entry of a key that is about to be written, or only looked at: no hit, no miss.
    @inline(__always)
    package func find(_ key: Key) -> Entry? {
        guard let found = unsafe slot(key, database) else { return nil }
        return unsafe found.slot.entry
    }

    /// The same in another database.
    package func find(_ key: Key, inDatabase other: Int) -> Entry? {
        guard let found = unsafe slot(key, other) else { return nil }
        return unsafe found.slot.entry
    }

    /// Counts a key that a command looked for in vain.
    func noteMiss(_ key: Key, isAnnounced: Bool = true) {
        unsafe counters.pointee.misses &+= 1
        if sinks.contains(.misses) && isAnnounced {
            unsafe effects.pointee.append(.missed, key, database: database, sinks: sinks, count: 0)
        }
    }

    /// Where keys are noted that begin to exist.
    @inline(__always)
    var births: Births { unsafe Births(effects: effects, database: database, sinks: sinks) }

    /// Leaves the access clock in an entry, or counts a use, unless the connection wants no trace.
    @inline(__always)
    package func touch(_ entry: Entry) {
        // Stored only when it changed: most reads leave the entry's cache line clean.
        if entry.access != accessClock {
            if hasPlainTrace { entry.access = accessClock } else { leaveTrace(entry) }
        }
    }

    @inline(never)
    private func leaveTrace(_ entry: Entry) {
        if leavesNoTrace { return }
        switch trace {
        case .clock: entry.access = accessClock
        case .clockOfWrites: if isWriting { entry.access = accessClock }
        case .frequency: countUse(of: entry, entry.access)
        }
    }

    /// The same for TOUCH, whose very purpose is that trace.
    package func touchRegardless(_ entry: Entry) {
        switch trace {
        case .clock: entry.access = accessClock
        case .clockOfWrites: break
        case .frequency: countUse(of: entry, entry.access)
        }
    }

    /// Counts one more use of an entry that was used as `access` says.
    func countUse(of entry: Entry, _ access: UInt32) {
        entry.access = unsafe counters.pointee.frequency.used(
            access, at: nowMilliseconds, &counters.pointee.random)
    }

    private mutating func updateTrace() { hasPlainTrace = trace == .clock && !leavesNoTrace }

    /// The time has come to `nowMilliseconds`, and this is what entries remember of it.
    ///
    /// - Parameters:
    ///   - nowMilliseconds: wall clock.
    ///   - policy: of eviction.
    ///   - isPrecise: the policy is in force: the clock is more than whole seconds.
    mutating func setTime(_ nowMilliseconds: Int64, _ policy: EvictionPolicy, isPrecise: Bool) {
        self.nowMilliseconds = nowMilliseconds
        if policy.usesFrequency {
            accessClock = .max
            newAccess = AccessFrequency.access(
                counter: AccessFrequency.initial, at: nowMilliseconds)
        } else {
            accessClock =
                isPrecise && policy.usesClock
                ? AccessClock.at(nowMilliseconds) : AccessClock.atSecond(nowMilliseconds)
            newAccess = accessClock
        }
        let trace: AccessTrace =
            policy.usesFrequency ? .frequency : policy.order == .lrm ? .clockOfWrites : .clock
        if trace != self.trace { self.trace = trace }
    }

    /// Entries remember how often they were used, not when.
    package var countsUses: Bool { trace == .frequency }

    /// For how long an entry was not used, in seconds.
    package func idleSeconds(_ entry: Entry) -> Int {
        AccessClock.idleSeconds(entry.access, at: nowMilliseconds)
    }

    /// How often it was used lately.
    package func frequency(_ entry: Entry) -> UInt8 {
        unsafe counters.pointee.frequency.counter(entry.access, at: nowMilliseconds)
    }

    /// Says how long a key was not used.
    func setIdle(_ entry: Entry, seconds: UInt64) {
        entry.access = AccessClock.used(secondsAgo: seconds, at: nowMilliseconds)
    }

    /// Says how often a key was used.
    func setFrequency(_ entry: Entry, _ counter: UInt8) {
        entry.access = AccessFrequency.access(counter: counter, at: nowMilliseconds)
    }

    // MARK: Strings

    /// The bytes of a string key, or nil when it is missing; counts a hit or a miss.
    ///
    /// The view lives until the key is written or four more integers were read.
    @inline(__always)
    package mutating func readString(_ key: Key) throws(CommandError) -> ByteView? {
        guard let entry = read(key) else { return nil }
        return try string(of: entry)
    }

    /// The bytes of an entry that must be a string.
    @inline(__always)
    package mutating func string(of entry: Entry) throws(CommandError) -> ByteView {
        guard entry.isString else { throw .wrongType }
        if entry.encoding == .integer { return integerText(entry) }
        return entry.encoding == .inline ? entry.inlineValue : entry.heapString.view
    }

    private mutating func integerText(_ entry: Entry) -> ByteView {
        scratchTurn = (scratchTurn + 1) & 3
        let room = unsafe UnsafeMutableRawBufferPointer(
            start: scratch + scratchTurn * 32, count: 32)
        return unsafe entry.stringBytes(scratch: room)
    }

    /// Sets a key to a string, whatever it was.
    @inline(__always)
    package func setString(
        _ key: Key, _ value: ByteView, expiry: ExpiryChange, asText: Bool = false
    ) throws(CommandError) {
        let shard = unsafe shard(key)
        let partition = unsafe shard.pointee.makePartition(
            database, hashKey: keyspace.pointee.hashKey)
        let now = unsafe shard.pointee.advance(to: nowMilliseconds)
        var slot = unsafe partition.pointee.table.find(key.bytes, hash: key.hash)
        if let old = slot, old.entry.isExpired(at: now), !isReplaying {
            unsafe expire(old, key, database, partition)
            slot = nil
        }
        let entry = unsafe partition.pointee.setString(
            key, value, at: slot, expiry: expiry, access: newAccess, epoch: shard.pointee.epoch,
            nowMilliseconds: now, asText: asText)
        if entry == nil { throw .outOfMemory }
        if slot == nil { births.note(key) }
    }

    /// Sets a key to bytes that were computed: OBJECT ENCODING says `raw`, whatever they spell.
    package func setComputed(
        _ key: Key, _ value: ByteView, expiry: ExpiryChange = .clear
    ) throws(CommandError) {
        try setString(key, value, expiry: expiry, asText: true)
        if let entry = find(key) { markComputed(entry) }
    }

    /// Lets OBJECT ENCODING say `raw` of a string that was, or could have been, changed in place.
    package func markComputed(_ entry: Entry) {
        if entry.encoding == .inline { entry.header.bits |= EntryHeader.isModifiedBit }
    }

    /// Sets a key to the decimal form of an integer.
    @inline(__always)
    package func setInteger(
        _ key: Key, _ value: Int64, expiry: ExpiryChange
    ) throws(CommandError) {
        let shard = unsafe shard(key)
        let partition = unsafe shard.pointee.makePartition(
            database, hashKey: keyspace.pointee.hashKey)
        let slot = unsafe slot(key, database)?.slot
        let entry = unsafe partition.pointee.setInteger(
            key, value, at: slot, expiry: expiry, access: newAccess, epoch: shard.pointee.epoch,
            nowMilliseconds: nowMilliseconds)
        if entry == nil { throw .outOfMemory }
        if slot == nil { births.note(key) }
    }

    /// Adds to the integer a string holds, in place where it is stored as one; a missing key counts as
    /// 0. The deadline stays.
    ///
    /// - Throws: `.wrongType`, `.notInteger`, `.overflow`; nothing changed then.
    @inline(__always)
    package mutating func increment(_ key: Key, by amount: Int64) throws(CommandError) -> Int64 {
        guard let entry = find(key) else {
            try setInteger(key, amount, expiry: .clear)
            return amount
        }
        guard entry.isString else { throw .wrongType }
        var old: Int64 = 0
        if entry.encoding == .integer {
            old = entry.integer
        } else {
            guard let parsed = try string(of: entry).parseInteger() else { throw .notInteger }
            old = parsed
        }
        let (sum, overflows) = old.addingReportingOverflow(amount)
        if overflows { throw .overflow }
        if entry.encoding == .integer {
            entry.integer = sum
            touch(entry)
        } else {
            try setInteger(key, sum, expiry: .keep)
        }
        return sum
    }

    /// Lends a string's bytes to be changed in place, `length` of them or as many as there are if
    /// that is more; a missing key begins empty, new bytes are zero.
    ///
    /// - Throws: `.wrongType`, `.outOfMemory`; nothing changed then.
    /// - Complexity: O(1) on average per byte that a string grows by.
    package func changeString(
        _ key: Key, length: Int, _ body: (MutableBytes) -> Void
    ) throws(CommandError) {
        if find(key) == nil {
            try setString(key, ByteView(), expiry: .clear)
        }
        guard let found = unsafe slot(key, database) else { return }
        let entry = unsafe found.slot.entry
        guard entry.isString else { throw .wrongType }
        let wanted = max(length, entry.stringLength)
        let done = unsafe found.partition.pointee.withMutableString(
            at: found.slot, key: key, length: wanted, nowMilliseconds: nowMilliseconds
        ) { address in
            unsafe body(MutableBytes(address, count: wanted))
        }
        if !done { throw .outOfMemory }
        if let now = unsafe slot(key, database)?.slot.entry { touch(now) }
    }

    // MARK: Any type

    /// Removes a key; false when it was not there.
    @inline(__always)
    package func remove(_ key: Key) -> Bool {
        guard let found = unsafe slot(key, database) else { return false }
        // Some commands remove keys that their request does not name.
        if sinks.contains(.saving) { save(key, inDatabase: database) }
        unsafe found.partition.pointee.remove(found.slot, hash: key.hash)
        return true
    }

    /// Sets or clears (nil) a key's deadline; false when the key is missing.
    package func setExpiry(_ key: Key, _ deadline: Int64?) throws(CommandError) -> Bool {
        try setExpiry(key, deadline) { _ in true }
    }

    /// The same, if `admits` says so of the deadline that the key has. Counts as a use of it.
    @inline(__always)
    func setExpiry(
        _ key: Key, _ deadline: Int64?, if admits: (Int64?) -> Bool
    ) throws(CommandError) -> Bool {
        guard let found = unsafe slot(key, database) else { return false }
        let entry = unsafe found.slot.entry
        touch(entry)
        guard admits(entry.expiryMilliseconds) else { return false }
        guard
            unsafe found.partition.pointee.setExpiry(
                deadline, at: found.slot, nowMilliseconds: nowMilliseconds)
        else { throw .outOfMemory }
        return true
    }

    /// Copies a key's value and deadline to another key or database, replacing what is there.
    ///
    /// - Precondition: the source is alive, and source and destination are not the same.
    /// - Complexity: O(value).
    package func copy(
        _ source: Key, to destination: Key, inDatabase other: Int
    ) throws(CommandError) {
        try transfer(source, to: destination, inDatabase: other, keepsSource: true)
    }

    /// Moves a key's value and deadline to another key or database, replacing what is there.
    ///
    /// - Precondition: as of `copy`.
    /// - Complexity: O(1) for values that stand outside of their entry.
    package func move(
        _ source: Key, to destination: Key, inDatabase other: Int
    ) throws(CommandError) {
        try transfer(source, to: destination, inDatabase: other, keepsSource: false)
        _ = remove(source)
    }

    private func transfer(
        _ source: Key, to destination: Key, inDatabase other: Int, keepsSource: Bool
    ) throws(CommandError) {
        var target = self
        target.database = other
        // The request names the key of its own database only.
        if other != database { save(destination, inDatabase: other) }
        try transfer(source, to: destination, of: target, keepsSource: keepsSource)
    }

    /// Moves a key's value and deadline to the key of the same name of another keyspace, whose shard
    /// is held; the key is left here, maybe without its value.
    func move(_ key: Key, into target: KeyAccess) throws(CommandError) {
        try transfer(key, to: key, of: target, keepsSource: false)
    }

    private func transfer(
        _ source: Key, to destination: Key, of target: KeyAccess, keepsSource: Bool
    ) throws(CommandError) {
        guard let found = unsafe slot(source, database) else { return }
        let entry = unsafe found.slot.entry
        let expiry: ExpiryChange = entry.expiryMilliseconds.map { .at($0) } ?? .clear
        let wasModified = entry.header.isModified
        // What is there gives way to the other key, which begins to exist in its place.
        if target.sinks.contains(.creation), target.find(destination) != nil {
            target.births.note(destination)
        }
        switch entry.encoding {
        case .packed, .structure:
            unsafe try target.takeOver(
                entry, from: found.partition, as: destination, expiry: expiry,
                keepsSource: keepsSource)
            return
        case .integer:
            try target.setInteger(destination, entry.integer, expiry: expiry)
        case .inline:
            try target.setString(destination, entry.inlineValue, expiry: expiry, asText: true)
        case .heap where keepsSource:
            try target.setString(destination, entry.heapString.view, expiry: expiry)
        case .heap:
            let string = unsafe found.partition.pointee.takeHeapString(of: entry)
            guard target.adopt(string, for: destination, expiry: expiry) else {
                unsafe found.partition.pointee.putHeapStringBack(string, into: entry)
                throw .outOfMemory
            }
        }
        if wasModified, let copied = target.find(destination), copied.encoding == .inline {
            copied.header.bits |= EntryHeader.isModifiedBit
        }
    }

    /// Makes a heap string the value of a key; false, and it is still the caller's, when there is no
    /// memory.
    private func adopt(_ string: HeapString, for key: Key, expiry: ExpiryChange) -> Bool {
        let shard = unsafe shard(key)
        let partition = unsafe shard.pointee.makePartition(
            database, hashKey: keyspace.pointee.hashKey)
        let slot = unsafe slot(key, database)?.slot
        let entry = unsafe partition.pointee.adopt(
            string, for: key, at: slot, expiry: expiry, access: newAccess,
            epoch: shard.pointee.epoch, nowMilliseconds: nowMilliseconds)
        if slot == nil && entry != nil { births.note(key) }
        return entry != nil
    }

    /// Notes an event beyond the one the handler returns; it returns `.recorded` then.
    package func record(_ event: KeyEvent, _ key: Key, count: Int = 1) {
        unsafe effects.pointee.append(event, key, database: database, sinks: sinks, count: count)
    }

    /// The same in another database.
    package func record(_ event: KeyEvent, _ key: Key, inDatabase other: Int) {
        unsafe effects.pointee.append(event, key, database: other, sinks: sinks)
    }

    /// What a key costs in bytes, or nil when it is missing.
    package func memoryUsage(_ key: Key) -> Int? {
        guard let found = unsafe slot(key, database) else { return nil }
        return unsafe found.partition.pointee.memoryUsage(found.slot.entry)
    }

    /// Databases there are.
    package var databaseCount: Int { unsafe keyspace.pointee.databaseCount }
}
