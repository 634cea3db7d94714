//  Reading an RDB file into the keys of a server.
//
//      var reader = RDBReader(RDBInput(fill: file.read), path: "dump.rdb", into: state, options)
//      let summary = try reader.load()
//
//  With `options.threads` above 1 several threads make the keys: see `RDBParallel.swift`.
//
//  The reader takes the shard of each key while it makes it; nobody else has to be kept out but for
//  what they would see. After an error the keys are a part of the file's and should be thrown away.

import Glibc
import MartletBase
import MartletEngine

/// What is wanted of a load.
package struct RDBOptions: Sendable {
    /// Keys and fields past their deadline are left out. The base of a log keeps them: what follows in
    /// the log may speak of them.
    package var dropsExpired = true
    /// The file is read to its end and no key is made: values are passed over. With one thread.
    package var onlyLooks = false
    /// Keys of the file take the place of those that are there; else such a key is an error.
    package var replacesKeys = false
    /// The checksum at the end is verified: `rdbchecksum`.
    package var hasChecksum = true
    /// Threads that make keys, the caller's included.
    package var threads = 1
    /// When the reader hands keys on to other threads.
    var batchBytes = 256 * 1024
    /// Collections of more members are made by the reader.
    var batchMembersMax: UInt64 = 65_536
    /// Called now and then, by the caller's thread, with the bytes and keys read so far.
    package var progress: (@Sendable (_ bytes: Int, _ keys: Int) -> Void)?

    package init() {}
}

/// What a file held.
package struct RDBSummary: Sendable {
    /// The version in its magic; Valkey's are 80 and more.
    package var version = 0
    package var isValkey = false
    /// Keys made, and of them those of each type, by `ValueKind.rawValue`.
    package var keys = 0
    package var keysOfKind = [Int](repeating: 0, count: 8)
    package var keysWithDeadline = 0
    /// Keys left out because they were past their deadline.
    package var expiredKeys = 0
    /// Keys left out because their collections had no members.
    package var emptyKeys = 0
    /// Function libraries.
    package var functions = 0
    /// Modules that had written something beside keys, which is passed over.
    package var modules: [String] = []
    /// The fields about the file.
    package var aux: [(name: String, value: String)] = []
    /// Where it ended: a log may follow.
    package var endOffset = 0

    package init() {}
}

