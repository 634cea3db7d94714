//  The allocator of table segments: address space for the largest one each, pages as they are touched.
//
//  Raw memory, shared by all shards behind one lock; taken only when a table splits or shrinks. A
//  segment grows in place into pages it has not touched yet, so nothing is copied out, freed and left
//  as a gap. (From malloc, segments that grow a twelfth at a time, all together, left a fifth of the
//  tables' memory in gaps: 2 bytes per key at a million keys.) A block that comes back loses its
//  pages and keeps its place.

import CSystem
import Glibc
import MartletBase

/// Blocks of one size for the segments of all tables.
@safe
final class SegmentPool: @unchecked Sendable {
    // Unchecked: `free` is touched under `lock` alone.
    static let shared = SegmentPool()

    static let pageBytes = 4096
    /// Room for the largest segment, in whole pages.
    static let blockBytes =
        (Segment.bytes(groups: Table.groupsMax) + pageBytes - 1) / pageBytes * pageBytes

    private let lock = ShardLock.allocate()
    private var free: [UInt] = []

    private init() {}

    deinit { lock.deallocate() }

    /// A block of zero bytes, or nil when the system has no memory.
    func take() -> UnsafeMutableRawPointer? {
        lock.lock()
        defer { lock.unlock() }
        if free.isEmpty {
            guard let region = SlabPool.reserve(alignedTo: SlabPool.chunkBytes) else { return nil }
            var offset = SlabPool.chunkBytes / Self.blockBytes * Self.blockBytes
            while offset > 0 {
                offset -= Self.blockBytes
                free.append(region + UInt(offset))
            }
        }
        guard let block = free.popLast() else { return nil }
        return unsafe UnsafeMutableRawPointer(bitPattern: block)
    }

    /// Takes a block back; its pages go to the system.
    func give(_ block: UnsafeMutableRawPointer) {
        unsafe madvise(block, Self.blockBytes, MADV_DONTNEED)
        lock.lock()
        free.append(UInt(bitPattern: block))
        lock.unlock()
    }

    /// Gives the pages of a block behind its first `bytes` back.
    static func trim(_ block: UnsafeMutableRawPointer, to bytes: Int) {
        let kept = (bytes + pageBytes - 1) / pageBytes * pageBytes
        if kept < blockBytes { unsafe madvise(block + kept, blockBytes - kept, MADV_DONTNEED) }
    }
}
