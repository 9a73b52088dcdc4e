"""taskhub: as shipped, `python -m supervisor` with default settings and two children."""

from __future__ import annotations

import os
import sys
from typing import Any

import job_body

from taskhub import handler

PACKAGE = "taskhub"
VARIANTS = ("",)


@handler("bench.noop")
def noop(job: object) -> None:
    """Run the body."""
    job_body.noop()


@handler("bench.stamp")
def stamp(job: Any) -> None:
    """Run the body."""
    job_body.stamp(job.payload["number"])


def commands(variant: str) -> list[list[str]]:
    """One supervisor; TASKHUB_WORKER_PROCESSES is 2."""
    return [[sys.executable, "-m", "supervisor"]]


class Submitting:
    """A Producer, which is committed to PostgreSQL when a call returns."""

    def __init__(self) -> None:
        from taskhub import Producer  # not at the top: workers import this module as well
        from taskhub.store.connection import Connection

        self._producer = Producer()
        self._store = Connection(os.environ["TASKHUB_DATABASE_URL"], application="bench", statement_s=60)

    def prepare(self) -> None:
        """The schema is made with the database."""

    def submit(self) -> None:
        self._producer.submit("bench.noop", {})

    def submit_stamp(self, number: int) -> None:
        self._producer.submit("bench.stamp", {"number": number})

    def submit_many(self, count: int) -> None:
        self._producer.submit_many([("bench.noop", {})] * count)

    def unsettled(self) -> int:
        """Jobs without an outcome in PostgreSQL."""
        [(count,)] = self._store.execute("SELECT count(*) FROM jobs WHERE status IN ('queued', 'running')")
        return int(count)

    def purge(self) -> None:
        raise RuntimeError("taskhub left jobs behind")
