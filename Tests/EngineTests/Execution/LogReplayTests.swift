//  The log tells everything: random commands over all types, by several clients in several databases,
//  with deadlines, transactions and clients that wait; what they log, read command by command into
//  another server, gives the same keys.

import MartletBase
import Testing

@testable import MartletEngine

/// Random commands, made of patterns. Each type has keys of its own, and two that all share.
private struct CommandSource {
    var random: Random

    /// `{s}` to `{x}` is a key of one type, `{k}` of any, `{t}` a time in milliseconds, `{a}` the same
    /// as a wall clock's time.
    private static let patterns = [
        "SET {s} {v}", "SET {s} {v} PX {t}", "SET {s} {v} KEEPTTL", "SET {s} {v} XX GET PXAT {a}",
        "SETEX {s} 1 {v}", "PSETEX {s} {t} {v}", "SETNX {s} {v}", "GETSET {s} {v}", "GETDEL {s}",
        "GETEX {s} PX {t}", "GETEX {s} PERSIST", "APPEND {s} {v}", "SETRANGE {s} {i} {v}",
        "INCR {s}", "INCRBYFLOAT {s} {d}", "MSET {s} {v} {s} {v}", "MSETNX {s} {v} {s} {v}",
        "MSETEX 2 {s} {v} {s} {v} PX {t}", "INCREX {s} BYINT {i} PX {t} SATURATE",
        "SETBIT {s} {i} 1", "BITFIELD {s} INCRBY u8 {i} 9", "BITOP XOR {s} {s} {s}",
        "PFADD {p} {m} {m}", "PFMERGE {p} {p} {p}", "PFCOUNT {p}", "PFDEBUG TODENSE {p}",
        "DEL {k} {k}", "UNLINK {k}", "RENAME {k} {k}", "RENAMENX {k} {k}", "COPY {k} {k} REPLACE",
        "COPY {k} {k} DB {n}", "MOVE {k} {n}", "PERSIST {k}", "PEXPIRE {k} {t}",
        "PEXPIRE {k} {t} GT", "PEXPIREAT {k} {a} LT", "EXPIRE {k} 100 NX", "EXISTS {k} {k}",
        "RPUSH {l} {v} {v} {v}", "LPUSH {l} {v}", "RPUSHX {l} {v}", "LPOP {l} {i}", "RPOP {l}",
        "LMPOP 2 {l} {l} RIGHT COUNT {i}", "LMOVE {l} {l} LEFT RIGHT", "RPOPLPUSH {l} {l}",
        "LINSERT {l} BEFORE {v} {v}", "LSET {l} 0 {v}", "LREM {l} 1 {v}", "LTRIM {l} 0 {i}",
        "SORT {l} ALPHA STORE {l}", "SORT {u} ALPHA DESC BY w* GET # STORE {l}",
        "BLPOP {l} {l} 0", "BRPOP {l} 0", "BLMOVE {l} {l} LEFT LEFT 0",
        "BLMPOP 0 1 {l} LEFT COUNT 2",
        "SADD {u} {m} {m} {m}", "SADD {u} {i} {i}", "SREM {u} {m} {m}", "SPOP {u}", "SPOP {u} {i}",
        "SMOVE {u} {u} {m}", "SUNIONSTORE {u} {u} {u}", "SINTERSTORE {u} {u} {u}",
        "SDIFFSTORE {u} {u} {u}",
        "ZADD {z} {d} {m} {d} {m}", "ZADD {z} GT CH {d} {m}", "ZINCRBY {z} {d} {m}", "ZREM {z} {m}",
        "ZPOPMIN {z}", "ZPOPMAX {z} {i}", "ZMPOP 2 {z} {z} MIN COUNT {i}", "BZPOPMIN {z} 0",
        "BZMPOP 0 1 {z} MAX COUNT 2", "ZREMRANGEBYRANK {z} 0 0", "ZREMRANGEBYSCORE {z} 0 {d}",
        "ZRANGESTORE {z} {z} 0 2", "ZUNIONSTORE {z} 2 {z} {z} WEIGHTS 2 0.5",
        "GEOADD {z} 1 {i} {m}",
        "ZDIFFSTORE {z} 2 {z} {z}",
        "HSET {h} {f} {v} {f} {v} {f} {v}", "HSETNX {h} {f} {v}", "HDEL {h} {f} {f}",
        "HINCRBY {h} {f} {i}", "HINCRBYFLOAT {h} {f} {d}", "HPEXPIRE {h} {t} FIELDS 2 {f} {f}",
        "HPEXPIREAT {h} {a} GT FIELDS 1 {f}", "HPERSIST {h} FIELDS 1 {f}",
        "HGETEX {h} PX {t} FIELDS 2 {f} {f}", "HGETEX {h} PERSIST FIELDS 1 {f}",
        "HGETDEL {h} FIELDS 1 {f}", "HSETEX {h} PX {t} FIELDS 2 {f} {v} {f} {v}",
        "HSETEX {h} FNX KEEPTTL FIELDS 1 {f} {v}", "HLEN {h}",
        "XADD {x} * {f} {v}", "XADD {x} MAXLEN ~ 3 * {f} {v}",
        "XADD {x} MAXLEN = 5 DELREF * {f} {v}",
        "XADD {x} IDMP p{i} {i} * {f} {v}", "XADD {x} IDMPAUTO p{i} * {f} {v}",
        "XTRIM {x} MAXLEN ~ 4 ACKED", "XTRIM {x} MAXLEN 6", "XCFGSET {x} IDMP-MAXSIZE 3",
        "XGROUP CREATE {x} {g} 0 MKSTREAM", "XGROUP CREATE {x} {g} $", "XGROUP SETID {x} {g} 0",
        "XGROUP DESTROY {x} {g}", "XGROUP CREATECONSUMER {x} {g} {c}",
        "XGROUP DELCONSUMER {x} {g} {c}",
        "XREADGROUP GROUP {g} {c} COUNT {i} STREAMS {x} >",
        "XREADGROUP GROUP {g} {c} STREAMS {x} 0",
        "XREADGROUP GROUP {g} {c} NOACK COUNT 1 STREAMS {x} >",
        "XREADGROUP GROUP {g} {c} BLOCK 0 STREAMS {x} {x} > >",
        "XREADGROUP GROUP {g} {c} CLAIM 5 COUNT 3 STREAMS {x} >",
        "XREAD BLOCK 0 STREAMS {x} $",
        "XAUTOCLAIM {x} {g} {c} 3 0 COUNT 3", "XAUTOCLAIM {x} {g} {c} 0 0 JUSTID",
        "SWAPDB 0 {n}",
    ]
    private static let types = Array("slpuzhx")

