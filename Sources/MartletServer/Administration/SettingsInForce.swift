//  From the configuration to those who obey it: at the start, and after each CONFIG SET.
//
//  Observers run on the loop that executes CONFIG SET, which may hold shards (in a transaction):
//  they store words and post to loops, and take no shard.

import Glibc
import MartletBase
import MartletEngine
import MartletTransport

extension ServerContext {
    /// Puts all settings in force and sees to it that changes follow. Called once, before the loops
    /// start.
    ///
    /// - Parameter host: what the machine has, for limits that are shares of it.
    func putSettingsInForce(_ host: HostFacts) {
        let context = self
        let systemBytes = host.memoryBytes
        let initial = configuration.settings
        applyLimits(initial, systemBytes: systemBytes)
        applyLogs(initial)
        setPassword(initial)
        for loop in loops { loop.setIdleTimeout(seconds: initial.timeoutSeconds) }

        configuration.onChange(
            of: "proto-max-bulk-len", "maxmemory", "maxmemory-clients", "active-expire-effort",
            "list-max-listpack-size", "zset-max-listpack-entries", "zset-max-listpack-value",
            "hash-max-listpack-entries", "hash-max-listpack-value", "set-max-intset-entries",
            "set-max-listpack-entries", "set-max-listpack-value", "hll-sparse-max-bytes",
            "stream-node-max-entries", "stream-node-max-bytes", "stream-idmp-duration",
            "stream-idmp-maxsize", "maxmemory-policy", "maxmemory-samples",
            "maxmemory-eviction-tenacity", "lfu-log-factor", "lfu-decay-time"
        ) { _, after in
            context.applyLimits(after, systemBytes: systemBytes)
        }
        configuration.onChange(
            of: "slowlog-log-slower-than", "slowlog-max-len", "slowlog-entry-max-argc",
            "slowlog-entry-max-string-len", "commandlog-request-larger-than",
            "commandlog-large-request-max-len", "commandlog-reply-larger-than",
            "commandlog-large-reply-max-len", "latency-monitor-threshold"
        ) { _, after in
            context.applyLogs(after)
        }
        configuration.onChange(of: "latency-tracking") { before, after in
            // What was measured while nobody wanted to know is not shown afterwards.
            if !before.latencyTracking && after.latencyTracking { context.resetHistograms() }
        }
        applyScriptLimits(initial)
        configuration.onChange(
            of: "busy-reply-threshold", "script-time-budget-ms", "script-memory-limit"
        ) { _, after in
            context.applyScriptLimits(after)
        }
        state.tracking.keysMax.store(initial.trackedKeysMax, ordering: .relaxed)
        configuration.onChange(of: "tracking-table-max-keys") { _, after in
            context.state.tracking.keysMax.store(after.trackedKeysMax, ordering: .relaxed)
        }
        notify(of: initial.keyspaceEvents)
        configuration.onChange(of: "notify-keyspace-events") { _, after in
            context.notify(of: after.keyspaceEvents)
        }
        configuration.onChange(of: "requirepass") { _, after in context.setPassword(after) }
        configuration.onChange(of: "timeout") { _, after in
            for loop in context.loops {
                loop.post { [unowned loop] in loop.setIdleTimeout(seconds: after.timeoutSeconds) }
            }
        }
        configuration.onChange(of: "tcp-keepalive", "tcp-keepalive-probes") { _, after in
            for listener in context.listeners {
                listener.setKeepAlive(
                    seconds: Int32(clamping: after.tcpKeepAliveSeconds),
                    probes: Int32(clamping: after.tcpKeepAliveProbes))
            }
        }
        configuration.onChange(of: "client-output-buffer-limit", "client-query-buffer-limit") {
            _, after in
            context.applyBufferLimits(after)
        }
        configuration.onChange(of: "maxclients") { (_, after) throws(ValueError) in
            let room = StartupChecks.makeRoom(forClients: after.clientsMax)
            guard room.clients >= after.clientsMax else {
                throw ValueError(
                    text: "The operating system is not able to handle the specified number of "
                        + "clients, try with \(room.clients)")
            }
            context.clientsMax.store(after.clientsMax, ordering: .relaxed)
        }
        configuration.onChange(of: "appendonly", "appendfsync") {
            (before, after) throws(ValueError) in
            try context.durability.settingsChanged(before.durability, after.durability)
        }
        configuration.onChange(of: "dir") { (_, after) throws(ValueError) in
            do throws(SystemError) {
                try SystemFile.enter(after.directory)
            } catch {
                throw ValueError(text: error.text)
            }
        }
    }

    private func applyScriptLimits(_ settings: Settings) {
        // A month and more is for ever.
        let longest = 3_600_000_000
        state.settings.busyMilliseconds.store(
            Int64(min(settings.busyMilliseconds, longest)), ordering: .relaxed)
        state.scripts.budgetMilliseconds.store(
            min(settings.scriptBudgetMilliseconds, longest), ordering: .relaxed)
        state.scripts.memoryBytesMax.store(settings.scriptBytesMax, ordering: .relaxed)
    }

