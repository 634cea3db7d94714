"""Keyspace notifications of every command that writes, compared with real servers.

A case is a few commands on an empty server. A client that listens to everything gets the events of
each command, in order, and they must be what each oracle that knows the commands publishes.
"""

import time

import pytest

import transcript
from resp import Connection, Reply, render
from servers import Server

# One case a line; ` / ` parts its commands. Names of keys tell nothing.
CASES = """
SET k v / SET k w / SET k 5 / SET k v XX / SET j v NX / SET j v NX / SET n v XX
SET k v EX 100 / SET k v PX 100000 / SET k v EXAT 4102444800 / SET k v KEEPTTL / SET k v GET / SET n v XX GET
SET k v / SET k w EXAT 1 / GET k
SET k v / SET k w PXAT 1 / SET n w PXAT 1
SETEX k 100 v / PSETEX k 100000 v / SETNX k v / SETNX j v / GETSET k w / GETSET new w
MSET a 1 b 2 a 3 / MSETNX a 1 c 2 / MSETNX c 1 d 2
APPEND k a / APPEND k b / APPEND k ""
SETRANGE k 0 "" / SETRANGE k 3 abc / SETRANGE k 0 "" / SETRANGE k 1 x
INCR n / INCRBY n 5 / DECR n / DECRBY n 3 / INCRBYFLOAT n 1.5 / INCR n
SET k v / GETDEL k / GETDEL k
SET k v / GETEX k / GETEX k EX 100 / GETEX k PERSIST / GETEX k PERSIST / GETEX k PXAT 4102444800000
SET k v / GETEX k EXAT 1 / GETEX k EX 100
SETBIT k 7 1 / SETBIT k 7 1 / SETBIT k 7 0 / SETBIT k 100 0 / GETBIT k 3
BITFIELD b SET u8 0 255 / BITFIELD b INCRBY u8 0 1 / BITFIELD b GET u8 0 / BITFIELD b OVERFLOW FAIL INCRBY u8 0 255 / BITFIELD b SET u8 0 1 SET u8 8 2
SET a abc / SET b abd / BITOP AND c a b / BITOP NOT d a / BITOP OR c none none2 / BITOP OR none none2 none3
PFADD h a b / PFADD h a / PFADD h / PFADD e / PFADD g c / PFMERGE m h g / PFMERGE m / PFCOUNT m / PFCOUNT m
DEL k / SET k v / DEL k / MSET a 1 b 2 / DEL a b c / MSET a 1 b 2 / UNLINK a b c / DEL a a
SET k v / EXPIRE k 100 / EXPIRE k 50 GT / PEXPIRE k 100000 / EXPIREAT k 4102444800 / PEXPIREAT k 4102444800000 / EXPIRE none 100
SET k v / EXPIRE k 0 / SET k v / EXPIRE k -1 / SET k v / PEXPIREAT k 1 / SET k v EX 100 / EXPIREAT k 1
SET k v EX 100 / PERSIST k / PERSIST k / PERSIST none
SET a 1 / RENAME a b / RENAME b b / SET a 2 / RENAME a b / SET a 3 / RENAMENX a b / RENAMENX a c
SET a 1 / COPY a b / COPY a b / COPY a b REPLACE / COPY a b DB 2 / COPY none b
SET a 1 / MOVE a 1 / SET a 2 / MOVE a 1 / MOVE none 1
SET a 1 EX 100 / RENAME a b / COPY b c / MOVE c 3
TOUCH none / SET k v / TOUCH k / EXISTS k none / TYPE none / TTL none / OBJECT ENCODING none / GET none / STRLEN none
MSET a 1 b 2 / FLUSHDB / SET a 1 / FLUSHALL / SET a 1 / SWAPDB 0 1
LPUSH l a b / RPUSH l c / LPUSHX l d / RPUSHX l e / LPUSHX none a / RPUSHX none a / LINSERT l BEFORE a x / LINSERT l BEFORE none x / LSET l 0 y
RPUSH l a b c d e f / LPOP l / RPOP l / LPOP l 2 / RPOP l 2 / LPOP l / RPUSH l a b / LPOP l 2 / RPUSH l a / RPOP l 5 / LPOP l 0
RPUSH l a b a c a / LREM l 2 a / LREM l 0 none / LREM l 0 a / LREM l 0 b / LREM l 0 c
RPUSH l a b c d / LTRIM l 1 2 / LTRIM l 0 -1 / LTRIM l 5 6 / LTRIM l 0 1
RPUSH a 1 2 / LMOVE a b LEFT RIGHT / RPOPLPUSH a b / RPOPLPUSH a b / LMOVE b b LEFT RIGHT / LMOVE b b LEFT LEFT / LMOVE b c RIGHT LEFT / LMOVE b c RIGHT RIGHT / RPOPLPUSH c c
RPUSH a 1 2 3 / LMPOP 2 none a LEFT / LMPOP 1 a RIGHT COUNT 5 / LMPOP 1 a LEFT
RPUSH a 1 2 3 / BLPOP a 0 / BRPOP none a 0 / BLPOP a 0 / RPUSH a 1 / BLMOVE a b LEFT RIGHT 0 / BRPOPLPUSH b c 0 / RPUSH d 1 2 / BLMPOP 0 1 d LEFT COUNT 2
RPUSH l 3 1 2 / SORT l STORE s / SORT l / SORT none STORE s / SORT none STORE s / SORT l BY nosort STORE l
SADD s a b / SADD s a / SADD s a c / SREM s a x / SREM s x / SREM s b c / SADD s 1 2 3 / SPOP s / SPOP s 2 / SPOP s
SADD s a b c / SPOP s 0 / SPOP s 1 / SPOP s 5 / SADD s a / SPOP s
SADD a x y / SMOVE a b x / SMOVE a b none / SADD a x / SMOVE a b x / SMOVE a b y / SMOVE b b x / SMOVE none b x
SADD a x y / SADD b y z / SINTERSTORE c a b / SUNIONSTORE c a b / SDIFFSTORE c a b / SINTERSTORE c a none / SINTERSTORE c a none / SDIFFSTORE a a a / SUNIONSTORE d none / SINTERSTORE b b
HSET h a 1 b 2 / HSET h a 1 / HSETNX h a 1 / HSETNX h c 1 / HMSET h d 1 / HINCRBY h n 1 / HINCRBYFLOAT h f 1.5 / HDEL h a x / HDEL h x / HDEL h b c d n f
HSET h a 1 / HDEL h a / HSETNX h a 1 / HINCRBY g n 1 / HINCRBYFLOAT g2 n 1 / HDEL g n
ZADD z 1 a 2 b / ZADD z 1 a / ZADD z 5 a / ZADD z XX 9 none / ZADD z NX 9 a / ZADD z GT 1 a / ZADD z INCR 1 a / ZADD z NX INCR 1 a / ZINCRBY z 1 b / ZINCRBY z 1 new / ZADD z CH 7 b / ZADD new XX 1 a
ZADD z 1 a 2 b 3 c / ZREM z a x / ZREM z x / ZREM z b c / ZADD z 1 a 2 b 3 c 4 d / ZREMRANGEBYSCORE z 1 1 / ZREMRANGEBYRANK z 0 0 / ZREMRANGEBYLEX z - [c / ZREMRANGEBYSCORE z 9 10 / ZREMRANGEBYSCORE z -inf +inf
ZADD z 1 a 2 b 3 c / ZREMRANGEBYRANK z 0 -1 / ZADD z 0 a 0 b / ZREMRANGEBYLEX z - + / ZREMRANGEBYLEX z - +
ZADD z 1 a 2 b 3 c 4 d / ZPOPMIN z / ZPOPMAX z / ZPOPMIN z 5 / ZPOPMIN z / ZADD z 1 a / ZPOPMAX z 0 / ZPOPMAX z 3
ZADD z 1 a 2 b 3 c / ZMPOP 1 z MIN / ZMPOP 1 z MAX COUNT 5 / ZMPOP 1 z MIN / ZADD z 1 a 2 b / BZPOPMIN z 0 / BZPOPMAX z 0 / ZADD z 1 a / BZMPOP 0 1 z MAX
ZADD a 1 x 2 y / ZADD b 1 y 2 z / ZUNIONSTORE c 2 a b / ZINTERSTORE c 2 a b / ZDIFFSTORE c 2 a b / ZRANGESTORE c a 0 -1 / ZINTERSTORE c 2 a none / ZINTERSTORE c 2 a none / ZRANGESTORE a a 5 6 / ZRANGESTORE a a 5 6 / ZDIFFSTORE b 2 b b / ZUNIONSTORE d 1 none
GEOADD g 1 1 a 2 2 b / GEOADD g 1 1 a / GEOADD g XX 3 3 a / GEOSEARCHSTORE s g FROMMEMBER b BYRADIUS 500 km / GEOSEARCHSTORE s g FROMLONLAT 50 50 BYRADIUS 1 km / GEOSEARCHSTORE s g FROMLONLAT 50 50 BYRADIUS 1 km / GEORADIUS g 2 2 500 km STORE s / GEORADIUS g 50 50 1 km STORE s / GEORADIUSBYMEMBER g b 500 km STOREDIST t
SET k v / LPUSH k a / SADD s a / SET s v / SUNIONSTORE k none / SADD s2 a / SUNIONSTORE k s2 / LPUSH l a / RENAME l k / SORT l STORE k
SET k v / LPUSH l a / SUNIONSTORE l k2 / SADD s a / SET s v / SET s w GET / SETEX s 100 w / GETSET s x / MSET s y l z / SADD t a b / SUNIONSTORE s t / SUNIONSTORE s t / SDIFFSTORE t t none / BITOP AND s k k / BITOP AND s k k
ZADD z 1 a 2 b / SET k v / ZRANGESTORE k z 0 -1 / ZUNIONSTORE k 1 z / ZRANGESTORE k z 5 6 / RPUSH l 2 1 / SORT l STORE z / SORT l STORE l / GEOADD g 1 1 a / SET k v / GEOSEARCHSTORE k g FROMLONLAT 1 1 BYRADIUS 5 km / GEOSEARCHSTORE l g FROMLONLAT 1 1 BYRADIUS 5 km
SET a 1 / RPUSH b 1 / RENAME a b / SET a 2 / COPY a b REPLACE / RPUSH l 1 / COPY l b REPLACE / COPY l b DB 1 REPLACE / COPY a b DB 1 REPLACE / XADD x 1-1 f v / RENAME x b / SET r 1 PX 1 / ~ / RENAME l r
SET k v PX 1 / ~ / SET k w / RPUSH l 1 / PEXPIRE l 1 / ~ / SET l v / PFADD h a / PFADD h b / PFMERGE h k2 / SET h v / APPEND h w / INCR n / INCR n / SETRANGE h 0 x / MULTI / SET n 2 / RPUSH q 1 / SET q 1 / EXEC
MULTI / SET a 1 / INCR a / DEL a / EXEC
MULTI / SET a 1 EX 100 / LPUSH l x / LPOP l / EXEC
SELECT 5 / SET a 1 / MOVE a 0
SET k v PX 1 / ~ / GET k / GET k
HSET h f v / PEXPIRE h 1 / ~ / HGET h f / HSET h f v
SET k v PX 1 / ~ / SET k w / SET j v PX 1 / ~ / DEL j / SET j v PX 1 / ~ / EXPIRE j 100 / PERSIST j / RENAME j k
LPUSH l a / PEXPIRE l 1 / ~ / RPUSH l b / SADD s a / PEXPIRE s 1 / ~ / SUNIONSTORE d s
SET "a\\x00b" v / DEL "a\\x00b"
SET a 1 PX 1 / SET b 1 PX 1 / ~ / ~~
XADD s 1-1 f v / XADD s MAXLEN 1 1-2 f v / XADD s MAXLEN 5 1-3 f v / XADD s NOMKSTREAM 1-4 f v / XADD none NOMKSTREAM 1-4 f v / XDEL s 1-4 9-9 / XDEL s 9-9 / XTRIM s MAXLEN 5 / XTRIM s MAXLEN 1 / XSETID s 5-5 / XTRIM s MAXLEN 0 / XDEL s 1-1
XADD s 1-1 f v / XGROUP CREATE s g 0 / XGROUP CREATE new g $ MKSTREAM / XGROUP CREATECONSUMER s g c / XGROUP CREATECONSUMER s g c / XGROUP SETID s g 0 / XREADGROUP GROUP g d COUNT 1 STREAMS s > / XACK s g 1-1 / XREADGROUP GROUP g d STREAMS s > / XGROUP DELCONSUMER s g d / XGROUP DELCONSUMER s g none / XGROUP DESTROY s g / XGROUP DESTROY s g
XADD s 1-1 f v / XADD s 1-2 f v / XGROUP CREATE s g 0 / XREADGROUP GROUP g c STREAMS s > / XCLAIM s g d 0 1-1 / XAUTOCLAIM s g e 0 0 / XCLAIM s g d 0 9-9 FORCE / XDEL s 1-1 / XAUTOCLAIM s g f 0 0 / XREAD STREAMS s 0 / XRANGE none - + / XLEN none / XPENDING s g
PFADD h a / PFDEBUG TODENSE h / PFCOUNT h / PFMERGE h h
SET a 1 / SET b 2 / MGET a b none / SINTERCARD 2 none a / ZUNION 1 none / PFCOUNT none / HGETALL none / SMEMBERS none / LRANGE none 0 -1 / LCS a none / BITCOUNT none / SDIFF none / ZRANGE none 0 -1 / GETRANGE none 0 1 / OBJECT FREQ none / RANDOMKEY / DUMP none / SORT none / EXPIRETIME none / HLEN none / HMGET none a / SISMEMBER none a / ZSCORE none a / ZRANK none a / LLEN none / LINDEX none 0 / LPOS none a / SCARD none / GETEX none / GETDEL none / GEOPOS none a / GETBIT none 1 / BITPOS none 1 / HRANDFIELD none / SRANDMEMBER none / ZRANDMEMBER none / ZCARD none / ZCOUNT none 1 2 / HSTRLEN none a / COPY none x / RENAME none x / GETSET none 1
"""

