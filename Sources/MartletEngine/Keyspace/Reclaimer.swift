//  Frees what is expensive to free away from the shard's lock, on a thread of its own.
//
//  Large allocations cost milliseconds to hand back (a 512 MB string is a munmap of 131 072
//  pages), and a flushed partition has millions of objects. Whoever unlinks one under a lock gives
//  it here and goes on.
//
//  *Slices.* The thread works a tenth of a millisecond at a time and sleeps five times as long, so that
//  the loops keep their processors, their caches and the allocator's lock: five million members of a
//  sorted set are gone in a second. A thread that took a third of a processor's time, and all of it when
//  malloc looks for pages to give back, held up a loop that was busy to 60 %: it also is the less
//  favoured of the two, but not by so much that it could keep malloc's lock for long.
//
//  Raw memory: whoever hands a block over has unlinked it and does not touch it again; the thread
//  here, or a small one's giver, frees it.

import CSystem
import Glibc
import MartletBase
import Synchronization

/// The queue of things to free, and its thread.
final class Reclaimer: @unchecked Sendable {
    // Unchecked: `queue` and `isRunning` are touched under `lock` alone, steps by the thread, of
    // which there is one at a time; counters are atomic.
    static let shared = Reclaimer()

    /// Smaller allocations are freed at once: malloc serves them from its own lists.
    static let immediateBytesMax = 128 * 1024
    /// While so much waits to be freed, whoever gives more than that a share of it frees it himself: what
    /// is freed late is memory that nobody has.
    static let pendingBytesMax = 8 << 20
    /// What is freed at once even so: some tens of microseconds.
    static let promptBytesMax = 1 << 20

    /// Steps of a slice: nodes freed, a few at a microsecond.
    private static let stepsInSlice = 256
    private static let sleepMicroseconds: UInt32 = 500
    /// How far the thread stands back behind the loops: a quarter of a processor that both want.
    private static let niceness: Int32 = 5
    private var steps = 0

    private let lock = ShardLock.allocate()
    private var queue: [@Sendable () -> Void] = []
    private var isRunning = false
    private let pending = Atomic<Int>(0)
    private let pendingBytes = Atomic<Int>(0)
    /// Steps since malloc last gave back what it has free.
    private var stepsUntrimmed = 0
    /// After so many steps it is to: nodes of some ten megabytes, or a million small values.
    private static let stepsBeforeTrim = 4096
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
            unsafe releaseLater(memory, bytes: bytes)
        }
    }

    @inline(never)
    private func releaseLater(_ memory: UnsafeMutableRawPointer, bytes: Int) {
        if bytes <= Self.promptBytesMax
            && pendingBytes.load(ordering: .relaxed) > Self.pendingBytesMax
        {
            unsafe free(memory)
            return
        }
        let address = UInt(bitPattern: memory)
        pendingBytes.add(bytes, ordering: .relaxed)
        run(objects: 1) { [self] in
            guard let memory = unsafe UnsafeMutableRawPointer(bitPattern: address) else { return }
            unsafe giveUpPages(memory, bytes: bytes)
            unsafe free(memory)
            pendingBytes.subtract(bytes, ordering: .relaxed)
        }
    }

    /// Gives the pages of a large block back bit by bit. Who unmaps all of them in one call holds up
    /// every thread that touches a new page.
    private func giveUpPages(_ memory: UnsafeMutableRawPointer, bytes: Int) {
        let page = 4096
        let step = 256 * page
        // Inside the block alone: malloc's own words are before and behind it.
        var start = (UInt(bitPattern: memory) + UInt(page) - 1) & ~UInt(page - 1)
        let end = (UInt(bitPattern: memory) + UInt(bytes)) & ~UInt(page - 1)
        while start + UInt(step) <= end {
            unsafe madvise(UnsafeMutableRawPointer(bitPattern: start), step, MADV_DONTNEED)
            start += UInt(step)
            usleep(Self.sleepMicroseconds)
        }
    }

    /// Work calls this after each step, a node freed for instance: it sleeps when a slice of time is
    /// used up.
    func pause() {
        steps += 1
        stepsUntrimmed += 1
        if steps < Self.stepsInSlice { return }
        steps = 0
        usleep(Self.sleepMicroseconds)
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
                martlet_stand_back(Reclaimer.niceness)
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
            if queue.isEmpty && stepsUntrimmed >= Self.stepsBeforeTrim {
                lock.unlock()
                // The nodes of large structures lie between others: malloc keeps their pages otherwise.
                stepsUntrimmed = 0
                _ = martlet_malloc_trim()
                continue
            }
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