/// Reads one file.
package struct RDBReader: ~Copyable {
    private var input: RDBInput
    private let path: String
    private let options: RDBOptions
    private var loader: ValueLoader
    private var values: RDBValueReader
    private var keyRoom = ByteBuffer()
    private var room = ByteBuffer()
    private var summary = RDBSummary()
    /// Whose keys they become; without it each value is given up once it is known to be whole.
    private let state: EngineState?
    /// Behind the last record that is whole.
    private(set) var wholeEnd = 0
    /// The end was read, and what comes is its checksum.
    private(set) var isAtChecksum = false
    /// Who makes the keys, when it is not the reader alone.
    private var maker: RDBMaker?
    private var queue: RDBBatchQueue?
    private var batch: RDBBatch?
    /// Keys of batches, made or not.
    private var passedKeys = 0

    // What was said of the next key.
    private var deadline: Int64?
    private var use = KeyUse()
    private var isKeyBegun = false

    /// A file of more fields about itself is none.
    private static let auxMax = 1024
    private static let keysBetweenProgress = 4096
    /// Keys that begin in so many bytes ahead are on their way from memory: about ten small ones.
    private static let fetchedBytes = 1024

    /// - Parameters:
    ///   - input: the file's bytes.
    ///   - path: its name, for errors.
    ///   - state: what it is loaded into; it has none of the file's keys, unless these replace them.
    ///   - options: what is wanted.
    package init(
        _ input: consuming RDBInput, path: String, into state: EngineState,
        _ options: RDBOptions = RDBOptions()
    ) {
        self.input = input
        self.path = path
        self.options = options
        self.state = state
        loader = unsafe ValueLoader(
            into: state.keyspace, limits: state.valueLimits,
            nowMilliseconds: state.clock.wallMilliseconds())
        values = RDBValueReader(dropsOver: options.dropsExpired)
    }

    /// A reader that makes each value to see whether it is whole, and keeps none.
    init(checking input: consuming RDBInput, path: String) {
        self.input = input
        self.path = path
        options = RDBOptions()
        state = nil
        loader = ValueLoader(alone: EngineSettings().valueLimits)
        values = RDBValueReader(dropsOver: false)
    }

    /// A reader of a batch's records, which outlives it.
    init(
        _ batch: RDBBatch, into state: EngineState, _ options: RDBOptions, isValkey: Bool
    ) {
        var single = options
        single.progress = nil
        self.init(
            RDBInput(batch.bytes.view, origin: batch.offset, hasChecksum: false), path: "",
            into: state, single)
        loader.keys.database = batch.database
        summary.isValkey = isValkey
        values.isValkey = isValkey
    }

    /// Reads all records of a batch.
    mutating func readRecords(of batch: RDBBatch) throws(RDBError) -> RDBSummary {
        let keys = batch.keys
        let bytes = batch.bytes.view
        var fetched = 0
        while !input.isAtEnd {
            let reach = input.offset - batch.offset + Self.fetchedBytes
            while fetched < keys.count, keys[fetched].lowerBound < reach {
                loader.prefetch(bytes.slice(keys[fetched].lowerBound, keys[fetched].upperBound))
                fetched += 1
            }
            _ = try readRecord()
        }
        return summary
    }

    /// Reads all of it.
    ///
    /// - Throws: `.damaged` with the offset, or what reading the bytes threw.
    package mutating func load() throws(StorageError) -> RDBSummary {
        do throws(RDBError) {
            try readAll()
        } catch {
            throw error.of(path: path)
        }
        summary.endOffset = input.offset
        options.progress?(input.offset, summary.keys)
        return summary
    }

    /// The same, with the plain reason where it ends in an error, and what was read before that.
    mutating func check() -> (RDBSummary, RDBError?) {
        var failure: RDBError?
        do throws(RDBError) { try readAll() } catch { failure = error }
        summary.endOffset = input.offset
        return (summary, failure)
    }

    private mutating func readAll() throws(RDBError) {
        try readMagic()
        if let state, !options.onlyLooks {
            try readWithMakers(state)
        } else {
            wholeEnd = input.offset
            while try readRecord() { if !isKeyBegun { wholeEnd = input.offset } }
        }
        isAtChecksum = true
        try readChecksum()
    }

    /// Reads all records while the keys are made of batches, by other threads if there are any; errors
    /// of making come before its own.
    private mutating func readWithMakers(_ state: EngineState) throws(RDBError) {
        let queue = RDBBatchQueue(threads: options.threads)
        let maker = RDBMaker(queue, state, options, isValkey: summary.isValkey)
        self.queue = queue
        self.maker = maker
        let threads = (1..<options.threads).compactMap { _ in maker.startThread() }
        var failure: RDBError?
        do throws(RDBError) {
            while try readRecord() {}
            input.unmark()
            try handOnBatch()
        } catch {
            failure = error
        }
        queue.close()
        // What is left is made by all, or by the reader alone when there are no threads.
        if failure == nil { maker.run() }
        for thread in threads { pthread_join(thread, nil) }
        if let error = queue.error { throw error }
        if let failure { throw failure }
        summary.add(queue.made)
    }

    /// Puts the key that follows into a batch, or makes it here when it is a large collection or none
    /// that can be made.
    private mutating func pass(_ type: RDBType) throws(RDBError) {
        let place = input.offset
        let keyCount = try input.skipString()
        let valuePlace = input.offset
        // What is refused by its name is not to be passed over first.
        let isModule = type == .module || type == .module2
        let isLarge = try isLarge(type)
        if isModule || isLarge {
            input.rewind(to: place)
            input.unmark()
            try handOnBatch()
            try readKey(type)
            return
        }
        input.rewind(to: valuePlace)
        try input.skip(valueOf: type, isValkey: summary.isValkey)
        let record = input.sinceMark
        let batch =
            self.batch
            ?? RDBBatch(database: loader.keys.database, offset: input.offset - record.count)
        if keyCount > 0 {
            let end = valuePlace - batch.offset
            batch.keys.append(end - keyCount..<end)
        }
        batch.bytes.append(record)
        self.batch = batch
        passedKeys += 1
        deadline = nil
        use = KeyUse()
        if batch.bytes.count >= options.batchBytes { try handOnBatch() }
    }

    /// Whether the value that follows has very many members.
    private mutating func isLarge(_ type: RDBType) throws(RDBError) -> Bool {
        guard type.beginsWithCount else { return false }
        return try input.number() > options.batchMembersMax
    }

    /// Gives the batch to the makers, or makes its keys here when they have enough to do.
    private mutating func handOnBatch() throws(RDBError) {
        guard let batch, let queue, let maker else { return }
        self.batch = nil
        if let error = queue.error { throw error }
        if !queue.add(batch) { maker.make(batch) }
        options.progress?(input.offset, passedKeys)
    }

    private mutating func readMagic() throws(RDBError) {
        let magic = try input.take(9)
        let isValkey = magic.slice(0, 6) == ByteView("VALKEY")
        guard isValkey || magic.slice(0, 5) == ByteView("REDIS"),
            let version = Self.number(magic.slice(isValkey ? 6 : 5, 9))
        else {
            throw RDBError(.damaged("it does not begin as an RDB file does"), at: 0)
        }
        guard RDBFormat.isKnown(version: version) else {
            throw RDBError(.unsupported("version \(version) of the format"), at: 0)
        }
        summary.version = version
        summary.isValkey = isValkey || version >= RDBFormat.valkeyVersionMin
        values.isValkey = summary.isValkey
    }

    /// The number that a few digits spell, zeros in front included.
    private static func number(_ digits: ByteView) -> Int? {
        var number = 0
        for index in 0..<digits.count {
            guard 0x30...0x39 ~= digits[index] else { return nil }
            number = number * 10 + Int(digits[index] & 15)
        }
        return number
    }

    private mutating func readChecksum() throws(RDBError) {
        if summary.version < 5 { return }
        let computed = input.checksumSoFar()
        let offset = input.offset
        let stored = try input.littleEndian(8)
        if options.hasChecksum && stored != 0 && stored != computed {
            throw RDBError(.damaged("wrong checksum of all before"), at: offset)
        }
    }

    /// Reads one record; false at the end.
    private mutating func readRecord() throws(RDBError) -> Bool {
        // A record begins with what is said of the key.
        if queue != nil && !isKeyBegun { input.mark() }
        let first = try input.byte()
        if let type = RDBType(rawValue: first) {
            isKeyBegun = false
            if queue == nil { try readKey(type) } else { try pass(type) }
            return true
        }
        guard let opcode = RDBOpcode(rawValue: first) else {
            throw RDBError(
                .unsupported("a value of type \(first), which is not known"), at: input.offset - 1)
        }
        switch opcode {
        case .expireMilliseconds, .expireSeconds, .idle, .frequency: isKeyBegun = true
        default:
            // A batch is of one piece.
            input.unmark()
            try handOnBatch()
        }
        switch opcode {
        case .end: return false
        case .selectDatabase:
            let number = try input.number()
            if state == nil { return true }
            guard number < UInt64(loader.keys.databaseCount) else {
                throw RDBError(
                    .unsupported(
                        "keys of database \(number), of which there are "
                            + "\(loader.keys.databaseCount)"), at: input.offset)
            }
            loader.keys.database = Int(number)
        case .resize:
            _ = try input.number()
            _ = try input.number()
        case .expireMilliseconds:
            deadline = Int64(bitPattern: try input.littleEndian(8))
        case .expireSeconds:
            let seconds = Int32(truncatingIfNeeded: try input.littleEndian(4))
            deadline = Int64(seconds) * 1000
        case .idle: use.idleSeconds = try input.number()
        case .frequency: use.frequency = try input.byte()
        case .aux: try readAux()
        case .function: try readLibrary()
        case .functionOfCandidate:
            throw RDBError(
                .unsupported("functions of Redis 7.0 candidates"), at: input.offset - 1)
        case .moduleAux:
            let name = moduleName(try input.number())
            // When it is to be read: a number, as modules write them.
            _ = try input.number()
            _ = try input.number()
            try input.skipModule()
            if summary.modules.count < Self.auxMax { summary.modules.append(name) }
        case .slotInfo: for _ in 0..<3 { _ = try input.number() }
        case .keyMeta:
            throw RDBError(.unsupported("what belongs to a cluster"), at: input.offset - 1)
        }
        return true
    }

    private mutating func readLibrary() throws(RDBError) {
        let offset = input.offset - 1
        summary.functions += 1
        guard let state, !options.onlyLooks else {
            try input.skipString()
            return
        }
        let text = try input.string(&room)
        do throws(ScriptRefusal) {
            try state.loadLibrary(text, replaces: options.replacesKeys)
        } catch {
            throw RDBError(
                .unsupported("a function library that cannot be loaded: \(error.text)"), at: offset)
        }
    }

    private mutating func readAux() throws(RDBError) {
        keyRoom.removeAll()
        keyRoom.append(try input.string(&room))
        let value = try input.string(&room)
        if summary.aux.count < Self.auxMax && value.count <= 256 && keyRoom.count <= 256 {
            summary.aux.append((keyRoom.view.string, value.string))
        }
    }

    private mutating func readKey(_ type: RDBType) throws(RDBError) {
        let offset = input.offset - 1
        keyRoom.removeAll()
        keyRoom.append(try input.string(&room))
        let deadline = deadline
        let use = use
        self.deadline = nil
        self.use = KeyUse()
        if options.dropsExpired, state != nil, let deadline,
            deadline <= loader.keys.nowMilliseconds
        {
            try input.skip(valueOf: type, isValkey: summary.isValkey)
            summary.expiredKeys += 1
            return
        }
        let key = loader.key(keyRoom.view)
        loader.lock(key)
        defer { loader.unlock(key) }
        if loader.keys.isTaken(key) {
            if !options.replacesKeys {
                throw RDBError(.duplicateKey(Self.quoted(keyRoom.view)), at: offset)
            }
            if !options.onlyLooks { _ = loader.keys.remove(key) }
        }
        if options.onlyLooks {
            try input.skip(valueOf: type, isValkey: summary.isValkey)
            return
        }
        switch try values.read(type, &input, key, &loader) {
        case .empty:
            summary.emptyKeys += 1
            return
        case .over:
            summary.expiredKeys += 1
            return
        case .made: break
        }
        if let entry = loader.keys.find(key) { summary.keysOfKind[Int(entry.kind.rawValue)] += 1 }
        defer { if state == nil { _ = loader.keys.remove(key) } }
        do throws(CommandError) {
            try loader.settle(key, deadline: deadline, use: use)
        } catch {
            throw RDBError(.noMemory, at: input.offset)
        }
        if deadline != nil { summary.keysWithDeadline += 1 }
        summary.keys += 1
        if summary.keys % Self.keysBetweenProgress == 0 {
            options.progress?(input.offset, summary.keys)
        }
    }

    /// The beginning of a key, fit to be printed.
    private static func quoted(_ key: ByteView) -> String {
        let text = key.slice(0, min(key.count, 64)).bytes.map { byte in
            (0x20..<0x7F).contains(byte) ? Character(UnicodeScalar(byte)) : "?"
        }
        return String(text) + (key.count > 64 ? "..." : "")
    }
}