# Commands of Redis 8: fields with deadlines, and conditions.
NEWER_CASES = """
HSET h a 1 b 2 c 3 / HEXPIRE h 100 FIELDS 2 a b / HEXPIRE h 100 FIELDS 1 none / HPERSIST h FIELDS 1 a / HPERSIST h FIELDS 1 c / HPEXPIREAT h 4102444800000 FIELDS 1 c / HEXPIRE none 100 FIELDS 1 a
HSET h a 1 b 2 / HEXPIRE h 0 FIELDS 1 a / HPEXPIREAT h 1 FIELDS 1 b
HSET h a 1 b 2 / HEXPIREAT h 1 FIELDS 2 a b / HSET h a 1 / HPEXPIRE h 1000000 NX FIELDS 1 a / HPEXPIRE h 1000000 NX FIELDS 1 a
HSET h a 1 b 2 / HPEXPIRE h 1 FIELDS 1 a / ~ / HGET h a / HLEN h / HPEXPIRE h 1 FIELDS 1 b / ~ / HGET h b / EXISTS h
HSET h a 1 b 2 / HPEXPIRE h 1 FIELDS 2 a b / ~ / ~~
HSET h a 1 b 2 / HGETDEL h FIELDS 1 a / HGETDEL h FIELDS 1 a / HGETDEL h FIELDS 2 a b
HSET h a 1 b 2 / HGETEX h EX 100 FIELDS 1 a / HGETEX h PERSIST FIELDS 1 a / HGETEX h PERSIST FIELDS 1 a / HGETEX h FIELDS 1 b / HGETEX h PXAT 1 FIELDS 1 a / HGETEX h EXAT 1 FIELDS 1 b
HSETEX h FIELDS 2 a 1 b 2 / HSETEX h EX 100 FIELDS 1 a 1 / HSETEX h FNX FIELDS 1 a 1 / HSETEX h FXX KEEPTTL FIELDS 1 a 1 / HSETEX h PXAT 1 FIELDS 1 a 1 / HSETEX h EXAT 1 FIELDS 1 b 2 / HSETEX new PXAT 1 FIELDS 1 a 1
HSET h a 1 / HEXPIRE h 100 FIELDS 1 a / HSET h a 2 / HINCRBY h a 1 / HDEL h a
HSET h a 1 / HEXPIRE h 100 FIELDS 1 a / RENAME h g / COPY g i / MOVE i 2
SET k v / SET k w IFEQ x / SET k w IFEQ v
MSETEX 2 a 1 b 2 EX 100 / MSETEX 2 a 1 c 2 / MSETEX 1 a 1 PXAT 1
SET k v / DELIFEQ k w / DELIFEQ k v / SET k v / DELEX k IFEQ w / DELEX k / INCREX n BYINT 2 / INCREX n
"""


