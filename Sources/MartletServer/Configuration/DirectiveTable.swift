//  Every directive, once: a row per name.
//
//  The names are those of the stock configuration files of Redis 7.0 to 8.x and of Valkey 9, so
//  that any of these files loads; defaults are those of Redis 7.0 except where a row says why not.
//  When a feature arrives, its rows lose their `standing`. A test holds each initial value against
//  its kind and looks for names given twice.

import Glibc
import MartletBase

extension Directive {
    /// The row numbers of all names and aliases, in lower case.
    static let numbers: [String: Int] = {
        var numbers: [String: Int] = [:]
        for (number, directive) in table.enumerated() {
            for name in [directive.name] + directive.aliases { numbers[name] = number }
        }
        return numbers
    }()

    /// The directive of this name or alias, in any case.
    package static func named(_ name: String) -> Directive? {
        numbers[name.lowercased()].map { table[$0] }
    }

    /// One loop per processor that is online when the process starts.
    static let loopsInitial = min(max(sysconf(Int32(_SC_NPROCESSORS_ONLN)), 1), 128)

    package static let table: [Directive] =
        network + process + logging + limits + memory + latency + security + encodings + persistence
        + replication + cluster + tls + withoutEffect + fileOnly
}

private let intMax = Int(Int32.max)
private let port = Directive.Kind.integer(0...65535)
private let count = Directive.Kind.integer(0...intMax)
private let longCount = Directive.Kind.integer(0...Int.max)
private let bytes = Directive.Kind.memory(0...Int.max)

private let network: [Directive] = [
    .init(
        "bind", kind: .words(0...16), initial: .words(["127.0.0.1", "-::1"]), traits: .immutable),
    .init("port", kind: port, initial: .integer(6379), traits: .immutable),
    .init("unixsocket", kind: .text, initial: .text(""), traits: .immutable),
    .init("unixsocketperm", kind: .octal(0...0o777), initial: .integer(0), traits: .immutable),
    .init(
        "unixsocketgroup", kind: .text, initial: .text(""), traits: .immutable,
        standing: .awaiting("choosing the group of the Unix socket")),
    .init("tcp-backlog", kind: count, initial: .integer(511), traits: .immutable),
    .init("tcp-keepalive", kind: count, initial: .integer(300)),
    .init("tcp-keepalive-probes", kind: .integer(1...127), initial: .integer(3)),
    .init("timeout", kind: count, initial: .integer(0)),
    .init("protected-mode", kind: .boolean, initial: .boolean(true)),
    .init(
        "bind-source-addr", kind: .text, initial: .text(""), standing: .awaiting("replication")),
    .init(
        "socket-mark-id", kind: .integer(0...Int(UInt32.max)), initial: .integer(0),
        standing: .awaiting("marking sockets")),
    .init(
        "mptcp", kind: .boolean, initial: .boolean(false), traits: .immutable,
        standing: .awaiting("multipath TCP")),
    .init("rdma-bind", kind: .words(0...16), initial: .words([]), standing: .awaiting("RDMA")),
    .init("rdma-port", kind: port, initial: .integer(0), standing: .awaiting("RDMA")),
    .init(
        "rdma-rx-size", kind: .memory(65536...16_777_216), initial: .integer(1_048_576),
        traits: .immutable, standing: .awaiting("RDMA")),
    .init(
        "rdma-completion-vector", kind: .integer(-1...intMax), initial: .integer(-1),
        traits: .immutable, standing: .awaiting("RDMA")),
]

