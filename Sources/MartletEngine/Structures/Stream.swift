//  The value behind the X commands: entries in the order of their IDs, in blocks, found through one
//  index.
//
//  Raw memory. Blocks, pages and the list of pages are allocated and freed here; an index into them
//  is checked. Used under the shard's lock, or by the one thread that tears the stream down.
//
//         pages:   free │ p0 p1 p2 │ free      address, entries, and which of its places are in use
//         page:    the first ID and the address of up to 170 blocks, in order
//
//  *Index.* Entries come at the end and go at the front, and their blocks do: the last block is at
//  hand, appending to the last page and dropping from the first move nothing, and both lists grow by
//  doubling. One list of blocks would do, but for a hundred million entries it has 24 MB, which to
//  double or to close up costs milliseconds; the pages keep that to 4 KB and, in the list of pages,
//  to one step in 17 000 entries. A block is found by its first ID in two binary searches. (A radix
//  tree, which Redis has here, takes three times the memory and a dozen steps.)
//
//  *Counts.* Each page knows its entries, so that those behind an ID are counted without reading
//  them: how far a consumer group lags is always known.
//
//  *Snapshots* (design, invariant 11). Blocks hold all entries. `beginWalk` starts a new epoch; a block
//  whose mark is older is handed over before its first change, or when the walk comes to it; blocks
//  born later carry the new epoch and are left out. Who sorts by the first ID of the blocks handed
//  over has the entries as they were. A walk ends when every mark is the epoch, so eight bits do.

import Glibc
import MartletBase

/// What a walk over a stream calls for each block: the first ID that it ever had, and its entries.
final class StreamWalk: NodeWalk {
    let visit: (_ base: StreamID, _ block: StreamBlock) -> Void

    init(
        owner: AnyObject? = nil, _ visit: @escaping (_ base: StreamID, _ block: StreamBlock) -> Void
    ) {
        self.visit = visit
        super.init(owner: owner)
    }
}

/// What becomes of references to an entry that is deleted or trimmed.
package enum ReferencePolicy: Sendable {
    /// Groups keep it pending.
    case keep
    /// Groups forget it.
    case remove
    /// It is only deleted when all groups have got and acknowledged it.
    case acknowledged
}

/// Which entries trimming takes away.
package struct StreamTrim: Sendable {
    package enum Bound: Sendable {
        /// The oldest, until so many are left.
        case length(Int)
        /// Those with a lower ID.
        case id(StreamID)
    }

    package let bound: Bound
    /// Only whole blocks are dropped, and no more entries than this, 0 for no limit.
    package let isApproximate: Bool
    package let entriesMax: Int
    package let policy: ReferencePolicy

    package init(
        _ bound: Bound, isApproximate: Bool = false, entriesMax: Int = 0,
        policy: ReferencePolicy = .keep
    ) {
        self.bound = bound
        self.isApproximate = isApproximate
        self.entriesMax = entriesMax
        self.policy = policy
    }
}

/// A stream of any length.
///
/// - Invariant: no block and no page is empty; IDs ascend; `count` is the sum over the blocks.
/// - Complexity: to append O(1) on average; to find O(log b + 100), b = blocks.
/// - Memory: 16 bytes for an entry of one field with a value of 12 bytes.
@safe
struct Stream: ~Copyable {
    /// A block in a page.
    private struct Placed {
        var base: StreamID
        var block: StreamBlock
    }

    /// A page in the list of pages.
    @safe
    private struct Page {
        var places: UnsafeMutablePointer<Placed>
        /// Entries of all its blocks.
        var entries = 0
        /// The places in use are `first ..< last`.
        var first: UInt16 = 0
        var last: UInt16 = 0
        var capacity: UInt16

        var count: Int { Int(last &- first) }
    }

