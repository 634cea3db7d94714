//  Messages on their way to the subscribers of one loop.
//
//  A publisher writes a message once for each loop that has subscribers, framed and ready to be sent,
//  behind those that came before. All of it is one buffer: what lies side by side in it and goes to
//  the same topic is sent to each subscriber as it lies there, without a copy.

import MartletBase

/// Framed messages in the order in which they were published.
///
///         bytes:    *3 message a 1 | *3 message a 2 | *3 message b 3 | ...
///         entries:            0 ->a            1 ->a            2 ->b
///
/// - Invariant: the frame of entry i ends at its `end` and begins where that of i - 1 ends.
struct Inbox: ~Copyable {
    /// Whom a message is for.
    enum Target {
        case topic(Topic)
        /// One client, whoever is subscribed to what.
        case client(ClientRecord)
    }

    struct Entry {
        let target: Target
        /// Where its frame ends in `bytes`.
        let end: Int
    }

    /// The frames, as RESP2 has them; those of RESP3 differ in the first byte.
    private(set) var bytes = ByteBuffer()
    private(set) var entries: [Entry] = []
    /// The number of the first entry among all that ever came here.
    private(set) var firstNumber: UInt64 = 0

    /// The number that the next entry will get.
    var endNumber: UInt64 { firstNumber &+ UInt64(entries.count) }

    /// Where the frame of an entry begins.
    func begin(_ index: Int) -> Int { index == 0 ? 0 : entries[index - 1].end }

    /// Appends a message for a topic.
    mutating func append(_ topic: Topic, channel: ByteView, payload: ByteView) {
        topic.frameHead.withView { bytes.append($0) }
        if topic.kind == .pattern { append(bulk: channel) }
        append(bulk: payload)
        entries.append(Entry(target: .topic(topic), end: bytes.count))
    }

    private mutating func append(bulk: ByteView) {
        bytes.append(UInt8(ascii: "$"))
        bytes.append(decimal: Int64(bulk.count))
        bytes.append("\r\n")
        bytes.append(bulk)
        bytes.append("\r\n")
    }

    /// Appends a frame that is ready, for one client.
    mutating func append(_ frame: ByteView, for client: ClientRecord) {
        bytes.append(frame)
        entries.append(Entry(target: .client(client), end: bytes.count))
    }

    /// Moves everything to `other`, an empty one.
    mutating func move(to other: inout Inbox) {
        swap(&bytes, &other.bytes)
        swap(&entries, &other.entries)
        other.firstNumber = firstNumber
        firstNumber &+= UInt64(other.entries.count)
    }

    /// Forgets all messages, and gives the memory of many back.
    mutating func removeAll() {
        entries.removeAll(keepingCapacity: entries.count < 4096)
        if bytes.capacity > 256 * 1024 { bytes.release() } else { bytes.removeAll() }
    }
}
