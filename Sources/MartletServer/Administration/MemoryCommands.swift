//  MEMORY: what the data and the server cost.

import CSystem
import MartletBase
import MartletEngine

extension CommandGroup {
    private static let onAllShards = [
        "nondeterministic_output", "request_policy:all_shards", "response_policy:special",
    ]

    static func memory(_ context: ServerContext) -> CommandGroup {
        [
            Command(
                "MEMORY", since: "4.0.0", group: .server,
                summary: "A container for memory diagnostics commands.",
                subcommands: memorySubcommands(context))
        ]
    }

    private static func memorySubcommands(_ context: ServerContext) -> CommandGroup {
        [
            Command(
                "BIGKEYS", since: "4.0.0", group: .server, syntax: "[count]",
                summary: "Returns the keys that cost the most memory.",
                complexity: "O(K log K) where K is the number of keys in the list, at most 64.",
                arity: .atLeast(2), traits: .walksShards, tips: onAllShards
            ) { (call) throws(CommandError) in
                try replyBigKeys(&call, context)
                return .none
            },
            Command(
                "DOCTOR", since: "4.0.0", group: .server,
                summary: "Outputs a memory problems report.", arity: .exactly(2),
                traits: .walksShards, tips: onAllShards
            ) { (call) throws(CommandError) in
                let memory = context.memoryReport(isHeld: call.isNested)
                call.reply.verbatim(MemoryDoctor.report(memory, context))
                return .none
            },
            Command(
                "HELP", since: "4.0.0", group: .server,
                summary: "Returns helpful text about the different subcommands.",
                arity: .exactly(2), traits: [.loading, .stale], run: help),
            Command(
                "MALLOC-STATS", since: "4.0.0", group: .server,
                summary: "Returns the allocator statistics.",
                complexity: "Depends on how much memory is allocated, could be slow",
                arity: .exactly(2), traits: .walksShards, tips: onAllShards
            ) { (call) throws(CommandError) in
                call.reply.verbatim(allocators(context.memoryReport(isHeld: call.isNested)))
                return .none
            },
            Command(
                "PURGE", since: "4.0.0", group: .server,
                summary: "Asks the allocator to release memory.",
                complexity: "Depends on how much memory is allocated, could be slow",
                arity: .exactly(2),
                tips: ["request_policy:all_shards", "response_policy:all_succeeded"]
            ) { (call) throws(CommandError) in
                SparedMemory.trim()
                _ = martlet_malloc_trim()
                call.reply.ok()
                return .none
            },
            Command(
                "STATS", since: "4.0.0", group: .server,
                summary: "Returns details about memory usage.", arity: .exactly(2),
                traits: .walksShards, tips: onAllShards
            ) { (call) throws(CommandError) in
                statistics(&call, context.memoryReport(isHeld: call.isNested))
                return .none
            },
            Command(
                "USAGE", since: "4.0.0", group: .server, syntax: "key [SAMPLES count]",
                summary: "Estimates the memory usage of a key.",
                complexity: "O(N) where N is the number of samples.", arity: .atLeast(3),
                keys: [.one(at: 2, .readOnly)], access: .read, run: usage),
        ]
    }
}

/// What a key costs is counted, not sampled: the option is read and changes nothing.
private func usage(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    while !call.arguments.isAtEnd {
        guard call.arguments.skip("samples"), !call.arguments.isAtEnd else { throw .syntax }
        if try call.arguments.integer() < 0 { throw .syntax }
    }

    if let bytes = call.keyspace.memoryUsage(key) {
        call.reply.integer(bytes)
    } else {
        call.reply.null()
    }
    return .none
}

/// A map of database, type and bytes for each key, the largest first.
private func replyBigKeys(_ call: inout Call, _ context: ServerContext) throws(CommandError) {
    var count = 10
    if !call.arguments.isAtEnd {
        let error = CommandError.invalid("count must be between 1 and 64")
        let value = try call.arguments.integer(error)
        guard (1...Int64(BigKeys.countMax)).contains(value) else { throw error }
        count = Int(value)
        if !call.arguments.isAtEnd { throw .syntax }
    }
    let report = context.bigKeys.report(context, isHeld: call.isNested)
    let keys = report.keys.prefix(count)
    call.reply.array(keys.count)
    for key in keys {
        call.reply.map(4)
        call.reply.bulk("key")
        key.key.withView { call.reply.bulk($0) }
        call.reply.bulk("db")
        call.reply.integer(key.database)
        call.reply.bulk("type")
        call.reply.bulk(key.kind.name)
        call.reply.bulk("bytes")
        call.reply.integer(key.bytes)
    }
}

