//  The storage on the disk: modes, errors, and a file that stays open while it is synced.

import Foundation
import Glibc
import MartletBase
import MartletPersistence
import Testing

struct DiskStorageTests {
    @Test func `what is made belongs to its owner only, whatever the umask`() throws {
        try withScratchDirectory { path throws in
            // None at all: a mask that takes more away would take it from the tests beside this one.
            let old = umask(0)
            defer { umask(old) }
            let storage = try DiskStorage(path)
            try storage.makeDirectory("log")
            try storage.makeDirectory("log")
            _ = try storage.create("log/one")
            #expect(mode(StorageName.join(path, "log")) == 0o700)
            #expect(mode(StorageName.join(path, "log/one")) == 0o600)
        }
    }

    @Test func `what was appended is read, cut, renamed, listed and unlinked`() throws {
        try withScratchDirectory { path throws in
            let storage = try DiskStorage(path)
            let file = try storage.create("one")
            try file.append(ByteView("hello world"))
            try file.sync()
            #expect(file.size == 11)
            var buffer = ByteBuffer()
            #expect(try file.read(at: 6, count: 100, into: &buffer) == 5)
            #expect(buffer.view.string == "world")
            try file.truncate(to: 5)
            try file.append(ByteView("!"))
            #expect(try storage.read("one", bytesMax: 100) == Array("hello!".utf8))
            try storage.rename("one", to: "two")
            try storage.syncDirectory("")
            #expect(try storage.list("") == ["two"])
            #expect(try storage.size("one") == nil)
            #expect(try storage.size("two") == 6)
            try storage.unlink("two")
            #expect(try storage.list("") == [])
            #expect(try storage.list("nowhere") == [])
        }
    }

    @Test func `a name that is taken is not written over`() throws {
        try withScratchDirectory { path throws in
            let storage = try DiskStorage(path)
            try storage.create("one").append(ByteView("kept"))
            #expect(
                throws: StorageError.system(call: "open", path: path + "/one", code: EEXIST)
            ) { _ = try storage.create("one") }
            #expect(try storage.read("one", bytesMax: 4) == Array("kept".utf8))
            #expect(throws: StorageError.system(call: "read", path: "one", code: EFBIG)) {
                try storage.read("one", bytesMax: 3)
            }
        }
    }

    @Test func `what the system refuses is told with call, path and reason`() throws {
        try withScratchDirectory { path throws in
            let storage = try DiskStorage(path)
            #expect(
                throws: StorageError.system(call: "open", path: path + "/none", code: ENOENT)
            ) { _ = try storage.open("none") }
            #expect(
                throws: StorageError.system(call: "unlink", path: path + "/none", code: ENOENT)
            ) { try storage.unlink("none") }
            _ = try storage.create("plain")
            #expect(
                throws: StorageError.system(call: "mkdirat", path: path + "/plain", code: ENOTDIR)
            ) { try storage.makeDirectory("plain") }
            // A device that is always full.
            try #require(unsafe symlink("/dev/full", path + "/full") == 0)
            let full = try storage.open("full")
            #expect(
                throws: StorageError.system(call: "write", path: path + "/full", code: ENOSPC)
            ) { try full.append(ByteView("x")) }
        }
    }

    @Test func `a sync that failed fails for ever`() throws {
        try withScratchDirectory { path throws in
            let storage = try DiskStorage(path)
            // A pipe cannot be synced.
            try #require(unsafe mkfifo(path + "/pipe", 0o600) == 0)
            let pipe = try storage.open("pipe")
            #expect(
                throws: StorageError.system(call: "fdatasync", path: path + "/pipe", code: EINVAL)
            ) { try pipe.sync() }
            #expect(
                throws: StorageError.system(call: "fdatasync", path: path + "/pipe", code: EIO)
            ) { try pipe.sync() }
        }
    }

    @Test func `a file is replaced whole, and nothing is left beside it`() throws {
        try withScratchDirectory { path throws in
            let storage = try DiskStorage(path)
            var isCertain = false
            for text in ["old" as StaticString, "new"] {
                try storage.replace("file", with: ByteView(text), isCertain: &isCertain)
                #expect(isCertain)
            }
            #expect(try storage.list("") == ["file"])
            #expect(try storage.read("file", bytesMax: 3) == Array("new".utf8))
        }
    }

    private func mode(_ path: String) -> UInt32? {
        var status = stat()
        return unsafe stat(path, &status) == 0 ? status.st_mode & 0o777 : nil
    }
}

/// Lends the path of a directory that is removed afterwards.
func withScratchDirectory(_ body: (String) throws -> Void) throws {
    let directory = FileManager.default.temporaryDirectory
        .appending(path: "martlet-test-\(systemRandomWord())")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    try body(directory.path)
}
