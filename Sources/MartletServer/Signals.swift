//  Signals: a thread of its own waits for them, so no code ever runs inside of a signal handler.
//
//  All signals below are blocked before any other thread starts; threads inherit that, so they
//  arrive at the one thread that waits for them with sigwait. What it calls is ordinary code.

import Glibc
import Synchronization

/// Waits for signals and says what they ask for.
package final class SignalWatcher: Sendable {
    /// What a signal asks for.
    package enum Request: Sendable, Equatable {
        /// SIGTERM or SIGINT for the first time: stop, but finish what has begun.
        case stop(Int32)
        /// SIGTERM or SIGINT again: end at once.
        case exit(Int32)
        /// SIGHUP: open the log file anew.
        case reopenLog
    }

    private let answer: @Sendable (Request) -> Void
    private let isStopping = Atomic<Bool>(false)

    /// A watcher that calls `answer` on its own thread for each signal.
    package init(answer: @escaping @Sendable (Request) -> Void) {
        self.answer = answer
    }

    /// Blocks the signals for this thread and all that it starts from now on, and ignores those
    /// that would kill a server: a peer that went away, a file that reached its limit of size.
    ///
    /// - Precondition: called before any other thread was started.
    package static func block() {
        var signals = watched()
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
        signal(SIGPIPE, SIG_IGN)
        signal(SIGXFSZ, SIG_IGN)
    }

    /// Starts the thread, which lives as long as the process.
    ///
    /// - Returns: whether the system gave a thread.
    package func start() -> Bool {
        var thread = pthread_t()
        let context = unsafe Unmanaged.passRetained(self).toOpaque()
        let status = unsafe pthread_create(
            &thread, nil,
            { context in
                guard let context = unsafe context else { return nil }
                let watcher = unsafe Unmanaged<SignalWatcher>.fromOpaque(context)
                    .takeRetainedValue()
                SignalWatcher.block()
                watcher.run()
            }, context)
        guard status == 0 else {
            unsafe Unmanaged<SignalWatcher>.fromOpaque(context).release()
            return false
        }
        pthread_detach(thread)
        return true
    }

    private func run() -> Never {
        var signals = SignalWatcher.watched()
        while true {
            var number: Int32 = 0
            guard unsafe sigwait(&signals, &number) == 0 else { continue }
            receive(number)
        }
    }

    /// The server goes on: the next signal is the first one again.
    package func goOn() { isStopping.store(false, ordering: .releasing) }

    /// Turns one signal into its request.
    func receive(_ number: Int32) {
        switch number {
        case SIGHUP: answer(.reopenLog)
        default:
            let isSecond = isStopping.exchange(true, ordering: .acquiringAndReleasing)
            answer(isSecond ? .exit(number) : .stop(number))
        }
    }

    private static func watched() -> sigset_t {
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        for number in [SIGTERM, SIGINT, SIGHUP] { unsafe sigaddset(&signals, number) }
        return signals
    }
}
