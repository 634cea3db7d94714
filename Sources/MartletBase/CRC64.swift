//  The checksum of snapshots, DUMP payloads and log groups.

/// CRC-64 with the polynomial that David Jones chose and RDB files use: reflected, starting from
/// zero, not inverted at the end.
///
/// - Source: Kounavis and Berry, A Systematic Approach to Building High Performance Software-based
///   CRC Generators, 2005 (slicing by eight).
package struct CRC64: Sendable {
    /// The checksum of what was absorbed so far.
    package private(set) var value: UInt64

    /// A checksum of nothing yet, or one to go on from.
    package init(_ value: UInt64 = 0) {
        self.value = value
    }

    /// - Complexity: O(n), n = bytes; eight bytes a step.
    package mutating func update(_ bytes: ByteView) {
        unsafe tables.withUnsafeBufferPointer { tables in
            var crc = value
            var offset = 0
            while offset + 8 <= bytes.count {
                crc ^= bytes.word(at: offset)
                var next: UInt64 = 0
                for index in 0..<8 {
                    let byte = Int(crc &>> UInt64(8 * index) & 0xFF)
                    unsafe next ^= tables[(7 - index) * 256 + byte]
                }
                crc = next
                offset += 8
            }
            while offset < bytes.count {
                let byte = Int((crc ^ UInt64(bytes[offset])) & 0xFF)
                unsafe crc = tables[byte] ^ crc &>> 8
                offset += 1
            }
            value = crc
        }
    }

    /// The checksum of one run of bytes.
    package static func checksum(_ bytes: ByteView) -> UInt64 {
        var crc = CRC64()
        crc.update(bytes)
        return crc.value
    }
}

/// Eight tables of 256: table k holds what a byte leaves behind after k more zero bytes.
private let tables: [UInt64] = {
    let reflectedPolynomial: UInt64 = 0x95AC_9329_AC4B_C9B5
    var tables = [UInt64](repeating: 0, count: 8 * 256)
    for byte in 0..<256 {
        var crc = UInt64(byte)
        for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ reflectedPolynomial : crc >> 1 }
        tables[byte] = crc
    }
    for index in 256..<tables.count {
        let before = tables[index - 256]
        tables[index] = tables[Int(before & 0xFF)] ^ before >> 8
    }
    return tables
}()
