//  The log after every crash and every failure: nothing that was acknowledged is lost, nothing is
//  torn, and it goes on.

import MartletBase
import MartletPersistence
import Testing

struct LogCrashTests {
    /// Looks at every directory that a crash may leave behind; returns how many there were.
    private func checkCrashes(
        _ driver: LogDriver, _ options: AppendOnlyDirectory.Options = .init(),
        exhaustive: Bool = isFuzzing, _ what: String = ""
    ) -> Int {
        var count = 0
        driver.storage.everyCrash(exhaustive: exhaustive) { events, storage in
            count += 1
            do {
                let loaded = try LoadedLog(storage, options)
                guard let units = loaded.unitCount else {
                    Issue.record("\(what) crash \(events): not a beginning of what was written")
                    return
                }
                let promised = driver.promised(after: events)
                if units < promised || units > driver.appended {
                    Issue.record("\(what) crash \(events): \(units) units of \(promised)")
                }
                // It goes on, and a second start finds that.
                guard count % 4 == 0 else { return }
                try loaded.log.resume()
                LogModel.unit(units).withView { loaded.log.append($0) }
                try loaded.log.endGroup()
                try loaded.log.sync()
                let again = try LoadedLog(RecordingStorage(storage.contents), options)
                if again.unitCount != units + 1 || !again.cuts.isEmpty {
                    Issue.record("\(what) crash \(events): the second start differs")
                }
                let leftover = storage.contents.keys.filter { $0.contains("temp-") }
                if !leftover.isEmpty { Issue.record("\(what) crash \(events): \(leftover)") }
            } catch {
                Issue.record("\(what) crash \(events): \(error)")
            }
        }
        return count
    }

    @Test(arguments: [0, 3000, 20_000])
    func `after every crash the log holds what was acknowledged`(_ reserveBytes: Int) {
        let driver = LogDriver(RecordingStorage(), reserveBytes: reserveBytes)
        driver.runAll()
        #expect(driver.log.failure == nil)
        let states = checkCrashes(driver)
        print("crash states with \(reserveBytes) bytes filled ahead: \(states)")
        #expect(states > 1000)
        // Nothing of the filling is left where it ended in order.
        for bytes in driver.storage.contents.values {
            #expect(!bytes.withView { $0.contains(ByteView("####")) })
        }
    }

    @Test func `without checksum lines too, but for blocks that were lost`() {
        var options = AppendOnlyDirectory.Options()
        options.hasChecksums = false
        let driver = LogDriver(RecordingStorage(), options)
        driver.open()
        for _ in 0..<4 { driver.append(1) }
        driver.rewrite()
        driver.close()
        #expect(driver.log.failure == nil)
        #expect(checkCrashes(driver, options) > 100)
    }

    @Test func `an old single file is taken over, whenever the power goes`() throws {
        let old = (0..<5).flatMap { LogModel.unit($0) }
        let driver = LogDriver(RecordingStorage(["appendonly.aof": old]), appended: 5)
        driver.open()
        driver.append(2)
        #expect(driver.log.failure == nil)
        #expect(checkCrashes(driver) > 50)
        #expect(try LoadedLog(RecordingStorage(driver.storage.contents)).unitCount == 7)
    }

    @Test(arguments: RecordingStorage.Fault.allCases, [0, 3000])
    func `whichever call fails, nothing is lost and the log goes on`(
        _ fault: RecordingStorage.Fault, _ reserveBytes: Int
    ) throws {
        let quiet = LogDriver(RecordingStorage(), reserveBytes: reserveBytes)
        quiet.runAll()
        let calls = quiet.storage.callCount
        #expect(calls > 50)
        var states = 0
        for call in 0..<calls + 10 {
            for length in [1, 3] {
                let storage = RecordingStorage()
                storage.fail(after: call, count: length, fault)
                let driver = LogDriver(storage, reserveBytes: reserveBytes)
                driver.runAll()
                #expect(driver.log.failure == nil, "call \(call) of \(length)")
                let loaded = try LoadedLog(RecordingStorage(storage.contents))
                #expect(loaded.unitCount == driver.appended, "call \(call) of \(length)")
                // Half of the line that closes the log may be there, if it cannot be cut either.
                #expect(loaded.cuts.isEmpty || length > 1)
                let leftover = storage.contents.keys.filter { $0.contains("temp-") }
                #expect(leftover.isEmpty, "call \(call) of \(length)")
                guard isFuzzing || (call % 64 == 24 && length == 1) else { continue }
                states += checkCrashes(
                    driver, exhaustive: false, "\(fault) in call \(call) of \(length),")
            }
        }
        print("crash states with \(fault), \(reserveBytes) bytes filled ahead: \(states)")
    }

    @Test(arguments: [true, false])
    func `a log that begins anew counts from its base on, and what was there until then`(
        _ hasOld: Bool
    ) throws {
        let old = LogDriver(RecordingStorage())
        if hasOld {
            old.open()
            old.append(3)
            old.rewrite()
            old.close()
        }
        let kept = old.appended
        let storage = RecordingStorage(old.storage.contents)
        let log = AppendOnlyDirectory(storage, .init())
        _ = try log.open()
        try log.resumeAnew()
        let first = try log.beginIncrement()
        // What comes before the base is no beginning of the old log, and not loaded.
        for number in 10..<12 {
            LogModel.unit(number).withView { log.append($0) }
            try log.endGroup()
            try log.sync()
        }
        let base = try storage.create(log.temporaryBasePath)
        for number in 0..<10 { try LogModel.unit(number).withView { try base.append($0) } }
        try base.sync()
        let before = storage.events.count
        try log.installBase(isSnapshot: false, first: first)
        let after = storage.events.count
        storage.everyCrash { events, crashed in
            let units = try? LoadedLog(crashed).unitCount
            let isOld = units == kept && events < after
            let isNew = units == 12 && events > before
            if !isOld && !isNew { Issue.record("crash \(events): \(units ?? -1) units") }
        }
        #expect(try LoadedLog(RecordingStorage(storage.contents)).unitCount == 12)
        let names = storage.contents.keys.filter { $0.contains(".incr.") || $0.contains(".base.") }
        #expect(names.count == 2)
    }

    @Test func `what waits for a sync in memory is bounded`() {
        var options = AppendOnlyDirectory.Options()
        options.unsyncedBytesMax = 6000
        let driver = LogDriver(RecordingStorage(), options)
        driver.open()
        for _ in 0..<40 {
            driver.append(1, syncs: false)
            #expect(driver.log.unsyncedByteCount < 6000)
        }
        driver.close()
        #expect(checkCrashes(driver, exhaustive: false) > 40)
    }

    @Test func `files are closed when the log is`() {
        let storage = RecordingStorage()
        do {
            let driver = LogDriver(storage)
            driver.runAll()
        }
        #expect(storage.openCount == 0)
    }
}
