"""Servers and connections for the wire tests.

One server of each kind lives through the run; `client` and `client3` start from an empty keyspace.
A test that configures its server, or may kill it, starts its own with `new_server`.
"""

from __future__ import annotations

import pytest

import servers
from servers import MARTLET, Server


def pytest_report_header() -> list[str]:
    found = {name: servers.find_binary(name) for name in (MARTLET, *servers.ORACLES)}
    return [f"{name}: {path or 'NOT INSTALLED, tests that need it are skipped'}"
            for name, path in found.items()]


def start_or_skip(name: str, *options: str) -> Server:
    """A missing oracle skips the test and says so; a missing server under test fails it."""
    path = servers.find_binary(name)
    if name != MARTLET and (path is None or not path.exists()):
        pytest.skip(f"{name} is not installed (see Tests/install-tools)")
    return Server(name, *options)


def shared_server(name: str):
    @pytest.fixture(scope="session", name=name)
    def fixture():
        with start_or_skip(name) as server:
            yield server
            server.stop_cleanly()

    return fixture


martlet = shared_server(MARTLET)
redis7 = shared_server("redis7")
redis8 = shared_server("redis8")
valkey9 = shared_server("valkey9")


@pytest.fixture(scope="module", name="servers")
def server_and_oracle():
    """A server and Redis 8.2, both a module's own: what has no key, such as a script, stays behind in them."""
    pair = start_or_skip(MARTLET), start_or_skip("redis8")
    yield pair
    for server in pair:
        server.stop()


@pytest.fixture
def server():
    """A server with one loop, a test's own, which serves in the end. Files with other wants have their own fixture."""
    started = Server(MARTLET, "--io-threads", "1")
    yield started
    started.assert_serves()
    started.stop()


@pytest.fixture(autouse=True)
def keeps_serving(request: pytest.FixtureRequest):
    """Whatever a test did to the shared server, it must still serve; a dead one is started anew."""
    yield
    if MARTLET in request.fixturenames:
        server = request.getfixturevalue(MARTLET)
        try:
            server.assert_serves()
        except AssertionError:
            server.restart()
            raise


@pytest.fixture
def new_server():
    """A function that starts a server (`martlet` unless told) which ends with the test."""
    started: list[Server] = []

    def start(*options: str, name: str = MARTLET) -> Server:
        started.append(start_or_skip(name, *options))
        return started[-1]

    yield start
    for server in started:
        server.stop_cleanly()


@pytest.fixture
def client(martlet: Server):
    """A RESP2 connection to the shared server, emptied."""
    with martlet.connect() as connection:
        connection.ok("FLUSHALL")
        yield connection


@pytest.fixture
def client3(martlet: Server):
    """A RESP3 connection to the shared server, emptied."""
    with martlet.connect(protocol=3) as connection:
        connection.ok("FLUSHALL")
        yield connection
