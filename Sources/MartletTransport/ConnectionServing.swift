//  Serving one connection: read what is there, hand it over, write the replies.
//
//  The common case is three system calls per readiness event and no memory of its own: wait, one
//  receive into the loop's buffer, one send from the loop's buffer. A receive that filled less than
//  the room is not repeated, nor is one that filled it: epoll is level-triggered and comes back,
//  after the other connections had their turn. Short replies leave together: see HeldReplies. `recv` and `send` were never slower than `read` and
//  `write` (8.9 and 9.6 us for a pair over loopback).
//
//  Where the unconsumed bytes live between events:
//
//      none                     nowhere
//      up to smallTailBytesMax  a copy in `input`; read on in the shared buffer, behind a copy
//      more                     in `input`, which is read into directly, doubling
//
//  Nothing here holds an exclusive access to a connection across a call of the handler, because
//  the handler may call `append`, `resume` or `close` on any connection. Those only leave a mark
//  and queue the connection; `workOffQueue` acts on the marks.
//
//  Raw memory: slots and the shared buffer are the loop's and touched on its thread. A receive is
//  given the room there is, a view the bytes that were received.

import CSystem
import Glibc
import MartletBase
import Synchronization

private let readEvents = EPOLLIN.rawValue | EPOLLRDHUP.rawValue

extension EventLoop {
    typealias Slot = UnsafeMutablePointer<Connection>

    // MARK: Opening and closing

    /// `adopt`, after the connection was counted by whoever chose this loop.
    func adoptCounted(_ descriptor: Int32, isUnixSocket: Bool, isLoopback: Bool) {
        assertOnThread()
        if unsafe state.pointee.isDraining {
            Glibc.close(descriptor)
            counters.connections.subtract(1, ordering: .relaxed)
            return
        }
        let slot = unsafe state.pointee.table.take()
        unsafe slot.pointee.descriptor = descriptor
        unsafe slot.pointee.id = nextConnectionID.add(1, ordering: .relaxed).oldValue
        unsafe slot.pointee.lastActivityMilliseconds = state.pointee.nowMilliseconds
        if isUnixSocket { unsafe slot.pointee.flags.insert(.isUnixSocket) }
        if isLoopback { unsafe slot.pointee.flags.insert(.isLoopback) }
        counters.opened.add(1, ordering: .relaxed)

        var greeting = ByteBuffer()
        let reference = unsafe ConnectionReference(loop: self, slot: slot)
        unsafe slot.pointee.context = handler.opened(reference, output: &greeting)
        if !greeting.isEmpty {
            // Pending bytes may be there already, when the handler called `append`.
            if unsafe slot.pointee.pending.isEmpty {
                unsafe swap(&slot.pointee.pending, &greeting)
            } else {
                unsafe greeting.append(slot.pointee.pending.view)
                unsafe swap(&slot.pointee.pending, &greeting)
            }
            unsafe flush(slot)
        }
        if unsafe slot.pointee.context == nil {
            counters.refused.add(1, ordering: .relaxed)
            unsafe doom(slot)
        } else if unsafe !slot.pointee.flags.contains(.doomed) {
            unsafe register(slot)
        }
        unsafe count(slot)
    }

    private func register(_ slot: Slot) {
        let isWriting = unsafe !slot.pointee.pending.isEmpty
        let interest = readEvents | (isWriting ? EPOLLOUT.rawValue : 0)
        unsafe control(EPOLL_CTL_ADD, slot, interest)
    }

    private func watch(_ slot: Slot, for interest: UInt32) {
        if unsafe slot.pointee.interest == interest { return }
        if unsafe slot.pointee.flags.contains(.unregistered) { return }
        unsafe control(EPOLL_CTL_MOD, slot, interest)
    }

    private func control(_ operation: Int32, _ slot: Slot, _ interest: UInt32) {
        unsafe slot.pointee.interest = interest
        let code = unsafe martlet_epoll_control(
            epollDescriptor, operation, slot.pointee.descriptor, interest,
            UInt64(UInt(bitPattern: slot)))
        if code != 0 {
            // Out of kernel memory or of watches: unwatched, the connection would hang for ever.
            unsafe doom(slot)
        }
    }

