//  The configuration from its lines to CONFIG GET, SET and REWRITE. Expected texts were taken
//  from a running Redis 7.0.

import Glibc
import MartletBase
import Synchronization
import Testing

@testable import MartletServer

private func words(_ texts: String...) -> [[UInt8]] { texts.map { [UInt8]($0.utf8) } }

private func configuration(
    _ text: String, environment: [(String, String)] = [], arguments: [String] = []
) throws(ConfigurationError) -> Configuration {
    var lines = try ConfigurationSource.standardInput([UInt8](text.utf8))
    let variables = environment.map { (name: $0.0, value: [UInt8]($0.1.utf8)) }
    let fromEnvironment = try ConfigurationSource.environment(variables)
    lines += fromEnvironment.lines
    lines += try ConfigurationSource.commandLine(arguments.map { [UInt8]($0.utf8) })
    return try Configuration(lines: lines, warnings: fromEnvironment.warnings)
}

private func failure(_ text: String, arguments: [String] = []) -> ConfigurationError? {
    do throws(ConfigurationError) {
        _ = try configuration(text, arguments: arguments)
        return nil
    } catch {
        return error
    }
}

/// The error of a CONFIG SET, or nil where it succeeded.
private func refusal(
    _ configuration: Configuration, _ arguments: String..., isLocal: Bool = false
) -> String? {
    do throws(ConfigurationRejection) {
        try configuration.set(arguments.map { [UInt8]($0.utf8) }, isLocal: isLocal)
        return nil
    } catch {
        return error.text
    }
}

/// A directory of the test's own, removed with all it holds.
private func withDirectory(_ body: (String) throws -> Void) throws {
    let path = "/tmp/martlet-test-\(getpid())-\(UInt32.random(in: 0 ... .max))"
    try #require(unsafe mkdir(path, 0o700) == 0)
    defer {
        for file in SystemFile.matching("\(path)/*") { _ = unsafe unlink(file) }
        _ = unsafe rmdir(path)
    }
    try body(path)
}

private func put(_ text: String, at path: String) throws {
    try SystemFile.replace(path, with: [UInt8](text.utf8))
}

private func content(_ path: String) throws -> String {
    String(decoding: try SystemFile.read(path, bytesMax: 1 << 20), as: UTF8.self)
}

@Suite struct DirectiveTableTests {
    @Test func `no name is given to two directives`() {
        var seen: Set<String> = []
        for directive in Directive.table {
            for name in [directive.name] + directive.aliases {
                #expect(seen.insert(name).inserted, "\(name) is declared twice")
                #expect(name == name.lowercased())
            }
        }
    }

    @Test func `each default is what its own text reads as`() throws {
        for directive in Directive.table where !directive.traits.contains(.fileOnly) {
            let text = directive.format(directive.initial)
            var given = [text]
            if directive.takesSeveralWords, !text.isEmpty {
                given = text.split(separator: 0x20).map { [UInt8]($0) }
            }
            let read = try directive.parse(given, current: directive.initial)
            #expect(read == directive.initial, "\(directive.name)")
        }
    }

