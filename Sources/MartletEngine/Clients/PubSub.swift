//  Who is subscribed to what, and the way of a message from its publisher to its receivers.
//
//  One lock guards names, counts and the inboxes of all loops. It ranks after the shards; whoever
//  holds it takes no other. A publisher takes it once: it counts the receivers, which is its reply,
//  and leaves the framed message in the inbox of each loop that has some, its own included. So all
//  loops see the messages of all publishers in the same order. Each loop empties its inbox between
//  events (see `FanOut`): before it serves what clients sent, so that what was acknowledged to a
//  publisher goes before the reply to whatever was asked afterwards, and before it waits.
//
//  A client's subscriptions change on its own loop. Messages that stand in the inbox at that moment
//  were counted for it, or not, by what it was subscribed to before; they are written to its output
//  first and skipped for it when the inbox is emptied. So a subscriber gets exactly the messages that
//  counted it, each once, in order, and none behind the reply that ends its subscription.
//
//  Raw memory: the inboxes and the words that say whether they hold something, one per loop, allocated
//  and freed here. A word is set under the lock and read by any thread; `wakes` and its word are their
//  loop's own.

import CSystem
import MartletBase
import Synchronization

/// What one client is subscribed to.
package final class Subscriptions: @unchecked Sendable {
    // Unchecked: touched under the lock of `PubSub`, and read by the client's loop, which alone
    // changes it.

    /// A subscription: its topic, and the client's place in the topic's list.
    fileprivate struct Held {
        let topic: Topic
        var place: Int
    }

    /// By kind of topic.
    fileprivate var held: [[ObjectIdentifier: Held]] = [[:], [:], [:]]
    /// The client was killed: it counts no more, though its loop has not taken it off the lists yet.
    fileprivate var isAbandoned = false

    fileprivate init() {}

    /// Whether a message to `topic` is for this client.
    fileprivate func contains(_ topic: Topic) -> Bool {
        held[topic.kind.rawValue][ObjectIdentifier(topic)] != nil
    }

    func count(_ kind: Topic.Kind) -> Int { held[kind.rawValue].count }

    /// The names of the topics of one kind, in no order.
    func names(_ kind: Topic.Kind) -> [(name: Bytes, hash: UInt64)] {
        held[kind.rawValue].values.map { ($0.topic.name, $0.topic.hash) }
    }

    /// All subscriptions together.
    var count: Int { held[0].count + held[1].count + held[2].count }
}

