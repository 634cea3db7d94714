"""Random commands for the differential fuzzer, one function per command, by group.

A generator draws from a small pool of keys so that commands meet each other's values, mixes valid
options with invalid ones, and favours the edges of integers, floats and ranges. To add a command,
write a function that returns its arguments and mark it `@command(group)`; to add a group, use a new
name. Nothing here knows about servers or replies.

What depends on the clock is kept comparable: a TTL is either over at once or further away than any
run lasts, and relative TTLs stand on a grid of 100 seconds, so that two servers that read their
clocks a moment apart still order them alike. The one short TTL comes with a pause (`settle`).
"""

from __future__ import annotations

import random
from typing import Callable, NamedTuple

Arguments = list[bytes]

DATABASES = (0, 1, 2, 9)
KEYS = [b"k%d" % index for index in range(10)] + [
    b"{tag}a", b"{tag}b", b"", b"bin\x00\xff\r\n", b"a*b?[c]", b"long:" + b"x" * 300,
]
INTEGER_EDGES = [
    b"0", b"1", b"-1", b"2", b"7", b"8", b"100", b"127", b"128", b"255", b"256", b"65535", b"65536",
    b"2147483647", b"-2147483648", b"2147483648", b"4294967295", b"4294967296",
    b"9223372036854775807", b"-9223372036854775808", b"9223372036854775806",
]
NOT_INTEGERS = [
    b"9223372036854775808", b"-9223372036854775809", b"18446744073709551615", b"", b"abc", b"1.0",
    b"1e3", b" 1", b"1 ", b"+1", b"01", b"-0", b"0x10", b"-", b"--1", b"1\x00", b"1" * 40,
]
FLOATS = [
    b"0", b"1", b"-1", b"1.5", b"-1.5", b"0.1", b"3.0e3", b"1e5", b"-5.0e-3", b"1e17", b"123456.789",
    b"5.0000000000000001", b"1e-7", b"10.50", b"1e300", b"-1e300", b"1.7976931348623157e308",
    b"0.30000000000000004", b"99999999999999999", b"1e-17",
]
NOT_FLOATS = [b"nan", b"inf", b"-inf", b"+inf", b"abc", b"", b" 1", b"1 ", b"1.5x", b"1e5000", b"."]
# Far enough away that no run reaches them, and a fixed time so that a seed means one sequence.
FUTURE_SECONDS = 4102444800
PAST_SECONDS = 1000000000


class Entry(NamedTuple):
    group: str
    weight: float
    needs: str | None
    make: Callable[[random.Random], Arguments]


REGISTRY: list[Entry] = []


def command(group: str, weight: float = 1.0, needs: str | None = None):
    """Registers a generator. `needs` names a feature (see `differential.FEATURES`) newer than 7.0."""

    def register(make: Callable[[random.Random], Arguments]):
        REGISTRY.append(Entry(group, weight, needs, make))
        return make

    return register


def groups() -> list[str]:
    return list(dict.fromkeys(entry.group for entry in REGISTRY))


# Parts of commands


def key(rng: random.Random) -> bytes:
    return KEYS[rng.randrange(8)] if rng.random() < 0.8 else rng.choice(KEYS)


def keys(rng: random.Random, most: int = 4) -> Arguments:
    return [key(rng) for _ in range(rng.randint(1, most))]


def integer(rng: random.Random) -> bytes:
    roll = rng.random()
    if roll < 0.45:
        return b"%d" % rng.randint(-20, 20)
    if roll < 0.55:
        return b"%d" % rng.randint(-(2**63), 2**63 - 1)
    return rng.choice(INTEGER_EDGES if roll < 0.9 else NOT_INTEGERS)


def number(rng: random.Random) -> bytes:
    roll = rng.random()
    if roll < 0.3:
        return b"%d" % rng.randint(-1000, 1000)
    if roll < 0.5:
        return b"%.*f" % (rng.randint(1, 6), rng.uniform(-1000, 1000))
    return rng.choice(FLOATS if roll < 0.9 else NOT_FLOATS)


def value(rng: random.Random) -> bytes:
    roll = rng.random()
    if roll < 0.3:
        return b"%d" % rng.randint(-1000, 1000)
    if roll < 0.45:
        return rng.choice(INTEGER_EDGES + NOT_INTEGERS)
    if roll < 0.55:
        return number(rng)
    if roll < 0.75:
        return bytes(rng.choices(b"abcdeXYZ \x00\xff", k=rng.randint(0, 12)))
    # Around the sizes at which encodings and size classes change.
    size = rng.choice([1, 8, 20, 43, 44, 45, 63, 64, 65, 127, 128, 200, 255, 256, 1000])
    return bytes(rng.choices(b"abcd", k=size)) if roll < 0.9 else rng.randbytes(size)


def near_range(rng: random.Random) -> bytes:
    """An index into a short value, from either end, sometimes beyond it or not a number."""
    return b"%d" % rng.randint(-70, 70) if rng.random() < 0.85 else integer(rng)


def offset(rng: random.Random) -> bytes:
    """A byte or bit offset that does not ask for hundreds of megabytes, or is refused at once."""
    roll = rng.random()
    if roll < 0.85:
        return b"%d" % rng.randint(0, 300)
    if roll < 0.9:
        return b"%d" % rng.randint(0, 20000)
    return rng.choice([b"-1", b"4294967296", b"9223372036854775807", *NOT_INTEGERS])


def seconds(rng: random.Random) -> bytes:
    roll = rng.random()
    if roll < 0.75:
        return b"%d" % (100 * rng.randint(10, 100000))
    return rng.choice([b"0", b"-1", b"-1000", b"9223372036854775807", b"-9223372036854775808",
                       b"9223372036854775", *NOT_INTEGERS])


def milliseconds(rng: random.Random) -> bytes:
    roll = rng.random()
    if roll < 0.75:
        return b"%d" % (100_000 * rng.randint(10, 100000))
    return rng.choice([b"0", b"-1", b"-100", b"9223372036854775807", b"-9223372036854775808",
                       b"9223370000000000000", *NOT_INTEGERS])


def at_seconds(rng: random.Random) -> bytes:
    roll = rng.random()
    if roll < 0.7:
        return b"%d" % (FUTURE_SECONDS + rng.randint(-3, 3))
    if roll < 0.85:
        return b"%d" % PAST_SECONDS
    return rng.choice([b"0", b"-1", b"9223372036854775807", *NOT_INTEGERS])


def at_milliseconds(rng: random.Random) -> bytes:
    roll = rng.random()
    if roll < 0.7:
        return b"%d" % (FUTURE_SECONDS * 1000 + rng.randint(-3, 3))
    if roll < 0.85:
        return b"%d" % (PAST_SECONDS * 1000)
    return rng.choice([b"0", b"-1", b"9223372036854775807", *NOT_INTEGERS])


def expiry_option(rng: random.Random) -> Arguments:
    name, make = rng.choice([
        (b"EX", seconds), (b"PX", milliseconds), (b"EXAT", at_seconds), (b"PXAT", at_milliseconds),
    ])
    return [name, make(rng)]


def some(rng: random.Random, chance: float, *options: Arguments) -> Arguments:
    """Each option with `chance`, in random order: contradictions and repetitions are wanted."""
    chosen = [option for option in options if rng.random() < chance]
    rng.shuffle(chosen)
    return [part for option in chosen for part in option]


def odd_case(rng: random.Random, word: bytes) -> bytes:
    return bytes(rng.choice([byte, byte ^ 0x20]) if 65 <= byte & 0xDF <= 90 else byte for byte in word)


# Strings


@command("strings", 4)
def get(rng):
    return [b"GET", key(rng)]


@command("strings", 6)
def set_plain(rng):
    return [b"SET", key(rng), value(rng)]


@command("strings", 5)
def set_options(rng):
    return [b"SET", key(rng), value(rng), *some(
        rng, 0.25, [b"NX"], [b"XX"], [b"GET"], [b"KEEPTTL"], expiry_option(rng), expiry_option(rng),
        [rng.choice([b"FOO", b"", b"EX", b"PX"])] if rng.random() < 0.1 else [])]


@command("strings")
def setnx(rng):
    return [b"SETNX", key(rng), value(rng)]


@command("strings")
def setex(rng):
    return [b"SETEX", key(rng), seconds(rng), value(rng)]


@command("strings")
def psetex(rng):
    return [b"PSETEX", key(rng), milliseconds(rng), value(rng)]


@command("strings")
def getset(rng):
    return [b"GETSET", key(rng), value(rng)]


@command("strings")
def getdel(rng):
    return [b"GETDEL", key(rng)]


@command("strings", 2)
def getex(rng):
    return [b"GETEX", key(rng), *some(rng, 0.4, [b"PERSIST"], expiry_option(rng),
                                      [b"NX"] if rng.random() < 0.05 else [])]


@command("strings", 2)
def append(rng):
    return [b"APPEND", key(rng), value(rng)]


@command("strings")
def strlen(rng):
    return [b"STRLEN", key(rng)]


@command("strings", 2)
def incr(rng):
    return [rng.choice([b"INCR", b"DECR"]), key(rng)]


@command("strings", 2)
def incrby(rng):
    return [rng.choice([b"INCRBY", b"DECRBY"]), key(rng), integer(rng)]


@command("strings", 2)
def incrbyfloat(rng):
    return [b"INCRBYFLOAT", key(rng), number(rng)]


@command("strings", 2)
def getrange(rng):
    return [rng.choice([b"GETRANGE", b"SUBSTR"]), key(rng), near_range(rng), near_range(rng)]


@command("strings", 2)
def setrange(rng):
    return [b"SETRANGE", key(rng), offset(rng), value(rng)]


@command("strings")
def mget(rng):
    return [b"MGET", *keys(rng)]


@command("strings", 2)
def mset(rng):
    pairs = [part for name in keys(rng) for part in (name, value(rng))]
    if rng.random() < 0.05:
        pairs.pop()
    return [rng.choice([b"MSET", b"MSETNX"]), *pairs]


@command("strings")
def lcs(rng):
    return [b"LCS", key(rng), key(rng), *some(
        rng, 0.35, [b"LEN"], [b"IDX"], [b"MINMATCHLEN", integer(rng)], [b"WITHMATCHLEN"],
        [b"X"] if rng.random() < 0.1 else [])]


