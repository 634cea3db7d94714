//  The log: lines for operators, to the standard output, a file, or syslog.
//
//  A line leaves in one write under one lock, so that no two are torn into each other. Nothing is
//  logged on the path of a command. Messages carry no keys, values or secrets; control characters
//  in what they do carry are escaped, so that a name from outside cannot fake a line.

import Glibc

/// How much a line matters.
package enum LogLevel: Int, Comparable, Sendable {
    case debug
    case verbose
    case notice
    case warning
    /// As a threshold: no line at all.
    case nothing

    init?(name: String) {
        switch name {
        case "debug": self = .debug
        case "verbose": self = .verbose
        case "notice": self = .notice
        case "warning": self = .warning
        case "nothing": self = .nothing
        default: return nil
        }
    }

    var name: String {
        switch self {
        case .debug: "debug"
        case .verbose: "verbose"
        case .notice: "notice"
        case .warning: "warning"
        case .nothing: "nothing"
        }
    }

    /// The character of Redis' line format.
    var mark: Character {
        switch self {
        case .debug: "."
        case .verbose: "-"
        case .notice: "*"
        case .warning, .nothing: "#"
        }
    }

    package static func < (left: LogLevel, right: LogLevel) -> Bool {
        left.rawValue < right.rawValue
    }
}

/// The form of a line.
package enum LogForm: String, Sendable {
    /// `PID:ROLE DD Mon YYYY HH:MM:SS.mmm MARK message`, as in Redis.
    case legacy
    case logfmt
    case json
}

/// How a line tells its time.
package enum LogTimestamp: String, Sendable {
    case legacy
    case iso8601
    /// Milliseconds since 1970.
    case milliseconds
}

/// The pure part: from a message to the text of its line.
package enum LogLine {
    /// Who writes, as the letter after the process ID.
    package enum Role: Character, Sendable {
        case primary = "M"
        case replica = "S"
        /// Before the server runs, and in a child.
        case child = "C"

        var name: String {
            switch self {
            case .primary: "primary"
            case .replica: "replica"
            case .child: "child"
            }
        }
    }

    static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// The line for `message`, line feed included.
    static func text(
        _ message: String, level: LogLevel, role: Role, form: LogForm, timestamp: LogTimestamp,
        process: Int32, at time: timespec
    ) -> String {
        let when = moment(timestamp, time)
        switch form {
        case .legacy:
            return "\(process):\(role.rawValue) \(when) \(level.mark) \(escaped(message))\n"
        case .logfmt:
            return "pid=\(process) role=\(role.name) timestamp=\"\(when)\" level=\(level.name) "
                + "message=\"\(escaped(message, quote: true))\"\n"
        case .json:
            return "{\"pid\":\(process),\"role\":\"\(role.name)\",\"timestamp\":\"\(when)\","
                + "\"level\":\"\(level.name)\",\"message\":\"\(jsonEscaped(message))\"}\n"
        }
    }

    /// The text with control characters written as `\n` or `\x1b`.
    package static func escaped(_ text: String, quote: Bool = false) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case "\"" where quote, "\\" where quote: result += "\\\(scalar)"
            case _ where isControl(scalar): result += "\\x" + hexadecimal(scalar.value, digits: 2)
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    private static func jsonEscaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where isControl(scalar): result += "\\u" + hexadecimal(scalar.value, digits: 4)
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value < 0x20 || (scalar.value >= 0x7F && scalar.value < 0xA0)
    }

    private static func hexadecimal(_ value: UInt32, digits: Int) -> String {
        let text = String(value, radix: 16)
        return String(repeating: "0", count: max(digits - text.count, 0)) + text
    }

    private static func moment(_ form: LogTimestamp, _ time: timespec) -> String {
        let milliseconds = Int(time.tv_nsec) / 1_000_000
        if form == .milliseconds { return String(Int(time.tv_sec) * 1000 + milliseconds) }
        var seconds = time.tv_sec
        var local = unsafe tm()
        unsafe localtime_r(&seconds, &local)
        let (year, month, day) = unsafe (
            Int(local.tm_year) + 1900, Int(local.tm_mon), padded(Int(local.tm_mday), 2)
        )
        let (hour, minute, second) = unsafe (
            padded(Int(local.tm_hour), 2), padded(Int(local.tm_min), 2),
            padded(Int(local.tm_sec), 2)
        )
        let clock = "\(hour):\(minute):\(second).\(padded(milliseconds, 3))"
        if form == .legacy { return "\(day) \(months[month]) \(year) \(clock)" }
        let offset = unsafe Int(local.tm_gmtoff) / 60
        return "\(year)-\(padded(month + 1, 2))-\(day)T\(clock)\(offset < 0 ? "-" : "+")"
            + "\(padded(abs(offset) / 60, 2)):\(padded(abs(offset) % 60, 2))"
    }

    private static func padded(_ number: Int, _ digits: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(digits - text.count, 0)) + text
    }
}

