//  The storage that other tests believe in: what it says a crash may leave is what it may.

import Glibc
import MartletBase
import MartletPersistence
import Testing

struct RecordingStorageTests {
    /// The distinct contents of `name` over all crashes; "-" where there is no such file.
    private func outcomes(_ storage: RecordingStorage, _ name: String) -> Set<String> {
        var found: Set<String> = []
        storage.everyCrash(from: storage.events.count, exhaustive: true) { _, crashed in
            let bytes = crashed.contents[name]
            found.insert(bytes.map { String(decoding: $0, as: UTF8.self) } ?? "-")
        }
        return found
    }

    @Test func `a file is there for certain once its directory was synced`() throws {
        let storage = RecordingStorage()
        let file = try storage.create("one")
        try file.append(ByteView("ab"))
        try file.sync()
        #expect(outcomes(storage, "one") == ["-", "ab"])
        try storage.syncDirectory("")
        #expect(outcomes(storage, "one") == ["ab"])
    }

    @Test func `unsynced bytes are there, torn, zero or gone`() throws {
        let storage = RecordingStorage(["one": Array("ab".utf8)])
        try storage.open("one").append(ByteView("cde"))
        #expect(outcomes(storage, "one") == ["ab", "abc", "abcd", "abcde", "ab\0\0\0"])
    }

    @Test func `blocks come to the disk in any order`() throws {
        let storage = RecordingStorage(["one": []])
        let bytes = [UInt8](repeating: 0x61, count: 2 * 4096)
        try bytes.withView { try storage.open("one").append($0) }
        #expect(
            outcomes(storage, "one").contains(
                String(repeating: "\0", count: 4096) + String(repeating: "a", count: 4096)))
    }

    @Test func `a rename without a sync of the directory may be undone`() throws {
        let storage = RecordingStorage(["one": [0x61], "two": [0x62]])
        try storage.rename("one", to: "two")
        #expect(outcomes(storage, "two") == ["a", "b"])
        try storage.syncDirectory("")
        #expect(outcomes(storage, "two") == ["a"])
    }

    @Test func `a sync behind a failed one makes nothing sure`() throws {
        let storage = RecordingStorage(["one": []])
        let file = try storage.open("one")
        try file.append(ByteView("a"))
        storage.fail(after: 0)
        #expect(throws: StorageError.self) { try file.sync() }
        try storage.open("one").sync()
        #expect(outcomes(storage, "one") == ["", "a", "\0"])
    }

    @Test func `the call that is told to fail fails, a write with half of it done`() throws {
        let storage = RecordingStorage(["one": []])
        let file = try storage.open("one")
        storage.fail(after: 1, .shortWrite)
        try file.append(ByteView("ab"))
        #expect(throws: StorageError.system(call: "write", path: "one", code: ENOSPC)) {
            try file.append(ByteView("cd"))
        }
        try file.append(ByteView("e"))
        #expect(storage.contents["one"] == Array("abce".utf8))
        #expect(storage.faultCount == 1)
    }
}
