//  A server that the benchmark starts, binds to CPUs, and ends.
//
//  Raw memory: the words a signal handler reads live for ever; the strings for `posix_spawn` live
//  for its call.

import Glibc

/// Process IDs to end when the benchmark is interrupted; 0 is a free place.
///
/// Unsafe and global because a signal handler reads it: it may take no lock and allocate nothing.
/// The controlling thread alone writes, one aligned word at a time, and the memory lives for ever.
nonisolated(unsafe) private let runningServers: UnsafeMutablePointer<pid_t> = {
    let places = UnsafeMutablePointer<pid_t>.allocate(capacity: runningServersMax)
    unsafe places.initialize(repeating: 0, count: runningServersMax)
    return unsafe places
}()
private let runningServersMax = 64

/// The words of `rm -rf -- PATH`, without a path when there is nothing to remove. As unsafe and
/// global as `runningServers`, for the same reason, and written and read alike.
nonisolated(unsafe) private let removal: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?> = {
    let words = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(capacity: 5)
    unsafe words.initialize(repeating: nil, count: 5)
    for (index, word) in ["/bin/rm", "-rf", "--"].enumerated() {
        unsafe words[index] = unsafe strdup(word)
    }
    return unsafe words
}()

/// Has a directory removed when a signal ends the benchmark; nil: none any more.
func removeOnSignals(_ path: String?) {
    let old = unsafe removal[3]
    unsafe removal[3] = unsafe path.flatMap { unsafe strdup($0) }
    unsafe free(old)
}

/// Ends spawned servers, and removes their files, when SIGINT, SIGTERM or SIGHUP ends the
/// benchmark.
package func endServersOnSignals() {
    _ = unsafe runningServers
    _ = unsafe removal
    for number in [SIGINT, SIGTERM, SIGHUP] {
        signal(number) { received in
            for index in 0..<runningServersMax where unsafe runningServers[index] > 0 {
                unsafe kill(runningServers[index], SIGKILL)
                unsafe waitpid(runningServers[index], nil, 0)
            }
            // The C library's posix_spawn takes its stack from the kernel and allocates nothing.
            var remover = pid_t()
            if let program = unsafe removal[0], unsafe removal[3] != nil,
                unsafe posix_spawn(&remover, program, nil, nil, removal, nil) == 0
            {
                waitpid(remover, nil, 0)
            }
            _exit(128 + received)
        }
    }
}

