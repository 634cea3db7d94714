//  The consumer groups of a stream.
//
//  Raw memory. Groups stand in their directory; what they take in all is counted at an address that
//  each of them has, allocated with the first of them and freed here.

import MartletBase

/// All groups of a stream.
@safe
struct ConsumerGroups: ~Copyable {
    private var directory = NameDirectory<ConsumerGroup>()
    /// What the groups take, kept where each of them finds it; nil before the first.
    private var account: UnsafeMutablePointer<Int>?

    init() { unsafe account = nil }

    deinit { unsafe account?.deallocate() }

    /// There is no group.
    @inline(__always)
    var isEmpty: Bool { directory.count == 0 }

    /// All memory besides itself.
    @inline(__always)
    var bytes: Int { unsafe account.map { unsafe $0.pointee } ?? 0 }

    @inline(__always)
    var count: Int { directory.count }

    /// Group number `index` in order of names.
    func group(at index: Int) -> UnsafeMutablePointer<ConsumerGroup> { unsafe directory[index] }

    func group(named name: ByteView) -> UnsafeMutablePointer<ConsumerGroup>? {
        unsafe directory.find(name)
    }

    /// Adds a group, whose name is new.
    mutating func add(
        _ name: ByteView, lastDeliveredID: StreamID, entriesRead: Int64?
    ) -> UnsafeMutablePointer<ConsumerGroup> {
        let account = unsafe makeAccount()
        let before = directory.bytes
        let group = unsafe directory.insert(
            ConsumerGroup(
                name, lastDeliveredID: lastDeliveredID, entriesRead: entriesRead, account: account))
        unsafe account.pointee += directory.bytes - before
        return unsafe group
    }

    private mutating func makeAccount() -> UnsafeMutablePointer<Int> {
        if let account = unsafe account { return unsafe account }
        let made = UnsafeMutablePointer<Int>.allocate(capacity: 1)
        unsafe made.initialize(to: 0)
        unsafe account = made
        return unsafe made
    }

    /// Takes a group off the list; the caller frees it with `DetachedGroup.free`.
    mutating func remove(_ name: ByteView) -> DetachedGroup? {
        guard let group = unsafe directory.remove(name) else { return nil }
        let bytes = unsafe group.pointee.bytes
        unsafe account?.pointee -= bytes
        return unsafe DetachedGroup(group, bytes: bytes)
    }

    /// Takes an entry that goes out of what is pending in any group.
    ///
    /// - Complexity: O(groups · log n).
    mutating func removeReferences(to id: StreamID) {
        for index in 0..<directory.count { _ = unsafe directory[index].pointee.acknowledge(id) }
    }

    /// Whether an entry was not delivered to some group yet, or is pending in one.
    ///
    /// - Complexity: O(groups · log n).
    func isReferenced(_ id: StreamID) -> Bool {
        for index in 0..<directory.count {
            let group = unsafe directory[index]
            if unsafe group.pointee.lastDeliveredID < id || group.pointee.pending.contains(id) {
                return true
            }
        }
        return false
    }

    /// The same groups, with all that is pending.
    func copy() -> ConsumerGroups {
        var other = ConsumerGroups()
        if isEmpty { return other }
        let account = unsafe other.makeAccount()
        for index in 0..<directory.count {
            let group = unsafe directory[index].pointee.copy(account: account)
            let before = other.directory.bytes
            _ = unsafe other.directory.insert(group)
            unsafe account.pointee += other.directory.bytes - before
        }
        return other
    }

    /// Frees all groups of a stream that is about to go, calling `pause` after each node.
    mutating func dismantle(_ pause: () -> Void) {
        while let group = unsafe directory.removeLast() {
            unsafe group.pointee.dismantle(pause)
            unsafe group.deinitialize(count: 1)
            unsafe group.deallocate()
        }
    }

    /// Checks every invariant; for tests.
    func checkInvariants() {
        directory.checkInvariants()
        var total = directory.bytes
        for index in 0..<directory.count {
            let group = unsafe directory[index]
            unsafe group.pointee.checkInvariants()
            total += unsafe group.pointee.bytes
        }
        precondition(total == bytes, "memory is counted")
    }
}