private let process: [Directive] = [
    .init("daemonize", kind: .boolean, initial: .boolean(false), traits: .immutable),
    .init("pidfile", kind: .text, initial: .text(""), traits: .immutable),
    .init("dir", kind: .text, initial: .text("."), traits: .protected),
    .init(
        "databases", kind: .integer(1...Limits.databasesMax), initial: .integer(16),
        traits: .immutable),
    // Martlet's event loops are what Redis calls I/O threads: one per processor unless told.
    .init(
        "io-threads", kind: .integer(1...128), initial: .integer(Directive.loopsInitial),
        traits: .immutable),
    .init(
        "supervised", kind: .choice(["upstart", "systemd", "auto", "no"]), initial: .word("no"),
        traits: .immutable),
    .init("always-show-logo", kind: .boolean, initial: .boolean(false), traits: .immutable),
    .init(
        "hz", kind: count, initial: .integer(10),
        standing: .withoutEffect("background work is done when it is due")),
    .init("shutdown-timeout", kind: count, initial: .integer(10)),
    .init("shutdown-on-sigterm", kind: shutdownOptions, initial: .words(["default"])),
    .init("shutdown-on-sigint", kind: shutdownOptions, initial: .words(["default"])),
    .init(
        "set-proc-title", kind: .boolean, initial: .boolean(false), traits: .immutable,
        standing: .withoutEffect("the process keeps the title it was started with")),
    .init(
        "proc-title-template", kind: .text, initial: .text("{title} {listen-addr} {server-mode}"),
        standing: .withoutEffect("the process keeps the title it was started with")),
    .init(
        "oom-score-adj", kind: .choice(["no", "yes", "relative", "absolute"]), initial: .word("no"),
        standing: .awaiting("steering the kernel's out-of-memory choice")),
    .init(
        "oom-score-adj-values", kind: .integers(count: 3, within: -2000...2000),
        initial: .integers([0, 200, 800]),
        standing: .awaiting("steering the kernel's out-of-memory choice")),
    .init(
        "server-cpulist", alias: "server_cpulist", kind: .text, initial: .text(""),
        traits: .immutable, standing: .awaiting("binding threads to processors")),
    .init(
        "bio-cpulist", alias: "bio_cpulist", kind: .text, initial: .text(""), traits: .immutable,
        standing: .awaiting("binding threads to processors")),
    .init(
        "ignore-warnings", kind: .text, initial: .text(""),
        standing: .withoutEffect("no warning keeps the server from starting")),
]

private let shutdownOptions = Directive.Kind.choices([
    "default", "save", "nosave", "now", "force", "safe", "failover",
])

private let logging: [Directive] = [
    .init(
        "loglevel", kind: .choice(["debug", "verbose", "notice", "warning", "nothing"]),
        initial: .word("notice")),
    .init("logfile", kind: .text, initial: .text(""), traits: .immutable),
    .init(
        "log-format", kind: .choice(["legacy", "logfmt", "json"]), initial: .word("legacy")),
    .init(
        "log-timestamp-format", kind: .choice(["legacy", "iso8601", "milliseconds"]),
        initial: .word("legacy")),
    .init("syslog-enabled", kind: .boolean, initial: .boolean(false), traits: .immutable),
    .init("syslog-ident", kind: .text, initial: .text("martlet"), traits: .immutable),
    .init(
        "syslog-facility",
        kind: .choice([
            "user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
        ]),
        initial: .word("local0"), traits: .immutable),
    .init(
        "hide-user-data-from-log", kind: .boolean, initial: .boolean(true),
        standing: .withoutEffect("keys and values never reach the log")),
    .init(
        "crash-log-enabled", kind: .boolean, initial: .boolean(true),
        standing: .withoutEffect("the Swift runtime prints the trace of a crash")),
    .init(
        "crash-memcheck-enabled", kind: .boolean, initial: .boolean(true),
        standing: .withoutEffect("no memory test runs after a crash")),
    .init(
        "use-exit-on-panic", kind: .boolean, initial: .boolean(false), traits: .hidden,
        standing: .withoutEffect("a failed assertion always stops the process at once")),
    .init(
        "watchdog-period", kind: count, initial: .integer(0), traits: .hidden,
        standing: .awaiting("the software watchdog")),
]

private let limits: [Directive] = [
    .init("maxclients", kind: .integer(1...Int(UInt32.max)), initial: .integer(10000)),
    .init(
        "proto-max-bulk-len", kind: .memory(1_048_576...Int.max), initial: .integer(512 << 20)),
    .init(
        "client-query-buffer-limit", kind: .memory(1_048_576...Int.max), initial: .integer(1 << 30)),
    .init(
        "client-output-buffer-limit", kind: .outputBufferLimits,
        initial: .outputBufferLimits(OutputBufferLimits())),
    .init(
        "max-new-connections-per-cycle", kind: .integer(1...1000), initial: .integer(10),
        standing: .withoutEffect("connections are spread over the loops")),
    .init(
        "max-new-tls-connections-per-cycle", kind: .integer(1...1000), initial: .integer(1),
        standing: .awaiting("TLS")),
]

