//  Pending entries against a sorted array, consumer groups against a dictionary.

import MartletBase
import Testing

@testable import MartletEngine

/// A sorted array of pending entries.
private struct Model {
    var entries: [PendingEntry] = []

    func index(_ id: StreamID) -> Int {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].id < id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func entry(_ id: StreamID) -> PendingEntry? {
        let index = index(id)
        return index < entries.count && entries[index].id == id ? entries[index] : nil
    }

    mutating func put(_ entry: PendingEntry) {
        let index = index(entry.id)
        if index < entries.count && entries[index].id == entry.id {
            entries[index] = entry
        } else {
            entries.insert(entry, at: index)
        }
    }

    mutating func remove(_ id: StreamID) -> PendingEntry? {
        let index = index(id)
        guard index < entries.count, entries[index].id == id else { return nil }
        return entries.remove(at: index)
    }

    func oldest(through time: Int64, limit: Int?) -> [PendingEntry] {
        let found = entries.filter { $0.deliveredMilliseconds <= time }.sorted {
            ($0.deliveredMilliseconds, $0.id) < ($1.deliveredMilliseconds, $1.id)
        }
        return Array(found.prefix(limit ?? found.count))
    }
}

private func contents(_ pending: borrowing PendingEntries) -> [PendingEntry] {
    var all: [PendingEntry] = []
    pending.forEach(from: .zero) {
        all.append($0)
        return true
    }
    return all
}

struct PendingEntriesTests {
    /// Ids near each other, far apart, and at the ends of what an id can be.
    private func id(_ random: inout Random, _ kind: Int) -> StreamID {
        switch kind {
        case 0: StreamID(1_700_000_000_000 + UInt64(random.index(below: 900)), 0)
        case 1:
            StreamID(
                1_700_000_000_000 + UInt64(random.index(below: 20)),
                UInt64(random.index(below: 50)))
        case 2: StreamID(UInt64(random.index(below: 30)), UInt64(random.index(below: 30)))
        case 3: StreamID(random.next() >> UInt64(random.index(below: 64)), random.next())
        default:
            StreamID(
                [0, 1, UInt64.max - 1, UInt64.max][random.index(below: 4)],
                [0, 1 << 32 - 1, 1 << 32, UInt64.max][random.index(below: 4)])
        }
    }

    private func entry(_ random: inout Random, _ kind: Int) -> PendingEntry {
        let isOdd = random.index(below: 200) == 0
        return PendingEntry(
            id: id(&random, kind), consumer: UInt32(random.index(below: 9)),
            deliveredMilliseconds: isOdd
                ? Int64(random.next() >> 2) : 1_700_000_000_000 + Int64(random.index(below: 5000)),
            deliveryCount: isOdd ? Int64.max : Int64(random.index(below: 70)))
    }

    @Test(arguments: [0, 1, 2, 3, 4, 5])
    func `entries are found, changed and removed as in a sorted array`(kind: Int) {
        let seed = testSeed()
        var random = Random(seed: seed &+ UInt64(kind))
        var pending = PendingEntries(hasDeliveries: true)
        var model = Model()
        for step in 0..<12_000 {
            // It grows, then shrinks, then grows again.
            let isGrowing = step / 3000 % 2 == 0
            let kind = kind == 5 ? random.index(below: 5) : kind
            let given = entry(&random, kind)
            switch random.index(below: 10) {
            case 0..<(isGrowing ? 7 : 2):
                if pending.contains(given.id) {
                    pending.update(given)
                } else {
                    pending.insert(given)
                }
                model.put(given)
            case 7..<8 where !model.entries.isEmpty:
                let first = model.entries[0].id
                #expect(pending.remove(first) == model.remove(first), "seed \(seed)")
            default:
                var id = given.id
                if !model.entries.isEmpty && random.index(below: 4) > 0 {
                    id = model.entries[random.index(below: model.entries.count)].id
                }
                #expect(pending.remove(id) == model.remove(id), "seed \(seed)")
            }
            let probe = id(&random, kind)
            #expect(pending.entry(probe) == model.entry(probe))
            let next = model.index(probe)
            #expect(
                pending.next(atOrBehind: probe)
                    == (next < model.entries.count ? model.entries[next] : nil))
            #expect(pending.count == model.entries.count)
            if step % 50 == 0 {
                pending.checkInvariants()
                #expect(pending.ends?.first == model.entries.first?.id)
                #expect(pending.ends?.last == model.entries.last?.id)
                let time = 1_700_000_000_000 + Int64(random.index(below: 6000)) - 500
                let limit = random.index(below: 3) == 0 ? nil : random.index(below: 40)
                #expect(
                    pending.oldest(through: time, limit: limit)
                        == model.oldest(through: time, limit: limit), "seed \(seed)")
            }
            if step % 1000 == 0 {
                #expect(contents(pending) == model.entries, "seed \(seed)")
                #expect(contents(pending.copy()) == model.entries)
            }
        }
    }

    @Test func `a queue of a million entries takes 21 bytes each and leaves nothing`() {
        var pending = PendingEntries(hasDeliveries: true)
        var ids = PendingEntries(hasDeliveries: false)
        for number in 0..<1_000_000 {
            let id = StreamID(1_700_000_000_000 + UInt64(number / 3), UInt64(number % 3))
            pending.insert(
                PendingEntry(
                    id: id, consumer: 1, deliveredMilliseconds: 1_700_000_100_000, deliveryCount: 1)
            )
            ids.insert(PendingEntry(id: id))
        }
        #expect(pending.bytes < 21_000_000)
        #expect(ids.bytes < 8_400_000)
        for number in 0..<1_000_000 {
            let id = StreamID(1_700_000_000_000 + UInt64(number / 3), UInt64(number % 3))
            #expect(pending.remove(id) != nil)
            _ = ids.remove(id)
        }
        pending.checkInvariants()
        #expect(pending.bytes + ids.bytes < 10_000)
    }

    @Test func `a walk in slices under writes gives the entries as they were`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        var pending = PendingEntries(hasDeliveries: true)
        for _ in 0..<6 {
            for _ in 0..<3000 {
                let given = entry(&random, random.index(below: 5))
                if !pending.contains(given.id) { pending.insert(given) }
            }
            let wanted = contents(pending)
            var found: [[PendingEntry]] = []
            let walk = PendingWalk { found.append($0) }
            pending.beginWalk(walk)
            var position: StreamID? = .zero
            while let from = position {
                position = pending.walk(from: from, nodes: 2)
                for _ in 0..<60 {
                    let given = entry(&random, random.index(below: 5))
                    if pending.contains(given.id) {
                        pending.update(given)
                    } else if random.index(below: 2) == 0 {
                        pending.insert(given)
                    }
                    if let next = pending.next(atOrBehind: given.id) { pending.remove(next.id) }
                }
            }
            pending.endWalk()
            withExtendedLifetime(walk) {}
            let all = found.filter { !$0.isEmpty }.sorted { $0[0].id < $1[0].id }.flatMap { $0 }
            #expect(all == wanted, "seed \(seed)")
            pending.checkInvariants()
        }
    }
}

