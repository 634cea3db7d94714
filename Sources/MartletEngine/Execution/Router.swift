//  From key positions to shards: which locks a command takes, in ascending order.

import MartletBase

/// A set of shards, as bits: what a command with several keys locks.
struct ShardSet {
    /// 1024 shards at most.
    private var words:
        (
            UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64,
            UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64
        ) = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    /// The words that are not zero, as bits.
    private var used: UInt16 = 0

    mutating func insert(_ shard: Int) {
        used |= 1 << UInt16(shard >> 6)
        unsafe withUnsafeMutableBytes(of: &words) { bytes in
            let offset = (shard >> 6) * 8
            let word = unsafe bytes.load(fromByteOffset: offset, as: UInt64.self)
            unsafe bytes.storeBytes(
                of: word | 1 << UInt64(shard & 63), toByteOffset: offset, as: UInt64.self)
        }
    }

    func contains(_ shard: Int) -> Bool {
        unsafe withUnsafeBytes(of: words) { bytes in
            let word = unsafe bytes.load(fromByteOffset: (shard >> 6) * 8, as: UInt64.self)
            return word & 1 << UInt64(shard & 63) != 0
        }
    }

    /// Calls `body` for every member in ascending order.
    func forEachShard(_ body: (Int) -> Void) {
        unsafe withUnsafeBytes(of: words) { bytes in
            var used = used
            while used != 0 {
                let index = used.trailingZeroBitCount
                used &= used - 1
                var word = unsafe bytes.load(fromByteOffset: index * 8, as: UInt64.self)
                while word != 0 {
                    body(index * 64 + word.trailingZeroBitCount)
                    word &= word - 1
                }
            }
        }
    }
}

/// What a request locks.
enum LockPlan {
    case nothing
    case one(Int)
    case several(ShardSet)
    case all

    /// Whether a shard is among those locked.
    func holds(_ shard: Int) -> Bool {
        switch self {
        case .nothing: false
        case .one(let held): held == shard
        case .several(let set): set.contains(shard)
        case .all: true
        }
    }
}

/// Works out and takes the locks of requests.
enum Router {
    /// The shards of all keys of a request.
    static func shards(
        _ command: Command, _ arguments: Arguments, _ keyspace: borrowing Keyspace,
        into set: inout ShardSet
    ) {
        var found = set
        let hashKey = keyspace.hashKey
        let mask = keyspace.shardCount - 1
        KeySpec.forEachKey(command.keys, arguments) { index, _ in
            found.insert(Int(truncatingIfNeeded: hashKey.hash(arguments[index]) >> 8) & mask)
        }
        set = found
    }

    /// Takes the locks of a plan in ascending order.
    ///
    /// - Returns: false when one of the shards is claimed; then no lock is held.
    static func lock(_ plan: LockPlan, _ keyspace: borrowing Keyspace) -> Bool {
        switch plan {
        case .nothing:
            return true
        case .one(let shard):
            keyspace.lock(shard).lock()
        case .several(let set):
            let pointer = keyspace.lockTable
            set.forEachShard { pointer.lock($0).lock() }
        case .all:
            keyspace.lockAll()
        }
        if isClaimed(plan, keyspace) {
            unlock(plan, keyspace)
            return false
        }
        return true
    }

    /// The same for shards that the caller has claimed.
    static func lockClaimed(_ plan: LockPlan, _ keyspace: borrowing Keyspace) {
        switch plan {
        case .nothing: break
        case .one(let shard): keyspace.lock(shard).lock()
        case .several(let set):
            let pointer = keyspace.lockTable
            set.forEachShard { pointer.lock($0).lock() }
        case .all: keyspace.lockAll()
        }
    }

    static func unlock(_ plan: LockPlan, _ keyspace: borrowing Keyspace) {
        switch plan {
        case .nothing: break
        case .one(let shard): keyspace.lock(shard).unlock()
        case .several(let set):
            let pointer = keyspace.lockTable
            set.forEachShard { pointer.lock($0).unlock() }
        case .all: keyspace.unlockAll()
        }
    }

    private static func isClaimed(_ plan: LockPlan, _ keyspace: borrowing Keyspace) -> Bool {
        switch plan {
        case .nothing: return false
        case .one(let shard): return unsafe keyspace.shard(shard).pointee.claimant != 0
        case .several(let set):
            let pointer = keyspace.lockTable
            var isClaimed = false
            set.forEachShard { isClaimed = isClaimed || pointer.isClaimed($0) }
            return isClaimed
        case .all:
            for shard in 0..<keyspace.shardCount
            where unsafe keyspace.shard(shard).pointee.claimant != 0 {
                return true
            }
            return false
        }
    }
}
