"""One API for all tests of a module that leave it as it was: its start takes longer than most of them.

    from tests.harness.shared_api import *
    running = shared_api(TASKHUB_MAX_BODY_BYTES="65536")

The database is the module's, too: with `rows` a test begins on no jobs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.fixtures import environment_of
from tests.harness.programs import Api
from tests.harness.rows import Rows
from tests.harness.servers import Postgres, Redis, new_database

__all__ = ["pg_url", "rows", "shared_api"]


@pytest.fixture(scope="module")
def pg_url(postgres: Postgres, _template: str) -> Iterator[str]:
    """A database with the current schema; no rows in the module's first test."""
    with new_database(postgres, _template) as url:
        yield url


@pytest.fixture
def rows(pg_url: str) -> Iterator[Rows]:
    """The module's database, behind taskhub's back."""
    made = Rows(pg_url)
    made.sql("TRUNCATE jobs CASCADE")
    yield made
    made.close()


def shared_api(**settings: str) -> Any:
    """A fixture: the module's API."""

    @pytest.fixture(scope="module")
    def running(pg_url: str, redis_server: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
        folder = tmp_path_factory.mktemp("shared")
        with Api({**environment_of(pg_url, redis_server.url, folder / "ledger"), **settings}, folder) as program:
            yield program

    return running
