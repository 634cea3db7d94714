//  The log thread's work, turn by turn on this thread: when it writes, when it syncs, what it says is
//  durable, and how it gets over a failure.

import MartletBase
import MartletPersistence
import Testing

@testable import MartletEngine

struct LogWriterTests {
    /// A store whose changes are logged, and what the writer of its log has said.
    private final class Log: @unchecked Sendable {
        // Unchecked: everything runs on the test's thread.
        let store = Store()
        let storage = RecordingStorage()
        private(set) var writer: LogWriter!
        private(set) var durable: UInt64 = 0
        private(set) var failures: [StorageError] = []
        private(set) var recoveryCount = 0

        init(_ mode: LogMode = .on) throws {
            let directory = AppendOnlyDirectory(storage, .init())
            _ = try directory.open()
            try directory.resume()
            store.state.setLog(mode)
            let listener = LogWriter.Listener(
                durable: { [unowned self] in durable = $0 },
                failed: { [unowned self] in failures.append($0) },
                recovered: { [unowned self] in recoveryCount += 1 })
            writer = LogWriter(
                store.state.log, to: directory, policy: .always, clock: store.time.clock,
                listener: listener)
        }

        /// The commands that a start would load, by name.
        func names(_ storage: RecordingStorage) throws -> [String] {
            let log = AppendOnlyDirectory(RecordingStorage(storage.contents), .init())
            var text = ""
            for part in try log.open() {
                var scanner = try log.scanner(part)
                while let run = try scanner.next() {
                    text += String(decoding: run.bytes.bytes, as: UTF8.self)
                }
                _ = try log.accept(scanner, of: part)
            }
            return text.split(separator: "\r\n").map(String.init).filter {
                $0.allSatisfy(\.isUppercase)
            }
        }

        var syncCount: Int {
            storage.events.reduce(0) {
                if case .sync = $1 { $0 + 1 } else { $0 }
            }
        }
    }

    @Test func `under always one sync makes durable what several clients have written`() throws {
        let log = try Log(.synchronous)
        log.writer.turn(.always, mayWait: false)
        // The first one fills space ahead as well.
        log.store.run("SET", "a", "1")
        log.writer.turn(.always, mayWait: false)
        let syncs = log.syncCount
        log.store.run("SET", "b", "2")
        log.store.run("INCR", "b")
        #expect(log.durable < log.store.state.log.end)
        #expect(log.writer.turn(.always, mayWait: false))
        #expect(log.syncCount == syncs + 1)
        #expect(log.durable == log.store.state.log.end)
        #expect(!log.writer.turn(.always, mayWait: false))
        #expect(try log.names(log.storage) == ["SELECT", "SET", "SELECT", "SET", "INCR"])
    }

    @Test func `under everysec it writes at once and syncs a second after the last sync`() throws {
        let log = try Log()
        let before = log.syncCount
        log.store.run("SET", "a", "1")
        log.writer.turn(.everySecond, mayWait: false)
        #expect(try log.names(log.storage) == ["SELECT", "SET"])
        log.store.time.advance(milliseconds: 999)
        log.writer.turn(.everySecond, mayWait: false)
        #expect(log.syncCount == before)
        #expect(log.writer.currentStatus.unsyncedBytes > 0)
        log.store.time.advance(milliseconds: 1)
        log.writer.turn(.everySecond, mayWait: false)
        #expect(log.syncCount == before + 1)
        #expect(log.durable == log.store.state.log.end)
        #expect(log.writer.currentStatus.unsyncedBytes == 0)
    }

    @Test func `under no it never syncs`() throws {
        let log = try Log()
        let before = log.syncCount
        log.store.run("SET", "a", "1")
        for _ in 0..<5 {
            log.store.time.advance(milliseconds: 10_000)
            log.writer.turn(.never, mayWait: false)
        }
        #expect(log.syncCount == before)
        #expect(log.durable == 0)
    }

    @Test(arguments: RecordingStorage.Fault.allCases)
    func `a failure is told once, and what came meanwhile is durable when it is over`(
        _ fault: RecordingStorage.Fault
    ) throws {
        let log = try Log(.synchronous)
        log.store.run("SET", "a", "1")
        log.writer.turn(.always, mayWait: false)
        let promised = log.durable
        log.storage.fail(after: 0, count: .max, fault)
        for value in 0..<3 {
            log.store.run("SET", "b", "\(value)")
            log.store.time.advance(milliseconds: 150)
            log.writer.turn(.always, mayWait: false)
        }
        #expect(log.failures.count == 1)
        #expect(log.durable == promised)
        #expect(log.recoveryCount == 0)
        log.storage.recover()
        log.store.time.advance(milliseconds: 150)
        log.writer.turn(.always, mayWait: false)
        #expect(log.recoveryCount == 1)
        #expect(log.durable == log.store.state.log.end)
        #expect(try log.names(log.storage).filter { $0 == "SET" }.count == 4)
        #expect(log.writer.currentStatus.failure == nil)
    }

    @Test func `what an increment begins with stands alone`() throws {
        let log = try Log(.synchronous)
        log.store.run("SET", "a", "1")
        log.store.state.log.beginIncrement()
        log.store.run("SET", "b", "2")
        while log.writer.turn(.always, mayWait: false) {}
        let increments = log.storage.contents.filter { $0.key.hasSuffix(".incr.aof") }
        #expect(increments.count == 2)
        #expect(try log.names(log.storage) == ["SELECT", "SET", "SELECT", "SET"])
        #expect(log.writer.currentStatus.switchCount == 1)
    }
}
