//  The allocator of entries: size classes of 8 bytes in slabs of 16 KiB, one set per partition.
//
//  Raw memory. Used only under the lock of the shard that owns the partition; the pool of empty
//  slabs behind it is shared and has its own lock. Every slab is aligned to its size, so an
//  object's slab is found by masking its address. Sizes are known to the caller (an entry's header
//  tells its own), so objects carry no header. Empty slabs return to the pool at once, which gives
//  their pages back to the system beyond a small reserve.
//
//         slab, 16 KiB:   0  index      4 bytes, its number within the partition
//                         4  used       2 bytes, live objects
//                         6  free       2 bytes, first free object / 8, 0 = none
//                         8  fresh      2 bytes, first never used byte / 8
//                        10  class      2 bytes
//                        12  next       4 bytes, index + 1 of the next slab with room, 0 = none
//                        16  previous   4 bytes, likewise
//                        32  objects; a free one begins with the offset / 8 of the next free one
//
//  A 32-bit *handle* names an object within its partition, so that the expiry index can link
//  entries with four bytes: slab index * 2048 + offset / 8. Objects too large for a slab come from
//  malloc behind an 8-byte prefix that holds their number, and have handles with the top bit set.

import CSystem
import Glibc
import MartletBase

/// Numbers of the size classes.
enum SlabClass {
    static let slabBytes = 16 * 1024
    static let headerBytes = 32
    /// Larger objects come from malloc. 1024: fifteen to a slab, 6 % lost.
    static let objectBytesMax = 1024
    static let count = 49

    /// The class of objects of `bytes`, at most `objectBytesMax`: steps of 8 up to 256, of 32 up to
    /// 512, of 64 above.
    @inline(__always)
    static func index(bytes: Int) -> Int {
        if bytes <= 256 { return (bytes &+ 7) >> 3 }
        if bytes <= 512 { return 32 &+ ((bytes &- 256 &+ 31) >> 5) }
        return 40 &+ ((bytes &- 512 &+ 63) >> 6)
    }

    /// The size of objects of class `index`.
    @inline(__always)
    static func bytes(index: Int) -> Int {
        if index <= 32 { return index << 3 }
        if index <= 40 { return 256 &+ ((index &- 32) << 5) }
        return 512 &+ ((index &- 40) << 6)
    }
}

/// Empty slabs of the whole process.
///
/// Chunks of 2 MiB are reserved from the system and cut into slabs. A slab that comes back keeps
/// its pages while fewer than `warmSlabsMax` are warm; beyond that its pages are given back and
/// only the address range is kept for reuse.
///
/// Entries lie anywhere, and with plain pages nearly each access walks the page tables first: a
/// quarter of the time of a command. So a chunk whose slabs have all been handed out is turned into
/// one huge page, on the reclaimer's thread, two chunks later, when most of it is in use. A chunk that
/// began as one would cost a server up to 2 MiB that it does not need, and its first touch a pause;
/// while files are loaded neither matters, and a chunk is one from the beginning, which spares the
/// copy of all its pages.
@safe
final class SlabPool: @unchecked Sendable {
    // Unchecked: every stored property is read and written under `lock` alone.
    private let lock = ShardLock.allocate()
    private var warm: [UnsafeMutableRawPointer] = unsafe []
    private var cold: [UnsafeMutableRawPointer] = unsafe []

    static let chunkBytes = 2 * 1024 * 1024
    /// Chunks in the order in which they were reserved; all but the last two of them are, or are
    /// about to be, huge pages.
    private var chunks: [UInt] = []
    private static let plainChunks = 2
    private var growsInHugePages = false
    /// 1 MiB of slabs are kept with their pages, which spares churn a system call per slab.
    static let warmSlabsMax = 64

    static let shared = SlabPool()

    deinit { lock.deallocate() }

    /// A slab, or nil when the system has no memory. Its contents are unspecified.
    func take() -> UnsafeMutableRawPointer? {
        lock.lock()
        if let slab = unsafe warm.popLast() ?? cold.popLast() {
            lock.unlock()
            return unsafe slab
        }
        let slab = unsafe takeNew()
        let used = chunks.count > Self.plainChunks ? chunks[chunks.count - 1 - Self.plainChunks] : 0
        lock.unlock()
        if used != 0, unsafe slab != nil {
            Reclaimer.shared.run(objects: 0) {
                let chunk = unsafe UnsafeMutableRawPointer(bitPattern: used)
                // The system may not have any, and does as well as it can then.
                _ = unsafe madvise(
                    chunk, Self.chunkBytes, Int32(martlet_madvise_collapse))
            }
        }
        return unsafe slab
    }

