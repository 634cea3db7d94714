//  Seeds and random bytes for the tests of the engine.

import Glibc
import MartletBase

/// The seed of a random test: `MARTLET_TEST_SEED` replays a failure, else every run is new.
func testSeed() -> UInt64 {
    if let given = unsafe getenv("MARTLET_TEST_SEED"),
        let seed = unsafe UInt64(String(cString: given))
    {
        return seed
    }
    return systemRandomWord()
}

extension Random {
    /// Exactly `count` bytes of any value.
    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
    }
}
