//  Directories for the files of spawned servers, on the disk of the test.

import Foundation
import Testing

@testable import LoadGenerator

@Suite(.serialized) struct DataDirectoryTests {
    private func write(_ count: Int, _ path: String) -> Bool {
        FileManager.default.createFile(atPath: path, contents: Data(repeating: 7, count: count))
    }

    @Test func `a directory is new, and goes with all it holds`() throws {
        let parent = NSTemporaryDirectory()
        let first = try DataDirectory(in: parent)
        let second = try DataDirectory(in: parent)
        #expect(first.path != second.path)
        let inner = try first.makeDirectory("server")
        #expect(write(3, inner + "/.hidden"))
        #expect(write(3, first.path + "/file"))
        #expect(throws: BenchmarkError.self) { try first.makeDirectory("server") }
        first.remove()
        second.remove()
        #expect(!FileManager.default.fileExists(atPath: first.path))
        #expect(!FileManager.default.fileExists(atPath: second.path))
        second.remove()
    }

    @Test func `a copy has every file and byte`() throws {
        let directory = try DataDirectory(in: NSTemporaryDirectory())
        defer { directory.remove() }
        let source = try directory.makeDirectory("source")
        let target = try directory.makeDirectory("target")
        let inner = try directory.makeDirectory("source/inner")
        #expect(write(0, source + "/empty"))
        #expect(write(3 << 20, inner + "/large"))
        try copyTree(from: source, to: target)
        #expect(treeBytes(target) == 3 << 20)
        #expect(FileManager.default.contents(atPath: target + "/empty")?.count == 0)
        #expect(
            FileManager.default.contentsEqual(
                atPath: inner + "/large",
                andPath: [target, "inner", "large"].joined(separator: "/")))
    }

    @Test func `a directory in a place that is not there is refused`() {
        #expect(throws: BenchmarkError.self) { try DataDirectory(in: "/nonexistent/place") }
    }
}
