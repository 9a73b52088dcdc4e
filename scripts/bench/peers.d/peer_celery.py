"""Celery on Redis: prefork with two processes; its default, and the setting for jobs that must not be lost.

https://docs.celeryq.dev/en/stable/userguide/optimizing.html: late acknowledgement with a prefetch multiplier of 1;
https://docs.celeryq.dev/en/stable/userguide/tasks.html: `task_reject_on_worker_lost` for a process that is killed.
There is no result backend by default.
"""

from __future__ import annotations

import os
import sys
from urllib.parse import parse_qs, urlsplit

import job_body
from celery import Celery
from redis import Redis

PACKAGE = "celery"
VARIANTS = ("", "acks_late")


def _broker_url(url: str) -> str:
    """Celery writes a socket's path and the database's number in its own way."""
    parts = urlsplit(url)
    return f"redis+socket://{parts.path}?virtual_host={parse_qs(parts.query)['db'][0]}"


app = Celery("peer_celery", broker=_broker_url(os.environ["BENCH_REDIS_URL"]))
if os.environ["BENCH_VARIANT"] == "acks_late":
    app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, worker_prefetch_multiplier=1)


@app.task
def noop() -> None:
    """Run the body."""
    job_body.noop()


@app.task
def stamp(number: int) -> None:
    """Run the body."""
    job_body.stamp(number)


def commands(variant: str) -> list[list[str]]:
    """One worker with two pool processes."""
    return [[sys.executable, "-m", "celery", "--app", "peer_celery", "worker", "--concurrency", "2"]]


class Submitting:
    """`.delay()`; a group sends one message after the other, so there is none for many."""

    def __init__(self) -> None:
        self._redis = Redis.from_url(os.environ["BENCH_REDIS_URL"])

    def prepare(self) -> None:
        """Nothing to be made."""

    def submit(self) -> None:
        noop.delay()

    def submit_stamp(self, number: int) -> None:
        stamp.delay(number)

    def unsettled(self) -> int:
        """What waits or was delivered and not acknowledged."""
        return int(self._redis.llen("celery") + self._redis.hlen("unacked"))

    def purge(self) -> None:
        self._redis.flushdb()