    private func takeNew() -> UnsafeMutableRawPointer? {
        guard let start = Self.reserve(alignedTo: Self.chunkBytes),
            let chunk = unsafe UnsafeMutableRawPointer(bitPattern: start)
        else { return nil }
        chunks.append(start)
        if growsInHugePages { unsafe madvise(chunk, Self.chunkBytes, MADV_HUGEPAGE) }
        // The lowest address is taken first, so that a chunk's pages are touched in order.
        var offset = Self.chunkBytes - SlabClass.slabBytes
        while offset > 0 {
            unsafe cold.append(chunk + offset)
            offset -= SlabClass.slabBytes
        }
        return unsafe chunk
    }

    /// Says that much memory is about to be taken, or that it was.
    func expectGrowth(_ isExpected: Bool) {
        lock.lock()
        defer { lock.unlock() }
        growsInHugePages = isExpected
    }

    /// Address space of `bytes`, aligned to them, whose pages are zero and come when touched; nil
    /// when the system has none.
    static func reserve(alignedTo bytes: Int) -> UInt? {
        // Twice the size makes sure that an aligned part is inside; the rest is unmapped.
        let raw = unsafe mmap(
            nil, bytes * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let raw = unsafe raw, unsafe raw != MAP_FAILED else { return nil }
        let start = UInt(bitPattern: raw)
        let aligned = (start + UInt(bytes) - 1) & ~(UInt(bytes) - 1)
        let before = Int(aligned - start)
        if before > 0 { unsafe munmap(raw, before) }
        if before < bytes { unsafe munmap(raw + before + bytes, bytes - before) }
        return aligned
    }

    /// Takes an empty slab back.
    func give(_ slab: UnsafeMutableRawPointer) {
        lock.lock()
        if unsafe warm.count < Self.warmSlabsMax {
            unsafe warm.append(slab)
            lock.unlock()
            return
        }
        lock.unlock()
        unsafe madvise(slab, SlabClass.slabBytes, MADV_DONTNEED)
        lock.lock()
        unsafe cold.append(slab)
        lock.unlock()
    }

    /// Bytes of empty slabs that keep their pages.
    var warmBytes: Int {
        lock.lock()
        defer { lock.unlock() }
        return unsafe warm.count * SlabClass.slabBytes
    }

    /// Gives the pages of all warm slabs back to the system: MEMORY PURGE.
    func trim() {
        lock.lock()
        defer { lock.unlock() }
        while let slab = unsafe warm.popLast() {
            unsafe madvise(slab, SlabClass.slabBytes, MADV_DONTNEED)
            unsafe cold.append(slab)
        }
    }
}

/// The objects of one partition.
///
/// - Invariant: a slab with room is either its class's `current` one or on the class's list.
@safe
struct Slabs: ~Copyable {
    /// Base addresses by slab index; a released index is nil and on `freeIndexes`.
    private var bases: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    private var basesCapacity = 0
    private var basesCount = 0
    private var freeIndexes: [UInt32] = []
    /// Per class: the slab that serves it, then the index + 1 of the first other slab with room.
    private var current: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    private var partial: UnsafeMutablePointer<UInt32>
    /// Objects larger than a slab's, by their number; freed numbers are reused.
    private var large: [UnsafeMutableRawPointer?] = unsafe []
    private var freeLarge: [UInt32] = []
    /// Bytes of live objects, rounded up to their class.
    private(set) var usedBytes = 0
    /// The part of it that came from malloc.
    private var largeBytes = 0
    /// Slabs held.
    private(set) var slabCount = 0

    static let largeHandleBit: UInt32 = 0x8000_0000
    /// Handles at and above this are not objects: the expiry index uses them for its slots.
    static let handleMax: UInt32 = 0xFFFF_0000
    /// 2^31 / 2048 slabs: 16 GiB of small entries in a partition.
    static let slabCountMax = 1 << 20

    init() {
        unsafe bases = .allocate(capacity: 4)
        basesCapacity = 4
        unsafe current = .allocate(capacity: SlabClass.count)
        unsafe current.initialize(repeating: nil, count: SlabClass.count)
        unsafe partial = .allocate(capacity: SlabClass.count)
        unsafe partial.initialize(repeating: 0, count: SlabClass.count)
    }

    deinit {
        for index in 0..<basesCount {
            if let slab = unsafe bases[index] { unsafe SlabPool.shared.give(slab) }
        }
        for index in unsafe large.indices {
            if let object = unsafe large[index] { unsafe Glibc.free(object - 8) }
        }
        unsafe bases.deallocate()
        unsafe current.deallocate()
        unsafe partial.deallocate()
    }

