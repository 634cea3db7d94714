//  One thread, one epoll descriptor, and the connections it owns for life.
//
//  An iteration: wait, tell the handler, serve each event (read, hand over, write), do what other
//  threads left in the mailbox, then what was requested of connections meanwhile (resume, flush,
//  close), tell the handler again. Serving a connection is in ConnectionServing.swift.
//
//  Raw memory: the state stands behind one pointer, which the loop allocates and frees and its
//  thread uses, and not in stored properties: the handler calls back (`append`, `resume`) while
//  the loop is in the middle of something, which is fine as long as no exclusive access to the
//  whole is held, and a class would check that dynamically at each access.

import CSystem
import Glibc
import MartletBase

/// Runs the connections of one thread.
@safe
package final class EventLoop: @unchecked Sendable {
    // Unchecked: `state`, `events`, `sharedInput` and the slots are touched by the loop's thread
    // only, before it starts by the one that creates it and after it was joined by the one that
    // destroys it. `thread` belongs to whoever starts and joins it. Mailbox and counters synchronise
    // themselves.

    /// Called at each stage of each connection, on the loop's thread.
    let handler: any ConnectionHandler

    /// Numbers about this loop that any thread may read.
    package let counters = LoopCounters()

    let state: UnsafeMutablePointer<LoopState>
    let sharedInput: UnsafeMutableRawPointer
    private let events: UnsafeMutablePointer<epoll_event>
    let epollDescriptor: Int32
    private let mailbox: Mailbox
    private let clock: @Sendable () -> UInt64
    private var thread: pthread_t?

    /// Creates a loop that waits for `start()`, or for `iterate()` in a test.
    ///
    /// - Parameters:
    ///   - handler: serves this loop alone; the loop keeps it alive.
    ///   - clock: coarse monotonic milliseconds, for timeouts; read once per iteration.
    /// - Throws: `SocketError` when the system has no descriptor for it.
    package init(
        handler: any ConnectionHandler,
        clock: @escaping @Sendable () -> UInt64 = { coarseMilliseconds() }
    ) throws(SocketError) {
        let mailbox = try Mailbox()
        let epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        if epoll < 0 { throw SocketError(call: "epoll_create1", subject: "loop", code: errno) }
        self.handler = handler
        self.clock = clock
        self.mailbox = mailbox
        epollDescriptor = epoll
        unsafe sharedInput = UnsafeMutableRawPointer.allocate(
            byteCount: TransportLimits.sharedInputBytes, alignment: 64)
        unsafe events = UnsafeMutablePointer<epoll_event>.allocate(
            capacity: TransportLimits.eventsMax)
        unsafe state = UnsafeMutablePointer<LoopState>.allocate(capacity: 1)
        unsafe state.initialize(to: LoopState(now: clock()))

        let code = martlet_epoll_control(
            epoll, EPOLL_CTL_ADD, mailbox.descriptor, EPOLLIN.rawValue | EPOLLET.rawValue,
            EventTag.mailbox)
        if code != 0 {
            throw SocketError(call: "epoll_ctl", subject: "loop", code: errno)
        }
    }

    deinit {
        // A loop that never ran, or was driven by a test, still owns its connections.
        if unsafe !state.pointee.hasEnded { finish() }
        unsafe state.deinitialize(count: 1)
        unsafe state.deallocate()
        unsafe events.deallocate()
        unsafe sharedInput.deallocate()
        Glibc.close(epollDescriptor)
    }

    // MARK: From any thread

    /// Leaves work for the loop's thread and wakes it. Work is done in the order in which it was
    /// posted; after the loop has ended it is dropped.
    package func post(_ work: @escaping @Sendable () -> Void) {
        mailbox.post(work)
    }

    /// `post`, for work that must be undone when the loop has ended: false says so.
    func tryPost(_ work: @escaping @Sendable () -> Void) -> Bool {
        mailbox.post(work)
    }

    /// Ends the loop at once: connections are closed, pending replies lost.
    package func stop() {
        drain(graceMilliseconds: 0)
    }

    /// Ends the loop in an orderly way: accepts and reads no more, lets the handler go on with what
    /// was read, writes out pending replies, and ends when all have left or after
    /// `graceMilliseconds`. A second, shorter grace cuts the first one.
    package func drain(graceMilliseconds: UInt64) {
        // Work runs within the loop's life, its `deinit` included, which a checked one would refuse.
        post { [unowned(unsafe) self] in
            unsafe self.beginDrain(graceMilliseconds)
        }
    }

    /// Starts the loop's thread.
    ///
    /// - Parameter name: shown by `top -H` and debuggers; at most 15 bytes count.
    /// - Throws: `SocketError` when the system has no thread for it.
    package func start(name: String = "loop") throws(SocketError) {
        var attributes = pthread_attr_t()
        unsafe pthread_attr_init(&attributes)
        defer { unsafe pthread_attr_destroy(&attributes) }
        unsafe pthread_attr_setstacksize(&attributes, TransportLimits.stackBytes)

        let start = ThreadStart(loop: self, name: String(name.utf8.prefix(15)) ?? "loop")
        let argument = unsafe Unmanaged.passRetained(start).toOpaque()
        var created = pthread_t()
        let code = unsafe pthread_create(
            &created, &attributes,
            { argument in
                guard let argument = unsafe argument else { return nil }
                let start = unsafe Unmanaged<ThreadStart>.fromOpaque(argument).takeRetainedValue()
                unsafe pthread_setname_np(pthread_self(), start.name)
                start.loop.run()
                return nil
            }, argument)
        if code != 0 {
            unsafe Unmanaged<ThreadStart>.fromOpaque(argument).release()
            throw SocketError(call: "pthread_create", subject: name, code: code)
        }
        thread = created
    }

    /// Waits until the loop's thread has ended. Called by the thread that called `start`.
    package func join() {
        guard let running = thread else { return }
        thread = nil
        pthread_join(running, nil)
    }

    // MARK: On the loop's thread

    /// The loop's coarse clock, as read when this iteration began.
    package var nowMilliseconds: UInt64 { unsafe state.pointee.nowMilliseconds }

    /// Closes connections that exchange no bytes for this long; 0 for never.
    package func setIdleTimeout(seconds: Int) {
        assertOnThread()
        unsafe state.pointee.idleLimitMilliseconds = UInt64(max(0, seconds)) * 1_000
    }

    /// Calls `body` with every connection that is not about to be closed.
    ///
    /// - Complexity: O(n), n = the most connections this loop has had at a time.
    package func forEachConnection(_ body: (ConnectionReference) -> Void) {
        assertOnThread()
        for index in 0..<slotCount {
            let slot = unsafe state.pointee.table.slot(at: index)
            if unsafe slot.pointee.id != 0 && !slot.pointee.flags.contains(.doomed) {
                unsafe body(ConnectionReference(loop: self, slot: slot))
            }
        }
    }

    /// The connection whose buffers take most memory, for closing the worst one first; nil when
    /// none holds a buffer. Those that are exempt do not count.
    ///
    /// - Complexity: as `forEachConnection`.
    package func largestConnection() -> (connection: ConnectionReference, bufferBytes: Int)? {
        var largest: (connection: ConnectionReference, bufferBytes: Int)?
        forEachConnection { connection in
            let bytes = connection.bufferCapacityBytes
            if bytes > (largest?.bufferBytes ?? 0) && connection.mayBeEvicted {
                largest = (connection, bytes)
            }
        }
        return largest
    }

    /// Ends accepting on this loop, if it does, and closes the listeners.
    func closeAcceptor() {
        unsafe state.pointee.acceptor?.close(on: self)
        unsafe state.pointee.acceptor = nil
    }

    /// Takes over a connected socket, which is closed with the connection. A loop that drains closes
    /// it at once.
    package func adopt(_ descriptor: Int32, isUnixSocket: Bool, isLoopback: Bool) {
        // Whatever an embedder hands over, the loop never blocks on it.
        let mode = fcntl(descriptor, F_GETFL)
        if mode >= 0, mode & O_NONBLOCK == 0 { _ = fcntl(descriptor, F_SETFL, mode | O_NONBLOCK) }
        counters.connections.add(1, ordering: .relaxed)
        adoptCounted(descriptor, isUnixSocket: isUnixSocket, isLoopback: isLoopback)
    }

    /// Runs until `stop()` or `drain` has done its work, then closes what is left.
    package func run() {
        unsafe state.pointee.thread = pthread_self()
        let handler = handler
        while unsafe !state.pointee.hasEnded { iterate(handler) }
        // From here on the loop belongs to whoever joins its thread.
        unsafe state.pointee.thread = 0
    }

    /// One iteration on the calling thread: how tests drive a loop without a thread.
    ///
    /// - Parameter sleepMillisecondsMax: how long to wait for events at most.
    package func iterate(sleepMillisecondsMax: Int32) {
        unsafe state.pointee.thread = pthread_self()
        let planned = unsafe state.pointee.sleepMilliseconds
        if planned < 0 || planned > sleepMillisecondsMax {
            unsafe state.pointee.sleepMilliseconds = sleepMillisecondsMax
        }
        iterate(handler)
    }

    private var slotCount: Int { unsafe state.pointee.table.slotCount }

    func assertOnThread() {
        assert(
            unsafe state.pointee.thread == 0
                || pthread_equal(state.pointee.thread, pthread_self()) != 0,
            "a connection is touched on its own loop's thread")
    }

    // `handler` is passed down and not read from `self`, which would retain it once per event.
    private func iterate(_ handler: any ConnectionHandler) {
        let ready = unsafe epoll_wait(
            epollDescriptor, events, Int32(TransportLimits.eventsMax),
            state.pointee.sleepMilliseconds)
        unsafe state.pointee.nowMilliseconds = clock()
        handler.iterationBegan()

        // A negative count is an interrupted wait, and the range is then empty.
        var index = 0
        while index < Int(ready) {
            let mask = unsafe events[index].events
            let tag = unsafe events[index].data.u64
            if tag & EventTag.isNoConnection == 0 {
                if let slot = unsafe UnsafeMutablePointer<Connection>(bitPattern: UInt(tag)) {
                    unsafe serve(slot, mask, handler)
                }
            } else if tag == EventTag.mailbox {
                for work in mailbox.take() { work() }
            } else if let acceptor = unsafe state.pointee.acceptor {
                acceptor.accept(EventTag.listener(of: tag), on: self, handler)
            }
            index += 1
        }
        sendHeldReplies()

        // A second time for those that flushed and are now to be closed.
        if unsafe state.pointee.queueHead != nil { workOffQueue(handler) }
        if unsafe state.pointee.queueHead != nil { workOffQueue(handler) }
        if unsafe state.pointee.nowMilliseconds >= state.pointee.nextTickMilliseconds {
            tick(handler)
        }
        if unsafe state.pointee.output.capacity > TransportLimits.sharedOutputBytesMax {
            unsafe state.pointee.output = ByteBuffer(capacity: TransportLimits.sharedOutputBytes)
        }
        unsafe counters.publish(state)

        let sleep = handler.iterationEnded()
        unsafe state.pointee.sleepMilliseconds = plannedSleep(handlerAllows: sleep)
        if unsafe state.pointee.isDraining { continueDrain() }
    }

    private func plannedSleep(handlerAllows sleep: Int32) -> Int32 {
        if unsafe state.pointee.queueHead != nil { return 0 }
        guard unsafe state.pointee.needsTick else { return sleep < 0 ? -1 : sleep }
        let tick = Int32(TransportLimits.walkTickMilliseconds)
        return sleep < 0 ? tick : min(sleep, tick)
    }

    // MARK: Ending

    private func beginDrain(_ graceMilliseconds: UInt64) {
        let deadline = nowMilliseconds + graceMilliseconds
        // A second, shorter grace cuts the first one.
        unsafe state.pointee.drainDeadlineMilliseconds =
            state.pointee.isDraining
            ? min(state.pointee.drainDeadlineMilliseconds, deadline) : deadline
        guard unsafe !state.pointee.isDraining else { return }
        unsafe state.pointee.isDraining = true
        closeAcceptor()
        closeServed()
    }

    /// Has every connection closed behind its last reply, but those that stopped amid what they sent
    /// to let others have their turn: their turn comes again.
    private func closeServed() {
        for index in 0..<slotCount {
            let slot = unsafe state.pointee.table.slot(at: index)
            let flags = unsafe slot.pointee.flags
            if unsafe slot.pointee.id == 0 || flags.isSuperset(of: [.paused, .resumed]) {
                continue
            }
            if !flags.isDisjoint(with: [.doomed, .closesAfterFlush]) { continue }
            unsafe requestClose(slot, afterFlush: true)
        }
        if unsafe state.pointee.queueHead != nil { unsafe state.pointee.sleepMilliseconds = 0 }
    }

    private func continueDrain() {
        let isOver =
            unsafe state.pointee.table.count == 0
            || state.pointee.nowMilliseconds >= state.pointee.drainDeadlineMilliseconds
        if isOver { finish() } else { closeServed() }
    }

    /// Closes everything; what is posted from here on is dropped.
    private func finish() {
        unsafe state.pointee.hasEnded = true
        unsafe state.pointee.isDraining = true
        closeAcceptor()
        // Work left behind may own descriptors on their way here: it runs, and finds a drained loop.
        for work in mailbox.close() { work() }
        for index in 0..<slotCount {
            let slot = unsafe state.pointee.table.slot(at: index)
            if unsafe slot.pointee.id != 0 { unsafe destroy(slot, handler) }
        }
        unsafe counters.publish(state)
    }
}