private let memory: [Directive] = [
    .init("maxmemory", kind: .memoryLimit, initial: .integer(0)),
    // On by default, other than in Redis: clients that do not read must not take all memory.
    .init("maxmemory-clients", kind: .memoryOrPercent, initial: .percent(5)),
    .init(
        "maxmemory-policy",
        kind: .choice([
            "volatile-lru", "volatile-lfu", "volatile-lrm", "volatile-random", "volatile-ttl",
            "allkeys-lru", "allkeys-lfu", "allkeys-lrm", "allkeys-random", "noeviction",
        ]),
        initial: .word("noeviction")),
    .init("maxmemory-samples", kind: .integer(1...intMax), initial: .integer(5)),
    .init("maxmemory-eviction-tenacity", kind: .integer(0...100), initial: .integer(10)),
    .init("lfu-log-factor", kind: count, initial: .integer(10)),
    .init("lfu-decay-time", kind: count, initial: .integer(1)),
    .init("active-expire-effort", kind: .integer(1...10), initial: .integer(1)),
    .init("tracking-table-max-keys", kind: longCount, initial: .integer(1_000_000)),
    .init(
        "key-memory-histograms", kind: .boolean, initial: .boolean(false), traits: .immutable,
        standing: .awaiting("histograms of key sizes")),
]

private let latency: [Directive] = [
    .init(
        "slowlog-log-slower-than", alias: "commandlog-execution-slower-than",
        kind: .integer(-1...Int.max), initial: .integer(10000)),
    .init(
        "slowlog-max-len", alias: "commandlog-slow-execution-max-len", kind: longCount,
        initial: .integer(128)),
    .init(
        "commandlog-request-larger-than", kind: .integer(-1...Int.max),
        initial: .integer(1_048_576)),
    .init("commandlog-large-request-max-len", kind: longCount, initial: .integer(128)),
    .init(
        "commandlog-reply-larger-than", kind: .integer(-1...Int.max), initial: .integer(1_048_576)),
    .init("commandlog-large-reply-max-len", kind: longCount, initial: .integer(128)),
    .init("slowlog-entry-max-argc", kind: .integer(2...intMax), initial: .integer(32)),
    .init("slowlog-entry-max-string-len", kind: .integer(16...intMax), initial: .integer(128)),
    .init("latency-monitor-threshold", kind: longCount, initial: .integer(0)),
    .init("latency-tracking", kind: .boolean, initial: .boolean(true)),
    .init(
        "latency-tracking-info-percentiles", kind: .percentiles,
        initial: .percentiles([50, 99, 99.9])),
    .init(
        "busy-reply-threshold", alias: "lua-time-limit", kind: longCount,
        initial: .integer(5000)),
    // A second more than the threshold: who waits has been told, and might have killed it.
    .init("script-time-budget-ms", kind: longCount, initial: .integer(6000)),
    .init(
        "script-memory-limit", kind: .memory(1_048_576...Int.max), initial: .integer(268_435_456)),
    .init(
        "notify-keyspace-events", kind: .keyspaceEvents, initial: .keyspaceEvents([])),
]

private let protectedAction = Directive.Kind.choice(["no", "yes", "local"])

private let security: [Directive] = [
    .init("requirepass", kind: .text, initial: .text(""), traits: .secret),
    .init(
        "enable-protected-configs", kind: protectedAction, initial: .word("no"), traits: .immutable),
    .init(
        "enable-debug-command", kind: protectedAction, initial: .word("no"), traits: .immutable),
    .init(
        "enable-module-command", kind: protectedAction, initial: .word("no"), traits: .immutable,
        standing: .withoutEffect("Martlet loads no modules")),
    // A server that ignored its users would let everybody in.
    .init(
        "aclfile", kind: .text, initial: .text(""), traits: .immutable,
        standing: .refused("access control lists")),
    .init(
        "acl-pubsub-default", kind: .choice(["allchannels", "resetchannels"]),
        initial: .word("resetchannels"), standing: .awaiting("access control lists")),
    .init(
        "acllog-max-len", kind: longCount, initial: .integer(128),
        standing: .awaiting("access control lists")),
]

