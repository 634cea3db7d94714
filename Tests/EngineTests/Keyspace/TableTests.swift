//  The hash table against a dictionary: growth, splits, shrinking and merges, the guarantee of SCAN,
//  and how evenly a random entry is drawn.

import Glibc
import MartletBase
import Testing

@testable import MartletEngine

/// A table with entries of its own, and the dictionary it must agree with.
private struct TableModel: ~Copyable {
    var table: Table
    let hashKey: HashKey
    private(set) var entries: [[UInt8]: Entry] = [:]

    init(seed: UInt64) {
        hashKey = HashKey(seed, ~seed)
        table = Table(hashKey: hashKey)
    }

    deinit {
        for entry in entries.values { unsafe free(entry.address) }
    }

    func hash(_ key: [UInt8]) -> UInt64 { key.withView { hashKey.hash($0) } }

    mutating func insert(_ key: [UInt8]) {
        guard entries[key] == nil else { return }
        let layout = EntryLayout(
            kind: .string, encoding: .integer, keyBytes: key.count, valueBytes: 8,
            hasExpiry: false)
        guard let memory = unsafe malloc(layout.allocationBytes) else { return }
        let entry = key.withView {
            unsafe layout.initialize(memory, key: $0, access: 0, epoch: 0)
        }
        table.insert(entry, hash: hash(key))
        entries[key] = entry
    }

    mutating func remove(_ key: [UInt8]) {
        guard let entry = entries.removeValue(forKey: key) else { return }
        let hash = hash(key)
        let slot = key.withView { table.find($0, hash: hash) }
        guard let slot else {
            Issue.record("a key that is there is found: \(key)")
            return
        }
        #expect(slot.entry == entry)
        table.remove(slot, hash: hash)
        unsafe free(entry.address)
    }

    func find(_ key: [UInt8]) -> Entry? {
        key.withView { table.find($0, hash: hash(key)) }?.entry
    }

    /// Everything is found, and what is gone is not.
    func check(missing: [[UInt8]] = []) {
        table.checkInvariants()
        #expect(table.count == entries.count)
        for (key, entry) in entries {
            if find(key) != entry { Issue.record("\(key) is not found") }
        }
        for key in missing where entries[key] == nil {
            if find(key) != nil { Issue.record("\(key) is found") }
        }
        var walked: Set<[UInt8]> = []
        table.forEachEntry { walked.insert($0.key.bytes) }
        #expect(walked.count == entries.count)
    }

    /// Keys met by a scan from a position to the end of the line, calling `between` after each step.
    mutating func scan(
        from start: UInt64 = 0, _ between: (inout TableModel) -> Void = { _ in }
    ) -> [[UInt8]] {
        var met: [[UInt8]] = []
        var position: UInt64? = start
        while let from = position {
            position = table.scan(from: from) { met.append($0.key.bytes) }
            if let position { #expect(position > from) }
            between(&self)
        }
        return met
    }
}

private func key(_ number: Int) -> [UInt8] { Array("key:\(number)".utf8) }

@Suite struct TableTests {
    @Test func `an empty table has nothing`() {
        var model = TableModel(seed: 1)
        model.check(missing: [key(1), []])
        #expect(model.scan().isEmpty)
        #expect(model.table.random { 7 } == nil)
    }

    @Test func `random insertions and removals agree with a dictionary`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        var model = TableModel(seed: seed)
        // Grow and shrink in waves, each with its own bias, over few and many keys.
        for wave in 0..<24 {
            let range = [40, 400, 9_000][wave % 3]
            let insertions = [85, 50, 10][wave / 3 % 3]
            for step in 0..<(range / 2) {
                let chosen = key(random.index(below: range))
                if random.index(below: 100) < insertions {
                    model.insert(chosen)
                } else {
                    model.remove(chosen)
                }
                if range == 40 || step % 700 == 0 { model.table.checkInvariants() }
            }
            model.check(missing: (0..<range).map(key))
        }
    }

    @Test func `a table that empties again gives its memory back`() {
        var model = TableModel(seed: 5)
        let empty = model.table.bytes
        for number in 0..<30_000 { model.insert(key(number)) }
        model.check()
        #expect(unsafe model.table.directory[0] >= 3, "it has split more than once")
        #expect(model.table.bytes < 30_000 * 13, "13 bytes per key at worst")
        for number in 0..<30_000 {
            model.remove(key(number))
            if number % 5_000 == 0 { model.table.checkInvariants() }
        }
        model.check()
        #expect(unsafe model.table.directory[0] == 0)
        #expect(model.table.bytes <= empty + 2 * Table.groupBytes)
    }

    @Test func `keys that share their first hash bits split until they part`() {
        var model = TableModel(seed: 11)
        // 4 096 keys of one sixteenth of the line: a table as skewed as an attacker could wish.
        var keys: [[UInt8]] = []
        var number = 0
        while keys.count < 8_000 {
            if model.hash(key(number)) >> 60 == 5 { keys.append(key(number)) }
            number += 1
        }
        for key in keys { model.insert(key) }
        model.check()
        #expect(unsafe model.table.directory[0] >= 5)
        #expect(Set(model.scan()).count == keys.count)
        for key in keys { model.remove(key) }
        model.check(missing: keys)
        #expect(unsafe model.table.directory[0] == 0, "what one segment needed is given back whole")
    }

