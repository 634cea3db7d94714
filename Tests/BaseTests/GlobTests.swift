//  Patterns against a model that reads them into elements first, and against answers taken from
//  Redis 7.0.

import MartletBase
import Testing

/// One element of a pattern: a star, or the set of bytes that one byte of the text must be in.
private enum Element {
    case star
    case byte(Set<UInt8>)
}

private let everyByte = Set(UInt8.min...UInt8.max)

private func foldedCase(_ byte: UInt8) -> UInt8 {
    (0x41...0x5A).contains(byte) ? byte + 32 : byte
}

/// The bytes of a range, whose ends may stand either way round.
private func range(_ from: UInt8, _ through: UInt8, ignoringCase: Bool) -> Set<UInt8> {
    func value(_ byte: UInt8) -> Int8 {
        Int8(bitPattern: ignoringCase ? foldedCase(byte) : byte)
    }
    let isReversed = Int8(bitPattern: from) > Int8(bitPattern: through)
    let low = value(isReversed ? through : from)
    let high = value(isReversed ? from : through)
    return everyByte.filter { value($0) >= low && value($0) <= high }
}

/// Reads a pattern. Each class becomes the set of bytes it holds, byte by byte.
private func elements(of pattern: [UInt8], ignoringCase: Bool) -> [Element] {
    func like(_ byte: UInt8) -> Set<UInt8> {
        ignoringCase ? everyByte.filter { foldedCase($0) == foldedCase(byte) } : [byte]
    }
    var result: [Element] = []
    var rest = pattern[...]
    while let byte = rest.popFirst() {
        switch Character(Unicode.Scalar(byte)) {
        case "*":
            result.append(.star)
        case "?":
            result.append(.byte(everyByte))
        case "[":
            var members: Set<UInt8> = []
            let isNegated = rest.first == UInt8(ascii: "^")
            if isNegated { rest.removeFirst() }
            while let member = rest.popFirst() {
                if member == UInt8(ascii: "\\"), let escaped = rest.popFirst() {
                    members.insert(escaped)
                } else if member == UInt8(ascii: "]") {
                    break
                } else if rest.count >= 2, rest.first == UInt8(ascii: "-") {
                    rest.removeFirst()
                    members.formUnion(range(member, rest.removeFirst(), ignoringCase: ignoringCase))
                } else {
                    members.formUnion(like(member))
                }
            }
            result.append(.byte(isNegated ? everyByte.subtracting(members) : members))
        case "\\":
            result.append(.byte(like(rest.popFirst() ?? byte)))
        default:
            result.append(.byte(like(byte)))
        }
    }
    return result
}

/// Matches by a table: `reachable[i]` says whether the elements so far match the first i bytes.
private func modelMatches(_ text: [UInt8], _ pattern: [UInt8], ignoringCase: Bool) -> Bool {
    if text.isEmpty { return pattern.isEmpty }
    var reachable = [Bool](repeating: false, count: text.count + 1)
    reachable[0] = true
    for element in elements(of: pattern, ignoringCase: ignoringCase) {
        var next = [Bool](repeating: false, count: text.count + 1)
        switch element {
        case .star:
            var isReached = false
            for index in 0...text.count {
                isReached = isReached || reachable[index]
                next[index] = isReached
            }
        case .byte(let members):
            for index in 0..<text.count where reachable[index] && members.contains(text[index]) {
                next[index + 1] = true
            }
        }
        reachable = next
    }
    return reachable[text.count]
}

private func matches(_ text: [UInt8], _ pattern: [UInt8], ignoringCase: Bool = false) -> Bool {
    text.withView { text in
        pattern.withView { text.matches($0, ignoringCase: ignoringCase) }
    }
}

@Test(
    arguments: [
        ("hello", "h?llo", true), ("hello", "h*llo", true), ("hello", "h[ae]llo", true),
        ("hello", "h[^e]llo", false), ("hello", "h[a-e]llo", true), ("hello", "h[e-a]llo", true),
        ("hello", "*", true), ("hello", "hell\\o", true), ("h*llo", "h\\*llo", true),
        ("hello", "h\\*llo", false), ("a]c", "a[]]c", false), ("a-c", "a[x-]c", false),
        ("ab", "a[b", true), ("ab", "a[", false), ("ab", "a[^", true), ("a\\", "a\\", true),
        ("", "", true), ("", "*", false), ("", "**", false), ("a", "", false), ("a", "a**", true),
        ("mississippi", "*issip*", true), ("mississippi", "m*si", false), ("HELLO", "hello", false),
    ] as [(String, String, Bool)])
func `a pattern matches what Redis says it matches`(
    text: String, pattern: String, expected: Bool
) {
    #expect(matches(Array(text.utf8), Array(pattern.utf8)) == expected)
}

@Test func `case is ignored when asked, not for escapes in a class`() {
    func matchesFolded(_ text: String, _ pattern: String) -> Bool {
        matches(Array(text.utf8), Array(pattern.utf8), ignoringCase: true)
    }
    #expect(matchesFolded("MaxMemory", "maxmem*"))
    #expect(matchesFolded("ABC", "[a-c]b[C-C]"))
    #expect(matchesFolded("a", "[A]"))
    #expect(!matchesFolded("a", "[\\A]"))
}

@Test func `ranges compare bytes as signed numbers`() {
    let pattern: [UInt8] = [0x5B, 0x61, 0x2D, 0xFE, 0x5D]
    #expect(matches([0xFF], pattern))
    #expect(matches([0x20], pattern))
    #expect(!matches([0x80], pattern))
}

@Test func `random patterns match what the model says`() {
    let seed = testSeed()
    var random = Random(seed: seed)
    let patternBytes = Array("**??[[]]^-\\\\aabbcABz".utf8) + [0x80, 0xFF, 0]
    let textBytes = Array("aabbcABz-]".utf8) + [0x80, 0xFF, 0]
    var hits = 0
    for _ in 0..<20_000 {
        let pattern = random.bytes(upTo: 10, from: patternBytes)
        let text = random.bytes(upTo: 8, from: textBytes)
        let ignoringCase = random.index(below: 2) == 1
        let expected = modelMatches(text, pattern, ignoringCase: ignoringCase)
        if expected { hits += 1 }
        let answer = matches(text, pattern, ignoringCase: ignoringCase)
        #expect(answer == expected, "\(text) \(pattern) \(ignoringCase), seed \(seed)")
        if answer != expected { return }
    }
    #expect(hits > 200, "the test sees matches, too")
}

@Test func `CVE-2022-36021: many stars do not cost exponential time`() {
    let text = [UInt8](repeating: 0x61, count: 10_000)
    let pattern = [UInt8]((0..<500).flatMap { _ in [0x61, 0x2A] } + [0x62])
    #expect(!matches(text, pattern))
}

@Test func `CVE-2024-31228: a long pattern does not recurse`() {
    let pattern = [UInt8]((0..<50_000).flatMap { _ in [0x2A, 0x3F] })
    #expect(!matches(Array("abc".utf8), pattern))
    #expect(matches([UInt8](repeating: 0x61, count: 50_000), pattern))
}

@Test func `a pattern made to go back for ever gives up`() {
    let text = [UInt8](repeating: 0x61, count: 2_000_000)
    let pattern = [0x2A] + [UInt8](repeating: 0x61, count: 100_000) + [0x62]
    #expect(!matches(text, pattern))
}
