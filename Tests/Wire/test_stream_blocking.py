"""XREAD that waits: it takes nothing, so everybody who waits is served, each by its own loop.

The same scenes are played on Redis 8.2.
"""

import threading

from resp import Reply
from servers import SHARE, Server
from test_blocking import Scene, scene, server, texts  # noqa: F401


def entry(number: str, *parts: str) -> list:
    return [number, list(parts)]


def test_one_entry_serves_all_who_wait(scene):
    waiters = [scene.waiter("XREAD", "BLOCK", 0, "STREAMS", "s", "$") for _ in range(20)]
    scene.control.ok("XADD", "s", "1-1", "f", "v")
    for waiter in waiters:
        assert texts(waiter.read()) == [["s", [entry("1-1", "f", "v")]]]
    assert scene.control.ok("XLEN", "s") == 1


def test_whoever_waits_at_several_streams_is_served_from_those_that_have_something(scene):
    scene.control.ok("XADD", "b", "5-1", "f", "old")
    waiter = scene.waiter("XREAD", "COUNT", 2, "BLOCK", 0, "STREAMS", "a", "b", "c", "$", "$", "0")
    scene.control.ok("XADD", "b", "6-1", "f", "new")
    assert texts(waiter.read()) == [["b", [entry("6-1", "f", "new")]]]
    scene.blocked(0)
    scene.waits(waiter, "XREAD", "BLOCK", 0, "STREAMS", "a", "b", "c", "$", "6-1", "$")
    scene.control.ok("MULTI")
    for name in "cab":
        scene.control.call("XADD", name, "9-1", "f", name)
    scene.control.ok("EXEC")
    assert texts(waiter.read()) == [[name, [entry("9-1", "f", name)]] for name in "abc"]


def test_resp3_readers_get_a_map(scene):
    waiter = scene.waiter("XREAD", "BLOCK", 0, "STREAMS", "s", "$", protocol=3)
    late = scene.waiter("XREAD", "BLOCK", 50, "STREAMS", "t", "$", protocol=3)
    scene.control.ok("XADD", "s", "1-1", "f", "v")
    assert waiter.read().kind == "%"
    assert late.read().kind == "_"


def test_only_entries_behind_the_id_count(scene):
    waiter = scene.waiter("XREAD", "BLOCK", 0, "STREAMS", "s", "5-5")
    scene.control.ok("XADD", "s", "5-4", "f", "v")
    scene.control.ok("XADD", "s", "5-5", "f", "v")
    assert waiter.is_silent()
    scene.control.ok("XADD", "s", "5-6", "f", "v")
    assert texts(waiter.read()) == [["s", [entry("5-6", "f", "v")]]]


def test_an_entry_that_its_transaction_deletes_serves_nobody(scene):
    waiter = scene.waiter("XREAD", "BLOCK", 0, "STREAMS", "s", "$")
    scene.control.ok("MULTI")
    scene.control.call("XADD", "s", "1-1", "f", "v")
    scene.control.call("XDEL", "s", "1-1")
    scene.control.ok("EXEC")
    assert waiter.is_silent()
    scene.control.ok("XADD", "s", "2-1", "f", "w")
    assert texts(waiter.read()) == [["s", [entry("2-1", "f", "w")]]]


def test_a_stream_that_goes_and_comes_again_serves(scene):
    scene.control.ok("XADD", "s", "1-1", "f", "v")
    waiter = scene.waiter("XREAD", "BLOCK", 0, "STREAMS", "s", "$")
    scene.control.ok("DEL", "s")
    scene.control.ok("SET", "s", "v")
    assert waiter.is_silent()
    scene.control.ok("DEL", "s")
    scene.control.ok("XADD", "t", "3-1", "f", "v")
    scene.control.ok("RENAME", "t", "s")
    assert texts(waiter.read()) == [["s", [entry("3-1", "f", "v")]]]


def test_a_wait_ends_by_time_unblock_and_transaction(scene):
    assert scene.waiter("XREAD", "BLOCK", 30, "STREAMS", "s", "$").read() == Reply("*", None)
    scene.blocked(0)
    waiter = scene.server.connect()
    scene.opened.append(waiter)
    number = waiter.ok("CLIENT", "ID")
    scene.waits(waiter, "XREAD", "BLOCK", 0, "STREAMS", "s", "$")
    assert scene.control.ok("CLIENT", "UNBLOCK", number) == 1
    assert waiter.read() == Reply("*", None)
    scene.blocked(0)
    waiter.ok("MULTI")
    waiter.call("XREAD", "BLOCK", 0, "STREAMS", "s", "$")
    assert waiter.call("EXEC").value[0] == Reply("*", None)


def test_a_reader_reads_on_where_it_stopped_whatever_the_loops_do():
    count = max(200, int(4_000 * SHARE))
    for loops in (1, 4):
        with Server("martlet", "--io-threads", str(loops)) as own:
            problems: list[str] = []

            def read(name: str) -> None:
                with own.connect() as connection:
                    last, found = "0", 0
                    while found < count:
                        reply = texts(connection.call("XREAD", "COUNT", 7, "BLOCK", 10_000, "STREAMS", "a", "b", last, "$"))
                        if reply is None:
                            problems.append(f"{name} waits though {count - found} entries are missing")
                            return
                        for stream, entries in reply:
                            for number, parts in entries if stream == "a" else []:
                                if parts[1] != str(found):
                                    problems.append(f"{name} got {parts[1]} instead of {found}")
                                    return
                                last, found = number, found + 1

            readers = [threading.Thread(target=read, args=(f"reader {index}",)) for index in range(6)]
            for reader in readers:
                reader.start()
            with own.connect() as writer:
                for number in range(count):
                    writer.ok("XADD", "a", "*", "n", number)
                    if number % 3 == 0:
                        # What others write, and what is gone again, wakes readers in vain.
                        writer.pipeline([["XADD", "b", "MAXLEN", 0, "*", "n", number], ["XDEL", "b", "1-1"]])
            for reader in readers:
                reader.join(60)
                assert not reader.is_alive()
            assert not problems, problems[:3]
            own.assert_serves()
            own.stop_cleanly()
