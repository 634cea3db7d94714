//  A server inside another process: the public face of the library product.
//
//  What a process has only once stays its own: working directory, signals, standard output.

/// A server that runs on threads of this process until it is stopped or goes away.
///
///     let server = try EmbeddedServer(["port": "0"])
///     try server.start()
///     // connect to 127.0.0.1, port server.port
///     server.stop()
public final class EmbeddedServer {
    private let server: Server
    private var isRunning = false

    /// Builds a server that listens nowhere yet.
    ///
    /// - Parameter directives: names and values as in a configuration file. `bind` is 127.0.0.1
    ///   unless given; `port` 0 lets the system choose; nothing is logged without a `logfile`.
    /// - Throws: `EmbeddedServerError` for a directive that is unknown or malformed.
    public init(_ directives: [String: String] = [:]) throws(EmbeddedServerError) {
        var arguments = ["--bind", "127.0.0.1"]
        for (name, value) in directives.sorted(by: { $0.key < $1.key }) {
            arguments += ["--" + name, value]
        }
        do {
            let lines = try ConfigurationSource.commandLine(arguments.map { [UInt8]($0.utf8) })
            server = try Server(try Launch(embedding: try Configuration(lines: lines)))
        } catch let error as ConfigurationError {
            throw EmbeddedServerError(
                description:
                    "'\(error.line)': \(error.reason)\(error.allowed.map { " (\($0))" } ?? "")")
        } catch {
            throw EmbeddedServerError(description: "\(error)")
        }
    }

    deinit { stop() }

    /// The port that is listened on, 0 before `start` and on a Unix socket alone.
    public var port: Int { server.context.port }

    /// Listens; returns when clients can connect. A server is started once.
    ///
    /// - Throws: `EmbeddedServerError` with the address that cannot be listened on.
    public func start() throws(EmbeddedServerError) {
        do {
            try server.start(choosesPort: true)
            isRunning = true
            try server.load()
        } catch {
            throw EmbeddedServerError(description: "\(error)")
        }
    }

    /// Serves what clients have sent, then closes all connections. Does nothing when not running.
    public func stop() {
        if isRunning { server.stop() }
        isRunning = false
    }
}

/// Why an embedded server could not be built or started.
public struct EmbeddedServerError: Error, CustomStringConvertible {
    /// What is wrong, for people.
    public let description: String
}
