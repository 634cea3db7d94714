//  Libraries of functions: how they come, go and stay, and what others see meanwhile. Replies were recorded
//  from redis-server 8.2.3; those of more commands are in the wire tests.

import MartletBase
import Testing

@testable import MartletEngine

@Suite struct FunctionTests {
    private func server() -> CommandHarness {
        let container = Command(
            "FUNCTION", since: "7.0.0", group: .scripting, summary: "",
            subcommands: CommandGroup.functionSubcommands)
        return CommandHarness(groups: EngineCommands.groups + [[container]])
    }

    private func library(_ name: String, _ function: String, _ body: String) -> String {
        "#!lua name=\(name)\nredis.register_function('\(function)', "
            + "function(keys, args) \(body) end)"
    }

    @Test func `a function gets keys and arguments, and keeps what it remembers`() {
        let server = server()
        let client = server.client()
        let text = """
            #!lua name=lib
            local calls = 0
            redis.register_function('f', function(keys, args)
                calls = calls + 1
                return {calls, keys[1], args[1], #keys, #args}
            end)
            """
        #expect(client.runToEnd("FUNCTION", "LOAD", text) == .bulk("lib"))
        for call in 1...3 {
            #expect(
                client.runToEnd("FCALL", "f", "1", "k", "a")
                    == .array([
                        .integer(Int64(call)), .bulk("k"), .bulk("a"), .integer(1), .integer(1),
                    ]))
        }
        #expect(
            client.runToEnd("FCALL", "F", "0")
                == .array([.integer(4)]), "names are the same in any case")
    }

    @Test func `a library that is refused changes nothing`() {
        let server = server()
        let client = server.client()
        client.runToEnd("FUNCTION", "LOAD", library("one", "f", "return 1"))
        let changes = server.changes
        for (text, error) in [
            (library("one", "g", "return 2"), "ERR Library 'one' already exists"),
            (library("two", "F", "return 2"), "ERR Function F already exists"),
            (
                "#!lua name=two\nx",
                "ERR Error compiling function: user_function:2: '=' expected near"
            ),
            (
                "#!lua name=two\nredis.register_function('g', function() end) error()",
                "ERR Error registering functions: ERR user_function:2: Script attempted to access "
                    + "nonexistent global variable 'error'"
            ),
        ] {
            let reply = client.runToEnd("FUNCTION", "LOAD", text)
            #expect(reply?.text?.hasPrefix(error) == true, "\(String(describing: reply))")
        }
        #expect(client.runToEnd("FCALL", "f", "0") == .integer(1))
        #expect(client.runToEnd("FCALL", "g", "0") == .error("ERR Function not found"))
        #expect(server.changes == changes)
        #expect(server.state.scripts.functions.functionCount == 1)
    }

    @Test func `a text that takes long lets others run, and counts once it is through`() {
        let server = server()
        let loading = server.client()
        let other = server.client()
        let text =
            "#!lua name=slow\nfor i = 1, 1e6 do end\n"
            + library("x", "f", "return 1")
            .split(separator: "\n")[1]
        loading.send(
            HarnessClient.request([Array("FUNCTION".utf8), Array("LOAD".utf8), Array(text.utf8)]))
        #expect(loading.wait?.outcome == .waiting)
        #expect(other.runToEnd("SET", "k", "v") == .simple("OK"))
        other.send(HarnessClient.request(["FCALL", "f", "0"].map { Array($0.utf8) }))
        #expect(other.isParked, "scripts wait for their turn")
        #expect(loading.finishRest() == .bulk("slow"))
        other.resume()
        #expect(other.replies().first == .integer(1))
    }

    @Test func `a text without an end is given up after half a second, or when it is killed`() {
        let server = server()
        let loading = server.client()
        let text = Array("#!lua name=endless\nwhile true do end".utf8)
        let request = HarnessClient.request([Array("FUNCTION".utf8), Array("LOAD".utf8), text])
        loading.send(request)
        #expect(
            loading.finishRest()
                == .error("ERR Error registering functions: ERR FUNCTION LOAD timeout"))
        loading.send(request)
        #expect(server.client().runToEnd("FUNCTION", "KILL") == .simple("OK"))
        #expect(
            loading.finishRest()
                == .error(
                    "ERR Error registering functions: ERR Function killed by user with FUNCTION KILL."
                ))
    }

    @Test func `libraries come and go in a transaction`() {
        let server = server()
        let client = server.client()
        for command in [
            ["MULTI"], ["FUNCTION", "LOAD", library("lib", "f", "return redis.call('incr', 'k')")],
            ["FCALL", "f", "0"], ["FUNCTION", "DELETE", "lib"], ["FCALL", "f", "0"],
            ["FUNCTION", "LOAD", library("other", "g", "return 3")], ["FCALL", "g", "0"],
        ] { client.run(command) }
        #expect(
            client.runToEnd("EXEC")
                == .array([
                    .bulk("lib"), .integer(1), .simple("OK"), .error("ERR Function not found"),
                    .bulk("other"), .integer(3),
                ]))
        #expect(client.runToEnd("GET", "k") == .bulk("1"))
    }

    @Test func `a snapshot has the libraries of its point in time`() {
        let server = server()
        let client = server.client()
        let first = library("lib", "f", "return 1")
        client.runToEnd("FUNCTION", "LOAD", first)
        struct Nothing: SnapshotEncoder {
            func encode(_ entry: Entry, into buffer: inout ByteBuffer) {}
        }
        let snapshot = Snapshot.begin(server.state, encoder: Nothing())
        client.runToEnd("FUNCTION", "LOAD", "REPLACE", library("lib", "f", "return 2"))
        client.runToEnd("FUNCTION", "LOAD", library("later", "g", "return 2"))
        #expect(snapshot?.libraries == [Bytes(first)])
        _ = snapshot?.walk { _, _ in true }
    }

    @Test func `what went leaves nothing in the interpreter`() throws {
        let server = server()
        let client = server.client()
        client.runToEnd("FUNCTION", "LOAD", library("stays", "stays", "return 1"))
        let interpreter = try server.state.scripts.interpreter(function: true)
        func load(_ number: Int) {
            let body = "return '\(String(repeating: "x", count: 10_000))\(number)'"
            client.runToEnd("FUNCTION", "LOAD", "REPLACE", library("lib", "f", body))
            // Refused when it has registered its function.
            client.runToEnd("FUNCTION", "LOAD", library("bad", "b", body) + " x = 1")
        }
        func settledBytes() -> Int {
            for _ in 0..<2 { while !interpreter.runtime.collect(kilobytes: 1024) {} }
            return interpreter.runtime.memoryBytes
        }
        load(0)
        let before = settledBytes()
        for number in 1...200 { load(number) }
        #expect(settledBytes() < before + 64 * 1024)
        #expect(client.runToEnd("FUNCTION", "FLUSH") == .simple("OK"))
        #expect(server.state.scripts.report.libraryInterpreterBytes == 0)
    }

    @Test func `a logged library is loaded again, however long it takes`() {
        let server = server()
        let replay = LogReplay(
            server.state, server.commands, threads: 2,
            nowMilliseconds: CommandHarness.startMilliseconds)
        let text =
            "#!lua name=slow\nfor i = 1, 1e6 do end\n"
            + "redis.register_function('f', function() return 7 end)"
        var log = HarnessClient.request(
            ["FUNCTION", "LOAD", "REPLACE", text].map { Array($0.utf8) })
        log += HarnessClient.request(["SET", "k", "v"].map { Array($0.utf8) })
        log += HarnessClient.request(["FUNCTION", "DELETE", "nosuch"].map { Array($0.utf8) })
        #expect(throws: Never.self) {
            try log.withView { try replay.feed($0) }
            try replay.finish()
        }
        #expect(replay.errors.count == 1)
        #expect(replay.errors.first == "ERR Library not found")
        let client = server.client()
        #expect(client.runToEnd("FCALL", "f", "0") == .integer(7))
        #expect(client.runToEnd("GET", "k") == .bulk("v"))
    }
}
