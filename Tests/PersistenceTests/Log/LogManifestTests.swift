//  The manifest as Redis writes and reads it.

import MartletBase
import MartletPersistence
import Testing

struct LogManifestTests {
    private func parse(_ text: String) throws(StorageError) -> LogManifest {
        try text.withView { (view) throws(StorageError) in
            try LogManifest(parsing: view, path: "m")
        }
    }

    @Test func `it is written as Redis does`() throws {
        var manifest = LogManifest()
        manifest.base = .init(name: "appendonly.aof.2.base.rdb", sequence: 2)
        manifest.history = [.init(name: "appendonly.aof.1.incr.aof", sequence: 1)]
        manifest.increments = [.init(name: "a \"b'\\\u{7}.2.incr.aof", sequence: 2)]
        let text = #"""
            file appendonly.aof.2.base.rdb seq 2 type b
            file appendonly.aof.1.incr.aof seq 1 type h
            file "a \"b'\\\a.2.incr.aof" seq 2 type i

            """#
        #expect(String(decoding: manifest.encoded(isChecked: false), as: UTF8.self) == text)
        #expect(try parse(text) == manifest)
        manifest.closedLengths = [2: 77]
        let checked = String(decoding: manifest.encoded(isChecked: true), as: UTF8.self)
        #expect(checked.hasPrefix(text + "#END:2:77\n#CRC:"))
        let read = try parse(checked)
        #expect(read == manifest)
        #expect(read.isChecked)
    }

    @Test func `newer servers may say more`() throws {
        let manifest = try parse(
            "file \"a b.aof.2.incr.aof\" seq 2 type i startoffset 1 endoffset 1\n# seen\n")
        #expect(manifest.increments == [.init(name: "a b.aof.2.incr.aof", sequence: 2)])
    }

    @Test(arguments: [
        "", "\n", "# nothing\n", "file a seq 1 type b", "file a seq 1\n", "file a seq x type b\n",
        "file a seq 0 type b\n", "file a seq 1 type z\n", "file a seq 1 type bb\n",
        "file ../a seq 1 type b\n", "file .. seq 1 type b\n", "file \"a seq 1 type b\n",
        "file a seq 1 type b\nfile b seq 2 type b\n", "file a seq 1 type b\n\n",
        "file a seq 2 type i\nfile b seq 1 type i\n", "file \"a\0b\" seq 1 type b\n",
        "file \"\\xff\" seq 1 type b\n", "file a seq 99999999999999999999 type b\n",
        "file a seq 1 type i\n#END:2:5\n", "file a seq 1 type i\n#END:1:-5\n",
        "file a seq 1 type i\n#CRC:0000000000000000\n",
        "file a seq 1 type i extra\n",
        "file " + String(repeating: "a", count: 1100) + " seq 1 type b\n",
    ])
    func `what is not understood is refused`(_ text: String) {
        #expect(throws: StorageError.self) { try parse(text) }
    }
}