    /// Queues the end of a connection.
    func doom(_ slot: Slot) {
        unsafe slot.pointee.flags.insert(.doomed)
        unsafe enqueue(slot)
    }

    /// Ends a connection now. Its slot may be taken again at once, so this happens only where no
    /// event of this iteration can name it any more, or at the loop's end.
    func destroy(_ slot: Slot, _ handler: any ConnectionHandler) {
        let flags = unsafe slot.pointee.flags
        if let context = unsafe slot.pointee.context {
            if flags.contains(.exceededOutput) {
                counters.outputLimitCloses.add(1, ordering: .relaxed)
                unsafe handler.outputLimitExceeded(context)
            } else if flags.contains(.exceededInput) {
                counters.inputLimitCloses.add(1, ordering: .relaxed)
                unsafe handler.inputLimitExceeded(context)
            } else if flags.contains(.exceededIdle) {
                counters.idleCloses.add(1, ordering: .relaxed)
                unsafe handler.idleLimitExceeded(context)
            }
            unsafe handler.closed(context)
        }
        if flags.contains(.aboveSoftLimit) { unsafe state.pointee.aboveSoftLimitCount -= 1 }
        unsafe state.pointee.bufferBytes -= slot.pointee.countedBytes
        unsafe endWithholding(slot, isListed: true)
        unsafe Glibc.close(slot.pointee.descriptor)
        unsafe state.pointee.table.giveBack(slot)
        counters.connections.subtract(1, ordering: .relaxed)
        if unsafe state.pointee.acceptPausedUntilMilliseconds > 0 {
            // There is a descriptor again.
            unsafe state.pointee.acceptor?.resume(on: self)
        }
    }

    // MARK: Events

    @inline(__always)
    func serve(_ slot: Slot, _ mask: UInt32, _ handler: any ConnectionHandler) {
        if mask & EPOLLOUT.rawValue != 0, unsafe !slot.pointee.flags.contains(.doomed) {
            unsafe flush(slot)
            unsafe count(slot)
        }
        if mask & ~EPOLLOUT.rawValue != 0 {
            if unsafe slot.pointee.flags.isDisjoint(with: .unreadable) {
                if unsafe slot.pointee.input.isEmpty {
                    unsafe readFresh(slot, handler)
                } else {
                    unsafe readBehindTail(slot, handler)
                }
            } else {
                unsafe hushUnread(slot, mask, handler)
            }
        }
    }

    /// Reads a connection without unconsumed bytes: the fast path.
    @inline(__always)
    private func readFresh(_ slot: Slot, _ handler: any ConnectionHandler) {
        let received = unsafe martlet_receive(
            slot.pointee.descriptor, sharedInput, TransportLimits.sharedInputBytes)
        guard received > 0 else {
            unsafe readFailed(slot, received)
            return
        }
        unsafe noteReceived(slot, received)
        let input = unsafe ByteView(UnsafeRawPointer(sharedInput), count: received)
        let begin = unsafe state.pointee.output.count
        let outcome = unsafe callHandler(slot, input, handler)
        if outcome.consumed == received && outcome.next == .readOn,
            unsafe slot.pointee.pending.isEmpty && slot.pointee.withheld == nil
        {
            unsafe holdReply(slot, from: begin)
        } else {
            sendHeldReplies()
            unsafe send(slot, outcome)
            unsafe keepTail(slot, input.slice(outcome.consumed, received), outcome)
        }
        if unsafe slot.pointee.countedBytes != 0 { unsafe count(slot) }
    }

    /// Leaves the reply where it is until the others that are ready have been served.
    @inline(__always)
    private func holdReply(_ slot: Slot, from begin: Int) {
        let end = unsafe state.pointee.output.count
        if end == begin { return }
        unsafe slot.pointee.flags.insert(.holdsReply)
        if unsafe state.pointee.held.append(slot, end: end) { sendHeldReplies() }
    }