struct ConsumerGroupTests {
    private func name(_ number: Int) -> [UInt8] { Array("consumer-\(number)".utf8) }

    @Test func `who holds what is the same from both sides`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        var groups = ConsumerGroups()
        let group = unsafe "mail".withView {
            unsafe groups.add($0, lastDeliveredID: .zero, entriesRead: nil)
        }
        /// Id to the number of the consumer's name; -1 for nobody.
        var model: [StreamID: Int] = [:]
        var known: Set<Int> = []
        /// What is nobody's, and was, in the order in which it was given back.
        var released: [StreamID] = []
        for step in 0..<20_000 {
            let number = random.index(below: 12)
            let id = StreamID(UInt64(random.index(below: 3000)), 0)
            let consumer = unsafe name(number).withView { name in
                unsafe group.pointee.consumer(named: name)
                    ?? group.pointee.addConsumer(name, nowMilliseconds: 5)
            }
            known.insert(number)
            switch random.index(below: 40) {
            case 0..<20:
                unsafe group.pointee.deliver(
                    id, to: consumer, nowMilliseconds: Int64(1_000_000 + step))
                model[id] = number
            case 20..<32:
                #expect(
                    unsafe group.pointee.acknowledge(id) == (model.removeValue(forKey: id) != nil))
            case 32..<35:
                if let entry = unsafe group.pointee.pending.entry(id) {
                    unsafe group.pointee.release(entry)
                    model[id] = -1
                    released.removeAll { $0 == id }
                    released.append(id)
                }
            case 35:
                let held = model.filter { $0.value == number }
                let removed = name(number).withView {
                    unsafe group.pointee.removeConsumer($0)
                }
                #expect(removed == held.count, "seed \(seed)")
                for (id, _) in held { model[id] = nil }
                known.remove(number)
            default:
                if var entry = unsafe group.pointee.pending.entry(id) {
                    entry.deliveryCount += 1
                    entry.deliveredMilliseconds = Int64(1_000_000 + step)
                    unsafe group.pointee.put(entry, consumer)
                    model[id] = number
                }
            }
            if step % 500 == 0 {
                groups.checkInvariants()
                #expect(unsafe group.pointee.pending.count == model.count)
                #expect(unsafe group.pointee.consumerCount == known.count)
                #expect(
                    unsafe group.pointee.releasedCount == model.filter { $0.value < 0 }.count)
                released.removeAll { model[$0] != -1 }
                let idle = unsafe group.pointee.oldest(through: .max, limit: nil).map(\.id)
                #expect(Array(idle.prefix(released.count)) == released, "seed \(seed)")
                let copy = groups.copy()
                copy.checkInvariants()
                let copied = unsafe copy.group(at: 0)
                #expect(
                    unsafe contents(copied.pointee.pending).map(\.id)
                        == contents(group.pointee.pending).map(\.id))
            }
        }
        #expect(groups.count == 1)
        let detached = "mail".withView { groups.remove($0) }
        detached?.free()
        groups.checkInvariants()
        #expect(groups.bytes < 200)
    }

    @Test func `thousands of groups and consumers come in order of their names`() {
        var groups = ConsumerGroups()
        for number in 0..<2000 {
            "group-\(number * 7919 % 2000)".withView { name in
                _ = unsafe groups.add(name, lastDeliveredID: .zero, entriesRead: nil)
            }
        }
        let group = unsafe groups.group(at: 1000)
        for number in 0..<5000 {
            name(number * 7919 % 5000).withView { name in
                _ = unsafe group.pointee.addConsumer(name, nowMilliseconds: 1)
            }
        }
        groups.checkInvariants()
        unsafe #expect("group-77".withView { unsafe groups.group(named: $0) } != nil)
        unsafe #expect("group-x".withView { unsafe groups.group(named: $0) } == nil)
        unsafe #expect(name(4999).withView { unsafe group.pointee.consumer(named: $0) } != nil)
        var pauses = 0
        groups.dismantle { pauses += 1 }
        #expect(groups.count == 0)
    }
}
