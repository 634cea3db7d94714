//  The append-only log in memory: commands as RESP in the order of execution, from the loops that
//  append them to the one thread that writes them to a file.
//
//      loop --append--> [ pending ] --take--> log thread --> file, sync --> durable
//
//  A position is a count of bytes since the start: that of a unit is where it ends. Units are appended
//  under the shards of their keys, so that the order for every key is the order of execution; the
//  queue's own lock ranks after the shards and is held for as long as it takes to copy the bytes.
//
//  Loops can append faster than a disk takes. When more is pending than `crowdedBytes`, each loop waits at
//  the end of its iteration until the log thread has taken it, or for a tenth of a second: as long as
//  other servers block in their write to the file.
//
//  Raw memory: the core is allocated with the queue and freed with it, after all loops. It is touched
//  under the lock alone, the two words besides by atomic accesses: the sleeper's, and behind it the one
//  that says whether the queue is crowded.

import CSystem
import Glibc
import MartletBase
import Synchronization

/// What waits for the log thread.
struct LogCore: ~Copyable {
    fileprivate var pending = ByteBuffer()
    /// The position of the first pending byte.
    fileprivate var begin: UInt64 = 0
    /// The database of the command appended last; -1 when the next one must name its own.
    fileprivate var database = -1
    /// Positions at which increments begin that were not taken yet, in ascending order.
    fileprivate var increments: [UInt64] = []
    /// So many bytes wake the log thread.
    fileprivate var wakeBytes = 0

    fileprivate var end: UInt64 { begin &+ UInt64(pending.count) }

    @inline(__always)
    fileprivate mutating func append(_ unit: borrowing StagedCommands, isWrapped: Bool) {
        if database != unit.firstDatabase { appendSelect(unit.firstDatabase, to: &pending) }
        if isWrapped { pending.append("*1\r\n$5\r\nMULTI\r\n") }
        pending.append(unit.bytes.view)
        if isWrapped { pending.append("*1\r\n$4\r\nEXEC\r\n") }
        database = unit.lastDatabase
    }
}

/// Appends a SELECT.
func appendSelect(_ database: Int, to buffer: inout ByteBuffer) {
    buffer.append("*2\r\n$6\r\nSELECT\r\n$")
    buffer.append(decimal: Int64(decimalDigitCount(UInt64(database.magnitude))))
    buffer.append("\r\n")
    buffer.append(decimal: Int64(database))
    buffer.append("\r\n")
}

/// The loops' side of the queue: a value, so that appending counts no references.
@safe
struct LogAppender {
    fileprivate let lock: ShardLock
    fileprivate let core: UnsafeMutablePointer<LogCore>
    fileprivate let sleeper: UnsafeMutableRawPointer

    /// More pending bytes hold the loops up.
    static let crowdedBytes = 16 << 20
    private static let crowdedOffset = 4
    private static let pollMicroseconds: UInt32 = 200

    /// Appends what a request, a transaction or a served client changed, as one unit: several commands
    /// are wrapped in MULTI and EXEC. The caller holds the shards of their keys.
    ///
    /// - Returns: the position behind the unit.
    @inline(__always)
    func append(_ unit: borrowing StagedCommands, isAtomic: Bool) -> UInt64 {
        lock.lock()
        unsafe core.pointee.append(unit, isWrapped: isAtomic && unit.count > 1)
        let end = unsafe core.pointee.end
        if unsafe core.pointee.pending.count > Self.crowdedBytes { noteCrowd() }
        lock.unlock()
        return end
    }

    /// Says whether the queue is crowded. The caller holds the lock.
    @inline(never)
    fileprivate func noteCrowd() {
        let isCrowded = unsafe core.pointee.pending.count > Self.crowdedBytes
        unsafe martlet_store_relaxed_32(sleeper + Self.crowdedOffset, isCrowded ? 1 : 0)
    }

    /// The position behind all that was appended.
    var end: UInt64 {
        lock.lock()
        defer { lock.unlock() }
        return unsafe core.pointee.end
    }

    /// Wakes the log thread if it sleeps and enough is there. A loop calls it once per iteration, so
    /// that one write to the file takes the units of many clients. A crowded queue holds it up.
    @inline(__always)
    func announce() {
        if unsafe martlet_load_relaxed_64(sleeper) != 0 { announceSlowly() }
    }

    @inline(never)
    func announceSlowly(waitMicrosecondsMax: UInt32 = 100_000) {
        if unsafe martlet_load_relaxed_32(sleeper) != 0 { wake(isForced: false) }
        var waited: UInt32 = 0
        while waited < waitMicrosecondsMax,
            unsafe martlet_load_relaxed_32(sleeper + Self.crowdedOffset) != 0
        {
            usleep(Self.pollMicroseconds)
            waited += Self.pollMicroseconds
        }
    }

