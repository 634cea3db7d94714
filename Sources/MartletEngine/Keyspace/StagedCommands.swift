//  Commands on their way to the log: what a request changed, encoded as RESP in the order of execution
//  while it runs, and appended to `LogQueue` as one unit when it ends, its shards still held.
//
//  A command that says nothing of its own is logged as it came. One whose replay would not repeat it
//  (EXPIRE, SPOP, `XADD *`) stages what it did instead; keys and fields met past their deadline stand
//  before either. Nothing of it allocates once the buffers have grown.
//
//      EXPIRE k 10      ->   *3 $9 PEXPIREAT $1 k $13 1700000010000
//
//  Raw memory: the loop's effect buffer is written through a pointer that the loop lends; the room for
//  arguments is reserved before they are written into it. Those of a request are lent by the caller.

import MartletBase

/// The commands of one unit, staged by one loop.
@safe
struct StagedCommands: ~Copyable {
    private(set) var bytes = ByteBuffer()
    /// Commands, without SELECT.
    private(set) var count = 0
    private(set) var firstDatabase = 0
    private(set) var lastDatabase = 0
    /// The running command has said what is to be logged for it.
    private(set) var isOwn = false
    /// Hashes of the keys that were written, eight bytes each, while reads wait for writes.
    private var written = ByteBuffer()
    private(set) var hasWrittenAll = false

    /// Arguments collected for a command whose number of them is not known before.
    private var collected = ByteBuffer()
    private(set) var collectedCount = 0

    /// Memory kept from one unit to the next.
    private static let bytesKept = 1 << 20

    @inline(__always)
    var isEmpty: Bool { count == 0 }

    /// Begins a command of `argumentCount` arguments, its name included, which follow.
    mutating func begin(_ name: StaticString, _ argumentCount: Int, database: Int, isOwn: Bool) {
        enter(database)
        if isOwn { self.isOwn = true }
        header(UInt8(ascii: "*"), argumentCount)
        add(ByteView(name))
    }

    /// The running command is not logged as it came, though it changed something.
    mutating func beginNothing() { isOwn = true }

    mutating func add(_ argument: ByteView) { Self.append(argument, to: &bytes) }

    mutating func add(_ argument: Int64) {
        let digits = decimalDigitCount(argument.magnitude)
        header(UInt8(ascii: "$"), argument < 0 ? digits + 1 : digits)
        bytes.append(decimal: argument)
        bytes.append("\r\n")
    }

    mutating func add(_ id: StreamID) { Self.append(id, to: &bytes) }

    mutating func collect(_ id: StreamID) {
        Self.append(id, to: &collected)
        collectedCount += 1
    }

    private static func append(_ id: StreamID, to buffer: inout ByteBuffer) {
        let digits = decimalDigitCount(id.milliseconds) + decimalDigitCount(id.sequence)
        header(UInt8(ascii: "$"), digits + 1, to: &buffer)
        buffer.append(unsignedDecimal: id.milliseconds)
        buffer.append(UInt8(ascii: "-"))
        buffer.append(unsignedDecimal: id.sequence)
        buffer.append("\r\n")
    }

    /// Collects an argument for a command to come.
    mutating func collect(_ argument: ByteView) {
        Self.append(argument, to: &collected)
        collectedCount += 1
    }

    /// Adds the collected arguments to the command begun last, which has counted them.
    mutating func addCollected() {
        bytes.append(collected.view)
        dropCollected()
    }

    mutating func dropCollected() {
        collectedCount = 0
        if collected.capacity > Self.bytesKept {
            collected.release()
        } else {
            collected.removeAll()
        }
    }

    private static func append(_ argument: ByteView, to buffer: inout ByteBuffer) {
        header(UInt8(ascii: "$"), argument.count, to: &buffer)
        let room = unsafe buffer.writable(argument.count &+ 2)
        unsafe argument.copy(to: room)
        unsafe (room + argument.count).storeBytes(of: 0x0A0D, as: UInt16.self)
        buffer.commit(argument.count &+ 2)
    }

