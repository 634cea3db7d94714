//  What the arguments of the process ask for: `martlet [FILE | -] [--name value ...]`.

import Glibc

/// What to do, as the command line says.
package enum CommandLineRequest: Equatable {
    case help
    case version
    /// Read the configuration, tell whether it is sound, and end.
    case check(LaunchOptions)
    /// Look at a log or a snapshot, save what is good if asked to, and end.
    case checkFiles(path: String, repairs: Bool)
    case run(LaunchOptions)

    /// Reads the arguments after the program's name.
    package init(_ arguments: [[UInt8]]) {
        var rest = arguments[...]
        var file: LaunchOptions.File?
        var isCheck = false
        if let first = rest.first.map({ String(decoding: $0, as: UTF8.self) }) {
            switch first {
            case "--help", "-h":
                self = .help
                return
            case "--version", "-v":
                self = .version
                return
            case "check" where rest.count > 1:
                let words = rest.dropFirst().map { String(decoding: $0, as: UTF8.self) }
                let paths = words.filter { $0 != "--fix" }
                guard paths.count == 1, let path = paths.first else {
                    self = .help
                    return
                }
                self = .checkFiles(path: path, repairs: words.count > 1)
                return
            case "-":
                file = .standardInput
                rest = rest.dropFirst()
            default:
                if !first.hasPrefix("--") {
                    file = .path(first)
                    rest = rest.dropFirst()
                }
            }
        }
        // `--check-config` stands alone wherever it stands: it takes no value.
        rest =
            rest.filter { argument in
                let isSwitch = argument.elementsEqual("--check-config".utf8)
                if isSwitch { isCheck = true }
                return !isSwitch
            }[...]
        if isCheck, file == nil, let next = rest.first, !next.starts(with: "--".utf8) {
            let name = String(decoding: next, as: UTF8.self)
            file = name == "-" ? .standardInput : .path(name)
            rest = rest.dropFirst()
        }
        let options = LaunchOptions(file: file, arguments: [[UInt8]](rest))
        self = isCheck ? .check(options) : .run(options)
    }

    package static let helpText = """
        Usage: martlet [FILE | -] [--name value ...]
               martlet --check-config [FILE | -] [--name value ...]
               martlet check FILE-OR-DIRECTORY [--fix]
               martlet --version | --help

        FILE is a configuration in the form of redis.conf, - the standard input. Values given as
        --name value win over MARTLET_NAME in the environment, and these over the file. Without a
        file the server listens on 127.0.0.1 and ::1, port 6379, and writes nothing to disk.

        `check` verifies an append-only directory, an append-only file or an RDB file and tells what
        is damaged; with --fix it saves what is good into new files and leaves the old ones alone.

        Examples:
          martlet
          martlet /etc/redis/redis.conf --daemonize no
          martlet --port 7777 --maxmemory 2gb --loglevel verbose
          MARTLET_REQUIREPASS=secret martlet

        """
}

/// Where the configuration comes from.
package struct LaunchOptions: Equatable {
    enum File: Equatable {
        case path(String)
        case standardInput
    }

    let file: File?
    let arguments: [[UInt8]]

    /// Reads file, environment and command line, in this order; what comes later wins.
    ///
    /// - Throws: the first line that cannot be taken.
    package func configuration() throws(ConfigurationError) -> Configuration {
        var lines: [DirectiveLine] = []
        var path: String?
        switch file {
        case nil: break
        case .path(let name):
            lines = try ConfigurationSource.file(name)
            // Absolute before `dir` moves the working directory.
            path = SystemFile.resolved(name)
        case .standardInput:
            let bytes: [UInt8]
            do throws(SystemError) {
                bytes = try SystemFile.readAll(0, bytesMax: ConfigurationSource.fileBytesMax)
            } catch {
                throw ConfigurationError(
                    origin: nil, line: "", reason: "can't read the standard input: \(error.text)",
                    allowed: nil)
            }
            lines = try ConfigurationSource.standardInput(bytes)
        }
        let environment = try ConfigurationSource.environment(SystemFile.environment)
        lines += environment.lines
        lines += try ConfigurationSource.commandLine(arguments)
        return try Configuration(lines: lines, path: path, warnings: environment.warnings)
    }
}
