//  The cache models against naive ones, step by step, and what each is known for.

import Testing

@testable import CacheSimulator
@testable import LoadGenerator

/// A model written for plainness: keys from the oldest to the newest, searched from the start.
private protocol NaiveModel {
    mutating func request(_ key: Int, bytes: Int) -> Bool
    mutating func remove(_ key: Int)
}

private struct Held {
    let key: Int
    let bytes: Int
    var uses = 0
}

private struct NaiveLRU: NaiveModel {
    let capacity: Int
    var held: [Held] = []

    mutating func request(_ key: Int, bytes: Int) -> Bool {
        if let place = held.firstIndex(where: { $0.key == key }) {
            held.append(held.remove(at: place))
            return true
        }
        if bytes > capacity { return false }
        while held.map(\.bytes).reduce(0, +) + bytes > capacity { held.removeFirst() }
        held.append(Held(key: key, bytes: bytes))
        return false
    }

    mutating func remove(_ key: Int) { held.removeAll { $0.key == key } }
}

private struct NaiveLFU: NaiveModel {
    let capacity: Int
    /// From the least recently used one.
    var held: [Held] = []

    mutating func request(_ key: Int, bytes: Int) -> Bool {
        if let place = held.firstIndex(where: { $0.key == key }) {
            var used = held.remove(at: place)
            used.uses += 1
            held.append(used)
            return true
        }
        if bytes > capacity { return false }
        while held.map(\.bytes).reduce(0, +) + bytes > capacity,
            let least = held.map(\.uses).min(),
            let victim = held.firstIndex(where: { $0.uses == least })
        {
            held.remove(at: victim)
        }
        held.append(Held(key: key, bytes: bytes))
        return false
    }

    mutating func remove(_ key: Int) { held.removeAll { $0.key == key } }
}

private struct NaiveSieve: NaiveModel {
    let capacity: Int
    var held: [Held] = []
    /// Where the hand stands; the oldest one when it is beyond the end.
    var hand = 0

    mutating func request(_ key: Int, bytes: Int) -> Bool {
        if let place = held.firstIndex(where: { $0.key == key }) {
            held[place].uses = 1
            return true
        }
        if bytes > capacity { return false }
        while held.map(\.bytes).reduce(0, +) + bytes > capacity {
            if hand >= held.count { hand = 0 }
            if held[hand].uses == 0 {
                held.remove(at: hand)
            } else {
                held[hand].uses = 0
                hand += 1
            }
        }
        // At the end the hand goes back to the oldest, not on to what comes in.
        if hand >= held.count { hand = 0 }
        held.append(Held(key: key, bytes: bytes))
        return false
    }

    mutating func remove(_ key: Int) {
        guard let place = held.firstIndex(where: { $0.key == key }) else { return }
        held.remove(at: place)
        if place < hand { hand -= 1 }
        if hand >= held.count { hand = 0 }
    }
}

private struct NaiveS3FIFO: NaiveModel {
    let capacity: Int
    var small: [Held] = []
    var main: [Held] = []
    var ghosts: [Held] = []

    private func sum(_ held: [Held]) -> Int { held.map(\.bytes).reduce(0, +) }

    mutating func request(_ key: Int, bytes: Int) -> Bool {
        if let place = small.firstIndex(where: { $0.key == key }) {
            small[place].uses = min(3, small[place].uses + 1)
            return true
        }
        if let place = main.firstIndex(where: { $0.key == key }) {
            main[place].uses = min(3, main[place].uses + 1)
            return true
        }
        if bytes > capacity { return false }
        while sum(small) + sum(main) + bytes > capacity {
            if sum(small) >= capacity / 10 || main.isEmpty { evictSmall() } else { evictMain() }
        }
        if ghosts.contains(where: { $0.key == key }) {
            ghosts.removeAll { $0.key == key }
            main.append(Held(key: key, bytes: bytes))
        } else {
            small.append(Held(key: key, bytes: bytes))
        }
        return false
    }

    private mutating func evictSmall() {
        while !small.isEmpty {
            let first = small.removeFirst()
            if first.uses > 1 {
                main.append(Held(key: first.key, bytes: first.bytes))
                continue
            }
            ghosts.append(first)
            while sum(ghosts) > capacity - capacity / 10 { ghosts.removeFirst() }
            return
        }
    }

    private mutating func evictMain() {
        while !main.isEmpty {
            var first = main.removeFirst()
            if first.uses == 0 { return }
            first.uses -= 1
            main.append(first)
        }
    }

    mutating func remove(_ key: Int) {
        small.removeAll { $0.key == key }
        main.removeAll { $0.key == key }
    }
}

@Suite struct CacheModelTests {
    private static let keyCount = 60

    /// Plays the same random requests on both, with keys of several sizes that expire now and then.
    private func compare(_ model: some CacheModel, _ naive: some NaiveModel, capacity: Int) {
        var model = model
        var naive = naive
        var random = RandomBits(seed: 7)
        for index in 0..<20_000 {
            let key = Int(min(random.below(60), random.below(60)))
            if random.below(40) == 0 {
                model.remove(key)
                naive.remove(key)
                continue
            }
            // Some do not fit at all.
            let bytes = key % 17 == 3 ? 500 : 5 + key % 13
            let isHit = model.request(key, bytes: bytes, at: index)
            #expect(isHit == naive.request(key, bytes: bytes), "request \(index)")
            #expect(model.usedBytes <= capacity)
        }
    }

