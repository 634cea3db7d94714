"""Where a reply of Martlet may differ from an oracle's, and why. The only such place.

Each row is a decision that protocol.md lists too. A row says for which oracles it holds, what it
is about, and recognises the pair of replies; the fuzzer counts how often each row was needed, so a
row that no longer matches anything shows up as unused.
"""

from __future__ import annotations

import re
from typing import Callable, NamedTuple

from resp import Reply, render

Command = list[bytes]
ALL = ("redis7", "redis8", "valkey9")


class Difference(NamedTuple):
    title: str
    oracles: frozenset[str]
    why: str
    explains: Callable[[Command, Reply, Reply], bool]


TABLE: list[Difference] = []


def difference(title: str, *oracles: str, why: str):
    """Registers the decorated predicate `(command, ours, theirs)`."""

    def register(explains: Callable[[Command, Reply, Reply], bool]):
        TABLE.append(Difference(title, frozenset(oracles), why, explains))
        return explains

    return register


def explain(oracle: str, command: Command, ours: Reply, theirs: Reply) -> Difference | None:
    """The row that explains this pair of replies, or None."""
    for row in TABLE:
        if oracle in row.oracles and row.explains(command, ours, theirs):
            return row
    return None


def name(command: Command) -> bytes:
    return command[0].upper()


def has_odd_bound(command: Command) -> bool:
    """Whether some end of a score range is no plain number: `" 1"`, `(0x10`."""
    return any(re.match(rb"\(?\s|.*[xX]", word) for word in command[2:])


def has_negative_offset(command: Command) -> bool:
    return any(word.upper() == b"LIMIT" and offset.startswith(b"-") for word, offset in zip(command, command[1:]))


def are_same_numbers(ours: Reply, theirs: Reply, digits_min: int) -> bool:
    """Whether the replies differ in nothing but how numbers of `digits_min` digits and more are printed."""
    one, other = (re.split(r"([-+]?\d+\.?\d*(?:e[-+]?\d+)?)", render(reply)) for reply in (ours, theirs))
    return len(one) == len(other) and all(
        mine == right or index % 2 == 1 and float(mine) == float(right)
        and len(re.sub(r"e.*|\D", "", right).strip("0")) >= digits_min
        for index, (mine, right) in enumerate(zip(one, other)))


def sort_words(command: Command) -> set[bytes]:
    """The options of a SORT or SORT_RO, without their values; empty for another command."""
    if name(command) not in (b"SORT", b"SORT_RO"):
        return set()
    found, at = set(), 2
    while at < len(command):
        found.add(command[at].upper())
        at += {b"LIMIT": 3, b"BY": 2, b"GET": 2, b"STORE": 2}.get(command[at].upper(), 1)
    return found


def has_free_ties(command: Command) -> bool:
    """Whether SORT compares strings of other keys for elements that have no order, or for some of them."""
    words = sort_words(command)
    return {b"BY", b"ALPHA"} <= words and (b"LIMIT" in words or command[1] in (b"ss0", b"sz0"))


def is_of_sorted_sets(command: Command) -> bool:
    """Whether it begins with Z, or blocks and does then."""
    return name(command).startswith((b"Z", b"BZ"))


TIMES = (b"idle", b"inactive", b"seen-time", b"active-time")


def untimed(command: Command, reply: Reply, without: tuple[bytes, ...] = ()) -> object:
    """XPENDING's or XINFO's reply without what the clock decides, and without these fields.

    When something was delivered differs between two servers by the milliseconds that the command
    took to reach them. Whether it was at all (-1) does not.
    """
    if reply.kind not in "*%":
        return reply
    parts = list(reply.value) if reply.value is not None else []
    if reply.kind == "%":
        parts = [part for pair in parts for part in pair]
    if len(parts) == 4 and parts[3].kind == ":" and parts[2].kind == ":":
        parts[2] = Reply(":", min(parts[2].value, 0))  # an entry of XPENDING, or of a group in XINFO STREAM FULL
    if len(parts) == 3 and parts[2].kind == parts[1].kind == ":" and b"FULL" in [word.upper() for word in command]:
        parts[1] = Reply(":", min(parts[1].value, 0))  # the same of a consumer
    names = parts[::2]
    if parts and len(parts) % 2 == 0 and all(name.kind in "$+" for name in names) and (
            names[0].value in (b"name", b"length")):
        kept = []
        for name, value in zip(names, parts[1::2]):
            if name.value in without:
                continue
            if name.value in TIMES:
                value = Reply(":", min(value.value, 0))
            kept += [name, value]
        parts = kept
    return [untimed(command, part, without) for part in parts]