    /// Reads on behind an incomplete request.
    @inline(never)
    private func readBehindTail(_ slot: Slot, _ handler: any ConnectionHandler) {
        defer { unsafe count(slot) }
        let tailCount = unsafe slot.pointee.input.count
        guard tailCount <= TransportLimits.smallTailBytesMax else {
            unsafe readIntoOwnBuffer(slot, handler)
            return
        }
        unsafe memcpy(sharedInput, slot.pointee.input.view.address, tailCount)
        let received = unsafe recv(
            slot.pointee.descriptor, sharedInput + tailCount,
            TransportLimits.sharedInputBytes - tailCount, 0)
        guard received > 0 else {
            unsafe readFailed(slot, received)
            return
        }
        unsafe noteReceived(slot, received)
        let all = tailCount + received
        let input = unsafe ByteView(UnsafeRawPointer(sharedInput), count: all)
        if unsafe all < slot.pointee.minimumBytes {
            unsafe slot.pointee.input.append(input.slice(tailCount, all))
            unsafe checkInputLimit(slot)
            return
        }
        let outcome = unsafe handOver(slot, input, handler)
        unsafe send(slot, outcome)
        if outcome.consumed == 0 {
            // Most of it is there already; a request that arrives byte by byte is not copied anew.
            unsafe slot.pointee.input.append(input.slice(tailCount, all))
            unsafe apply(slot, outcome)
        } else {
            unsafe slot.pointee.input.removeAll()
            unsafe keepTail(slot, input.slice(outcome.consumed, all), outcome)
        }
    }

    private func readIntoOwnBuffer(_ slot: Slot, _ handler: any ConnectionHandler) {
        let step = unsafe min(
            max(slot.pointee.input.count, TransportLimits.tailReadBytesMin),
            TransportLimits.tailReadBytesMax)
        let address = unsafe slot.pointee.input.writable(step)
        // Doubling often leaves more room than was asked for.
        let room = unsafe min(
            slot.pointee.input.capacity - slot.pointee.input.tail,
            TransportLimits.tailReadBytesMax)
        let received = unsafe recv(slot.pointee.descriptor, address, room, 0)
        guard received > 0 else {
            unsafe readFailed(slot, received)
            return
        }
        unsafe noteReceived(slot, received)
        unsafe slot.pointee.input.commit(received)
        if unsafe slot.pointee.input.count < slot.pointee.minimumBytes {
            unsafe checkInputLimit(slot)
        } else {
            unsafe handOverOwnBuffer(slot, handler)
        }
    }

    /// Shows the handler the bytes in `input`, and consumes there.
    private func handOverOwnBuffer(_ slot: Slot, _ handler: any ConnectionHandler) {
        let outcome = unsafe handOver(slot, slot.pointee.input.view, handler)
        unsafe send(slot, outcome)
        unsafe slot.pointee.input.consume(outcome.consumed)
        unsafe trimInput(slot)
        unsafe apply(slot, outcome)
    }

    @inline(__always)
    private func noteReceived(_ slot: Slot, _ received: Int) {
        unsafe slot.pointee.lastActivityMilliseconds = state.pointee.nowMilliseconds
        unsafe state.pointee.bytesIn &+= UInt64(truncatingIfNeeded: received)
    }

    /// Shows the handler bytes of a connection whose replies are to stand alone in the output.
    private func handOver(
        _ slot: Slot, _ input: ByteView, _ handler: any ConnectionHandler
    ) -> Outcome {
        sendHeldReplies()
        return unsafe callHandler(slot, input, handler)
    }

    @inline(__always)
    private func callHandler(
        _ slot: Slot, _ input: ByteView, _ handler: any ConnectionHandler
    ) -> Outcome {
        guard let context = unsafe slot.pointee.context else {
            return Outcome(consumed: input.count, next: .closeNow)
        }
        unsafe state.pointee.served = slot
        let outcome = unsafe handler.received(
            context, input: input, output: &state.pointee.output)
        unsafe state.pointee.served = nil
        precondition(
            outcome.consumed >= 0 && outcome.consumed <= input.count,
            "the handler consumes what it was shown")
        return outcome
    }

