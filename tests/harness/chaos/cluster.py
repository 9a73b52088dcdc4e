"""Everything that one row of the table runs on: servers, an API, two workers, clients, and the judge's books."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import psycopg2

from taskhub.store.migrations import migrate
from tests.harness.audit import Verdict, audit, keep_history
from tests.harness.ledger import VARIABLE, Ledger
from tests.harness.piped_worker import PipedWorker
from tests.harness.processes import children_of
from tests.harness.programs import Api, Worker
from tests.harness.receipts import Clients, Receipts
from tests.harness.rows import Rows
from tests.harness.servers import Postgres, Redis
from tests.harness.small_disk import SmallDisk
from tests.waiting import wait_until

if TYPE_CHECKING:
    from typing_extensions import Self

CHILDREN = 2
_CLIENTS = 4
_BUSY = 0.6  # of the children's time, if nothing went wrong
_LEAST, _MOST = 0.4, 1.6  # of the mean: how much jobs' durations differ


class Cluster:
    """Two workers at first, with shipped timers; each is a host with a state folder of its own.

    on_small_disk: the hosts' folders are on a file system of a few megabytes, which a fault can fill (needs root).
    """

    def __init__(self, folder: Path, rng: random.Random, *, on_small_disk: bool = False) -> None:
        self.folder = folder
        self.disk = SmallDisk(folder / "disk") if on_small_disk else None
        self.ledger = Ledger(folder / "ledger")
        self.journal = Receipts(folder / "journal")
        self.postgres = Postgres()
        self.redis = Redis()
        self._seed = rng.random()
        self._rows: Rows | None = None
        self._hosts = 0
        self._mean_s = 0.0
        self.workers: list[PipedWorker] = []

    def __enter__(self) -> Self:
        if self.disk is not None:
            self.disk.mount()
        self.postgres.start()
        self.redis.start()
        migrate(self.postgres.url("postgres"))
        keep_history(self.rows)
        self.api = Api(self._environment(), self.folder)
        self.api.start()
        self.api.wait_ready()
        for _ in range(2):
            self.add_host()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in [*self.workers, self.api]:
            program.end()
        self.journal.close()
        if self._rows is not None:
            self._rows.close()
        self.postgres.remove()
        self.redis.remove()
        if self.disk is not None:
            self.disk.unmount()

    @property
    def rows(self) -> Rows:
        """The database; a connection that was lost is made again."""
        try:
            if self._rows is not None:
                self._rows.sql("SELECT 1")
        except psycopg2.Error:
            self._rows = None
        if self._rows is None:
            self._rows = Rows(self.postgres.url("postgres"))
        return self._rows

    @contextmanager
    def transaction(self, database: str) -> Iterator[Any]:
        """Somebody else's transaction: a cursor, committed at the end."""
        with (
            closing(psycopg2.connect(self.postgres.url(database))) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            yield cursor

    # Hosts

    def add_host(self) -> PipedWorker:
        """Start a worker on a host that was never there before."""
        folder = self.disk.folder if self.disk is not None else self.folder
        worker = PipedWorker(self._environment(), folder, f"host-{self._hosts}", log_folder=self.folder)
        self._hosts += 1
        self.workers.append(worker)
        worker.start()
        worker.wait_ready()
        return worker

    def restart(self, worker: Worker) -> None:
        """Start a worker whose supervisor was killed again, on the same host with the same state folder."""
        worker.start()
        worker.wait_ready()

    def children_of(self, worker: Worker) -> list[int]:
        """The pids of a worker's children that run jobs."""
        found = self.rows.sql("SELECT pid FROM slots WHERE NOT closed")
        return sorted({row["pid"] for row in found} & set(children_of(worker.pid)))

    def held_by(self, worker: Worker) -> int:
        """How many jobs a worker's slots hold at this moment: what may run twice if all its memory is lost."""
        return int(
            self.rows.value(
                "SELECT coalesce(sum(cardinality(s.ids)), 0) FROM slots s JOIN workers w ON w.id = s.worker"
                " WHERE w.pid = %s AND NOT w.expired",
                worker.pid,
            )
        )

    # Load

    def clients(self, count: int, lasts_s: float) -> Clients:
        """Clients that keep the children busy for about so long."""
        self._mean_s = _BUSY * CHILDREN * len(self.workers) * lasts_s / count
        return Clients(self.api.port, self.journal, self._body, count=count, lasts_s=lasts_s, threads=_CLIENTS)

    def completed(self) -> int:
        """How many executions have ended, as far as the handlers know."""
        return self.ledger.path.read_bytes().count(b"end ")

    def wait_rest(self, count: int, deadline_s: float) -> None:
        """Wait until every one of so many jobs is finished."""
        unfinished = "SELECT count(*) FROM jobs WHERE status IN ('queued', 'running')"
        wait_until(
            lambda: self.rows.value("SELECT count(*) FROM jobs") >= count and self.rows.value(unfinished) == 0,
            deadline_s,
            "all jobs are finished",
            every_s=0.25,
        )

    # Judgement

    def stop(self) -> list[int]:
        """Stop workers and API as an operator does; returns the exit codes."""
        return [program.stop() for program in [*self.workers, self.api] if not program.has_ended()]

    def strays(self) -> list[int]:
        """Processes that belong to this cluster's programs and should be gone."""
        mark = f"{VARIABLE}={self.ledger.path}".encode()
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _bears(entry, mark)]

    def judge(self) -> Verdict:
        return audit(self.rows, self.ledger, self.journal.accepted())

    def longest_standstill_s(self) -> float:
        """The longest time in which no job was started, from the first start to the last."""
        starts = sorted(entry.at_ns for entry in self.ledger.entries("start"))
        return max((later - earlier for earlier, later in itertools.pairwise(starts)), default=0) / 1e9

    def _environment(self) -> dict[str, str]:
        return {
            "TASKHUB_DATABASE_URL": self.postgres.url("postgres"),
            "TASKHUB_REDIS_URL": self.redis.url,
            "TASKHUB_HANDLERS": "tests.harness.handlers",
            "TASKHUB_AUTH": "off",
            "TASKHUB_WORKER_PROCESSES": str(CHILDREN),
            VARIABLE: str(self.ledger.path),
        }

    def _body(self, number: int) -> dict[str, Any]:
        """Always the same for one number: a repeated submission must not differ."""
        seconds = self._mean_s * random.Random(f"{self._seed}-{number}").uniform(_LEAST, _MOST)
        return {"payload": {"type": "ledger.sleep", "seconds": round(seconds, 4)}}


def _bears(process: Path, mark: bytes) -> bool:
    if int(process.name) == os.getpid():
        return False
    try:
        return mark in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
