//  Living without a terminal: daemonize, the PID file, and word to a supervisor.
//
//  Raw memory: the environment's strings are copied at once, before any thread could change them.

import Glibc

/// What makes the process a daemon.
package enum Detachment {
    /// Goes on in a child without a terminal; the parent ends with status 0.
    ///
    /// Only the calling thread lives on in a child, so this must come before any other is started:
    /// then nothing is lost, and no lock can be held by a thread that no longer exists.
    ///
    /// - Precondition: this is the only thread.
    package static func daemonize() throws(SystemError) {
        let child = fork()
        guard child >= 0 else { throw .last("fork") }
        // _exit: the buffers of the standard streams are the child's to flush.
        if child > 0 { _exit(0) }
        guard setsid() >= 0 else { throw .last("setsid") }
        let null = unsafe open("/dev/null", O_RDWR)
        guard null >= 0 else { throw .last("open") }
        for descriptor in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] {
            guard dup2(null, descriptor) >= 0 else { throw .last("dup2") }
        }
        if null > STDERR_FILENO { close(null) }
    }

    /// Tells systemd, where it started us with `Type=notify`, what it waits for: `READY=1`.
    ///
    /// - Returns: whether there was somebody to tell.
    @discardableResult
    package static func notifySupervisor(_ state: String) -> Bool {
        guard let variable = unsafe getenv("NOTIFY_SOCKET") else { return false }
        var path = unsafe [UInt8](UnsafeRawBufferPointer(start: variable, count: strlen(variable)))
        var address = sockaddr_un()
        let room = MemoryLayout.size(ofValue: address.sun_path)
        guard let first = path.first, path.count < room,
            first == UInt8(ascii: "/") || first == UInt8(ascii: "@")
        else { return false }
        // A socket of the abstract namespace: its name begins with a zero.
        if first == UInt8(ascii: "@") { path[0] = 0 }
        address.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path) }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + path.count)
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        let message = [UInt8](state.utf8)
        let sent = unsafe withUnsafeBytes(of: &address) { bytes in
            unsafe sendto(
                descriptor, message, message.count, Int32(MSG_NOSIGNAL),
                bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self), length)
        }
        return sent == message.count
    }
}

/// The file that tells others our process ID.
package struct PidFile {
    /// What Redis takes for a daemon that was told nothing.
    package static let daemonPath = "/var/run/martlet.pid"

    private let path: String

    /// Writes the process ID to `path`.
    package init(path: String) throws(SystemError) {
        self.path = path
        let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw .last("open") }
        defer { close(descriptor) }
        try SystemFile.writeAll(descriptor, [UInt8]("\(getpid())\n".utf8))
    }

    /// Removes the file, unless another process has written its own ID there since.
    package func remove() {
        let written = try? SystemFile.read(path, bytesMax: 64)
        guard written?.elementsEqual("\(getpid())\n".utf8) ?? false else { return }
        unsafe unlink(path)
    }
}
