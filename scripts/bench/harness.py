"""What the benchmarks share: servers of their own, a worker as shipped, CPU time by process, preloaded jobs."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from taskhub import ids
from taskhub.embedded.postgres import EmbeddedPostgres
from taskhub.embedded.redis import EmbeddedRedis
from taskhub.queue.broker import Broker
from taskhub.store.connection import Connection
from taskhub.store.migrations import migrate
from taskhub.store.statements import uuid_array

HERE = Path(__file__).parent
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Servers:
    """Real servers with their shipped settings: fsync on, appendonly everysec."""

    database_url: str
    redis_url: str
    postgres_pid: int
    redis_pid: int
    folder: Path


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    """Start PostgreSQL and Redis in a scratch folder; everything is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="taskhub-bench-"))
    postgres, redis = EmbeddedPostgres(folder / "postgres"), EmbeddedRedis(folder / "redis")
    try:
        postgres.start()
        redis.start()
        migrate(postgres.url)
        assert postgres.pid is not None
        assert redis.pid is not None
        yield Servers(postgres.url, redis.url, postgres.pid, redis.pid, folder)
    finally:
        redis.stop()
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def worker(place: Servers, children: int) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m supervisor` with default settings, its log in a file; ready when both children consume."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TASKHUB_")} | {
        "TASKHUB_DATABASE_URL": place.database_url,
        "TASKHUB_REDIS_URL": place.redis_url,
        "TASKHUB_STATE_DIR": str(place.folder / "state"),
        "TASKHUB_WORKER_PROCESSES": str(children),
        "TASKHUB_METRICS_PORT": "0",
        "TASKHUB_HANDLERS": "bench_handlers",
        "PYTHONPATH": str(HERE),
    }
    with (place.folder / "worker.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "supervisor"], env=environment, stdout=log, stderr=log)
    store = Connection(place.database_url)
    try:
        await_true(lambda: len(store.execute("SELECT FROM slots WHERE NOT closed")) >= children, 30)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)
        store.close()


_PRELOAD = """
INSERT INTO jobs (id, created_at, updated_at, max_attempts, priority, status, queue, type, payload)
SELECT id, clock_timestamp(), clock_timestamp(), 5, 4, 'queued', 'default', %s, json_build_object('type', %s::text)
FROM unnest(%s::uuid[]) AS id
"""


def preload(store: Connection, count: int, job_type: str) -> list[str]:
    """Insert jobs without pushing them; returns their ids in order."""
    store.run("know_queue", "default", 4)
    made: list[str] = []
    while len(made) < count:
        batch = ids.new_ids(min(5000, count - len(made)))
        store.execute(_PRELOAD, job_type, job_type, uuid_array(batch))
        made += batch
    return made


def push(broker: Broker, job_ids: list[str]) -> None:
    for start in range(0, len(job_ids), 5000):
        broker.push("default", 4, job_ids[start : start + 5000])


def cpu_s(pid: int) -> float:
    """CPU seconds that a living process and those it has reaped have used."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICK


def family(pid: int) -> list[int]:
    """A process and its children."""
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]
    return [pid]


def await_true(condition: Callable[[], bool], within_s: float, every_s: float = 0.02) -> None:
    """Wait for a condition; TimeoutError if it does not come."""
    until = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"not within {within_s} s")
        time.sleep(every_s)
