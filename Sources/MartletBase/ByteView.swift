//  Borrowed bytes: arguments, keys, members on the hot path.
//
//  A view does not own what it points to and is never stored beyond the call it was handed to:
//  request views die with the loop's batch, entry views with the shard's lock. Every access below
//  is bounds-checked against `count`; only the `unsafe…` spellings are not.
//
//  Raw memory: nothing is allocated or freed here.

import CSystem
import Glibc

/// A borrowed run of bytes: an address and a length.
///
/// - Invariant: `address` is readable for `count` bytes as long as the lender says.
/// - Memory: 16 bytes, trivially copied.
@safe
@frozen
@usableFromInline
package struct ByteView {
    @usableFromInline package let address: UnsafeRawPointer
    @usableFromInline package let count: Int

    @inlinable @inline(__always)
    package init(_ address: UnsafeRawPointer, count: Int) {
        unsafe self.address = address
        self.count = count
    }

    /// The empty view.
    @inlinable @inline(__always)
    package init() {
        unsafe self.address = UnsafeRawPointer(bitPattern: 16).unsafelyUnwrapped
        self.count = 0
    }

    /// The bytes of a literal, which live as long as the process.
    @inlinable @inline(__always)
    package init(_ literal: StaticString) {
        unsafe self.address = UnsafeRawPointer(literal.utf8Start)
        self.count = literal.utf8CodeUnitCount
    }

    @inlinable @inline(__always)
    package var isEmpty: Bool { count == 0 }

    /// The byte at `index`; an index outside of the view is our own error and stops the process.
    @inlinable @inline(__always)
    package subscript(index: Int) -> UInt8 {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "index inside the view")
        return unsafe address.load(fromByteOffset: index, as: UInt8.self)
    }

    /// The part from `start` up to `end`, not included.
    ///
    /// - Precondition: `0 <= start <= end <= count`.
    @inlinable @inline(__always)
    package func slice(_ start: Int, _ end: Int) -> ByteView {
        precondition(start >= 0 && start <= end && end <= count, "slice inside the view")
        return unsafe ByteView(address + start, count: end - start)
    }

    /// Whether another view begins in this one's memory.
    @inlinable @inline(__always)
    package func contains(_ other: ByteView) -> Bool {
        unsafe (other.address >= address && other.address < address + count)
    }

    /// Whether both views hold the same bytes.
    @inlinable @inline(__always)
    package static func == (left: ByteView, right: ByteView) -> Bool {
        let count = left.count
        if count != right.count { return false }
        let one = unsafe left.address
        let other = unsafe right.address
        // Keys are short: words in line, the last one overlapping, cost half of a call to memcmp.
        // It comes first: keys begin alike and end in a number.
        if count >= 8 && count <= 64 {
            var offset = 0
            let last = count &- 8
            if unsafe one.loadUnaligned(fromByteOffset: last, as: UInt64.self)
                != other.loadUnaligned(fromByteOffset: last, as: UInt64.self)
            {
                return false
            }
            while offset < last {
                if unsafe one.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
                    != other.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
                {
                    return false
                }
                offset &+= 8
            }
            return true
        }
        if count >= 4 && count < 8 {
            let last = count &- 4
            return unsafe one.loadUnaligned(as: UInt32.self) == other.loadUnaligned(as: UInt32.self)
                && one.loadUnaligned(fromByteOffset: last, as: UInt32.self)
                    == other.loadUnaligned(fromByteOffset: last, as: UInt32.self)
        }
        return unsafe memcmp(one, other, count) == 0
    }

    /// Whether the view is `word`, which is given in lower case, when ASCII case is ignored.
    @inlinable
    package func equalsIgnoringCase(_ word: StaticString) -> Bool {
        guard count == word.utf8CodeUnitCount else { return false }
        for index in 0..<count {
            var byte = unsafe address.load(fromByteOffset: index, as: UInt8.self)
            if byte >= 0x41 && byte <= 0x5A { byte |= 0x20 }
            if unsafe byte != word.utf8Start[index] { return false }
        }
        return true
    }

    /// Copies the bytes to `place`, which has room for them.
    @inlinable @inline(__always)
    package func copy(to place: UnsafeMutableRawPointer) {
        guard count >= 8 && count <= 32 else {
            unsafe memcpy(place, address, count)
            return
        }
        // Members and fields are short: words that overlap in the middle, and no call.
        let half = min(count &- 8, 8)
        unsafe copyWord(0, to: place)
        unsafe copyWord(half, to: place)
        unsafe copyWord(count &- 8 &- half, to: place)
        unsafe copyWord(count &- 8, to: place)
    }

    @inlinable @inline(__always)
    func copyWord(_ offset: Int, to place: UnsafeMutableRawPointer) {
        unsafe place.storeBytes(
            of: address.loadUnaligned(fromByteOffset: offset, as: UInt64.self),
            toByteOffset: offset, as: UInt64.self)
    }

    /// Order of the bytes as unsigned numbers, a prefix before what it begins: negative, 0, positive.
    @inlinable
    package func compare(_ other: ByteView) -> Int {
        let common = min(count, other.count)
        let order = unsafe Int(memcmp(address, other.address, common))
        return order != 0 ? order : count - other.count
    }

    /// The index of the first `byte` at or after `start`, or nil.
    @inlinable
    package func firstIndex(of byte: UInt8, from start: Int = 0) -> Int? {
        guard start < count else { return nil }
        guard let found = unsafe memchr(address + start, Int32(byte), count - start) else {
            return nil
        }
        return unsafe UnsafeRawPointer(found) - address
    }

    /// A copy of the bytes, for paths that may allocate.
    package var bytes: [UInt8] {
        unsafe [UInt8](UnsafeRawBufferPointer(start: address, count: count))
    }

    /// The bytes as text, broken UTF-8 replaced, for paths that may allocate.
    package var string: String {
        unsafe String(
            decoding: UnsafeRawBufferPointer(start: address, count: count), as: UTF8.self)
    }
}

extension [UInt8] {
    /// Lends the array's bytes as a view for the length of `body`.
    @inlinable
    package func withView<R, E: Error>(
        _ body: (ByteView) throws(E) -> R
    ) throws(E) -> R {
        try unsafe withUnsafeBufferPointer { (buffer) throws(E) -> R in
            guard let base = buffer.baseAddress else { return try body(ByteView()) }
            return unsafe try body(ByteView(UnsafeRawPointer(base), count: buffer.count))
        }
    }
}

extension String {
    /// Lends the text's UTF-8 bytes as a view for the length of `body`.
    package func withView<R, E: Error>(
        _ body: (ByteView) throws(E) -> R
    ) throws(E) -> R {
        try [UInt8](utf8).withView(body)
    }
}