    private func applyLimits(_ settings: Settings, systemBytes: Int) {
        // Values and arguments are not longer than `Limits` says, whatever more is allowed.
        state.settings.queryBufferBytesMax.store(
            settings.queryBufferBytesMax, ordering: .relaxed)
        state.settings.bulkBytesMax.store(
            min(settings.bulkBytesMax, Limits.bulkBytesMax), ordering: .relaxed)
        state.settings.activeExpireEffort.store(settings.activeExpireEffort, ordering: .relaxed)
        state.settings.listSize.store(settings.listSize, ordering: .relaxed)
        state.settings.streamNodeEntriesMax.store(
            settings.streamNodeEntriesMax, ordering: .relaxed)
        state.settings.streamNodeBytesMax.store(settings.streamNodeBytesMax, ordering: .relaxed)
        state.settings.streamProducerSecondsMax.store(
            settings.streamProducerSecondsMax, ordering: .relaxed)
        state.settings.streamProducerCountMax.store(
            settings.streamProducerCountMax, ordering: .relaxed)
        state.settings.sortedSets.set(settings.sortedSetLimits)
        state.settings.hashes.set(settings.hashLimits)
        state.settings.hyperLogLogSparseBytesMax.store(
            settings.hyperLogLogSparseBytesMax, ordering: .relaxed)
        state.settings.sets.set(settings.setLimits.packed)
        state.settings.integerSetMax.store(settings.setLimits.integersMax, ordering: .relaxed)
        clientMemory.bytesMax.store(
            settings.clientMemoryBytesMax(systemBytes: systemBytes) ?? Int.max,
            ordering: .relaxed)
        let eviction = state.settings.eviction
        eviction.samples.store(settings.evictionSamples, ordering: .relaxed)
        eviction.tenacity.store(settings.evictionTenacity, ordering: .relaxed)
        eviction.logFactor.store(settings.frequencyLogFactor, ordering: .relaxed)
        eviction.decayMinutes.store(settings.frequencyDecayMinutes, ordering: .relaxed)
        state.setEviction(
            bytesMax: settings.memoryBytesMax(systemBytes: systemBytes),
            policy: settings.evictionPolicy)
        changed()
    }

    private func applyLogs(_ settings: Settings) {
        let engine = state.settings
        engine.slowlogMicroseconds.store(
            Int64(clamping: settings.slowLogMicroseconds), ordering: .relaxed)
        engine.latencyThresholdMilliseconds.store(
            Int64(clamping: settings.latencyMonitorMilliseconds), ordering: .relaxed)
        engine.notedArgumentsMax.store(settings.slowLogArgumentsMax, ordering: .relaxed)
        engine.notedArgumentBytesMax.store(settings.slowLogArgumentBytesMax, ordering: .relaxed)
        engine.largeRequestBytes.store(settings.largeRequestBytes, ordering: .relaxed)
        engine.largeReplyBytes.store(settings.largeReplyBytes, ordering: .relaxed)
        commandLogs.slow.setCountMax(settings.slowLogEntriesMax)
        commandLogs.largeRequests.setCountMax(settings.largeRequestEntriesMax)
        commandLogs.largeReplies.setCountMax(settings.largeReplyEntriesMax)
        changed()
    }

    private func notify(of events: KeyspaceEvents) {
        state.notify(of: EventClasses(rawValue: UInt32(truncatingIfNeeded: events.rawValue)))
    }

    private func setPassword(_ settings: Settings) {
        settings.password.withView { state.password.set($0) }
    }

    /// Bounds the buffers of connections that exist; new ones read the settings. Who has yet to
    /// authenticate keeps the narrower bounds until then.
    private func applyBufferLimits(_ settings: Settings) {
        for record in state.clients.all() {
            guard let connection = connections.connection(record.id) else { continue }
            connection.loop.post {
                if SessionGate(rawValue: record.gate.load(ordering: .relaxed))
                    .contains(.unauthenticated)
                {
                    return
                }
                let limits = settings.outputBufferLimits
                let limit = record.subscriptionCount > 0 ? limits.pubsub : limits.normal
                connection.setOutputLimits(
                    hardBytes: limit.hardBytes, softBytes: limit.softBytes,
                    softSeconds: UInt32(clamping: limit.softSeconds))
                connection.setInputLimit(bytes: settings.queryBufferBytesMax)
            }
        }
    }

    private func resetHistograms() {
        for statistics in state.statistics {
            for command in commands.all { statistics.resetHistogram(command.number) }
        }
    }

    private func changed() { state.settings.version.wrappingAdd(1, ordering: .relaxed) }
}
