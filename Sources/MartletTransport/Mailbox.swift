//  Work that other threads leave for a loop.
//
//  Raw memory: the mutex stands in an allocation of its own, since it must not move; the mailbox
//  makes it, frees it, and any thread may lock it.

import CSystem
import Glibc

/// Many producers, one consumer, one wake-up for any number of messages.
///
/// Messages are rare (a kill, a resume, a connection handed over), so a lock around an array does:
/// the C library's, because the thread sanitizer does not see into `Synchronization.Mutex`.
/// The first message in an empty box writes to the event descriptor; those that follow find the box
/// not empty and write nothing. The descriptor is watched edge-triggered and therefore never read.
@safe
final class Mailbox: @unchecked Sendable {
    // Unchecked: `work` and `isClosed` are touched under `lock` only.
    private let lock: UnsafeMutablePointer<pthread_mutex_t>
    private var work: [@Sendable () -> Void] = []
    private var isClosed = false

    /// The event descriptor the loop watches.
    let descriptor: Int32

    init() throws(SocketError) {
        descriptor = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
        if descriptor < 0 { throw SocketError(call: "eventfd", subject: "loop", code: errno) }
        unsafe lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
        unsafe lock.initialize(to: pthread_mutex_t())
        unsafe pthread_mutex_init(lock, nil)
    }

    deinit {
        unsafe pthread_mutex_destroy(lock)
        unsafe lock.deallocate()
        Glibc.close(descriptor)
    }

    /// Leaves a message for the loop.
    ///
    /// - Returns: false, and drops it, when the loop has ended.
    @discardableResult
    func post(_ message: @escaping @Sendable () -> Void) -> Bool {
        unsafe pthread_mutex_lock(lock)
        let wasEmpty = work.isEmpty
        let isAccepted = !isClosed
        if isAccepted { work.append(message) }
        unsafe pthread_mutex_unlock(lock)
        if isAccepted && wasEmpty { wake() }
        return isAccepted
    }

    /// Takes all messages, in the order in which they were left.
    // Not inlined: the check for exclusive access would move into each iteration of the loop.
    @inline(never)
    func take() -> [@Sendable () -> Void] {
        unsafe pthread_mutex_lock(lock)
        defer { unsafe pthread_mutex_unlock(lock) }
        let taken = work
        work = []
        return taken
    }

    /// Takes no more messages and returns those that are left.
    func close() -> [@Sendable () -> Void] {
        unsafe pthread_mutex_lock(lock)
        isClosed = true
        unsafe pthread_mutex_unlock(lock)
        return take()
    }

    private func wake() {
        var one: UInt64 = 1
        // The only error is a full counter, and that wakes the loop as well.
        _ = unsafe withUnsafeBytes(of: &one) { unsafe write(descriptor, $0.baseAddress, 8) }
    }
}
