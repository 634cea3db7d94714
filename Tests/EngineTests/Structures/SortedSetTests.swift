//  The large sorted set against a naive model: the same random steps, invariants after them.

import MartletBase
import Testing

@testable import MartletEngine

/// Members and scores the plain way.
private struct Model {
    var scores: [[UInt8]: Double] = [:]

    var ordered: [(member: [UInt8], score: Double)] {
        scores.map { ($0.key, $0.value) }.sorted {
            $0.1 != $1.1 ? $0.1 < $1.1 : $0.0.lexicographicallyPrecedes($1.0)
        }.map { (member: $0.0, score: $0.1) }
    }
}

/// What a set tells of a range of ranks.
private func contents(
    _ set: borrowing SortedSet, _ ranks: Range<Int>, reversed: Bool = false
) -> [(member: [UInt8], score: Double)] {
    var found: [(member: [UInt8], score: Double)] = []
    set.forEach(in: ranks, reversed: reversed) { found.append(($0.bytes, $1)) }
    return found
}

struct SortedSetTests {
    private func expectSame(_ set: borrowing SortedSet, _ model: Model) {
        set.checkInvariants()
        let wanted = model.ordered
        #expect(set.count == wanted.count)
        let found = contents(set, 0..<set.count)
        #expect(found.map(\.member) == wanted.map(\.member))
        #expect(found.map(\.score) == wanted.map(\.score))
        let backward = contents(set, 0..<set.count, reversed: true)
        #expect(backward.map(\.member) == wanted.reversed().map(\.member))
    }

    /// - Parameters:
    ///   - members: how many different members there are.
    ///   - scores: how many different scores, so that ties are common or rare.
    @Test(arguments: [(10, 3), (400, 5), (3_000, 100_000), (6_000, 1)])
    func `a set does what a model does`(members: Int, scores: Int) {
        let seed = testSeed()
        var random = Random(seed: seed)
        var set = SortedSet(hashKey: HashKey(1, seed))
        var model = Model()
        for step in 0..<(members * 6) {
            // Phases of growth and of shrinking.
            let grows = step / (members * 2) % 2 == 0
            let roll = random.index(below: 100)
            var member = Array("m\(random.index(below: members))".utf8)
            if member.last == UInt8(ascii: "7") {
                member += [UInt8](repeating: 120, count: member.count * 60)
            }
            if member.last == UInt8(ascii: "3") { member = Array(member.dropFirst(2)) }
            let score = Double(random.index(below: scores))
            if roll < (grows ? 75 : 25) {
                let placement = member.withView { set.place($0, score, rule: []) }
                switch placement {
                case .added: #expect(model.scores[member] == nil, "seed \(seed)")
                case .moved: #expect(model.scores[member] != score, "seed \(seed)")
                case .unchanged: #expect(model.scores[member] == score, "seed \(seed)")
                default: Issue.record("refused, seed \(seed)")
                }
                model.scores[member] = score
            } else if roll < 95 {
                let removed = member.withView { set.remove($0) }
                #expect(removed == (model.scores.removeValue(forKey: member) != nil))
            } else if roll < 97, set.count > 0 {
                let start = random.index(below: set.count)
                let end = min(set.count, start + random.index(below: set.count / 4 + 2))
                let gone = model.ordered[start..<end]
                set.remove(start..<end)
                for entry in gone { model.scores[entry.member] = nil }
            } else {
                #expect(member.withView { set.score(of: $0) } == model.scores[member])
            }
            if step % (members / 2) == 0 { expectSame(set, model) }
        }
        expectSame(set, model)
        let full = set.bytes
        set.remove(0..<set.count)
        expectSame(set, Model())
        #expect(set.bytes < max(full, 4096), "memory comes back")
    }

    @Test func `ranks and ranges are the model's`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        var set = SortedSet(hashKey: HashKey(1, 2))
        var model = Model()
        for index in 0..<2_000 {
            let member = Array("m\(index)".utf8)
            let score = Double(random.index(below: 300))
            model.scores[member] = score
            _ = member.withView { set.place($0, score, rule: []) }
        }
        let ordered = model.ordered
        for (rank, entry) in ordered.enumerated() {
            let found = entry.member.withView { set.rank(of: $0) }
            #expect(found?.rank == rank)
            #expect(found?.score == entry.score)
        }
        for _ in 0..<500 {
            let range = ScoreRange(
                min: Double(random.index(below: 310)) - 5,
                max: Double(random.index(below: 310)) - 5,
                excludesMin: random.index(below: 2) == 0, excludesMax: random.index(below: 2) == 0)
            let wanted = ordered.indices.filter { index in
                let score = ordered[index].score
                return !range.isBelow(score) && !range.isAbove(score)
            }
            let found = set.ranks(range)
            #expect(found.count == wanted.count, "\(range), seed \(seed)")
            if let first = wanted.first { #expect(found.lowerBound == first) }
        }
    }