/// What an event belongs to. Connections are told by the address of their slot, whose lowest bit is
/// clear.
enum EventTag {
    static let isNoConnection: UInt64 = 1
    static let mailbox: UInt64 = 1

    static func forListener(_ index: Int) -> UInt64 { UInt64(index + 1) << 1 | isNoConnection }
    static func listener(of tag: UInt64) -> Int { Int(tag >> 1) - 1 }
}

/// All that a loop changes while it runs, in raw memory of its own.
@safe
struct LoopState: ~Copyable {
    var table = ConnectionTable()

    /// Held replies, then those of the call in progress. Empty between iterations.
    var output = ByteBuffer(capacity: TransportLimits.sharedOutputBytes)
    var held = HeldReplies()

    /// The connection whose `received` is running.
    var served: UnsafeMutablePointer<Connection>?

    /// Connections that withhold replies, and the position up to which those were released.
    var withholding: [UnsafeMutablePointer<Connection>] = unsafe []
    var releasedPosition: UInt64 = 0

    /// Connections that something was requested of, in order.
    var queueHead: UnsafeMutablePointer<Connection>?
    var queueTail: UnsafeMutablePointer<Connection>?

    var nowMilliseconds: UInt64
    var sleepMilliseconds: Int32 = 0

    /// The walk over all connections for what only time reveals.
    var nextTickMilliseconds: UInt64
    var lastTickMilliseconds: UInt64
    var walkIndex = 0

