//  Patterns of KEYS, SCAN, PSUBSCRIBE, CONFIG GET and ACL rules.
//
//      *        any bytes, none included        [abc]    one of these bytes
//      ?        one byte                        [^abc]   one byte that is none of these
//      \x       x itself                        [a-z]    one byte of the range, either way round
//
//  Clients depend on Redis' answers down to the odd ones, so these hold as well:
//  - A class that is not closed ends with the pattern; `[^` alone matches any one byte.
//  - In `[a-]` the range runs up to `]`, and the class goes on behind it.
//  - Bytes in a range compare as signed numbers, as on the machines Redis runs on: `[a-\xFF]` is the
//    range from -1 to 97.
//  - Case is not ignored for an escaped byte inside a class.
//  - Empty text matches the empty pattern only, not `*`.
//
//  The matcher is iterative and goes back to the last star only: what stands before that star has
//  matched as early as it can, so no other choice there can help (CVE-2022-36021 and CVE-2024-31228
//  are matchers that tried them all, or recursed).

extension ByteView {
    /// Whether all of these bytes match `pattern`.
    ///
    /// - Parameters:
    ///   - pattern: any bytes; every sequence of bytes is a legal pattern.
    ///   - ignoringCase: whether ASCII letters match in either case.
    /// - Returns: false, too, when going back has cost `Limits.globStepsMax` steps: such a pattern
    ///   is an attack and may not hold a shard.
    /// - Complexity: O(n + m) for patterns that people write, O(n * m) at worst, n = bytes of the
    ///   text, m = bytes of the pattern.
    package func matches(_ pattern: ByteView, ignoringCase: Bool = false) -> Bool {
        if isEmpty { return pattern.isEmpty }
        var textIndex = 0
        var patternIndex = 0
        // Where the pattern goes on behind the last star, and which byte it was last tried at.
        var afterStar = -1
        var triedAt = 0
        var steps = 0

        while textIndex < count {
            var next = patternIndex
            if patternIndex < pattern.count {
                let element = pattern.unchecked(patternIndex)
                let byte = unchecked(textIndex)
                if element == UInt8(ascii: "*") {
                    patternIndex = pattern.endOfStars(from: patternIndex)
                    if patternIndex == pattern.count { return true }
                    afterStar = patternIndex
                    triedAt = textIndex
                    continue
                }
                let isMatch: Bool
                if Self.isPlain(element) {
                    next += 1
                    isMatch = element == byte || ignoringCase && lowered(element) == lowered(byte)
                } else {
                    isMatch = pattern.elementMatches(byte, at: &next, ignoringCase: ignoringCase)
                }
                if isMatch {
                    patternIndex = next
                    textIndex += 1
                    continue
                }
            }
            if afterStar < 0 { return false }
            steps += next - afterStar
            if steps > Limits.globStepsMax { return false }
            triedAt += 1
            // A plain byte behind the star tells where the next try can begin.
            let first = pattern[afterStar]
            if !ignoringCase && Self.isPlain(first) {
                guard let found = firstIndex(of: first, from: triedAt) else { return false }
                triedAt = found
            }
            textIndex = triedAt
            patternIndex = afterStar
        }
        // Text is used up. Trying a later start would only leave less of it.
        return pattern.endOfStars(from: patternIndex) == pattern.count
    }

    private func endOfStars(from start: Int) -> Int {
        var index = start
        while index < count && self[index] == UInt8(ascii: "*") { index += 1 }
        return index
    }

    /// Whether the byte stands for itself; a star is told apart before.
    @inline(__always)
    private static func isPlain(_ byte: UInt8) -> Bool {
        byte != UInt8(ascii: "?") && byte != UInt8(ascii: "[") && byte != UInt8(ascii: "\\")
    }

    /// Whether the element of this pattern at `index`, no star, matches `byte`; moves `index` behind
    /// the element either way.
    private func elementMatches(_ byte: UInt8, at index: inout Int, ignoringCase: Bool) -> Bool {
        switch self[index] {
        case UInt8(ascii: "?"):
            index += 1
            return true
        case UInt8(ascii: "["):
            index += 1
            return classMatches(byte, at: &index, ignoringCase: ignoringCase)
        case UInt8(ascii: "\\") where index + 1 < count:
            index += 1
        default:
            break
        }
        let wanted = self[index]
        index += 1
        return wanted == byte || ignoringCase && lowered(wanted) == lowered(byte)
    }

    /// Whether the class whose first byte after `[` is at `index` holds `byte`; moves `index`
    /// behind the class.
    private func classMatches(_ byte: UInt8, at index: inout Int, ignoringCase: Bool) -> Bool {
        let isNegated = index < count && self[index] == UInt8(ascii: "^")
        if isNegated { index += 1 }
        var isMember = false
        while index < count {
            let here = self[index]
            let left = count - index
            if here == UInt8(ascii: "\\") && left >= 2 {
                if self[index + 1] == byte { isMember = true }
                index += 2
            } else if here == UInt8(ascii: "]") {
                index += 1
                break
            } else if left >= 3 && self[index + 1] == UInt8(ascii: "-") {
                if rangeHolds(byte, here, self[index + 2], ignoringCase: ignoringCase) {
                    isMember = true
                }
                index += 3
            } else {
                if here == byte || ignoringCase && lowered(here) == lowered(byte) {
                    isMember = true
                }
                index += 1
            }
        }
        return isMember != isNegated
    }

    private func rangeHolds(
        _ byte: UInt8, _ from: UInt8, _ through: UInt8, ignoringCase: Bool
    ) -> Bool {
        var low = Int8(bitPattern: from)
        var high = Int8(bitPattern: through)
        var wanted = Int8(bitPattern: byte)
        if low > high { swap(&low, &high) }
        if ignoringCase {
            // In this order, as Redis does it: [Z-a] becomes z to a and holds nothing.
            low = Int8(bitPattern: lowered(UInt8(bitPattern: low)))
            high = Int8(bitPattern: lowered(UInt8(bitPattern: high)))
            wanted = Int8(bitPattern: lowered(UInt8(bitPattern: wanted)))
        }
        return wanted >= low && wanted <= high
    }
}

/// The lower-case form of an ASCII letter; any other byte is itself.
@inlinable @inline(__always)
package func lowered(_ byte: UInt8) -> UInt8 {
    byte &- 0x41 < 26 ? byte | 0x20 : byte
}