    /// Keeps what the handler left, and does as it said.
    @inline(never)
    private func keepTail(_ slot: Slot, _ tail: ByteView, _ outcome: Outcome) {
        if tail.isEmpty {
            unsafe slot.pointee.input.release()
        } else {
            unsafe slot.pointee.input.append(tail)
        }
        unsafe apply(slot, outcome)
    }

    private func apply(_ slot: Slot, _ outcome: Outcome) {
        unsafe slot.pointee.minimumBytes = outcome.minimumBytes
        switch outcome.next {
        case .readOn:
            unsafe checkInputLimit(slot)
        case .pause:
            unsafe slot.pointee.flags.insert(.paused)
        case .closeAfterFlush:
            unsafe requestClose(slot, afterFlush: true)
        case .closeNow:
            unsafe doom(slot)
        }
        unsafe count(slot)
    }

    /// Gives back memory that a large request needed and the rest does not.
    private func trimInput(_ slot: Slot) {
        if unsafe slot.pointee.input.isEmpty {
            unsafe slot.pointee.input.release()
        } else if unsafe slot.pointee.input.count <= TransportLimits.smallTailBytesMax
            && slot.pointee.input.capacity > TransportLimits.tailReadBytesMin
        {
            var smaller = unsafe ByteBuffer(capacity: slot.pointee.input.count)
            unsafe smaller.append(slot.pointee.input.view)
            unsafe swap(&slot.pointee.input, &smaller)
        }
    }

    private func checkInputLimit(_ slot: Slot) {
        let limit = unsafe slot.pointee.inputLimitBytes
        if limit > 0, unsafe slot.pointee.input.count > limit,
            unsafe !slot.pointee.flags.contains(.doomed)
        {
            unsafe slot.pointee.flags.insert(.exceededInput)
            unsafe doom(slot)
        }
    }

    @inline(never)
    private func readFailed(_ slot: Slot, _ received: Int) {
        if received == 0 {
            // The peer sends no more. What it sent has been served; replies may still be on the way.
            unsafe requestClose(slot, afterFlush: true)
        } else if errno != EAGAIN && errno != EINTR {
            unsafe doom(slot)
        }
    }

    /// An event for a connection that is not being read: makes sure it does not come again at once.
    @inline(never)
    private func hushUnread(_ slot: Slot, _ mask: UInt32, _ handler: any ConnectionHandler) {
        let flags = unsafe slot.pointee.flags
        if flags.contains(.doomed) { return }
        let writing = unsafe slot.pointee.interest & EPOLLOUT.rawValue
        if mask & EPOLLERR.rawValue != 0 {
            unsafe doom(slot)
        } else if flags.contains(.closesAfterFlush) {
            // Neither new bytes nor the peer's end of sending matter any more. A full hang-up does:
            // nobody is left to read.
            if mask & EPOLLHUP.rawValue != 0 {
                unsafe doom(slot)
            } else {
                unsafe watch(slot, for: writing)
            }
        } else if mask & (EPOLLRDHUP.rawValue | EPOLLHUP.rawValue) != 0 {
            guard let context = unsafe slot.pointee.context else { return }
            if unsafe handler.hungUpWhilePaused(context) {
                unsafe doom(slot)
            } else {
                // A hang-up is reported whatever the interest, so epoll forgets the connection.
                unsafe control(EPOLL_CTL_DEL, slot, 0)
                unsafe slot.pointee.flags.insert(.unregistered)
            }
        } else {
            // Only now: most pauses end before the peer sends anything more.
            unsafe watch(slot, for: EPOLLRDHUP.rawValue | writing)
        }
    }

    // MARK: Writing

    /// Sends what the handler put into the shared output.
    @inline(__always)
    private func send(_ slot: Slot, _ outcome: Outcome) {
        let size = unsafe state.pointee.output.count
        if size == 0 { return }
        if unsafe slot.pointee.withheld != nil {
            unsafe keepWithheld(slot, outcome)
        } else if unsafe slot.pointee.pending.isEmpty && outcome.next != .closeNow {
            let sent = unsafe martlet_send(
                slot.pointee.descriptor, state.pointee.output.view.address, size)
            if sent == size {
                unsafe state.pointee.bytesOut &+= UInt64(truncatingIfNeeded: sent)
                unsafe state.pointee.output.removeAll()
            } else {
                unsafe keepUnsent(slot, sent)
            }
        } else {
            unsafe sendBehindPending(slot, outcome)
        }
    }

