//  Keyspace notifications: which classes are published, where, and in which order.
//
//  The events of each command are compared with real servers by Tests/Wire/test_events.py.

import MartletBase
import Testing

@testable import MartletEngine

@Suite struct NotificationTests {
    /// A server that publishes events of these classes, and a client that listens to all of them.
    private func listening(_ letters: String) -> (CommandHarness, HarnessClient, () -> [String]) {
        let server = CommandHarness()
        var classes: EventClasses = []
        for letter in letters { classes.insert(EventClasses(letter: letter)) }
        server.state.notify(of: classes)
        let listener = server.client()
        listener.run("PSUBSCRIBE", "__key*")
        _ = listener.replies()
        let events = {
            listener.replies().map { reply in
                (reply.elements ?? []).dropFirst(2).map { $0.text ?? "?" }
                    .joined(separator: " ")
            }
        }
        return (server, server.client(), events)
    }

    @Test func `an event goes to the channel of its key and to that of its name`() {
        let (_, client, events) = listening("KEg$")
        client.run("SET", "k", "v", "EX", "10")
        #expect(
            events() == [
                "__keyspace@0__:k set", "__keyevent@0__:set k", "__keyspace@0__:k expire",
                "__keyevent@0__:expire k",
            ])
        client.run("SELECT", "3")
        client.run("LPUSH", "l", "a")
        #expect(events() == [], "lists were not chosen")
        client.run("DEL", "l")
        #expect(events() == ["__keyspace@3__:l del", "__keyevent@3__:del l"])
    }

    @Test func `nothing is published unless a class and a place were chosen`() {
        for letters in ["", "g$l", "K", "E"] {
            let (_, client, events) = listening(letters)
            client.run("SET", "k", "v")
            #expect(events() == [], "\(letters)")
        }
    }

    @Test func `a key that begins to exist, and one that is missed`() {
        let (_, client, events) = listening("Eg$nm")
        client.run("GET", "k")
        client.run("SET", "k", "v")
        client.run("SET", "k", "w")
        client.run("EXISTS", "k", "none")
        client.run("OBJECT", "ENCODING", "none")
        #expect(
            events() == [
                "__keyevent@0__:keymiss k", "__keyevent@0__:new k", "__keyevent@0__:set k",
                "__keyevent@0__:set k", "__keyevent@0__:keymiss none",
            ])
    }

    @Test func `expiry is announced on access and by the cycle, in order of deadline`() {
        let (server, client, events) = listening("Ex")
        client.run("SET", "met", "v", "PX", "10")
        server.time.advance(milliseconds: 11)
        client.run("GET", "met")
        #expect(events() == ["__keyevent@0__:expired met"])
        // Three keys of one shard, in order of deadline.
        let keys = (0..<1000).map { "k\($0)" }.filter { name in
            name.withView { name in
                unsafe server.state.keyspace.pointee.shardIndex(
                    server.state.keyspace.pointee.key(name).hash) == 0
            }
        }.prefix(3)
        for number in [2, 0, 1] {
            client.run("SET", keys[number], "v", "PX", "\(number * 10 + 10)")
        }
        server.time.advance(milliseconds: 100)
        server.reclaimExpired()
        server.deliverMessages()
        #expect(events() == keys.map { "__keyevent@0__:expired \($0)" })
    }

    @Test func `a key set with a deadline in the past has a short life, all of it announced`() {
        let (_, client, events) = listening("Eg$lshzxetd")
        client.run("SET", "k", "v", "PXAT", "1")
        #expect(
            events() == ["set", "expire", "expired"].map { "__keyevent@0__:\($0) k" })
        client.run("SET", "k", "v")
        client.run("SET", "k", "w", "EXAT", "1")
        #expect(events().last == "__keyevent@0__:expired k")
        #expect(client.run("EXISTS", "k") == .integer(0))
    }

    @Test func `who is served while waiting is announced behind what served it`() {
        let (server, client, events) = listening("Eg$lshzxetd")
        let waiter = server.client()
        waiter.send(
            HarnessClient.request(["BLMOVE", "a", "b", "LEFT", "LEFT", "0"].map { Array($0.utf8) }))
        client.run("RPUSH", "a", "x")
        #expect(
            events() == [
                "__keyevent@0__:rpush a", "__keyevent@0__:lpush b", "__keyevent@0__:lpop a",
                "__keyevent@0__:del a",
            ])
    }

    @Test func `looking is no change: a missed key that is watched does not abort`() {
        let (_, client, events) = listening("Em")
        client.run("WATCH", "k")
        client.run("GET", "k")
        client.run("MULTI")
        client.run("PING")
        #expect(client.run("EXEC") == .array([.simple("PONG")]))
        #expect(events() == ["__keyevent@0__:keymiss k"])
    }
}
