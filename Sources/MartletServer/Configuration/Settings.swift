//  The values in force as a snapshot with types: what the rest of the server reads.

import MartletEngine
import MartletPersistence

/// An immutable copy of the values of the directives that steer something today.
package struct Settings: Sendable, Equatable {
    /// Who may use what `enable-debug-command` and its like guard.
    package enum ProtectedAction: String, Sendable {
        case no
        /// Clients connected from this machine.
        case local
        case yes
    }

    /// When SHUTDOWN is asked for by a signal, how to go about it.
    package struct ShutdownOptions: Sendable, Equatable {
        package let save: Bool
        package let noSave: Bool
        package let now: Bool
        package let force: Bool

        /// What is said of a snapshot; nil for nothing.
        package var saves: Bool? { save ? true : noSave ? false : nil }
    }

    /// A count of bytes, or a part of the memory limit in percent.
    package enum MemoryShare: Sendable, Equatable {
        case bytes(Int)
        case percent(Int)
    }

    /// `maxmemory`; a part is one of what the container or machine has.
    package enum MemoryLimit: Sendable, Equatable {
        case share(MemoryShare)
        /// See `automaticPercent`.
        case automatic
    }

    // Network. An address that begins with `-` may be missing on this machine.
    package let bind: [String]
    package let port: Int
    /// Empty for none.
    package let unixSocket: [UInt8]
    /// 0 leaves the permissions to the umask.
    package let unixSocketPermissions: Int
    package let tcpBacklog: Int
    package let tcpKeepAliveSeconds: Int
    /// Unanswered probes before a peer counts as dead.
    package let tcpKeepAliveProbes: Int
    package let timeoutSeconds: Int
    package let protectedMode: Bool

    // Process.
    package let daemonize: Bool
    package let pidFile: String
    package let directory: String
    package let databases: Int
    package let loops: Int
    package let supervised: String
    package let alwaysShowLogo: Bool
    package let hz: Int
    package let shutdownTimeoutSeconds: Int
    package let shutdownOnTerm: ShutdownOptions
    package let shutdownOnInterrupt: ShutdownOptions
    package let ignoredWarnings: String

    // Logging.
    package let logLevel: LogLevel
    package let logFile: String
    package let logForm: LogForm
    package let logTimestamp: LogTimestamp
    package let syslogEnabled: Bool
    package let syslogIdent: String
    package let syslogFacility: String

    // Limits and memory.
    package let clientsMax: Int
    package let bulkBytesMax: Int
    package let queryBufferBytesMax: Int
    package let outputBufferLimits: OutputBufferLimits
    package let keyspaceEvents: KeyspaceEvents
    package let memoryLimit: MemoryLimit
    package let clientMemory: MemoryShare
    package let evictionPolicy: EvictionPolicy
    package let evictionSamples: Int
    package let evictionTenacity: Int
    package let frequencyLogFactor: Int
    package let frequencyDecayMinutes: Int
    package let activeExpireEffort: Int
    /// Keys remembered for client-side caching; 0 for no bound.
    package let trackedKeysMax: Int
    package let busyMilliseconds: Int
    package let scriptBudgetMilliseconds: Int
    package let scriptBytesMax: Int
    /// Up to where collections are called small.
    package let sortedSetLimits: PackedLimits
    package let hashLimits: PackedLimits
    package let setLimits: SetLimits
    package let hyperLogLogSparseBytesMax: Int
    package let listSize: Int
    package let streamNodeEntriesMax: Int
    package let streamNodeBytesMax: Int
    package let streamProducerSecondsMax: Int
    package let streamProducerCountMax: Int

    // Latency. A negative threshold records nothing.
    package let slowLogMicroseconds: Int
    package let slowLogEntriesMax: Int
    package let slowLogArgumentsMax: Int
    package let slowLogArgumentBytesMax: Int
    package let largeRequestBytes: Int
    package let largeRequestEntriesMax: Int
    package let largeReplyBytes: Int
    package let largeReplyEntriesMax: Int
    package let latencyMonitorMilliseconds: Int
    package let latencyTracking: Bool
    package let latencyPercentiles: [Double]

    // Files.
    package let durability: DurabilitySettings

    // Security.
    package let password: [UInt8]
    package let protectedConfigs: ProtectedAction
    package let debugCommand: ProtectedAction

    /// How many bytes all clients together may hold, or nil for no limit.
    ///
    /// A percentage is one of `maxmemory`, or of what the machine or container has where there is
    /// no `maxmemory`, and never less than 64 MB.
    package func clientMemoryBytesMax(systemBytes: Int) -> Int? {
        let memoryBytesMax = memoryBytesMax(systemBytes: systemBytes)
        switch clientMemory {
        case .bytes(0), .percent(0): return nil
        case .bytes(let bytes): return bytes
        case .percent(let percent):
            let limit = memoryBytesMax > 0 ? memoryBytesMax : systemBytes
            return max(limit / 100 * percent, 64 << 20)
        }
    }

    /// `maxmemory` in bytes; 0 for no limit.
    package func memoryBytesMax(systemBytes: Int) -> Int {
        switch memoryLimit {
        case .share(.bytes(let bytes)): bytes
        case .share(.percent(let percent)): systemBytes / 100 * percent
        case .automatic: systemBytes / 100 * Self.automaticPercent
        }
    }

    /// What `maxmemory auto` takes: the rest is for buffers, for what allocators keep and for the system.
    package static let automaticPercent = 75

    /// Reads the values of `Directive.table`, in its order.
    init(_ values: [ConfigurationValue]) {
        let values = Values(values)
        bind = values.words("bind")
        port = values.integer("port")
        unixSocket = values.bytes("unixsocket")
        unixSocketPermissions = values.integer("unixsocketperm")
        tcpBacklog = values.integer("tcp-backlog")
        tcpKeepAliveSeconds = values.integer("tcp-keepalive")
        tcpKeepAliveProbes = values.integer("tcp-keepalive-probes")
        timeoutSeconds = values.integer("timeout")
        protectedMode = values.boolean("protected-mode")

        daemonize = values.boolean("daemonize")
        pidFile = values.text("pidfile")
        directory = values.text("dir")
        databases = values.integer("databases")
        loops = values.integer("io-threads")
        supervised = values.word("supervised")
        alwaysShowLogo = values.boolean("always-show-logo")
        hz = values.integer("hz")
        shutdownTimeoutSeconds = values.integer("shutdown-timeout")
        shutdownOnTerm = values.shutdownOptions("shutdown-on-sigterm")
        shutdownOnInterrupt = values.shutdownOptions("shutdown-on-sigint")
        ignoredWarnings = values.text("ignore-warnings")

        logLevel = LogLevel(name: values.word("loglevel")) ?? .notice
        logFile = values.text("logfile")
        logForm = LogForm(rawValue: values.word("log-format")) ?? .legacy
        logTimestamp = LogTimestamp(rawValue: values.word("log-timestamp-format")) ?? .legacy
        syslogEnabled = values.boolean("syslog-enabled")
        syslogIdent = values.text("syslog-ident")
        syslogFacility = values.word("syslog-facility")

        clientsMax = values.integer("maxclients")
        bulkBytesMax = values.integer("proto-max-bulk-len")
        queryBufferBytesMax = values.integer("client-query-buffer-limit")
        outputBufferLimits = values.outputBufferLimits("client-output-buffer-limit")
        keyspaceEvents = values.keyspaceEvents("notify-keyspace-events")
        memoryLimit = values.memoryLimit("maxmemory")
        clientMemory = values.share("maxmemory-clients")
        evictionPolicy =
            EvictionPolicy(name: values.word("maxmemory-policy")) ?? EvictionPolicy(.none)
        evictionSamples = values.integer("maxmemory-samples")
        evictionTenacity = values.integer("maxmemory-eviction-tenacity")
        frequencyLogFactor = values.integer("lfu-log-factor")
        frequencyDecayMinutes = values.integer("lfu-decay-time")
        activeExpireEffort = values.integer("active-expire-effort")
        trackedKeysMax = values.integer("tracking-table-max-keys")
        busyMilliseconds = values.integer("busy-reply-threshold")
        scriptBudgetMilliseconds = values.integer("script-time-budget-ms")
        scriptBytesMax = values.integer("script-memory-limit")
        listSize = values.integer("list-max-listpack-size")
        streamNodeEntriesMax = values.integer("stream-node-max-entries")
        streamNodeBytesMax = values.integer("stream-node-max-bytes")
        streamProducerSecondsMax = values.integer("stream-idmp-duration")
        streamProducerCountMax = values.integer("stream-idmp-maxsize")
        sortedSetLimits = PackedLimits(
            entriesMax: values.integer("zset-max-listpack-entries"),
            elementBytesMax: values.integer("zset-max-listpack-value"))
        hashLimits = PackedLimits(
            entriesMax: values.integer("hash-max-listpack-entries"),
            elementBytesMax: values.integer("hash-max-listpack-value"))
        hyperLogLogSparseBytesMax = values.integer("hll-sparse-max-bytes")
        setLimits = SetLimits(
            integersMax: values.integer("set-max-intset-entries"),
            packed: PackedLimits(
                entriesMax: values.integer("set-max-listpack-entries"),
                elementBytesMax: values.integer("set-max-listpack-value")))

        slowLogMicroseconds = values.integer("slowlog-log-slower-than")
        slowLogEntriesMax = values.integer("slowlog-max-len")
        slowLogArgumentsMax = values.integer("slowlog-entry-max-argc")
        slowLogArgumentBytesMax = values.integer("slowlog-entry-max-string-len")
        largeRequestBytes = values.integer("commandlog-request-larger-than")
        largeRequestEntriesMax = values.integer("commandlog-large-request-max-len")
        largeReplyBytes = values.integer("commandlog-reply-larger-than")
        largeReplyEntriesMax = values.integer("commandlog-large-reply-max-len")
        latencyMonitorMilliseconds = values.integer("latency-monitor-threshold")
        latencyTracking = values.boolean("latency-tracking")
        latencyPercentiles = values.percentiles("latency-tracking-info-percentiles")

        durability = DurabilitySettings(
            keepsLog: values.boolean("appendonly"), policy: values.syncPolicy("appendfsync"),
            logDirectory: values.text("appenddirname"), logFile: values.text("appendfilename"),
            logHasChecksums: values.boolean("aof-checksum"),
            logHasTimestamps: values.boolean("aof-timestamp-enabled"),
            basesAreSnapshots: values.boolean("aof-use-rdb-preamble"),
            acceptsTornTail: values.boolean("aof-load-truncated"),
            rewriteGrowthPercent: values.integer("auto-aof-rewrite-percentage"),
            rewriteBytesMin: values.integer("auto-aof-rewrite-min-size"),
            snapshotFile: values.text("dbfilename"), savePoints: values.savePoints("save"),
            compresses: values.boolean("rdbcompression"),
            hasChecksum: values.boolean("rdbchecksum"),
            stopsWritesOnFailedSave: values.boolean("stop-writes-on-bgsave-error"))

        password = values.bytes("requirepass")
        protectedConfigs =
            ProtectedAction(rawValue: values.word("enable-protected-configs")) ?? .no
        debugCommand = ProtectedAction(rawValue: values.word("enable-debug-command")) ?? .no
    }
}

