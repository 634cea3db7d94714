//  The password of the default user: `requirepass`.
//
//  Read by AUTH on any loop, replaced by CONFIG SET. Its lock ranks after the shards'; nobody takes a
//  shard while holding it. Connections that have authenticated stay so when it changes, as in Redis.

import MartletBase
import Synchronization

/// A password that may change while clients authenticate.
package final class Password: @unchecked Sendable {
    // Unchecked: `digest` is touched under `lock`; the flag is atomic.
    private let lock = ShardLock.allocate()
    /// Kept instead of the password: all digests have one length, so comparing them tells nothing of
    /// a guess, not even whether its length was right.
    private var digest = InlineArray<32, UInt8>(repeating: 0)
    private let required = Atomic<Bool>(false)

    package init() {}

    deinit { lock.deallocate() }

    /// Whether new connections must authenticate.
    package var isRequired: Bool { required.load(ordering: .relaxed) }

    /// Takes a new password; an empty one lets everybody in.
    package func set(_ password: ByteView) {
        lock.lock()
        defer { lock.unlock() }
        digest = SHA256.digest(password)
        required.store(!password.isEmpty, ordering: .relaxed)
    }

    /// Whether `guess` is the password, or none is required.
    func admits(_ guess: ByteView) -> Bool {
        let offered = SHA256.digest(guess)
        lock.lock()
        defer { lock.unlock() }
        if !isRequired { return true }
        var difference: UInt8 = 0
        for index in 0..<32 { difference |= offered[index] ^ digest[index] }
        return difference == 0
    }
}
