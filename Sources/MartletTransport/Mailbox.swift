//  Work that other threads leave for a loop.

import CSystem
import Glibc
import Synchronization

/// Many producers, one consumer, one wake-up for any number of messages.
///
/// Messages are rare (a kill, a resume, a connection handed over), so a lock around an array does.
/// The first message in an empty box writes to the event descriptor; those that follow find the box
/// not empty and write nothing. The descriptor is watched edge-triggered and therefore never read.
@safe
final class Mailbox: Sendable {
    private struct Content: Sendable {
        var work: [@Sendable () -> Void] = []
        var isClosed = false
    }

    private let content = Mutex(Content())

    /// The event descriptor the loop watches.
    let descriptor: Int32

    init() throws(SocketError) {
        descriptor = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
        if descriptor < 0 { throw SocketError(call: "eventfd", subject: "loop", code: errno) }
    }

    deinit { Glibc.close(descriptor) }

    /// Leaves `work` for the loop.
    ///
    /// - Returns: false, and drops the work, when the loop has ended.
    @discardableResult
    func post(_ work: @escaping @Sendable () -> Void) -> Bool {
        let (isClosed, wasEmpty) = content.withLock { content in
            let wasEmpty = content.work.isEmpty
            if !content.isClosed { content.work.append(work) }
            return (content.isClosed, wasEmpty)
        }
        if isClosed { return false }
        if wasEmpty { wake() }
        return true
    }

    /// Takes all messages, in the order in which they were left.
    func take() -> [@Sendable () -> Void] {
        content.withLock { content in
            let work = content.work
            content.work = []
            return work
        }
    }

    /// Takes no more messages and returns those that are left.
    func close() -> [@Sendable () -> Void] {
        content.withLock { content in
            let work = content.work
            content.work = []
            content.isClosed = true
            return work
        }
    }

    private func wake() {
        var one: UInt64 = 1
        // The only error is a full counter, and that wakes the loop as well.
        _ = unsafe withUnsafeBytes(of: &one) { unsafe write(descriptor, $0.baseAddress, 8) }
    }
}