/// Reads values by name. A name without a row, or of another kind, is our own mistake, which the
/// first test that makes a configuration finds.
private struct Values {
    let values: [ConfigurationValue]

    init(_ values: [ConfigurationValue]) { self.values = values }

    private func value(_ name: String) -> ConfigurationValue {
        guard let number = Directive.numbers[name] else {
            preconditionFailure("no directive is called \(name)")
        }
        return values[number]
    }

    func boolean(_ name: String) -> Bool { value(name) == .boolean(true) }

    func integer(_ name: String) -> Int {
        guard case .integer(let number) = value(name) else {
            preconditionFailure("\(name) is no integer")
        }
        return number
    }

    func word(_ name: String) -> String {
        guard case .word(let word) = value(name) else {
            preconditionFailure("\(name) is no word")
        }
        return word
    }

    func words(_ name: String) -> [String] {
        guard case .words(let words) = value(name) else {
            preconditionFailure("\(name) is no list of words")
        }
        return words
    }

    func bytes(_ name: String) -> [UInt8] {
        guard case .text(let bytes) = value(name) else {
            preconditionFailure("\(name) is no text")
        }
        return bytes
    }

    func text(_ name: String) -> String { String(decoding: bytes(name), as: UTF8.self) }

    func share(_ name: String) -> Settings.MemoryShare {
        if case .percent(let percent) = value(name) { return .percent(percent) }
        return .bytes(integer(name))
    }

