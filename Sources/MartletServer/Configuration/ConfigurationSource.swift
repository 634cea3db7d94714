//  Where directives come from at the start: a file and what it includes, the environment, the
//  command line. Each source becomes a list of directive lines; later lines win.

import Glibc
import MartletBase

/// One directive as somebody wrote it, and where.
struct DirectiveLine: Equatable {
    let origin: ConfigurationOrigin
    /// The line as written, for messages.
    let text: [UInt8]
    /// The name in lower case.
    let name: String
    let values: [[UInt8]]
}

/// Where a directive was written.
package enum ConfigurationOrigin: Equatable, Sendable {
    case file(String, line: Int)
    case standardInput(line: Int)
    case environment(String)
    case commandLine

    var text: String {
        switch self {
        case .file(let path, let line): "Reading the configuration file \(path), at line \(line)"
        case .standardInput(let line):
            "Reading the configuration from the standard input, at line \(line)"
        case .environment(let name): "Reading the environment variable \(name)"
        case .commandLine: "Reading the command line"
        }
    }

    /// Whether both come from files, both from the environment, or both from the command line.
    func isSameSource(as other: ConfigurationOrigin) -> Bool {
        switch (self, other) {
        case (.environment, .environment), (.commandLine, .commandLine): true
        case (.environment, _), (.commandLine, _), (_, .environment), (_, .commandLine): false
        default: true
        }
    }

    /// The same in a few characters, for warnings: `martlet.conf:12`.
    var short: String {
        switch self {
        case .file(let path, let line): "\(path):\(line)"
        case .standardInput(let line): "standard input:\(line)"
        case .environment(let name): name
        case .commandLine: "command line"
        }
    }
}

/// Why the configuration cannot be taken; the start ends with it.
package struct ConfigurationError: Error, Equatable {
    let origin: ConfigurationOrigin?
    /// The line at fault, secrets replaced.
    let line: String
    /// What is wrong with it.
    let reason: String
    /// What would be right, if there is something to say.
    let allowed: String?

    /// The block that supervisors and test suites look for on standard error.
    package var text: String {
        var text = "\n*** FATAL CONFIG FILE ERROR (Martlet \(Version.text)) ***\n"
        if let origin { text += origin.text + "\n>>> '\(line)'\n" }
        text += reason + "\n"
        if let allowed { text += "Allowed: \(allowed)\n" }
        return text
    }
}

/// Reads directives from a file and what it includes, and from the environment.
enum ConfigurationSource {
    /// How deep files may include each other; a file that includes itself ends here.
    static let includeDepthMax = 16
    /// A configuration file is a few hundred lines; more than this is not one.
    static let fileBytesMax = 16 << 20

    /// The lines of the file at `path`, those of included files in their places.
    static func file(_ path: String) throws(ConfigurationError) -> [DirectiveLine] {
        try file(path, depth: 0, includedFrom: nil)
    }

    /// The lines of `bytes`, as read from the standard input.
    static func standardInput(_ bytes: [UInt8]) throws(ConfigurationError) -> [DirectiveLine] {
        try lines(bytes, directory: "", depth: 0) { .standardInput(line: $0) }
    }

    /// The directives among environment variables, and what to warn of.
    ///
    /// `MARTLET_TCP_BACKLOG=511` is `tcp-backlog 511`. A variable of no known name is a warning and
    /// not an error: Kubernetes gives every container `MARTLET_SERVICE_HOST` and the like, and
    /// `MARTLET_PORT=tcp://...`, where a service is called martlet.
    static func environment(
        _ variables: [(name: String, value: [UInt8])]
    ) throws(ConfigurationError) -> (lines: [DirectiveLine], warnings: [String]) {
        var names: [String: String] = [:]
        for name in Directive.numbers.keys { names[environmentName(name)] = name }
        var lines: [DirectiveLine] = []
        var warnings: [String] = []
        for variable in variables where variable.name.hasPrefix("MARTLET_") {
            guard let name = names[variable.name] else {
                warnings.append("\(variable.name): no directive has this name; ignored")
                continue
            }
            if name == "port" && variable.value.starts(with: "tcp://".utf8) {
                warnings.append("MARTLET_PORT: a service link, not a port number; ignored")
                continue
            }
            let origin = ConfigurationOrigin.environment(variable.name)
            var values = [variable.value]
            if Directive.named(name)?.takesSeveralWords ?? false, !variable.value.isEmpty {
                guard let words = ConfigurationLine.split(variable.value) else {
                    throw unbalanced(origin, variable.value, name: name)
                }
                values = words
            }
            lines.append(
                DirectiveLine(
                    origin: origin, text: [UInt8]("\(name) ".utf8) + variable.value, name: name,
                    values: values))
        }
        return (lines, warnings)
    }

