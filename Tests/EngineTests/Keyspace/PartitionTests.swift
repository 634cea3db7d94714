//  A partition against a dictionary: strings of every encoding and size, deadlines set, kept and
//  cleared, and memory counters that are exact at every step.

import MartletBase
import Testing

@testable import MartletEngine

/// What a key must hold.
private struct Expected: Equatable {
    var value: [UInt8]
    var deadline: Int64?
}

/// A partition and the dictionary it must agree with.
private struct PartitionModel: ~Copyable {
    let hashKey: HashKey
    var partition: Partition
    var keys: [[UInt8]: Expected] = [:]
    var now: Int64 = 1_700_000_000_000

    init(seed: UInt64) {
        hashKey = HashKey(seed, seed &+ 1)
        partition = Partition(hashKey: hashKey)
    }

    func slot(_ name: [UInt8]) -> Slot? {
        name.withView { partition.table.find($0, hash: hashKey.hash($0)) }
    }

    /// Calls `body` with the key's bytes and hash.
    func withKey<R>(_ name: [UInt8], _ body: (Key) -> R) -> R {
        name.withView { body(Key($0, hash: hashKey.hash($0))) }
    }

    mutating func set(_ name: [UInt8], _ value: [UInt8], _ change: ExpiryChange) {
        let slot = slot(name)
        let hash = name.withView { hashKey.hash($0) }
        let isSet = name.withView { name in
            value.withView { value in
                partition.setString(
                    Key(name, hash: hash), value, at: slot, expiry: change, access: 7, epoch: 3,
                    nowMilliseconds: now) != nil
            }
        }
        #expect(isSet)
        keys[name] = Expected(value: value, deadline: deadline(change, keys[name]))
    }

    mutating func setInteger(_ name: [UInt8], _ value: Int64, _ change: ExpiryChange) {
        let slot = slot(name)
        let hash = name.withView { hashKey.hash($0) }
        let isSet = name.withView { name in
            partition.setInteger(
                Key(name, hash: hash), value, at: slot, expiry: change, access: 7, epoch: 3,
                nowMilliseconds: now) != nil
        }
        #expect(isSet)
        keys[name] = Expected(
            value: Array(String(value).utf8), deadline: deadline(change, keys[name]))
    }

    private func deadline(_ change: ExpiryChange, _ old: Expected?) -> Int64? {
        switch change {
        case .clear: nil
        case .keep: old?.deadline
        case .at(let time): time
        }
    }

    /// Makes a string longer, or changes it where it is.
    mutating func write(_ name: [UInt8], _ bytes: [UInt8], at offset: Int) {
        guard let slot = slot(name), var expected = keys[name] else { return }
        let length = max(expected.value.count, offset + bytes.count)
        let hash = name.withView { hashKey.hash($0) }
        let now = now
        let isDone = name.withView { name in
            unsafe partition.withMutableString(
                at: slot, key: Key(name, hash: hash), length: length, nowMilliseconds: now
            ) { memory in
                for (index, byte) in bytes.enumerated() {
                    unsafe memory.storeBytes(
                        of: byte, toByteOffset: offset + index, as: UInt8.self)
                }
            }
        }
        #expect(isDone)
        expected.value += [UInt8](repeating: 0, count: length - expected.value.count)
        expected.value.replaceSubrange(offset..<offset + bytes.count, with: bytes)
        keys[name] = expected
    }

    mutating func setExpiry(_ name: [UInt8], _ deadline: Int64?) {
        guard let slot = slot(name) else { return }
        let isSet = partition.setExpiry(deadline, at: slot, nowMilliseconds: now)
        #expect(isSet)
        keys[name]?.deadline = deadline
    }

    mutating func remove(_ name: [UInt8]) {
        guard let slot = slot(name) else { return }
        partition.remove(slot, hash: name.withView { hashKey.hash($0) })
        keys[name] = nil
    }

    /// Removes what is due, as the expiry cycle does.
    mutating func expire() {
        var steps = Int.max
        while let entry = partition.nextDue(nowMilliseconds: now, steps: &steps) {
            let name = entry.key.bytes
            #expect((keys[name]?.deadline ?? .max) <= now, "only what is due comes out")
            remove(name)
        }
        let isLate = keys.values.contains {
            ($0.deadline ?? .max) <= now - ExpiryIndex<KeyDeadline>.lateMillisecondsMax
        }
        #expect(!isLate, "all that was due a tick ago came out")
    }

    /// What the partition holds for a key.
    func actual(_ name: [UInt8]) -> Expected? {
        guard let entry = slot(name)?.entry else { return nil }
        var scratch: [UInt8] = .init(repeating: 0, count: 24)
        let value = unsafe scratch.withUnsafeMutableBytes {
            unsafe entry.stringBytes(scratch: $0).bytes
        }
        #expect(entry.stringLength == value.count)
        #expect(entry.key.bytes == name)
        return Expected(value: value, deadline: entry.expiryMilliseconds)
    }