    /// The socket took part of the output, or none.
    @inline(never)
    private func keepUnsent(_ slot: Slot, _ sent: Int) {
        if sent > 0 {
            unsafe noteSent(slot, sent)
            unsafe state.pointee.output.consume(sent)
        } else if errno != EAGAIN && errno != EINTR {
            unsafe state.pointee.output.removeAll()
            unsafe doom(slot)
            return
        }
        if unsafe state.pointee.output.count > TransportLimits.copiedOutputBytesMax {
            unsafe swap(&slot.pointee.pending, &state.pointee.output)
        } else {
            unsafe slot.pointee.pending.append(state.pointee.output.view)
            unsafe state.pointee.output.removeAll()
        }
        unsafe awaitWritable(slot)
    }

    /// `pending` has bytes that the socket did not take: epoll says when it takes more.
    func awaitWritable(_ slot: Slot) {
        unsafe watch(slot, for: slot.pointee.interest | EPOLLOUT.rawValue)
        unsafe pendingChanged(slot)
    }

    func pendingChanged(_ slot: Slot) {
        unsafe checkOutputLimits(slot)
        unsafe count(slot)
    }

    @inline(never)
    private func sendBehindPending(_ slot: Slot, _ outcome: Outcome) {
        if outcome.next != .closeNow {
            unsafe slot.pointee.pending.append(state.pointee.output.view)
        }
        unsafe state.pointee.output.removeAll()
        // While the socket is full, it says itself when it no longer is.
        if unsafe slot.pointee.interest & EPOLLOUT.rawValue == 0 { unsafe flush(slot) }
        unsafe pendingChanged(slot)
    }

    /// Writes pending bytes as far as the socket takes them.
    func flush(_ slot: Slot) {
        let size = unsafe sendableBytes(slot)
        if size > 0 {
            let sent = unsafe Glibc.send(
                slot.pointee.descriptor, slot.pointee.pending.view.address, size,
                Int32(MSG_NOSIGNAL))
            if sent > 0 {
                unsafe noteSent(slot, sent)
                unsafe slot.pointee.pending.consume(sent)
            } else if sent < 0 && errno != EAGAIN && errno != EINTR {
                unsafe doom(slot)
                return
            }
        }
        let interest = unsafe slot.pointee.interest
        if unsafe slot.pointee.withheld != nil && sendableBytes(slot) == 0 {
            // The rest waits for something else than the socket.
            unsafe watch(slot, for: interest & ~EPOLLOUT.rawValue)
        } else if unsafe slot.pointee.pending.isEmpty {
            unsafe slot.pointee.pending.release()
            unsafe watch(slot, for: interest & ~EPOLLOUT.rawValue)
            if unsafe slot.pointee.flags.contains(.closesAfterFlush) { unsafe doom(slot) }
        } else if unsafe slot.pointee.flags.isSuperset(of: [.unregistered, .closesAfterFlush]) {
            unsafe slot.pointee.flags.remove(.unregistered)
            unsafe control(EPOLL_CTL_ADD, slot, EPOLLOUT.rawValue)
        } else if interest != 0 {
            unsafe watch(slot, for: interest | EPOLLOUT.rawValue)
        }
        unsafe checkOutputLimits(slot)
    }

    func noteSent(_ slot: Slot, _ sent: Int) {
        unsafe slot.pointee.lastActivityMilliseconds = state.pointee.nowMilliseconds
        unsafe state.pointee.bytesOut &+= UInt64(truncatingIfNeeded: sent)
    }

