"""Servers for job queues, locks and limiters: Martlet, and redis-server 7.0, which shows that the tests are right.

A test that needs Lua scripts says so (`needs_scripts`). On a server without EVAL it is skipped with that
reason; on one that has it the command counters are asked whether the test told the truth, so that nothing
waits for scripts that could run without.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "Wire"))

from servers import Server, find_binary  # noqa: E402

SCRIPT_COMMANDS = {"eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "script|load"}
SECONDS = 60


def pytest_configure(config):
    config.addinivalue_line("markers", "needs_scripts(which): the framework sends Lua scripts")


@pytest.fixture(scope="session", params=["martlet", "redis7"])
def server(request):
    path = find_binary(request.param)
    if path is None or not path.exists():
        pytest.skip(f"{request.param} is not installed")
    with Server(request.param) as server:
        yield server
        server.stop_cleanly()


@pytest.fixture
def broker(server, request):
    """The address of an empty server that can do what the test needs."""
    marker = request.node.get_closest_marker("needs_scripts")
    client = redis.Redis(*server.address)
    has_scripts = "eval" in client.command()
    if marker and not has_scripts:
        pytest.skip(f"waits for scripts: {marker.args[0]}")
    client.flushall()
    client.config_resetstat()
    yield "redis://%s:%d/0" % server.address
    if has_scripts and request.node.stash.get(PASSED, False):
        used = {name.removeprefix("cmdstat_") for name in client.info("commandstats")} & SCRIPT_COMMANDS
        assert bool(used) == bool(marker), f"scripts sent: {sorted(used) or 'none'}"


PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


class Worker:
    """A worker process. Its output is shown when a test fails."""

    def __init__(self, broker: str, *command: str):
        environment = os.environ | {"BROKER": broker, "PYTHONPATH": str(HERE), "PYTHONUNBUFFERED": "1"}
        self.log = open(f"/tmp/martlet-apps-{os.getpid()}-{time.monotonic_ns()}.log", "w+")
        self.process = subprocess.Popen(
            [sys.executable, *command], env=environment, cwd=HERE, stdout=self.log,
            stderr=subprocess.STDOUT)

    def stop(self) -> str:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.seek(0)
        text = self.log.read()
        self.log.close()
        os.unlink(self.log.name)
        return text


@pytest.fixture
def worker(broker):
    """Starts workers that end with the test."""
    started: list[Worker] = []

    def start(*command: str) -> Worker:
        started.append(Worker(broker, *command))
        return started[-1]

    yield start
    for each in started:
        print(each.stop()[-4000:])


def wait_until(condition, seconds: float = SECONDS):
    """The first true value of `condition`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    pytest.fail("it did not happen in time")


@pytest.fixture
def until():
    return wait_until