/// A running child process that listens on 127.0.0.1. It is ended when this goes away.
@safe
package struct SpawnedServer: ~Copyable {
    package let pid: Int
    package let endpoint: Endpoint
    /// How long it took from its start until it answered, its data loaded.
    package private(set) var startSeconds = 0.0
    private let output: Int32

    /// Starts `commandLine`, in which `{port}` stands for the port, and waits until it answers.
    ///
    /// - Parameters:
    ///   - commandLine: words separated by spaces, quoted as in redis-cli.
    ///   - port: where it will listen.
    ///   - values: what stands for other names in braces.
    ///   - cpus: what the process may run on; nil leaves it free.
    ///   - greeting: how to ask it whether it is ready.
    /// - Returns: the server, ready.
    /// - Throws: `.measurement` when it does not start, with the end of what it printed.
    package static func start(
        _ commandLine: String, port: Int, values: [String: String] = [:], cpus: CPUList?,
        greeting: Greeting = Greeting()
    ) throws(BenchmarkError) -> SpawnedServer {
        var values = values
        values["port"] = String(port)
        return try start(
            words: try words(of: commandLine, values), port: port, cpus: cpus, greeting: greeting)
    }

    /// The words of a command line, `{name}` replaced in each: a value may hold spaces.
    static func words(
        of commandLine: String, _ values: [String: String]
    ) throws(BenchmarkError) -> [String] {
        var words: [String] = []
        for word in try RequestTemplate.words(commandLine) {
            var text = String(decoding: word.bytes, as: UTF8.self)
            for (name, value) in values { text = text.replacing("{\(name)}", with: value) }
            words.append(text)
        }
        return words
    }

    /// Starts this very program as floor server.
    package static func startFloor(
        port: Int, counting: RequestCounting, reply: [UInt8], cpus: CPUList?
    ) throws(BenchmarkError) -> SpawnedServer {
        var words = [
            "/proc/self/exe", "floor", "--port", String(port), "--reply", escaped(reply),
        ]
        if case .length(let length) = counting { words += ["--request-bytes", String(length)] }
        return try start(words: words, port: port, cpus: cpus, greeting: nil)
    }

    private static func start(
        words: [String], port: Int, cpus: CPUList?, greeting: Greeting?
    ) throws(BenchmarkError) -> SpawnedServer {
        let output = try temporaryFile()
        let startedAt = monotonicNanoseconds()
        let pid: Int
        do throws(BenchmarkError) {
            // A child inherits the CPUs of the thread that starts it, with all its threads; bound
            // afterwards, threads it has already started would be missed.
            try cpus?.bindCallingThread()
            defer { if cpus != nil { CPUList.releaseCallingThread() } }
            pid = try spawn(words, output: output)
        } catch {
            close(output)
            throw error
        }
        var server = SpawnedServer(
            pid: pid, endpoint: .tcp(host: "127.0.0.1", port: port), output: output)
        let readyAt = try server.waitUntilReady(words[0], greeting)
        server.startSeconds = Double(readyAt &- startedAt) / 1e9
        return server
    }

    private init(pid: Int, endpoint: Endpoint, output: Int32) {
        self.pid = pid
        self.endpoint = endpoint
        self.output = output
        for index in 0..<runningServersMax where unsafe runningServers[index] == 0 {
            unsafe runningServers[index] = pid_t(pid)
            break
        }
    }

    deinit {
        var status: Int32 = 0
        kill(pid_t(pid), SIGTERM)
        var ended = false
        for _ in 0..<500 where !ended {
            ended = unsafe waitpid(pid_t(pid), &status, WNOHANG) != 0
            if !ended { usleep(10_000) }
        }
        if !ended {
            kill(pid_t(pid), SIGKILL)
            unsafe waitpid(pid_t(pid), &status, 0)
        }
        for index in 0..<runningServersMax where unsafe runningServers[index] == pid_t(pid) {
            unsafe runningServers[index] = 0
        }
        close(output)
    }

    /// Ends it and what it forked, without a chance to save anything.
    package func endAtOnce() {
        let forked = (try? ProcessMeter(pid: pid))?.children
        for process in (forked ?? []) + [pid] { kill(pid_t(process), SIGKILL) }
        var info = unsafe siginfo_t()
        unsafe waitid(P_PID, id_t(pid), &info, Int32(WEXITED) | Int32(WNOWAIT))
    }

    /// Waits for an answer that is not an error, and returns when it came. Without a greeting, a
    /// server that accepts is ready: it answers only what it was made for.
    ///
    /// - Throws: `.measurement` when it ended, or answered neither so nor LOADING for 15 seconds.
    private func waitUntilReady(
        _ name: String, _ greeting: Greeting?
    ) throws(BenchmarkError) -> UInt64 {
        let patience: UInt64 = 15_000_000_000
        var end = monotonicNanoseconds() + patience
        var reason = ""
        while monotonicNanoseconds() < end {
            do throws(BenchmarkError) {
                guard let greeting else {
                    close(try endpoint.connect())
                    return monotonicNanoseconds()
                }
                var client = try ControlClient.connect(endpoint, greeting: greeting)
                while true {
                    let reply = try client.commandOrError(["PING"])
                    let now = monotonicNanoseconds()
                    guard case .error(let text) = reply else { return now }
                    guard text.hasPrefix("LOADING") else { throw .reply(text) }
                    end = now + patience
                    sleep(seconds: 0.002)
                }
            } catch {
                reason = error.message
            }
            if hasEnded {
                reason = "it ended"
                break
            }
            sleep(seconds: 0.002)
        }
        throw .measurement("'\(name)' did not start: \(reason)\(printed())")
    }

    /// Whether the process is over; it stays to be waited for, so that its ID stays its own.
    private var hasEnded: Bool {
        var info = unsafe siginfo_t()
        let options = Int32(WEXITED) | Int32(WNOHANG) | Int32(WNOWAIT)
        return unsafe waitid(P_PID, id_t(pid), &info, options) == 0 && info.si_signo != 0
    }

    /// The end of what the server printed.
    private func printed() -> String {
        var bytes = [UInt8](repeating: 0, count: 4096)
        let size = lseek(output, 0, SEEK_END)
        let got = unsafe pread(output, &bytes, bytes.count, max(0, size - bytes.count))
        guard got > 0 else { return "" }
        return "; it printed:\n" + String(decoding: bytes[..<got], as: UTF8.self)
    }
}

