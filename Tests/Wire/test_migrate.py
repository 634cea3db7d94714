"""MIGRATE between Martlet and real servers, and to targets that hang, break off or talk nonsense.

A transfer is one step: whoever asks for the key meanwhile waits, and finds it gone or untouched. It is
deleted only after the target has acknowledged it.
"""

from __future__ import annotations

import socket
import threading
import time

import pytest

from resp import Connection, encode
from test_value_transfer import ask, fill, fill_timed, read_out

HOST = "127.0.0.1"


class Target:
    """A listener whose connections are served by a function, one after the other."""

    def __init__(self, serve, family: int = socket.AF_INET, host: str = HOST):
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.bind((host, 0))
        self.listener.listen()
        self.port = self.listener.getsockname()[1]
        self.serve = serve
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with peer:
                peer.settimeout(20)
                try:
                    self.serve(peer)
                except OSError:
                    pass

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def receive(peer: socket.socket, count: int) -> bytes:
    """What comes until so many RESTOREs, or SELECTs, are there."""
    data = b""
    while data.count(b"RESTORE") + data.count(b"SELECT") < count:
        part = peer.recv(1 << 16)
        if not part:
            raise OSError("closed")
        data += part
    return data


def answering(*replies: bytes, then=None):
    """A target that takes SELECT and one key for each reply; the replies come together."""

    def serve(peer: socket.socket) -> None:
        receive(peer, 1)
        peer.sendall(b"+OK\r\n")
        receive(peer, 1)
        peer.sendall(b"".join(replies))
        if then:
            then(peer)
        else:
            peer.recv(1)

    return serve


def migrate(client: Connection, port: int, key: str = "k", *options, timeout: int = 5000):
    return str(client.call("MIGRATE", HOST, port, key, 0, timeout, *options))


@pytest.mark.parametrize("way", ["redis7", "redis8", "martlet"])
def test_every_type_goes_over_and_back(way, new_server):
    with new_server() as ours, new_server(name=way) as theirs, new_server() as copy, \
            ours.connect() as source, theirs.connect() as target, copy.connect() as model:
        fill(source)
        timed = way != "redis7"
        if timed:
            fill_timed(source)
        for key in ask(source, "KEYS", "*"):
            assert str(model.call("RESTORE", key, 0, source.ok("DUMP", key))) == "OK"
        keys = ask(source, "KEYS", "*")
        # One at a time, the others together; then back by the other server's MIGRATE.
        for key in keys[:3]:
            assert migrate(source, theirs.port, key) == "OK"
        assert migrate(source, theirs.port, "", "KEYS", *keys[3:]) == "OK"
        assert ask(source, "DBSIZE") == 0
        assert sorted(ask(target, "KEYS", "*")) == sorted(keys)
        for key in keys:
            assert read_out(target, key, timed) == read_out(model, key, timed), key
        assert migrate(target, ours.port, "", "KEYS", *keys) == "OK"
        assert ask(target, "DBSIZE") == 0
        for key in keys:
            assert read_out(source, key, timed) == read_out(model, key, timed), key


