"""taskiq on Redis: two processes; streams, which it names for durable data, and lists, without acknowledgements.

https://github.com/taskiq-python/taskiq-redis#brokers and https://taskiq-python.github.io/guide/cli.html;
no result backend, as none of the others stores the result of a no-op.
"""

from __future__ import annotations

import os
import sys

import job_body
from redis import Redis
from taskiq_redis import ListQueueBroker, RedisStreamBroker

PACKAGE = "taskiq"
VARIANTS = ("", "lists")

_QUEUE = "taskiq"
_is_list = os.environ["BENCH_VARIANT"] == "lists"
broker = (ListQueueBroker if _is_list else RedisStreamBroker)(os.environ["BENCH_REDIS_URL"], queue_name=_QUEUE)


@broker.task
async def noop() -> None:
    """Run the body."""
    job_body.noop()


@broker.task
async def stamp(number: int) -> None:
    """Run the body."""
    job_body.stamp(number)


def commands(variant: str) -> list[list[str]]:
    """One master with two processes."""
    return [[sys.executable, "-m", "taskiq", "worker", "--workers", "2", "peer_taskiq:broker"]]


class Submitting:
    """`.kiq()`, one awaited after the other; there is no call for many."""

    def __init__(self) -> None:
        self._redis = Redis.from_url(os.environ["BENCH_REDIS_URL"])

    async def prepare(self) -> None:
        """The stream's group, which sees only what comes after it."""
        await broker.startup()

    async def submit(self) -> None:
        await noop.kiq()

    async def submit_stamp(self, number: int) -> None:
        await stamp.kiq(number)

    def unsettled(self) -> int:
        """What waits; of a stream: was not delivered or not acknowledged."""
        if _is_list:
            return int(self._redis.llen(_QUEUE))
        [group] = self._redis.xinfo_groups(_QUEUE)
        behind = group.get("lag")  # Redis 7
        if behind is None:
            waiting = self._redis.xrange(_QUEUE, "(" + group["last-delivered-id"].decode(), count=1)
            behind = len(waiting)
        return int(behind + group["pending"])

    def purge(self) -> None:
        self._redis.flushdb()
