//  A list as commands see it: under a key, in whichever form, while its shard is held.
//
//  Raw memory: nothing here is owned; see `CollectionPlace`. Views of elements are good until the
//  list next changes.
//
//  A missing key is an empty one, and which
//  form the value has is decided in here and nowhere else.

import MartletBase

/// Up to where Redis keeps, and calls, a list small: `list-max-listpack-size`.
package struct ListLimit: Sendable {
    private let elementsMax: Int
    /// Bytes of the listpack, for one that grows.
    private let bytesMax: Int
    /// The same for one that shrinks, which is small again at half of the limit.
    private let halfBytesMax: Int

    /// What a listpack has besides its records.
    private static let listpackBytes = 7

    /// - Parameter setting: elements, or below zero a size: -1 is 4 KB, -5 is 64 KB.
    @inline(__always)
    package init(setting: Int) {
        if setting < 0 {
            elementsMax = Int.max
            bytesMax = 2048 << min(-setting, 5)
            halfBytesMax = bytesMax / 2
        } else {
            elementsMax = max(1, setting)
            bytesMax = 8192
            halfBytesMax = Int.max
        }
    }

    /// Whether a list that grows stays small.
    @inline(__always)
    func admits(elements: Int, bytes: Int) -> Bool {
        elements <= elementsMax && bytes <= bytesMax - Self.listpackBytes
    }

    /// Whether a list that shrinks becomes small again.
    @inline(__always)
    func readmits(elements: Int, bytes: Int) -> Bool {
        elements <= elementsMax / 2 && bytes <= halfBytesMax - Self.listpackBytes
    }
}