private let encodings: [Directive] = [
    .init(
        "hash-max-listpack-entries", alias: "hash-max-ziplist-entries", kind: longCount,
        initial: .integer(512)),
    .init(
        "hash-max-listpack-value", alias: "hash-max-ziplist-value", kind: bytes,
        initial: .integer(64)),
    .init(
        "set-max-intset-entries", kind: longCount, initial: .integer(512)),
    .init(
        "set-max-listpack-entries", kind: longCount, initial: .integer(128)),
    .init(
        "set-max-listpack-value", kind: bytes, initial: .integer(64)),
    .init(
        "zset-max-listpack-entries", alias: "zset-max-ziplist-entries", kind: longCount,
        initial: .integer(128)),
    .init(
        "zset-max-listpack-value", alias: "zset-max-ziplist-value", kind: bytes,
        initial: .integer(64)),
    .init(
        "list-max-listpack-size", alias: "list-max-ziplist-size",
        kind: .integer(Int(Int32.min)...intMax), initial: .integer(-2)),
    .init(
        "list-compress-depth", kind: count, initial: .integer(0),
        standing: .withoutEffect("lists are not compressed")),
    .init(
        "stream-node-max-bytes", kind: bytes, initial: .integer(4096)),
    .init(
        "stream-node-max-entries", kind: longCount, initial: .integer(100)),
    .init(
        "stream-idmp-duration", kind: .integer(1...86400), initial: .integer(100)),
    .init(
        "stream-idmp-maxsize", kind: .integer(1...10000), initial: .integer(100)),
    .init(
        "hll-sparse-max-bytes", kind: bytes, initial: .integer(3000)),
    .init(
        "array-slice-size", kind: .integer(1...intMax), initial: .integer(4096),
        standing: .awaiting("arrays")),
    .init(
        "array-sparse-kmax", kind: count, initial: .integer(10), standing: .awaiting("arrays")),
    .init("array-sparse-kmin", kind: count, initial: .integer(5), standing: .awaiting("arrays")),
    .init(
        "vset-force-single-threaded-execution", kind: .boolean, initial: .boolean(false),
        standing: .awaiting("vector sets")),
]

private let wholeSync = Directive.Standing.withoutEffect(
    "a new file is synced as a whole before it takes its place")
private let slowdown = Directive.Standing.awaiting("slowing snapshots and loading down")

private let persistence: [Directive] = [
    // Redis saves by default. Without a configuration Martlet writes nothing to disk.
    .init("save", kind: .savePoints, initial: .savePoints([])),
    .init("dbfilename", kind: .fileName, initial: .text("dump.rdb"), traits: .protected),
    .init("rdbcompression", kind: .boolean, initial: .boolean(true)),
    .init("rdbchecksum", kind: .boolean, initial: .boolean(true), traits: .immutable),
    .init(
        "rdb-save-incremental-fsync", kind: .boolean, initial: .boolean(true), standing: wholeSync),
    .init(
        "rdb-del-sync-files", kind: .boolean, initial: .boolean(false),
        standing: .awaiting("replication")),
    .init(
        "rdb-version-check", kind: .choice(["strict", "relaxed"]), initial: .word("strict"),
        standing: .awaiting("reading snapshots of unknown versions")),
    .init(
        "rdb-key-save-delay", kind: .integer(Int(Int32.min)...intMax), initial: .integer(0),
        traits: .hidden, standing: slowdown),
    .init(
        "key-load-delay", kind: .integer(Int(Int32.min)...intMax), initial: .integer(0),
        traits: .hidden, standing: slowdown),
    .init(
        "loading-process-events-interval-bytes", kind: .memory(1024...intMax),
        initial: .integer(2_097_152), traits: .hidden,
        standing: .withoutEffect("clients are answered by other threads than the loading one")),
    .init("stop-writes-on-bgsave-error", kind: .boolean, initial: .boolean(true)),
    .init(
        "sanitize-dump-payload", kind: .choice(["no", "yes", "clients"]), initial: .word("yes"),
        standing: .withoutEffect("payloads are always checked in full")),
    .init(
        "bgsave-cpulist", alias: "bgsave_cpulist", kind: .text, initial: .text(""),
        traits: .immutable, standing: .awaiting("binding threads to processors")),
    .init("appendonly", kind: .boolean, initial: .boolean(false)),
    .init(
        "appendfilename", kind: .fileName, initial: .text("appendonly.aof"), traits: .immutable),
    .init(
        "appenddirname", kind: .fileName, initial: .text("appendonlydir"), traits: .immutable),
    .init(
        "appendfsync", kind: .choice(["everysec", "always", "no"]), initial: .word("everysec")),
    // Ours alone: the lines that let every damage be found. Redis and Valkey pass over them.
    .init("aof-checksum", kind: .boolean, initial: .boolean(true), traits: .immutable),
    .init(
        "no-appendfsync-on-rewrite", kind: .boolean, initial: .boolean(false),
        standing: .withoutEffect("a rewrite holds no sync of the log up that clients wait for")),
    .init("auto-aof-rewrite-percentage", kind: count, initial: .integer(100)),
    .init("auto-aof-rewrite-min-size", kind: bytes, initial: .integer(64 << 20)),
    .init("aof-load-truncated", kind: .boolean, initial: .boolean(true)),
    .init(
        "aof-load-corrupt-tail-max-size", kind: bytes, initial: .integer(0),
        standing: .withoutEffect("a bad tail of any size is cut, and kept beside the log")),
    .init("aof-use-rdb-preamble", kind: .boolean, initial: .boolean(true)),
    .init("aof-timestamp-enabled", kind: .boolean, initial: .boolean(false), traits: .immutable),
    .init(
        "aof-rewrite-incremental-fsync", kind: .boolean, initial: .boolean(true),
        standing: wholeSync),
    .init(
        "aof-disable-auto-gc", kind: .boolean, initial: .boolean(false), traits: .hidden,
        standing: .awaiting("keeping files of the log that were replaced")),
    .init(
        "aof-rewrite-cpulist", alias: "aof_rewrite_cpulist", kind: .text, initial: .text(""),
        traits: .immutable, standing: .awaiting("binding threads to processors")),
]

