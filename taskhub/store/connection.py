"""One PostgreSQL connection with a deadline on everything it does.

Invariants:
- Every call ends within its time-out, also when the server or the network is frozen: libpq is driven
  asynchronously and this side holds the deadline. A connection that missed it is closed for good.
- Autocommit: each statement is its own transaction, on one round trip, as a prepared statement.
- A lost connection raises StoreUnavailableError; `outcome_unknown` tells if the statement had been sent.
  The next call reconnects. Nothing is ever repeated here: the caller knows what may be.
- Not shared between processes (made after fork) nor used by two threads at once.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from typing import Any, Protocol

import psycopg2

from taskhub import clock, failpoints
from taskhub.domain.errors import BlockedError, SchemaOutdatedError, StatementError, StoreUnavailableError
from taskhub.masking import first_line
from taskhub.store import session
from taskhub.store.statements import statement

Row = tuple[Any, ...]

# Read-only (a demoted primary), too many connections, plans of before a change of the tables: leave this connection;
# the statement was refused.
_REFUSED_HERE = ("25006", "53300", "0A000", "26000", "42P05")
# Shutdown, crash, connection trouble, idle time-outs: leave it as well; the statement may have been done.
_CONNECTION_IS_BAD = ("57P0", "08", "25P0")
# Serialisation, no resources (disk, memory), trouble of the machine: nothing happened, and
# the same statement may succeed later.
_TRY_AGAIN = ("40001", "53", "58")
# Lock time-out, statement time-out, deadlock: others stand in this statement's way, and in no other's.
_IS_BLOCKED = ("55P03", "57014", "40P01")
# A table, column, function or type that is missing or another: no job's fault, whichever statement meets it.
_SCHEMA_IS_OLD = ("42", "3F000")
_NO_RIGHT = "42501"
_BAD_TEXT = "22021"
_TUPLE = re.compile(r"while \w+ tuple \([0-9,]+\) in relation \"[^\"\n]{1,63}\"")
# Key look-ups only: a plan made while the table was tiny must not outlive that. And no cache of what was looked up:
# each row is met once.
_INDEX_ONLY = dict.fromkeys(("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_memoize"), "off") | {
    "plan_cache_mode": "force_generic_plan"
}


class Store(Protocol):
    """What runs named statements: one connection, or several behind one face."""

    def run(self, name: str, *arguments: object, timeout_s: float | None = None) -> list[Row]: ...


class Connection:
    """A lazily made connection; `run` executes a named statement and returns its rows."""

    def __init__(
        self,
        url: str,
        *,
        application: str = "taskhub",
        statement_s: float = 5.0,
        lock_s: float = 4.0,
        connect_s: float = 5.0,
        index_only: bool = False,
    ) -> None:
        self._url = url
        self._application = application
        self._statement_s = statement_s
        self._lock_s = lock_s
        self._connect_s = connect_s
        self._index_only = index_only
        self._raw: Any = None
        self._cursor: Any = None
        self._prepared: set[str] = set()
        self._sent = False

    @property
    def is_open(self) -> bool:
        return self._raw is not None

    def run(self, name: str, *arguments: object, timeout_s: float | None = None) -> list[Row]:
        """Execute the statement `name`; rows come back as tuples.

        Raises StoreUnavailableError (server away, or too slow), StatementError (this statement was
        refused for its content), SchemaOutdatedError (migrate first).
        """
        deadline = clock.monotonic_s() + (timeout_s or self._statement_s + 2.0)
        if self._raw is None:
            self._connect()
        chosen = statement(name)
        self._sent = False
        failpoints.hit("store.", name)
        if name not in self._prepared:
            self._execute(chosen.prepare, (), deadline)
            self._prepared.add(name)
        self._sent = True
        return self._execute(chosen.execute, arguments, deadline)

    def execute(self, sql: str, *arguments: object, timeout_s: float | None = None) -> list[Row]:
        """Execute plain SQL: for transactions' BEGIN and COMMIT, and for migrations."""
        if self._raw is None:
            self._connect()
        self._sent = True
        return self._execute(sql, arguments, clock.monotonic_s() + (timeout_s or self._statement_s + 2.0))

    def close(self) -> None:
        """Leave the connection; the next call makes another. Never raises."""
        raw, self._raw, self._cursor = self._raw, None, None
        self._prepared = set()
        if raw is not None:
            with contextlib.suppress(psycopg2.Error):
                raw.close()

    def interrupt(self) -> None:
        """From another thread: shut the socket, so that whoever waits for it gets an error. Never raises."""
        raw = self._raw
        if raw is not None:
            with contextlib.suppress(psycopg2.Error, OSError), socket.socket(fileno=os.dup(raw.fileno())) as copy:
                copy.shutdown(socket.SHUT_RDWR)

    def abandon(self) -> None:
        """Forget a connection inherited over a fork without closing the other process's session."""
        self._raw, self._cursor, self._prepared = None, None, set()

    def _execute(self, sql: str, arguments: tuple[object, ...], deadline: float) -> list[Row]:
        try:
            self._send(sql, arguments)
            self._wait(deadline)
            return self._cursor.fetchall() if self._cursor.description is not None else []
        except psycopg2.Error as error:
            raise self._translated(error) from error
        except StatementError:
            raise
        except BaseException:
            self.close()  # an interrupt in mid-statement: the answer still under way is nobody's
            raise

    def _send(self, sql: str, arguments: tuple[object, ...]) -> None:
        try:
            self._cursor.execute(sql, arguments or None)
        except ValueError as error:  # the driver's own, before anything is sent: a lone surrogate, a NUL
            raise StatementError(f"text that PostgreSQL cannot store: {first_line(error)}", _BAD_TEXT) from error

    def _wait(self, deadline: float) -> None:
        if not session.wait(self._raw, deadline):
            self.close()
            raise StoreUnavailableError(
                "PostgreSQL did not answer in time; see TASKHUB_DATABASE_URL", outcome_unknown=self._sent
            )

    def _connect(self) -> None:
        self._sent = False
        self._raw = session.open_ours(
            self._url,
            application=self._application,
            connect_s=self._connect_s,
            statement_s=self._statement_s,
            settings={"lock_timeout": f"{round(self._lock_s * 1000)}", **(_INDEX_ONLY if self._index_only else {})},
        )
        self._cursor = self._raw.cursor()

    def _translated(self, error: psycopg2.Error) -> Exception:
        code = error.pgcode or ""
        if code in _IS_BLOCKED and self._raw is not None and not self._raw.closed:
            return BlockedError(f"PostgreSQL cannot do it now: {first_line(error)}{_waited_for(error)}")
        is_refused = code.startswith(_REFUSED_HERE)
        if is_refused or not code or code.startswith(_CONNECTION_IS_BAD) or (self._raw and self._raw.closed):
            self.close()
            return StoreUnavailableError(
                f"PostgreSQL went away: {first_line(error)}", outcome_unknown=self._sent and not is_refused
            )
        if code.startswith(_TRY_AGAIN):
            return StoreUnavailableError(f"PostgreSQL cannot do it now: {first_line(error)}")
        if code.startswith(_SCHEMA_IS_OLD):
            cure = "grant this role its rights" if code == _NO_RIGHT else "run `taskhub migrate`"
            return SchemaOutdatedError(f"{cure}: {first_line(error)}")
        return StatementError(first_line(error), code)


def _waited_for(error: psycopg2.Error) -> str:
    """The row at which a statement waited, as PostgreSQL names it; it holds no values."""
    found = _TUPLE.search(error.diag.context or "")
    return f" {found[0]}" if found else ""
