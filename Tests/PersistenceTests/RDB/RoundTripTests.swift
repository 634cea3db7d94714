//  What is written comes back: every type and encoding, by file and by payload.

import MartletBase
import MartletEngine
import Synchronization
import Testing

@testable import MartletPersistence

struct RoundTripTests {
    @Test(arguments: [true, false]) func `a file brings back all that was written`(
        compresses: Bool
    ) throws {
        let store = Store()
        store.fill()
        store.fillNewest()
        let file = store.file(compresses: compresses)
        let other = Store(shards: 8)
        let summary = try other.load(file)
        other.checkInvariants()
        #expect(summary.keys == store.readKeyCount)
        #expect(summary.endOffset == file.count)
        #expect(other.digest == store.digest)
        #expect(other.readOut == store.readOut)
    }

    @Test(arguments: [1, 7, 100, 5000]) func `it does not matter in what pieces a file comes`(
        step: Int
    ) throws {
        let store = Store()
        store.fill(isLong: step > 10)
        let other = Store()
        _ = try other.load(store.file(), step: step)
        #expect(other.readOut == store.readOut)
    }

    @Test(arguments: [2, 4], [nil, 700]) func `several threads make the same keys`(
        threads: Int, step: Int?
    ) throws {
        let store = Store()
        store.fill()
        store.fillNewest()
        for index in 0..<3000 {
            store.run("SET", "key \(index)", "value \(index)", "PXAT", "1900000000000")
        }
        var options = RDBOptions()
        options.threads = threads
        options.batchBytes = 4096
        options.batchMembersMax = 100
        let file = store.file()
        let other = Store()
        let summary = try other.load(file, step: step, options)
        other.checkInvariants()
        #expect(summary.keys == store.readKeyCount)
        #expect(summary.endOffset == file.count)
        #expect(summary.keysWithDeadline == 3001)
        #expect(other.readOut == store.readOut)
        // What is wrong is found and named by all of them alike.
        for cut in stride(from: 10, to: file.count, by: max(1, file.count / 40)) {
            #expect(throws: StorageError.self) {
                _ = try Store().load(Array(file[..<cut]), step: step, options)
            }
        }
        let error = try #require(throws: StorageError.self) {
            _ = try other.load(file, step: step, options)
        }
        #expect("\(error)".contains("is there twice"))
    }

    @Test func `settings in force decide how values stand`() throws {
        let store = Store()
        store.fill()
        let other = Store()
        let few = PackedLimits(entriesMax: 1, elementBytesMax: 1)
        other.state.settings.hashes.set(few)
        other.state.settings.sortedSets.set(few)
        other.state.settings.sets.set(few)
        other.state.settings.integerSetMax.store(0, ordering: .relaxed)
        other.state.settings.listSize.store(1, ordering: .relaxed)
        _ = try other.load(store.file())
        other.checkInvariants()
        #expect(other.digest == store.digest)
        for (key, encoding) in [
            ("hash", "hashtable"), ("scores", "skiplist"), ("integers", "hashtable"),
            ("list", "quicklist"),
        ] {
            #expect(
                other.run("OBJECT", "ENCODING", key) == "$\(encoding.count)\r\n\(encoding)\r\n")
        }
        // And back again, from large forms.
        let third = Store()
        _ = try third.load(other.file())
        #expect(third.digest == store.digest)
    }

    @Test func `every payload makes the same value`() {
        let store = Store()
        store.fill()
        store.fillNewest()
        let other = Store()
        for key in store.names {
            let payload = store.dump(key)
            #expect(!payload.isEmpty)
            #expect(other.restore(key, payload), "\(key)")
            #expect(other.restore(key, payload), "\(key) once more, in its place")
        }
        other.checkInvariants()
        #expect(other.run("SELECT", "0") == "+OK\r\n")
        let timeless = { (store: Store) in
            store.readOut.filter { !$0.hasPrefix("2 ") && !$0.hasPrefix("0 mortal") }
        }
        #expect(timeless(other) == timeless(store))
    }

    @Test func `what is over is left out, or kept for a log that follows`() throws {
        let store = Store()
        store.run("SET", "mortal", "v", "PX", "1000")
        store.run("HSET", "hash", "a", "1")
        store.run("HPEXPIRE", "hash", "1000", "FIELDS", "1", "a")
        store.run("SET", "other", "v", "PX", "5000")
        let file = store.file()
        let late = Store()
        late.time.advance(milliseconds: 2000)
        let summary = try late.load(file)
        #expect(summary.expiredKeys == 2)
        #expect(late.run("DBSIZE") == ":1\r\n")
        let keeping = Store()
        keeping.time.advance(milliseconds: 2000)
        var options = RDBOptions()
        options.dropsExpired = false
        #expect(try keeping.load(file, options).keys == 3)
        #expect(keeping.run("EXISTS", "mortal", "other") == ":1\r\n")
        store.time.advance(milliseconds: 2000)
        let again = Store()
        _ = try again.load(store.file())
        #expect(again.run("DBSIZE") == ":1\r\n")
    }

    @Test func `a key that is there twice is refused by name`() throws {
        let store = Store()
        store.run("SET", "key", "v")
        let file = store.file()
        let error = try #require(throws: StorageError.self) {
            _ = try store.load(file)
        }
        #expect("\(error)".contains("the key 'key' is there twice"))
    }

    @Test func `a sink that fails ends the file with its error`() {
        let store = Store()
        store.fill()
        let failure = StorageError.system(call: "write", path: "x", code: 28)
        var writer = RDBWriter { (_) throws(StorageError) in throw failure }
        writer.begin(version: "1", at: 0, usedBytes: 0, isBase: true)
        writer.whole(store.state, at: Store.startMilliseconds)
        var thrown: StorageError?
        do throws(StorageError) { try writer.end() } catch { thrown = error }
        #expect(thrown == failure)
    }
}

extension Store {
    /// Keys of all databases.
    var readKeyCount: Int {
        (0..<4).reduce(0) { $0 + withKeysCount(database: $1) }
    }

    private func withKeysCount(database: Int) -> Int {
        var count = 0
        withKeys(database: database) { keys in
            for shard in 0..<keys.shardCount { count += keys.count(ofShard: shard) }
        }
        return count
    }

    /// The names of the keys of the first database.
    var names: [String] {
        run("KEYS", "*").split(separator: "\r\n", omittingEmptySubsequences: false).dropFirst()
            .enumerated().filter { $0.offset % 2 == 1 }.map { String($0.element) }.sorted()
    }
}
