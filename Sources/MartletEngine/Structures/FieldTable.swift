//  Fields and their values: the large form of a hash. The small form is `PackedHash`.
//
//  A member table whose members are the fields; a value stands in front of its field, in the same
//  record. A value that is exchanged for one of another length gets a new record, so that a walk
//  over the records, in slices between changes, sees each as it was or not at all.

import MartletBase

/// A hash of any size.
///
/// - Complexity: operations on one field O(1) expected.
/// - Memory: 9 to 14 bytes a field, field and value not counted.
struct FieldTable: ~Copyable {
    private var table: MemberTable

    init(hashKey: HashKey) {
        table = MemberTable(hashKey: hashKey, valueBytes: -1)
    }

    @inline(__always)
    var count: Int { table.count }

    /// All memory of the hash, itself included.
    @inline(__always)
    var bytes: Int { MemoryLayout<FieldTable>.size &+ table.bytes }

    // MARK: Reading

    /// The value of a field, valid until the hash next changes.
    @inline(__always)
    func value(of field: ByteView) -> ByteView? {
        guard let handle = table.find(field) else { return nil }
        return table.store.value(handle)
    }

    /// Calls `body` for all fields.
    @inline(__always)
    func forEachField(_ body: (ByteView, ByteView) -> Void) {
        table.store.forEachHandle { body(table.store.member($0), table.store.value($0)) }
    }

    /// A step of a scan: see `MemberTable.scan`.
    func scan(from position: UInt64, _ body: (ByteView, ByteView) -> Void) -> UInt64? {
        table.scan(from: position) { body(table.store.member($0), table.store.value($0)) }
    }

    /// Calls `body` for a field chosen at random.
    ///
    /// - Precondition: there is one.
    func random(_ random: inout Random, _ body: (ByteView, ByteView) -> Void) {
        let handle = table.random(&random)
        body(table.store.member(handle), table.store.value(handle))
    }

    /// Calls `body` for `count` different fields chosen at random.
    ///
    /// - Precondition: there are as many.
    func sample(_ count: Int, _ random: inout Random, _ body: (ByteView, ByteView) -> Void) {
        for handle in table.sample(count, &random) {
            body(table.store.member(handle), table.store.value(handle))
        }
    }

    // MARK: Changing

    /// Gives a field a value.
    ///
    /// - Returns: whether the field is new; nil when there was no memory, and nothing changed then.
    /// - Precondition: neither view lies in this hash.
    mutating func set(_ field: ByteView, _ value: ByteView) -> Bool? {
        let hash = table.hash(field)
        if let handle = table.find(field, hash: hash) {
            guard table.replaceValue(handle, of: field, hash: hash, value) else { return nil }
            settle()
            return false
        }
        return table.insert(field, hash: hash, value: value) == nil ? nil : true
    }

    /// Removes a field; false when it was not there.
    mutating func remove(_ field: ByteView) -> Bool {
        let hash = table.hash(field)
        guard let handle = table.find(field, hash: hash) else { return false }
        table.remove(handle, hash: hash)
        settle()
        return true
    }

    /// Nobody but the table keeps handles.
    @inline(__always)
    private mutating func settle() { table.settle { _, _, _ in } }

    // MARK: Copies, snapshots, checks

    /// A hash with the same fields.
    func copy(hashKey: HashKey) -> FieldTable {
        var other = FieldTable(hashKey: hashKey)
        forEachField { _ = other.set($0, $1) }
        return other
    }

    /// Hands the records to `body`: they are what a snapshot walks.
    mutating func withStore<R>(_ body: (inout MemberStore) -> R) -> R { table.withStore(body) }

    /// Checks every invariant; for tests. Complexity: O(n).
    func checkInvariants() { table.checkInvariants() }
}
