//  The table of remembered keys against a dictionary of sets: the same random steps.

import MartletBase
import Testing

@testable import MartletEngine

struct TrackedKeysTests {
    @Test(arguments: [8, 300, 4_000])
    func `it remembers what a dictionary of sets remembers`(keys: Int) {
        let seed = testSeed()
        var random = Random(seed: seed)
        let hashKey = HashKey(1, seed)
        var table = TrackedKeys()
        var model: [[UInt8]: Set<Tracker>] = [:]
        for step in 0..<(keys * 8) {
            // Keys of equal beginnings and lengths, the empty one among them.
            let number = random.index(below: keys)
            let bytes = number == 0 ? [] : Array("key:\(number)".utf8)
            let roll = random.index(below: 100)
            bytes.withView { view in
                let key = Key(view, hash: hashKey.hash(view))
                if roll < 60 {
                    let tracker = Tracker(
                        client: Int64(random.index(below: 40)) + 1, loop: random.index(below: 3))
                    let added = table.remember(key, for: tracker)
                    #expect(added.keys == (model[bytes] == nil ? 1 : 0), "seed \(seed)")
                    let isNew = model[bytes, default: []].insert(tracker).inserted
                    #expect(added.trackers == (isNew ? 1 : 0), "seed \(seed)")
                } else if roll < 95 {
                    var told: [Tracker] = []
                    let count = table.forget(key) { told.append($0) }
                    #expect(count == told.count)
                    #expect(Set(told) == model.removeValue(forKey: bytes) ?? [], "seed \(seed)")
                } else {
                    var told: [[UInt8]: Set<Tracker>] = [:]
                    _ = table.forgetOne { told[$0.bytes, default: []].insert($1) }
                    #expect(told.count == (model.isEmpty ? 0 : 1))
                    for (key, trackers) in told {
                        #expect(model.removeValue(forKey: key) == trackers, "seed \(seed)")
                    }
                }
            }
            if step % keys == 0 { table.checkInvariants() }
        }
        table.checkInvariants()
        let (keyCount, trackerCount) = (table.count, table.trackerCount)
        #expect(keyCount == model.count)
        #expect(trackerCount == model.values.reduce(0) { $0 + $1.count })
        var left = model
        while table.forgetOne({ key, tracker in left[key.bytes]?.remove(tracker) }) > 0 {}
        #expect(left.values.allSatisfy { $0.isEmpty }, "seed \(seed)")
        let isEmpty = table.isEmpty
        #expect(isEmpty)
    }

    @Test func `a table that is given up costs nothing any more`() {
        var table = TrackedKeys()
        var bytes = table.bytes
        #expect(bytes == 0)
        for number in 0..<1_000 {
            Array("k\(number)".utf8).withView { view in
                _ = table.remember(
                    Key(view, hash: HashKey(1, 2).hash(view)), for: Tracker(client: 1, loop: 0))
            }
        }
        // 16 + 8 + at most 4 bytes of key, and malloc's own; slots between 37 and 75 % full.
        bytes = table.bytes
        #expect(bytes > 1_000 * (32 + 21) && bytes < 1_000 * (48 + 43))
        table.forgetAll()
        bytes = table.bytes
        #expect(bytes == 0)
        Reclaimer.shared.drain()
    }
}
