//  A run from outside: workers on their threads, one controlling thread that says when.

import Glibc
import Synchronization

/// A worker and where it is found after its thread has ended.
///
/// Sendable without a lock: the worker is touched by its thread alone between `pthread_create` and
/// `pthread_join`, and by the controlling thread alone before and after.
private final class WorkerSeat: @unchecked Sendable {
    var worker: Worker
    let progress: WorkerProgress

    init(_ worker: consuming Worker, _ progress: WorkerProgress) {
        self.worker = worker
        self.progress = progress
    }
}

/// The workers of one run, connected and waiting, then running, then stopped.
///
/// One thread controls it. It must call `stop` before the last reference goes.
package final class LoadRun {
    private let plan: LoadPlan
    private let control = RunControl()
    private var seats: [WorkerSeat] = []
    private var threads: [pthread_t] = []
    private var measuredFrom: (at: UInt64, operations: Int) = (0, 0)
    private var measuredTo: (at: UInt64, operations: Int)?

    /// Connects all connections and starts the threads, which wait.
    ///
    /// - Throws: `.unreachable` and `.reply` from connecting, `.usage` from the commands.
    package init(_ plan: LoadPlan) throws(BenchmarkError) {
        self.plan = plan
        for number in 0..<plan.threads {
            let progress = WorkerProgress()
            let worker = try Worker(plan, number: number, control: control, progress: progress)
            seats.append(WorkerSeat(worker, progress))
        }
        for seat in seats {
            var thread = pthread_t()
            let status = unsafe pthread_create(
                &thread, nil,
                { argument in
                    guard let argument = unsafe argument else { return nil }
                    let seat = unsafe Unmanaged<WorkerSeat>.fromOpaque(argument)
                        .takeRetainedValue()
                    seat.worker.run()
                    return nil
                }, Unmanaged.passRetained(seat).toOpaque())
            guard status == 0 else {
                stopThreads()
                throw .system(call: "pthread_create", errorNumber: status)
            }
            threads.append(thread)
        }
    }

    /// Operations answered so far.
    package var operations: Int {
        seats.reduce(0) { $0 + $1.progress.operations.load(ordering: .relaxed) }
    }

    /// Whether every worker has ended by itself.
    package var isFinished: Bool {
        seats.allSatisfy { $0.progress.finishedAt.load(ordering: .acquiring) > 0 }
    }

    /// Lets the workers go, unmeasured.
    package func start() { enter(RunControl.warming) }

    /// Lets the workers record from now on. May be called instead of `start`.
    package func beginMeasuring() {
        measuredFrom = (monotonicNanoseconds(), operations)
        enter(RunControl.measuring)
    }

    /// Lets the workers go on without recording.
    package func endMeasuring() {
        measuredTo = (monotonicNanoseconds(), operations)
        enter(RunControl.warming)
    }

    /// A run that failed is already stopping, and stays so.
    private func enter(_ phase: Int) {
        let current = control.phase.load(ordering: .acquiring)
        if current == RunControl.stopping { return }
        _ = control.phase.compareExchange(
            expected: current, desired: phase, ordering: .acquiringAndReleasing)
    }

    /// - Throws: what the first worker that failed met.
    package func check() throws(BenchmarkError) { try control.check() }

    /// Stops the workers and returns what they recorded since `beginMeasuring`.
    ///
    /// - Throws: what the first worker that failed met.
    package func stop() throws(BenchmarkError) -> Measurement {
        let end = measuredTo ?? (at: monotonicNanoseconds(), operations: operations)
        let endedByThemselves = measuredTo == nil && isFinished
        stopThreads()
        try check()
        var histogram = Histogram()
        var measurement = Measurement(latency: LatencySummary(histogram))
        for seat in seats {
            histogram.merge(seat.worker.histogram)
            measurement.errors += seat.worker.errors
            measurement.nulls += seat.worker.nulls
            measurement.clientSeconds += Double(seat.worker.cpuNanoseconds) / 1e9
            for text in seat.worker.errorTexts.texts where measurement.errorTexts.count < 3 {
                if !measurement.errorTexts.contains(text) { measurement.errorTexts.append(text) }
            }
        }
        measurement.latency = LatencySummary(histogram)
        measurement.commandsPerOperation = seats[0].worker.commandsPerOperation
        measurement.operations = end.operations - measuredFrom.operations
        let last = seats.map { $0.progress.finishedAt.load(ordering: .acquiring) }.max() ?? end.at
        let endedAt = endedByThemselves ? last : end.at
        measurement.seconds = Double(endedAt &- measuredFrom.at) / 1e9
        return measurement
    }

    private func stopThreads() {
        control.phase.store(RunControl.stopping, ordering: .releasing)
        for thread in threads { pthread_join(thread, nil) }
        threads = []
    }
}

/// How far a run is, for a progress line.
package struct RunProgress: Sendable {
    package var elapsedSeconds: Double
    package var operations: Int
    /// Operations a second since the last report.
    package var operationsPerSecond: Double
}

/// Runs `plan` to its bound and measures it, and the server's CPU time if `meter` is given.
///
/// - Parameters:
///   - plan: checked by the caller.
///   - meter: of the server's process, or nil.
///   - progress: called four times a second from this thread.
/// - Returns: what was recorded between warm-up and bound.
/// - Throws: the first failure of connecting, sending, or the server's replies.
package func measure(
    _ plan: LoadPlan, meter: ProcessMeter?, progress: (RunProgress) -> Void = { _ in }
) throws(BenchmarkError) -> Measurement {
    let run = try LoadRun(plan)
    var reported = (at: monotonicNanoseconds(), operations: 0)
    let began = reported.at
    /// Sleeps until `end`, or until the workers have ended, in slices.
    func wait(until end: UInt64) throws(BenchmarkError) {
        while true {
            let now = monotonicNanoseconds()
            if now >= end || run.isFinished { return }
            sleep(seconds: min(0.02, Double(end &- now) / 1e9))
            try run.check()
            let later = monotonicNanoseconds()
            if later &- reported.at >= 250_000_000 {
                let operations = run.operations
                progress(
                    RunProgress(
                        elapsedSeconds: Double(later &- began) / 1e9, operations: operations,
                        operationsPerSecond: Double(operations - reported.operations) * 1e9
                            / Double(later &- reported.at)))
                reported = (later, operations)
            }
        }
    }
    do {
        let before: ProcessTimes?
        switch plan.bound {
        case .operations:
            before = try meter?.times()
            run.beginMeasuring()
            try wait(until: .max)
        case .seconds(let seconds):
            if plan.warmupSeconds > 0 {
                run.start()
                try wait(until: monotonicNanoseconds() &+ UInt64(plan.warmupSeconds * 1e9))
            }
            before = try meter?.times()
            run.beginMeasuring()
            try wait(until: monotonicNanoseconds() &+ UInt64(seconds * 1e9))
        }
        let after = try meter?.times()
        var measurement = try run.stop()
        if let before, let after { measurement.server = before.usage(until: after) }
        return measurement
    } catch {
        _ = try run.stop()
        throw error
    }
}
