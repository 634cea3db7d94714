//  A growable buffer of bytes in raw memory: requests come in, replies go out.
//
//  It owns its memory and frees it when it goes away. Growth doubles, so appending costs O(1) a
//  byte on average. One thread uses a buffer at a time.

import CSystem
import Glibc

/// Bytes that grow at the end and are consumed from the front.
///
///         memory: [ consumed | readable | writable ]
///                   0 ..< head ..< tail ..< capacity
///
/// - Invariant: `0 <= head <= tail <= capacity`; `memory` has room for `capacity` bytes.
@safe
@usableFromInline
package struct ByteBuffer: ~Copyable {
    @usableFromInline package var memory: UnsafeMutableRawPointer?
    @usableFromInline package var head: Int
    @usableFromInline package var tail: Int
    @usableFromInline package var capacity: Int

    /// An empty buffer that holds no memory before the first byte.
    @inlinable
    package init() {
        unsafe memory = nil
        head = 0
        tail = 0
        capacity = 0
    }

    /// An empty buffer with room for `capacity` bytes.
    @inlinable
    package init(capacity: Int) {
        self.init()
        if capacity > 0 { reserve(capacity) }
    }

    @inlinable
    deinit { unsafe free(memory) }

    /// The number of readable bytes.
    @inlinable @inline(__always)
    package var count: Int { tail &- head }

    @inlinable @inline(__always)
    package var isEmpty: Bool { tail == head }

    /// The readable bytes, valid until the buffer is next changed.
    @inlinable @inline(__always)
    package var view: ByteView {
        guard let memory = unsafe memory else { return ByteView() }
        return unsafe ByteView(UnsafeRawPointer(memory) + head, count: tail &- head)
    }

    /// Makes room for `extra` more bytes after the readable ones.
    @inlinable @inline(__always)
    package mutating func reserve(_ extra: Int) {
        if capacity &- tail < extra { grow(extra) }
    }

    @usableFromInline
    @inline(never)
    package mutating func grow(_ extra: Int) {
        // Move what is readable to the front first: often that is room enough.
        if head > 0, let base = unsafe memory {
            unsafe memmove(base, base + head, tail - head)
            tail -= head
            head = 0
            if capacity - tail >= extra && tail <= capacity / 2 { return }
        }
        let needed = tail + extra
        var wanted = max(capacity * 2, 512)
        if wanted < needed { wanted = needed }
        guard let grown = unsafe realloc(memory, wanted) else {
            fatalError("out of memory: a buffer of \(wanted) bytes was refused by the system")
        }
        unsafe memory = grown
        capacity = wanted
    }

    /// The address of the next byte to write, after room for `extra` bytes was made.
    ///
    /// - Precondition: the caller writes at most `extra` bytes there and then calls `commit`.
    @inlinable @inline(__always)
    package mutating func writable(_ extra: Int) -> UnsafeMutableRawPointer {
        reserve(extra)
        return unsafe memory.unsafelyUnwrapped + tail
    }

    /// Counts `written` bytes, put at the address `writable` gave, as readable.
    @inlinable @inline(__always)
    package mutating func commit(_ written: Int) {
        assert(written >= 0 && tail + written <= capacity)
        tail &+= written
    }

    @inlinable @inline(__always)
    package mutating func append(_ byte: UInt8) {
        reserve(1)
        unsafe (memory.unsafelyUnwrapped + tail).storeBytes(of: byte, as: UInt8.self)
        tail &+= 1
    }

    @inlinable @inline(__always)
    package mutating func append(_ bytes: ByteView) {
        reserve(bytes.count)
        if bytes.count > 0 {
            unsafe memcpy(memory.unsafelyUnwrapped + tail, bytes.address, bytes.count)
        }
        tail &+= bytes.count
    }

    @inlinable @inline(__always)
    package mutating func append(_ literal: StaticString) {
        append(ByteView(literal))
    }

    /// Appends text, for paths that may allocate. A literal takes the overload above, which does not.
    @_disfavoredOverload
    package mutating func append(_ text: String) {
        text.withView { append($0) }
    }

    /// Takes `consumed` bytes from the front.
    @inlinable @inline(__always)
    package mutating func consume(_ consumed: Int) {
        precondition(consumed >= 0 && consumed <= count, "no more is consumed than is there")
        head &+= consumed
        if head == tail {
            head = 0
            tail = 0
        }
    }

    /// Drops readable bytes from the end until `count` are left: an undone reply.
    @inlinable
    package mutating func truncate(to count: Int) {
        precondition(count >= 0 && count <= self.count, "a buffer is not truncated upward")
        tail = head + count
    }

    /// Moves the bytes from `start` on, a few, in front of those from `offset` on.
    package mutating func moveTail(from start: Int, to offset: Int) {
        let moved = count - start
        precondition(offset >= 0 && offset <= start && moved >= 0, "bytes that are there")
        if moved == 0 || offset == start { return }
        // They go through the room behind the end.
        let room = unsafe writable(moved)
        guard let memory = unsafe memory else { return }
        let base = unsafe memory + head
        unsafe memcpy(room, base + start, moved)
        unsafe memmove(base + offset + moved, base + offset, start - offset)
        unsafe memcpy(base + offset, room, moved)
    }

    /// Writes over readable bytes from `offset` on: a header whose room was kept.
    package mutating func overwrite(at offset: Int, _ bytes: [UInt8]) {
        precondition(offset >= 0 && offset <= count - bytes.count, "bytes that are there")
        guard let memory = unsafe memory else { return }
        bytes.withView { _ = unsafe memcpy(memory + head + offset, $0.address, $0.count) }
    }

    /// Forgets all bytes and keeps the memory.
    @inlinable @inline(__always)
    package mutating func removeAll() {
        head = 0
        tail = 0
    }

    /// Forgets all bytes and gives the memory back.
    @inlinable
    package mutating func release() {
        unsafe free(memory)
        unsafe memory = nil
        head = 0
        tail = 0
        capacity = 0
    }
}
