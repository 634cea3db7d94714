"""The snippets under "Patterns" in the README, run as they stand against Martlet and redis-server."""

import functools
import re
import threading
from pathlib import Path

import pytest
import redis

from servers import SHARE

README = Path(__file__).parents[2] / "README.md"


def snippets() -> list[str]:
    section = README.read_text().split("\n## Patterns\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


@pytest.fixture(params=["martlet", "redis7", "redis8"])
def patterns(request, monkeypatch):
    """What the snippets define, after all of them have run in order."""
    server = request.getfixturevalue(request.param)
    with server.connect() as connection:
        connection.ok("FLUSHALL")
    # The only change: the server is not at the default port.
    monkeypatch.setattr(redis, "Redis", functools.partial(redis.Redis, port=server.port))
    names: dict = {}
    for number, snippet in enumerate(snippets()):
        exec(compile(snippet, f"README.md, snippet {number + 1}", "exec"), names)
    yield names
    names["r"].close()


def at_once(count: int, body) -> list:
    """Results of `body(index)`, called by so many threads that begin together."""
    results: list = [None] * count
    barrier = threading.Barrier(count)

    def run(index: int) -> None:
        barrier.wait()
        results[index] = body(index)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_every_snippet_runs(patterns):
    assert {"allow", "acquire", "release", "work", "visit"} <= patterns.keys()
    assert len(snippets()) >= 6


@pytest.mark.parametrize("transaction", [False, True])
def test_the_limiter_never_admits_more_than_its_limit(patterns, transaction):
    for number in range(max(2, int(10 * SHARE))):
        allowed = at_once(20, lambda index: sum(
            patterns["allow"](f"user{number}", 30, 60, transaction=transaction) for _ in range(5)))
        assert sum(allowed) <= 30
        # Nobody asks at the same time now: what is left of the window is given out, and no more.
        left = sum(patterns["allow"](f"user{number}", 30, 60, transaction=transaction) for _ in range(40))
        assert sum(allowed) + left == 30


def test_a_request_as_old_as_the_window_has_left_it(patterns, monkeypatch):
    now = 1_700_000_000
    monkeypatch.setattr(patterns["time"], "time", lambda: now)
    assert [patterns["allow"]("edge", 1, 10) for _ in range(2)] == [True, False]
    now += 9.999
    assert not patterns["allow"]("edge", 1, 10)
    now = 1_700_000_010
    assert patterns["allow"]("edge", 1, 10)


def test_a_lock_has_one_holder(patterns):
    tokens = [token for token in at_once(16, lambda _: patterns["acquire"]("contended", 10_000)) if token]
    assert len(tokens) == 1
    assert sum(at_once(8, lambda _: patterns["release"]("contended", tokens[0]))) == 1


def test_every_job_is_worked_on_once(patterns):
    jobs = [f"job{number}" for number in range(60)]
    done: list[str] = []

    def turn(index: int) -> None:
        if index == 0:
            for job in jobs:
                patterns["put"](job)
        else:
            while patterns["work"](f"worker{index}", done.append, 0.3):
                pass

    at_once(6, turn)
    assert sorted(done) == sorted(jobs)


def test_a_stream_loses_no_job_when_workers_crash(patterns):
    r = patterns["r"]
    orders = max(20, int(200 * SHARE))
    for number in range(orders):
        r.xadd("orders", {"number": number})
    billed: list[str] = []
    crashes = iter(range(10**6))

    def bill(order):
        if next(crashes) % 7 == 3:
            raise ZeroDivisionError
        billed.append(order["number"])

    def worker(index):
        # At least one idle millisecond: who claims at once what another one has just been given
        # takes work from the living.
        for turn in range(1000):
            try:
                patterns["run"](f"crashing{index}-{turn}", bill, idle_milliseconds=50, attempts=1000)
            except ZeroDivisionError:
                continue
            if len(set(billed)) == orders:
                return

    at_once(4, worker)
    assert {int(number) for number in billed} == set(range(orders))
    for _ in range(100):
        if r.xpending("orders", "billing")["pending"] == 0:
            break
        patterns["run"]("last", billed.append, idle_milliseconds=0, attempts=1000)
    group = r.xinfo_groups("orders")[0]
    assert group["pending"] == 0 and group["lag"] == 0
    assert r.xlen("orders:failed") == 0
