//  Amounts of memory as a configuration spells them: `100`, `1kb`, `64mb`, `5%`.

extension ByteView {
    /// The number of bytes that the text spells, or nil.
    ///
    ///     1b = 1    1k = 1 000    1m = 1 000 000    1g = 1 000 000 000
    ///               1kb = 1 024   1mb = 1 048 576   1gb = 1 073 741 824
    ///
    /// Units are read in any case; leading zeros are allowed, fractions and signs are not. More
    /// than 64 bits hold is refused, where Redis wraps around.
    package func parseMemorySize() -> UInt64? {
        var end = 0
        while end < count && self[end] &- 0x30 <= 9 { end += 1 }
        guard end > 0, let amount = slice(0, end).parseUnsignedLoosely() else { return nil }
        let unit = slice(end, count)
        for (name, bytes) in memoryUnits where unit.equalsIgnoringCase(name) {
            let (size, isTooBig) = amount.multipliedReportingOverflow(by: bytes)
            return isTooBig ? nil : size
        }
        return nil
    }

    /// The share that the text spells, `0%` through `100%`, or nil.
    package func parsePercentage() -> Int? {
        guard !isEmpty, self[count - 1] == UInt8(ascii: "%"),
            let share = slice(0, count - 1).parseInteger(), share >= 0, share <= 100
        else { return nil }
        return Int(share)
    }
}

private let memoryUnits: [(name: StaticString, bytes: UInt64)] = [
    ("", 1), ("b", 1),
    ("k", 1_000), ("kb", 1 << 10),
    ("m", 1_000_000), ("mb", 1 << 20),
    ("g", 1_000_000_000), ("gb", 1 << 30),
]
