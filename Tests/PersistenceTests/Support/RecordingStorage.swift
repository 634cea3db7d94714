//  A directory in memory that records what is done to it, fails when told to, and shows how it may
//  look after the power went at any of its events.

import Glibc
import MartletBase
import MartletPersistence

/// Files in memory, every event of which is kept.
final class RecordingStorage: Storage, @unchecked Sendable {
    // Unchecked: each test uses its storage on one thread, or behind a lock of its own.

    /// What was done, in order. Files are numbered in the order of their creation.
    enum Event {
        case makeDirectory(String)
        case create(name: String, file: Int)
        case write(file: Int, offset: Int, bytes: [UInt8])
        case truncate(file: Int, size: Int)
        case sync(file: Int)
        /// A sync that failed: what was unsynced may be on the disk or not, for ever.
        case failedSync(file: Int)
        case rename(name: String, newName: String)
        case unlink(name: String)
        case syncDirectory(String)
    }

    /// How a call fails.
    enum Fault: CaseIterable {
        case inputOutput, noSpace, shortWrite
    }

    let path = "memory"
    private(set) var events: [Event] = []
    /// Calls that change something, so far.
    private(set) var callCount = 0
    /// The number of the call that fails next, and how; calls from there on fail until
    /// `faultsEnd`, which is one behind for a single failure.
    var faultStart = Int.max
    var faultEnd = Int.max
    var fault = Fault.inputOutput
    private(set) var faultCount = 0

    private var files: [[UInt8]] = []
    private var names: [String: Int] = [:]
    private var directories: Set<String> = [""]
    /// What was there at the start, durable.
    private var first = DurableState()

    init() {}

    /// A directory with the given files, all durable.
    init(_ contents: [String: [UInt8]], directories: Set<String> = []) {
        self.directories.formUnion(directories)
        for (name, bytes) in contents.sorted(by: { $0.key < $1.key }) {
            names[name] = files.count
            files.append(bytes)
            self.directories.insert(StorageName.directory(of: name))
        }
        first = DurableState(
            files: files.map { .init(durable: $0, pending: []) }, names: names, pendingNames: [],
            directories: self.directories)
    }

    /// The files as they are.
    var contents: [String: [UInt8]] { names.mapValues { files[$0] } }

    /// The open files' numbers, to see that none leaks.
    private(set) var openCount = 0

    /// Makes the calls from now on until `count` further ones fail.
    func fail(after calls: Int, count: Int = 1, _ fault: Fault = .inputOutput) {
        faultStart = callCount + calls
        faultEnd = count == Int.max ? Int.max : faultStart + count
        self.fault = fault
    }

    func recover() {
        faultStart = Int.max
        faultEnd = Int.max
    }

    /// Counts a call; whether it fails.
    private func fails() -> Bool {
        defer { callCount += 1 }
        guard callCount >= faultStart && callCount < faultEnd else { return false }
        faultCount += 1
        return true
    }

    private func check(_ call: StorageError.StaticName, _ name: String) throws(StorageError) {
        if fails() {
            throw .system(call: call, path: name, code: fault == .inputOutput ? EIO : ENOSPC)
        }
    }

    func makeDirectory(_ name: String) throws(StorageError) {
        try check("mkdirat", name)
        guard directories.insert(name).inserted else { return }
        events.append(.makeDirectory(name))
    }

    func create(_ name: String) throws(StorageError) -> any StorageFile {
        try check("open", name)
        guard directories.contains(StorageName.directory(of: name)) else {
            throw .system(call: "open", path: name, code: ENOENT)
        }
        guard names[name] == nil else { throw .system(call: "open", path: name, code: EEXIST) }
        events.append(.create(name: name, file: files.count))
        names[name] = files.count
        files.append([])
        return RecordingFile(name: name, number: files.count - 1, storage: self)
    }

    func open(_ name: String) throws(StorageError) -> any StorageFile {
        guard let number = names[name] else {
            throw .system(call: "open", path: name, code: ENOENT)
        }
        return RecordingFile(name: name, number: number, storage: self)
    }

    func size(_ name: String) throws(StorageError) -> Int? { names[name].map { files[$0].count } }

    func list(_ directory: String) throws(StorageError) -> [String] {
        names.keys.filter { StorageName.directory(of: $0) == directory }
            .map { StorageName.last(of: $0) }
    }

    func rename(_ name: String, to newName: String) throws(StorageError) {
        try check("rename", name)
        guard let number = names.removeValue(forKey: name) else {
            throw .system(call: "rename", path: name, code: ENOENT)
        }
        names[newName] = number
        events.append(.rename(name: name, newName: newName))
    }

    func unlink(_ name: String) throws(StorageError) {
        try check("unlink", name)
        guard names.removeValue(forKey: name) != nil else {
            throw .system(call: "unlink", path: name, code: ENOENT)
        }
        events.append(.unlink(name: name))
    }

    func syncDirectory(_ directory: String) throws(StorageError) {
        try check("fsync", directory)
        events.append(.syncDirectory(directory))
    }

    // What the files do.

