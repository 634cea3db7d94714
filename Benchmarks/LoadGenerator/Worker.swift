//  One thread of the generator: its connections, its event loop, its histogram.
//
//  The measuring path is `serve` and what it calls: receive into one buffer of the worker, count
//  the replies, record, fill the batch buffer, send. It allocates nothing and touches no object
//  but two atomics for each turn of the loop. Raw memory: the worker owns `connections`, `events`,
//  `input` and `batch` and frees them; only its own thread touches them while it runs. Every write
//  to `batch` is inside `depth * mix.longest` bytes, every read of `input` inside what was received.
//
//  Closed loop: a connection sends a batch of `depth` operations and the next when all are
//  answered, as redis-benchmark does; so a server sees whole batches, whatever it does with them.
//  Open loop: operation n of the worker is due at `start + n * interval` on connection n modulo
//  their number, sent or not; its latency counts from then, so a stall is charged with everything
//  that had to wait for it (no coordinated omission). Due times are computed, never stored.

import CSystem
import Glibc
import MartletBase
import Synchronization

/// Where all workers of a run stand. The controlling thread writes `phase`, every worker reads it;
/// the first failure wins.
final class RunControl: Sendable {
    static let waiting = 0
    static let warming = 1
    static let measuring = 2
    static let stopping = 3

    let phase = Atomic<Int>(waiting)
    private let failure = Mutex<BenchmarkError?>(nil)

    func fail(_ error: BenchmarkError) {
        failure.withLock { if $0 == nil { $0 = error } }
        phase.store(RunControl.stopping, ordering: .releasing)
    }

    func check() throws(BenchmarkError) {
        if let error = failure.withLock({ $0 }) { throw error }
    }
}

/// What one worker tells while it runs; it writes, the controlling thread reads.
final class WorkerProgress: Sendable {
    let operations = Atomic<Int>(0)
    /// When the worker ended by itself, 0 before.
    let finishedAt = Atomic<UInt64>(0)
}

/// One connection of a worker.
struct LoadConnection: ~Copyable {
    let descriptor: Int32
    var waitsToWrite = false
    /// Replies that have not come yet.
    var outstanding = 0
    /// Replies that came of an operation with several commands, not all answered.
    var partOfOperation = 0
    /// When the batch was sent, closed loop.
    var sentAt: UInt64 = 0
    /// Operations sent and answered.
    var sent = 0
    var done = 0
    var scanner = ReplyScanner()
    /// What the socket did not take yet.
    var pending = ByteBuffer()

    init(descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }
}

/// One thread's part of a run; `run` returns when the run is over.
@safe
struct Worker: ~Copyable {
    private static let inputBytes = 256 * 1024
    private static let eventsMax = 256

    private let control: RunControl
    private let progress: WorkerProgress
    private let epoll: Int32
    private let connections: UnsafeMutablePointer<LoadConnection>
    private let connectionCount: Int
    private let events: UnsafeMutablePointer<epoll_event>
    private let input: UnsafeMutableRawPointer
    private let batch: UnsafeMutableRawPointer
    private var mix: RequestMix
    /// Operations in flight on each connection.
    private let depth: Int
    private let repliesPerOperation: Int
    var commandsPerOperation: Int { repliesPerOperation }
    private let isPrebuilt: Bool
    private let allowsErrors: Bool
    private let cpu: Int?
    private let isBackground: Bool

    private var phase = RunControl.waiting
    /// Operations still to be sent.
    private var remaining: Int
    private var inFlight = 0
    private var completed = 0
    private var hasFailed = false

    /// Nanoseconds between two operations, open loop; 0 means closed loop.
    private let interval: Double
    private let intervalOffset: Double
    private var startedAt: UInt64 = 0
    /// Operations that are due so far, open loop.
    private var due = 0
    private let dueMax: Int

    private var measuringSince: UInt64 = 0
    private var cpuAtStart: UInt64 = 0
    private var nullsAtStart = 0
    private var errorsAtStart = 0
    private(set) var cpuNanoseconds: UInt64 = 0
    private(set) var histogram = Histogram()
    private(set) var errorTexts = ErrorTexts()

