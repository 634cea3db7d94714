//  `martlet check`: what it finds, and that it changes nothing.

import MartletBase
import MartletPersistence
import Testing

struct LogCheckTests {
    /// Checks; returns the lines and whether all is good.
    private func check(
        _ storage: RecordingStorage, _ name: String, repairs: Bool = false
    ) -> (isGood: Bool, text: String) {
        let lines = Lines()
        let isGood = LogCheck(storage, repairs: repairs) { lines.text += $0 + "\n" }.check(name)
        return (isGood, lines.text)
    }

    private final class Lines {
        var text = ""
    }

    private static let increment = "appendonlydir/appendonly.aof.1.incr.aof"

    private func log(increments: Int) throws -> [String: [UInt8]] {
        let driver = LogDriver(RecordingStorage())
        driver.open()
        for index in 0..<increments {
            if index > 0 { _ = try driver.log.beginIncrement() }
            driver.append(1)
            driver.append(2)
        }
        driver.close()
        return driver.storage.contents
    }

    @Test(arguments: ["appendonlydir", "", "appendonlydir/appendonly.aof.manifest"])
    func `a whole log is counted`(_ name: String) throws {
        let storage = RecordingStorage(try log(increments: 2))
        let found = check(storage, name)
        #expect(found.isGood)
        #expect(found.text.contains("2 files, its checksum fits"))
        #expect(found.text.contains("3 commands, 2 groups"))
        #expect(found.text.contains("  7 SET\n"))
        #expect(found.text.contains("  1 MULTI\n"))
        #expect(storage.events.isEmpty)
    }

