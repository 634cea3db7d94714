"""DUMP and RESTORE between Martlet and real servers: every type, in every form that limits force.

What a key holds is read out by commands; the bytes of payloads differ from server to server.
"""

from __future__ import annotations

import random

import pytest

from resp import Connection, Reply
from servers import SHARE

LIMITS = {
    "defaults": {},
    "large forms": {
        "hash-max-listpack-entries": 0, "zset-max-listpack-entries": 0,
        "set-max-intset-entries": 0, "set-max-listpack-entries": 0, "list-max-listpack-size": 1,
    },
    "small forms": {
        "hash-max-listpack-entries": 5000, "zset-max-listpack-entries": 5000,
        "set-max-intset-entries": 5000, "set-max-listpack-entries": 5000,
        "list-max-listpack-size": -5, "stream-node-max-entries": 3,
    },
    "compressed lists": {"list-compress-depth": 1, "list-max-listpack-size": 64},
}
ELEMENTS = [b"", b"a", b"-1", b"12", b"127", b"128", b"-4097", b"70000", b"-2147483649", b"1" * 19,
            b"9" * 20, b"0123", b"x" * 63, b"y" * 64, b"z" * 4095, b"w" * 5000, bytes(range(256))]


def fill(client: Connection) -> None:
    """Makes keys of all types."""
    client.ok("FLUSHALL")
    for name, value in [("text", "hello"), ("integer", -70000), ("wide", 1 << 40),
                        ("long", b"abc" * 500), ("binary", bytes(range(256)) * 3), ("empty", "")]:
        client.ok("SET", name, value)
    client.ok("APPEND", "changed", "12")
    client.ok("RPUSH", "list", *ELEMENTS)
    client.ok("RPUSH", "long-list", *[f"element {n}" for n in range(1500)])
    client.ok("RPUSH", "huge-list", b"x" * 20000, "y")
    client.ok("SADD", "integers", 1, -2, 70000)
    client.ok("SADD", "wide-integers", 1 << 40, 5)
    client.ok("SADD", "many-integers", *range(0, 600000, 1000))
    client.ok("SADD", "members", *ELEMENTS)
    client.ok("SADD", "many-members", *[f"member {n}" for n in range(600)])
    client.ok("ZADD", "scores", 1, "a", 2.5, "b", "inf", "c", "-inf", "d", "-1e300", "e", 0, "")
    client.ok("ZADD", "many-scores", *[part for n in range(600) for part in (n * 1.1, f"m{n}")])
    client.ok("HSET", "hash", *[part for n, e in enumerate(ELEMENTS) for part in (f"f{n}", e)])
    client.ok("HSET", "large-hash", *[part for n in range(600) for part in (f"field {n}", n)])
    for number in range(250):
        client.ok("XADD", "stream", f"{1000 + number}-{number % 3 + 1}", "a", number, "b", "v")
    client.ok("XADD", "stream", "2000-0", "other", "1")
    client.ok("XDEL", "stream", "1005-3", "1100-2")
    client.ok("XGROUP", "CREATE", "stream", "group", "0")
    client.ok("XREADGROUP", "GROUP", "group", "ann", "COUNT", 20, "STREAMS", "stream", ">")
    client.ok("XREADGROUP", "GROUP", "group", "bob", "COUNT", 5, "STREAMS", "stream", ">")
    client.ok("XGROUP", "CREATE", "stream", "idle", "$")
    client.ok("XADD", "emptied", "5-5", "a", 1)
    client.ok("XDEL", "emptied", "5-5")


def fill_timed(client: Connection) -> None:
    """Hashes with deadlines of fields, which Redis 7.0 does not have."""
    client.ok("HSET", "timed", "a", 1, "b", 2, "c", "x")
    client.ok("HPEXPIREAT", "timed", 4102444800000, "FIELDS", 2, "a", "b")
    client.ok("HSET", "large-timed", *[part for n in range(600) for part in (f"f{n}", n)])
    client.ok("HPEXPIREAT", "large-timed", 4102444800000, "FIELDS", 2, "f1", "f2")


def ask(client: Connection, *arguments) -> object:
    """A reply as plain values, which must be no error."""
    return plain(client.ok(*arguments))


