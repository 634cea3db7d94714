//  INFO, section by section. Field names and their order are Redis'; what Martlet does not have is
//  shown where clients and dashboards read it, with the value it has in a server without it.

import Glibc
import MartletBase
import MartletEngine
import MartletPersistence

/// What the sections show, gathered once per call.
struct InfoFacts {
    let context: ServerContext
    let settings: Settings
    let nowMilliseconds: Int64
    let memory: MemoryReport
    let scripts: Scripts.Report

    init(_ context: ServerContext, _ wanted: Set<InfoSection>, isHeld: Bool) {
        self.context = context
        settings = context.configuration.settings
        nowMilliseconds = context.state.clock.wallMilliseconds()
        memory = context.memoryReport(isHeld: isHeld)
        scripts = context.state.scripts.report
    }
}

extension InfoText {
    mutating func append(_ section: InfoSection, _ facts: InfoFacts) {
        switch section {
        case .server: addServer(facts)
        case .clients: addClients(facts)
        case .memory: addMemory(facts)
        case .persistence: addPersistence(facts)
        case .stats: addStatistics(facts)
        case .replication: addReplication(facts)
        case .cpu: addProcessor()
        case .modules: break
        case .commandstats: addCommands(facts)
        case .errorstats: addErrors(facts)
        case .latencystats: addLatencies(facts)
        case .cluster: add("cluster_enabled", false)
        case .keyspace: addKeyspace(facts)
        }
    }

    private mutating func addServer(_ facts: InfoFacts) {
        let context = facts.context
        let uptime = max(0, facts.nowMilliseconds - context.state.startedMilliseconds) / 1000
        add("redis_version", "\(RedisCompatibility.version)")
        add("redis_git_sha1", "00000000")
        add("redis_git_dirty", false)
        add("redis_mode", "standalone")
        add("martlet_version", Version.text)
        add("os", systemName())
        add("arch_bits", Int.bitWidth)
        add("monotonic_clock", "POSIX clock_gettime")
        add("multiplexing_api", "epoll")
        add("process_id", getpid())
        add("process_supervised", facts.settings.supervised)
        add("run_id", context.runID)
        add("tcp_port", context.port)
        add("server_time_usec", context.state.clock.wallMicroseconds())
        add("uptime_in_seconds", uptime)
        add("uptime_in_days", uptime / 86400)
        add("hz", min(max(facts.settings.hz, 1), 500))
        add("configured_hz", facts.settings.hz)
        add("lru_clock", (facts.nowMilliseconds / 1000) & 0xFF_FFFF)
        add("executable", SystemFile.resolved("/proc/self/exe"))
        add("config_file", context.configuration.path ?? "")
        // Every loop executes commands, so one of several is what others call an I/O thread.
        add("io_threads_active", context.loops.count > 1)
        add("event_loops", context.loops.count)
        add("shards", unsafe context.state.keyspace.pointee.shardCount)
    }

    private mutating func addClients(_ facts: InfoFacts) {
        let context = facts.context
        let clients = context.state.clients.all()
        var watching = 0
        var watchedKeys = 0
        var subscribed = 0
        for client in clients {
            let keys = client.watchedKeys.load(ordering: .relaxed)
            watchedKeys += keys
            if keys > 0 { watching += 1 }
            if client.subscriptionCount > 0 { subscribed += 1 }
        }
        add("connected_clients", clients.count)
        add("cluster_connections", 0)
        add("maxclients", context.clientsMax.load(ordering: .relaxed))
        add(
            "client_recent_max_input_buffer",
            clients.map { $0.queryCapacity.load(ordering: .relaxed) }.max() ?? 0)
        add(
            "client_recent_max_output_buffer",
            clients.map { $0.outputBytes.load(ordering: .relaxed) }.max() ?? 0)
        let waiting = context.state.waiting
        add("blocked_clients", waiting.clients)
        add("tracking_clients", context.state.trackingClientCount)
        add("pubsub_clients", subscribed)
        add("watching_clients", watching)
        add("clients_in_timeout_table", 0)
        add("total_watched_keys", watchedKeys)
        add("total_blocking_keys", waiting.keys)
        add("total_blocking_keys_on_nokey", 0)
    }

