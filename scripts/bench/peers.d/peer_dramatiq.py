"""Dramatiq on Redis: two processes of 8 threads, its default; and of one thread, as ours are.

https://dramatiq.io/guide.html#workers; logging and middleware are its defaults, results are off by default.
"""

from __future__ import annotations

import os
import sys

import dramatiq
import job_body
from dramatiq.brokers.redis import RedisBroker

PACKAGE = "dramatiq"
VARIANTS = ("", "1 thread")

broker = RedisBroker(url=os.environ["BENCH_REDIS_URL"])
dramatiq.set_broker(broker)


@dramatiq.actor
def noop() -> None:
    """Run the body."""
    job_body.noop()


@dramatiq.actor
def stamp(number: int) -> None:
    """Run the body."""
    job_body.stamp(number)


def commands(variant: str) -> list[list[str]]:
    """One master with two processes."""
    threads = ["--threads", "1"] if variant else []
    return [[sys.executable, "-m", "dramatiq", "--processes", "2", *threads, "peer_dramatiq"]]


class Submitting:
    """`.send()`; there is no call for many."""

    def prepare(self) -> None:
        """Nothing to be made."""

    def submit(self) -> None:
        noop.send()

    def submit_stamp(self, number: int) -> None:
        stamp.send(number)

    def unsettled(self) -> int:
        """Messages that are not acknowledged: they stay in a hash until then."""
        return int(broker.client.hlen("dramatiq:default.msgs"))

    def purge(self) -> None:
        broker.client.flushdb()
