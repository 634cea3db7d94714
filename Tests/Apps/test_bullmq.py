"""BullMQ's Python port: a queue whose every step, from adding a job to its end, is a script of some size."""

import asyncio
import time

import pytest
import redis
from bullmq import Job, Queue

pytestmark = pytest.mark.needs_scripts("every step of a job is one")

NAME = "jobs"


def with_queue(broker, body):
    """Runs `body` with a queue."""

    async def run():
        queue = Queue(NAME, {"connection": broker})
        try:
            return await body(queue)
        finally:
            await queue.close()

    return asyncio.run(run())


def add(broker, *jobs):
    """Adds jobs, each a name, data and options; their numbers."""

    async def body(queue):
        return [(await queue.add(name, data, options)).id for name, data, options in jobs]

    return with_queue(broker, body)


async def ended(queue, *numbers, seconds=60):
    """The jobs once each has completed or failed for good."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        states = [await queue.getJobState(number) for number in numbers]
        if all(state in ("completed", "failed") for state in states):
            return [(state, await Job.fromId(queue, number)) for state, number in zip(states, numbers)]
        await asyncio.sleep(0.05)
    pytest.fail(f"it did not happen in time: {states}")


@pytest.fixture
def queue(broker, worker):
    worker("bullmq_jobs.py", NAME, "4")
    return broker


def test_a_job_runs_and_its_result_comes_back(queue):
    [number] = add(queue, ("hello", {"who": "world"}, {}))
    [(state, job)] = with_queue(queue, lambda jobs: ended(jobs, number))
    assert state == "completed" and job.returnvalue == "hello world"


def test_a_job_is_tried_again(queue):
    backoff = {"type": "fixed", "delay": 50}
    numbers = add(queue, ("third time lucky", {}, {"attempts": 5, "backoff": backoff}),
                  ("never", {}, {"attempts": 2, "backoff": backoff}))
    lucky, never = with_queue(queue, lambda jobs: ended(jobs, *numbers))
    assert lucky[0] == "completed" and lucky[1].returnvalue == 3 and lucky[1].attemptsMade == 3
    assert never[0] == "failed" and never[1].failedReason.strip('"') == "always" and never[1].attemptsMade == 2


def test_a_job_waits_for_its_time(queue):
    asked = time.time()
    [number] = add(queue, ("clock", {}, {"delay": 1500}))
    [(state, job)] = with_queue(queue, lambda jobs: ended(jobs, number))
    assert state == "completed" and job.returnvalue >= asked + 1.4


def test_a_job_tells_of_its_progress(queue):
    [number] = add(queue, ("progress", {}, {}))
    [(_, job)] = with_queue(queue, lambda jobs: ended(jobs, number))
    assert job.progress == 40 and job.returnvalue == "done"


def test_two_workers_run_every_job_once(queue, worker):
    worker("bullmq_jobs.py", NAME, "4")
    numbers = add(queue, *[("hello", {"who": str(number)}, {}) for number in range(200)])
    found = with_queue(queue, lambda jobs: ended(jobs, *numbers))
    assert [job.returnvalue for _, job in found] == [f"hello {number}" for number in range(200)]
    with redis.Redis.from_url(queue) as client:
        assert sorted(client.lrange("ran", 0, -1)) == sorted(number.encode() for number in numbers)


def test_urgent_jobs_come_first(broker, worker):
    priorities = [5, 1, 3, 2, 4]
    numbers = add(broker, *[("hello", {"who": "x"}, {"priority": priority}) for priority in priorities])
    worker("bullmq_jobs.py", NAME, "1")
    with_queue(broker, lambda jobs: ended(jobs, *numbers))
    with redis.Redis.from_url(broker) as client:
        ran = client.lrange("ran", 0, -1)
    assert ran == [number.encode() for _, number in sorted(zip(priorities, numbers))]


def test_a_paused_queue_waits(queue):
    async def paused(jobs):
        await jobs.pause()
        number = (await jobs.add("hello", {"who": "world"}, {})).id
        await asyncio.sleep(0.5)
        before = await jobs.getJobState(number)
        await jobs.resume()
        return before, await ended(jobs, number)

    before, [(after, _)] = with_queue(queue, paused)
    assert before in ("waiting", "paused") and after == "completed"


def test_a_queue_is_emptied(broker):
    add(broker, *[("hello", {"who": "x"}, {"delay": 100_000 * (number % 2)}) for number in range(20)])

    async def empty(queue):
        # This port has no drain().
        for state in ("wait", "delayed"):
            assert len(await queue.clean(0, 100, state)) == 10
        counts = await queue.getJobCounts("waiting", "delayed")
        await queue.obliterate()
        return counts

    assert not any(with_queue(broker, empty).values())
    with redis.Redis.from_url(broker) as client:
        assert client.keys("bull:jobs:[0-9]*") == []
