//  A key on its way from the request to its shard.

/// A key's bytes with their hash, which decides shard and place in the table.
///
/// It is computed once, for a whole batch ahead where the key's place is known.
@frozen @usableFromInline
package struct Key {
    @usableFromInline package let bytes: ByteView
    @usableFromInline package let hash: UInt64

    @inlinable @inline(__always)
    package init(_ bytes: ByteView, hash: UInt64) {
        self.bytes = bytes
        self.hash = hash
    }
}
