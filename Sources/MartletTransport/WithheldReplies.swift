//  Replies that wait for something to become durable before they leave: what an `fsync always` costs.
//
//  A handler may say of the replies of a call up to which position the log must be durable before they
//  leave. Such bytes stand at the end of the connection's `pending`, cut into stretches:
//
//      pending: [ may leave | stretch, position 90 | stretch, position 120 | … ]
//
//  Bytes that come behind a stretch leave no sooner than it does, whatever they are, so a peer sees its
//  replies in order. The connection goes on reading and executing meanwhile. `release` lets go of what has
//  become durable; when it never will, `revoke` puts an error in the place of each reply.
//
//  Raw memory: a connection's record of stretches is allocated with its first one and freed with its last,
//  or with the connection, by the loop alone.

import CSystem
import Glibc
import MartletBase

/// The stretches of one connection's pending bytes that wait.
///
/// - Invariant: `bytes` is the sum of the stretches, and at most the count of `pending`, between calls
///   of the handler.
struct WithheldReplies: ~Copyable {
    struct Stretch {
        var bytes: Int
        let position: UInt64
        /// It is one reply, in whose place an error may stand.
        let isRevocable: Bool
    }

    private var stretches: [Stretch] = []
    private var first = 0
    /// Pending bytes that must not leave yet.
    private(set) var bytes = 0
    /// Bytes of the running call's output that the handler has spoken of.
    private(set) var announcedBytes = 0

    var isEmpty: Bool { first == stretches.count }

    /// The next `count` bytes of the running call wait for `position`; 0 for nothing.
    mutating func announce(_ count: Int, until position: UInt64, isRevocable: Bool) {
        announcedBytes += count
        append(count, until: position, isRevocable: isRevocable)
    }

    /// `count` more bytes wait, or only follow those that do.
    mutating func append(_ count: Int, until position: UInt64, isRevocable: Bool) {
        if count == 0 || isEmpty && position == 0 { return }
        bytes += count
        if !isRevocable, let last = stretches.last, !last.isRevocable, last.position >= position {
            stretches[stretches.count - 1].bytes += count
            return
        }
        stretches.append(Stretch(bytes: count, position: position, isRevocable: isRevocable))
    }

    /// All bytes of the call stand in `pending`.
    mutating func endCall() { announcedBytes = 0 }

    /// Lets go of the front as far as it is durable.
    mutating func release(upTo position: UInt64) {
        while first < stretches.count, stretches[first].position <= position {
            bytes -= stretches[first].bytes
            first += 1
        }
        if isEmpty {
            stretches.removeAll()
            first = 0
        } else if first > 1024 {
            stretches.removeFirst(first)
            first = 0
        }
    }

    /// Takes all stretches away, in order.
    mutating func takeAll() -> ArraySlice<Stretch> {
        let all = stretches[first...]
        stretches = []
        first = 0
        bytes = 0
        return all
    }
}

extension EventLoop {
    /// How many pending bytes of a connection may leave.
    @inline(__always)
    func sendableBytes(_ slot: Slot) -> Int {
        let count = unsafe slot.pointee.pending.count
        guard let withheld = unsafe slot.pointee.withheld else { return count }
        return unsafe count - withheld.pointee.bytes
    }

    /// Withholds the next bytes of the output of the call that runs.
    func withhold(_ bytes: Int, until position: UInt64, isRevocable: Bool, _ slot: Slot) {
        unsafe precondition(state.pointee.served == slot, "replies are withheld as they are made")
        let waits = unsafe position > state.pointee.releasedPosition
        unsafe withheld(slot).pointee.announce(
            bytes, until: waits ? position : 0, isRevocable: isRevocable && waits)
    }

    private func withheld(_ slot: Slot) -> UnsafeMutablePointer<WithheldReplies> {
        if let withheld = unsafe slot.pointee.withheld { return unsafe withheld }
        let withheld = UnsafeMutablePointer<WithheldReplies>.allocate(capacity: 1)
        unsafe withheld.initialize(to: WithheldReplies())
        unsafe slot.pointee.withheld = withheld
        unsafe state.pointee.withholding.append(slot)
        return unsafe withheld
    }

