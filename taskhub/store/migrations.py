"""Plain SQL migrations, `NNNN_verb_noun.sql`, applied in order, each in a transaction of its own.

Two runners at once are kept apart by an advisory lock. Each applied file's checksum is recorded; a
file that changed afterwards is refused. Killed half-way, a migration leaves nothing and is simply run
again. A table that others hold is waited for a second at a time, for they wait behind us meanwhile.

A file's line `-- allows: N` says that code whose newest migration is N may run on the schema that it makes, and no
older code. It is recorded with the migration, so code that does not know a migration learns whether it may serve: a
newer schema stops nobody whom it allows, and rolling deploys and rollbacks go on.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from taskhub import clock
from taskhub.domain.backoff import reconnect_delay_s
from taskhub.domain.errors import SchemaOutdatedError, StoreUnavailableError, TaskhubError
from taskhub.store.connection import Connection, Store
from taskhub.store.server import schema_versions

_LOCK = 7_450_183_221_001  # an arbitrary number of our own
_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL,
    allows integer
)"""
_HAS_ALLOWS = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'schema_migrations'::regclass AND attname = 'allows'"
_ADD_ALLOWS = "ALTER TABLE schema_migrations ADD COLUMN allows integer"  # to a history that the first version made
_ALLOWS = re.compile(r"^-- allows: (\d+)$", re.MULTILINE)
_LOCK_S = 1.0
_PATIENCE_S = 120.0


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

    @property
    def allows(self) -> int:
        """The oldest code that may run on what this makes, by its newest migration."""
        found = _ALLOWS.search(self.sql)
        return int(found[1]) if found else self.version


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


def migrate(database_url: str, patience_s: float = _PATIENCE_S) -> list[str]:
    """Apply what is missing; returns the names applied (none: the schema was current, or newer and allows this code).

    Raises MigrationError if an applied file has changed; SchemaOutdatedError if the schema is too new;
    StoreUnavailableError if PostgreSQL is away, or others hold what must be changed for longer than `patience_s`.
    """
    connection = Connection(database_url, application="taskhub migrate", statement_s=600, lock_s=_LOCK_S)
    applied: list[str] = []
    ends_s, tries = clock.monotonic_s() + patience_s, 0
    try:
        connection.execute("SELECT 1")
        while True:
            try:
                _migrate(connection, applied)
                return applied
            except StoreUnavailableError as error:
                connection.close()
                if isinstance(error, SchemaOutdatedError):
                    raise
                if clock.monotonic_s() >= ends_s:
                    raise StoreUnavailableError(
                        f"gave up after {patience_s:g} s: {error}; see in pg_locks who is in the way, and try again"
                    ) from error
                tries += 1
                clock.sleep(reconnect_delay_s(tries, 0.2, 5.0))
    finally:
        connection.close()


def require_current(store: Store, *, timeout_s: float | None = None) -> str | None:
    """Raise SchemaOutdatedError unless this code may run on the schema, which is read each time.

    Returns in words that it is newer than this code, which it allows; None if it is not.
    """
    try:
        applied = schema_versions(store, timeout_s=timeout_s)
    except SchemaOutdatedError:
        applied = {}
    _require_fit(applied)
    newest, at = max(step.version for step in available()), max(applied)
    return f"schema is at {at}, newer than this version's {newest}, and allows it" if at > newest else None


def require_unchanged(connection: Connection) -> None:
    """Raise MigrationError if an applied migration is not what its file says."""
    _missing(connection)


def _require_fit(applied: dict[int, int]) -> None:
    known = {step.version for step in available()}
    newest = max(known)
    if missing := known - set(applied):
        at = min(missing) - 1
        raise SchemaOutdatedError(f"schema is at {at}, this version needs {newest}: run `taskhub migrate`")
    allows = max((allowed for version, allowed in applied.items() if version > newest), default=newest)
    if allows > newest:
        raise SchemaOutdatedError(
            f"schema is at {max(applied)} and allows versions from {allows} on; this is {newest}: run a newer one"
        )


def _migrate(connection: Connection, applied: list[str]) -> None:
    [(is_ours,)] = connection.execute("SELECT pg_try_advisory_lock(%s)", _LOCK)
    if not is_ours:
        raise StoreUnavailableError("another `taskhub migrate` is at work")
    connection.execute(_HISTORY)
    if connection.execute(_HAS_ALLOWS) == [(0,)]:
        connection.execute(_ADD_ALLOWS)
    for step in _missing(connection):
        _apply(connection, step)
        applied.append(step.name)
    _require_fit(schema_versions(connection))


def _missing(connection: Connection) -> list[Migration]:
    applied: dict[int, str] = dict(connection.execute("SELECT version, checksum FROM schema_migrations"))
    steps = available()
    for step in steps:
        if applied.get(step.version, step.checksum) != step.checksum:
            raise MigrationError(f"{step.name} was changed after it had been applied; restore the file")
    return [step for step in steps if step.version not in applied]


def _apply(connection: Connection, step: Migration) -> None:
    connection.execute("BEGIN")
    try:
        connection.execute(step.sql)
        connection.execute(
            "INSERT INTO schema_migrations VALUES (%s, %s, %s, clock_timestamp(), %s)",
            step.version,
            step.name,
            step.checksum,
            step.allows,
        )
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
