//  A value under a lock, for what is off the hot path.
//
//  Raw memory: the mutex, allocated and freed with the object and passed to the C library alone.

import Glibc

/// A value that one thread at a time may touch.
///
/// A `pthread_mutex_t`: the thread sanitizer sees it, `Synchronization.Mutex` it does not.
@safe
final class Locked<Value>: @unchecked Sendable {
    // Unchecked: `value` is touched under the mutex alone.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private var value: Value

    init(_ value: sending Value) {
        self.value = value
        unsafe mutex = .allocate(capacity: 1)
        let status = unsafe pthread_mutex_init(mutex, nil)
        precondition(status == 0, "a mutex needs nothing that could lack")
    }

    deinit {
        unsafe pthread_mutex_destroy(mutex)
        unsafe mutex.deallocate()
    }

    /// Runs `body` with the value, alone.
    func withLock<Result, Failure: Error>(
        _ body: (inout Value) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe pthread_mutex_unlock(mutex) }
        return try body(&value)
    }
}
