"""Commands that wait for a key: who is served when, by what, and what ends a wait otherwise.

The same scenes are played on Redis 8.2, so that they say what users know.
"""

import time

import pytest

import delivery
from resp import Closed, Connection, Reply
from servers import SHARE, Server


@pytest.fixture(params=["martlet", "redis8"])
def server(request):
    server = request.getfixturevalue(request.param)
    with server.connect() as connection:
        connection.ok("FLUSHALL")
    return server


class Scene:
    """A server with connections that wait, known to wait before the next step."""

    def __init__(self, server: Server):
        self.server = server
        self.control = server.connect()
        self.opened: list[Connection] = [self.control]
        self.waiting = 0

    def waiter(self, *command, protocol: int = 2) -> Connection:
        connection = self.server.connect(protocol)
        self.opened.append(connection)
        return self.waits(connection, *command)

    def waits(self, connection: Connection, *command) -> Connection:
        connection.send(*command)
        self.waiting += 1
        self.blocked(self.waiting)
        return connection

    def field(self, name: bytes) -> int:
        info = self.control.ok("INFO", "clients")
        return int(dict(line.split(b":", 1) for line in info.split(b"\r\n") if b":" in line)[name])

    def blocked(self, count: int) -> None:
        """Waits until so many clients wait."""
        deadline = time.monotonic() + 10
        while self.field(b"blocked_clients") != count:
            assert time.monotonic() < deadline, f"not {count} clients wait"
            time.sleep(0.002)
        self.waiting = count

    def close(self) -> None:
        for connection in self.opened:
            connection.close()
        with self.server.connect() as control:
            self.control = control
            self.blocked(0)
            assert self.field(b"total_blocking_keys") == 0


@pytest.fixture
def scene(server):
    scene = Scene(server)
    yield scene
    scene.close()


def texts(reply: Reply) -> object:
    if isinstance(reply.value, tuple):
        return [texts(item) for item in reply.value]
    return reply.value.decode() if isinstance(reply.value, bytes) else reply.value


def test_first_come_first_served(scene):
    waiters = [scene.waiter("BLPOP", "queue", 0) for _ in range(20)]
    for number in range(20):
        scene.control.ok("RPUSH", "queue", number)
    for number, waiter in enumerate(waiters):
        assert texts(waiter.read()) == ["queue", str(number)]
    assert scene.control.ok("EXISTS", "queue") == 0


def test_one_push_serves_as_many_as_it_has_items_for(scene):
    waiters = [scene.waiter("BLPOP", "queue", 0) for _ in range(5)]
    assert scene.control.ok("RPUSH", "queue", "a", "b", "c") == 3
    assert [texts(waiter.read())[1] for waiter in waiters[:3]] == ["a", "b", "c"]
    assert all(waiter.is_silent() for waiter in waiters[3:])


@pytest.mark.parametrize("command, push, reply", [
    (("BLPOP", "x", "k", 0), ("RPUSH", "k", "1", "2"), ["k", "1"]),
    (("BRPOP", "x", "k", 0), ("RPUSH", "k", "1", "2"), ["k", "2"]),
    (("BLMPOP", 0, 2, "x", "k", "RIGHT", "COUNT", 5), ("RPUSH", "k", "1", "2"), ["k", ["2", "1"]]),
    (("BLMOVE", "k", "to", "LEFT", "RIGHT", 0), ("RPUSH", "k", "1", "2"), "1"),
    (("BRPOPLPUSH", "k", "to", 0), ("RPUSH", "k", "1", "2"), "2"),
    (("BZPOPMIN", "x", "k", 0), ("ZADD", "k", 1, "a", 2, "b"), ["k", "a", "1"]),
    (("BZPOPMAX", "x", "k", 0), ("ZADD", "k", 1, "a", 2, "b"), ["k", "b", "2"]),
    (("BZMPOP", 0, 2, "x", "k", "MAX", "COUNT", 5), ("ZADD", "k", 1, "a", 2, "b"), ["k", [["b", "2"], ["a", "1"]]]),
])
def test_each_command_is_served_with_the_reply_of_its_namesake(scene, command, push, reply):
    waiter = scene.waiter(*command)
    scene.control.ok(*push)
    assert texts(waiter.read()) == reply


def test_resp3_waiters_get_resp3_from_a_resp2_push(scene):
    waiter = scene.waiter("BZPOPMIN", "z", 0, protocol=3)
    late = scene.waiter("BLPOP", "l", 0.05, protocol=3)
    scene.control.ok("ZADD", "z", "1.5", "m")
    reply = waiter.read()
    assert [item.kind for item in reply.value] == ["$", "$", ","] and reply.value[2].value == b"1.5"
    assert late.read().kind == "_"


