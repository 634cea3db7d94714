//  The values in force, and the only way to change them.
//
//  One `Configuration` is made at the start from files, environment and command line. Afterwards
//  CONFIG SET changes it, all parameters of a call or none. Readers take the `settings`, an
//  immutable snapshot; `version` tells in one load whether it is worth taking anew. Nothing here
//  is on the hot path.

import MartletBase
import Synchronization

/// Why a CONFIG subcommand answers with an error; `text` is all of it, the code included.
package struct ConfigurationRejection: Error, Equatable {
    package let text: String
}

/// A line for the log about a directive that was not taken as written.
package struct ConfigurationNote: Equatable, Sendable {
    package let level: LogLevel
    package let text: String
}

/// All directives with their values.
package final class Configuration: Sendable {
    /// Called after CONFIG SET applied a change, with the settings before and after. It may refuse,
    /// with a reason for the client; then all values go back, and who was called before is called
    /// again with the two exchanged.
    package typealias Observer = @Sendable (Settings, Settings) throws(ValueError) -> Void

    private struct State {
        var values: [ConfigurationValue]
        var settings: Settings
    }

    private struct Registration {
        let numbers: Set<Int>
        let body: Observer
    }

    private let state: Locked<State>
    private let observers = Locked<[Registration]>([])
    /// Held by CONFIG SET and REWRITE from start to end; taken before `state`.
    private let changing = Locked<Void>(())
    private let changes = Atomic<Int>(0)

    /// The file that CONFIG REWRITE writes, absolute, or nil when there is none.
    package let path: String?
    /// What the log shall say about lines that were not taken as written.
    package let notes: [ConfigurationNote]

    /// The configuration of `lines`, the later ones winning.
    ///
    /// - Throws: the first line that is unknown or malformed, or that asks for a missing feature
    ///   which must not be left out silently.
    init(
        lines: [DirectiveLine], path: String? = nil, warnings: [String] = []
    ) throws(ConfigurationError) {
        var values = Directive.table.map { $0.initial }
        var notes = warnings.map { ConfigurationNote(level: .warning, text: $0) }
        var last: [Int: DirectiveLine] = [:]
        for line in lines {
            guard let number = Directive.numbers[line.name], line.name != "include" else {
                throw unknownDirective(line)
            }
            let directive = Directive.table[number]
            let value: ConfigurationValue
            do throws(ValueError) {
                value = try directive.parse(line.values, current: values[number])
            } catch {
                throw ConfigurationError(
                    origin: line.origin,
                    line: ConfigurationSource.shown(line.text, name: line.name),
                    reason: error.text, allowed: "\(directive.name) takes \(directive.allowed)")
            }
            if directive.traits.contains(.repeats) {
                if let note = try note(on: line, directive) { notes.append(note) }
                continue
            }
            if let before = last[number], before.origin.isSameSource(as: line.origin) {
                values[number] = added(value, to: values[number])
            } else {
                values[number] = value
            }
            last[number] = line
        }
        for (number, line) in last.sorted(by: { $0.key < $1.key }) {
            let directive = Directive.table[number]
            guard values[number] != directive.initial,
                let note = try note(on: line, directive)
            else { continue }
            notes.append(note)
            if case .awaiting = directive.standing { values[number] = directive.initial }
        }
        self.path = path
        self.notes = notes
        state = Locked(State(values: values, settings: Settings(values)))
    }

    /// The values in force, as one snapshot.
    package var settings: Settings { state.withLock { $0.settings } }

    /// Grows with each change of a value.
    package var version: Int { changes.load(ordering: .acquiring) }

    /// Has `body` called after each CONFIG SET that changed one of `names`.
    ///
    /// - Precondition: each of `names` is a directive.
    package func onChange(of names: String..., call body: @escaping Observer) {
        var numbers: Set<Int> = []
        for name in names {
            guard let number = Directive.numbers[name] else {
                preconditionFailure("no directive is called \(name)")
            }
            numbers.insert(number)
        }
        let registration = Registration(numbers: numbers, body: body)
        observers.withLock { $0.append(registration) }
    }

    // MARK: CONFIG GET

    /// Names and values of the directives that one of `patterns` matches, each once: in the order
    /// of the table, a directive before its aliases.
    package func get(matching patterns: [[UInt8]]) -> [(name: String, value: [UInt8])] {
        let values = state.withLock { $0.values }
        var found: [(name: String, value: [UInt8])] = []
        for (directive, value) in zip(Directive.table, values)
        where !directive.traits.contains(.fileOnly) {
            for name in [directive.name] + directive.aliases
            where patterns.contains(where: { matches(name, directive, $0) }) {
                found.append((name, directive.format(value)))
            }
        }
        return found
    }

    /// The value of one directive as CONFIG GET shows it, or nil when there is no such directive.
    package func text(of name: String) -> String? {
        get(matching: [[UInt8](name.utf8)]).first.map { String(decoding: $0.value, as: UTF8.self) }
    }

    // MARK: CONFIG SET

    /// Sets name and value pairs, all of them or none.
    ///
    /// - Parameters:
    ///   - arguments: name, value, name, value ...
    ///   - isLocal: whether the client is connected from this machine.
    /// - Throws: the error for the client, in Redis' words.
    package func set(
        _ arguments: [[UInt8]], isLocal: Bool = false
    ) throws(ConfigurationRejection) {
        guard !arguments.isEmpty else {
            throw ConfigurationRejection(
                text: "ERR wrong number of arguments for 'config|set' command")
        }
        guard arguments.count % 2 == 0 else {
            throw ConfigurationRejection(text: "ERR syntax error")
        }
        let parameters = stride(from: 0, to: arguments.count, by: 2).map {
            Parameter(name: arguments[$0], value: arguments[$0 + 1])
        }
        try changing.withLock { (_: inout Void) throws(ConfigurationRejection) in
            try change(parameters, isLocal: isLocal)
        }
    }

    private struct Parameter {
        let name: [UInt8]
        let value: [UInt8]
    }

    private func change(
        _ parameters: [Parameter], isLocal: Bool
    ) throws(ConfigurationRejection) {
        let before = state.withLock { $0 }
        var numbers: [Int] = []
        for parameter in parameters {
            let name = String(decoding: parameter.name, as: UTF8.self)
            guard let number = Directive.numbers[name.lowercased()],
                !Directive.table[number].traits.contains(.fileOnly)
            else {
                throw ConfigurationRejection(
                    text: "ERR Unknown option or number of arguments for CONFIG SET - "
                        + "'\(LogLine.escaped(name))'")
            }
            let traits = Directive.table[number].traits
            if traits.contains(.immutable) {
                throw rejection(parameter, "can't set immutable config")
            }
            if traits.contains(.protected) && !allowsProtected(before.settings, isLocal: isLocal) {
                throw rejection(parameter, "can't set protected config")
            }
            if numbers.contains(number) { throw rejection(parameter, "duplicate parameter") }
            numbers.append(number)
        }

        var values = before.values
        for (number, parameter) in zip(numbers, parameters) {
            do throws(ValueError) {
                values[number] = try newValue(number, parameter.value, current: values[number])
            } catch {
                throw rejection(parameter, error.text)
            }
        }

        let changed = numbers.filter { values[$0] != before.values[$0] }
        guard !changed.isEmpty else { return }
        let after = State(values: values, settings: Settings(values))
        publish(after)
        try tell(changed, before, after) { number in
            zip(numbers, parameters).first { $0.0 == number }?.1
        }
    }

    /// The value that CONFIG SET gives directive `number`.
    private func newValue(
        _ number: Int, _ text: [UInt8], current: ConfigurationValue
    ) throws(ValueError) -> ConfigurationValue {
        let directive = Directive.table[number]
        let value = try directive.parse([text], current: current)
        switch directive.standing {
        case .inForce, .withoutEffect: break
        case .awaiting(let feature), .refused(let feature):
            // A value that is in force anyway is no lie: tools send `save ""` and `appendonly no`.
            if value != directive.initial {
                throw ValueError(text: "Martlet does not have \(feature) yet")
            }
        }
        return value
    }

    /// Calls the observers of `changed`; when one refuses, undoes everything.
    private func tell(
        _ changed: [Int], _ before: State, _ after: State, parameter: (Int) -> Parameter?
    ) throws(ConfigurationRejection) {
        let concerned = observers.withLock { $0 }.filter { !$0.numbers.isDisjoint(with: changed) }
        for (position, registration) in concerned.enumerated() {
            do throws(ValueError) {
                try registration.body(before.settings, after.settings)
            } catch {
                publish(before)
                for told in concerned[..<position].reversed() {
                    // Going back to what was in force before cannot be worse than staying.
                    try? told.body(after.settings, before.settings)
                }
                let blamed = changed.first { registration.numbers.contains($0) }
                guard let parameter = blamed.flatMap({ parameter($0) }) else {
                    throw ConfigurationRejection(text: "ERR CONFIG SET failed - \(error.text)")
                }
                throw rejection(parameter, error.text)
            }
        }
    }

    private func publish(_ next: State) {
        state.withLock { $0 = next }
        changes.wrappingAdd(1, ordering: .releasing)
    }

    private func rejection(_ parameter: Parameter, _ reason: String) -> ConfigurationRejection {
        let name = LogLine.escaped(String(decoding: parameter.name, as: UTF8.self))
        return ConfigurationRejection(
            text: "ERR CONFIG SET failed (possibly related to argument '\(name)') - \(reason)")
    }

    // MARK: CONFIG REWRITE

    /// Writes the values in force into the file the configuration came from.
    ///
    /// - Throws: the error for the client; the file is then as it was.
    package func rewrite() throws(ConfigurationRejection) {
        guard let path else {
            throw ConfigurationRejection(text: "ERR The server is running without a config file")
        }
        try changing.withLock { (_: inout Void) throws(ConfigurationRejection) in
            let values = state.withLock { $0.values }
            do throws(SystemError) {
                let target = SystemFile.resolved(path)
                var old: [UInt8] = []
                if SystemFile.exists(target) {
                    old = try SystemFile.read(
                        target, bytesMax: ConfigurationSource.fileBytesMax)
                }
                try SystemFile.replace(
                    target, with: ConfigurationRewrite.text(replacing: old, values: values))
            } catch {
                throw ConfigurationRejection(text: "ERR Rewriting config file: \(error.text)")
            }
        }
    }

    // MARK: The working directory

    /// Makes `dir` the working directory, and its absolute path the value in force.
    ///
    /// - Throws: `ConfigurationError` when it cannot be entered.
    package func enterDirectory() throws(ConfigurationError) {
        let directory = settings.directory
        do throws(SystemError) {
            try SystemFile.enter(directory)
        } catch {
            throw ConfigurationError(
                origin: nil, line: "", reason: "Can't chdir to '\(directory)': \(error.text)",
                allowed: "dir takes a directory that exists and may be entered")
        }
        guard let number = Directive.numbers["dir"] else { return }
        state.withLock {
            $0.values[number] = .text(SystemFile.workingDirectory)
            $0.settings = Settings($0.values)
        }
    }
}

