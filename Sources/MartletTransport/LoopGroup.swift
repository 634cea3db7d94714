//  All loops of a server, and the choice of one for a new connection.

import CSystem
import Glibc

/// The loops that share the listeners of a server.
package final class LoopGroup: Sendable {
    package let loops: [EventLoop]

    /// - Precondition: there is at least one loop.
    package init(_ loops: [EventLoop]) {
        precondition(!loops.isEmpty, "a group has loops")
        self.loops = loops
    }

    /// Starts every loop's thread; those already started stop again when one cannot be.
    package func start() throws(SocketError) {
        for (index, loop) in loops.enumerated() {
            do {
                try loop.start(name: "loop-\(index)")
            } catch {
                stop()
                join()
                throw error
            }
        }
    }

    /// Accepts connections from `listeners`, on the first loop, for all loops. The listeners are
    /// closed when that loop drains or stops.
    package func listen(on listeners: [Listener]) {
        let acceptor = Acceptor(listeners: listeners, others: Array(loops.dropFirst()))
        let first = loops[0]
        // Unowned: a loop outlives the work in its mailbox.
        first.post { [unowned(unsafe) first] in unsafe acceptor.attach(to: first) }
    }

    /// Stops accepting and closes the listeners; connections go on. Takes effect soon after.
    package func closeListeners() {
        let first = loops[0]
        // Unowned: see `listen`.
        first.post { [unowned(unsafe) first] in unsafe first.closeAcceptor() }
    }

    /// See `EventLoop.drain`; for all loops.
    package func drain(graceMilliseconds: UInt64) {
        for loop in loops { loop.drain(graceMilliseconds: graceMilliseconds) }
    }

    /// See `EventLoop.stop`; for all loops.
    package func stop() {
        for loop in loops { loop.stop() }
    }

    /// Waits until every loop's thread has ended.
    package func join() {
        for loop in loops { loop.join() }
    }
}

/// Accepts connections on one loop and spreads them over all: each to the loop that has the fewest.
///
/// The alternative, a listening socket per loop, leaves the choice to a hash of the addresses, which
/// is uneven for the few dozen connections of a typical client pool. Used by its loop only.
final class Acceptor: @unchecked Sendable {
    // Unchecked: created by one thread, handed to its loop through the mailbox, then used there.

    private let listeners: [Listener]

    // Not the loop it runs on, which owns it.
    private let others: [EventLoop]

    init(listeners: [Listener], others: [EventLoop]) {
        self.listeners = listeners
        self.others = others
    }

    /// Begins to accept on `loop`.
    func attach(to loop: EventLoop) {
        if unsafe loop.state.pointee.isDraining {
            for listener in listeners { listener.close() }
            return
        }
        loop.closeAcceptor()
        unsafe loop.state.pointee.acceptor = self
        watch(on: loop)
    }

    private func watch(on loop: EventLoop) {
        for (index, listener) in listeners.enumerated() {
            let code = martlet_epoll_control(
                loop.epollDescriptor, EPOLL_CTL_ADD, listener.descriptor, EPOLLIN.rawValue,
                EventTag.forListener(index))
            if code != 0 { loop.handler.acceptFailed(errno: errno) }
        }
    }

    private func unwatch(on loop: EventLoop) {
        for listener in listeners {
            _ = martlet_epoll_control(
                loop.epollDescriptor, EPOLL_CTL_DEL, listener.descriptor, 0, 0)
        }
    }

    /// Accepts again after a rest.
    func resume(on loop: EventLoop) {
        unsafe loop.state.pointee.acceptPausedUntilMilliseconds = 0
        watch(on: loop)
    }

    /// Ends accepting and closes the listeners.
    func close(on loop: EventLoop) {
        unsafe loop.state.pointee.acceptPausedUntilMilliseconds = 0
        unwatch(on: loop)
        for listener in listeners { listener.close() }
    }

    /// Accepts what waits at one listener, within the budget of a turn.
    func accept(_ index: Int, on loop: EventLoop, _ handler: any ConnectionHandler) {
        guard index >= 0, index < listeners.count else { return }
        let listener = listeners[index]
        for _ in 0..<TransportLimits.acceptsPerEventMax {
            var peer = SocketAddress()
            let descriptor = unsafe peer.fill { address, length in
                unsafe accept4(
                    listener.descriptor, address, length,
                    Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue))
            }
            if descriptor >= 0 {
                place(descriptor, listener.isUnixSocket, peer.isLoopback, loop)
                continue
            }
            let code = errno
            switch code {
            case EAGAIN: return
            // The peer gave up before we came; the next one may be fine.
            case EINTR, ECONNABORTED, EPROTO: continue
            default:
                loop.counters.acceptFailures.add(1, ordering: .relaxed)
                handler.acceptFailed(errno: code)
                // Out of descriptors or memory: level-triggered readiness would spin. Those who
                // wait stay in the backlog until a descriptor is free or the rest is over.
                unwatch(on: loop)
                unsafe loop.state.pointee.acceptPausedUntilMilliseconds =
                    loop.nowMilliseconds + TransportLimits.acceptPauseMilliseconds
                return
            }
        }
    }

    /// Gives a connection to the loop with the fewest, this one when it is among them.
    private func place(
        _ descriptor: Int32, _ isUnixSocket: Bool, _ isLoopback: Bool, _ own: EventLoop
    ) {
        var chosen = own
        var fewest = own.counters.connections.load(ordering: .relaxed)
        for loop in others {
            let count = loop.counters.connections.load(ordering: .relaxed)
            if count < fewest {
                chosen = loop
                fewest = count
            }
        }
        // Counted here, so that a burst spreads before the other loops have woken up.
        chosen.counters.connections.add(1, ordering: .relaxed)
        if chosen === own {
            own.adoptCounted(descriptor, isUnixSocket: isUnixSocket, isLoopback: isLoopback)
            return
        }
        // Unowned: see `listen`.
        let wasPosted = chosen.tryPost { [unowned(unsafe) chosen] in
            unsafe chosen.adoptCounted(
                descriptor, isUnixSocket: isUnixSocket, isLoopback: isLoopback)
        }
        if !wasPosted {
            Glibc.close(descriptor)
            chosen.counters.connections.subtract(1, ordering: .relaxed)
        }
    }
}
