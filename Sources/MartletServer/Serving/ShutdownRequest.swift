//  The wish to end the process: SHUTDOWN or a signal leaves it, the main thread waits for it.

import Glibc
import MartletBase
import Synchronization

/// Asked for once; further wishes change nothing.
package final class ShutdownRequest: Sendable {
    private let descriptors: (read: Int32, write: Int32)
    private let isAsked = Atomic<Bool>(false)
    private let withoutGrace = Atomic<Bool>(false)

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

    /// Asks the process to end.
    package func ask(now: Bool = false) {
        if now { withoutGrace.store(true, ordering: .releasing) }
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