    private var pages: UnsafeMutablePointer<Page>
    private var pageCapacity = 1
    /// The pages in use are `firstPage ..< lastPage`.
    private var firstPage = 0
    private var lastPage = 0
    /// The last block, to which entries are added.
    private var tail: StreamBlock?
    /// Entries there are.
    private(set) var count = 0
    /// Blocks there are.
    private(set) var blockCount = 0
    /// The ID of the latest entry, there or not; later ones have greater ones.
    private(set) var lastID = StreamID.zero
    /// The greatest ID of an entry that was removed; those that were trimmed do not count.
    private(set) var maxDeletedID = StreamID.zero
    /// Entries ever added.
    private(set) var entriesAdded: UInt64 = 0
    private var blockBytes = 0
    private var pageBytes = 0
    private var epoch: UInt8 = 0
    private var walk: Unmanaged<StreamWalk>?
    var groups = ConsumerGroups()
    var producers = IdempotentProducers()

    private static let placesMin = 2
    private static let placesMax = NodeMemory.bytesMax / MemoryLayout<Placed>.stride

    init() {
        unsafe pages = .allocate(capacity: 1)
        unsafe walk = nil
    }

    deinit {
        for index in firstPage..<lastPage {
            let page = unsafe pages[index]
            for place in page.first..<page.last {
                unsafe page.places[Int(place)].block.free()
            }
            unsafe page.places.deallocate()
        }
        unsafe pages.deallocate()
    }

    /// Frees all blocks of a stream that is about to go, calling `pause` after each.
    mutating func dismantle(_ pause: () -> Void) {
        while blockCount > 0 {
            dropBlock(Position(page: lastPage - 1, place: self.page(lastPage - 1).count - 1))
            pause()
        }
        groups.dismantle(pause)
    }

    /// All memory of the stream, itself included.
    @inline(__always)
    var bytes: Int {
        MemoryLayout<Stream>.size &+ pageCapacity &* MemoryLayout<Page>.stride &+ pageBytes
            &+ blockBytes &+ groups.bytes &+ producers.bytes
    }

    // MARK: The index

    /// Where a block stands.
    private struct Position {
        var page: Int
        /// From the first one in use in its page.
        var place: Int
    }

    @inline(__always)
    private func page(_ index: Int) -> Page {
        precondition(index >= firstPage && index < lastPage, "a page that is there")
        return unsafe pages[index]
    }

    @inline(__always)
    private func placed(_ position: Position) -> Placed {
        let page = page(position.page)
        precondition(position.place >= 0 && position.place < page.count, "a block that is there")
        return unsafe page.places[Int(page.first) &+ position.place]
    }

    private func setBlock(_ block: StreamBlock, at position: Position) {
        let page = page(position.page)
        precondition(position.place >= 0 && position.place < page.count, "a block that is there")
        unsafe page.places[Int(page.first) &+ position.place].block = block
    }

    /// Counts entries that came to a page, or left it.
    @inline(__always)
    private mutating func add(_ entries: Int, toPage index: Int) {
        precondition(index >= firstPage && index < lastPage, "a page that is there")
        unsafe pages[index].entries &+= entries
        count &+= entries
    }

    private var front: Position? { blockCount == 0 ? nil : Position(page: firstPage, place: 0) }

    @inline(__always)
    private var back: Position {
        Position(page: lastPage &- 1, place: page(lastPage &- 1).count &- 1)
    }

    private func position(after position: Position) -> Position? {
        if position.place + 1 < page(position.page).count {
            return Position(page: position.page, place: position.place + 1)
        }
        return position.page + 1 < lastPage ? Position(page: position.page + 1, place: 0) : nil
    }

    private func position(before position: Position) -> Position? {
        if position.place > 0 { return Position(page: position.page, place: position.place - 1) }
        if position.page == firstPage { return nil }
        return Position(page: position.page - 1, place: page(position.page - 1).count - 1)
    }

