//  The scripts that EVAL and SCRIPT LOAD have brought, by the SHA-1 of their text.
//
//  EVAL finds its script by the text, so that no SHA-1 is computed for one that is known: a keyed hash
//  of our own chooses the candidate and all bytes are compared. Scripts that only EVAL brought give way
//  to others, least recently used first, as in Redis since 7.4.
//
//  Raw memory: names are read as words out of views that the caller lends.

import MartletBase
import MartletLua

/// The name of a script: the 40 hexadecimal digits, in lower case, of the SHA-1 of its text.
struct ScriptName: Hashable, Sendable {
    private let first: UInt64
    private let second: UInt64
    private let third: UInt64
    private let fourth: UInt64
    private let fifth: UInt64

    static let byteCount = 40

    /// The name that a request gives; nil for what has another length. Letters may be capitals; what
    /// are no digits name no script.
    init?(_ digits: ByteView) {
        guard digits.count == Self.byteCount else { return nil }
        self.init(words: digits)
    }

    private init(words digits: ByteView) {
        func word(_ index: Int) -> UInt64 {
            let word = unsafe digits.address.loadUnaligned(
                fromByteOffset: index * 8, as: UInt64.self)
            // Capital letters alone have this bit and not the next.
            let letters = word & 0x4040_4040_4040_4040
            return word | letters >> 1
        }
        (first, second, third, fourth, fifth) = (word(0), word(1), word(2), word(3), word(4))
    }

    /// The name of a text, and its digits.
    static func of(_ text: ByteView) -> (name: ScriptName, digits: [UInt8]) {
        let digits = sha1Digits(text)
        return (digits.withView { ScriptName(words: $0) }, digits)
    }

    /// By the digest itself, which nobody can choose at will: Swift's seeded hash of one word will do.
    func hash(into hasher: inout Hasher) { hasher.combine(first) }
}

/// The SHA-1 of bytes in lower-case hexadecimal digits.
func sha1Digits(_ text: ByteView) -> [UInt8] {
    let digest = SHA1.digest(text)
    var digits: [UInt8] = []
    digits.reserveCapacity(ScriptName.byteCount)
    for index in digest.indices {
        for half in [digest[index] >> 4, digest[index] & 15] {
            digits.append(half < 10 ? UInt8(ascii: "0") + half : UInt8(ascii: "a") + half - 10)
        }
    }
    return digits
}

/// A script that was compiled.
final class Script {
    let name: ScriptName
    /// Its name as errors show it.
    let digits: [UInt8]
    let text: [UInt8]
    let flags: ScriptFlags
    let function: LuaFunction
    /// EVAL alone has brought it: it gives way to others.
    fileprivate(set) var mayGo: Bool
    /// When EVAL or EVALSHA used it last, by the count of such uses.
    fileprivate(set) var lastUse: UInt64 = 0

    init(
        _ name: ScriptName, digits: [UInt8], text: [UInt8], flags: ScriptFlags,
        function: LuaFunction, mayGo: Bool
    ) {
        self.name = name
        self.digits = digits
        self.text = text
        self.flags = flags
        self.function = function
        self.mayGo = mayGo
    }

    /// What Redis counts of it, roughly: text and name.
    var memoryBytes: Int { text.count + digits.count + 160 }
}

/// All scripts. Whoever uses it has the turn: see `Scripts`.
struct ScriptCache {
    private var byName: [ScriptName: Script] = [:]
    /// By a keyed hash of their text; of two that meet, one is not found this way.
    private var byText: [UInt64: Script] = [:]
    private var useCount: UInt64 = 0
    private var goingCount = 0
    private(set) var memoryBytes = 0
    /// The script used last, which most often is the next.
    private var latest: Script?

    /// More scripts of EVAL than this are not kept.
    static let evaluatedMax = 500

    var count: Int { byName.count }

    /// The script of that name.
    mutating func find(_ name: ScriptName) -> Script? {
        if let latest, latest.name == name { return latest }
        guard let script = byName[name] else { return nil }
        latest = script
        return script
    }

    /// The script of that text, whose keyed hash is `hash`, if it is found at once.
    mutating func find(_ text: ByteView, hash: UInt64) -> Script? {
        guard let script = byText[hash], script.text.withView({ $0 == text }) else { return nil }
        latest = script
        return script
    }

    /// Adds a script that is not there.
    ///
    /// - Returns: one that had to go for it.
    mutating func add(_ script: Script, hash: UInt64) -> Script? {
        var evicted: Script?
        if script.mayGo {
            if goingCount >= Self.evaluatedMax {
                evicted = byName.values.lazy.filter(\.mayGo).min { $0.lastUse < $1.lastUse }
                if let evicted { remove(evicted) }
            }
            goingCount += 1
        }
        byName[script.name] = script
        byText[hash] = script
        memoryBytes += script.memoryBytes
        noteUse(script)
        return evicted
    }

    private mutating func remove(_ script: Script) {
        byName[script.name] = nil
        if let hash = byText.first(where: { $0.value === script })?.key { byText[hash] = nil }
        if latest === script { latest = nil }
        memoryBytes -= script.memoryBytes
        goingCount -= 1
    }

    @inline(__always)
    mutating func noteUse(_ script: Script) {
        useCount &+= 1
        script.lastUse = useCount
    }

    /// SCRIPT LOAD has named a script that EVAL had brought: it stays.
    mutating func keep(_ script: Script) {
        if !script.mayGo { return }
        script.mayGo = false
        goingCount -= 1
    }

    /// SCRIPT FLUSH.
    ///
    /// - Returns: what was there.
    mutating func removeAll() -> [Script] {
        defer { self = ScriptCache() }
        return Array(byName.values)
    }
}