    @Test func `defaults differ from those of Redis 7 only where Martlet means it`() throws {
        let mine = try configuration("")
        let expected = [
            "port": "6379", "bind": "127.0.0.1 -::1", "save": "", "appendonly": "no",
            "protected-mode": "yes", "timeout": "0", "maxmemory-clients": "5%",
            "enable-debug-command": "no", "unixsocketperm": "0",
            "client-output-buffer-limit":
                "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
            "oom-score-adj-values": "0 200 800", "notify-keyspace-events": "",
            "latency-tracking-info-percentiles": "50 99 99.9", "databases": "16",
            "proto-max-bulk-len": "536870912", "shutdown-on-sigterm": "default",
            "list-max-ziplist-size": "-2", "tcp-backlog": "511",
        ]
        for (name, value) in expected { #expect(mine.text(of: name) == value, "\(name)") }
        #expect(mine.settings.loops == max(sysconf(Int32(_SC_NPROCESSORS_ONLN)), 1))
        #expect(mine.notes.isEmpty)
    }

    @Test func `every name tools rely on is known`() {
        let names = """
            port bind unixsocket unixsocketperm tcp-backlog tcp-keepalive timeout maxclients \
            databases daemonize pidfile loglevel logfile syslog-enabled syslog-ident \
            syslog-facility always-show-logo dir dbfilename save rdbcompression rdbchecksum \
            sanitize-dump-payload stop-writes-on-bgsave-error appendonly appendfilename \
            appenddirname appendfsync no-appendfsync-on-rewrite auto-aof-rewrite-percentage \
            auto-aof-rewrite-min-size aof-load-truncated aof-load-corrupt-tail-max-size \
            aof-use-rdb-preamble aof-timestamp-enabled maxmemory maxmemory-policy \
            maxmemory-samples maxmemory-eviction-tenacity maxmemory-clients lfu-log-factor \
            lfu-decay-time lazyfree-lazy-eviction lazyfree-lazy-expire lazyfree-lazy-server-del \
            lazyfree-lazy-user-del lazyfree-lazy-user-flush active-expire-effort hz dynamic-hz \
            activerehashing activedefrag hash-max-listpack-entries hash-max-ziplist-entries \
            hash-max-listpack-value hash-max-ziplist-value zset-max-listpack-entries \
            zset-max-ziplist-entries zset-max-listpack-value zset-max-ziplist-value \
            set-max-listpack-entries set-max-listpack-value list-max-listpack-size \
            list-max-ziplist-size set-max-intset-entries list-compress-depth \
            stream-node-max-entries stream-node-max-bytes hll-sparse-max-bytes \
            proto-max-bulk-len client-query-buffer-limit client-output-buffer-limit \
            notify-keyspace-events slowlog-log-slower-than slowlog-max-len \
            commandlog-execution-slower-than commandlog-slow-execution-max-len \
            commandlog-request-larger-than commandlog-large-request-max-len \
            commandlog-reply-larger-than commandlog-large-reply-max-len \
            latency-monitor-threshold latency-tracking latency-tracking-info-percentiles \
            tracking-table-max-keys busy-reply-threshold lua-time-limit requirepass \
            protected-mode enable-protected-configs enable-debug-command \
            enable-module-command rename-command io-threads shutdown-timeout \
            shutdown-on-sigterm shutdown-on-sigint aclfile acllog-max-len acl-pubsub-default \
            tls-port replicaof slaveof repl-backlog-size replica-priority slave-priority \
            min-replicas-to-write min-slaves-to-write propagation-error-behavior \
            key-load-delay rdb-key-save-delay
            """
        for name in names.split(separator: " ") {
            #expect(Directive.named(String(name)) != nil, "\(name)")
        }
    }
}

@Suite struct ConfigurationLineTests {
    private func split(_ line: String) -> [String]? {
        ConfigurationLine.split([UInt8](line.utf8))?.map { String(decoding: $0, as: UTF8.self) }
    }

    @Test func `words are split as Redis splits them`() {
        #expect(split("") == [])
        #expect(split("  a\t b  ") == ["a", "b"])
        #expect(split("save \"\"") == ["save", ""])
        #expect(split(#"x "a b\n\x41\q""#) == ["x", "a b\nAq"])
        #expect(split(#"x 'it\'s \n'"#) == ["x", #"it's \n"#])
        #expect(split(#"x "\x4""#) == ["x", "x4"])
    }

    @Test func `quotes that do not balance are an error`() {
        #expect(split("port \"6379") == nil)
        #expect(split("port '6379") == nil)
        #expect(split("port \"6379\"x") == nil)
        #expect(split("port \"6379\\\"") == nil)
    }

