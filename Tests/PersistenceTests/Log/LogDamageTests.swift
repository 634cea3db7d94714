//  Bits that flip and files that are cut: noticed with an offset, or harmless.

import MartletBase
import MartletPersistence
import Testing

struct LogDamageTests {
    private static let increment = "appendonlydir/appendonly.aof.1.incr.aof"
    private static let manifest = "appendonlydir/appendonly.aof.manifest"

    /// A small log: three groups of one unit and one of two.
    private func files(closed: Bool) -> [String: [UInt8]] {
        let driver = LogDriver(RecordingStorage())
        driver.open()
        for _ in 0..<3 { driver.append(1) }
        driver.append(2)
        if closed { driver.close() }
        return driver.storage.contents
    }

    /// What loading it comes to.
    private enum Outcome: Equatable {
        case refused(StorageError)
        case loaded(units: Int, cuts: [AppendOnlyDirectory.Cut])
        case wrong
    }

    private func load(_ files: [String: [UInt8]]) -> Outcome {
        do {
            let loaded = try LoadedLog(RecordingStorage(files))
            guard let units = loaded.unitCount else { return .wrong }
            return .loaded(units: units, cuts: loaded.cuts)
        } catch {
            return .refused(error)
        }
    }

    @Test(arguments: [true, false])
    func `every bit of an increment counts`(closed: Bool) throws {
        let whole = files(closed: closed)
        let bytes = try #require(whole[Self.increment])
        #expect(load(whole) == .loaded(units: 5, cuts: []))
        for bit in 0..<bytes.count * 8 {
            var files = whole
            files[Self.increment]?[bit / 8] ^= 1 << (bit % 8)
            switch load(files) {
            case .refused(.damaged(_, let offset, _)):
                #expect(offset <= bit / 8, "bit \(bit)")
            case .loaded(let units, let cuts):
                // Only the last group may go, or the line behind it, and it is told.
                let cut = try #require(cuts.first, "bit \(bit)")
                #expect(cut.offset <= bit / 8 && units >= (closed ? 5 : 3), "bit \(bit)")
            default: Issue.record("bit \(bit)")
            }
        }
    }

    @Test(arguments: [true, false])
    func `an increment may be cut anywhere`(closed: Bool) throws {
        let whole = files(closed: closed)
        let bytes = try #require(whole[Self.increment])
        var longest = 0
        for length in 0...bytes.count {
            var files = whole
            files[Self.increment] = Array(bytes.prefix(length))
            guard case .loaded(let units, _) = load(files) else {
                Issue.record("length \(length)")
                continue
            }
            #expect(units >= longest)
            longest = units
        }
        #expect(longest == 5)
    }

    @Test func `every bit of a manifest counts`() throws {
        let driver = LogDriver(RecordingStorage())
        driver.open()
        driver.append(2)
        driver.rewrite()
        _ = try driver.log.beginIncrement()
        driver.append(1)
        driver.close()
        let whole = driver.storage.contents
        let bytes = try #require(whole[Self.manifest])
        let good = load(whole)
        #expect(good == .loaded(units: driver.appended, cuts: []))
        for bit in 0..<bytes.count * 8 {
            var files = whole
            files[Self.manifest]?[bit / 8] ^= 1 << (bit % 8)
            switch load(files) {
            case .refused: break
            case let outcome: #expect(outcome == good, "bit \(bit)")
            }
        }
    }

    @Test func `an increment that others follow may not be shorter`() throws {
        let driver = LogDriver(RecordingStorage())
        driver.open()
        driver.append(1)
        driver.append(1)
        _ = try driver.log.beginIncrement()
        driver.append(1)
        let whole = driver.storage.contents
        let bytes = try #require(whole[Self.increment])
        for length in 0..<bytes.count {
            var files = whole
            files[Self.increment] = Array(bytes.prefix(length))
            guard case .refused(.damaged(let path, let offset, _)) = load(files) else {
                Issue.record("length \(length)")
                continue
            }
            #expect(path == Self.increment)
            #expect(offset <= length)
        }
    }

    @Test func `garbage and zeros behind the last group are cut and kept aside`() throws {
        let whole = files(closed: false)
        let bytes = try #require(whole[Self.increment])
        for tail in [[UInt8](repeating: 0, count: 5000), Array("*3\r\n$3\r\nSE".utf8), [0xFF]] {
            let storage = RecordingStorage(whole.merging([Self.increment: bytes + tail]) { $1 })
            let loaded = try LoadedLog(storage)
            #expect(loaded.unitCount == 5)
            let cut = try #require(loaded.cuts.first)
            #expect(cut.offset == bytes.count)
            #expect(cut.length == tail.count)
            #expect(storage.contents[cut.keptIn] == tail)
            #expect(storage.contents[Self.increment] == bytes)
        }
        var options = AppendOnlyDirectory.Options()
        options.acceptsTail = false
        let torn = RecordingStorage(whole.merging([Self.increment: bytes + [0]]) { $1 })
        #expect(throws: StorageError.self) { _ = try LoadedLog(torn, options) }
        #expect(torn.contents[Self.increment] == bytes + [0])
    }

    @Test func `a value that looks like the end of a group proves nothing`() throws {
        let driver = LogDriver(RecordingStorage())
        driver.open()
        driver.append(1)
        let start = try #require(driver.storage.contents[Self.increment]).count
        // Torn behind a value that claims a later group, durable, of no bytes.
        let value = "#CRC:\(start + 60):0:0000000000000000:\(start + 60)\r\n"
        let padding = String(repeating: "x", count: 35)
        var torn = LogModel.command("SET", "k", padding + value)
        #expect(start + 60 == start + torn.count - value.utf8.count - 2, "the claim fits")
        torn.removeLast(1)
        var files = driver.storage.contents
        files[Self.increment]? += torn
        guard case .loaded(units: 1, let cuts) = load(files) else {
            Issue.record("not loaded")
            return
        }
        #expect(cuts.first?.offset == start)
    }

    @Test func `what another server appended behind a closed log is kept`() throws {
        let whole = files(closed: true)
        let foreign = LogModel.unit(5) + Array("#TS:1700000000\r\n".utf8) + LogModel.unit(6)
        var files = whole
        files[Self.increment]? += foreign
        let storage = RecordingStorage(files)
        let loaded = try LoadedLog(storage)
        #expect(loaded.unitCount == 7)
        try loaded.log.resume()
        LogModel.unit(7).withView { loaded.log.append($0) }
        try loaded.log.close()
        let again = try LoadedLog(storage)
        #expect(again.unitCount == 8)
        #expect(again.log.manifest.increments.count == 2)
    }
}