    /// Gives all slabs back, without looking at what is in them, and calls `pause` after each. The
    /// objects are about to go.
    mutating func dismantle(_ pause: () -> Void) {
        for index in 0..<basesCount {
            guard let slab = unsafe bases[index] else { continue }
            unsafe bases[index] = nil
            unsafe SlabPool.shared.give(slab)
            pause()
        }
    }

    /// Whether objects of both sizes would take the same memory, so that one can become the other.
    @inline(__always)
    static func areInterchangeable(_ oldBytes: Int, _ newBytes: Int) -> Bool {
        oldBytes <= SlabClass.objectBytesMax && newBytes <= SlabClass.objectBytesMax
            && SlabClass.index(bytes: oldBytes) == SlabClass.index(bytes: newBytes)
    }

    /// What an object of `bytes` costs: its class's size.
    @inline(__always)
    static func allocationBytes(_ bytes: Int) -> Int {
        bytes <= SlabClass.objectBytesMax
            ? SlabClass.bytes(index: SlabClass.index(bytes: bytes)) : bytes + 24
    }

    /// Memory for an object, or nil when the system has none or it is beyond 4 GiB.
    ///
    /// - Complexity: O(1).
    @inline(__always)
    mutating func allocate(_ bytes: Int) -> UnsafeMutableRawPointer? {
        guard bytes <= SlabClass.objectBytesMax else { return unsafe allocateLarge(bytes) }
        let index = SlabClass.index(bytes: bytes)
        if let slab = unsafe current[index] {
            let offset = unsafe Int(slab.load(fromByteOffset: 6, as: UInt16.self)) << 3
            if offset != 0 {
                let object = unsafe slab + offset
                let next = unsafe object.load(as: UInt16.self)
                unsafe slab.storeBytes(of: next, toByteOffset: 6, as: UInt16.self)
                let used = unsafe slab.load(fromByteOffset: 4, as: UInt16.self)
                unsafe slab.storeBytes(of: used &+ 1, toByteOffset: 4, as: UInt16.self)
                usedBytes &+= SlabClass.bytes(index: index)
                return unsafe object
            }
        }
        return unsafe allocateFresh(index)
    }

    /// The current slab has no freed object: take a never used one, another slab, or a new one.
    @inline(never)
    private mutating func allocateFresh(_ index: Int) -> UnsafeMutableRawPointer? {
        let size = SlabClass.bytes(index: index)
        while true {
            if let slab = unsafe current[index] {
                let freed = unsafe Int(slab.load(fromByteOffset: 6, as: UInt16.self)) << 3
                let fresh = unsafe Int(slab.load(fromByteOffset: 8, as: UInt16.self)) << 3
                var object: UnsafeMutableRawPointer?
                if freed != 0 {
                    unsafe object = slab + freed
                    let next = unsafe (slab + freed).load(as: UInt16.self)
                    unsafe slab.storeBytes(of: next, toByteOffset: 6, as: UInt16.self)
                } else if fresh + size <= SlabClass.slabBytes {
                    unsafe object = slab + fresh
                    unsafe slab.storeBytes(
                        of: UInt16((fresh + size) >> 3), toByteOffset: 8, as: UInt16.self)
                }
                if let object = unsafe object {
                    let used = unsafe slab.load(fromByteOffset: 4, as: UInt16.self)
                    unsafe slab.storeBytes(of: used + 1, toByteOffset: 4, as: UInt16.self)
                    usedBytes += size
                    return unsafe object
                }
            }
            if unsafe partial[index] != 0 {
                guard let slab = unsafe bases[Int(partial[index] - 1)] else {
                    preconditionFailure("a listed slab is held")
                }
                unsafe unlist(slab, index)
                unsafe current[index] = slab
                continue
            }
            guard let slab = unsafe newSlab(index) else { return nil }
            unsafe current[index] = slab
        }
    }

