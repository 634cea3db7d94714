//  INFO: which sections, in which form, and that numbers are what happened.

import MartletEngine
import Testing

@testable import MartletServer

struct InfoTests {
    private func sections(_ text: String) -> [String] {
        text.split(separator: "\r\n").filter { $0.hasPrefix("# ") }.map { String($0.dropFirst(2)) }
    }

    @Test func `sections are the usual ones, or those asked for, in their order`() throws {
        let client = try AdministrationHarness().client()
        let usual = [
            "Server", "Clients", "Memory", "Persistence", "Stats", "Replication", "CPU", "Modules",
            "Errorstats", "Cluster", "Keyspace",
        ]
        let all = [
            "Server", "Clients", "Memory", "Persistence", "Stats", "Replication", "CPU", "Modules",
            "Commandstats", "Errorstats", "Latencystats", "Cluster", "Keyspace",
        ]
        #expect(sections(client.run("INFO")) == usual)
        #expect(sections(client.run("INFO", "default")) == usual)
        #expect(sections(client.run("INFO", "all")) == all)
        #expect(sections(client.run("INFO", "Everything")) == all)
        #expect(sections(client.run("INFO", "cpu", "SERVER", "cpu")) == ["Server", "CPU"])
        #expect(client.run("INFO", "nosuch") == "$0\r\n\r\n")
    }

    @Test func `the text is verbatim in RESP3 and a bulk string in RESP2`() throws {
        let server = try AdministrationHarness()
        let text = "# Cluster\r\ncluster_enabled:0\r\n"
        #expect(server.client().run("INFO", "cluster") == "$30\r\n\(text)\r\n")
        #expect(server.client(isRESP3: true).run("INFO", "cluster") == "=34\r\ntxt:\(text)\r\n")
    }

    @Test func `every line is a field, a title or empty`() throws {
        let client = try AdministrationHarness().client()
        client.run("SET", "k", "v")
        for line in client.run("INFO", "everything").split(
            separator: "\r\n", omittingEmptySubsequences: false
        ).dropFirst() {
            #expect(line.isEmpty || line.hasPrefix("# ") || line.contains(":"), "\(line)")
        }
    }

    @Test func `keys are counted with their deadlines`() throws {
        let server = try AdministrationHarness()
        let client = server.client()
        client.run("SET", "a", "1")
        client.run("SET", "b", "2", "PX", "1000")
        client.run("SET", "c", "3", "PX", "3000")
        #expect(client.info("db0") == "keys=3,expires=2,avg_ttl=2000,subexpiry=0")
        client.run("SELECT", "3")
        client.run("SET", "a", "1")
        #expect(client.info("db3") == "keys=1,expires=0,avg_ttl=0,subexpiry=0")
        #expect(client.info("db1") == nil)
        server.time.advance(milliseconds: 1500)
        client.run("SELECT", "0")
        client.run("GET", "b")
        #expect(client.info("expired_keys") == "1")
    }

    @Test func `calls, failures and refusals are counted by command`() throws {
        let client = try AdministrationHarness().client()
        client.run("SET", "k", "v")
        client.run("INCR", "k")
        client.run("GET")
        client.run("CONFIG", "GET", "port")
        #expect(try #require(client.info("cmdstat_set")).hasPrefix("calls=1,usec="))
        #expect(try #require(client.info("cmdstat_incr")).hasSuffix("failed_calls=1"))
        #expect(try #require(client.info("cmdstat_get")).contains("rejected_calls=1"))
        #expect(client.info("cmdstat_config|get") != nil)
        #expect(client.info("errorstat_ERR") == "count=2")
    }

    @Test func `memory grows with the data and is given back`() throws {
        let client = try AdministrationHarness().client()
        func used() throws -> Int {
            try #require(client.info("used_memory", section: "memory").flatMap { Int($0) })
        }
        let before = try used()
        client.run("SET", "k", String(repeating: "x", count: 1_000_000))
        let full = try used()
        #expect((1_000_000...1_010_000).contains(full - before))
        client.run("DEL", "k")
        #expect(try used() - before < 10_000)
        #expect(client.info("used_memory_peak").flatMap { Int($0) } == full)
    }

    @Test func `numbers are written with the decimals of Redis`() {
        #expect(decimal(0, 2) == "0.00")
        #expect(decimal(1.005, 6) == "1.005000")
        #expect(decimal(-0.001, 2) == "0.00")
        #expect(decimal(-12.5, 1) == "-12.5")
        #expect(decimal(3.999, 2) == "4.00")
        #expect(decimal(7, 0) == "7")
        #expect(readable(bytes: 0) == "0B")
        #expect(readable(bytes: 1023) == "1023B")
        #expect(readable(bytes: 916_496) == "895.02K")
        #expect(readable(bytes: 25_276_514_304) == "23.54G")
    }

    @Test func `rates are means over the last samples`() throws {
        let server = try AdministrationHarness()
        let client = server.client()
        let cron = server.context.cron
        var now: Int64 = 1_700_000_000_000
        cron.tick(server.context, nowMilliseconds: now)
        for _ in 0..<20 {
            for _ in 0..<5 { client.run("PING") }
            now += 100
            cron.tick(server.context, nowMilliseconds: now)
        }
        #expect(Int(cron.rates.commands.rounded()) == 50)
        // Called more often it changes nothing.
        client.run("PING")
        cron.tick(server.context, nowMilliseconds: now + 99)
        #expect(Int(cron.rates.commands.rounded()) == 50)
    }
}
