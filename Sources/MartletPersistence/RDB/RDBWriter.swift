//  Writing an RDB file: header, databases with their keys, end.
//
//      var writer = RDBWriter { (chunk) throws(StorageError) in try file.append(chunk) }
//      writer.begin(at: now, usedBytes: memory)
//      writer.functions(texts)
//      writer.database(0, keys: 12, keysWithDeadline: 3)
//      writer.key(entry, at: now)              for each, its shard held
//      try writer.end()
//
//  or `whole(_:)`, which writes all keys of a keyspace whose shards the caller holds: SAVE, and the
//  base of a log when nobody is served meanwhile.

import MartletBase
import MartletEngine

/// A file while it is written.
package struct RDBWriter: ~Copyable {
    package var output: RDBOutput
    /// Keys written so far.
    package private(set) var keyCount = 0

    /// - Parameters:
    ///   - compresses: `rdbcompression`.
    ///   - hasChecksum: `rdbchecksum`.
    ///   - sink: gets the bytes in chunks. What it throws is thrown by `end`; meanwhile nothing more
    ///     is handed to it.
    package init(
        compresses: Bool = true, hasChecksum: Bool = true, sink: @escaping RDBOutput.Sink
    ) {
        output = RDBOutput(compresses: compresses, hasChecksum: hasChecksum, sink: sink)
    }

    /// What the sink failed with, so that whoever writes much can stop early.
    package var failure: StorageError? { output.failure }

    /// Bytes so far.
    package var byteCount: Int { output.count }

    /// Writes magic and the fields that say who wrote the file and when.
    ///
    /// - Parameters:
    ///   - version: of the server.
    ///   - nowMilliseconds: wall clock.
    ///   - usedBytes: memory in use.
    ///   - isBase: the file is the base of an append-only directory.
    package mutating func begin(
        version: String, at nowMilliseconds: Int64, usedBytes: Int, isBase: Bool
    ) {
        output.append(ByteView("REDIS0010"))
        aux("redis-ver", version)
        aux("redis-bits", "64")
        aux("ctime", String(nowMilliseconds / 1000))
        aux("used-mem", String(usedBytes))
        aux("aof-base", isBase ? "1" : "0")
    }

    /// Writes a field about the file. Servers pass over those that they do not know.
    package mutating func aux(_ name: StaticString, _ value: String) {
        output.append(RDBOpcode.aux.rawValue)
        output.append(string: ByteView(name))
        value.withView { output.append(string: $0) }
    }

    /// Writes function libraries, before the first database.
    package mutating func functions(_ texts: [Bytes]) {
        for text in texts {
            text.withView { output.append(library: $0) }
            output.spill()
        }
    }

    /// Says which database the next keys belong to, and about how many they are.
    package mutating func database(_ number: Int, keys: Int, keysWithDeadline: Int) {
        output.append(RDBOpcode.selectDatabase.rawValue)
        output.append(length: number)
        output.append(RDBOpcode.resize.rawValue)
        output.append(length: keys)
        output.append(length: keysWithDeadline)
    }

    /// Writes a key of that database, its shard held. One past its deadline is left out.
    package mutating func key(
        _ entry: Entry, at nowMilliseconds: Int64, use: RememberedUse = .none
    ) {
        if output.append(key: entry, at: nowMilliseconds, use: use.of(entry)) { keyCount += 1 }
        output.spill()
    }

    /// Writes bytes that `RDBOutput.append(key:)` made elsewhere: one key of that database or more.
    package mutating func keys(_ encoded: ByteView, count: Int) {
        output.append(encoded)
        keyCount += count
        output.spill()
    }

    /// Writes the end and the checksum.
    ///
    /// - Throws: what the sink threw, now or before.
    package mutating func end() throws(StorageError) {
        output.append(RDBOpcode.end.rawValue)
        try output.finish()
    }

    /// Writes all libraries, and all keys of all databases. The caller holds all shards.
    ///
    /// - Complexity: O(data). Stops early when the sink fails.
    package mutating func whole(_ state: EngineState, at nowMilliseconds: Int64) {
        functions(state.libraryTexts)
        let databases = unsafe state.keyspace.pointee.databaseCount
        let use = state.rememberedUse(at: nowMilliseconds)
        for number in 0..<databases {
            let counts = unsafe state.keyspace.pointee.counts(ofDatabase: number)
            if counts.keys == 0 { continue }
            database(number, keys: counts.keys, keysWithDeadline: counts.keysWithDeadline)
            unsafe state.keyspace.pointee.forEachEntry(inDatabase: number) { entry in
                if output.failure == nil { key(entry, at: nowMilliseconds, use: use) }
            }
        }
    }
}

/// Keys as records of a file, for a snapshot that is walked while commands go on.
package struct RDBSnapshotEncoder: SnapshotEncoder {
    let compresses: Bool
    let nowMilliseconds: Int64
    let use: RememberedUse

    /// - Parameters:
    ///   - compresses: `rdbcompression`.
    ///   - nowMilliseconds: wall clock at the snapshot's point in time: what is over then is left out.
    ///   - use: what is written of how keys were used.
    package init(compresses: Bool, at nowMilliseconds: Int64, use: RememberedUse = .none) {
        self.compresses = compresses
        self.nowMilliseconds = nowMilliseconds
        self.use = use
    }

    package func encode(_ entry: Entry, into buffer: inout ByteBuffer) {
        var output = RDBOutput(compresses: compresses)
        output.exchangeBuffer(with: &buffer)
        output.append(key: entry, at: nowMilliseconds, use: use.of(entry))
        output.exchangeBuffer(with: &buffer)
    }
}

/// DUMP: one value with the version and the checksum behind it.
///
///         0  type, then the value
///         …  version   2 bytes, little-endian
///         …  checksum  8 bytes, little-endian, of all before
package enum RDBPayload {
    package static let footerBytes = 10

    /// Writes the payload of a value to an output without a sink, lent until it is changed.
    package static func write(
        _ entry: Entry, at nowMilliseconds: Int64, to output: inout RDBOutput
    ) -> ByteView {
        output.removeAll()
        let type = entry.rdbType(at: nowMilliseconds)
        output.append(type.rawValue)
        output.append(valueOf: entry, as: type, at: nowMilliseconds)
        let version = RDBFormat.version(of: type)
        output.append(UInt8(truncatingIfNeeded: version))
        output.append(UInt8(truncatingIfNeeded: version >> 8))
        output.append64(CRC64.checksum(output.buffer.view))
        return output.buffer.view
    }
}