    private mutating func newSlab(_ index: Int) -> UnsafeMutableRawPointer? {
        var number = 0
        if let reused = freeIndexes.popLast() {
            number = Int(reused)
        } else {
            guard basesCount < Self.slabCountMax else { return nil }
            number = basesCount
            if basesCount == basesCapacity {
                let grown = UnsafeMutablePointer<UnsafeMutableRawPointer?>.allocate(
                    capacity: basesCapacity * 2)
                unsafe grown.initialize(from: bases, count: basesCount)
                unsafe bases.deallocate()
                unsafe bases = grown
                basesCapacity *= 2
            }
            unsafe bases[basesCount] = nil
            basesCount += 1
        }
        guard let slab = unsafe SlabPool.shared.take() else {
            freeIndexes.append(UInt32(number))
            return nil
        }
        unsafe bases[number] = slab
        unsafe memset(slab, 0, SlabClass.headerBytes)
        unsafe slab.storeBytes(of: UInt32(number), as: UInt32.self)
        unsafe slab.storeBytes(
            of: UInt16(SlabClass.headerBytes >> 3), toByteOffset: 8, as: UInt16.self)
        unsafe slab.storeBytes(of: UInt16(index), toByteOffset: 10, as: UInt16.self)
        slabCount += 1
        return unsafe slab
    }

    /// Takes back an object of `bytes`, the size it was allocated with. Complexity: O(1).
    @inline(__always)
    mutating func free(_ object: UnsafeMutableRawPointer, bytes: Int) {
        guard bytes <= SlabClass.objectBytesMax else {
            unsafe freeLarge(object, bytes)
            return
        }
        let slab = unsafe Self.slab(of: object)
        let index = unsafe Int(slab.load(fromByteOffset: 10, as: UInt16.self))
        assert(index == SlabClass.index(bytes: bytes))
        usedBytes &-= SlabClass.bytes(index: index)
        let head = unsafe slab.load(fromByteOffset: 6, as: UInt16.self)
        let used = unsafe slab.load(fromByteOffset: 4, as: UInt16.self)
        unsafe object.storeBytes(of: head, as: UInt16.self)
        unsafe slab.storeBytes(
            of: UInt16(truncatingIfNeeded: (object - slab) >> 3), toByteOffset: 6, as: UInt16.self)
        unsafe slab.storeBytes(of: used &- 1, toByteOffset: 4, as: UInt16.self)
        if unsafe current[index] != slab {
            // It was full, and so on no list, when no object was free and none was fresh.
            if head == 0 || used == 1 { unsafe roomAppeared(slab, index, wasFull: head == 0) }
        }
    }

    @inline(never)
    private mutating func roomAppeared(
        _ slab: UnsafeMutableRawPointer, _ index: Int, wasFull: Bool
    ) {
        let size = SlabClass.bytes(index: index)
        let fresh = unsafe Int(slab.load(fromByteOffset: 8, as: UInt16.self)) << 3
        let isListed = !wasFull || fresh + size <= SlabClass.slabBytes
        if unsafe slab.load(fromByteOffset: 4, as: UInt16.self) == 0 {
            if isListed { unsafe unlist(slab, index) }
            let number = unsafe slab.load(as: UInt32.self)
            unsafe bases[Int(number)] = nil
            freeIndexes.append(number)
            slabCount -= 1
            unsafe SlabPool.shared.give(slab)
        } else if !isListed {
            unsafe enlist(slab, index)
        }
    }

    private mutating func enlist(_ slab: UnsafeMutableRawPointer, _ index: Int) {
        let number = unsafe slab.load(as: UInt32.self) + 1
        let first = unsafe partial[index]
        unsafe slab.storeBytes(of: first, toByteOffset: 12, as: UInt32.self)
        unsafe slab.storeBytes(of: 0, toByteOffset: 16, as: UInt32.self)
        if first != 0, let other = unsafe bases[Int(first - 1)] {
            unsafe other.storeBytes(of: number, toByteOffset: 16, as: UInt32.self)
        }
        unsafe partial[index] = number
    }

    private mutating func unlist(_ slab: UnsafeMutableRawPointer, _ index: Int) {
        let next = unsafe slab.load(fromByteOffset: 12, as: UInt32.self)
        let previous = unsafe slab.load(fromByteOffset: 16, as: UInt32.self)
        if previous == 0 {
            unsafe partial[index] = next
        } else if let other = unsafe bases[Int(previous - 1)] {
            unsafe other.storeBytes(of: next, toByteOffset: 12, as: UInt32.self)
        }
        if next != 0, let other = unsafe bases[Int(next - 1)] {
            unsafe other.storeBytes(of: previous, toByteOffset: 16, as: UInt32.self)
        }
    }

    @inline(__always)
    private static func slab(of object: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
        let base = UInt(bitPattern: object) & ~UInt(SlabClass.slabBytes - 1)
        return unsafe UnsafeMutableRawPointer(bitPattern: base).unsafelyUnwrapped
    }