    @Test func `keys at home in one group overflow into the others`() {
        var model = TableModel(seed: 3)
        // The first twenty-fifth of the line is one group's home as long as there are up to 25.
        var keys: [[UInt8]] = []
        var number = 0
        while keys.count < 330 {
            if model.hash(key(number)) >> 48 < 65_536 / 25 { keys.append(key(number)) }
            number += 1
        }
        for key in keys { model.insert(key) }
        model.check(missing: (number..<number + 100).map(key))
        #expect(Set(model.scan()) == Set(keys))
        // The count of those passed stands still at 255; searching stays right on the way down.
        for key in keys.reversed() {
            model.remove(key)
            model.table.checkInvariants()
        }
        model.check(missing: keys)
    }

    // MARK: SCAN

    @Test func `a scan of a table at rest meets every key once`() {
        for count in [1, 14, 15, 16, 200, 5_000] {
            var model = TableModel(seed: UInt64(count))
            for number in 0..<count { model.insert(key(number)) }
            let met = model.scan()
            #expect(met.count == count)
            #expect(Set(met).count == count)
        }
    }

    @Test func `a key that is there throughout is met, however the table changes`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        for round in 0..<12 {
            var model = TableModel(seed: seed &+ UInt64(round))
            let stable = (0..<[20, 700, 3_000][round % 3]).map { key($0) }
            var passing = (0..<20_000).map { key(100_000 + $0) }
            for key in stable { model.insert(key) }
            // Starting large, the table shrinks and merges; starting small, it grows and splits.
            let shrinks = round % 2 == 0
            if shrinks { for key in passing { model.insert(key) } }
            passing.shuffle(using: &random)
            var rest = passing[...]
            let perStep = random.index(below: 900) + 1
            let met = model.scan { model in
                for _ in 0..<perStep {
                    guard let key = rest.popFirst() else { return }
                    if shrinks { model.remove(key) } else { model.insert(key) }
                }
            }
            let missed = Set(stable).subtracting(met)
            #expect(missed.isEmpty, "seed \(seed), round \(round): \(missed.count) keys missed")
        }
    }

    @Test func `a scan meets every key while the table swings`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        var model = TableModel(seed: seed)
        let stable = (0..<500).map { key($0) }
        for key in stable { model.insert(key) }
        for round in 0..<4 {
            var isFull = false
            let met = model.scan { model in
                if random.index(below: 25) != 0 { return }
                for number in 0..<6_000 {
                    if isFull { model.remove(key(9_000 + number)) }
                    if !isFull { model.insert(key(9_000 + number)) }
                }
                isFull.toggle()
            }
            #expect(Set(stable).isSubset(of: met), "seed \(seed), round \(round)")
        }
    }

    @Test func `any position is a legal place to scan from`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        var model = TableModel(seed: seed)
        let last: UInt64 = 1 << Table.positionBits - 1
        for count in [0, 1, 300, 8_000] {
            for number in 0..<count { model.insert(key(number)) }
            #expect(Set(model.scan(from: 0)).count == count)
            for _ in 0..<50 {
                let position = random.next() & last
                // Whatever is at home from there on is met, and nothing from before its group.
                let behind = model.entries.keys.filter { model.hash($0) >> 16 >= position }
                let met = Set(model.scan(from: position))
                #expect(met.isSuperset(of: behind), "seed \(seed)")
            }
            _ = model.scan(from: last)
        }
    }

    // MARK: Random entries

    @Test func `every entry is drawn about as often as any other`() {
        var random = Random(seed: testSeed())
        for count in [1, 2, 15, 100, 290, 700, 4_000] {
            var model = TableModel(seed: UInt64(count))
            for number in 0..<count { model.insert(key(number)) }
            let draws = max(2_000, count * 30)
            var drawn: [[UInt8]: Int] = [:]
            for _ in 0..<draws {
                guard let entry = model.table.random({ random.next() }) else {
                    Issue.record("nothing was drawn from \(count) keys")
                    return
                }
                drawn[entry.key.bytes, default: 0] += 1
            }
            #expect(drawn.count == count, "every key is drawn some time")
            // Chi-squared with count - 1 degrees of freedom: mean count - 1, deviation
            // sqrt(2 (count - 1)); with few degrees the tail is longer. Once in some million.
            let expected = Double(draws) / Double(count)
            let square = drawn.values.reduce(0.0) {
                $0 + (Double($1) - expected) * (Double($1) - expected) / expected
            }
            let freedom = Double(count - 1)
            #expect(
                square <= freedom + 6 * (2 * freedom).squareRoot() + 18,
                "\(count) keys: \(square) for \(freedom)")
        }
    }

    @Test func `a sparse table still finds an entry to draw`() {
        var model = TableModel(seed: 4)
        for number in 0..<2 { model.insert(key(number)) }
        // A generator that always misses: the walk from a position must find one all the same.
        #expect(model.table.random { 0 } != nil)
        #expect(model.table.random { .max } != nil)
    }

    // MARK: Hints

    @Test func `a directory stands where the hint looks for it`() {
        // `Keyspace.directoryHint` reads it there, without the lock.
        let keyspace = Keyspace(shardCount: 16, databaseCount: 1, hashKey: HashKey(1, 2))
        let partition = unsafe keyspace.shard(0).pointee.makePartition(
            0, hashKey: keyspace.hashKey)
        let hint = unsafe keyspace.directoryHint(shard: 0, database: 0)
        #expect(unsafe hint == partition.pointee.table.directory)
    }
}
