//  Consumer groups, and consumers, by their names.
//
//  Raw memory. Items are allocated here one by one, so that their addresses hold while others come
//  and go, and freed with the directory, or by who takes one out. Used under the shard's lock, or by
//  the one thread that tears them down.
//
//  Names are kept sorted: a lookup is a binary search, and lists come out in the order that Redis
//  gives them in.

import MartletBase

/// What has a name to be found by.
protocol Named: ~Copyable {
    var name: ByteView { get }
}

/// Things of one kind by their names.
///
/// - Invariant: names ascend.
/// - Complexity: O(log n) comparisons to find; 8 n bytes move at most when one comes or goes.
@safe
struct NameDirectory<Item: ~Copyable & Named>: ~Copyable {
    private var items: [UnsafeMutablePointer<Item>] = unsafe []

    init() {}

    deinit {
        for index in unsafe items.indices {
            unsafe items[index].deinitialize(count: 1)
            unsafe items[index].deallocate()
        }
    }

    var count: Int { unsafe items.count }

    /// Memory besides that of the items.
    var bytes: Int { unsafe items.capacity == 0 ? 0 : 32 + items.capacity * 8 }

    /// Number `index` in order of names.
    subscript(index: Int) -> UnsafeMutablePointer<Item> { unsafe items[index] }

    /// How many have a smaller name.
    private func index(_ name: ByteView) -> Int {
        var low = 0
        var high = unsafe items.count
        while low < high {
            let middle = (low + high) / 2
            if unsafe items[middle].pointee.name.compare(name) < 0 {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low
    }

    func find(_ name: ByteView) -> UnsafeMutablePointer<Item>? {
        // Most streams have one group, and many groups one consumer.
        if unsafe items.count == 1 {
            return unsafe items[0].pointee.name == name ? items[0] : nil
        }
        let index = index(name)
        guard unsafe index < items.count, unsafe items[index].pointee.name == name else {
            return nil
        }
        return unsafe items[index]
    }

    /// Adds an item, whose name is new.
    mutating func insert(_ item: consuming Item) -> UnsafeMutablePointer<Item> {
        let place = UnsafeMutablePointer<Item>.allocate(capacity: 1)
        unsafe place.initialize(to: item)
        unsafe items.insert(place, at: index(place.pointee.name))
        return unsafe place
    }

    /// Takes an item off the list; the caller frees it.
    mutating func remove(_ name: ByteView) -> UnsafeMutablePointer<Item>? {
        let index = index(name)
        guard unsafe index < items.count, unsafe items[index].pointee.name == name else {
            return nil
        }
        return unsafe items.remove(at: index)
    }

    mutating func removeLast() -> UnsafeMutablePointer<Item>? { unsafe items.popLast() }

    func checkInvariants() {
        for index in unsafe items.indices.dropFirst() {
            precondition(
                unsafe items[index - 1].pointee.name.compare(items[index].pointee.name) < 0,
                "names ascend")
        }
    }
}
