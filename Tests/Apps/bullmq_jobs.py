"""BullMQ's worker: `bullmq_jobs.py QUEUE CONCURRENCY` runs until it is ended."""

import asyncio
import os
import signal
import sys
import time

import redis.asyncio
from bullmq import Worker


async def process(job, token):
    async with redis.asyncio.Redis.from_url(os.environ["BROKER"]) as client:
        await client.rpush("ran", job.id)
        match job.name:
            case "hello":
                return "hello " + job.data["who"]
            case "third time lucky":
                tries = await client.incr("tries:" + job.id)
                if tries < 3:
                    raise RuntimeError("not yet")
                return tries
            case "never":
                raise RuntimeError("always")
            case "clock":
                return time.time()
            case "progress":
                await job.updateProgress(40)
                await job.log("half way")
                return "done"
    return None


async def main(queue, concurrency):
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    worker = Worker(queue, process, {"connection": os.environ["BROKER"], "concurrency": concurrency})
    await ended.wait()
    await worker.close()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
