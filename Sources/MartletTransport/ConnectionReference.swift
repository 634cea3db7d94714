//  The handle by which others name a connection.
//
//  Raw memory: the slot is the loop's and lives as long as the loop; it is followed on the loop's
//  thread only, and the ID in it tells whether it still holds this connection.

import CSystem
import Glibc
import MartletBase

/// Names one connection, from when it was opened until it is closed, and notices afterwards that it
/// is gone.
///
/// A handle may be kept and passed anywhere, but used on the connection's own loop only; from other
/// threads `loop.post { reference.resume() }`. On a connection that is gone, calls do nothing and
/// properties are empty. Nobody may use a handle once its loop has been destroyed.
///
/// - Memory: 24 bytes, trivially copied.
@safe
package struct ConnectionReference: Sendable {
    // Sendable: the address is only followed on the loop's thread; the loop outlives the handle.
    unowned(unsafe) private let owner: EventLoop
    nonisolated(unsafe) private let slot: UnsafeMutablePointer<Connection>

    /// A number no other connection of this process has had.
    package let id: UInt64

    init(loop: EventLoop, slot: UnsafeMutablePointer<Connection>) {
        unsafe owner = loop
        unsafe self.slot = slot
        unsafe id = slot.pointee.id
    }

    /// The loop that owns the connection.
    package var loop: EventLoop { unsafe owner }

    /// The slot, or nil when the connection is gone.
    private var current: UnsafeMutablePointer<Connection>? {
        loop.assertOnThread()
        return unsafe slot.pointee.id == id ? slot : nil
    }

    /// Whether the connection still exists and is not about to be closed.
    package var isOpen: Bool {
        guard let slot = unsafe current else { return false }
        return unsafe slot.pointee.flags.isDisjoint(with: [.doomed, .closesAfterFlush])
    }

    // MARK: Doing

    /// Sends bytes outside of `received`, behind everything sent before. They leave at the end of
    /// the loop's iteration.
    ///
    /// - Precondition: the connection is not the one whose `received` is running: its own `output`
    ///   is the place for its bytes.
    ///
    /// - Parameters:
    ///   - bytes: what is sent.
    ///   - position: they leave once `EventLoop.release` was told this; 0 for at once.
    package func append(_ bytes: ByteView, until position: UInt64 = 0) {
        if let slot = unsafe current { unsafe loop.append(bytes, until: position, to: slot) }
    }

    /// The same for bytes that are to leave before whatever else is requested of the connection, its
    /// end included: they are offered to the socket at once.
    ///
    /// - Precondition: no `received` is running.
    package func send(_ bytes: ByteView, until position: UInt64 = 0) {
        if let slot = unsafe current { unsafe loop.sendNow(bytes, until: position, to: slot) }
    }

    /// Withholds the next `bytes` of what the running `received` writes to its output, those before
    /// them having been spoken of: they leave once `EventLoop.release` was told `position`.
    ///
    /// - Parameters:
    ///   - bytes: how many.
    ///   - position: what they wait for; 0 for nothing but those before them.
    ///   - isRevocable: they are one whole reply, in whose place an error may stand.
    /// - Precondition: the connection is the one whose `received` is running.
    package func withhold(bytes: Int, until position: UInt64, isRevocable: Bool) {
        if let slot = unsafe current {
            unsafe loop.withhold(bytes, until: position, isRevocable: isRevocable, slot)
        }
    }

    /// Ends a pause: unconsumed bytes are handed to the handler again, then reading goes on. Takes
    /// effect when the iteration's events have been served; connections continue in the order in
    /// which they were resumed.
    package func resume() {
        if let slot = unsafe current { unsafe loop.requestResume(slot) }
    }

    /// Closes the connection when the iteration's events have been served.
    ///
    /// - Parameter afterFlush: whether replies not yet taken by the socket are written first.
    package func close(afterFlush: Bool) {
        if let slot = unsafe current { unsafe loop.requestClose(slot, afterFlush: afterFlush) }
    }

    // MARK: Limits

    /// Bounds the replies that wait for the peer to read them; 0 for no bound.
    ///
    /// - Parameters:
    ///   - hardBytes: more than this closes the connection.
    ///   - softBytes: more than this for longer than `softSeconds` closes it.
    ///   - softSeconds: see `softBytes`.
    package func setOutputLimits(hardBytes: Int, softBytes: Int, softSeconds: UInt32) {
        guard let slot = unsafe current else { return }
        unsafe slot.pointee.outputHardLimitBytes = hardBytes
        unsafe slot.pointee.outputSoftLimitBytes = softBytes
        unsafe slot.pointee.outputSoftLimitSeconds = softSeconds
    }

    /// Bounds the bytes of an incomplete request; 0 for no bound.
    package func setInputLimit(bytes: Int) {
        if let slot = unsafe current { unsafe slot.pointee.inputLimitBytes = bytes }
    }

    /// Exempts the connection from the loop's idle timeout: replicas, subscribers, waiters.
    package func setMayIdle(_ mayIdle: Bool) {
        guard let slot = unsafe current else { return }
        if mayIdle {
            unsafe slot.pointee.flags.insert(.mayIdle)
        } else {
            unsafe slot.pointee.flags.remove(.mayIdle)
        }
    }

    /// Whether the connection may be the one that is closed when all hold too much memory.
    package func setMayBeEvicted(_ mayBeEvicted: Bool) {
        guard let slot = unsafe current else { return }
        if mayBeEvicted {
            unsafe slot.pointee.flags.remove(.isNotEvicted)
        } else {
            unsafe slot.pointee.flags.insert(.isNotEvicted)
        }
    }

    // MARK: Asking

    /// The socket's descriptor; -1 when the connection is gone.
    package var descriptor: Int32 { unsafe current?.pointee.descriptor ?? -1 }

    package var isUnixSocket: Bool {
        unsafe current?.pointee.flags.contains(.isUnixSocket) ?? false
    }

    /// Whether the peer is on this machine: a Unix socket, 127.0.0.0/8 or ::1.
    package var isLoopback: Bool { unsafe current?.pointee.flags.contains(.isLoopback) ?? false }

    var mayBeEvicted: Bool { unsafe current?.pointee.flags.contains(.isNotEvicted) == false }

    /// Reply bytes the socket has not taken.
    package var pendingOutputBytes: Int { unsafe current?.pointee.pending.count ?? 0 }

    /// Request bytes the handler has not consumed.
    package var bufferedInputBytes: Int { unsafe current?.pointee.input.count ?? 0 }

    /// The memory of both buffers, in bytes.
    package var bufferCapacityBytes: Int {
        guard let slot = unsafe current else { return 0 }
        return unsafe slot.pointee.input.capacity + slot.pointee.pending.capacity
    }

    /// The time since bytes last came or went.
    package var idleMilliseconds: UInt64 {
        guard let slot = unsafe current else { return 0 }
        let now = loop.nowMilliseconds
        let then = unsafe slot.pointee.lastActivityMilliseconds
        return now > then ? now - then : 0
    }

    /// The peer's address as `127.0.0.1:50314` or `[::1]:50314`; the path and `:0` for a Unix
    /// socket. Asks the system: not for the hot path.
    package var peerAddress: String { unsafe address(getpeername) }

    /// The address the peer connected to, written like `peerAddress`.
    package var localAddress: String { unsafe address(getsockname) }

    private func address(
        _ ask: (Int32, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
    ) -> String {
        guard let slot = unsafe current else { return "" }
        // Only the listening side of a Unix socket has a path; both ends are shown by it.
        let isUnixSocket = unsafe slot.pointee.flags.contains(.isUnixSocket)
        var address = SocketAddress()
        let status = unsafe address.fill { storage, length in
            unsafe isUnixSocket
                ? getsockname(slot.pointee.descriptor, storage, length)
                : ask(slot.pointee.descriptor, storage, length)
        }
        return status == 0 ? address.text : "?:0"
    }
}
