//  The whole generator against the floor server, over loopback.

import Foundation
import Testing

@testable import LoadGenerator

@Suite struct LoadRunTests {
    /// Starts a floor server on a thread that lives as long as the test process.
    private func floor(_ counting: RequestCounting, reply: String) throws -> Endpoint {
        let port = try freePort()
        Thread.detachNewThread {
            var server: FloorServer
            do {
                server = try FloorServer(port: port, counting: counting, reply: Array(reply.utf8))
            } catch {
                return
            }
            _ = server.run()
        }
        let endpoint = Endpoint.tcp(host: "127.0.0.1", port: port)
        for _ in 0..<1000 {
            if let descriptor = try? endpoint.connect() {
                close(descriptor)
                return endpoint
            }
            usleep(1000)
        }
        throw BenchmarkError.measurement("the floor server did not start")
    }

    private func plan(_ endpoint: Endpoint, _ commands: String..., threads: Int) -> LoadPlan {
        var plan = LoadPlan(endpoint: endpoint)
        plan.connections = 7
        plan.threads = threads
        plan.pipeline = 16
        plan.keyCount = 1000
        plan.commands = commands.map { WeightedCommand($0) }
        return plan
    }

    @Test(arguments: [1, 3], [1, 999, 20_000])
    func `a run bounded by operations is answered to the last`(
        threads: Int, operations: Int
    ) throws {
        let length = try RequestTemplate("GET key:{key}", valueBytes: 0).bytes.count
        let endpoint = try floor(.length(length), reply: "$3\r\nabc\r\n")
        var plan = plan(endpoint, "GET key:{key}", threads: threads)
        plan.bound = .operations(operations)
        let measurement = try measure(plan, meter: nil)
        #expect(measurement.operations == operations)
        #expect(measurement.latency.count == UInt64(operations))
        #expect(measurement.errors == 0)
        #expect(measurement.seconds > 0)
    }

    @Test func `operations of several commands of unequal length are counted whole`() throws {
        let endpoint = try floor(.stars, reply: ":1\r\n")
        var plan = plan(
            endpoint, "INCR {key} ; DEL {samekey} ; PING", "SET {key} {value} ; PING ; PING",
            threads: 2)
        plan.bound = .operations(5000)
        let measurement = try measure(plan, meter: nil)
        #expect(measurement.operations == 5000)
        #expect(measurement.requests == 15_000)
        #expect(measurement.latency.count == 5000)
    }

    @Test(arguments: [1, 2], [false, true])
    func `an open loop sends at its rate and not faster`(
        threads: Int, isBackground: Bool
    ) throws {
        let endpoint = try floor(.stars, reply: "+OK\r\n")
        var plan = plan(endpoint, "PING", threads: threads)
        plan.isBackground = isBackground
        plan.operationsPerSecond = 10_000
        plan.bound = .operations(2000)
        let measurement = try measure(plan, meter: nil)
        #expect(measurement.operations == 2000)
        #expect(measurement.latency.count == 2000)
        // The last of 2 000 operations is due after 199.9 ms.
        #expect(measurement.seconds >= 0.19)
    }

    @Test func `requests larger than the socket takes at once arrive whole`() throws {
        let text = "SET key:{key} {value:300000}"
        let length = try RequestTemplate(text, valueBytes: 0).bytes.count
        let endpoint = try floor(.length(length), reply: "+OK\r\n")
        var plan = plan(endpoint, text, threads: 1)
        plan.bound = .operations(200)
        #expect(try measure(plan, meter: nil).operations == 200)
    }

    @Test func `an error reply ends the run unless errors are allowed`() throws {
        let endpoint = try floor(.stars, reply: "-ERR no\r\n")
        var plan = plan(endpoint, "PING", threads: 2)
        plan.bound = .operations(100)
        #expect(throws: BenchmarkError.self) { try measure(plan, meter: nil) }
        plan.allowsErrors = true
        let measurement = try measure(plan, meter: nil)
        #expect(measurement.errors == 100)
        #expect(measurement.errorTexts == ["ERR no"])
    }

    @Test func `a server that is not there is told`() throws {
        let endpoint = Endpoint.tcp(host: "127.0.0.1", port: try freePort())
        #expect(throws: BenchmarkError.self) {
            try measure(plan(endpoint, "PING", threads: 1), meter: nil)
        }
    }
}
