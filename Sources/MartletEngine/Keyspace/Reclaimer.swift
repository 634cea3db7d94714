//  Frees what is expensive to free away from the shard's lock, on a thread of its own.
//
//  Large allocations cost milliseconds to hand back (a 512 MB string is a munmap of 131 072
//  pages), and a flushed partition has millions of objects. Whoever unlinks one under a lock gives
//  it here and goes on.
//
//  Raw memory: whoever hands a block over has unlinked it and does not touch it again; the thread
//  here, or a small one's giver, frees it.

import CSystem
import Glibc
import MartletBase
import Synchronization

/// The queue of things to free, and its thread.
final class Reclaimer: @unchecked Sendable {
    // Unchecked: `queue` and `isRunning` are touched under `lock` alone; counters are atomic.
    static let shared = Reclaimer()

    /// Smaller allocations are freed at once: malloc serves them from its own lists.
    static let immediateBytesMax = 64 * 1024

    private let lock = ShardLock.allocate()
    private var queue: [@Sendable () -> Void] = []
    private var isRunning = false
    private let pending = Atomic<Int>(0)
    private let freed = Atomic<Int>(0)

    private init() {}

    deinit { lock.deallocate() }

    /// Objects still waiting to be freed: INFO's lazyfree_pending_objects.
    var pendingCount: Int { pending.load(ordering: .relaxed) }
    /// Objects freed here since the start or the last reset: INFO's lazyfreed_objects.
    var freedCount: Int { freed.load(ordering: .relaxed) }

    func resetStatistics() { freed.store(0, ordering: .relaxed) }

    /// Frees malloc'ed `memory` of about `bytes`, here when it is small, later when it is large.
    @inline(__always)
    func release(_ memory: UnsafeMutableRawPointer, bytes: Int) {
        if bytes <= Self.immediateBytesMax {
            unsafe free(memory)
        } else {
            unsafe releaseLater(memory)
        }
    }

    @inline(never)
    private func releaseLater(_ memory: UnsafeMutableRawPointer) {
        let address = UInt(bitPattern: memory)
        run(objects: 1) { unsafe free(UnsafeMutableRawPointer(bitPattern: address)) }
    }

    /// Runs `work`, which frees `objects` objects, on the reclaimer's thread.
    func run(objects: Int, _ work: @escaping @Sendable () -> Void) {
        pending.add(objects, ordering: .relaxed)
        lock.lock()
        queue.append { [self] in
            work()
            pending.subtract(objects, ordering: .relaxed)
            freed.add(objects, ordering: .relaxed)
        }
        let mustStart = !isRunning
        isRunning = true
        lock.unlock()
        if mustStart { startThread() }
    }

    /// Waits until everything given so far is freed; for tests and orderly shutdown.
    func drain() {
        while pendingCount > 0 { usleep(1000) }
    }

    /// The thread lives while there is work and ends with the queue: an idle server has none.
    private func startThread() {
        var thread = pthread_t()
        let status = unsafe pthread_create(
            &thread, nil,
            { _ in
                Reclaimer.shared.work()
                return nil
            }, nil)
        if status == 0 {
            pthread_detach(thread)
            return
        }
        // No thread to be had. The caller may hold a shard and be a loop that the queued work waits
        // for, so the work waits too: the next one to come tries again.
        lock.lock()
        isRunning = false
        lock.unlock()
    }

    private func work() {
        while true {
            lock.lock()
            if queue.isEmpty {
                isRunning = false
                lock.unlock()
                return
            }
            let batch = queue
            queue = []
            lock.unlock()
            for item in batch { item() }
        }
    }
}
