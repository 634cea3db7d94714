"""DEBUG RELOAD and DEBUG LOADAOF: the data set comes from the disk again, and nothing of it is lost."""

import threading
import time

import pytest

from differential import feature_set
from test_durability import limit_file_size
from test_log_waiting import until_blocked
from test_moving import LOG, assert_same, fill, state

NO_DUMP = b"ERR Error trying to load the RDB dump, check server logs."
NO_LOG = b"ERR Error trying to load the AOF files, check server logs."
DEBUG = ("--enable-debug-command", "yes")


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("command", ["RELOAD", "LOADAOF"])
@pytest.mark.parametrize("rewrites", [False, True])
def test_everything_is_there_again(new_server, seed, command, rewrites):
    server = new_server(*LOG, "--io-threads", "2")
    features = feature_set(server)
    fill(server, f"reload {seed}", features)
    if rewrites:
        with server.connect() as control:
            control.ok("BGREWRITEAOF")
        fill(server, f"reload more {seed}", features)
    before = state(server)
    with server.connect() as control:
        for _ in range(2):
            assert control.ok("DEBUG", command) == b"OK"
    assert_same(before, state(server))
    fill(server, f"behind {seed}", features, 200)
    before = state(server)
    server.kill()
    server.start()
    assert_same(before, state(server))


@pytest.mark.parametrize("command", ["RELOAD", "LOADAOF"])
def test_others_are_told_that_it_loads_and_lose_nothing(new_server, command):
    server = new_server("--appendonly", "yes", "--io-threads", "2", *DEBUG)
    acknowledged = [0, 0, 0]
    over = threading.Event()

    def write(writer: int) -> None:
        with server.connect() as client:
            while not over.is_set():
                reply = client.call("RPUSH", f"list:{writer}", acknowledged[writer])
                if reply.is_error:
                    assert reply.value.startswith(b"LOADING"), reply
                else:
                    acknowledged[writer] += 1
                    assert reply.value == acknowledged[writer]

    with server.connect() as control:
        control.ok("DEBUG", "POPULATE", "20000")
        writers = [threading.Thread(target=write, args=(writer,)) for writer in range(3)]
        for writer in writers:
            writer.start()
        for _ in range(5):
            time.sleep(0.05)
            replies = control.pipeline([("DEBUG", command), ("GET", "key:7"), ("PING",)])
            assert [reply.value for reply in replies] == [b"OK", b"value:7", b"PONG"]
        over.set()
        for writer in writers:
            writer.join()
        for writer, count in enumerate(acknowledged):
            assert count > 0 and control.ok("LLEN", f"list:{writer}") == count
        control.ok("WAITAOF", 1, 0, 0)
    server.kill()
    server.start()
    with server.connect() as control:
        assert [control.ok("LLEN", f"list:{writer}") for writer in range(3)] == acknowledged
        assert control.ok("DBSIZE") == 20003


@pytest.mark.parametrize("name", ["martlet", "redis8"])
def test_the_options_of_reload(new_server, name):
    server = new_server(*DEBUG, name=name)
    with server.connect() as client:
        assert client.call("DEBUG", "RELOAD", "x").value == (
            b"ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.")
        client.ok("SET", "a", "old")
        client.ok("SET", "deadline", "1", "PX", "100000")
        client.ok("SAVE")
        client.ok("SET", "a", "new")
        client.ok("RPUSH", "b", "1")
        client.ok("DEBUG", "RELOAD")
        assert client.ok("GET", "a") == b"new" and client.ok("LLEN", "b") == 1
        client.ok("DEL", "b", "a")
        client.ok("SADD", "a", "another")
        client.ok("SET", "c", "1")
        client.ok("DEBUG", "RELOAD", "nosave", "NoFlush", "MERGE")
        assert client.ok("GET", "a") == b"new" and client.ok("LLEN", "b") == 1 and client.ok("GET", "c") == b"1"
        client.ok("DEBUG", "RELOAD", "NOSAVE")
        assert client.ok("GET", "c") is None and client.ok("GET", "a") == b"new"
        assert 0 < client.ok("PTTL", "deadline") <= 100000