    private mutating func addMemory(_ facts: InfoFacts) {
        let memory = facts.memory
        let freed = SparedMemory.lazilyFreed
        add(bytes: "used_memory", memory.usedBytes)
        add(bytes: "used_memory_rss", memory.residentBytes)
        add(bytes: "used_memory_peak", memory.peakBytes)
        add("used_memory_peak_time", memory.peakUnixSeconds)
        add("used_memory_peak_perc", decimal(memory.peakPercent, 2) + "%")
        add("used_memory_overhead", memory.overheadBytes)
        add("used_memory_startup", memory.startupBytes)
        add("used_memory_dataset", memory.datasetBytes)
        add("used_memory_dataset_perc", decimal(memory.datasetPercent, 2) + "%")
        add("allocator_allocated", memory.allocatedBytes)
        add("allocator_active", memory.heldBytes)
        add("allocator_resident", memory.heldBytes)
        add(bytes: "total_system_memory", systemMemoryBytes())
        let scripts = facts.scripts
        add("used_memory_vm_eval", scripts.evaluatorBytes)
        add(bytes: "used_memory_lua", scripts.evaluatorBytes)
        add("used_memory_scripts_eval", scripts.scriptBytes)
        add("number_of_cached_scripts", scripts.scriptCount)
        add("number_of_functions", scripts.functionCount)
        add("number_of_libraries", scripts.libraryCount)
        add("used_memory_vm_functions", scripts.libraryInterpreterBytes)
        add(
            bytes: "used_memory_vm_total", scripts.evaluatorBytes + scripts.libraryInterpreterBytes)
        add("used_memory_functions", scripts.functionBytes)
        add(bytes: "used_memory_scripts", scripts.scriptBytes + scripts.functionBytes)
        add(
            bytes: "maxmemory",
            facts.context.state.settings.eviction.bytesMax.load(ordering: .relaxed))
        add("maxmemory_policy", facts.context.configuration.text(of: "maxmemory-policy") ?? "")
        add(
            "allocator_frag_ratio", memory.ratio(memory.heldBytes, memory.allocatedBytes),
            decimals: 2)
        add("allocator_frag_bytes", memory.heldBytes - memory.allocatedBytes)
        add("allocator_rss_ratio", 1.0, decimals: 2)
        add("allocator_rss_bytes", 0)
        add(
            "rss_overhead_ratio", memory.ratio(memory.residentBytes, memory.heldBytes), decimals: 2)
        add("rss_overhead_bytes", memory.residentBytes - memory.heldBytes)
        add("mem_fragmentation_ratio", memory.fragmentation, decimals: 2)
        add("mem_fragmentation_bytes", memory.residentBytes - memory.usedBytes)
        add("mem_not_counted_for_evict", memory.logBytes)
        add("mem_replication_backlog", 0)
        add("mem_total_replication_buffers", 0)
        add("mem_clients_slaves", 0)
        add("mem_clients_normal", memory.clientBytes)
        add("mem_cluster_links", 0)
        add("mem_aof_buffer", memory.logBytes)
        // Other servers have no such fields: what keys and tables are made of, and what is held in vain.
        add(
            "mem_entries",
            memory.keyspace.usedBytes - memory.keyspace.heapBytes
                - memory.keyspace.tableBytes - memory.keyspace.trackingBytes)
        add("mem_values", memory.keyspace.heapBytes)
        add("mem_tables", memory.keyspace.tableBytes)
        add("mem_tracking", memory.keyspace.trackingBytes)
        add("mem_slab_slack", memory.keyspace.slackBytes)
        add("mem_empty_slabs", SparedMemory.emptySlabBytes)
        add(
            "mem_evicted_for_fragmentation",
            facts.context.state.settings.eviction.wastedBytes.load(ordering: .relaxed))
        add("mem_allocator", "martlet-slabs+libc")
        add("active_defrag_running", 0)
        add("lazyfree_pending_objects", freed.pending)
        add("lazyfreed_objects", freed.freed)
    }