@command("strings", 2, needs="SET IFEQ")
def set_ifeq(rng):
    return [b"SET", key(rng), value(rng), *some(
        rng, 0.3, [b"NX"], [b"XX"], [b"GET"], [b"KEEPTTL"], expiry_option(rng)),
        *some(rng, 0.8, [b"IFEQ", value(rng)])]


@command("strings", 2, needs="DELIFEQ")
def delifeq(rng):
    return [b"DELIFEQ", key(rng), value(rng)]


@command("strings", 2, needs="DELEX")
def delex(rng):
    return [b"DELEX", key(rng), *some(rng, 0.4, [b"IFEQ", value(rng)], [b"IFNE", value(rng)])]


@command("strings", 2, needs="MSETEX")
def msetex(rng):
    pairs = [part for name in keys(rng) for part in (name, value(rng))]
    count = b"%d" % (len(pairs) // 2) if rng.random() < 0.85 else integer(rng)
    return [b"MSETEX", count, *pairs, *some(rng, 0.3, [b"NX"], [b"XX"], [b"KEEPTTL"], expiry_option(rng))]


@command("strings", needs="DIGEST")
def digest(rng):
    return [b"DIGEST", key(rng)]


# Bitmaps


def bit(rng: random.Random) -> bytes:
    return rng.choice([b"0", b"1"]) if rng.random() < 0.9 else integer(rng)


def unit(rng: random.Random) -> Arguments:
    return rng.choice([[], [b"BIT"], [b"BYTE"], [b"bit"], [b"BITS"] if rng.random() < 0.2 else []])


@command("bitmaps", 3)
def setbit(rng):
    return [b"SETBIT", key(rng), offset(rng), bit(rng)]


@command("bitmaps", 2)
def getbit(rng):
    return [b"GETBIT", key(rng), offset(rng)]


@command("bitmaps", 3)
def bitcount(rng):
    span = rng.choice([[], [near_range(rng), near_range(rng), *unit(rng)], [near_range(rng)]])
    return [b"BITCOUNT", key(rng), *span]


@command("bitmaps", 3)
def bitpos(rng):
    span = rng.choice([[], [near_range(rng)], [near_range(rng), near_range(rng), *unit(rng)]])
    return [b"BITPOS", key(rng), bit(rng), *span]


@command("bitmaps", 3)
def bitop(rng):
    name = rng.choice([b"AND", b"OR", b"XOR", b"NOT", b"and", b"NAND" if rng.random() < 0.1 else b"OR"])
    return [b"BITOP", name, key(rng), *keys(rng, 1 if name == b"NOT" and rng.random() < 0.8 else 4)]


@command("bitmaps", 3, needs="BITOP DIFF")
def bitop_newer(rng):
    return [b"BITOP", rng.choice([b"DIFF", b"DIFF1", b"ANDOR", b"ONE"]), key(rng), *keys(rng)]


def field_type(rng: random.Random) -> bytes:
    if rng.random() < 0.06:
        return rng.choice([b"u64", b"i65", b"u0", b"i0", b"x8", b"", b"u", b"8", b"u-1", b"i08", b"u1x"])
    if rng.random() < 0.5:
        return b"u%d" % rng.randint(1, 63)
    return b"i%d" % rng.randint(1, 64)


def field_offset(rng: random.Random) -> bytes:
    roll = rng.random()
    if roll < 0.5:
        return b"%d" % rng.randint(0, 200)
    if roll < 0.9:
        return b"#%d" % rng.randint(0, 20)
    return rng.choice([b"-1", b"#-1", b"#", b"", b"4294967296", b"4294967295", b"#9223372036854775807",
                       b"9223372036854775807", b"abc"])


def field_get(rng: random.Random) -> Arguments:
    return [b"GET", field_type(rng), field_offset(rng)]


def field_step(rng: random.Random) -> Arguments:
    roll = rng.random()
    if roll < 0.3:
        return field_get(rng)
    if roll < 0.6:
        place = field_offset(rng)
        # Offsets this far would make half a gigabyte of zeros.
        return [b"SET", field_type(rng), b"0" if place == b"4294967295" else place, integer(rng)]
    if roll < 0.85:
        place = field_offset(rng)
        return [b"INCRBY", field_type(rng), b"0" if place == b"4294967295" else place, integer(rng)]
    if roll < 0.98:
        return [b"OVERFLOW", rng.choice([b"WRAP", b"SAT", b"FAIL", b"sat", b"NO" if rng.random() < 0.1 else b"FAIL"])]
    return [rng.choice([b"DEC", b"GET", b""])]


@command("bitmaps", 5)
def bitfield(rng):
    return [b"BITFIELD", key(rng), *(part for _ in range(rng.randint(0, 5)) for part in field_step(rng))]


@command("bitmaps")
def bitfield_ro(rng):
    make = field_get if rng.random() < 0.9 else field_step
    return [b"BITFIELD_RO", key(rng), *(part for _ in range(rng.randint(0, 3)) for part in make(rng))]


# Hashes


def field(rng: random.Random) -> bytes:
    return b"f%d" % rng.randrange(8) if rng.random() < 0.9 else value(rng)


def fields(rng: random.Random, most: int = 4) -> Arguments:
    return [field(rng) for _ in range(rng.randint(1, most))]


@command("hashes", 6)
def hset(rng):
    pairs = [part for _ in range(rng.choice([1, 1, 1, 2, 4, 12])) for part in (field(rng), value(rng))]
    if rng.random() < 0.05:
        pairs.pop()
    return [rng.choice([b"HSET", b"HSET", b"HMSET"]), key(rng), *pairs]


@command("hashes", 0.1)
def hset_many(rng):
    """Past the limits of the packed form, ours and Redis'."""
    return [b"HSET", key(rng), *(
        part for index in range(rng.choice([40, 300, 600])) for part in (b"m%d" % index, b"%d" % index))]


@command("hashes", 2)
def hsetnx(rng):
    return [b"HSETNX", key(rng), field(rng), value(rng)]


@command("hashes", 3)
def hget(rng):
    return [rng.choice([b"HGET", b"HEXISTS", b"HSTRLEN"]), key(rng), field(rng)]


@command("hashes", 2)
def hmget(rng):
    return [b"HMGET", key(rng), *fields(rng)]


@command("hashes", 3)
def hgetall(rng):
    return [rng.choice([b"HGETALL", b"HKEYS", b"HVALS", b"HLEN"]), key(rng)]


@command("hashes", 3)
def hdel(rng):
    return [b"HDEL", key(rng), *fields(rng, 6)]


@command("hashes", 3)
def hincrby(rng):
    return [b"HINCRBY", key(rng), field(rng), integer(rng)]


@command("hashes", 2)
def hincrbyfloat(rng):
    return [b"HINCRBYFLOAT", key(rng), field(rng), number(rng)]


@command("hashes", 2)
def hrandfield(rng):
    count = b"%d" % rng.randint(-20, 20) if rng.random() < 0.8 else rng.choice(
        [b"9223372036854775807", b"-9223372036854775808", b"4611686018427387904", *NOT_INTEGERS])
    return [b"HRANDFIELD", key(rng), *rng.choice([[], [count], [count], [count, b"WITHVALUES"], [count, b"FOO"]])]


@command("hashes", 2)
def hscan(rng):
    """One step that gives all; of other cursors the error forms."""
    cursor = b"0" if rng.random() < 0.9 else rng.choice([b"abc", b"18446744073709551616", b"1x"])
    return [b"HSCAN", key(rng), cursor, *some(
        rng, 0.3, [b"MATCH", rng.choice([b"*", b"f[0-3]", b"*1", b"m?", b""])],
        [b"COUNT", rng.choice([b"0", b"-1", b"abc"])] if rng.random() < 0.2 else [],
        [b"FOO"] if rng.random() < 0.05 else []), b"COUNT", b"100000"]


@command("hashes", needs="HGETDEL")
def hscan_novalues(rng):
    return [b"HSCAN", key(rng), b"0", b"NOVALUES", b"COUNT", b"100000"]


@command("hashes", 2, needs="HGETDEL")
def hgetdel(rng):
    names = fields(rng)
    count = b"%d" % len(names) if rng.random() < 0.9 else integer(rng)
    return [b"HGETDEL", key(rng), b"FIELDS" if rng.random() < 0.95 else b"FIELD", count, *names]


# Sets


def set_member(rng: random.Random) -> bytes:
    roll = rng.random()
    if roll < 0.5:
        return b"%d" % rng.randint(-6, 12)
    return b"m%d" % rng.randrange(8) if roll < 0.9 else value(rng)


def members(rng: random.Random, most: int = 4) -> Arguments:
    if rng.random() < 0.4:  # Integers alone: another form.
        return [b"%d" % rng.randint(-9, 30) for _ in range(rng.randint(1, most))]
    return [set_member(rng) for _ in range(rng.randint(1, most))]


@command("sets", 6)
def sadd(rng):
    return [b"SADD", key(rng), *members(rng, rng.choice([1, 1, 3, 12]))]


@command("sets", 0.3)
def sadd_many(rng):
    """Past the limits of the small forms, ours and Redis'."""
    prefix = rng.choice([b"", b"", b"m", b"-", b"1000", b"100000000"])
    return [b"SADD", key(rng), *(b"%s%d" % (prefix, index)
                                 for index in range(1, rng.choice([40, 127, 130, 300, 514, 600])))]


@command("sets", 4)
def srem(rng):
    return [b"SREM", key(rng), *members(rng, 6)]


@command("sets", 3)
def sismember(rng):
    return [b"SISMEMBER", key(rng), set_member(rng)] if rng.random() < 0.5 else [b"SMISMEMBER", key(rng), *members(rng)]


@command("sets", 3)
def smembers(rng):
    return [rng.choice([b"SMEMBERS", b"SCARD"]), key(rng)]


@command("sets", 3)
def smove(rng):
    return [b"SMOVE", key(rng), key(rng), set_member(rng)]


@command("sets", 5)
def set_operation(rng):
    name = rng.choice([b"SUNION", b"SINTER", b"SDIFF"])
    return [name + b"STORE", key(rng), *keys(rng)] if rng.random() < 0.5 else [name, *keys(rng)]


@command("sets", 2)
def sintercard(rng):
    chosen = keys(rng, 3)
    count = b"%d" % len(chosen) if rng.random() < 0.9 else integer(rng)
    return [b"SINTERCARD", count, *chosen, *rng.choice(
        [[], [], [b"LIMIT", b"%d" % rng.randint(0, 4)], [b"LIMIT", integer(rng)], [b"LIMIT"], [b"FOO", b"1"]])]


@command("sets")
def spop_all(rng):
    # Enough for all of them: what fewer leave would be a matter of chance.
    return [b"SPOP", key(rng), *rng.choice([[b"1000"], [b"0"], [b"-1"], [b"abc"], [b"1000", b"1"]])]


@command("sets", 2)
def srandmember(rng):
    count = b"%d" % rng.randint(-20, 20) if rng.random() < 0.8 else rng.choice(
        [b"9223372036854775807", b"-9223372036854775808", *NOT_INTEGERS])
    return [b"SRANDMEMBER", key(rng), *rng.choice([[], [count], [count], [count, b"FOO"]])]


@command("sets", 2)
def sscan(rng):
    """One step that gives all; of other cursors the error forms."""
    cursor = b"0" if rng.random() < 0.9 else rng.choice([b"abc", b"18446744073709551616", b"1x"])
    return [b"SSCAN", key(rng), cursor, *some(
        rng, 0.3, [b"MATCH", rng.choice([b"*", b"m[0-3]", b"*1", b"1?", b""])],
        [b"COUNT", rng.choice([b"0", b"-1", b"abc"])] if rng.random() < 0.2 else [],
        [b"FOO"] if rng.random() < 0.05 else []), b"COUNT", b"100000"]


@command("sets", 2)
def set_as_scores(rng):
    """Sets as sources of what computes with sorted sets; stored under other keys than these."""
    name = rng.choice([b"ZUNION", b"ZINTER", b"ZDIFF"])
    chosen = keys(rng, 3)
    sources = [b"%d" % len(chosen), *chosen]
    if rng.random() < 0.3:
        return [name + b"STORE", key(rng), *sources]
    return [name, *sources, b"WITHSCORES"]


# Geo

PLACES = [
    (b"13.361389", b"38.115556"), (b"15.087269", b"37.502669"), (b"12.758489", b"38.788135"), (b"2.35", b"48.85"),
    (b"0", b"0"), (b"-0.1", b"51.5"), (b"180", b"85.05112878"), (b"-180", b"-85.05112878"), (b"179.9", b"10"),
    (b"-179.9", b"10"), (b"30", b"80.5"), (b"-60", b"-70"), (b"15", b"37"),
]
BEYOND = [(b"181", b"0"), (b"0", b"86"), (b"x", b"0"), (b"0", b"nan"), (b"inf", b"0"), (b"-180.0001", b"-86")]


def geo_place(rng: random.Random) -> Arguments:
    roll = rng.random()
    if roll < 0.02:
        return list(rng.choice(BEYOND))
    if roll < 0.4:
        return list(rng.choice(PLACES))
    if roll < 0.8:
        longitude, latitude = rng.choice(PLACES[:6])
        return [b"%.5f" % (float(longitude) + rng.uniform(-2, 2)), b"%.5f" % (float(latitude) + rng.uniform(-2, 2))]
    return [b"%.4f" % rng.uniform(-180, 180), b"%.4f" % rng.uniform(-85, 85)]


def geo_unit(rng: random.Random) -> bytes:
    return rng.choice([b"m", b"km", b"km", b"km", b"ft", b"mi", b"KM"]) if rng.random() < 0.98 else b"parsec"


def geo_length(rng: random.Random) -> bytes:
    if rng.random() < 0.03:
        return rng.choice([b"-1", b"x", b"", b"1e300", b"0", b"-0"])
    return rng.choice([b"%.3f" % (10 ** rng.uniform(-1, 7)), b"%d" % rng.randint(1, 3000), b"200", b"0.5", b"20000"])


def geo_member(rng: random.Random) -> bytes:
    return b"p%d" % rng.randrange(20)


def geo_count(rng: random.Random) -> Arguments:
    if rng.random() < 0.05:
        return rng.choice([[b"COUNT"], [b"COUNT", b"0"], [b"COUNT", b"x"], [b"ANY"]])
    return [b"COUNT", b"%d" % rng.randint(1, 8), *some(rng, 0.3, [b"ANY"])]


def geo_key(rng: random.Random) -> bytes:
    return b"k%d" % rng.randrange(3) if rng.random() < 0.95 else key(rng)


@command("geo", 5)
def geoadd(rng):
    triples = [part for _ in range(rng.randint(1, 5)) for part in (*geo_place(rng), geo_member(rng))]
    if rng.random() < 0.02:
        triples.pop()
    return [b"GEOADD", geo_key(rng), *some(rng, 0.1, [b"NX"], [b"XX"], [b"CH"]), *triples]


@command("geo", 2)
def geodist(rng):
    return [b"GEODIST", geo_key(rng), geo_member(rng), geo_member(rng), *some(rng, 0.5, [geo_unit(rng)])]


@command("geo", 2)
def geopos(rng):
    return [rng.choice([b"GEOPOS", b"GEOHASH"]), geo_key(rng), *(geo_member(rng) for _ in range(rng.randint(0, 5)))]


def geo_around(rng: random.Random) -> Arguments:
    around = [b"FROMMEMBER", geo_member(rng)] if rng.random() < 0.4 else [b"FROMLONLAT", *geo_place(rng)]
    area = [b"BYRADIUS", geo_length(rng), geo_unit(rng)] if rng.random() < 0.6 else [
        b"BYBOX", geo_length(rng), geo_length(rng), geo_unit(rng)]
    parts = [around, area]
    if rng.random() < 0.03:
        parts.append(rng.choice([around, area, [b"BYBOX", b"1", b"1", b"m"], [b"FROMMEMBER", b"p0"]]))
    if rng.random() < 0.03:
        parts.pop(0)
    rng.shuffle(parts)
    return [part for words in parts for part in words]


def geo_replies(rng: random.Random) -> Arguments:
    return some(rng, 0.3, [b"WITHDIST"], [b"WITHHASH"], [b"WITHCOORD"], [rng.choice([b"ASC", b"DESC"])],
                geo_count(rng), [b"FOO"] if rng.random() < 0.03 else [])


@command("geo", 6)
def geosearch(rng):
    return [b"GEOSEARCH", geo_key(rng), *geo_around(rng), *geo_replies(rng)]


@command("geo", 2)
def geosearchstore(rng):
    # Of equally distant ones, which are stored would differ: no COUNT but with all in it.
    return [b"GEOSEARCHSTORE", geo_key(rng), geo_key(rng), *geo_around(rng), *some(
        rng, 0.2, [b"STOREDIST"], [b"ASC"], [b"COUNT", b"100"], [b"WITHDIST"] if rng.random() < 0.1 else [])]


@command("geo", 3)
def georadius(rng):
    name = rng.choice([b"GEORADIUS", b"GEORADIUS_RO", b"GEORADIUSBYMEMBER", b"GEORADIUSBYMEMBER_RO"])
    start = [geo_member(rng)] if b"MEMBER" in name else geo_place(rng)
    if rng.random() < 0.3:
        options = some(rng, 0.6, [b"STORE", geo_key(rng)], [b"STOREDIST", geo_key(rng)],
                       [b"WITHDIST"] if rng.random() < 0.1 else [])
    else:
        options = geo_replies(rng)
    return [name, geo_key(rng), *start, geo_length(rng), geo_unit(rng), *options]


@command("geo", 1)
def geo_as_sorted_set(rng):
    return rng.choice([
        [b"ZRANGE", geo_key(rng), b"0", b"-1", b"WITHSCORES"], [b"ZREM", geo_key(rng), geo_member(rng)],
        [b"DEL", geo_key(rng)], [b"ZADD", geo_key(rng), rng.choice([b"-5", b"0", b"4503599627370496", b"1e300"]),
                                 geo_member(rng)]])


# Deadlines of fields


def counted(rng: random.Random, names: Arguments) -> Arguments:
    """FIELDS and how many there are, now and then wrong."""
    count = b"%d" % len(names) if rng.random() < 0.93 else integer(rng)
    return [b"FIELDS" if rng.random() < 0.97 else b"FIELD", count]


@command("hash fields", 6, needs="HEXPIRE")
def hexpire(rng):
    name, make = rng.choice([(b"HEXPIRE", seconds), (b"HPEXPIRE", milliseconds),
                             (b"HEXPIREAT", at_seconds), (b"HPEXPIREAT", at_milliseconds)])
    names = fields(rng)
    return [name, key(rng), make(rng), *some(rng, 0.15, [b"NX"], [b"XX"], [b"GT"], [b"LT"]),
            *counted(rng, names), *names]


@command("hash fields", 5, needs="HEXPIRE")
def httl(rng):
    names = fields(rng, 8)
    return [rng.choice([b"HTTL", b"HPTTL", b"HEXPIRETIME", b"HPEXPIRETIME"]), key(rng), *counted(rng, names), *names]


@command("hash fields", 2, needs="HEXPIRE")
def hpersist(rng):
    names = fields(rng)
    return [b"HPERSIST", key(rng), *counted(rng, names), *names]


@command("hash fields", 3, needs="HGETEX")
def hgetex(rng):
    names = fields(rng)
    return [b"HGETEX", key(rng), *rng.choice([[], expiry_option(rng), expiry_option(rng), [b"PERSIST"]]),
            *some(rng, 0.02, [b"KEEPTTL"], [b"EX", b"10"]), *counted(rng, names), *names]


@command("hash fields", 4, needs="HGETEX")
def hsetex(rng):
    names = fields(rng)
    pairs = [part for name in names for part in (name, value(rng))]
    if rng.random() < 0.03:
        pairs.pop()
    return [b"HSETEX", key(rng), *some(rng, 0.2, [b"FNX"], [b"FXX"], [b"KEEPTTL"], expiry_option(rng),
                                       [b"PERSIST"] if rng.random() < 0.05 else []),
            *counted(rng, names), *pairs]


@command("hash fields", 4)
def hash_with_all(rng):
    """So that the fields that others give deadlines to are there."""
    return [b"HSET", key(rng), *(part for index in range(8) for part in (b"f%d" % index, b"%d" % index))]


@command("hash fields", 0.15, needs="HEXPIRE")
def settle_fields(rng):
    return [b"~SETTLE", b"HPEXPIRE", key(rng), b"%d" % rng.randint(1, 3), b"FIELDS", b"8",
            *(b"f%d" % index for index in range(8))]


@command("hash fields", 2)
def hash_elsewhere(rng):
    return rng.choice([
        [b"COPY", key(rng), key(rng), b"REPLACE"], [b"RENAME", key(rng), key(rng)],
        [b"PERSIST", key(rng)], [b"EXPIRE", key(rng), seconds(rng)], [b"OBJECT", b"ENCODING", key(rng)]])


# HyperLogLog


def elements(rng: random.Random) -> Arguments:
    roll = rng.random()
    if roll < 0.6:
        return [b"e%d" % rng.randrange(2000) for _ in range(rng.randint(0, 6))]
    if roll < 0.8:
        return [value(rng) for _ in range(rng.randint(0, 3))]
    # Past the size at which a value turns dense.
    first = rng.randrange(20000)
    return [b"e%d" % index for index in range(first, first + rng.choice([50, 500, 1500]))]


# Apart from other keys: a string command that damages one leads the servers to different states, since
# Martlet changes nothing where Redis keeps what came before the damage. Damaged ones stand in `pbad`.
COUNTERS = [b"p0", b"p1", b"p2", b"p3"]


def counter(rng: random.Random) -> bytes:
    return rng.choice(COUNTERS) if rng.random() < 0.95 else rng.choice([b"z0", b"sl0", b"ss0"])


def counters(rng: random.Random) -> Arguments:
    return [counter(rng) for _ in range(rng.randint(1, 4))]


@command("hyperloglog", 6)
def pfadd(rng):
    return [b"PFADD", counter(rng), *elements(rng)]


@command("hyperloglog", 4)
def pfcount(rng):
    return [b"PFCOUNT", counter(rng)] if rng.random() < 0.7 else [b"PFCOUNT", *counters(rng)]


@command("hyperloglog", 2)
def pfmerge(rng):
    return [b"PFMERGE", *counters(rng)]


@command("hyperloglog", 1)
def pfdebug(rng):
    return [b"PFDEBUG", rng.choice([b"ENCODING", b"DECODE", b"TODENSE", b"GETREG", b"FOO"]), counter(rng)]


@command("hyperloglog", 3)
def hyperloglog_as_string(rng):
    one, other = rng.choice(COUNTERS), rng.choice(COUNTERS)
    return rng.choice([
        [b"GET", one], [b"STRLEN", one], [b"DEL", one], [b"COPY", one, other, b"REPLACE"],
        [b"RENAME", one, other], [b"EXPIRE", one, b"1000"], [b"OBJECT", b"ENCODING", one],
        [b"SET", one, rng.choice([b"", b"v", b"HYLL", b"HYLL\1" + bytes(11) + b"\x7f\xff"])]])


@command("hyperloglog", 1)
def damaged_hyperloglog(rng):
    return rng.choice([
        [b"PFCOUNT", b"pbad"], [b"PFCOUNT", b"pbad", counter(rng)],
        [b"SET", b"pbad", b"HYLL" + rng.choice([
            b"\1" + bytes(11), b"\1" + bytes(11) + b"\x7f\xfe", b"\1" + bytes(11) + b"\x7f\xfe\x80",
            b"\1" + bytes(11) + b"\x40\x00" * 3, b"\0" + bytes(11), bytes(12300), b"\2" + bytes(12299)])]])


# Generic


def database(rng: random.Random) -> bytes:
    if rng.random() < 0.9:
        return b"%d" % rng.choice(DATABASES)
    return rng.choice([b"15", b"16", b"-1", b"abc", b"", b"99999999999999999999", b"1.0"])


def pattern(rng: random.Random) -> bytes:
    return rng.choice([b"*", b"k*", b"k?", b"k[0-4]", b"k[^0-4]", b"*[0-9]", b"{tag}*", b"a\\*b*", b"k1",
                       b"", b"k[", b"k[0", b"\\", b"**", b"*\x00*", b"[k]*", b"k[5-2]", b"?" * 3])


@command("generic", 3)
def delete(rng):
    return [rng.choice([b"DEL", b"UNLINK"]), *keys(rng)]


@command("generic", 2)
def exists(rng):
    return [rng.choice([b"EXISTS", b"TOUCH"]), *keys(rng)]


@command("generic", 5)
def expire(rng):
    name, make = rng.choice([(b"EXPIRE", seconds), (b"PEXPIRE", milliseconds),
                             (b"EXPIREAT", at_seconds), (b"PEXPIREAT", at_milliseconds)])
    return [name, key(rng), make(rng), *some(
        rng, 0.2, [b"NX"], [b"XX"], [b"GT"], [b"LT"], [b"FOO"] if rng.random() < 0.1 else [])]


@command("generic", 4)
def ttl(rng):
    return [rng.choice([b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME"]), key(rng)]


@command("generic", 2)
def persist(rng):
    return [b"PERSIST", key(rng)]


@command("generic", 2)
def rename(rng):
    return [rng.choice([b"RENAME", b"RENAMENX"]), key(rng), key(rng)]


@command("generic", 2)
def copy(rng):
    return [b"COPY", key(rng), key(rng), *some(
        rng, 0.4, [b"REPLACE"], [b"DB", database(rng)], [b"DB"] if rng.random() < 0.05 else [])]


@command("generic", 2)
def move(rng):
    return [b"MOVE", key(rng), database(rng)]


@command("generic")
def type_of(rng):
    return [b"TYPE", key(rng)]


@command("generic")
def names(rng):
    return [b"KEYS", pattern(rng)]


@command("generic")
def scan_once(rng):
    """One step; the cursor is arbitrary, so mostly its error forms are of interest."""
    cursor = b"0" if rng.random() < 0.5 else rng.choice([b"1", b"7", b"abc", b"-1", b"", b"18446744073709551615"])
    return [b"SCAN", cursor, *scan_options(rng), *([b"COUNT", b"100000"] if rng.random() < 0.5 else [])]


def scan_options(rng: random.Random) -> Arguments:
    return some(rng, 0.3, [b"MATCH", pattern(rng)], [b"TYPE", rng.choice([b"string", b"STRING", b"list"])],
                [b"COUNT", rng.choice([b"1", b"2", b"10", b"1000", b"0", b"-1", b"abc"])],
                [b"FOO"] if rng.random() < 0.05 else [])


@command("generic")
def scan_all(rng):
    """Iterated to the end by the fuzzer; the union of what it returned is compared as a set."""
    return [b"~SCAN", *some(rng, 0.4, [b"MATCH", pattern(rng)], [b"TYPE", b"string"],
                            [b"COUNT", rng.choice([b"1", b"2", b"10", b"1000"])])]


@command("generic", 0.5)
def randomkey(rng):
    return [b"RANDOMKEY"]


@command("generic", 2)
def object_(rng):
    what = rng.choice([b"ENCODING", b"ENCODING", b"REFCOUNT", b"IDLETIME", b"FREQ", b"encoding",
                       b"NOSUCH", b"HELP"])
    return [b"OBJECT", what, *([] if what == b"HELP" else [key(rng)])]


@command("generic", 0.3)
def settle(rng):
    """A TTL that runs out before the next command: the fuzzer pauses after `~SETTLE`."""
    return [b"~SETTLE", *rng.choice([
        [b"PEXPIRE", key(rng), b"%d" % rng.randint(1, 3)],
        [b"SET", key(rng), value(rng), b"PX", b"%d" % rng.randint(1, 3)],
        [b"GETEX", key(rng), b"PX", b"2"],
    ])]


@command("generic", 0.3)
def whole(rng):
    return [b"~DBSIZE"] if rng.random() < 0.8 else rng.choice([
        [b"FLUSHDB"], [b"FLUSHDB", b"ASYNC"], [b"FLUSHDB", b"SYNC"], [b"FLUSHDB", b"NOW"],
        [b"SWAPDB", database(rng), database(rng)]])


# Lists


ELEMENTS = [b"a", b"b", b"c", b"0", b"-1", b"12345678", b"a" * 70, b"b" * 1100]


def element(rng: random.Random) -> bytes:
    return rng.choice(ELEMENTS) if rng.random() < 0.8 else value(rng)


def elements(rng: random.Random) -> Arguments:
    return [element(rng) for _ in range(rng.randint(1, 4 if rng.random() < 0.9 else 60))]


def place(rng: random.Random) -> bytes:
    """An index or a count: mostly one that means something."""
    return b"%d" % rng.randint(-8, 12) if rng.random() < 0.9 else integer(rng)


def end(rng: random.Random) -> bytes:
    return rng.choice([b"LEFT", b"RIGHT", b"left", b"Right", b"UP"] if rng.random() < 0.2 else [b"LEFT", b"RIGHT"])


@command("lists", 6)
def push(rng):
    return [rng.choice([b"LPUSH", b"RPUSH"]), key(rng), *elements(rng)]


@command("lists", 2)
def push_existing(rng):
    return [rng.choice([b"LPUSHX", b"RPUSHX"]), key(rng), *elements(rng)]


@command("lists", 3)
def pop(rng):
    return [rng.choice([b"LPOP", b"RPOP"]), key(rng), *([place(rng)] if rng.random() < 0.4 else [])]


@command("lists", 2)
def list_read(rng):
    return rng.choice([[b"LLEN", key(rng)], [b"LINDEX", key(rng), place(rng)],
                       [b"LRANGE", key(rng), place(rng), place(rng)], [b"LRANGE", key(rng), b"0", b"-1"]])


@command("lists", 2)
def lpos(rng):
    return [b"LPOS", key(rng), element(rng), *some(rng, 0.4, [b"RANK", place(rng)], [b"COUNT", place(rng)],
                                                   [b"MAXLEN", place(rng)], [b"RANK"], [b"COUNT", b"0"])]


@command("lists", 2)
def lset(rng):
    return [b"LSET", key(rng), place(rng), element(rng)]


@command("lists", 2)
def linsert(rng):
    return [b"LINSERT", key(rng), rng.choice([b"BEFORE", b"AFTER", b"after", b"AT"]), element(rng), element(rng)]


@command("lists", 2)
def lrem(rng):
    return [b"LREM", key(rng), place(rng), element(rng)]


@command("lists")
def ltrim(rng):
    return [b"LTRIM", key(rng), place(rng), place(rng)]


@command("lists", 3)
def lmove(rng):
    if rng.random() < 0.4:
        return [b"RPOPLPUSH", key(rng), key(rng)]
    return [b"LMOVE", key(rng), key(rng), end(rng), end(rng)]


@command("lists", 2)
def lmpop(rng):
    names = keys(rng)
    count = b"%d" % len(names) if rng.random() < 0.9 else place(rng)
    return [b"LMPOP", count, *names, end(rng), *some(rng, 0.4, [b"COUNT", place(rng)], [b"COUNT"])]


def wait(rng):
    """A timeout that is over soon, or none at all."""
    return rng.choice([b"0.001", b"0.0015", b"1e-3", b"0.002"] * 4 + [b"-1", b"x", b"nan", b""])


@command("blocking", 2)
def blocking_pop(rng):
    return [rng.choice([b"BLPOP", b"BRPOP", b"BZPOPMIN", b"BZPOPMAX"]), *keys(rng), wait(rng)]


@command("blocking")
def blocking_move(rng):
    if rng.random() < 0.4:
        return [b"BRPOPLPUSH", key(rng), key(rng), wait(rng)]
    return [b"BLMOVE", key(rng), key(rng), end(rng), end(rng), wait(rng)]


@command("blocking")
def blocking_multi_pop(rng):
    names = keys(rng)
    count = b"%d" % len(names) if rng.random() < 0.9 else place(rng)
    name, which = rng.choice([(b"BLMPOP", end(rng)), (b"BZMPOP", rng.choice([b"MIN", b"MAX", b"max"]))])
    return [name, wait(rng), count, *names, which, *some(rng, 0.4, [b"COUNT", place(rng)], [b"COUNT"])]


# Streams: few IDs that collide, and `milliseconds-*`, which makes streams of several nodes. `*` would make
# IDs that no two servers share.


def stream_part(rng: random.Random) -> bytes:
    return rng.choice([b"0", b"1", b"1", b"2", b"2", b"3", b"4", b"5", b"7"])


def stream_id(rng: random.Random) -> bytes:
    """An ID that may be there."""
    roll = rng.random()
    if roll < 0.6:
        return stream_part(rng) + b"-" + (stream_part(rng) if rng.random() < 0.6 else b"%d" % rng.randint(0, 300))
    if roll < 0.85:
        return stream_part(rng)
    if roll < 0.93:
        return rng.choice([b"18446744073709551615", b"18446744073709551615-18446744073709551615", b"0-0", b"5-18446744073709551615",
                           b"9223372036854775807-5", b"4-9223372036854775808"])
    return rng.choice([b"", b"-", b"+", b"*", b"a", b"1-", b"-1", b"1-a", b"1-1-1", b"18446744073709551616", b"$", b"(1-1",
                       b"+1", b" 1-1", b"01-01", b"1-*", b">", b"1--1"])


def stream_bound(rng: random.Random) -> bytes:
    roll = rng.random()
    return rng.choice([b"-", b"+"]) if roll < 0.4 else b"(" * (roll < 0.6) + stream_id(rng)


def stream_texts(rng: random.Random) -> Arguments:
    shape = rng.random()
    if shape < 0.6:
        return [b"f", value(rng)]
    if shape < 0.7:
        return [b"f", value(rng), b"17", value(rng)]
    if shape < 0.95:
        return [part for _ in range(rng.randint(1, 4)) for part in (rng.choice([b"f", b"g", b"17", b""]), value(rng))]
    return [b"f"] * rng.choice([0, 1, 3])


def trimming(rng: random.Random) -> Arguments:
    roll = rng.random()
    if roll < 0.6:
        size = b"%d" % rng.choice([0, 1, 3, 10, 90, 100, 150, 200]) if rng.random() < 0.9 else integer(rng)
        bound = [odd_case(rng, b"MAXLEN"), *some(rng, 0.6, [b"~"], [b"="]), size]
    else:
        bound = [odd_case(rng, b"MINID"), *some(rng, 0.6, [b"~"], [b"="]), stream_id(rng)]
    return bound + some(rng, 0.2, [b"LIMIT", b"%d" % rng.choice([0, 1, 50, 100, 200])], [b"LIMIT", integer(rng)])


@command("streams", 8)
def xadd(rng):
    roll = rng.random()
    wanted = stream_part(rng) + b"-*" if roll < 0.6 else stream_id(rng)
    if wanted == b"*":
        wanted = b"6-*"
    options = some(rng, 0.15, trimming(rng), [b"NOMKSTREAM"], [b"NOMKSTREAM", *trimming(rng)])
    return [b"XADD", key(rng), *options, wanted, *stream_texts(rng)]


@command("streams", 6)
def xadd_many(rng):
    """Long streams, so that nodes are full now and then."""
    return [b"XADD", KEYS[rng.randrange(3)], b"5-*", b"f", value(rng)]


@command("streams", 2)
def xlen(rng):
    return [b"XLEN", key(rng)]


@command("streams", 4)
def xrange(rng):
    name = rng.choice([b"XRANGE", b"XREVRANGE"])
    return [name, key(rng), stream_bound(rng), stream_bound(rng),
            *some(rng, 0.4, [b"COUNT", b"%d" % rng.randint(-1, 12)], [b"COUNT", integer(rng)], [b"COUNT"], [b"x"])]


@command("streams", 3)
def xdel(rng):
    return [b"XDEL", key(rng), *[stream_id(rng) for _ in range(rng.randint(1, 5))]]


@command("streams", 2)
def xtrim(rng):
    return [b"XTRIM", key(rng), *(trimming(rng) if rng.random() < 0.95 else [b"x"])]


@command("streams", 1)
def xtrim_references(rng):
    return [b"XTRIM", key(rng), *trimming(rng), *some(rng, 0.1, [b"x"], [b"LIMIT"])]


@command("streams", 0.5, needs="XACKDEL")
def xtrim_policy(rng):
    return [b"XTRIM", key(rng), *trimming(rng), rng.choice([b"KEEPREF", b"DELREF", b"ACKED"]), *some(rng, 0.1, [b"ACKED"])]


@command("streams", 0.5, needs="XACKDEL")
def xadd_policy(rng):
    return [b"XADD", key(rng), *trimming(rng), rng.choice([b"KEEPREF", b"DELREF", b"acked"]), stream_part(rng) + b"-*", b"f", b"v"]


@command("streams")
def xsetid(rng):
    return [b"XSETID", key(rng), stream_id(rng),
            *some(rng, 0.3, [b"ENTRIESADDED", b"%d" % rng.randint(0, 400)], [b"ENTRIESADDED", integer(rng)],
                  [b"MAXDELETEDID", stream_id(rng)],
                  [b"ENTRIESADDED", b"50", b"MAXDELETEDID", stream_id(rng)], [b"x"], [b"ENTRIESADDED"])]


@command("streams", 3)
def xread(rng):
    names = keys(rng, 3)
    ids = [rng.choice([b"$", stream_id(rng), stream_id(rng), stream_id(rng)]) for _ in names]
    if rng.random() < 0.05:
        ids = ids[1:]
    options = some(rng, 0.5, [b"COUNT", b"%d" % rng.randint(-1, 5)], [b"COUNT", integer(rng)], [b"NOACK"])
    return [b"XREAD", *options, b"STREAMS", *names, *ids]


@command("streams", 0.5)
def xread_block(rng):
    names = keys(rng, 2)
    wait = rng.choice([b"1", b"2", b"1", b"-1", b"x"])
    return [b"XREAD", b"BLOCK", wait, b"STREAMS", *names, *[rng.choice([b"$", stream_id(rng)]) for _ in names]]


@command("streams", 1.5)
def xinfo_stream(rng):
    return [b"XINFO", odd_case(rng, b"STREAM"), key(rng),
            *some(rng, 0.4, [b"FULL"], [b"FULL", b"COUNT", b"%d" % rng.randint(-1, 3)], [b"FULL", b"COUNT", integer(rng)],
                  [b"FULL", b"1"], [b"x"])]


# Transactions: the fuzzer ends a MULTI more eagerly than it begins one (see `differential.Script`).


@command("transactions", 4)
def multi(rng):
    return [b"MULTI"]


@command("transactions", 2)
def exec_(rng):
    return [b"EXEC"]


@command("transactions")
def discard(rng):
    return [b"DISCARD"]


@command("transactions", 4)
def watch(rng):
    return [b"WATCH", *keys(rng, 2)]


@command("transactions")
def unwatch(rng):
    return [b"UNWATCH"]


# Sorted sets. Members and scores come from small alphabets; `l` keys hold one score only, since the
# order of members means nothing where scores differ.

ZKEYS = [b"z%d" % index for index in range(5)]
LEXKEYS = [b"l%d" % index for index in range(2)]
SCORES = [b"%d" % score for score in range(-3, 8)] + [
    b"inf", b"-inf", b"+inf", b"1.5", b"-1.5", b"0.25", b"1e3", b"-0", b"1e15", b"3.0", b"123456789012"]
NOT_SCORES = [b"nan", b"abc", b"", b" 1", b"1 ", b"1x", b"(1", b"1e5000"]


def zkey(rng: random.Random) -> bytes:
    roll = rng.random()
    return rng.choice(ZKEYS) if roll < 0.95 else key(rng)


def member(rng: random.Random) -> bytes:
    roll = rng.random()
    if roll < 0.85:
        return b"m%d" % rng.randrange(25)
    return rng.choice([b"", b"a\x00b", b"\xff", b"m", b"x" * 64, b"x" * 65, b"x" * 300, b"1", b"-1"])


def score(rng: random.Random) -> bytes:
    return rng.choice(SCORES) if rng.random() < 0.97 else rng.choice(NOT_SCORES)


def score_bound(rng: random.Random) -> bytes:
    roll = rng.random()
    if roll < 0.9:
        return (b"(" if rng.random() < 0.3 else b"") + rng.choice(SCORES)
    return rng.choice([b"(", b"", b"((1", b"nan", b"(nan", b"[1", b"1)", b"-", b"+", b"1e5000", b" 1"])


def lex_bound(rng: random.Random) -> bytes:
    roll = rng.random()
    if roll < 0.2:
        return b"-"
    if roll < 0.4:
        return b"+"
    if roll < 0.95:
        return rng.choice([b"[", b"("]) + rng.choice([b"a", b"b", b"c", b"ba", b"", b"m1", b"\xff"])
    return rng.choice([b"", b"a", b"--", b"+a", b"1"])


def lex_limit(rng: random.Random) -> Arguments:
    return [b"LIMIT", rng.choice([b"0", b"1", b"2", b"100", integer(rng)]),
            rng.choice([b"-1", b"0", b"1", b"3", b"-5", integer(rng)])]


@command("sortedsets", 12)
def zadd(rng):
    options = some(rng, 0.12, [b"NX"], [b"XX"], [b"GT"], [b"LT"], [b"CH"], [b"INCR"])
    pairs = [part for _ in range(rng.choice([1, 1, 1, 2, 5])) for part in (score(rng), member(rng))]
    return [b"ZADD", zkey(rng), *options, *pairs]


@command("sortedsets", 1)
def zadd_many(rng):
    return [b"ZADD", zkey(rng), *[part for index in range(rng.choice([40, 130]))
                                  for part in (b"%d" % (index % 7), b"m%d" % index)]]


@command("sortedsets", 3)
def zadd_lex(rng):
    return [b"ZADD", rng.choice(LEXKEYS), b"0", rng.choice([b"a", b"b", b"c", b"ab", b"ba", b"", b"m1"])]


@command("sortedsets", 3)
def zincrby(rng):
    return [b"ZINCRBY", zkey(rng), score(rng), member(rng)]


@command("sortedsets", 4)
def zrem(rng):
    return [b"ZREM", zkey(rng), *[member(rng) for _ in range(rng.choice([1, 1, 2, 5]))]]


@command("sortedsets", 2)
def zcard(rng):
    return [b"ZCARD", zkey(rng)]


@command("sortedsets", 3)
def zscore(rng):
    return rng.choice([[b"ZSCORE", zkey(rng), member(rng)], [b"ZMSCORE", zkey(rng), member(rng), member(rng)]])


@command("sortedsets", 3)
def zrank(rng):
    return [rng.choice([b"ZRANK", b"ZREVRANK"]), zkey(rng), member(rng)]


@command("sortedsets", 0.5, "ZRANK WITHSCORE")
def zrank_with_score(rng):
    return [rng.choice([b"ZRANK", b"ZREVRANK"]), zkey(rng), member(rng), rng.choice([b"WITHSCORE", b"FOO"])]


@command("sortedsets", 2)
def zcount(rng):
    return [b"ZCOUNT", zkey(rng), score_bound(rng), score_bound(rng)]


@command("sortedsets", 2)
def zlex(rng):
    name = rng.choice([b"ZLEXCOUNT", b"ZRANGEBYLEX", b"ZREVRANGEBYLEX", b"ZREMRANGEBYLEX"])
    limit = lex_limit(rng) if name.endswith(b"RANGEBYLEX") and rng.random() < 0.3 else []
    return [name, rng.choice(LEXKEYS), lex_bound(rng), lex_bound(rng), *limit]


@command("sortedsets", 3)
def zrange_index(rng):
    return [rng.choice([b"ZRANGE", b"ZREVRANGE"]), zkey(rng), near_range(rng), near_range(rng),
            *some(rng, 0.2, [b"WITHSCORES"], [b"REV"], lex_limit(rng) if rng.random() < 0.2 else [])]


@command("sortedsets", 3)
def zrange_score(rng):
    name = rng.choice([b"ZRANGEBYSCORE", b"ZREVRANGEBYSCORE"])
    return [name, zkey(rng), score_bound(rng), score_bound(rng), *some(rng, 0.3, [b"WITHSCORES"], lex_limit(rng))]


@command("sortedsets", 3)
def zrange_any(rng):
    store = rng.random() < 0.3
    name, target = ([b"ZRANGESTORE"], [zkey(rng)]) if store else ([b"ZRANGE"], [])
    roll = rng.random()
    options = some(rng, 0.3, [b"REV"], lex_limit(rng), [b"WITHSCORES"] if not store or rng.random() < 0.1 else [])
    if roll < 0.5:
        return [*name, *target, zkey(rng), score_bound(rng), score_bound(rng), b"BYSCORE", *options]
    if roll < 0.7:
        return [*name, *target, rng.choice(LEXKEYS), lex_bound(rng), lex_bound(rng), b"BYLEX", *options]
    return [*name, *target, zkey(rng), near_range(rng), near_range(rng), *options]


@command("sortedsets", 2)
def zremrange(rng):
    if rng.random() < 0.5:
        return [b"ZREMRANGEBYSCORE", zkey(rng), score_bound(rng), score_bound(rng)]
    return [b"ZREMRANGEBYRANK", zkey(rng), near_range(rng), near_range(rng)]


@command("sortedsets", 2)
def zpop(rng):
    count = rng.choice([[], [], [b"0"], [b"1"], [b"3"], [b"100"], [integer(rng)]])
    return [rng.choice([b"ZPOPMIN", b"ZPOPMAX"]), zkey(rng), *count]


def numbered(rng: random.Random) -> Arguments:
    chosen = [zkey(rng) for _ in range(rng.choice([1, 2, 2, 3]))]
    number = b"%d" % len(chosen) if rng.random() < 0.95 else integer(rng)
    return [number, *chosen]


@command("sortedsets", 1)
def zmpop(rng):
    return [b"ZMPOP", *numbered(rng), rng.choice([b"MIN", b"MAX", b"MAX", b"FOO"]),
            *rng.choice([[], [], [b"COUNT", b"2"], [b"COUNT", integer(rng)], [b"COUNT"]])]


@command("sortedsets", 3)
def zoperation(rng):
    store = rng.random() < 0.4
    kind = rng.choice([b"ZUNION", b"ZINTER", b"ZDIFF"])
    inputs = numbered(rng)
    options = [] if kind == b"ZDIFF" and rng.random() < 0.9 else some(
        rng, 0.3, [b"WEIGHTS", *[rng.choice([b"1", b"2", b"-1", b"0", b"0.5", b"inf", b"x"])
                                 for _ in inputs[1:]]],
        [b"AGGREGATE", rng.choice([b"SUM", b"MIN", b"MAX", b"FOO"])])
    if store:
        return [kind + b"STORE", zkey(rng), *inputs, *options]
    return [kind, *inputs, *options, *([b"WITHSCORES"] if rng.random() < 0.5 else [])]


@command("sortedsets", 1)
def zintercard(rng):
    return [b"ZINTERCARD", *numbered(rng), *rng.choice([[], [], [b"LIMIT", b"2"], [b"LIMIT", integer(rng)]])]


@command("sortedsets", 1)
def zrandmember_all(rng):
    # Enough for all of them: fewer would be a matter of chance.
    return [b"ZRANDMEMBER", zkey(rng), rng.choice([b"1000", b"0", b"abc", b"-9223372036854775808"]),
            *rng.choice([[], [b"WITHSCORES"], [b"FOO"]])]


@command("sortedsets", 2)
def zset_as_key(rng):
    return rng.choice([
        [b"DEL", zkey(rng)], [b"RENAME", zkey(rng), zkey(rng)], [b"COPY", zkey(rng), zkey(rng), b"REPLACE"],
        [b"EXPIRE", zkey(rng), b"1000"], [b"PERSIST", zkey(rng)], [b"TYPE", zkey(rng)],
        [b"OBJECT", b"ENCODING", zkey(rng)], [b"SET", zkey(rng), b"v"], [b"GET", zkey(rng)],
        [b"APPEND", zkey(rng), b"v"], [b"STRLEN", zkey(rng)], [b"MOVE", zkey(rng), b"1"]])


# Connection


@command("connection", 3)
def select(rng):
    return [b"SELECT", database(rng)]


@command("connection")
def ping(rng):
    return [b"PING", *([value(rng)] if rng.random() < 0.5 else [])]


@command("connection")
def echo(rng):
    return [b"ECHO", value(rng)]


@command("connection")
def hello(rng):
    version = rng.choice([[], [b"2"], [b"3"], [b"3"], [b"1"], [b"4"], [b"abc"], [b""], [b"-3"]])
    # One option at most: a HELLO that fails changes nothing here, while Redis keeps what it has read.
    options = [[b"SETNAME", b"me"], [b"SETNAME", b"a b"], [b"SETNAME"], [b"AUTH", b"default", b"wrong"],
               [b"AUTH"], [b"FOO"]]
    return [b"HELLO", *version, *(rng.choice(options) if rng.random() < 0.3 else [])]


@command("connection")
def client_name(rng):
    name = rng.choice([b"name", b"", b"a b", b"a\n", b"x" * 50, b"\x7f"])
    return rng.choice([[b"CLIENT", b"GETNAME"], [b"CLIENT", b"SETNAME", name], [b"CLIENT", b"ID"],
                       [b"CLIENT", b"NOSUCH"], [b"CLIENT"]])


@command("connection", 0.5)
def reset(rng):
    return [b"RESET"]


@command("connection", 0.5)
def auth(rng):
    return rng.choice([[b"AUTH", b"x"], [b"AUTH", b"default", b"x"], [b"AUTH", b"no", b"x"], [b"AUTH"],
                       [b"AUTH", b"a", b"b", b"c"]])


@command("connection", 0.5)
def unknown(rng):
    return [rng.choice([b"NOSUCH", b"", b"G" * 200, b"ge t", b"\xff\r\n"]), *keys(rng, 3)]


@command("connection", 0.3)
def time_(rng):
    return [b"TIME"]


# SORT


# Apart from other keys: what stands in these is a number to every server, or plainly none.
SORT_SOURCES = [b"sl0", b"sl1", b"ss0", b"sz0"]
SORT_ELEMENTS = [b"%d" % number for number in range(-3, 12)] + [b"1.5", b"-2.5", b"1e3", b"100", b"0.1"]
SORT_WORDS = [b"a", b"b", b"B", b"ab", b"abc", b"c" * 70]


def sort_element(rng: random.Random) -> bytes:
    return rng.choice(SORT_ELEMENTS if rng.random() < 0.97 else SORT_WORDS)


def sort_pattern(rng: random.Random) -> bytes:
    return rng.choice([b"w_*", b"w_*", b"w_*", b"h_*->f", b"h_*->f", b"h_*->g", b"#", b"none", b"gone_*", b"*",
                       b"w_*->", b"h_*->f->g", b"w_*->f", b"h_*", b"->f*"])


@command("sort", 3)
def sort_source(rng):
    key = rng.choice(SORT_SOURCES)
    members = [sort_element(rng) for _ in range(rng.choice([1, 3, 8, 8, 60]))]
    if rng.random() < 0.3:
        return [b"DEL", key]
    if key == b"sz0":
        return [b"ZADD", key, *(part for member in members for part in (b"%d" % rng.randint(0, 5), member))]
    return [b"SADD" if key == b"ss0" else b"RPUSH", key, *members]


@command("sort", 3)
def sort_weight(rng):
    weight = rng.choice(SORT_ELEMENTS + SORT_WORDS if rng.random() < 0.05 else SORT_ELEMENTS)
    roll = rng.random()
    if roll < 0.1:
        return [b"DEL", rng.choice([b"w_", b"h_"]) + sort_element(rng)]
    if roll < 0.5:
        return [b"MSET", *(part for _ in range(4) for part in (b"w_" + sort_element(rng), weight))]
    return [b"HSET", b"h_" + sort_element(rng), rng.choice([b"f", b"f", b"g", b"f->g"]), weight]


@command("sort", 8)
def sort(rng):
    is_own = rng.random() < 0.8
    source = rng.choice(SORT_SOURCES) if is_own else key(rng)
    options = some(
        rng, 0.3,
        [b"BY", rng.choice([b"nosort", sort_pattern(rng)])] if is_own else [],
        [b"LIMIT", place(rng), place(rng)], [b"DESC"], [b"ASC"], [b"ALPHA"],
        [b"GET", sort_pattern(rng)], [b"GET", rng.choice([b"#", sort_pattern(rng)])],
        [rng.choice([b"LIMIT", b"BY", b"GET", b"STORE", b"WITH"])] if rng.random() < 0.1 else [])
    # What another key holds may be a number to one server only: the two states would part.
    if (is_own or b"ALPHA" in options) and rng.random() < 0.3:
        options += [b"STORE", key(rng) if b"GET" in options else rng.choice([b"sl0", b"sl1", key(rng)])]
    return [rng.choice([b"SORT", b"SORT", b"SORT", b"sort", b"SORT_RO"]), source, *options]


# Consumer groups: explicit ids, so that all servers hold the same entries.

GROUP_KEYS = [b"gs0", b"gs1", b"{tag}gs"]
GROUPS = [b"g0", b"g1", b"g2", b"", b"g\x00x"]
CONSUMERS = [b"ann", b"bob", b"cid", b"", b"d\xff"]


def group_key(rng: random.Random) -> bytes:
    return rng.choice(GROUP_KEYS) if rng.random() < 0.97 else key(rng)


def group_name(rng: random.Random) -> bytes:
    return GROUPS[rng.randrange(2)] if rng.random() < 0.9 else rng.choice(GROUPS)


def consumer_name(rng: random.Random) -> bytes:
    return CONSUMERS[rng.randrange(3)] if rng.random() < 0.92 else rng.choice(CONSUMERS)


def entry_id(rng: random.Random) -> bytes:
    """The id of an entry that may well be there."""
    roll = rng.random()
    if roll < 0.9:
        return b"%d-%d" % (rng.randint(1, 30), rng.randint(0, 3))
    if roll < 0.94:
        return b"%d" % rng.randint(0, 30)
    return rng.choice([b"0-0", b"18446744073709551615-18446744073709551615", b"18446744073709551615", b"1-2-3",
                       b"18446744073709551616-1", b"-1", b"", b"abc", b"5-", b"-", b"+", b"$", b">", b"*", b"4294967296-1",
                       b"7-4294967296"])


def entry_ids(rng: random.Random, most: int = 4) -> Arguments:
    return [entry_id(rng) for _ in range(rng.randint(1, most))]


def entry_bound(rng: random.Random) -> bytes:
    roll = rng.random()
    if roll < 0.4:
        return rng.choice([b"-", b"+"])
    return (b"(" if roll < 0.55 else b"") + entry_id(rng)


def counted_ids(rng: random.Random) -> Arguments:
    ids = entry_ids(rng)
    count = b"%d" % len(ids) if rng.random() < 0.93 else rng.choice([b"0", b"-1", b"1", b"2", b"5", b"x", b"2147483648"])
    return [b"IDS", count, *ids]


def entry_count(rng: random.Random) -> bytes:
    return b"%d" % rng.randint(1, 6) if rng.random() < 0.85 else rng.choice(
        [b"0", b"-1", b"100", b"9223372036854775807", b"-9223372036854775808", b"x"])


def idle_min(rng: random.Random) -> bytes:
    """Nothing is as old as an hour, and everything is as old as nothing."""
    return rng.choice([b"0"] * 6 + [b"3600000"] * 3 + [b"-1", b"x", b"9223372036854775807"])


@command("groups", 10)
def xadd_for_groups(rng):
    # Ids ascend often enough, and the refused ones do no harm.
    if rng.random() < 0.1:
        return [b"XADD", group_key(rng), b"NOMKSTREAM", b"%d-%d" % (rng.randint(1, 30), rng.randint(1, 3)), b"f", b"v"]
    trim = [b"MAXLEN", b"%d" % rng.randint(0, 8)] if rng.random() < 0.05 else []
    return [b"XADD", group_key(rng), *trim, b"%d-%d" % (rng.randint(1, 30), rng.randint(0, 3)), b"f", value(rng)[:40]]


@command("groups", 1.5)
def xdel_for_groups(rng):
    return [b"XDEL", group_key(rng), *entry_ids(rng, 3)]


@command("groups", 0.5)
def xtrim_for_groups(rng):
    if rng.random() < 0.5:
        return [b"XTRIM", group_key(rng), b"MAXLEN", b"%d" % rng.randint(0, 12)]
    return [b"XTRIM", group_key(rng), b"MINID", b"%d" % rng.randint(0, 25)]


@command("groups", 0.6)
def xdrop_for_groups(rng):
    return rng.choice([[b"DEL", group_key(rng)], [b"RENAME", group_key(rng), group_key(rng)],
                       [b"COPY", group_key(rng), group_key(rng), b"REPLACE"]])


@command("groups", 4)
def xgroup_create(rng):
    options = some(rng, 0.5, [b"MKSTREAM"], [b"mkstream"])
    if rng.random() < 0.1:
        options += [b"ENTRIESREAD", rng.choice([b"0", b"-1", b"3", b"-2", b"x"])]
    return [b"XGROUP", b"CREATE", group_key(rng), group_name(rng),
            rng.choice([b"0", b"$", b"0-0", entry_id(rng)]), *options]


@command("groups", 1)
def xgroup_setid(rng):
    options = [b"ENTRIESREAD", rng.choice([b"0", b"-1", b"3", b"-2", b"x"])] if rng.random() < 0.2 else []
    return [b"XGROUP", b"SETID", group_key(rng), group_name(rng),
            rng.choice([b"0", b"$", b"0-0", entry_id(rng)]), *options]


@command("groups", 0.6)
def xgroup_other(rng):
    return rng.choice([[b"XGROUP", b"DESTROY", group_key(rng), group_name(rng)], [b"XGROUP", b"NOSUCH", group_key(rng)],
                       [b"XGROUP", b"CREATE", group_key(rng), group_name(rng)]])


@command("groups", 1.2)
def xgroup_consumer(rng):
    return [b"XGROUP", rng.choice([b"CREATECONSUMER", b"DELCONSUMER"]), group_key(rng), group_name(rng),
            consumer_name(rng)]


@command("groups", 9)
def xreadgroup(rng):
    options = some(rng, 0.5, [b"COUNT", entry_count(rng)]) + some(rng, 0.12, [b"NOACK"])
    names = [group_key(rng) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
    ids = [b">" if rng.random() < 0.7 else rng.choice([b"0", b"0-0", entry_id(rng)]) for _ in names]
    if rng.random() < 0.02:
        ids = ids[1:]
    return [b"XREADGROUP", b"GROUP", group_name(rng), consumer_name(rng), *options, b"STREAMS", *names, *ids]


@command("groups", 0.5)
def xreadgroup_block(rng):
    return [b"XREADGROUP", b"GROUP", group_name(rng), consumer_name(rng), b"COUNT", b"2",
            b"BLOCK", rng.choice([b"1", b"2", b"1", b"-1", b"x"]), b"STREAMS", group_key(rng), b">"]


@command("groups", 4)
def xack(rng):
    return [b"XACK", group_key(rng), group_name(rng), *entry_ids(rng)]


@command("groups", 2)
def xpending(rng):
    if rng.random() < 0.35:
        return [b"XPENDING", group_key(rng), group_name(rng)]
    idle = [b"IDLE", idle_min(rng)] if rng.random() < 0.25 else []
    consumer = [consumer_name(rng)] if rng.random() < 0.4 else []
    return [b"XPENDING", group_key(rng), group_name(rng), *idle, entry_bound(rng), entry_bound(rng),
            entry_count(rng), *consumer]


@command("groups", 2)
def xclaim(rng):
    options = []
    if rng.random() < 0.4:
        options = rng.choice([
            [b"JUSTID"], [b"FORCE"], [b"FORCE", b"JUSTID"], [b"RETRYCOUNT", rng.choice([b"0", b"7", b"70000", b"-3", b"x"])],
            [b"IDLE", rng.choice([b"0", b"7200000", b"-5", b"x", b"-9223372036854775808"])],
            [b"TIME", rng.choice([b"0", b"-1", b"99999999999999", b"x", b"1000000"])],
            [b"LASTID", entry_id(rng)], [b"FORCE", b"RETRYCOUNT", b"9223372036854775000"], [b"WHAT"], [b"IDLE"]])
    return [b"XCLAIM", group_key(rng), group_name(rng), consumer_name(rng), idle_min(rng), *entry_ids(rng), *options]


@command("groups", 1.5)
def xautoclaim(rng):
    count = [b"COUNT", rng.choice([b"1", b"2", b"3", b"0", b"-1", b"8070450532247928833", b"x"])] if rng.random() < 0.5 else []
    return [b"XAUTOCLAIM", group_key(rng), group_name(rng), consumer_name(rng), idle_min(rng),
            rng.choice([b"0", b"-", entry_bound(rng)]), *count, *some(rng, 0.3, [b"JUSTID"])]


@command("groups", 2)
def xinfo_of_groups(rng):
    if rng.random() < 0.5:
        return [b"XINFO", b"GROUPS", group_key(rng)]
    return [b"XINFO", b"CONSUMERS", group_key(rng), group_name(rng)]


def references(rng: random.Random) -> Arguments:
    return some(rng, 0.7, [b"KEEPREF"], [b"DELREF"], [b"ACKED"], [b"acked"])


@command("groups", 1.5, needs="XACKDEL")
def xackdel(rng):
    return [b"XACKDEL", group_key(rng), group_name(rng), *references(rng), *counted_ids(rng), *some(rng, 0.1, [b"ACKED"])]


@command("groups", 1.5, needs="XACKDEL")
def xdelex(rng):
    return [b"XDELEX", group_key(rng), *references(rng), *counted_ids(rng)]


@command("groups", 0.7, needs="XACKDEL")
def xtrim_references(rng):
    bound = [b"MAXLEN", b"=", b"%d" % rng.randint(0, 10)] if rng.random() < 0.5 else [b"MINID", b"=", b"%d" % rng.randint(0, 25)]
    return [b"XTRIM", group_key(rng), *bound, *references(rng)]



class Source:
    """Draws commands from the chosen groups, with odd spellings and wrong arities mixed in."""

    def __init__(self, rng: random.Random, chosen: list[str], features: set[str]):
        self.rng = rng
        entries = [entry for entry in REGISTRY
                   if entry.group in chosen and (entry.needs is None or entry.needs in features)]
        self.makers = [entry.make for entry in entries]
        self.weights = [entry.weight for entry in entries]

    def draw(self, count: int) -> list[Arguments]:
        return [self.spoil(make(self.rng))
                for make in self.rng.choices(self.makers, self.weights, k=count)]

    def spoil(self, arguments: Arguments) -> Arguments:
        roll = self.rng.random()
        if roll < 0.02:
            return [odd_case(self.rng, arguments[0]), *arguments[1:]]
        if arguments[0].startswith(b"~"):
            return arguments
        if roll < 0.03 and len(arguments) > 1:
            return arguments[:-1]
        if roll < 0.04:
            return [*arguments, value(self.rng)]
        return arguments


# Messages. Subscriptions are made on connections that do nothing else: `~subscriber` and its number.


CHANNELS = [b"c1", b"c2", b"d1", b"", b"bin\x00\r\n", b"long:" + b"y" * 200]
CHANNEL_PATTERNS = [b"*", b"c*", b"c?", b"[cd]1", b"c1", b"", b"*\x00*", b"long:*", b"x*"]


def channel(rng: random.Random) -> bytes:
    return rng.choice(CHANNELS)


@command("pubsub", 6)
def publish(rng):
    return [b"PUBLISH", channel(rng), value(rng)]


@command("pubsub", 2)
def spublish(rng):
    return [b"SPUBLISH", channel(rng), value(rng)]


@command("pubsub", 2)
def pubsub(rng):
    what = rng.choice([b"NUMSUB", b"NUMPAT", b"CHANNELS", b"SHARDCHANNELS", b"SHARDNUMSUB", b"numsub", b"NOSUCH"])
    if what in (b"CHANNELS", b"SHARDCHANNELS"):
        return [b"PUBSUB", what, *rng.choices(CHANNEL_PATTERNS, k=rng.choice([0, 1, 1, 2]))]
    if what == b"NUMPAT":
        return [b"PUBSUB", what, *([b"x"] if rng.random() < 0.1 else [])]
    return [b"PUBSUB", what, *rng.choices(CHANNELS, k=rng.randint(0, 3))]


@command("pubsub", 4)
def subscriber(rng):
    roll = rng.random()
    names, words = CHANNELS, rng.choice([(b"SUBSCRIBE", b"UNSUBSCRIBE"), (b"SSUBSCRIBE", b"SUNSUBSCRIBE")])
    if rng.random() < 0.4:
        names, words = CHANNEL_PATTERNS, (b"PSUBSCRIBE", b"PUNSUBSCRIBE")
    number = b"%d" % rng.randrange(3)
    if roll < 0.6:
        return [b"~subscriber", number, words[0], *rng.choices(names, k=rng.randint(1, 3))]
    if roll < 0.9:
        return [b"~subscriber", number, words[1], *rng.choices(names, k=rng.randint(0, 2))]
    return [b"~subscriber", number, *rng.choice([[b"RESET"], [b"GET", b"k"], [b"PING"], [b"SUBSCRIBE"], [b"PUBLISH", b"c1", b"own"]])]


# Scripts and functions: values of Lua on their way to the client, and replies on their way into Lua.


# No -0, nor an infinity: Lua 5.1 holds 0 and -0 in one script for the same constant.
LUA_NUMBERS = ["0", "1", "-1", "2.9", "-2.9", "0.5", "1e3", "2^31", "-2^31", "2^53", "-2^53", "123456789.75"]
LUA_STRINGS = ["''", "'a'", "'1'", r"'a b\0c'", r"'\r\n+OK\r\n'", r"('x'):rep(300)", r"'\255\254'", "KEYS[1]", "ARGV[1]"]
LUA_TEXTS = ["'fine'", "'ERR wrong'", "'MY own text'", r"'a\r\nb'", "''", r"'x\0y'", "'-'"]


def lua_value(rng: random.Random, depth: int) -> str:
    """An expression whose value a script may return."""
    roll = rng.randrange(16 if depth > 0 else 7)
    if roll < 3:
        return rng.choice(LUA_NUMBERS)
    if roll < 5:
        return rng.choice(LUA_STRINGS)
    if roll == 5:
        return rng.choice(["true", "false", "nil"])
    if roll == 6:
        return rng.choice(["{ok=%s}", "{err=%s}", "redis.status_reply(%s)"]) % rng.choice(LUA_TEXTS)
    if roll == 7:
        return "{double=%s}" % rng.choice(["1.5", "-0.25", "3", "1e10", "0"])
    if roll == 8:
        return "{big_number=%s}" % rng.choice(["'123'", "'-9'", r"'1\r\n2'", "''"])
    if roll == 9:
        return "{verbatim_string={format='txt', string=%s}}" % rng.choice(LUA_STRINGS[:7])
    if roll == 10:
        # One pair: the order of more is nobody's promise.
        return "{map={[%s]=%s}}" % (rng.choice(LUA_STRINGS[:5] + ["1", "2.5"]), lua_value(rng, depth - 1))
    if roll == 11:
        return "{set={[%s]=true}}" % rng.choice(LUA_STRINGS[:5] + ["1"])
    return "{%s}" % ", ".join(lua_value(rng, depth - 1) for _ in range(rng.randint(0, 4)))


def lua_call(rng: random.Random) -> str:
    """A statement that returns the reply to the command in ARGV, or something about it."""
    return rng.choice(["redis.setresp(3) ", "redis.setresp(2) ", "", ""]) + rng.choice([
        "return redis.call(unpack(ARGV))", "return redis.pcall(unpack(ARGV))",
        "local r = redis.pcall(unpack(ARGV)) return {type(r), r}",
        # Not its length: of a table with holes, as RESP3's nulls leave them, nobody promises that.
        "local r = redis.pcall(unpack(ARGV)) if type(r) ~= 'table' then return r end "
        "local n = 0 for _ in pairs(r) do n = n + 1 end return {n, r.err or r.ok or 0}",
        "local ok, r = pcall(redis.call, unpack(ARGV)) return {tostring(ok), r}",
        # Of a table with two fields nobody promises the order.
        "local r = redis.pcall(unpack(ARGV)) return type(r) == 'table' and r.err or cjson.encode(r)",
    ])


# Functions by name, each in a library of its own.
LUA_FUNCTIONS = {
    "reply": "return redis.call(unpack(ARGV))", "caught": "return redis.pcall(unpack(ARGV))",
    "given": "return {KEYS, ARGV, #KEYS, #ARGV}", "typed": "redis.setresp(3) return redis.call(unpack(ARGV))",
}


def called(rng: random.Random) -> Arguments:
    """A command whose reply, in RESP2 or RESP3, is the same to the bytes on all servers."""
    name = key(rng)
    # No integer: Valkey keeps what a script sets as a string.
    text = b"v" + value(rng)
    return rng.choice([
        [b"GET", name], [b"SET", name, text], [b"INCR", name], [b"STRLEN", name], [b"TYPE", name],
        [b"SET", name, text, b"NX"], [b"RPUSH", name, value(rng), value(rng)], [b"LRANGE", name, b"0", b"-1"],
        [b"LPOP", name], [b"LPOP", name, b"2"], [b"SADD", name, value(rng)], [b"SISMEMBER", name, value(rng)],
        [b"ZADD", name, b"1.5", value(rng)], [b"ZSCORE", name, value(rng)], [b"ZADD", name, b"INCR", b"2", b"m"],
        [b"ZRANGE", name, b"0", b"-1", b"WITHSCORES"], [b"ZPOPMIN", name], [b"HSET", name, b"f", value(rng)],
        [b"HMGET", name, b"f", b"g"], [b"HINCRBYFLOAT", name, b"f", b"0.5"], [b"DEL", name],
        [b"EXISTS", name, key(rng)], [b"MGET", name, key(rng)], [b"ECHO", value(rng)], [b"PING"], [b"NOSUCH"],
        [b"GET"], [b"MULTI"], [b"SUBSCRIBE", b"c"], [b"XADD", name, b"1-1", b"f", value(rng)], [b"XRANGE", name, b"-", b"+"],
    ])


@command("scripts", 4)
def script_value(rng):
    script = rng.choice(["", "", "redis.setresp(3) "]) + "return " + lua_value(rng, 4)
    return [rng.choice([b"EVAL", b"EVAL_RO"]), script.encode(), b"1", key(rng), value(rng)]


@command("scripts", 4)
def script_call(rng):
    return [rng.choice([b"EVAL", b"EVAL", b"EVAL_RO"]), lua_call(rng).encode(), b"1", key(rng), *called(rng)]


@command("scripts", 1)
def function_load(rng):
    name = rng.choice(list(LUA_FUNCTIONS))
    flags = rng.choice(["", "", "'no-writes'", "'allow-oom', 'no-cluster'"])
    text = (f"#!lua name={name}\nredis.register_function{{function_name='{name}', flags={{{flags}}}, "
            f"callback=function(KEYS, ARGV) {LUA_FUNCTIONS[name]} end}}")
    return [b"FUNCTION", b"LOAD", *([b"REPLACE"] if rng.random() < 0.7 else []), text.encode()]


@command("scripts", 4)
def function_call(rng):
    name = rng.choice([*LUA_FUNCTIONS, "nosuch"]).encode()
    return [rng.choice([b"FCALL", b"FCALL", b"FCALL_RO"]), odd_case(rng, name), b"1", key(rng), *called(rng)]


@command("scripts", 1)
def function_look(rng):
    name = rng.choice(list(LUA_FUNCTIONS)).encode()
    return rng.choice([
        [b"FUNCTION", b"LIST", b"LIBRARYNAME", name, *([b"WITHCODE"] if rng.random() < 0.5 else [])],
        [b"FUNCTION", b"STATS"], [b"FUNCTION", b"DELETE", name], [b"FUNCTION", b"KILL"], [b"FUNCTION", b"FLUSH"],
    ])