/// The list under a key, present or not.
///
/// - Complexity: as of `List`; O(n) while the list is packed and n is small.
@safe
package struct ListValue {
    private var place: CollectionPlace
    /// It is, or will be with what is about to be added, beyond what Redis keeps small.
    private var isLong = false

    fileprivate init(_ place: CollectionPlace) { self.place = place }

    @unsafe private enum Form {
        case missing
        case packed(PackedList)
        case large(UnsafeMutablePointer<List>)
    }

    @inline(__always)
    private var form: Form {
        guard let entry = place.entry else { return unsafe .missing }
        if place.isPacked {
            return unsafe .packed(PackedList(entry.valueAddress, bytes: entry.valueBytes))
        }
        return unsafe .large(entry.structure.list)
    }

    // MARK: Reading

    @inline(__always)
    package var count: Int {
        switch unsafe form {
        case .missing: 0
        case .packed(let list): list.count
        case .large(let list): unsafe list.pointee.count
        }
    }

    /// Bytes of all elements as they stand in memory.
    @inline(__always)
    private var recordBytes: Int {
        switch unsafe form {
        case .missing: 0
        case .packed(let list): list.recordBytes
        case .large(let list): unsafe list.pointee.recordBytes
        }
    }

    /// The key does not exist.
    @inline(__always)
    package var isEmpty: Bool { place.entry == nil }

    /// The element at `index`, from the end when negative, or nil; lent until the list changes.
    package func element(at index: Int64) -> ListElement? {
        guard let place = position(index) else { return nil }
        switch unsafe form {
        case .missing: return nil
        case .packed(let list):
            return list.records.element(list.records.offset(of: place, count: list.count))
        case .large(let list): return unsafe list.pointee.element(at: place)
        }
    }

    /// The index from 0 that a client's index means, if there is an element.
    @inline(__always)
    package func position(_ index: Int64) -> Int? {
        let count = Int64(count)
        let place = index < 0 ? index &+ count : index
        return place >= 0 && place < count ? Int(place) : nil
    }

    /// Calls `body` for the elements from `index` on, forward or backward, until it answers false.
    ///
    /// - Precondition: `0 <= index < count`; `body` does not change the list.
    @inline(__always)
    package func walk(from index: Int, reversed: Bool, _ body: (ListElement) -> Bool) {
        switch unsafe form {
        case .missing: return
        case .packed(let list):
            _ = list.records.walk(from: index, count: list.count, reversed: reversed, body)
        case .large(let list): unsafe list.pointee.walk(from: index, reversed: reversed, body)
        }
    }

    /// Calls `body` for the elements of a range, from the first or from the last.
    ///
    /// - Precondition: `range` is inside `0 ..< count`; `body` does not change the list.
    @inline(__always)
    package func forEach(
        in range: Range<Int>, reversed: Bool = false, _ body: (ListElement) -> Void
    ) {
        if range.isEmpty { return }
        var left = range.count
        walk(from: reversed ? range.upperBound - 1 : range.lowerBound, reversed: reversed) {
            body($0)
            left &-= 1
            return left > 0
        }
    }

    // MARK: Growing

    /// Runs `body` on the large form and counts what its memory became.
    @inline(__always)
    private func changing<R>(
        _ list: UnsafeMutablePointer<List>, _ body: (UnsafeMutablePointer<List>) -> R
    ) -> R {
        let before = unsafe list.pointee.bytes
        let result = unsafe body(list)
        unsafe place.countMemory(list.pointee.bytes &- before)
        return result
    }

    /// Says that elements of so many bytes in all are about to be added: a list that gets too long
    /// for Redis' small form is called so before.
    @inline(__always)
    package mutating func willGrow(by elements: Int, bytes: Int, _ limit: ListLimit) {
        if place.entry?.header.isModified == true { return }
        if limit.admits(elements: count + elements, bytes: recordBytes + bytes) { return }
        isLong = true
        place.markBeyondLimits()
    }

    /// Puts an element in at an end.
    ///
    /// - Throws: `.outOfMemory`; nothing changed then.
    @inline(__always)
    package mutating func push(_ element: ListElement, atFront: Bool) throws(CommandError) {
        if case .large(let list) = unsafe form {
            unsafe changing(list) { unsafe $0.pointee.push(element, atFront: atFront) }
            return
        }
        try insertPacked(element, at: atFront ? 0 : count)
    }

    /// Puts an element in before number `index`, at the end for `count`.
    ///
    /// - Throws: `.outOfMemory`; nothing changed then.
    package mutating func insert(_ element: ListElement, at index: Int) throws(CommandError) {
        guard case .large(let list) = unsafe form else {
            try insertPacked(element, at: index)
            return
        }
        unsafe changing(list) { unsafe $0.pointee.insert(element, at: index) }
    }

    /// Inserts into a packed or missing list, which may become a large one.
    private mutating func insertPacked(
        _ element: ListElement, at index: Int
    ) throws(CommandError) {
        let record = NewRecord(element)
        guard let entry = place.entry else {
            try create(record)
            return
        }
        let list = unsafe PackedList(entry.valueAddress, bytes: entry.valueBytes)
        let bytes = list.usedBytes + record.bytes
        if entry.header.isModified || bytes > PackedList.bytesMax {
            try place.adopt(Structure(List(list.records, count: list.count)))
            try insert(element, at: index)
            return
        }
        if bytes <= list.bytes {
            list.insert(record, at: index)
            return
        }
        let grown = PackedList.grown(bytes)
        let resized = try place.resize(bytes: grown)
        unsafe PackedList(resized.valueAddress, bytes: grown).insert(record, at: index)
    }

    /// Makes the key with its first element.
    private mutating func create(_ record: NewRecord) throws(CommandError) {
        let bytes = PackedList.headerBytes + record.bytes
        if isLong || bytes > PackedList.bytesMax {
            var list = List()
            list.push(record.element, atFront: false)
            try place.adopt(Structure(list))
            if isLong { place.markBeyondLimits() }
            return
        }
        try place.create(bytes: bytes) { entry in
            let list = unsafe PackedList(entry.valueAddress, bytes: bytes)
            list.initialize()
            list.insert(record, at: 0)
        }
    }

    // MARK: Shrinking

    /// Lends the element at an end to `body` and then takes it out; the last one takes the key with
    /// it.
    @inline(__always)
    package mutating func pop(
        atFront: Bool, _ limit: ListLimit, _ body: (ListElement) -> Void
    ) {
        switch unsafe form {
        case .missing: return
        case .packed(let list):
            let records = list.records
            body(records.element(atFront ? records.start : records.previous(records.end)))
            if list.count == 1 {
                place.remove()
                return
            }
            list.removeRecord(atFront: atFront)
            shrink(list)
        case .large(let list):
            let index = unsafe atFront ? 0 : list.pointee.count &- 1
            unsafe body(list.pointee.element(at: index))
            if unsafe list.pointee.count == 1 {
                place.remove()
                return
            }
            unsafe changing(list) { unsafe $0.pointee.remove(index..<(index &+ 1)) }
        }
        noteShrinking(limit)
    }

    /// Removes elements. The last one takes the key with it.
    ///
    /// - Precondition: `range` is inside `0 ..< count`.
    @inline(__always)
    package mutating func remove(_ range: Range<Int>, _ limit: ListLimit) {
        if range.isEmpty { return }
        if range.count == count {
            place.remove()
            return
        }
        switch unsafe form {
        case .missing: return
        case .packed(let list):
            list.remove(range)
            shrink(list)
        case .large(let list):
            unsafe changing(list) { unsafe $0.pointee.remove(range) }
        }
        noteShrinking(limit)
    }

    /// Removes up to `most` elements that equal one, the first or the last; the last one of all takes
    /// the key with it.
    ///
    /// - Returns: how many were removed.
    package mutating func remove(
        _ element: ListElement, most: Int, reversed: Bool, _ limit: ListLimit
    ) -> Int {
        var removed = 0
        switch unsafe form {
        case .missing: return 0
        case .packed(let list):
            removed = list.remove(element, limit: most, reversed: reversed)
            if removed > 0 && list.count > 0 { shrink(list) }
        case .large(let list):
            removed = unsafe changing(list) {
                unsafe $0.pointee.remove(element, limit: most, reversed: reversed)
            }
        }
        if count == 0 {
            place.remove()
        } else if removed > 0 {
            noteShrinking(limit)
        }
        return removed
    }

    /// Puts another element in the place of number `index`.
    ///
    /// - Throws: `.outOfMemory`; nothing changed then.
    package mutating func replace(
        at index: Int, with element: ListElement, _ limit: ListLimit
    ) throws(CommandError) {
        if case .large(let list) = unsafe form {
            unsafe changing(list) { unsafe $0.pointee.replace(at: index, with: element) }
        } else {
            // The new one first: there may be no memory for it.
            try insert(element, at: index)
            switch unsafe form {
            case .missing: return
            case .packed(let list):
                list.remove((index + 1)..<(index + 2))
                shrink(list)
            case .large(let list):
                unsafe changing(list) { unsafe $0.pointee.remove((index + 1)..<(index + 2)) }
            }
        }
        noteShrinking(limit)
    }

    /// Gives back what a packed list no longer needs. It stays as it is when there is no memory for
    /// a smaller one.
    @inline(__always)
    private func shrink(_ list: PackedList) {
        if list.isTooLong { _ = try? place.resize(bytes: PackedList.grown(list.usedBytes)) }
    }

    /// Calls the list small again when it is. (Redis does when all of it is in one node of its own;
    /// after removals from the middle of a long list it may not be, and keep its name.)
    @inline(__always)
    private func noteShrinking(_ limit: ListLimit) {
        guard let entry = place.entry, entry.header.isModified else { return }
        if limit.readmits(elements: count, bytes: recordBytes) {
            entry.header.bits &= ~EntryHeader.isModifiedBit
        }
    }

    /// Checks the invariants of the form it has; for tests.
    package func checkInvariants() {
        switch unsafe form {
        case .missing: return
        case .packed(let list): list.checkInvariants()
        case .large(let list): unsafe list.pointee.checkInvariants()
        }
    }
}

extension KeyAccess {
    /// The list of a key, to be read; counts a hit or a miss.
    ///
    /// - Throws: `.wrongType`.
    @inline(__always)
    package func readList(_ key: Key) throws(CommandError) -> ListValue {
        ListValue(try readPlace(key, .list))
    }

    /// The list of a key, to be written.
    ///
    /// - Throws: `.wrongType`.
    @inline(__always)
    package func list(_ key: Key) throws(CommandError) -> ListValue {
        ListValue(try place(key, .list))
    }
}

extension Entry {
    /// The elements in the way of DEBUG DIGEST, in which their order matters.
    func mixList(into digest: inout DataDigest) {
        var total = digest
        let mix: (ListElement) -> Bool = { element in
            switch element {
            case .bytes(let bytes): total.mix(bytes)
            case .integer(let integer): String(integer).withView { total.mix($0) }
            }
            return true
        }
        if encoding == .packed {
            let list = unsafe PackedList(valueAddress, bytes: valueBytes)
            _ = list.records.walk(from: 0, count: list.count, reversed: false, mix)
        } else {
            unsafe structure.list.pointee.walk(from: 0, reversed: false, mix)
        }
        digest = total
    }
}
