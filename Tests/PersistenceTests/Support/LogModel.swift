//  What a log should hold: units with numbers, written in order, so that what was read back is either
//  a beginning of them or wrong.

import Glibc
import MartletBase
import MartletPersistence

/// Units that tell which one they are.
enum LogModel {
    /// A command as RESP.
    static func command(_ words: String...) -> [UInt8] { command(words.map { Array($0.utf8) }) }

    static func command(_ words: [[UInt8]]) -> [UInt8] {
        var bytes = Array("*\(words.count)\r\n".utf8)
        for word in words { bytes += Array("$\(word.count)\r\n".utf8) + word + Array("\r\n".utf8) }
        return bytes
    }

    /// Unit `number`: a SET, each fifth time a transaction of two; now and then larger than a block.
    static func unit(_ number: Int) -> [UInt8] {
        number < units.count ? units[number] : made(number)
    }

    private static func made(_ number: Int) -> [UInt8] {
        let length = number % 7 == 6 ? 5000 : number * 37 % 120
        let value = [UInt8](repeating: UInt8(0x61 + number % 26), count: length)
        let set = command([Array("SET".utf8), Array("\(number)".utf8), value])
        guard number % 5 == 4 else { return set }
        return command("MULTI") + set + set + command("EXEC")
    }

    /// Units that were made before: this runs once for each crash.
    private static let units = (0..<64).map(made)

    /// How many units `bytes` holds, from number `first` on; nil where there is a half one or one
    /// that differs.
    static func count(in bytes: ByteView, startingAt first: Int) -> Int? {
        var number = first
        var offset = 0
        while offset < bytes.count {
            let length = unit(number).count
            guard offset + length <= bytes.count,
                unit(number).withView({ $0 == bytes.slice(offset, offset + length) })
            else { return nil }
            offset += length
            number += 1
        }
        return number - first
    }
}

/// A log that was loaded.
struct LoadedLog {
    let log: AppendOnlyDirectory
    /// How many units it holds, from number 0 on; nil where it holds anything else.
    let unitCount: Int?
    let cuts: [AppendOnlyDirectory.Cut]

    init(
        _ storage: any Storage, _ options: AppendOnlyDirectory.Options = .init()
    ) throws(StorageError) {
        log = AppendOnlyDirectory(storage, options)
        var count: Int? = 0
        var cuts: [AppendOnlyDirectory.Cut] = []
        for part in try log.open() {
            var scanner = try log.scanner(part)
            var bytes = ByteBuffer()
            while let run = try scanner.next() { bytes.append(run.bytes) }
            if let cut = try log.accept(scanner, of: part) { cuts.append(cut) }
            if let before = count {
                count = LogModel.count(in: bytes.view, startingAt: before).map { before + $0 }
            }
        }
        unitCount = count
        self.cuts = cuts
    }
}

/// A log that is driven through everything it does, and remembers what it promised.
final class LogDriver {
    let storage: RecordingStorage
    let log: AppendOnlyDirectory
    private(set) var appended = 0
    /// After so many events so many units were durable.
    private(set) var promises: [(events: Int, units: Int)] = [(0, 0)]

    init(
        _ storage: RecordingStorage, _ options: AppendOnlyDirectory.Options = .init(),
        appended: Int = 0, reserveBytes: Int = 0
    ) {
        self.storage = storage
        self.appended = appended
        promises = [(0, appended)]
        log = AppendOnlyDirectory(storage, options)
        log.reserveBytes = reserveBytes
    }

    /// What was promised before the crash after `events` events.
    func promised(after events: Int) -> Int {
        promises.last { $0.events <= events }?.units ?? 0
    }

    private func promise() { promises.append((storage.events.count, appended)) }

    /// Tries until it works; a failure of the log is repaired in between.
    private func insist(_ step: () throws(StorageError) -> Void) {
        for _ in 0..<4 {
            do throws(StorageError) {
                if log.failure != nil {
                    try log.recover()
                    // Everything that has ended is durable now.
                    promise()
                }
                try step()
                return
            } catch {}
        }
    }

    func open() {
        insist { () throws(StorageError) in
            if log.isOpen { return }
            _ = try log.open()
            try log.resume()
        }
    }

    /// Appends units, a group each, and makes them durable together.
    func append(_ count: Int, groups: Int = 1, syncs: Bool = true) {
        for _ in 0..<groups {
            for _ in 0..<count {
                LogModel.unit(appended).withView { log.append($0) }
                appended += 1
            }
            try? log.endGroup()
        }
        guard syncs else { return }
        insist { () throws(StorageError) in try log.sync() }
        if log.failure == nil { promise() }
    }

    /// A rewrite: an increment begins, a base is written beside, more is appended meanwhile.
    func rewrite() {
        var first = 0
        insist { () throws(StorageError) in first = try log.beginIncrement() }
        guard first > 0 else { return }
        if log.failure == nil { promise() }
        let covered = appended
        append(1)
        insist { () throws(StorageError) in
            let path = log.temporaryBasePath
            if try storage.size(path) != nil { try storage.unlink(path) }
            let file = try storage.create(path)
            for number in 0..<covered {
                try LogModel.unit(number).withView { (unit) throws(StorageError) in
                    try file.append(unit)
                }
            }
            try file.sync()
            try log.installBase(isSnapshot: false, first: first)
        }
        append(1)
    }

    func close() {
        insist { () throws(StorageError) in try log.close() }
        if log.failure == nil { promise() }
    }

    /// Everything once.
    func runAll() {
        open()
        append(1)
        append(3)
        append(2, groups: 2)
        rewrite()
        append(2, groups: 2, syncs: false)
        append(1)
        rewrite()
        append(1)
        close()
    }
}

/// Whether a long run was asked for (`make fuzz`).
let isFuzzing = unsafe getenv("MARTLET_FUZZ_CRASHES") != nil
