//  Entries and their ids in replies.

import MartletBase

extension ReplyWriter {
    /// An id, as `milliseconds-sequence`.
    @inline(__always)
    mutating func bulk(_ id: StreamID) {
        let digits = decimalDigitCount(id.milliseconds) + decimalDigitCount(id.sequence)
        buffer.append(UInt8(ascii: "$"))
        buffer.append(decimal: Int64(digits + 1))
        buffer.append("\r\n")
        buffer.append(unsignedDecimal: id.milliseconds)
        buffer.append(UInt8(ascii: "-"))
        buffer.append(unsignedDecimal: id.sequence)
        buffer.append("\r\n")
    }

    /// An entry: its id, and its fields with their values.
    @inline(__always)
    mutating func entry(_ entry: StreamEntry) {
        array(2)
        entryBody(entry)
    }

    /// Both without their header.
    @inline(__always)
    mutating func entryBody(_ entry: StreamEntry) {
        bulk(entry.id)
        array(2 &* entry.fieldCount)
        entry.forEachField { field, value in
            element(field)
            element(value)
        }
    }
}