/// Writes lines of a level or above; may be used from any thread.
package final class Log: Sendable {
    private struct State {
        var level = LogLevel.notice
        var form = LogForm.legacy
        var timestamp = LogTimestamp.legacy
        var role = LogLine.Role.child
        /// nil writes nowhere but, if so configured, to syslog.
        var descriptor: Int32? = STDOUT_FILENO
        /// The file behind `descriptor`, absolute; nil for the standard output.
        var path: String?
        var syslogPriority: Int32?
    }

    private let state: Locked<State>

    /// A log to the standard output at level notice, or to `descriptor`.
    package init(descriptor: Int32 = STDOUT_FILENO) {
        state = Locked(State(descriptor: descriptor))
    }

    deinit {
        state.withLock { if $0.path != nil, let descriptor = $0.descriptor { close(descriptor) } }
    }

    /// Writes a line, if its level is due.
    package func write(_ level: LogLevel, _ message: @autoclosure () -> String) {
        guard level >= state.withLock({ $0.level }) else { return }
        let message = message()
        var now = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &now)
        state.withLock { state in
            if let descriptor = state.descriptor {
                let line = LogLine.text(
                    message, level: level, role: state.role, form: state.form,
                    timestamp: state.timestamp, process: getpid(), at: now)
                // A log that cannot be written has nowhere to complain.
                try? SystemFile.writeAll(descriptor, [UInt8](line.utf8))
            }
            if let priority = state.syslogPriority {
                send(LogLine.escaped(message), priority: priority | level.syslogPriority)
            }
        }
    }

    /// Takes level, form and destinations from `settings`.
    ///
    /// - Parameters:
    ///   - settings: the values in force.
    ///   - isDetached: the process has no terminal; without a file its log goes nowhere.
    /// - Throws: when the file cannot be opened; the log then stays as it was.
    package func configure(_ settings: Settings, isDetached: Bool = false) throws(SystemError) {
        try state.withLock { (state: inout State) throws(SystemError) in
            if settings.logFile.isEmpty {
                if isDetached { state.descriptor = nil }
            } else {
                try use(absolute(settings.logFile), &state)
            }
            state.level = settings.logLevel
            state.form = settings.logForm
            state.timestamp = settings.logTimestamp
            if settings.syslogEnabled, state.syslogPriority == nil {
                let facility = syslogFacility(settings.syslogFacility)
                openSyslog(ident: settings.syslogIdent, facility: facility)
                state.syslogPriority = facility
            }
        }
    }

    /// Takes level and form, which CONFIG SET may change.
    package func adjust(_ settings: Settings) {
        state.withLock {
            $0.level = settings.logLevel
            $0.form = settings.logForm
            $0.timestamp = settings.logTimestamp
        }
    }

    /// Sets the role that each line names.
    package func setRole(_ role: LogLine.Role) { state.withLock { $0.role = role } }

    /// Opens the file anew, after it was moved away by a log rotation.
    ///
    /// - Throws: when it cannot be opened; lines go on into the old one.
    package func reopen() throws(SystemError) {
        try state.withLock { (state: inout State) throws(SystemError) in
            guard let path = state.path else { return }
            try use(path, &state)
        }
    }

    private func use(_ path: String, _ state: inout State) throws(SystemError) {
        // 0600: addresses and names of clients are nobody else's business.
        let opened = unsafe open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard opened >= 0 else { throw .last("open") }
        if state.path != nil, let old = state.descriptor { close(old) }
        state.descriptor = opened
        state.path = path
    }

    private func absolute(_ path: String) -> String {
        path.hasPrefix("/") ? path : SystemFile.workingDirectory + "/" + path
    }
}

extension LogLevel {
    fileprivate var syslogPriority: Int32 {
        switch self {
        case .debug: LOG_DEBUG
        case .verbose: LOG_INFO
        case .notice: LOG_NOTICE
        case .warning, .nothing: LOG_WARNING
        }
    }
}

/// `LOG_USER` and `LOG_LOCAL0` to `7`, which are macros of a form that Swift does not import.
private func syslogFacility(_ name: String) -> Int32 {
    guard name.hasPrefix("local"), let number = Int32(name.dropFirst(5)) else { return 1 << 3 }
    return (16 + number) << 3
}

private func openSyslog(ident: String, facility: Int32) {
    // syslog keeps the pointer for the life of the process: the copy is never freed.
    unsafe openlog(strdup(ident), LOG_PID | LOG_NDELAY | LOG_NOWAIT, facility)
}

private func send(_ message: String, priority: Int32) {
    unsafe message.withCString { text in
        unsafe withVaList([text]) { unsafe vsyslog(priority, "%s", $0) }
    }
}
