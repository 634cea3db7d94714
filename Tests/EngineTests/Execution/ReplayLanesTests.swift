//  A log replayed on one lane or several leaves what the commands left, in their order for every key.

import MartletBase
import Testing

@testable import MartletEngine

@Suite struct ReplayLanesTests {
    private func request(_ words: String...) -> [UInt8] { request(words) }

    private func request(_ words: [String]) -> [UInt8] {
        var bytes = Array("*\(words.count)\r\n".utf8)
        for word in words { bytes += Array("$\(word.utf8.count)\r\n\(word)\r\n".utf8) }
        return bytes
    }

    private func replay(
        _ log: [UInt8], threads: Int, into server: CommandHarness
    ) throws -> LogReplay {
        let replay = LogReplay(
            server.state, server.commands, threads: threads,
            nowMilliseconds: CommandHarness.startMilliseconds)
        try log.withView { bytes throws(LogReplay.Refusal) in try replay.feed(bytes) }
        try replay.finish()
        return replay
    }

    @Test(arguments: [1, 3])
    func `commands of a key keep their order, and those of several keys wait for them`(
        threads: Int
    ) throws {
        let server = CommandHarness()
        var log = request("SELECT", "0")
        for round in 0..<200 {
            for key in 0..<20 { log += request("RPUSH", "l\(key)", "\(round)") }
            if round % 50 == 49 { log += request("RENAME", "l0", "kept\(round)") }
        }
        log += request("SELECT", "2") + request("SET", "other", "1")
        let replay = try replay(log, threads: threads, into: server)
        #expect(replay.errors.count == 0)
        #expect(replay.commandCount == 200 * 20 + 4 + 1)
        let client = server.client()
        for key in 1..<20 {
            #expect(client.run("LINDEX", "l\(key)", "137") == .bulk("137"))
            #expect(client.run("LLEN", "l\(key)") == .integer(200))
        }
        #expect(client.run("LLEN", "kept199") == .integer(50))
        #expect(client.run("EXISTS", "other") == .integer(0))
        client.run("SELECT", "2")
        #expect(client.run("GET", "other") == .bulk("1"))
    }

    @Test func `what was alive then is alive for what followed, whatever its deadline`() throws {
        let server = CommandHarness()
        let log =
            request("SET", "k", "v", "PXAT", "1000") + request("APPEND", "k", "w")
            + request("HSET", "h", "f", "1")
            + request("HPEXPIREAT", "h", "2000", "FIELDS", "1", "f")
            + request("HINCRBY", "h", "f", "1")
        let replay = try replay(log, threads: 1, into: server)
        #expect(replay.errors.count == 0)
        // Now they are over.
        let client = server.client()
        #expect(client.run("EXISTS", "k", "h") == .integer(0))
    }

    @Test(arguments: [1, 3])
    func `what concerns no keys is passed over, and nothing waits`(threads: Int) throws {
        let server = CommandHarness()
        var log = request("SET", "a", "1")
        for words in [
            ["CLIENT", "PAUSE", "100000"], ["MONITOR"], ["SUBSCRIBE", "c"], ["RESET"], ["QUIT"],
            ["CLIENT", "REPLY", "OFF"], ["HELLO", "3"],
        ] {
            log += request(words)
        }
        let passedOver = 7
        for words in [
            ["BLPOP", "none", "0"], ["XREAD", "BLOCK", "0", "STREAMS", "none", "$"],
            ["PFCOUNT", "none"],
        ] {
            log += request(words)
        }
        log += request("MULTI") + request("BRPOP", "none", "0") + request("EXEC")
        for key in 0..<20 { log += request("SET", "k\(key)", "2") }
        let replay = try replay(log, threads: threads, into: server)
        #expect(replay.errors.count == passedOver)
        #expect(replay.errors.first == "ERR 'CLIENT' has no place in a log")
        let client = server.client()
        #expect(client.run("DBSIZE") == .integer(21))
        #expect(server.state.waiting.clients == 0)
    }

    @Test func `transactions are passed through, errors are counted, the unknown is refused`()
        throws
    {
        let server = CommandHarness()
        let log =
            request("MULTI") + request("SET", "a", "x") + request("SET", "b", "y")
            + request("EXEC") + request("INCR", "a")
        let done = try replay(log, threads: 2, into: server)
        #expect(done.errors.count == 1)
        #expect(done.errors.first == "ERR value is not an integer or out of range")
        #expect(server.client().run("MGET", "a", "b") == .array([.bulk("x"), .bulk("y")]))
        #expect(throws: LogReplay.Refusal.self) {
            try replay(request("NOSUCH", "a"), threads: 2, into: server)
        }
        #expect(throws: LogReplay.Refusal.self) {
            try replay(request("SELECT", "99"), threads: 1, into: server)
        }
    }
}
