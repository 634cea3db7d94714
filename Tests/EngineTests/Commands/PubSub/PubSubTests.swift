//  Channels, patterns and shard channels: who gets what, how often, in which order.

import MartletBase
import Testing

@testable import MartletEngine

/// The elements of a frame: bulk strings, but for the count behind a subscription.
private func elements(_ words: [String]) -> [Reply] {
    let hasCount = words[0].hasSuffix("subscribe")
    return words.enumerated().map { index, word in
        hasCount && index == 2 ? .integer(Int64(word) ?? -1) : .bulk(word)
    }
}

private func frame(_ words: String...) -> Reply { .array(elements(words)) }

private func push(_ words: String...) -> Reply { .push(elements(words)) }

@Suite struct PubSubTests {
    @Test func `a message reaches those who are subscribed, and PUBLISH counts them`() {
        let server = CommandHarness()
        let publisher = server.client()
        let ann = server.client()
        let bob = server.client(isRESP3: true)
        #expect(publisher.run("PUBLISH", "news", "nobody") == .integer(0))
        #expect(ann.run("SUBSCRIBE", "news") == frame("subscribe", "news", "1"))
        #expect(bob.run("SUBSCRIBE", "news") == push("subscribe", "news", "1"))
        #expect(publisher.run("PUBLISH", "news", "hello") == .integer(2))
        #expect(publisher.run("PUBLISH", "other", "hello") == .integer(0))
        #expect(ann.replies() == [frame("message", "news", "hello")])
        #expect(bob.replies() == [push("message", "news", "hello")])
        #expect(ann.run("UNSUBSCRIBE", "news") == frame("unsubscribe", "news", "0"))
        #expect(publisher.run("PUBLISH", "news", "again") == .integer(1))
        #expect(ann.replies() == [])
    }