    /// Appends to a connection's pending bytes; they wait for `position` and for those before them.
    func appendPending(_ bytes: ByteView, until position: UInt64, _ slot: Slot) {
        unsafe slot.pointee.pending.append(bytes)
        let waits = unsafe position > state.pointee.releasedPosition
        if unsafe !waits && slot.pointee.withheld == nil { return }
        unsafe withheld(slot).pointee.append(
            bytes.count, until: waits ? position : 0, isRevocable: false)
    }

    /// Puts the output of a call that withheld some of it behind what is pending.
    func keepWithheld(_ slot: Slot, _ outcome: Outcome) {
        guard let withheld = unsafe slot.pointee.withheld else { return }
        let count = unsafe state.pointee.output.count
        let rest = unsafe count - withheld.pointee.announcedBytes
        precondition(rest >= 0, "no more is withheld than was written")
        unsafe withheld.pointee.append(rest, until: 0, isRevocable: false)
        unsafe withheld.pointee.endCall()
        unsafe slot.pointee.pending.append(state.pointee.output.view)
        unsafe state.pointee.output.removeAll()
        if unsafe withheld.pointee.isEmpty { unsafe endWithholding(slot, isListed: true) }
        if outcome.next == .closeNow { return }
        if unsafe slot.pointee.interest & EPOLLOUT.rawValue == 0 { unsafe flush(slot) }
        unsafe pendingChanged(slot)
    }

    /// Frees the record of a connection that withholds nothing any more, or is on its way out.
    ///
    /// - Parameters:
    ///   - slot: the connection.
    ///   - isListed: whether it still stands in the loop's list.
    func endWithholding(_ slot: Slot, isListed: Bool) {
        guard let withheld = unsafe slot.pointee.withheld else { return }
        if isListed { unsafe state.pointee.withholding.removeAll { unsafe $0 == slot } }
        unsafe withheld.deinitialize(count: 1)
        unsafe withheld.deallocate()
        unsafe slot.pointee.withheld = nil
    }

    /// Whether some connection of this loop withholds replies.
    package var isWithholding: Bool {
        assertOnThread()
        return unsafe !state.pointee.withholding.isEmpty
    }

    /// What waits for a position up to this one leaves.
    ///
    /// - Complexity: O(connections that withhold replies).
    package func release(upTo position: UInt64) {
        assertOnThread()
        unsafe state.pointee.releasedPosition = max(state.pointee.releasedPosition, position)
        let all = unsafe state.pointee.withholding
        unsafe state.pointee.withholding = []
        for index in unsafe all.indices {
            let slot = unsafe all[index]
            unsafe slot.pointee.withheld?.pointee.release(upTo: position)
            unsafe settle(slot)
        }
    }

    /// Every reply that is withheld on this loop gives way to `error`, and all that waits leaves.
    ///
    /// - Complexity: O(bytes that wait).
    package func revokeWithheld(_ error: ByteView) {
        assertOnThread()
        let all = unsafe state.pointee.withholding
        unsafe state.pointee.withholding = []
        for index in unsafe all.indices {
            let slot = unsafe all[index]
            guard let withheld = unsafe slot.pointee.withheld else { continue }
            let old = unsafe slot.pointee.pending.view
            var offset = unsafe old.count - withheld.pointee.bytes
            var pending = ByteBuffer(capacity: old.count)
            pending.append(old.slice(0, offset))
            for stretch in unsafe withheld.pointee.takeAll() {
                let end = offset + stretch.bytes
                pending.append(stretch.isRevocable ? error : old.slice(offset, end))
                offset = end
            }
            unsafe swap(&slot.pointee.pending, &pending)
            unsafe settle(slot)
        }
    }

    /// Sends what may leave now, and keeps the connection in the list while it withholds more.
    private func settle(_ slot: Slot) {
        if unsafe slot.pointee.withheld?.pointee.isEmpty == true {
            unsafe endWithholding(slot, isListed: false)
        } else {
            unsafe state.pointee.withholding.append(slot)
        }
        if unsafe slot.pointee.flags.contains(.doomed) { return }
        if unsafe slot.pointee.interest & EPOLLOUT.rawValue == 0 { unsafe flush(slot) }
        unsafe pendingChanged(slot)
    }
}
