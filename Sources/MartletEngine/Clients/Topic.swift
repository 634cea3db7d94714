//  What clients subscribe to: a channel, a pattern of channels, or a shard channel.
//
//  A topic exists while somebody is subscribed to it, or a message for it is under way. How many are
//  subscribed on each loop stands under the lock of `PubSub`, for every publisher to count and to
//  choose the loops that a message goes to; who they are is known to their own loop alone, which
//  changes the list under that lock and walks it without.
//
//  Raw memory: one record for each loop, allocated and freed with the topic. The sessions named there
//  are taken off before they are freed. An index into the records is a loop's number, which is
//  smaller than the number of loops.

import MartletBase

/// A channel, pattern or shard channel with subscribers.
@safe
package final class Topic: @unchecked Sendable {
    // Unchecked: names are constant; counts, `next` and `place` are touched under the lock of
    // `PubSub`; a list by its own loop.

    enum Kind: Int, CaseIterable {
        case channel
        case pattern
        case shardChannel
    }

    /// One loop's subscribers.
    @safe
    private struct Share: ~Copyable {
        var count = 0
        var sessions = unsafe GrowingArray<UnsafeMutablePointer<Session>>()
    }

    let kind: Kind
    let name: Bytes
    let hash: UInt64
    /// How each message begins: up to the channel for a pattern, up to the payload for the others.
    let frameHead: [UInt8]
    /// The next topic of the same hash.
    fileprivate(set) var next: Topic?
    /// Its number among the patterns.
    fileprivate(set) var place = 0
    /// Subscribers on all loops.
    private(set) var subscriberCount = 0
    private let shares: UnsafeMutablePointer<Share>
    private let loopCount: Int

    init(_ kind: Kind, _ name: Key, loops: Int) {
        self.kind = kind
        self.name = Bytes(name.bytes)
        hash = name.hash
        loopCount = loops
        unsafe shares = .allocate(capacity: loops)
        for loop in 0..<loops { unsafe (shares + loop).initialize(to: Share()) }
        var writer = ReplyWriter()
        writer.array(kind == .pattern ? 4 : 3)
        writer.bulk(kind.messageWord)
        writer.bulk(name.bytes)
        frameHead = writer.buffer.view.bytes
    }

    deinit {
        unsafe shares.deinitialize(count: loopCount)
        unsafe shares.deallocate()
    }

    // MARK: Under the lock

    /// How many of a loop's clients are subscribed.
    func count(onLoop loop: Int) -> Int { unsafe shares[loop].count }

    /// Counts a client in or out.
    func count(_ change: Int, onLoop loop: Int) {
        subscriberCount += change
        unsafe shares[loop].count += change
    }

    // MARK: On the loop's thread

    /// Adds one of a loop's clients.
    ///
    /// - Returns: its place in the list.
    func append(_ session: UnsafeMutablePointer<Session>, onLoop loop: Int) -> Int {
        unsafe shares[loop].sessions.append(session)
        return unsafe shares[loop].sessions.count - 1
    }

    /// Takes the client at `place` off the list.
    ///
    /// - Returns: the client that stands there now; nil when it was the last one.
    func remove(at place: Int, onLoop loop: Int) -> UnsafeMutablePointer<Session>? {
        unsafe shares[loop].sessions.removeSwappingLast(at: place)
        return unsafe place < shares[loop].sessions.count ? shares[loop].sessions[place] : nil
    }

    /// Calls `body` with each of a loop's clients.
    @inline(__always)
    func forEach(onLoop loop: Int, _ body: (UnsafeMutablePointer<Session>) -> Void) {
        for index in unsafe 0..<shares[loop].sessions.count {
            unsafe body(shares[loop].sessions[index])
        }
    }
}

extension Topic.Kind {
    /// The first word of a message.
    var messageWord: StaticString {
        switch self {
        case .channel: "message"
        case .pattern: "pmessage"
        case .shardChannel: "smessage"
        }
    }