class Avoided(NamedTuple):
    oracle: str
    why: str
    matches: Callable[[Command, bool], bool]


FIELD_DEADLINES = frozenset(
    b"HEXPIRE HPEXPIRE HEXPIREAT HPEXPIREAT HTTL HPTTL HEXPIRETIME HPEXPIRETIME HPERSIST HGETEX HSETEX".split())


def is_loose_field_deadline(command: Command) -> bool:
    """Whether Valkey takes this where Redis refuses it."""
    if name(command) not in FIELD_DEADLINES:
        return False
    words = [word.upper() for word in command[2:8]]
    options = words[:words.index(b"FIELDS")] if b"FIELDS" in words else words
    conditions = [word for word in options if word in (b"NX", b"XX", b"GT", b"LT")]
    deadlines = [word for word in options if word in (b"EX", b"PX", b"EXAT", b"PXAT", b"PERSIST", b"KEEPTTL")]
    unit = 1 if name(command).startswith(b"HP") or deadlines[:1] in ([b"PX"], [b"PXAT"]) else 1000
    times = [int(word) for word in options if re.fullmatch(rb"[1-9]\d{9,18}", word)]
    return len(conditions) > 1 or len(deadlines) > 1 or any(time * unit >= 1 << 45 for time in times)


# What is never sent to an oracle, since the two states would part for good afterwards.
AVOIDED = [
    *(Avoided(oracle, "A HELLO with a wrong option changes nothing; Redis has by then applied the options "
              "in front of it.",
              lambda command, in_multi: name(command) == b"HELLO" and (
                  len(command) > 5 or len(command) == 5 and command[2].upper() != b"AUTH"))
      for oracle in ALL),
    *(Avoided(oracle, "A reply of thousands of millions of elements takes the oracle's memory and time.",
              lambda command, in_multi: name(command) in (b"HRANDFIELD", b"SRANDMEMBER") and len(command) > 2
              and re.fullmatch(rb"-\d{4,}", command[2]) is not None
              and command[2] != b"-9223372036854775808")
      for oracle in ALL),
    *(Avoided(oracle, "The count of entries ever added turns negative there.",
              lambda command, in_multi: name(command) == b"XSETID"
              and any(re.fullmatch(rb"92233720368547758\d\d", word) for word in command[3:]))
      for oracle in ALL),
    Avoided("redis7", "XSETID goes below the greatest deleted ID there.",
            lambda command, in_multi: name(command) == b"XSETID"),
    Avoided("redis7", "7.0 aborts a transaction for a ZRANK with WITHSCORE, which it does not know.",
            lambda command, in_multi: in_multi and name(command) in (b"ZRANK", b"ZREVRANK") and len(command) > 3),
    Avoided("redis8", "Redis 8.2 sometimes loses the reply of a failing AUTH inside a pipeline or MULTI.",
            lambda command, in_multi: name(command) == b"AUTH" or b"AUTH" in command),
    *(Avoided(oracle, "LSET takes the low 32 bits of an index there: 4294967295 is the last element.",
              lambda command, in_multi: name(command) == b"LSET" and len(command) == 4
              and re.fullmatch(rb"-?\d{10,}", command[2]) is not None)
      for oracle in ("redis8", "valkey9")),
    Avoided("redis7", "7.0 takes the smallest integer as a count or rank and overflows; later ones refuse it.",
            lambda command, in_multi: name(command) in (b"LREM", b"LPOS") and b"-9223372036854775808" in command),
    *(Avoided(oracle, "Patterns of SORT end at the first zero byte there.",
              lambda command, in_multi: sort_words(command) != set() and any(b"\0" in word for word in command[2:]))
      for oracle in ALL),
    *(Avoided(oracle, "Redis stores nothing when `sort_numbers` makes it fail.",
              lambda command, in_multi: b"STORE" in sort_words(command) and b"ALPHA" not in sort_words(command))
      for oracle in ("redis7", "redis8")),
    *(Avoided(oracle, "Which of several equal weights come first is by chance, as in `sort_equal_weights`.",
              lambda command, in_multi: b"STORE" in sort_words(command) and has_free_ties(command))
      for oracle in ALL),
    Avoided("redis7", "7.0 takes score bounds with leading blanks or hexadecimal digits, and stores or removes.",
            lambda command, in_multi: name(command) in (b"ZRANGESTORE", b"ZREMRANGEBYSCORE")
            and has_odd_bound(command)),
    Avoided("valkey9", "ZRANGESTORE with a negative offset stores what `negative_offset` returns.",
            lambda command, in_multi: name(command) == b"ZRANGESTORE" and has_negative_offset(command)),
    Avoided("valkey9", "Valkey takes two options of a kind for fields' deadlines, and more than 46 bits of time.",
            lambda command, in_multi: is_loose_field_deadline(command)),
    Avoided("valkey9", "Valkey 9 aborts a transaction for a MULTI or WATCH inside it; Redis and Martlet "
            "refuse that command and go on.",
            lambda command, in_multi: in_multi and name(command) in (b"MULTI", b"WATCH")),
]


