//  Log lines, signals, the PID file and the checks at the start.

import Glibc
import Synchronization
import Testing

@testable import MartletServer

@Suite struct LoggingTests {
    private func line(
        _ message: String, level: LogLevel = .notice, form: LogForm = .legacy,
        timestamp: LogTimestamp = .legacy
    ) -> String {
        LogLine.text(
            message, level: level, role: .primary, form: form, timestamp: timestamp, process: 42,
            at: timespec(tv_sec: 0, tv_nsec: 7_000_000))
    }

    @Test func `a line has the form that tools for Redis parse`() throws {
        #expect(
            line("Ready").wholeMatch(
                of: /42:M \d\d [A-Z][a-z]{2} (1970|1969) [\d:]{8}\.007 \* Ready\n/) != nil)
        #expect(line("x", level: .warning).contains(" # x"))
        #expect(line("x", level: .debug).contains(" . x"))
        #expect(line("x", level: .verbose).contains(" - x"))
    }

    @Test func `no message can fake a line of its own`() {
        #expect(line("a\n42:M evil\u{1B}[0m").hasSuffix(" * a\\n42:M evil\\x1b[0m\n"))
    }

    @Test func `a line may be JSON or logfmt`() {
        #expect(
            line("say \"hi\"\n", form: .json, timestamp: .milliseconds)
                == "{\"pid\":42,\"role\":\"primary\",\"timestamp\":\"7\",\"level\":\"notice\","
                + "\"message\":\"say \\\"hi\\\"\\u000a\"}\n")
        #expect(
            line("a \"b\"", form: .logfmt, timestamp: .milliseconds)
                == "pid=42 role=primary timestamp=\"7\" level=notice message=\"a \\\"b\\\"\"\n")
        #expect(
            line("x", form: .json, timestamp: .iso8601)
                .contains(/"timestamp":"19(70|69)-\d\d-\d\dT[\d:]{8}\.007[+-]\d\d:\d\d"/))
    }

    @Test func `threads do not tear lines, levels hold back, and a file can be moved away`() throws
    {
        let path = "/tmp/martlet-log-\(getpid()).log"
        let moved = path + ".1"
        defer {
            _ = unsafe unlink(path)
            _ = unsafe unlink(moved)
        }
        let lines = try ConfigurationSource.commandLine(
            [["--logfile", path], ["--loglevel", "notice"]].joined().map { [UInt8]($0.utf8) })
        let log = Log()
        try log.configure(Configuration(lines: lines).settings)
        log.write(.verbose, "never")
        let threads = 4
        let count = 200
        withThreads(threads) { number in
            for index in 0..<count { log.write(.notice, "thread \(number) line \(index) end") }
        }
        #expect(unsafe rename(path, moved) == 0)
        try log.reopen()
        log.write(.warning, "after")

        let text = String(decoding: try SystemFile.read(moved, bytesMax: 1 << 20), as: UTF8.self)
        let all = text.split(separator: "\n")
        #expect(all.count == threads * count)
        #expect(all.allSatisfy { $0.hasSuffix(" end") && $0.contains(" * thread ") })
        let rest = String(decoding: try SystemFile.read(path, bytesMax: 1 << 20), as: UTF8.self)
        #expect(rest.hasSuffix(" # after\n"))
        var status = stat()
        #expect(unsafe stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
    }

    /// Runs `body` on `count` threads at once and waits for them.
    private func withThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
        final class Work: Sendable {
            let number: Int
            let body: @Sendable (Int) -> Void
            init(_ number: Int, _ body: @escaping @Sendable (Int) -> Void) {
                self.number = number
                self.body = body
            }
        }
        var threads: [pthread_t] = []
        for number in 0..<count {
            var thread = pthread_t()
            let context = unsafe Unmanaged.passRetained(Work(number, body)).toOpaque()
            unsafe pthread_create(
                &thread, nil,
                { context in
                    guard let context = unsafe context else { return nil }
                    let work = unsafe Unmanaged<Work>.fromOpaque(context).takeRetainedValue()
                    work.body(work.number)
                    return nil
                }, context)
            threads.append(thread)
        }
        for thread in threads { pthread_join(thread, nil) }
    }
}

@Suite struct ProcessTests {
    @Test func `the first signal asks to stop, the second to end at once`() {
        let heard = Mutex<[SignalWatcher.Request]>([])
        let watcher = SignalWatcher { request in heard.withLock { $0.append(request) } }
        for number in [SIGHUP, SIGTERM, SIGHUP, SIGINT] { watcher.receive(number) }
        #expect(heard.withLock { $0 } == [.reopenLog, .stop(SIGTERM), .reopenLog, .exit(SIGINT)])
    }

    @Test func `the PID file holds our ID and is removed only while it does`() throws {
        let path = "/tmp/martlet-pid-\(getpid()).pid"
        defer { _ = unsafe unlink(path) }
        let file = try PidFile(path: path)
        #expect(try SystemFile.read(path, bytesMax: 64) == [UInt8]("\(getpid())\n".utf8))
        try SystemFile.replace(path, with: [UInt8]("1\n".utf8))
        file.remove()
        #expect(SystemFile.exists(path))
        let second = try PidFile(path: path)
        second.remove()
        #expect(!SystemFile.exists(path))
        #expect(throws: SystemError.self) { try PidFile(path: "/nonexistent/x.pid") }
    }

    @Test func `the checks warn of what an operator should see`() throws {
        let settings = try Configuration(lines: []).settings
        var facts = HostFacts()
        facts.machineBytes = 8 << 30
        facts.backlogMax = 4096
        #expect(StartupChecks.warnings(settings, facts) == [])
        facts.isRoot = true
        facts.backlogMax = 128
        facts.containerBytesMax = 1 << 30
        facts.isDirectoryWorldWritable = true
        let warnings = StartupChecks.warnings(settings, facts)
        #expect(warnings.count == 4)
        #expect(warnings[0].contains("root"))
        #expect(warnings[1].contains("511") && warnings[1].contains("128"))
        #expect(warnings[2].contains("maxmemory"))
        #expect(warnings[3].contains("writable by everybody"))

        let bounded = try Configuration(
            lines: ConfigurationSource.standardInput([UInt8]("maxmemory 512mb".utf8))
        ).settings
        #expect(StartupChecks.warnings(bounded, facts).count == 3)
        #expect(HostFacts.current(directory: "/tmp").isDirectoryWorldWritable)
        #expect(HostFacts.current(directory: "/tmp").machineBytes > 0)
    }

    @Test func `the lines that harnesses wait for are there`() throws {
        let settings = try Configuration(lines: []).settings
        #expect(Banner.running(settings, showsLogo: false).contains(" PID: \(getpid())"))
        #expect(Banner.initialized == "Server initialized")
        #expect(Banner.ready == "Ready to accept connections")
        #expect(Banner.goodbye.contains("ready to exit, bye bye"))
    }
}
