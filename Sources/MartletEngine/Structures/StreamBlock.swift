//  A block of a stream: entries that follow each other, field names said once.
//
//  Raw memory. A block is allocated and freed by its stream. Its header says where its entries begin
//  and end, inside its capacity. Used under the shard's lock, or by the one thread that tears the
//  stream down.
//
//         0  base        16  ID of the first entry that ever stood here: milliseconds, sequence
//        16  last        16  ID of the last entry that ever stood here
//        32  capacity     4
//        36  start        4  of the first entry
//        40  end          4  of the last one
//        44  hint         4  where some entry begins, the one last read; or the end
//        48  listpack     4  bytes that Redis' node would have by now, removed entries included
//        52  field count  4
//        56  count        2  entries
//        58  removed      2  entries that stood here and are gone
//        60  mark         1  the snapshot epoch it was last saved in or born in
//        61  is solo      1  holds one entry that is too long to share
//        64  field names, free, entries, free
//
//         entry:   (milliseconds - base) << 1 | has names of its own, 65 bits
//                  sequence, less the base's while the milliseconds are the base's
//                  [number of fields]          only with names of its own
//                  value …                     or name, value …
//
//  Names, values and the number of fields are records of a list without the length at their end (see
//  ListRecords.swift); the other two numbers have 7 bits a byte, lowest first, the eighth says that
//  more follow. With one field whose value has 12 bytes an entry takes 15 or 16.
//
//  *Finding.* An entry is found by going through those before it, at two nanoseconds a field. Who
//  reads on where he stopped, as consumers do, starts at the hint.
//
//  *Removing* takes the bytes out; at the front, where streams are trimmed, nothing moves.
//
//  *Ends of blocks.* Approximate trimming drops whole blocks, and clients see by how many entries.
//  So a block ends where Redis' node would: at as many entries, removed ones included, or as many
//  bytes as its listpack would have, which is counted along.

import Glibc
import MartletBase

/// When a block is full: `stream-node-max-entries` and `-bytes`.
package struct StreamNodeLimits: Sendable, Equatable {
    /// 0 for no such limit.
    package let entriesMax: Int
    package let bytesMax: Int

    package init(entriesMax: Int, bytesMax: Int) {
        self.entriesMax = entriesMax <= 0 ? Int.max : entriesMax
        self.bytesMax = bytesMax <= 0 ? Int.max : bytesMax
    }
}

/// An entry about to be added: names and values in turn, lent for the call.
@safe
package struct NewStreamEntry {
    let id: StreamID
    let fieldCount: Int
    private let texts: UnsafePointer<ByteView>

    /// `texts` are `fieldCount` names, each with its value behind it.
    @inline(__always)
    package init(_ id: StreamID, _ texts: UnsafePointer<ByteView>, fieldCount: Int) {
        self.id = id
        self.fieldCount = fieldCount
        unsafe self.texts = texts
    }

    @inline(__always)
    func name(_ index: Int) -> ByteView { text(2 &* index) }
    @inline(__always)
    func value(_ index: Int) -> ByteView { text(2 &* index &+ 1) }

    /// Names and values in turn.
    @inline(__always)
    func text(_ index: Int) -> ByteView {
        assert(index >= 0 && index < 2 * fieldCount)
        return unsafe texts[index]
    }

    /// Bytes of all texts, and what names and values take at most as records.
    @inline(__always)
    var sizes: (text: Int, names: Int, values: Int) {
        var text = 0
        var names = 0
        var values = 0
        for index in 0..<fieldCount {
            let name = name(index).count
            let value = value(index).count
            text &+= name &+ value
            names &+= name &+ (name < 64 ? 1 : 5)
            values &+= value &+ (value < 64 ? 1 : 5)
        }
        return (text, names, values)
    }

    /// What all names, or all values, take as records.
    func recordBytes(names: Bool) -> Int {
        var bytes = 0
        for index in 0..<fieldCount {
            bytes += NewRecord(ListElement(names ? name(index) : value(index))).bodyBytes
        }
        return bytes
    }
}

