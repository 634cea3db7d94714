//  One connection as its loop sees it, and the slots the connections of a loop live in.
//
//  A connection is a trivial record plus two buffers that hold no memory while it is idle. The loop
//  alone creates, changes and destroys it, on the loop's thread. Slots come in chunks that are
//  freed with the loop, never before, so the address in a stale `ConnectionReference` or a late
//  event always points to a slot; the ID in it tells whether the connection is still the same.
//
//  Raw memory: a chunk is allocated for a fixed number of slots; a slot is linked into the free
//  list or initialized, never both.

import CSystem
import Glibc
import MartletBase

/// The state of one connection.
///
/// - Memory: 192 bytes at most (asserted by a test), besides what a busy one has buffered.
@safe
struct Connection: ~Copyable {
    /// Facts and pending deeds, one bit each.
    struct Flags: OptionSet {
        let rawValue: UInt16

        /// Bytes stay unread until it is resumed.
        static let paused = Flags(rawValue: 1 << 0)
        /// Reads no more; is closed when `pending` is empty.
        static let closesAfterFlush = Flags(rawValue: 1 << 1)
        /// Is closed when its turn in the loop's queue comes; nothing else happens to it.
        static let doomed = Flags(rawValue: 1 << 2)
        /// Stands in the loop's queue.
        static let queued = Flags(rawValue: 1 << 3)
        /// `resume()` was called and not yet acted upon.
        static let resumed = Flags(rawValue: 1 << 4)
        /// Exceeded a limit, of which the handler has not been told.
        static let exceededOutput = Flags(rawValue: 1 << 5)
        static let exceededInput = Flags(rawValue: 1 << 6)
        static let exceededIdle = Flags(rawValue: 1 << 7)
        /// The idle timeout does not apply.
        static let mayIdle = Flags(rawValue: 1 << 8)
        /// Not closed for what its buffers hold.
        static let isNotEvicted = Flags(rawValue: 1 << 14)
        /// `pending` is above the soft limit since `softSinceMilliseconds`.
        static let aboveSoftLimit = Flags(rawValue: 1 << 9)
        /// Taken out of epoll: a peer that is gone would wake the loop for ever.
        static let unregistered = Flags(rawValue: 1 << 10)
        static let isUnixSocket = Flags(rawValue: 1 << 11)
        static let isLoopback = Flags(rawValue: 1 << 12)
        /// Has a reply in the loop's output that goes out before anything in `pending`.
        static let holdsReply = Flags(rawValue: 1 << 13)

        /// Any of these keeps the loop from reading.
        static let unreadable: Flags = [.paused, .closesAfterFlush, .doomed]
    }

    /// The socket; it is closed with the connection.
    var descriptor: Int32

    /// The events epoll watches for.
    var interest: UInt32

    /// Unique in the process; 0 in a free slot.
    var id: UInt64

    /// What `opened` returned; nil until then, and for a connection that was refused.
    var context: UnsafeMutableRawPointer?

    /// The bytes of an incomplete request, or those behind a paused one.
    var input: ByteBuffer

    /// Replies the socket has not taken.
    var pending: ByteBuffer

    /// Which bytes of `pending` wait for something else than the socket; nil for none.
    var withheld: UnsafeMutablePointer<WithheldReplies>?

    /// `received` is not called with fewer bytes.
    var minimumBytes: Int

    /// The capacity of both buffers, as far as the loop's total includes it.
    var countedBytes: Int

    /// When bytes were last received or taken by the socket; the loop's coarse clock.
    var lastActivityMilliseconds: UInt64
    var softSinceMilliseconds: UInt64

    /// Limits; 0 for none.
    var outputHardLimitBytes: Int
    var outputSoftLimitBytes: Int
    var inputLimitBytes: Int
    var outputSoftLimitSeconds: UInt32

    var flags: Flags

    /// The next one in the loop's queue, or among its free slots.
    var next: UnsafeMutablePointer<Connection>?

    /// A free slot.
    init() {
        descriptor = -1
        interest = 0
        id = 0
        unsafe context = nil
        input = ByteBuffer()
        pending = ByteBuffer()
        unsafe withheld = nil
        minimumBytes = 0
        countedBytes = 0
        lastActivityMilliseconds = 0
        softSinceMilliseconds = 0
        outputHardLimitBytes = 0
        outputSoftLimitBytes = 0
        inputLimitBytes = 0
        outputSoftLimitSeconds = 0
        flags = []
        unsafe next = nil
    }
}

/// The slots of one loop's connections, taken from and given back to a list of free ones.
///
/// - Invariant: every slot is initialised; a free one has ID 0 and buffers without memory.
@safe
struct ConnectionTable: ~Copyable {
    private static let slotsPerChunk = 64

    private var chunks: [UnsafeMutablePointer<Connection>] = unsafe []
    private var free: UnsafeMutablePointer<Connection>?

    /// Connections that are not free.
    private(set) var count = 0

    init() {
        unsafe free = nil
    }

    deinit {
        for index in unsafe chunks.indices {
            let chunk = unsafe chunks[index]
            unsafe chunk.deinitialize(count: Self.slotsPerChunk)
            unsafe chunk.deallocate()
        }
    }

    /// The number of slots, free ones included: `slot(at:)` takes less.
    var slotCount: Int { unsafe chunks.count * Self.slotsPerChunk }

    /// The slot at `index`, which may be a free one.
    func slot(at index: Int) -> UnsafeMutablePointer<Connection> {
        unsafe chunks[index / Self.slotsPerChunk] + index % Self.slotsPerChunk
    }

    /// A slot for a new connection.
    mutating func take() -> UnsafeMutablePointer<Connection> {
        if unsafe free == nil { addChunk() }
        guard let slot = unsafe free else { fatalError("a chunk has slots") }
        unsafe free = slot.pointee.next
        unsafe slot.pointee.next = nil
        count += 1
        return unsafe slot
    }

    /// Takes a slot back and frees its buffers.
    mutating func giveBack(_ slot: UnsafeMutablePointer<Connection>) {
        unsafe slot.pointee = Connection()
        unsafe slot.pointee.next = free
        unsafe free = slot
        count -= 1
    }

    private mutating func addChunk() {
        let chunk = UnsafeMutablePointer<Connection>.allocate(capacity: Self.slotsPerChunk)
        for index in (0..<Self.slotsPerChunk).reversed() {
            unsafe (chunk + index).initialize(to: Connection())
            unsafe (chunk + index).pointee.next = free
            unsafe free = chunk + index
        }
        unsafe chunks.append(chunk)
    }
}
