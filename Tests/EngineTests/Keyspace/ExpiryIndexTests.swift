//  The timing wheel against a dictionary of deadlines: what is due comes out, in order, in as many
//  steps as are allowed, whatever the wall clock does.

import MartletBase
import Testing

@testable import MartletEngine

/// An index with entries of its own, and the deadlines it must agree with.
private struct IndexModel: ~Copyable {
    var slabs = Slabs()
    var index = ExpiryIndex<KeyDeadline>()
    private(set) var deadlines: [UInt32: Int64] = [:]
    private static let bytes = 24 + 1 + 8

    /// The handles of all keys.
    var handles: [UInt32] { Array(deadlines.keys) }

    @discardableResult
    mutating func insert(_ deadline: Int64, now: Int64) -> UInt32 {
        let layout = EntryLayout(
            kind: .string, encoding: .integer, keyBytes: 1, valueBytes: 8, hasExpiry: true)
        guard let memory = unsafe slabs.allocate(layout.allocationBytes) else { return 0 }
        let entry = ByteView("k").bytes.withView {
            unsafe layout.initialize(memory, key: $0, access: 0, epoch: 0)
        }
        unsafe memory.storeBytes(of: deadline, toByteOffset: 8, as: Int64.self)
        index.insert(entry, slabs, nowMilliseconds: now)
        let handle = unsafe slabs.handle(memory, bytes: Self.bytes)
        deadlines[handle] = deadline
        return handle
    }

    mutating func remove(_ handle: UInt32) {
        deadlines[handle] = nil
        let entry = unsafe Entry(slabs.object(handle))
        index.remove(entry, slabs)
        unsafe slabs.free(entry.address, bytes: Self.bytes)
    }

    mutating func move(_ handle: UInt32, to deadline: Int64) {
        deadlines[handle] = deadline
        index.move(unsafe Entry(slabs.object(handle)), to: deadline, slabs)
    }

    /// Lets another entry take an entry's place, as when a value gets larger.
    mutating func replace(_ handle: UInt32) {
        guard let memory = unsafe slabs.allocate(Self.bytes) else { return }
        let old = unsafe Entry(slabs.object(handle))
        unsafe memory.copyMemory(from: old.address, byteCount: Self.bytes)
        // The links come from `replace`.
        unsafe memory.storeBytes(of: 0, toByteOffset: 16, as: UInt64.self)
        index.replace(old, with: unsafe Entry(memory), slabs)
        unsafe slabs.free(old.address, bytes: Self.bytes)
        let deadline = deadlines.removeValue(forKey: handle)
        deadlines[unsafe slabs.handle(memory, bytes: Self.bytes)] = deadline
    }

    /// Whether a key that is due by more than a tick is still there.
    func isLate(now: Int64) -> Bool { deadlines.values.contains { $0 <= now - lateMax } }

    /// Takes out what is due, up to a number of steps; the deadlines in the order they came.
    mutating func takeDue(now: Int64, steps: inout Int) -> [Int64] {
        var taken: [Int64] = []
        while let entry = index.nextDue(slabs, nowMilliseconds: now, steps: &steps) {
            let handle = unsafe slabs.handle(entry.address, bytes: Self.bytes)
            guard let deadline = deadlines[handle] else {
                Issue.record("what comes out was put in")
                return taken
            }
            #expect(deadline <= now, "nothing comes out before its time")
            taken.append(deadline)
            remove(handle)
        }
        return taken
    }

    mutating func takeAllDue(now: Int64) -> [Int64] {
        var steps = Int.max
        return takeDue(now: now, steps: &steps)
    }

    func check() {
        index.checkInvariants(slabs)
        #expect(index.count == deadlines.count)
    }
}

/// At the beginning of a tick.
private let start: Int64 = 1_700_000_000_000
private let lateMax = ExpiryIndex<KeyDeadline>.lateMillisecondsMax

/// The number of the tick that ends at or after a deadline.
private func tick(_ deadline: Int64) -> Int64 { (deadline + lateMax) / (lateMax + 1) }

@Suite struct ExpiryIndexTests {
    @Test func `an index without keys has no memory and nothing due`() {
        var model = IndexModel()
        #expect(model.index.bytes == 0)
        #expect(model.takeAllDue(now: .max).isEmpty)
        model.check()
    }