private func statistics(_ call: inout Call, _ memory: MemoryReport) {
    let keyspace = memory.keyspace
    let used = keyspace.databases.enumerated().filter { $0.element.keys > 0 }
    let net = max(0, memory.usedBytes - memory.startupBytes)
    call.reply.map(28 + used.count)
    func integer(_ name: StaticString, _ value: Int) {
        call.reply.bulk(name)
        call.reply.integer(value)
    }
    func double(_ name: StaticString, _ value: Double) {
        call.reply.bulk(name)
        call.reply.double(value)
    }
    integer("peak.allocated", memory.peakBytes)
    integer("total.allocated", memory.usedBytes)
    integer("startup.allocated", memory.startupBytes)
    integer("replication.backlog", 0)
    integer("clients.slaves", 0)
    integer("clients.normal", memory.clientBytes)
    integer("cluster.links", 0)
    integer("aof.buffer", memory.logBytes)
    let scripts = unsafe call.state.scripts.report
    integer("lua.caches", scripts.scriptBytes)
    integer("functions.caches", scripts.functionBytes)
    integer("script.VMs", scripts.evaluatorBytes + scripts.libraryInterpreterBytes)
    for (number, database) in used {
        call.reply.bulk("db.\(number)")
        call.reply.map(3)
        integer("overhead.hashtable.main", database.tableBytes)
        integer("overhead.hashtable.expires", database.wheelBytes)
        integer("overhead.hashtable.slot-to-keys", 0)
    }
    integer("overhead.total", memory.overheadBytes)
    integer("keys.count", keyspace.keys)
    integer("keys.bytes-per-key", keyspace.keys == 0 ? 0 : net / keyspace.keys)
    integer("dataset.bytes", memory.datasetBytes)
    double("dataset.percentage", memory.datasetPercent)
    double("peak.percentage", memory.peakPercent)
    integer("allocator.allocated", memory.allocatedBytes)
    integer("allocator.active", memory.heldBytes)
    integer("allocator.resident", memory.heldBytes)
    double("allocator-fragmentation.ratio", memory.ratio(memory.heldBytes, memory.allocatedBytes))
    integer("allocator-fragmentation.bytes", memory.heldBytes - memory.allocatedBytes)
    double("allocator-rss.ratio", 1)
    integer("allocator-rss.bytes", 0)
    double("rss-overhead.ratio", memory.ratio(memory.residentBytes, memory.heldBytes))
    integer("rss-overhead.bytes", memory.residentBytes - memory.heldBytes)
    double("fragmentation", memory.fragmentation)
    integer("fragmentation.bytes", memory.residentBytes - memory.usedBytes)
}

private func allocators(_ memory: MemoryReport) -> String {
    let malloc = martlet_malloc_use()
    let keyspace = memory.keyspace
    return """
        slabs of entries: \(keyspace.slabBytes) bytes, \(keyspace.slackBytes) of them unused
        empty slabs kept for the next entries: \(SparedMemory.emptySlabBytes) bytes
        tables: \(keyspace.tableBytes) bytes
        malloc: \(malloc.held) bytes, \(malloc.used) of them used, \(keyspace.heapBytes) by values
        resident: \(memory.residentBytes) bytes

        """
}

private func help(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.help(
        "MEMORY",
        [
            "BIGKEYS [<count>]",
            "    Return the keys that cost the most memory (default: 10, at most 64).",
            "DOCTOR",
            "    Return memory problems reports.",
            "MALLOC-STATS",
            "    Return internal statistics report from the memory allocator.",
            "PURGE",
            "    Attempt to purge dirty pages for reclamation by the allocator.",
            "STATS",
            "    Return information about the memory usage of the server.",
            "USAGE <key> [SAMPLES <count>]",
            "    Return memory in bytes used by <key> and its value. Nested values are",
            "    sampled up to <count> times (default: 5, 0 means sample all).",
        ])
    return .none
}

/// What an operator should know about the memory, and what he can do.
enum MemoryDoctor {
    /// Below this the fixed costs of a process hide everything else.
    private static let usedBytesMin = 5 << 20

    static func report(_ memory: MemoryReport, _ context: ServerContext) -> String {
        if memory.usedBytes < usedBytesMin {
            return """
                This server uses so little memory (\(readable(bytes: memory.usedBytes))) that \
                nothing can be told from it. Ask again when there are data.

                """
        }
        var findings: [String] = []
        if memory.peakBytes > memory.usedBytes / 2 * 3 {
            findings.append(
                "Peak memory: \(readable(bytes: memory.peakBytes)) were used once, "
                    + "\(readable(bytes: memory.usedBytes)) are now. What the process keeps in "
                    + "memory can stay above what it uses; MEMORY PURGE gives free pages back.")
        }
        if memory.fragmentation > 1.4 && memory.residentBytes - memory.usedBytes > 10 << 20 {
            findings.append(
                "Fragmentation: the process has \(readable(bytes: memory.residentBytes)) in memory "
                    + "for \(readable(bytes: memory.usedBytes)) used "
                    + "(ratio \(decimal(memory.fragmentation, 2))). After many keys were removed "
                    + "that passes as new ones fill the gaps; MEMORY PURGE may help at once.")
        }
        let clients = max(context.state.clients.count, 1)
        if memory.clientBytes / clients > 200 << 10 {
            findings.append(
                "Clients: they hold \(readable(bytes: memory.clientBytes / clients)) each on "
                    + "average. CLIENT LIST shows who does not read his replies.")
        }
        let bytesMax = context.state.settings.eviction.bytesMax.load(ordering: .relaxed)
        if bytesMax > 0 && memory.usedBytes > bytesMax {
            findings.append(
                "Limit: more is used than maxmemory (\(readable(bytes: bytesMax))) "
                    + "allows. Under the policy in force (maxmemory-policy) there may be nothing to "
                    + "evict: writes that need memory are refused then.")
        }
        let wasted = context.state.settings.eviction.wastedBytes.load(ordering: .relaxed)
        if wasted > 0 {
            findings.append(
                "Eviction: the process has more in memory than maxmemory allows, because allocators "
                    + "keep a part of what was freed; \(readable(bytes: wasted)) more than needed are "
                    + "evicted to make up for it. Values of more even sizes, or a larger maxmemory, "
                    + "help.")
        }
        if memory.logBytes > 64 << 20 {
            findings.append(
                "Log: \(readable(bytes: memory.logBytes)) wait to be written to the append-only log. "
                    + "The disk does not keep up with the writes.")
        }
        if findings.isEmpty { return "No memory problem found.\n" }
        return "Found in this server's memory:\n\n"
            + findings.map { "- \($0)\n" }.joined(separator: "\n")
    }
}
