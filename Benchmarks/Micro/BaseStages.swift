//  Stages of the byte vocabulary.

import MartletBase

let baseStages: [Stage] = [
    Stage("loop and sample, empty") { operations, watch in
        let keys = sampleKeys()
        var sum: UInt64 = 0
        watch.start()
        for index in 0..<operations { sum &+= UInt64(keys[index][0]) }
        watch.stop()
        return sum
    },
    Stage("hash, key of 16 bytes") { operations, watch in
        let keys = sampleKeys()
        let hashKey = HashKey.random()
        var sum: UInt64 = 0
        watch.start()
        for index in 0..<operations { sum &+= hashKey.hash(keys[index]) }
        watch.stop()
        return sum
    },
    Stage("hash, key of 5 bytes") { operations, watch in
        let keys = Samples((0..<1_024).map { "k\(1_000 + $0)" })
        let hashKey = HashKey.random()
        var sum: UInt64 = 0
        watch.start()
        for index in 0..<operations { sum &+= hashKey.hash(keys[index]) }
        watch.stop()
        return sum
    },
    Stage("integer from text, 1 to 9 digits") { operations, watch in
        let numbers = Samples(sampleIntegers().map { String($0) })
        var sum: UInt64 = 0
        watch.start()
        for index in 0..<operations {
            sum &+= UInt64(bitPattern: numbers[index].parseInteger() ?? 0)
        }
        watch.stop()
        return sum
    },
    Stage("integer to text, 1 to 9 digits") { operations, watch in
        let numbers = sampleIntegers()
        var out = ByteBuffer(capacity: 64)
        var sum: UInt64 = 0
        watch.start()
        for index in 0..<operations {
            out.append(decimal: numbers[index & 1_023])
            sum &+= UInt64(out.count)
            out.removeAll()
        }
        watch.stop()
        return sum
    },
    Stage("double from text, price") { operations, watch in
        let numbers = Samples(sampleIntegers().map { "\($0).25" })
        var sum = 0.0
        watch.start()
        for index in 0..<operations { sum += numbers[index].parseDouble() ?? 0 }
        watch.stop()
        return sum.bitPattern
    },
    Stage("double to text, price") { operations, watch in
        let numbers = sampleIntegers().map { Double($0) + 0.25 }
        return printing(numbers, operations, &watch)
    },
    Stage("double to text, 16 or 17 digits") { operations, watch in
        var random = Random(seed: 1)
        let numbers = (0..<1_024).map { _ in random.nextUnit() }
        return printing(numbers, operations, &watch)
    },
    Stage("glob, user:*:name on 16 bytes") { operations, watch in
        matching("user:*:name", operations, &watch)
    },
    Stage("glob, *1[0-4]* on 16 bytes") { operations, watch in
        matching("*1[0-4]*", operations, &watch)
    },
    Stage("glob, one that gives up") { operations, watch in
        let text = [UInt8](repeating: UInt8(ascii: "a"), count: 100_000)
        let pattern = [UInt8(ascii: "*")] + text.prefix(5_000) + [UInt8(ascii: "b")]
        var hits: UInt64 = 0
        watch.start()
        for _ in 0..<operations {
            let isMatch = text.withView { text in pattern.withView { text.matches($0) } }
            hits += isMatch ? 1 : 2
        }
        watch.stop()
        return hits
    },
    Stage("clock, monotonic") { operations, watch in
        var sum: UInt64 = 0
        watch.start()
        for _ in 0..<operations {
            sum &+= UInt64(bitPattern: Clock.system.monotonicNanoseconds())
        }
        watch.stop()
        return sum
    },
    Stage("random number below a bound") { operations, watch in
        var random = Random(seed: 1)
        var sum: UInt64 = 0
        watch.start()
        for index in 0..<operations { sum &+= random.next(below: UInt64(index) | 1) }
        watch.stop()
        return sum
    },
    Stage("XXH3, 64 KB (per byte)") { operations, watch in
        perByte(operations, &watch) { xxh3($0) }
    },
    Stage("CRC-64, 64 KB (per byte)") { operations, watch in
        perByte(operations, &watch) { CRC64.checksum($0) }
    },
    Stage("SHA-1, 64 KB (per byte)") { operations, watch in
        perByte(operations, &watch) { UInt64(SHA1.digest($0)[0]) }
    },
    Stage("SHA-256, 64 KB (per byte)") { operations, watch in
        perByte(operations, &watch) { UInt64(SHA256.digest($0)[0]) }
    },
]

/// 1 024 keys of 16 bytes.
func sampleKeys() -> Samples {
    Samples((0..<1_024).map { "user:\(100_000 + $0):name" })
}

/// 1 024 integers of 1 to 9 digits, as many of each length.
private func sampleIntegers() -> [Int64] {
    var random = Random(seed: 1)
    return (0..<1_024).map { index in
        var below: Int64 = 10
        for _ in 0..<(index % 9) { below *= 10 }
        return Int64(random.next(below: UInt64(below)))
    }
}

private func printing(
    _ numbers: [Double], _ operations: Int, _ watch: inout Stopwatch
) -> UInt64 {
    var out = ByteBuffer(capacity: 64)
    var sum: UInt64 = 0
    watch.start()
    for index in 0..<operations {
        out.append(double: numbers[index & 1_023])
        sum &+= UInt64(out.count)
        out.removeAll()
    }
    watch.stop()
    return sum
}

private func matching(
    _ pattern: StaticString, _ operations: Int, _ watch: inout Stopwatch
) -> UInt64 {
    let keys = sampleKeys()
    let pattern = ByteView(pattern)
    var hits: UInt64 = 0
    watch.start()
    for index in 0..<operations where keys[index].matches(pattern) { hits += 1 }
    watch.stop()
    return hits
}

private func perByte(
    _ operations: Int, _ watch: inout Stopwatch, _ checksum: (ByteView) -> UInt64
) -> UInt64 {
    var random = Random(seed: 1)
    let bytes = (0..<min(operations, 65_536)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    var sum: UInt64 = 0
    var done = 0
    watch.start()
    while done < operations {
        sum &+= bytes.withView { checksum($0) }
        done += bytes.count
    }
    watch.stop()
    return sum
}