    fileprivate func size(of file: Int) -> Int { files[file].count }

    fileprivate func opened(_ change: Int) { openCount += change }

    fileprivate func write(
        _ bytes: [UInt8], at offset: Int, to file: Int, _ name: String
    ) throws(StorageError) {
        precondition(offset <= files[file].count, "a file has no holes")
        if fails() {
            if fault == .shortWrite && bytes.count > 1 {
                let part = Array(bytes[..<(bytes.count / 2)])
                events.append(.write(file: file, offset: offset, bytes: part))
                files[file].write(part, at: offset)
            }
            throw .system(call: "write", path: name, code: fault == .inputOutput ? EIO : ENOSPC)
        }
        events.append(.write(file: file, offset: offset, bytes: bytes))
        files[file].write(bytes, at: offset)
    }

    fileprivate func read(_ file: Int, at offset: Int, count: Int, into buffer: inout ByteBuffer)
        -> Int
    {
        let all = files[file]
        guard offset < all.count else { return 0 }
        let end = min(all.count, offset + count)
        all.withView { buffer.append($0.slice(offset, end)) }
        return end - offset
    }

    fileprivate func truncate(_ file: Int, to size: Int, _ name: String) throws(StorageError) {
        try check("ftruncate", name)
        events.append(.truncate(file: file, size: size))
        files[file] = Array(files[file].prefix(size))
    }

    fileprivate func sync(_ file: Int, _ name: String) throws(StorageError) {
        if fails() {
            events.append(.failedSync(file: file))
            throw .system(call: "fdatasync", path: name, code: EIO)
        }
        events.append(.sync(file: file))
    }
}

/// An open file of a `RecordingStorage`.
private final class RecordingFile: StorageFile, @unchecked Sendable {
    // Unchecked: as its storage.
    let name: String
    private let number: Int
    private let storage: RecordingStorage
    private var hasFailedSync = false

    init(name: String, number: Int, storage: RecordingStorage) {
        self.name = name
        self.number = number
        self.storage = storage
        storage.opened(1)
    }

    deinit { storage.opened(-1) }

    var size: Int { storage.size(of: number) }

    func write(_ bytes: ByteView, at offset: Int) throws(StorageError) {
        try storage.write(bytes.bytes, at: offset, to: number, name)
    }

    func read(at offset: Int, count: Int, into buffer: inout ByteBuffer) throws(StorageError) -> Int
    {
        storage.read(number, at: offset, count: count, into: &buffer)
    }

    func truncate(to size: Int) throws(StorageError) {
        try storage.truncate(number, to: size, name)
    }

    func sync() throws(StorageError) {
        guard !hasFailedSync else { throw .system(call: "fdatasync", path: name, code: EIO) }
        do throws(StorageError) {
            try storage.sync(number, name)
        } catch {
            hasFailedSync = true
            throw error
        }
    }
}

/// What is durable after some events, and what may be.
struct DurableState {
    struct File {
        enum Change {
            case write([UInt8], at: Int)
            case truncate(Int)
        }
        var durable: [UInt8] = []
        /// What no sync has covered, in order.
        var pending: [Change] = []
        /// A sync failed on it: of what was pending then, no later sync makes sure.
        var isDoomed = false

        /// The content with the first `count` of the pending changes.
        func content(pending count: Int) -> [UInt8] {
            var bytes = durable
            for change in pending.prefix(count) {
                switch change {
                case .write(let more, let offset): bytes.write(more, at: offset)
                case .truncate(let size): bytes = Array(bytes.prefix(size))
                }
            }
            return bytes
        }
    }
    enum NameChange {
        case create(name: String, file: Int)
        case rename(name: String, newName: String)
        case unlink(name: String)
        case makeDirectory(String)
    }

    var files: [File] = []
    /// Names as they are durable.
    var names: [String: Int] = [:]
    var pendingNames: [NameChange] = []
    var directories: Set<String> = [""]

    mutating func apply(_ event: RecordingStorage.Event) {
        switch event {
        case .makeDirectory(let name): pendingNames.append(.makeDirectory(name))
        case .create(let name, let file):
            assert(file == files.count)
            files.append(File())
            pendingNames.append(.create(name: name, file: file))
        case .write(let file, let offset, let bytes):
            files[file].pending.append(.write(bytes, at: offset))
        case .truncate(let file, let size): files[file].pending.append(.truncate(size))
        case .sync(let file):
            let content = files[file].content(pending: files[file].pending.count)
            if files[file].isDoomed {
                // Only what had been durable before is known to be there.
                guard content.count <= files[file].durable.count,
                    Array(files[file].durable[..<content.count]) == content
                else { return }
            }
            files[file].durable = content
            files[file].pending = []
            files[file].isDoomed = false
        case .failedSync(let file): files[file].isDoomed = true
        case .rename(let name, let newName):
            pendingNames.append(.rename(name: name, newName: newName))
        case .unlink(let name): pendingNames.append(.unlink(name: name))
        case .syncDirectory(let directory):
            var kept: [NameChange] = []
            for change in pendingNames {
                if Self.concerns(change, directory) {
                    change.apply(to: &names, &directories)
                } else {
                    kept.append(change)
                }
            }
            pendingNames = kept
        }
    }

