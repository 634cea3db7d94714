//  DEBUG. Digests and protocol replies were taken from a running Redis 7.0.

import MartletBase
import MartletEngine
import Testing

@testable import MartletServer

struct DebugTests {
    private func client(_ setting: String = "yes") throws -> AdministrationClient {
        try AdministrationHarness("enable-debug-command \(setting)").client()
    }

    @Test func `it is closed unless the setting opens it`() throws {
        let refusal = "-ERR DEBUG command not allowed. If the enable-debug-command option"
        #expect(try client("no").run("DEBUG", "HELP").hasPrefix(refusal))
        #expect(try client("local").run("DEBUG", "DIGEST").hasPrefix("+"))
        let far = try AdministrationHarness("enable-debug-command local").client(isLoopback: false)
        #expect(far.run("DEBUG", "HELP").hasPrefix(refusal))
    }

    @Test func `digests of equal data are those of Redis`() throws {
        let client = try client()
        #expect(client.run("DEBUG", "DIGEST") == "+\(String(repeating: "0", count: 40))\r\n")
        client.run("SET", "n", "123")
        client.run("SET", "a", "hello")
        #expect(
            client.run("DEBUG", "DIGEST") == "+85deb469818e1836975f8ba1b11f59313125a8ec\r\n")
        #expect(
            texts(client.run("DEBUG", "DIGEST-VALUE", "a", "n", "missing")) == [
                "+36b23a1456b2dce2c3ed252c456761301dba8060",
                "+89f7f51b707418f666d5b45e053bd5bbbf82ac2b",
                "+0000000000000000000000000000000000000000",
            ])
    }

    @Test func `a key past its deadline is in no digest`() throws {
        let server = try AdministrationHarness("enable-debug-command yes")
        let client = server.client()
        client.run("SET", "a", "hello")
        let before = client.run("DEBUG", "DIGEST")
        client.run("SET", "b", "x", "PX", "10")
        #expect(client.run("DEBUG", "DIGEST") != before)
        server.time.advance(milliseconds: 20)
        #expect(client.run("DEBUG", "DIGEST") == before)
    }

    @Test func `POPULATE makes keys and leaves those that are there`() throws {
        let client = try client()
        client.run("SET", "key:1", "mine")
        #expect(client.run("DEBUG", "POPULATE", "3") == "+OK\r\n")
        #expect(client.run("MGET", "key:0", "key:1", "key:2", "key:3").contains("mine"))
        #expect(client.run("DBSIZE") == ":3\r\n")
        client.run("DEBUG", "POPULATE", "2", "foo", "10")
        #expect(client.run("GET", "foo:0") == "$10\r\nvalue:0\0\0\0\r\n")
        client.run("DEBUG", "POPULATE", "12", "zz", "3")
        #expect(client.run("GET", "zz:11") == "$3\r\nval\r\n")
        let error = "-ERR value is out of range, must be positive\r\n"
        #expect(client.run("DEBUG", "POPULATE", "x") == error)
        #expect(client.run("DEBUG", "POPULATE", "1", "p", "-1") == error)
    }

    @Test func `OBJECT shows encoding and serialized length`() throws {
        let client = try client()
        client.run("SET", "a", "hello")
        client.run("SET", "n", "123")
        #expect(client.run("DEBUG", "OBJECT", "a").contains("encoding:embstr serializedlength:6 "))
        #expect(client.run("DEBUG", "OBJECT", "n").contains("encoding:int serializedlength:2 "))
        #expect(client.run("DEBUG", "OBJECT", "missing") == "-ERR no such key\r\n")
    }

    @Test(arguments: [
        ("string", "$11\r\nHello World\r\n", "$11\r\nHello World\r\n"),
        ("integer", ":12345\r\n", ":12345\r\n"),
        ("double", "$5\r\n3.141\r\n", ",3.141\r\n"),
        ("null", "$-1\r\n", "_\r\n"),
        ("array", "*3\r\n:0\r\n:1\r\n:2\r\n", "*3\r\n:0\r\n:1\r\n:2\r\n"),
        ("set", "*3\r\n:0\r\n:1\r\n:2\r\n", "~3\r\n:0\r\n:1\r\n:2\r\n"),
        (
            "map", "*6\r\n:0\r\n:0\r\n:1\r\n:1\r\n:2\r\n:0\r\n",
            "%3\r\n:0\r\n#f\r\n:1\r\n#t\r\n:2\r\n#f\r\n"
        ),
        (
            "attrib", "$39\r\nSome real reply following the attribute\r\n",
            "|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n"
                + "$39\r\nSome real reply following the attribute\r\n"
        ),
        (
            "push", "-ERR RESP2 is not supported by this command\r\n",
            ">2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n"
                + "$40\r\nSome real reply following the push reply\r\n"
        ),
        (
            "verbatim", "$25\r\nThis is a verbatim\nstring\r\n",
            "=29\r\ntxt:This is a verbatim\nstring\r\n"
        ),
        ("true", ":1\r\n", "#t\r\n"),
        ("false", ":0\r\n", "#f\r\n"),
    ])
    func `PROTOCOL replies with each type`(type: String, old: String, new: String) throws {
        let server = try AdministrationHarness("enable-debug-command yes")
        #expect(server.client().run("DEBUG", "PROTOCOL", type) == old)
        #expect(server.client(isRESP3: true).run("DEBUG", "PROTOCOL", type) == new)
    }

    @Test func `switches have their effect`() throws {
        let server = try AdministrationHarness("enable-debug-command yes")
        let client = server.client()
        let id = client.info("master_replid")
        #expect(client.run("DEBUG", "CHANGE-REPL-ID") == "+OK\r\n")
        #expect(client.info("master_replid") != id)
        for (text, isOn) in [("0", false), ("1", true)] {
            client.run("DEBUG", "SET-ACTIVE-EXPIRE", text)
            let isExpiring = server.context.state.settings.activeExpire.load(ordering: .relaxed)
            #expect(isExpiring == isOn)
        }
        #expect(client.run("DEBUG", "STRINGMATCH-LEN", "h*o", "hello") == ":1\r\n")
        #expect(client.run("DEBUG", "STRINGMATCH-LEN", "h*x", "hello") == ":0\r\n")
        #expect(client.run("DEBUG", "ERROR", "WRONG it is") == "-WRONG it is\r\n")
    }

    @Test func `what is not there is named`() throws {
        let client = try client()
        for name in ["SEGFAULT", "JMAP", "NOSUCH"] {
            #expect(
                client.run("DEBUG", name)
                    == "-ERR unknown subcommand or wrong number of arguments for '\(name)'. "
                    + "Try DEBUG HELP.\r\n")
        }
        #expect(client.run("DEBUG", "HTSTATS", "99") == "-ERR Out of range database\r\n")
    }
}