    /// The last block whose first ID is not greater, or the first block; nil when there is none.
    private func locate(_ id: StreamID) -> Position? {
        if blockCount == 0 { return nil }
        let back = back
        if placed(back).base <= id { return back }
        var low = firstPage
        var high = lastPage
        while high - low > 1 {
            let middle = (low + high) / 2
            if placed(Position(page: middle, place: 0)).base <= id {
                low = middle
            } else {
                high = middle
            }
        }
        var first = 0
        var end = page(low).count
        while end - first > 1 {
            let middle = (first + end) / 2
            if placed(Position(page: low, place: middle)).base <= id {
                first = middle
            } else {
                end = middle
            }
        }
        return Position(page: low, place: first)
    }

    /// Puts a block behind all others.
    private mutating func appendBlock(_ block: StreamBlock) {
        if firstPage == lastPage || page(lastPage - 1).last == page(lastPage - 1).capacity {
            makeRoomForPlace()
        }
        let index = lastPage - 1
        unsafe pages[index].last += 1
        let page = page(index)
        unsafe (page.places + Int(page.last - 1)).initialize(
            to: Placed(base: block.base, block: block))
        blockCount += 1
        blockBytes += block.capacity
        tail = block
    }

    /// Makes the last page longer, or makes another one.
    private mutating func makeRoomForPlace() {
        var capacity = Self.placesMin
        if firstPage < lastPage {
            let page = page(lastPage - 1)
            let count = page.count
            if count < Self.placesMax {
                // What was dropped in front is left out.
                capacity = min(Self.placesMax, max(Self.placesMin, count * 2))
                let places = UnsafeMutablePointer<Placed>.allocate(capacity: capacity)
                unsafe memcpy(
                    places, page.places + Int(page.first), count * MemoryLayout<Placed>.stride)
                unsafe page.places.deallocate()
                pageBytes += (capacity - Int(page.capacity)) * MemoryLayout<Placed>.stride
                unsafe pages[lastPage - 1] = Page(
                    places: places, entries: page.entries, first: 0,
                    last: UInt16(truncatingIfNeeded: count),
                    capacity: UInt16(truncatingIfNeeded: capacity))
                return
            }
            capacity = Self.placesMax
        }
        if lastPage == pageCapacity { makeRoomForPage() }
        let places = UnsafeMutablePointer<Placed>.allocate(capacity: capacity)
        pageBytes += capacity * MemoryLayout<Placed>.stride
        unsafe (pages + lastPage).initialize(
            to: Page(places: places, capacity: UInt16(truncatingIfNeeded: capacity)))
        lastPage += 1
    }

    /// Makes room behind the last page: moves all to the front when half of the list is free there,
    /// else doubles it.
    private mutating func makeRoomForPage() {
        let used = lastPage - firstPage
        if firstPage <= pageCapacity / 2 {
            movePages(to: max(1, used * 2))
            return
        }
        unsafe memmove(pages, pages + firstPage, used * MemoryLayout<Page>.stride)
        firstPage = 0
        lastPage = used
    }

    /// Gives the pages another list with so many places.
    private mutating func movePages(to capacity: Int) {
        let used = lastPage - firstPage
        precondition(used <= capacity, "the pages fit")
        let moved = UnsafeMutablePointer<Page>.allocate(capacity: capacity)
        unsafe memcpy(moved, pages + firstPage, used * MemoryLayout<Page>.stride)
        unsafe pages.deallocate()
        unsafe pages = moved
        pageCapacity = capacity
        firstPage = 0
        lastPage = used
    }

    /// Gives back what the list of pages no longer needs. Positions are good no more.
    private mutating func shrinkPages() {
        let used = lastPage - firstPage
        if pageCapacity > 64 && used < pageCapacity / 8 { movePages(to: max(1, used * 2)) }
    }