private let replicas = Directive.Standing.awaiting("replication")

private let replication: [Directive] = [
    // A replica that took itself for a primary would accept writes that its primary never sees.
    .init(
        "replicaof", alias: "slaveof", kind: .words(0...2), initial: .words([]), traits: .immutable,
        standing: .refused("replication")),
    .init(
        "primaryauth", alias: "masterauth", kind: .text, initial: .text(""), traits: .secret,
        standing: replicas),
    .init(
        "primaryuser", alias: "masteruser", kind: .text, initial: .text(""), traits: .secret,
        standing: replicas),
    .init(
        "replica-serve-stale-data", alias: "slave-serve-stale-data", kind: .boolean,
        initial: .boolean(true), standing: replicas),
    .init(
        "replica-read-only", alias: "slave-read-only", kind: .boolean, initial: .boolean(true),
        standing: replicas),
    .init(
        "replica-ignore-maxmemory", alias: "slave-ignore-maxmemory", kind: .boolean,
        initial: .boolean(true), standing: replicas),
    .init(
        "replica-lazy-flush", alias: "slave-lazy-flush", kind: .boolean, initial: .boolean(true),
        standing: .withoutEffect("memory is always freed beside the commands")),
    .init(
        "replica-priority", alias: "slave-priority", kind: count, initial: .integer(100),
        standing: replicas),
    .init("replica-announced", kind: .boolean, initial: .boolean(true), standing: replicas),
    .init(
        "replica-announce-ip", alias: "slave-announce-ip", kind: .text, initial: .text(""),
        standing: replicas),
    .init(
        "replica-announce-port", alias: "slave-announce-port", kind: port, initial: .integer(0),
        standing: replicas),
    .init(
        "replica-ignore-disk-write-errors", kind: .boolean, initial: .boolean(false),
        standing: replicas),
    .init("replica-full-sync-buffer-limit", kind: bytes, initial: .integer(0), standing: replicas),
    .init("repl-diskless-sync", kind: .boolean, initial: .boolean(true), standing: replicas),
    .init("repl-diskless-sync-delay", kind: count, initial: .integer(5), standing: replicas),
    .init("repl-diskless-sync-max-replicas", kind: count, initial: .integer(0), standing: replicas),
    .init(
        "repl-diskless-load",
        kind: .choice(["disabled", "on-empty-db", "swapdb", "flush-before-load"]),
        initial: .word("disabled"), standing: replicas),
    .init("repl-disable-tcp-nodelay", kind: .boolean, initial: .boolean(false), standing: replicas),
    .init("repl-rdb-channel", kind: .boolean, initial: .boolean(false), standing: replicas),
    .init(
        "repl-ping-replica-period", alias: "repl-ping-slave-period", kind: .integer(1...intMax),
        initial: .integer(10), standing: replicas),
    .init("repl-timeout", kind: .integer(1...intMax), initial: .integer(60), standing: replicas),
    .init(
        "repl-backlog-size", kind: .memory(1...Int.max), initial: .integer(1_048_576),
        standing: replicas),
    .init("repl-backlog-ttl", kind: longCount, initial: .integer(3600), standing: replicas),
    .init(
        "repl-mptcp", kind: .boolean, initial: .boolean(false), traits: .immutable,
        standing: replicas),
    .init(
        "dual-channel-replication-enabled", kind: .boolean, initial: .boolean(false),
        standing: replicas),
    .init(
        "min-replicas-to-write", alias: "min-slaves-to-write", kind: count, initial: .integer(0),
        standing: .refused("replication")),
    .init(
        "min-replicas-max-lag", alias: "min-slaves-max-lag", kind: count, initial: .integer(10),
        standing: replicas),
    .init(
        "propagation-error-behavior", kind: .choice(["ignore", "panic", "panic-on-replicas"]),
        initial: .word("ignore"), standing: replicas),
    .init("import-mode", kind: .boolean, initial: .boolean(false), standing: replicas),
]