def is_avoided(oracle: str, command: Command, in_multi: bool) -> bool:
    return any(row.oracle == oracle and row.matches(command, in_multi) for row in AVOIDED)


# The rows


@difference("BITCOUNT and BITPOS read their arguments before they look at the key", "redis7", "valkey9",
            why="7.0 and Valkey answer 0 or -1 for a missing key without a look at the rest; 8 refuses first. "
                "Of two wrong arguments they may name the other.")
def bit_arguments_first(command: Command, ours: Reply, theirs: Reply) -> bool:
    return name(command) in (b"BITCOUNT", b"BITPOS") and ours.is_error and (
        theirs.is_error or theirs.value in (0, -1))


@difference("BITCOUNT needs both ends of a range", "valkey9",
            why="Valkey counts to the end when only a start is given; Redis refuses.")
def bitcount_start_alone(command: Command, ours: Reply, theirs: Reply) -> bool:
    return name(command) == b"BITCOUNT" and len(command) == 3 and ours.is_error


@difference("SCAN refuses a cursor that is not an unsigned integer", "redis7", "valkey9",
            why="7.0 and Valkey take an empty cursor and a negative one; 8 replies `invalid cursor`.")
def scan_cursor(command: Command, ours: Reply, theirs: Reply) -> bool:
    return name(command) == b"SCAN" and ours == Reply("-", b"ERR invalid cursor")


@difference("embstr and raw", "redis8", "valkey9",
            why="8.x and 9.x count the key's size towards the limit of embstr; Martlet keeps 44 bytes.")
def embedded_strings(command: Command, ours: Reply, theirs: Reply) -> bool:
    return name(command) == b"OBJECT" and {ours.value, theirs.value} == {b"embstr", b"raw"}


@difference("a short list is a listpack", "redis7",
            why="7.0 keeps every list as a quicklist and says so; later ones name the form of short lists.")
def short_lists(command: Command, ours: Reply, theirs: Reply) -> bool:
    return name(command) == b"OBJECT" and ours.value == b"listpack" and theirs.value == b"quicklist"


@difference("small sets by their newer names", "redis7",
            why="7.0 knows no listpack of members, and looks at no number of arguments when it makes a set.")
