//  The structures that the models are made of: lists and a heap over key numbers, in arrays.

import Glibc

/// Several lists of keys, from the oldest to the newest; a key is in one of them at most.
///
/// Rings with one place more for each list, its end: before it stands the newest key, after it the oldest.
///
/// - Complexity: O(1) for everything.
/// - Memory: 8 bytes for each key there is, in a list or not.
struct KeyLists {
    private var newer: [Int32]
    private var older: [Int32]
    private let keyCount: Int

    init(keyCount: Int, listCount: Int) {
        self.keyCount = keyCount
        newer = (0..<(keyCount + listCount)).map { Int32($0) }
        older = newer
    }

    func oldest(_ list: Int) -> Int? { key(newer[keyCount + list]) }

    /// The next newer key of the same list.
    func newer(than key: Int) -> Int? { self.key(newer[key]) }

    private func key(_ place: Int32) -> Int? { place < keyCount ? Int(place) : nil }

    mutating func append(_ key: Int, to list: Int) {
        let end = keyCount + list
        let last = older[end]
        newer[Int(last)] = Int32(key)
        older[key] = last
        newer[key] = Int32(end)
        older[end] = Int32(key)
    }

    mutating func remove(_ key: Int) {
        newer[Int(older[key])] = newer[key]
        older[Int(newer[key])] = older[key]
    }
}

/// Keys ordered by a number, the smallest first.
///
/// - Complexity: O(log n) to insert and remove, n = keys in it.
/// - Source: Williams 1964, with the place of each key kept beside.
struct KeyHeap {
    private var keys: [Int32] = []
    private var places: [Int32]
    private var priorities: [UInt64]

    init(keyCount: Int) {
        places = [Int32](repeating: -1, count: keyCount)
        priorities = [UInt64](repeating: 0, count: keyCount)
    }

    var first: Int? { keys.first.map { Int($0) } }

    func contains(_ key: Int) -> Bool { places[key] >= 0 }

    func priority(_ key: Int) -> UInt64 { priorities[key] }

    /// Puts a key in its place, also one that is there already.
    mutating func insert(_ key: Int, priority: UInt64) {
        priorities[key] = priority
        if places[key] < 0 {
            places[key] = Int32(keys.count)
            keys.append(Int32(key))
        }
        settle(Int(places[key]))
    }

    mutating func remove(_ key: Int) {
        let place = Int(places[key])
        if place < 0 { return }
        places[key] = -1
        let last = keys.removeLast()
        if place == keys.count { return }
        keys[place] = last
        places[Int(last)] = Int32(place)
        settle(place)
    }

    private func precedes(_ one: Int32, _ other: Int32) -> Bool {
        priorities[Int(one)] < priorities[Int(other)]
    }

    /// Moves the key at a place up or down until the order holds.
    private mutating func settle(_ start: Int) {
        var place = start
        let key = keys[place]
        while place > 0 {
            let parent = (place - 1) / 2
            if !precedes(key, keys[parent]) { break }
            put(keys[parent], place)
            place = parent
        }
        while true {
            var child = 2 * place + 1
            if child >= keys.count { break }
            if child + 1 < keys.count && precedes(keys[child + 1], keys[child]) { child += 1 }
            if !precedes(keys[child], key) { break }
            put(keys[child], place)
            place = child
        }
        put(key, place)
    }

    private mutating func put(_ key: Int32, _ place: Int) {
        keys[place] = key
        places[Int(key)] = Int32(place)
    }
}

/// What each key takes while it is held, and the sum.
struct HeldBytes {
    private var bytes: [Int32]
    private(set) var sum = 0

    init(keyCount: Int) { bytes = [Int32](repeating: -1, count: keyCount) }

    func holds(_ key: Int) -> Bool { bytes[key] >= 0 }

    subscript(_ key: Int) -> Int { Int(bytes[key]) }

    mutating func add(_ key: Int, _ count: Int) {
        bytes[key] = Int32(count)
        sum += count
    }

    mutating func remove(_ key: Int) {
        sum -= Int(bytes[key])
        bytes[key] = -1
    }
}

func power(_ base: Double, _ exponent: Double) -> Double { pow(base, exponent) }

func logarithm(_ value: Double) -> Double { log(value) }
