//  The short lock of a shard and of shared registries: one 32-bit word, a short spin, a futex.
//
//  Raw memory: the word lives in the memory of what it guards. 5 ns uncontended where
//  `Synchronization.Mutex` takes 6 and `pthread_mutex_t` 9. The thread sanitizer sees the atomic
//  operations, which are compiled into this module, as the acquire and release they are, so no
//  other lock is needed under it.
//
//  Ranks: the interpreter comes first, then shards in ascending order of their index, then registries,
//  one at a time. Whoever holds a registry's lock takes no other. Debug builds stop at the first lock that is taken
//  out of order; a release build keeps no ranks.

import CSystem

/// A lock word in raw memory: 0 free, 1 held, 2 held and somebody sleeps.
@safe
struct ShardLock {
    private let word: UnsafeMutableRawPointer
    #if DEBUG
        /// `turnRank`, a shard's index and one, or `registryRank`.
        private let rank: UInt32
    #endif

    /// Above every shard.
    static let registryRank = UInt32.max
    /// Below every shard: see `Scripts`.
    static let turnRank: UInt32 = 0

    /// The rank of a shard.
    @inline(__always)
    static func rank(ofShard index: Int) -> UInt32 { UInt32(truncatingIfNeeded: index) &+ 1 }

    /// The lock whose word is at `word`, four zero bytes at first.
    @inline(__always)
    init(at word: UnsafeMutableRawPointer, rank: UInt32) {
        unsafe self.word = word
        #if DEBUG
            self.rank = rank
        #endif
    }

    /// A registry's lock, if no other rank is given, with a word of its own, which `deallocate` frees.
    static func allocate(rank: UInt32 = registryRank) -> ShardLock {
        let word = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 64)
        unsafe word.storeBytes(of: 0, as: UInt32.self)
        return unsafe ShardLock(at: word, rank: rank)
    }

    func deallocate() { unsafe word.deallocate() }

    @inline(__always)
    func lock() {
        #if DEBUG
            precondition(
                martlet_lock_rank_enter(rank) != 0,
                "a lock of rank \(rank) is taken above all that the thread holds")
        #endif
        if unsafe martlet_compare_exchange_acquire_32(word, 0, 1) == 0 { lockSlowly() }
    }

    /// Takes the lock if it is free; false when it is not.
    @inline(__always)
    func tryLock() -> Bool {
        let isTaken = unsafe martlet_compare_exchange_acquire_32(word, 0, 1) != 0
        #if DEBUG
            // Who does not wait may come out of order.
            if isTaken { _ = martlet_lock_rank_enter(rank) }
        #endif
        return isTaken
    }

    @inline(__always)
    func unlock() {
        #if DEBUG
            martlet_lock_rank_leave(rank)
        #endif
        if unsafe martlet_exchange_release_32(word, 0) == 2 {
            unsafe martlet_futex_wake(word, 1)
        }
    }

    /// Releases the lock, and tells whether somebody sleeps on it.
    func unlockReportingSleepers() -> Bool {
        #if DEBUG
            martlet_lock_rank_leave(rank)
        #endif
        guard unsafe martlet_exchange_release_32(word, 0) == 2 else { return false }
        unsafe martlet_futex_wake(word, 1)
        return true
    }

    @inline(never)
    private func lockSlowly() {
        for _ in 0..<64 {
            if unsafe martlet_load_relaxed_32(word) == 0,
                unsafe martlet_compare_exchange_acquire_32(word, 0, 1) != 0
            {
                return
            }
            martlet_spin_pause()
        }
        // From here on the word says 2, so that the holder wakes somebody.
        while unsafe martlet_exchange_acquire_32(word, 2) != 0 {
            unsafe martlet_futex_wait(word, 2)
        }
    }
}
