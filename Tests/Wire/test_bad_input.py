"""Inputs that broke servers of this kind, one test a row, named by the report.

Each must end in a reply of the right form, with the server alive, another client served within a
quarter of a second, and no memory taken that the input does not justify.
"""

import threading
import time

import pytest

from resp import Closed, encode, render

PING_SECONDS_MAX = 0.25
EXTREMES = [
    "0", "1", "-1", "2", "-2", "7", "8", "63", "64", "65", "127", "128", "255", "256", "-128", "-129",
    "32767", "32768", "65535", "65536", "2147483647", "2147483648", "-2147483648", "-2147483649",
    "4294967295", "4294967296", "536870911", "536870912", "1099511627776", "4611686018427387904",
    "9223372036854775806", "9223372036854775807", "9223372036854775808", "-9223372036854775807",
    "-9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616",
    "99999999999999999999999999",
]


class Witness:
    """A second client that pings all the while; `slowest` is what it had to wait at most."""

    def __init__(self, server, seconds_max: float = PING_SECONDS_MAX):
        self.server = server
        self.seconds_max = seconds_max
        self.slowest = 0.0
        self.over = threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def run(self) -> None:
        with self.server.connect() as client:
            while not self.over.is_set():
                started = time.monotonic()
                client.call("PING")
                self.slowest = max(self.slowest, time.monotonic() - started)
                time.sleep(0.002)

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        assert self.slowest < self.seconds_max, f"another client waited {self.slowest:.3f} s"


@pytest.mark.parametrize("value", [
    "nosuch 0 0 0", "normal", "normal 0 0", "normal 0 0 0 pubsub", "normal -1 0 0", "normal 0 0 x"])
def test_cve_2016_8339_unknown_classes_and_bad_limits_are_refused(client, value):
    assert client.call("CONFIG", "SET", "client-output-buffer-limit", value).is_error
    assert client.call("PING").value == b"PONG"


@pytest.mark.parametrize("line", [b"POST / HTTP/1.1\r\n", b"Host: localhost\r\n", b"post x\r\n", b"hOsT: x\r\n"])
def test_cve_2016_10517_web_requests_are_cut_off_before_their_commands_run(martlet, client, line):
    with martlet.connect() as browser:
        browser.send_raw(line + b"SET stolen 1\r\n" + encode("SET", "stolen", "1"))
        browser.read_until_closed()
    assert client.ok("EXISTS", "stolen") == 0


def test_cve_2021_41099_sizes_are_computed_without_overflow(client):
    for command in (("SETBIT", "k", 2**32, 1), ("SETBIT", "k", 2**63 - 1, 1), ("SETRANGE", "k", 2**63 - 1, "x"),
                    ("SETRANGE", "k", 2**29, "x"), ("SETRANGE", "k", 2**29 - 1, "xx"),
                    ("BITFIELD", "k", "SET", "u8", "#536870912", 1),
                    ("BITFIELD", "k", "GET", "i64", "#288230376151711743")):
        assert client.call(*command).is_error, command
    assert client.ok("EXISTS", "k") == 0
    for size in ("9223372036854775807", "9223372036854775808", "-1", "1023", "x"):
        client.call("CONFIG", "SET", "proto-max-bulk-len", size)
        assert client.call("ECHO", "x" * 100_000).value == b"x" * 100_000
    client.ok("CONFIG", "SET", "proto-max-bulk-len", "536870912")


def test_cve_2021_29477_lcs_of_long_strings_is_refused_or_bounded(martlet, client):
    """n * m * 4 bytes of table: 64 GB here. Refused before anything is allocated."""
    client.ok("SET", "a", b"ab" * 65_000)
    client.ok("SET", "b", b"ba" * 65_000)
    before = martlet.resident_bytes()
    with Witness(martlet):
        assert client.call("LCS", "a", "b").is_error
        assert client.call("LCS", "a", "b", "IDX").is_error
    assert martlet.resident_bytes() - before < 600 << 20