/// Whether `pattern` names `name`, or is a glob that matches it. Hidden directives are found by
/// their full name alone.
private func matches(_ name: String, _ directive: Directive, _ pattern: [UInt8]) -> Bool {
    name.withView { view in
        pattern.withView { pattern in
            if directive.traits.contains(.hidden) {
                return view.count == pattern.count
                    && view.matches(pattern, ignoringCase: true)
            }
            return view.matches(pattern, ignoringCase: true)
        }
    }
}

private func allowsProtected(_ settings: Settings, isLocal: Bool) -> Bool {
    switch settings.protectedConfigs {
    case .yes: true
    case .local: isLocal
    case .no: false
    }
}

/// Lines of one source add save points, and an empty one forgets them, as in Redis.
private func added(
    _ value: ConfigurationValue, to before: ConfigurationValue
) -> ConfigurationValue {
    guard case .savePoints(let more) = value, case .savePoints(let points) = before, !more.isEmpty
    else { return value }
    return .savePoints(points + more)
}

/// What to say about a line of a directive whose feature is missing.
private func note(
    on line: DirectiveLine, _ directive: Directive
) throws(ConfigurationError) -> ConfigurationNote? {
    let place = "\(line.origin.short): '\(line.name)'"
    switch directive.standing {
    case .inForce: return nil
    case .withoutEffect(let reason):
        return ConfigurationNote(level: .notice, text: "\(place) has no effect: \(reason)")
    case .awaiting(let feature):
        return ConfigurationNote(
            level: .warning,
            text: "\(place) is not in force: Martlet does not have \(feature) yet")
    case .refused(let feature):
        throw ConfigurationError(
            origin: line.origin, line: ConfigurationSource.shown(line.text, name: line.name),
            reason: "Martlet does not have \(feature) yet, and will not start as if it had",
            allowed: "leave '\(line.name)' out")
    }
}

