"""RQ: a pool of two workers, which fork for each job; and of two SimpleWorkers, which do not.

https://python-rq.org/docs/workers/#worker-pool. It says of SimpleWorker that it is not recommended for production
unless its limits are understood (no heartbeat while a job runs).
"""

from __future__ import annotations

import os
import sys

import job_body
from redis import Redis
from rq import Queue

PACKAGE = "rq"
VARIANTS = ("", "SimpleWorker")

_BULK = 1_000


def noop() -> None:
    """Run the body."""
    job_body.noop()


def stamp(number: int) -> None:
    """Run the body."""
    job_body.stamp(number)


def commands(variant: str) -> list[list[str]]:
    """One pool of two workers."""
    pool = [sys.executable, "-m", "rq.cli", "worker-pool", "default", "--num-workers", "2"]
    kind = ["--worker-class", f"rq.worker.{variant}"] if variant else []
    return [[*pool, *kind, "--url", os.environ["BENCH_REDIS_URL"]]]


class Submitting:
    """`enqueue`, and `enqueue_many` with 1,000 in a pipeline."""

    def __init__(self) -> None:
        self._redis = Redis.from_url(os.environ["BENCH_REDIS_URL"])
        self._queue = Queue(connection=self._redis)

    def prepare(self) -> None:
        """Nothing to be made."""

    def submit(self) -> None:
        self._queue.enqueue("peer_rq.noop")

    def submit_stamp(self, number: int) -> None:
        self._queue.enqueue("peer_rq.stamp", number)

    def submit_many(self, count: int) -> None:
        for first in range(0, count, _BULK):
            jobs = [Queue.prepare_data("peer_rq.noop") for _ in range(min(_BULK, count - first))]
            self._queue.enqueue_many(jobs)

    def unsettled(self) -> int:
        """What waits or is in the register of started jobs."""
        return int(self._queue.count + self._redis.zcard(self._queue.started_job_registry.key))

    def purge(self) -> None:
        self._redis.flushdb()
