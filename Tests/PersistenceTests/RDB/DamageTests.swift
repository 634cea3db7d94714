//  Bytes that are not as they were written: found or harmless, and never the end of the process.

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
            (
                "a field's deadline that nothing counts to",
                [22, 1, 0x81, 127] + [UInt8](repeating: 255, count: 7) + string("a") + string("1")
            ),
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
}
