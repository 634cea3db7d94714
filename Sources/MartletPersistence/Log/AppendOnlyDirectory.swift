//  The append-only log on its storage: a base, increments, and the manifest that names them.
//
//  Opening: `open` tells what to load, the caller scans each part and hands the scanner to `accept`,
//  and `resume` makes the log ready to append.
//
//  Appending: `append` collects whole units (a command, a transaction), `endGroup` writes them with
//  their checksum, `sync` makes them durable. What is not durable yet is kept in memory:
//
//      file:    [ .......... durable .......... | written | may be torn ]
//      memory:                                  [ kept groups | open group ]
//
//  Where every group is synced by itself, space is filled ahead of it: see LogReserve.swift.
//
//  After a failed write or sync nothing more goes to that file. `recover` cuts it back to what was
//  synced, writes the kept groups to a new increment, syncs it, puts it into the manifest, and only
//  then is anything of it durable. The invariant of all of it: the manifest names files whose
//  content, in its order, begins with everything that was ever acknowledged.

import MartletBase

/// The append-only log. One thread owns it, that of the log.
package final class AppendOnlyDirectory {
    /// What the configuration says.
    package struct Options: Sendable {
        /// `appenddirname`
        package var directory = "appendonlydir"
        /// `appendfilename`
        package var file = "appendonly.aof"
        /// Whether groups end with checksum lines.
        package var hasChecksums = true
        /// `aof-timestamp-enabled`
        package var hasTimestamps = false
        /// `aof-load-truncated`
        package var acceptsTail = true
        /// What is not synced is kept in memory: from so many bytes on it is synced, whatever
        /// `appendfsync` says.
        package var unsyncedBytesMax = 64 << 20

        package init() {}
    }

    /// One file to load.
    package struct Part: Equatable, Sendable {
        /// The name within the storage.
        package let name: String
        package let isBase: Bool
        package let sequence: Int
        package let size: Int
        /// The length that the manifest knows of a closed increment.
        package let closedLength: Int?
        /// Whether it is the last one, whose tail may be torn.
        package let isLast: Bool
    }

    /// What was cut from the end of the log, and where it is kept.
    package struct Cut: Equatable, Sendable {
        package let name: String
        package let offset: Int
        package let length: Int
        package let reason: String
        package let keptIn: String
    }

    /// The increment that is appended to.
    struct Increment {
        let file: any StorageFile
        let name: String
        let sequence: Int
        /// Of the checksums; nil where it has none.
        let seed: UInt64?
        /// Whole groups end here.
        var written: Int
        /// Everything before is durable.
        var synced: Int
    }

    /// A group in memory that is not known durable.
    struct KeptGroup {
        /// Bytes of its commands, and of its line behind them.
        var commandBytes: Int
        var lineBytes: Int
    }

    package let options: Options
    package let storage: any Storage
    package internal(set) var manifest = LogManifest()
    /// Whether what is on the disk is `manifest` for certain.
    var manifestIsCertain = true
    /// Whether the manifest stays in memory until a base is there.
    var waitsForBase = false
    /// The numbers that files had which the manifest names no more.
    var sequenceFloor = 0

    var current: Increment?
    /// The current increment from `synced` on, then the groups that a failure kept back, then the
    /// open group, which begins at `openStart`.
    var kept = ByteBuffer()
    var keptGroups: [KeptGroup] = []
    var openStart = 0
    private var lastTimestampSeconds: Int64 = 0

    /// How much space is filled at once ahead of what is written; 0 for none.
    package var reserveBytes = 0

    /// Why nothing can be written now; nil while the log works.
    package internal(set) var failure: StorageError?
    /// The increment that recovery has made and that the manifest does not name for certain yet, and
    /// how many kept groups are in it.
    var successor: (increment: Increment, groupCount: Int)?

    /// What the scan of the last increment has shown.
    var lastScan: LastScan?
    struct LastScan {
        var name: String
        var sequence: Int
        var seed: UInt64?
        var end: Int
        var mayGoOn: Bool
    }

    /// Bytes of the base when it was installed or found, and of the increments that are closed.
    package internal(set) var baseSize = 0
    var closedSize = 0

    package init(_ storage: any Storage, _ options: Options) {
        self.storage = storage
        self.options = options
    }

    // Figures.

    /// Bytes of the whole log.
    package var size: Int { baseSize + closedSize + (current?.written ?? 0) }

    /// Bytes that a power cut would take: written and not synced, or kept back.
    package var unsyncedByteCount: Int { kept.count }

    /// Groups that have ended and are not known durable.
    package var unsyncedGroupCount: Int { keptGroups.count }

    package var isOpen: Bool { current != nil }

    // Appending.

    /// Adds one unit to the open group: a command, or a transaction from MULTI to EXEC.
    ///
    /// - Parameters:
    ///   - unit: whole commands; their bytes are copied. The first one of a group is a SELECT: after
    ///     a failure the group may come to stand at the beginning of a file.
    ///   - unixSeconds: the wall clock; written before the unit when timestamps are on and it moved.
    package func append(_ unit: ByteView, unixSeconds: Int64 = 0) {
        if options.hasTimestamps && unixSeconds > lastTimestampSeconds {
            lastTimestampSeconds = unixSeconds
            kept.append("#TS:\(unixSeconds)\r\n" as String)
        }
        kept.append(unit)
    }

    /// Ends the open group and writes it. Without units it does nothing.
    ///
    /// - Throws: what failed. The group is kept, and nothing more is written before `recover`.
    package func endGroup() throws(StorageError) {
        let length = kept.count - openStart
        guard length > 0 else { return }
        guard failure == nil, var increment = current else {
            keptGroups.append(KeptGroup(commandBytes: length, lineBytes: 0))
            openStart = kept.count
            if let failure { throw failure }
            return
        }
        let start = openStart
        Self.writeLine(to: &kept, from: start, of: increment)
        keptGroups.append(
            KeptGroup(commandBytes: length, lineBytes: kept.count - start - length))
        openStart = kept.count
        makeRoom(for: kept.count - start, in: increment)
        do throws(StorageError) {
            try increment.file.write(kept.view.slice(start, kept.count), at: increment.written)
            increment.written += kept.count - start
            try endReserve(of: increment)
        } catch {
            failure = error
            throw error
        }
        current = increment
        if kept.count >= options.unsyncedBytesMax { try sync() }
    }

    /// Appends the line that ends the group which begins at `start` of `buffer`.
    static func writeLine(to buffer: inout ByteBuffer, from start: Int, of increment: Increment) {
        guard let seed = increment.seed else { return }
        var crc = CRC64(seed)
        crc.update(buffer.view.slice(start, buffer.count))
        var line = LogGroupLine(
            offset: increment.written, length: buffer.count - start, synced: increment.synced)
        line.checksum = line.checksum(after: crc)
        line.write(to: &buffer)
    }

    /// Makes all ended groups durable.
    package func sync() throws(StorageError) {
        guard let pending = startSync() else {
            if let failure { throw failure }
            return
        }
        do throws(StorageError) {
            try pending.run()
        } catch {
            finishSync(pending, error)
            throw error
        }
        finishSync(pending, nil)
    }

    /// A sync that another thread may run.
    package struct PendingSync: Sendable {
        fileprivate let file: any StorageFile
        fileprivate let sequence: Int
        fileprivate let end: Int

        /// Runs the sync; its result goes to `finishSync`.
        package func run() throws(StorageError) { try file.sync() }
    }

    /// The sync of what is written by now; nil when all of it is durable, or nothing can be synced.
    package func startSync() -> PendingSync? {
        guard failure == nil, let current, current.synced < current.written else { return nil }
        return PendingSync(
            file: current.file, sequence: current.sequence, end: current.written)
    }

    /// Takes the result of a sync: what it covered is durable, or nothing more is written.
    package func finishSync(_ pending: PendingSync, _ error: StorageError?) {
        // The log may have gone on to another increment, for which it has synced this one itself.
        guard let increment = current, increment.sequence == pending.sequence, failure == nil
        else { return }
        if let error {
            failure = error
        } else if pending.end > increment.synced {
            forget(pending.end - increment.synced)
            current?.synced = pending.end
        }
    }

    /// Lets go of the first `count` kept bytes: whole groups.
    private func forget(_ count: Int) {
        kept.consume(count)
        openStart -= count
        var rest = count
        var groups = 0
        while rest > 0, groups < keptGroups.count {
            rest -= keptGroups[groups].commandBytes + keptGroups[groups].lineBytes
            groups += 1
        }
        assert(rest == 0)
        keptGroups.removeFirst(groups)
    }

    /// Ends the log in order: all is synced, and a line says so.
    ///
    /// - Throws: where something that was appended is not durable.
    package func close() throws(StorageError) {
        try endGroup()
        try sync()
        if let failure { throw failure }
        guard let increment = current else { return }
        guard let seed = increment.seed else {
            current = nil
            releaseReserve(of: increment)
            return
        }
        var line = LogGroupLine(
            offset: increment.written, length: 0, synced: increment.written)
        line.checksum = line.checksum(after: CRC64(seed))
        var buffer = ByteBuffer()
        line.write(to: &buffer)
        current = nil
        do throws(StorageError) {
            if increment.file.size > increment.written {
                try increment.file.truncate(to: increment.written)
            }
            try increment.file.append(buffer.view)
            try increment.file.sync()
        } catch {
            // Everything is durable already; only the next start does not know that this one ended
            // in order. Half a line is cut off then, if not now.
            try? increment.file.truncate(to: increment.written)
        }
    }

    // Names.

    func path(_ name: String) -> String { StorageName.join(options.directory, name) }

    var manifestPath: String { path(options.file + ".manifest") }
}