    /// The directives of `--name value ...` arguments.
    ///
    /// As in Redis 7: what follows a name is its value even if it begins with `--`, except after
    /// `--save`, which then means `--save ""`; `"--port 6380"` in one argument is both.
    static func commandLine(_ arguments: [[UInt8]]) throws(ConfigurationError) -> [DirectiveLine] {
        var lines: [DirectiveLine] = []
        var name: String?
        var values: [[UInt8]] = []
        func finish() {
            guard let name else { return }
            let empty: [[UInt8]] = name == "save" && values.isEmpty ? [[]] : values
            let text = empty.map(ConfigurationLine.quote).joined(separator: [0x20])
            lines.append(
                DirectiveLine(
                    origin: .commandLine, text: [UInt8]("\(name) ".utf8) + text, name: name,
                    values: empty))
        }
        for argument in arguments {
            let isName = argument.starts(with: "--".utf8)
            guard isName && (name == nil || name == "save" || !values.isEmpty) else {
                guard name != nil else {
                    throw ConfigurationError(
                        origin: .commandLine, line: String(decoding: argument, as: UTF8.self),
                        reason: "Bad directive or wrong number of arguments",
                        allowed: "[FILE | -] [--name value ...]")
                }
                values.append(argument)
                continue
            }
            finish()
            guard let words = ConfigurationLine.split([UInt8](argument.dropFirst(2))) else {
                throw unbalanced(.commandLine, argument, name: "")
            }
            name = String(decoding: words.first ?? [], as: UTF8.self).lowercased()
            values = [[UInt8]](words.dropFirst())
        }
        finish()
        return lines
    }

    static func environmentName(_ name: String) -> String {
        "MARTLET_" + name.uppercased().map { $0 == "-" ? "_" : String($0) }.joined()
    }

    private static func file(
        _ path: String, depth: Int, includedFrom includer: DirectiveLine?
    ) throws(ConfigurationError) -> [DirectiveLine] {
        let bytes: [UInt8]
        do throws(SystemError) {
            bytes = try SystemFile.read(path, bytesMax: fileBytesMax)
        } catch {
            throw ConfigurationError(
                origin: includer?.origin,
                line: includer.map { String(decoding: $0.text, as: UTF8.self) } ?? "",
                reason: "can't open config file '\(path)': \(error.text)", allowed: nil)
        }
        let slash = path.utf8.lastIndex(of: UInt8(ascii: "/"))
        let directory = slash.map { String(path[...$0]) } ?? ""
        return try lines(bytes, directory: directory, depth: depth) { .file(path, line: $0) }
    }

    private static func lines(
        _ bytes: [UInt8], directory: String, depth: Int, origin: (Int) -> ConfigurationOrigin
    ) throws(ConfigurationError) -> [DirectiveLine] {
        var lines: [DirectiveLine] = []
        var number = 0
        for raw in bytes.split(separator: 0x0A, omittingEmptySubsequences: false) {
            number += 1
            let text = trimmed(raw)
            guard let first = text.first, first != UInt8(ascii: "#") else { continue }
            guard let words = ConfigurationLine.split(text) else {
                let name = text.prefix { !ConfigurationLine.isSpace($0) }
                throw unbalanced(
                    origin(number), text, name: String(decoding: name, as: UTF8.self))
            }
            guard let name = words.first else { continue }
            let line = DirectiveLine(
                origin: origin(number), text: text,
                name: String(decoding: name, as: UTF8.self).lowercased(),
                values: [[UInt8]](words.dropFirst()))
            guard line.name == "include" else {
                lines.append(line)
                continue
            }
            lines += try included(line, directory: directory, depth: depth)
        }
        return lines
    }

    private static func included(
        _ line: DirectiveLine, directory: String, depth: Int
    ) throws(ConfigurationError) -> [DirectiveLine] {
        func refuse(_ reason: String) -> ConfigurationError {
            ConfigurationError(
                origin: line.origin, line: String(decoding: line.text, as: UTF8.self),
                reason: reason, allowed: "include PATH, which may contain * ? [ ]")
        }
        guard line.values.count == 1, let value = line.values.first, !value.isEmpty else {
            throw refuse("wrong number of arguments")
        }
        guard depth < includeDepthMax else {
            throw refuse("files include each other more than \(includeDepthMax) deep")
        }
        let pattern = String(decoding: value, as: UTF8.self)
        // Redis looks from the working directory alone. A file beside the including one is what
        // is most often meant, so it is the second place to look.
        var candidates = [pattern]
        if !pattern.hasPrefix("/") && !directory.isEmpty { candidates.append(directory + pattern) }
        let isPattern = pattern.contains { $0 == "*" || $0 == "?" || $0 == "[" }
        var paths: [String] = []
        for candidate in candidates where paths.isEmpty {
            paths = isPattern ? SystemFile.matching(candidate) : []
            if !isPattern && SystemFile.exists(candidate) { paths = [candidate] }
        }
        // A pattern that matches nothing includes nothing: an empty conf.d is no error.
        if paths.isEmpty && !isPattern { paths = [pattern] }
        var lines: [DirectiveLine] = []
        for path in paths {
            lines += try file(path, depth: depth + 1, includedFrom: line)
        }
        return lines
    }

    private static func unbalanced(
        _ origin: ConfigurationOrigin, _ text: [UInt8], name: String
    ) -> ConfigurationError {
        ConfigurationError(
            origin: origin, line: shown(text, name: name.lowercased()),
            reason: "Unbalanced quotes in configuration line",
            allowed: "\"...\" or '...', the closing quote followed by a blank")
    }

    /// A line as messages show it: the value of a secret is left out.
    static func shown(_ text: [UInt8], name: String) -> String {
        if let directive = Directive.named(name), directive.traits.contains(.secret) {
            return "\(name) (redacted)"
        }
        return LogLine.escaped(String(decoding: text, as: UTF8.self))
    }

    private static func trimmed(_ line: ArraySlice<UInt8>) -> [UInt8] {
        var line = line
        while let first = line.first, ConfigurationLine.isSpace(first) { line.removeFirst() }
        while let last = line.last, ConfigurationLine.isSpace(last) { line.removeLast() }
        return [UInt8](line)
    }
}
