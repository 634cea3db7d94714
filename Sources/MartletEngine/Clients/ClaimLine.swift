//  The line of those who wait for a claim on shards: see Execution/Claims.swift.

import MartletBase
import Synchronization

/// The claimant that runs, and the line.
package final class ClaimLine: @unchecked Sendable {
    // Unchecked: everything is touched under `lock`, a registry's.
    private let lock = ShardLock.allocate()
    /// The number of the claimant that runs, or 0.
    private var running: UInt32 = 0 {
        didSet { noteBusy() }
    }
    private var lastNumber: UInt32 = 0
    private var lastPlace: UInt64 = 0
    /// The places of all who wait, in order of arrival.
    private var line: [UInt64] = [] {
        didSet { noteBusy() }
    }
    /// Somebody runs or waits. Who has the turn (see `Scripts`) reads it: nobody begins meanwhile.
    let isBusy = Atomic<Bool>(false)

    init() {}

    deinit { lock.deallocate() }

    private func noteBusy() { isBusy.store(running != 0 || !line.isEmpty, ordering: .releasing) }

    /// How many wait.
    package var waitingCount: Int {
        lock.lock()
        defer { lock.unlock() }
        return line.count
    }

    /// Puts somebody who has met a claim at the end of the line, unless it has a place already; 0 is none.
    ///
    /// - Returns: false when the claim has ended meanwhile: nobody will call it then, it tries again.
    func takePlace(_ place: inout UInt64) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        stand(&place)
        return running != 0
    }

    private func stand(_ place: inout UInt64) {
        if place != 0 { return }
        lastPlace += 1
        place = lastPlace
        line.append(place)
    }

    /// Gives a place back.
    ///
    /// - Returns: whether a claimant behind it may begin now.
    func leave(_ place: inout UInt64) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        let wasFirst = line.first == place
        remove(&place)
        return wasFirst && running == 0 && !line.isEmpty
    }

    /// - Complexity: O(n), n = those who wait: at most one per connection.
    private func remove(_ place: inout UInt64) {
        if place != 0, let index = line.firstIndex(of: place) { line.remove(at: index) }
        place = 0
    }

    /// A new claimant begins if none runs and nobody came before it; else it stands in line.
    ///
    /// - Returns: its number, or nil when it must wait.
    func begin(_ place: inout UInt64) -> UInt32? {
        lock.lock()
        defer { lock.unlock() }
        guard running == 0, line.isEmpty || line.first == place else {
            stand(&place)
            return nil
        }
        remove(&place)
        lastNumber = lastNumber == .max ? 1 : lastNumber + 1
        running = lastNumber
        return running
    }

    /// Who holds the turn may begin, since none runs and nobody came before it; else it stands in line.
    func mayBegin(_ place: inout UInt64) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        guard running == 0, line.isEmpty || line.first == place else {
            stand(&place)
            return false
        }
        remove(&place)
        return true
    }

    /// Somebody runs.
    var isRunning: Bool {
        lock.lock()
        defer { lock.unlock() }
        return running != 0
    }

    /// Somebody waits and nobody runs.
    var mayGoOn: Bool {
        lock.lock()
        defer { lock.unlock() }
        return running == 0 && !line.isEmpty
    }

    /// A claimant begins that holds the turn since it might begin: whoever came later stands in line.
    ///
    /// - Returns: its number.
    func beginInTurn() -> UInt32 {
        lock.lock()
        defer { lock.unlock() }
        precondition(running == 0, "who has the turn is alone")
        lastNumber = lastNumber == .max ? 1 : lastNumber + 1
        running = lastNumber
        return running
    }

    /// The claimant has given its shards back.
    ///
    /// - Returns: whether somebody waits, who is to come again.
    func end(_ number: UInt32) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        precondition(running == number, "who ends is who runs")
        running = 0
        return !line.isEmpty
    }
}