private let nodes = Directive.Standing.awaiting("clustering")

private let cluster: [Directive] = [
    .init(
        "cluster-enabled", kind: .boolean, initial: .boolean(false), traits: .immutable,
        standing: .refused("clustering")),
    .init(
        "cluster-config-file", kind: .text, initial: .text("nodes.conf"), traits: .immutable,
        standing: nodes),
    .init(
        "cluster-config-save-behavior", kind: .choice(["sync", "best-effort"]),
        initial: .word("sync"), standing: nodes),
    .init("cluster-port", kind: port, initial: .integer(0), traits: .immutable, standing: nodes),
    .init("cluster-node-timeout", kind: longCount, initial: .integer(15000), standing: nodes),
    .init(
        "cluster-databases", kind: .integer(1...intMax), initial: .integer(1), traits: .immutable,
        standing: nodes),
    .init("cluster-announce-ip", kind: .text, initial: .text(""), standing: nodes),
    .init("cluster-announce-hostname", kind: .text, initial: .text(""), standing: nodes),
    .init("cluster-announce-human-nodename", kind: .text, initial: .text(""), standing: nodes),
    .init("cluster-announce-port", kind: port, initial: .integer(0), standing: nodes),
    .init("cluster-announce-tls-port", kind: port, initial: .integer(0), standing: nodes),
    .init("cluster-announce-bus-port", kind: port, initial: .integer(0), standing: nodes),
    .init("cluster-announce-client-ipv4", kind: .text, initial: .text(""), standing: nodes),
    .init("cluster-announce-client-ipv6", kind: .text, initial: .text(""), standing: nodes),
    .init("cluster-announce-client-port", kind: port, initial: .integer(0), standing: nodes),
    .init("cluster-announce-client-tls-port", kind: port, initial: .integer(0), standing: nodes),
    .init(
        "cluster-preferred-endpoint-type", kind: .choice(["ip", "hostname", "unknown-endpoint"]),
        initial: .word("ip"), standing: nodes),
    .init(
        "cluster-replica-validity-factor", alias: "cluster-slave-validity-factor", kind: count,
        initial: .integer(10), standing: nodes),
    .init(
        "cluster-replica-no-failover", alias: "cluster-slave-no-failover", kind: .boolean,
        initial: .boolean(false), standing: nodes),
    .init("cluster-migration-barrier", kind: count, initial: .integer(1), standing: nodes),
    .init(
        "cluster-allow-replica-migration", kind: .boolean, initial: .boolean(true), standing: nodes),
    .init(
        "cluster-require-full-coverage", kind: .boolean, initial: .boolean(true), standing: nodes),
    .init(
        "cluster-allow-reads-when-down", kind: .boolean, initial: .boolean(false), standing: nodes),
    .init(
        "cluster-allow-pubsubshard-when-down", kind: .boolean, initial: .boolean(true),
        standing: nodes),
    .init("cluster-link-sendbuf-limit", kind: bytes, initial: .integer(0), standing: nodes),
    .init(
        "cluster-blacklist-ttl", kind: .integer(Int(Int32.min)...intMax), initial: .integer(60),
        standing: nodes),
    .init(
        "cluster-manual-failover-timeout", kind: .integer(1...intMax), initial: .integer(5000),
        standing: nodes),
    .init("cluster-ping-interval", kind: count, initial: .integer(1000), standing: nodes),
    .init(
        "cluster-compatibility-sample-ratio", kind: .integer(0...100), initial: .integer(0),
        standing: nodes),
    .init(
        "cluster-slot-stats-enabled", kind: .choice(["no", "yes", "cpu", "net", "mem"]),
        initial: .word("no"), standing: nodes),
    .init(
        "cluster-slot-migration-log-max-len", kind: longCount, initial: .integer(1000),
        standing: nodes),
    .init(
        "cluster-slot-migration-handoff-max-lag-bytes", kind: bytes, initial: .integer(1_048_576),
        standing: nodes),
    .init(
        "cluster-slot-migration-write-pause-timeout", kind: longCount, initial: .integer(10000),
        standing: nodes),
    .init(
        "cluster-slot-migration-sync-buffer-drain-timeout", kind: longCount,
        initial: .integer(60000), standing: nodes),
    .init(
        "cluster-slot-migration-max-archived-tasks", kind: longCount, initial: .integer(32),
        standing: nodes),
    .init(
        "slot-migration-max-failover-repl-bytes", kind: .integer(-1...Int.max),
        initial: .integer(0),
        standing: nodes),
    .init("availability-zone", kind: .text, initial: .text(""), standing: nodes),
]

