"""Huey on Redis: a consumer with two worker processes.

https://huey.readthedocs.io/en/latest/consumer.html; a task that returns None stores no result by default.
"""

from __future__ import annotations

import os
import sys

import job_body
from huey import RedisHuey

PACKAGE = "huey"
VARIANTS = ("",)

huey = RedisHuey("bench", url=os.environ["BENCH_REDIS_URL"])


@huey.task()
def noop() -> None:
    """Run the body."""
    job_body.noop()


@huey.task()
def stamp(number: int) -> None:
    """Run the body."""
    job_body.stamp(number)


def commands(variant: str) -> list[list[str]]:
    """One consumer with two worker processes and a scheduler."""
    consumer = [sys.executable, "-m", "huey.bin.huey_consumer", "peer_huey.huey"]
    return [[*consumer, "--workers", "2", "--worker-type", "process"]]


class Submitting:
    """A call of the task; `map` is a loop of calls, so there is none for many."""

    def prepare(self) -> None:
        """Nothing to be made."""

    def submit(self) -> None:
        noop()

    def submit_stamp(self, number: int) -> None:
        stamp(number)

    def unsettled(self) -> int:
        """What waits: there are no acknowledgements."""
        return int(huey.storage.queue_size())

    def purge(self) -> None:
        huey.storage.conn.flushdb()