    mutating func command(at now: Int64) -> [String] {
        // A whole database seldom goes, since little is left then.
        if random.index(below: 300) == 0 { return ["FLUSHDB"] }
        let pattern = Self.patterns[random.index(below: Self.patterns.count)]
        return pattern.split(separator: " ").map { fill(String($0), now) }
    }

    private mutating func key(_ type: Character) -> String {
        let number = random.index(below: 40)
        return number == 0 ? "shared" : "\(type)\(number % 3)"
    }

    private mutating func fill(_ word: String, _ now: Int64) -> String {
        guard let open = word.firstIndex(of: "{"), let last = word.last, last == "}" else {
            return word
        }
        let letter = word[word.index(after: open)]
        let small = random.index(below: 8)
        let filled =
            switch letter {
            case "k": key(Self.types[random.index(below: Self.types.count)])
            case "v": small < 5 ? "\(small)" : String(repeating: "v", count: small * small)
            case "m": "m\(random.index(below: 12))"
            case "f": "f\(random.index(below: 6))"
            case "i": "\(small + 1)"
            case "n": "\(small % 3)"
            case "d": "\(Double(random.index(below: 40)) / 4)"
            case "t": "\(1 + random.index(below: 60))"
            case "a": "\(now + Int64(random.index(below: 80)) - 10)"
            case "g": "g\(small % 2)"
            case "c": "c\(small % 3)"
            default: key(letter)
            }
        return word[..<open] + filled
    }
}