    @Test func `any bytes survive being quoted and split`() {
        for byte in UInt8.min...UInt8.max {
            let word: [UInt8] = [byte, 0x61, byte]
            #expect(ConfigurationLine.split(ConfigurationLine.quote(word)) == [word])
        }
        #expect(ConfigurationLine.split(ConfigurationLine.quote([])) == [[]])
    }
}

@Suite struct ValueTests {
    private func text(_ name: String, _ value: String) throws -> String {
        let mine = try configuration("")
        if let error = refusal(mine, name, value) {
            let prefix = "ERR CONFIG SET failed (possibly related to argument '\(name)') - "
            return error.hasPrefix(prefix) ? String(error.dropFirst(prefix.count)) : error
        }
        return mine.text(of: name) ?? "gone"
    }

    @Test(
        arguments: [
            ("maxmemory", "1Gb", "1073741824"), ("maxmemory", "1k", "1000"),
            ("maxmemory", "40%", "40%"), ("maxmemory", "AUTO", "auto"),
            ("maxmemory", "101%", "percentage argument must be less or equal to 100"),
            ("maxmemory", "100b", "100"), ("maxmemory", "0", "0"),
            ("maxmemory", "1.5gb", "argument must be a memory value"),
            ("maxmemory", "-1", "argument must be a memory value"),
            ("maxmemory", "17179869184gb", "argument must be a memory value"),
            ("maxmemory", " 5", "argument must be a memory value"),
            ("hz", "20", "20"), ("hz", "abc", "argument couldn't be parsed into an integer"),
            ("hz", "05", "argument couldn't be parsed into an integer"),
            ("hz", "+5", "argument couldn't be parsed into an integer"),
            ("hz", "99999999999999", "argument must be between 0 and 2147483647 inclusive"),
            ("maxclients", "0", "argument must be between 1 and 4294967295 inclusive"),
            ("maxmemory-clients", "7%", "7%"), ("maxmemory-clients", "1mb", "1048576"),
            (
                "maxmemory-clients", "120%",
                "percentage argument must be less or equal to 100"
            ),
            ("maxmemory-clients", "-3", "argument must be a memory or percent value"),
            ("protected-mode", "NO", "no"),
            ("protected-mode", "maybe", "argument must be 'yes' or 'no'"),
            ("loglevel", "DEBUG", "debug"),
            (
                "loglevel", "foo",
                "argument(s) must be one of the following: "
                    + "debug, verbose, notice, warning, nothing"
            ),
            ("shutdown-on-sigterm", "force save", "save force"),
            ("shutdown-on-sigterm", "default now", "now"),
            (
                "shutdown-on-sigint", "save nosave",
                "shutdown options SAVE and NOSAVE can't be used simultaneously"
            ),
            ("latency-tracking-info-percentiles", "50.500 99 100.0", "50.5 99 100"),
            ("latency-tracking-info-percentiles", "33.333333333", "33.333333"),
            ("latency-tracking-info-percentiles", "", ""),
            (
                "latency-tracking-info-percentiles", "1 200",
                "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"
            ),
            (
                "latency-tracking-info-percentiles", "a",
                "Invalid latency-tracking-info-percentiles parameters"
            ),
            (
                "client-output-buffer-limit", "slave 1mb 2mb 3",
                "normal 0 0 0 slave 1048576 2097152 3 pubsub 33554432 8388608 60"
            ),
            (
                "client-output-buffer-limit", "foo 1 2 3",
                "Invalid client class specified in buffer limit configuration."
            ),
            (
                "client-output-buffer-limit", "normal 1 2",
                "Wrong number of arguments in buffer limit configuration."
            ),
            (
                "client-output-buffer-limit", "normal 0 0 -1",
                "Error in hard, soft or soft_seconds setting in buffer limit configuration."
            ),
            ("oom-score-adj-values", "1 2", "wrong number of arguments"),
            (
                "oom-score-adj-values", "0 a 5",
                "Invalid oom-score-adj-values, elements must be between -2000 and 2000."
            ),
            ("save", "a b", "Invalid save parameters"), ("save", "60", "Invalid save parameters"),
            ("save", "", ""),
            (
                "notify-keyspace-events", "QQ",
                "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."
            ),
            ("databases", "3", "can't set immutable config"),
            ("dir", "/tmp", "can't set protected config"),
            ("requirepass", "x\ny", "control characters are not allowed"),
            ("appendonly", "no", "no"),
            ("aof-use-rdb-preamble", "no", "no"),
            ("foo", "bar", "ERR Unknown option or number of arguments for CONFIG SET - 'foo'"),
            (
                "rename-command", "x",
                "ERR Unknown option or number of arguments for CONFIG SET - 'rename-command'"
            ),
        ])
    func `a value is taken, or refused in Redis' words`(
        name: String, value: String, expected: String
    ) throws {
        #expect(try text(name, value) == expected)
    }

