"""SHUTDOWN and SIGTERM: the snapshot that is due is saved, or the server goes on."""

import signal
import threading
import time

import pytest

from resp import Closed

REFUSED = b"ERR Errors trying to SHUTDOWN. Check logs."


def break_saving(server) -> None:
    """No file takes the place of a directory."""
    (server.directory / "dump.rdb").mkdir()


def mend_saving(server) -> None:
    (server.directory / "dump.rdb").rmdir()


def until_logged(server, text: str, count: int = 1) -> None:
    deadline = time.monotonic() + 10
    while server.log().count(text) < count:
        assert time.monotonic() < deadline, server.log()[-2000:]
        time.sleep(0.01)


@pytest.mark.parametrize("name", ["martlet", "redis8"])
def test_a_snapshot_that_cannot_be_saved_keeps_the_server_going(new_server, name):
    server = new_server(name=name)
    with server.connect() as client, server.connect() as other:
        client.ok("SET", "a", "1")
        break_saving(server)
        for _ in range(2):
            assert client.call("SHUTDOWN", "SAVE").value == REFUSED
        assert other.ok("GET", "a") == b"1" and client.ok("PING") == b"PONG"
        mend_saving(server)
        client.send("SHUTDOWN", "SAVE")
        with pytest.raises((Closed, ConnectionError)):
            client.read()
    assert server.process.wait(10) == 0
    server.start()
    with server.connect() as client:
        assert client.ok("GET", "a") == b"1"


@pytest.mark.parametrize("name", ["martlet", "redis8"])
def test_who_forces_it_ends_without_a_snapshot(new_server, name):
    server = new_server(name=name)
    with server.connect() as client:
        client.ok("SET", "a", "1")
        break_saving(server)
        client.send("SHUTDOWN", "SAVE", "FORCE")
        with pytest.raises((Closed, ConnectionError)):
            client.read()
    assert server.process.wait(10) == 0


@pytest.mark.parametrize("name", ["martlet", "redis8"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_cannot_be_granted_is_forgotten(new_server, name, number):
    server = new_server(name=name)
    with server.connect() as client:
        client.ok("CONFIG", "SET", "save", "3600 1")
        client.ok("SET", "a", "1")
        break_saving(server)
        for count in (1, 2):
            server.process.send_signal(number)
            until_logged(server, "Errors trying to shut down the server", count)
            time.sleep(0.2)
            assert client.ok("GET", "a") == b"1"
        mend_saving(server)
        server.process.send_signal(number)
    assert server.process.wait(10) == 0
    server.start()
    with server.connect() as client:
        assert client.ok("GET", "a") == b"1"


def test_others_are_served_to_the_end(new_server):
    server = new_server("--save", "3600 1", "--io-threads", "2")
    acknowledged = 0
    over = threading.Event()

    def write() -> None:
        nonlocal acknowledged
        with server.connect() as client:
            try:
                while not over.is_set():
                    acknowledged = client.ok("INCR", "n")
            except (Closed, ConnectionError):
                pass

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.1)
    with server.connect() as client, server.connect() as waiting:
        waiting.send("BLPOP", "nothing", 0)
        client.send("SHUTDOWN")
        with pytest.raises((Closed, ConnectionError)):
            client.read()
        with pytest.raises((Closed, ConnectionError)):
            waiting.read()
    assert server.process.wait(10) == 0
    over.set()
    writer.join()
    server.start()
    with server.connect() as client:
        assert int(client.ok("GET", "n")) >= acknowledged > 0
