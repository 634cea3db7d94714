//  A connection to another server, for a thread that may wait: whatever it does ends at a deadline.
//
//  Raw memory: what is handed to the system is lent for the length of the call, with its size; a lookup's
//  list is copied and freed before the lookup returns. A socket is used by one thread.

import CSystem
import Glibc
import MartletBase
import Synchronization

/// One TCP connection, closed when it goes out of scope.
package struct OutgoingSocket: ~Copyable {
    package enum Failure: Error {
        /// No such host, or it did not answer in time.
        case unreachable
        /// Nobody listens there.
        case refused
        /// The deadline has passed.
        case timedOut
        /// The other side closed the connection, or the system did.
        case closed
    }

    private let descriptor: Int32
    private let clock: Clock

    /// Connects to the first address of a host that answers.
    ///
    /// - Parameters:
    ///   - host: a name, or an address of IPv4 or IPv6.
    ///   - port: where it listens.
    ///   - deadline: monotonic nanoseconds, for the lookup and all addresses together.
    ///   - clock: to know it by.
    /// - Throws: why the last of them did not answer.
    package init(
        host: String, port: UInt16, until deadline: Int64, _ clock: Clock
    ) throws(Failure) {
        var failure = Failure.unreachable
        for address in HostLookup.addresses(host, port, until: deadline, clock) {
            do throws(Failure) {
                descriptor = try Self.connect(address, until: deadline, clock)
                self.clock = clock
                return
            } catch {
                failure = error
            }
        }
        throw failure
    }

    deinit { _ = close(descriptor) }

    private static func connect(
        _ address: SocketAddress, until deadline: Int64, _ clock: Clock
    ) throws(Failure) -> Int32 {
        let type = SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue
        let descriptor = socket(address.family, Int32(type), 0)
        guard descriptor >= 0 else { throw .unreachable }
        var on: Int32 = 1
        _ = unsafe setsockopt(
            descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
        var status = unsafe address.pass { unsafe Glibc.connect(descriptor, $0, $1) }
        if status != 0 && (errno == EINPROGRESS || errno == EINTR) {
            let seen = poll(descriptor, POLLOUT, until: deadline, clock)
            if seen == 0 {
                _ = close(descriptor)
                throw .unreachable
            }
            var size = socklen_t(MemoryLayout<Int32>.size)
            var code: Int32 = 0
            status = unsafe getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &size)
            if code != 0 { status = -1 }
        }
        if status != 0 {
            _ = close(descriptor)
            throw .refused
        }
        return descriptor
    }

    /// Waits until bytes came, or until some can be sent if `sends` says so.
    package func wait(
        sends: Bool, until deadline: Int64
    ) throws(Failure) -> (canReceive: Bool, canSend: Bool) {
        let seen = Self.poll(descriptor, sends ? POLLIN | POLLOUT : POLLIN, until: deadline, clock)
        if seen == 0 { throw .timedOut }
        // What else it may be, an error say, shows when the bytes are asked for.
        return (seen & ~POLLOUT != 0, seen & POLLOUT != 0)
    }

    /// What a descriptor is ready for; 0 at the deadline.
    private static func poll(
        _ descriptor: Int32, _ events: Int32, until deadline: Int64, _ clock: Clock
    ) -> Int32 {
        while true {
            let left = deadline - clock.monotonicNanoseconds()
            if left <= 0 { return 0 }
            var request = pollfd(fd: descriptor, events: Int16(events), revents: 0)
            let milliseconds = Int32(clamping: left / 1_000_000 + 1)
            let count = unsafe Glibc.poll(&request, 1, milliseconds)
            if count > 0 { return Int32(request.revents) }
            if count < 0 && errno != EINTR { return POLLERR }
        }
    }

    /// Sends as many bytes as the system takes at once; perhaps none.
    package func send(_ bytes: ByteView) throws(Failure) -> Int {
        while true {
            let count = unsafe Glibc.send(
                descriptor, bytes.address, bytes.count, Int32(MSG_NOSIGNAL))
            if count >= 0 { return count }
            if errno == EAGAIN { return 0 }
            if errno != EINTR { throw .closed }
        }
    }

    /// Appends what has come, at most `bytesMax`; perhaps nothing.
    package func receive(into buffer: inout ByteBuffer, bytesMax: Int) throws(Failure) {
        while true {
            let count = unsafe recv(descriptor, buffer.writable(bytesMax), bytesMax, 0)
            if count > 0 {
                buffer.commit(count)
                return
            }
            if count == 0 { throw .closed }
            if errno == EAGAIN { return }
            if errno != EINTR { throw .closed }
        }
    }
}

/// A lookup of a host's addresses. The system's own may take longer than anybody wants to wait, so a name
/// is looked up by a thread that is left behind then.
private final class HostLookup: @unchecked Sendable {
    // Unchecked: `found` is written before `isDone` is, and read after.
    private let isDone = Atomic<Bool>(false)
    private var found: [SocketAddress] = []

    private static let lookMicroseconds: UInt32 = 200

    static func addresses(
        _ host: String, _ port: UInt16, until deadline: Int64, _ clock: Clock
    ) -> [SocketAddress] {
        let numeric = lookUp(host, port, AI_NUMERICHOST)
        if !numeric.isEmpty { return numeric }
        let lookup = HostLookup()
        let thread = WorkerThread(name: "lookup") {
            lookup.found = lookUp(host, port, 0)
            lookup.isDone.store(true, ordering: .releasing)
        }
        if thread == nil { return [] }
        while !lookup.isDone.load(ordering: .acquiring) {
            if clock.monotonicNanoseconds() >= deadline { return [] }
            usleep(lookMicroseconds)
        }
        return lookup.found
    }

    private static func lookUp(_ host: String, _ port: UInt16, _ flags: Int32) -> [SocketAddress] {
        var hints = unsafe addrinfo()
        unsafe hints.ai_family = AF_UNSPEC
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        unsafe hints.ai_flags = flags | AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        guard unsafe getaddrinfo(host, String(port), &hints, &list) == 0 else { return [] }
        defer { if let list = unsafe list { unsafe freeaddrinfo(list) } }
        var addresses: [SocketAddress] = []
        var next = unsafe list
        while let info = unsafe next {
            if let address = unsafe info.pointee.ai_addr {
                unsafe addresses.append(
                    SocketAddress(copying: address, length: info.pointee.ai_addrlen))
            }
            unsafe next = info.pointee.ai_next
        }
        return addresses
    }
}