/// Starts `words` with both outputs into `output`.
private func spawn(_ words: [String], output: Int32) throws(BenchmarkError) -> Int {
    guard let program = words.first else { throw .usage("the command line of a server is empty") }
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    unsafe posix_spawn_file_actions_adddup2(&actions, output, 1)
    unsafe posix_spawn_file_actions_adddup2(&actions, output, 2)
    // `environ` is a global variable, which Swift rightly refuses; /proc has the same words.
    let environment = (readFile("/proc/self/environ") ?? "").split(separator: "\0").map(String.init)
    var pid = pid_t()
    let status = unsafe withCStrings(words) { arguments in
        unsafe withCStrings(environment) { variables in
            unsafe posix_spawnp(&pid, program, &actions, nil, arguments, variables)
        }
    }
    guard status == 0 else { throw .system(call: "starting \(program)", errorNumber: status) }
    return Int(pid)
}

/// Lends the texts as a null-terminated array of C strings.
private func withCStrings<R>(
    _ texts: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> R
) -> R {
    var pointers: [UnsafeMutablePointer<CChar>?] = unsafe texts.map { unsafe strdup($0) }
    unsafe pointers.append(nil)
    defer {
        for index in unsafe 0..<pointers.count { unsafe free(pointers[index]) }
    }
    return unsafe pointers.withUnsafeBufferPointer { buffer in
        unsafe body(buffer.baseAddress.unsafelyUnwrapped)
    }
}

/// A file without a name, for the output of a server.
private func temporaryFile() throws(BenchmarkError) -> Int32 {
    var name = Array("/tmp/martlet-benchmark-XXXXXX".utf8CString)
    let descriptor = unsafe mkstemp(&name)
    guard descriptor >= 0 else { throw .system(call: "mkstemp", errorNumber: errno) }
    unsafe unlink(name)
    return descriptor
}

/// Bytes as text in which line ends and what is not printable are escaped, as `unescaped` reads.
package func escaped(_ bytes: [UInt8]) -> String {
    var text = ""
    for byte in bytes {
        switch byte {
        case 13: text += "\\r"
        case 10: text += "\\n"
        case UInt8(ascii: "\\"): text += "\\\\"
        case 32...126: text.unicodeScalars.append(Unicode.Scalar(byte))
        default:
            let digits = String(byte, radix: 16)
            text += "\\x" + (digits.utf8.count == 1 ? "0" : "") + digits
        }
    }
    return text
}

/// The bytes of a text in which \r \n \t \\ and \xHH stand for one byte each.
///
/// - Throws: `.usage` when an escape is not one of these.
package func unescaped(_ text: String) throws(BenchmarkError) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
        if byte != UInt8(ascii: "\\") {
            bytes.append(byte)
            continue
        }
        switch rest.popFirst() {
        case UInt8(ascii: "r"): bytes.append(13)
        case UInt8(ascii: "n"): bytes.append(10)
        case UInt8(ascii: "t"): bytes.append(9)
        case UInt8(ascii: "\\"): bytes.append(UInt8(ascii: "\\"))
        case UInt8(ascii: "x"):
            let digits = String(decoding: rest.prefix(2), as: UTF8.self)
            guard digits.utf8.count == 2, let value = UInt8(digits, radix: 16) else {
                throw .usage("\\x wants two hexadecimal digits in '\(text)'")
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        default:
            throw .usage("the escapes are \\r \\n \\t \\\\ and \\xHH in '\(text)'")
        }
    }
    return bytes
}
