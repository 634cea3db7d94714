//  The keys with the largest sums in a stream of amounts, in memory that does not grow with the keys.

/// Sums of the heaviest keys.
///
/// So many keys have a place. A key without one takes that of the smallest sum and inherits it: its own may
/// be that much less, which is kept beside as its error. Whoever is heavier than the average place is among
/// them for certain.
///
/// - Invariant: `heap` is ordered by sum, the smallest first; `places` says where each key stands in it.
/// - Complexity: O(log n) for an amount, n = places.
/// - Source: Metwally, Agrawal and El Abbadi, Space-Saving, 2005.
struct HeavyKeys {
    private struct Place {
        var key: [UInt8]
        var sum: UInt64
        var error: UInt64
    }

    private let countMax: Int
    private var heap: [Place] = []
    private var places: [[UInt8]: Int] = [:]

    /// Longer keys are not counted: what is kept is bounded.
    static let keyBytesMax = 64 << 10

    init(countMax: Int) { self.countMax = countMax }

    mutating func add(_ key: [UInt8], _ amount: UInt64) {
        if amount == 0 || key.count > Self.keyBytesMax { return }
        if let place = places[key] {
            heap[place].sum &+= amount
            sink(place)
        } else if heap.count < countMax {
            heap.append(Place(key: key, sum: amount, error: 0))
            places[key] = heap.count - 1
            rise(heap.count - 1)
        } else {
            places[heap[0].key] = nil
            let inherited = heap[0].sum
            heap[0] = Place(key: key, sum: inherited &+ amount, error: inherited)
            places[key] = 0
            sink(0)
        }
    }

    /// The keys with the largest sums that are certain, the largest first.
    func largest(_ count: Int) -> [(key: [UInt8], sum: UInt64)] {
        heap.map { ($0.key, $0.sum - $0.error) }.sorted { $0.1 > $1.1 }.prefix(count)
            .map { (key: $0.0, sum: $0.1) }
    }

    private mutating func rise(_ start: Int) {
        var place = start
        while place > 0, heap[place].sum < heap[(place - 1) / 2].sum {
            exchange(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
    }

    private mutating func sink(_ start: Int) {
        var place = start
        while true {
            var least = place
            for child in [2 * place + 1, 2 * place + 2]
            where child < heap.count && heap[child].sum < heap[least].sum {
                least = child
            }
            if least == place { return }
            exchange(place, least)
            place = least
        }
    }

    private mutating func exchange(_ one: Int, _ other: Int) {
        heap.swapAt(one, other)
        places[heap[one].key] = one
        places[heap[other].key] = other
    }

    func checkInvariants() {
        precondition(heap.count <= countMax && places.count == heap.count)
        for (place, each) in heap.enumerated() {
            precondition(places[each.key] == place)
            precondition(place == 0 || heap[(place - 1) / 2].sum <= each.sum)
            precondition(each.error < each.sum)
        }
    }
}
