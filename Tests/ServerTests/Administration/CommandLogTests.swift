//  The logs of slow and large commands: what gets in, how it is cut, and the commands that show it.

import MartletBase
import MartletEngine
import Testing

@testable import MartletServer

struct CommandLogTests {
    @Test func `the latest entries come first, the oldest go when there are too many`() {
        let log = CommandLog()
        log.setCountMax(3)
        for number in 0..<10 {
            log.add(
                amount: Int64(number), arguments: [], peer: "", clientName: "", unixSeconds: 0)
        }
        #expect(log.latest(.max).map(\.id) == [9, 8, 7])
        #expect(log.latest(2).map(\.amount) == [9, 8])
        log.reset()
        #expect(log.count == 0)
        log.add(amount: 1, arguments: [], peer: "", clientName: "", unixSeconds: 0)
        #expect(log.latest(.max).map(\.id) == [10])
    }

    @Test func `a log without room stays empty`() {
        let log = CommandLog()
        log.setCountMax(0)
        log.add(amount: 1, arguments: [], peer: "", clientName: "", unixSeconds: 0)
        #expect(log.count == 0)
    }

    @Test func `an entry shows when, how long, what and who`() throws {
        let client = try AdministrationHarness("slowlog-log-slower-than 0").client()
        client.run("CLIENT", "SETNAME", "ann")
        client.run("SLOWLOG", "RESET")
        client.run("SET", "k", "v")
        let entry = client.run("SLOWLOG", "GET", "1")
        let lines = texts(entry)
        #expect(lines[1] == ":1700000000")
        #expect(Array(lines[3...]) == ["SET", "k", "v", "127.0.0.1:50001", "ann"])
    }

    @Test func `long arguments and many of them are cut as in Redis`() throws {
        let client = try AdministrationHarness("slowlog-log-slower-than 0").client()
        client.run("SET", "k", String(repeating: "x", count: 200))
        let value = String(repeating: "x", count: 128) + "... (72 more bytes)"
        #expect(client.run("SLOWLOG", "GET", "1").contains(value))
        client.run("CONFIG", "SET", "slowlog-entry-max-argc", "4")
        client.run("DEL", "a", "b", "c", "d", "e")
        let lines = texts(client.run("SLOWLOG", "GET", "1"))
        #expect(Array(lines[3..<7]) == ["DEL", "a", "b", "... (3 more arguments)"])
    }

    @Test func `secrets and EXEC itself stay out, queued commands get in`() throws {
        let client = try AdministrationHarness("slowlog-log-slower-than 0\nrequirepass p").client()
        client.run("AUTH", "p")
        client.run("MULTI")
        client.run("SET", "k", "v")
        client.run("EXEC")
        let log = client.run("SLOWLOG", "GET", "-1")
        #expect(log.contains("(redacted)"))
        #expect(log.contains("SET"))
        #expect(!log.contains("EXEC"))
    }

    @Test func `wrong counts get Redis' error`() throws {
        let client = try AdministrationHarness().client()
        let error = "-ERR count should be greater than or equal to -1\r\n"
        #expect(client.run("SLOWLOG", "GET", "-2") == error)
        #expect(client.run("SLOWLOG", "GET", "x") == error)
        #expect(client.run("SLOWLOG", "GET", "-1") == "*0\r\n")
        #expect(
            client.run("SLOWLOG", "GET", "1", "2")
                == "-ERR unknown subcommand or wrong number of arguments for 'GET'. "
                + "Try SLOWLOG HELP.\r\n")
    }

    @Test func `large requests and replies have logs of their own`() throws {
        let client = try AdministrationHarness(
            "commandlog-request-larger-than 1000\ncommandlog-reply-larger-than 500"
        ).client()
        client.run("SET", "k", String(repeating: "x", count: 600))
        #expect(client.run("COMMANDLOG", "LEN", "large-request") == ":0\r\n")
        client.run("GET", "k")
        #expect(client.run("COMMANDLOG", "LEN", "LARGE-REPLY") == ":1\r\n")
        client.run("SET", "k", String(repeating: "x", count: 1000))
        let requests = client.run("COMMANDLOG", "GET", "-1", "large-request")
        // *3, $3 SET, $1 k, $1000 and the value.
        #expect(texts(requests)[2] == ":\(4 + 9 + 7 + 7 + 1002)")
        let replies = client.run("COMMANDLOG", "GET", "-1", "large-reply")
        #expect(texts(replies)[2] == ":\(6 + 602)")
        #expect(texts(replies)[3] == "GET")
        #expect(client.run("COMMANDLOG", "RESET", "large-reply") == "+OK\r\n")
        #expect(client.run("COMMANDLOG", "LEN", "large-reply") == ":0\r\n")
        #expect(client.run("COMMANDLOG", "LEN", "large-request") == ":1\r\n")
        #expect(
            client.run("COMMANDLOG", "LEN", "nosuch")
                == "-ERR type should be one of the following: slow, large-request, large-reply\r\n")
    }

    @Test func `a negative size notes nothing`() throws {
        let client = try AdministrationHarness(
            "commandlog-request-larger-than -1\ncommandlog-reply-larger-than -1"
        ).client()
        client.run("SET", "k", String(repeating: "x", count: 2_000_000))
        client.run("GET", "k")
        #expect(client.run("COMMANDLOG", "LEN", "large-request") == ":0\r\n")
        #expect(client.run("COMMANDLOG", "LEN", "large-reply") == ":0\r\n")
    }
}
