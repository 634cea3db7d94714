"""What was acknowledged is there after a kill."""

import resource
import time

import pytest

import kill_cycles
from servers import SHARE


def test_the_check_notices_a_server_that_keeps_nothing():
    problems, summary = kill_cycles.play(1, seed=3, name="redis7", keeps_log=False)
    assert problems, summary


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_what_was_acknowledged_outlives_kills(fsync):
    problems, summary = kill_cycles.play(max(3, int(20 * SHARE)), seed=11, fsync=fsync)
    assert not problems, (summary, problems)


def limit_file_size(server, size: int) -> None:
    """No file of the server grows beyond `size`: what a full disk looks like to it. -1 lifts the limit."""
    hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (hard if size < 0 else size, hard))


@pytest.mark.parametrize("fsync", ["always", "everysec", "no"])
def test_a_full_disk_refuses_writes_serves_reads_and_is_recovered_from(new_server, fsync):
    server = new_server("--appendonly", "yes", "--appendfsync", fsync)
    with server.connect() as client:
        client.pipeline([("SET", f"big:{number}", b"x" * 10_000) for number in range(100)])
        # Not even a new file can be written: what is kept in memory would fit into one.
        limit_file_size(server, 0)
        acknowledged = 0
        deadline = time.monotonic() + 10
        while True:
            reply = client.call("SET", f"key:{acknowledged}", b"y" * 1_000)
            if reply.is_error:
                break
            acknowledged += 1
            assert time.monotonic() < deadline, "no write was refused"
        assert reply.value.startswith(b"MISCONF"), reply
        for _ in range(20):
            assert client.ok("GET", "big:7") == b"x" * 10_000
            assert client.call("SET", "refused", "1").is_error
        limit_file_size(server, -1)
        lifted = time.monotonic()
        while client.call("SET", "again", "1").is_error:
            assert time.monotonic() < lifted + 5
            time.sleep(0.01)
        assert time.monotonic() - lifted < 3, "a loaded machine gets some more than the promised second"
        client.ok("SET", "last", "1")
    if fsync == "always":
        server.kill()
    else:
        server.process.terminate()
        assert server.process.wait(10) == 0
    server.start()
    with server.connect() as client:
        assert [client.ok("GET", f"key:{number}") is None for number in range(acknowledged)].count(True) == 0
        assert client.ok("GET", "again") == b"1" and client.ok("GET", "last") == b"1"
        assert client.ok("GET", "refused") is None


def test_a_server_that_cannot_keep_what_it_acknowledged_does_not_exit_with_success(new_server):
    """SIGTERM while the disk is full: a supervisor must not believe that all is well."""
    server = new_server("--appendonly", "yes", "--appendfsync", "everysec")
    with server.connect() as client:
        client.ok("SET", "a", b"x" * 100_000)
        assert client.call("WAITAOF", 1, 0, 10_000).value[0].value == 1
        limit_file_size(server, 0)
        client.call("SET", "b", b"y" * 200_000)
        deadline = time.monotonic() + 10
        while b"aof_last_write_status:err" not in client.ok("INFO", "persistence"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    server.process.terminate()
    assert server.process.wait(15) != 0


def test_the_log_is_turned_off_and_on_while_running(new_server):
    server = new_server("--appendonly", "yes")
    with server.connect() as client:
        for number in range(5):
            client.ok("SET", f"on:{number}", "1")
            client.ok("CONFIG", "SET", "appendonly", "no")
            client.ok("SET", f"off:{number}", "1")
            deadline = time.monotonic() + 10
            while (reply := client.call("CONFIG", "SET", "appendonly", "yes")).is_error:
                assert b"still being closed" in reply.value and time.monotonic() < deadline, reply
        client.ok("SET", "last", "1")
        # Turned on, it is whole once what was there is in its base.
        while b"base.rdb" not in (server.directory / "appendonlydir/appendonly.aof.manifest").read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        client.ok("CONFIG", "SET", "appendfsync", "always")
        client.ok("SET", "very last", "1")
        assert client.call("WAITAOF", 1, 0, 10_000).value[0].value == 1
    server.kill()
    server.start()
    with server.connect() as client:
        assert client.ok("DBSIZE") == 12


def test_a_deadline_that_was_taken_away_in_time_ends_nothing_while_the_log_is_loaded(new_server):
    server = new_server("--appendonly", "yes", "--appendfsync", "no")
    with server.connect() as client:
        # A slow machine needs a later deadline to take it away in time.
        for milliseconds in (2_500, 10_000, 40_000):
            client.ok("SET", "kept", "1", "PX", milliseconds)
            deadline = time.monotonic() + milliseconds / 1000
            client.ok("BGREWRITEAOF")
            while b"aof_rewrite_in_progress:1" in client.ok("INFO", "persistence"):
                time.sleep(0.01)
            # Long enough to load that the expiry cycle comes round.
            for _ in range(20):
                client.pipeline([("SET", f"k:{number}", "v") for number in range(5_000)])
            if client.ok("PERSIST", "kept") == 1:
                break
    time.sleep(max(0.0, deadline + 0.2 - time.monotonic()))
    server.process.terminate()
    assert server.process.wait(10) == 0
    server.start()
    with server.connect() as client:
        assert client.ok("GET", "kept") == b"1"
