//  SipHash against its definition on byte arrays, and key slots against known ones.

import MartletBase
import Testing

/// SipHash-c-d as the paper defines it, slow and plain.
private func sipHash(
    _ message: [UInt8], key: (UInt64, UInt64), rounds: Int, finalRounds: Int
) -> UInt64 {
    func rotate(_ word: UInt64, _ bits: UInt64) -> UInt64 { word << bits | word >> (64 - bits) }
    var v: [UInt64] = [
        key.0 ^ 0x736f_6d65_7073_6575, key.1 ^ 0x646f_7261_6e64_6f6d,
        key.0 ^ 0x6c79_6765_6e65_7261, key.1 ^ 0x7465_6462_7974_6573,
    ]
    func round() {
        v[0] &+= v[1]
        v[2] &+= v[3]
        v[1] = rotate(v[1], 13) ^ v[0]
        v[3] = rotate(v[3], 16) ^ v[2]
        v[0] = rotate(v[0], 32)
        v[2] &+= v[1]
        v[0] &+= v[3]
        v[1] = rotate(v[1], 17) ^ v[2]
        v[3] = rotate(v[3], 21) ^ v[0]
        v[2] = rotate(v[2], 32)
    }
    var padded = message
    while padded.count % 8 != 7 { padded.append(0) }
    padded.append(UInt8(truncatingIfNeeded: message.count))
    for start in stride(from: 0, to: padded.count, by: 8) {
        let word = padded[start..<start + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        v[3] ^= word
        for _ in 0..<rounds { round() }
        v[0] ^= word
    }
    v[2] ^= 0xff
    for _ in 0..<finalRounds { round() }
    return v[0] ^ v[1] ^ v[2] ^ v[3]
}

@Test func `the model of SipHash gives the paper's example`() {
    let hash = sipHash(
        Array(0...14), key: (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908), rounds: 2,
        finalRounds: 4)
    #expect(hash == 0xa129_ca61_49be_45e5)
}

/// Made by CPython 3.11, whose `hash(bytes)` is SipHash-1-3, under the key zero.
@Test(
    arguments: [
        ("a", 0x4074_48d2_b89b_1813),
        ("ab", 0x5555_08cb_c6ad_d439),
        ("abc", 0xc03b_c3a0_0426_30f2),
        ("martlet", 0xae57_d0a3_57c6_28ea),
        ("martlet:", 0xba38_06e3_9d9b_093c),
        ("user:1000:session", 0xf3ae_e0b1_15fa_8cb6),
        ("0123456789abcdef", 0x1d42_b30f_7e06_0c24),
    ] as [(String, UInt64)])
func `SipHash-1-3 gives what CPython gives`(text: String, expected: UInt64) {
    #expect(text.withView { HashKey(0, 0).hash($0) } == expected)
}

@Test func `the hash is SipHash-1-3 at every length and alignment`() {
    let seed = testSeed()
    var random = Random(seed: seed)
    for count in 0...300 {
        let key = (random.next(), random.next())
        let start = random.index(below: 8)
        let bytes = random.bytes(start + count)
        let expected = sipHash(Array(bytes[start...]), key: key, rounds: 1, finalRounds: 3)
        let hash = bytes.withView { HashKey(key.0, key.1).hash($0.slice(start, start + count)) }
        #expect(hash == expected, "count \(count), seed \(seed)")
    }
}

@Test func `no two hash keys of a process are the same`() {
    let keys = (0..<100).map { _ in HashKey.random() }
    #expect(Set(keys.map(\.low)).count == 100)
    #expect(Set(keys.map(\.high)).count == 100)
}

/// Taken from Redis 7.0's CLUSTER KEYSLOT.
@Test(arguments: [
    ("foo", 12182), ("{user1000}.following", 3443), ("foo{}{bar}", 8363), ("foo{{bar}}zap", 4015),
    ("foo{bar}{zap}", 5061), ("123456789", 12739), ("", 0), ("{}", 15257), ("a{b", 13340),
    ("{a}", 15495), ("a", 15495),
])
func `a key's slot is that of its hash tag`(key: String, slot: Int) {
    #expect(key.withView { keySlot(of: $0) } == slot)
}
