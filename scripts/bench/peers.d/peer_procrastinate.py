"""Procrastinate: two processes of its worker; its default of one job at a time, and the concurrency of its guide.

https://procrastinate.readthedocs.io/en/stable/howto/production/concurrency.html.
Finished jobs are kept by default, as ours.
"""

from __future__ import annotations

import os
import sys

import job_body
import procrastinate
import psycopg

PACKAGE = "procrastinate"
VARIANTS = ("", "concurrency 30")

_BULK = 1_000
_URL = os.environ["BENCH_DATABASE_URL"]

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=_URL))


@app.task(name="noop")
async def noop() -> None:
    """Run the body."""
    job_body.noop()


@app.task(name="stamp")
async def stamp(number: int) -> None:
    """Run the body."""
    job_body.stamp(number)


def commands(variant: str) -> list[list[str]]:
    """Two processes."""
    worker = [sys.executable, "-m", "procrastinate", "--app", "peer_procrastinate.app", "worker"]
    return [[*worker, *(["--concurrency", "30"] if variant else [])]] * 2


class Submitting:
    """`defer`, which takes the connector for synchronous programs by itself, and `batch_defer` with 1,000 in a call."""

    def __init__(self) -> None:
        self._connection = psycopg.connect(_URL, autocommit=True)
        app.open()

    def prepare(self) -> None:
        """Its schema."""
        if not self._connection.execute("SELECT to_regclass('procrastinate_jobs')").fetchone()[0]:
            app.schema_manager.apply_schema()

    def submit(self) -> None:
        noop.defer()

    def submit_stamp(self, number: int) -> None:
        stamp.defer(number=number)

    def submit_many(self, count: int) -> None:
        for first in range(0, count, _BULK):
            noop.batch_defer(*[{}] * min(_BULK, count - first))

    def unsettled(self) -> int:
        """Jobs that wait or run."""
        query = "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
        return int(self._connection.execute(query).fetchone()[0])

    def purge(self) -> None:
        self._connection.execute("DELETE FROM procrastinate_jobs WHERE status IN ('todo', 'doing')")