@pytest.mark.parametrize("oracle", ["redis7", "redis8"])
def test_replies_are_those_of_redis(oracle, new_server):
    """The same requests to both, each with a target of its own."""
    names = ("martlet", oracle)
    targets = [new_server("--requirepass", "secret", name=oracle) for _ in names]
    open_targets = [new_server(name=oracle) for _ in names]
    seen = []
    for name, target, free in zip(names, targets, open_targets):
        with new_server(name=name).connect() as client, target.connect() as behind:
            behind.ok("AUTH", "secret")
            replies = []
            for request in [
                [0, "", 0, 100, "KEYS"], [0, "x", 0, 100, "KEYS", "a"], [0, "a", 0, 100, "other"],
                [0, "a", "x", 100], [0, "a", 0, "y"], [0, "none", 0, -1], [0, "a"],
                [0, "a", 0, 100, "AUTH"], [0, "a", 0, 100, "AUTH2", "x"],
                [0, "none", "9" * 20, 100], [0, "none", 99, 100], [1, "a", 0, 100],
                [1, "a", 0, 100, "COPY", "COPY", "REPLACE", "AUTH", "x"],
                [target.port, "a", 0, 1000], [target.port, "a", 0, 1000, "AUTH", "wrong"],
                [target.port, "a", 0, 1000, "AUTH2", "none", "wrong"],
                [target.port, "a", 0, 1000, "COPY", "AUTH", "secret"],
                [target.port, "a", 0, 1000, "COPY", "AUTH2", "default", "secret"],
                [target.port, "a", 0, 1000, "AUTH", "secret"],
                [target.port, "a", 99, 1000, "AUTH", "secret", "REPLACE"],
                [target.port, "a", -2, 1000, "AUTH", "secret", "REPLACE"],
                [target.port, "a", 3, 1000, "AUTH", "secret", "replace"],
                [target.port, "", 3, 1000, "AUTH", "secret", "KEYS", "none", "b", "none"],
                [target.port, "", 3, 1000, "AUTH", "secret", "KEYS", "c", "b", "d"],
                [free.port, "e", 0, 0], [free.port, "f", 5, -9],
                [free.port, "", 0, 1000, "KEYS", "g", "g"],
            ]:
                for key in "abcdefg":
                    client.ok("SET", key, "1")
                client.ok("PEXPIRE", "f", 100000)
                replies.append((request[1:], str(client.call("MIGRATE", HOST, *request))))
                replies.append(sorted(ask(client, "KEYS", "*")))
            replies.append(str(client.call("MIGRATE", "no-such-host.invalid", 1, "a", 0, 500)))
            replies.append(str(client.call("MIGRATE", HOST, "x7", "a", 0, 500)))
            for request in [
                ["h", 1, "", 0, 1, "KEYS", "a", "b"], ["h", 1, "x", 0, 1, "KEYS", "a"],
                ["h", 1, "x", 0, 1, "AUTH", "keys"], ["h", 1, "", 0, 1, "AUTH", "keys", "KEYS", "a"],
                ["h", 1, "x", 0, 1, "COPY"],
            ]:
                replies.append(str(client.call("COMMAND", "GETKEYS", "MIGRATE", *request)))
            client.ok("CONFIG", "SET", "slowlog-log-slower-than", 0)
            client.call("MIGRATE", HOST, 1, "a", 0, 100, "AUTH2", "user", "password")
            replies.append(ask(client, "SLOWLOG", "GET", 1)[0][3])
            with free.connect() as other:
                replies.append(sorted(ask(other, "KEYS", "*")))
                other.ok("SELECT", 5)
                assert 90000 < ask(other, "PTTL", "f") <= 100000
            seen.append(replies)
    assert seen[0] == seen[1]


def test_command_info_is_that_of_redis(client, redis8):
    with redis8.connect() as theirs:
        ours = ask(client, "COMMAND", "INFO", "MIGRATE")[0]
        other = ask(theirs, "COMMAND", "INFO", "MIGRATE")[0]
    # Not inside of MULTI: protocol.md says why.
    assert b"no_multi" in ours[2] and set(ours[2]) - {b"no_multi"} == set(other[2])
    assert [sorted(map(str, part)) if isinstance(part, list) else part for part in ours[3:7]] == \
        [sorted(map(str, part)) if isinstance(part, list) else part for part in other[3:7]]
    assert str(ours[8]) == str(other[8])


def test_a_moved_key_is_deleted_for_all(new_server):
    """In the log, for WATCH, and for those who are notified; COPY leaves all of that."""
    server = new_server("--appendonly", "yes", "--appendfsync", "always")
    target = new_server()
    with server.connect() as client, server.connect() as listener, server.connect() as watcher:
        client.ok("CONFIG", "SET", "notify-keyspace-events", "KEA")
        client.ok("MSET", "k", 1, "l", 2, "m", 3, "kept", 4)
        listener.ok("SUBSCRIBE", "__keyevent@0__:del")
        watcher.ok("WATCH", "k")
        watcher.ok("MULTI")
        watcher.ok("PING")
        assert migrate(client, target.port, "k", "COPY") == "OK"
        assert listener.is_silent(0.05)
        assert migrate(client, target.port, "", "REPLACE", "KEYS", "k", "l", "m") == "OK"
        assert watcher.call("EXEC").is_null
        events = [str(listener.read()) for _ in range(3)]
        assert [event.split(", ")[2] for event in events] == ['"k"]', '"l"]', '"m"]']
        server.restart()
    with server.connect() as client, target.connect() as other:
        assert ask(client, "KEYS", "*") == [b"kept"]
        assert sorted(ask(other, "KEYS", "*")) == [b"k", b"l", b"m"]


def readable(client: Connection) -> list[str]:
    """Which of forty keys can be read while another one is on its way."""
    free = []
    for number in range(40):
        with Connection(client.socket.getpeername(), timeout=0.2) as probe:
            probe.send("GET", f"other{number}")
            if not probe.is_silent(0.03):
                free.append(f"other{number}")
    return free


