"""Bytes that are not what RESP says. Each case goes to Martlet and to Debian's redis-server: the
replies, and whether the connection is closed afterwards, must be the same; and Martlet must still
serve others. The few places where Martlet is stricter are named in `STRICTER`.
"""

import os
import socket
import struct
import threading
import time

import pytest

from resp import Closed, Connection, Reply, encode, render
from servers import Server

PROBE = b"*2\r\n$4\r\nECHO\r\n$5\r\nalive\r\n"
SET = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"

CASES: dict[str, bytes] = {
    # Multibulk counts
    "empty array": b"*0\r\n",
    "null array": b"*-1\r\n",
    "very negative count": b"*-9223372036854775808\r\n",
    "count over the limit": b"*1048577\r\n",
    "count of 2^31": b"*2147483648\r\n",
    "count of 2^63": b"*9223372036854775808\r\n",
    "count is no number": b"*abc\r\n",
    "count with a space": b"* 1\r\n$4\r\nPING\r\n",
    "count with a plus": b"*+1\r\n$4\r\nPING\r\n",
    "count with a leading zero": b"*01\r\n$4\r\nPING\r\n",
    "count missing": b"*\r\n$4\r\nPING\r\n",
    "count minus zero": b"*-0\r\n",
    "count with a fraction": b"*1.0\r\n$4\r\nPING\r\n",
    "count line too long": b"*" + b"1" * 70000,
    "count line of zeros": b"*" + b"0" * 30 + b"1\r\n$4\r\nPING\r\n",
    # Bulk lengths
    "negative bulk": b"*1\r\n$-1\r\n",
    "very negative bulk": b"*2\r\n$4\r\nECHO\r\n$-9223372036854775808\r\n",
    "bulk over the limit": b"*1\r\n$536870913\r\n",
    "bulk of 2^63": b"*1\r\n$9223372036854775808\r\n",
    "bulk length is no number": b"*1\r\n$abc\r\n",
    "bulk length missing": b"*1\r\n$\r\n",
    "bulk length with a space": b"*1\r\n$ 4\r\nPING\r\n",
    "bulk length with a plus": b"*1\r\n$+4\r\nPING\r\n",
    "bulk length with a leading zero": b"*1\r\n$04\r\nPING\r\n",
    "bulk line too long": b"*1\r\n$" + b"1" * 70000,
    "no dollar": b"*1\r\nPING\r\n",
    "integer instead of a bulk": b"*1\r\n:4\r\n",
    "simple string instead of a bulk": b"*1\r\n+PING\r\n",
    "nested array": b"*1\r\n*1\r\n$4\r\nPING\r\n",
    "second bulk wrong": b"*2\r\n$4\r\nECHO\r\n!3\r\nabc\r\n",
    "empty bulk as a command": b"*1\r\n$0\r\n\r\n",
    "empty bulk as an argument": b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
    # Empty requests before a command
    "blank lines": b"\r\n\r\n\r\n",
    "bare line feeds": b"\n\n\n",
    "empty arrays": b"*0\r\n" * 50,
    "null arrays": b"*-1\r\n" * 50,
    "mixed empty requests": b"*0\r\n\r\n*-1\r\n\n",
    # Inline commands
    "inline": b"PING\r\n",
    "inline with a bare line feed": b"PING\n",
    "inline with arguments": b"SET k v\r\nGET k\r\n",
    "inline with many spaces": b"   ECHO    hi   \r\n",
    "inline with tabs": b"ECHO\thi\r\n",
    "inline, double quotes": b'ECHO "a b\\n\\x41\\"\\\\"\r\n',
    "inline, single quotes": b"ECHO 'a \\' \\n b'\r\n",
    "inline, empty quotes": b"ECHO \"\"\r\n",
    "inline, quotes inside a word": b'ECHO a"b"c\r\n',
    "inline, unbalanced double quote": b'ECHO "abc\r\n',
    "inline, unbalanced single quote": b"ECHO 'abc\r\n",
    "inline, text after a closing quote": b'ECHO "a"b\r\n',
    "inline, escape at the end": b'ECHO "a\\\r\n',
    "inline, hex escape cut short": b'ECHO "\\x4"\r\n',
    "inline, binary": b"ECHO \xff\xfe\r\n",
    "inline, carriage return inside": b"ECHO a\rb\r\n",
    "inline, dollar first": b"$4\r\nPING\r\n",
    "inline, plus first": b"+PING\r\n",
    "inline, unknown": b"NOSUCH a b\r\n",
    "inline of 64 KB and no end": b"a" * 65600,
    "inline of 64 KB that ends": b"ECHO " + b"a" * 65000 + b"\r\n",
    "inline, RESP3 type bytes": b"%1\r\n",
    # Pipelines around an error
    "good before bad": SET + b"*1\r\n$x\r\n",
    "bad before good": b"*1\r\n$x\r\n" + SET,
    "good before bad count": SET * 3 + b"*x\r\n" + SET,
    "good before unbalanced quotes": SET + b'"\r\n' + SET,
    "half a command": b"*2\r\n$4\r\nECHO\r\n",
    "inside MULTI": b"*1\r\n$5\r\nMULTI\r\n" + SET + b"*1\r\n$-5\r\n",
    # Cross-protocol requests
    "POST": b"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET k v\r\n",
    "Host:": b"Host: localhost\r\nSET k v\r\n",
    "post as an array": b"*1\r\n$4\r\nPOST\r\n",
    "host: in lower case": b"host: x\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
}