private let encryption = Directive.Standing.awaiting("TLS")

private let tls: [Directive] = [
    // Clients that were promised an encrypted port must not find it missing at run time.
    .init("tls-port", kind: port, initial: .integer(0), standing: .refused("TLS")),
    .init("tls-cert-file", kind: .text, initial: .text(""), standing: encryption),
    .init("tls-key-file", kind: .text, initial: .text(""), standing: encryption),
    .init(
        "tls-key-file-pass", kind: .text, initial: .text(""), traits: .secret, standing: encryption),
    .init("tls-client-cert-file", kind: .text, initial: .text(""), standing: encryption),
    .init("tls-client-key-file", kind: .text, initial: .text(""), standing: encryption),
    .init(
        "tls-client-key-file-pass", kind: .text, initial: .text(""), traits: .secret,
        standing: encryption),
    .init("tls-dh-params-file", kind: .text, initial: .text(""), standing: encryption),
    .init("tls-ca-cert-file", kind: .text, initial: .text(""), standing: encryption),
    .init("tls-ca-cert-dir", kind: .text, initial: .text(""), standing: encryption),
    .init(
        "tls-auth-clients", kind: .choice(["no", "yes", "optional"]), initial: .word("yes"),
        standing: encryption),
    .init(
        "tls-auth-clients-user", kind: .choice(["CN", "URI", "off"]), initial: .word("off"),
        standing: encryption),
    .init("tls-replication", kind: .boolean, initial: .boolean(false), standing: encryption),
    .init("tls-cluster", kind: .boolean, initial: .boolean(false), standing: encryption),
    .init("tls-protocols", kind: .text, initial: .text(""), standing: encryption),
    .init("tls-ciphers", kind: .text, initial: .text(""), standing: encryption),
    .init("tls-ciphersuites", kind: .text, initial: .text(""), standing: encryption),
    .init(
        "tls-prefer-server-ciphers", kind: .boolean, initial: .boolean(false), standing: encryption),
    .init("tls-session-caching", kind: .boolean, initial: .boolean(true), standing: encryption),
    .init("tls-session-cache-size", kind: count, initial: .integer(20480), standing: encryption),
    .init("tls-session-cache-timeout", kind: count, initial: .integer(300), standing: encryption),
    .init("tls-auto-reload-interval", kind: count, initial: .integer(0), standing: encryption),
]

// Settings of machinery that Martlet does not have, and will not: taken and shown, so that files,
// tools and test suites that set them go on.

private let alwaysLazy = Directive.Standing.withoutEffect(
    "memory is always freed beside the commands")
private let noDefragmentation = Directive.Standing.withoutEffect(
    "memory is given back by slabs, there is no defragmentation")
private let steadyTables = Directive.Standing.withoutEffect(
    "tables grow in bounded steps as they are written")