    @Test func `patterns and channels are counted each and come in the order of publishing`() {
        let server = CommandHarness()
        let publisher = server.client()
        let client = server.client()
        client.run("SUBSCRIBE", "a", "b")
        client.run("PSUBSCRIBE", "[ab]", "c*")
        _ = client.replies()
        client.send(HarnessClient.request([Array("PING".utf8)]))
        #expect(client.replies() == [frame("pong", "")])
        for (channel, count) in [("a", 2), ("c1", 1), ("b", 2), ("a", 2), ("d", 0)] {
            #expect(publisher.run("PUBLISH", channel, "m") == .integer(Int64(count)))
        }
        #expect(
            client.replies() == [
                frame("message", "a", "m"), frame("pmessage", "[ab]", "a", "m"),
                frame("pmessage", "c*", "c1", "m"),
                frame("message", "b", "m"), frame("pmessage", "[ab]", "b", "m"),
                frame("message", "a", "m"), frame("pmessage", "[ab]", "a", "m"),
            ])
    }

    @Test func `messages of one pipeline arrive in order, whoever listens to what`() {
        let server = CommandHarness()
        let publisher = server.client()
        let one = server.client()
        let all = server.client(isRESP3: true)
        one.run("SUBSCRIBE", "odd")
        all.run("PSUBSCRIBE", "*")
        _ = (one.replies(), all.replies())
        var bytes: [UInt8] = []
        for number in 0..<40 {
            let words = ["PUBLISH", number % 2 == 0 ? "even" : "odd", "\(number)"]
            bytes += HarnessClient.request(words.map { Array($0.utf8) })
        }
        publisher.send(bytes)
        #expect(
            publisher.replies() == (0..<40).map { .integer($0 % 2 == 0 ? 1 : 2) })
        #expect(
            one.replies() == stride(from: 1, to: 40, by: 2).map { frame("message", "odd", "\($0)") }
        )
        #expect(
            all.replies()
                == (0..<40).map {
                    push("pmessage", "*", $0 % 2 == 0 ? "even" : "odd", "\($0)")
                })
    }

    @Test func `a shard channel is apart from a channel of the same name`() {
        let server = CommandHarness()
        let publisher = server.client()
        let client = server.client()
        #expect(client.run("SSUBSCRIBE", "c") == frame("ssubscribe", "c", "1"))
        #expect(client.run("SUBSCRIBE", "c") == frame("subscribe", "c", "1"))
        #expect(publisher.run("SPUBLISH", "c", "s") == .integer(1))
        #expect(publisher.run("PUBLISH", "c", "p") == .integer(1))
        #expect(client.replies() == [frame("smessage", "c", "s"), frame("message", "c", "p")])
        #expect(publisher.run("PUBSUB", "SHARDNUMSUB", "c") == .array([.bulk("c"), .integer(1)]))
        #expect(client.run("SUNSUBSCRIBE") == frame("sunsubscribe", "c", "0"))
        #expect(publisher.run("SPUBLISH", "c", "s") == .integer(0))
    }

    @Test func `a RESP2 subscriber may ask for little else, a RESP3 one for anything`() {
        let server = CommandHarness()
        let old = server.client()
        let new = server.client(isRESP3: true)
        old.run("SSUBSCRIBE", "c")
        new.run("SSUBSCRIBE", "c")
        #expect(
            old.run("GET", "k")
                == .error(
                    "ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT "
                        + "/ RESET are allowed in this context"))
        #expect(new.run("GET", "k") == .null)
        #expect(old.run("PING", "text") == frame("pong", "text"))
        #expect(new.run("PING", "text") == .bulk("text"))
        #expect(old.run("RESET") == .simple("RESET"))
        #expect(old.run("PING") == .simple("PONG"))
        #expect(server.state.pubSub.topicCount(.shardChannels) == 1)
    }

    @Test func `messages that counted a client stand before the reply that ends its subscription`()
    {
        let server = CommandHarness()
        let client = server.client(isRESP3: true)
        client.run("SUBSCRIBE", "a", "b")
        _ = client.replies()
        // In one event: the loop hands messages out afterwards.
        let requests = [
            ["PUBLISH", "a", "1"], ["UNSUBSCRIBE", "a"], ["PUBLISH", "a", "2"],
            ["PUBLISH", "b", "3"], ["SUBSCRIBE", "a"], ["PUBLISH", "a", "4"],
        ]
        client.send(requests.flatMap { HarnessClient.request($0.map { Array($0.utf8) }) })
        #expect(
            client.replies() == [
                .integer(1), push("message", "a", "1"), push("unsubscribe", "a", "1"), .integer(0),
                .integer(1), push("message", "b", "3"), push("subscribe", "a", "2"), .integer(1),
                push("message", "a", "4"),
            ])
    }

    @Test func `who is served in one event gets no message twice and none too few`() {
        let server = CommandHarness()
        let publisher = server.client()
        let client = server.client()
        let other = server.client()
        client.run("SUBSCRIBE", "a", "b")
        other.run("SUBSCRIBE", "a", "b")
        _ = (client.replies(), other.replies())
        // Straight into the inbox: the loop has not come round yet.
        let state = server.state
        func publish(_ channel: StaticString, _ message: StaticString) -> Int {
            let key = unsafe state.keyspace.pointee.key(ByteView(channel))
            return state.pubSub.publish(ByteView(message), to: key, fromLoop: 0)
        }
        #expect(publish("a", "1") == 2)
        #expect(publish("b", "2") == 2)
        client.send(HarnessClient.request(["UNSUBSCRIBE", "a"].map { Array($0.utf8) }))
        #expect(
            client.replies() == [
                frame("message", "a", "1"), frame("message", "b", "2"),
                frame("unsubscribe", "a", "1"),
            ])
        #expect(other.replies() == [frame("message", "a", "1"), frame("message", "b", "2")])
        #expect(publish("a", "3") == 1)
        #expect(publish("b", "4") == 2)
        server.deliverMessages()
        #expect(client.replies() == [frame("message", "b", "4")])
        #expect(other.replies() == [frame("message", "a", "3"), frame("message", "b", "4")])
        _ = publisher
    }

    @Test func `subscribing and publishing in a transaction, whose reply is not torn`() {
        let server = CommandHarness()
        let client = server.client(isRESP3: true)
        client.run("SUBSCRIBE", "a")
        _ = client.replies()
        client.run("MULTI")
        client.run("PUBLISH", "a", "1")
        client.run("SET", "k", "v")
        client.run("PUBLISH", "a", "2")
        client.send(HarnessClient.request([Array("EXEC".utf8)]))
        #expect(
            client.replies().last == push("message", "a", "2"))
        let old = server.client()
        old.run("MULTI")
        old.run("SUBSCRIBE", "x")
        #expect(old.run("EXEC") == .array([frame("subscribe", "x", "1")]))
        #expect(old.run("GET", "k").map { "\($0)".contains("Can't execute") } == true)
        #expect(
            server.client().run("PUBSUB", "CHANNELS", "x") == .array([.bulk("x")]))
    }

    @Test func `a killed or closed client is counted no more`() {
        let server = CommandHarness()
        let publisher = server.client()
        do {
            let gone = server.client()
            gone.run("SUBSCRIBE", "a")
            gone.run("PSUBSCRIBE", "*")
            #expect(publisher.run("PUBLISH", "a", "1") == .integer(2))
        }
        #expect(publisher.run("PUBLISH", "a", "2") == .integer(0))
        let killed = server.client()
        let spared = server.client()
        killed.run("SUBSCRIBE", "a")
        spared.run("SUBSCRIBE", "a")
        _ = (killed.replies(), spared.replies())
        #expect(publisher.run("CLIENT", "KILL", "ID", "\(killed.record.id)") == .integer(1))
        #expect(publisher.run("PUBLISH", "a", "3") == .integer(1))
        #expect(publisher.run("PUBSUB", "NUMSUB", "a") == .array([.bulk("a"), .integer(1)]))
        #expect(killed.replies() == [])
        #expect(spared.replies() == [frame("message", "a", "3")])
    }

    @Test func `names that are not text, and very many patterns`() {
        let server = CommandHarness()
        let publisher = server.client()
        let client = server.client()
        let name: [UInt8] = [0, 13, 10, 255]
        client.run([Array("SUBSCRIBE".utf8), name, []])
        _ = client.replies()
        #expect(publisher.run([Array("PUBLISH".utf8), name, []]) == .integer(1))
        #expect(client.rawReplies().starts(with: Array("*3\r\n$7\r\nmessage\r\n$4\r\n".utf8)))
        #expect(publisher.run("PUBLISH", "", "m") == .integer(1))
        for number in 0..<10_000 { client.run("PSUBSCRIBE", "\(number):*") }
        #expect(publisher.run("PUBSUB", "NUMPAT") == .integer(10_000))
        #expect(publisher.run("PUBLISH", "777:x", "m") == .integer(1))
        _ = client.replies()
        client.run("PUNSUBSCRIBE")
        #expect(publisher.run("PUBSUB", "NUMPAT") == .integer(0))
        #expect(publisher.run("PUBLISH", "777:x", "m") == .integer(0))
    }

    @Test func `CLIENT REPLY holds replies back and no messages`() {
        let server = CommandHarness()
        let publisher = server.client()
        let client = server.client(isRESP3: true)
        client.run("CLIENT", "REPLY", "OFF")
        #expect(client.run("SUBSCRIBE", "a") == push("subscribe", "a", "1"))
        #expect(client.run("GET", "k") == nil)
        #expect(publisher.run("PUBLISH", "a", "1") == .integer(1))
        #expect(client.replies() == [push("message", "a", "1")])
        #expect(client.run("PUBLISH", "a", "2") == push("message", "a", "2"))
    }

    @Test func `a client's line tells its subscriptions`() {
        let server = CommandHarness()
        let admin = server.client()
        let client = server.client()
        client.run("SUBSCRIBE", "a", "b")
        client.run("PSUBSCRIBE", "p")
        client.run("SSUBSCRIBE", "s")
        let line = "\(admin.run("CLIENT", "LIST", "TYPE", "pubsub") ?? .null)"
        #expect(line.contains("flags=P "))
        #expect(line.contains("sub=2 psub=1 ssub=1"))
        client.run("UNSUBSCRIBE")
        client.run("PUNSUBSCRIBE")
        client.run("SUNSUBSCRIBE")
        #expect("\(admin.run("CLIENT", "LIST", "TYPE", "pubsub") ?? .null)" == "\"\"")
    }
}