def test_cve_2022_35977_extreme_integers_in_every_numeric_argument(martlet, client):
    before = martlet.resident_bytes()
    small = "small"
    templates = [
        ("SETRANGE", "k", "{}", "x"), ("GETRANGE", small, "{}", "-1"), ("GETRANGE", small, "0", "{}"),
        ("GETRANGE", small, "{}", "{}"), ("SUBSTR", small, "{}", "{}"), ("GETBIT", small, "{}"),
        ("SETBIT", small, "3", "{}"), ("BITCOUNT", small, "{}", "-1"), ("BITCOUNT", small, "0", "{}", "BIT"),
        ("BITCOUNT", small, "{}", "{}", "BIT"), ("BITPOS", small, "{}"), ("BITPOS", small, "1", "{}"),
        ("BITPOS", small, "0", "{}", "{}"), ("BITPOS", small, "0", "{}", "{}", "BIT"),
        ("BITFIELD", small, "GET", "u8", "{}"), ("BITFIELD", small, "GET", "u8", "#{}"), ("BITFIELD", small, "GET", "u{}", "0"),
        ("BITFIELD", small, "GET", "i{}", "0"), ("BITFIELD", small, "SET", "i64", "0", "{}"),
        ("BITFIELD", small, "OVERFLOW", "SAT", "INCRBY", "i64", "0", "{}"),
        ("BITFIELD", small, "OVERFLOW", "FAIL", "INCRBY", "u7", "0", "{}"), ("INCRBY", "n", "{}"), ("DECRBY", "n", "{}"),
        ("INCRBYFLOAT", "f", "{}"), ("EXPIRE", "t", "{}"), ("PEXPIRE", "t", "{}"), ("EXPIREAT", "t", "{}"),
        ("PEXPIREAT", "t", "{}"), ("SET", "t", "v", "EX", "{}"), ("SET", "t", "v", "PX", "{}"),
        ("SET", "t", "v", "EXAT", "{}"), ("SET", "t", "v", "PXAT", "{}"), ("GETEX", "t", "EX", "{}"),
        ("GETEX", "t", "PXAT", "{}"), ("SETEX", "t", "{}", "v"), ("PSETEX", "t", "{}", "v"), ("SCAN", "{}"),
        ("SCAN", "0", "COUNT", "{}"), ("SELECT", "{}"), ("SELECT", "0"), ("MOVE", "t", "{}"), ("COPY", small, "c", "DB", "{}"),
        ("SWAPDB", "{}", "{}"), ("LCS", small, small, "IDX", "MINMATCHLEN", "{}"), ("HELLO", "{}"), ("HELLO", "2"),
        ("CLIENT", "LIST", "ID", "{}"), ("CLIENT", "KILL", "ID", "{}x"), ("OBJECT", "FREQ", "{}"),
        ("SLOWLOG", "GET", "{}"), ("COMMAND", "GETKEYS", "MSETEX", "{}", "k", "v"), ("MSETEX", "{}", "k", "v"),
        ("INCREX", "n", "BYINT", "{}"), ("INCREX", "n", "BYINT", "{}", "UBOUND", "{}", "SATURATE"),
        ("INCREX", "n", "EX", "{}"), ("MEMORY", "USAGE", small, "SAMPLES", "{}"), ("LATENCY", "HISTORY", "{}"),
        ("RM", "{}", "MATCH", "nothing"),
    ]
    client.ok("SET", small, "abcdefgh")
    for template in templates:
        commands = [tuple(part.replace("{}", extreme) for part in template) for extreme in EXTREMES
                    # This one is legal and makes half a gigabyte of zeros.
                    if (template[0], extreme) != ("SETRANGE", "536870911")]
        replies = client.pipeline([*commands, ("DEL", "k", "n", "f", "t", "c")])
        assert len(replies) == len(commands) + 1
    martlet.assert_serves()
    assert martlet.resident_bytes() - before < 200 << 20


@pytest.mark.parametrize("pattern", [
    "a*" * 30 + "b", "*" * 50_000 + "b", "*?" * 20_000, "[a-z]*" * 5_000 + "b", "[" * 50_000, "\\" * 50_001,
    "[^" + "a" * 50_000 + "]*b", "?*" * 20_000 + "z"], ids=lambda pattern: f"{pattern[:6]} x {len(pattern)}")