    private mutating func addPersistence(_ facts: InfoFacts) {
        let state = facts.context.state
        add("loading", state.conditions.contains(.loading))
        add("async_loading", 0)
        let now = state.clock.wallSeconds()
        let (job, began, snapshot, status) = facts.context.durability.state.withLock {
            ($0.job, $0.jobBeganSeconds, $0.snapshot, $0.status)
        }
        let (isRewriteScheduled, writer) = facts.context.durability.state.withLock {
            ($0.isRewriteScheduled, $0.writer)
        }
        // Copies made for a snapshot under way, where a fork would have copied pages.
        add("current_cow_peak", 0)
        add("current_cow_size", snapshot?.heldBytes ?? 0)
        add("current_cow_size_age", 0)
        let saved = snapshot?.savedCount ?? 0
        let total = snapshot?.keyCount ?? 0
        add("current_fork_perc", total > 0 ? 100 * Double(saved) / Double(total) : 0, decimals: 2)
        add("current_save_keys_processed", saved)
        add("current_save_keys_total", total)
        let changes = facts.context.count(.changes)
        add("rdb_changes_since_last_save", changes &- min(changes, status.changesSaved))
        add("rdb_bgsave_in_progress", job == .save)
        add("rdb_last_save_time", status.lastSaveUnixSeconds)
        add("rdb_last_bgsave_status", status.lastSaveSucceeded ? "ok" : "err")
        add("rdb_last_bgsave_time_sec", status.lastSaveSeconds)
        add("rdb_current_bgsave_time_sec", job == .save ? now - began : -1)
        add("rdb_saves", status.saveCount)
        add("rdb_last_cow_size", 0)
        add("rdb_last_load_keys_expired", status.keysExpired)
        add("rdb_last_load_keys_loaded", status.keysLoaded)
        add("aof_enabled", writer != nil)
        add("aof_rewrite_in_progress", job == .rewrite)
        add("aof_rewrite_scheduled", isRewriteScheduled)
        add("aof_last_rewrite_time_sec", status.lastRewriteSeconds)
        add("aof_current_rewrite_time_sec", job == .rewrite ? now - began : -1)
        add("aof_last_bgrewrite_status", status.lastRewriteSucceeded ? "ok" : "err")
        add("aof_rewrites", status.rewriteCount)
        add("aof_rewrites_consecutive_failures", status.failedRewrites)
        let log = writer?.currentStatus
        add("aof_last_write_status", log?.failure == nil ? "ok" : "err")
        add("aof_last_cow_size", 0)
        add("module_fork_in_progress", 0)
        add("module_fork_last_cow_size", 0)
        if let log {
            addLog(log, state)
        }
        if state.conditions.contains(.loading) {
            let elapsed = now - status.loadingBeganSeconds
            let (loaded, all) = (status.loadingLoadedBytes, max(1, status.loadingTotalBytes))
            add("loading_start_time", status.loadingBeganSeconds)
            add("loading_total_bytes", status.loadingTotalBytes)
            add("loading_rdb_used_mem", 0)
            add("loading_loaded_bytes", loaded)
            add("loading_loaded_perc", 100 * Double(loaded) / Double(all), decimals: 2)
            let left = Int64(max(0, all - loaded))
            add("loading_eta_seconds", loaded > 0 ? elapsed * left / Int64(loaded) : 1)
        }
    }

