//  What others may know and ask of the script that runs: SCRIPT KILL, `-BUSY`, FUNCTION STATS.
//
//  A script is noted here when its first slice is over, not before: shorter ones are gone before anybody
//  could ask. Words are atomic; what it is called stands under a registry's lock.

import MartletBase
import Synchronization

/// The script that has outlasted its first slice, if there is one.
package final class RunningScript: @unchecked Sendable {
    // Unchecked: `note` is touched under `lock`.

    private enum Phase {
        static let idle: UInt8 = 0
        static let unwritten: UInt8 = 1
        static let written: UInt8 = 2
        static let killed: UInt8 = 3
    }

    /// What FUNCTION STATS tells.
    package struct Note {
        package let name: [UInt8]
        package let command: [[UInt8]]
        package let beganNanoseconds: Int64
    }

    private let phase = Atomic<UInt8>(Phase.idle)
    private let runsFunction = Atomic<Bool>(false)
    /// It has run for longer than `busy-reply-threshold`.
    private let busy = Atomic<Bool>(false)
    private let lock = ShardLock.allocate()
    private var noted: Note?

    init() {}

    deinit { lock.deallocate() }

    /// A script's first slice is over.
    func begin(_ note: Note, isFunction: Bool, hasWritten: Bool) {
        lock.lock()
        noted = note
        lock.unlock()
        runsFunction.store(isFunction, ordering: .relaxed)
        phase.store(hasWritten ? Phase.written : Phase.unwritten, ordering: .releasing)
    }

    func end() {
        busy.store(false, ordering: .relaxed)
        phase.store(Phase.idle, ordering: .releasing)
        lock.lock()
        noted = nil
        lock.unlock()
    }

    /// It is about to write for the first time.
    ///
    /// - Returns: false when it was killed before.
    func noteWrite() -> Bool {
        phase.compareExchange(
            expected: Phase.unwritten, desired: Phase.written, ordering: .acquiringAndReleasing
        ).exchanged || phase.load(ordering: .relaxed) == Phase.written
    }

    var isKilled: Bool { phase.load(ordering: .relaxed) == Phase.killed }

    func becomeBusy() { busy.store(true, ordering: .releasing) }

    var isBusy: Bool { busy.load(ordering: .relaxed) }

    /// FUNCTION KILL ends it, and not SCRIPT KILL.
    var isFunction: Bool { runsFunction.load(ordering: .relaxed) }

    /// What those who wait for it are told once it has run for too long; nil before.
    var busyError: StaticString? {
        guard isBusy else { return nil }
        return isFunction ? Self.busyFunction : Self.busyScript
    }

    private static let busyScript: StaticString =
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
    private static let busyFunction: StaticString =
        "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."

    /// SCRIPT KILL and FUNCTION KILL.
    ///
    /// - Throws: why it is not killed.
    func kill(function: Bool) throws(CommandError) {
        let now = phase.load(ordering: .acquiring)
        if now == Phase.idle { throw .coded("NOTBUSY No scripts in execution right now.") }
        if now == Phase.written { throw Self.unkillable }
        let isFunction = isFunction
        if isFunction != function {
            throw .coded(isFunction ? Self.busyFunction : Self.busyScript)
        }
        if now == Phase.killed { return }
        let outcome = phase.compareExchange(
            expected: Phase.unwritten, desired: Phase.killed, ordering: .acquiringAndReleasing)
        if outcome.exchanged { return }
        if outcome.original == Phase.idle {
            throw .coded("NOTBUSY No scripts in execution right now.")
        }
        if outcome.original == Phase.written { throw Self.unkillable }
    }

    private static let unkillable = CommandError.coded(
        """
        UNKILLABLE Sorry the script already executed write commands against the dataset. You can \
        either wait the script termination or kill the server in a hard way using the SHUTDOWN \
        NOSAVE command.
        """)

    /// What runs; nil for nothing.
    package var note: Note? {
        lock.lock()
        defer { lock.unlock() }
        return noted
    }
}
