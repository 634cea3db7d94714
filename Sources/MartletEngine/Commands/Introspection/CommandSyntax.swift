//  A command's `syntax` taken apart: what COMMAND DOCS lists as arguments, and how many there are.
//
//      key value [NX | XX] [EX seconds | PX milliseconds]
//      numkeys key [key ...] [LIMIT offset count]
//      <ON | OFF>
//
//  Capitals are sent as they stand, other words are values. Brackets enclose what may be left out,
//  angles what belongs together; `|` parts alternatives. A part in brackets that ends with `...` repeats
//  what stands before it, one in angles repeats itself. A word in capitals takes the values behind it,
//  up to the next one.
//
//  Syntaxes are ours, fixed when the server is built; nothing here sees a client's bytes.

/// One argument in the words of COMMAND DOCS.
package struct DocumentedArgument: Equatable {
    package enum Kind: String, Sendable {
        case string, integer, double, key, pattern
        case unixTime = "unix-time"
        case pureToken = "pure-token"
        case oneOf = "oneof"
        case block
    }

    package var name: String
    package var kind: Kind
    /// The number of the key specification that finds this key.
    package var keySpec: Int?
    /// What stands before the argument, or is all of it.
    package var token: String?
    package var isOptional = false
    package var isMultiple = false
    /// The token is repeated with each value.
    package var repeatsToken = false
    package var children: [DocumentedArgument] = []

    /// This argument and all below it.
    package var flattened: [DocumentedArgument] { [self] + children.flatMap(\.flattened) }
}