    /// Connections above their soft limit.
    var aboveSoftLimitCount = 0
    var idleLimitMilliseconds: UInt64 = 0

    var acceptor: Acceptor?
    var acceptPausedUntilMilliseconds: UInt64 = 0

    var isDraining = false
    var hasEnded = false
    var drainDeadlineMilliseconds: UInt64 = 0

    /// The thread that runs the loop; 0 before it does.
    var thread: pthread_t = 0

    // Totals, published to `LoopCounters` once per iteration.
    var bytesIn: UInt64 = 0
    var bytesOut: UInt64 = 0
    var bufferBytes = 0
    var iterations: UInt64 = 0

    init(now: UInt64) {
        unsafe served = nil
        unsafe queueHead = nil
        unsafe queueTail = nil
        nowMilliseconds = now
        nextTickMilliseconds = now + TransportLimits.walkTickMilliseconds
        lastTickMilliseconds = now
    }

    /// Whether the loop has to wake up by itself.
    var needsTick: Bool {
        idleLimitMilliseconds > 0 || aboveSoftLimitCount > 0 || isDraining
            || acceptPausedUntilMilliseconds > 0
    }
}

/// What a new thread is handed.
private final class ThreadStart {
    let loop: EventLoop
    let name: String

    init(loop: EventLoop, name: String) {
        self.loop = loop
        self.name = name
    }
}

/// The coarse monotonic clock in milliseconds: a few nanoseconds to read, right to a few
/// milliseconds.
package func coarseMilliseconds() -> UInt64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC_COARSE, &time)
    return UInt64(time.tv_sec) * 1_000 + UInt64(time.tv_nsec) / 1_000_000
}
