//  What a process on this machine used: CPU time by thread, resident memory.
//
//  CPU time in all comes from /proc/PID/task/*/schedstat, which the scheduler counts in
//  nanoseconds. Its parts, user and system, are known to the kernel only by its tick (a sample
//  4 ms apart at 250 Hz), so the exact total is divided by the ratio of sampled ticks in
//  /proc/PID/task/*/stat: with 500 samples in two seconds a share of 12 % is known to 1.5 %.
//  Where schedstat is missing, ticks are all there is.

import Glibc

/// CPU time of one thread since it began.
package struct ThreadTimes: Sendable, Equatable {
    package var name: String
    package var nanoseconds: UInt64
    package var userTicks: UInt64
    package var systemTicks: UInt64
}

/// CPU times of all threads of a process at one moment.
package struct ProcessTimes: Sendable, Equatable {
    package var threads: [Int: ThreadTimes]
    package var takenAt: UInt64

    /// What `later` has more; a thread that began in between counts from its beginning.
    package func usage(until later: ProcessTimes) -> ProcessUsage {
        var usage = ProcessUsage()
        for (thread, end) in later.threads.sorted(by: { $0.key < $1.key }) {
            let start = threads[thread]
            let nanoseconds = end.nanoseconds &- (start?.nanoseconds ?? 0)
            let userTicks = end.userTicks &- (start?.userTicks ?? 0)
            let systemTicks = end.systemTicks &- (start?.systemTicks ?? 0)
            let seconds = Double(nanoseconds) / 1e9
            usage.seconds += seconds
            usage.userTicks += userTicks
            usage.systemTicks += systemTicks
            usage.threads.append(
                ProcessUsage.Thread(id: thread, name: end.name, seconds: seconds))
        }
        usage.elapsed = Double(later.takenAt &- takenAt) / 1e9
        return usage
    }
}

/// CPU time that a process used between two moments.
package struct ProcessUsage: Sendable, Equatable {
    package struct Thread: Sendable, Equatable {
        package var id: Int
        package var name: String
        package var seconds: Double
    }
    package var seconds = 0.0
    package var userTicks: UInt64 = 0
    package var systemTicks: UInt64 = 0
    package var elapsed = 0.0
    package var threads: [Thread] = []

    package init() {}

    /// The part spent in user space, of what the kernel sampled; 0 when it sampled nothing.
    package var userShare: Double {
        let ticks = userTicks + systemTicks
        return ticks == 0 ? 0 : Double(userTicks) / Double(ticks)
    }
    package var userSeconds: Double { seconds * userShare }
    package var systemSeconds: Double { seconds * (1 - userShare) }
}

