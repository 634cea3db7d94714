//  The consumer groups of a stream, as far as the stream itself asks for them.

import MartletBase

/// All groups of a stream.
struct ConsumerGroups: ~Copyable {
    /// There is no group.
    var isEmpty: Bool { true }

    /// All memory besides itself.
    @inline(__always)
    var bytes: Int { 0 }

    /// Whether an entry was not delivered to some group yet, or is pending in one.
    func isReferenced(_ id: StreamID) -> Bool { false }

    /// Takes an entry that goes out of what is pending in any group.
    mutating func removeReferences(to id: StreamID) {}

    /// The same groups for a copy of the stream.
    func copy() -> ConsumerGroups { ConsumerGroups() }

    /// Frees all of it, calling `pause` after each step.
    mutating func dismantle(_ pause: () -> Void) {}

    /// Checks every invariant; for tests.
    func checkInvariants() {}
}