def small_sets(command: Command, ours: Reply, theirs: Reply) -> bool:
    return name(command) == b"OBJECT" and (ours.value, theirs.value) in (
        (b"listpack", b"hashtable"), (b"hashtable", b"intset"))


@difference("OBJECT REFCOUNT of a small integer", "redis7", "redis8", "valkey9",
            why="Some servers share the objects of small integers; Martlet shares no values and says 1.")
def shared_integers(command: Command, ours: Reply, theirs: Reply) -> bool:
    return command[1:2] != [] and command[1].upper() == b"REFCOUNT" and ours.value == 1 and theirs.kind == ":"


@difference("GETEX of a missing key looks at its options' values no further", "valkey9",
            why="Redis replies nil for a missing key before it reads the time; Valkey reads it first.")
def getex_missing(command: Command, ours: Reply, theirs: Reply) -> bool:
    return name(command) == b"GETEX" and ours.is_null and theirs.is_error


@difference("GETEX looks at the key's type before its options' values", "valkey9",
            why="Redis replies WRONGTYPE for a key of another type before it reads the time; Valkey reads it first.")
def getex_of_another_type(command: Command, ours: Reply, theirs: Reply) -> bool:
    return name(command) == b"GETEX" and ours.is_error and ours.value.startswith(b"WRONGTYPE") and theirs.is_error


@difference("A member that is not added makes no skip list", "valkey9",
            why="Valkey changes the form of a sorted set for the longest of ZADD's members, even if XX or an "
                "error keeps it out.")
def refused_long_member(command: Command, ours: Reply, theirs: Reply) -> bool:
    return name(command) == b"OBJECT" and (ours.value, theirs.value) == (b"listpack", b"skiplist")


@difference("COMMAND GETKEYS of a command alone", "redis7",
            why="7.0 wants an argument behind the command; 8 looks at the command first and says what it lacks.")
def keys_of_a_command_alone(command: Command, ours: Reply, theirs: Reply) -> bool:
    return (name(command) == b"COMMAND" and len(command) == 3 and command[1].upper() == b"GETKEYS"
            and ours.is_error and theirs.is_error)


@difference("What is wrong with the arguments of HGETDEL", "valkey9",
            why="Redis names the word or number that is wrong, as Martlet does; Valkey has texts of its own.")
def hgetdel_arguments(command: Command, ours: Reply, theirs: Reply) -> bool:
    return name(command) == b"HGETDEL" and ours.is_error and theirs.is_error


@difference("What is wrong with the arguments of a command on deadlines of fields", "valkey9",
            why="Redis names the word or number that is wrong, as Martlet does; Valkey has texts of its own.")
def field_deadline_arguments(command: Command, ours: Reply, theirs: Reply) -> bool:
    return name(command) in FIELD_DEADLINES and ours.is_error and theirs.is_error


@difference("OBJECT ENCODING of a hash whose fields have deadlines", "valkey9",
            why="Redis has a form of its own for it, and Martlet its name; Valkey makes a table of it.")
def encoding_of_timed_hash(command: Command, ours: Reply, theirs: Reply) -> bool:
    return name(command) == b"OBJECT" and ours.value == b"listpackex" and theirs.value in (b"hashtable", b"listpack")


@difference("Longitudes and latitudes in their shortest form", "redis7", "valkey9",
            why="7.0 and Valkey print up to 17 decimals; 8 and Martlet the fewest that read back as the number.")
def shortest_coordinates(command: Command, ours: Reply, theirs: Reply) -> bool:
    def numbers(reply: Reply) -> list[str | float]:
        parts = re.split(r"(-?\d+\.?\d*(?:e[-+]?\d+)?)", render(reply))
        return [float(part) if index % 2 else part for index, part in enumerate(parts)]
    if not name(command).startswith(b"GEO"):
        return False
    mine, right = numbers(ours), numbers(theirs)
    return len(mine) == len(right) and all(
        one == other or isinstance(one, float) and abs(one - other) < 1e-16 for one, other in zip(mine, right))


