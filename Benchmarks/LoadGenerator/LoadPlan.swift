//  What a run drives, and what it found.

/// When a run ends.
package enum LoadBound: Sendable, Equatable {
    case seconds(Double)
    /// After this many operations, shared out among the workers.
    case operations(Int)
}

/// Everything a run needs to know. The command line checks the bounds.
package struct LoadPlan: Sendable {
    package var endpoint: Endpoint
    package var greeting = Greeting()
    package var connections = 50
    package var threads = 1
    /// Requests in flight on each connection.
    package var pipeline = 1
    package var keyCount = 100_000
    package var distribution = KeyDistribution.uniform
    /// Where sequential keys begin.
    package var firstKey = 0
    /// Where {seq} begins, and which part of the random numbers is used: what came before counts.
    package var firstOperation = 0
    package var valueBytes = 64
    package var commands: [WeightedCommand] = []
    package var bound = LoadBound.seconds(5)
    /// Operations begun each second over all connections; nil sends the next batch when the last
    /// is answered.
    package var operationsPerSecond: Double?
    package var warmupSeconds = 0.0
    package var seed: UInt64 = 1
    package var allowsErrors = false
    /// Whether its workers stand back for others on their CPU: they are nice, and do not spend the
    /// last of a wait polling. For load beside a run whose latencies count.
    package var isBackground = false
    /// Worker i is bound to the i-th of them, in turn.
    package var cpus: CPUList?

    package init(endpoint: Endpoint) { self.endpoint = endpoint }
}

/// What a run found, of the time after its warm-up.
package struct Measurement: Sendable {
    package var operations = 0
    package var commandsPerOperation = 1
    package var seconds = 0.0
    package var latency: LatencySummary
    package var errors = 0
    package var errorTexts: [String] = []
    package var nulls = 0
    /// CPU time of the generator's own workers.
    package var clientSeconds = 0.0
    package var server: ProcessUsage?

    package var requests: Int { operations * commandsPerOperation }
    package var requestsPerSecond: Double { seconds > 0 ? Double(requests) / seconds : 0 }
    package var operationsPerSecond: Double { seconds > 0 ? Double(operations) / seconds : 0 }

    /// Microseconds of `cpuSeconds` for each operation.
    package func perOperation(_ cpuSeconds: Double) -> Double {
        operations > 0 ? cpuSeconds * 1e6 / Double(operations) : 0
    }
}
