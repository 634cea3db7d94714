//  The first lines of the log. Supervisors, test harnesses and people wait for some of them by
//  their exact text, so they are those of Redis where it has them.

import Glibc

/// The lines that begin and end a log.
package enum Banner {
    /// What every start says first.
    package static func opening(hasFile: Bool) -> [ConfigurationNote] {
        var notes = [
            ConfigurationNote(level: .warning, text: "Martlet is starting"),
            ConfigurationNote(
                level: .warning,
                text: "Martlet version=\(Version.text), bits=\(Int.bitWidth), pid=\(getpid()), "
                    + "just started"),
        ]
        let loaded =
            hasFile
            ? "Configuration loaded"
            : "Warning: no config file specified, using the default config. In order to specify a "
                + "config file use martlet /path/to/martlet.conf"
        notes.append(ConfigurationNote(level: .warning, text: loaded))
        return notes
    }

    /// Port and process ID, as lines of the log; or as the logo, which is several lines of its own.
    package static func running(_ settings: Settings, showsLogo: Bool) -> [String] {
        let place =
            settings.port > 0
            ? "port=\(settings.port)"
            : "unixsocket=\(String(decoding: settings.unixSocket, as: UTF8.self))"
        guard showsLogo else {
            return ["Running mode=standalone, \(place).", " PID: \(getpid())"]
        }
        return [
            "",
            "    __",
            "  -=\\_`\\__          Martlet \(Version.text), \(Int.bitWidth) bit",
            "     `\\   `\\___     Running in standalone mode, \(settings.loops) loops",
            "       )__     `>   Port: \(settings.port)",
            "      /  `-._.-'    PID: \(getpid())",
            "     `",
            "",
        ]
    }

    /// Whether the logo is shown: when asked for, or on a terminal that gets the log.
    package static func showsLogo(_ settings: Settings) -> Bool {
        settings.alwaysShowLogo
            || (settings.logFile.isEmpty && !settings.syslogEnabled && isatty(STDOUT_FILENO) == 1)
    }

    package static let initialized = "Server initialized"
    package static let ready = "Ready to accept connections"
    package static let goodbye = "Martlet is now ready to exit, bye bye..."

    /// What the log says about a signal.
    package static func received(_ request: SignalWatcher.Request) -> String {
        switch request {
        case .stop(SIGINT): "Received SIGINT scheduling shutdown..."
        case .stop: "Received SIGTERM scheduling shutdown..."
        case .exit: "Received a second signal: exiting at once"
        case .reopenLog: "Received SIGHUP: opening the log file anew"
        }
    }
}
