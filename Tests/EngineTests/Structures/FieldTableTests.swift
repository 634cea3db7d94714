//  The large hash against a dictionary: the same random steps, invariants after them.

import MartletBase
import Testing

@testable import MartletEngine

private func contents(_ hash: borrowing FieldTable) -> [[UInt8]: [UInt8]] {
    var found: [[UInt8]: [UInt8]] = [:]
    hash.forEachField { found[$0.bytes] = $1.bytes }
    return found
}

/// A value of a length at which records change their form, now and then.
private func someValue(_ random: inout Random) -> [UInt8] {
    let lengths = [0, 1, 5, 5, 5, 12, 30, 253, 254, 300, 950, 960, 2_000]
    let length = lengths[random.index(below: lengths.count)]
    return (0..<length).map { _ in UInt8(random.index(below: 256)) }
}

struct FieldTableTests {
    @Test(arguments: [10, 400, 3_000])
    func `a hash does what a dictionary does`(fields: Int) {
        let seed = testSeed()
        var random = Random(seed: seed)
        var hash = FieldTable(hashKey: HashKey(1, seed))
        var model: [[UInt8]: [UInt8]] = [:]
        for step in 0..<(fields * 6) {
            let grows = step / (fields * 2) % 2 == 0
            let field = Array("f\(random.index(below: fields))".utf8)
            let roll = random.index(below: 100)
            if roll < (grows ? 80 : 25) {
                let value = someValue(&random)
                let isNew = field.withView { field in value.withView { hash.set(field, $0) } }
                #expect(isNew == (model.updateValue(value, forKey: field) == nil), "seed \(seed)")
            } else if roll < 95 {
                let removed = field.withView { hash.remove($0) }
                #expect(removed == (model.removeValue(forKey: field) != nil), "seed \(seed)")
            } else {
                #expect(field.withView { hash.value(of: $0)?.bytes } == model[field])
            }
            if step % fields == 0 {
                hash.checkInvariants()
                #expect(contents(hash) == model, "seed \(seed)")
            }
        }
        hash.checkInvariants()
        #expect(hash.count == model.count)
        let copy = hash.copy(hashKey: HashKey(3, 4))
        copy.checkInvariants()
        #expect(contents(copy) == model)
        for field in model.keys { #expect(field.withView { hash.remove($0) }) }
        #expect(hash.count == 0)
        hash.checkInvariants()
        #expect(hash.bytes < 4_096, "memory comes back")
    }

    @Test func `a sample has different fields, each about equally often`() {
        var random = Random(seed: 7)
        var hash = FieldTable(hashKey: HashKey(1, 2))
        for index in 0..<100 {
            _ = Array("f\(index)".utf8).withView { hash.set($0, $0) }
        }
        var met: [[UInt8]: Int] = [:]
        for count in [1, 30, 49, 51, 99, 100] {
            for _ in 0..<200 {
                var sample: Set<[UInt8]> = []
                hash.sample(count, &random) { field, value in
                    #expect(field == value)
                    sample.insert(field.bytes)
                }
                #expect(sample.count == count)
                for field in sample { met[field, default: 0] += 1 }
            }
        }
        // 330 draws of a hundred, 200 times.
        #expect(met.values.allSatisfy { $0 > 560 && $0 < 760 })
    }

    @Test func `a scan meets every field that stays, while values are exchanged`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        var hash = FieldTable(hashKey: HashKey(3, seed))
        for index in 0..<3_000 {
            _ = Array("stay:\(index)".utf8).withView { hash.set($0, $0) }
        }
        var met: Set<[UInt8]> = []
        var position: UInt64? = 0
        while let from = position {
            position = hash.scan(from: from) { field, _ in met.insert(field.bytes) }
            for _ in 0..<40 {
                let value = someValue(&random)
                let field = Array("stay:\(random.index(below: 3_000))".utf8)
                _ = field.withView { field in value.withView { hash.set(field, $0) } }
                let other = Array("go:\(random.index(below: 2_000))".utf8)
                other.withView { other in
                    if from < 1 << 47 { _ = hash.set(other, other) } else { _ = hash.remove(other) }
                }
            }
        }
        for index in 0..<3_000 {
            #expect(met.contains(Array("stay:\(index)".utf8)), "seed \(seed)")
        }
    }

