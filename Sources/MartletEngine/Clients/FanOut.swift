//  From one loop's inbox to its subscribers.
//
//  All messages of an iteration are looked at before the first one is sent: then each client gets what
//  is for it with one write. Most are subscribed to one topic, whose messages lie side by side in the
//  inbox's buffer: they are sent from there to one client after the other, without a copy. For others
//  the pieces are put together.
//
//  Raw memory: sessions belong to the loop, on whose thread all of this runs; none is freed meanwhile.

import MartletBase

/// Where a loop hands out messages; it lives with the loop.
@safe
package struct FanOut: ~Copyable {
    /// Part of the inbox's bytes.
    struct Piece: BitwiseCopyable {
        let begin: Int
        var end: Int
        /// The number of the next one, or -1.
        var next = -1
    }

    /// A client that gets something.
    @safe
    struct Recipient: BitwiseCopyable {
        let session: UnsafeMutablePointer<Session>
        var first: Piece
        /// The number of its last piece, -1 for the first one.
        var last = -1
    }

    private var inbox = Inbox()
    /// The same bytes as RESP3 has them; empty while nobody needs them.
    private var pushes = ByteBuffer()
    private var recipients = GrowingArray<Recipient>()
    /// Pieces beyond each recipient's first.
    private var pieces = GrowingArray<Piece>()
    /// A recipient's pieces put together.
    private var joined = ByteBuffer()
    /// The number of this round: a session that bears it is a recipient already.
    private var round: UInt64 = 0

    package init() {}

    /// Hands all messages of a loop's inbox out.
    ///
    /// - Parameters:
    ///   - pubSub: where they wait.
    ///   - loop: whose they are.
    ///   - send: called once for each client that gets something, with all of it.
    package mutating func deliver(
        _ pubSub: PubSub, loop: Int,
        _ send: (UnsafeMutablePointer<Session>, ByteView) -> Void
    ) {
        pubSub.takeMessages(forLoop: loop, into: &inbox)
        round &+= 1
        var index = 0
        while index < inbox.entries.count { index = address(from: index, loop: loop) }
        for index in 0..<recipients.count { unsafe handOver(recipients[index], send) }
        inbox.removeAll()
        if pushes.capacity > 256 * 1024 { pushes.release() } else { pushes.removeAll() }
        if joined.capacity > 256 * 1024 { joined.release() }
        recipients.removeAll(keeping: 4096)
        pieces.removeAll(keeping: 4096)
    }

    /// Notes who gets the entry `index`, and those behind it that have the same target.
    ///
    /// - Returns: the number of the entry behind them.
    private mutating func address(from index: Int, loop: Int) -> Int {
        let begin = inbox.begin(index)
        guard case .topic(let topic) = inbox.entries[index].target else {
            if case .client(let record) = inbox.entries[index].target,
                let session = unsafe record.session,
                unsafe session.pointee.messagesThrough <= inbox.firstNumber &+ UInt64(index)
            {
                unsafe add(session, begin, inbox.entries[index].end)
            }
            return index + 1
        }
        var end = index + 1
        while end < inbox.entries.count, case .topic(let other) = inbox.entries[end].target,
            other === topic
        {
            end += 1
        }
        let endByte = inbox.entries[end - 1].end
        let firstNumber = inbox.firstNumber
        unsafe topic.forEach(onLoop: loop) { session in
            let through = unsafe session.pointee.messagesThrough
            if through <= firstNumber &+ UInt64(index) {
                unsafe add(session, begin, endByte)
            } else if through < firstNumber &+ UInt64(end) {
                // It has got the first of them already.
                unsafe add(session, inbox.begin(Int(through &- firstNumber)), endByte)
            }
        }
        return end
    }

    /// Notes that a client gets the bytes from `begin` to `end`.
    private mutating func add(
        _ session: UnsafeMutablePointer<Session>, _ begin: Int, _ end: Int
    ) {
        guard unsafe session.pointee.fanOutRound == round else {
            if unsafe session.pointee.record.isKilled { return }
            unsafe session.pointee.fanOutRound = round
            unsafe session.pointee.fanOutIndex = recipients.count
            unsafe recipients.append(
                Recipient(session: session, first: Piece(begin: begin, end: end)))
            return
        }
        let index = unsafe session.pointee.fanOutIndex
        var recipient = recipients[index]
        var last = recipient.last < 0 ? recipient.first : pieces[recipient.last]
        if last.end == begin {
            last.end = end
        } else {
            last.next = pieces.count
            pieces.append(Piece(begin: begin, end: end))
        }
        if recipient.last < 0 { recipient.first = last } else { pieces[recipient.last] = last }
        if last.next >= 0 { recipient.last = last.next }
        recipients[index] = recipient
    }

    private mutating func handOver(
        _ recipient: Recipient, _ send: (UnsafeMutablePointer<Session>, ByteView) -> Void
    ) {
        let isRESP3 = unsafe recipient.session.pointee.isRESP3
        if isRESP3 && pushes.isEmpty { makePushes() }
        let all = isRESP3 ? pushes.view : inbox.bytes.view
        let first = all.slice(recipient.first.begin, recipient.first.end)
        if recipient.last < 0 {
            unsafe send(recipient.session, first)
            return
        }
        joined.removeAll()
        joined.append(first)
        var next = recipient.first.next
        while next >= 0 {
            joined.append(all.slice(pieces[next].begin, pieces[next].end))
            next = pieces[next].next
        }
        unsafe send(recipient.session, joined.view)
    }

    /// Copies all frames with the first byte of a push.
    private mutating func makePushes() {
        let all = inbox.bytes.view
        pushes.reserve(all.count)
        for index in inbox.entries.indices {
            let frame = all.slice(inbox.begin(index), inbox.entries[index].end)
            if case .topic = inbox.entries[index].target {
                pushes.append(UInt8(ascii: ">"))
                pushes.append(frame.slice(1, frame.count))
            } else {
                pushes.append(frame)
            }
        }
    }
}