@difference("What is wrong with a geospatial search", "valkey9",
            why="Valkey names the member that is missing, and an area that it alone knows, BYPOLYGON.")
def geo_texts(command: Command, ours: Reply, theirs: Reply) -> bool:
    return name(command).startswith(b"GEO") and ours.is_error and theirs.is_error


@difference("LCS of long strings", *ALL,
            why="The table of an LCS may take 256 MB, as any command's memory (reliability: CVE-2021-29477); "
                "the others let it take 512 MB.")
def lcs_table(command: Command, ours: Reply, theirs: Reply) -> bool:
    return name(command) == b"LCS" and ours.is_error and ours.value.startswith(b"ERR Insufficient memory")


@difference("BITCOUNT and BITPOS with two wrong arguments", "redis8",
            why="Redis 8 reads the unit before the end of the range, Martlet as 7.0 in the order written.")
def bit_arguments_in_order(command: Command, ours: Reply, theirs: Reply) -> bool:
    return name(command) in (b"BITCOUNT", b"BITPOS") and ours.is_error and theirs.is_error


@difference("ZRANK and ZREVRANK take WITHSCORE", "redis7",
            why="7.0 takes exactly two arguments and counts before it looks; the option came with 7.2.")
def rank_with_score(command: Command, ours: Reply, theirs: Reply) -> bool:
    return name(command) in (b"ZRANK", b"ZREVRANK") and len(command) > 3 and theirs.is_error


@difference("The sign of a zero score", *ALL,
            why="Redis' listpacks drop it and skip lists keep it; which of the two a stored result is built in "
                "differs by command and version. Martlet drops it where the result is called a listpack.")
def signed_zero(command: Command, ours: Reply, theirs: Reply) -> bool:
    def unsigned(reply: Reply) -> str:
        return re.sub(r"(?<![\w.])-0(?![\w.])", "0", render(reply))
    if not is_of_sorted_sets(command):
        return False
    one, other = unsigned(ours), unsigned(theirs)
    return one == other or name(command) == b"ZRANDMEMBER" and sorted(one) == sorted(other)


@difference("Scores in their shortest form", "redis7",
            why="7.0 prints 17 digits; 7.2 and later, and Martlet, the fewest that read back as the number.")
def shortest_scores(command: Command, ours: Reply, theirs: Reply) -> bool:
    return is_of_sorted_sets(command) and are_same_numbers(ours, theirs, digits_min=1)


@difference("Scores of 16 digits and more, to the nearest", "redis8", "valkey9",
            why="Their Grisu2 at times prints a digit too many or the farther of two numbers; Martlet always "
                "prints the fewest digits, and of those the nearest, 0.2 for 0.25.")
def nearest_scores(command: Command, ours: Reply, theirs: Reply) -> bool:
    if name(command) == b"ZRANDMEMBER" and ours.kind == theirs.kind == "*":
        ours, theirs = (reply._replace(value=tuple(sorted(reply.value, key=render))) for reply in (ours, theirs))
    return is_of_sorted_sets(command) and are_same_numbers(ours, theirs, digits_min=16)


@difference("The ends of a score range are plain numbers", "redis7",
            why="7.0 takes leading blanks and hexadecimal; 8 and 9 refuse them.")
def plain_bounds(command: Command, ours: Reply, theirs: Reply) -> bool:
    return ours == Reply("-", b"ERR min or max is not a float") and has_odd_bound(command)


@difference("A range with a negative offset is empty", "valkey9",
            why="In Redis a LIMIT with a negative offset selects nothing; Valkey's skip lists count it from "
                "the last member.")
def negative_offset(command: Command, ours: Reply, theirs: Reply) -> bool:
    return is_of_sorted_sets(command) and has_negative_offset(command) and ours.value == ()


@difference("What SORT takes for a number", *ALL,
            why="After a number out of range, in whatever command, Redis refuses all for a while. 7.0 takes blanks "
                "and hexadecimal. Valkey refuses the empty string and what is out of range; 8 and Martlet take them "
                "for 0 and infinity.")
