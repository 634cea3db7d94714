"""Celery: broker and result backend."""

import importlib
import os
import sys
import time

import pytest

pytestmark = pytest.mark.needs_scripts("kombu's lock around unacknowledged messages is released by one")


@pytest.fixture
def jobs(broker, worker):
    os.environ["BROKER"] = broker
    sys.modules.pop("celery_jobs", None)
    module = importlib.import_module("celery_jobs")
    worker("-m", "celery", "-A", "celery_jobs", "worker", "--pool", "solo", "--loglevel", "info",
           "--without-mingle")
    yield module
    module.app.close()


def test_a_task_runs_and_its_result_comes_back(jobs):
    assert jobs.hello.delay("world").get(timeout=60) == "hello world"


def test_a_task_is_tried_again(jobs):
    assert jobs.third_time_lucky.delay().get(timeout=60) == 2


def test_a_task_waits_for_its_time(jobs):
    asked = time.time()
    assert jobs.clock.apply_async(countdown=2).get(timeout=60) >= asked + 1.9


def test_a_chord_adds_up_what_its_parts_returned(jobs):
    from celery import chord

    parts = chord(jobs.double.s(number) for number in range(20))
    assert parts(jobs.total.s()).get(timeout=60) == sum(range(0, 40, 2))
