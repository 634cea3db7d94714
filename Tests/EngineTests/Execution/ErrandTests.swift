//  Commands that go on outside: one step for everybody else, and the claim always ends.

import MartletBase
import Testing

@testable import MartletEngine

/// Errands that are out, for a test to bring home.
private final class Outside: @unchecked Sendable {
    // Unchecked: tests have one thread.
    var errands: [Errand] = []

    /// `FETCH key ...` deletes its keys when it comes back, and replies how many there were.
    var group: CommandGroup {
        [
            Command(
                "FETCH", since: "1.0.0", group: .generic, syntax: "key [key ...]",
                summary: "Deletes keys, later.", arity: .atLeast(2),
                keys: [
                    KeySpec(
                        first: 1,
                        find: .listed(keyword: nil) {
                            $0[1] == ByteView("odd") ? nil : 1..<$0.count
                        },
                        flags: [.readWrite, .delete])
                ],
                access: .write, traits: [.goesOut, .noMulti]
            ) { [self] (call) throws(CommandError) in
                if call.arguments[1] == ByteView("odd") { throw .syntax }
                let names = (1..<call.arguments.count).map { Bytes(call.arguments[$0]) }
                return call.goOut {
                    self.errands.append($0)
                } end: { call in
                    var count = 0
                    for name in names {
                        name.withView { bytes in
                            let key = call.keyspace.key(bytes)
                            guard call.keyspace.remove(key) else { return }
                            call.keyspace.record(.del, key)
                            count += 1
                        }
                    }
                    call.reply.integer(count)
                }
            }
        ]
    }
}

@Suite struct ErrandTests {
    private let outside = Outside()
    private let server: CommandHarness

    init() { server = CommandHarness(groups: EngineCommands.groups + [outside.group]) }

    private func request(_ line: String) -> [UInt8] {
        HarnessClient.request(line.split(separator: " ").map { Array($0.utf8) })
    }

    /// A client that has sent a request and got no reply.
    private func waiting(_ line: String) -> HarnessClient {
        let client = server.client()
        client.send(request(line))
        #expect(client.replies().isEmpty, "\(line)")
        return client
    }

    private func bringHome() {
        guard !outside.errands.isEmpty else { return #expect(Bool(false), "nobody is out") }
        server.conclude(outside.errands.removeFirst())
    }

    private func reply(_ client: HarnessClient) -> Reply? {
        client.resume()
        return client.replies().first
    }

    @Test func `who asks for its keys waits, and finds them changed`() {
        let client = server.client()
        client.run("MSET", "a", "1", "b", "2")
        let fetching = waiting("FETCH a b")
        #expect(outside.errands.count == 1)
        let reader = waiting("GET a")
        let writer = waiting("SETNX b 3")
        let counter = waiting("DBSIZE")
        bringHome()
        #expect(fetching.endWait() == .integer(2))
        #expect(reply(reader) == .null)
        #expect(reply(writer) == .integer(1))
        #expect(reply(counter) == .integer(1))
        #expect(server.state.claimLine.waitingCount == 0)
    }

    @Test func `errands go out one after the other, in order of arrival`() {
        server.client().run("MSET", "a", "1", "b", "2", "c", "3")
        let first = waiting("FETCH a")
        let second = waiting("FETCH b")
        let third = waiting("FETCH c")
        #expect(outside.errands.count == 1)
        bringHome()
        #expect(first.endWait() == .integer(1))
        // The third is woken first, and must let the second go ahead.
        third.resume()
        #expect(outside.errands.isEmpty)
        second.resume()
        third.resume()
        #expect(outside.errands.count == 1)
        bringHome()
        #expect(second.endWait() == .integer(1))
        third.resume()
        bringHome()
        #expect(third.endWait() == .integer(1))
        #expect(server.client().run("DBSIZE") == .integer(0))
    }

    @Test func `one that does not go out leaves no claim`() {
        let client = server.client()
        #expect(client.run("FETCH", "odd") == .error("ERR syntax error"))
        #expect(client.run("SET", "odd", "1") == .simple("OK"))
        client.run("MULTI")
        #expect(
            client.run("FETCH", "a") == .error("ERR Command not allowed inside a transaction"))
        client.run("DISCARD")
        let fetching = waiting("FETCH odd2")
        bringHome()
        #expect(fetching.endWait() == .integer(0))
    }

    @Test func `a client that goes leaves its errand to end`() {
        server.client().run("SET", "a", "1")
        _ = waiting("FETCH a")
        let reader = waiting("GET a")
        bringHome()
        #expect(reply(reader) == .null)
        #expect(server.state.waiting.clients == 0)
    }

    @Test func `one in line that goes lets the next go out`() {
        server.client().run("MSET", "a", "1", "b", "2", "c", "3")
        let first = waiting("FETCH a")
        var second: HarnessClient? = waiting("FETCH b")
        let third = waiting("FETCH c")
        bringHome()
        #expect(first.endWait() == .integer(1))
        third.resume()
        #expect(outside.errands.isEmpty && second != nil)
        second = nil
        third.resume()
        #expect(outside.errands.count == 1)
        bringHome()
        #expect(third.endWait() == .integer(1))
    }

    @Test func `what an errand writes is watched, and counts as a change`() {
        let client = server.client()
        client.run("SET", "a", "1")
        let watcher = server.client()
        watcher.run("WATCH", "a")
        watcher.run("MULTI")
        watcher.run("PING")
        let before = server.changes
        let fetching = waiting("FETCH a")
        #expect(server.changes == before)
        bringHome()
        #expect(fetching.endWait() == .integer(1))
        #expect(server.changes == before + 1)
        #expect(watcher.run("EXEC") == .null)
    }

    @Test func `a server that ends waits for no errand`() {
        server.client().run("SET", "a", "1")
        _ = waiting("FETCH a")
        server.state.abandonErrands()
        #expect(server.client().run("GET", "a") == .bulk("1"))
    }
}