def plain(value: object) -> object:
    if isinstance(value, Reply):
        value = value.value
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def read_out(client: Connection, key: bytes, hash_times: bool) -> list:
    """All that a client can see of a key's value."""
    kind = str(client.call("TYPE", key))
    if kind == "string":
        return [ask(client, "GET", key)]
    if kind == "list":
        return ask(client, "LRANGE", key, 0, -1)
    if kind == "set":
        return sorted(ask(client, "SMEMBERS", key))
    if kind == "zset":
        # Redis 7.0 writes scores in 17 digits.
        seen = ask(client, "ZRANGE", key, 0, -1, "WITHSCORES")
        return [seen[::2], [float(score) for score in seen[1::2]]]
    if kind == "hash":
        fields = sorted(ask(client, "HKEYS", key))
        seen = [(field, ask(client, "HGET", key, field)) for field in fields]
        if hash_times and b"timed" in key:
            seen += ask(client, "HPEXPIRETIME", key, "FIELDS", len(fields), *fields)
        return seen
    seen = [ask(client, "XRANGE", key, "-", "+")]
    info = ask(client, "XINFO", "STREAM", key)
    named = dict(zip(info[::2], info[1::2]))
    seen += [named[name] for name in (b"length", b"last-generated-id", b"max-deleted-entry-id",
                                      b"entries-added", b"recorded-first-entry-id")]
    for group in ask(client, "XINFO", "GROUPS", key):
        group = dict(zip(group[::2], group[1::2]))
        # Martlet always knows the lag, Redis not always.
        seen.append([value for name, value in sorted(group.items()) if name != b"lag"])
        for entry in ask(client, "XPENDING", key, group[b"name"], "-", "+", 1000):
            seen.append([entry[0], entry[1], entry[3]])
        for consumer in ask(client, "XINFO", "CONSUMERS", key, group[b"name"]):
            seen.append(consumer[:4])
    return seen


def transfer(source: Connection, target: Connection, hash_times: bool) -> int:
    """Copies all keys by DUMP and RESTORE; answers how many."""
    target.ok("FLUSHALL")
    keys = ask(source, "KEYS", "*")
    for key in keys:
        reply = target.call("RESTORE", key, 0, source.ok("DUMP", key))
        assert str(reply) == "OK", (key, str(reply))
        assert read_out(source, key, hash_times) == read_out(target, key, hash_times), key
    return len(keys)


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("oracle", ["redis7", "redis8", "valkey9"])
def test_values_go_both_ways(oracle, limits, new_server):
    with new_server(name=oracle).connect() as theirs, new_server().connect() as ours:
        for client in (theirs, ours):
            for name, value in LIMITS[limits].items():
                client.call("CONFIG", "SET", name, value)
        fill(theirs)
        if oracle != "redis7":
            fill_timed(theirs)
        assert transfer(theirs, ours, oracle != "redis7") >= 20
        fill(ours)
        if oracle == "redis8":
            fill_timed(ours)
        assert transfer(ours, theirs, oracle == "redis8") >= 20


@pytest.mark.parametrize("oracle", ["redis8", "valkey9"])
def test_changed_payloads_are_refused_or_work(oracle, new_server):
    """Payloads of a real server, changed, their checksums made right again."""
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    with new_server(name=oracle).connect() as theirs, new_server().connect() as ours:
        fill(theirs)
        fill_timed(theirs)
        payloads = [theirs.ok("DUMP", key) for key in ask(theirs, "KEYS", "*")]
        payloads = [payload for payload in payloads if len(payload) < 5000]
        accepted = 0
        for _ in range(max(50, int(400 * SHARE))):
            body = bytearray(chance.choice(payloads)[:-8])
            for _ in range(chance.randrange(1, 4)):
                at = chance.randrange(len(body) - 2)
                body[at] = chance.choice([body[at] ^ 1 << chance.randrange(8), 0, 127, 128, 255])
            payload = bytes(body) + checksum(body).to_bytes(8, "little")
            if ours.call("RESTORE", "key", 0, payload, "REPLACE").is_error:
                continue
            accepted += 1
            if ask(ours, "EXISTS", "key"):
                read_out(ours, b"key", True)
                ours.call("DUMP", "key")
                ours.call("DEL", "key")
        assert accepted > 5, seed


def checksum(data: bytes) -> int:
    """CRC-64 as in RDB files."""
    value = 0
    for byte in data:
        value = value >> 8 ^ CHECKSUMS[(value ^ byte) & 0xFF]
    return value


def checksum_of(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x95AC9329AC4BC9B5 if byte & 1 else 0)
    return byte


CHECKSUMS = [checksum_of(byte) for byte in range(256)]
