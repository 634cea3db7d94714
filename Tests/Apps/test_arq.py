"""arq: jobs in a sorted set, by asyncio."""

import asyncio
import time

import pytest
from arq import create_pool
from arq.connections import RedisSettings


@pytest.fixture
def run(broker, worker):
    """Enqueues a job and returns its result."""
    worker("-m", "arq", "arq_jobs.WorkerSettings")

    def run(name, *arguments, **options):
        async def body():
            pool = await create_pool(RedisSettings.from_dsn(broker))
            try:
                job = await pool.enqueue_job(name, *arguments, **options)
                return await job.result(timeout=60, poll_delay=0.1)
            finally:
                await pool.aclose()

        return asyncio.run(body())

    return run


def test_a_job_runs_and_its_result_comes_back(run):
    assert run("hello", "world") == "hello world"


def test_a_job_is_tried_again(run):
    assert run("third_time_lucky") == 3


def test_a_job_waits_for_its_time(run):
    asked = time.time()
    assert run("clock", _defer_by=2) >= asked + 1.9