/// The registry of channels, patterns and shard channels.
@safe
package final class PubSub: @unchecked Sendable {
    // Unchecked: see the rules at the top of this file.

    /// What belongs to one loop.
    private struct Side: ~Copyable {
        var inbox = Inbox()
        /// Loops into whose empty inbox this one has put something.
        var wakes: [Int] = []
    }

    private let lock = ShardLock.allocate()
    private var channels = TopicTable()
    private var patterns = TopicTable()
    private var shardChannels = TopicTable()
    private var patternList = PatternList()
    private let sides: UnsafeMutablePointer<Side>
    private let loopCount: Int
    /// A cache line each: the first holds the number of subscriptions, the others say for each loop
    /// whether its inbox holds something and whether it has to wake others: see `LoopSignals`.
    private let words: UnsafeMutableRawPointer
    private var subscriptionCount = 0

    private static let wordBytes = 64

    init(loops: Int) {
        loopCount = loops
        unsafe sides = .allocate(capacity: loops)
        for loop in 0..<loops { unsafe (sides + loop).initialize(to: Side()) }
        unsafe words = .allocate(byteCount: (loops + 1) * Self.wordBytes, alignment: 64)
        for index in 0...loops {
            let line = unsafe words + index * Self.wordBytes
            unsafe line.initializeMemory(as: UInt64.self, repeating: 0, count: 2)
        }
    }

    deinit {
        unsafe sides.deinitialize(count: loopCount)
        unsafe sides.deallocate()
        unsafe words.deallocate()
        lock.deallocate()
    }

    private func inboxWord(_ loop: Int) -> UnsafeMutableRawPointer {
        unsafe words + (loop + 1) * Self.wordBytes
    }

    /// Nobody is subscribed to anything.
    @inline(__always)
    package var isIdle: Bool { unsafe martlet_load_relaxed_64(words) == 0 }

    // MARK: Subscribing, on the client's loop

    /// Subscribes a client to a topic.
    ///
    /// - Parameters:
    ///   - session: the client's.
    ///   - kind: what `name` names.
    ///   - name: any bytes.
    ///   - missed: gets the messages that were published before, for what the client was subscribed
    ///     to already.
    func subscribe(
        _ session: UnsafeMutablePointer<Session>, to kind: Topic.Kind, _ name: Key,
        missed: inout ByteBuffer
    ) {
        let record = unsafe session.pointee.record
        lock.lock()
        defer { lock.unlock() }
        // Killed meanwhile: it was counted out for good.
        if record.isKilled { return }
        let subscriptions = record.subscriptions ?? Subscriptions()
        record.subscriptions = subscriptions
        unsafe session.pointee.subscriptions = subscriptions
        unsafe catchUp(session, into: &missed)
        let topic = find(kind, name) ?? add(Topic(kind, name, loops: loopCount))
        guard !subscriptions.contains(topic) else { return }
        topic.count(1, onLoop: record.loop)
        let place = unsafe topic.append(session, onLoop: record.loop)
        subscriptions.held[kind.rawValue][ObjectIdentifier(topic)] = Subscriptions.Held(
            topic: topic, place: place)
        changeCount(by: 1)
        record.noteSubscriptions(subscriptions)
    }

    /// Ends a client's subscription, if there is one.
    ///
    /// - Parameters: as for `subscribe`.
    func unsubscribe(
        _ session: UnsafeMutablePointer<Session>, from kind: Topic.Kind, _ name: Key,
        missed: inout ByteBuffer
    ) {
        let record = unsafe session.pointee.record
        lock.lock()
        defer { lock.unlock() }
        guard let subscriptions = record.subscriptions, !subscriptions.isAbandoned,
            let topic = find(kind, name), subscriptions.contains(topic)
        else { return }
        unsafe catchUp(session, into: &missed)
        remove(subscriptions, topic, onLoop: record.loop)
        countOut(topic, onLoop: record.loop)
        record.noteSubscriptions(subscriptions)
    }

    /// Ends all subscriptions of a client.
    ///
    /// - Parameters: as for `subscribe`.
    func unsubscribe(_ session: UnsafeMutablePointer<Session>, missed: inout ByteBuffer) {
        let record = unsafe session.pointee.record
        guard let subscriptions = unsafe session.pointee.subscriptions else { return }
        lock.lock()
        defer { lock.unlock() }
        if !subscriptions.isAbandoned { unsafe catchUp(session, into: &missed) }
        for kind in Topic.Kind.allCases {
            for held in Array(subscriptions.held[kind.rawValue].values) {
                remove(subscriptions, held.topic, onLoop: record.loop)
                if !subscriptions.isAbandoned { countOut(held.topic, onLoop: record.loop) }
            }
        }
        record.subscriptions = nil
        unsafe session.pointee.subscriptions = nil
        record.noteSubscriptions(subscriptions)
    }

    /// Counts a killed client out, so that nobody who publishes from now on counts it. Its loop takes
    /// it off the lists when it closes the connection. Called on any loop.
    func abandon(_ record: ClientRecord) {
        lock.lock()
        defer { lock.unlock() }
        guard let subscriptions = record.subscriptions, !subscriptions.isAbandoned else { return }
        subscriptions.isAbandoned = true
        for held in subscriptions.held.lazy.flatMap(\.values) {
            countOut(held.topic, onLoop: record.loop)
        }
    }

    /// Takes a client off the list of a topic.
    private func remove(_ subscriptions: Subscriptions, _ topic: Topic, onLoop loop: Int) {
        let id = ObjectIdentifier(topic)
        let kind = topic.kind.rawValue
        guard let held = subscriptions.held[kind].removeValue(forKey: id) else { return }
        if let moved = unsafe topic.remove(at: held.place, onLoop: loop) {
            unsafe moved.pointee.subscriptions?.held[kind][id]?.place = held.place
        }
    }

    private func countOut(_ topic: Topic, onLoop loop: Int) {
        topic.count(-1, onLoop: loop)
        if topic.subscriberCount == 0 { remove(topic) }
        changeCount(by: -1)
    }

    private func changeCount(by change: Int) {
        subscriptionCount += change
        unsafe martlet_store_relaxed_64(words, UInt64(subscriptionCount))
    }

    private func find(_ kind: Topic.Kind, _ name: Key) -> Topic? {
        switch kind {
        case .channel: channels.find(name)
        case .pattern: patterns.find(name)
        case .shardChannel: shardChannels.find(name)
        }
    }

    private func add(_ topic: Topic) -> Topic {
        switch topic.kind {
        case .channel: channels.insert(topic)
        case .shardChannel: shardChannels.insert(topic)
        case .pattern:
            patterns.insert(topic)
            patternList.append(topic)
        }
        return topic
    }

    private func remove(_ topic: Topic) {
        switch topic.kind {
        case .channel: channels.remove(topic)
        case .shardChannel: shardChannels.remove(topic)
        case .pattern:
            patterns.remove(topic)
            patternList.remove(topic)
        }
    }

    // MARK: Publishing

    /// Publishes a message.
    ///
    /// - Parameters:
    ///   - payload: the message.
    ///   - channel: where to.
    ///   - isSharded: whether `channel` names a shard channel, which no pattern matches.
    ///   - loop: the loop that publishes.
    /// - Returns: how many subscriptions it reaches.
    /// - Complexity: O(p + l), p = patterns, l = loops; its receivers are served later.
    package func publish(
        _ payload: ByteView, to channel: Key, isSharded: Bool = false, fromLoop loop: Int
    ) -> Int {
        if isIdle { return 0 }
        var receivers = 0
        lock.lock()
        defer { lock.unlock() }
        if let topic = isSharded ? shardChannels.find(channel) : channels.find(channel) {
            receivers += topic.subscriberCount
            deliver(payload, channel.bytes, topic, fromLoop: loop)
        }
        if !isSharded && !patternList.isEmpty {
            patternList.forEach(matching: channel.bytes) { topic in
                receivers += topic.subscriberCount
                deliver(payload, channel.bytes, topic, fromLoop: loop)
            }
        }
        return receivers
    }

    private func deliver(
        _ payload: ByteView, _ channel: ByteView, _ topic: Topic, fromLoop source: Int
    ) {
        for loop in 0..<loopCount where topic.count(onLoop: loop) > 0 {
            noteMessage(forLoop: loop, fromLoop: source)
            unsafe sides[loop].inbox.append(topic, channel: channel, payload: payload)
        }
    }

    /// Sends one client a frame that is ready: `>` in RESP3, or a message on a channel in RESP2. It
    /// follows the replies that the client's loop has written, and leaves between two of them.
    package func push(_ frame: ByteView, to client: ClientRecord, fromLoop loop: Int) {
        lock.lock()
        defer { lock.unlock() }
        noteMessage(forLoop: client.loop, fromLoop: loop)
        unsafe sides[client.loop].inbox.append(frame, for: client)
    }

    /// A message is about to be left in an inbox. The first one brings its loop a wake-up.
    private func noteMessage(forLoop loop: Int, fromLoop source: Int) {
        if unsafe !sides[loop].inbox.entries.isEmpty { return }
        unsafe martlet_store_release_64(inboxWord(loop), 1)
        if loop == source { return }
        unsafe sides[source].wakes.append(loop)
        signals(ofLoop: source).mustWake = true
    }

    /// The loops that wait for a wake-up by this one: called once an iteration, so that any number
    /// of messages cost one.
    package func takeWakes(ofLoop loop: Int) -> [Int] {
        defer { unsafe sides[loop].wakes.removeAll(keepingCapacity: true) }
        signals(ofLoop: loop).mustWake = false
        return unsafe sides[loop].wakes
    }

    // MARK: Receiving, on the receiver's loop

    /// What a loop looks at between events. It stays valid as long as the registry.
    package func signals(ofLoop loop: Int) -> LoopSignals {
        unsafe LoopSignals(words: inboxWord(loop))
    }

    /// Empties a loop's inbox into `inbox`, an empty one.
    func takeMessages(forLoop loop: Int, into inbox: inout Inbox) {
        lock.lock()
        defer { lock.unlock() }
        unsafe sides[loop].inbox.move(to: &inbox)
        unsafe martlet_store_release_64(inboxWord(loop), 0)
    }

    /// Writes the messages that wait for one client to its output, ahead of the others of its loop.
    func catchUp(
        ofClient session: UnsafeMutablePointer<Session>, into output: inout ByteBuffer
    ) {
        lock.lock()
        defer { lock.unlock() }
        unsafe catchUp(session, into: &output)
    }

    private func catchUp(
        _ session: UnsafeMutablePointer<Session>, into output: inout ByteBuffer
    ) {
        let record = unsafe session.pointee.record
        let side = unsafe sides + record.loop
        let count = unsafe side.pointee.inbox.entries.count
        if count == 0 { return }
        let first = unsafe side.pointee.inbox.firstNumber
        let through = unsafe session.pointee.messagesThrough
        for index in (through > first ? min(Int(through - first), count) : 0)..<count {
            let entry = unsafe side.pointee.inbox.entries[index]
            let begin = unsafe side.pointee.inbox.begin(index)
            let frame = unsafe side.pointee.inbox.bytes.view.slice(begin, entry.end)
            switch entry.target {
            case .topic(let topic):
                guard unsafe session.pointee.subscriptions?.contains(topic) == true else {
                    continue
                }
                unsafe output.append(session.pointee.isRESP3 ? UInt8(ascii: ">") : frame[0])
                output.append(frame.slice(1, frame.count))
            case .client(let client) where client === record:
                output.append(frame)
            case .client:
                break
            }
        }
        unsafe session.pointee.messagesThrough = side.pointee.inbox.endNumber
    }

    // MARK: Asking

    /// Topics of a kind that somebody is subscribed to.
    package func topicCount(_ kind: PubSubKind) -> Int {
        lock.lock()
        defer { lock.unlock() }
        return switch kind {
        case .channels: channels.count
        case .patterns: patterns.count
        case .shardChannels: shardChannels.count
        }
    }

    /// The subscribers of one topic.
    func subscriberCount(_ kind: Topic.Kind, _ name: Key) -> Int {
        lock.lock()
        defer { lock.unlock() }
        return find(kind, name)?.subscriberCount ?? 0
    }

    /// The names of all channels, or shard channels, in no order.
    func names(_ kind: Topic.Kind) -> [Bytes] {
        lock.lock()
        defer { lock.unlock() }
        return (kind == .shardChannel ? shardChannels.all : channels.all).map(\.name)
    }
}

/// Whether a loop has something to do for subscribers: two words that cost it no reference count.
@safe
package struct LoopSignals {
    fileprivate let words: UnsafeMutableRawPointer

    /// Messages wait for the loop's clients.
    package var hasMessages: Bool { unsafe martlet_load_acquire_64(words) != 0 }

    /// Other loops wait for a wake-up by this one, whose own word this is.
    package fileprivate(set) var mustWake: Bool {
        get { unsafe martlet_load_relaxed_64(words + 8) != 0 }
        nonmutating set { unsafe martlet_store_relaxed_64(words + 8, newValue ? 1 : 0) }
    }
}

/// What INFO counts.
package enum PubSubKind {
    case channels
    case patterns
    case shardChannels
}

extension ClientRecord {
    /// Leaves for others how much the client is subscribed to.
    fileprivate func noteSubscriptions(_ subscriptions: Subscriptions) {
        channels.store(subscriptions.count(.channel), ordering: .relaxed)
        patterns.store(subscriptions.count(.pattern), ordering: .relaxed)
        shardChannels.store(subscriptions.count(.shardChannel), ordering: .relaxed)
    }
}