    /// What is known of a log that is written.
    private mutating func addLog(_ log: LogWriter.Status, _ state: EngineState) {
        let pending = state.log.pendingBytes
        let now = state.clock.monotonicMilliseconds()
        add("aof_current_size", log.size)
        add("aof_base_size", log.baseSize)
        add("aof_pending_rewrite", 0)
        add("aof_buffer_length", pending)
        add("aof_pending_bio_fsync", log.unsyncedBytes > 0)
        add("aof_delayed_fsync", log.lateSyncCount)
        add("aof_unsynced_bytes", log.unsyncedBytes + pending)
        add("aof_unsynced_age_ms", log.unsyncedSinceMilliseconds.map { max(0, now - $0) } ?? 0)
        add("aof_last_sync_us", log.lastSyncMicroseconds)
        add("aof_syncs", log.syncCount)
        add("aof_last_error", log.failure.map { "\($0)" } ?? "")
    }

    private mutating func addStatistics(_ facts: InfoFacts) {
        let context = facts.context
        let counts = context.connectionCounts
        let rates = context.cron.rates
        add("total_connections_received", counts.connections)
        add("total_commands_processed", context.commandsProcessed)
        add("instantaneous_ops_per_sec", Int64(rates.commands.rounded()))
        add("total_net_input_bytes", counts.bytesIn)
        add("total_net_output_bytes", counts.bytesOut)
        add("total_net_repl_input_bytes", 0)
        add("total_net_repl_output_bytes", 0)
        add("instantaneous_input_kbps", rates.bytesIn / 1024, decimals: 2)
        add("instantaneous_output_kbps", rates.bytesOut / 1024, decimals: 2)
        add("instantaneous_input_repl_kbps", 0.0, decimals: 2)
        add("instantaneous_output_repl_kbps", 0.0, decimals: 2)
        add("rejected_connections", context.rejectedConnections.load(ordering: .relaxed))
        add("sync_full", 0)
        add("sync_partial_ok", 0)
        add("sync_partial_err", 0)
        add("expired_subkeys", facts.memory.keyspace.expiredFields)
        add("expired_keys", facts.memory.keyspace.expiredKeys)
        add("expired_stale_perc", 0.0, decimals: 2)
        add("expired_time_cap_reached_count", 0)
        add("evicted_keys", context.count(.evicted))
        add("evicted_clients", context.clientMemory.evictedCount.load(ordering: .relaxed))
        add("evicted_scripts", facts.context.state.scripts.evictedCount.load(ordering: .relaxed))
        let exceeded = context.state.settings.eviction.exceededTime(
            at: context.state.clock.wallMilliseconds())
        add("total_eviction_exceeded_time", exceeded.total)
        add("current_eviction_exceeded_time", exceeded.current)
        add("keyspace_hits", context.count(.hits))
        add("keyspace_misses", context.count(.misses))
        add("pubsub_channels", context.state.pubSub.topicCount(.channels))
        add("pubsub_patterns", context.state.pubSub.topicCount(.patterns))
        add("pubsubshard_channels", context.state.pubSub.topicCount(.shardChannels))
        add("latest_fork_usec", 0)
        add("total_forks", 0)
        add("migrate_cached_sockets", 0)
        add("slave_expires_tracked_keys", 0)
        add("active_defrag_hits", 0)
        add("active_defrag_misses", 0)
        add("active_defrag_key_hits", 0)
        add("active_defrag_key_misses", 0)
        add("total_active_defrag_time", 0)
        add("current_active_defrag_time", 0)
        add("tracking_total_keys", context.state.tracking.keyCount)
        add("tracking_total_items", context.state.tracking.trackerCount)
        add("tracking_total_prefixes", context.state.tracking.prefixCount)
        add("unexpected_error_replies", context.count(.unexpectedErrors))
        add("total_error_replies", context.count(.errors))
        add("dump_payload_sanitizations", 0)
        add("client_query_buffer_limit_disconnections", counts.inputLimitCloses)
        add("client_output_buffer_limit_disconnections", counts.outputLimitCloses)
        add("acl_access_denied_auth", context.state.deniedAuthentications.load(ordering: .relaxed))
        add("acl_access_denied_cmd", 0)
        add("acl_access_denied_key", 0)
        add("acl_access_denied_channel", 0)
    }