def cases(text: str) -> list[list[str]]:
    return [line.split(" / ") for line in text.splitlines() if line]


class Listener:
    """Runs commands on a server and gathers the events each of them brings."""

    def __init__(self, server: Server, classes: str):
        self.server = server
        self.caller = server.connect()
        refusal = self.caller.call("CONFIG", "SET", "notify-keyspace-events", classes)
        self.has_classes = not refusal.is_error
        # Nothing expires but on access, unless a case asks for the cycle.
        self.caller.ok("DEBUG", "SET-ACTIVE-EXPIRE", 0)
        self.listener = server.connect(protocol=3)
        self.listener.ok("PSUBSCRIBE", "__key*__:*")

    def events(self) -> list[tuple[bytes, bytes]]:
        """What has come since the last call."""
        found = []
        self.listener.send("PING")
        while (reply := self.listener.read()).kind == ">":
            found.append((reply.value[2].value, reply.value[3].value))
        return found

    def run(self, case: list[str]) -> list[list[tuple[bytes, bytes]]]:
        """The events of each command, up to one that the server does not know."""
        self.caller.ok("FLUSHALL")
        self.caller.ok("SELECT", 0)
        self.events()
        result = []
        for line in case:
            if line == "~~":
                self.caller.ok("DEBUG", "SET-ACTIVE-EXPIRE", 1)
                time.sleep(0.5)
                self.caller.ok("DEBUG", "SET-ACTIVE-EXPIRE", 0)
            elif line == "~":
                time.sleep(0.005)
            else:
                reply = self.caller.call(*transcript.arguments(line))
                if reply.is_error and (b"unknown" in reply.value or b"syntax" in reply.value):
                    return result
            result.append(self.events())
        return result

    def close(self) -> None:
        self.caller.ok("DEBUG", "SET-ACTIVE-EXPIRE", 1)
        self.caller.ok("CONFIG", "SET", "notify-keyspace-events", "")
        self.caller.close()
        self.listener.close()