    /// Connects worker `number` of `plan.threads`.
    ///
    /// - Throws: `.unreachable`, `.reply` when a connection is refused.
    init(
        _ plan: LoadPlan, number: Int, control: RunControl, progress: WorkerProgress
    ) throws(BenchmarkError) {
        func share(_ total: Int) -> Int {
            total / plan.threads + (number < total % plan.threads ? 1 : 0)
        }
        let keys = KeyChooser(
            plan.distribution, keyCount: plan.keyCount,
            first: (plan.firstKey + number) % plan.keyCount, step: plan.threads)
        let mix = try RequestMix(
            plan.commands, valueBytes: plan.valueBytes, keys: keys,
            seed: (plan.seed &+ UInt64(plan.firstOperation)) &* 0x2545_F491_4F6C_DD1D
                &+ UInt64(number), first: plan.firstOperation + number,
            step: plan.threads)
        let depth = max(1, plan.pipeline / mix.commandCount)
        guard depth * mix.longest <= 1 << 28 else {
            throw .usage("pipeline x request size is over 256 MB")
        }
        let epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard epoll >= 0 else { throw .system(call: "epoll_create1", errorNumber: errno) }

        let count = share(plan.connections)
        let connections = UnsafeMutablePointer<LoadConnection>.allocate(capacity: max(1, count))
        var connected = 0
        do {
            while connected < count {
                let client = try ControlClient.connect(plan.endpoint, greeting: plan.greeting)
                let descriptor = client.releaseDescriptor()
                _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
                unsafe (connections + connected).initialize(
                    to: LoadConnection(descriptor: descriptor))
                connected += 1
                try watch(
                    descriptor, EPOLLIN.rawValue, index: connected - 1, epoll: epoll,
                    operation: EPOLL_CTL_ADD)
            }
        } catch {
            unsafe connections.deinitialize(count: connected)
            unsafe connections.deallocate()
            close(epoll)
            throw error
        }
        unsafe self.connections = unsafe connections
        connectionCount = count
        self.epoll = epoll
        self.control = control
        self.progress = progress
        unsafe events = .allocate(capacity: Worker.eventsMax)
        unsafe input = .allocate(byteCount: Worker.inputBytes, alignment: 64)
        unsafe batch = .allocate(byteCount: depth * mix.longest, alignment: 64)
        isPrebuilt = mix.templateCount == 1
        if isPrebuilt {
            for index in 0..<depth { unsafe mix.putImage(at: batch + index * mix.longest) }
        }
        repliesPerOperation = mix.commandCount
        self.mix = mix
        self.depth = depth
        allowsErrors = plan.allowsErrors
        cpu = plan.cpus.map { $0.numbers[number % $0.numbers.count] }
        isBackground = plan.isBackground
        if case .operations(let total) = plan.bound {
            remaining = share(total)
        } else {
            remaining = .max
        }
        dueMax = remaining
        if let rate = plan.operationsPerSecond {
            interval = 1e9 * Double(plan.threads) / rate
            intervalOffset = 1e9 * Double(number) / rate
        } else {
            interval = 0
            intervalOffset = 0
        }
    }

    deinit {
        unsafe connections.deinitialize(count: connectionCount)
        unsafe connections.deallocate()
        unsafe events.deallocate()
        unsafe input.deallocate()
        unsafe batch.deallocate()
        close(epoll)
    }

    /// Error replies since the measuring began.
    var errors: Int { allErrors - errorsAtStart }

    private var allErrors: Int {
        var sum = 0
        for index in 0..<connectionCount { sum += unsafe connections[index].scanner.errors }
        return sum
    }

    /// Null replies since the measuring began.
    var nulls: Int { allNulls - nullsAtStart }

    private var allNulls: Int {
        var sum = 0
        for index in 0..<connectionCount { sum += unsafe connections[index].scanner.nulls }
        return sum
    }

