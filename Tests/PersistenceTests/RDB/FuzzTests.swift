//  Changed payloads and files, their checksums made right again so that what lies behind is reached: an
//  error or a value that works, never a trap, a hang, or memory by a claimed size.
//
//  A part of what can go wrong is tried on each run and, when told to, a lot:
//      MARTLET_FUZZ_FRAMES   how many payloads (2 000), and a tenth as many files
//      MARTLET_TEST_SEED     replays a failure

import Glibc
import MartletBase
import Testing

@testable import MartletEngine
@testable import MartletPersistence

@Suite(.serialized) struct FuzzTests {
    private let count = FuzzTests.number("MARTLET_FUZZ_FRAMES") ?? 2_000
    private let seed = FuzzTests.number("MARTLET_TEST_SEED") ?? 1

    private static func number(_ name: String) -> Int? {
        unsafe getenv(name).flatMap { unsafe Int(String(cString: $0)) }
    }

    /// Servers with limits that force one form or the other.
    private static func stores() -> [Store] {
        (0..<3).map { number in
            let store = Store()
            let settings = store.state.settings
            if number > 0 {
                let limits = PackedLimits(
                    entriesMax: number == 1 ? 0 : 5_000, elementBytesMax: number == 1 ? 0 : 5_000)
                settings.hashes.set(limits)
                settings.sets.set(limits)
                settings.sortedSets.set(limits)
                settings.integerSetMax.store(number == 1 ? 0 : 5_000, ordering: .relaxed)
                settings.listSize.store(number == 1 ? 1 : -5, ordering: .relaxed)
                settings.streamNodeEntriesMax.store(number == 1 ? 2 : 100, ordering: .relaxed)
            }
            store.fill(isLong: false)
            store.fillNewest()
            for index in 0..<20 {
                store.line("RPUSH middle-list element\(index) \(index * 1000)")
                store.line("SADD middle-set member\(index)")
                store.line("SADD middle-integers \(index * 70_000)")
                store.line("ZADD middle-scores \(index).5 member\(index)")
                store.line("HSET middle-hash field\(index) \(index)")
                store.line("XADD middle-stream \(index + 1)-0 name \(index) b text")
            }
            store.line("HPEXPIREAT middle-hash 1900000000000 FIELDS 2 field1 field2")
            store.line("XGROUP CREATE middle-stream group 0")
            store.line("XREADGROUP GROUP group ann COUNT 9 STREAMS middle-stream >")
            return store
        }
    }

    /// The most that one step may take, under a sanitizer on a busy machine too.
    private static let nanosecondsMax: Int64 = 10_000_000_000
    /// The most by which one step may raise the process' memory. Other tests run at the same time unless
    /// this is a long run.
    private static let kilobytesMax = 64 * 1024

    private static var peakKilobytes: Int {
        var usage = rusage()
        unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return usage.ru_maxrss
    }

    /// Runs one step and holds it against the bounds.
    private func bounded(_ bytes: [UInt8], _ step: () -> Void) {
        let began = Clock.system.monotonicNanoseconds()
        let before = Self.peakKilobytes
        step()
        let took = Clock.system.monotonicNanoseconds() - began
        #expect(took < Self.nanosecondsMax, "seed \(seed): \(bytes)")
        if count < 100_000 { return }
        #expect(Self.peakKilobytes - before < Self.kilobytesMax, "seed \(seed): \(bytes)")
    }