def test_what_does_not_load_takes_nothing_away(new_server):
    server = new_server(*DEBUG)
    with server.connect() as client:
        client.ok("SET", "a", "1")
        assert client.call("DEBUG", "RELOAD", "NOSAVE").value == NO_DUMP
        assert client.call("DEBUG", "LOADAOF").value == NO_LOG
        assert client.ok("GET", "a") == b"1"
        # A key of both.
        assert client.call("DEBUG", "RELOAD", "NOFLUSH").value == NO_DUMP
        assert client.ok("GET", "a") == b"1"
        dump = server.directory / "dump.rdb"
        good = dump.read_bytes()
        client.ok("SET", "b", "2")
        for broken in (good[:-20], good[:20] + bytes([good[20] ^ 1]) + good[21:], b"", b"REDIS"):
            dump.write_bytes(broken)
            assert client.call("DEBUG", "RELOAD", "NOSAVE").value == NO_DUMP
            assert client.ok("GET", "a") == b"1" and client.ok("GET", "b") == b"2"
        limit_file_size(server, 0)
        assert client.call("DEBUG", "RELOAD").is_error
        limit_file_size(server, -1)
        assert client.ok("GET", "b") == b"2"
        client.ok("MULTI")
        client.ok("DEBUG", "RELOAD")
        assert client.call("EXEC").value[0].value == b"ERR Command not allowed inside a transaction"
        client.ok("DEBUG", "RELOAD")
        assert client.ok("DBSIZE") == 2


def test_a_log_that_does_not_load_takes_nothing_away(new_server):
    server = new_server(*LOG)
    with server.connect() as client:
        client.ok("SET", "a", "1")
        client.ok("BGREWRITEAOF")
        while b"aof_rewrite_in_progress:1" in client.ok("INFO", "persistence"):
            time.sleep(0.01)
        client.ok("SET", "b", "2")
        base = next((server.directory / "appendonlydir").glob("*.base.rdb"))
        good = base.read_bytes()
        base.write_bytes(good[:-12] + b"x" + good[-11:])
        assert client.call("DEBUG", "LOADAOF").value == NO_LOG
        assert client.ok("GET", "a") == b"1" and client.ok("GET", "b") == b"2"
        base.write_bytes(good)
        client.ok("DEBUG", "LOADAOF")
        assert client.ok("GET", "a") == b"1" and client.ok("GET", "b") == b"2"


def test_the_log_follows_what_reload_brought(new_server):
    server = new_server(*LOG)
    with server.connect() as client:
        client.ok("RPUSH", "list", "a", "b")
        client.ok("SAVE")
        client.ok("RPUSH", "list", "c")
        client.ok("SET", "gone", "1")
        client.ok("DEBUG", "RELOAD", "NOSAVE")
        assert client.ok("RPUSH", "list", "d") == 3
    server.kill()
    server.start()
    with server.connect() as client:
        assert [item.value for item in client.ok("LRANGE", "list", 0, -1)] == [b"a", b"b", b"d"]
        assert client.ok("EXISTS", "gone") == 0


@pytest.mark.parametrize("command", ["RELOAD", "LOADAOF"])
def test_who_waits_for_a_key_waits_on(new_server, command):
    """A log's commands serve nobody a second time."""
    server = new_server(*LOG)
    with server.connect() as client, server.connect() as waiting, server.connect(3) as tracking:
        client.ok("RPUSH", "queue", "1", "2")
        assert client.ok("LPOP", "queue") == b"1" and client.ok("LPOP", "queue") == b"2"
        client.ok("SET", "a", "1")
        tracking.ok("CLIENT", "TRACKING", "ON", "BCAST")
        waiting.send("BLPOP", "queue", 0)
        until_blocked(server)
        client.ok("DEBUG", command)
        assert waiting.is_silent(0.2)
        assert tracking.read().kind == ">"
        assert tracking.is_silent(0.1)
        client.ok("RPUSH", "queue", "3", "4")
        assert [item.value for item in waiting.read().value] == [b"queue", b"3"]
        assert client.ok("LLEN", "queue") == 1


def test_unblock_does_not_end_the_wait_for_a_reload(new_server):
    server = new_server("--appendonly", "yes", *DEBUG)
    with server.connect() as client, server.connect() as other:
        client.ok("DEBUG", "POPULATE", "200000")
        number = client.ok("CLIENT", "ID")
        client.send("DEBUG", "RELOAD")
        ended = [other.call("CLIENT", "UNBLOCK", number).value for _ in range(20)]
        assert set(ended) == {0}
        assert client.read().value == b"OK"
        assert client.ok("DBSIZE") == 200000
