//  Keys and a client that changes and reads them, without sockets: what snapshots are made of and what
//  they are loaded into.

import MartletBase
import MartletPersistence

@testable import MartletEngine

/// A server of one loop and one client in this process, on virtual time.
@safe
final class Store {
    let time = VirtualTime(wallMilliseconds: Store.startMilliseconds)
    let state: EngineState
    private static let commands = CommandTable(groups: EngineCommands.groups)
    private let commands = Store.commands
    private var executor: Executor
    private let session: UnsafeMutablePointer<Session>

    /// 14 November 2023, 22:13:20 UTC.
    static let startMilliseconds: Int64 = 1_700_000_000_000

    init(shards: Int = 4, databases: Int = 4) {
        state = EngineState(
            loops: 1, shardCount: shards, databases: databases, commandCount: commands.all.count,
            clock: time.clock, hashKey: HashKey(1, 2))
        executor = Executor(state: state, commands: commands, loop: 0)
        let record = ClientRecord(
            id: state.clients.newID(), loop: 0,
            addresses: ClientAddresses(
                peer: "127.0.0.1:1", local: "127.0.0.1:2", descriptor: 7, isUnixSocket: false,
                isLoopback: true), createdMilliseconds: Store.startMilliseconds)
        unsafe session = .allocate(capacity: 1)
        unsafe session.initialize(to: Session(record: record))
        unsafe state.begin(session)
    }

    deinit {
        unsafe executor.forget(session)
        unsafe state.clients.remove(session.pointee.record)
        unsafe session.deinitialize(count: 1)
        unsafe session.deallocate()
    }

    /// The reply to one command, as it would be sent.
    @discardableResult
    func run(_ words: String...) -> String {
        String(decoding: run(words.map { Array($0.utf8) }), as: UTF8.self)
    }

    /// The same for a line of words.
    @discardableResult
    func line(_ line: String) -> String {
        String(
            decoding: run(line.split(separator: " ").map { Array($0.utf8) }), as: UTF8.self)
    }

    /// The same for arguments that are no text.
    @discardableResult
    func run(_ arguments: [[UInt8]]) -> [UInt8] {
        var request = Array("*\(arguments.count)\r\n".utf8)
        for argument in arguments {
            request += Array("$\(argument.count)\r\n".utf8) + argument + [0x0D, 0x0A]
        }
        executor.iterationBegan()
        var replies = ByteBuffer()
        _ = request.withView { unsafe executor.serve(session, $0, output: &replies) }
        executor.iterationEnded()
        return replies.view.bytes
    }

    /// Lends the keys of a database. Nobody else is there: no shard is taken.
    func withKeys<R>(database: Int = 0, _ body: (inout KeyAccess) -> R) -> R {
        let loader = unsafe ValueLoader(
            into: state.keyspace, limits: state.valueLimits,
            nowMilliseconds: time.clock.wallMilliseconds())
        var keys = loader.keys
        keys.database = database
        return body(&keys)
    }

    /// The digest of all keys, as DEBUG DIGEST gives it.
    var digest: String { withKeys { $0.dataDigest().text } }

    /// Checks the invariants of all keys, what they cost included.
    func checkInvariants() {
        for index in unsafe 0..<state.keyspace.pointee.shardCount {
            for database in unsafe 0..<state.keyspace.pointee.databaseCount {
                let shard = unsafe state.keyspace.pointee.shard(index)
                if let partition = unsafe shard.pointee.partition(database) {
                    unsafe partition.pointee.checkInvariants()
                }
            }
        }
    }

    /// All keys as a file.
    func file(compresses: Bool = true, hasChecksum: Bool = true) -> [UInt8] {
        var bytes: [UInt8] = []
        var writer = RDBWriter(compresses: compresses, hasChecksum: hasChecksum) {
            bytes += $0.bytes
        }
        let now = time.clock.wallMilliseconds()
        writer.begin(version: "7.2.0", at: now, usedBytes: 1, isBase: false)
        writer.whole(state, at: now)
        try? writer.end()
        return bytes
    }

    /// Loads a file, a few bytes at a time if `step` says so.
    func load(
        _ file: [UInt8], step: Int? = nil, _ options: RDBOptions = RDBOptions()
    ) throws(StorageError) -> RDBSummary {
        guard let step else {
            return try file.withView { (view) throws(StorageError) in
                var reader = RDBReader(RDBInput(view), path: "a.rdb", into: state, options)
                return try reader.load()
            }
        }
        var at = 0
        let input = RDBInput { (buffer, _) in
            let count = min(step, file.count - at)
            file.withView { buffer.append($0.slice(at, at + count)) }
            at += count
            return count
        }
        var reader = RDBReader(input, path: "a.rdb", into: state, options)
        return try reader.load()
    }

    /// The DUMP payload of a key.
    func dump(_ key: String) -> [UInt8] {
        key.withView { bytes in
            withKeys { keys in
                guard let entry = keys.find(keys.key(bytes)) else { return [] }
                var output = RDBOutput()
                return RDBPayload.write(entry, at: keys.nowMilliseconds, to: &output).bytes
            }
        }
    }

    /// Makes a key of a payload as RESTORE does; false when it is refused.
    func restore(_ key: String, _ payload: [UInt8]) -> Bool {
        key.withView { bytes in
            payload.withView { payload in
                withKeys { keys in
                    guard let version = RDBPayload.version(of: payload) else { return false }
                    var loader = ValueLoader(
                        apartFrom: keys, limits: state.valueLimits,
                        nowMilliseconds: keys.nowMilliseconds)
                    let key = keys.key(bytes)
                    do throws(RestoreError) {
                        guard
                            try RDBPayload.read(payload, version: version, as: key, into: &loader)
                        else { return true }
                    } catch {
                        return false
                    }
                    do throws(CommandError) {
                        try keys.receive(key, from: loader.keys, use: KeyUse())
                    } catch {
                        return false
                    }
                    return true
                }
            }
        }
    }
}

extension [UInt8] {
    /// The payload of these bytes, a type and a value: version and checksum are put behind them.
    func payload(version: Int = 10) -> [UInt8] {
        var bytes = self + [UInt8(version & 0xFF), UInt8(version >> 8)]
        let checksum = bytes.withView { CRC64.checksum($0) }
        for shift in stride(from: UInt64(0), to: 64, by: 8) {
            bytes.append(UInt8(truncatingIfNeeded: checksum >> shift))
        }
        return bytes
    }
}
