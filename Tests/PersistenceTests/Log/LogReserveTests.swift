//  Space filled ahead of the log: whoever reads it, after whatever end, finds the log and nothing else.

import MartletBase
import MartletPersistence
import Testing

struct LogReserveTests {
    private let name = "appendonlydir/appendonly.aof.1.incr.aof"

    private func killed(units: Int, reserveBytes: Int) -> LogDriver {
        let driver = LogDriver(RecordingStorage(), reserveBytes: reserveBytes)
        driver.open()
        for _ in 0..<units { driver.append(1) }
        return driver
    }

    @Test func `what is filled and not used is cut off at the next start, and no loss`() throws {
        let storage = killed(units: 5, reserveBytes: 10_000).storage
        let size = try #require(storage.contents[name]).count
        #expect(size > 10_000)
        let loaded = try LoadedLog(storage)
        #expect(loaded.unitCount == 5)
        #expect(loaded.cuts.isEmpty)
        #expect(try #require(storage.contents[name]).count < 1_000)
        #expect(storage.contents.count == 2)
    }

    @Test func `a sync of what goes into filled space changes no size`() {
        let driver = killed(units: 1, reserveBytes: 100_000)
        let before = driver.storage.contents[name]?.count
        for _ in 0..<20 { driver.append(1) }
        #expect(driver.storage.contents[name]?.count == before)
    }

    @Test func `what another server puts behind the filling belongs to the log`() throws {
        var contents = killed(units: 5, reserveBytes: 3_000).storage.contents
        contents[name]? += LogModel.unit(5) + LogModel.unit(6)
        let storage = RecordingStorage(contents)
        let loaded = try LoadedLog(storage)
        #expect(loaded.unitCount == 7)
        #expect(loaded.cuts.isEmpty)
        try loaded.log.resume()
        LogModel.unit(7).withView { loaded.log.append($0) }
        try loaded.log.endGroup()
        try loaded.log.sync()
        #expect(try LoadedLog(RecordingStorage(storage.contents)).unitCount == 8)
    }

    @Test(arguments: 1...80)
    func `wherever the log ends in its filling, a comment or nothing follows`(
        _ reserveBytes: Int
    ) throws {
        let driver = LogDriver(RecordingStorage(), reserveBytes: reserveBytes)
        driver.open()
        for step in 0..<30 {
            // From here on nothing is filled any more, and what is there is used up.
            if step == 25 { driver.log.reserveBytes = 0 }
            driver.append(1)
            let bytes = try #require(driver.storage.contents[name])
            let end = driver.log.size
            if bytes.count > end {
                #expect(bytes[end] == UInt8(ascii: "#"))
                #expect(bytes.suffix(2) == [0x0D, 0x0A])
            }
            let loaded = try LoadedLog(RecordingStorage(driver.storage.contents))
            #expect(loaded.unitCount == driver.appended)
            #expect(loaded.cuts.isEmpty)
        }
    }

    @Test func `a disk without room for it keeps the log going`() throws {
        let storage = RecordingStorage()
        let driver = LogDriver(storage, reserveBytes: 3_000)
        driver.open()
        storage.fail(after: 0, count: 1, .noSpace)
        driver.append(1)
        #expect(driver.log.failure == nil)
        driver.append(1)
        #expect(try LoadedLog(RecordingStorage(storage.contents)).unitCount == 2)
    }
}
