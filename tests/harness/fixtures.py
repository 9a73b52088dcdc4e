"""Fixtures of the tests that run real programs: `from tests.harness.fixtures import *` in a conftest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskhub.store.migrations import migrate
from tests.harness.ledger import VARIABLE, Ledger
from tests.harness.programs import Api, Worker
from tests.harness.servers import Postgres, Redis, started

__all__ = ["MakeApi", "MakeWorker", "api", "environment", "frail_postgres", "frail_redis", "ledger", "worker"]

MakeApi = Callable[..., Api]
MakeWorker = Callable[..., Worker]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Where the handlers of this test write what they do."""
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def frail_postgres() -> Iterator[Postgres]:
    """A migrated server of this test's own."""
    with started(Postgres()) as server:
        migrate(server.url("postgres"))
        yield server


@pytest.fixture
def frail_redis() -> Iterator[Redis]:
    """A server of this test's own."""
    with started(Redis()) as server:
        yield server


@pytest.fixture
def environment(pg_url: str, redis_url: str, ledger: Ledger) -> dict[str, str]:
    """What API and worker have in common."""
    return environment_of(pg_url, redis_url, ledger.path)


def environment_of(pg_url: str, redis_url: str, ledger: Path) -> dict[str, str]:
    """The same for other servers."""
    return {
        "TASKHUB_DATABASE_URL": pg_url,
        "TASKHUB_REDIS_URL": redis_url,
        "TASKHUB_HANDLERS": "tests.harness.handlers",
        "TASKHUB_AUTH": "off",
        VARIABLE: str(ledger),
    }


@pytest.fixture
def api(environment: dict[str, str], tmp_path: Path) -> Iterator[MakeApi]:
    """Makes an API that is still to be started: `with api() as running:`."""
    made: list[Api] = []

    def make(name: str = "api", **settings: str) -> Api:
        made.append(Api({**environment, **settings}, tmp_path, name))
        return made[-1]

    yield make
    for program in made:
        program.end()


@pytest.fixture
def worker(environment: dict[str, str], tmp_path: Path) -> Iterator[MakeWorker]:
    """Makes a worker of two children that is still to be started: `with worker() as running:`."""
    made: list[Worker] = []

    def make(name: str = "worker", **settings: str) -> Worker:
        made.append(Worker({**environment, **settings}, tmp_path, name))
        return made[-1]

    yield make
    for program in made:
        program.end()