    func check(_ name: [UInt8]) { #expect(actual(name) == keys[name]) }

    func checkAll() {
        partition.checkInvariants()
        #expect(partition.count == keys.count)
        for (name, expected) in keys where actual(name) != expected {
            Issue.record("key of \(name.count) bytes differs")
        }
    }
}

/// Sizes on both sides of every limit: one-byte lengths, embedded strings, size classes, inline
/// values, slab objects.
private let sizes = [
    0, 1, 7, 8, 43, 44, 45, 200, 230, 247, 254, 255, 256, 257, 500, 900, 959, 960, 961, 1_000,
    1_024, 1_100, 5_000,
]

@Suite struct PartitionTests {
    @Test func `strings of every size under keys of every size are kept`() {
        var model = PartitionModel(seed: 1)
        for keyBytes in sizes {
            for valueBytes in sizes {
                let name = [UInt8](
                    repeating: UInt8(truncatingIfNeeded: valueBytes), count: keyBytes)
                for value in [
                    [UInt8](repeating: 0x61, count: valueBytes),
                    [UInt8](repeating: 0x62, count: max(0, valueBytes - 1)),
                ] {
                    model.set(name, value, .clear)
                    model.check(name)
                    model.setExpiry(name, model.now + 1_000)
                    model.check(name)
                    model.set(name, value, .keep)
                    model.check(name)
                    model.setExpiry(name, model.now + 2_000)
                    model.setExpiry(name, nil)
                    model.check(name)
                }
            }
        }
        model.checkAll()
        for name in Array(model.keys.keys) { model.remove(name) }
        model.checkAll()
        #expect(model.partition.slabs.usedBytes == 0)
        #expect(model.partition.heapBytes == 0)
    }

    @Test func `encodings are those of Redis`() {
        var model = PartitionModel(seed: 2)
        let name = Array("k".utf8)
        let cases: [(String, String)] = [
            ("0", "int"), ("-1", "int"), ("9223372036854775807", "int"),
            ("-9223372036854775808", "int"), ("9223372036854775808", "embstr"), ("007", "embstr"),
            ("-0", "embstr"), ("+1", "embstr"), (" 1", "embstr"), ("", "embstr"), ("1.5", "embstr"),
            (String(repeating: "x", count: 44), "embstr"),
            (String(repeating: "x", count: 45), "raw"),
            (String(repeating: "x", count: 961), "raw"),
        ]
        for (value, encoding) in cases {
            model.set(name, Array(value.utf8), .clear)
            model.check(name)
            #expect(model.slot(name)?.entry.encodingName.description == encoding, "\(value)")
        }
    }

    @Test func `access clock and epoch stay with a key whose deadline changes`() {
        var model = PartitionModel(seed: 3)
        let name = Array("k".utf8)
        model.set(name, Array("value".utf8), .clear)
        model.setExpiry(name, model.now + 5)
        model.setExpiry(name, nil)
        #expect(model.slot(name)?.entry.access == 7)
        #expect(model.slot(name).map { $0.entry.header.bits >> 16 & 0xFF } == 3)
    }

    @Test func `random writes agree with a dictionary and every byte is counted`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        for round in 0..<4 {
            var model = PartitionModel(seed: seed &+ UInt64(round))
            let names = (0..<[12, 300, 1_500, 60][round]).map { number in
                Array("\(number)".utf8)
                    + [UInt8](repeating: 0x6B, count: sizes[random.index(below: 18)])
            }
            for step in 0..<4_000 {
                let name = names[random.index(below: names.count)]
                let change: ExpiryChange =
                    switch random.index(below: 3) {
                    case 0: .clear
                    case 1: .keep
                    default: .at(model.now + Int64(random.index(below: 20_000)) + 1)
                    }
                switch random.index(below: 20) {
                case 0..<8:
                    model.set(name, random.bytes(sizes[random.index(below: sizes.count)]), change)
                case 8..<11:
                    model.setInteger(name, Int64(bitPattern: random.next()), change)
                case 11..<14:
                    let length = model.keys[name]?.value.count ?? 0
                    let offset = random.index(below: length + 30)
                    model.write(name, random.bytes(random.index(below: 40) + 1), at: offset)
                case 14, 15:
                    model.setExpiry(
                        name,
                        random.index(below: 2) == 0
                            ? nil : model.now + Int64(random.index(below: 9_000)) + 1)
                case 16, 17:
                    model.remove(name)
                case 18:
                    model.now += Int64(random.index(below: 3_000))
                    model.expire()
                default:
                    // Far ahead, or a step back that the wheel must bear.
                    model.now += Int64(random.index(below: 80_000)) - 20_000
                    model.expire()
                }
                model.check(name)
                if step % 50 == 0 { model.checkAll() }
            }
            model.checkAll()
            model.partition.flush(hashKey: model.hashKey, nil)
            model.keys = [:]
            model.checkAll()
            #expect(model.partition.heapBytes == 0)
        }
        Reclaimer.shared.drain()
    }

    @Test func `a value that grows costs what its capacity is`() {
        var model = PartitionModel(seed: 4)
        let name = Array("log".utf8)
        model.set(name, [], .clear)
        for _ in 0..<300 {
            let end = model.keys[name]?.value.count ?? 0
            model.write(name, [UInt8](repeating: 1, count: 50), at: end)
            model.partition.checkInvariants()
        }
        model.check(name)
        #expect(model.partition.heapBytes >= 15_000)
        #expect(model.partition.heapBytes <= 15_000 * 3 / 2 + 100)
    }

    @Test func `a heap value changes hands without being copied, and comes back`() {
        var model = PartitionModel(seed: 5)
        let name = Array("big".utf8)
        let value = [UInt8](repeating: 0x78, count: 5_000)
        model.set(name, value, .at(model.now + 1_000))
        guard let entry = model.slot(name)?.entry else { return }
        let string = model.partition.takeHeapString(of: entry)
        #expect(model.partition.heapBytes == 0)
        model.partition.checkInvariants()
        model.partition.putHeapStringBack(string, into: entry)
        model.checkAll()
    }
}