    func memoryLimit(_ name: String) -> Settings.MemoryLimit {
        if case .word = value(name) { return .automatic }
        return .share(share(name))
    }

    func percentiles(_ name: String) -> [Double] {
        guard case .percentiles(let numbers) = value(name) else {
            preconditionFailure("\(name) is no list of percentiles")
        }
        return numbers
    }

    func keyspaceEvents(_ name: String) -> KeyspaceEvents {
        guard case .keyspaceEvents(let events) = value(name) else {
            preconditionFailure("\(name) is a set of event classes")
        }
        return events
    }

    func outputBufferLimits(_ name: String) -> OutputBufferLimits {
        guard case .outputBufferLimits(let limits) = value(name) else {
            preconditionFailure("\(name) holds no limits")
        }
        return limits
    }

    func syncPolicy(_ name: String) -> LogWriter.Policy {
        switch word(name) {
        case "always": .always
        case "no": .never
        default: .everySecond
        }
    }

    func savePoints(_ name: String) -> [SavePoint] {
        guard case .savePoints(let points) = value(name) else { return [] }
        return points
    }

    func shutdownOptions(_ name: String) -> Settings.ShutdownOptions {
        let words = words(name)
        return Settings.ShutdownOptions(
            save: words.contains("save"), noSave: words.contains("nosave"),
            now: words.contains("now"), force: words.contains("force"))
    }
}
