//  When memory that loops read without a lock may be freed: after every loop has passed an
//  iteration boundary (quiescent-state-based reclamation, McKenney and Slingwine 1998).
//
//  Raw memory: one 64-byte line per loop holds the epoch in which its iteration began, or "asleep".
//  A retired block remembers the epoch of its retirement; it is freed once every loop is asleep or
//  began its iteration in a later one.

import CSystem
import Glibc
import MartletBase
import Synchronization

/// A block that waits to be freed.
@safe
private struct Retired {
    private let block: UnsafeMutableRawPointer
    /// A block of the segment pool rather than from malloc.
    private let isPaged: Bool
    let epoch: UInt64

    init(_ block: UnsafeMutableRawPointer, isPaged: Bool, epoch: UInt64) {
        unsafe self.block = block
        self.isPaged = isPaged
        self.epoch = epoch
    }

    func free() {
        if isPaged {
            unsafe SegmentPool.shared.give(block)
        } else {
            unsafe Glibc.free(block)
        }
    }
}

/// The epochs of all loops and the blocks that wait for them.
@safe
final class Quiescence: @unchecked Sendable {
    // Unchecked: `retired` and `freeLines` are touched under `lock`; epochs and lines are atomic words.
    static let shared = Quiescence()
    static let loopsMax = 256
    private static let asleep = UInt64.max

    private let lock = ShardLock.allocate()
    private let epoch = Atomic<UInt64>(1)
    private let loopCount = Atomic<Int>(0)
    private let lines: UnsafeMutableRawPointer
    private var retired: [Retired] = []
    /// Numbers of loops that have ended.
    private var freeLines: [Int] = []
    private let waiting = Atomic<Int>(0)

    private init() {
        unsafe lines = .allocate(byteCount: Self.loopsMax * 64, alignment: 64)
        for loop in 0..<Self.loopsMax {
            unsafe lines.storeBytes(of: Self.asleep, toByteOffset: loop * 64, as: UInt64.self)
        }
    }

    deinit {
        lock.deallocate()
        unsafe lines.deallocate()
    }

    /// Registers a loop and returns its number, asleep at first.
    ///
    /// - Precondition: no more than `loopsMax` at once.
    func register() -> Int {
        lock.lock()
        defer { lock.unlock() }
        if let free = freeLines.popLast() { return free }
        let loop = loopCount.add(1, ordering: .relaxed).oldValue
        precondition(loop < Self.loopsMax, "at most \(Self.loopsMax) loops")
        return loop
    }

    /// The loop has ended; its number may be given to another.
    func unregister(_ loop: Int) {
        sleep(loop)
        lock.lock()
        freeLines.append(loop)
        lock.unlock()
    }

    /// The loop begins an iteration: whatever it reads from now on was not retired before.
    func wake(_ loop: Int) {
        let now = epoch.load(ordering: .sequentiallyConsistent)
        unsafe martlet_store_release_64(lines + loop * 64, now)
        atomicMemoryFence(ordering: .sequentiallyConsistent)
    }

    /// The loop reads nothing until it wakes.
    func sleep(_ loop: Int) {
        unsafe martlet_store_release_64(lines + loop * 64, Self.asleep)
        if waiting.load(ordering: .relaxed) > 0 { collect() }
    }

    /// Frees `block`, which came from malloc or `allocate`, or from the segment pool when `isPaged`,
    /// as soon as no loop can still read it.
    func retire(_ block: UnsafeMutableRawPointer, isPaged: Bool = false) {
        let now = epoch.add(1, ordering: .sequentiallyConsistent).oldValue
        lock.lock()
        retired.append(unsafe Retired(block, isPaged: isPaged, epoch: now))
        lock.unlock()
        waiting.add(1, ordering: .relaxed)
        if loopCount.load(ordering: .relaxed) == 0 { collect() }
    }

    /// Waits until every loop has passed an iteration boundary. Not for a loop's own thread.
    func synchronize() {
        let now = epoch.add(1, ordering: .sequentiallyConsistent).oldValue
        while oldestEpoch() <= now { usleep(500) }
    }

    private func oldestEpoch() -> UInt64 {
        // Pairs with the fence in `wake`: either this sees the loop awake, or the loop sees what was
        // unlinked before. The atomic addition that went before is no fence on every processor.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        let loops = min(loopCount.load(ordering: .relaxed), Self.loopsMax)
        var oldest = Self.asleep
        for loop in 0..<loops {
            oldest = min(oldest, unsafe martlet_load_acquire_64(lines + loop * 64))
        }
        return oldest
    }

    /// Frees what may be freed.
    func collect() {
        let oldest = oldestEpoch()
        lock.lock()
        var kept: [Retired] = []
        var due: [Retired] = []
        for item in retired {
            if item.epoch < oldest { due.append(item) } else { kept.append(item) }
        }
        retired = kept
        lock.unlock()
        waiting.subtract(due.count, ordering: .relaxed)
        for item in due { item.free() }
    }
}
