//  Seeds and random bytes for the tests of the engine.

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
    /// Exactly `count` bytes of any value.
    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
    }
}