# Where Martlet refuses at once what Redis 7.0 lets pass or waits on: framing is strict about CRLF, and
# a NUL ends no search for the end of a line.
STRICTER: dict[str, bytes] = {
    "NUL instead of a dollar": b"*1\r\n\x004\r\nPING\r\n",
    "TLS hello": bytes.fromhex("16030100a5010000a10303") + bytes(range(64)),
    "bulk without CRLF": b"*2\r\n$4\r\nECHO\r\n$2\r\nabXY",
    "bulk longer than it says": b"*1\r\n$4\r\nPINGPING\r\n",
    "count line with a bare line feed": b"*1\n$4\r\nPING\r\n",
    "bulk line with a stray CR": b"*1\r\n$4\rXPING\r\n",
}


def exchange(server: Server, data: bytes, cut: bool = False) -> tuple[list[str], bool]:
    """Sends `data` and then a probe. Returns the replies, and whether the connection was closed."""
    with server.connect(timeout=3) as client:
        replies: list[Reply] = []
        try:
            if cut:
                client.send_split(data, range(1, len(data)), pause=0)
            else:
                client.send_raw(data)
            client.is_silent(0.02)
            client.send_raw(PROBE)
            client.socket.settimeout(0.25)
            while True:
                reply = client.read()
                replies.append(reply)
                if reply.value == b"alive":
                    return list(map(render, replies)), False
        except TimeoutError:
            return list(map(render, replies)), False
        except (Closed, ConnectionError):
            return list(map(render, replies)), True


@pytest.mark.parametrize("name", CASES)
def test_malformed_bytes_get_the_reply_and_the_fate_redis_gives(martlet, redis7, name):
    for server in (martlet, redis7):
        with server.connect() as cleaner:
            cleaner.ok("FLUSHALL")
    assert exchange(martlet, CASES[name]) == exchange(redis7, CASES[name])