    @Test func `changed payloads are refused, or make values that work`() {
        var random = Random(seed: UInt64(truncatingIfNeeded: seed))
        var seeds = Self.stores().flatMap { store in store.names.map { store.dump($0) } }
            .filter { $0.count < 4000 }.map { Array($0.dropLast(10)) }
        seeds += OldForms.all.map { $0.payload }
        let target = Store()
        let other = Store()
        var accepted = 0
        for round in 0..<count {
            var bytes = seeds[random.index(below: seeds.count)]
            for _ in 0...random.index(below: 3) {
                ByteMutation.change(&bytes, from: 0, seeds, &random)
            }
            let versions = [10, 12, 14, 80]
            let payload = bytes.payload(version: versions[random.index(below: 4)])
            bounded(payload) {
                guard target.restore("key", payload) else { return }
                accepted += 1
                if target.line("EXISTS key") == ":1\r\n" {
                    let isSame = other.restore("key", target.dump("key"))
                    #expect(
                        isSame && other.digest == target.digest,
                        "not read back, seed \(seed): \(payload)")
                    other.line("DEL key")
                }
                target.use("key")
                if round % 64 == 0 { target.checkInvariants() }
                target.line("DEL key")
            }
        }
        print("changed payloads: \(accepted) of \(count) accepted, MARTLET_TEST_SEED=\(seed)")
        #expect(accepted > count / 50, "seed \(seed)")
    }

    @Test func `changed files are refused, or load as they say`() {
        var random = Random(seed: UInt64(truncatingIfNeeded: seed) &+ 1)
        let files = Self.stores().flatMap { store in
            [true, false].map { Array(store.file(compresses: $0).dropLast(8)) }
        }
        let target = Store()
        let other = Store()
        var accepted = 0
        for round in 0..<max(1, count / 10) {
            var bytes = files[random.index(below: files.count)]
            // Its magic is left alone, but now and then.
            let begin = random.index(below: 20) == 0 ? 0 : 9
            for _ in 0...random.index(below: 3) {
                ByteMutation.change(&bytes, from: begin, files, &random)
            }
            let checksum = bytes.withView { CRC64.checksum($0) }
            for shift in stride(from: UInt64(0), to: 64, by: 8) {
                bytes.append(UInt8(truncatingIfNeeded: checksum >> shift))
            }
            var options = RDBOptions()
            options.threads = 1 + random.index(below: 3)
            options.batchBytes = 1 + random.index(below: 500)
            options.batchMembersMax = UInt64(1 + random.index(below: 30))
            options.dropsExpired = random.index(below: 2) == 0
            let step = random.index(below: 2) == 0 ? nil : 1 + random.index(below: 2000)
            let file = bytes
            bounded(file) {
                do throws(StorageError) {
                    _ = try target.load(file, step: step, options)
                    accepted += 1
                    // Written again it is the same. What is over may be there still, and is not read.
                    if options.dropsExpired {
                        let read = try other.load(target.file())
                        #expect(
                            read.version > 0 && other.digest == target.digest,
                            "not read back, seed \(seed): \(file)")
                    }
                } catch {
                    if case .damaged(_, let offset, _) = error {
                        #expect(offset >= 0 && offset <= file.count, "seed \(seed): \(file)")
                    }
                }
                if round % 16 == 0 { target.checkInvariants() }
                target.line("FLUSHALL")
                other.line("FLUSHALL")
            }
        }
        print("changed files: \(accepted) of \(count / 10) accepted, MARTLET_TEST_SEED=\(seed)")
        #expect(accepted > count / 1000, "seed \(seed)")
    }
}

/// Ways to change bytes.
enum ByteMutation {
    /// Lengths as they stand before strings and members, and some that are none.
    private static let lengths: [[UInt8]] = [
        [0], [0x3F], [0x7F, 0xFF], [0x80, 0xFF, 0xFF, 0xFF, 0xFF], [0x80, 0x7F, 0xFF, 0xFF, 0xFF],
        [0x80, 0x1F, 0xFF, 0xFF, 0xFF], [0x80, 0, 0, 0, 0],
        [0x81] + [UInt8](repeating: 0xFF, count: 8),
        [0x81, 0x7F] + [UInt8](repeating: 0xFF, count: 7), [0x81] + [UInt8](repeating: 0, count: 8),
        [0x82], [0xC0, 0x80], [0xC2, 0, 0, 0, 0x80], [0xC3, 0x41, 0, 0x80, 0x1F, 0xFF, 0xFF, 0xFF],
    ]

    /// Numbers within packed forms, which are little-endian and 2, 4 or 8 bytes wide.
    private static let numbers: [UInt64] = [
        0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF,
        0x7FFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF,
    ]