    private static func concerns(_ change: NameChange, _ directory: String) -> Bool {
        switch change {
        case .create(let name, _), .unlink(let name), .makeDirectory(let name):
            StorageName.directory(of: name) == directory
        case .rename(_, let newName):
            StorageName.directory(of: newName) == directory
        }
    }
}

extension DurableState.NameChange {
    func apply(to names: inout [String: Int], _ directories: inout Set<String>) {
        switch self {
        case .create(let name, let file): names[name] = file
        case .rename(let name, let newName):
            if let file = names.removeValue(forKey: name) { names[newName] = file }
        case .unlink(let name): names[name] = nil
        case .makeDirectory(let name): directories.insert(name)
        }
    }
}

extension RecordingStorage {
    /// Calls `body` with every directory that a crash after the first `count` events may leave.
    ///
    /// Names: the durable ones and any prefix of the changes since. Contents, of the file with most
    /// unsynced bytes, while the others have all of theirs or none: what was synced, any prefix of
    /// the rest, any subset of its 4 KB blocks with the old bytes or zeros in place of the others, everything.
    ///
    /// - Parameters:
    ///   - count: events before the crash, which have led to `state`.
    ///   - state: what is durable then, and what is pending.
    ///   - exhaustive: every length of a prefix; else about sixteen of them.
    ///   - body: takes one directory.
    func crashes(
        after count: Int, state: DurableState, exhaustive: Bool, _ body: (RecordingStorage) -> Void
    ) {
        let largest = state.files.indices.max {
            state.files[$0].pending.count < state.files[$1].pending.count
        }
        var variants: [[UInt8]] = []
        if let largest { variants = Self.contents(of: state.files[largest], exhaustive) }
        let othersArePending = state.files.indices.contains {
            $0 != largest && !state.files[$0].pending.isEmpty
        }
        for applied in 0...state.pendingNames.count {
            var names = state.names
            var directories = state.directories
            for change in state.pendingNames.prefix(applied) {
                change.apply(to: &names, &directories)
            }
            for variant in 0..<max(1, variants.count) {
                for others in othersArePending ? [true, false] : [true] {
                    var contents: [String: [UInt8]] = [:]
                    for (name, number) in names {
                        // A name whose directory is not durable is not there.
                        guard directories.contains(StorageName.directory(of: name)) else {
                            continue
                        }
                        let file = state.files[number]
                        if number == largest {
                            contents[name] = variants[variant]
                        } else {
                            contents[name] = file.content(pending: others ? file.pending.count : 0)
                        }
                    }
                    body(RecordingStorage(contents, directories: directories))
                }
            }
        }
    }

    /// Replays the events and calls `body` with the number of events before each crash, and with
    /// each state that it may leave.
    func everyCrash(
        from start: Int = 0, exhaustive: Bool = false, _ body: (Int, RecordingStorage) -> Void
    ) {
        var state = first
        for count in 0...events.count {
            if count > 0 { state.apply(events[count - 1]) }
            if count < start { continue }
            crashes(after: count, state: state, exhaustive: exhaustive) { body(count, $0) }
        }
    }

    private static func contents(
        of file: DurableState.File, _ exhaustive: Bool
    ) -> [[UInt8]] {
        if file.pending.isEmpty { return [file.durable] }
        var found: [[UInt8]] = []
        for count in 0...file.pending.count { found.append(file.content(pending: count)) }
        var start = Int.max
        var end = 0
        for change in file.pending {
            guard case .write(let bytes, let offset) = change else { return found }
            start = min(start, offset)
            end = max(end, offset + bytes.count)
        }
        guard start < end else { return found }
        let whole = found[file.pending.count]
        /// What stands in the place of a byte that did not come to the disk.
        func old(_ offset: Int) -> UInt8 {
            offset < file.durable.count ? file.durable[offset] : 0
        }
        // Torn anywhere.
        let step = exhaustive ? 1 : max(1, (end - start) / 16)
        for length in stride(from: start + 1, to: end, by: step) {
            found.append(Array(whole.prefix(length)) + file.durable.dropFirst(length))
        }
        // Blocks that came to the disk, and those that did not.
        let blocks = (start / 4096)...((end - 1) / 4096)
        let subsets = 1 << min(blocks.count, exhaustive ? 5 : 3)
        for subset in 0..<(subsets - 1) {
            var bytes = whole
            for (index, block) in blocks.enumerated() where subset >> (index % 5) & 1 == 0 {
                for offset in max(start, block * 4096)..<min(end, (block + 1) * 4096) {
                    bytes[offset] = old(offset)
                }
            }
            found.append(bytes)
        }
        return found
    }
}

extension [UInt8] {
    /// Puts `bytes` over what is there from `offset` on, and behind the end.
    fileprivate mutating func write(_ bytes: [UInt8], at offset: Int) {
        replaceSubrange(offset..<Swift.min(count, offset + bytes.count), with: bytes)
    }
}
