//  The set structures against Swift's: the same random steps, invariants after them.

import MartletBase
import Testing

@testable import MartletEngine

private func contents(_ set: borrowing MemberSet) -> Set<[UInt8]> {
    var found: Set<[UInt8]> = []
    set.forEachMember { found.insert($0.bytes) }
    return found
}

private func member(_ number: Int) -> [UInt8] { Array("m\(number)".utf8) }

struct MemberSetTests {
    @Test func `a walk in slices under writes gives the set as it was`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        var set = MemberSet(hashKey: HashKey(4, seed))
        for round in 0..<5 {
            for _ in 0..<2_000 { _ = member(random.index(below: 4_000)).withView { set.add($0) } }
            let wanted = contents(set)
            var found: Set<[UInt8]> = []
            var twice = 0
            let walk = MemberWalk { member, _ in
                if !found.insert(member.bytes).inserted { twice += 1 }
            }
            set.withStore { $0.beginWalk(walk) }
            var position: Int? = 0
            while let from = position {
                position = set.withStore { $0.walk(from: from, chunks: 2) }
                for _ in 0..<60 {
                    let one = member(random.index(below: 5_000))
                    if random.index(below: 100) < 20 + round * 15 {
                        _ = one.withView { set.remove($0) }
                    } else {
                        _ = one.withView { set.add($0) }
                    }
                }
            }
            set.withStore { $0.endWalk() }
            withExtendedLifetime(walk) {}
            #expect(found == wanted, "seed \(seed)")
            #expect(twice == 0, "nothing is saved twice, seed \(seed)")
            set.checkInvariants()
        }
    }

    @Test func `a large structure is taken apart node by node`() {
        let key = HashKey(4, 5)
        let long = [UInt8](repeating: 7, count: 5_000)
        var set = MemberSet(hashKey: key)
        var sorted = SortedSet(hashKey: key)
        var hash = FieldTable(hashKey: key)
        var list = List()
        for number in 0..<20_000 {
            let one = number % 1_000 == 0 ? long + member(number) : member(number)
            one.withView { view in
                _ = set.add(view)
                _ = sorted.place(view, Double(number), rule: [])
                _ = hash.set(view, view)
                list.push(ListElement(view), atFront: number % 2 == 0)
            }
        }
        // No node has more than 4 KB, so that there is a pause that often at least.
        let least = [set.bytes, sorted.bytes, hash.bytes, list.bytes].map { $0 / 8_192 }
        var pauses = [0, 0, 0, 0]
        set.dismantle { pauses[0] += 1 }
        sorted.dismantle { pauses[1] += 1 }
        hash.dismantle { pauses[2] += 1 }
        list.dismantle { pauses[3] += 1 }
        for index in 0..<4 { #expect(pauses[index] >= least[index]) }
    }

    @Test(arguments: [10, 400, 5_000])
    func `a large set does what a set does`(members: Int) {
        let seed = testSeed()
        var random = Random(seed: seed)
        var set = MemberSet(hashKey: HashKey(1, seed))
        var model: Set<[UInt8]> = []
        for step in 0..<(members * 6) {
            let grows = step / (members * 2) % 2 == 0
            let one = member(random.index(below: members))
            let roll = random.index(below: 100)
            if roll < (grows ? 80 : 20) {
                #expect(one.withView { set.add($0) } == model.insert(one).inserted, "seed \(seed)")
            } else if roll < 90 {
                let wasThere = model.remove(one) != nil
                #expect(one.withView { set.remove($0) } == wasThere, "seed \(seed)")
            } else if roll < 92 {
                let count = random.index(below: set.count / 3 + 1)
                set.take(count, &random) { #expect(model.remove($0.bytes) != nil) }
            } else {
                #expect(one.withView { set.contains($0) } == model.contains(one))
            }
            if step % members == 0 {
                set.checkInvariants()
                #expect(contents(set) == model, "seed \(seed)")
            }
        }
        #expect(contents(set) == model, "seed \(seed)")
        let copy = set.copy(hashKey: HashKey(3, 4))
        copy.checkInvariants()
        #expect(contents(copy) == model)
        set.take(set.count, &random) { #expect(model.remove($0.bytes) != nil) }
        #expect(model.isEmpty && set.count == 0)
        set.checkInvariants()
        #expect(set.bytes < 4_096, "memory comes back")
    }

    @Test func `what is taken and sampled is chosen evenly`() {
        var random = Random(seed: 11)
        var met: [[UInt8]: Int] = [:]
        for count in [1, 30, 49, 51, 99] {
            for _ in 0..<200 {
                var set = MemberSet(hashKey: HashKey(1, 2))
                for index in 0..<100 { _ = member(index).withView { set.add($0) } }
                var taken: Set<[UInt8]> = []
                set.take(count, &random) { taken.insert($0.bytes) }
                #expect(taken.count == count && set.count == 100 - count)
                for one in taken { met[one, default: 0] += 1 }
            }
        }
        // 230 draws of a hundred, 200 times.
        #expect(met.values.allSatisfy { $0 > 390 && $0 < 530 })
    }

    @Test func `a scan meets every member that stays`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        var set = MemberSet(hashKey: HashKey(3, seed))
        for index in 0..<3_000 { _ = member(index).withView { set.add($0) } }
        var met: Set<[UInt8]> = []
        var position: UInt64? = 0
        while let from = position {
            position = set.scan(from: from) { met.insert($0.bytes) }
            for _ in 0..<60 {
                let other = member(10_000 + random.index(below: 4_000))
                other.withView {
                    if from < 1 << 47 { _ = set.add($0) } else { _ = set.remove($0) }
                }
            }
        }
        for index in 0..<3_000 { #expect(met.contains(member(index)), "seed \(seed)") }
    }

    @Test func `a million members of 12 bytes take at most 34 bytes each`() {
        var set = MemberSet(hashKey: HashKey(5, 6))
        for index in 0..<200_000 {
            _ = Array("member:\(10_000 + index)".utf8).withView { set.add($0) }
        }
        #expect(Double(set.bytes) / 200_000 <= 34)
    }
}

struct IntegerSetTests {
    @Test(arguments: [50, 30_000, 8_000_000, 2_000_000_000, Int64.max])
    func `a set of integers does what a sorted array does`(limit: Int64) {
        let seed = testSeed()
        var random = Random(seed: seed)
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 4_096, alignment: 8)
        defer { unsafe room.deallocate() }
        guard let base = room.baseAddress else { return }
        let set = unsafe IntegerSet(base, bytes: room.count)
        set.initialize(width: 1)
        var model: [Int64] = []
        for _ in 0..<3_000 {
            let magnitude = Int64(bitPattern: random.next()) % limit
            let value = random.index(below: 50) == 0 ? Int64(random.index(below: 9)) : magnitude
            let (index, isThere) = set.find(value)
            #expect(isThere == model.contains(value), "seed \(seed)")
            if isThere {
                #expect(model[index] == value)
                set.remove(at: index)
                model.remove(at: index)
            } else if model.count < 400 {
                set.insert(value, at: index)
                model.insert(value, at: index)
            }
            set.checkInvariants()
        }
        var found: [Int64] = []
        set.forEachInteger { found.append($0) }
        #expect(found == model && model == model.sorted(), "seed \(seed)")
        #expect(set.count == model.count)
    }

    @Test func `integers have the width of the widest`() {
        for (value, width) in [
            (0, 1), (127, 1), (-128, 1), (128, 2), (-129, 2), (32_767, 2), (-32_768, 2),
            (32_768, 3), (8_388_607, 3), (-8_388_608, 3), (8_388_608, 4), (2_147_483_647, 4),
            (-2_147_483_648, 4), (2_147_483_648, 8), (.max, 8),
        ] as [(Int64, Int)] {
            #expect(IntegerSet.width(of: value) == width)
        }
        #expect(IntegerSet.width(of: .min) == 8)
    }
}
