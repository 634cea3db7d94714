//  What is logged in place of commands whose replay would not repeat them.

import MartletBase
import Testing

@testable import MartletEngine

struct LogRewriteTests {
    private let server = CommandHarness()
    private let client: HarnessClient

    init() {
        client = server.client()
        server.setLog(.on)
        client.run("PING")
        client.run("SET", "first", "1")
        _ = server.logged()
    }

    /// Runs commands, each given as words, without looking at what they log.
    private func run(_ commands: String...) {
        for command in commands { client.run(command.split(separator: " ").map(String.init)) }
        _ = server.logged()
    }

    /// Runs a command and answers what it logged.
    private func log(_ command: String) -> [String] {
        client.run(command.split(separator: " ").map(String.init))
        return server.logged()
    }

    private static let now = CommandHarness.startMilliseconds

    // MARK: Strings

    @Test func `SET and its older forms are logged with the time at which they end`() {
        let now = Self.now
        #expect(log("SET a 1 EX 100") == ["SET a 1 PXAT \(now + 100_000)"])
        #expect(log("SET a 1 PX 100 XX GET") == ["SET a 1 PXAT \(now + 100)"])
        #expect(log("SET a 1 EXAT 2000000000") == ["SET a 1 PXAT 2000000000000"])
        #expect(log("SET a 2 KEEPTTL") == ["SET a 2 KEEPTTL"])
        #expect(log("SET a 3 IFEQ 2 GET") == ["SET a 3"])
        #expect(log("SET a 4 NX") == [])
        #expect(log("SET b 1 NX") == ["SET b 1"])
        #expect(log("SETNX c 1") == ["SETNX c 1"])
        #expect(log("SETEX c 10 v") == ["SET c v PXAT \(now + 10_000)"])
        #expect(log("PSETEX c 10 v") == ["SET c v PXAT \(now + 10)"])
        #expect(log("GETSET c w") == ["SET c w"])
        #expect(log("SET c v PXAT 5") == ["DEL c"])
        #expect(log("SET c v PXAT 5") == [])
        #expect(
            log("MSETEX 2 a 1 b 2 PX 50")
                == ["MULTI", "SET a 1 PXAT \(now + 50)", "SET b 2 PXAT \(now + 50)", "EXEC"])
        #expect(log("MSET a 1 b 2") == ["MSET a 1 b 2"])
        #expect(log("MSETNX a 1 z 2") == [])
    }

    @Test func `GETEX and GETDEL are logged as what they did`() {
        run("SET a 1")
        #expect(log("GETEX a") == [])
        #expect(log("GETEX a PX 50") == ["PEXPIREAT a \(Self.now + 50)"])
        #expect(log("GETEX a PERSIST") == ["PERSIST a"])
        #expect(log("GETEX a PERSIST") == [])
        #expect(log("GETEX a EXAT 5") == ["DEL a"])
        run("SET a 1")
        #expect(log("GETDEL a") == ["DEL a"])
        run("SET a 1")
        #expect(log("DELEX a IFEQ 2") == [])
        #expect(log("DELEX a IFEQ 1") == ["DEL a"])
    }

    @Test func `what was computed is logged and not how`() {
        run("SET a 1")
        #expect(log("INCRBY a 5") == ["INCRBY a 5"])
        #expect(log("INCRBYFLOAT a 0.5") == ["SET a 6.5 KEEPTTL"])
        #expect(log("INCREX n BYINT 5 PX 50") == ["SET n 5 PXAT \(Self.now + 50)"])
        #expect(log("INCREX n BYINT 5") == ["SET n 10 KEEPTTL"])
        #expect(log("INCREX n BYFLOAT 0.5 PERSIST") == ["SET n 10.5"])
    }

    // MARK: Keys

    @Test func `deadlines are logged as points in time`() {
        run("SET a 1")
        #expect(log("EXPIRE a 10") == ["PEXPIREAT a \(Self.now + 10_000)"])
        #expect(log("PEXPIRE a 10 XX") == ["PEXPIREAT a \(Self.now + 10)"])
        #expect(log("EXPIREAT a 2000000000 NX") == [])
        #expect(log("EXPIREAT a 2000000000 GT") == ["PEXPIREAT a 2000000000000"])
        #expect(log("PERSIST a") == ["PERSIST a"])
        #expect(log("EXPIRE a -1") == ["DEL a"])
        #expect(log("EXPIRE a 10") == [])
    }

    @Test func `moves and whole databases are logged as they came`() {
        run("SET a 1", "SET b 2")
        #expect(log("RENAME a c") == ["RENAME a c"])
        #expect(log("COPY c d DB 2") == ["COPY c d DB 2"])
        #expect(log("MOVE c 3") == ["MOVE c 3"])
        #expect(log("SWAPDB 0 3") == ["SWAPDB 0 3"])
        #expect(log("FLUSHDB") == ["FLUSHDB"])
        #expect(log("FLUSHALL ASYNC") == ["FLUSHALL ASYNC"])
    }

    @Test func `SORT STORE is logged as its result`() {
        run("RPUSH l 3 1 2", "SET w1 z")
        #expect(
            log("SORT l STORE d") == ["MULTI", "DEL d", "RPUSH d 1 2 3", "EXEC"])
        #expect(log("SORT missing STORE d") == ["DEL d"])
        #expect(log("SORT missing STORE d") == [])
    }

    // MARK: Collections

    @Test func `pops are logged for the key they took from`() {
        run("RPUSH l a b c d e f", "ZADD z 1 a 2 b 3 c 4 d")
        #expect(log("LPOP l") == ["LPOP l"])
        #expect(log("LMPOP 2 none l RIGHT COUNT 2") == ["RPOP l 2"])
        #expect(log("BLPOP none l 0") == ["LPOP l"])
        #expect(log("BLMPOP 0 1 l LEFT COUNT 1") == ["LPOP l 1"])
        #expect(log("BLMOVE l m LEFT RIGHT 0") == ["LMOVE l m LEFT RIGHT"])
        #expect(log("BRPOPLPUSH m l 0") == ["LMOVE m l RIGHT LEFT"])
        #expect(log("ZPOPMIN z") == ["ZPOPMIN z"])
        #expect(log("ZMPOP 1 z MAX COUNT 2") == ["ZPOPMAX z 2"])
        #expect(log("BZPOPMIN z 0") == ["ZPOPMIN z"])
        run("SADD s a b c")
        let popped = log("SPOP s 2")
        #expect(popped.count == 1 && popped[0].hasPrefix("SREM s ") && popped[0].count == 10)
        #expect(log("SPOP s") == ["DEL s"])
        #expect(log("SPOP s") == [])
    }

    @Test func `a client that waited is logged behind the unit that served it`() {
        let waiter = server.client()
        waiter.run("BLMOVE", "l", "m", "LEFT", "RIGHT", "0")
        #expect(log("RPUSH l a") == ["RPUSH l a", "LMOVE l m LEFT RIGHT"])
        let other = server.client()
        other.run("BZPOPMAX", "z", "0")
        client.run("MULTI")
        client.run("ZADD", "z", "1", "a")
        client.run("SET", "k", "1")
        #expect(
            log("EXEC") == ["MULTI", "ZADD z 1 a", "SET k 1", "EXEC", "ZPOPMAX z"])
        let third = server.client()
        client.run("XGROUP", "CREATE", "x", "g", "0", "MKSTREAM")
        third.run("XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "x", ">")
        _ = server.logged()
        #expect(
            log("XADD x 1-1 f v")
                == [
                    "XADD x 1-1 f v", "MULTI",
                    "XCLAIM x g c 0 1-1 TIME \(Self.now) RETRYCOUNT 1 FORCE JUSTID",
                    "XGROUP SETID x g 1-1 ENTRIESREAD 1", "EXEC",
                ])
    }

    @Test func `fields are logged with points in time`() {
        let now = Self.now
        run("HSET h a 1 b 2 c 3 d 4")
        #expect(
            log("HEXPIRE h 10 FIELDS 3 a b none") == ["HPEXPIREAT h \(now + 10_000) FIELDS 2 a b"])
        #expect(log("HPEXPIRE h 10 NX FIELDS 2 a c") == ["HPEXPIREAT h \(now + 10) FIELDS 1 c"])
        #expect(log("HINCRBYFLOAT h a 0.5") == ["HSETEX h KEEPTTL FIELDS 1 a 1.5"])
        #expect(log("HINCRBYFLOAT h d 0.5") == ["HSET h d 4.5"])
        #expect(log("HPERSIST h FIELDS 1 c") == ["HPERSIST h FIELDS 1 c"])
        #expect(log("HEXPIRE h 0 FIELDS 2 a none") == ["HDEL h a"])
        #expect(log("HGETDEL h FIELDS 2 b none") == ["HDEL h b"])
        #expect(
            log("HGETEX h PX 10 FIELDS 2 c none") == ["HPEXPIREAT h \(now + 10) FIELDS 1 c"])
        #expect(log("HGETEX h PERSIST FIELDS 2 c d") == ["HPERSIST h FIELDS 1 c"])
        #expect(log("HGETEX h FIELDS 1 c") == [])
        #expect(log("HGETEX h PXAT 1 FIELDS 1 c") == ["HDEL h c"])
        #expect(
            log("HSETEX h PX 10 FIELDS 2 e 1 f 2")
                == ["HSETEX h PXAT \(now + 10) FIELDS 2 e 1 f 2"])
        #expect(log("HSETEX h FXX FIELDS 1 e 2") == ["HSET h e 2"])
        #expect(log("HSETEX h KEEPTTL FIELDS 1 f 2") == ["HSETEX h KEEPTTL FIELDS 1 f 2"])
        #expect(log("HSETEX h PXAT 1 FIELDS 1 f 2") == ["HDEL h f"])
    }

    // MARK: Streams

    @Test func `entries are logged with their IDs and trimming as a length`() {
        let now = Self.now
        #expect(log("XADD x * f v") == ["XADD x \(now)-0 f v"])
        #expect(log("XADD x NOMKSTREAM 1900000000000-* f v") == ["XADD x 1900000000000-0 f v"])
        #expect(
            log("XADD x MAXLEN = 1 * f v") == ["XADD x MAXLEN = 1 1900000000000-1 f v"])
        #expect(log("XADD x MAXLEN ~ 1 * f v") == ["XADD x 1900000000000-2 f v"])
        #expect(log("XTRIM x MAXLEN ~ 1") == [])
        #expect(log("XTRIM x MINID 1900000000000-2 DELREF") == ["XTRIM x MAXLEN = 1 DELREF"])
        #expect(
            log("XADD x IDMP p i * f v") == ["XADD x IDMP p i 1900000000000-3 f v"])
        #expect(log("XADD x IDMP p i * f v") == [])
        #expect(log("XDEL x 1900000000000-3") == ["XDEL x 1900000000000-3"])
    }

    @Test func `groups are logged as who holds what`() {
        let now = Self.now
        run("XADD x 1-1 f v", "XADD x 1-2 f v", "XADD x 1-3 f v", "XGROUP CREATE x g 0")
        #expect(
            log("XREADGROUP GROUP g c COUNT 2 STREAMS x >")
                == [
                    "MULTI", "XGROUP CREATECONSUMER x g c",
                    "XCLAIM x g c 0 1-1 1-2 TIME \(now) RETRYCOUNT 1 FORCE JUSTID",
                    "XGROUP SETID x g 1-2 ENTRIESREAD 2", "EXEC",
                ])
        server.time.advance(milliseconds: 5)
        #expect(
            log("XREADGROUP GROUP g c COUNT 1 STREAMS x 0")
                == ["XCLAIM x g c 0 1-1 TIME \(now + 5) RETRYCOUNT 2 FORCE JUSTID"])
        #expect(
            log("XREADGROUP GROUP g c NOACK STREAMS x >")
                == ["XGROUP SETID x g 1-3 ENTRIESREAD 3"])
        #expect(
            log("XCLAIM x g d 0 1-2 TIME 7 RETRYCOUNT 9")
                == [
                    "MULTI", "XGROUP CREATECONSUMER x g d",
                    "XCLAIM x g d 0 1-2 TIME 7 RETRYCOUNT 9 FORCE JUSTID", "EXEC",
                ])
        run("XDEL x 1-1")
        #expect(
            log("XAUTOCLAIM x g d 0 0")
                == [
                    "MULTI", "XACK x g 1-1",
                    "XCLAIM x g d 0 1-2 TIME \(now + 5) RETRYCOUNT 10 FORCE JUSTID", "EXEC",
                ])
        #expect(log("XREADGROUP GROUP g c STREAMS x >") == [])
        #expect(log("XREADGROUP GROUP g e STREAMS x >") == ["XGROUP CREATECONSUMER x g e"])
        #expect(log("XNACK x g FAIL IDS 1 1-2") == ["XNACK x g FAIL IDS 1 1-2"])
        #expect(log("XACK x g 1-2") == ["XACK x g 1-2"])
    }
}
