//  Looking at keys without touching them: for DEBUG and CLUSTER, which count no hit, leave no access
//  clock, and reclaim nothing.

import CSystem
import MartletBase

/// What DEBUG OBJECT tells of a key.
package struct KeyDescription: Sendable {
    package let address: UInt
    package let encoding: StaticString
    /// Bytes of the string value; 0 for other kinds.
    package let stringBytes: Int
    /// The access clock in entries and how many seconds ago it was left.
    package let access: UInt32
    package let idleSeconds: Int
    /// The value when it is kept as an integer.
    package let integer: Int64?
}

/// How one of the two indexes of a database is filled: DEBUG HTSTATS.
package struct TableStatistics: Sendable {
    package var slots = 0
    package var keys = 0
    package var segments = 0
    /// How many groups of slots hold so many keys, by that number.
    package var groupsByKeys = [Int](repeating: 0, count: Table.slotsPerGroup + 1)
    /// Groups that keys had to pass because they were full.
    package var passedGroups = 0
}

extension KeyAccess {
    /// The entry of a key that is alive, left as it is. The caller holds its shard.
    private func peek(_ key: Key, inDatabase number: Int) -> Entry? {
        let shard = unsafe keyspace.pointee.shard(keyspace.pointee.shardIndex(key.hash))
        guard let partition = unsafe shard.pointee.partition(number),
            let slot = unsafe partition.pointee.table.find(key.bytes, hash: key.hash),
            !slot.entry.isGone(at: nowMilliseconds)
        else { return nil }
        return slot.entry
    }

    /// The entry of a key, past its deadline or not, left as it is. The caller holds its shard.
    func entryAsItIs(_ key: Key) -> Entry? {
        let shard = unsafe keyspace.pointee.shard(keyspace.pointee.shardIndex(key.hash))
        guard let partition = unsafe shard.pointee.partition(database) else { return nil }
        return unsafe partition.pointee.table.find(key.bytes, hash: key.hash)?.entry
    }

    /// Whether a key is there, past its deadline or not.
    package func holds(_ key: Key) -> Bool {
        let shard = unsafe keyspace.pointee.shard(keyspace.pointee.shardIndex(key.hash))
        guard let partition = unsafe shard.pointee.partition(database) else { return false }
        return unsafe partition.pointee.table.find(key.bytes, hash: key.hash) != nil
    }

    /// A key of bytes that were no argument.
    package func key(_ bytes: ByteView) -> Key { unsafe keyspace.pointee.key(bytes) }

    /// DEBUG OBJECT: nil when the key is missing.
    package func describe(_ key: Key) -> KeyDescription? {
        guard let entry = peek(key, inDatabase: database) else { return nil }
        return unsafe KeyDescription(
            address: UInt(bitPattern: entry.address), encoding: entry.encodingName,
            stringBytes: entry.isString ? entry.stringLength : 0, access: entry.access,
            idleSeconds: idleSeconds(entry),
            integer: entry.encoding == .integer ? entry.integer : nil)
    }

    /// The digest of a key's type, value and having a deadline; all zeros when it is missing.
    ///
    /// Equal data give the digest that Redis gives.
    package func valueDigest(_ key: Key) -> DataDigest {
        var digest = DataDigest()
        if let entry = peek(key, inDatabase: database) { mix(entry, into: &digest) }
        return digest
    }

    /// The digest of all keys of all databases. The caller holds all shards.
    package func dataDigest() -> DataDigest {
        var total = DataDigest()
        for number in 0..<databaseCount {
            var isEmpty = true
            forEachEntry(inDatabase: number) { entry in
                if isEmpty { total.mix(UInt32(number)) }
                isEmpty = false
                var digest = DataDigest()
                digest.mix(entry.key)
                mix(entry, into: &digest)
                total.combine(digest)
            }
        }
        return total
    }

    private func mix(_ entry: Entry, into digest: inout DataDigest) {
        digest.mix(UInt32(entry.kind.rawValue))
        switch entry.encoding {
        case .integer: String(entry.integer).withView { digest.mix($0) }
        case .inline: digest.mix(entry.inlineValue)
        case .heap: digest.mix(entry.heapString.view)
        case .packed, .structure: entry.mixMembers(into: &digest, at: nowMilliseconds)
        }
        if entry.header.hasExpiry { digest.combine(ByteView("!!expire!!")) }
    }

    private func forEachEntry(inDatabase number: Int, _ body: (Entry) -> Void) {
        let visit: (Entry) -> Void = { entry in
            if !entry.isGone(at: nowMilliseconds) { body(entry) }
        }
        for index in unsafe 0..<keyspace.pointee.shardCount {
            guard let partition = unsafe keyspace.pointee.shard(index).pointee.partition(number)
            else { continue }
            unsafe partition.pointee.table.forEachEntry(visit)
        }
    }

    /// DEBUG HTSTATS: the tables of a database, and how many keys have a deadline. The caller holds
    /// all shards.
    package func tableStatistics(ofDatabase number: Int) -> (table: TableStatistics, expires: Int) {
        var statistics = TableStatistics()
        var expires = 0
        for index in unsafe 0..<keyspace.pointee.shardCount {
            guard let partition = unsafe keyspace.pointee.shard(index).pointee.partition(number)
            else { continue }
            unsafe partition.pointee.table.addStatistics(to: &statistics)
            expires += unsafe partition.pointee.expiry.count
        }
        return (statistics, expires)
    }
}

/// A digest of data that does not depend on the order of keys: SHA-1 digests, combined by exclusive
/// or. DEBUG DIGEST of Redis is defined this way.
package struct DataDigest: Sendable {
    private var bytes = InlineArray<20, UInt8>(repeating: 0)

    package init() {}

    /// Combines the digest of `part`: parts may come in any order.
    mutating func combine(_ part: ByteView) {
        let digest = SHA1.digest(part)
        for index in 0..<20 { bytes[index] ^= digest[index] }
    }

    mutating func combine(_ other: DataDigest) {
        combine(other.plain)
    }

    /// Takes in the next part of an ordered sequence.
    mutating func mix(_ part: ByteView) {
        combine(part)
        bytes = digest(of: bytes)
    }

    /// Takes in a number, in network order.
    mutating func mix(_ number: UInt32) {
        var buffer = ByteBuffer()
        for shift in [24, 16, 8, 0] {
            buffer.append(UInt8(truncatingIfNeeded: number >> UInt32(shift)))
        }
        mix(buffer.view)
    }

    private mutating func combine(_ plain: [UInt8]) {
        plain.withView { combine($0) }
    }

    private var plain: [UInt8] { (0..<20).map { bytes[$0] } }

    private func digest(of bytes: InlineArray<20, UInt8>) -> InlineArray<20, UInt8> {
        plain.withView { SHA1.digest($0) }
    }

    /// Forty hexadecimal digits.
    package var text: String {
        var buffer = ByteBuffer()
        buffer.append(hexadecimal: bytes)
        return buffer.view.string
    }
}
