//  What a write did, as data: the one thing that leaves a handler besides its reply.
//
//  A handler returns an `Effect`, a trivial value. More than one event, or an expiry met on access,
//  goes to the loop's reusable `EffectBuffer`; while no sink is active only the counts are kept.
//
//  Raw memory: arguments to be staged for the log are lent by the caller, as many as it says.

import MartletBase

/// What one command changed.
///
/// - Invariant: `count == 0` means that nothing happened, unless `isRecorded`.
package struct Effect {
    let event: KeyEvent
    /// Which argument is the key.
    let keyIndex: UInt16
    /// How much was changed: what INFO's rdb_changes_since_last_save counts.
    let count: Int32

    /// Nothing was changed.
    package static let none = Effect(event: .none, keyIndex: 0, count: 0)
    /// Everything was appended to the effect buffer.
    package static let recorded = Effect(event: .none, keyIndex: 0, count: -1)

    /// One event on the first key.
    @inline(__always)
    package static func changed(_ event: KeyEvent, count: Int = 1) -> Effect {
        Effect(event: event, keyIndex: 1, count: Int32(clamping: count))
    }

    /// Whole databases were emptied or exchanged. Watched keys were touched where it happened.
    static func wholeDatabase(count: Int) -> Effect {
        Effect(event: .none, keyIndex: 0, count: Int32(clamping: count))
    }

    /// A change that touches no watched key: PFDEBUG gives a value another form, and Redis holds that
    /// for none.
    static let unannounced = Effect(event: .none, keyIndex: 0, count: 1)

    @inline(__always)
    var isRecorded: Bool { count < 0 }
}

/// Who wants to know of effects. Tested once per write before anything is encoded.
struct EffectSinks: OptionSet {
    let rawValue: UInt32
    /// Some connection watches some key.
    static let watching = EffectSinks(rawValue: 1)
    /// Some connection waits for some key.
    static let waiting = EffectSinks(rawValue: 2)
    /// Some connection keeps copies of keys: CLIENT TRACKING.
    static let tracking = EffectSinks(rawValue: 4)
    /// Some class of events is published: see `EventClasses`.
    static let notifying = EffectSinks(rawValue: 8)
    /// Among them those of keys that begin to exist.
    static let creation = EffectSinks(rawValue: 16)
    /// Among them those of keys that a command looked for and did not find.
    static let misses = EffectSinks(rawValue: 32)
    /// Among them those of values that give way to others.
    static let replacements = EffectSinks(rawValue: 64)
    /// A snapshot is under way: what a command may change is saved before.
    static let saving = EffectSinks(rawValue: 128)
    /// The append-only log is on.
    static let logging = EffectSinks(rawValue: 1 << 8)
    /// Replies wait until what they tell of is durable: `appendfsync always`.
    static let synchronous = EffectSinks(rawValue: 1 << 9)
    /// What entries remember of their use depends on more than the time: see Execution/EvictionCycle.swift.
    static let aging = EffectSinks(rawValue: 1 << 10)

    /// Those who want to know of each effect and its key.
    static let listeners: EffectSinks = [
        .watching, .waiting, .tracking, .notifying, .creation, .misses, .replacements,
        .synchronous,
    ]

    @inline(__always)
    var haveListeners: Bool { !isDisjoint(with: .listeners) }
}

/// The effects of the running command or transaction beyond the one it returns.
struct EffectBuffer: ~Copyable {
    struct Record {
        let event: KeyEvent
        let database: Int
        let keyHash: UInt64
        let keyStart: Int
        let keyCount: Int
    }

    private(set) var records: [Record] = []
    private var keys = ByteBuffer()
    /// Changes since the buffer was last emptied. An expiry is none: Redis does not count it either.
    private(set) var changeCount = 0
    /// Nothing was appended or staged since then.
    private(set) var isEmpty = true
    /// What the log gets of the running request or transaction.
    var staged = StagedCommands()

    /// Appends an event on a key; its bytes are copied only if somebody listens.
    @inline(__always)
    mutating func append(
        _ event: KeyEvent, _ key: Key, database: Int, sinks: EffectSinks, count: Int = 1
    ) {
        if event != .expired { changeCount &+= count }
        isEmpty = false
        if sinks.haveListeners { keep(event, key, database: database) }
    }

    /// Begins a command for the log: see `StagedCommands`.
    mutating func stage(
        _ name: StaticString, _ argumentCount: Int, database: Int, isOwn: Bool
    ) {
        isEmpty = false
        staged.begin(name, argumentCount, database: database, isOwn: isOwn)
    }

    @inline(never)
    private mutating func keep(_ event: KeyEvent, _ key: Key, database: Int) {
        records.append(
            Record(
                event: event, database: database, keyHash: key.hash, keyStart: keys.count,
                keyCount: key.bytes.count))
        keys.append(key.bytes)
    }

    /// Stages the running command as it came: all of its arguments.
    @inline(__always)
    mutating func stage(
        _ arguments: UnsafePointer<ByteView>, count: Int, database: Int, isOwn: Bool
    ) {
        isEmpty = false
        unsafe staged.append(arguments, count: count, database: database, isOwn: isOwn)
    }

    /// The running command is not logged as it came.
    mutating func stageNothing() {
        isEmpty = false
        staged.beginNothing()
    }

    /// The key of a record, valid until the buffer is next changed.
    func key(_ record: Record) -> Key {
        Key(
            keys.view.slice(record.keyStart, record.keyStart + record.keyCount),
            hash: record.keyHash)
    }

    mutating func removeAll() {
        changeCount = 0
        isEmpty = true
        // Seldom there are any: without sinks they are only counted.
        if !records.isEmpty { records.removeAll(keepingCapacity: records.count < 1024) }
        keys.removeAll()
    }
}
