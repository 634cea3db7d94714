//  From the arguments of the process to a server about to be built: everything that must happen
//  before the first thread, in the one order that works.
//
//      arguments -> configuration -> directory -> log -> daemon -> PID file -> warnings -> signals
//
//  What can be wrong comes first, while its error still reaches the terminal. The directory comes
//  before the log, whose path may be relative to it. A daemon is forked before any thread exists.

import Glibc
import MartletPersistence

/// What the process starts with.
package struct Launch {
    package let configuration: Configuration
    package let log: Log
    /// For how many clients the system has room: `maxclients`, or fewer.
    package let clientsMax: Int
    package let host: HostFacts
    private let pidFile: PidFile?

    /// What the arguments came to.
    package enum Outcome {
        case run(Launch)
        /// There is nothing to serve: end with this status.
        case end(Int32)
    }

    /// Reads the arguments and prepares the process.
    ///
    /// - Precondition: no thread but this one was started.
    package static func prepare(_ arguments: [[UInt8]]) -> Outcome {
        switch CommandLineRequest(arguments) {
        case .help: return end(0, CommandLineRequest.helpText, to: STDOUT_FILENO)
        case .version: return end(0, Version.line + "\n", to: STDOUT_FILENO)
        case .check(let options):
            do throws(ConfigurationError) {
                let configuration = try options.configuration()
                let notes = configuration.notes.map { "\($0.text)\n" }.joined()
                return end(0, notes + "The configuration is sound\n", to: STDOUT_FILENO)
            } catch {
                return end(1, error.text, to: STDERR_FILENO)
            }
        case .checkFiles(let path, let repairs):
            return checkFiles(path, repairs: repairs)
        case .run(let options):
            do throws(ConfigurationError) {
                return try prepare(options)
            } catch {
                return end(1, error.text, to: STDERR_FILENO)
            }
        }
    }

    /// Tells a supervisor that connections are accepted, if it waits for that.
    package func announceReady() {
        log.write(.notice, Banner.ready)
        let mode = configuration.settings.supervised
        if mode == "systemd" || mode == "auto" { Detachment.notifySupervisor("READY=1\n") }
    }

    /// The last words, after all connections are closed.
    package func finish() {
        pidFile?.remove()
        log.write(.warning, Banner.goodbye)
    }

    private static func prepare(_ options: LaunchOptions) throws(ConfigurationError) -> Outcome {
        let configuration = try options.configuration()
        let settings = configuration.settings
        // Under a supervisor the process stays where it was started, as in Redis.
        let isDaemon = settings.daemonize && settings.supervised == "no"
        let log = Log()
        try configuration.enterDirectory()
        do throws(SystemError) {
            try log.configure(settings, isDetached: isDaemon)
        } catch {
            throw ConfigurationError(
                origin: nil, line: "",
                reason: "Can't open the log file '\(settings.logFile)': \(error.text)",
                allowed: "logfile takes a path that may be written, or \"\" for standard output")
        }
        do throws(SystemError) {
            if isDaemon { try Detachment.daemonize() }
        } catch {
            return end(1, "can't daemonize: \(error.call): \(error.text)\n", to: STDERR_FILENO)
        }
        for note in Banner.opening(hasFile: options.file != nil) {
            log.write(note.level, note.text)
        }
        log.setRole(.primary)
        for note in configuration.notes { log.write(note.level, note.text) }

        let room = StartupChecks.makeRoom(forClients: settings.clientsMax)
        if let warning = room.warning { log.write(.warning, warning) }
        for line in Banner.running(settings, showsLogo: Banner.showsLogo(settings)) {
            log.write(.notice, line)
        }
        let host = HostFacts.current(directory: ".")
        for warning in StartupChecks.warnings(configuration.settings, host) {
            log.write(.warning, warning)
        }
        let launch = Launch(
            configuration: configuration, log: log, clientsMax: room.clients, host: host,
            pidFile: writePidFile(settings, isDaemon: isDaemon, log))
        configuration.onChange(of: "loglevel", "log-format", "log-timestamp-format") { _, after in
            log.adjust(after)
        }
        SignalWatcher.block()
        return .run(launch)
    }

    private static func writePidFile(
        _ settings: Settings, isDaemon: Bool, _ log: Log
    ) -> PidFile? {
        var path = settings.pidFile
        if path.isEmpty {
            guard isDaemon else { return nil }
            path = PidFile.daemonPath
        }
        do throws(SystemError) {
            return try PidFile(path: path)
        } catch {
            log.write(.warning, "Failed to write PID file '\(path)': \(error.text)")
            return nil
        }
    }

    /// Looks at durable files, from the directory that they are in.
    private static func checkFiles(_ path: String, repairs: Bool) -> Outcome {
        let path = SystemFile.resolved(path)
        do throws(StorageError) {
            let check = LogCheck(
                try DiskStorage(SystemFile.parent(of: path)), repairs: repairs
            ) { line in
                // Where nobody reads there is nobody to tell.
                try? SystemFile.writeAll(STDOUT_FILENO, [UInt8]("\(line)\n".utf8))
            }
            return .end(check.check(StorageName.last(of: path)) ? 0 : 1)
        } catch {
            return end(1, "\(error)\n", to: STDERR_FILENO)
        }
    }

    private static func end(_ status: Int32, _ text: String, to descriptor: Int32) -> Outcome {
        // Where nobody reads there is nobody to tell.
        try? SystemFile.writeAll(descriptor, [UInt8](text.utf8))
        return .end(status)
    }
}

extension Launch {
    /// What a server inside another process starts with: directory, signals and standard output stay
    /// the process' own.
    ///
    /// - Throws: when the log file cannot be opened.
    init(embedding configuration: Configuration) throws(SystemError) {
        self.configuration = configuration
        log = Log()
        try log.configure(configuration.settings, isDetached: true)
        log.setRole(.primary)
        clientsMax = StartupChecks.makeRoom(forClients: configuration.settings.clientsMax).clients
        host = HostFacts.current(directory: ".")
        pidFile = nil
    }
}