    /// Dooms a connection that leaves too many replies unread for too long.
    private func checkOutputLimits(_ slot: Slot) {
        if unsafe slot.pointee.flags.contains(.doomed) { return }
        let pending = unsafe slot.pointee.pending.count
        let hard = unsafe slot.pointee.outputHardLimitBytes
        let soft = unsafe slot.pointee.outputSoftLimitBytes
        let now = unsafe state.pointee.nowMilliseconds
        var isExceeded = hard > 0 && pending > hard
        if soft > 0 && pending > soft {
            if unsafe slot.pointee.flags.contains(.aboveSoftLimit) {
                let allowed = unsafe UInt64(slot.pointee.outputSoftLimitSeconds) * 1_000
                let since = unsafe slot.pointee.softSinceMilliseconds
                if now > since && now - since > allowed { isExceeded = true }
            } else {
                unsafe slot.pointee.flags.insert(.aboveSoftLimit)
                unsafe slot.pointee.softSinceMilliseconds = now
                unsafe state.pointee.aboveSoftLimitCount += 1
            }
        } else if unsafe slot.pointee.flags.contains(.aboveSoftLimit) {
            unsafe slot.pointee.flags.remove(.aboveSoftLimit)
            unsafe state.pointee.aboveSoftLimitCount -= 1
        }
        if isExceeded {
            unsafe slot.pointee.flags.insert(.exceededOutput)
            unsafe doom(slot)
        }
    }

    /// Brings the loop's total of buffer memory up to date.
    private func count(_ slot: Slot) {
        let now = unsafe slot.pointee.input.capacity + slot.pointee.pending.capacity
        unsafe state.pointee.bufferBytes += now - slot.pointee.countedBytes
        let had = unsafe slot.pointee.countedBytes
        unsafe slot.pointee.countedBytes = now
        if now | had != 0, let context = unsafe slot.pointee.context {
            unsafe handler.buffersChanged(
                context, inputBytes: slot.pointee.input.capacity,
                outputBytes: slot.pointee.pending.isEmpty ? 0 : slot.pointee.pending.capacity)
        }
    }

    // MARK: Requests from handlers and the mailbox

    func append(_ bytes: ByteView, until position: UInt64, to slot: Slot) {
        unsafe precondition(
            state.pointee.served != slot,
            "a connection that is being served is answered through its output")
        if unsafe !slot.pointee.flags.isDisjoint(with: [.doomed, .closesAfterFlush]) { return }
        unsafe appendPending(bytes, until: position, slot)
        unsafe pendingChanged(slot)
        unsafe enqueue(slot)
    }

    func sendNow(_ bytes: ByteView, until position: UInt64, to slot: Slot) {
        unsafe precondition(state.pointee.served == nil, "nothing is being served")
        sendHeldReplies()
        if unsafe !slot.pointee.flags.isDisjoint(with: [.doomed, .closesAfterFlush]) { return }
        if unsafe slot.pointee.pending.isEmpty && position <= state.pointee.releasedPosition {
            unsafe sendAhead(bytes, to: slot)
        } else {
            unsafe appendPending(bytes, until: position, slot)
            unsafe pendingChanged(slot)
            if unsafe slot.pointee.interest & EPOLLOUT.rawValue == 0 { unsafe flush(slot) }
        }
        unsafe count(slot)
    }

    func requestResume(_ slot: Slot) {
        unsafe slot.pointee.flags.insert(.resumed)
        unsafe enqueue(slot)
    }

    func requestClose(_ slot: Slot, afterFlush: Bool) {
        // While it is being served, its last replies are still to come.
        let hasReplies =
            unsafe !slot.pointee.pending.isEmpty || slot.pointee.flags.contains(.holdsReply)
            || state.pointee.served == slot
        unsafe slot.pointee.flags.insert(afterFlush && hasReplies ? .closesAfterFlush : .doomed)
        unsafe enqueue(slot)
    }

    private func enqueue(_ slot: Slot) {
        if unsafe slot.pointee.flags.contains(.queued) { return }
        unsafe slot.pointee.flags.insert(.queued)
        unsafe slot.pointee.next = nil
        if let tail = unsafe state.pointee.queueTail {
            unsafe tail.pointee.next = slot
        } else {
            unsafe state.pointee.queueHead = slot
        }
        unsafe state.pointee.queueTail = slot
    }