def sort_numbers(command: Command, ours: Reply, theirs: Reply) -> bool:
    failure = Reply("-", b"ERR One or more scores can't be converted into double")
    return name(command) in (b"SORT", b"SORT_RO") and b"ALPHA" not in sort_words(command) and failure in (ours, theirs)


@difference("SORT ALPHA looks at all bytes", *ALL,
            why="Without STORE the others compare as the locale says, up to the first zero byte.")
def sort_zero_bytes(command: Command, ours: Reply, theirs: Reply) -> bool:
    return b"ALPHA" in sort_words(command) and ours.kind == theirs.kind == "*" and (
        len(ours.value) == len(theirs.value)) and any(
        b"\0" in part.value for part in (*ours.value, *theirs.value) if part.value is not None)


@difference("SORT BY of equal weights", *ALL,
            why="With Martlet equal strings keep the order they came in; their partial sort mixes them, and members "
                "of sets come in the order of a hash table.")
def sort_equal_weights(command: Command, ours: Reply, theirs: Reply) -> bool:
    if not has_free_ties(command) or not ours.kind == theirs.kind == "*" or len(ours.value) != len(theirs.value):
        return False
    return b"LIMIT" in sort_words(command) or sorted(map(render, ours.value)) == sorted(map(render, theirs.value))


@difference("A sorted set that was sorted is a skip list", *ALL,
            why="SORT, and SORT_RO too, turns a small one into a skip list for good; in Martlet reading changes nothing.")
def sorted_by_sort(command: Command, ours: Reply, theirs: Reply) -> bool:
    return (name(command) == b"OBJECT" and not command[2].startswith(b"z")
            and (ours.value, theirs.value) == (b"listpack", b"skiplist"))


@difference("A timeout beyond what milliseconds hold", "redis7",
            why="7.0 lets it overflow and calls it negative; later ones, and Martlet, out of range.")
def overflowing_timeout(command: Command, ours: Reply, theirs: Reply) -> bool:
    return (ours == Reply("-", b"ERR timeout is out of range")
            and theirs == Reply("-", b"ERR timeout is negative"))


def is_info(command: Command, *subcommands: bytes) -> bool:
    return name(command) == b"XINFO" and len(command) > 1 and command[1].upper() in subcommands


def field(reply: Reply, wanted: bytes) -> int:
    """A number of XINFO STREAM."""
    parts = [part for pair in reply.value for part in pair] if reply.kind == "%" else list(reply.value)
    return next(value.value for name, value in zip(parts[::2], parts[1::2]) if name.value == wanted)


UNLIKE = (b"radix-tree-nodes", b"lag", b"nacked-count", b"idmp-duration", b"idmp-maxsize", b"pids-tracked",
          b"iids-tracked", b"iids-added", b"iids-duplicates")


@difference("texts of XADD and XREAD", "redis7",
            why="7.0 says of an ID that ran over that elements are too large, spells the name of XREAD in capitals, and "
                "has no `+` for the last entry.")
def texts_of_stream_commands(command: Command, ours: Reply, theirs: Reply) -> bool:
    if name(command) == b"XADD":
        return ours.is_error and theirs.is_error and b"too large" in theirs.value
    return name(command) == b"XREAD" and theirs.is_error and (
        b"Unbalanced" in theirs.value or b"+" in command and theirs.value.startswith(b"ERR Invalid stream ID"))


@difference("texts of XREAD", "valkey9",
            why="Valkey does not name `+` among what may stand for an ID.")
def texts_of_stream_commands_valkey(command: Command, ours: Reply, theirs: Reply) -> bool:
    return name(command) == b"XREAD" and theirs.is_error and b"Unbalanced" in theirs.value


@difference("`+` of XREAD is the last entry there is", "valkey9",
            why="Valkey has nothing to say once the entry that was added last was deleted.")