def show(events: list[tuple[bytes, bytes]]) -> str:
    return ", ".join(f"{channel.decode('latin1')} {message.decode('latin1')}" for channel, message in events) or "nothing"


# Cases, by how they begin, in which a server is not followed, and why. CommandTests have them.
BORN_EXPIRED = "a deadline in the past: Redis keeps and hides the key until somebody looks for it"
LAST_FIELD = "a read that takes the last field out: the key is gone before it is looked for"
EXPIRED_AT_ONCE = "a deadline in the past: Valkey calls it an expiry, Redis a deletion"
ON_ACCESS = "Valkey hides a field past its deadline and leaves it to the cycle"
EXPLAINED: dict[str, dict[str, str]] = {
    "redis7": {"SET k v / SET k w EXAT": BORN_EXPIRED, "SET k v / SET k w PXAT": BORN_EXPIRED},
    "redis8": {"SET k v / SET k w EXAT": BORN_EXPIRED, "SET k v / SET k w PXAT": BORN_EXPIRED,
               "HSET h a 1 b 2 / HPEXPIRE h 1 FIELDS 1 a / ~ / HGET h a": LAST_FIELD},
    "valkey9": {
        "SET k v / SET k w EXAT": EXPIRED_AT_ONCE, "SET k v / SET k w PXAT": EXPIRED_AT_ONCE,
        "SET k v / GETEX k EXAT 1": EXPIRED_AT_ONCE, "SET k v / EXPIRE k 0": EXPIRED_AT_ONCE,
        "HSET h a 1 b 2 / HEXPIRE h 0": EXPIRED_AT_ONCE, "HSET h a 1 b 2 / HEXPIREAT h 1": EXPIRED_AT_ONCE,
        "HSET h a 1 b 2 / HGETEX h EX": EXPIRED_AT_ONCE, "HSETEX h FIELDS": EXPIRED_AT_ONCE,
        "MSETEX 2 a 1 b 2 EX": EXPIRED_AT_ONCE, "HSET h a 1 b 2 / HPEXPIRE h 1 FIELDS 1 a": ON_ACCESS},
}


