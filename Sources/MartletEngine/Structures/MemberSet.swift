//  Members without an order: the large form of a set. The small ones are `IntegerSet` and `PackedSet`.
//
//  A member table whose records have no values.

import MartletBase

/// A set of any size.
///
/// - Complexity: operations on one member O(1) expected.
/// - Memory: 9 to 14 bytes a member, its own bytes not counted.
struct MemberSet: ~Copyable {
    private var table: MemberTable

    init(hashKey: HashKey) {
        table = MemberTable(hashKey: hashKey, valueBytes: 0)
    }

    @inline(__always)
    var count: Int { table.count }

    /// All memory of the set, itself included.
    @inline(__always)
    var bytes: Int { MemoryLayout<MemberSet>.size &+ table.bytes }

    /// Frees all nodes of a set that is about to go, calling `pause` after each.
    mutating func dismantle(_ pause: () -> Void) { table.dismantle(pause) }

    // MARK: Reading

    @inline(__always)
    func contains(_ member: ByteView) -> Bool { table.find(member) != nil }

    /// Calls `body` for all members.
    @inline(__always)
    func forEachMember(_ body: (ByteView) -> Void) {
        table.store.forEachHandle { body(table.store.member($0)) }
    }

    /// A step of a scan: see `MemberTable.scan`.
    func scan(from position: UInt64, _ body: (ByteView) -> Void) -> UInt64? {
        table.scan(from: position) { body(table.store.member($0)) }
    }

    /// A member chosen at random, valid until the set next changes.
    ///
    /// - Precondition: there is one.
    func random(_ random: inout Random) -> ByteView {
        table.store.member(table.random(&random))
    }

    /// Calls `body` for `count` different members chosen at random.
    ///
    /// - Precondition: there are as many.
    func sample(_ count: Int, _ random: inout Random, _ body: (ByteView) -> Void) {
        for handle in table.sample(count, &random) { body(table.store.member(handle)) }
    }

    /// Brings members close that are about to be looked up: see `MemberTable.prefetch`.
    func prefetch(_ hints: MemberHints) { table.prefetch(hints) }

    // MARK: Changing

    /// Puts a member in.
    ///
    /// - Returns: whether it is new; nil when there was no memory, and nothing changed then.
    /// - Precondition: the view does not lie in this set.
    @inline(__always)
    mutating func add(_ member: ByteView) -> Bool? {
        let hash = table.hash(member)
        if table.find(member, hash: hash) != nil { return false }
        return table.insert(member, hash: hash, value: ByteView()) == nil ? nil : true
    }

    /// Removes a member; false when it was not there.
    mutating func remove(_ member: ByteView) -> Bool {
        let hash = table.hash(member)
        guard let handle = table.find(member, hash: hash) else { return false }
        table.remove(handle, hash: hash)
        settle()
        return true
    }

    /// Removes `count` different members chosen at random; `body` is called for each before it goes.
    ///
    /// - Precondition: there are as many.
    /// - Complexity: O(count) expected, and as much memory.
    mutating func take(_ count: Int, _ random: inout Random, _ body: (ByteView) -> Void) {
        for handle in table.sample(count, &random) {
            let member = table.store.member(handle)
            body(member)
            table.remove(handle, hash: table.hash(member))
        }
        // Only now: it gives members other handles.
        settle()
    }

    /// Nobody but the table keeps handles.
    @inline(__always)
    private mutating func settle() { table.settle { _, _, _ in } }

    // MARK: Copies, snapshots, checks

    /// A set with the same members.
    func copy(hashKey: HashKey) -> MemberSet {
        var other = MemberSet(hashKey: hashKey)
        forEachMember { _ = other.add($0) }
        return other
    }

    /// Who began the walk over the records that is under way.
    var walkOwner: AnyObject? { table.store.walkOwner }

    /// Hands the records to `body`: they are what a snapshot walks.
    mutating func withStore<R>(_ body: (inout MemberStore) -> R) -> R { table.withStore(body) }

    /// Checks every invariant; for tests. Complexity: O(n).
    func checkInvariants() { table.checkInvariants() }
}
