//  The workloads known by name. A new one is a line in the table.
//
//  Keys of different types have different prefixes, so that workloads run one after the other on
//  the same server without WRONGTYPE.

import MartletBase

/// A named mix of operations, and what must be there before they run.
package struct Workload: Sendable {
    package let name: String
    package let summary: String
    package let commands: [WeightedCommand]
    /// Sent once for every key of the key space before the workload; nil when nothing is needed.
    package let fill: String?
    /// The text of a script that the commands name by its digest; nil for none.
    package let script: String?

    init(
        _ name: String, _ summary: String, _ command: String, fill: String? = nil,
        script: String? = nil
    ) {
        self.name = name
        self.summary = summary
        commands = [WeightedCommand(command)]
        self.fill = fill
        self.script = script
    }

    /// A workload of the user's own commands.
    package init(commands: [WeightedCommand], fill: String?) {
        name = "custom"
        summary = "commands given with --command"
        self.commands = commands
        self.fill = fill
        script = nil
    }

    /// GET and SET, drawn with a share of reads.
    package init(reads: Double) {
        name = "mixed"
        summary = "GET and SET, GET with a share of --reads"
        let parts = 1_000_000
        let getWeight = Int((reads * Double(parts)).rounded())
        var commands: [WeightedCommand] = []
        if getWeight > 0 { commands.append(WeightedCommand("GET key:{key}", weight: getWeight)) }
        if getWeight < parts {
            commands.append(
                WeightedCommand("SET key:{key} {value}", weight: parts - getWeight))
        }
        self.commands = commands
        fill = Workload.setEveryKey
        script = nil
    }

    package static let setEveryKey = "SET key:{key} {value}"

    /// The workload called `name`; `reads` is the share of GET in `mixed`.
    package static func named(_ name: String, reads: Double = 0.9) -> Workload? {
        name == "mixed" ? Workload(reads: reads) : table.first { $0.name == name }
    }

    /// All names with what they do, in the order of the table.
    package static var all: [Workload] { [Workload(reads: 0.9)] + table }

    private static let tenPairs = (0..<10).map { _ in "key:{key} {value}" }
        .joined(separator: " ")
    private static let tenKeys = (0..<10).map { _ in "key:{key}" }.joined(separator: " ")
    private static let tenFields = (0..<10).map { "field:\($0) {value:10}" }
        .joined(separator: " ")
    private static let takeLock = "SET lock:{key} {value:16} NX PX 30000"
    private static let releaseLock =
        "if redis.call('get',KEYS[1]) == ARGV[1] then return redis.call('del',KEYS[1]) "
        + "else return 0 end"

    /// The window of `limiter`, decided by a script: time, milliseconds of the window, limit, member.
    private static let slidingWindow =
        "redis.call('zremrangebyscore',KEYS[1],0,ARGV[1]-ARGV[2]) "
        + "if redis.call('zcard',KEYS[1]) < tonumber(ARGV[3]) then "
        + "redis.call('zadd',KEYS[1],ARGV[1],ARGV[4]) "
        + "redis.call('pexpire',KEYS[1],ARGV[2]) return 1 end return 0"

    private static let loop =
        "local sum=0 for i=1,100 do sum=sum+redis.call('incr',KEYS[1])%i end return sum"

    /// The name by which EVALSHA knows a script.
    private static func digest(_ script: String) -> String {
        let digest = script.withView { SHA1.digest($0) }
        return digest.indices.map { index in
            let digits = String(digest[index], radix: 16)
            return digits.utf8.count == 1 ? "0" + digits : digits
        }.joined()
    }

    /// A window of 500 000 operations: of 100 000 keys each has about five members in it.
    private static let limiter =
        "ZREMRANGEBYSCORE limiter:{key} 0 {seq:1000000000000} ; "
        + "ZADD limiter:{samekey} {seq:1000000500000} {seq:1000000500000} ; "
        + "ZCARD limiter:{samekey} ; EXPIRE limiter:{samekey} 60"

    /// Names of those that stand for the collection types.
    package static let ofTypes = [
        "limiter", "limiter-multi", "zadd", "zrank", "zrange", "hset", "hgetall", "push-pop",
        "sadd",
    ]

    /// Names of those that stand for messages.
    package static let ofMessages = ["xadd", "xrange", "stream-group"]

    /// Names of those that stand for scripts.
    package static let ofScripts = ["set-evalsha", "set-eval", "limiter-script", "loop-script"]

    /// An entry of one of 100 000 streams on its way: added, read, acknowledged. Its ID is the number
    /// of the operation, so that it is known without a reply, and so is the stream, so that no two
    /// connections meet in one.
    private static let streamGroup =
        "XADD jobs:{seq:00000} MAXLEN 10 {seq:1000000000000}-1 field {value} ; "
        + "XREADGROUP GROUP workers ann COUNT 1 STREAMS jobs:{seq:00000} > ; "
        + "XACK jobs:{seq:00000} workers {seq:1000000000000}-1"

    private static let table: [Workload] = [
        Workload("ping", "PING", "PING"),
        Workload("echo", "ECHO of a value", "ECHO {value}"),
        Workload("get", "GET of a key that is there", "GET key:{key}", fill: setEveryKey),
        Workload("set", "SET of a key that is there", setEveryKey, fill: setEveryKey),
        Workload("setex", "SET with a TTL", "SET key:{key} {value} EX {rand:1000-9999}"),
        Workload("incr", "INCR", "INCR counter:{key}"),
        Workload(
            "append", "APPEND of 8 bytes to a key set anew",
            "SET key:{key} {value} ; APPEND key:{samekey} {value:8}"),
        Workload("getrange", "GETRANGE of 16 bytes", "GETRANGE key:{key} 8 23", fill: setEveryKey),
        Workload("mset", "MSET of ten keys", "MSET \(tenPairs)", fill: setEveryKey),
        Workload("mget", "MGET of ten keys", "MGET \(tenKeys)", fill: setEveryKey),
        Workload("exists", "EXISTS", "EXISTS key:{key}", fill: setEveryKey),
        Workload("expire", "EXPIRE", "EXPIRE key:{key} {rand:1000-9999}", fill: setEveryKey),
        Workload("ttl", "TTL", "TTL key:{key}", fill: "SET key:{key} {value} EX 100000"),
        Workload(
            "set-del", "SET and DEL of the same key",
            "SET key:{key} {value} ; DEL key:{samekey}"),
        Workload(
            "setbit", "SETBIT in a bitmap of 1 250 bytes",
            "SETBIT bits:{key} {rand:1000-9999} 1"),
        Workload(
            "transaction", "MULTI, GET, SET, EXEC",
            "MULTI ; GET key:{key} ; SET key:{samekey} {value} ; EXEC", fill: setEveryKey),
        Workload(
            "hset", "HSET of ten fields", "HSET hash:{key} \(tenFields)",
            fill: "HSET hash:{key} \(tenFields)"),
        Workload(
            "hgetall", "HGETALL of ten fields", "HGETALL hash:{key}",
            fill: "HSET hash:{key} \(tenFields)"),
        Workload("push-pop", "LPUSH and RPOP", "LPUSH list:{key} {value} ; RPOP list:{samekey}"),
        Workload("sadd", "SADD of members to one set", "SADD set member:{key}"),
        Workload(
            "zadd", "ZADD of members to one sorted set",
            "ZADD zset {rand:1000000} member:{key}", fill: "ZADD zset {rand:1000000} member:{key}"),
        Workload(
            "zrank", "ZRANK of members of one sorted set", "ZRANK zset member:{key}",
            fill: "ZADD zset {rand:1000000} member:{key}"),
        Workload(
            "zrange", "ZRANGE of ten members of one sorted set",
            "ZRANGE zset {rand:10000-89990} {samerand:00009}",
            fill: "ZADD zset {rand:1000000} member:{key}"),
        Workload("limiter", "ZREMRANGEBYSCORE, ZADD, ZCARD, EXPIRE of a sliding window", limiter),
        Workload(
            "limiter-multi", "the same as a transaction", "MULTI ; \(limiter) ; EXEC"),
        Workload(
            "xadd", "XADD to one stream of about 100 000 entries",
            "XADD stream MAXLEN ~ 100000 * field {value}"),
        Workload(
            "xrange", "XRANGE of the last ten of 100 000 entries",
            "XREVRANGE stream + - COUNT 10", fill: "XADD stream MAXLEN ~ 100000 * field {value}"),
        Workload(
            "stream-group", "XADD, XREADGROUP and XACK of an entry", streamGroup,
            fill: "XGROUP CREATE jobs:{seq:00000} workers $ MKSTREAM"),
        Workload(
            "set-evalsha", "SET of a lock and a script, by its digest, that releases it",
            "\(takeLock) ; EVALSHA \(digest(releaseLock)) 1 lock:{samekey} {value:16}",
            script: releaseLock),
        Workload(
            "set-eval", "the same with the script's text",
            "\(takeLock) ; EVAL \"\(releaseLock)\" 1 lock:{samekey} {value:16}"),
        Workload(
            "limiter-script", "a sliding window in a script of four calls",
            "EVALSHA \(digest(slidingWindow)) 1 limiter:{key} {seq:1000000500000} 500000 100 "
                + "{seq:1000000500000}",
            script: slidingWindow),
        Workload(
            "loop-script", "a script that calls INCR a hundred times",
            "EVALSHA \(digest(loop)) 1 counter:{key}", script: loop),
        Workload("publish", "PUBLISH to a channel nobody listens to", "PUBLISH channel {value}"),
    ]
}