    /// Frees a block, whose entries are counted out with it.
    private mutating func dropBlock(_ position: Position) {
        let block = placed(position).block
        blockBytes -= block.capacity
        add(-block.count, toPage: position.page)
        blockCount -= 1
        let page = page(position.page)
        let place = Int(page.first) + position.place
        if position.place == 0 {
            unsafe pages[position.page].first += 1
        } else {
            unsafe memmove(
                page.places + place, page.places + (place + 1),
                (Int(page.last) - place - 1) * MemoryLayout<Placed>.stride)
            unsafe pages[position.page].last -= 1
        }
        if page.count == 1 { dropPage(position.page) }
        block.free()
        tail = blockCount == 0 ? nil : placed(back).block
    }

    private mutating func dropPage(_ index: Int) {
        let page = page(index)
        unsafe page.places.deallocate()
        pageBytes -= Int(page.capacity) * MemoryLayout<Placed>.stride
        if index == firstPage {
            firstPage += 1
        } else {
            unsafe memmove(
                pages + index, pages + (index + 1),
                (lastPage - index - 1) * MemoryLayout<Page>.stride)
            lastPage -= 1
        }
    }

    /// Puts another allocation in the place of a block.
    private mutating func replace(
        _ position: Position, _ change: (StreamBlock) -> StreamBlock
    ) -> StreamBlock {
        let old = placed(position).block
        let isTail = unsafe tail?.address == old.address
        blockBytes -= old.capacity
        let new = change(old)
        blockBytes += new.capacity
        setBlock(new, at: position)
        if isTail { tail = new }
        return new
    }

    // MARK: Adding

    /// Adds an entry.
    ///
    /// - Returns: `.added`, or why nothing changed.
    /// - Precondition: its ID is greater than `lastID`, and it has at least one field.
    /// - Complexity: O(fields) on average.
    @inline(__always)
    mutating func append(_ entry: NewStreamEntry, _ limits: StreamNodeLimits) -> Addition {
        precondition(entry.id > lastID, "IDs ascend")
        let sizes = entry.sizes
        if sizes.text > Self.textBytesMax { return .tooLarge }
        guard let block = tail, block.admits(textBytes: sizes.text, limits) else {
            return appendToNewBlock(entry, limits)
        }
        let sharesNames = block.sharesNames(entry)
        let room =
            sizes.values &+ StreamBlock.entryHeadBytesMax &+ (sharesNames ? 0 : sizes.names)
        if block.end &+ room <= block.capacity {
            willChange(block)
            block.append(entry, sharesNames: sharesNames, room: room)
        } else if !appendGrowing(entry, block, sharesNames: sharesNames) {
            return appendToNewBlock(entry, limits)
        }
        noteAppended(entry.id)
        return .added
    }

    /// What became of an entry that was to be added.
    enum Addition {
        case added
        /// It is longer than Redis would store, by `textBytesMax`.
        case tooLarge
        case noMemory
    }

    /// All names and values of an entry may have so many bytes.
    private static let textBytesMax = 1 << 30

    @inline(__always)
    private mutating func noteAppended(_ id: StreamID) {
        add(1, toPage: lastPage &- 1)
        lastID = id
        entriesAdded &+= 1
    }

    /// Puts an entry into the last block where it may lack room, and makes it longer if it does; false
    /// when it would be too long.
    @inline(never)
    private mutating func appendGrowing(
        _ entry: NewStreamEntry, _ block: StreamBlock, sharesNames: Bool
    ) -> Bool {
        let room = block.bytes(of: entry, sharesNames: sharesNames)
        if block.end + room > StreamBlock.bytesMax { return false }
        willChange(block)
        var block = block
        if block.end + room > block.capacity {
            // A block beside a full one was made as long as that: it lacks little.
            let step = blockCount > 1 ? block.capacity / 8 : block.capacity
            let bytes = max(block.end + room, min(block.capacity + step, StreamBlock.bytesMax))
            block = replace(back) { $0.resized(to: StreamBlock.rounded(bytes)) }
        }
        block.append(entry, sharesNames: sharesNames, room: room)
        return true
    }