struct LogReplayTests {
    /// All there is of a key, in an order of its own.
    private func readOut(
        _ client: HarnessClient, _ key: String, withProducers: Bool
    ) -> String {
        guard case .simple(let type) = client.run("TYPE", key) else { return "?" }
        var parts: [Reply?] = [client.run("PEXPIRETIME", key)]
        switch type {
        case "string": parts.append(client.run("GET", key))
        case "list": parts.append(client.run("LRANGE", key, "0", "-1"))
        case "set":
            let members = client.run("SMEMBERS", key)?.elements ?? []
            parts += members.sorted { ($0.text ?? "") < ($1.text ?? "") }
        case "zset": parts.append(client.run("ZRANGE", key, "0", "-1", "WITHSCORES"))
        case "hash":
            let fields = client.run("HKEYS", key)?.elements?.compactMap(\.text) ?? []
            for field in fields.sorted() {
                parts.append(.bulk(field))
                parts.append(client.run("HGET", key, field))
                parts.append(client.run("HPEXPIRETIME", key, "FIELDS", "1", field))
            }
        case "stream":
            parts.append(client.run("XRANGE", key, "-", "+"))
            let full = client.run("XINFO", "STREAM", key, "FULL", "COUNT", "0")
            for name in [
                "length", "last-generated-id", "max-deleted-entry-id", "entries-added",
                "recorded-first-entry-id", "idmp-maxsize",
            ] {
                parts.append(full?[name])
            }
            if withProducers {
                for name in ["pids-tracked", "iids-tracked", "iids-added"] {
                    parts.append(full?[name])
                }
            }
            for group in full?["groups"]?.elements ?? [] {
                for name in [
                    "name", "last-delivered-id", "entries-read", "lag", "pel-count", "pending",
                ] {
                    parts.append(group[name])
                }
                for consumer in group["consumers"]?.elements ?? [] {
                    parts += [consumer["name"], consumer["pel-count"], consumer["pending"]]
                }
            }
        default: break
        }
        return type + parts.map { $0.map { "\($0)" } ?? "nil" }.joined(separator: " ")
    }

    private func names(_ client: HarnessClient) -> [String] {
        client.run("KEYS", "*")?.elements?.compactMap(\.text).sorted() ?? []
    }

    /// Lets clients do as they like for a while and hands out what was logged.
    private func live(_ server: CommandHarness, seed: UInt64, steps: Int) -> [UInt8] {
        var source = CommandSource(random: Random(seed: seed))
        var clients = (0..<3).map { _ in server.client() }
        var waiting: [HarnessClient] = []
        var log: [UInt8] = []
        for _ in 0..<steps {
            let index = source.random.index(below: clients.count)
            let client = clients[index]
            let now = server.time.clock.wallMilliseconds()
            switch source.random.index(below: 20) {
            case 0: client.run("SELECT", "\(source.random.index(below: 3))")
            case 1:
                client.run("MULTI")
                for _ in 0..<(1 + source.random.index(below: 4)) {
                    client.run(source.command(at: now))
                }
                client.run("EXEC")
            default: client.run(source.command(at: now))
            }
            if client.isParked {
                waiting.append(client)
                clients[index] = server.client()
            }
            waiting.removeAll { $0.wait?.outcome != .waiting }
            server.time.advance(milliseconds: Int64(source.random.index(below: 4)))
            if source.random.index(below: 30) == 0 { server.reclaimExpired() }
            if source.random.index(below: 50) == 0 { log += server.loggedBytes() }
        }
        server.time.advance(milliseconds: 200)
        server.reclaimExpired()
        return log + server.loggedBytes()
    }

    @Test(arguments: 0..<UInt64(24))
    func `the log gives the same keys`(seed: UInt64) {
        let server = CommandHarness(databases: 3)
        server.setLog(.on)
        let log = live(server, seed: seed, steps: 1500)

        // Once at the same time, and once a day later, when every deadline has passed.
        for delay in [0, 86_400_000] {
            let copy = CommandHarness(
                databases: 3,
                startMilliseconds: server.time.clock.wallMilliseconds() + Int64(delay),
                replaysLog: true)
            let reader = copy.client()
            var errors: [Reply] = []
            for command in CommandHarness.commands(log) {
                if let reply = reader.run(command), case .error = reply { errors.append(reply) }
            }
            #expect(errors.isEmpty, "a logged command fails: \(errors.prefix(3))")

            let client = server.client()
            for database in 0..<3 {
                client.run("SELECT", "\(database)")
                reader.run("SELECT", "\(database)")
                let names = names(client)
                if delay == 0 { #expect(self.names(reader) == names) }
                for name in names {
                    // Producers are forgotten as time goes by.
                    let wanted = readOut(client, name, withProducers: delay == 0)
                    let found = readOut(reader, name, withProducers: delay == 0)
                    #expect(found == wanted, "\(name) of database \(database)")
                }
            }
            let (wanted, found) = unsafe (
                server.state.keyspace.pointee.report(isHeld: false).keys,
                copy.state.keyspace.pointee.report(isHeld: false).keys
            )
            #expect(found == wanted)
        }
    }
}
