//  LRU, LFU and Belady's optimum: what a cache without memory limits for its own use would do.

/// The key goes that was not used for the longest time.
package struct LRUModel: CacheModel {
    private let capacity: Int
    private var held: HeldBytes
    private var lists: KeyLists

    package init(keyCount: Int, capacity: Int) {
        self.capacity = capacity
        held = HeldBytes(keyCount: keyCount)
        lists = KeyLists(keyCount: keyCount, listCount: 1)
    }

    package var usedBytes: Int { held.sum }

    package mutating func request(_ key: Int, bytes: Int, at index: Int) -> Bool {
        if held.holds(key) {
            lists.remove(key)
            lists.append(key, to: 0)
            return true
        }
        if bytes > capacity { return false }
        while held.sum + bytes > capacity, let victim = lists.oldest(0) { remove(victim) }
        held.add(key, bytes)
        lists.append(key, to: 0)
        return false
    }

    package mutating func remove(_ key: Int) {
        guard held.holds(key) else { return }
        held.remove(key)
        lists.remove(key)
    }
}

/// The key goes that was used least often since it came, the least recently used one of several.
package struct LFUModel: CacheModel {
    private let capacity: Int
    private var held: HeldBytes
    private var order: KeyHeap

    /// Uses stand above the number of the last request, so that this decides between equals.
    private static let indexBits: UInt64 = 32

    package init(keyCount: Int, capacity: Int) {
        self.capacity = capacity
        held = HeldBytes(keyCount: keyCount)
        order = KeyHeap(keyCount: keyCount)
    }

    package var usedBytes: Int { held.sum }

    package mutating func request(_ key: Int, bytes: Int, at index: Int) -> Bool {
        if held.holds(key) {
            let uses = (order.priority(key) >> Self.indexBits) + 1
            order.insert(key, priority: uses << Self.indexBits | UInt64(index))
            return true
        }
        if bytes > capacity { return false }
        while held.sum + bytes > capacity, let victim = order.first { remove(victim) }
        held.add(key, bytes)
        order.insert(key, priority: 1 << Self.indexBits | UInt64(index))
        return false
    }

    package mutating func remove(_ key: Int) {
        guard held.holds(key) else { return }
        held.remove(key)
        order.remove(key)
    }
}

/// The key goes whose next use is farthest away; what would be that one itself is not kept.
///
/// With values of one size nothing has more hits. With several sizes the optimum is NP-hard to find (Chrobak
/// et al. 2012), and this is a mark rather than a bound. A use that a value does not live to see is none.
///
/// - Source: Belady 1966.
package struct BeladyModel: CacheModel {
    private let capacity: Int
    private var held: HeldBytes
    private var order: KeyHeap
    /// Of each request, the number of the next one for the same key.
    private let nextUses: [Int32]
    private let deadlines: [Int32]
    /// Of each key that is held, when it expires.
    private var keyDeadlines: [Int32]

    private static let never = Int32.max

    package init(_ trace: Trace, capacity: Int, _ rules: PlayRules) {
        self.capacity = capacity
        held = HeldBytes(keyCount: trace.keyCount)
        order = KeyHeap(keyCount: trace.keyCount)
        keyDeadlines = [Int32](repeating: Self.never, count: trace.keyCount)
        var following = [Int32](repeating: Self.never, count: trace.keyCount)
        var nextUses = [Int32](repeating: Self.never, count: trace.requests.count)
        for index in trace.requests.indices.reversed() {
            let key = Int(trace.requests[index].key)
            nextUses[index] = following[key]
            following[key] = Int32(index)
        }
        self.nextUses = nextUses
        deadlines =
            trace.hasLifetimes
            ? trace.requests.indices.map {
                Int32(clamping: rules.deadline(trace.requests[$0], at: $0))
            } : []
    }

    package var usedBytes: Int { held.sum }

    package mutating func request(_ key: Int, bytes: Int, at index: Int) -> Bool {
        let next = nextUses[index]
        if held.holds(key) {
            order.insert(key, priority: rank(next, keyDeadlines[key]))
            return true
        }
        let deadline = deadlines.isEmpty ? Self.never : deadlines[index]
        let rank = rank(next, deadline)
        if bytes > capacity || rank == 0 { return false }
        while held.sum + bytes > capacity, let victim = order.first {
            if order.priority(victim) >= rank { return false }
            remove(victim)
        }
        held.add(key, bytes)
        keyDeadlines[key] = deadline
        order.insert(key, priority: rank)
        return false
    }

    /// The smaller, the sooner it goes; 0 when it is not used again.
    private func rank(_ next: Int32, _ deadline: Int32) -> UInt64 {
        next >= deadline ? 0 : UInt64(Self.never - next)
    }

    package mutating func remove(_ key: Int) {
        guard held.holds(key) else { return }
        held.remove(key)
        order.remove(key)
    }
}