    @inline(never)
    private mutating func appendToNewBlock(
        _ entry: NewStreamEntry, _ limits: StreamNodeLimits
    ) -> Addition {
        let sizes = entry.sizes
        let fixed = StreamBlock.headerBytes + StreamBlock.entryHeadBytesMax
        var bytes = fixed + sizes.names + sizes.values
        if bytes > StreamBlock.bytesMax {
            bytes = fixed + entry.recordBytes(names: true) + entry.recordBytes(names: false)
        }
        let needed = bytes
        if bytes <= StreamBlock.bytesMax, let tail, !tail.isSolo {
            // Others will follow as they did before, one or the other a byte longer.
            bytes = max(bytes, min(tail.end + 16, StreamBlock.bytesMax))
        }
        guard let block = StreamBlock.make(for: entry, bytes: bytes, mark: epoch) else {
            return .noMemory
        }
        if let tail, tail.capacity - tail.end > max(64, tail.capacity / 8) {
            _ = replace(back) { $0.resized(to: StreamBlock.rounded($0.end)) }
        }
        block.append(entry, sharesNames: true, room: needed - (block.end))
        appendBlock(block)
        noteAppended(entry.id)
        return .added
    }

    /// Sets what the next ID follows upon, and optionally the counters.
    ///
    /// - Precondition: no entry has a greater ID.
    mutating func setLastID(_ id: StreamID, entriesAdded: UInt64?, maxDeletedID: StreamID?) {
        precondition(lastEntryID <= id, "no entry is behind the last ID")
        lastID = id
        if let entriesAdded { self.entriesAdded = entriesAdded }
        if let maxDeletedID { self.maxDeletedID = maxDeletedID }
    }

    // MARK: Reading

    /// The ID of the first entry, zero when there is none.
    var firstID: StreamID { front.map { placed($0).block.first.id } ?? .zero }

    /// The ID of the last entry, zero when there is none.
    var lastEntryID: StreamID {
        var last = StreamID.zero
        walk(from: .zero, through: .max, reversed: true) {
            last = $0.id
            return false
        }
        return last
    }

    /// The entry of an ID, lent until the stream changes; nil when it is not there.
    func entry(_ id: StreamID) -> StreamEntry? {
        locate(id).flatMap { placed($0).block.find(id) }
    }

    /// Whether there is an entry of this ID.
    func contains(_ id: StreamID) -> Bool { entry(id) != nil }

    /// Whether there is an entry with a greater ID.
    @inline(__always)
    func hasEntry(after id: StreamID) -> Bool {
        guard count > 0, lastID > id, let next = id.next else { return false }
        var isThere = false
        walk(from: next, through: .max) { _ in
            isThere = true
            return false
        }
        return isThere
    }

    /// Calls `body` for the entries from one ID through another, forward or backward, until it
    /// answers false. `body` does not change the stream.
    @inline(__always)
    func walk(
        from first: StreamID, through last: StreamID, reversed: Bool = false,
        _ body: (StreamEntry) -> Bool
    ) {
        if first > last { return }
        guard var position = locate(reversed ? last : first) else { return }
        while true {
            let block = placed(position).block
            let goesOn =
                reversed
                ? block.walkBackward(from: first, through: last, body)
                : block.walk(from: first, through: last, body)
            guard goesOn,
                let next = reversed
                    ? self.position(before: position) : self.position(after: position)
            else { return }
            position = next
        }
    }

    /// Calls `body` for all blocks in order; it changes nothing here.
    func forEachBlock(_ body: (StreamBlock) -> Void) {
        var next = front
        while let position = next {
            body(placed(position).block)
            next = self.position(after: position)
        }
    }

    /// How many entries have a greater ID.
    ///
    /// - Complexity: O(1) near the end, else O(pages).
    func count(after id: StreamID) -> Int {
        if id >= lastID { return 0 }
        guard let position = locate(id) else { return 0 }
        var found = placed(position).block.count(after: id)
        var next = self.position(after: position)
        while let place = next, place.page == position.page {
            found += placed(place).block.count
            next = self.position(after: place)
        }
        if position.page + 1 < lastPage {
            for index in (position.page + 1)..<lastPage { found += page(index).entries }
        }
        return found
    }

