//  The few calls on files and the process that starting a server needs, with errors as values.
//
//  Used by one thread at the start, and by CONFIG REWRITE; never while a shard is held.
//
//  Raw memory: what is handed to the system is borrowed for the length of the call, with its size.

import Glibc

/// A call to the system that failed.
package struct SystemError: Error, Equatable {
    package let call: String
    package let number: Int32

    /// What the system says about it: `No such file or directory`.
    package var text: String { SystemError.text(number) }

    static func last(_ call: String) -> SystemError {
        SystemError(call: call, number: errno)
    }

    static func text(_ number: Int32) -> String {
        guard let text = unsafe strerror(number) else { return "error \(number)" }
        return unsafe String(cString: text)
    }
}

/// Whole files and the process itself, by a few calls.
enum SystemFile {
    /// The bytes of the file at `path`; a file of more than `bytesMax` is an error (EFBIG).
    static func read(_ path: String, bytesMax: Int) throws(SystemError) -> [UInt8] {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .last("open") }
        defer { close(descriptor) }
        return try readAll(descriptor, bytesMax: bytesMax)
    }

    /// The bytes of an open file until its end.
    static func readAll(_ descriptor: Int32, bytesMax: Int) throws(SystemError) -> [UInt8] {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: min(65536, bytesMax + 1))
        while true {
            let count = unsafe chunk.withUnsafeMutableBytes {
                unsafe Glibc.read(descriptor, $0.baseAddress, $0.count)
            }
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw .last("read") }
            if count == 0 { return bytes }
            bytes += chunk[..<count]
            guard bytes.count <= bytesMax else { throw SystemError(call: "read", number: EFBIG) }
        }
    }

    /// Puts `bytes` in the place of the file at `path`, so that a crash leaves the old or the new.
    ///
    /// The new file is written beside the old one with its permissions and owner, synced, renamed
    /// over it, and then the directory is synced: without that the rename itself can be lost.
    static func replace(_ path: String, with bytes: [UInt8]) throws(SystemError) {
        let directory = parent(of: path)
        let temporary = "\(path).\(getpid()).tmp"
        var old = stat()
        let hasOld = unsafe stat(path, &old) == 0
        let descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .last("open") }
        do throws(SystemError) {
            defer { close(descriptor) }
            if hasOld {
                // Another's file stays readable to him; where that is forbidden, he asks again.
                _ = fchown(descriptor, old.st_uid, old.st_gid)
                guard fchmod(descriptor, old.st_mode & 0o777) == 0 else { throw .last("fchmod") }
            }
            try writeAll(descriptor, bytes)
            guard fsync(descriptor) == 0 else { throw .last("fsync") }
        } catch {
            unsafe unlink(temporary)
            throw error
        }
        guard unsafe rename(temporary, path) == 0 else {
            let failure = SystemError.last("rename")
            unsafe unlink(temporary)
            throw failure
        }
        try syncDirectory(directory)
    }

    /// Writes all of `bytes`, however many calls it takes.
    static func writeAll(_ descriptor: Int32, _ bytes: [UInt8]) throws(SystemError) {
        var written = 0
        while written < bytes.count {
            let count = unsafe bytes.withUnsafeBytes {
                unsafe write(
                    descriptor, $0.baseAddress.unsafelyUnwrapped + written, $0.count - written)
            }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw .last("write") }
            written += count
        }
    }

    static func syncDirectory(_ path: String) throws(SystemError) {
        let descriptor = unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .last("open") }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw .last("fsync") }
    }

    static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

    /// The directory that holds `path`.
    static func parent(of path: String) -> String {
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
        return slash == path.utf8.startIndex ? "/" : String(path[..<slash])
    }

    /// The absolute path with symbolic links followed, or `path` itself where there is none.
    static func resolved(_ path: String) -> String {
        guard let real = unsafe realpath(path, nil) else { return path }
        defer { unsafe free(real) }
        return unsafe String(cString: real)
    }

    /// The paths that match a pattern of `*`, `?` and `[...]`, in alphabetical order.
    static func matching(_ pattern: String) -> [String] {
        var found = unsafe glob_t()
        defer { unsafe globfree(&found) }
        guard unsafe glob(pattern, 0, nil, &found) == 0 else { return [] }
        var paths: [String] = []
        for index in unsafe 0..<Int(found.gl_pathc) {
            if let path = unsafe found.gl_pathv[index] {
                unsafe paths.append(String(cString: path))
            }
        }
        return paths
    }

    static var workingDirectory: String {
        guard let path = unsafe getcwd(nil, 0) else { return "." }
        defer { unsafe free(path) }
        return unsafe String(cString: path)
    }

    static func enter(_ directory: String) throws(SystemError) {
        guard unsafe chdir(directory) == 0 else { throw .last("chdir") }
    }

    /// The variables of the environment, as they were when the process started.
    static var environment: [(name: String, value: [UInt8])] {
        var variables: [(name: String, value: [UInt8])] = []
        var entry = unsafe environ
        while let text = unsafe entry.pointee {
            let bytes = unsafe [UInt8](UnsafeRawBufferPointer(start: text, count: strlen(text)))
            if let equals = bytes.firstIndex(of: UInt8(ascii: "=")) {
                let name = String(decoding: bytes[..<equals], as: UTF8.self)
                variables.append((name, [UInt8](bytes[(equals + 1)...])))
            }
            unsafe entry += 1
        }
        return variables
    }
}
