"""PgQueuer: two processes of `pgq run`, a connection each; its default batch of 10, and one for short jobs.

https://pgqueuer.readthedocs.io/en/latest/guides/deployment/ and .../guides/performance-tuning/: `pgq autovac`, a larger
batch when jobs are short, a connection of its own for the consumer. Durability is the default (logged tables).
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import job_body
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

PACKAGE = "pgqueuer"
VARIANTS = ("", "batch 100")

_BULK = 1_000


@asynccontextmanager
async def factory() -> AsyncIterator[PgQueuer]:
    """What `pgq run` runs."""
    connection = await asyncpg.connect(os.environ["BENCH_DATABASE_URL"])
    queue = PgQueuer(AsyncpgDriver(connection))

    @queue.entrypoint("noop")
    async def noop(job: Job) -> None:
        job_body.noop()

    @queue.entrypoint("stamp")
    async def stamp(job: Job) -> None:
        job_body.stamp(int(job.payload or b"0"))

    yield queue


def commands(variant: str) -> list[list[str]]:
    """Two processes."""
    run = [sys.executable, "-m", "pgqueuer", "run", "peer_pgqueuer:factory", "--shutdown-on-listener-failure"]
    return [[*run, *(["--batch-size", "100"] if variant else [])]] * 2


class Submitting:
    """`enqueue`, with a list for many."""

    async def prepare(self) -> None:
        """`pgq install` and `pgq autovac`."""
        self._connection = await asyncpg.connect(os.environ["BENCH_DATABASE_URL"])
        self._queries = Queries(AsyncpgDriver(self._connection))
        if not await self._queries.schema_is_installed():
            await self._queries.install()
            await self._queries.optimize_autovacuum()

    async def submit(self) -> None:
        await self._queries.enqueue("noop", None)

    async def submit_stamp(self, number: int) -> None:
        await self._queries.enqueue("stamp", str(number).encode())

    async def submit_many(self, count: int) -> None:
        for first in range(0, count, _BULK):
            some = min(_BULK, count - first)
            await self._queries.enqueue(["noop"] * some, [None] * some, [0] * some)

    async def unsettled(self) -> int:
        """What is in the queue's table: what has ended is moved to its log."""
        return int(await self._connection.fetchval("SELECT count(*) FROM pgqueuer"))

    async def purge(self) -> None:
        await self._connection.execute("TRUNCATE pgqueuer")