    @Test func `keys come out in order of their deadlines`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        for bits in [6, 12, 20, 40, 60] {
            var model = IndexModel()
            var deadlines: [Int64] = []
            for _ in 0..<800 {
                let deadline = start + Int64(random.next() >> UInt64(64 - bits))
                deadlines.append(deadline)
                model.insert(deadline, now: start)
            }
            model.check()
            let taken = model.takeAllDue(now: .max)
            #expect(taken.sorted() == deadlines.sorted(), "seed \(seed), \(bits) bits")
            let ticks = taken.map(tick)
            #expect(ticks == ticks.sorted(), "seed \(seed), \(bits) bits")
            model.check()
        }
    }

    @Test func `nothing is due before its millisecond, and everything a tick later`() {
        for distance in [1, 63, 64, 65, 4_095, 4_096, 262_144, 1 << 30, 1 << 45] as [Int64] {
            var model = IndexModel()
            model.insert(start + distance, now: start)
            #expect(model.takeAllDue(now: start + distance - 1).isEmpty)
            model.check()
            #expect(model.takeAllDue(now: start + distance + lateMax) == [start + distance])
        }
    }

    @Test func `deadlines at the ends of time are kept`() {
        var model = IndexModel()
        model.insert(.max, now: start)
        model.insert(.max - 1, now: start)
        model.insert(0, now: start)
        model.insert(-5, now: start)
        model.check()
        #expect(Set(model.takeAllDue(now: start)) == [0, -5])
        #expect(model.takeAllDue(now: .max - lateMax - 1).isEmpty)
        // The tick that would end after the last millisecond of all time never ends.
        #expect(model.takeAllDue(now: .max).isEmpty)
        model.insert(.max - lateMax, now: start)
        #expect(model.takeAllDue(now: .max) == [.max - lateMax])
    }

    @Test func `random steps agree with a dictionary`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        for _ in 0..<6 {
            var model = IndexModel()
            var now = start
            for step in 0..<3_000 {
                switch random.index(below: 10) {
                case 0..<4:
                    // Some are late already.
                    let distance = Int64(random.next() >> UInt64(20 + random.index(below: 43)))
                    model.insert(now + distance - 20, now: now)
                case 4, 5:
                    if let handle = model.handles.randomElement(using: &random) {
                        let old = model.deadlines[handle] ?? now
                        let distance = Int64(random.next() >> UInt64(20 + random.index(below: 43)))
                        model.move(
                            handle, to: (random.index(below: 2) == 0 ? old : now) + distance - 20)
                    }
                case 6:
                    if let handle = model.handles.randomElement(using: &random) {
                        model.remove(handle)
                    }
                case 7:
                    if let handle = model.handles.randomElement(using: &random) {
                        model.replace(handle)
                    }
                case 8:
                    now += Int64(random.next() >> UInt64(30 + random.index(below: 30)))
                default:
                    var steps = random.index(below: 40)
                    _ = model.takeDue(now: now, steps: &steps)
                }
                if step % 100 == 0 { model.check() }
            }
            _ = model.takeAllDue(now: now)
            let isLate = model.isLate(now: now)
            #expect(!isLate, "seed \(seed)")
            model.check()
        }
    }

    @Test func `work stops when the steps are used up, and goes on there`() {
        var model = IndexModel()
        for number in 0..<5_000 {
            model.insert(start + 100_000 + Int64(number % 1_000), now: start)
        }
        let now = start + 200_000
        var taken: [Int64] = []
        var used = 0
        while !model.deadlines.isEmpty {
            var steps = 16
            let due = model.takeDue(now: now, steps: &steps)
            taken += due
            used += 16 - steps + due.count
            #expect(steps >= 0)
        }
        let ticks = taken.map(tick)
        #expect(ticks == ticks.sorted())
        // Each key moves once a level, two here, and the wheel turns once a slot.
        #expect(used < 5_000 * 5 + 3_000)
    }

    // MARK: A clock that is set back

    @Test func `after the clock was set back, each key still comes out in its time`() {
        let hour: Int64 = 3_600_000
        var model = IndexModel()
        for minute in 1...120 { model.insert(start + Int64(minute) * 60_000, now: start) }
        var now = start + hour
        #expect(model.takeAllDue(now: now).count == 60)
        // An hour back: what is left is due in one to two hours from here.
        now = start
        for minute in 1...120 { model.insert(start + Int64(minute) * 60_000 + 1, now: now) }
        model.check()
        for minute in 1...120 {
            now = start + Int64(minute) * 60_000 + 1
            let expected = minute <= 60 ? [now] : [now - 1, now]
            #expect(model.takeAllDue(now: now + lateMax).sorted() == expected)
            model.check()
        }
        #expect(model.deadlines.isEmpty)
    }

    @Test func `a clock that jumps about loses no key and brings none out early`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        for _ in 0..<6 {
            var model = IndexModel()
            var now = start
            for step in 0..<2_000 {
                if random.index(below: 20) == 0 {
                    now += Int64(random.index(below: 20_000_000)) - 10_000_000
                }
                now += Int64(random.index(below: 1_000))
                model.insert(now + Int64(random.index(below: 5_000_000)), now: now)
                if let handle = model.handles.randomElement(using: &random) {
                    let old = model.deadlines[handle] ?? now
                    model.move(handle, to: old + Int64(random.index(below: 10_000)) - 5_000)
                }
                var steps = random.index(below: 60)
                _ = model.takeDue(now: now, steps: &steps)
                if step % 200 == 0 { model.check() }
            }
            _ = model.takeAllDue(now: now)
            let isLate = model.isLate(now: now)
            #expect(!isLate, "seed \(seed)")
            now = max(now, (model.deadlines.values.max() ?? now) + lateMax)
            _ = model.takeAllDue(now: now)
            #expect(model.deadlines.isEmpty, "seed \(seed)")
        }
    }

    @Test func `setting the clock back costs no long hold`() {
        var model = IndexModel()
        for number in 0..<20_000 { model.insert(start + Int64(number), now: start) }
        #expect(model.takeAllDue(now: start + 16).count == 17)
        // Nothing is due now, and finding that out moves no more than the steps allow.
        var steps = 100
        #expect(model.takeDue(now: start - 5_000_000, steps: &steps).isEmpty)
        #expect(steps >= 0)
        model.check()
        #expect(model.takeAllDue(now: start + 20_000).count == 20_000 - 17)
    }
}
