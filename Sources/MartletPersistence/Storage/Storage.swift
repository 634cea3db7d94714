//  Where durable files are: the only door through which log, snapshots and their directories are
//  created, appended to, synced, renamed and unlinked.
//
//  Names are relative to one directory and have at most one directory of their own in front
//  (`appendonlydir/appendonly.aof.manifest`). A create, a rename and an unlink are durable only when
//  the directory that holds the name was synced after it; bytes only when their file was. The disk
//  stands behind `DiskStorage`; tests put one in its place that fails at will and shows what a crash
//  may leave behind.

import MartletBase

/// One directory of durable files.
package protocol Storage: AnyObject, Sendable {
    /// What messages call the directory.
    var path: String { get }

    /// Makes a directory that only its owner may enter; one that is there already is left alone.
    func makeDirectory(_ name: String) throws(StorageError)

    /// A new file that only its owner may read, empty and open to append.
    ///
    /// - Throws: EEXIST where the name is taken: nothing is ever written over by accident.
    func create(_ name: String) throws(StorageError) -> any StorageFile

    /// A file that is there, open to read and to write.
    func open(_ name: String) throws(StorageError) -> any StorageFile

    /// The size of a file in bytes; nil where there is none.
    func size(_ name: String) throws(StorageError) -> Int?

    /// The names in a directory (`""`: the storage's own), in no order; none where there is none.
    func list(_ directory: String) throws(StorageError) -> [String]

    /// Gives a file another name, whose former file is gone then.
    func rename(_ name: String, to newName: String) throws(StorageError)

    func unlink(_ name: String) throws(StorageError)

    /// Makes creates, renames and unlinks in a directory (`""`: the storage's own) durable.
    func syncDirectory(_ directory: String) throws(StorageError)
}

/// An open file. Bytes go to its end, or into space that was filled before they came.
///
/// One thread writes and truncates. `sync` may run on another one meanwhile; the file stays open
/// until both have let go of it.
package protocol StorageFile: AnyObject, Sendable {
    /// The name within the storage.
    var name: String { get }

    /// The size in bytes, of a failed write the part that was written included.
    var size: Int { get }

    /// Writes all of the bytes from `offset` on, over what is there and behind the end, or throws and
    /// may have written some of them.
    ///
    /// - Precondition: `offset` is not behind the end.
    func write(_ bytes: ByteView, at offset: Int) throws(StorageError)

    /// Appends up to `count` bytes from `offset` on to `buffer`.
    ///
    /// - Returns: how many; fewer only at the end of the file.
    func read(
        at offset: Int, count: Int, into buffer: inout ByteBuffer
    ) throws(StorageError) -> Int

    /// Cuts the file back to `size` bytes.
    func truncate(to size: Int) throws(StorageError)

    /// Returns once every byte that was written before the call is durable.
    ///
    /// After one failure it fails for ever: the system may have dropped the bytes it could not
    /// write, and says nothing of them to the next sync.
    func sync() throws(StorageError)
}

extension StorageFile {
    /// Writes all of the bytes behind the end, or throws and may have written some of them.
    package func append(_ bytes: ByteView) throws(StorageError) { try write(bytes, at: size) }
}

extension Storage {
    /// Puts `bytes` under `name` so that a crash leaves the old file or the new one.
    ///
    /// - Throws: where `isCertain` is false afterwards, either may be what is there.
    package func replace(
        _ name: String, with bytes: ByteView, isCertain: inout Bool
    ) throws(StorageError) {
        isCertain = true
        let directory = StorageName.directory(of: name)
        let temporary = StorageName.temporary(for: name)
        if try size(temporary) != nil { try unlink(temporary) }
        do throws(StorageError) {
            let file = try create(temporary)
            try file.append(bytes)
            try file.sync()
        } catch {
            // What was thrown counts, not whether the leftover goes: the next call removes it.
            try? unlink(temporary)
            throw error
        }
        isCertain = false
        do throws(StorageError) {
            try rename(temporary, to: name)
        } catch {
            try? unlink(temporary)
            throw error
        }
        try syncDirectory(directory)
        isCertain = true
    }

    /// The bytes of a small file.
    ///
    /// - Throws: EFBIG for one of more than `bytesMax`.
    package func read(_ name: String, bytesMax: Int) throws(StorageError) -> [UInt8] {
        let file = try open(name)
        guard file.size <= bytesMax else {
            throw .system(call: "read", path: name, code: StorageError.fileTooLarge)
        }
        var buffer = ByteBuffer()
        _ = try file.read(at: 0, count: file.size, into: &buffer)
        return buffer.view.bytes
    }
}

/// The parts of a name within a storage.
package enum StorageName {
    /// The directory in front of the name; `""` where there is none.
    package static func directory(of name: String) -> String {
        guard let slash = name.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "" }
        return String(name[..<slash])
    }

    /// The name without its directory.
    package static func last(of name: String) -> String {
        guard let slash = name.utf8.lastIndex(of: UInt8(ascii: "/")) else { return name }
        return String(name[name.utf8.index(after: slash)...])
    }

    package static func join(_ directory: String, _ name: String) -> String {
        directory.isEmpty ? name : directory + "/" + name
    }

    /// What a file is called until it is complete. Files of such names are rubbish after a crash.
    package static func temporary(for name: String) -> String {
        join(directory(of: name), temporaryPrefix + last(of: name))
    }

    package static let temporaryPrefix = "temp-"
}
