//  Where RDB bytes come from: memory, or a file that is read piece by piece.
//
//  The one way to touch such bytes. Every read is checked against what is there; nothing is allocated
//  by a size that was only claimed: a long string is read in pieces, and its room grows with the bytes
//  that have come.

import MartletBase
import MartletEngine

/// Why RDB bytes were not taken.
package struct RDBError: Error {
    package enum Reason {
        /// The bytes are not of the format, or contradict themselves.
        case damaged(StaticString)
        /// They are of something that Martlet does not have.
        case unsupported(String)
        /// A key, as text, that is there twice.
        case duplicateKey(String)
        case noMemory
        case storage(StorageError)
    }

    package let reason: Reason
    /// Where, in bytes from the beginning.
    package let offset: Int

    package init(_ reason: Reason, at offset: Int) {
        self.reason = reason
        self.offset = offset
    }

    /// As an error of the file of this name.
    package func of(path: String) -> StorageError {
        switch reason {
        case .damaged(let text): .damaged(path: path, offset: offset, reason: "\(text)")
        case .unsupported(let text): .damaged(path: path, offset: offset, reason: text)
        case .duplicateKey(let key):
            .damaged(path: path, offset: offset, reason: "the key '\(key)' is there twice")
        case .noMemory: .damaged(path: path, offset: offset, reason: "there is no memory for it")
        case .storage(let error): error
        }
    }
}

