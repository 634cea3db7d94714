//  A thread that runs one function to its end: the log's, a snapshot's, a loader's.
//
//  Raw memory: the thread is handed its start as a retained object, which it releases.

import CSystem
import Glibc

/// A thread of the process, to be joined or left alone.
package final class WorkerThread: @unchecked Sendable {
    // Unchecked: `thread` is written before the object is shared, and taken by the one that joins.
    private var thread: pthread_t?

    private final class Start {
        let name: String
        let body: @Sendable () -> Void

        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }

    /// Starts a thread that runs `body`.
    ///
    /// Nil when the system has no thread for it.
    ///
    /// - Parameters:
    ///   - name: shown by `top -H` and debuggers; at most 15 bytes of it.
    ///   - body: what the thread does.
    package init?(name: String, _ body: @escaping @Sendable () -> Void) {
        let start = Start(name: String(name.utf8.prefix(15)) ?? "worker", body: body)
        let argument = unsafe Unmanaged.passRetained(start).toOpaque()
        var created = pthread_t()
        let status = unsafe pthread_create(
            &created, nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                let start = unsafe Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
                unsafe pthread_setname_np(pthread_self(), start.name)
                start.body()
                return nil
            }, argument)
        if status != 0 {
            unsafe Unmanaged<Start>.fromOpaque(argument).release()
            return nil
        }
        thread = created
    }

    /// Waits until the thread has ended. Called once, by one thread.
    package func join() {
        guard let running = thread else { return }
        thread = nil
        pthread_join(running, nil)
    }

    deinit { if let thread { pthread_detach(thread) } }
}