def test_a_web_request_that_begins_with_get_is_cut_off_at_its_host_line(martlet):
    """Redis drops the reply to the GET line with the connection; Martlet may still send it."""
    replies, closed = exchange(martlet, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert closed and replies in ([], ["(error) ERR wrong number of arguments for 'get' command"])


@pytest.mark.parametrize("name", STRICTER)
def test_where_martlet_is_stricter_it_says_so_and_closes(martlet, name):
    replies, closed = exchange(martlet, STRICTER[name])
    assert closed and replies and "ERR Protocol error" in replies[-1], replies


@pytest.mark.parametrize("name", [name for name, data in CASES.items() if len(data) < 120])
def test_malformed_bytes_one_at_a_time_get_the_same_reply(martlet, name):
    whole, cut = exchange(martlet, CASES[name]), exchange(martlet, CASES[name], cut=True)
    # After a close the client may be reset before it has read everything.
    assert cut == whole or (cut[1] and whole[1] and cut[0] == whole[0][: len(cut[0])])


PIPELINES = {
    "plain": b"".join(encode(*command) for command in (
        ("FLUSHDB",), ("SET", "k", "value"), ("GET", "k"), ("INCRBY", "n", "-7"), ("MGET", "k", "x"),
        ("ECHO", b"\r\n$3\r\n"), ("SET", "", ""), ("GET", ""))),
    "transaction": b"".join(encode(*command) for command in (
        ("WATCH", "k"), ("MULTI",), ("SET", "k", "1"), ("NOSUCH",), ("EXEC",), ("PING",))),
    "inline and arrays": b"PING\r\n" + encode("ECHO", "a") + b'ECHO "b c"\n' + b"*0\r\n\r\n" + encode("PING"),
    "protocol switch": encode("HELLO", "3") + encode("GET", "missing") + encode("HELLO", "2")
                       + encode("GET", "missing"),
    "errors": encode("GET") + encode("SET", "k", "v", "EX", "x") + encode("BITOP", "x", "y", "z"),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_cut_at_any_byte_gets_the_same_replies(martlet, name):
    data = PIPELINES[name]

    def replies(cuts: list[int]) -> list[str]:
        with martlet.connect() as client:
            client.send_split(data + PROBE, cuts, pause=0.0001)
            got = []
            while not got or got[-1] != '"alive"':
                reply = client.read()
                got.append("HELLO" if b"proto" in str(reply).encode() else render(reply))
            return got

    whole = replies([])
    for cut in range(1, len(data)):
        assert replies([cut]) == whole, f"cut before byte {cut}"
    assert replies(list(range(1, len(data)))) == whole, "every byte alone"


def test_before_authentication_only_small_requests_are_read(new_server):
    """CVE-2021-32675 and CVE-2025-21605: strangers get 10 arguments of 16 KB and a small buffer."""
    server = new_server("--requirepass", "secret")
    # The texts of 8.2, which names <proto> in the advice to use HELLO.
    oracle = new_server("--requirepass", "secret", name="redis8")
    for data in (b"*11\r\n", b"*1000000\r\n", b"*2\r\n$4\r\nECHO\r\n$16385\r\n", b"*1\r\n$1000000\r\n",
                 encode("GET", "k"), encode("AUTH", "wrong"), encode("AUTH", "default", "wrong"),
                 encode("HELLO", "3"), encode("HELLO", "3", "AUTH", "default", "wrong"), encode("NOSUCH"),
                 encode("GET"), encode("MULTI"), encode("PING"), encode("RESET"), encode("QUIT"),
                 b"*10\r\n" + b"$1\r\na\r\n" * 10, b"PING\r\n", b"*0\r\n", encode("COMMAND"),
                 encode("AUTH", "secret") + encode("SET", "k", "v") + encode("GET", "k"),
                 encode("AUTH", "secret") + b"*11\r\n" + b"$1\r\na\r\n" * 11):
        assert exchange(server, data) == exchange(oracle, data), data[:60]
    with server.connect() as client:
        assert client.call("HELLO", 3, "AUTH", "default", "secret").kind == "%"
        assert client.call("SET", "k", "v").value == b"OK"
    # Many strangers that announce much hold little.
    before = server.resident_bytes()
    strangers = [server.connect() for _ in range(200)]
    for stranger in strangers:
        stranger.send_raw(b"*10\r\n" + b"$16384\r\n" + b"x" * 10_000)
    time.sleep(0.2)
    assert server.resident_bytes() - before < 64 << 20
    for stranger in strangers:
        stranger.close()
    with server.connect() as client:
        assert client.call("AUTH", "secret").value == b"OK"


def test_a_claimed_length_allocates_nothing(martlet):
    before = martlet.resident_bytes()
    claims = [martlet.connect() for _ in range(50)]
    for number, claim in enumerate(claims):
        claim.send_raw(b"*1000000\r\n" if number % 2 else b"*2\r\n$4\r\nECHO\r\n$500000000\r\nx")
    time.sleep(0.2)
    martlet.assert_serves()
    assert martlet.resident_bytes() - before < 50 << 20
    for claim in claims:
        claim.close()


def test_slow_clients_hinder_nobody(martlet):
    """Slowloris: many clients in the middle of a request that never ends."""
    slow = [martlet.connect() for _ in range(200)]
    for number, client in enumerate(slow):
        client.send_raw(SET[: 1 + number % (len(SET) - 1)])
    started = time.monotonic()
    with martlet.connect() as client:
        for _ in range(100):
            assert client.call("PING").value == b"PONG"
    assert time.monotonic() - started < 1
    for number, client in enumerate(slow):
        client.send_raw(SET[1 + number % (len(SET) - 1):])
    for client in slow:
        assert client.read().value == b"OK"
        client.close()


def test_replies_arrive_after_the_client_closed_its_sending_side(martlet, redis7):
    for server in (martlet, redis7):
        with server.connect() as client:
            client.send_raw(encode("SET", "k", "v") * 100 + encode("GET", "k"))
            client.socket.shutdown(socket.SHUT_WR)
            replies = client.read_until_closed()
            # Redis may notice the end first and drop what it has not written; nobody may hang.
            assert len(replies) <= 101 and all(not reply.is_error for reply in replies)
    martlet.assert_serves()


def test_connections_reset_in_the_middle_leave_the_server_well(martlet):
    for number in range(300):
        client = martlet.connect()
        client.send_raw((SET * 50)[: 100 + number * 5])
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    martlet.assert_serves()


def test_quit_answers_what_came_before_and_ignores_what_comes_after(martlet, redis7):
    for server in (martlet, redis7):
        with server.connect() as client:
            client.ok("SET", "k", "before")
            client.send_raw(encode("GET", "k") + encode("QUIT") + encode("SET", "k", "after"))
            assert [render(reply) for reply in client.read_until_closed()] == ['"before"', "OK"]
        with server.connect() as client:
            assert client.ok("GET", "k") == b"before"


def test_a_client_that_does_not_read_is_closed_at_the_output_limit(new_server):
    server = new_server("--client-output-buffer-limit", "normal", "4mb", "2mb", "1")
    with server.connect(timeout=10) as filler, server.connect(timeout=10) as client:
        filler.ok("SET", "big", b"x" * 500_000)
        before = server.resident_bytes()
        try:
            client.send_raw(encode("GET", "big") * 2000)
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                client.send_raw(encode("PING"))
                time.sleep(0.05)
            pytest.fail("a client that reads nothing was kept beyond its limit")
        except (ConnectionError, TimeoutError):
            pass
        server.assert_serves()
        assert server.resident_bytes() - before < 200 << 20


def test_a_client_that_reads_late_gets_every_byte(martlet):
    """Large replies to a reader that pauses: nothing lost, nothing doubled, others served."""
    with martlet.connect() as client, martlet.connect() as other:
        values = [bytes([65 + number]) * 300_000 for number in range(20)]
        for number, value in enumerate(values):
            client.ok("SET", f"v{number}", value)
        client.send_raw(b"".join(encode("GET", f"v{number}") for number in range(20)) * 3)
        time.sleep(0.2)
        started = time.monotonic()
        assert other.call("PING").value == b"PONG"
        assert time.monotonic() - started < 0.25
        for _ in range(3):
            for value in values:
                assert client.read() == Reply("$", value)


def test_a_pipeline_of_300_000_commands_is_answered_in_order(martlet):
    count = 300_000
    with martlet.connect(timeout=60) as client:
        client.ok("FLUSHALL")
        data = encode("INCR", "n") * count
        sender = threading.Thread(target=client.send_raw, args=(data,))
        sender.start()
        for number in range(1, count + 1):
            assert client.read() == Reply(":", number)
        sender.join()


def test_a_large_value_goes_in_and_out_in_one_piece(martlet):
    value = os.urandom(1 << 20) * 16
    with martlet.connect(timeout=60) as client:
        assert client.call("SET", "big", value).value == b"OK"
        assert client.call("GET", "big") == Reply("$", value)
        assert client.ok("STRLEN", "big") == len(value)
        assert client.call("GETRANGE", "big", -5, -1).value == value[-5:]
        client.ok("DEL", "big")


def test_ten_thousand_idle_connections_leave_the_server_quick(new_server):
    """As many as the descriptor limit allows; both ends live on this machine."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(10_000, hard - 500)
    if count < 1000:
        pytest.skip(f"the descriptor limit is {hard}")
    server = new_server("--maxclients", "11000")
    before = server.resident_bytes()
    idle = [socket.create_connection(server.address) for _ in range(count)]
    try:
        with server.connect() as client:
            started = time.monotonic()
            for _ in range(200):
                assert client.call("PING").value == b"PONG"
            assert time.monotonic() - started < 1
        each = (server.resident_bytes() - before) / count
        print(f"{count} idle connections: {each:.0f} bytes each")
        assert each < 20_000
    finally:
        for connection in idle:
            connection.close()
    server.assert_serves()


def test_a_client_over_the_limit_is_refused_with_words(new_server):
    server = new_server("--maxclients", "10")
    clients = [server.connect() for _ in range(10)]
    for client in clients:
        assert client.call("PING").value == b"PONG"
    with Connection(server.address) as refused:
        replies = refused.read_until_closed()
        assert [render(reply) for reply in replies] == ["(error) ERR max number of clients reached"]
    for client in clients:
        client.close()
    time.sleep(0.1)
    server.assert_serves()