def last_entry(command: Command, ours: Reply, theirs: Reply) -> bool:
    def streams(reply: Reply) -> set[str]:
        return set() if reply.is_null else {str(stream) for stream in reply.value}

    return (name(command) == b"XREAD" and b"+" in command and not ours.is_error and not theirs.is_error
            and streams(theirs) < streams(ours))


@difference("XINFO STREAM tells of producers, and has no radix tree", *ALL,
            why="What streams remember of producers came with 8.6. Blocks are not in a radix tree: "
                "`radix-tree-nodes` is one more than there are.")
def info_of_stream(command: Command, ours: Reply, theirs: Reply) -> bool:
    if not is_info(command, b"STREAM") or ours.is_error or theirs.is_error:
        return False
    newer = UNLIKE + (b"inactive", b"active-time")
    if 0 < field(theirs, b"radix-tree-keys") - field(ours, b"radix-tree-keys"):
        # MINID leaves nodes without entries in the tree when their last entry was deleted before.
        newer += (b"radix-tree-keys",)
    return untimed(command, ours, newer) == untimed(command, theirs, newer)


NEWER_INFO = (*UNLIKE, b"radix-tree-keys")


@difference("How many entries wait for a group is counted", *ALL,
            why="Redis works `lag` out of counters: it is nil, or wrong, once entries between were deleted, the group "
                "was set elsewhere, or ENTRIESREAD said so. Martlet counts the entries behind the group's last one. "
                "XINFO STREAM knows of producers and of entries given back, and of no radix tree.")
def counted_lag(command: Command, ours: Reply, theirs: Reply) -> bool:
    return is_info(command, b"GROUPS", b"STREAM") and (
        untimed(command, ours, NEWER_INFO) == untimed(command, theirs, NEWER_INFO))


def busy(info: object) -> object:
    """XINFO's reply as `untimed` makes it, without consumers that hold nothing and how many there are."""
    if not isinstance(info, list):
        return info
    names = info[::2]
    if names and isinstance(names[0], Reply) and names[0].value == b"name" and len(info) % 2 == 0:
        fields = {name.value: value for name, value in zip(names, info[1::2])}
        fields.pop(b"consumers" if isinstance(fields.get(b"consumers"), Reply) else b"", None)
        held = fields.get(b"pending", fields.get(b"pel-count"))
        if held in (Reply(":", 0), []) and b"last-delivered-id" not in fields:
            return None
        return {name: busy(value) for name, value in fields.items()}
    return [part for part in map(busy, info) if part is not None]


@difference("XINFO knows all consumers, and when each last got something", "redis7",
            why="`inactive` and `active-time` came with 7.2, and 7.0 makes a consumer only when it gets something. "
                "It also counts what was read on from where ENTRIESREAD set it.")
def activity_of_consumers(command: Command, ours: Reply, theirs: Reply) -> bool:
    newer = (*NEWER_INFO, b"inactive", b"active-time", b"entries-read")
    return is_info(command, b"CONSUMERS", b"STREAM", b"GROUPS") and (
        busy(untimed(command, ours, newer)) == busy(untimed(command, theirs, newer)))


@difference("A consumer is made whenever it asks", "redis7",
            why="As in `activity_of_consumers`: whether a later CREATECONSUMER finds it differs.")
def made_consumers(command: Command, ours: Reply, theirs: Reply) -> bool:
    return [word.upper() for word in command[:2]] == [b"XGROUP", b"CREATECONSUMER"] and ours.kind == theirs.kind == ":"


@difference("A group has read no more entries than were added", "valkey9",
            why="8.2 takes what ENTRIESREAD says for no more than that, and Martlet does.")
def bounded_reads(command: Command, ours: Reply, theirs: Reply) -> bool:
    newer = (*NEWER_INFO, b"entries-read")
    return is_info(command, b"GROUPS", b"STREAM") and (
        untimed(command, ours, newer) == untimed(command, theirs, newer))