/// An entry as it stands in a stream, lent while that does not change.
@safe
package struct StreamEntry {
    package let id: StreamID
    package let fieldCount: Int
    private let records: RecordRun
    /// Where the names begin that it shares with others; 0 when it has its own.
    private let names: Int
    /// Where its values, or names and values, begin.
    private let values: Int

    @inline(__always)
    fileprivate init(
        id: StreamID, fieldCount: Int, records: RecordRun, names: Int, values: Int
    ) {
        self.id = id
        self.fieldCount = fieldCount
        self.records = records
        self.names = names
        self.values = values
    }

    /// Calls `body` with each name and value.
    @inline(__always)
    package func forEachField(_ body: (_ field: ListElement, _ value: ListElement) -> Void) {
        var value = values
        if names == 0 {
            for _ in 0..<fieldCount {
                let name = value
                value = records.following(name)
                body(records.element(name), records.element(value))
                value = records.following(value)
            }
            return
        }
        var name = names
        for _ in 0..<fieldCount {
            body(records.element(name), records.element(value))
            name = records.following(name)
            value = records.following(value)
        }
    }

    /// Where it ends in its block.
    @inline(__always)
    fileprivate var end: Int {
        var at = values
        for _ in 0..<(names == 0 ? 2 &* fieldCount : fieldCount) { at = records.following(at) }
        return at
    }
}

extension RecordRun {
    /// Where the record behind the one at `offset` begins when they have no length at their end.
    @inline(__always)
    fileprivate func following(_ offset: Int) -> Int { offset &+ bodyBytes(offset) }
}

/// One block of entries.
///
/// - Invariant: `start ..< end` is inside of the capacity, the entries fill it exactly, and their IDs
///   ascend from `base` to `last`; there is at least one.
@safe
struct StreamBlock {
    let address: UnsafeMutableRawPointer

    static let headerBytes = 64
    /// With what malloc keeps for itself, 4 KB.
    static let bytesMax = NodeMemory.bytesMax - 8
    /// The most that milliseconds, sequence and number of fields of an entry take.
    static let entryHeadBytesMax = 25
    /// Entries there may be, removed ones included: they are counted in 16 bits.
    static let entriesMax = 0xFFFF

    @inline(__always)
    init(_ address: UnsafeMutableRawPointer) { unsafe self.address = address }

    // MARK: Header

    @inline(__always)
    private func word(_ offset: Int) -> UInt64 {
        unsafe address.load(fromByteOffset: offset, as: UInt64.self)
    }

    @inline(__always)
    private func half(_ offset: Int) -> Int {
        Int(unsafe address.load(fromByteOffset: offset, as: UInt32.self))
    }

    @inline(__always)
    private func set(_ offset: Int, _ value: Int) {
        unsafe address.storeBytes(
            of: UInt32(truncatingIfNeeded: value), toByteOffset: offset, as: UInt32.self)
    }

    @inline(__always)
    var base: StreamID { StreamID(word(0), word(8)) }
    @inline(__always)
    private(set) var last: StreamID {
        get { StreamID(word(16), word(24)) }
        nonmutating set {
            unsafe address.storeBytes(
                of: newValue.milliseconds, toByteOffset: 16, as: UInt64.self)
            unsafe address.storeBytes(of: newValue.sequence, toByteOffset: 24, as: UInt64.self)
        }
    }
    @inline(__always)
    private(set) var capacity: Int {
        get { half(32) }
        nonmutating set { set(32, newValue) }
    }
    @inline(__always)
    private var start: Int {
        get { half(36) }
        nonmutating set { set(36, newValue) }
    }
    @inline(__always)
    private(set) var end: Int {
        get { half(40) }
        nonmutating set { set(40, newValue) }
    }
    @inline(__always)
    private var hint: Int {
        get { half(44) }
        nonmutating set { set(44, newValue) }
    }
    @inline(__always)
    private(set) var listpackBytes: Int {
        get { half(48) }
        nonmutating set { set(48, min(newValue, Int(UInt32.max))) }
    }
    @inline(__always)
    private var fieldCount: Int { half(52) }
    @inline(__always)
    private(set) var count: Int {
        get { Int(unsafe address.load(fromByteOffset: 56, as: UInt16.self)) }
        nonmutating set {
            unsafe address.storeBytes(
                of: UInt16(truncatingIfNeeded: newValue), toByteOffset: 56, as: UInt16.self)
        }
    }
    @inline(__always)
    private(set) var removed: Int {
        get { Int(unsafe address.load(fromByteOffset: 58, as: UInt16.self)) }
        nonmutating set {
            unsafe address.storeBytes(
                of: UInt16(truncatingIfNeeded: newValue), toByteOffset: 58, as: UInt16.self)
        }
    }
    @inline(__always)
    var mark: UInt8 {
        get { unsafe address.load(fromByteOffset: 60, as: UInt8.self) }
        nonmutating set {
            unsafe address.storeBytes(of: newValue, toByteOffset: 60, as: UInt8.self)
        }
    }
    var isSolo: Bool { unsafe address.load(fromByteOffset: 61, as: UInt8.self) != 0 }

    @inline(__always)
    private var records: RecordRun {
        unsafe RecordRun(address, start: Self.headerBytes, end: end)
    }