    @Test(arguments: [
        ("KEA", "AKE"), ("Kg$lshzxetd", "AK"), ("dtgE", "gtdE"), ("KEAnm", "AnKEm"), ("Kgn", "gnK"),
        ("Koc", "ocK"), ("KEAcon", "AnocKE"),
    ])
    func `event classes are shown as Redis shows them`(given: String, shown: String) throws {
        let directive = try #require(Directive.named("notify-keyspace-events"))
        let value = try directive.parse(words(given), current: directive.initial)
        #expect(String(decoding: directive.format(value), as: UTF8.self) == shown)
    }

    @Test func `the share of clients is at least 64 MB, and nothing when it is zero`() throws {
        let machine = 8 << 30
        #expect(
            try configuration("").settings.clientMemoryBytesMax(systemBytes: machine)
                == machine / 100 * 5)
        #expect(
            try configuration("maxmemory 100mb").settings.clientMemoryBytesMax(
                systemBytes: machine) == 64 << 20)
        #expect(
            try configuration("maxmemory-clients 0").settings.clientMemoryBytesMax(
                systemBytes: machine) == nil)
        #expect(
            try configuration("maxmemory-clients 1mb").settings.clientMemoryBytesMax(
                systemBytes: machine) == 1 << 20)
    }
}

@Suite struct ConfigurationSourceTests {
    @Test func `the command line wins over the environment, and that over the file`() throws {
        let mine = try configuration(
            "port 1\ntimeout 1\ntcp-keepalive 1\n",
            environment: [("MARTLET_TIMEOUT", "2"), ("MARTLET_TCP_KEEPALIVE", "2")],
            arguments: ["--tcp-keepalive", "3"])
        #expect(mine.settings.port == 1)
        #expect(mine.settings.timeoutSeconds == 2)
        #expect(mine.settings.tcpKeepAliveSeconds == 3)
    }

    @Test func `the environment knows lists, and warns of what is not a directive`() throws {
        let mine = try configuration(
            "",
            environment: [
                ("MARTLET_BIND", "10.0.0.1 ::1"), ("MARTLET_REQUIREPASS", "two words"),
                ("MARTLET_SERVICE_HOST", "10.0.0.9"), ("MARTLET_PORT", "tcp://10.0.0.9:6379"),
            ])
        #expect(mine.settings.bind == ["10.0.0.1", "::1"])
        #expect(mine.settings.password == [UInt8]("two words".utf8))
        #expect(mine.settings.port == 6379)
        #expect(mine.notes.count == 2)
    }

    @Test func `arguments follow the rules of Redis 7`() throws {
        func lines(_ arguments: String...) throws -> [String] {
            try ConfigurationSource.commandLine(arguments.map { [UInt8]($0.utf8) }).map {
                ([$0.name] + $0.values.map { "<\(String(decoding: $0, as: UTF8.self))>" })
                    .joined(separator: " ")
            }
        }
        #expect(try lines("--port", "1", "--bind", "a", "b") == ["port <1>", "bind <a> <b>"])
        #expect(try lines("--save", "", "--port", "1") == ["save <>", "port <1>"])
        #expect(try lines("--save", "--port", "1") == ["save <>", "port <1>"])
        #expect(try lines("--port 1", "--timeout", "2") == ["port <1>", "timeout <2>"])
        #expect(try lines("--requirepass", "--secret") == ["requirepass <--secret>"])
        #expect(throws: ConfigurationError.self) { try lines("port") }
    }