    @Test func `members of one score are ranged by their bytes`() {
        var set = SortedSet(hashKey: HashKey(1, 2))
        let members = (0..<1_000).map { Array("\($0 * 7)".utf8) }
        for member in members { _ = member.withView { set.place($0, 1, rule: []) } }
        let sorted = members.sorted { $0.lexicographicallyPrecedes($1) }
        var random = Random(seed: testSeed())
        for _ in 0..<200 {
            let low = Array("\(random.index(below: 8_000))".utf8)
            let high = Array("\(random.index(below: 8_000))".utf8)
            low.withView { low in
                high.withView { high in
                    for range in [
                        MemberRange(min: .including(low), max: .excluding(high)),
                        MemberRange(min: .excluding(low), max: .including(high)),
                        MemberRange(min: .lowest, max: .including(high)),
                        MemberRange(min: .excluding(low), max: .highest),
                    ] where !range.isEmpty {
                        let wanted = sorted.filter { member in
                            member.withView { !range.isBelow($0) && !range.isAbove($0) }
                        }
                        #expect(set.ranks(range).count == wanted.count)
                    }
                }
            }
        }
    }

    @Test func `memory of a set that shrinks comes back in any order`() {
        var random = Random(seed: testSeed())
        var set = SortedSet(hashKey: HashKey(1, 2))
        var members = (0..<20_000).map { Array("member:\($0)".utf8) }
        for member in members { _ = member.withView { set.place($0, 1, rule: []) } }
        let full = set.bytes
        while members.count > 1_000 {
            let index = random.index(below: members.count)
            members.swapAt(index, members.count - 1)
            let member = members.removeLast()
            #expect(member.withView { set.remove($0) })
        }
        set.checkInvariants()
        #expect(set.bytes < full / 4)
    }

    @Test func `a member costs at most fifty bytes`() {
        var random = Random(seed: testSeed())
        var set = SortedSet(hashKey: HashKey(1, 2))
        for index in 0..<100_000 {
            let member = Array("member:\(10_000 + index)".utf8)
            _ = member.withView { set.place($0, random.nextUnit(), rule: []) }
        }
        #expect(set.bytes < 50 * 100_000)
    }

    @Test func `every member can be the random one, and about equally often`() {
        var random = Random(seed: 5)
        var table = MemberTable(hashKey: HashKey(1, 2), valueBytes: 0)
        let count = 500
        for index in 0..<count {
            let member = Array("m\(index)".utf8)
            member.withView {
                _ = table.insert($0, hash: table.hash($0), value: ByteView())
            }
        }
        var met: [UInt32: Int] = [:]
        for _ in 0..<(count * 200) { met[table.random(&random), default: 0] += 1 }
        #expect(met.count == count)
        #expect(met.values.allSatisfy { $0 > 120 && $0 < 300 })
    }

    @Test func `a scan meets every member that stays, however the table changes`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        var set = SortedSet(hashKey: HashKey(3, seed))
        for index in 0..<3_000 {
            let member = Array("stay:\(index)".utf8)
            _ = member.withView { set.place($0, 1, rule: []) }
        }
        var met: Set<[UInt8]> = []
        var position: UInt64? = 0
        var extra = 0
        while let from = position {
            position = set.scan(from: from) { member, _ in met.insert(member.bytes) }
            // It grows during the first half and shrinks during the second.
            let isEarly = from < 1 << 47
            for _ in 0..<40 {
                let member = Array("go:\(random.index(below: extra + 1))".utf8)
                member.withView { view in
                    if isEarly {
                        _ = set.place(view, 1, rule: [])
                        extra += 1
                    } else {
                        _ = set.remove(view)
                    }
                }
            }
        }
        for index in 0..<3_000 {
            #expect(met.contains(Array("stay:\(index)".utf8)), "seed \(seed)")
        }
    }

    @Test func `a walk in slices under writes gives the set as it was`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        var set = SortedSet(hashKey: HashKey(4, seed))
        for round in 0..<6 {
            for _ in 0..<2_000 {
                let member = Array("m\(random.index(below: 4_000))".utf8)
                _ = member.withView { set.place($0, Double(round), rule: []) }
            }
            var wanted: [[UInt8]: Double] = [:]
            set.forEach(in: 0..<set.count, reversed: false) { wanted[$0.bytes] = $1 }
            var found: [[UInt8]: Double] = [:]
            var twice = 0
            let walk = MemberWalk { member, value in
                if found.updateValue(value.double, forKey: member.bytes) != nil { twice += 1 }
            }
            set.withStore { $0.beginWalk(walk) }
            var position: Int? = 0
            while let from = position {
                position = set.withStore { $0.walk(from: from, chunks: 2) }
                for _ in 0..<100 {
                    let member = Array("m\(random.index(below: 5_000))".utf8)
                    if random.index(below: 100) < 30 + round * 10 {
                        _ = member.withView { set.remove($0) }
                    } else {
                        _ = member.withView {
                            set.place($0, Double(random.index(below: 9)), rule: [])
                        }
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
}