    /// Bytes that are in use.
    private var usedBytes: Int { namesEnd + end - start }

    private var namesEnd: Int {
        var at = Self.headerBytes
        let records = unsafe RecordRun(address, start: Self.headerBytes, end: start)
        for _ in 0..<fieldCount { at = records.following(at) }
        return at
    }

    // MARK: Making

    /// What a block of so many bytes gets, so that malloc has no use for more.
    static func rounded(_ bytes: Int) -> Int {
        let rounded = ((bytes + 8 + 15) & ~15) - 8
        return bytes <= bytesMax ? min(rounded, bytesMax) : rounded
    }

    /// A block of at least `bytes`, without entries, that has the names of one about to be put in; nil
    /// when there is no memory for it.
    @inline(__always)
    static func make(
        for entry: NewStreamEntry, bytes: Int, mark: UInt8
    ) -> StreamBlock? {
        let capacity = rounded(bytes)
        guard capacity <= Int(UInt32.max), let memory = unsafe malloc(capacity) else { return nil }
        unsafe memset(memory, 0, headerBytes)
        unsafe memory.storeBytes(of: entry.id.milliseconds, as: UInt64.self)
        unsafe memory.storeBytes(of: entry.id.sequence, toByteOffset: 8, as: UInt64.self)
        let block = unsafe StreamBlock(memory)
        block.capacity = capacity
        block.mark = mark
        if capacity > bytesMax {
            unsafe memory.storeBytes(of: 1, toByteOffset: 61, as: UInt8.self)
        }
        block.set(52, entry.fieldCount)
        var at = headerBytes
        var listpack = listpackFixedBytes + NewRecord(.integer(Int64(entry.fieldCount))).bytes
        for index in 0..<entry.fieldCount {
            let record = NewRecord(ListElement(entry.name(index)))
            precondition(at &+ record.bodyBytes <= capacity, "names fit their block")
            unsafe record.writeBody(to: memory + at)
            at &+= record.bodyBytes
            listpack &+= record.bytes
        }
        block.start = at
        block.end = at
        block.hint = at
        block.listpackBytes = listpack
        return block
    }

    /// Header and end of a listpack, two counts and the end of the names.
    private static let listpackFixedBytes = 13

    func free() { unsafe NodeMemory.free(address) }

    /// The same block in another allocation of at least its bytes in use; this one is freed.
    func resized(to bytes: Int) -> StreamBlock {
        precondition(bytes >= end && bytes <= Int(UInt32.max), "what is there fits")
        let moved = unsafe StreamBlock(NodeMemory.resize(address, to: bytes))
        moved.capacity = bytes
        return moved
    }

    /// The same entries without room before, between or behind them; this one is freed.
    func compacted() -> StreamBlock {
        let names = namesEnd
        let entryBytes = end - start
        let bytes = Self.rounded(names + entryBytes)
        let other = unsafe StreamBlock(NodeMemory.allocate(bytes))
        unsafe memcpy(other.address, address, names)
        unsafe memcpy(other.address + names, address + start, entryBytes)
        other.capacity = bytes
        other.start = names
        other.end = names + entryBytes
        other.hint = names
        free()
        return other
    }

    /// Whether less than half of it is in use.
    var isSparse: Bool { capacity > 128 && usedBytes < capacity / 2 }

    /// A copy.
    func copy(mark: UInt8) -> StreamBlock {
        let other = unsafe StreamBlock(NodeMemory.allocate(capacity))
        unsafe memcpy(other.address, address, end)
        other.mark = mark
        return other
    }

    // MARK: Adding

    /// Whether Redis would put an entry, whose names and values have `textBytes`, here as well.
    @inline(__always)
    func admits(textBytes: Int, _ limits: StreamNodeLimits) -> Bool {
        listpackBytes &+ textBytes < limits.bytesMax
            && count &+ removed < min(limits.entriesMax, Self.entriesMax)
            && !isSolo
    }

    /// Whether an entry has the names of the block.
    @inline(__always)
    func sharesNames(_ entry: NewStreamEntry) -> Bool {
        guard fieldCount == entry.fieldCount else { return false }
        var at = Self.headerBytes
        let records = records
        for index in 0..<entry.fieldCount {
            let name = entry.name(index)
            switch records.element(at) {
            case .bytes(let bytes): if !(bytes == name) { return false }
            case .integer(let integer): if name.parseInteger() != integer { return false }
            }
            at = records.following(at)
        }
        return true
    }

