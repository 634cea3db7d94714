"""Dramatiq: every operation of its broker is a Lua script."""

import importlib
import os
import sys
import time

import pytest

pytestmark = pytest.mark.needs_scripts("its broker is dispatch.lua")


@pytest.fixture
def jobs(broker, worker):
    os.environ["BROKER"] = broker
    sys.modules.pop("dramatiq_jobs", None)
    module = importlib.import_module("dramatiq_jobs")
    worker("-m", "dramatiq", "dramatiq_jobs", "--processes", "1", "--threads", "1")
    yield module
    module.broker.close()


def result(message):
    return message.get_result(block=True, timeout=60_000)


def test_a_job_runs_and_its_result_comes_back(jobs):
    assert result(jobs.hello.send("world")) == "hello world"


def test_a_job_is_tried_again(jobs):
    assert result(jobs.third_time_lucky.send()) == 2


def test_a_job_waits_for_its_time(jobs):
    asked = time.time()
    assert result(jobs.clock.send_with_options(delay=2_000)) >= asked + 1.9