private func unknownDirective(_ line: DirectiveLine) -> ConfigurationError {
    // A misspelt secret is still a secret.
    let near = nearestName(to: line.name)
    let isSecret = near.flatMap { Directive.named($0) }?.traits.contains(.secret) ?? false
    return ConfigurationError(
        origin: line.origin,
        line: isSecret
            ? "\(LogLine.escaped(line.name)) (redacted)"
            : ConfigurationSource.shown(line.text, name: line.name),
        reason: "Bad directive or wrong number of arguments",
        allowed: near.map { "did you mean '\($0)'?" }
            ?? "a directive of redis.conf; 'martlet --help' tells more")
}

/// The directive whose name is at most two slips away from `name`, or nil.
private func nearestName(to name: String) -> String? {
    let letters = [UInt8](name.utf8.prefix(64))
    var best: (name: String, slips: Int)?
    for candidate in Directive.numbers.keys.sorted() {
        let slips = editDistance(letters, [UInt8](candidate.utf8))
        if slips <= 2, slips < best?.slips ?? .max { best = (candidate, slips) }
    }
    return best?.name
}

/// How many letters must be inserted, removed or replaced to turn one into the other.
private func editDistance(_ left: [UInt8], _ right: [UInt8]) -> Int {
    var row = [Int](0...right.count)
    for (i, a) in left.enumerated() {
        var diagonal = row[0]
        row[0] = i + 1
        for (j, b) in right.enumerated() {
            let above = row[j + 1]
            row[j + 1] = min(above + 1, row[j] + 1, diagonal + (a == b ? 0 : 1))
            diagonal = above
        }
    }
    return row[right.count]
}
