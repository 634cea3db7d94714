//  What is due when: a binary heap of deadlines, the earliest first.

/// Elements by deadline.
package struct DeadlineHeap<Element> {
    private var places: [(nanoseconds: Int64, element: Element)] = []

    package init() {}

    package var count: Int { places.count }

    /// The earliest deadline; nil when there is none.
    package var earliestNanoseconds: Int64? { places.first?.nanoseconds }

    /// - Complexity: O(log n)
    package mutating func insert(_ element: Element, nanoseconds: Int64) {
        places.append((nanoseconds, element))
        var index = places.count - 1
        while index > 0 {
            let parent = (index - 1) / 2
            if places[parent].nanoseconds <= places[index].nanoseconds { return }
            places.swapAt(parent, index)
            index = parent
        }
    }

    /// Removes the element with the earliest deadline, if that has come.
    ///
    /// - Complexity: O(log n)
    package mutating func removeDue(nowNanoseconds: Int64) -> Element? {
        guard let first = places.first, first.nanoseconds <= nowNanoseconds else { return nil }
        let last = places.removeLast()
        if places.isEmpty { return first.element }
        places[0] = last
        var index = 0
        while true {
            var least = index
            for child in [2 * index + 1, 2 * index + 2] where child < places.count {
                if places[child].nanoseconds < places[least].nanoseconds { least = child }
            }
            if least == index { return first.element }
            places.swapAt(index, least)
            index = least
        }
    }

    /// Drops the elements that `isWanted` is false for.
    ///
    /// - Complexity: O(n log n)
    package mutating func keep(_ isWanted: (Element) -> Bool) {
        let kept = places.filter { isWanted($0.element) }
        places.removeAll()
        for place in kept { insert(place.element, nanoseconds: place.nanoseconds) }
    }
}
