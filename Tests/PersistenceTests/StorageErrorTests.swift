//  What users read when a file fails them.

import Glibc
import MartletPersistence
import Testing

struct StorageErrorTests {
    @Test func `an error names the call, the file and the reason`() {
        let error = StorageError.system(call: "fsync", path: "dir/a.aof", code: ENOSPC)
        #expect(error.description == "fsync of dir/a.aof failed: No space left on device")
    }

    @Test func `damage names the file and the offset`() {
        let error = StorageError.damaged(path: "a.rdb", offset: 17, reason: "wrong checksum")
        #expect(error.description == "a.rdb is damaged at offset 17: wrong checksum")
    }
}
