//  Values of directives: from the words of a line, and back into the text that CONFIG GET shows.
//
//  Error texts are those of Redis 7, which clients and test suites match.

import MartletBase
import MartletEngine

/// The value of one directive. Which case it is follows from the directive's kind.
package enum ConfigurationValue: Equatable, Sendable {
    case boolean(Bool)
    /// An integer, an octal number, or a count of bytes.
    case integer(Int)
    /// A part of the memory limit.
    case percent(Int)
    case word(String)
    case words([String])
    case text([UInt8])
    case integers([Int])
    case savePoints([SavePoint])
    case outputBufferLimits(OutputBufferLimits)
    case percentiles([Double])
    case keyspaceEvents(KeyspaceEvents)

    static func text(_ text: String) -> ConfigurationValue { .text([UInt8](text.utf8)) }
}

/// `save seconds changes`: a snapshot is due when both have been reached.
package struct SavePoint: Equatable, Sendable {
    package let seconds: Int
    package let changes: Int
}

/// When a client that does not read its replies is closed, by class.
package struct OutputBufferLimits: Equatable, Sendable {
    package struct Limit: Equatable, Sendable {
        /// Closed at once above this many bytes; 0 is no limit.
        package var hardBytes: Int
        /// Closed after `softSeconds` above this many bytes; 0 is no limit.
        package var softBytes: Int
        package var softSeconds: Int
    }

    package var normal = Limit(hardBytes: 0, softBytes: 0, softSeconds: 0)
    package var replica = Limit(hardBytes: 256 << 20, softBytes: 64 << 20, softSeconds: 60)
    package var pubsub = Limit(hardBytes: 32 << 20, softBytes: 8 << 20, softSeconds: 60)
}

/// The classes of events that `notify-keyspace-events` sends.
package struct KeyspaceEvents: OptionSet, Equatable, Sendable {
    package let rawValue: Int

    package init(rawValue: Int) { self.rawValue = rawValue }

    // The bits are those of `EventClasses`, whose letters they follow.
    package static let letters = "Ag$lshzxeKEtmdnoc"

    package static let all = KeyspaceEvents(letters: "g$lshzxetd")

    init(letters: String) {
        var value = 0
        for (bit, letter) in Self.letters.enumerated() where letters.contains(letter) {
            value |= 1 << bit
        }
        rawValue = value
    }

    /// Whether the events of the class with this letter are sent.
    package func contains(letter: Character) -> Bool {
        !isDisjoint(with: KeyspaceEvents(letters: String(letter)))
    }

    /// The letters in the order in which CONFIG GET of Redis shows them: `A` for all classes it
    /// stands for. Redis forgets `n`, `o` and `c` beside `A`; here they are shown, so that they survive
    /// a REWRITE.
    var text: String {
        let isAll = isSuperset(of: .all)
        var text = isAll ? "A" : ""
        for letter in (isAll ? "" : "g$lshzxetd") + "nocKEm" where contains(letter: letter) {
            text.append(letter)
        }
        return text
    }
}

/// Why a value was refused, in the words of Redis.
package struct ValueError: Error, Equatable {
    package let text: String
}

