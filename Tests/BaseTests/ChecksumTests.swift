//  XXH3, CRC-64, SHA-1 and SHA-256 against published examples and other programs' answers.

import MartletBase
import Testing

/// The message of `count` bytes that the vectors below were made from.
private func message(_ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: (UInt64($0) &* 2_654_435_761) >> 13) }
}

private func sha1(_ bytes: [UInt8]) -> String {
    appended { out in bytes.withView { out.append(hexadecimal: SHA1.digest($0)) } }
}

private func sha256(_ bytes: [UInt8]) -> String {
    appended { out in bytes.withView { out.append(hexadecimal: SHA256.digest($0)) } }
}

private func digits(of word: UInt64) -> String {
    appended { $0.append(hexadecimal: word) }
}

/// Made by the reference library, version 0.8.
@Test(arguments: [
    (0, "2d06800538d394c2"), (1, "c44bdff4074eecdb"), (3, "a1c4a8259b827291"),
    (4, "bb4e3d89ee0b271d"), (8, "79d02238b80e37b1"), (9, "f64cecc4271ff461"),
    (16, "222e9aead6bddd51"), (17, "47aad6b375eb4bba"), (128, "421a9c905c6e66ba"),
    (129, "9e2414800f83768a"), (240, "b714c5fd22744964"), (241, "bc424a2c480dd281"),
    (1_024, "1fd15e7d36f5e1bc"), (1_025, "fe08e5a874d23fd2"), (1_100, "8269609553ccf49c"),
    (65_536, "32152aa15c5ff65a"), (1_000_003, "b6c4165033e2eeee"),
])
func `XXH3 gives what the reference gives`(count: Int, expected: String) {
    #expect(digits(of: message(count).withView { xxh3($0) }) == expected)
}

/// The SHA-256 of all 1 101 reference digests, big endian, one after the other.
@Test func `XXH3 gives what the reference gives at every length up to 1 100`() {
    var all: [UInt8] = []
    for count in 0...1_100 {
        let hash = message(count).withView { xxh3($0) }
        for shift in stride(from: 56, through: 0, by: -8) {
            all.append(UInt8(truncatingIfNeeded: hash >> UInt64(shift)))
        }
    }
    #expect(sha256(all) == "c5168638b829dd96e8c3c6676dee8edb19be07fc0227f97f79d40c92215a70cc")
}

@Test(arguments: [
    ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
    ("return 1", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"),
])
func `SHA-1 gives the published digests`(text: String, expected: String) {
    #expect(sha1(Array(text.utf8)) == expected)
}

@Test(arguments: [
    ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
])
func `SHA-256 gives the published digests`(text: String, expected: String) {
    #expect(sha256(Array(text.utf8)) == expected)
}

/// The SHA-256 of all 300 digests, made by Python's hashlib: every place of the padding.
@Test func `both SHAs give what Python gives at every length up to 299`() {
    var allSHA1: [UInt8] = []
    var allSHA256: [UInt8] = []
    for count in 0..<300 {
        message(count).withView { bytes in
            let short = SHA1.digest(bytes)
            let long = SHA256.digest(bytes)
            for index in 0..<20 { allSHA1.append(short[index]) }
            for index in 0..<32 { allSHA256.append(long[index]) }
        }
    }
    #expect(sha256(allSHA1) == "fb0be0b1e9c4d932838a347270e338cb7a863e035629d22b84c866f612d8bb1c")
    #expect(
        sha256(allSHA256) == "9ab256e89f6736998d6f4e9d0b4179b4b83ec5606e27fe6820978e79b55984d8")
}

@Test func `a message in parts has the checksums of the whole`() {
    let seed = testSeed()
    var random = Random(seed: seed)
    for _ in 0..<300 {
        let bytes = random.bytes(random.index(below: 400))
        var short = SHA1()
        var long = SHA256()
        var crc = CRC64()
        bytes.withView { view in
            var start = 0
            while start < view.count {
                let end = start + 1 + random.index(below: view.count - start)
                let part = view.slice(start, end)
                short.update(part)
                long.update(part)
                crc.update(part)
                start = end
            }
        }
        #expect(appended { $0.append(hexadecimal: short.finish()) } == sha1(bytes), "seed \(seed)")
        #expect(appended { $0.append(hexadecimal: long.finish()) } == sha256(bytes), "seed \(seed)")
        #expect(crc.value == bytes.withView { CRC64.checksum($0) }, "seed \(seed)")
        #expect(crc.value == bitwiseCRC64(bytes), "seed \(seed)")
    }
}

/// The definition: a bit at a time.
private func bitwiseCRC64(_ bytes: [UInt8]) -> UInt64 {
    var crc: UInt64 = 0
    for byte in bytes {
        crc ^= UInt64(byte)
        for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0x95AC_9329_AC4B_C9B5 : crc >> 1 }
    }
    return crc
}

@Test func `CRC-64 gives the published check value`() {
    #expect(CRC64.checksum(ByteView("123456789")) == 0xE9C6_D914_C4B8_D9CA)
}

/// DUMP of a string by Redis 7.0: value, version, and the checksum of both, little endian.
@Test func `CRC-64 is the checksum of Redis' DUMP`() {
    let text =
        "001f6d6172746c657420736179732068656c6c6f20746f2074686520776f726c640a00a51a28ecca681e99"
    let payload = stride(from: 0, to: text.utf8.count, by: 2).compactMap { offset -> UInt8? in
        let start = text.index(text.startIndex, offsetBy: offset)
        return UInt8(text[start...].prefix(2), radix: 16)
    }
    let stored = payload.suffix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
    #expect(Array(payload.dropLast(8)).withView { CRC64.checksum($0) } == stored)
}
