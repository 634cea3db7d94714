//  Values as servers of the past wrote them, put together by hand.

/// Bytes in the vocabulary of the format.
enum OldForms {
    static func length(_ count: Int) -> [UInt8] {
        count < 64 ? [UInt8(count)] : [UInt8(0x40 | count >> 8), UInt8(count & 0xFF)]
    }

    static func string(_ bytes: [UInt8]) -> [UInt8] { length(bytes.count) + bytes }

    static func string(_ text: String) -> [UInt8] { string(Array(text.utf8)) }

    static func bytes(_ number: Int, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
    }

    /// A ziplist of texts and of integers in each of their forms.
    static func ziplist(_ items: [String]) -> [UInt8] {
        var entries: [UInt8] = []
        var before = 0
        var last = 10
        for item in items {
            last = 10 + entries.count
            var entry = before < 254 ? [UInt8(before)] : [254] + bytes(before, 4)
            if let integer = Int(item), String(integer) == item {
                switch integer {
                case 0...12: entry.append(UInt8(0xF1 + integer))
                case -128...127: entry += [0xFE] + bytes(integer, 1)
                case -32768...32767: entry += [0xC0] + bytes(integer, 2)
                case -0x80_0000...0x7F_FFFF: entry += [0xF0] + bytes(integer, 3)
                case Int(Int32.min)...Int(Int32.max): entry += [0xD0] + bytes(integer, 4)
                default: entry += [0xE0] + bytes(integer, 8)
                }
            } else {
                let count = item.utf8.count
                if count < 64 {
                    entry.append(UInt8(count))
                } else if count < 16384 {
                    entry += [UInt8(0x40 | count >> 8), UInt8(count & 0xFF)]
                } else {
                    entry += [0x80] + bytes(count, 4).reversed()
                }
                entry += Array(item.utf8)
            }
            before = entry.count
            entries += entry
        }
        return bytes(11 + entries.count, 4) + bytes(last, 4) + bytes(items.count, 2) + entries
            + [255]
    }

    static func zipmap(_ pairs: [(String, String)]) -> [UInt8] {
        var map = [UInt8(pairs.count)]
        for (field, value) in pairs {
            map += [UInt8(field.utf8.count)] + Array(field.utf8)
            map += [UInt8(value.utf8.count), 2] + Array(value.utf8) + [0, 0]
        }
        return map + [255]
    }

    static func intset(_ integers: [Int], width: Int) -> [UInt8] {
        bytes(width, 4) + bytes(integers.count, 4) + integers.flatMap { bytes($0, width) }
    }

    /// A listpack of short texts and integers of 7 bits.
    static func listpack(_ items: [String]) -> [UInt8] {
        var entries: [UInt8] = []
        for item in items {
            if let integer = Int(item) {
                let wide = integer < 0 || integer > 127
                entries += wide ? [0xF4] + bytes(integer, 8) + [9] : [UInt8(integer), 1]
            } else {
                let text = Array(item.utf8)
                entries += [UInt8(0x80 | text.count)] + text + [UInt8(text.count + 1)]
            }
        }
        return bytes(7 + entries.count, 4) + bytes(items.count, 2) + entries + [255]
    }

    static let texts = [
        "a", "", "0", "12", "13", "-1", "127", "-128", "1000", "-30000", "70000", "8000000",
        "2000000000", "9000000000", String(repeating: "x", count: 70),
        String(repeating: "y", count: 300), "end",
    ]

    /// One payload of each type that is not written any more, with what a client sees of it.
    static let all: [(name: String, payload: [UInt8], command: String, reply: [String])] = [
        ("list of ziplist", [10] + string(ziplist(texts)), "LRANGE key 0 -1", texts),
        (
            "quicklist", [14] + length(2) + string(ziplist(["a", "1"])) + string(ziplist(["b"])),
            "LRANGE key 0 -1", ["a", "1", "b"]
        ),
        (
            "quicklist 2",
            [18] + length(3) + length(2) + string(listpack(["a", "1", "-70"])) + length(1)
                + string("plain") + length(2) + string(listpack(["b"])), "LRANGE key 0 -1",
            ["a", "1", "-70", "plain", "b"]
        ),
        ("list", [1] + length(2) + string("a") + [0xC0, 0x85], "LRANGE key 0 -1", ["a", "-123"]),
        (
            "set of listpack", [20] + string(listpack(["a", "3", "b"])), "SORT key ALPHA",
            ["3", "a", "b"]
        ),
        (
            "intset of 2 bytes", [11] + string(intset([-5, 1, 300], width: 2)), "SORT key",
            ["-5", "1", "300"]
        ),
        (
            "intset of 8 bytes", [11] + string(intset([-5, 1, 300], width: 8)), "SORT key",
            ["-5", "1", "300"]
        ),
        (
            "hash of zipmap", [9] + string(zipmap([("a", "1"), ("b", "two")])), "HMGET key a b",
            ["1", "two"]
        ),
        (
            "hash of ziplist", [13] + string(ziplist(["a", "1", "b", "two"])), "HMGET key a b",
            ["1", "two"]
        ),
        (
            "sorted set of text",
            [3] + length(3) + string("a") + [3] + Array("2.5".utf8) + string("b") + [254]
                + string("c") + [255], "ZRANGE key 0 -1 WITHSCORES",
            ["c", "-inf", "a", "2.5", "b", "inf"]
        ),
        (
            "sorted set of ziplist", [12] + string(ziplist(["a", "1", "b", "2.5"])),
            "ZRANGE key 0 -1 WITHSCORES", ["a", "1", "b", "2.5"]
        ),
        (
            "timed hash of a candidate",
            [22] + length(2) + [0] + string("a") + string("1")
                + [0x81] + bytes(1_900_000_000_000, 8).reversed() + string("b") + string("2"),
            "HPEXPIRETIME key FIELDS 2 a b", [":-1", ":1900000000000"]
        ),
        (
            "timed listpack of a candidate",
            [23] + string(listpack(["b", "2", "1900000000000", "a", "1", "0"])),
            "HPEXPIRETIME key FIELDS 2 a b", [":-1", ":1900000000000"]
        ),
        (
            "stream 1",
            [15] + length(1) + string(bytes(0, 7) + [5] + bytes(0, 8))
                + string(
                    listpack([
                        "2", "1", "1", "f", "0", "2", "0", "1", "v", "4", "3", "0", "2", "w", "4",
                        "0", "1", "0", "1", "g", "x", "6",
                    ])) + length(2) + [6, 0] + length(1) + string("group") + [5, 1] + length(1)
                + [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1] + bytes(1_600_000_000_000, 8)
                + [3] + length(1) + string("ann") + bytes(1_600_000_000_000, 8) + length(1)
                + [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1], "XRANGE key - +",
            ["*2", "5-1", "f", "v", "6-0", "g", "x"]
        ),
    ]
}
