"""RQ: jobs that workers take from lists."""

import datetime
import time

import pytest
import redis
from rq import Queue, Retry

import rq_jobs


pytestmark = pytest.mark.needs_scripts("its worker and its locks send EVALSHA")


@pytest.fixture
def queue(broker, worker):
    worker("-m", "rq.cli", "worker", "--url", broker, "--with-scheduler", "--worker-class",
           "rq.worker.SimpleWorker")
    with redis.Redis.from_url(broker) as client:
        yield Queue(connection=client)


def result(job, until):
    def ended():
        job.refresh()
        return job.is_finished or job.is_failed and not job.retries_left

    until(ended)
    assert job.is_finished, job.latest_result()
    return job.return_value()


def test_a_job_runs_and_its_result_comes_back(queue, until):
    assert result(queue.enqueue(rq_jobs.hello, "world"), until) == "hello world"


def test_a_job_is_tried_again(queue, until):
    job = queue.enqueue(rq_jobs.third_time_lucky, retry=Retry(max=3))
    assert result(job, until) == 3


def test_a_job_waits_for_its_time(queue, until):
    asked = time.time()
    job = queue.enqueue_in(datetime.timedelta(seconds=2), rq_jobs.clock)
    # Scheduled to the second.
    assert result(job, until) >= asked + 0.9
