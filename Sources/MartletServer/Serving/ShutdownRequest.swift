//  The wish to end the process: SHUTDOWN or a signal leaves it, the main thread waits for it.

import Glibc
import MartletBase
import Synchronization

/// Asked for once; further wishes change nothing.
package final class ShutdownRequest: Sendable {
    private let descriptors: (read: Int32, write: Int32)
    private let isAsked = Atomic<Bool>(false)
    private let withoutGrace = Atomic<Bool>(false)
    /// 0: as configured, 1: a snapshot is to be saved, 2: none.
    private let saving = Atomic<UInt8>(0)

    package init() {
        var pair: [Int32] = [-1, -1]
        _ = unsafe pipe(&pair)
        descriptors = (pair[0], pair[1])
    }

    deinit {
        close(descriptors.read)
        close(descriptors.write)
    }

    /// Whether somebody asked.
    package var wasAsked: Bool { isAsked.load(ordering: .acquiring) }

    /// Whether clients are to be cut off rather than served to the end of what they sent.
    package var isNow: Bool { withoutGrace.load(ordering: .acquiring) }

    /// Whether a snapshot is to be saved at the end; nil for what the configuration says.
    package var saves: Bool? {
        let wish = saving.load(ordering: .acquiring)
        return wish == 0 ? nil : wish == 1
    }

    /// Asks the process to end.
    ///
    /// - Parameters:
    ///   - now: clients are cut off rather than served to the end of what they sent.
    ///   - saves: whether a snapshot is saved; nil for what the configuration says.
    package func ask(now: Bool = false, saves: Bool? = nil) {
        if now { withoutGrace.store(true, ordering: .releasing) }
        if let saves { saving.store(saves ? 1 : 2, ordering: .releasing) }
        if isAsked.exchange(true, ordering: .acquiringAndReleasing) { return }
        var byte: UInt8 = 1
        _ = unsafe write(descriptors.write, &byte, 1)
    }

    /// Waits until somebody asks.
    package func wait() {
        var byte: UInt8 = 0
        while !wasAsked {
            _ = unsafe read(descriptors.read, &byte, 1)
        }
    }
}