    // MARK: Removing

    /// Removes an entry; false when there is none of this ID. Its references in groups are left.
    mutating func remove(_ id: StreamID) -> Bool {
        guard let position = locate(id) else { return false }
        let block = placed(position).block
        if block.find(id) == nil { return false }
        willChange(block)
        if id > maxDeletedID { maxDeletedID = id }
        if block.count == 1 {
            dropBlock(position)
            shrinkPages()
            return true
        }
        _ = block.remove(id)
        add(-1, toPage: position.page)
        if block.isSparse, unsafe tail?.address != block.address {
            _ = replace(position) { $0.compacted() }
        }
        return true
    }

    /// Removes entries from the front.
    ///
    /// - Returns: how many.
    /// - Complexity: O(entries removed); O(blocks dropped) with `.keep`.
    mutating func trim(_ trim: StreamTrim) -> Int {
        var removed = 0
        var next = front
        while let position = next {
            if case .length(let length) = trim.bound, count <= length { break }
            let block = placed(position).block
            let held = block.count
            if trim.entriesMax > 0 && removed + held > trim.entriesMax { break }
            let goesWhole =
                switch trim.bound {
                case .length(let length): count - held >= length
                case .id(let id): block.last < id
                }
            if goesWhole && trim.policy == .keep {
                willChange(block)
                dropBlock(position)
                removed += held
                next = front
                continue
            }
            if trim.isApproximate { break }
            let left = blockCount
            removed += trimEntries(of: block, at: position, trim)
            if !goesWhole { break }
            // The block may be gone, and the next one have its place.
            next =
                blockCount < left
                ? (position.page < lastPage ? settled(position) : nil)
                : self.position(after: position)
        }
        shrinkPages()
        return removed
    }

    /// The position itself, or the next one there is.
    private func settled(_ position: Position) -> Position? {
        if position.page < firstPage { return front }
        if position.place < page(position.page).count { return position }
        return position.page + 1 < lastPage ? Position(page: position.page + 1, place: 0) : nil
    }

    /// Removes the entries of a block that are to go, and the block with the last of them.
    private mutating func trimEntries(
        of block: StreamBlock, at position: Position, _ trim: StreamTrim
    ) -> Int {
        let held = block.count
        let going = trim.policy == .keep ? [] : entries(of: block, toGoBy: trim)
        var removed = going.count
        if trim.policy == .keep {
            switch trim.bound {
            case .length(let length): removed = min(held, count - length)
            case .id(let id): removed = block.count(before: id)
            }
        }
        if removed == 0 { return 0 }
        willChange(block)
        if trim.policy == .remove {
            for id in going { groups.removeReferences(to: id) }
        }
        if removed == held {
            dropBlock(position)
            return removed
        }
        if trim.policy == .keep {
            block.removeFirst(removed)
        } else {
            for id in going { _ = block.remove(id) }
        }
        add(-removed, toPage: position.page)
        return removed
    }

    /// The entries of a block that trimming takes away, those that groups hold fast left out.
    private func entries(of block: StreamBlock, toGoBy trim: StreamTrim) -> [StreamID] {
        var going: [StreamID] = []
        _ = block.walk(from: .zero, through: .max) { entry in
            switch trim.bound {
            case .length(let length): if count - going.count <= length { return false }
            case .id(let id): if entry.id >= id { return false }
            }
            if trim.policy == .remove || !groups.isReferenced(entry.id) { going.append(entry.id) }
            return true
        }
        return going
    }

    // MARK: Copies, snapshots, checks

