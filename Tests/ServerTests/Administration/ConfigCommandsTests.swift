//  CONFIG as clients use it, and that what is set has its effect.

import MartletBase
import MartletEngine
import Testing

@testable import MartletServer

struct ConfigCommandsTests {
    @Test func `GET answers a map of what the patterns match`() throws {
        let server = try AdministrationHarness()
        let old = server.client()
        let new = server.client(isRESP3: true)
        #expect(old.run("CONFIG", "GET", "maxmemory") == "*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n")
        #expect(new.run("CONFIG", "GET", "maxmemory") == "%1\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n")
        #expect(
            texts(old.run("CONFIG", "GET", "slowlog-log-slower-*", "timeout"))
                == ["timeout", "0", "slowlog-log-slower-than", "10000"])
        #expect(old.run("CONFIG", "GET", "nosuch") == "*0\r\n")
    }

    @Test func `wrong requests get Redis' errors`() throws {
        let client = try AdministrationHarness().client()
        #expect(
            client.run("CONFIG", "GET")
                == "-ERR wrong number of arguments for 'config|get' command\r\n")
        #expect(
            client.run("CONFIG", "SET", "a", "b")
                == "-ERR Unknown option or number of arguments for CONFIG SET - 'a'\r\n")
        #expect(client.run("CONFIG", "SET", "maxmemory", "1", "foo") == "-ERR syntax error\r\n")
        #expect(
            client.run("CONFIG", "FOO") == "-ERR unknown subcommand 'FOO'. Try CONFIG HELP.\r\n")
        #expect(
            client.run("CONFIG", "REWRITE")
                == "-ERR The server is running without a config file\r\n")
    }

    @Test func `SET of several parameters changes all of them or none`() throws {
        let client = try AdministrationHarness().client()
        #expect(
            client.run("CONFIG", "SET", "maxmemory", "1mb", "timeout", "nope").hasPrefix("-ERR"))
        #expect(texts(client.run("CONFIG", "GET", "maxmemory")) == ["maxmemory", "0"])
        #expect(client.run("CONFIG", "SET", "maxmemory", "1mb", "timeout", "7") == "+OK\r\n")
        #expect(texts(client.run("CONFIG", "GET", "maxmemory")) == ["maxmemory", "1048576"])
    }

    @Test func `a new password is asked of new connections, the slow log does not show it`() throws
    {
        let server = try AdministrationHarness("slowlog-log-slower-than 0")
        let client = server.client()
        #expect(client.run("CONFIG", "SET", "requirepass", "sekret") == "+OK\r\n")
        #expect(server.context.state.password.isRequired)
        #expect(client.run("PING") == "+PONG\r\n")
        let log = client.run("SLOWLOG", "GET", "-1")
        #expect(log.contains("requirepass"))
        #expect(log.contains("(redacted)"))
        #expect(!log.contains("sekret"))
    }

    @Test func `a changed slow log threshold holds for the next request`() throws {
        let client = try AdministrationHarness().client()
        // However slow the machine is: nothing is logged from here on.
        client.run("CONFIG", "SET", "slowlog-log-slower-than", "-1")
        client.run("SLOWLOG", "RESET")
        client.run("PING")
        #expect(client.run("SLOWLOG", "LEN") == ":0\r\n")
        client.run("CONFIG", "SET", "slowlog-log-slower-than", "0")
        client.run("PING")
        // On a slow machine CONFIG SET itself may be there too.
        #expect(client.run("SLOWLOG", "GET", "-1").contains("PING"))
        client.run("CONFIG", "SET", "slowlog-log-slower-than", "-1")
        client.run("SLOWLOG", "RESET")
        client.run("PING")
        #expect(client.run("SLOWLOG", "LEN") == ":0\r\n")
    }

    @Test func `a threshold no clock reaches is taken`() throws {
        let client = try AdministrationHarness().client()
        let most = String(Int.max)
        #expect(
            client.run(
                "CONFIG", "SET", "slowlog-log-slower-than", most, "latency-monitor-threshold", most)
                == "+OK\r\n")
        #expect(client.run("PING") == "+PONG\r\n")
    }

    @Test func `above maxmemory writes are refused and reads are served`() throws {
        let client = try AdministrationHarness().client()
        client.run("SET", "k", "v")
        #expect(client.run("CONFIG", "SET", "maxmemory", "1") == "+OK\r\n")
        let refusal = "-OOM command not allowed when used memory > 'maxmemory'.\r\n"
        #expect(client.run("SET", "k", "w") == refusal)
        #expect(client.run("GET", "k") == "$1\r\nv\r\n")
        #expect(client.run("DEL", "k") == ":1\r\n")
        client.run("CONFIG", "SET", "maxmemory", "1gb")
        #expect(client.run("SET", "k", "w") == "+OK\r\n")
    }

    @Test func `memory that was freed counts before the next refusal`() throws {
        let client = try AdministrationHarness().client()
        client.run("SET", "k", String(repeating: "x", count: 100_000))
        let used = try #require(client.info("used_memory").flatMap { Int($0) })
        client.run("CONFIG", "SET", "maxmemory", String(used - 50_000))
        #expect(client.run("SET", "other", "v").hasPrefix("-OOM"))
        client.run("DEL", "k")
        #expect(client.run("SET", "other", "v") == "+OK\r\n")
    }

    @Test func `a transaction that needs memory is discarded whole when there is none`() throws {
        let client = try AdministrationHarness().client()
        client.run("MULTI")
        client.run("SET", "k", "v")
        client.run("CONFIG", "SET", "maxmemory", "1")
        let other = client.run("EXEC")
        #expect(other.contains("+OK"))
        client.run("MULTI")
        #expect(client.run("SET", "k", "w").hasPrefix("-OOM"))
        #expect(client.run("EXEC").hasPrefix("-EXECABORT"))
        #expect(client.run("GET", "k") == "$1\r\nv\r\n")
    }

    @Test func `latencies are not shown while tracking is off, nor those of that time later`()
        throws
    {
        let client = try AdministrationHarness().client()
        client.run("PING")
        #expect(client.run("LATENCY", "HISTOGRAM", "ping") != "*0\r\n")
        client.run("CONFIG", "SET", "latency-tracking", "no")
        client.run("PING")
        #expect(client.run("LATENCY", "HISTOGRAM", "ping") == "*0\r\n")
        #expect(client.info("latency_percentiles_usec_ping") == nil)
        client.run("CONFIG", "SET", "latency-tracking", "yes")
        #expect(client.run("LATENCY", "HISTOGRAM", "ping") == "*0\r\n")
        client.run("PING")
        #expect(texts(client.run("LATENCY", "HISTOGRAM", "ping"))[2] == ":1")
    }

    @Test func `RESETSTAT forgets counts but not the data`() throws {
        let client = try AdministrationHarness().client()
        client.run("SET", "k", "v")
        client.run("GET", "k")
        client.run("GET", "missing")
        client.run("NOSUCH")
        #expect(client.info("keyspace_hits") == "1")
        #expect(client.info("keyspace_misses") == "1")
        #expect(client.info("total_error_replies") == "1")
        #expect(client.run("CONFIG", "RESETSTAT") == "+OK\r\n")
        #expect(client.info("keyspace_hits") == "0")
        #expect(client.info("total_error_replies") == "0")
        #expect(client.info("errorstat_ERR") == nil)
        #expect(client.info("cmdstat_set") == nil)
        #expect(client.info("rdb_changes_since_last_save") == "1")
        #expect(client.info("db0") == "keys=1,expires=0,avg_ttl=0,subexpiry=0")
    }

    @Test func `administration runs inside a transaction, which may hold shards`() throws {
        let client = try AdministrationHarness().client()
        client.run("MULTI")
        client.run("SET", "k", "v")
        for command in ["INFO", "ROLE"] { client.run(command) }
        client.run("CONFIG", "SET", "maxmemory", "1gb", "timeout", "3")
        client.run("CONFIG", "RESETSTAT")
        client.run("MEMORY", "STATS")
        client.run("CLUSTER", "COUNTKEYSINSLOT", "1")
        let replies = client.run("EXEC")
        #expect(replies.hasPrefix("*7\r\n+OK\r\n"))
        #expect(replies.contains("db0:keys=1"))
    }
}
