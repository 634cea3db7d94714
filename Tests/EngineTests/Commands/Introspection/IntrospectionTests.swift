//  COMMAND, in both protocols. Expected replies are those of redis-server 8.2.

import MartletBase
import Testing

@testable import MartletEngine

@Suite struct IntrospectionTests {
    @Test func `COMMAND INFO gives ten fields, in sets and maps where RESP3 has them`() {
        let client = CommandHarness().client(isRESP3: true)
        let spec: [Reply] = [
            .bulk("flags"), .set([.simple("RO"), .simple("access")]),
            .bulk("begin_search"),
            .map([
                .bulk("type"), .bulk("index"), .bulk("spec"), .map([.bulk("index"), .integer(1)]),
            ]),
            .bulk("find_keys"),
            .map([
                .bulk("type"), .bulk("range"), .bulk("spec"),
                .map([
                    .bulk("lastkey"), .integer(0), .bulk("keystep"), .integer(1),
                    .bulk("limit"), .integer(0),
                ]),
            ]),
        ]
        let expected = Reply.array([
            .bulk("get"), .integer(2), .set([.simple("readonly"), .simple("fast")]),
            .integer(1), .integer(1), .integer(1),
            .set([.simple("@read"), .simple("@string"), .simple("@fast")]),
            .set([]), .set([.map(spec)]), .set([]),
        ])
        #expect(client.run("COMMAND", "INFO", "Get") == .array([expected]))
        client.run("HELLO", "2")
        #expect(client.run("COMMAND", "INFO", "get") == .array([expected.inRESP2]))
    }

    @Test func `COMMAND INFO knows subcommands and answers null for what it does not know`() {
        expectTranscript(
            """
            > COMMAND INFO foo client|foo  < [(nil), (nil)]
            > COMMAND INFO client|id
            < [["client|id", (integer) 2, [noscript, loading, stale], (integer) 0, (integer) 0, \
            (integer) 0, [@slow, @connection], [], [], []]]
            > COMMAND INFO watch
            < [["watch", (integer) -2, [noscript, loading, stale, fast, allow_busy], (integer) 1, \
            (integer) -1, (integer) 1, [@fast, @transaction], [], [["flags", [RO], \
            "begin_search", ["type", "index", "spec", ["index", (integer) 1]], "find_keys", \
            ["type", "range", "spec", ["lastkey", (integer) -1, "keystep", (integer) 1, "limit", \
            (integer) 0]]]], []]]
            """)
    }

    @Test func `a container lists its subcommands`() throws {
        let client = CommandHarness().client()
        let reply = client.run("COMMAND", "INFO", "client")
        let fields = try #require(reply?.elements?.first?.elements)
        let names = fields[9].elements?.compactMap { $0.elements?[0].text } ?? []
        #expect(names.contains("client|kill"))
        #expect(names.contains("client|tracking"))
        #expect(fields[2] == .array([]))
        #expect(fields[6] == .array([.simple("@slow")]))
    }

    @Test func `COMMAND, COMMAND INFO and COMMAND COUNT agree`() {
        let client = CommandHarness().client()
        let all = client.run("COMMAND")
        #expect(client.run("COMMAND", "INFO") == all)
        #expect(client.run("COMMAND", "COUNT") == .integer(Int64(all?.elements?.count ?? 0)))
    }

    @Test func `COMMAND DOCS documents what is there and leaves out what is not`() {
        expectTranscript(
            """
            > COMMAND DOCS foo            < []
            > COMMAND DOCS get foo
            < ["get", ["summary", "Returns the string value of a key.", "since", "1.0.0", \
            "group", "string", "complexity", "O(1)", "arguments", [["name", "key", "type", "key", \
            "display_text", "key", "key_spec_index", (integer) 0]]]]
            > COMMAND DOCS quit
            < ["quit", ["summary", "Closes the connection.", "since", "1.0.0", "group", \
            "connection", "complexity", "O(1)", "doc_flags", [deprecated], "deprecated_since", \
            "7.2.0", "replaced_by", "just closing the connection"]]
            > COMMAND DOCS auth
            < ["auth", ["summary", "Authenticates the connection.", "since", "1.0.0", "group", \
            "connection", "complexity", "O(N) where N is the number of passwords defined for the \
            user", "arguments", [["name", "username", "type", "string", "display_text", \
            "username", "flags", [optional]], ["name", "password", "type", "string", \
            "display_text", "password"]]]]
            > COMMAND DOCS monitor
            < ["monitor", ["summary", "Listens for all requests received by the server in \
            real-time.", "since", "1.0.0", "group", "server"]]
            """)
    }

    @Test func `COMMAND DOCS documents every command, a container with its subcommands`() throws {
        let client = CommandHarness().client(isRESP3: true)
        let docs = try #require(client.run("COMMAND", "DOCS"))
        #expect(client.run("COMMAND", "COUNT") == .integer(Int64((docs.elements?.count ?? 0) / 2)))
        let subcommands = try #require(docs["client"]?["subcommands"])
        #expect(subcommands["client|list"]?["arguments"] != nil)
        #expect(docs["client"]?["arguments"] == nil)
    }

