//  Bytes of a value while a handler changes them in place.
//
//  Raw memory: nothing is allocated or freed here. Whoever lends the bytes holds their shard and
//  says for how long; every access is checked against `count`.

/// Bytes lent to be changed in place; every access is checked.
@safe
@frozen
@usableFromInline
package struct MutableBytes {
    @usableFromInline let address: UnsafeMutableRawPointer
    @usableFromInline package let count: Int

    @inlinable @inline(__always)
    package init(_ address: UnsafeMutableRawPointer, count: Int) {
        unsafe self.address = address
        self.count = count
    }

    @inlinable
    package subscript(index: Int) -> UInt8 {
        get {
            precondition(index >= 0 && index < count, "index inside the bytes")
            return unsafe address.load(fromByteOffset: index, as: UInt8.self)
        }
        nonmutating set {
            precondition(index >= 0 && index < count, "index inside the bytes")
            unsafe address.storeBytes(of: newValue, toByteOffset: index, as: UInt8.self)
        }
    }

    /// Copies `bytes` to `offset`.
    @inlinable
    package func replace(at offset: Int, with bytes: ByteView) {
        precondition(offset >= 0 && bytes.count <= count - offset, "the copy fits")
        unsafe (address + offset).copyMemory(from: bytes.address, byteCount: bytes.count)
    }

    /// The bytes, to read.
    @inlinable
    package var view: ByteView { unsafe ByteView(address, count: count) }
}
