"""WAIT and WAITAOF: a client waits until what it has written is safe."""

import time

import pytest

from resp import Closed

SERVERS = ["martlet", "redis8"]
NO_LOG = b"ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."


def numbers(reply) -> list[int]:
    assert not reply.is_error, reply
    return [item.value for item in reply.value]


def blocked(server) -> int:
    with server.connect() as other:
        line = next(line for line in other.ok("INFO", "clients").splitlines()
                    if line.startswith(b"blocked_clients:"))
        return int(line.split(b":")[1])


def until_blocked(server, count: int = 1) -> None:
    deadline = time.monotonic() + 5
    while blocked(server) != count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_waitaof_ends_when_the_log_is_durable(new_server, name, fsync):
    server = new_server("--appendonly", "yes", "--appendfsync", fsync, name=name)
    with server.connect() as client:
        for _ in range(3):
            client.ok("INCR", "n")
            begin = time.monotonic()
            assert numbers(client.call("WAITAOF", 1, 0, 0)) == [1, 0]
            assert time.monotonic() - begin < 3
        assert numbers(client.call("WAITAOF", 0, 0, 0)) == [1, 0]
        # Together with the write, and with what comes behind.
        replies = client.pipeline([("INCR", "n"), ("WAITAOF", 1, 0, 5000), ("INCR", "n"), ("PING",)])
        assert [reply.value for reply in replies[2:]] == [5, b"PONG"]
        assert numbers(replies[1]) == [1, 0]
    # What it acknowledged is there.
    with server.connect() as client:
        client.ok("SET", "last", "1")
        assert numbers(client.call("WAITAOF", 1, 0, 0)) == [1, 0]
    server.kill()
    server.start()
    with server.connect() as client:
        assert client.ok("GET", "n") == b"5" and client.ok("GET", "last") == b"1"
        assert blocked(server) == 0


@pytest.mark.parametrize("name", SERVERS)
def test_under_appendfsync_no_waitaof_ends_by_its_timeout(new_server, name):
    server = new_server("--appendonly", "yes", "--appendfsync", "no", name=name)
    with server.connect() as client:
        client.ok("INCR", "n")
        assert numbers(client.call("WAITAOF", 1, 0, 30)) == [0, 0]
        assert numbers(client.call("WAITAOF", 0, 0, 0)) == [0, 0]
        with server.connect() as other:
            client.send("WAITAOF", 1, 0, 0)
            until_blocked(server)
            other.ok("CONFIG", "SET", "appendfsync", "always")
            other.ok("INCR", "n")
            assert numbers(client.read()) == [1, 0]


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("protocol", [2, 3])
def test_waitaof_and_wait_end_by_timeout_unblock_and_close(new_server, name, protocol):
    server = new_server("--appendonly", "yes", "--appendfsync", "no", name=name)
    with server.connect(protocol) as client, server.connect() as other:
        client.ok("INCR", "n")
        number = client.ok("CLIENT", "ID")
        for request, reply in [(("WAIT", 1, 0), 0), (("WAITAOF", 1, 0, 0), [0, 0]),
                               (("WAITAOF", 0, 1, 0), [0, 0])]:
            client.send(*request)
            until_blocked(server)
            assert other.ok("CLIENT", "UNBLOCK", number) == 1
            got = client.read()
            assert (numbers(got) if isinstance(reply, list) else got.value) == reply
            client.send(*request)
            until_blocked(server)
            assert other.ok("CLIENT", "UNBLOCK", number, "ERROR") == 1
            assert client.read().value == b"UNBLOCKED client unblocked via CLIENT UNBLOCK"
            begin = time.monotonic()
            got = client.call(*request[:-1], 40)
            assert (numbers(got) if isinstance(reply, list) else got.value) == reply
            assert time.monotonic() - begin >= 0.035
            assert other.ok("CLIENT", "UNBLOCK", number) == 0
        gone = server.connect()
        gone.ok("INCR", "n")
        gone.send("WAITAOF", 1, 0, 0)
        until_blocked(server)
        gone.close()
        until_blocked(server, 0)
        killed = server.connect()
        number = killed.ok("CLIENT", "ID")
        killed.send("WAIT", 3, 0)
        until_blocked(server)
        assert other.ok("CLIENT", "KILL", "ID", number) == 1
        with pytest.raises((Closed, ConnectionError)):
            killed.read()
        until_blocked(server, 0)
        # The log goes on for all of that.
        other.ok("CONFIG", "SET", "appendfsync", "always")
        other.ok("INCR", "n")
        assert numbers(other.call("WAITAOF", 1, 0, 0)) == [1, 0]


@pytest.mark.parametrize("name", SERVERS)
def test_in_a_transaction_nobody_waits(new_server, name):
    server = new_server("--appendonly", "yes", "--appendfsync", "no", name=name)
    with server.connect() as client:
        client.pipeline([("MULTI",), ("INCR", "n"), ("WAIT", 1, 0), ("WAITAOF", 1, 1, 0)])
        replies = client.call("EXEC").value
        assert [replies[0].value, replies[1].value] == [1, 0]
        # What the transaction itself has written is in the log only when it has ended.
        assert numbers(replies[2]) == [1, 0]


