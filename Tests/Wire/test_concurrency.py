"""Many clients on several loops: every history must have an explanation. See the checkers."""

import random
import threading
import time

import pytest

import workloads
from resp import encode
from servers import SHARE, Server

SECONDS = 6 * SHARE


@pytest.fixture(scope="module")
def parallel(request):
    with Server("martlet", "--io-threads", "4") as server:
        yield server
        server.assert_serves()
        server.stop_cleanly()


@pytest.mark.parametrize("name", workloads.ALL)
def test_every_history_has_an_explanation(parallel, name):
    seed = random.randrange(1, 2**31)
    deadline = time.monotonic() + SECONDS
    rounds = 0
    while time.monotonic() < deadline:
        problems = workloads.ALL[name](parallel.address, f"{seed}.{rounds}")
        assert not problems, f"seed {seed}, round {rounds}:\n" + "\n".join(problems[:3])
        rounds += 1
    print(f"{name}: {rounds} rounds without a violation, seed {seed}")


def test_histories_have_explanations_while_the_keyspace_is_disturbed(parallel):
    """Growth, deletion, expiry, SCAN, DBSIZE and SWAPDB of other databases go on meanwhile."""
    over = threading.Event()

    def disturb() -> None:
        with parallel.connect() as client:
            number = 0
            while not over.is_set():
                number += 1
                commands = [encode("SET", f"noise{number}:{index}", "x" * 50, "PX", 1 + index % 50)
                            for index in range(200)]
                commands += [encode("SCAN", 0, "COUNT", 100), encode("DBSIZE"), encode("RANDOMKEY"),
                             encode("SWAPDB", 5, 6), encode("SELECT", 7), encode("FLUSHDB"), encode("SELECT", 0),
                             encode("DEL", *(f"noise{number}:{index}" for index in range(0, 200, 3)))]
                client.send_raw(b"".join(commands))
                client.read_many(len(commands))

    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        deadline = time.monotonic() + SECONDS
        number = 0
        while time.monotonic() < deadline:
            for name, workload in workloads.ALL.items():
                problems = workload(parallel.address, f"noisy{number}")
                assert not problems, name + "\n" + "\n".join(problems[:3])
            number += 1
    finally:
        over.set()
        disturber.join()


def test_a_key_already_past_its_deadline_at_watch_does_not_abort(martlet):
    """Its removal is met by WATCH itself and published after the watch stands, if others watch too."""
    with martlet.connect() as client, martlet.connect() as other:
        other.ok("WATCH", "something else")
        for _ in range(100):
            client.ok("SET", "short", "v", "PX", "1")
            time.sleep(0.0025)
            client.ok("WATCH", "short")
            assert client.pipeline([("MULTI",), ("EXEC",)])[1].value == ()


def test_a_key_that_passes_its_deadline_after_watch_aborts(martlet):
    with martlet.connect() as client:
        for _ in range(20):
            # A key that is past its deadline at WATCH already does not count: time enough for a slow build.
            assert client.pipeline([("SET", "short", "v", "PX", "40"), ("WATCH", "short")])[1].value == b"OK"
            time.sleep(0.045)
            assert client.pipeline([("MULTI",), ("EXEC",)])[1].is_null