    @Test func `COMMAND LIST filters by module, category and pattern`() {
        expectTranscript(
            """
            > COMMAND LIST FILTERBY MODULE foo  < []
            > COMMAND LIST FILTERBY ACLCAT foo  < []
            > COMMAND LIST FILTERBY ACLCAT Transaction
            < ["discard", "exec", "multi", "unwatch", "watch"]
            > COMMAND LIST FILTERBY PATTERN client|i*
            < ["client|id", "client|info"]
            > COMMAND LIST filterby pattern AUT*  < ["auth"]
            > COMMAND LIST FILTERBY       < (error) ERR syntax error
            > COMMAND LIST FILTERBY FOO x  < (error) ERR syntax error
            > COMMAND LIST FOO            < (error) ERR syntax error
            > COMMAND LIST FILTERBY PATTERN a b  < (error) ERR syntax error
            > COMMAND FOO
            < (error) ERR unknown subcommand 'FOO'. Try COMMAND HELP.
            > COMMAND COUNT x
            < (error) ERR wrong number of arguments for 'command|count' command
            """)
    }

    @Test func `COMMAND GETKEYS finds keys, or says why there are none`() {
        expectTranscript(
            """
            > COMMAND GETKEYS get a       < ["a"]
            > COMMAND GETKEYS watch a b c  < ["a", "b", "c"]
            > COMMAND GETKEYS get
            < (error) ERR Invalid number of arguments specified for command
            > COMMAND GETKEYS get a b
            < (error) ERR Invalid number of arguments specified for command
            > COMMAND GETKEYS foo a       < (error) ERR Invalid command specified
            > COMMAND GETKEYS client foo  < (error) ERR Invalid command specified
            > COMMAND GETKEYS client      < (error) ERR The command has no key arguments
            > COMMAND GETKEYS ping        < (error) ERR The command has no key arguments
            > COMMAND GETKEYS
            < (error) ERR wrong number of arguments for 'command|getkeys' command
            > COMMAND GETKEYSANDFLAGS get a  < [["a", [RO, access]]]
            > COMMAND GETKEYSANDFLAGS mset a b c d
            < [["a", [OW, update]], ["c", [OW, update]]]
            > COMMAND GETKEYSANDFLAGS set a b  < [["a", [OW, update]]]
            > COMMAND GETKEYSANDFLAGS set a b get  < [["a", [RW, access, update]]]
            > COMMAND GETKEYSANDFLAGS bitfield a get u8 0 overflow sat  < [["a", [RO, access]]]
            > COMMAND GETKEYSANDFLAGS bitfield a get u8 0 set u8 0 1
            < [["a", [RW, access, update]]]
            > COMMAND GETKEYSANDFLAGS ping
            < (error) ERR The command has no key arguments
            """)
    }

    @Test func `a count of keys from the client is held against the arguments`() {
        let counting: CommandGroup = [
            Command(
                "COUNTING", since: "1.0.0", group: .generic, syntax: "numkeys key [key ...]",
                summary: "A test.", arity: .atLeast(3), keys: [.counted(at: 1, [.readOnly])],
                access: .read
            ) { (call) throws(CommandError) in
                call.reply.ok()
                return .none
            }
        ]
        let client = CommandHarness(groups: EngineCommands.groups + [counting]).client()
        let refusal = Reply.error("ERR Invalid arguments specified for command")
        #expect(
            client.run("COMMAND", "GETKEYS", "counting", "2", "a", "b", "c")
                == .array([.bulk("a"), .bulk("b")]))
        for count in ["3", "-1", "x", "9223372036854775807", "0"] {
            #expect(client.run("COMMAND", "GETKEYS", "counting", count, "a", "b") == refusal)
        }
        #expect(
            client.run("COMMAND", "INFO", "counting")?.elements?[0].elements?[2]
                == .array([.simple("readonly"), .simple("movablekeys")]))
    }

    @Test func `a key behind an option is found even if it is called like one`() {
        // Were it not, the handler would write to a shard that is not held.
        expectTranscript(
            """
            > COMMAND GETKEYS GEORADIUS g 0 0 1 m STORE storedist STOREDIST d
                < ["g", "storedist", "STOREDIST", "d"]
            > COMMAND GETKEYS GEORADIUS g 0 0 1 m STORE store COUNT 1
                < ["g", "store", "COUNT"]
            > COMMAND GETKEYS GEORADIUS g 0 0 1 m STORE  < ["g"]
            """)
    }

    /// The range of old clients; numbers from redis-server for the same specifications.
    @Test func `first, last and step follow from the specifications`() {
        func range(_ keys: [KeySpec]) -> [Int] {
            let command = Command(
                "X", since: "", group: .generic, summary: "", arity: .atLeast(1), keys: keys
            ) { (call) throws(CommandError) in .none }
            let range = command.keyRange
            return [range.first, range.last, range.step, command.movesKeys ? 1 : 0]
        }
        #expect(range([]) == [0, 0, 0, 0])
        // MSET, COPY, BITOP, LCS, ZUNIONSTORE, SINTERCARD.
        #expect(range([.rest(from: 1, step: 2, [])]) == [1, -1, 2, 0])
        #expect(range([.one(at: 1, []), .one(at: 2, [])]) == [1, 2, 1, 0])
        #expect(range([.one(at: 2, []), .rest(from: 3, [])]) == [2, -1, 1, 0])
        #expect(
            range([KeySpec(first: 1, find: .range(last: 1, step: 1), flags: [])]) == [1, 2, 1, 0])
        #expect(range([.one(at: 1, []), .counted(at: 2, [])]) == [1, 1, 1, 1])
        #expect(range([.counted(at: 1, [])]) == [0, 0, 0, 1])
    }
}
