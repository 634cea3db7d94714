//  The record of one large value, made in pieces: nodes of the structure are saved by whoever is about
//  to change them, the others by the walk, in slices.
//
//  Its shard is held while a command touches the structure and while the walk takes a slice. A value
//  whose key goes away or gets another one stays the snapshot's until its walk is over, and is freed
//  then. A key that moves to another shard takes it along: `shard` changes while both are held.
//
//  *Order.* Pieces of a set, sorted set or hash may come in any order. Those of a list or stream carry
//  one; each is kept until the walk, which goes forward, has passed it, so that all before it are there.
//
//  *Field deadlines.* The record of a hash field is saved before its deadline changes as well: so the
//  deadline that is found when a record is saved is that of the snapshot. See `FieldTable`.
//
//  Raw memory: the structure belongs to its entry, or, once that is gone, to this.

import CSystem
import MartletBase
import Synchronization

/// Makes the record of one value from its elements.
package protocol SnapshotPieces: AnyObject {
    /// Appends an element of a list; in no particular order, their bytes are put in order later.
    func append(element: ListElement, to buffer: inout ByteBuffer)
    /// The elements of a node of a list have been appended: their bytes go together.
    func endNode(_ buffer: inout ByteBuffer)
    /// Appends a member of a set.
    func append(member: ByteView, to buffer: inout ByteBuffer)
    /// Appends a member of a sorted set.
    func append(member: ByteView, score: Double, to buffer: inout ByteBuffer)
    /// Appends a field of a hash. One past its deadline at the time of the snapshot comes too.
    func append(field: ByteView, value: ByteView, deadline: Int64?, to buffer: inout ByteBuffer)
    /// Appends a block of a stream; in no particular order, as of a list.
    func append(block: StreamBlockContents, to buffer: inout ByteBuffer)
    /// Appends what stands behind the last element.
    func end(_ buffer: inout ByteBuffer)
}

extension SnapshotPieces {
    package func endNode(_ buffer: inout ByteBuffer) {}
}

extension Entry {
    /// The earliest deadline of the fields of a hash in nodes that are not past it at a time; nil when
    /// there is none. Complexity: O(log n).
    package func earliestFieldDeadline(after nowMilliseconds: Int64) -> Int64? {
        guard kind == .hash, encoding == .structure else { return nil }
        unsafe structure.hash.pointee.advance(to: nowMilliseconds)
        return unsafe structure.hash.pointee.deadlineIndex?.earliestLiving
    }
}

/// One value that is saved in pieces.
@safe
final class SnapshotValue: @unchecked Sendable {
    // Unchecked: touched by whoever holds the shard, or, without one, by the walk alone.
    private let database: Int
    /// Where the structure is; -1 when nobody but the snapshot has it.
    let shard: Atomic<Int>
    private let structure: Structure
    private unowned let saver: SnapshotSaver
    private let pieces: any SnapshotPieces
    /// What comes next: the beginning of the record, then pieces.
    private var ready = SnapshotRuns()
    /// Pieces of a list or stream that the walk has not passed.
    private var ordered: [(order: StreamID, run: SnapshotRun)] = []
    private var isOrphan = false
    /// Where the walk goes on.
    private var chunk = 0
    private var order = Int64.min
    private var base = StreamID.zero
    /// The walk over the nodes, which the structure does not own.
    private var walk: NodeWalk?

    /// Begins a walk over a structure, whose shard is held; `head` has the beginning of its record.
    init(
        _ structure: Structure, shard: Int, _ saver: SnapshotSaver, _ head: SnapshotRun,
        _ pieces: any SnapshotPieces
    ) {
        self.structure = structure
        self.shard = Atomic(shard)
        self.saver = saver
        self.pieces = pieces
        ready.all = [head]
        database = head.database
        saver.heldBytes.add(head.bytes.count, ordering: .relaxed)
        begin()
    }