/// Reads /proc about one process.
package struct ProcessMeter: Sendable, Equatable {
    package let pid: Int

    /// - Throws: `.measurement` when there is no such process on this machine.
    package init(pid: Int) throws(BenchmarkError) {
        self.pid = pid
        guard readFile("/proc/\(pid)/stat") != nil else {
            throw .measurement("there is no process \(pid) on this machine")
        }
    }

    /// CPU times of all threads, now.
    ///
    /// - Throws: `.measurement` when the process is gone.
    package func times() throws(BenchmarkError) -> ProcessTimes {
        var threads: [Int: ThreadTimes] = [:]
        for entry in directoryEntries("/proc/\(pid)/task") {
            guard let thread = Int(entry),
                let stat = readFile("/proc/\(pid)/task/\(entry)/stat"),
                var times = ProcessMeter.parse(stat: stat)
            else { continue }
            if let scheduled = readFile("/proc/\(pid)/task/\(entry)/schedstat"),
                let first = scheduled.split(separator: " ").first,
                let nanoseconds = UInt64(first)
            {
                times.nanoseconds = nanoseconds
            } else {
                let perSecond = UInt64(max(1, sysconf(Int32(_SC_CLK_TCK))))
                times.nanoseconds =
                    (times.userTicks + times.systemTicks) * (1_000_000_000 / perSecond)
            }
            threads[thread] = times
        }
        guard !threads.isEmpty else { throw .measurement("process \(pid) is gone") }
        return ProcessTimes(threads: threads, takenAt: monotonicNanoseconds())
    }

    /// CPU seconds since it began of all its threads, of those too that have ended, by the kernel's
    /// tick.
    ///
    /// - Throws: `.measurement` when the process is gone.
    package func secondsSinceStart() throws(BenchmarkError) -> Double {
        guard let stat = readFile("/proc/\(pid)/stat"), let times = ProcessMeter.parse(stat: stat)
        else { throw .measurement("process \(pid) is gone") }
        let perSecond = Double(max(1, sysconf(Int32(_SC_CLK_TCK))))
        return Double(times.userTicks + times.systemTicks) / perSecond
    }

    /// The name, user and system ticks in a line of /proc/PID/stat. The name may hold anything,
    /// parentheses and spaces too, so the fields are counted from the last parenthesis.
    static func parse(stat: String) -> ThreadTimes? {
        guard let open = stat.firstIndex(of: "("), let close = stat.lastIndex(of: ")"),
            open < close
        else { return nil }
        let fields = stat[stat.index(after: close)...].split(separator: " ")
        guard fields.count > 12, let user = UInt64(fields[11]), let system = UInt64(fields[12])
        else { return nil }
        return ThreadTimes(
            name: String(stat[stat.index(after: open)..<close]), nanoseconds: 0, userTicks: user,
            systemTicks: system)
    }

    /// Resident memory in bytes, exact: the kernel walks the page tables for it, which holds the
    /// process up, so it is for quiet moments.
    package func residentBytes() throws(BenchmarkError) -> Int {
        if let rollup = readFile("/proc/\(pid)/smaps_rollup"),
            let bytes = ProcessMeter.kilobytes("Rss:", in: rollup)
        {
            return bytes
        }
        return try residentBytesRoughly()
    }

    /// Resident memory in bytes from a counter that may lag by some hundred KB, free of charge.
    package func residentBytesRoughly() throws(BenchmarkError) -> Int {
        guard let status = readFile("/proc/\(pid)/status"),
            let bytes = ProcessMeter.kilobytes("VmRSS:", in: status)
        else { throw .measurement("the memory of process \(pid) cannot be read") }
        return bytes
    }

    /// Bytes resident in the process and in those it forked, each page counted once: a page that a
    /// child shares with its parent is in the parent's figure, so a child adds what is its alone.
    ///
    /// The kernel walks the child's page tables for it, on the caller's CPU: not beside a
    /// measurement of latencies.
    ///
    /// - Throws: `.measurement` when the process is gone.
    package func residentBytesWithChildren() throws(BenchmarkError) -> Int {
        var sum = try residentBytesRoughly()
        for child in children {
            // A child that has ended since adds nothing.
            sum += readFile("/proc/\(child)/smaps_rollup").map(ProcessMeter.privateBytes) ?? 0
        }
        return sum
    }

    /// The most that was resident in the process itself since it began, or since `resetPeak`.
    ///
    /// - Throws: `.measurement` when the process is gone.
    package func peakResidentBytes() throws(BenchmarkError) -> Int {
        guard let status = readFile("/proc/\(pid)/status"),
            let bytes = ProcessMeter.kilobytes("VmHWM:", in: status)
        else { throw .measurement("the memory of process \(pid) cannot be read") }
        return bytes
    }

    /// Lets `peakResidentBytes` count from now.
    ///
    /// - Throws: `.system` when the process belongs to somebody else.
    package func resetPeak() throws(BenchmarkError) {
        let path = "/proc/\(pid)/clear_refs"
        let descriptor = unsafe open(path, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .system(call: "opening \(path)", errorNumber: errno) }
        defer { close(descriptor) }
        guard unsafe write(descriptor, "5", 1) == 1 else {
            throw .system(call: "writing \(path)", errorNumber: errno)
        }
    }

    /// The processes that it started and that have not ended.
    package var children: [Int] {
        directoryEntries("/proc/\(pid)/task").flatMap { thread in
            (readFile("/proc/\(pid)/task/\(thread)/children") ?? "")
                .split(whereSeparator: \.isWhitespace).compactMap { Int($0) }
        }
    }

    static func privateBytes(_ rollup: String) -> Int {
        (kilobytes("Private_Clean:", in: rollup) ?? 0)
            + (kilobytes("Private_Dirty:", in: rollup) ?? 0)
    }

    static func kilobytes(_ name: String, in text: String) -> Int? {
        for line in text.split(separator: "\n") where line.hasPrefix(name) {
            let words = line.dropFirst(name.count).split(whereSeparator: \.isWhitespace)
            return words.first.flatMap { Int($0) }.map { $0 * 1024 }
        }
        return nil
    }
}

/// The text of a file in /proc, or nil.
package func readFile(_ path: String) -> String? {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 8192)
    while true {
        let got = unsafe read(descriptor, &chunk, chunk.count)
        if got < 0 { return nil }
        if got == 0 { return String(decoding: bytes, as: UTF8.self) }
        bytes += chunk[..<got]
    }
}

/// The names in a directory, of none when it is not there.
func directoryEntries(_ path: String) -> [String] {
    guard let directory = unsafe opendir(path) else { return [] }
    defer { unsafe closedir(directory) }
    var names: [String] = []
    while let entry = unsafe readdir(directory) {
        let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
            unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) {
                unsafe String(cString: $0)
            }
        }
        if name != "." && name != ".." { names.append(name) }
    }
    return names
}

/// A meter for the server at `endpoint`, whose INFO names its process; nil when it is not on this
/// machine or INFO does not say.
///
/// - Throws: `.unreachable` when nothing answers there.
package func meter(
    of endpoint: Endpoint, greeting: Greeting
) throws(BenchmarkError) -> ProcessMeter? {
    guard endpoint.isLocal else { return nil }
    var client = try ControlClient.connect(endpoint, greeting: greeting)
    guard case .text(let text) = try client.commandOrError(["INFO", "server"]),
        let range = text.firstRange(of: "process_id:"),
        let pid = Int(text[range.upperBound...].prefix { $0.isNumber })
    else { return nil }
    return try? ProcessMeter(pid: pid)
}