    /// Changes `bytes` somewhere from index `begin` on; `others` lend pieces.
    static func change(
        _ bytes: inout [UInt8], from begin: Int, _ others: [[UInt8]], _ random: inout Random
    ) {
        if bytes.count < begin + 2 { return }
        let at = begin + random.index(below: bytes.count - begin)
        switch random.index(below: 12) {
        case 0: bytes[at] ^= 1 << UInt8(random.index(below: 8))
        case 1: bytes[at] = UInt8(truncatingIfNeeded: random.next())
        case 2: bytes[at] = [0, 1, 127, 128, 254, 255, 0xC3, 0xF4][random.index(below: 8)]
        case 3: bytes[at] &+= random.index(below: 2) == 0 ? 1 : 255
        case 4: bytes.remove(at: at)
        case 5:
            bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: at)
        case 6:
            let end = min(bytes.count, at + 1 + random.index(below: 16))
            bytes.insert(contentsOf: bytes[at..<end], at: end)
        case 7: bytes.removeSubrange(at...)
        case 8:
            let length = lengths[random.index(below: lengths.count)]
            let end = random.index(below: 2) == 0 ? at + 1 : min(bytes.count, at + length.count)
            bytes.replaceSubrange(at..<end, with: length)
        case 9:
            let number = numbers[random.index(below: numbers.count)]
            let width = 2 << random.index(below: 3)
            for index in 0..<min(width, bytes.count - at) {
                bytes[at + index] = UInt8(truncatingIfNeeded: number >> (8 * UInt64(index)))
            }
        case 10:
            let end = min(bytes.count, at + 1 + random.index(below: 32))
            bytes.removeSubrange(at..<end)
        default:
            let other = others[random.index(below: others.count)]
            let from = random.index(below: other.count)
            let end = min(bytes.count, at + 1 + random.index(below: 8))
            bytes.replaceSubrange(
                at..<end, with: other[from..<min(other.count, from + end - at)])
        }
    }
}

extension Store {
    /// Reads and changes a value in all the ways that its type has.
    func use(_ key: String) {
        let lines =
            switch line("TYPE \(key)") {
            case "+string\r\n":
                ["GET K", "STRLEN K", "APPEND K x", "INCR K", "SETRANGE K 1 y", "GETRANGE K 0 -1"]
            case "+list\r\n":
                [
                    "LRANGE K 0 -1", "LPOP K", "RPUSH K x", "LINDEX K 1", "LINSERT K BEFORE x y",
                    "LREM K 0 x", "RPOP K 2", "LTRIM K 1 -2",
                ]
            case "+set\r\n":
                [
                    "SMEMBERS K", "SADD K x 5", "SISMEMBER K a", "SPOP K", "SREM K x",
                    "SRANDMEMBER K 3",
                ]
            case "+zset\r\n":
                [
                    "ZRANGE K 0 -1 WITHSCORES", "ZADD K 3 x", "ZINCRBY K 1 x", "ZRANK K x",
                    "ZPOPMIN K", "ZREM K x", "ZCOUNT K -inf +inf",
                ]
            case "+hash\r\n":
                [
                    "HGETALL K", "HSET K x y", "HINCRBY K n 1", "HPEXPIRE K 100000 FIELDS 1 x",
                    "HPERSIST K FIELDS 1 a", "HDEL K x", "HRANDFIELD K 2", "HPTTL K FIELDS 1 a",
                ]
            default:
                [
                    "XRANGE K - +", "XREVRANGE K + -", "XADD K * a b", "XINFO STREAM K FULL",
                    "XPENDING K group - + 10", "XREADGROUP GROUP group ann COUNT 3 STREAMS K >",
                    "XAUTOCLAIM K group bob 0 0", "XGROUP DELCONSUMER K group ann", "XDEL K 5-1",
                    "XTRIM K MAXLEN 1", "XGROUP DESTROY K group", "XINFO GROUPS K",
                ]
            }
        for line in ["OBJECT ENCODING K", "DUMP K"] + lines + ["COPY K other REPLACE", "DEL other"]
        {
            self.line(line.replacing(" K", with: " \(key)"))
        }
    }
}
