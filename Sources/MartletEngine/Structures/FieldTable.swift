//  Fields and their values: the large form of a hash. The small form is `PackedHash`.
//
//  A member table whose members are the fields; a value stands in front of its field, in the same
//  record. A value that is exchanged for one of another length gets a new record, so that a walk
//  over the records, in slices between changes, sees each as it was or not at all.
//
//  Fields with a deadline stand a second time in `FieldDeadlines`, in order of time; a table that has
//  none pays a word for that. Fields past their deadline are taken out from the front, a few at a
//  time (`removeDue`). What is left of them is hidden by `advance`: no question below sees it.

import MartletBase

/// A hash of any size.
///
/// - Complexity: operations on one field O(1) expected.
/// - Memory: 9 to 14 bytes a field, field and value not counted.
struct FieldTable: ~Copyable {
    private var table: MemberTable
    /// Nil until the first field gets a deadline, and again when the last one has lost it.
    private var deadlines: FieldDeadlines?

    init(hashKey: HashKey) {
        table = MemberTable(hashKey: hashKey, valueBytes: -1)
    }

    /// How many fields there are; hidden ones do not count.
    @inline(__always)
    var count: Int { table.count &- (deadlines?.hiddenCount ?? 0) }

    /// All memory of the hash, itself included.
    @inline(__always)
    var bytes: Int { MemoryLayout<FieldTable>.size &+ table.bytes &+ (deadlines?.bytes ?? 0) }

    /// Frees all nodes of a hash that is about to go, calling `pause` after each.
    mutating func dismantle(_ pause: () -> Void) { table.dismantle(pause) }

    // MARK: Reading

    /// The value of a field, valid until the hash next changes.
    @inline(__always)
    func value(of field: ByteView) -> ByteView? {
        guard let handle = table.find(field) else { return nil }
        if let deadlines, deadlines.hides(field) { return nil }
        return table.store.value(handle)
    }

    /// Calls `body` for all fields.
    @inline(__always)
    func forEachField(_ body: (ByteView, ByteView) -> Void) {
        if let deadlines, deadlines.hiddenCount > 0 {
            return forEachField(but: deadlines, body)
        }
        table.store.forEachHandle { body(table.store.member($0), table.store.value($0)) }
    }

    @inline(never)
    private func forEachField(but deadlines: FieldDeadlines, _ body: (ByteView, ByteView) -> Void) {
        table.store.forEachHandle { handle in
            let field = table.store.member(handle)
            if !deadlines.hides(field) { body(field, table.store.value(handle)) }
        }
    }

    /// A step of a scan: see `MemberTable.scan`.
    func scan(from position: UInt64, _ body: (ByteView, ByteView) -> Void) -> UInt64? {
        table.scan(from: position) { handle in
            let field = table.store.member(handle)
            if let deadlines, deadlines.hides(field) { return }
            body(field, table.store.value(handle))
        }
    }

    /// Calls `body` for a field chosen at random.
    ///
    /// - Precondition: there is one.
    func random(_ random: inout Random, _ body: (ByteView, ByteView) -> Void) {
        var handle = table.random(&random)
        if let deadlines, deadlines.hiddenCount > 0 {
            // Soon they are gone: a walk to the chosen one is for when they are nearly all.
            var tries = 100
            while deadlines.hides(table.store.member(handle)) {
                tries -= 1
                if tries == 0 { return sample(1, &random, body) }
                handle = table.random(&random)
            }
        }
        body(table.store.member(handle), table.store.value(handle))
    }

    /// Calls `body` for `count` different fields chosen at random.
    ///
    /// - Precondition: there are as many.
    func sample(_ count: Int, _ random: inout Random, _ body: (ByteView, ByteView) -> Void) {
        if let deadlines, deadlines.hiddenCount > 0 {
            // Each field is taken with the chance that its rest of the choice leaves it.
            var left = self.count
            var wanted = count
            forEachField { field, value in
                if wanted > 0 && random.index(below: left) < wanted {
                    wanted -= 1
                    body(field, value)
                }
                left -= 1
            }
            return
        }
        for handle in table.sample(count, &random) {
            body(table.store.member(handle), table.store.value(handle))
        }
    }

    /// Brings members close that are about to be looked up: see `MemberTable.prefetch`.
    func prefetch(_ hints: MemberHints) { table.prefetch(hints) }

    // MARK: Changing

    /// Gives a field a value. It loses its deadline, unless `keepsDeadline`.
    ///
    /// - Returns: whether the field is new; nil when there was no memory, and nothing changed then.
    /// - Precondition: neither view lies in this hash.
    mutating func set(
        _ field: ByteView, _ value: ByteView, keepsDeadline: Bool = false
    ) -> Bool? {
        let hash = table.hash(field)
        if let handle = table.find(field, hash: hash) {
            guard table.replaceValue(handle, of: field, hash: hash, value) else { return nil }
            settle()
            guard let deadlines else { return false }
            let wasHidden = deadlines.hides(field)
            if wasHidden || !keepsDeadline { removeDeadline(of: field) }
            return wasHidden
        }
        return table.insert(field, hash: hash, value: value) == nil ? nil : true
    }

