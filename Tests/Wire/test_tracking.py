"""Client-side caching: no copy is older than what its owner can know of, and who is told what."""

import random
import time

import pytest

import caching
from servers import SHARE, Server

SECONDS = 6 * SHARE
MODES = ["", "NOLOOP", "OPTIN", "BCAST PREFIX v:", "", "BCAST NOLOOP"]


@pytest.fixture(scope="module")
def parallel():
    with Server("martlet", "--io-threads", "4") as server:
        yield server
        server.assert_serves()
        server.stop_cleanly()


def run(server: Server, seconds: float, forgetful: float = 0.0) -> caching.Run:
    with server.connect() as cleaner:
        cleaner.ok("FLUSHALL")
    run = caching.Run(server.address, str(random.randrange(1, 2**31)), forgetful)
    run.start(MODES)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not run.problems:
        time.sleep(0.05)
    run.stop()
    return run


def test_no_copy_is_older_than_what_its_owner_can_know_of(parallel):
    done = run(parallel, SECONDS)
    assert not done.problems, f"seed {done.seed}:\n" + "\n".join(done.problems[:5])
    assert done.checks > 1000 and done.news > 100
    print(f"{done.checks} comparisons, {done.hits} hits, {done.news} invalidations, seed {done.seed}")


def test_copies_stay_true_while_the_table_is_too_small(parallel):
    """Keys are forgotten all the time, and those who keep copies of them are told."""
    with parallel.connect() as client:
        client.ok("CONFIG", "SET", "tracking-table-max-keys", "10")
        try:
            done = run(parallel, SECONDS / 2)
        finally:
            client.ok("CONFIG", "SET", "tracking-table-max-keys", "1000000")
    assert not done.problems, f"seed {done.seed}:\n" + "\n".join(done.problems[:5])


def test_the_checker_notices_a_client_that_ignores_news(parallel):
    assert run(parallel, 30, forgetful=0.02).problems, "copies that were kept too long went unnoticed"