    @Test func `the first argument is a file, a dash or a question`() {
        func request(_ arguments: String...) -> CommandLineRequest {
            CommandLineRequest(arguments.map { [UInt8]($0.utf8) })
        }
        #expect(request("--help") == .help)
        #expect(request("check", "log") == .checkFiles(path: "log", repairs: false))
        #expect(request("check", "--fix", "log") == .checkFiles(path: "log", repairs: true))
        #expect(request("check", "one", "two") == .help)
        #expect(request("-v") == .version)
        #expect(
            request("a.conf", "--port", "1")
                == .run(LaunchOptions(file: .path("a.conf"), arguments: words("--port", "1"))))
        #expect(request("-") == .run(LaunchOptions(file: .standardInput, arguments: [])))
        #expect(
            request("--check-config", "a.conf")
                == .check(LaunchOptions(file: .path("a.conf"), arguments: [])))
        #expect(
            request("a.conf", "--check-config")
                == .check(LaunchOptions(file: .path("a.conf"), arguments: [])))
    }

    @Test func `an unknown directive stops the start with its place and a hint`() throws {
        let error = try #require(failure("port 1\n\nmaxmemori 5\n"))
        #expect(
            error.text == """

                *** FATAL CONFIG FILE ERROR (Martlet \(Version.text)) ***
                Reading the configuration from the standard input, at line 3
                >>> 'maxmemori 5'
                Bad directive or wrong number of arguments
                Allowed: did you mean 'maxmemory'?

                """)
    }

    @Test func `a malformed value says what is allowed`() throws {
        let error = try #require(failure("port 70000"))
        #expect(error.reason == "argument must be between 0 and 65535 inclusive")
        #expect(error.allowed == "port takes an integer between 0 and 65535")
        #expect(failure("port \"1")?.reason == "Unbalanced quotes in configuration line")
        #expect(failure("port 1 2")?.reason == "wrong number of arguments")
        #expect(failure("port")?.reason == "wrong number of arguments")
        #expect(failure("dbfilename a/b")?.reason == "dbfilename can't be a path, just a filename")
    }

    @Test(arguments: ["requirepass one two", "requirepas secret", "requirepass \"secret"])
    func `an error never shows a secret`(line: String) throws {
        let error = try #require(failure(line))
        #expect(!error.text.contains("secret") && !error.text.contains("two"))
        #expect(error.line.contains("(redacted)"))
    }

    @Test(
        arguments: [
            "replicaof 10.0.0.1 6379", "user default off", "aclfile /a",
            "rename-command FLUSHALL \"\"", "cluster-enabled yes", "tls-port 6380",
        ])
    func `what must not be missing silently is refused`(line: String) throws {
        #expect(try #require(failure(line)).reason.contains("will not start as if it had"))
    }

    @Test func `what is missing is warned of once and not shown as in force`() throws {
        let mine = try configuration(
            "bgsave-cpulist 1\nbgsave-cpulist 2\n"
                + "oom-score-adj relative\n")
        #expect(mine.text(of: "bgsave-cpulist") == "")
        #expect(mine.text(of: "oom-score-adj") == "no")
        #expect(mine.notes.map(\.level) == [.warning, .warning])
        #expect(
            mine.notes.last?.text
                == "standard input:2: 'bgsave-cpulist' is not in force: Martlet does not have "
                + "binding threads to processors yet")
    }

    @Test func `files include others, by pattern, beside themselves, but not themselves`() throws {
        try withDirectory { directory in
            try put("port 1\ninclude extra-*.conf\n", at: "\(directory)/main.conf")
            try put("port 2\ntimeout 2\n", at: "\(directory)/extra-a.conf")
            try put("timeout 3\n", at: "\(directory)/extra-b.conf")
            let lines = try ConfigurationSource.file("\(directory)/main.conf")
            let mine = try Configuration(lines: lines)
            #expect(mine.settings.port == 2)
            #expect(mine.settings.timeoutSeconds == 3)

            try put("include none-*.conf\nport 5\n", at: "\(directory)/empty.conf")
            #expect(try ConfigurationSource.file("\(directory)/empty.conf").count == 1)

            try put("include gone.conf\n", at: "\(directory)/gone-too.conf")
            #expect(throws: ConfigurationError.self) {
                try ConfigurationSource.file("\(directory)/gone-too.conf")
            }

            try put("include loop.conf\n", at: "\(directory)/loop.conf")
            #expect(throws: ConfigurationError.self) {
                try ConfigurationSource.file("\(directory)/loop.conf")
            }
        }
    }

    @Test func `a file as people write it loads`() throws {
        let mine = try Configuration(
            lines: ConfigurationSource.file(sample("site.conf")), path: nil)
        #expect(mine.settings.port == 7001)
        #expect(mine.settings.logLevel == .verbose)
        #expect(mine.settings.memoryLimit == .share(.bytes(64 << 20)))
        #expect(mine.settings.password == [UInt8]("a bC".utf8))
        #expect(mine.settings.outputBufferLimits.replica.softSeconds == 120)
        #expect(mine.settings.outputBufferLimits.pubsub.hardBytes == 0)
        #expect(mine.notes.map(\.level) == [.notice])
    }

    @Test(.enabled(if: unsafe access("/etc/redis/redis.conf", R_OK) == 0))
    func `the stock file of a Debian redis-server loads`() throws {
        let mine = try Configuration(lines: ConfigurationSource.file("/etc/redis/redis.conf"))
        #expect(mine.settings.daemonize)
        #expect(mine.text(of: "dir") == "/var/lib/redis")
        #expect(mine.notes.filter { $0.level == .warning }.map(\.text) == [])
    }
}

