//  Scripts: their replies, their isolation, and what is left when they end. Replies were recorded from
//  redis-server 8.2.3.

import MartletBase
import Testing

@testable import MartletEngine

@Suite struct ScriptTests {
    /// Two keys that lie in different shards.
    private func keys(_ server: CommandHarness) -> (String, String) {
        func shard(_ key: String) -> Int {
            unsafe server.state.keyspace.pointee.shardIndex(
                key.withView { unsafe server.state.keyspace.pointee.hashKey.hash($0) })
        }
        let other = (0...).lazy.map { "other\($0)" }.first { shard($0) != shard("key") }
        return ("key", other ?? "")
    }

    // MARK: Values

    @Test func `values become replies by the rules of Redis`() {
        let server = CommandHarness()
        let client = server.client()
        let script = "return {1, 2.9, 'text', true, false, {ok='fine'}, {1, {2}}, nil, 9}"
        #expect(
            client.runToEnd("EVAL", script, "0")
                == .array([
                    .integer(1), .integer(2), .bulk("text"), .integer(1), .null, .simple("fine"),
                    .array([.integer(1), .array([.integer(2)])]),
                ]))
        #expect(client.runToEnd("EVAL", "return", "0") == .null)
        #expect(client.runToEnd("EVAL", "return 1, 2", "0") == .integer(1))
        #expect(client.runToEnd("EVAL", "return {err='MY text'}", "0") == .error("MY text"))
        #expect(client.runToEnd("EVAL", "return {double=1.5}", "0") == .bulk("1.5"))
        #expect(
            client.runToEnd(
                "EVAL", "return {#KEYS, #ARGV, KEYS[2], ARGV[1]}", "2", "a", "b", "c")
                == .array([.integer(2), .integer(1), .bulk("b"), .bulk("c")]))
    }

    @Test func `types of RESP3 pass through a script`() {
        let server = CommandHarness()
        let client = server.client(isRESP3: true)
        client.run("HSET", "h", "f", "v")
        let script = "redis.setresp(3) return redis.call('HGETALL', KEYS[1])"
        #expect(client.runToEnd("EVAL", script, "1", "h") == .map([.bulk("f"), .bulk("v")]))
        #expect(client.runToEnd("EVAL", "redis.setresp(3) return true", "0") == .boolean(true))
        #expect(client.runToEnd("EVAL", "return true", "0") == .integer(1))
        #expect(client.runToEnd("EVAL", "return {double=0.1}", "0") == .double("0.1"))
        #expect(client.runToEnd("EVAL", "return {big_number='12'}", "0") == .bigNumber("12"))
        #expect(client.runToEnd("EVAL", "return {set={a=true}}", "0") == .set([.bulk("a")]))
    }

    @Test func `no text of a script breaks the framing`() {
        let server = CommandHarness()
        let client = server.client()
        #expect(client.runToEnd("EVAL", "return {ok='a\\r\\n:1'}", "0") == .simple("a  :1"))
        #expect(client.runToEnd("EVAL", "return {err='a\\r\\n:1'}", "0") == .error("a  :1"))
        #expect(client.runToEnd("EVAL", "return {ok='a\\0b'}", "0") == .simple("a"))
        client.speakRESP3()
        #expect(
            client.runToEnd("EVAL", "return {big_number='1\\r\\n:1'}", "0")
                == .bigNumber("1  :1"))
        let verbatim = "return {verbatim_string={format='\\r\\n', string='x'}}"
        #expect(
            client.runToEnd("EVAL", verbatim, "0") == .verbatim(format: "   ", Array("x".utf8)))
    }

    // MARK: Errors

    @Test func `an error names script and line, and is counted once`() {
        let server = CommandHarness()
        let client = server.client()
        client.run("LPUSH", "list", "a")
        let script = "local a = 1\nlocal b = redis.call('INCR', KEYS[1])\nreturn b"
        let digits = script.withView { String(decoding: sha1Digits($0), as: UTF8.self) }
        #expect(
            client.runToEnd("EVAL", script, "1", "list")
                == .error(
                    "WRONGTYPE Operation against a key holding the wrong kind of value "
                        + "script: \(digits), on @user_script:2."))
        #expect(server.state.statistics[0].errors() == ["WRONGTYPE": 1])
        #expect(
            client.runToEnd("EVAL", "local e = redis.pcall('INCR', 'list') return e.err", "0")
                == .bulk("WRONGTYPE Operation against a key holding the wrong kind of value"))
    }

    @Test func `commands that do not belong into a script are refused`() {
        let server = CommandHarness()
        let client = server.client()
        for command in ["MULTI", "WATCH', 'k", "SUBSCRIBE', 'c", "EVAL', 'return 1', '0"] {
            let reply = client.runToEnd("EVAL", "return redis.pcall('\(command)')", "0")
            #expect(reply == .error("ERR This Redis command is not allowed from script"))
        }
        #expect(client.runToEnd("EVAL", "return redis.call('BLPOP', 'k', '0')", "0") == .null)
        let write = "return redis.pcall('SET', 'k', '1')"
        #expect(
            client.runToEnd("EVAL_RO", write, "0")
                == .error("ERR Write commands are not allowed from read-only scripts."))
        #expect(client.run("EXISTS", "k") == .integer(0))
    }

    // MARK: What is held

    @Test func `a script that outlasts its slice lets others run, on what it has not claimed`() {
        let server = CommandHarness()
        let (key, other) = keys(server)
        let client = server.client()
        let script =
            "redis.call('SET', KEYS[1], 1) for i = 1, 3e7 do end "
            + "return redis.call('INCR', KEYS[1])"
        client.send(
            HarnessClient.request(["EVAL", script, "1", key].map { Array($0.utf8) }))
        #expect(client.wait?.outcome == .waiting)
        #expect(server.client().run("SET", other, "1") == .simple("OK"))
        let reader = server.client()
        reader.send(HarnessClient.request(["GET", key].map { Array($0.utf8) }))
        #expect(reader.isParked)
        #expect(server.client().run("SCRIPT", "KILL")?.text?.hasPrefix("UNKILLABLE") == true)
        #expect(client.finishRest() == .integer(2))
        reader.resume()
        #expect(reader.replies() == [.bulk("2")])
        #expect(server.state.claimLine.waitingCount == 0)
    }

    @Test func `who is refused after having waited holds nobody up`() {
        let server = CommandHarness()
        let (key, _) = keys(server)
        let script = "redis.call('SET', KEYS[1], 1) for i = 1, 3e7 do end return 1"
        let client = server.client()
        client.send(HarnessClient.request(["EVAL", script, "1", key].map { Array($0.utf8) }))
        let waiting = server.client()
        waiting.send(HarnessClient.request(["INCR", key].map { Array($0.utf8) }))
        #expect(waiting.isParked)
        #expect(client.finishRest() == .integer(1))
        server.state.set(.loading, true)
        waiting.resume()
        #expect(waiting.replies().first?.text?.hasPrefix("LOADING") == true)
        server.state.set(.loading, false)
        #expect(server.state.claimLine.waitingCount == 0)
        #expect(server.client().runToEnd("EVAL", "return 2", "0") == .integer(2))
    }

    @Test func `keys that were not declared are as safe`() {
        let server = CommandHarness()
        let (key, other) = keys(server)
        let script =
            "redis.call('SET', KEYS[1], 1) redis.call('SET', '\(other)', 2) "
            + "return redis.call('MGET', KEYS[1], '\(other)')"
        #expect(
            server.client().runToEnd("EVAL", script, "1", key)
                == .array([.bulk("1"), .bulk("2")]))
        #expect(
            server.client().runToEnd("EVAL", "return #redis.call('KEYS', '*')", "0")
                == .integer(2))
        #expect(server.client().run("GET", other) == .bulk("2"))
        let isBusy = server.state.claimLine.isBusy.load(ordering: .relaxed)
        #expect(!isBusy)
    }

    @Test func `a killed script ends, and so does one whose client is gone`() {
        let server = CommandHarness()
        let client = server.client()
        let endless = HarnessClient.request(
            ["EVAL", "while true do end", "1", "key"].map { Array($0.utf8) })
        client.send(endless)
        server.continueScript()
        #expect(server.client().run("SCRIPT", "KILL") == .simple("OK"))
        #expect(
            client.finishRest()?.text?.hasPrefix(
                "ERR Script killed by user with SCRIPT KILL. script: ") == true)
        #expect(
            server.client().run("SCRIPT", "KILL")
                == .error("NOTBUSY No scripts in execution right now."))

        do {
            let gone = server.client()
            gone.send(
                HarnessClient.request(
                    [
                        "EVAL", "for i = 1, 1e7 do end redis.call('SET', KEYS[1], 'done')", "1",
                        "key",
                    ]
                    .map { Array($0.utf8) }))
            #expect(gone.wait?.outcome == .waiting)
        }
        for _ in 0..<10_000 where server.state.claimLine.isBusy.load(ordering: .relaxed) {
            server.continueScript()
        }
        #expect(server.client().run("GET", "key") == .bulk("done"))
    }

    @Test func `who waits for a script that runs too long is told`() {
        let server = CommandHarness()
        server.state.settings.busyMilliseconds.store(100, ordering: .relaxed)
        let client = server.client()
        client.send(
            HarnessClient.request(["EVAL", "while true do end", "1", "key"].map { Array($0.utf8) }))
        let waiting = server.client()
        waiting.send(HarnessClient.request(["GET", "key"].map { Array($0.utf8) }))
        #expect(waiting.isParked)
        server.time.advance(milliseconds: 200)
        server.continueScript()
        waiting.resume()
        let busy =
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
        #expect(waiting.replies() == [.error(busy)])
        #expect(waiting.run("EVAL", "return 1", "0") == .error(busy))
        #expect(waiting.run("PING") == .simple("PONG"))
        waiting.run("SCRIPT", "KILL")
        _ = client.finishRest()
        #expect(waiting.run("GET", "key") == .null)
    }

    // MARK: Transactions

    @Test func `scripts run in a transaction, long ones too`() {
        let server = CommandHarness()
        let client = server.client()
        client.run("MULTI")
        client.run("SET", "key", "1")
        client.run("EVAL", "for i = 1, 1e7 do end return redis.call('INCR', KEYS[1])", "1", "key")
        client.run("EVAL", "error('x')", "0")
        client.run("INCR", "key")
        client.send(HarnessClient.request([Array("EXEC".utf8)]))
        #expect(client.wait?.outcome == .waiting)
        guard case .array(let replies) = client.finishRest() else {
            return #expect(Bool(false), "EXEC replies with an array")
        }
        #expect(replies.count == 4 && replies[0] == .simple("OK") && replies[1] == .integer(2))
        #expect(replies[2].text?.hasPrefix("ERR user_script:1: x script: ") == true)
        #expect(replies[3] == .integer(3))
        #expect(client.run("GET", "key") == .bulk("3"))
        #expect(client.run("EXEC") == .error("ERR EXEC without MULTI"))
    }

    @Test func `a script touches watched keys and serves those who wait`() {
        let server = CommandHarness()
        let watcher = server.client()
        watcher.run("WATCH", "key")
        let waiting = server.client()
        waiting.send(HarnessClient.request(["BLPOP", "list", "0"].map { Array($0.utf8) }))
        let script =
            "redis.call('SET', KEYS[1], 1) redis.call('RPUSH', KEYS[2], 'a', 'b') "
            + "return redis.call('LLEN', KEYS[2])"
        #expect(server.client().runToEnd("EVAL", script, "2", "key", "list") == .integer(2))
        #expect(waiting.wait?.outcome == .served)
        #expect(waiting.endWait() == .array([.bulk("list"), .bulk("a")]))
        watcher.run("MULTI")
        #expect(watcher.run("EXEC") == .null)
    }

    // MARK: The cache

    @Test func `scripts are found by their name, in any case`() {
        let server = CommandHarness()
        let client = server.client()
        let loaded = client.run("SCRIPT", "LOAD", "return ARGV[1]")
        guard case .bulk(let digits) = loaded else { return #expect(Bool(false)) }
        let name = String(decoding: digits, as: UTF8.self)
        #expect(client.runToEnd("EVALSHA", name, "0", "a") == .bulk("a"))
        #expect(client.runToEnd("EVALSHA", name.uppercased(), "0", "b") == .bulk("b"))
        #expect(client.run("SCRIPT", "SHOW", name) == .bulk("return ARGV[1]"))
        #expect(
            client.run("SCRIPT", "EXISTS", name, "x") == .array([.integer(1), .integer(0)]))
        #expect(client.run("SCRIPT", "FLUSH") == .simple("OK"))
        #expect(
            client.runToEnd("EVALSHA", name, "0")
                == .error("NOSCRIPT No matching script. Please use EVAL."))
    }

    @Test func `of many scripts of EVAL those used last are kept, loaded ones always`() {
        let server = CommandHarness()
        let client = server.client()
        guard case .bulk(let digits) = client.run("SCRIPT", "LOAD", "return 'kept'") else {
            return #expect(Bool(false))
        }
        for number in 0..<(ScriptCache.evaluatedMax + 10) {
            #expect(client.runToEnd("EVAL", "return \(number)", "0") == .integer(Int64(number)))
            _ = client.runToEnd("EVAL", "return 0", "0")
        }
        #expect(server.state.scripts.report.scriptCount == ScriptCache.evaluatedMax + 1)
        let evicted = server.state.scripts.evictedCount.load(ordering: .relaxed)
        #expect(evicted == 10)
        let name = String(decoding: digits, as: UTF8.self)
        #expect(client.runToEnd("EVALSHA", name, "0") == .bulk("kept"))
        let first = "return 1".withView { String(decoding: sha1Digits($0), as: UTF8.self) }
        let zero = "return 0".withView { String(decoding: sha1Digits($0), as: UTF8.self) }
        #expect(
            client.run("SCRIPT", "EXISTS", first, zero) == .array([.integer(0), .integer(1)]))
    }
}