def test_cve_2022_36021_and_2024_31228_globs_neither_explode_nor_recurse(martlet, client, pattern):
    client.ok("SET", "a" * 100, "v")
    client.ok("SET", "ab" * 5_000, "v")
    with Witness(martlet):
        for command in (("KEYS", pattern), ("SCAN", 0, "MATCH", pattern), ("CONFIG", "GET", pattern),
                        ("COMMAND", "LIST", "FILTERBY", "PATTERN", pattern)):
            started = time.monotonic()
            client.call(*command)
            assert time.monotonic() - started < 2, command[0]


def test_cve_2023_28425_the_same_key_more_than_once_in_one_command(client):
    cases = [
        (("MSETNX", "k", "a", "k", "b"), ":", 1), (("MSET", "k", "a", "k", "b"), "+", b"OK"),
        (("DEL", "k", "k", "k"), ":", 1), (("SETNX", "k", "v"), ":", 1), (("EXISTS", "k", "k"), ":", 2),
        (("TOUCH", "k", "k"), ":", 2), (("RENAME", "k", "k"), "+", b"OK"), (("RENAMENX", "k", "k"), ":", 0),
        (("BITOP", "XOR", "k", "k", "k"), ":", 1), (("BITOP", "NOT", "k", "k"), ":", 1),
        (("BITOP", "AND", "k", "k", "k", "k"), ":", 1), (("UNLINK", "k", "k"), ":", 1),
        (("SET", "k", "v"), "+", b"OK"), (("LCS", "k", "k", "LEN"), ":", 1), (("MGET", "k", "k"), "*", None),
        (("WATCH", "k", "k"), "+", b"OK"),
    ]
    for command, kind, value in cases:
        reply = client.call(*command)
        assert reply.kind == kind and (value is None or reply.value == value), (command, render(reply))
    assert client.call("COPY", "k", "k").is_error
    many = client.call("MGET", *["k"] * 10_000)
    assert len(many.value) == 10_000 and set(many.value) == {many.value[0]}


@pytest.mark.parametrize("command", [
    ("EVAL", "x", "2147483647", "k"), ("EVAL", "x", "-1", "k"), ("EVAL", "x", "9223372036854775807"), ("EVAL",),
    ("MSETEX", "2147483647", "k", "v"), ("MSETEX", "-1", "k", "v"), ("SORT", "k", "STORE"), ("BITOP", "AND"),
    ("MSET", "a"), ("COPY", "a"), ("GET",), ("NOSUCH",), ("COMMAND", "GETKEYS", "GETKEYS"), ("",)])
@pytest.mark.parametrize("sub", ["GETKEYS", "GETKEYSANDFLAGS"])
def test_cve_2023_36824_key_extraction_stays_within_its_arguments(client, sub, command):
    reply = client.call("COMMAND", sub, *command)
    assert reply.is_error or reply.kind == "*"
    assert client.call("PING").value == b"PONG"


def test_cve_2023_41056_a_buffer_that_grew_and_idled_grows_again(client):
    for size in (10, 100_000, 10, 3_000_000, 1, 16_384, 16_383, 16_385, 65_536, 1_000_000):
        value = b"z" * size
        assert client.ok("ECHO", value) == value
        time.sleep(0.02)


def test_cve_2025_21605_strangers_cannot_make_the_server_buffer_replies(new_server):
    server = new_server("--requirepass", "secret")
    before = server.resident_bytes()
    strangers = [server.connect(timeout=1) for _ in range(20)]
    flood = encode("GET", "k") * 20_000
    for stranger in strangers:
        try:
            stranger.send_raw(flood)
        except (OSError, Closed):
            pass
    time.sleep(0.3)
    assert server.resident_bytes() - before < 64 << 20
    for stranger in strangers:
        stranger.close()
    with server.connect() as client:
        assert client.call("AUTH", "secret").value == b"OK"