    /// Appends a command as it came, by its own choice or because it made none.
    mutating func append(
        _ arguments: UnsafePointer<ByteView>, count: Int, database: Int, isOwn: Bool
    ) {
        enter(database)
        if isOwn { self.isOwn = true }
        header(UInt8(ascii: "*"), count)
        for index in 0..<count {
            let argument = unsafe arguments[index]
            let length = argument.count
            // A header takes 23 bytes at most, the line end behind the argument 2.
            let room = unsafe bytes.writable(length &+ 32)
            if length < 10 {
                unsafe room.storeBytes(
                    of: 0x0A0D_3024 &+ UInt32(truncatingIfNeeded: length) << 8, as: UInt32.self)
                bytes.commit(4)
            } else {
                header(UInt8(ascii: "$"), length)
            }
            let place = unsafe bytes.writable(length &+ 2)
            unsafe argument.copy(to: place)
            unsafe (place + length).storeBytes(of: 0x0A0D, as: UInt16.self)
            bytes.commit(length &+ 2)
        }
    }

    @inline(__always)
    private mutating func enter(_ database: Int) {
        if count == 0 {
            firstDatabase = database
        } else if database != lastDatabase {
            appendSelect(database, to: &bytes)
        }
        lastDatabase = database
        count &+= 1
    }

    @inline(__always)
    private mutating func header(_ type: UInt8, _ number: Int) {
        Self.header(type, number, to: &bytes)
    }

    @inline(__always)
    private static func header(_ type: UInt8, _ number: Int, to buffer: inout ByteBuffer) {
        buffer.append(type)
        buffer.append(decimal: Int64(number))
        buffer.append("\r\n")
    }

    /// The running command has ended; answers whether it said what is to be logged for it.
    @inline(__always)
    mutating func endCommand() -> Bool {
        // Of a command that failed.
        if collectedCount > 0 { dropCollected() }
        defer { isOwn = false }
        return isOwn
    }

    /// Remembers that keys of all shards were written.
    mutating func noteAllWritten() { hasWrittenAll = true }

    /// Remembers that a key was written.
    mutating func noteWritten(_ hash: UInt64) {
        let room = unsafe written.writable(8)
        unsafe room.storeBytes(of: hash, as: UInt64.self)
        written.commit(8)
    }

    /// Calls `body` with the hashes of the keys that were written.
    mutating func forEachWritten(_ body: (UInt64) -> Void) {
        let view = written.view
        for offset in stride(from: 0, to: view.count, by: 8) {
            body(unsafe view.address.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        }
    }

    /// The unit has been appended.
    @inline(__always)
    mutating func removeAll() {
        count = 0
        hasWrittenAll = false
        if bytes.capacity > Self.bytesKept { bytes.release() } else { bytes.removeAll() }
        if !written.isEmpty {
            if written.capacity > Self.bytesKept { written.release() } else { written.removeAll() }
        }
    }
}

extension KeyAccess {
    /// Whether changes are logged. What begins a command below looks itself; whoever collects, or adds
    /// arguments, asks first.
    @inline(__always)
    package var isLogging: Bool { sinks.contains(.logging) }

    /// Begins a command that is logged in place of the running one: `argumentCount` arguments, its name
    /// included, of which `logged` adds all others.
    package func begin(_ name: StaticString, arguments argumentCount: Int) {
        unsafe effects.pointee.stage(name, argumentCount, database: database, isOwn: true)
    }

    /// Adds an argument to the command begun last.
    package func logged(_ argument: ByteView) { unsafe effects.pointee.staged.add(argument) }
    package func logged(_ argument: StaticString) { logged(ByteView(argument)) }
    package func logged(_ argument: Int64) { unsafe effects.pointee.staged.add(argument) }
    func logged(_ id: StreamID) { unsafe effects.pointee.staged.add(id) }