/// Bytes that are read from the front.
package struct RDBInput: ~Copyable {
    /// Appends up to so many bytes to the buffer; answers how many, 0 at the end.
    package typealias Fill = (inout ByteBuffer, Int) throws(StorageError) -> Int

    /// What was read and not yet taken back, when there is a `fill`.
    private var window = ByteBuffer()
    private let memory: ByteView
    private let fill: Fill?
    /// Taken of the window or the memory.
    private var position = 0
    /// Where the window begins in the file.
    private var origin: Int
    /// What is kept of the window although it was taken: from here on.
    private var markPosition: Int?
    /// All before `position` of the window that is in the checksum.
    private var summed = 0
    private var checksum = CRC64()
    private let hasChecksum: Bool

    private static let readBytes = 256 * 1024

    /// Bytes in memory, which stay there as long as the input is used.
    package init(_ bytes: ByteView, origin: Int = 0, hasChecksum: Bool = true) {
        memory = bytes
        self.origin = origin
        fill = nil
        self.hasChecksum = hasChecksum
    }

    package init(hasChecksum: Bool = true, fill: @escaping Fill) {
        memory = ByteView()
        origin = 0
        self.fill = fill
        self.hasChecksum = hasChecksum
    }

    /// Bytes taken so far.
    package var offset: Int { origin + position }

    @inline(__always)
    private var view: ByteView { fill == nil ? memory : window.view }

    func damaged(_ reason: StaticString) -> RDBError { RDBError(.damaged(reason), at: offset) }

    /// The next `count` bytes, lent until the next call.
    @inline(__always)
    mutating func take(_ count: Int) throws(RDBError) -> ByteView {
        if count > view.count - position { try read(count) }
        position += count
        return view.slice(position - count, position)
    }

    /// Reads on until there are `count` bytes.
    @inline(never)
    private mutating func read(_ count: Int) throws(RDBError) {
        guard let fill else { throw damaged("it ends too early") }
        sum()
        let kept = markPosition ?? position
        if kept > 0 {
            origin += kept
            window.consume(kept)
            position -= kept
            summed -= kept
            if markPosition != nil { markPosition = 0 }
        }
        while window.count - position < count {
            let before = window.count
            do throws(StorageError) {
                // As much again as there is: the room is never much more than what has come.
                _ = try fill(&window, max(Self.readBytes, min(before, 1 << 26)))
            } catch {
                throw RDBError(.storage(error), at: offset)
            }
            if window.count == before { throw damaged("it ends too early") }
        }
    }

    private mutating func sum() {
        // Bytes that are taken a second time are in it already.
        if position <= summed { return }
        if hasChecksum { checksum.update(view.slice(summed, position)) }
        summed = position
    }

    /// Keeps what is taken from here on, to be taken again or looked at as a whole.
    mutating func mark() { markPosition = position }

    mutating func unmark() { markPosition = nil }

    /// All that was taken since the mark, lent until the next call.
    var sinceMark: ByteView { view.slice(markPosition ?? position, position) }

    /// Goes back to a place behind the mark.
    mutating func rewind(to offset: Int) {
        let place = offset - origin
        precondition(place >= (markPosition ?? position) && place <= position, "it was kept")
        position = place
    }

    /// The checksum of all bytes taken.
    mutating func checksumSoFar() -> UInt64 {
        unmark()
        sum()
        return checksum.value
    }

    /// Whether nothing is left, of an input in memory.
    var isAtEnd: Bool { position == view.count }

    // MARK: Vocabulary

    @inline(__always)
    mutating func byte() throws(RDBError) -> UInt8 { try take(1)[0] }

    mutating func littleEndian(_ bytes: Int) throws(RDBError) -> UInt64 {
        try take(bytes).littleEndian
    }

    private mutating func bigEndian(_ bytes: Int) throws(RDBError) -> UInt64 {
        try take(bytes).bigEndian
    }

    /// A length, or which short form of a string stands there.
    @inline(__always)
    private mutating func lengthOrForm() throws(RDBError) -> (number: UInt64, isForm: Bool) {
        let first = try byte()
        switch first >> 6 {
        case 0: return (UInt64(first & 0x3F), false)
        case 1: return (UInt64(first & 0x3F) << 8 | UInt64(try byte()), false)
        case 2:
            if first == 0x80 { return (try bigEndian(4), false) }
            if first == 0x81 { return (try bigEndian(8), false) }
            throw damaged("no such form of a length")
        default: return (UInt64(first & 0x3F), true)
        }
    }

    /// A number in the form of a length.
    @inline(__always)
    mutating func number() throws(RDBError) -> UInt64 {
        let (number, isForm) = try lengthOrForm()
        if isForm { throw damaged("a string where a length must be") }
        return number
    }

    /// How many things follow, of which each takes a byte at least.
    @inline(__always)
    mutating func count() throws(RDBError) -> Int {
        guard let count = Int(exactly: try number()) else { throw damaged("too large a count") }
        return count
    }

    /// A string, lent until the next call, from here or from `room`.
    @inline(__always)
    mutating func string(_ room: inout ByteBuffer) throws(RDBError) -> ByteView {
        let (length, isForm) = try lengthOrForm()
        if isForm { return try shortString(length, &room) }
        return try take(try size(length))
    }

    private func size(_ length: UInt64) throws(RDBError) -> Int {
        guard length <= UInt64(Limits.stringBytesMax) else {
            throw damaged("a string of more than 512 MB")
        }
        return Int(length)
    }

    @inline(never)
    private mutating func shortString(
        _ form: UInt64, _ room: inout ByteBuffer
    ) throws(RDBError) -> ByteView {
        room.removeAll()
        switch form {
        case 0: room.append(decimal: Int64(Int8(truncatingIfNeeded: try littleEndian(1))))
        case 1: room.append(decimal: Int64(Int16(truncatingIfNeeded: try littleEndian(2))))
        case 2: room.append(decimal: Int64(Int32(truncatingIfNeeded: try littleEndian(4))))
        case 3:
            let compressed = try size(try number())
            let original = try size(try number())
            let bytes = try take(compressed)
            guard LZF.expand(bytes, count: original, into: &room) else {
                throw damaged("a compressed string that cannot be expanded")
            }
        default: throw damaged("no such form of a string")
        }
        return room.view
    }

    /// Passes over a string.
    ///
    /// - Returns: how many bytes it ends with that are the string's own; 0 when it is packed.
    @discardableResult
    mutating func skipString() throws(RDBError) -> Int {
        let (length, isForm) = try lengthOrForm()
        if !isForm {
            let count = try size(length)
            try skip(count)
            return count
        }
        switch form(length) {
        case .bytes(let count): try skip(count)
        case .compressed:
            let compressed = try size(try number())
            _ = try number()
            try skip(compressed)
        case .unknown: throw damaged("no such form of a string")
        }
        return 0
    }

    private enum ShortForm {
        case bytes(Int)
        case compressed
        case unknown
    }

    private func form(_ number: UInt64) -> ShortForm {
        switch number {
        case 0: .bytes(1)
        case 1: .bytes(2)
        case 2: .bytes(4)
        case 3: .compressed
        default: .unknown
        }
    }

    /// Passes over bytes, a piece at a time.
    mutating func skip(_ count: Int) throws(RDBError) {
        var left = count
        while left > 0 {
            let piece = min(left, Self.readBytes)
            _ = try take(piece)
            left -= piece
        }
    }

    /// A stream's ID of 16 bytes.
    mutating func rawID() throws(RDBError) -> StreamID {
        let milliseconds = try bigEndian(8)
        return StreamID(milliseconds, try bigEndian(8))
    }

    /// A stream's ID of two numbers.
    mutating func id() throws(RDBError) -> StreamID {
        let milliseconds = try number()
        return StreamID(milliseconds, try number())
    }
}

extension ByteView {
    /// Up to eight bytes as a number, the lowest first.
    @inline(__always)
    var littleEndian: UInt64 {
        var value: UInt64 = 0
        for index in 0..<Swift.min(8, count) {
            value |= UInt64(self[index]) << UInt64(8 * index)
        }
        return value
    }

    /// The same, the highest first.
    @inline(__always)
    var bigEndian: UInt64 {
        var value: UInt64 = 0
        for index in 0..<Swift.min(8, count) { value = value << 8 | UInt64(self[index]) }
        return value
    }
}
