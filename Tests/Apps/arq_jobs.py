"""arq's jobs and its worker's settings."""

import os
import time

from arq import Retry
from arq.connections import RedisSettings


async def hello(context, name):
    return f"hello {name}"


async def third_time_lucky(context):
    if context["job_try"] < 3:
        raise Retry(defer=0.2)
    return context["job_try"]


async def clock(context):
    return time.time()


class WorkerSettings:
    functions = [hello, third_time_lucky, clock]
    redis_settings = RedisSettings.from_dsn(os.environ.get("BROKER", "redis://localhost"))
    poll_delay = 0.1