    /// A stream with the same entries and groups.
    func copy() -> Stream {
        var other = Stream()
        var next = front
        while let position = next {
            let block = placed(position).block.copy(mark: 0)
            other.appendBlock(block)
            other.add(block.count, toPage: other.lastPage - 1)
            next = self.position(after: position)
        }
        other.lastID = lastID
        other.maxDeletedID = maxDeletedID
        other.entriesAdded = entriesAdded
        other.groups = groups.copy()
        other.producers = producers
        return other
    }

    /// The one place that every change of a block passes first.
    @inline(__always)
    private func willChange(_ block: StreamBlock) {
        if block.mark != epoch { save(block) }
    }

    @inline(never)
    private func save(_ block: StreamBlock) {
        block.mark = epoch
        guard let walk = unsafe walk?.takeUnretainedValue() else { return }
        walk.visit(block.base, block)
    }

    /// Who began the walk that is under way.
    var walkOwner: AnyObject? { unsafe walk?.takeUnretainedValue().owner }

    /// Begins a walk over all blocks as they are now. `walk` lives until `endWalk`.
    ///
    /// - Precondition: no walk is under way.
    mutating func beginWalk(_ walk: StreamWalk) {
        precondition(unsafe self.walk == nil, "one walk at a time")
        epoch &+= 1
        unsafe self.walk = Unmanaged.passUnretained(walk)
    }

    /// Hands over the first `blocks` blocks behind an ID that were not handed over yet.
    ///
    /// - Returns: from where to go on, or nil when the walk has seen all.
    /// - Complexity: O(log b) beyond the blocks passed.
    func walk(behind id: StreamID, blocks: Int) -> StreamID? {
        guard var position = locate(id) else { return nil }
        if placed(position).base <= id {
            guard let next = self.position(after: position) else { return nil }
            position = next
        }
        for _ in 1..<max(1, blocks) {
            willChange(placed(position).block)
            guard let next = self.position(after: position) else { return nil }
            position = next
        }
        let last = placed(position)
        willChange(last.block)
        return last.base
    }

    /// Ends a walk, complete or not. One that has seen all, as `isWhole` says, has set all marks.
    mutating func endWalk(isWhole: Bool = false) {
        unsafe walk = nil
        if isWhole { return }
        var next = front
        while let position = next {
            placed(position).block.mark = epoch
            next = self.position(after: position)
        }
    }

    /// Checks every invariant; for tests. Complexity: O(n).
    func checkInvariants() {
        precondition(firstPage <= lastPage && lastPage <= pageCapacity, "the pages have places")
        var entries = 0
        var blocks = 0
        var inBlocks = 0
        var inPages = 0
        var before: StreamID?
        for index in firstPage..<lastPage {
            let page = page(index)
            precondition(page.first < page.last && page.last <= page.capacity, "no page is empty")
            inPages += Int(page.capacity) * MemoryLayout<Placed>.stride
            var inPage = 0
            for place in 0..<page.count {
                let placed = placed(Position(page: index, place: place))
                let last = placed.block.checkInvariants()
                precondition(placed.base == placed.block.base, "a block is known by its first ID")
                precondition(before.map { $0 < placed.base } ?? true, "blocks ascend")
                precondition(
                    unsafe walk != nil || placed.block.mark == epoch,
                    "marks are equal after a walk")
                before = last
                inPage += placed.block.count
                blocks += 1
                inBlocks += placed.block.capacity
            }
            precondition(inPage == page.entries, "the entries of a page are counted")
            entries += inPage
        }
        precondition(entries == count, "entries are counted")
        precondition(blocks == blockCount, "blocks are counted")
        precondition(inBlocks == blockBytes, "the bytes of blocks are counted")
        precondition(inPages == pageBytes, "the bytes of pages are counted")
        precondition(before ?? .zero <= lastID, "no entry is behind the last ID")
        precondition((tail == nil) == (blockCount == 0), "the last block is at hand")
        precondition(
            unsafe tail == nil || tail?.address == placed(back).block.address,
            "the last block is the tail")
        groups.checkInvariants()
        producers.checkInvariants()
    }
}
