//  Where RDB bytes go: a buffer, and behind it, when one is given, a sink that takes it in chunks.
//
//  What is written is the format's own vocabulary: lengths, strings, little-endian numbers. With a
//  sink the buffer never holds more than a chunk and the largest single string; without one it holds
//  all, for DUMP and for whoever writes values in memory.

import MartletBase
import MartletEngine

/// A stream of RDB bytes with their checksum.
package struct RDBOutput: ~Copyable {
    /// A chunk is handed on when it has so many bytes.
    package static let chunkBytes = 64 * 1024
    /// Shorter strings are not worth compressing.
    private static let compressedBytesMin = 21

    package typealias Sink = (ByteView) throws(StorageError) -> Void

    /// What was not handed on yet.
    package private(set) var buffer = ByteBuffer()
    private let sink: Sink?
    private var compressor = LZFCompressor()
    private var checksum = CRC64()
    private var handedOn = 0
    /// `rdbcompression`.
    package let compresses: Bool
    /// `rdbchecksum`.
    package let hasChecksum: Bool
    /// What the sink failed with; nothing reaches it from then on.
    private(set) var failure: StorageError?

    package init(compresses: Bool = true, hasChecksum: Bool = true, sink: Sink? = nil) {
        self.compresses = compresses
        self.hasChecksum = hasChecksum
        self.sink = sink
    }

    /// Bytes written so far.
    package var count: Int { handedOn + buffer.count }

    /// Exchanges the buffer with another one: to write behind what that holds. For outputs without a
    /// sink.
    package mutating func exchangeBuffer(with other: inout ByteBuffer) { swap(&buffer, &other) }

    /// Forgets what the buffer holds and keeps its memory; for outputs without a sink.
    package mutating func removeAll() { buffer.removeAll() }

    /// Lets the buffer go to the sink if it has the size of a chunk. A failure is kept for `flush`, so
    /// that loops over members need not stop.
    @inline(__always)
    mutating func spill() { if buffer.count >= Self.chunkBytes { handOn() } }

    /// Lets all of the buffer go to the sink.
    ///
    /// - Throws: what the sink threw, now or before.
    mutating func flush() throws(StorageError) {
        handOn()
        if let failure { throw failure }
    }

    private mutating func handOn() {
        guard let sink else { return }
        if hasChecksum { checksum.update(buffer.view) }
        if failure == nil {
            do throws(StorageError) { try sink(buffer.view) } catch { failure = error }
        }
        handedOn += buffer.count
        buffer.removeAll()
    }

    /// Writes the checksum of all before and hands everything on.
    mutating func finish() throws(StorageError) {
        handOn()
        append64(hasChecksum ? checksum.value : 0)
        try flush()
    }

    // MARK: Vocabulary

    @inline(__always)
    package mutating func append(_ byte: UInt8) { buffer.append(byte) }

    package mutating func append(_ bytes: ByteView) { buffer.append(bytes) }

    package mutating func append64(_ value: UInt64) {
        for shift in stride(from: UInt64(0), to: 64, by: 8) {
            buffer.append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    private mutating func appendBigEndian(_ value: UInt64, bytes: Int) {
        for index in (0..<bytes).reversed() {
            buffer.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * index)))
        }
    }

    /// A length.
    @inline(__always)
    package mutating func append(length: Int) { append(number: UInt64(length)) }

    /// A number in the form of a length.
    package mutating func append(number: UInt64) {
        if number < 1 << 6 {
            buffer.append(UInt8(number))
        } else if number < 1 << 14 {
            buffer.append(UInt8(0x40 | number >> 8))
            buffer.append(UInt8(number & 0xFF))
        } else if number <= UInt64(UInt32.max) {
            buffer.append(0x80)
            appendBigEndian(number, bytes: 4)
        } else {
            buffer.append(0x81)
            appendBigEndian(number, bytes: 8)
        }
    }

    /// A string in its shortest form.
    package mutating func append(string: ByteView) {
        if string.count <= 11, let integer = string.parseInteger() {
            if append(shortInteger: integer) { return }
        }
        append(opaque: string)
    }

    /// A string that is no integer.
    mutating func append(opaque string: ByteView) {
        if compresses && string.count >= Self.compressedBytesMin && appendCompressed(string) {
            return
        }
        append(length: string.count)
        buffer.append(string)
    }

    private mutating func appendCompressed(_ string: ByteView) -> Bool {
        // The header's size is known when the bytes are: they are moved behind it.
        let start = buffer.count
        guard let bytes = compressor.compress(string, into: &buffer) else { return false }
        let end = buffer.count
        buffer.append(0xC3)
        append(length: bytes)
        append(length: string.count)
        buffer.moveTail(from: end, to: start)
        return true
    }

    /// An integer as a string.
    package mutating func append(integer: Int64) {
        if append(shortInteger: integer) { return }
        integer.withDecimal { text in
            append(length: text.count)
            buffer.append(text)
        }
    }

    /// False, and nothing was written, when it needs more than 32 bits.
    private mutating func append(shortInteger integer: Int64) -> Bool {
        if let small = Int8(exactly: integer) {
            buffer.append(0xC0)
            buffer.append(UInt8(bitPattern: small))
        } else if let small = Int16(exactly: integer) {
            buffer.append(0xC1)
            buffer.append(UInt8(truncatingIfNeeded: small))
            buffer.append(UInt8(truncatingIfNeeded: small >> 8))
        } else if let small = Int32(exactly: integer) {
            buffer.append(0xC2)
            for shift in [0, 8, 16, 24] {
                buffer.append(UInt8(truncatingIfNeeded: small >> Int32(shift)))
            }
        } else {
            return false
        }
        return true
    }

    /// An element of a list or stream as a string.
    mutating func append(element: ListElement) {
        switch element {
        case .bytes(let bytes): append(opaque: bytes)
        case .integer(let integer): append(integer: integer)
        }
    }

    /// A stream's ID as it stands in pending entries.
    mutating func append(rawID id: StreamID) {
        appendBigEndian(id.milliseconds, bytes: 8)
        appendBigEndian(id.sequence, bytes: 8)
    }

    /// A stream's ID as two numbers.
    mutating func append(id: StreamID) {
        append(number: id.milliseconds)
        append(number: id.sequence)
    }
}
