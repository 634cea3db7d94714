//  What the tests of the byte vocabulary share.

import Glibc
import MartletBase

/// The seed of a random test: `MARTLET_TEST_SEED`, which `make fuzz` draws and prints. Without it
/// each run is the same: a change must not fail by chance for what was there before it.
func testSeed() -> UInt64 {
    if let given = unsafe getenv("MARTLET_TEST_SEED"),
        let seed = unsafe UInt64(String(cString: given))
    {
        return seed
    }
    return 1
}

extension Random {
    /// Up to `countMax` bytes, each from `alphabet`.
    mutating func bytes(upTo countMax: Int, from alphabet: [UInt8]) -> [UInt8] {
        (0..<index(below: countMax + 1)).map { _ in alphabet[index(below: alphabet.count)] }
    }

    /// Exactly `count` bytes of any value.
    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
    }

    /// An integer whose length in bits is uniform, so that small ones are as common as great ones.
    mutating func integer() -> Int64 {
        Int64(truncatingIfNeeded: next()) >> Int64(index(below: 64))
    }
}

/// What `body` appends to an empty buffer, as text.
func appended(_ body: (inout ByteBuffer) -> Void) -> String {
    var buffer = ByteBuffer()
    body(&buffer)
    return buffer.view.string
}