    /// What an entry takes here, to the byte.
    func bytes(of entry: NewStreamEntry, sharesNames: Bool) -> Int {
        let later = entry.id.milliseconds &- word(0)
        let number = later == 0 ? entry.id.sequence &- word(8) : entry.id.sequence
        var bytes = later < 64 ? 1 : 1 + Self.numberBytes(later >> 6)
        bytes += Self.numberBytes(number)
        bytes += entry.recordBytes(names: false)
        if sharesNames { return bytes }
        bytes += NewRecord(.integer(Int64(entry.fieldCount))).bodyBytes
        return bytes + entry.recordBytes(names: true)
    }

    /// How many bytes of seven bits a number takes.
    private static func numberBytes(_ number: UInt64) -> Int {
        max(1, (UInt64.bitWidth - number.leadingZeroBitCount + 6) / 7)
    }

    /// Puts an entry at the end, which takes at most `room`; the block has that much. `sharesNames` is
    /// what the method of that name says.
    @inline(__always)
    func append(_ entry: NewStreamEntry, sharesNames: Bool, room: Int) {
        let start = end
        precondition(start &+ room <= capacity, "there is room")
        let later = entry.id.milliseconds &- word(0)
        let number = later == 0 ? entry.id.sequence &- word(8) : entry.id.sequence
        var at = start
        let first = UInt8(truncatingIfNeeded: later & 63) << 1 | (sharesNames ? 0 : 1)
        unsafe address.storeBytes(
            of: later < 64 ? first : first | 0x80, toByteOffset: at, as: UInt8.self)
        at &+= 1
        if later >= 64 { writeNumber(later >> 6, &at) }
        writeNumber(number, &at)
        // Flags, and numbers as differences; the number of elements at the end.
        var listpack = 2 &+ NewRecord(.integer(Int64(truncatingIfNeeded: later))).bytes
        listpack &+= NewRecord(.integer(Int64(bitPattern: entry.id.sequence &- word(8)))).bytes
        var elements = entry.fieldCount &+ 3
        if sharesNames {
            for index in 0..<entry.fieldCount {
                listpack &+= write(entry.value(index), &at)
            }
        } else {
            let count = NewRecord(.integer(Int64(entry.fieldCount)))
            unsafe count.writeBody(to: address + at)
            at &+= count.bodyBytes
            listpack &+= count.bytes
            elements &+= entry.fieldCount &+ 1
            for index in 0..<(2 &* entry.fieldCount) {
                listpack &+= write(entry.text(index), &at)
            }
        }
        precondition(at &- start <= room, "an entry is no longer than was said")
        listpack &+= NewRecord(.integer(Int64(elements))).bytes
        end = at
        count &+= 1
        listpackBytes &+= listpack
        last = entry.id
    }

    /// Writes a record; answers what it would have in a listpack.
    @inline(__always)
    private func write(_ text: ByteView, _ at: inout Int) -> Int {
        let record = NewRecord(ListElement(text))
        unsafe record.writeBody(to: address + at)
        at &+= record.bodyBytes
        return record.bytes
    }

    @inline(__always)
    private func writeNumber(_ number: UInt64, _ at: inout Int) {
        var rest = number
        while rest >= 0x80 {
            unsafe address.storeBytes(
                of: UInt8(truncatingIfNeeded: rest) | 0x80, toByteOffset: at, as: UInt8.self)
            at &+= 1
            rest >>= 7
        }
        unsafe address.storeBytes(
            of: UInt8(truncatingIfNeeded: rest), toByteOffset: at, as: UInt8.self)
        at &+= 1
    }

    // MARK: Reading

    @inline(__always)
    private func readNumber(_ at: inout Int) -> UInt64 {
        var byte = unsafe address.load(fromByteOffset: at, as: UInt8.self)
        at &+= 1
        if byte < 0x80 { return UInt64(byte) }
        var number = UInt64(byte & 0x7F)
        var shift: UInt64 = 7
        repeat {
            byte = unsafe address.load(fromByteOffset: at, as: UInt8.self)
            at &+= 1
            number |= UInt64(byte & 0x7F) &<< shift
            shift &+= 7
        } while byte >= 0x80
        return number
    }

    /// The entry at an offset.
    @inline(__always)
    private func entry(_ offset: Int) -> StreamEntry {
        assert(offset >= start && offset < end)
        var at = offset
        let first = unsafe address.load(fromByteOffset: at, as: UInt8.self)
        at &+= 1
        var later = UInt64(first & 0x7F) >> 1
        if first >= 0x80 { later |= readNumber(&at) << 6 }
        let number = readNumber(&at)
        let id =
            later == 0
            ? StreamID(word(0), word(8) &+ number) : StreamID(word(0) &+ later, number)
        let records = records
        if first & 1 == 0 {
            return StreamEntry(
                id: id, fieldCount: fieldCount, records: records, names: Self.headerBytes,
                values: at)
        }
        var count = 0
        if case .integer(let value) = records.element(at) { count = Int(value) }
        return StreamEntry(
            id: id, fieldCount: count, records: records, names: 0, values: records.following(at))
    }