    @Test(arguments: [40, 150, 400])
    func `LRU does what the naive one does`(capacity: Int) {
        compare(
            LRUModel(keyCount: Self.keyCount, capacity: capacity), NaiveLRU(capacity: capacity),
            capacity: capacity)
    }

    @Test(arguments: [40, 150, 400])
    func `LFU does what the naive one does`(capacity: Int) {
        compare(
            LFUModel(keyCount: Self.keyCount, capacity: capacity), NaiveLFU(capacity: capacity),
            capacity: capacity)
    }

    @Test(arguments: [40, 150, 400])
    func `SIEVE does what the naive one does`(capacity: Int) {
        compare(
            SieveModel(keyCount: Self.keyCount, capacity: capacity),
            NaiveSieve(capacity: capacity), capacity: capacity)
    }

    @Test(arguments: [40, 150, 400])
    func `S3-FIFO does what the naive one does`(capacity: Int) {
        compare(
            S3FIFOModel(keyCount: Self.keyCount, capacity: capacity),
            NaiveS3FIFO(capacity: capacity), capacity: capacity)
    }

    private func trace(_ keys: [Int], bytes: Int = 1) -> Trace {
        Trace(
            "test", keys.map { TraceRequest(key: $0, valueBytes: bytes) },
            keyCount: (keys.max() ?? 0) + 1)
    }

    private var bareRules: PlayRules {
        var rules = PlayRules()
        // Keys have 16 bytes: an entry has one more, its value.
        rules.entryOverheadBytes = -16
        return rules
    }

    /// The most hits there can be with room for so many keys of one size: every set of kept keys is tried.
    private func mostHits(_ keys: [Int], room: Int) -> Int {
        var best: [Set<Int>: Int] = [[]: 0]
        for key in keys {
            var following: [Set<Int>: Int] = [:]
            func offer(_ kept: Set<Int>, _ hits: Int) {
                following[kept] = max(following[kept] ?? 0, hits)
            }
            for (kept, hits) in best {
                if kept.contains(key) {
                    offer(kept, hits + 1)
                    continue
                }
                offer(kept, hits)
                if kept.count < room {
                    offer(kept.union([key]), hits)
                } else {
                    for victim in kept { offer(kept.subtracting([victim]).union([key]), hits) }
                }
            }
            best = following
        }
        return best.values.max() ?? 0
    }

    @Test func `Belady has as many hits as there can be`() {
        var random = RandomBits(seed: 3)
        for _ in 0..<60 {
            let keys = (0..<16).map { _ in Int(random.below(6)) }
            for room in 1...3 {
                let found = CachePolicy.belady.simulate(
                    trace(keys), capacity: room, bareRules)
                #expect(found.hits == mostHits(keys, room: room), "\(keys) \(room)")
            }
        }
    }

    @Test(arguments: TraceClass.allCases)
    func `nothing beats Belady, and larger caches have more hits`(kind: TraceClass) {
        var shape = TraceShape()
        shape.keyCount = 2_000
        shape.requestCount = 40_000
        let trace = Trace.generated(kind, shape)
        for policy in CachePolicy.allCases {
            let less = policy.simulate(trace, capacity: 50_000, PlayRules())
            let more = policy.simulate(trace, capacity: 150_000, PlayRules())
            #expect(more.hits > less.hits, "\(policy)")
            // With several sizes it is a mark, not a bound.
            if kind == .sizes { continue }
            let best = CachePolicy.belady.simulate(trace, capacity: 150_000, PlayRules())
            #expect(more.hits <= best.hits, "\(policy)")
        }
    }

    @Test func `LRU finds nothing in a loop that is too large, W-TinyLFU keeps a part of it`() {
        let loop = trace((0..<20_000).map { $0 % 1_000 })
        #expect(CachePolicy.lru.simulate(loop, capacity: 900, bareRules).hits == 0)
        #expect(CachePolicy.wTinyLFU.simulate(loop, capacity: 900, bareRules).objectRatio > 0.5)
        #expect(CachePolicy.belady.simulate(loop, capacity: 900, bareRules).objectRatio > 0.8)
    }

    @Test(arguments: CachePolicy.allCases)
    func `a value is found until it expires`(policy: CachePolicy) {
        let requests = [0, 0, 0, 0, 0, 0].map {
            TraceRequest(key: $0, valueBytes: 1, lifetimeMilliseconds: 3)
        }
        var rules = bareRules
        rules.requestsPerSecond = 1000
        // Set at 0, found at 1 and 2, gone at 3, and so on.
        let found = policy.simulate(
            Trace("ttl", requests, keyCount: 1), capacity: 1000, rules)
        #expect(found.hits == 4)
    }

    @Test func `the first requests are not counted when asked so`() {
        var rules = bareRules
        rules.uncountedRequests = 2
        let found = CachePolicy.lru.simulate(trace([1, 2, 1, 2, 3]), capacity: 9, rules)
        #expect(found.requests == 3)
        #expect(found.hits == 2)
        #expect(found.byteRatio == 2.0 / 3)
    }

    @Test func `the sketch counts what was noted, and forgets half of it in time`() {
        var sketch = FrequencySketch(counterCount: 1000)
        for _ in 0..<9 { sketch.note(5, 1000) }
        #expect(sketch.count(of: 5) == 9)
        #expect(sketch.count(of: 6) == 0)
        for key in 0..<10_000 { sketch.note(100 + key % 500, 1000) }
        #expect(sketch.count(of: 5) < 9)
    }
}
