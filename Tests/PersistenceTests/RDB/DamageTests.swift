//  Bytes that are not as they were written: found or harmless, and never the end of the process.

import Glibc
import MartletBase
import MartletPersistence
import Testing

struct DamageTests {
    @Test func `every flipped bit of a file is found, at a place in it`() {
        let store = Store()
        store.fill(isLong: false)
        let file = store.file()
        #expect(file.count < 3000)
        var damaged = file
        let target = Store(shards: 1, databases: 3)
        for index in file.indices {
            for bit in 0..<8 {
                damaged[index] ^= 1 << UInt8(bit)
                do throws(StorageError) {
                    _ = try target.load(damaged)
                    Issue.record("bit \(bit) of byte \(index) was not missed")
                } catch {
                    if case .damaged(_, let offset, _) = error {
                        #expect(offset >= 0 && offset <= file.count)
                    } else {
                        Issue.record("\(error)")
                    }
                }
                damaged[index] = file[index]
                target.run("FLUSHALL")
            }
        }
    }

    @Test func `a file that was cut is refused at every length`() {
        let store = Store()
        store.fill(isLong: false)
        let file = store.file()
        let target = Store(shards: 1, databases: 3)
        for count in file.indices {
            #expect(throws: StorageError.self) { _ = try target.load(Array(file[..<count])) }
            target.run("FLUSHALL")
        }
    }

    @Test func `claimed sizes allocate nothing`() {
        for value: [UInt8] in [
            [0, 0x80, 0x1F, 255, 255, 255], [1, 0x81, 127, 255, 255, 255, 255, 255, 255, 255],
            [2, 0x80, 255, 255, 255, 255, 1, 97],
            [5, 0x81, 255, 255, 255, 255, 255, 255, 255, 255],
            [0, 0xC3, 5, 0x80, 0x1F, 255, 255, 255, 0, 1, 2, 3, 4],
            [14, 0x80, 255, 255, 255, 255], [15, 0x80, 255, 255, 255, 255],
            [11, 8, 2, 0, 0, 0, 255, 255, 255, 255],
        ] {
            #expect(!Store().restore("key", value.payload()))
        }
    }

    @Test func `what contradicts itself is refused`() {
        let string: (String) -> [UInt8] = { OldForms.string($0) }
        let listpack: ([String]) -> [UInt8] = { OldForms.string(OldForms.listpack($0)) }
        for (name, value): (String, [UInt8]) in [
            ("member twice", [2, 2] + string("a") + string("a")),
            ("member twice in a listpack", [20] + listpack(["a", "a"])),
            ("field twice", [4, 2] + string("a") + string("1") + string("a") + string("2")),
            ("field twice in a listpack", [16] + listpack(["a", "1", "a", "2"])),
            ("a field without a value", [16] + listpack(["a", "1", "b"])),
            ("scored twice", [17] + listpack(["a", "1", "a", "2"])),
            ("no score", [17] + listpack(["a", "nan"])),
            (
                "a score that is not a number",
                [5, 1] + string("a") + OldForms.bytes(0x7FF8 << 48, 8)
            ),
            ("integers not in order", [11] + OldForms.string(OldForms.intset([2, 1], width: 2))),
            ("an integer twice", [11] + OldForms.string(OldForms.intset([1, 1], width: 2))),
            ("no members", [2, 0]), ("no elements", [18, 0]), ("no fields", [16] + listpack([])),
            ("bytes behind the value", [0] + string("a") + [0]),
        ] {
            #expect(!Store().restore("key", value.payload()), "\(name)")
        }
    }

    @Test func `pending entries and consumers must agree`() {
        let id: (UInt8) -> [UInt8] = { [0, 0, 0, 0, 0, 0, 0, $0, 0, 0, 0, 0, 0, 0, 0, 1] }
        let pending: (UInt8) -> [UInt8] = { id($0) + OldForms.bytes(1000, 8) + [1] }
        let consumer: (String, [UInt8]) -> [UInt8] = { name, ids in
            OldForms.string(name) + OldForms.bytes(1000, 8) + [UInt8(ids.count)]
                + ids.flatMap { id($0) }
        }
        let stream: ([UInt8]) -> [UInt8] = {
            [15, 0, 0, 9, 0, 1] + OldForms.string("g") + [9, 0] + $0
        }
        let good = stream(
            [2] + pending(1) + pending(2) + [2] + consumer("a", [1]) + consumer("b", [2]))
        #expect(Store().restore("key", good.payload()))
        for (name, rest): (String, [UInt8]) in [
            (
                "two consumers hold one",
                [1] + pending(1) + [2] + consumer("a", [1]) + consumer("b", [1])
            ),
            ("held twice", [1] + pending(1) + [1] + consumer("a", [1, 1])),
            ("pending twice", [2] + pending(1) + pending(1) + [1] + consumer("a", [1])),
            ("not pending", [1] + pending(1) + [1] + consumer("a", [1, 2])),
            ("nobody's", [2] + pending(1) + pending(2) + [1] + consumer("a", [1])),
            ("consumer twice", [1] + pending(1) + [2] + consumer("a", [1]) + consumer("a", [])),
        ] {
            #expect(!Store().restore("key", stream(rest).payload()), "\(name)")
        }
    }

    /// Payloads of every type with bytes changed, cut out, doubled and spliced. What is accepted is used.
    @Test func `changed payloads are refused, or make values that work`() {
        let frames =
            unsafe getenv("MARTLET_FUZZ_FRAMES").flatMap { unsafe Int(String(cString: $0)) }
            ?? 2_000
        let seed = UInt64(truncatingIfNeeded: frames) &* 77
        var random = Random(seed: seed)
        let store = Store()
        store.fill()
        store.fillNewest()
        var seeds = store.names.map { store.dump($0) }.filter { $0.count < 4000 }
            .map { Array($0.dropLast(10)) }
        seeds += OldForms.all.map { $0.payload }
        let target = Store()
        var accepted = 0
        for round in 0..<frames {
            var bytes = seeds[random.index(below: seeds.count)]
            for _ in 0...random.index(below: 3) {
                PayloadMutation.change(&bytes, seeds, &random)
            }
            let versions = [10, 12, 14, 80]
            let payload = bytes.payload(version: versions[random.index(below: 4)])
            guard target.restore("key", payload) else { continue }
            accepted += 1
            target.use("key")
            if round % 64 == 0 { target.checkInvariants() }
            target.run("DEL", "key")
        }
        #expect(accepted > frames / 50, "seed \(seed)")
    }
}

/// Ways to change bytes.
enum PayloadMutation {
    static func change(_ bytes: inout [UInt8], _ others: [[UInt8]], _ random: inout Random) {
        if bytes.count < 2 { return }
        let at = random.index(below: bytes.count)
        switch random.index(below: 8) {
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
