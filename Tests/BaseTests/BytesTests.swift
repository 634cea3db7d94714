//  Owned bytes and the comparison of secrets.

import MartletBase
import Testing

@Test func `bytes are equal, hashed and ordered by value`() {
    let seed = testSeed()
    var random = Random(seed: seed)
    for _ in 0..<2_000 {
        let left = random.bytes(upTo: 4, from: [0, 1, 0x61, 0xFF])
        let right = random.bytes(upTo: 4, from: [0, 1, 0x61, 0xFF])
        #expect((Bytes(left) == Bytes(right)) == (left == right), "seed \(seed)")
        #expect(
            (Bytes(left) < Bytes(right)) == left.lexicographicallyPrecedes(right), "seed \(seed)")
        #expect(Set([Bytes(left), Bytes(right)]).count == (left == right ? 1 : 2), "seed \(seed)")
    }
}

@Test func `bytes from text, literals and views are the same`() {
    let bytes = Bytes("martlet" as String)
    #expect(bytes == Bytes("martlet" as StaticString))
    #expect(bytes.withView { Bytes($0) } == bytes)
    #expect(bytes.string == "martlet")
    #expect(Bytes().isEmpty && bytes.count == 7)
}

@Test func `secrets compare as their bytes do`() {
    func same(_ left: StaticString, _ right: StaticString) -> Bool {
        ByteView(left).equalsInConstantTime(ByteView(right))
    }
    #expect(same("", ""))
    #expect(same("hunter2", "hunter2"))
    #expect(!same("hunter2", "hunter3"))
    #expect(!same("hunter2", "Hunter2"))
    #expect(!same("hunter2", "hunter"))
}
