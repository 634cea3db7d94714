//  The wish to end the process: SHUTDOWN or a signal leaves it, the main thread waits for it.

import Glibc
import MartletBase
import MartletEngine

/// Asked for once; further wishes add to it. It is forgotten when it cannot be granted.
package final class ShutdownRequest: Sendable {
    /// How the process is to end.
    package struct Wish: Sendable {
        /// Clients are cut off rather than served to the end of what they sent.
        package var isNow = false
        /// Whether a snapshot is saved; nil for what the configuration says.
        package var saves: Bool?
        /// A snapshot that cannot be saved does not matter.
        package var isForced = false

        package init(isNow: Bool = false, saves: Bool? = nil, isForced: Bool = false) {
            self.isNow = isNow
            self.saves = saves
            self.isForced = isForced
        }
    }

    private struct State {
        var wish: Wish?
        /// Clients that asked; they hear of it only when it is refused.
        var waiters: [Waiter] = []
    }

    private let descriptors: (read: Int32, write: Int32)
    private let state = Locked(State())

    package init() {
        var pair: [Int32] = [-1, -1]
        _ = unsafe pipe(&pair)
        descriptors = (pair[0], pair[1])
    }

    deinit {
        close(descriptors.read)
        close(descriptors.write)
    }

    /// What was asked for; nil as long as nobody did.
    package var wish: Wish? { state.withLock { $0.wish } }

    /// Asks the process to end.
    ///
    /// - Parameters:
    ///   - wish: how.
    ///   - waiter: the client that asks, which is told when the server goes on.
    package func ask(_ wish: Wish, _ waiter: Waiter? = nil) {
        let isFirst = state.withLock { state in
            if let waiter { state.waiters.append(waiter) }
            guard let before = state.wish else {
                state.wish = wish
                return true
            }
            state.wish = Wish(
                isNow: before.isNow || wish.isNow, saves: wish.saves ?? before.saves,
                isForced: before.isForced || wish.isForced)
            return false
        }
        if !isFirst { return }
        var byte: UInt8 = 1
        _ = unsafe write(descriptors.write, &byte, 1)
    }

    /// The server goes on. Forgets the wish.
    ///
    /// - Returns: the clients that asked.
    func refuse() -> [Waiter] {
        state.withLock { state in
            let waiters = state.waiters
            state = State()
            return waiters
        }
    }

    /// Waits until somebody asks.
    package func wait() {
        var byte: UInt8 = 0
        while wish == nil {
            _ = unsafe read(descriptors.read, &byte, 1)
        }
    }
}