    private mutating func addReplication(_ facts: InfoFacts) {
        add("role", "master")
        add("connected_slaves", 0)
        add("master_failover_state", "no-failover")
        add("master_replid", facts.context.replicationID.current)
        add("master_replid2", facts.context.replicationID.previous)
        add("master_repl_offset", 0)
        add("second_repl_offset", -1)
        add("repl_backlog_active", 0)
        add("repl_backlog_size", facts.context.configuration.text(of: "repl-backlog-size") ?? "0")
        add("repl_backlog_first_byte_offset", 0)
        add("repl_backlog_histlen", 0)
    }

    private mutating func addProcessor() {
        for (who, suffix) in [(RUSAGE_SELF, ""), (RUSAGE_CHILDREN, "_children")] {
            var usage = rusage()
            guard unsafe getrusage(__rusage_who_t(who.rawValue), &usage) == 0 else { continue }
            add("used_cpu_sys\(suffix)", seconds(usage.ru_stime), decimals: 6)
            add("used_cpu_user\(suffix)", seconds(usage.ru_utime), decimals: 6)
        }
    }

    private mutating func addCommands(_ facts: InfoFacts) {
        for command in facts.context.commands.all {
            let statistics = facts.context.statistics(of: command)
            if statistics.calls == 0 && statistics.failed == 0 && statistics.rejected == 0 {
                continue
            }
            let microseconds = TickRate.microseconds(statistics.ticks)
            let perCall = statistics.calls == 0 ? 0 : microseconds / Double(statistics.calls)
            add(
                "cmdstat_\(command.fullName)",
                "calls=\(statistics.calls),usec=\(decimal(microseconds, 0)),"
                    + "usec_per_call=\(decimal(perCall, 2)),"
                    + "rejected_calls=\(statistics.rejected),failed_calls=\(statistics.failed)")
        }
    }

    private mutating func addErrors(_ facts: InfoFacts) {
        for (code, count) in facts.context.errorReplies.sorted(by: { $0.key < $1.key }) {
            add("errorstat_\(code)", "count=\(count)")
        }
    }

    private mutating func addLatencies(_ facts: InfoFacts) {
        let percentiles = facts.settings.latencyPercentiles
        for command in facts.context.commands.all {
            guard let histogram = facts.context.histogram(of: command) else { continue }
            let values = percentiles.map { percent in
                "p\(shortest(percent))=\(decimal(histogram.percentile(percent), 3))"
            }
            add("latency_percentiles_usec_\(command.fullName)", values.joined(separator: ","))
        }
    }

    private mutating func addKeyspace(_ facts: InfoFacts) {
        for (number, database) in facts.memory.keyspace.databases.enumerated()
        where database.keys > 0 {
            let average = database.averageTTLMilliseconds(at: facts.nowMilliseconds)
            add(
                "db\(number)",
                "keys=\(database.keys),expires=\(database.expires),avg_ttl=\(average),"
                    + "subexpiry=\(database.subexpiry)")
        }
    }
}

private func seconds(_ time: timeval) -> Double {
    Double(time.tv_sec) + Double(time.tv_usec) / 1_000_000
}

private func systemMemoryBytes() -> Int {
    sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))
}

/// The system's name, release and machine: `Linux 6.12.3 x86_64`.
private func systemName() -> String {
    var name = utsname()
    guard unsafe uname(&name) == 0 else { return "unknown" }
    return "\(text(name.sysname)) \(text(name.release)) \(text(name.machine))"
}

/// The text of a field that ends with a zero byte.
private func text<Field>(_ field: Field) -> String {
    unsafe withUnsafeBytes(of: field) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
}
