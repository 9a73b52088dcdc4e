"""What the benchmarks share: servers of their own, a worker as shipped, preloaded jobs."""

from __future__ import annotations

import contextlib
import json
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
from taskhub.broker.broker import Broker
from taskhub.cli.dev.tcp_ports import free_port, is_ready
from taskhub.embedded.postgres import EmbeddedPostgres
from taskhub.embedded.redis import EmbeddedRedis
from taskhub.store.connection import Connection
from taskhub.store.statements import uuid_array

HERE = Path(__file__).parent
CHECKOUT = HERE.parent.parent
_MIGRATE = "from taskhub.cli.main import main; main()"


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
        assert postgres.pid is not None
        assert redis.pid is not None
        yield Servers(postgres.url, redis.url, postgres.pid, redis.pid, folder)
    finally:
        redis.stop()
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Side:
    """A checkout, with a database of its own schema and a numbered Redis of its own, on the shared servers."""

    checkout: Path
    database_url: str
    redis_url: str
    folder: Path

    def environment(self) -> dict[str, str]:
        """What a program of this checkout is started with; the interpreter and its libraries are the bench's own."""
        rest = {name: value for name, value in os.environ.items() if not name.startswith("TASKHUB_")}
        return rest | {
            "TASKHUB_DATABASE_URL": self.database_url,
            "TASKHUB_REDIS_URL": self.redis_url,
            "TASKHUB_STATE_DIR": str(self.folder / "state"),
            "TASKHUB_METRICS_PORT": "0",
            "TASKHUB_HANDLERS": "bench_handlers",
            "PYTHONPATH": f"{self.checkout}:{HERE}",
        }


def bare_side(place: Servers, number: int, checkout: Path = CHECKOUT, has_database: bool = True) -> Side:
    """Make the folder of a side and, if it shall have one, its database, which is empty."""
    name = f"side{number}"
    if has_database:
        Connection(place.database_url, statement_s=60).execute(f"CREATE DATABASE {name}")
    database_url = place.database_url.replace("@/taskhub?", f"@/{name}?")
    made = Side(checkout, database_url, place.redis_url.replace("db=0", f"db={number}"), place.folder / name)
    made.folder.mkdir()
    return made


def side(place: Servers, number: int, checkout: Path = CHECKOUT) -> Side:
    """Make the database of a side, with the schema of its checkout."""
    made = bare_side(place, number, checkout)
    command = [sys.executable, "-c", _MIGRATE, "migrate"]
    subprocess.run(command, cwd=checkout, env=made.environment(), check=True, stdout=subprocess.DEVNULL)
    return made


@contextlib.contextmanager
def worker(side: Side, children: int) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m supervisor` with default settings, its log in a file; ready when all children consume."""
    environment = side.environment() | {"TASKHUB_WORKER_PROCESSES": str(children)}
    command = [sys.executable, "-m", "supervisor"]
    with (side.folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=side.checkout, env=environment, stdout=log, stderr=log)
    store = Connection(side.database_url)
    try:
        await_true(lambda: len(store.execute("SELECT FROM slots WHERE NOT closed")) >= children, 30)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)
        store.close()


@contextlib.contextmanager
def api(side: Side) -> Iterator[int]:
    """`taskhub api` with default settings on a free port, its log in a file; ready when it says so."""
    port = free_port("127.0.0.1")
    environment = side.environment() | {"TASKHUB_HTTP_PORT": str(port), "TASKHUB_HANDLERS": ""}
    command = [sys.executable, "-m", "taskhub.cli.main", "api"]
    with (side.folder / "api.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=side.checkout, env=environment, stdout=log, stderr=log)
    try:
        await_true(lambda: is_ready("127.0.0.1", port), 30)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


_PRELOAD = """
INSERT INTO jobs (id, created_at, updated_at, max_attempts, priority, status, queue, type, payload)
SELECT id, clock_timestamp(), clock_timestamp(), 5, 4, 'queued', 'default', %s, %s::json
FROM unnest(%s::uuid[]) AS id
"""


def preload(store: Connection, count: int, job_type: str, text: str = "") -> list[str]:
    """Insert jobs without pushing them, each with `text` in its payload; returns their ids in order."""
    payload = json.dumps({"type": job_type, **({"text": text} if text else {})})
    store.execute("SELECT taskhub_know_queue('default', 4)")
    made: list[str] = []
    while len(made) < count:
        batch = ids.new_ids(min(5000, count - len(made)))
        store.execute(_PRELOAD, job_type, payload, uuid_array(batch), timeout_s=300)
        made += batch
    return made


def push(broker: Broker, job_ids: list[str]) -> None:
    for start in range(0, len(job_ids), 5000):
        broker.push("default", 4, job_ids[start : start + 5000])


def await_true(condition: Callable[[], bool], within_s: float, every_s: float = 0.02) -> None:
    """Wait for a condition; TimeoutError if it does not come."""
    until = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"not within {within_s} s")
        time.sleep(every_s)