def test_a_wait_ends_after_its_timeout_and_not_before(scene):
    for command in (("BLPOP", "k", "0.15"), ("BLMOVE", "k", "l", "LEFT", "LEFT", "0.15"), ("BZPOPMAX", "k", "0.15")):
        began = time.monotonic()
        reply = scene.waiter(*command).read()
        assert reply == Reply("*", None)
        assert 0.149 <= time.monotonic() - began < 2
        scene.blocked(0)


def test_a_shorter_timeout_that_came_later_ends_first(scene):
    long = scene.waiter("BLPOP", "k", 30)
    short = scene.waiter("BLPOP", "k", 0.05)
    assert short.read().is_null
    assert long.is_silent()
    scene.control.ok("RPUSH", "k", "v")
    assert texts(long.read()) == ["k", "v"]


def test_unblock_looks_like_a_timeout_or_an_error(scene):
    waiter = scene.server.connect()
    scene.opened.append(waiter)
    number = waiter.ok("CLIENT", "ID")
    for reason, wanted in (((), Reply("*", None)), (("TIMEOUT",), Reply("*", None)),
                           (("ERROR",), Reply("-", b"UNBLOCKED client unblocked via CLIENT UNBLOCK"))):
        scene.waits(waiter, "BLPOP", "k", 0)
        assert scene.control.ok("CLIENT", "UNBLOCK", number, *reason) == 1
        assert waiter.read() == wanted
        scene.blocked(0)
        assert scene.control.ok("CLIENT", "UNBLOCK", number, *reason) == 0
    assert scene.control.ok("RPUSH", "k", "stays") == 1
    assert scene.control.ok("LLEN", "k") == 1


def test_what_follows_a_waiting_command_waits_too(scene):
    waiter = scene.waiter("BLPOP", "k", 0)
    waiter.send("SET", "after", "1")
    waiter.send("PING")
    assert waiter.is_silent() and scene.control.ok("EXISTS", "after") == 0
    scene.control.ok("RPUSH", "k", "v")
    assert [texts(reply) for reply in waiter.read_many(3)] == [["k", "v"], "OK", "PONG"]


def test_in_a_transaction_nothing_waits(scene):
    connection = scene.control
    replies = connection.pipeline([
        ("MULTI",), ("BLPOP", "k", 0), ("BLMOVE", "k", "l", "LEFT", "LEFT", 0), ("BZMPOP", 0, 1, "k", "MIN"),
        ("RPUSH", "k", "v"), ("BRPOP", "k", 0), ("EXEC",)])
    kinds = [(reply.kind, texts(reply)) for reply in replies[-1].value]
    assert kinds == [("*", None), ("$", None), ("*", None), (":", 1), ("*", ["k", "v"])]


def test_a_transaction_that_takes_what_it_pushed_serves_nobody(scene):
    waiter = scene.waiter("BLPOP", "k", 0)
    scene.control.pipeline([("MULTI",), ("RPUSH", "k", "v"), ("DEL", "k"), ("EXEC",)])
    assert waiter.is_silent()
    scene.control.pipeline([("MULTI",), ("RPUSH", "k", "1"), ("RPUSH", "k", "2"), ("LPOP", "k"), ("EXEC",)])
    assert texts(waiter.read()) == ["k", "2"]


def test_a_key_of_another_type_serves_nobody_until_it_is_a_list(scene):
    waiter = scene.waiter("BLPOP", "k", 0)
    scorer = scene.waiter("BZPOPMIN", "k", 0)
    scene.control.ok("SET", "k", "text")
    assert waiter.is_silent() and scorer.is_silent()
    scene.control.ok("DEL", "k")
    scene.control.ok("ZADD", "k", 1, "m")
    assert texts(scorer.read()) == ["k", "m", "1"] and waiter.is_silent()
    scene.control.ok("RPUSH", "k", "v")
    assert texts(waiter.read()) == ["k", "v"]


@pytest.mark.parametrize("bring", [
    [("RPUSH", "other", "v"), ("RENAME", "other", "k")],
    [("RPUSH", "other", "v"), ("COPY", "other", "k")],
    [("RPUSH", "other", "v"), ("LMOVE", "other", "k", "LEFT", "LEFT")],
    [("SELECT", 1), ("DEL", "k"), ("RPUSH", "k", "v"), ("MOVE", "k", 0)],
    [("SELECT", 1), ("DEL", "k"), ("RPUSH", "k", "v"), ("SWAPDB", 0, 1)],
    [("LPUSH", "k", "v")], [("MULTI",), ("RPUSH", "k", "v"), ("EXEC",)],
])
def test_every_way_a_list_comes_to_be_serves(scene, bring):
    waiter = scene.waiter("BLPOP", "k", 0)
    for command in bring:
        scene.control.ok(*command)
    assert texts(waiter.read()) == ["k", "v"]
    scene.control.ok("SELECT", 0)