CLASSES = ["KEA", "KEAn", "Em"]
TEXTS = {"redis7": CASES, "redis8": CASES + NEWER_CASES, "valkey9": CASES + NEWER_CASES}


# Only Redis 8 knows the classes `o` and `c`.
@pytest.mark.parametrize("oracle, classes", [
    *((oracle, classes) for oracle in TEXTS for classes in CLASSES), ("redis8", "KEAnoc"), ("redis8", "Koc")])
def test_commands_publish_the_events_of_the_oracle(new_server, oracle, classes, request):
    martlet = new_server("--enable-debug-command", "yes")
    ours, theirs = Listener(martlet, classes), Listener(request.getfixturevalue(oracle), classes)
    wrong = []
    try:
        for case in cases(TEXTS[oracle]):
            if any(" / ".join(case).startswith(begin) for begin in EXPLAINED[oracle]):
                continue
            mine, right = ours.run(case), theirs.run(case)
            for line, one, other in zip(case, mine, right):
                if line == "~~":
                    one, other = sorted(one), sorted(other)
                if one != other:
                    wrong.append(f"{' / '.join(case)[:200]}\n  at: {line}\n  martlet: {show(one)}\n  {oracle}: {show(other)}")
                    break
    finally:
        ours.close()
        theirs.close()
    if wrong:
        pytest.fail(f"{len(wrong)} cases differ\n" + "\n".join(wrong), pytrace=False)


def test_restore_publishes_the_events_of_redis(new_server, redis8):
    listeners = [Listener(new_server("--enable-debug-command", "yes"), "KEAnoc"), Listener(redis8, "KEAnoc")]
    try:
        seen = []
        for listener in listeners:
            call, found = listener.caller.ok, []
            call("FLUSHALL")
            call("SET", "text", "x")
            call("RPUSH", "list", "a")
            payload = call("DUMP", "list")
            listener.events()
            for command in (("new", 0, payload), ("text", 0, payload, "REPLACE"), ("text", 0, payload, "REPLACE"),
                            ("other", 100_000, payload, "REPLACE"), ("other", 1, payload, "REPLACE", "ABSTTL")):
                call("RESTORE", *command)
                found.append(listener.events())
            seen.append(found)
        assert seen[0] == seen[1]
    finally:
        for listener in listeners:
            listener.close()
