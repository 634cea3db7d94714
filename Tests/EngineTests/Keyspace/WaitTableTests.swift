//  The lines at a shard's keys against arrays of tickets.

import MartletBase
import Testing

@testable import MartletEngine

@Suite struct WaitTableTests {
    private struct Place: Hashable {
        let database: Int
        let key: String
    }

    private func wait(_ database: Int) -> Wait {
        Wait(
            database: database, keys: [], destination: nil, wanted: .list, deadlineNanoseconds: nil)
    }

    /// A copy of a key; two keys of three share a hash, as no two do in life.
    private func copy(_ name: String) -> KeyCopy {
        name.withView { KeyCopy(Key($0, hash: name == "c" ? 2 : 1)) }
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `lines keep the order of arrival whoever leaves`(seed: UInt64) {
        var random = Random(seed: seed)
        var table = WaitTable()
        var model: [Place: [Wait]] = [:]
        for _ in 0..<4_000 {
            let place = Place(
                database: Int(random.next() % 2), key: ["a", "b", "c"][Int(random.next() % 3)])
            let key = copy(place.key)
            let line = model[place] ?? []
            if random.next() % 2 == 0 || line.isEmpty {
                let wait = wait(place.database)
                let isFirst = table.add(wait, at: key)
                #expect(isFirst == line.isEmpty)
                model[place, default: []].append(wait)
            } else {
                let index = Int(random.next() % UInt64(line.count))
                let isLast = table.remove(line[index], at: key)
                #expect(isLast == (line.count == 1))
                let isLastAgain = table.remove(line[index], at: key)
                #expect(!isLastAgain)
                model[place]?.remove(at: index)
            }
            let now = model[place] ?? []
            #expect(table.isAwaited(key.key, place.database) == !now.isEmpty)
            #expect(table.next(at: key.key, place.database, after: 0) === now.first)
            if let middle = now.randomElement(using: &random) {
                let follower = now.first { $0.ticket > middle.ticket }
                #expect(
                    table.next(at: key.key, place.database, after: middle.ticket) === follower)
            }
            #expect(table.isEmpty == model.values.allSatisfy(\.isEmpty))
            let awaited = table.awaitedKeys(in: place.database).count
            #expect(
                awaited
                    == model.filter { $0.key.database == place.database && !$0.value.isEmpty }.count
            )
        }
    }

    @Test func `a wait ends once`() {
        let wait = wait(0)
        #expect(wait.outcome == .waiting)
        #expect(wait.end(.served))
        #expect(!wait.end(.timedOut) && !wait.end(.closed))
        #expect(wait.outcome == .served)
    }
}
