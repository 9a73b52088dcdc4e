"""Fixtures: servers started once per test process, a fresh database and an empty Redis for each test."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

import pytest
import redis as redis_client
from hypothesis import HealthCheck
from hypothesis import settings as drawing_settings

from taskhub import failpoints
from taskhub.broker.broker import Broker
from taskhub.settings.fields import Settings
from taskhub.store.connection import Connection
from taskhub.store.migrations import migrate
from tests.harness.rows import Rows
from tests.harness.servers import Postgres, Redis, new_database, started
from tests.sweep import drawing

_TEMPLATE = "taskhub_template"
_LOG_END_CHARS = 8000


# How fast a busy machine draws an example, or tries it, says nothing of what is tested.
drawing_settings.register_profile("taskhub", deadline=None, suppress_health_check=[HealthCheck.too_slow])
drawing_settings.load_profile("taskhub")


def pytest_configure() -> None:
    drawing.seed()  # before other test processes are started: they inherit it


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what its programs said last: it may not fail again for a long time."""
    report = yield
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    if report.failed and folder is not None:
        for log in sorted(folder.glob("*.log")):
            text = log.read_text(errors="replace")[-_LOG_END_CHARS:]
            report.sections.append((f"the end of {log.name}", text))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"drawn with {drawing.SEED}={drawing.seed()}")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The test process's own PostgreSQL."""
    with started(Postgres()) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """The test process's own Redis 6.2."""
    with started(Redis()) as server:
        yield server


@pytest.fixture(scope="session")
def _template(postgres: Postgres) -> str:
    postgres.run(f"CREATE DATABASE {_TEMPLATE}")
    migrate(postgres.url(_TEMPLATE))
    return _TEMPLATE


@pytest.fixture
def empty_pg_url(postgres: Postgres) -> Iterator[str]:
    """A database with nothing in it."""
    with new_database(postgres) as url:
        yield url


@pytest.fixture
def pg_url(postgres: Postgres, _template: str) -> Iterator[str]:
    """A database with the current schema and no rows."""
    with new_database(postgres, _template) as url:
        yield url


@pytest.fixture
def redis_url(redis_server: Redis) -> Iterator[str]:
    """The URL of an empty Redis."""
    with redis_server.client() as client:
        client.flushall()
        yield redis_server.url
        client.flushall()


@pytest.fixture
def redis(redis_server: Redis, redis_url: str) -> Iterator[redis_client.Redis]:
    """A plain client of the empty Redis, to look behind taskhub's back."""
    with redis_server.client() as client:
        yield client


@pytest.fixture
def connect(pg_url: str) -> Iterator[Callable[[], Connection]]:
    """Makes connections to the test's database, and closes them."""
    made: list[Connection] = []

    def make() -> Connection:
        made.append(Connection(pg_url, application="taskhub test"))
        return made[-1]

    yield make
    for connection in made:
        connection.close()


@pytest.fixture
def store(connect: Callable[[], Connection]) -> Connection:
    """A connection to the test's database."""
    return connect()


@pytest.fixture
def rows(pg_url: str) -> Iterator[Rows]:
    """The test's database, behind taskhub's back."""
    made = Rows(pg_url)
    yield made
    made.close()


@pytest.fixture
def broker(redis_url: str) -> Iterator[Broker]:
    """taskhub's own access to the empty Redis."""
    made = Broker(redis_url, timeout_s=5)
    yield made
    made.close()


@pytest.fixture
def settings(pg_url: str, redis_url: str) -> Callable[..., Settings]:
    """Makes settings for the test's servers: `settings(max_attempts=1, internal_heartbeat_s=0.5)`."""

    def make(**changes: object) -> Settings:
        environ = {"TASKHUB_DATABASE_URL": pg_url, "TASKHUB_REDIS_URL": redis_url, "TASKHUB_ENV": "test"}
        return Settings.load(environ | {f"TASKHUB_{name.upper()}": str(value) for name, value in changes.items()})

    return make


@pytest.fixture(autouse=True)
def _no_failpoints() -> Iterator[None]:
    yield
    failpoints.arm("")