def test_a_moved_element_serves_who_waits_at_its_destination(scene):
    last = scene.waiter("BLPOP", "c", 0)
    second = scene.waiter("BLMOVE", "b", "c", "LEFT", "LEFT", 0)
    first = scene.waiter("BLMOVE", "a", "b", "LEFT", "LEFT", 0)
    scene.control.ok("RPUSH", "a", "v")
    assert [texts(waiter.read()) for waiter in (first, second, last)] == ["v", "v", ["c", "v"]]
    assert scene.control.ok("EXISTS", "a", "b", "c") == 0


def test_who_wants_another_type_does_not_hold_up_a_move_to_another_shard(scene):
    """The move needs more than the push has locked, and is not the first in line."""
    for number in range(16):
        key, destination = f"line:{number}", f"moved:{number}"
        scene.waiter("BZPOPMIN", key, "0")
        mover = scene.waiter("BLMOVE", key, destination, "LEFT", "RIGHT", "0")
        with scene.server.connect() as pusher:
            assert pusher.ok("RPUSH", key, "item") == 1
        assert texts(mover.read()) == "item"
        scene.waiting -= 1
        assert texts(scene.control.call("LRANGE", destination, 0, -1)) == ["item"]


def test_a_list_that_is_moved_within_itself_rests(scene):
    waiter = scene.waiter("BLMOVE", "k", "k", "LEFT", "RIGHT", 0)
    scene.control.ok("RPUSH", "k", "1", "2")
    assert texts(waiter.read()) == "1"
    assert texts(scene.control.call("LRANGE", "k", 0, -1)) == ["2", "1"]


def test_a_destination_of_another_type_is_an_error_and_nothing_is_taken(scene):
    scene.control.ok("SET", "to", "text")
    waiter = scene.waiter("BLMOVE", "k", "to", "LEFT", "LEFT", 0)
    scene.control.ok("RPUSH", "k", "v")
    assert str(waiter.read()).startswith("(error) WRONGTYPE")
    assert scene.control.ok("LLEN", "k") == 1


def test_a_closed_connection_takes_nothing(scene):
    for _ in range(20):
        waiter = scene.waiter("BLPOP", "k", "l", 0)
        waiter.close()
        scene.blocked(0)
        scene.control.ok("RPUSH", "k", "v")
        assert scene.control.ok("LPOP", "k") == b"v"


def test_a_killed_client_takes_nothing(scene):
    waiter = scene.server.connect()
    number = waiter.ok("CLIENT", "ID")
    scene.waits(waiter, "BLPOP", "k", 0)
    assert scene.control.ok("CLIENT", "KILL", "ID", number) == 1
    scene.control.ok("RPUSH", "k", "v")
    assert scene.control.ok("LLEN", "k") == 1
    with pytest.raises((Closed, ConnectionError)):
        waiter.read()
    scene.blocked(0)


def test_client_list_and_info_show_who_waits(scene):
    waiter = scene.server.connect()
    scene.opened.append(waiter)
    waiter.ok("CLIENT", "SETNAME", "worker")
    scene.waits(waiter, "BLPOP", "k", "l", "k", 0)
    assert scene.field(b"total_blocking_keys") == 2
    line = next(line for line in scene.control.ok("CLIENT", "LIST").split(b"\n") if b"name=worker" in line)
    assert b"flags=b " in line and b"cmd=blpop " in line
    scene.control.ok("RPUSH", "k", "v")
    waiter.read()
    line = next(line for line in scene.control.ok("CLIENT", "LIST").split(b"\n") if b"name=worker" in line)
    assert b"flags=N " in line


def test_a_reply_that_is_not_wanted_is_not_sent(scene):
    waiter = scene.server.connect()
    scene.opened.append(waiter)
    waiter.send("CLIENT", "REPLY", "OFF")
    scene.waits(waiter, "BLPOP", "k", 0)
    scene.control.ok("RPUSH", "k", "v")
    scene.blocked(0)
    assert scene.control.ok("EXISTS", "k") == 0
    waiter.send("CLIENT", "REPLY", "ON")
    assert texts(waiter.read()) == "OK"


def test_a_watched_key_that_serving_empties_spoils_the_transaction(scene):
    watcher = scene.server.connect()
    scene.opened.append(watcher)
    scene.waiter("BLPOP", "k", 0)
    watcher.ok("WATCH", "k")
    scene.control.ok("RPUSH", "k", "v")
    watcher.ok("MULTI")
    assert watcher.call("EXEC").is_null


def test_every_item_is_accounted_for_whatever_happens_to_waiters():
    for loops in (1, 4):
        with Server("martlet", "--io-threads", str(loops)) as server:
            problems = delivery.play(server, max(10, int(150 * SHARE)), seed=loops)
            assert not problems, problems
            server.assert_serves()
            server.stop_cleanly()
