//  All clients, for whoever asks about another's connection: CLIENT LIST, KILL, INFO, MONITOR.
//
//  A record is shared between the client's loop, which writes it, and any thread that lists clients.
//  Numbers are relaxed atomics, so that the loop pays a plain store; texts stand under the registry's
//  lock. That lock ranks after the shards': its holder takes no shard.
//
//  Raw memory: a record allocates one word, which any thread may read or set atomically, and frees
//  it when the last reference to the record goes.

import CSystem
import MartletBase
import Synchronization

/// Where a client is connected from and to.
package struct ClientAddresses: Sendable {
    package var peer: String
    package var local: String
    package var descriptor: Int32
    package var isUnixSocket: Bool
    /// From this machine: protected mode lets it in.
    package var isLoopback: Bool

    package init(
        peer: String, local: String, descriptor: Int32, isUnixSocket: Bool, isLoopback: Bool
    ) {
        self.peer = peer
        self.local = local
        self.descriptor = descriptor
        self.isUnixSocket = isUnixSocket
        self.isLoopback = isLoopback
    }
}

/// What every thread may see and ask of a client.
@safe
package final class ClientRecord: @unchecked Sendable {
    // Unchecked: `texts` and `waiter` are touched under the registry's lock, `subscriptions` under
    // that of `PubSub`, `session` by the client's loop; the rest is constant or atomic.

    package let id: Int64
    package let loop: Int
    package let addresses: ClientAddresses
    package let createdMilliseconds: Int64

    /// One word, read before each command: not zero once the client was killed.
    let killedWord: UnsafeMutableRawPointer
    /// One word: not zero once a key that the client watches was written.
    var watchWord: UnsafeMutableRawPointer { unsafe killedWord + 8 }
    package let lastActiveMilliseconds = Atomic<Int64>(0)
    package let database = Atomic<Int>(0)
    package let isRESP3 = Atomic<Bool>(false)
    /// The number of the last command, or -1.
    package let lastCommand = Atomic<Int>(-1)
    /// Commands queued since MULTI, or -1.
    package let queuedCommands = Atomic<Int>(-1)
    package let watchedKeys = Atomic<Int>(0)
    /// What the client is subscribed to.
    package let channels = Atomic<Int>(0)
    package let patterns = Atomic<Int>(0)
    package let shardChannels = Atomic<Int>(0)
    package let commandCount = Atomic<Int>(0)
    package let gate = Atomic<UInt32>(0)
    /// How the client tracks keys: see `tracking`.
    let trackingWord = Atomic<UInt32>(0)
    /// The client that gets the news instead; 0 for none.
    let redirect = Atomic<Int64>(0)
    /// CLIENT NO-EVICT ON.
    package let isExemptFromEviction = Atomic<Bool>(false)
    /// Bytes received and not yet executed, and room for them.
    package let queryBytes = Atomic<Int>(0)
    package let queryCapacity = Atomic<Int>(0)
    /// Bytes of replies the socket has not taken yet.
    package let outputBytes = Atomic<Int>(0)
    package let transactionBytes = Atomic<Int>(0)
    package let netInputBytes = Atomic<Int>(0)
    package let netOutputBytes = Atomic<Int>(0)

    /// What a client says of itself.
    package struct Texts {
        package var name = ""
        package var libraryName = ""
        package var libraryVersion = ""
        package var user = "default"
        /// CLIENT CAPA REDIRECT, Valkey's: it understands being sent to another server.
        package var followsRedirects = false
    }
    package var texts = Texts()
    /// What the client waits for.
    fileprivate var waiter: Waiter?
    /// What the client is subscribed to; nil when it never was. Under the lock of `PubSub`.
    var subscriptions: Subscriptions?
    /// The client's session until it ends; followed on the client's loop alone.
    package internal(set) var session: UnsafeMutablePointer<Session>?

    package init(
        id: Int64, loop: Int, addresses: ClientAddresses, createdMilliseconds: Int64
    ) {
        self.id = id
        self.loop = loop
        self.addresses = addresses
        self.createdMilliseconds = createdMilliseconds
        unsafe session = nil
        unsafe killedWord = .allocate(byteCount: 16, alignment: 8)
        unsafe killedWord.initializeMemory(as: UInt64.self, repeating: 0, count: 2)
        lastActiveMilliseconds.store(createdMilliseconds, ordering: .relaxed)
    }

    /// Whom the commands of scripts are run for; MONITOR shows it as `lua`.
    static func forScripts(loop: Int) -> ClientRecord {
        ClientRecord(
            id: 0, loop: loop,
            addresses: ClientAddresses(
                peer: "lua", local: "", descriptor: -1, isUnixSocket: false, isLoopback: true),
            createdMilliseconds: 0)
    }

    deinit { unsafe killedWord.deallocate() }

    /// CLIENT KILL or the like: no further command of this client runs.
    package func kill() { unsafe martlet_store_relaxed_64(killedWord, 1) }

    package var isKilled: Bool { unsafe martlet_load_relaxed_64(killedWord) != 0 }

    /// EXEC will fail: a watched key was written.
    package var isWatchTouched: Bool {
        if watchedKeys.load(ordering: .relaxed) == 0 { return false }
        return unsafe martlet_load_relaxed_64(watchWord) != 0
    }
}

/// All connected clients by id.
package final class ClientRegistry: @unchecked Sendable {
    // Unchecked: `records` is touched under `lock`; counters are atomic.
    private let lock = ShardLock.allocate()
    private var records: [Int64: ClientRecord] = [:]
    private let nextID = Atomic<Int64>(1)
    private let connected = Atomic<Int>(0)

    package init() {}

    deinit { lock.deallocate() }

    package func newID() -> Int64 { nextID.add(1, ordering: .relaxed).oldValue }

    package var count: Int { connected.load(ordering: .relaxed) }

    package func add(_ record: ClientRecord) {
        lock.lock()
        defer { lock.unlock() }
        records[record.id] = record
        connected.add(1, ordering: .relaxed)
    }

    package func remove(_ record: ClientRecord) {
        lock.lock()
        defer { lock.unlock() }
        if records.removeValue(forKey: record.id) != nil {
            connected.subtract(1, ordering: .relaxed)
        }
    }

    /// All clients by ascending id. A killed one is gone for everybody, though its connection may
    /// take a moment to close.
    package func all() -> [ClientRecord] {
        lock.lock()
        defer { lock.unlock() }
        return records.values.filter { !$0.isKilled }.sorted { $0.id < $1.id }
    }

    /// The client of that id, unless it was killed.
    package func record(_ id: Int64) -> ClientRecord? {
        lock.lock()
        defer { lock.unlock() }
        guard let record = records[id], !record.isKilled else { return nil }
        return record
    }

    /// Notes what a client waits for.
    func setWaiter(_ waiter: Waiter?, of record: ClientRecord) {
        lock.lock()
        defer { lock.unlock() }
        record.waiter = waiter
    }

    /// What a client waits for.
    func waiter(of record: ClientRecord) -> Waiter? {
        lock.lock()
        defer { lock.unlock() }
        return record.waiter
    }

    /// Reads or changes a client's texts.
    package func withTexts<R>(_ record: ClientRecord, _ body: (inout ClientRecord.Texts) -> R) -> R
    {
        lock.lock()
        defer { lock.unlock() }
        return body(&record.texts)
    }
}
