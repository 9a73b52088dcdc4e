"""Plain SQL migrations, `NNNN_verb_noun.sql`, applied in order, each in a transaction of its own.

Two runners at once are kept apart by an advisory lock. Each applied file's checksum is recorded; a
file that changed afterwards is refused. Killed half-way, a migration leaves nothing and is simply run
again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from taskhub.domain.errors import SchemaOutdatedError, StatementError, TaskhubError
from taskhub.store.connection import Connection

_LOCK = 7_450_183_221_001  # an arbitrary number of our own
_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL
)"""


class MigrationError(TaskhubError):
    """The database's history does not fit these files."""

    code = "migration"


@dataclass(frozen=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


@cache
def available() -> list[Migration]:
    """The migrations that ship with this version, in order."""
    package = Path(__file__).parent.parent
    folders = (package / "migrations", package.parent / "db" / "migrations")  # in a wheel; in a checkout
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        raise MigrationError("the migrations are missing from this installation; reinstall taskhub")
    files = sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    return [Migration(int(f.name[:4]), f.stem, f.read_text(encoding="utf-8")) for f in files]


def migrate(database_url: str) -> list[str]:
    """Apply what is missing; returns the names applied (none: the schema was current).

    Raises MigrationError if an applied file has changed or is unknown here, StoreUnavailableError.
    """
    connection = Connection(database_url, application="taskhub migrate", statement_s=600, lock_s=10)
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", _LOCK)
        connection.execute(_HISTORY)
        return [step.name for step in _missing(connection) if _apply(connection, step)]
    finally:
        connection.close()


def require_current(connection: Connection) -> None:
    """Raise SchemaOutdatedError unless every migration of this version is applied."""
    newest = available()[-1].version
    try:
        [(applied,)] = connection.execute("SELECT coalesce(max(version), 0) FROM schema_migrations")
    except StatementError as error:
        raise SchemaOutdatedError(f"run `taskhub migrate`: {error}") from error
    if applied < newest:
        raise SchemaOutdatedError(f"the schema is at {applied}, this version needs {newest}: run `taskhub migrate`")


def _missing(connection: Connection) -> list[Migration]:
    applied = {
        version: (name, checksum)
        for version, name, checksum in connection.execute("SELECT version, name, checksum FROM schema_migrations")
    }
    steps = available()
    for step in steps:
        if step.version in applied and applied[step.version][1] != step.checksum:
            raise MigrationError(f"{step.name} was changed after it had been applied; restore the file")
    return [step for step in steps if step.version not in applied]


def _apply(connection: Connection, step: Migration) -> bool:
    connection.execute("BEGIN")
    try:
        connection.execute(step.sql)
        connection.execute(
            "INSERT INTO schema_migrations VALUES (%s, %s, %s, clock_timestamp())",
            step.version,
            step.name,
            step.checksum,
        )
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return True