/// Two loops, of which the test is both.
@Suite struct PubSubLoopTests {
    private let time = VirtualTime(wallMilliseconds: 0)

    private func engine() -> EngineState {
        EngineState(
            loops: 2, shardCount: 16, databases: 1, commandCount: 1, clock: time.clock,
            hashKey: HashKey(1, 2))
    }

    @Test func `any number of messages for another loop is one wake-up, and all keep their order`()
    {
        let state = engine()
        let far = LoopClient(state, loop: 1)
        let near = LoopClient(state, loop: 0)
        far.subscribe("c")
        near.subscribe("c")
        for number in 0..<5 {
            #expect(far.publish("\(number)", to: "c", fromLoop: number % 2) == 2)
        }
        #expect(state.pubSub.takeWakes(ofLoop: 0) == [1])
        // The first message for loop 0 was its own.
        #expect(state.pubSub.takeWakes(ofLoop: 1) == [])
        #expect(
            state.pubSub.signals(ofLoop: 0).hasMessages
                && state.pubSub.signals(ofLoop: 1).hasMessages)
        for loop in 0..<2 {
            var fanOut = FanOut()
            var texts: [String] = []
            unsafe fanOut.deliver(state.pubSub, loop: loop) { _, bytes in texts.append(bytes.string)
            }
            #expect(texts.count == 1, "one write")
            let messages = texts[0].split(separator: "\r\n").compactMap { Int($0) }
            #expect(messages == [0, 1, 2, 3, 4])
            #expect(!state.pubSub.signals(ofLoop: loop).hasMessages)
        }
        #expect(far.publish("5", to: "c", fromLoop: 0) == 2)
        #expect(state.pubSub.takeWakes(ofLoop: 0) == [1])
    }

    @Test func `a frame for one client goes between the messages where it was pushed`() {
        let state = engine()
        let one = LoopClient(state, loop: 1)
        let other = LoopClient(state, loop: 1)
        one.subscribe("c")
        other.subscribe("c")
        _ = one.publish("1", to: "c", fromLoop: 0)
        "<frame>\r\n".withView { state.pubSub.push($0, to: one.record, fromLoop: 0) }
        _ = one.publish("2", to: "c", fromLoop: 0)
        var fanOut = FanOut()
        var texts: [Int64: String] = [:]
        unsafe fanOut.deliver(state.pubSub, loop: 1) { session, bytes in
            texts[unsafe session.pointee.record.id] = bytes.string
        }
        #expect(texts[one.record.id]?.contains("1\r\n<frame>\r\n*3") == true)
        #expect(texts[other.record.id]?.contains("frame") == false)
        #expect(texts[other.record.id]?.hasSuffix("2\r\n") == true)
    }
}

