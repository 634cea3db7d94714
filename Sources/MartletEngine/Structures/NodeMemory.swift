//  Where the nodes of large structures come from: chunks, table segments, tree nodes.
//
//  Raw memory: a block belongs to the structure that asked for it, which keeps its size and gives it
//  back. Any thread may give a block back: structures are torn down on the reclaimer's.

import Glibc

/// Blocks of at most `NodeMemory.bytesMax` bytes.
enum NodeMemory {
    /// The largest node of a structure: what a snapshot copies out at one go.
    static let bytesMax = 4096

    /// A block of `bytes`, its contents unspecified.
    static func allocate(_ bytes: Int) -> UnsafeMutableRawPointer {
        guard let block = unsafe malloc(bytes) else {
            fatalError("out of memory: a node of \(bytes) bytes was refused by the system")
        }
        return unsafe block
    }

    /// A block of `bytes` zeros.
    static func allocateZeroed(_ bytes: Int) -> UnsafeMutableRawPointer {
        guard let block = unsafe calloc(1, bytes) else {
            fatalError("out of memory: a node of \(bytes) bytes was refused by the system")
        }
        return unsafe block
    }

    /// The block at another size, moved if need be; its contents are kept up to the smaller one.
    static func resize(
        _ block: UnsafeMutableRawPointer?, to bytes: Int
    ) -> UnsafeMutableRawPointer {
        guard let moved = unsafe realloc(block, bytes) else {
            fatalError("out of memory: a directory of \(bytes) bytes was refused by the system")
        }
        return unsafe moved
    }

    /// Takes a block back.
    static func free(_ block: UnsafeMutableRawPointer?) {
        unsafe Glibc.free(block)
    }
}