    private func begin() {
        switch structure.kind {
        case .list:
            let walk = ListWalk(owner: self) { [unowned self] order, records in
                let key = StreamID(UInt64(bitPattern: order) ^ 1 << 63, 0)
                save(key) { run in
                    var offset = records.start
                    while offset < records.end {
                        pieces.append(element: records.element(offset), to: &run.bytes)
                        offset = records.next(offset)
                    }
                    pieces.endNode(&run.bytes)
                }
            }
            self.walk = walk
            unsafe structure.list.pointee.beginWalk(walk)
        case .stream:
            let walk = StreamWalk(owner: self) { [unowned self] base, block in
                save(base) { run in
                    pieces.append(block: StreamBlockContents(block), to: &run.bytes)
                }
            }
            self.walk = walk
            unsafe structure.stream.pointee.beginWalk(walk)
        case .set:
            begin { [unowned self] member, _ in
                save { pieces.append(member: member, to: &$0.bytes) }
            }
        case .sortedSet:
            begin { [unowned self] member, score in
                save { pieces.append(member: member, score: score.double, to: &$0.bytes) }
            }
        case .hash:
            let deadlines = unsafe structure.hash.pointee.deadlineIndex
            begin { [unowned self] field, value in
                let deadline = deadlines?.deadline(of: field)
                save {
                    pieces.append(field: field, value: value, deadline: deadline, to: &$0.bytes)
                }
            }
        case .string: preconditionFailure("no such structure")
        }
    }

    private func begin(_ visit: @escaping (ByteView, ByteView) -> Void) {
        let walk = MemberWalk(owner: self, visit)
        self.walk = walk
        withStore { $0.beginWalk(walk) }
    }

    private func withStore<R>(_ body: (inout MemberStore) -> R) -> R {
        switch structure.kind {
        case .sortedSet: unsafe structure.sortedSet.pointee.withStore(body)
        case .hash: unsafe structure.hash.pointee.withStore(body)
        case .set: unsafe structure.set.pointee.withStore(body)
        case .list, .stream, .string: preconditionFailure("no members")
        }
    }

    /// Saves a piece, of a place in order if it has one.
    private func save(_ order: StreamID? = nil, _ body: (SnapshotRun) -> Void) {
        if saver.isCancelled.load(ordering: .relaxed) { return }
        let run: SnapshotRun
        if let order {
            run = SnapshotRun(database: database)
            ordered.append((order, run))
        } else {
            run = ready.run(database)
        }
        let before = run.bytes.count
        body(run)
        saver.heldBytes.add(run.bytes.count - before, ordering: .relaxed)
    }

    /// The entry is gone. Its shard is held.
    func hasLostKey() { isOrphan = true }

    /// Walks on; the shard is held.
    ///
    /// - Parameters:
    ///   - ticks: after which it ends; one node is always passed.
    ///   - nodes: the same in nodes.
    /// - Returns: whether the walk is over.
    func advance(ticks: UInt64, nodes: Int) -> Bool {
        let begin = martlet_ticks()
        var left = nodes
        while left > 0 {
            if !step() {
                finish()
                return true
            }
            left -= 1
            if martlet_ticks() &- begin >= ticks { break }
        }
        release(through: passed)
        return false
    }

    /// Passes a node; false at the end.
    private func step() -> Bool {
        switch structure.kind {
        case .list:
            guard let next = unsafe structure.list.pointee.walk(behind: order, nodes: 1) else {
                return false
            }
            order = next
        case .stream:
            guard let next = unsafe structure.stream.pointee.walk(behind: base, blocks: 1) else {
                return false
            }
            base = next
        default:
            let from = chunk
            guard let next = withStore({ $0.walk(from: from, chunks: 1) }) else { return false }
            chunk = next
        }
        return true
    }

    /// The order up to which all pieces are there.
    private var passed: StreamID {
        structure.kind == .list
            ? StreamID(UInt64(bitPattern: order) ^ 1 << 63, 0) : base
    }

    /// Lets pieces go whose turn it is.
    private func release(through order: StreamID) {
        if ordered.isEmpty { return }
        ordered.sort { $0.order < $1.order }
        var count = 0
        while count < ordered.count && ordered[count].order <= order {
            ready.all.append(ordered[count].run)
            count += 1
        }
        ordered.removeFirst(count)
    }

    private func finish() {
        switch structure.kind {
        case .list: unsafe structure.list.pointee.endWalk(isWhole: true)
        case .stream: unsafe structure.stream.pointee.endWalk(isWhole: true)
        default: withStore { $0.endWalk(isWhole: true) }
        }
        release(through: .max)
        if !saver.isCancelled.load(ordering: .relaxed) {
            let run = ready.run(database)
            let before = run.bytes.count
            pieces.end(&run.bytes)
            saver.heldBytes.add(run.bytes.count - before, ordering: .relaxed)
        }
        if isOrphan { structure.release() }
    }

    /// Takes what may be handed over now: it goes on where the last one ended.
    func takeReady() -> [SnapshotRun] {
        let taken = ready.all
        ready.all = []
        return taken
    }
}