    /// Adds what was collected.
    func loggedCollected() { unsafe effects.pointee.staged.addCollected() }

    /// A command with a key and one or no argument besides, in place of the running one.
    @inline(__always)
    package func log(_ name: StaticString, _ key: Key) {
        if isLogging { stage(name, key) }
    }

    @inline(__always)
    func log(_ name: StaticString, _ key: Key, _ argument: ByteView) {
        if isLogging { stage(name, key, argument) }
    }

    @inline(__always)
    func log(_ name: StaticString, _ key: Key, _ argument: Int64) {
        if isLogging { argument.withDecimal { stage(name, key, $0) } }
    }

    @inline(never)
    private func stage(_ name: StaticString, _ key: Key, _ argument: ByteView? = nil) {
        begin(name, arguments: argument == nil ? 2 : 3)
        logged(key.bytes)
        if let argument { logged(argument) }
    }

    /// The new value of a string, unconditionally.
    @inline(__always)
    package func logSet(_ key: Key, _ value: ByteView, _ expiry: ExpiryChange) {
        if isLogging { stageSet(key, value, expiry) }
    }

    @inline(never)
    private func stageSet(_ key: Key, _ value: ByteView, _ expiry: ExpiryChange) {
        switch expiry {
        case .clear: begin("SET", arguments: 3)
        case .keep: begin("SET", arguments: 4)
        case .at: begin("SET", arguments: 5)
        }
        logged(key.bytes)
        logged(value)
        switch expiry {
        case .clear: break
        case .keep: logged("KEEPTTL")
        case .at(let deadline):
            logged("PXAT")
            logged(deadline)
        }
    }

    /// Collects an argument for `logCollected`.
    func collect(_ argument: ByteView) { unsafe effects.pointee.staged.collect(argument) }
    func collect(_ id: StreamID) { unsafe effects.pointee.staged.collect(id) }

    /// The same, and a command of those collected whenever they are many: a request has a million
    /// arguments at most.
    func collect(_ argument: ByteView, for name: StaticString, _ key: Key) {
        collect(argument)
        if collectedCount == Self.collectedMax { logCollected(name, key) }
    }

    static let collectedMax = 1024

    /// A command with a key, if there is one, arguments and what was collected behind them; none when
    /// that is nothing.
    func logCollected(
        _ name: StaticString, _ key: Key? = nil, argumentCount: Int = 0,
        _ arguments: () -> Void = {}
    ) {
        let count = unsafe effects.pointee.staged.collectedCount
        if count == 0 { return }
        begin(name, arguments: 1 + (key == nil ? 0 : 1) + argumentCount + count)
        if let key { logged(key.bytes) }
        arguments()
        unsafe effects.pointee.staged.addCollected()
    }

    /// How many arguments are collected.
    var collectedCount: Int { unsafe effects.pointee.staged.collectedCount }

    /// What the running command changed needs no command in the log.
    func logNothing() {
        if !isLogging { return }
        unsafe effects.pointee.stageNothing()
    }

    /// A key was met past its deadline and removed.
    func logExpired(_ key: Key, inDatabase other: Int) {
        unsafe effects.pointee.stage("DEL", 2, database: other, isOwn: false)
        logged(key.bytes)
    }

    /// Fields, which were collected, were met past their deadline and removed, all others too if the
    /// hash is gone.
    func logExpiredFields(_ key: Key, inDatabase other: Int, isGone: Bool) {
        let count = unsafe effects.pointee.staged.collectedCount
        if isGone {
            logExpired(key, inDatabase: other)
            unsafe effects.pointee.staged.dropCollected()
        } else if count > 0 {
            unsafe effects.pointee.stage("HDEL", 2 + count, database: other, isOwn: false)
            logged(key.bytes)
            unsafe effects.pointee.staged.addCollected()
        }
    }
}
