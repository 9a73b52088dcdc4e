"""Are PostgreSQL and Redis there, new enough, and set up as taskhub needs them?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from taskhub import addresses
from taskhub.broker.opening import open_broker
from taskhub.domain.errors import SchemaOutdatedError, UnavailableError
from taskhub.settings.fields import Settings
from taskhub.store.connection import Connection
from taskhub.store.migrations import MigrationError, require_current, require_unchanged
from taskhub.store.opening import open_store

OK, REFUSED, AWAY = 0, 1, 3
MIGRATE = "taskhub migrate"
_OLDEST_POSTGRES, _OLDEST_REDIS = 13, (6, 2)

Finding = tuple[int, str, str]  # exit code, what was found, what to run next if anything


def postgres(url: str, settings: Settings) -> Iterator[Finding]:
    """What is told of PostgreSQL, each with its meaning."""
    where = f"PostgreSQL at {addresses.masked(url)}"
    with closing(open_store(settings, "taskhub check")) as connection:
        try:
            [(version,)] = connection.execute("SHOW server_version_num")
            [(encoding,)] = connection.execute("SHOW server_encoding")
            if int(version) < _OLDEST_POSTGRES * 10_000:
                yield (
                    REFUSED,
                    f"{where}: is version {int(version) // 10_000}; {_OLDEST_POSTGRES} or newer is needed",
                    "",
                )
            if encoding != "UTF8":
                cure = "make the database with ENCODING 'UTF8'"
                yield REFUSED, f"{where}: answers, but its encoding is {encoding}: {cure}", ""
            yield _schema(connection, where)
        except UnavailableError as error:
            yield AWAY, f"{where}: {error}; is it running, and is TASKHUB_DATABASE_URL right?", ""


def _schema(connection: Connection, where: str) -> Finding:
    try:
        newer = require_current(connection)
        require_unchanged(connection)
    except SchemaOutdatedError as error:
        return REFUSED, f"{where}: answers, but {error}", MIGRATE if "taskhub migrate" in str(error) else ""
    except MigrationError as error:
        return REFUSED, f"{where}: answers, but {error}", ""
    return OK, f"{where}: answers, {newer or 'schema current'}", ""


def redis(url: str, settings: Settings) -> Iterator[Finding]:
    """What is told of Redis."""
    where = f"Redis at {addresses.masked(url)}"
    try:
        with closing(open_broker(settings)) as broker:
            policy, version = broker.eviction_policy(), broker.version()
    except UnavailableError as error:
        yield AWAY, f"{where}: {error}; is it running, and is TASKHUB_REDIS_URL right?", ""
        return
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers and numbers < _OLDEST_REDIS:
        yield REFUSED, f"{where}: is version {version}; 6.2 or newer is needed", ""
        return
    yield OK, f"{where}: answers", ""
    if policy != "noeviction":
        yield OK, f"warning: Redis evicts keys ({policy}); set maxmemory-policy noeviction", ""
