//  Claims and the line: nobody sleeps, nobody starves, nothing is torn.

import MartletBase
import Synchronization
import Testing

@testable import MartletEngine

/// Somebody who claims, as a script will.
private struct Claimant {
    let server: CommandHarness
    var place: UInt64 = 0

    init(_ server: CommandHarness) { self.server = server }

    /// Begins a claim; nil when it must wait.
    mutating func begin() -> Claim? { server.state.beginClaim(&place) }

    /// Whether it has to stand in line.
    mutating func waits() -> Bool {
        guard let claim = begin() else { return true }
        server.state.end(claim)
        return false
    }

    /// The shard of a key.
    func shard(_ key: String) -> Int {
        unsafe server.state.keyspace.pointee.shardIndex(
            key.withView { unsafe server.state.keyspace.pointee.hashKey.hash($0) })
    }
}

private func request(_ line: String) -> [UInt8] {
    HarnessClient.request(line.split(separator: " ").map { Array($0.utf8) })
}

@Suite struct ClaimTests {
    /// Keys of the test that lie in different shards.
    private static func keys(_ server: CommandHarness, count: Int) -> [String] {
        let claimant = Claimant(server)
        var keys: [String] = []
        var shards: Set<Int> = []
        var number = 0
        while keys.count < count {
            number += 1
            let key = "k\(number)"
            if shards.insert(claimant.shard(key)).inserted { keys.append(key) }
        }
        return keys
    }

    @Test func `a command that meets a claim waits, others run`() {
        let server = CommandHarness()
        let keys = Self.keys(server, count: 3)
        var claimant = Claimant(server)
        guard var claim = claimant.begin() else { return #expect(Bool(false)) }
        server.state.add(claimant.shard(keys[0]), to: &claim)
        server.state.add(claimant.shard(keys[0]), to: &claim)

        #expect(server.client().run("SET", keys[1], "1") == .simple("OK"))
        #expect(server.client().run("MSET", keys[1], "1", keys[2], "2") == .simple("OK"))
        #expect(server.client().run("PING") == .simple("PONG"))
        let waiting = [
            "GET \(keys[0])", "SET \(keys[0]) 1", "MGET \(keys[1]) \(keys[0])", "DBSIZE",
            "FLUSHALL",
        ].map { line in
            let client = server.client()
            client.send(request(line))
            #expect(client.isParked, "\(line)")
            return client
        }
        let inTransaction = server.client()
        inTransaction.run("MULTI")
        inTransaction.run("INCR", keys[0])
        inTransaction.send(request("EXEC"))
        #expect(inTransaction.isParked)
        #expect(server.state.claimLine.waitingCount == 6)
        // Whoever tries too early keeps its place.
        waiting[0].resume()
        #expect(waiting[0].isParked && server.state.claimLine.waitingCount == 6)

        let before = server.state.releaseCount.load(ordering: .relaxed)
        server.state.end(claim)
        #expect(server.state.releaseCount.load(ordering: .relaxed) > before)
        let replies = waiting.map { client -> Reply? in
            client.resume()
            return client.replies().first
        }
        #expect(
            replies == [
                .null, .simple("OK"), .array([.bulk("1"), .bulk("1")]), .integer(3), .simple("OK"),
            ])
        inTransaction.resume()
        #expect(inTransaction.replies() == [.array([.integer(1)])])
        #expect(server.state.claimLine.waitingCount == 0)
    }

    @Test func `claimants run one at a time, in order of arrival`() {
        let server = CommandHarness()
        var first = Claimant(server)
        var second = Claimant(server)
        var third = Claimant(server)
        guard let claim = first.begin() else { return #expect(Bool(false)) }
        do {
            let waits = second.waits()
            #expect(waits)
        }
        do {
            let waits = third.waits()
            #expect(waits)
        }
        do {
            let waits = second.waits()
            #expect(waits)
        }
        server.state.end(claim)
        // The third is woken first, and must let the second go ahead.
        do {
            let waits = third.waits()
            #expect(waits)
        }
        guard let next = second.begin() else { return #expect(Bool(false)) }
        do {
            let waits = third.waits()
            #expect(waits)
        }
        server.state.end(next)
        guard let last = third.begin() else { return #expect(Bool(false)) }
        server.state.end(last)
        #expect(server.state.claimLine.waitingCount == 0)
    }

    @Test func `a command that came before a claimant runs before it`() {
        let server = CommandHarness()
        let key = Self.keys(server, count: 1)[0]
        var first = Claimant(server)
        var second = Claimant(server)
        guard var claim = first.begin() else { return #expect(Bool(false)) }
        server.state.add(first.shard(key), to: &claim)
        let client = server.client()
        client.send(request("INCR \(key)"))
        #expect(client.isParked)
        do {
            let waits = second.waits()
            #expect(waits)
        }
        server.state.end(claim)
        // The claimant is quicker, and waits all the same.
        do {
            let waits = second.waits()
            #expect(waits)
        }
        let before = server.state.releaseCount.load(ordering: .relaxed)
        client.resume()
        #expect(client.replies() == [.integer(1)])
        // Its turn is announced.
        #expect(server.state.releaseCount.load(ordering: .relaxed) > before)
        guard let next = second.begin() else { return #expect(Bool(false)) }
        server.state.end(next)
    }

    @Test func `a command that is closed or paused while it waits does not hold up the line`() {
        let server = CommandHarness()
        let key = Self.keys(server, count: 1)[0]
        for isClosed in [true, false] {
            var first = Claimant(server)
            var second = Claimant(server)
            guard var claim = first.begin() else { return #expect(Bool(false)) }
            server.state.add(first.shard(key), to: &claim)
            var client: HarnessClient? = server.client()
            client?.send(request("INCR \(key)"))
            do {
                let waits = second.waits()
                #expect(waits)
            }
            server.state.end(claim)
            do {
                let waits = second.waits()
                #expect(waits)
            }
            if isClosed {
                client = nil
            } else {
                server.client().run("CLIENT", "PAUSE", "1000", "WRITE")
                client?.resume()
                #expect(client?.isParked == true)
            }
            guard let next = second.begin() else { return #expect(Bool(false)) }
            server.state.end(next)
        }
        server.state.endPause()
    }

    @Test func `a killed client that waits leaves when it comes again`() {
        let server = CommandHarness()
        let key = Self.keys(server, count: 1)[0]
        var first = Claimant(server)
        guard var claim = first.begin() else { return #expect(Bool(false)) }
        server.state.add(first.shard(key), to: &claim)
        do {
            let client = server.client()
            client.send(request("INCR \(key)"))
            client.record.kill()
            client.resume()
            #expect(client.isClosed)
        }
        server.state.end(claim)
        #expect(server.state.claimLine.waitingCount == 0)
    }

    @Test func `the expiry cycle passes claimed shards by`() {
        let server = CommandHarness()
        let key = Self.keys(server, count: 1)[0]
        server.client().run("SET", key, "1", "PX", "10")
        var claimant = Claimant(server)
        guard var claim = claimant.begin() else { return #expect(Bool(false)) }
        server.state.add(claimant.shard(key), to: &claim)
        server.time.advance(milliseconds: 100)
        server.reclaimExpired()
        let shard = claimant.shard(key)
        func keys() -> Int? {
            unsafe server.state.keyspace.pointee.shard(shard).pointee.partition(0)?.pointee.count
        }
        #expect(keys() == 1)
        server.state.end(claim)
        server.time.advance(milliseconds: 100)
        server.reclaimExpired()
        #expect(keys() == 0)
    }
}
