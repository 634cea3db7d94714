//  What other threads may know about a loop: INFO, memory limits, the choice of the next loop.
//
//  Raw memory: the loop lends its state for the length of `publish`, on its own thread.

import Synchronization

/// Numbers about one loop. Written by the loop, once per iteration where they change often; read by
/// any thread, relaxed: each is right by itself, not in relation to the others.
package final class LoopCounters: Sendable {
    /// Connections now, those on their way to the loop included.
    package let connections = Atomic<Int>(0)

    /// Connections ever opened, and those of them that the handler refused.
    package let opened = Atomic<UInt64>(0)
    package let refused = Atomic<UInt64>(0)

    /// Bytes received and sent.
    package let bytesIn = Atomic<UInt64>(0)
    package let bytesOut = Atomic<UInt64>(0)

    /// The memory of all connections' own buffers, in bytes.
    package let bufferBytes = Atomic<Int>(0)

    package let iterations = Atomic<UInt64>(0)

    /// Connections closed for a limit.
    package let outputLimitCloses = Atomic<UInt64>(0)
    package let inputLimitCloses = Atomic<UInt64>(0)
    package let idleCloses = Atomic<UInt64>(0)

    /// Connections the system could not give us.
    package let acceptFailures = Atomic<UInt64>(0)

    func publish(_ state: UnsafeMutablePointer<LoopState>) {
        unsafe state.pointee.iterations &+= 1
        unsafe iterations.store(state.pointee.iterations, ordering: .relaxed)
        unsafe bytesIn.store(state.pointee.bytesIn, ordering: .relaxed)
        unsafe bytesOut.store(state.pointee.bytesOut, ordering: .relaxed)
        unsafe bufferBytes.store(state.pointee.bufferBytes, ordering: .relaxed)
    }
}