/// A session on some loop.
@safe
private final class LoopClient {
    private let state: EngineState
    private let session: UnsafeMutablePointer<Session>

    init(_ state: EngineState, loop: Int) {
        self.state = state
        unsafe session = .allocate(capacity: 1)
        unsafe session.initialize(
            to: Session(
                record: ClientRecord(
                    id: state.clients.newID(), loop: loop,
                    addresses: ClientAddresses(
                        peer: "", local: "", descriptor: 3, isUnixSocket: false, isLoopback: true),
                    createdMilliseconds: 0)))
        unsafe state.begin(session)
    }

    deinit {
        unsafe state.forget(session)
        unsafe session.deinitialize(count: 1)
        unsafe session.deallocate()
    }

    var record: ClientRecord { unsafe session.pointee.record }

    func subscribe(_ channel: String) {
        var missed = ByteBuffer()
        channel.withView {
            unsafe state.pubSub.subscribe(
                session, to: .channel, state.keyspace.pointee.key($0), missed: &missed)
        }
    }

    func publish(_ message: String, to channel: String, fromLoop loop: Int) -> Int {
        channel.withView { channel in
            message.withView {
                unsafe state.pubSub.publish(
                    $0, to: state.keyspace.pointee.key(channel), fromLoop: loop)
            }
        }
    }
}