    @Test func `a walk in slices under writes gives the hash as it was`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        var hash = FieldTable(hashKey: HashKey(4, seed))
        for round in 0..<5 {
            for _ in 0..<2_000 {
                let value = someValue(&random)
                let field = Array("f\(random.index(below: 3_000))".utf8)
                _ = field.withView { field in value.withView { hash.set(field, $0) } }
            }
            let wanted = contents(hash)
            var found: [[UInt8]: [UInt8]] = [:]
            var twice = 0
            let walk = MemberWalk { field, value in
                if found.updateValue(value.bytes, forKey: field.bytes) != nil { twice += 1 }
            }
            hash.withStore { $0.beginWalk(walk) }
            var position: Int? = 0
            while let from = position {
                position = hash.withStore { $0.walk(from: from, chunks: 2) }
                for _ in 0..<20 {
                    let field = Array("f\(random.index(below: 3_500))".utf8)
                    if random.index(below: 100) < 20 + round * 15 {
                        _ = field.withView { hash.remove($0) }
                    } else {
                        let value = someValue(&random)
                        _ = field.withView { field in value.withView { hash.set(field, $0) } }
                    }
                }
            }
            hash.withStore { $0.endWalk() }
            withExtendedLifetime(walk) {}
            #expect(found == wanted, "seed \(seed)")
            #expect(twice == 0, "nothing is saved twice, seed \(seed)")
            hash.checkInvariants()
        }
    }
}

struct FieldDeadlineTests {
    @Test func `deadlines are what a dictionary says, and what is due is hidden and taken out`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        let hashKey = HashKey(1, seed)
        var hash = FieldTable(hashKey: hashKey)
        var model: [[UInt8]: Int64] = [:]
        var now: Int64 = 1_000
        for step in 0..<20_000 {
            let field = Array("f\(random.index(below: 800))".utf8)
            let deadline = now + 1 + Int64(random.index(below: 500))
            field.withView { field in
                switch random.index(below: 8) {
                case 0...2:
                    let isNew = hash.set(field, field)
                    #expect(isNew == (model[field.bytes] == nil))
                    model[field.bytes] = .max
                case 3...5:
                    if hash.value(of: field) == nil { return }
                    let done = hash.setDeadline(deadline, of: field, hashKey: hashKey)
                    #expect(done)
                    model[field.bytes] = deadline
                case 6:
                    if hash.value(of: field) == nil { return }
                    _ = hash.setDeadline(nil, of: field, hashKey: hashKey)
                    model[field.bytes] = .max
                default:
                    let wasThere = hash.remove(field)
                    #expect(wasThere == (model.removeValue(forKey: field.bytes) != nil))
                }
            }
            if step % 10 == 0 {
                now += Int64(random.index(below: 40))
                hash.advance(to: now)
                model = model.filter { $0.value > now }
                if step % 30 == 0 { _ = hash.removeDue(random.index(below: 20)) }
            }
            #expect(hash.count == model.count, "seed \(seed)")
            if step % 1_000 == 0 {
                hash.checkInvariants()
                #expect(
                    contents(hash).keys.sorted { $0.lexicographicallyPrecedes($1) }
                        == model.keys.sorted { $0.lexicographicallyPrecedes($1) })
                for (field, deadline) in model {
                    field.withView {
                        #expect(hash.deadline(of: $0) ?? .max == deadline)
                        #expect(hash.time(of: $0).deadline ?? .max == deadline)
                        #expect(hash.time(of: $0) != .missing)
                    }
                }
            }
        }
        hash.advance(to: .max)
        #expect(hash.count == model.values.count { $0 == .max })
        while hash.removeDue(100) > 0 {}
        #expect(hash.timedCount == 0 && hash.earliestDeadline == nil)
        hash.checkInvariants()
    }
}