extension Directive {
    /// The value that these words of a line, after the name, stand for.
    ///
    /// - Parameters:
    ///   - words: the words, quotes already removed.
    ///   - current: the value so far; a line for one class of output buffers leaves the others as
    ///     they are.
    /// - Returns: a value of the directive's kind, within its bounds.
    /// - Throws: what is wrong with the words.
    func parse(
        _ words: [[UInt8]], current: ConfigurationValue
    ) throws(ValueError) -> ConfigurationValue {
        for word in words where word.contains(where: { $0 < 0x20 || $0 == 0x7F }) {
            // A line break in a value would become a directive of its own in CONFIG REWRITE.
            throw ValueError(text: "control characters are not allowed")
        }
        var words = words
        if !takesSeveralWords {
            guard words.count == 1 else { throw ValueError(text: "wrong number of arguments") }
        } else if words.count == 1, let list = words.first, !list.isEmpty {
            // A list in one word: CONFIG SET has no other way, a quoted one on the command line means it.
            words = list.split(separator: 0x20).map { [UInt8]($0) }
        }
        let first = words.first ?? []
        switch kind {
        case .boolean:
            switch lowered(first) {
            case "yes": return .boolean(true)
            case "no": return .boolean(false)
            default: throw ValueError(text: "argument must be 'yes' or 'no'")
            }
        case .integer(let range):
            guard let number = strictInteger(first) else {
                throw ValueError(text: "argument couldn't be parsed into an integer")
            }
            return .integer(try bounded(number, range))
        case .octal(let range):
            guard let number = Int(plain(first), radix: 8), number >= 0 else {
                throw ValueError(text: "argument couldn't be parsed into an integer")
            }
            guard range.contains(number) else {
                throw ValueError(
                    text: "argument must be between \(String(range.lowerBound, radix: 8)) and "
                        + "\(String(range.upperBound, radix: 8)) inclusive")
            }
            return .integer(number)
        case .memory(let range):
            guard let bytes = memoryBytes(first) else {
                throw ValueError(text: "argument must be a memory value")
            }
            return .integer(try bounded(bytes, range))
        case .memoryOrPercent: return try memoryOrPercent(first)
        case .memoryLimit:
            if lowered(first) == "auto" { return .word("auto") }
            if first.last == UInt8(ascii: "%") { return try memoryOrPercent(first) }
            guard let bytes = memoryBytes(first) else {
                throw ValueError(text: "argument must be a memory value")
            }
            return .integer(bytes)
        case .choice(let allowed):
            guard let word = allowed.first(where: { $0.lowercased() == lowered(first) }) else {
                throw notOne(of: allowed)
            }
            return .word(word)
        case .choices(let allowed): return try choices(words, of: allowed)
        case .text: return .text(first)
        case .fileName:
            guard !first.contains(UInt8(ascii: "/")), !first.isEmpty else {
                throw ValueError(text: "\(name) can't be a path, just a filename")
            }
            return .text(first)
        case .words(let count):
            guard count.contains(words.count) else {
                throw ValueError(text: "wrong number of arguments")
            }
            return .words(words.map { String(decoding: $0, as: UTF8.self) }.filter { !$0.isEmpty })
        case .integers(let count, let range):
            guard words.count == count else { throw ValueError(text: "wrong number of arguments") }
            var numbers: [Int] = []
            for word in words {
                guard let number = strictInteger(word), range.contains(number) else {
                    throw ValueError(
                        text: "Invalid \(name), elements must be between "
                            + "\(range.lowerBound) and \(range.upperBound).")
                }
                numbers.append(number)
            }
            return .integers(numbers)
        case .savePoints: return try savePoints(words)
        case .outputBufferLimits: return try outputBufferLimits(words, current: current)
        case .percentiles: return try percentiles(words)
        case .keyspaceEvents:
            let letters = plain(first)
            for letter in letters where !KeyspaceEvents.letters.contains(letter) {
                throw ValueError(
                    text: "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
            }
            var events = KeyspaceEvents(letters: letters)
            if events.contains(letter: "A") {
                events.formUnion(.all)
                events.remove(KeyspaceEvents(letters: "A"))
            }
            return .keyspaceEvents(events)
        }
    }

    /// The text of `value` as CONFIG GET shows it.
    package func format(_ value: ConfigurationValue) -> [UInt8] {
        switch value {
        case .boolean(let flag): [UInt8]((flag ? "yes" : "no").utf8)
        case .integer(let number):
            if case .octal = kind {
                [UInt8](String(number, radix: 8).utf8)
            } else {
                [UInt8](String(number).utf8)
            }
        case .percent(let percent): [UInt8]("\(percent)%".utf8)
        case .word(let word): [UInt8](word.utf8)
        case .words(let words): [UInt8](words.joined(separator: " ").utf8)
        case .text(let bytes): bytes
        case .integers(let numbers):
            [UInt8](numbers.map { String($0) }.joined(separator: " ").utf8)
        case .savePoints(let points):
            [UInt8](points.map { "\($0.seconds) \($0.changes)" }.joined(separator: " ").utf8)
        case .outputBufferLimits(let limits):
            // CONFIG GET keeps the old name of the replica class: tools parse it.
            [UInt8](
                limits.classes(replica: "slave").map { "\($0.name) \($0.text)" }
                    .joined(separator: " ").utf8)
        case .percentiles(let numbers):
            [UInt8](numbers.map { shortest($0) }.joined(separator: " ").utf8)
        case .keyspaceEvents(let events): [UInt8](events.text.utf8)
        }
    }

    private func memoryOrPercent(_ text: [UInt8]) throws(ValueError) -> ConfigurationValue {
        if text.last == UInt8(ascii: "%") {
            guard let percent = strictInteger([UInt8](text.dropLast())), percent >= 0 else {
                throw ValueError(text: "argument must be a memory or percent value")
            }
            guard percent <= 100 else {
                throw ValueError(text: "percentage argument must be less or equal to 100")
            }
            return .percent(percent)
        }
        guard let bytes = memoryBytes(text) else {
            throw ValueError(text: "argument must be a memory or percent value")
        }
        return .integer(bytes)
    }

    private func choices(
        _ words: [[UInt8]], of allowed: [String]
    ) throws(ValueError) -> ConfigurationValue {
        var chosen: [String] = []
        for word in words {
            guard let match = allowed.first(where: { $0.lowercased() == lowered(word) }) else {
                throw notOne(of: allowed)
            }
            if !chosen.contains(match) { chosen.append(match) }
        }
        guard !chosen.isEmpty else { throw notOne(of: allowed) }
        // The first word stands for none of the others, so beside another it says nothing.
        if chosen.count > 1, let none = allowed.first { chosen.removeAll { $0 == none } }
        if chosen.contains("save") && chosen.contains("nosave") {
            throw ValueError(
                text: "shutdown options SAVE and NOSAVE can't be used simultaneously")
        }
        return .words(allowed.filter { chosen.contains($0) })
    }

    private func savePoints(_ words: [[UInt8]]) throws(ValueError) -> ConfigurationValue {
        if words.count == 1, words.first?.isEmpty ?? true { return .savePoints([]) }
        guard words.count >= 2, words.count % 2 == 0 else {
            throw ValueError(text: "Invalid save parameters")
        }
        var points: [SavePoint] = []
        for index in stride(from: 0, to: words.count, by: 2) {
            guard let seconds = strictInteger(words[index]), seconds >= 1,
                let changes = strictInteger(words[index + 1]), changes >= 0
            else { throw ValueError(text: "Invalid save parameters") }
            points.append(SavePoint(seconds: seconds, changes: changes))
        }
        return .savePoints(points)
    }

    private func outputBufferLimits(
        _ words: [[UInt8]], current: ConfigurationValue
    ) throws(ValueError) -> ConfigurationValue {
        var limits = OutputBufferLimits()
        if case .outputBufferLimits(let now) = current { limits = now }
        let words = words.filter { !$0.isEmpty }
        guard words.count % 4 == 0 else {
            throw ValueError(text: "Wrong number of arguments in buffer limit configuration.")
        }
        for index in stride(from: 0, to: words.count, by: 4) {
            let className = lowered(words[index])
            guard ["normal", "replica", "slave", "pubsub"].contains(className) else {
                throw ValueError(
                    text: "Invalid client class specified in buffer limit configuration.")
            }
            guard let hard = memoryBytes(words[index + 1]),
                let soft = memoryBytes(words[index + 2]),
                let seconds = strictInteger(words[index + 3]), seconds >= 0
            else {
                throw ValueError(
                    text: "Error in hard, soft or soft_seconds setting in buffer limit "
                        + "configuration.")
            }
            let limit = OutputBufferLimits.Limit(
                hardBytes: hard, softBytes: soft, softSeconds: seconds)
            switch className {
            case "normal": limits.normal = limit
            case "pubsub": limits.pubsub = limit
            default: limits.replica = limit
            }
        }
        return .outputBufferLimits(limits)
    }

    private func percentiles(_ words: [[UInt8]]) throws(ValueError) -> ConfigurationValue {
        if words.count == 1, words.first?.isEmpty ?? true { return .percentiles([]) }
        var numbers: [Double] = []
        for word in words {
            guard let number = Double(plain(word)), !number.isNaN else {
                throw ValueError(text: "Invalid \(name) parameters")
            }
            guard number >= 0, number <= 100 else {
                throw ValueError(text: "\(name) parameters should sit between [0.0,100.0]")
            }
            numbers.append(number)
        }
        return .percentiles(numbers)
    }

    private func notOne(of allowed: [String]) -> ValueError {
        ValueError(
            text: "argument(s) must be one of the following: \(allowed.joined(separator: ", "))")
    }
}

extension OutputBufferLimits {
    /// The three classes with the text of their limits; `replica` is what that class is called.
    func classes(replica replicaName: String) -> [(name: String, text: String)] {
        [("normal", normal), (replicaName, replica), ("pubsub", pubsub)].map {
            ($0.0, "\($0.1.hardBytes) \($0.1.softBytes) \($0.1.softSeconds)")
        }
    }
}

/// `number`, when it lies in `range`.
private func bounded(_ number: Int, _ range: ClosedRange<Int>) throws(ValueError) -> Int {
    guard range.contains(number) else {
        throw ValueError(
            text: "argument must be between \(range.lowerBound) and \(range.upperBound) inclusive")
    }
    return number
}

/// The integer that `text` is the canonical decimal form of: no sign but `-`, no leading zeros.
private func strictInteger(_ text: [UInt8]) -> Int? {
    text.withView { $0.parseInteger() }.map { Int($0) }
}

/// A number of bytes with an optional unit, or nil; one beyond what an `Int` holds is none either.
private func memoryBytes(_ text: [UInt8]) -> Int? {
    text.withView { $0.parseMemorySize() }.flatMap { Int(exactly: $0) }
}

/// The number with at most six decimals and no trailing zeros, as Redis shows percentiles.
func shortest(_ number: Double) -> String {
    let millionths = Int((number * 1_000_000).rounded())
    let whole = millionths / 1_000_000
    var fraction = String(millionths % 1_000_000)
    fraction = String(repeating: "0", count: 6 - fraction.count) + fraction
    while fraction.hasSuffix("0") { fraction.removeLast() }
    return fraction.isEmpty ? String(whole) : "\(whole).\(fraction)"
}

private func plain(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

private func lowered(_ bytes: [UInt8]) -> String { plain(bytes).lowercased() }