    /// Where the first entry begins whose ID is not less, or the end.
    @inline(__always)
    private func offset(from id: StreamID) -> Int {
        var at = hint
        if at >= end || at < start || entry(at).id > id { at = start }
        let end = end
        var before = at
        while at < end {
            let entry = entry(at)
            if entry.id >= id { break }
            before = at
            at = entry.end
        }
        hint = before
        return at
    }

    /// Calls `body` for the entries from one ID through another, until it answers false.
    ///
    /// - Returns: false when `body` did, or when an ID beyond was met.
    @inline(__always)
    func walk(
        from first: StreamID, through last: StreamID, _ body: (StreamEntry) -> Bool
    ) -> Bool {
        var at = first <= base ? start : offset(from: first)
        let end = end
        while at < end {
            let entry = entry(at)
            if entry.id > last { return false }
            // Who reads on will begin behind this one.
            hint = at
            let next = entry.end
            if !body(entry) { return false }
            at = next
        }
        return true
    }

    /// The same backward. Entries can be read forward alone: their places are noted first.
    func walkBackward(
        from first: StreamID, through last: StreamID, _ body: (StreamEntry) -> Bool
    ) -> Bool {
        unsafe withUnsafeTemporaryAllocation(of: UInt32.self, capacity: count) { places in
            var found = 0
            var at = first <= base ? start : offset(from: first)
            while at < end {
                let entry = entry(at)
                if entry.id > last { break }
                unsafe places[found] = UInt32(truncatingIfNeeded: at)
                found += 1
                at = entry.end
            }
            while found > 0 {
                found -= 1
                if unsafe !body(entry(Int(places[found]))) { return false }
            }
            return first < base
        }
    }

    /// The first entry.
    @inline(__always)
    var first: StreamEntry { entry(start) }

    /// The entry of an ID, if it is there.
    @inline(__always)
    func find(_ id: StreamID) -> StreamEntry? {
        if id > last { return nil }
        let at = offset(from: id)
        if at >= end { return nil }
        let entry = entry(at)
        return entry.id == id ? entry : nil
    }

    /// How many entries have a lower ID.
    func count(before id: StreamID) -> Int {
        if id > last { return count }
        var at = start
        var passed = 0
        while at < end {
            let entry = entry(at)
            if entry.id >= id { break }
            passed += 1
            at = entry.end
        }
        return passed
    }

    /// How many entries have a greater ID.
    func count(after id: StreamID) -> Int {
        id.next.map { count - count(before: $0) } ?? 0
    }

    // MARK: Removing

    /// Takes an entry out; false when it is not there.
    func remove(_ id: StreamID) -> Bool {
        if id > last { return false }
        let at = offset(from: id)
        if at >= end { return false }
        let entry = entry(at)
        if entry.id != id { return false }
        cut(at, entry.end, entries: 1)
        return true
    }

    /// Takes so many entries out at the front; some stay.
    func removeFirst(_ entries: Int) {
        precondition(entries < count, "a block is dropped rather than emptied")
        var at = start
        for _ in 0..<entries { at = entry(at).end }
        cut(start, at, entries: entries)
    }

    private func cut(_ from: Int, _ to: Int, entries: Int) {
        precondition(from >= start && to <= end && entries <= count, "entries that are there")
        if from == start {
            start = to
            hint = to
        } else {
            unsafe memmove(address + from, address + to, end - to)
            end -= to - from
            hint = from
        }
        count -= entries
        removed = min(Self.entriesMax, removed + entries)
    }

    /// Checks every invariant, and answers the last entry's ID; for tests.
    func checkInvariants() -> StreamID {
        precondition(end <= capacity, "entries end inside")
        precondition(namesEnd <= start && start <= end, "entries begin behind the names")
        precondition(isSolo ? count == 1 : capacity <= Self.bytesMax, "only long ones are longer")
        precondition(hint <= end, "the hint is inside")
        var at = start
        var found = 0
        var before: StreamID?
        while at < end {
            let entry = entry(at)
            precondition(before.map { $0 < entry.id } ?? (entry.id >= base), "IDs ascend")
            precondition(entry.id <= last, "IDs end with the last")
            before = entry.id
            found += 1
            at = entry.end
        }
        precondition(at == end, "entries fill their room")
        precondition(found == count && found > 0, "entries are counted")
        return before ?? base
    }
}