    /// The first word of the reply to a subscription.
    var subscribedWord: StaticString {
        switch self {
        case .channel: "subscribe"
        case .pattern: "psubscribe"
        case .shardChannel: "ssubscribe"
        }
    }

    /// The first word of the reply to the end of one.
    var unsubscribedWord: StaticString {
        switch self {
        case .channel: "unsubscribe"
        case .pattern: "punsubscribe"
        case .shardChannel: "sunsubscribe"
        }
    }
}

/// The topics of one kind by name.
struct TopicTable: ~Copyable {
    /// By the hash of the name; others of the same hash are behind it.
    private var byHash: [UInt64: Topic] = [:]
    private(set) var count = 0

    func find(_ name: Key) -> Topic? {
        var topic = byHash[name.hash]
        while let found = topic {
            if found.name.withView({ $0 == name.bytes }) { return found }
            topic = found.next
        }
        return nil
    }

    mutating func insert(_ topic: Topic) {
        topic.next = byHash[topic.hash]
        byHash[topic.hash] = topic
        count += 1
    }

    mutating func remove(_ topic: Topic) {
        count -= 1
        guard let first = byHash[topic.hash], first !== topic else {
            byHash[topic.hash] = topic.next
            topic.next = nil
            return
        }
        var before = first
        while let following = before.next {
            if following === topic {
                before.next = topic.next
                topic.next = nil
                return
            }
            before = following
        }
    }

    /// All of them, in no order.
    var all: [Topic] {
        var all: [Topic] = []
        for first in byHash.values {
            var topic: Topic? = first
            while let each = topic {
                all.append(each)
                topic = each.next
            }
        }
        return all
    }
}

/// All patterns, side by side for those who publish.
///
/// Each publisher tries its channel on every pattern. Most patterns begin with bytes that stand for
/// themselves (`news.*`), and a look at the first eight of them settles most cases: 10 000 patterns
/// cost a publisher 10 us instead of 300.
struct PatternList: ~Copyable {
    /// The bytes that a matching channel begins with, as far as they fit.
    private struct Hint {
        let word: UInt64
        let mask: UInt64

        init(_ pattern: ByteView) {
            var count = 0
            while count < min(pattern.count, 8), !Self.isSpecial(pattern[count]) { count += 1 }
            word = PatternList.word(pattern.slice(0, count))
            mask = count == 8 ? .max : (1 << UInt64(8 * count)) - 1
        }

        private static func isSpecial(_ byte: UInt8) -> Bool {
            byte == UInt8(ascii: "*") || byte == UInt8(ascii: "?") || byte == UInt8(ascii: "[")
                || byte == UInt8(ascii: "\\")
        }
    }

    private var hints: [Hint] = []
    private var topics: [Topic] = []

    var isEmpty: Bool { topics.isEmpty }

    mutating func append(_ topic: Topic) {
        topic.place = topics.count
        topics.append(topic)
        hints.append(topic.name.withView { Hint($0) })
    }

    mutating func remove(_ topic: Topic) {
        let last = topics.removeLast()
        let hint = hints.removeLast()
        if last === topic { return }
        last.place = topic.place
        topics[topic.place] = last
        hints[topic.place] = hint
    }

    /// Calls `body` with every pattern that `channel` matches.
    func forEach(matching channel: ByteView, _ body: (Topic) -> Void) {
        let word = Self.word(channel)
        for index in hints.indices where (hints[index].word ^ word) & hints[index].mask == 0 {
            if topics[index].name.withView({ channel.matches($0) }) { body(topics[index]) }
        }
    }

    /// The first eight bytes, the first one lowest; zero bytes where there are none.
    private static func word(_ bytes: ByteView) -> UInt64 {
        var word: UInt64 = 0
        for index in 0..<min(bytes.count, 8) { word |= UInt64(bytes[index]) << UInt64(8 * index) }
        return word
    }
}