private let withoutEffect: [Directive] = [
    .init(
        "lazyfree-lazy-eviction", kind: .boolean, initial: .boolean(true), standing: alwaysLazy),
    .init("lazyfree-lazy-expire", kind: .boolean, initial: .boolean(true), standing: alwaysLazy),
    .init(
        "lazyfree-lazy-server-del", kind: .boolean, initial: .boolean(true), standing: alwaysLazy),
    .init("lazyfree-lazy-user-del", kind: .boolean, initial: .boolean(true), standing: alwaysLazy),
    .init(
        "lazyfree-lazy-user-flush", kind: .boolean, initial: .boolean(true), standing: alwaysLazy),
    .init("activerehashing", kind: .boolean, initial: .boolean(true), standing: steadyTables),
    .init(
        "hash-seed", kind: .text, initial: .text(""), traits: [.immutable, .secret],
        standing: .withoutEffect("each process draws its own")),
    .init("activedefrag", kind: .boolean, initial: .boolean(false), standing: noDefragmentation),
    .init(
        "active-defrag-ignore-bytes", kind: .memory(1...Int.max), initial: .integer(100 << 20),
        standing: noDefragmentation),
    .init(
        "active-defrag-threshold-lower", kind: .integer(0...1000), initial: .integer(10),
        standing: noDefragmentation),
    .init(
        "active-defrag-threshold-upper", kind: .integer(0...1000), initial: .integer(100),
        standing: noDefragmentation),
    .init(
        "active-defrag-cycle-min", kind: .integer(1...99), initial: .integer(1),
        standing: noDefragmentation),
    .init(
        "active-defrag-cycle-max", kind: .integer(1...99), initial: .integer(25),
        standing: noDefragmentation),
    .init(
        "active-defrag-cycle-us", kind: .integer(0...100_000), initial: .integer(500),
        standing: noDefragmentation),
    .init(
        "active-defrag-max-scan-fields", kind: .integer(1...Int.max), initial: .integer(1000),
        standing: noDefragmentation),
    .init(
        "jemalloc-bg-thread", kind: .boolean, initial: .boolean(true),
        standing: .withoutEffect("Martlet does not use jemalloc")),
    .init(
        "dynamic-hz", kind: .boolean, initial: .boolean(true),
        standing: .withoutEffect("no periodic task grows with the number of clients")),
    .init(
        "io-threads-do-reads", kind: .boolean, initial: .boolean(true), traits: .immutable,
        standing: .withoutEffect("every loop reads, executes and writes")),
    .init(
        "disable-thp", kind: .boolean, initial: .boolean(true), traits: .immutable,
        standing: .withoutEffect("snapshots need no fork, so huge pages do no harm")),
    .init(
        "prefetch-batch-max-size", kind: .integer(0...128), initial: .integer(16),
        standing: .withoutEffect("requests are prefetched in batches of a fixed size")),
    .init(
        "lookahead", kind: .integer(1...intMax), initial: .integer(16),
        standing: .withoutEffect("requests are prefetched in batches of a fixed size")),
    .init(
        "locale-collate", kind: .text, initial: .text(""),
        standing: .withoutEffect("bytes are compared as bytes")),
    .init(
        "extended-redis-compatibility", kind: .boolean, initial: .boolean(false),
        standing: .withoutEffect("Martlet always answers as Redis does")),
    .init(
        "lua-replicate-commands", kind: .boolean, initial: .boolean(true),
        traits: .fileOnly, standing: .withoutEffect("scripts always record their effects")),
    .init(
        "list-max-ziplist-entries", kind: .integer(Int.min...Int.max), initial: .integer(0),
        traits: .fileOnly, standing: .withoutEffect("list-max-listpack-size took its place")),
    .init(
        "list-max-ziplist-value", kind: .memory(Int.min...Int.max), initial: .integer(0),
        traits: .fileOnly, standing: .withoutEffect("list-max-listpack-size took its place")),
]

private let fileOnly: [Directive] = [
    .init(
        "include", kind: .words(1...1), initial: .words([]), traits: [.fileOnly, .repeats]),
    // Its use is to close commands off: to ignore it would leave them open.
    .init(
        "rename-command", kind: .words(1...2), initial: .words([]), traits: [.fileOnly, .repeats],
        standing: .refused("renaming commands")),
    .init(
        "user", kind: .words(1...Int.max), initial: .words([]),
        traits: [.fileOnly, .repeats, .secret], standing: .refused("access control lists")),
    .init(
        "loadmodule", kind: .words(1...Int.max), initial: .words([]),
        traits: [.fileOnly, .repeats], standing: .awaiting("loading modules")),
    .init(
        "loadmodule-ex", kind: .words(1...Int.max), initial: .words([]),
        traits: [.fileOnly, .repeats], standing: .awaiting("loading modules")),
]
