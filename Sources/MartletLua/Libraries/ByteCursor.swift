//  The only way by which the libraries touch bytes that a script gave them.
//
//  Raw memory: the bytes belong to an argument of the running host function and stand until it
//  returns. Every read compares its position with the count first.

import CLuaShim

/// Walks through the bytes of a Lua string; reads beyond the end give nothing.
@safe struct ByteCursor {
    private let bytes: UnsafeRawBufferPointer
    /// How many bytes there are.
    let count: Int
    /// Bytes read so far; never beyond `count`.
    private(set) var position: Int

    /// Starts at `position`, at most the count.
    init(_ bytes: UnsafeRawBufferPointer, at position: Int = 0) {
        unsafe self.bytes = unsafe bytes
        count = bytes.count
        self.position = min(max(position, 0), bytes.count)
    }

    /// Bytes not yet read.
    var left: Int { count - position }

    /// The byte at `position + offset`; 0 beyond the end, where Lua's strings have a zero.
    func peek(_ offset: Int = 0) -> UInt8 {
        let index = position &+ offset
        guard index >= 0, index < count else { return 0 }
        return unsafe bytes[index]
    }

    /// Whether a space, a tab or an end of line stands here.
    var isAtSpace: Bool {
        switch peek() {
        case 9, 10, 13, 32: true
        default: false
        }
    }

    /// Passes over `bytes`, at most to the end.
    mutating func skip(_ bytes: Int = 1) {
        position += min(max(bytes, 0), left)
    }

    /// Takes one byte; nil at the end.
    mutating func next() -> UInt8? {
        guard position < count else { return nil }
        defer { position += 1 }
        return unsafe bytes[position]
    }

    /// Takes `length` bytes; nil when there are not as many.
    mutating func take(_ length: Int) -> UnsafeRawBufferPointer? {
        guard length >= 0, length <= left else { return nil }
        defer { position += length }
        return unsafe UnsafeRawBufferPointer(rebasing: bytes[position..<position + length])
    }

    /// Takes an unsigned integer of `size` bytes; of more than 8 bytes, the lower 64 bits.
    mutating func integer(size: Int, bigEndian: Bool) -> UInt64? {
        guard size >= 0, size <= left else { return nil }
        defer { position += size }
        var value: UInt64 = 0
        for step in 0..<size {
            let offset = bigEndian ? step : size - 1 - step
            value = value << 8 | UInt64(unsafe bytes[position + offset])
        }
        return value
    }

    /// The place of the next zero, counted from the position; nil when there is none.
    func offsetOfZero() -> Int? {
        var index = position
        while index < count {
            if unsafe bytes[index] == 0 { return index - position }
            index += 1
        }
        return nil
    }

    /// The bytes from `start` up to the position.
    func slice(from start: Int) -> UnsafeRawBufferPointer {
        let start = min(max(start, 0), position)
        return unsafe UnsafeRawBufferPointer(rebasing: bytes[start..<position])
    }

    /// Takes the number that C's strtod finds here; nil when it finds none.
    mutating func number() -> Double? {
        guard let start = unsafe bytes.baseAddress else { return nil }
        var length = 0
        // Lua's strings end with a zero, so that the library stops there at the latest.
        let text = unsafe start.advanced(by: position).assumingMemoryBound(to: CChar.self)
        let number = unsafe martlet_lua_parse_number(text, &length)
        guard length > 0, length <= left else { return nil }
        position += length
        return number
    }
}
