//  The smaller commands: CLUSTER, MEMORY, MODULE, ROLE, SHUTDOWN, TIME, LASTSAVE, LOLWUT.

import MartletBase
import MartletEngine
import Testing

@testable import MartletServer

struct ServerCommandsTests {
    @Test func `TIME and LASTSAVE read the clock`() throws {
        let server = try AdministrationHarness()
        server.time.advance(nanoseconds: 2_000_345_000)
        let client = server.client()
        #expect(client.run("TIME") == "*2\r\n$10\r\n1700000002\r\n$3\r\n345\r\n")
        #expect(client.run("LASTSAVE") == ":1700000000\r\n")
    }

    @Test func `ROLE and MODULE LIST say that there is nothing beside`() throws {
        let client = try AdministrationHarness().client()
        #expect(client.run("ROLE") == "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n")
        #expect(client.run("MODULE", "LIST") == "*0\r\n")
        #expect(
            client.run("MODULE", "LOAD", "x")
                == "-ERR MODULE LOAD is not available in this version\r\n")
    }

    @Test func `SHUTDOWN asks for the end and answers nothing`() throws {
        let server = try AdministrationHarness()
        let client = server.client()
        for wrong in [["foo"], ["SAVE", "NOSAVE"], ["ABORT", "NOW"]] {
            var arguments = wrong
            let last = arguments.removeLast()
            let reply =
                arguments.isEmpty
                ? client.run("SHUTDOWN", last) : client.run("SHUTDOWN", arguments[0], last)
            #expect(reply == "-ERR syntax error\r\n")
        }
        #expect(client.run("SHUTDOWN", "ABORT") == "-ERR No shutdown in progress.\r\n")
        #expect(server.context.shutdown.wish == nil)
        #expect(client.run("SHUTDOWN", "NOSAVE", "FORCE") == "")
        // It hears of it only when the server goes on.
        #expect(client.next == .block)
        let wish = try #require(server.context.shutdown.wish)
        #expect(!wish.isNow)
        #expect(wish.isForced)
        #expect(wish.saves == false)
    }

    @Test func `MEMORY USAGE counts a key's value`() throws {
        let client = try AdministrationHarness().client()
        client.run("SET", "k", String(repeating: "x", count: 5000))
        let reply = texts(client.run("MEMORY", "USAGE", "k", "SAMPLES", "0"))
        let bytes = try #require(Int(reply[0].dropFirst()))
        #expect((5000...5600).contains(bytes))
        #expect(client.run("MEMORY", "USAGE", "missing") == "$-1\r\n")
        #expect(client.run("MEMORY", "USAGE", "k", "SAMPLES") == "-ERR syntax error\r\n")
        #expect(client.run("MEMORY", "USAGE", "k", "SAMPLES", "-1") == "-ERR syntax error\r\n")
        #expect(
            client.run("MEMORY", "USAGE", "k", "SAMPLES", "x")
                == "-ERR value is not an integer or out of range\r\n")
        #expect(client.run("MEMORY", "PURGE") == "+OK\r\n")
    }

    @Test func `MEMORY STATS has as many fields as its header says`() throws {
        let client = try AdministrationHarness().client()
        client.run("SET", "k", "v")
        let reply = client.run("MEMORY", "STATS")
        #expect(reply.hasPrefix("*58\r\n"))
        // 28 fields with a number each, and the database with its three.
        #expect(texts(reply).count >= 28 * 2 + 1 + 3 * 2 - 8)
        #expect(reply.contains("db.0"))
        #expect(reply.contains("keys.count\r\n:1\r\n"))
    }

    @Test func `one node answers for all slots`() throws {
        let server = try AdministrationHarness()
        let client = server.client()
        #expect(client.run("CLUSTER", "KEYSLOT", "a") == ":15495\r\n")
        #expect(client.run("CLUSTER", "INFO").contains("cluster_state:ok\r\n"))
        let id = texts(client.run("CLUSTER", "MYID"))[0]
        #expect(id.utf8.count == 40)
        #expect(client.run("CLUSTER", "NODES").contains("\(id) 127.0.0.1:"))
        #expect(
            client.run("CLUSTER", "SLOTS").hasPrefix(
                "*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n"))
        #expect(client.run("CLUSTER", "REPLICAS", id) == "*0\r\n")
        #expect(client.run("CLUSTER", "REPLICAS", "x") == "-ERR Unknown node x\r\n")
        #expect(
            client.run("READONLY") == "-ERR This instance has cluster support disabled\r\n")
    }

    @Test func `keys of a slot are counted and listed`() throws {
        let client = try AdministrationHarness().client()
        for number in 0..<100 { client.run("SET", "{a}\(number)", "v") }
        client.run("SET", "b", "v")
        #expect(client.run("CLUSTER", "COUNTKEYSINSLOT", "15495") == ":100\r\n")
        #expect(texts(client.run("CLUSTER", "GETKEYSINSLOT", "15495", "7")).count == 7)
        #expect(texts(client.run("CLUSTER", "GETKEYSINSLOT", "15495", "1000")).count == 100)
        #expect(client.run("CLUSTER", "COUNTKEYSINSLOT", "16384") == "-ERR Invalid slot\r\n")
        #expect(
            client.run("CLUSTER", "GETKEYSINSLOT", "1", "-1")
                == "-ERR Invalid slot or number of keys\r\n")
    }

    @Test func `LOLWUT draws in every size that is asked for, within reason`() throws {
        let client = try AdministrationHarness().client()
        for size in ["-5", "0", "1", "8", "9", "40", "1000000"] {
            let reply = client.run("LOLWUT", "VERSION", "5", size, size)
            #expect(reply.contains("Martlet ver. "), "\(size)")
        }
        #expect(
            client.run("LOLWUT", "VERSION", "x")
                == "-ERR value is not an integer or out of range\r\n")
    }

    @Test func `every HELP opens with its command and closes with HELP`() throws {
        let client = try AdministrationHarness("enable-debug-command yes").client()
        for name in [
            "CLUSTER", "COMMANDLOG", "CONFIG", "DEBUG", "LATENCY", "MEMORY", "MODULE", "SLOWLOG",
        ] {
            let lines = client.run(name, "HELP").split(separator: "\r\n")
            #expect(lines[1].hasPrefix("+\(name) <subcommand>"))
            #expect(lines.suffix(2) == ["+HELP", "+    Print this help."])
            #expect(lines[0] == "*\(lines.count - 1)")
        }
    }
}