class HeldBack:
    """What serves a target whose RESTORE is answered when it is released."""

    def __init__(self, reply: bytes = b"+OK\r\n"):
        self.reply = reply
        self.released = threading.Event()

    def __call__(self, peer: socket.socket) -> None:
        receive(peer, 1)
        peer.sendall(b"+OK\r\n")
        receive(peer, 1)
        self.released.wait(10)
        peer.sendall(self.reply)


@pytest.mark.parametrize("reply", [b"+OK\r\n", b"-BUSYKEY Target key name already exists.\r\n"])
def test_nobody_touches_a_key_on_its_way(reply, new_server):
    server = new_server()
    serve = HeldBack(reply)

    with Target(serve) as target, server.connect() as client, server.connect() as writer, \
            server.connect() as reader, server.connect() as flusher, server.connect() as second:
        client.ok("SET", "k", "old")
        client.send("MIGRATE", HOST, target.port, "k", 0, 10000)
        assert client.is_silent(0.1)
        writer.send("APPEND", "k", "-new")
        second.send("MIGRATE", HOST, target.port, "k", 0, 10000)
        flusher.send("DBSIZE")
        reader.send("STRLEN", "k")
        assert writer.is_silent(0.1) and reader.is_silent(0.02) and flusher.is_silent(0.02)
        # Most other keys can be had, and the server serves.
        assert len(readable(writer)) > 30
        serve.released.set()
        moved = reply.startswith(b"+")
        answer = str(client.read())
        assert answer == ("OK" if moved else "(error) ERR Target instance replied with error: "
                          "BUSYKEY Target key name already exists.")
        assert writer.read().value == (4 if moved else 7)
        assert reader.read().value in (0, 3, 4, 7)
        assert flusher.read().value in (0, 1)
        assert str(second.read()) in (answer, "NOKEY")
        assert str(client.call("PING")) == "PONG"


def hang(peer: socket.socket) -> None:
    time.sleep(1)


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