    /// Removes a field; false when it was not there.
    mutating func remove(_ field: ByteView) -> Bool {
        let hash = table.hash(field)
        guard let handle = table.find(field, hash: hash) else { return false }
        table.remove(handle, hash: hash)
        settle()
        guard let deadlines else { return true }
        let wasHidden = deadlines.hides(field)
        removeDeadline(of: field)
        return !wasHidden
    }

    // MARK: Deadlines

    /// How many fields have a deadline, hidden ones included.
    var timedCount: Int { deadlines?.count ?? 0 }

    /// The earliest deadline, nil when no field has one.
    var earliestDeadline: Int64? { deadlines?.earliest }

    /// The deadline of a field; nil when it has none or is not there.
    func deadline(of field: ByteView) -> Int64? {
        guard let deadlines, !deadlines.hides(field) else { return nil }
        return deadlines.deadline(of: field)
    }

    /// Whether a field is there, and its deadline: one lookup for those that have one.
    func time(of field: ByteView) -> FieldTime {
        guard let deadline = deadlines?.deadline(of: field) else {
            return table.find(field) == nil ? .missing : .unlimited
        }
        return deadlines?.hides(deadline) == true ? .missing : .until(deadline)
    }

    /// Gives a field a deadline, or takes it away.
    ///
    /// - Precondition: the field is there, and the view does not lie in this hash.
    /// - Returns: false when there was no memory; nothing changed then.
    /// - Complexity: O(log n).
    mutating func setDeadline(_ deadline: Int64?, of field: ByteView, hashKey: HashKey) -> Bool {
        assert(value(of: field) != nil, "only fields that are there have deadlines")
        guard let deadline else {
            removeDeadline(of: field)
            return true
        }
        preserve(field)
        let deadlines = self.deadlines ?? FieldDeadlines(hashKey: hashKey)
        guard deadlines.set(deadline, of: field) else { return false }
        self.deadlines = deadlines
        return true
    }

    private mutating func removeDeadline(of field: ByteView) {
        guard let deadlines else { return }
        preserve(field)
        deadlines.remove(field)
        if deadlines.count == 0 { self.deadlines = nil }
    }

    /// Hides the fields whose deadline is at or before `nowMilliseconds`. Complexity: O(log n).
    func advance(to nowMilliseconds: Int64) { deadlines?.advance(to: nowMilliseconds) }

    /// Takes out hidden fields, the earliest first, at most `countMax`; calls `body` for each before.
    ///
    /// - Returns: how many.
    /// - Complexity: O(log n) each.
    mutating func removeDue(_ countMax: Int, _ body: (ByteView) -> Void = { _ in }) -> Int {
        guard let deadlines else { return 0 }
        var removed = 0
        deadlines.takeHidden(countMax) { field in
            let hash = table.hash(field)
            body(field)
            if let handle = table.find(field, hash: hash) { table.remove(handle, hash: hash) }
            removed += 1
        }
        settle()
        if deadlines.count == 0 { self.deadlines = nil }
        return removed
    }

    /// Nobody but the table keeps handles.
    @inline(__always)
    private mutating func settle() { table.settle { _, _, _ in } }

    // MARK: Copies, snapshots, checks

    /// The deadlines there are now. A walk over the records may ask them for the deadline that the
    /// field of a record had when the walk began: a record is handed over before that changes.
    var deadlineIndex: FieldDeadlines? { deadlines }

    /// Lets a walk have the record of a field whose deadline is about to change.
    private func preserve(_ field: ByteView) {
        guard table.store.isWalked, let handle = table.find(field) else { return }
        table.store.preserve(handle)
    }

    /// A hash with the same fields and deadlines.
    func copy(hashKey: HashKey) -> FieldTable {
        var other = FieldTable(hashKey: hashKey)
        forEachField { field, value in
            _ = other.set(field, value)
            if let deadline = deadline(of: field) {
                _ = other.setDeadline(deadline, of: field, hashKey: hashKey)
            }
        }
        return other
    }

    /// Who began the walk over the records that is under way.
    var walkOwner: AnyObject? { table.store.walkOwner }

    /// Hands the records to `body`: they are what a snapshot walks.
    mutating func withStore<R>(_ body: (inout MemberStore) -> R) -> R { table.withStore(body) }

    /// Checks every invariant; for tests. Complexity: O(n).
    func checkInvariants() {
        table.checkInvariants()
        guard let deadlines else { return }
        deadlines.checkInvariants()
        precondition(deadlines.count > 0, "who has no deadlines has no index of them")
        deadlines.forEachField { field, _ in
            precondition(table.find(field) != nil, "only fields that are there have deadlines")
        }
    }
}