    /// Does what was requested of connections, in the order of the requests. What is requested
    /// meanwhile comes after the next wait, so that two connections that resume each other do not
    /// keep the loop from the rest.
    @inline(never)
    func workOffQueue(_ handler: any ConnectionHandler) {
        var current = unsafe state.pointee.queueHead
        unsafe state.pointee.queueHead = nil
        unsafe state.pointee.queueTail = nil
        while let slot = unsafe current {
            unsafe current = slot.pointee.next
            unsafe slot.pointee.next = nil
            unsafe slot.pointee.flags.remove(.queued)
            if unsafe slot.pointee.flags.contains(.doomed) {
                unsafe destroy(slot, handler)
                continue
            }
            let wasResumed = unsafe slot.pointee.flags.contains(.resumed)
            unsafe slot.pointee.flags.remove(.resumed)
            if unsafe slot.pointee.interest & EPOLLOUT.rawValue == 0
                && (!slot.pointee.pending.isEmpty
                    || slot.pointee.flags.contains(.closesAfterFlush))
            {
                unsafe flush(slot)
            }
            if wasResumed { unsafe continuePaused(slot, handler) }
            unsafe count(slot)
        }
    }

    private func continuePaused(_ slot: Slot, _ handler: any ConnectionHandler) {
        guard unsafe slot.pointee.flags.contains(.paused) else { return }
        unsafe slot.pointee.flags.remove(.paused)
        guard unsafe slot.pointee.flags.isDisjoint(with: .unreadable) else { return }
        if unsafe !slot.pointee.input.isEmpty
            && slot.pointee.input.count >= slot.pointee.minimumBytes
        {
            unsafe handOverOwnBuffer(slot, handler)
        }
        guard unsafe slot.pointee.flags.isDisjoint(with: .unreadable) else { return }
        if unsafe slot.pointee.flags.contains(.unregistered) {
            unsafe slot.pointee.flags.remove(.unregistered)
            unsafe register(slot)
        } else {
            unsafe watch(slot, for: slot.pointee.interest | readEvents)
        }
    }

    // MARK: What only time reveals

    /// Visits a share of the connections, so that each is seen once per round.
    @inline(never)
    func tick(_ handler: any ConnectionHandler) {
        let now = unsafe state.pointee.nowMilliseconds
        let elapsed = unsafe now - min(now, state.pointee.lastTickMilliseconds)
        unsafe state.pointee.lastTickMilliseconds = now
        unsafe state.pointee.nextTickMilliseconds = now + TransportLimits.walkTickMilliseconds

        let paused = unsafe state.pointee.acceptPausedUntilMilliseconds
        if paused > 0 && now >= paused { unsafe state.pointee.acceptor?.resume(on: self) }

        let idleLimit = unsafe state.pointee.idleLimitMilliseconds
        if unsafe idleLimit == 0 && state.pointee.aboveSoftLimitCount == 0 { return }
        let slots = unsafe state.pointee.table.slotCount
        if slots == 0 { return }
        let round = TransportLimits.walkRoundMilliseconds
        let share = Int(min(elapsed, round)) * slots / Int(round) + 1
        for _ in 0..<min(share, slots) {
            let index = unsafe state.pointee.walkIndex < slots ? state.pointee.walkIndex : 0
            unsafe state.pointee.walkIndex = index + 1
            let slot = unsafe state.pointee.table.slot(at: index)
            if unsafe slot.pointee.id == 0 || slot.pointee.flags.contains(.doomed) { continue }
            unsafe checkOutputLimits(slot)
            let last = unsafe slot.pointee.lastActivityMilliseconds
            if idleLimit > 0, unsafe slot.pointee.flags.isDisjoint(with: [.mayIdle, .doomed]),
                now > last, now - last > idleLimit
            {
                unsafe slot.pointee.flags.insert(.exceededIdle)
                unsafe doom(slot)
            }
        }
    }
}

/// The source of connection IDs, which no two connections of the process share.
private let nextConnectionID = Atomic<UInt64>(1)