@difference("How XREADGROUP names what is wrong with its streams", "redis7",
            why="7.0 says XREAD and `$` whatever was called, and knows no `+`.")
def unbalanced_streams(command: Command, ours: Reply, theirs: Reply) -> bool:
    return ours.is_error and theirs.is_error and ours.value.startswith((b"ERR Unbalanced", b"ERR The + ID"))


@difference("What Valkey's scripts say", "valkey9",
            why="It has other words for errors, and leaves out which script or function failed.")
def words_of_scripts(command: Command, ours: Reply, theirs: Reply) -> bool:
    if name(command) not in (b"EVAL", b"EVAL_RO", b"FCALL", b"FCALL_RO"):
        return False
    text = render(ours).replace("This Redis command", "This Valkey command")
    text = text.replace("Unknown Redis command", "Unknown command").replace("calling Redis command", "calling command")
    text = text.replace("for this redis lib call", "for this call")
    return re.sub(r"script: \w+, on @user_", "script: on @user_", text) == render(theirs)


def arranged(messages: list[Reply]) -> dict[tuple, list]:
    """Messages in the order that is promised: that of publishing, for each pattern and for the rest.

    Which of several patterns that match gets its message first depends on hashing; so does the order in
    which UNSUBSCRIBE without a name answers.
    """
    found: dict[tuple, list] = {}
    for message in messages:
        words = [part.value for part in message.value] if isinstance(message.value, tuple) else []
        if words and words[0] == b"pmessage":
            found.setdefault((message.kind, words[1]), []).append(words[2:])
        elif words and words[0] in (b"unsubscribe", b"punsubscribe", b"sunsubscribe"):
            found.setdefault((message.kind, words[0]), []).append((words[1] or b"",))
            found.setdefault((message.kind, b"count"), []).append(words[2])
        else:
            # Redis 7.0 sends one's own message before the reply to PUBLISH.
            found.setdefault((message.kind == ">",), []).append(render(message))
    for key, values in found.items():
        if key[-1] in (b"unsubscribe", b"punsubscribe", b"sunsubscribe"):
            values.sort()
    return found


def are_same_events(oracle: str, ours: list[Reply], theirs: list[Reply]) -> bool:
    """Whether keyspace events differ only in when a key past its deadline was met.

    A key set with a deadline in the past is removed at once here and hidden there, until somebody looks;
    Valkey calls its removal an expiry. Redis 7.0 makes a consumer only when it gets something, so that
    XCLAIM and XGROUP CREATECONSUMER may find none, and XGROUP DELCONSUMER has none to remove; and BITOP and
    others delete a key past its deadline there without a look at it, which later ones call an expiry.
    """
    hidden = {b"expired", b"hexpired"} | {
        "redis7": {b"xgroup-createconsumer", b"xgroup-delconsumer"}, "redis8": set(),
        "valkey9": {b"del", b"hdel", b"set", b"expire", b"hexpire", b"hset"}}[oracle]

    def event(message: Reply) -> bytes | None:
        words = [part.value for part in message.value] if isinstance(message.value, tuple) else []
        if words[:2] != [b"pmessage", b"__key*__:*"]:
            return None
        return words[3] if words[2].startswith(b"__keyspace") else words[2].split(b":", 1)[1]

    def key(message: Reply) -> bytes:
        channel, word = message.value[2].value, message.value[3].value
        return channel.split(b":", 1)[1] if channel.startswith(b"__keyspace") else word

    # The cycle may have told of the expiry before; 8 is held to each `del`.
    touched = {key(message) for message in ours if event(message) not in (None, b"expired")}

    def kept(messages: list[Reply]) -> list[Reply]:
        return [message for message in messages if event(message) not in hidden
                and not (oracle == "redis7" and event(message) == b"del" and key(message) not in touched)]

    def looks(messages: list[Reply]) -> bool:
        return any(b"expire" in (event(message) or b"") or event(message) in hidden | {b"del"}
                   for message in messages)

    return kept(ours) == kept(theirs) and (looks(ours) or looks(theirs))