    /// Drives the connections until the bound is reached or the phase says stop.
    mutating func run() {
        if let cpu {
            do throws(BenchmarkError) {
                try CPUList(cpu).bindCallingThread()
            } catch {
                control.fail(error)
            }
        }
        // Of this thread alone: Linux knows a priority for each.
        if isBackground { setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 19) }
        while control.phase.load(ordering: .acquiring) == RunControl.waiting { usleep(100) }
        startedAt = monotonicNanoseconds()
        followPhase()
        if interval == 0 {
            for index in 0..<connectionCount { sendBatch(index) }
        }
        while phase != RunControl.stopping && !hasFailed {
            if remaining == 0 && inFlight == 0 && (interval == 0 || due == dueMax) { break }
            let ready = waitForEvents()
            for index in 0..<ready {
                let event = unsafe events[index]
                unsafe serve(Int(truncatingIfNeeded: event.data.u64), event.events)
            }
            if interval > 0 { sendDue() }
            progress.operations.store(completed, ordering: .relaxed)
            followPhase()
        }
        endMeasuring()
        progress.finishedAt.store(monotonicNanoseconds(), ordering: .releasing)
    }

    /// Learns the phase; the histogram begins anew with the measuring.
    @inline(__always)
    private mutating func followPhase() {
        let current = control.phase.load(ordering: .relaxed)
        guard current != phase else { return }
        if phase == RunControl.measuring { endMeasuring() }
        phase = current
        if current == RunControl.measuring { beginMeasuring() }
    }

    @inline(never)
    private mutating func beginMeasuring() {
        histogram.removeAll()
        nullsAtStart = allNulls
        errorsAtStart = allErrors
        cpuAtStart = clockNanoseconds(CLOCK_THREAD_CPUTIME_ID)
        measuringSince = monotonicNanoseconds()
    }

    @inline(never)
    private mutating func endMeasuring() {
        guard measuringSince > 0 else { return }
        if interval > 0 { chargeUnanswered() }
        cpuNanoseconds = clockNanoseconds(CLOCK_THREAD_CPUTIME_ID) &- cpuAtStart
        measuringSince = 0
    }

    @inline(__always)
    private mutating func waitForEvents() -> Int {
        var milliseconds: Int32 = 50
        if interval > 0 && due < dueMax {
            let now = monotonicNanoseconds()
            let next = dueTime(due)
            // The kernel wakes a thread up to 50 us late, so the last of the wait is spent polling.
            let polled: UInt64 = isBackground ? 0 : 60_000
            if next > now &+ polled &+ 10_000 {
                let wait = min(next &- now &- polled, 50_000_000)
                var limit = timespec(tv_sec: 0, tv_nsec: Int(wait))
                return max(
                    0, unsafe Int(epoll_pwait2(epoll, events, Int32(Worker.eventsMax), &limit, nil))
                )
            }
            milliseconds = 0
        }
        return max(
            0, unsafe Int(epoll_wait(epoll, events, Int32(Worker.eventsMax), milliseconds)))
    }

    /// Takes what came on one connection, and sends what may follow.
    @inline(__always)
    private mutating func serve(_ index: Int, _ ready: UInt32) {
        if ready & EPOLLOUT.rawValue != 0 { flush(index) }
        guard ready & ~EPOLLOUT.rawValue != 0 else { return }
        let got = unsafe recv(connections[index].descriptor, input, Worker.inputBytes, 0)
        if got <= 0 {
            if got < 0 && (errno == EAGAIN || errno == EINTR) { return }
            fail(
                .unreachable(
                    got == 0
                        ? "the server closed a connection"
                        : "a connection was lost: \(systemMessage(errno))"))
            return
        }
        // In a variable of its own: the thread sanitizer's build takes both for overlapping accesses.
        var texts = errorTexts
        let replies = unsafe connections[index].scanner.scan(
            input, count: got, errorTexts: &texts)
        errorTexts = texts
        let now = monotonicNanoseconds()
        unsafe connections[index].outstanding &-= replies
        if unsafe connections[index].outstanding < 0 || connections[index].scanner.isMalformed
            || (connections[index].scanner.errors > 0 && !allowsErrors)
        {
            failReply(index)
            return
        }
        var operations = replies
        if repliesPerOperation > 1 {
            let answered = unsafe connections[index].partOfOperation &+ replies
            operations = answered / repliesPerOperation
            unsafe connections[index].partOfOperation =
                answered &- operations &* repliesPerOperation
        }
        if operations > 0 {
            if interval > 0 {
                recordOpen(index, operations, now)
            } else if phase == RunControl.measuring {
                histogram.record(unsafe now &- connections[index].sentAt, times: operations)
            }
            completed &+= operations
            inFlight &-= operations
        }
        if interval > 0 {
            pump(index)
        } else if unsafe connections[index].outstanding == 0 {
            sendBatch(index)
        }
    }

    // MARK: closed loop

    @inline(__always)
    private mutating func sendBatch(_ index: Int) {
        let operations = min(depth, remaining)
        if operations == 0 { return }
        let length = fillBatch(operations)
        unsafe connections[index].sentAt = monotonicNanoseconds()
        unsafe connections[index].outstanding = operations &* repliesPerOperation
        transmit(index, length, operations)
    }

    // MARK: open loop

    /// When operation `number` of this worker is due.
    @inline(__always)
    private func dueTime(_ number: Int) -> UInt64 {
        startedAt &+ UInt64(Double(number) * interval + intervalOffset)
    }

    /// Sends what has become due since the last turn, as far as the pipelines allow.
    @inline(__always)
    private mutating func sendDue() {
        let elapsed = Double(monotonicNanoseconds() &- startedAt) - intervalOffset
        if elapsed < 0 { return }
        let target = min(Int(elapsed / interval) + 1, dueMax)
        let before = due
        due = target
        var number = before
        let end = min(target, before &+ connectionCount)
        while number < end {
            pump(number % connectionCount)
            number &+= 1
        }
    }

    @inline(__always)
    private mutating func pump(_ index: Int) {
        // Operations numbered index, index + C, index + 2 C … below `due` belong to it.
        let dueHere = (due &- index &+ connectionCount &- 1) / connectionCount
        let inFlightHere = unsafe connections[index].sent &- connections[index].done
        let operations = unsafe min(dueHere &- connections[index].sent, depth &- inFlightHere)
        if operations <= 0 { return }
        let length = fillBatch(operations)
        unsafe connections[index].outstanding &+= operations &* repliesPerOperation
        transmit(index, length, operations)
    }

    @inline(__always)
    private mutating func recordOpen(_ index: Int, _ operations: Int, _ now: UInt64) {
        var done = unsafe connections[index].done
        let end = done &+ operations
        while done < end {
            if phase == RunControl.measuring {
                let at = dueTime(done &* connectionCount &+ index)
                // A time in floating point may lie a nanosecond after a very quick reply.
                histogram.record(now > at ? now &- at : 0)
            }
            done &+= 1
        }
        unsafe connections[index].done = done
    }

    /// What was due in the measured time and never answered counts with the time it has waited:
    /// otherwise a stall at the end would vanish.
    private mutating func chargeUnanswered() {
        let now = monotonicNanoseconds()
        for index in 0..<connectionCount {
            var number = unsafe connections[index].done &* connectionCount &+ index
            while number < due {
                let at = dueTime(number)
                if at >= measuringSince && now > at { histogram.record(now &- at) }
                number &+= connectionCount
            }
        }
    }

    // MARK: sending

    /// Puts `operations` operations into the batch buffer and returns their length.
    @inline(__always)
    private mutating func fillBatch(_ operations: Int) -> Int {
        var length = 0
        if isPrebuilt {
            let step = mix.longest
            for _ in 0..<operations {
                unsafe mix.patch(at: batch + length)
                length &+= step
            }
        } else {
            for _ in 0..<operations { unsafe length &+= mix.put(at: batch + length) }
        }
        return length
    }

    @inline(__always)
    private mutating func transmit(_ index: Int, _ length: Int, _ operations: Int) {
        unsafe connections[index].sent &+= operations
        inFlight &+= operations
        if remaining != .max { remaining &-= operations }
        var written = 0
        if unsafe connections[index].pending.isEmpty {
            written = unsafe send(
                connections[index].descriptor, batch, length, Int32(MSG_NOSIGNAL))
            if written == length { return }
        }
        keepRest(index, written, length)
    }

    /// Keeps what the socket did not take until it is writable again.
    @inline(never)
    private mutating func keepRest(_ index: Int, _ written: Int, _ length: Int) {
        if written < 0 && errno != EAGAIN && errno != EINTR {
            fail(.unreachable("a connection was lost: \(systemMessage(errno))"))
            return
        }
        let taken = max(0, written)
        unsafe connections[index].pending.append(ByteView(batch + taken, count: length - taken))
        waitToWrite(index, true)
    }

    @inline(never)
    private mutating func flush(_ index: Int) {
        let rest = unsafe connections[index].pending.view
        if !rest.isEmpty {
            let written = unsafe send(
                connections[index].descriptor, rest.address, rest.count,
                Int32(MSG_NOSIGNAL))
            if written < 0 {
                if errno == EAGAIN || errno == EINTR { return }
                fail(.unreachable("a connection was lost: \(systemMessage(errno))"))
                return
            }
            unsafe connections[index].pending.consume(written)
        }
        if unsafe connections[index].pending.isEmpty { waitToWrite(index, false) }
    }

    private mutating func waitToWrite(_ index: Int, _ waits: Bool) {
        if unsafe connections[index].waitsToWrite == waits { return }
        unsafe connections[index].waitsToWrite = waits
        do throws(BenchmarkError) {
            unsafe try watch(
                connections[index].descriptor,
                waits ? EPOLLIN.rawValue | EPOLLOUT.rawValue : EPOLLIN.rawValue, index: index,
                epoll: epoll, operation: EPOLL_CTL_MOD)
        } catch {
            fail(error)
        }
    }

    // MARK: failure

    private mutating func fail(_ error: BenchmarkError) {
        hasFailed = true
        control.fail(error)
    }

    @inline(never)
    private mutating func failReply(_ index: Int) {
        if unsafe connections[index].scanner.isMalformed {
            fail(.reply("the server sent something that is not RESP"))
        } else if unsafe connections[index].outstanding < 0 {
            fail(.reply("the server sent more replies than there were requests"))
        } else {
            let text = errorTexts.texts.joined(separator: "; ")
            fail(.reply("the server replied: \(text) (--allow-errors counts such replies instead)"))
        }
    }
}

private func watch(
    _ descriptor: Int32, _ interest: UInt32, index: Int, epoll: Int32, operation: Int32
) throws(BenchmarkError) {
    var event = unsafe epoll_event()
    unsafe event.events = interest
    unsafe event.data.u64 = UInt64(index)
    guard unsafe epoll_ctl(epoll, operation, descriptor, &event) == 0 else {
        throw .system(call: "epoll_ctl", errorNumber: errno)
    }
}