    @inline(never)
    fileprivate func wake(isForced: Bool) {
        lock.lock()
        let isDue =
            unsafe isForced || core.pointee.pending.count >= core.pointee.wakeBytes
            || !core.pointee.increments.isEmpty
        if isDue { unsafe martlet_store_relaxed_32(sleeper, 0) }
        lock.unlock()
        if isDue { unsafe martlet_futex_wake(sleeper, 1) }
    }
}

/// The append-only log in memory.
@safe
package final class LogQueue: @unchecked Sendable {
    // Unchecked: the core is touched under the lock.

    /// What the log thread has taken.
    package struct Taken {
        /// The position behind the bytes.
        package let end: UInt64
        /// The bytes, of which there may be none, are the first of another increment.
        package let beginsIncrement: Bool
    }

    let appender: LogAppender
    /// Up to here everything is as durable as it will be. Written by the log thread.
    package let durable = Atomic<UInt64>(0)

    init() {
        let core = UnsafeMutablePointer<LogCore>.allocate(capacity: 1)
        unsafe core.initialize(to: LogCore())
        let sleeper = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 64)
        unsafe sleeper.storeBytes(of: 0, as: UInt64.self)
        unsafe appender = LogAppender(lock: .allocate(), core: core, sleeper: sleeper)
    }

    deinit {
        unsafe appender.core.deinitialize(count: 1)
        unsafe appender.core.deallocate()
        unsafe appender.sleeper.deallocate()
        appender.lock.deallocate()
    }

    /// The position behind all that was appended.
    package var end: UInt64 { appender.end }

    /// Bytes that the log thread has not taken yet.
    package var pendingBytes: Int {
        appender.lock.lock()
        defer { appender.lock.unlock() }
        return unsafe appender.core.pointee.pending.count
    }

    /// A buffer up to this size is used again, however little was in it.
    private static let keptBytesMax = 4 << 20

    /// Takes what is pending, up to where another increment begins; with nothing there, none.
    ///
    /// - Parameters:
    ///   - buffer: gets the bytes; what it held is gone, its memory is used for those to come.
    ///   - waitMilliseconds: how long to wait, at most, until there are as many as wanted.
    ///   - bytesWanted: so many bytes end the wait.
    ///   - standsAlone: what is taken next will name its database first: after a failed write it may be
    ///     the beginning of another file.
    /// - Returns: where the log stands with these bytes.
    package func take(
        into buffer: inout ByteBuffer, waitMilliseconds: Int64, bytesWanted: Int = 1,
        standsAlone: Bool = false
    ) -> Taken {
        let lock = appender.lock
        let core = unsafe appender.core
        // What a burst made it grow to is not kept for ever.
        let isMostlyUnused =
            buffer.capacity > Self.keptBytesMax && buffer.count < buffer.capacity / 4
        buffer.removeAll()
        if isMostlyUnused { buffer.release() }
        lock.lock()
        defer { lock.unlock() }
        let isEnough =
            unsafe core.pointee.pending.count >= bytesWanted
            || !core.pointee.increments.isEmpty
        if !isEnough && waitMilliseconds > 0 {
            unsafe core.pointee.wakeBytes = bytesWanted
            unsafe martlet_store_relaxed_32(appender.sleeper, 1)
            lock.unlock()
            unsafe martlet_futex_wait_for(appender.sleeper, 1, waitMilliseconds)
            lock.lock()
            unsafe martlet_store_relaxed_32(appender.sleeper, 0)
        }
        var beginsIncrement = false
        if unsafe core.pointee.increments.first == core.pointee.begin {
            beginsIncrement = true
            unsafe core.pointee.increments.removeFirst()
        }
        if let next = unsafe core.pointee.increments.first {
            let count = unsafe Int(next &- core.pointee.begin)
            unsafe buffer.append(core.pointee.pending.view.slice(0, count))
            unsafe core.pointee.pending.consume(count)
            unsafe core.pointee.begin = next
        } else {
            let end = unsafe core.pointee.end
            unsafe swap(&buffer, &core.pointee.pending)
            unsafe core.pointee.begin = end
        }
        appender.noteCrowd()
        if standsAlone && !buffer.isEmpty { unsafe core.pointee.database = -1 }
        return Taken(end: unsafe core.pointee.begin, beginsIncrement: beginsIncrement)
    }

    /// Lets what is appended from now on be the next increment, which begins with a SELECT. The caller
    /// holds all shards.
    ///
    /// - Returns: the position at which it begins.
    @discardableResult
    package func beginIncrement() -> UInt64 {
        appender.lock.lock()
        let position = unsafe appender.core.pointee.end
        unsafe appender.core.pointee.increments.append(position)
        unsafe appender.core.pointee.database = -1
        appender.lock.unlock()
        return position
    }

    /// Ends the log thread's wait, whatever is there.
    package func wake() { appender.wake(isForced: true) }
}