@pytest.mark.parametrize("name", SERVERS)
def test_turning_the_log_off_ends_waitaof_with_an_error(new_server, name):
    server = new_server("--appendonly", "yes", "--appendfsync", "no", name=name)
    with server.connect() as client, server.connect() as second, server.connect() as other:
        client.ok("INCR", "n")
        client.send("WAITAOF", 1, 0, 0)
        second.send("WAITAOF", 0, 1, 200)
        until_blocked(server, 2)
        other.ok("CONFIG", "SET", "appendonly", "no")
        assert client.read().value == NO_LOG
        assert numbers(second.read())[1] == 0
        assert client.call("WAITAOF", 1, 0, 0).value == NO_LOG
        assert numbers(client.call("WAITAOF", 0, 0, 0)) == [0, 0]
        deadline = time.monotonic() + 5
        while other.call("CONFIG", "SET", "appendonly", "yes").is_error:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        other.ok("CONFIG", "SET", "appendfsync", "everysec")
        client.ok("INCR", "n")
        assert numbers(client.call("WAITAOF", 1, 0, 0)) == [1, 0]


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("request_, error", [
    ("WAITAOF 2 0 0", b"ERR value is out of range, value must between 0 and 1"),
    ("WAITAOF -1 0 0", b"ERR value is out of range, value must between 0 and 1"),
    ("WAITAOF a 0 0", b"ERR value is not an integer or out of range"),
    ("WAITAOF 0 a 0", b"ERR value is out of range, must be positive"),
    ("WAITAOF 0 -1 0", b"ERR value is out of range, must be positive"),
    ("WAITAOF 0 0 a", b"ERR timeout is not an integer or out of range"),
    ("WAITAOF 0 0 1.5", b"ERR timeout is not an integer or out of range"),
    ("WAITAOF 0 0 -1", b"ERR timeout is negative"),
    ("WAITAOF 0 0 9223372036854775807", b"ERR timeout is out of range"),
    ("WAITAOF 1 0 -1", b"ERR timeout is negative"),
    ("WAITAOF 1 0 0", NO_LOG),
    ("WAITAOF 0 0", b"ERR wrong number of arguments for 'waitaof' command"),
    ("WAIT a 0", b"ERR value is not an integer or out of range"),
    ("WAIT 0 -5", b"ERR timeout is negative"),
    ("WAIT 0 9223372036854775807", b"ERR timeout is out of range"),
])
def test_what_is_asked_wrongly_is_refused(request, name, request_, error):
    with request.getfixturevalue(name).connect() as client:
        assert client.call(*request_.split()).value == error


@pytest.mark.parametrize("name", SERVERS)
def test_without_a_log_and_replicas_the_answer_is_none(request, name):
    with request.getfixturevalue(name).connect() as client:
        client.ok("INCR", "n")
        assert client.ok("WAIT", 0, 0) == 0 and client.ok("WAIT", -1, 0) == 0
        assert client.ok("WAIT", 1, 10) == 0
        assert numbers(client.call("WAITAOF", 0, 0, 0)) == [0, 0]
        assert numbers(client.call("WAITAOF", 0, 1, 10)) == [0, 0]


def test_a_log_that_fails_lets_waitaof_wait_and_answers_once_it_is_written_again(new_server):
    from test_durability import limit_file_size

    server = new_server("--appendonly", "yes", "--appendfsync", "everysec")
    with server.connect() as client:
        client.ok("SET", "a", b"x" * 100_000)
        assert numbers(client.call("WAITAOF", 1, 0, 0)) == [1, 0]
        limit_file_size(server, 0)
        client.ok("SET", "b", b"y" * 1_000)
        assert numbers(client.call("WAITAOF", 1, 0, 50)) == [0, 0]
        client.send("WAITAOF", 1, 0, 10_000)
        time.sleep(0.2)
        limit_file_size(server, -1)
        assert numbers(client.read()) == [1, 0]
    server.kill()
    server.start()
    with server.connect() as client:
        assert client.ok("GET", "b") == b"y" * 1_000


def test_under_always_a_failing_log_does_not_hold_back_the_end_of_waitaof(new_server):
    from test_durability import limit_file_size

    server = new_server("--appendonly", "yes", "--appendfsync", "always")
    with server.connect() as client:
        client.ok("SET", "a", b"x" * 1_000)
        limit_file_size(server, 0)
        replies = client.pipeline([("SET", "b", "1"), ("WAITAOF", 1, 0, 200)])
        assert replies[0].value.startswith(b"MISCONF") and numbers(replies[1]) == [0, 0]
        limit_file_size(server, -1)
        deadline = time.monotonic() + 5
        while client.call("SET", "c", "1").is_error:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert numbers(client.call("WAITAOF", 1, 0, 0)) == [1, 0]
