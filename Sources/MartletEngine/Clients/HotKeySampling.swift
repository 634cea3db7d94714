//  What HOTKEYS asks loops to tell: which keys commands used, how long they ran and how large they were.
//
//  While nobody asks, nothing runs for it: a session lowers the bounds from which a command counts as slow
//  or large to zero, which loops compare with in any case (see Execution/Noting.swift).
//
//  Rules: stored by whoever executes HOTKEYS, along with a new version of the settings; read by all loops.

import Synchronization

/// Whether a session of HOTKEYS is under way, and how much of what runs it looks at.
package final class HotKeySampling: Sendable {
    package let isActive = Atomic<Bool>(false)
    /// Of so many commands, the keys of one are told, on average.
    package let ratio = Atomic<Int>(1)
}

/// What one command cost.
package struct CommandCost {
    package enum Amount: Sendable {
        /// Ticks of the clock that `TickRate` knows.
        case ticks(UInt64)
        /// Bytes of the request and its reply.
        case bytes(Int)
    }

    package let amount: Amount
    /// Its keys; none when it was not chosen to tell them.
    package let keys: [[UInt8]]
}