/// The path of a sample file beside this test.
private func sample(_ name: String) -> String {
    let here = #filePath
    return SystemFile.parent(of: SystemFile.parent(of: here)) + "/Samples/" + name
}

@Suite struct ConfigurationChangeTests {
    @Test func `GET takes patterns in any case and names each match once`() throws {
        let mine = try configuration("")
        let found = mine.get(matching: words("HZ", "h?", "zset-max-z*", "nosuch"))
        #expect(found.map(\.name) == ["hz", "zset-max-ziplist-entries", "zset-max-ziplist-value"])
        #expect(mine.get(matching: words("*")).contains { $0.name == "maxmemory" })
        #expect(!mine.get(matching: words("*")).contains { $0.name == "key-load-delay" })
        #expect(mine.get(matching: words("key-load-delay")).count == 1)
        #expect(mine.get(matching: words("include", "user")).isEmpty)
    }

    @Test func `SET takes all parameters or none`() throws {
        let mine = try configuration("")
        #expect(refusal(mine, "timeout", "5", "hz", "abc") != nil)
        #expect(mine.settings.timeoutSeconds == 0)
        #expect(refusal(mine, "timeout", "5", "port", "7") != nil)
        #expect(mine.settings.timeoutSeconds == 0)
        #expect(refusal(mine, "timeout", "5", "HZ", "50") == nil)
        #expect(mine.settings.timeoutSeconds == 5)
        #expect(mine.settings.hz == 50)
    }

