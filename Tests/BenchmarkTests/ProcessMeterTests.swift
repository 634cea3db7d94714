//  What is read from /proc, from kept lines.

import Foundation
import Testing

@testable import LoadGenerator

@Suite struct ProcessMeterTests {
    @Test func `times are found behind any name`() {
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 55 66 0 0 20 0 1 0 99"
        let times = ProcessMeter.parse(stat: line)
        #expect(times?.name == "a) b (c")
        #expect(times?.userTicks == 55)
        #expect(times?.systemTicks == 66)
    }

    @Test(arguments: ["", "7 (a) S 1", "7 a S 1 2 3 4 5 6 7 8 9 10 11 12 13 14"])
    func `a line without times gives none`(line: String) {
        #expect(ProcessMeter.parse(stat: line) == nil)
    }

    @Test func `kilobytes are found in status and in smaps_rollup`() {
        #expect(
            ProcessMeter.kilobytes("VmRSS:", in: "VmHWM:\t  9 kB\nVmRSS:\t    3 kB\n") == 3072)
        #expect(ProcessMeter.kilobytes("Rss:", in: "[rollup]\nRss:     2048 kB\n") == 2 << 20)
        #expect(ProcessMeter.kilobytes("Rss:", in: "Pss: 1 kB") == nil)
    }

    @Test func `CPU time since the start grows with work`() throws {
        let meter = try ProcessMeter(pid: Int(getpid()))
        let before = try meter.secondsSinceStart()
        var random = RandomBits(seed: 1)
        var sum: UInt64 = 0
        while try meter.secondsSinceStart() < before + 0.02 {
            for _ in 0..<100_000 { sum &+= random.next() }
        }
        #expect(sum != 0)
    }

    @Test func `what is private to a process is clean and dirty together`() {
        let rollup = "Shared_Clean: 5 kB\nPrivate_Clean:     2 kB\nPrivate_Dirty:     3 kB\n"
        #expect(ProcessMeter.privateBytes(rollup) == 5 << 10)
        #expect(ProcessMeter.privateBytes("") == 0)
    }

    @Test func `the memory of children counts while they run`() throws {
        let meter = try ProcessMeter(pid: Int(getpid()))
        let child = Process()
        child.executableURL = URL(fileURLWithPath: "/bin/sleep")
        child.arguments = ["60"]
        try child.run()
        let pid = Int(child.processIdentifier)
        #expect(meter.children.contains(pid))
        #expect(try meter.residentBytesWithChildren() > 0)
        kill(child.processIdentifier, SIGKILL)
        child.waitUntilExit()
        #expect(!meter.children.contains(pid))
    }

    @Test func `a peak is forgotten when it is told to be`() throws {
        let meter = try ProcessMeter(pid: Int(getpid()))
        let bytes = 64 << 20
        // Given back before the peak is asked for.
        #expect([UInt8](repeating: 1, count: bytes).count == bytes)
        let peak = try meter.peakResidentBytes()
        #expect(peak > bytes)
        try meter.resetPeak()
        #expect(try meter.peakResidentBytes() <= peak - bytes / 2)
    }

    @Test func `usage is what the later times have more, threads that began included`() {
        func thread(_ nanoseconds: UInt64, _ user: UInt64, _ system: UInt64) -> ThreadTimes {
            ThreadTimes(name: "t", nanoseconds: nanoseconds, userTicks: user, systemTicks: system)
        }
        let start = ProcessTimes(threads: [1: thread(1_000_000_000, 10, 90)], takenAt: 0)
        let end = ProcessTimes(
            threads: [1: thread(2_000_000_000, 20, 110), 2: thread(500_000_000, 30, 20)],
            takenAt: 4_000_000_000)
        let usage = start.usage(until: end)
        #expect(usage.seconds == 1.5)
        #expect(usage.userShare == 0.5)
        #expect(usage.userSeconds == 0.75)
        #expect(usage.elapsed == 4)
        #expect(usage.threads.map(\.seconds) == [1, 0.5])
    }
}
