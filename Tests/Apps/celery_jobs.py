"""Celery's tasks."""

import os
import time

from celery import Celery

app = Celery("jobs", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.broker_connection_retry_on_startup = True


@app.task
def hello(name):
    return f"hello {name}"


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def double(number):
    return 2 * number


@app.task(bind=True, max_retries=3)
def third_time_lucky(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.2)
    return self.request.retries


@app.task
def clock():
    return time.time()