    @Test func `SET refuses odd counts, repeats and unknown names in Redis' words`() throws {
        let mine = try configuration("")
        #expect(refusal(mine, "hz") == "ERR syntax error")
        #expect(
            refusal(mine, "hz", "1", "hz", "2")
                == "ERR CONFIG SET failed (possibly related to argument 'hz') - duplicate parameter"
        )
        #expect(
            refusal(mine, "hz", "1", "foo", "2")
                == "ERR Unknown option or number of arguments for CONFIG SET - 'foo'")
    }

    @Test func `protected directives ask where the client is`() throws {
        let open = try configuration("enable-protected-configs yes")
        #expect(refusal(open, "dir", "/tmp") == nil)
        let local = try configuration("enable-protected-configs local")
        #expect(refusal(local, "dir", "/tmp") != nil)
        #expect(refusal(local, "dir", "/tmp", isLocal: true) == nil)
    }

    @Test func `observers hear of their own changes, with the values before and after`() throws {
        let mine = try configuration("")
        let heard = Mutex<[String]>([])
        mine.onChange(of: "timeout", "hz") { before, after in
            heard.withLock { $0.append("\(before.timeoutSeconds) \(after.timeoutSeconds)") }
        }
        let version = mine.version
        #expect(refusal(mine, "timeout", "7", "hz", "20") == nil)
        #expect(refusal(mine, "maxclients", "7") == nil)
        #expect(refusal(mine, "timeout", "7") == nil)
        #expect(heard.withLock { $0 } == ["0 7"])
        #expect(mine.version == version + 2)
    }

    @Test func `an observer that refuses takes everything back`() throws {
        let mine = try configuration("")
        let heard = Mutex<[Int]>([])
        mine.onChange(of: "timeout") { _, after in
            heard.withLock { $0.append(after.timeoutSeconds) }
        }
        mine.onChange(of: "maxclients") { _, _ throws(ValueError) in
            throw ValueError(text: "too many files")
        }
        #expect(
            refusal(mine, "timeout", "7", "maxclients", "99")
                == "ERR CONFIG SET failed (possibly related to argument 'maxclients') - "
                + "too many files")
        #expect(mine.settings.timeoutSeconds == 0)
        #expect(mine.settings.clientsMax == 10000)
        #expect(heard.withLock { $0 } == [7, 0])
    }

    @Test func `REWRITE keeps comments and order, and appends below its marker`() throws {
        try withDirectory { directory in
            let path = "\(directory)/martlet.conf"
            try put(
                """
                # first
                port 7
                save 60 1
                slowlog-max-len 64
                timeout 1
                timeout 2

                # last
                client-output-buffer-limit pubsub 1mb 0 0
                """, at: path)
            let mine = try Configuration(lines: ConfigurationSource.file(path), path: path)
            #expect(
                refusal(mine, "timeout", "9", "maxmemory", "3mb", "requirepass", "a \"b") == nil)
            try mine.rewrite()
            let expected = """
                # first
                port 7
                save 60 1
                slowlog-max-len 64
                timeout 9

                # last
                client-output-buffer-limit normal 0 0 0
                client-output-buffer-limit replica 268435456 67108864 60
                client-output-buffer-limit pubsub 1048576 0 0
                # Generated by CONFIG REWRITE
                maxmemory 3mb
                requirepass "a \\"b"

                """
            #expect(try content(path) == expected)

            // What was written reads as the same, and a second time changes nothing.
            let again = try Configuration(lines: ConfigurationSource.file(path), path: path)
            #expect(again.settings == mine.settings)
            try again.rewrite()
            #expect(try content(path) == expected)
            #expect(SystemFile.matching("\(directory)/*").count == 1)
        }
    }

    @Test func `REWRITE without a file is refused, and a failed one leaves the old file`() throws {
        let none = try configuration("")
        #expect(
            throws: ConfigurationRejection(text: "ERR The server is running without a config file")
        ) { try none.rewrite() }
        let gone = try Configuration(lines: [], path: "/nonexistent/martlet.conf")
        #expect(
            throws: ConfigurationRejection(
                text: "ERR Rewriting config file: No such file or directory")
        ) { try gone.rewrite() }
    }
}