@pytest.mark.parametrize("cursor", [2**64 - 1, 2**63, 2**63 - 1, 2**48, 12345, 1])
def test_cve_2025_26268_any_cursor_is_legal(client, cursor):
    client.pipeline([("SET", f"k{number}", "v") for number in range(100)])
    for _ in range(1000):
        reply = client.call("SCAN", cursor, "COUNT", 10)
        assert reply.kind == "*" and reply.value[1].kind == "*"
        cursor = reply.value[0].value
        if cursor == b"0":
            return
    pytest.fail("SCAN from a foreign cursor does not end")


def test_cve_2025_48367_a_storm_of_connections_starves_nobody(martlet):
    over = threading.Event()

    def storm() -> None:
        while not over.is_set():
            try:
                with martlet.connect(timeout=2) as client:
                    client.send_raw(b"\x16\x03\x01garbage\r\n*9\r\n$x\r\n")
            except OSError:
                pass

    threads = [threading.Thread(target=storm) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        with martlet.connect() as client:
            deadline = time.monotonic() + 1.5
            while time.monotonic() < deadline:
                started = time.monotonic()
                assert client.call("PING").value == b"PONG"
                assert time.monotonic() - started < PING_SECONDS_MAX
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_cve_2026_27623_empty_requests_before_a_command_change_nothing(martlet):
    data = b"*0\r\n" * 5 + b"\r\n" * 3 + b"*-1\r\n" + encode("ECHO", "still here")
    for cut in range(1, len(data)):
        with martlet.connect() as client:
            client.send_split(data, [cut], pause=0)
            assert client.read().value == b"still here"


def test_cve_2025_46686_arguments_of_a_command_that_will_be_refused_are_not_hoarded(new_server):
    server = new_server("--requirepass", "secret")
    before = server.resident_bytes()
    with server.connect() as stranger:
        stranger.send_raw(b"*10\r\n" + b"$16384\r\n" + b"x" * 16384 + b"\r\n" * 1)
        time.sleep(0.05)
        assert server.resident_bytes() - before < 4 << 20


@pytest.mark.parametrize("name, value", [
    ("proc-title-template", "x\nrequirepass y"), ("requirepass", "a\nb"), ("logfile", "/tmp/x\ny")])
def test_red_167787_control_characters_in_a_value_do_not_become_lines(new_server, name, value):
    with new_server().connect() as client:
        client.call("CONFIG", "SET", name, value)
        assert client.call("PING").value == b"PONG"
        found = client.call("CONFIG", "GET", name)
    assert b"\n" not in b"".join(item.value for item in found.value)


@pytest.mark.parametrize("name, value", [
    ("dir", "/tmp"), ("dbfilename", "authorized_keys"), ("appendfilename", "x"), ("aclfile", "/tmp/x"),
    ("logfile", "/tmp/x"), ("unixsocket", "/tmp/x"), ("dbfilename", "../x"), ("port", "x"), ("nosuch", "1")])
def test_paths_and_unknown_names_cannot_be_set_by_a_client(client, name, value):
    before = client.call("CONFIG", "GET", name)
    assert client.call("CONFIG", "SET", name, value).is_error
    assert client.call("CONFIG", "GET", name) == before


def test_passwords_appear_in_no_listing(new_server):
    server = new_server("--requirepass", "hunter2hunter2")
    with server.connect() as client, server.connect() as watcher:
        for each in (client, watcher):
            each.ok("AUTH", "hunter2hunter2")
        client.ok("CONFIG", "SET", "slowlog-log-slower-than", "0")
        watcher.ok("MONITOR")
        client.call("AUTH", "wrongwrongwrong")
        client.call("AUTH", "default", "hunter2hunter2")
        client.call("HELLO", "2", "AUTH", "default", "hunter2hunter2")
        client.ok("CONFIG", "SET", "requirepass", "hunter3hunter3")
        shown = [render(client.call(*command)) for command in (
            ("SLOWLOG", "GET", "100"), ("CLIENT", "LIST"), ("INFO",), ("CLIENT", "INFO"))]
        client.ok("ECHO", "end of test")
        seen = ""
        while "end of test" not in seen:
            seen += render(watcher.read())
    for text in [*shown, seen, server.log()]:
        for secret in ("hunter2", "hunter3", "wrongwrong"):
            assert secret not in text