TROUBLES = {
    "hangs at once": (hang, "reading"),
    "closes at once": (lambda peer: None, "(reading|writing)"),
    "resets at once": (reset, "(reading|writing)"),
    "hangs in the middle": (answering(then=hang), "reading"),
    "closes in the middle": (answering(then=lambda peer: None), "reading"),
    "resets in the middle": (answering(then=reset), "reading"),
    "talks nonsense": (answering(b"hello\r\n"), "reading"),
    "answers another question": (answering(b":1\r\n"), "reading"),
    "answers with a bulk": (answering(b"$2\r\nOK\r\n"), "reading"),
    "says OK in its own way": (answering(b"+OKAY\r\n"), "reading"),
    "says nothing": (answering(b"\r\n"), "reading"),
    "never ends its line": (answering(b"-" + b"x" * 5000), "reading"),
    "sends zeros": (answering(bytes(100000)), "reading"),
    "begins with nonsense": (lambda peer: peer.sendall(b"SSH-2.0-OpenSSH\r\n"), "reading"),
    "drips": (answering(then=lambda peer: [
        (peer.sendall(b"+"), time.sleep(0.05)) for _ in range(20)]), "reading"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_key_stays_when_the_target_fails(trouble, client):
    serve, stage = TROUBLES[trouble]
    with Target(serve) as target:
        client.ok("SET", "k", "v")
        began = time.monotonic()
        reply = migrate(client, target.port, timeout=300)
        took = time.monotonic() - began
        texts = [f"(error) IOERR error or timeout {word} to target instance"
                 for word in stage.strip("()").split("|")]
        assert reply in texts
        assert took < 3
        assert ask(client, "GET", "k") == b"v"


def test_only_what_was_acknowledged_is_deleted(client):
    def serve(peer: socket.socket) -> None:
        receive(peer, 1)
        peer.sendall(b"+OK\r\n")
        receive(peer, 4)
        peer.sendall(b"+OK\r\n-BUSYKEY x\r\n+OK\r\n")

    client.ok("MSET", "a", 1, "b", 2, "c", 3, "d", 4)
    with Target(serve) as target:
        assert migrate(client, target.port, "", "KEYS", "a", "b", "c", "d") == \
            "(error) ERR Target instance replied with error: BUSYKEY x"
    assert sorted(ask(client, "KEYS", "*")) == [b"b", b"d"]


def test_an_error_of_select_restores_nothing(client):
    got = []

    def serve(peer: socket.socket) -> None:
        got.append(receive(peer, 1))
        peer.sendall(b"-ERR DB index is out of range\r\n")
        got.append(peer.recv(1000))

    client.ok("SET", "k", 1)
    with Target(serve) as target:
        assert migrate(client, target.port) == \
            "(error) ERR Target instance replied with error: ERR DB index is out of range"
        target.thread.join(0.1)
    assert got == [b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n", b""]
    assert ask(client, "EXISTS", "k") == 1


@pytest.mark.parametrize("end", ["closes", "is killed", "is unblocked"])
def test_a_transfer_outlives_its_client(end, new_server):
    server = new_server()
    serve = HeldBack()

    with Target(serve) as target, server.connect() as client, server.connect() as other:
        number = client.ok("CLIENT", "ID")
        client.ok("SET", "k", "v")
        client.send("MIGRATE", HOST, target.port, "k", 0, 10000)
        assert client.is_silent(0.1)
        if end == "closes":
            client.close()
        elif end == "is killed":
            assert other.ok("CLIENT", "KILL", "ID", number) == 1
        else:
            assert other.ok("CLIENT", "UNBLOCK", number) == 0
            assert other.ok("CLIENT", "UNBLOCK", number, "ERROR") == 0
        other.send("EXISTS", "k")
        assert other.is_silent(0.1)
        serve.released.set()
        assert other.read().value == 0
        if end == "is unblocked":
            assert str(client.read()) == "OK"
        server.assert_serves()


def test_it_waits_for_nobody_in_a_transaction(client):
    client.ok("SET", "k", 1)
    client.ok("MULTI")
    assert migrate(client, 1) == "(error) ERR Command not allowed inside a transaction"
    assert str(client.call("EXEC")).startswith("(error) EXECABORT")


def test_migrations_take_turns(new_server):
    """Many clients with keys of their own, and writers on them: all arrive, none twice or torn."""
    server, target = new_server(), new_server()
    with server.connect() as client, target.connect() as behind:
        for number in range(60):
            client.ok("RPUSH", f"list{number}", *range(number + 1))
        clients = [server.connect() for _ in range(20)]
        for number, each in enumerate(clients):
            data = b"".join(
                encode("MIGRATE", HOST, target.port, f"list{number + 20 * turn}", 0, 10000)
                + encode("RPUSH", f"mark{number + 20 * turn}", 1) for turn in range(3))
            each.send_raw(data)
        for each in clients:
            assert [str(reply) for reply in each.read_many(6)] == ["OK", "(integer) 1"] * 3
            each.close()
        assert ask(client, "DBSIZE") == 60
        for number in range(60):
            assert ask(behind, "LLEN", f"list{number}") == number + 1


def test_large_values_and_many_keys(new_server):
    server, target = new_server(), new_server(name="redis7")
    with server.connect() as client, target.connect() as behind:
        client.ok("SET", "large", b"x" * 20_000_000)
        assert migrate(client, target.port, "large", timeout=20000) == "OK"
        assert ask(behind, "STRLEN", "large") == 20_000_000
        keys = [f"key{number}" for number in range(20_000)]
        client.pipeline([("SET", key, key) for key in keys])
        assert migrate(client, target.port, "", "KEYS", *keys, timeout=20000) == "OK"
        assert ask(client, "DBSIZE") == 0
        assert ask(behind, "DBSIZE") == 20_001


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_addresses_and_names(host, client):
    family = socket.AF_INET6 if host == "::1" else socket.AF_INET
    try:
        target = Target(answering(b"+OK\r\n"), family, "::1" if host == "::1" else HOST)
    except OSError:
        pytest.skip("no IPv6 here")
    with target:
        client.ok("SET", "k", 1)
        assert str(client.call("MIGRATE", host, target.port, "k", 0, 5000)) == "OK"
        assert ask(client, "EXISTS", "k") == 0


def test_a_server_ends_amid_a_transfer(new_server):
    """With a snapshot and a log: neither waits for the target, and the key is in both."""
    server = new_server("--appendonly", "yes", "--save", "900 1", "--shutdown-timeout", "1")
    release = threading.Event()
    with Target(lambda peer: release.wait(20)) as target, server.connect() as client, \
            server.connect() as other:
        client.ok("SET", "k", "v")
        client.send("MIGRATE", HOST, target.port, "k", 0, 15000)
        assert client.is_silent(0.1)
        assert str(other.call("BGREWRITEAOF")) == "Background append only file rewriting started"
        began = time.monotonic()
        server.stop_keeping_files()
        assert time.monotonic() - began < 5
        release.set()
    server.start()
    with server.connect() as client:
        assert ask(client, "GET", "k") == b"v"


def test_a_transfer_to_oneself_ends_at_the_timeout(new_server):
    server = new_server()
    with server.connect() as client:
        client.ok("SET", "k", "v")
        reply = str(client.call("MIGRATE", HOST, server.port, "k", 1, 300))
        assert reply == "(error) IOERR error or timeout reading to target instance"
        assert ask(client, "GET", "k") == b"v"
