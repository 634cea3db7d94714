//  S3-FIFO, SIEVE and W-TinyLFU.

/// A small queue for what is new, a main one for what was used again there, and the memory of what left the
/// small one.
///
///       miss ─▶ small, 10 % ──used twice──▶ main, 90 % ─▶ around again while it was used
///                    └──▶ ghosts: bytes of the main queue's size; a miss found there goes to main
///
/// - Source: Yang et al., FIFO Queues are All You Need for Cache Eviction, SOSP 2023.
package struct S3FIFOModel: CacheModel {
    private let capacity: Int
    private let smallCapacity: Int
    private var small: HeldBytes
    private var main: HeldBytes
    private var ghosts: HeldBytes
    private var uses: [UInt8]
    private var lists: KeyLists

    private static let usesMax: UInt8 = 3

    private enum List {
        static let small = 0
        static let main = 1
        static let ghosts = 2
    }

    package init(keyCount: Int, capacity: Int) {
        self.capacity = capacity
        smallCapacity = capacity / 10
        small = HeldBytes(keyCount: keyCount)
        main = HeldBytes(keyCount: keyCount)
        ghosts = HeldBytes(keyCount: keyCount)
        uses = [UInt8](repeating: 0, count: keyCount)
        lists = KeyLists(keyCount: keyCount, listCount: 3)
    }

    package var usedBytes: Int { small.sum + main.sum }

    package mutating func request(_ key: Int, bytes: Int, at index: Int) -> Bool {
        if small.holds(key) || main.holds(key) {
            uses[key] = min(Self.usesMax, uses[key] + 1)
            return true
        }
        if bytes > capacity { return false }
        while usedBytes + bytes > capacity { evict() }
        uses[key] = 0
        if ghosts.holds(key) {
            forget(key)
            main.add(key, bytes)
            lists.append(key, to: List.main)
        } else {
            small.add(key, bytes)
            lists.append(key, to: List.small)
        }
        return false
    }

    private mutating func evict() {
        if small.sum >= smallCapacity || main.sum == 0 {
            evictSmall()
        } else {
            evictMain()
        }
    }

    /// Moves what was used on to the main queue until one key has gone, or none is left here.
    private mutating func evictSmall() {
        while let key = lists.oldest(List.small) {
            let bytes = small[key]
            lists.remove(key)
            small.remove(key)
            if uses[key] > 1 {
                uses[key] = 0
                main.add(key, bytes)
                lists.append(key, to: List.main)
                continue
            }
            ghosts.add(key, bytes)
            lists.append(key, to: List.ghosts)
            while ghosts.sum > capacity - smallCapacity,
                let oldest = lists.oldest(List.ghosts)
            {
                forget(oldest)
            }
            return
        }
    }

    private mutating func evictMain() {
        while let key = lists.oldest(List.main) {
            lists.remove(key)
            if uses[key] == 0 {
                main.remove(key)
                return
            }
            uses[key] -= 1
            lists.append(key, to: List.main)
        }
    }

    private mutating func forget(_ key: Int) {
        ghosts.remove(key)
        lists.remove(key)
    }

    package mutating func remove(_ key: Int) {
        if small.holds(key) {
            small.remove(key)
        } else if main.holds(key) {
            main.remove(key)
        } else {
            return
        }
        lists.remove(key)
    }
}

/// One queue and a hand that walks from its oldest to its newest key: what was used since it last came by
/// stays where it is, the first other one goes.
///
/// - Source: Zhang et al., SIEVE is Simpler than LRU, NSDI 2024.
package struct SieveModel: CacheModel {
    private let capacity: Int
    private var held: HeldBytes
    private var wasUsed: [Bool]
    private var lists: KeyLists
    private var hand: Int?

    package init(keyCount: Int, capacity: Int) {
        self.capacity = capacity
        held = HeldBytes(keyCount: keyCount)
        wasUsed = [Bool](repeating: false, count: keyCount)
        lists = KeyLists(keyCount: keyCount, listCount: 1)
    }

    package var usedBytes: Int { held.sum }

    package mutating func request(_ key: Int, bytes: Int, at index: Int) -> Bool {
        if held.holds(key) {
            wasUsed[key] = true
            return true
        }
        if bytes > capacity { return false }
        while held.sum + bytes > capacity { evict() }
        held.add(key, bytes)
        wasUsed[key] = false
        lists.append(key, to: 0)
        return false
    }

    private mutating func evict() {
        while let key = hand ?? lists.oldest(0) {
            if !wasUsed[key] {
                // The hand moves on by it.
                hand = key
                remove(key)
                return
            }
            wasUsed[key] = false
            hand = lists.newer(than: key)
        }
    }

    package mutating func remove(_ key: Int) {
        guard held.holds(key) else { return }
        if hand == key { hand = lists.newer(than: key) }
        held.remove(key)
        lists.remove(key)
    }
}