    @Test func `damage is told with its offset, and what is before it saved elsewhere`() throws {
        var files = try log(increments: 2)
        let second = try #require(files[Self.increment]).firstRange(
            of: Array("SET\r\n$1\r\n1".utf8))
        files[Self.increment]?[try #require(second).lowerBound] ^= 1
        let storage = RecordingStorage(files)
        let found = check(storage, "appendonlydir")
        #expect(!found.isGood)
        #expect(found.text.contains("\(Self.increment): damaged at offset "))
        #expect(found.text.contains("appendonly.aof.2.incr.aof: follows the damage"))
        #expect(storage.events.isEmpty)

        #expect(check(storage, "appendonlydir", repairs: true).isGood)
        for (name, bytes) in files { #expect(storage.contents[name] == bytes) }
        var repaired: [String: [UInt8]] = [:]
        for (name, bytes) in storage.contents where name.hasPrefix("appendonlydir.repaired/") {
            repaired["appendonlydir/" + StorageName.last(of: name)] = bytes
        }
        let loaded = try LoadedLog(RecordingStorage(repaired))
        #expect(loaded.unitCount == 1)
        #expect(loaded.cuts.isEmpty)
    }

    @Test func `a base of commands that was cut behind a group is saved with an end`() throws {
        let driver = LogDriver(RecordingStorage())
        driver.open()
        driver.append(1)
        let storage = driver.storage
        var base = LogBaseWriter(
            try storage.create(driver.log.temporaryBasePath), hasChecksums: true)
        let command = Array("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n".utf8)
        try command.withView { (view) throws(StorageError) in try base.append(view, database: 0) }
        try base.end()
        try driver.log.installBase(isSnapshot: false, first: try driver.log.beginIncrement())
        driver.close()
        var files = storage.contents
        let name = "appendonlydir/appendonly.aof.1.base.aof"
        #expect(check(RecordingStorage(files), "appendonlydir").isGood)

        let whole = try #require(files[name])
        let lastLine = try #require(whole.lastIndex(of: UInt8(ascii: "#")))
        files[name] = Array(whole[..<lastLine])
        let torn = RecordingStorage(files)
        let found = check(torn, "appendonlydir")
        #expect(!found.isGood)
        #expect(found.text.contains("\(name): torn at its end"))
        #expect(check(torn, "appendonlydir", repairs: true).isGood)
        #expect(torn.contents["appendonlydir.repaired/appendonly.aof.1.base.aof"] == whole)
        #expect(check(torn, "appendonlydir.repaired").isGood)
    }

    @Test func `a single file is saved up to its last whole unit`() throws {
        let whole = LogModel.unit(0) + LogModel.unit(4)
        let storage = RecordingStorage(["old.aof": whole + Array("*2\r\n$3".utf8)])
        let found = check(storage, "old.aof")
        #expect(!found.isGood)
        #expect(found.text.contains("old.aof: torn at offset \(whole.count), 6 bytes"))
        #expect(check(storage, "old.aof", repairs: true).isGood)
        #expect(storage.contents["old.aof.repaired"] == whole)
        #expect(check(storage, "old.aof.repaired").isGood)
    }

    /// A snapshot of these records.
    private func snapshot(_ records: [UInt8]) -> [UInt8] {
        var bytes = Array("REDIS0011".utf8) + [0xFE, 0x00] + records + [0xFF]
        let checksum = bytes.withView { CRC64.checksum($0) }
        for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: checksum >> (8 * shift))) }
        return bytes
    }

    /// A string whose value looks like an end, and a list.
    private static let records: [UInt8] =
        [0x00, 0x01, 0x6B, 0x02, 0xFF, 0x01] + [0x01, 0x01, 0x6C, 0x02, 0x01, 0x61, 0x01, 0x62]

    @Test func `a snapshot is verified value by value, alone and before commands`() {
        let snapshot = snapshot(Self.records)
        let mixed = snapshot + LogModel.unit(1)
        let storage = RecordingStorage([
            "dump.rdb": snapshot, "mixed.aof": mixed, "torn.rdb": snapshot.dropLast(1),
        ])
        #expect(
            check(storage, "dump.rdb").text
                == "dump.rdb: a snapshot of \(snapshot.count) bytes, its checksum fits\n"
                + "  1 keys of type string\n  1 keys of type list\n")
        let found = check(storage, "mixed.aof")
        #expect(found.isGood)
        #expect(found.text.contains("a snapshot of \(snapshot.count) bytes"))
        #expect(found.text.contains("  1 SET\n"))
        #expect(!check(storage, "torn.rdb").isGood)
        for bit in 0..<snapshot.count * 8 {
            var flipped = snapshot
            flipped[bit / 8] ^= 1 << (bit % 8)
            #expect(!check(RecordingStorage(["dump.rdb": flipped]), "dump.rdb").isGood)
        }
    }

    @Test func `the keys before the damage of a snapshot are saved elsewhere`() throws {
        let whole = snapshot(Self.records)
        // The list has more elements than follow.
        var damaged = whole
        damaged[20] = 0x7F
        let storage = RecordingStorage(["dump.rdb": damaged])
        let found = check(storage, "dump.rdb")
        #expect(!found.isGood)
        #expect(found.text.contains("dump.rdb is damaged at offset "))
        #expect(found.text.contains("  1 keys of type string\n--fix saves the 1 keys in "))
        #expect(storage.events.isEmpty)
        #expect(check(storage, "dump.rdb", repairs: true).isGood)
        #expect(storage.contents["dump.rdb"] == damaged)
        #expect(storage.contents["dump.rdb.repaired"] == snapshot(Array(Self.records.prefix(6))))
        // Where nothing says which byte is wrong, nothing is saved.
        damaged = whole
        damaged[15] ^= 1
        let flipped = RecordingStorage(["dump.rdb": damaged])
        let refused = check(flipped, "dump.rdb", repairs: true)
        #expect(!refused.isGood)
        #expect(refused.text.contains("any value may be wrong"))
        #expect(flipped.contents.count == 1)
    }

    @Test func `a snapshot without a checksum is said to have none`() {
        let bytes = Array(snapshot(Self.records).dropLast(8)) + [UInt8](repeating: 0, count: 8)
        let found = check(RecordingStorage(["dump.rdb": bytes]), "dump.rdb")
        #expect(found.isGood)
        #expect(found.text.contains("bytes, it has no checksum\n"))
    }

    @Test func `what is not there is said`() {
        #expect(check(RecordingStorage(), "nothing").text == "nothing: no such file\n")
    }
}
