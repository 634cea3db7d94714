//  The clients of one loop that wait for keys, and when they give up.
//
//  Raw memory: clients belong to the loop's handler, which removes one here before it frees it.

import MartletBase
import MartletEngine

/// Waiting clients by id, and their deadlines in order.
@safe
struct BlockedClients: ~Copyable {
    private var clients: [Int64: UnsafeMutablePointer<LoopHandler.Client>] = unsafe [:]
    /// Waits that ended otherwise are left in it for a while.
    private var deadlines = DeadlineHeap<Waiter>()
    /// When waits look at their keys again though nothing was written.
    private var looks = DeadlineHeap<Waiter>()
    /// Clients whose wait this loop has ended.
    private var ended: [Int64] = []
    /// Those of them that could not be replied to yet: a shard was claimed.
    private var postponed: [Int64] = []

    var isEmpty: Bool { unsafe clients.isEmpty }

    /// The waiting client of that id.
    func client(_ id: Int64) -> UnsafeMutablePointer<LoopHandler.Client>? { unsafe clients[id] }

    mutating func add(
        _ client: UnsafeMutablePointer<LoopHandler.Client>, _ clock: Clock
    ) {
        guard let waiter = unsafe client.pointee.session.pointee.waiter else { return }
        unsafe clients[waiter.record.id] = client
        if let every = waiter.looksEveryNanoseconds {
            looks.insert(waiter, nanoseconds: clock.monotonicNanoseconds() + every)
        }
        guard let deadline = waiter.deadlineNanoseconds else { return }
        if unsafe deadlines.count > 2 * clients.count + 64 {
            deadlines.keep { $0.outcome == .waiting }
        }
        deadlines.insert(waiter, nanoseconds: deadline)
    }

    @discardableResult
    mutating func remove(_ id: Int64) -> UnsafeMutablePointer<LoopHandler.Client>? {
        unsafe clients.removeValue(forKey: id)
    }

    mutating func noteEnded(_ id: Int64) { ended.append(id) }

    /// To be looked at again in the next iteration.
    mutating func postpone(_ id: Int64) { postponed.append(id) }

    var hasPostponed: Bool { !postponed.isEmpty }

    mutating func takeUpPostponed() {
        ended += postponed
        postponed.removeAll()
    }

    /// A wait that is to look at its keys again now; it will again, later.
    mutating func nextLook(nowNanoseconds: Int64) -> Waiter? {
        while let waiter = looks.removeDue(nowNanoseconds: nowNanoseconds) {
            guard waiter.outcome == .waiting, let every = waiter.looksEveryNanoseconds else {
                continue
            }
            looks.insert(waiter, nanoseconds: nowNanoseconds + every)
            return waiter
        }
        return nil
    }

    /// A client whose wait is over, by this loop or by its deadline; nil when there is none.
    mutating func nextEnded(nowNanoseconds: Int64) -> Int64? {
        if let id = ended.popLast() { return id }
        while let waiter = deadlines.removeDue(nowNanoseconds: nowNanoseconds) {
            if waiter.end(.timedOut) { return waiter.record.id }
        }
        return nil
    }

    /// In how many milliseconds the next deadline or look comes; `Int32.max` for never.
    func millisecondsLeft(nowNanoseconds: Int64) -> Int32 {
        let earliest = min(
            deadlines.earliestNanoseconds ?? .max, looks.earliestNanoseconds ?? .max)
        if earliest == .max { return .max }
        return Int32(clamping: max(0, earliest - nowNanoseconds + 999_999) / 1_000_000)
    }
}