/// A small LRU window for what is new; who leaves it stays only when it was asked for more often, by a sketch
/// of all requests, than those together whose place it would take.
///
///       miss ─▶ window, 1 % ─▶ more often than the victims? ─▶ probation ──used──▶ protected, 80 % of main
///                                                              victims ◀──oldest───┘
///
/// - Source: Einziger, Friedman and Manes, TinyLFU, 2017; for values of different sizes Einziger et al.,
///   Lightweight Robust Size Aware Cache Management, 2022 (aggregated victims).
package struct WTinyLFUModel: CacheModel {
    private let capacity: Int
    private let windowCapacity: Int
    private let protectedCapacity: Int
    private var window: HeldBytes
    private var probation: HeldBytes
    private var protected: HeldBytes
    private var lists: KeyLists
    private var sketch: FrequencySketch
    private var heldCount = 0

    private enum List {
        static let window = 0
        static let probation = 1
        static let protected = 2
    }

    package init(keyCount: Int, capacity: Int) {
        self.capacity = capacity
        windowCapacity = capacity / 100
        protectedCapacity = (capacity - capacity / 100) / 5 * 4
        window = HeldBytes(keyCount: keyCount)
        probation = HeldBytes(keyCount: keyCount)
        protected = HeldBytes(keyCount: keyCount)
        lists = KeyLists(keyCount: keyCount, listCount: 3)
        sketch = FrequencySketch(counterCount: keyCount)
    }

    package var usedBytes: Int { window.sum + probation.sum + protected.sum }

    package mutating func request(_ key: Int, bytes: Int, at index: Int) -> Bool {
        sketch.note(key, heldCount)
        if use(key) { return true }
        if bytes > capacity { return false }
        window.add(key, bytes)
        heldCount += 1
        lists.append(key, to: List.window)
        while window.sum > windowCapacity, let candidate = lists.oldest(List.window) {
            leaveWindow(candidate)
        }
        return false
    }

    private mutating func use(_ key: Int) -> Bool {
        if window.holds(key) {
            lists.remove(key)
            lists.append(key, to: List.window)
        } else if protected.holds(key) {
            lists.remove(key)
            lists.append(key, to: List.protected)
        } else if probation.holds(key) {
            lists.remove(key)
            protected.add(key, probation[key])
            probation.remove(key)
            lists.append(key, to: List.protected)
            while protected.sum > protectedCapacity, let oldest = lists.oldest(List.protected) {
                lists.remove(oldest)
                probation.add(oldest, protected[oldest])
                protected.remove(oldest)
                lists.append(oldest, to: List.probation)
            }
        } else {
            return false
        }
        return true
    }

    /// Admits a key to the main part in place of enough others, or drops it.
    private mutating func leaveWindow(_ candidate: Int) {
        let bytes = window[candidate]
        let room = capacity - windowCapacity - probation.sum - protected.sum
        var freed = 0
        var victims: [Int] = []
        var uses = 0
        var next = lists.oldest(List.probation)
        var isProtected = false
        while room + freed < bytes {
            if next == nil && !isProtected {
                next = lists.oldest(List.protected)
                isProtected = true
            }
            guard let victim = next else { break }
            freed += isProtected ? protected[victim] : probation[victim]
            uses += sketch.count(of: victim)
            victims.append(victim)
            next = lists.newer(than: victim)
        }
        let isAdmitted =
            room + freed >= bytes && (victims.isEmpty || sketch.count(of: candidate) > uses)
        guard isAdmitted else {
            remove(candidate)
            return
        }
        for victim in victims { remove(victim) }
        window.remove(candidate)
        lists.remove(candidate)
        probation.add(candidate, bytes)
        lists.append(candidate, to: List.probation)
    }

    package mutating func remove(_ key: Int) {
        if window.holds(key) {
            window.remove(key)
        } else if probation.holds(key) {
            probation.remove(key)
        } else if protected.holds(key) {
            protected.remove(key)
        } else {
            return
        }
        heldCount -= 1
        lists.remove(key)
    }
}

/// How often keys were asked for lately, about: counters up to 15 in four rows, of which the least counts;
/// all are halved after ten requests for each key that is held.
///
/// - Source: Cormode and Muthukrishnan 2005; aging as in TinyLFU.
struct FrequencySketch {
    private var counters: [UInt8]
    private let mask: Int
    private var noted = 0

    private static let rowCount = 4
    private static let countMax: UInt8 = 15

    init(counterCount: Int) {
        var width = 64
        while width < counterCount { width *= 2 }
        mask = width - 1
        counters = [UInt8](repeating: 0, count: width * Self.rowCount)
    }

    mutating func note(_ key: Int, _ heldCount: Int) {
        for row in 0..<Self.rowCount {
            let place = place(key, row)
            if counters[place] < Self.countMax { counters[place] += 1 }
        }
        noted += 1
        if noted >= 10 * max(heldCount, 100) {
            noted /= 2
            for place in counters.indices { counters[place] /= 2 }
        }
    }

    func count(of key: Int) -> Int {
        var least = Self.countMax
        for row in 0..<Self.rowCount { least = min(least, counters[place(key, row)]) }
        return Int(least)
    }

    private func place(_ key: Int, _ row: Int) -> Int {
        var mixed = UInt64(key) &* 0x9E37_79B9_7F4A_7C15 &+ UInt64(row) &* 0xD1B5_4A32_D192_ED03
        mixed = (mixed ^ (mixed &>> 32)) &* 0xD6E8_FEB8_6659_FD93
        return row * (mask + 1) + (Int(truncatingIfNeeded: mixed &>> 32) & mask)
    }
}
