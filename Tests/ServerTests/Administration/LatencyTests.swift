//  Latency events and distributions.

import MartletBase
import MartletEngine
import Testing

@testable import MartletServer

struct LatencyTests {
    @Test func `within a second the worst sample counts, and 160 seconds are kept`() {
        let monitor = LatencyMonitor()
        monitor.add("command", milliseconds: 5, unixSeconds: 1)
        monitor.add("command", milliseconds: 9, unixSeconds: 1)
        monitor.add("command", milliseconds: 7, unixSeconds: 1)
        #expect(
            monitor.series(of: "command")?.samples == [.init(unixSeconds: 1, milliseconds: 9)])
        for second in 2..<300 {
            monitor.add("command", milliseconds: 1, unixSeconds: Int64(second))
        }
        let series = monitor.series(of: "command")
        #expect(series?.samples.count == LatencyMonitor.samplesMax)
        #expect(series?.samples.last?.unixSeconds == 299)
        #expect(series?.worstMilliseconds == 9)
    }

    @Test func `RESET forgets the named events, or all`() throws {
        let server = try AdministrationHarness()
        let client = server.client()
        for event in ["command", "fast-command", "other"] {
            server.context.latency.add(event, milliseconds: 12, unixSeconds: 1_700_000_000)
        }
        #expect(client.run("LATENCY", "RESET", "command", "nosuch") == ":1\r\n")
        #expect(client.run("LATENCY", "HISTORY", "command") == "*0\r\n")
        #expect(
            client.run("LATENCY", "HISTORY", "other") == "*1\r\n*2\r\n:1700000000\r\n:12\r\n")
        #expect(
            texts(client.run("LATENCY", "LATEST")) == [
                "fast-command", ":1700000000", ":12", ":12", "other", ":1700000000", ":12", ":12",
            ])
        #expect(client.run("LATENCY", "RESET") == ":2\r\n")
        #expect(client.run("LATENCY", "LATEST") == "*0\r\n")
    }

    @Test func `a graph draws low samples low and high ones high`() throws {
        let server = try AdministrationHarness()
        let client = server.client()
        #expect(
            client.run("LATENCY", "GRAPH", "command")
                == "-ERR No samples available for event 'command'\r\n")
        for (offset, value) in [(0, 10), (1, 60), (2, 110)] {
            server.context.latency.add(
                "command", milliseconds: Int64(value),
                unixSeconds: 1_699_999_990 + Int64(offset))
        }
        let lines = client.run("LATENCY", "GRAPH", "command").split(
            separator: "\n", omittingEmptySubsequences: false)
        #expect(lines[0].hasSuffix("command - high 110 ms, low 10 ms (all time high 110 ms)"))
        #expect(lines[2] == "  #")
        #expect(lines[5] == "_||")
        #expect(lines[7] == "198")
        #expect(lines[8] == "0ss")
    }

    @Test func `a histogram is cumulative and its percentiles lie in their class`() {
        var statistics = CommandStatistics()
        statistics.histogram = Array(repeating: 0, count: 28)
        statistics.histogram[10] = 90
        statistics.histogram[20] = 10
        let histogram = LatencyHistogram([statistics])
        #expect(histogram.calls == 100)
        let steps = histogram.cumulative
        #expect(steps.map(\.calls) == [90, 100])
        #expect(steps[0].microseconds < steps[1].microseconds)
        let low = TickRate.microseconds(1 << 16)
        let high = TickRate.microseconds(1 << 27)
        #expect((low...2 * low).contains(histogram.percentile(50)))
        #expect((high / 2...high).contains(histogram.percentile(99)))
        #expect(histogram.percentile(0) <= histogram.percentile(100))
    }

    @Test func `a container stands for its subcommands, a name that is none for nothing`() throws {
        let client = try AdministrationHarness().client(isRESP3: true)
        client.run("CONFIG", "GET", "port")
        client.run("PING")
        let reply = client.run("LATENCY", "HISTOGRAM", "config", "nosuch")
        #expect(reply.hasPrefix("%1\r\n$10\r\nconfig|get\r\n%2\r\n$5\r\ncalls\r\n:1\r\n"))
        #expect(client.run("LATENCY", "HISTOGRAM", "nosuch") == "%0\r\n")
    }

    @Test func `the doctor has an answer with and without events`() throws {
        let server = try AdministrationHarness()
        let client = server.client()
        #expect(client.run("LATENCY", "DOCTOR").contains("latency-monitor-threshold"))
        client.run("CONFIG", "SET", "latency-monitor-threshold", "10")
        #expect(client.run("LATENCY", "DOCTOR").contains("No latency event"))
        server.context.latency.add("command", milliseconds: 12, unixSeconds: 1)
        #expect(client.run("LATENCY", "DOCTOR").contains("command: 1 latency spikes"))
    }
}