    private mutating func allocateLarge(_ bytes: Int) -> UnsafeMutableRawPointer? {
        // `proto-max-bulk-len` may be set to let keys grow beyond the 32 bits that an entry has for
        // their length.
        guard bytes <= Int(UInt32.max), let memory = unsafe malloc(bytes + 8) else { return nil }
        let object = unsafe memory + 8
        var number = 0
        if let reused = freeLarge.popLast() {
            number = Int(reused)
            unsafe large[number] = object
        } else {
            number = unsafe large.count
            unsafe large.append(object)
        }
        unsafe memory.storeBytes(of: number, as: Int.self)
        usedBytes += Self.allocationBytes(bytes)
        largeBytes += Self.allocationBytes(bytes)
        return unsafe object
    }

    private mutating func freeLarge(_ object: UnsafeMutableRawPointer, _ bytes: Int) {
        let number = unsafe (object - 8).load(as: Int.self)
        unsafe large[number] = nil
        freeLarge.append(UInt32(number))
        usedBytes -= Self.allocationBytes(bytes)
        largeBytes -= Self.allocationBytes(bytes)
        unsafe Reclaimer.shared.release(object - 8, bytes: bytes)
    }

    /// The handle of a live object of `bytes`.
    @inline(__always)
    func handle(_ object: UnsafeMutableRawPointer, bytes: Int) -> UInt32 {
        if bytes > SlabClass.objectBytesMax {
            let number = unsafe (object - 8).load(as: Int.self)
            return Self.largeHandleBit | UInt32(truncatingIfNeeded: number)
        }
        let slab = unsafe Self.slab(of: object)
        return unsafe slab.load(as: UInt32.self) &<< 11
            | UInt32(truncatingIfNeeded: (object - slab) >> 3)
    }

    /// The object a handle names.
    @inline(__always)
    func object(_ handle: UInt32) -> UnsafeMutableRawPointer {
        if handle & Self.largeHandleBit != 0 {
            guard let object = unsafe large[Int(handle & ~Self.largeHandleBit)] else {
                preconditionFailure("a handle names a live object")
            }
            return unsafe object
        }
        guard let slab = unsafe bases[Int(handle >> 11)] else {
            preconditionFailure("a handle names a live object")
        }
        return unsafe slab + Int(handle & 2047) << 3
    }

    /// Checks that slabs and lists agree; for tests. Complexity: O(slabs, and objects freed in them).
    func checkInvariants() {
        var listed: Set<UInt32> = []
        for index in 0..<SlabClass.count {
            var previous: UInt32 = 0
            var number = unsafe partial[index]
            while number != 0 {
                guard let slab = unsafe bases[Int(number - 1)] else {
                    preconditionFailure("a listed slab is held")
                }
                precondition(unsafe slab != current[index], "what serves a class is not listed")
                precondition(
                    unsafe slab.load(fromByteOffset: 16, as: UInt32.self) == previous,
                    "links go both ways")
                precondition(
                    unsafe slab.load(fromByteOffset: 10, as: UInt16.self) == index,
                    "a list holds one class")
                listed.insert(number - 1)
                previous = number
                unsafe number = slab.load(fromByteOffset: 12, as: UInt32.self)
            }
        }
        var held = 0
        var inSlabs = 0
        for number in 0..<basesCount {
            guard let slab = unsafe bases[number] else { continue }
            held += 1
            let index = unsafe Int(slab.load(fromByteOffset: 10, as: UInt16.self))
            let used = unsafe Int(slab.load(fromByteOffset: 4, as: UInt16.self))
            let fresh = unsafe Int(slab.load(fromByteOffset: 8, as: UInt16.self)) << 3
            let size = SlabClass.bytes(index: index)
            var free = 0
            var offset = unsafe Int(slab.load(fromByteOffset: 6, as: UInt16.self)) << 3
            while offset != 0 {
                free += 1
                unsafe offset = Int((slab + offset).load(as: UInt16.self)) << 3
            }
            precondition(unsafe slab.load(as: UInt32.self) == number, "a slab knows its number")
            precondition(
                used + free == (fresh - SlabClass.headerBytes) / max(size, 1),
                "each object is live or free")
            let isCurrent = unsafe slab == current[index]
            precondition(used > 0 || isCurrent, "an empty slab serves its class or is gone")
            precondition(
                listed.contains(UInt32(number)) == (free > 0 && !isCurrent),
                "a slab with room can be found")
            inSlabs += used * size
        }
        precondition(held == slabCount, "slabs are counted")
        precondition(inSlabs + largeBytes == usedBytes, "objects are counted")
    }

    /// Bytes of slabs that no object uses: what fragmentation and partly filled slabs cost.
    var slackBytes: Int { slabCount * SlabClass.slabBytes - (usedBytes - largeBytes) }
}
