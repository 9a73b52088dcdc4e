"""Real programs, servers that a test may harm, and a worker whose other processes the test plays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from taskhub.broker.broker import Broker
from taskhub.settings.fields import Settings
from taskhub.store.connection import Connection
from tests.harness.audit import keep_history
from tests.harness.fixtures import *  # noqa: F403 (fixtures are found by their names here)
from tests.harness.ledger import VARIABLE, Ledger
from tests.harness.played_worker import PlayedWorker
from tests.harness.proxy import Proxy
from tests.harness.rows import Rows
from tests.harness.servers import Postgres, Redis


@pytest.fixture
def recorded_rows(rows: Rows) -> Rows:
    """The test's database, keeping a history of every job's statuses."""
    keep_history(rows)
    return rows


@pytest.fixture
def stage(
    settings: Callable[..., Settings],
    store: Connection,
    broker: Broker,
    recorded_rows: Rows,
    ledger: Ledger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[PlayedWorker]:
    """A worker with real children; the test is its supervisor and its sidecar."""
    monkeypatch.setenv(VARIABLE, str(ledger.path))
    made = PlayedWorker(settings, store, broker, tmp_path / "state")
    yield made
    made.end()


@pytest.fixture
def pg_proxy(postgres: Postgres) -> Iterator[Proxy]:
    """A network before PostgreSQL; see `proxied_pg_url`."""
    with Proxy(str(postgres.folder / ".s.PGSQL.5432")) as proxy:
        yield proxy


@pytest.fixture
def proxied_pg_url(pg_proxy: Proxy, pg_url: str) -> str:
    return f"postgresql://postgres@127.0.0.1:{pg_proxy.port}{urlsplit(pg_url).path}"


@pytest.fixture
def redis_proxy(redis_server: Redis) -> Iterator[Proxy]:
    """A network before Redis; see `proxied_redis_url`."""
    with Proxy(str(redis_server.folder / "redis.sock")) as proxy:
        yield proxy


@pytest.fixture
def proxied_redis_url(redis_proxy: Proxy, redis_url: str) -> str:
    return f"redis://127.0.0.1:{redis_proxy.port}/0"