/// A syntax as a tree.
package struct CommandSyntax {
    /// What a syntax consists of.
    private indirect enum Part: Equatable {
        case value(String)
        case token(String)
        case dots
        case optional([[Part]])
        case group([[Part]])
        case repeated([Part])
    }

    private let alternatives: [[Part]]
    private let keys: [KeySpec]
    private let firstPosition: Int
    private let incrementsAreFloats: Bool

    /// - Parameter command: its syntax is read; its key specifications tell which values are keys.
    package init(_ command: Command) {
        self.init(
            command.syntax, keys: command.keys, firstPosition: command.parent == nil ? 1 : 2,
            incrementsAreFloats: command.name.hasSuffix("FLOAT"))
    }

    init(
        _ text: String, keys: [KeySpec] = [], firstPosition: Int = 1,
        incrementsAreFloats: Bool = false
    ) {
        var words = Self.words(text)[...]
        alternatives = Self.alternatives(&words).map { parts in
            parts.last == .dots ? Self.withRepeatedLast(parts.dropLast()) : parts
        }
        self.keys = keys
        self.firstPosition = firstPosition
        self.incrementsAreFloats = incrementsAreFloats
    }

    // MARK: Reading

    /// Words and marks, in order.
    private static func words(_ text: String) -> [String] {
        var words: [String] = []
        var word = ""
        for character in text {
            if "[]<>|".contains(character) || character == " " {
                if !word.isEmpty { words.append(word) }
                word = ""
                if character != " " { words.append(String(character)) }
            } else {
                word.append(character)
            }
        }
        return word.isEmpty ? words : words + [word]
    }

    /// Sequences up to the closing mark, which is taken.
    private static func alternatives(_ words: inout ArraySlice<String>) -> [[Part]] {
        var all: [[Part]] = [[]]
        while let word = words.popFirst() {
            switch word {
            case "]", ">": return all.map(folded)
            case "|": all.append([])
            case "[": all[all.count - 1].append(.optional(alternatives(&words)))
            case "<": all[all.count - 1].append(.group(alternatives(&words)))
            case "...": all[all.count - 1].append(.dots)
            default:
                let isToken =
                    word.contains(where: \.isUppercase) && !word.contains(where: \.isLowercase)
                all[all.count - 1].append(isToken ? .token(word) : .value(word))
            }
        }
        return all.map(folded)
    }

    /// Joins `x y [x y ...]`, `<x ...>` and `<x | y> ...` into one repeated part each. Dots at the end
    /// stay: they belong to the brackets around them.
    private static func folded(_ parts: [Part]) -> [Part] {
        var folded: [Part] = []
        for (index, part) in parts.enumerated() {
            switch part {
            case .group(let inner) where inner.count == 1 && inner[0].last == .dots:
                folded.append(.repeated(Array(inner[0].dropLast())))
            case .optional(let inner) where inner.count == 1 && inner[0].last == .dots:
                let body = Array(inner[0].dropLast())
                if folded.suffix(body.count).elementsEqual(body) {
                    folded.removeLast(body.count)
                    folded.append(.repeated(body))
                } else {
                    folded.append(.optional([[.repeated(body)]]))
                }
            case .dots where index < parts.count - 1:
                folded = withRepeatedLast(folded)
            default:
                folded.append(part)
            }
        }
        return folded
    }

    private static func withRepeatedLast(_ parts: [Part]) -> [Part] {
        guard let last = parts.last else { return parts }
        var parts = parts
        if case .optional(let inner) = last {
            parts[parts.count - 1] = .optional([[.repeated([.group(inner)])]])
        } else {
            parts[parts.count - 1] = .repeated([last])
        }
        return parts
    }

    // MARK: Counting

    /// The fewest and the most words that fit; nil for no bound.
    package var wordCounts: (fewest: Int, most: Int?) { Self.counts(alternatives) }

    private static func counts(_ alternatives: [[Part]]) -> (fewest: Int, most: Int?) {
        let each = alternatives.map { parts in
            parts.map(counts).reduce((fewest: 0, most: Int?.some(0))) { sum, next in
                var most: Int?
                if let left = sum.most, let right = next.most { most = left + right }
                return (sum.fewest + next.fewest, most)
            }
        }
        let fewest = each.map(\.fewest).min() ?? 0
        if each.contains(where: { $0.most == nil }) { return (fewest, nil) }
        return (fewest, each.compactMap(\.most).max() ?? 0)
    }

    private static func counts(_ part: Part) -> (fewest: Int, most: Int?) {
        switch part {
        case .value, .token: (1, 1)
        case .dots: (0, nil)
        case .optional(let inner): (0, counts(inner).most)
        case .group(let inner): counts(inner)
        case .repeated(let body): (counts([body]).fewest, nil)
        }
    }

    // MARK: Documenting

    /// The arguments as COMMAND DOCS lists them.
    package func arguments() -> [DocumentedArgument] {
        var position: Int? = firstPosition
        if alternatives.count > 1 { return [oneOf(alternatives, &position)] }
        return sequence(alternatives[0], &position)
    }

    /// The arguments of parts that are sent one after the other. `position` is the number of the next
    /// argument in a request, nil where that depends on what came before.
    private func sequence(_ parts: [Part], _ position: inout Int?) -> [DocumentedArgument] {
        var all: [DocumentedArgument] = []
        var rest = parts[...]
        while let part = rest.popFirst() {
            guard case .token(let token) = part else {
                if let argument = single(part, &position) { all.append(argument) }
                continue
            }
            position = position.map { $0 + 1 }
            var operands: [Part] = []
            while let next = rest.first, Self.isOperand(next) {
                operands.append(next)
                rest = rest.dropFirst()
            }
            all.append(tokenArgument(token, sequence(operands, &position)))
        }
        return all
    }

    private static func isOperand(_ part: Part) -> Bool {
        switch part {
        case .value, .group, .repeated: true
        case .token, .dots, .optional: false
        }
    }

    private func tokenArgument(
        _ token: String, _ operands: [DocumentedArgument]
    ) -> DocumentedArgument {
        let name = token.lowercased()
        if operands.isEmpty {
            return DocumentedArgument(name: name, kind: .pureToken, token: token)
        }
        if operands.count == 1, operands[0].token == nil {
            if let spec = keys.firstIndex(where: { $0.stands(behind: name) }) {
                return DocumentedArgument(
                    name: operands[0].name, kind: .key, keySpec: spec, token: token)
            }
            var argument = operands[0]
            argument.token = token
            return argument
        }
        var children = operands
        if let spec = keys.firstIndex(where: { $0.stands(behind: name) }) {
            children[0].kind = .key
            children[0].keySpec = spec
        }
        return DocumentedArgument(name: name, kind: .block, token: token, children: children)
    }

    private func single(_ part: Part, _ position: inout Int?) -> DocumentedArgument? {
        switch part {
        case .token, .dots:
            // A token is taken with its operands; dots without anything to repeat say nothing.
            return nil
        case .value(let name):
            return value(name, &position)
        case .group(let inner):
            return inner.count > 1
                ? oneOf(inner, &position) : block(sequence(inner[0], &position))
        case .optional(let inner):
            var argument =
                inner.count > 1 ? oneOf(inner, &position) : block(sequence(inner[0], &position))
            argument.isOptional = true
            position = nil
            return argument
        case .repeated(let body):
            var argument = block(sequence(body, &position))
            argument.isMultiple = true
            if case .token? = body.first { argument.repeatsToken = true }
            position = nil
            return argument
        }
    }

    /// One argument as it is, several as a block named after the first.
    private func block(_ arguments: [DocumentedArgument]) -> DocumentedArgument {
        if arguments.count == 1 { return arguments[0] }
        let name = arguments.map(\.name).joined(separator: "-")
        return DocumentedArgument(name: name, kind: .block, children: arguments)
    }

    private func oneOf(_ alternatives: [[Part]], _ position: inout Int?) -> DocumentedArgument {
        var ends: Set<Int?> = []
        let choices = alternatives.map { parts in
            var end = position
            let choice = block(sequence(parts, &end))
            ends.insert(end)
            return choice
        }
        position = ends.count == 1 ? ends.first ?? nil : nil
        let name = choices.map(\.name).joined(separator: "-")
        return DocumentedArgument(name: name, kind: .oneOf, children: choices)
    }

    private func value(_ name: String, _ position: inout Int?) -> DocumentedArgument {
        let here = position
        position = here.map { $0 + 1 }
        if name == "\"\"" {
            return DocumentedArgument(name: "empty-string", kind: .pureToken, token: "")
        }
        if let here, let spec = keys.firstIndex(where: { $0.covers(here) }),
            !keys[spec].flags.contains(.notKey)
        {
            return DocumentedArgument(name: name, kind: .key, keySpec: spec)
        }
        if let spec = keys.firstIndex(where: { $0.isMeant(by: name) }) {
            let kind = name == "pattern" ? DocumentedArgument.Kind.pattern : .key
            return DocumentedArgument(name: name, kind: kind, keySpec: spec)
        }
        return DocumentedArgument(name: name, kind: kind(ofValue: name))
    }

    private func kind(ofValue name: String) -> DocumentedArgument.Kind {
        if name.hasPrefix("unix-time") { return .unixTime }
        if name == "pattern" { return .pattern }
        if name == "increment" && incrementsAreFloats { return .double }
        if Self.doubleNames.contains(name) { return .double }
        return Self.integerNames.contains(name) ? .integer : .string
    }

    /// Values that have fractions wherever they appear.
    private static let doubleNames: Set<String> = [
        "height", "latitude", "longitude", "radius", "width",
    ]

    /// Values that are whole numbers wherever they appear.
    private static let integerNames: Set<String> = [
        "bit", "client-id", "count", "cursor", "db", "decrement", "destination-db", "end",
        "increment", "index", "index1", "index2", "len", "maxage", "milliseconds", "min-match-len",
        "numfields", "numkeys", "offset", "port", "protover", "seconds", "start", "timeout",
    ]
}

extension KeySpec {
    /// Whether its key is what stands behind this word.
    fileprivate func stands(behind word: String) -> Bool {
        switch find {
        case .behind(let own), .halfBehind(let own): word == "\(own)"
        case .listed(let own?, _): word == "\(own)"
        default: false
        }
    }

    /// Whether a value behind options is a key that no position tells.
    fileprivate func isMeant(by name: String) -> Bool {
        switch find {
        case .found: name == "destination"
        case .unknown: name == "pattern"
        case .range, .counted, .behind, .halfBehind, .listed: false
        }
    }

    /// Whether the argument at this place is one of its keys, whatever the request's length.
    fileprivate func covers(_ position: Int) -> Bool {
        switch find {
        case .range(let last, let step):
            position >= first && (last < 0 || position <= first + last)
                && (position - first) % step == 0
        case .listed(nil, _): position == first
        case .behind, .halfBehind, .listed, .found, .unknown: false
        case .counted(_, let firstKey, let step):
            position >= first + firstKey && (position - first - firstKey) % step == 0
        }
    }
}
