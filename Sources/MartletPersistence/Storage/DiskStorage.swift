//  Durable files on the disk, by the system's calls, with errors as values.
//
//  Raw memory: what is handed to the system is borrowed for the length of the call, with its size; a
//  buffer that is read into has made room for the bytes before.

import Glibc
import MartletBase
import Synchronization

/// A directory on the disk.
///
/// It is opened once and everything goes relative to it: another directory that takes its name
/// later does not get our files. Any thread may use it.
package final class DiskStorage: Storage {
    package let path: String
    private let descriptor: Int32

    /// Opens the directory at `path`, which is there.
    package init(_ path: String) throws(StorageError) {
        let descriptor = unsafe Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .last("open", path) }
        self.path = path
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    package func makeDirectory(_ name: String) throws(StorageError) {
        if unsafe mkdirat(descriptor, name, 0o700) == 0 {
            // The umask may have taken bits away that the owner needs.
            guard unsafe fchmodat(descriptor, name, 0o700, 0) == 0 else {
                throw failure("fchmodat", name)
            }
            return
        }
        guard errno == EEXIST else { throw failure("mkdirat", name) }
        var status = stat()
        guard unsafe fstatat(descriptor, name, &status, 0) == 0 else {
            throw failure("fstatat", name)
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw .system(call: "mkdirat", path: full(name), code: ENOTDIR)
        }
    }

    package func create(_ name: String) throws(StorageError) -> any StorageFile {
        let file = try openFile(name, O_RDWR | O_CREAT | O_EXCL, size: 0)
        do throws(StorageError) {
            try file.restrict()
        } catch {
            unsafe unlinkat(descriptor, name, 0)
            throw error
        }
        return file
    }

    package func open(_ name: String) throws(StorageError) -> any StorageFile {
        let file = try openFile(name, O_RDWR, size: nil)
        return file
    }

    private func openFile(
        _ name: String, _ flags: Int32, size: Int?
    ) throws(StorageError) -> DiskFile {
        let flags = flags | O_CLOEXEC
        var opened = unsafe openat(descriptor, name, flags, 0o600)
        while opened < 0 && errno == EINTR {
            opened = unsafe openat(descriptor, name, flags, 0o600)
        }
        guard opened >= 0 else { throw failure("open", name) }
        return try DiskFile(name: name, path: full(name), descriptor: opened, size: size)
    }

    package func size(_ name: String) throws(StorageError) -> Int? {
        var status = stat()
        if unsafe fstatat(descriptor, name, &status, 0) == 0 { return Int(status.st_size) }
        guard errno == ENOENT || errno == ENOTDIR else { throw failure("stat", name) }
        return nil
    }

    package func list(_ directory: String) throws(StorageError) -> [String] {
        let name = directory.isEmpty ? "." : directory
        let opened = unsafe openat(descriptor, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard opened >= 0 else {
            if errno == ENOENT { return [] }
            throw failure("open", directory)
        }
        guard let stream = unsafe fdopendir(opened) else {
            let error = failure("fdopendir", directory)
            close(opened)
            throw error
        }
        defer { unsafe closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = unsafe readdir(stream) else { break }
            let found = unsafe withUnsafeBytes(of: &entry.pointee.d_name) {
                unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if found != "." && found != ".." { names.append(found) }
        }
        guard errno == 0 else { throw failure("readdir", directory) }
        return names
    }

    package func rename(_ name: String, to newName: String) throws(StorageError) {
        guard unsafe renameat(descriptor, name, descriptor, newName) == 0 else {
            throw failure("rename", newName)
        }
    }

    package func unlink(_ name: String) throws(StorageError) {
        guard unsafe unlinkat(descriptor, name, 0) == 0 else { throw failure("unlink", name) }
    }

    package func syncDirectory(_ directory: String) throws(StorageError) {
        // The handle of the whole storage is not for syncing: it may have an old error to tell.
        let name = directory.isEmpty ? "." : directory
        let opened = unsafe openat(descriptor, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard opened >= 0 else { throw failure("open", directory) }
        defer { close(opened) }
        var status = fsync(opened)
        while status != 0 && errno == EINTR { status = fsync(opened) }
        guard status == 0 else { throw failure("fsync", directory) }
    }

    private func full(_ name: String) -> String {
        name.isEmpty ? path : path + "/" + name
    }

    private func failure(_ call: StorageError.StaticName, _ name: String) -> StorageError {
        .last(call, full(name))
    }
}

/// An open file on the disk, closed when the last one who holds it lets go.
final class DiskFile: StorageFile {
    let name: String
    private let path: String
    private let descriptor: Int32
    private let bytes: Atomic<Int>
    private let hasFailedSync = Atomic<Bool>(false)

    /// Owns `descriptor` from here on, also where it throws.
    fileprivate init(
        name: String, path: String, descriptor: Int32, size: Int?
    ) throws(StorageError) {
        self.name = name
        self.path = path
        self.descriptor = descriptor
        var found = size ?? 0
        if size == nil {
            var status = stat()
            guard unsafe fstat(descriptor, &status) == 0 else {
                let error = StorageError.last("fstat", path)
                close(descriptor)
                throw error
            }
            found = Int(status.st_size)
        }
        bytes = Atomic(found)
    }

    deinit { close(descriptor) }

    var size: Int { bytes.load(ordering: .relaxed) }

    /// The umask may have taken bits away that the owner needs, and no others were given.
    fileprivate func restrict() throws(StorageError) {
        guard fchmod(descriptor, 0o600) == 0 else { throw .last("fchmod", path) }
    }

    func write(_ view: ByteView, at offset: Int) throws(StorageError) {
        precondition(offset >= 0 && offset <= size, "a file has no holes")
        var written = 0
        while written < view.count {
            let rest = view.slice(written, view.count)
            let count = unsafe pwrite(
                descriptor, rest.address, rest.count, off_t(offset + written))
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw .last("write", path) }
            written += count
            bytes.store(max(size, offset + written), ordering: .relaxed)
        }
    }

    func read(
        at offset: Int, count: Int, into buffer: inout ByteBuffer
    ) throws(StorageError) -> Int {
        var done = 0
        while done < count {
            let room = unsafe buffer.writable(count - done)
            let got = unsafe pread(descriptor, room, count - done, off_t(offset + done))
            if got < 0 && errno == EINTR { continue }
            guard got >= 0 else { throw .last("read", path) }
            if got == 0 { break }
            buffer.commit(got)
            done += got
        }
        return done
    }

    func truncate(to size: Int) throws(StorageError) {
        var status = ftruncate(descriptor, off_t(size))
        while status != 0 && errno == EINTR { status = ftruncate(descriptor, off_t(size)) }
        guard status == 0 else { throw .last("ftruncate", path) }
        bytes.store(size, ordering: .relaxed)
    }

    func sync() throws(StorageError) {
        guard !hasFailedSync.load(ordering: .acquiring) else {
            throw .system(call: "fdatasync", path: path, code: EIO)
        }
        // Held here to the end: the descriptor is not closed, and not given to another file, while
        // the system works on it.
        let status = withExtendedLifetime(self) { fdatasync(descriptor) }
        if status != 0 {
            let error = StorageError.last("fdatasync", path)
            hasFailedSync.store(true, ordering: .releasing)
            throw error
        }
    }
}

extension StorageError {
    /// The failure that `errno` tells of.
    static func last(_ call: StaticName, _ path: String) -> StorageError {
        .system(call: call, path: path, code: errno)
    }

    static let fileTooLarge = EFBIG
}