extension RDBType {
    /// The value is a number of members, each of which is at least a string, and then these.
    fileprivate var beginsWithCount: Bool {
        switch self {
        case .list, .set, .zset, .zset2, .hash: true
        default: false
        }
    }
}

/// Why a payload was not restored.
package enum RestoreError: Error {
    /// Its version is not known, or its checksum is wrong.
    case footer
    /// Its bytes make no value.
    case damaged
    case noMemory
}

extension RDBPayload {
    /// The version that a payload says it has, when that is known and its checksum is right.
    package static func version(of payload: ByteView) -> Int? {
        guard payload.count >= footerBytes else { return nil }
        let end = payload.count - footerBytes
        let version = Int(payload.slice(end, end + 2).littleEndian)
        guard RDBFormat.isKnown(version: version) else { return nil }
        let stored = payload.slice(end + 2, payload.count).littleEndian
        return stored == CRC64.checksum(payload.slice(0, end + 2)) ? version : nil
    }

    /// Makes the value of a payload under a key of a loader that has its own keyspace.
    ///
    /// - Returns: whether there is a value now: fields may all have been past their deadline.
    package static func read(
        _ payload: ByteView, version: Int, as key: Key, into loader: inout ValueLoader
    ) throws(RestoreError) -> Bool {
        var input = RDBInput(payload.slice(0, payload.count - footerBytes), hasChecksum: false)
        var values = RDBValueReader(dropsOver: true)
        values.isValkey = version >= RDBFormat.valkeyVersionMin
        let outcome: RDBOutcome
        do throws(RDBError) {
            guard let type = RDBType(rawValue: try input.byte()) else {
                throw input.damaged("no such type")
            }
            outcome = try values.read(type, &input, key, &loader)
        } catch {
            if case .noMemory = error.reason { throw .noMemory }
            throw .damaged
        }
        guard outcome != .empty, input.isAtEnd else { throw .damaged }
        return outcome == .made
    }
}
