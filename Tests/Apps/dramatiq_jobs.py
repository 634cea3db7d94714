"""Dramatiq's actors."""

import os
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage
from dramatiq.results import Results
from dramatiq.results.backends.redis import RedisBackend

broker = RedisBroker(url=os.environ["BROKER"])
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["BROKER"])))
broker.add_middleware(CurrentMessage())
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def hello(name):
    return f"hello {name}"


@dramatiq.actor(store_results=True, max_retries=3, min_backoff=100, max_backoff=200)
def third_time_lucky():
    message = CurrentMessage.get_current_message()
    tries = message.options.get("retries", 0)
    if tries < 2:
        raise RuntimeError("not yet")
    return tries


@dramatiq.actor(store_results=True)
def clock():
    return time.time()
