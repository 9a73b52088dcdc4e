"""One PostgreSQL connection with a deadline on everything it does.

Invariants:
- Every call ends within its time-out, also when the server or the network is frozen: libpq is driven
  asynchronously and this side holds the deadline. A connection that missed it is closed for good.
- Autocommit: each statement is its own transaction, on one round trip, as a prepared statement.
- A lost connection raises StoreUnavailableError; `outcome_unknown` tells if the statement had been sent.
  The next call connects anew. Nothing is ever repeated here: the caller knows what may be.
- Not shared between processes (made after fork) nor used by two threads at once.
"""

from __future__ import annotations

import contextlib
import select
from typing import Any

import psycopg2
from psycopg2 import extensions

from taskhub import clock, failpoints
from taskhub.domain.errors import SchemaOutdatedError, StatementError, StoreUnavailableError
from taskhub.store.statements import statement

Row = tuple[Any, ...]

# Read-only (a demoted primary), shutdown, crash, connection trouble, idle time-outs, too many
# connections: leave this connection. The statement was refused, or never finished.
_CONNECTION_IS_BAD = ("25006", "57P0", "08", "25P0", "53300", "57014")
# Deadlock, serialisation, lock time-out, no resources (disk, memory), trouble of the machine: nothing happened, and
# the same statement may succeed later.
_TRY_AGAIN = ("40P01", "40001", "55P03", "53", "58")
_SCHEMA_IS_OLD = ("42P01", "42703", "42883", "3F000")


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

    def abandon(self) -> None:
        """Forget a connection inherited over a fork without closing the other process's session."""
        self._raw, self._cursor, self._prepared = None, None, set()

    def _execute(self, sql: str, arguments: tuple[object, ...], deadline: float) -> list[Row]:
        try:
            self._cursor.execute(sql, arguments or None)
            self._wait(deadline)
            return self._cursor.fetchall() if self._cursor.description is not None else []
        except psycopg2.Error as error:
            raise self._translated(error) from error
        except BaseException:
            self.close()  # an interrupt in mid-statement: the answer still under way is nobody's
            raise

    def _wait(self, deadline: float) -> None:
        raw = self._raw
        while True:
            state = raw.poll()
            if state == extensions.POLL_OK:
                return
            left_ms = (deadline - clock.monotonic_s()) * 1000
            poller = select.poll()
            poller.register(raw.fileno(), select.POLLIN if state == extensions.POLL_READ else select.POLLOUT)
            if left_ms <= 0 or not poller.poll(left_ms):
                self.close()
                raise StoreUnavailableError(
                    "PostgreSQL did not answer in time; see TASKHUB_DATABASE_URL", outcome_unknown=self._sent
                )

    def _connect(self) -> None:
        self._sent = False
        try:
            self._raw = psycopg2.connect(self._dsn(), async_=True)
            self._wait(clock.monotonic_s() + self._connect_s)
            self._cursor = self._raw.cursor()
            self._execute(self._session_settings(), (), clock.monotonic_s() + self._connect_s)
        except psycopg2.Error as error:
            self.close()
            raise StoreUnavailableError(f"cannot connect to PostgreSQL: {_first_line(error)}") from error

    def _dsn(self) -> str:
        return extensions.make_dsn(
            self._url,
            connect_timeout=str(max(2, round(self._connect_s))),
            application_name=self._application,
            keepalives_idle="5",
            keepalives_interval="2",
            keepalives_count="3",
            tcp_user_timeout=str(round(self._statement_s * 2000)),
            target_session_attrs="read-write",
        )

    def _session_settings(self) -> str:
        values = {
            "synchronous_commit": "on",
            "statement_timeout": f"{round(self._statement_s * 1000)}",
            "lock_timeout": f"{round(self._lock_s * 1000)}",
            "idle_in_transaction_session_timeout": "10000",
            "timezone": "UTC",
            "jit": "off",
        }
        if self._raw.server_version >= 140000:
            values["client_connection_check_interval"] = "2000"
        if self._index_only:  # key look-ups only: a plan made while the table was tiny must not outlive that
            values |= dict.fromkeys(("enable_seqscan", "enable_hashjoin", "enable_mergejoin"), "off")
            values["plan_cache_mode"] = "force_generic_plan"
        pairs = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in values.items())
        return f"SELECT {pairs}"

    def _translated(self, error: psycopg2.Error) -> Exception:
        code = error.pgcode or ""
        if not code or code.startswith(_CONNECTION_IS_BAD) or (self._raw is not None and self._raw.closed):
            self.close()
            refused = code.startswith(("25006", "53300", "57014"))
            return StoreUnavailableError(
                f"PostgreSQL went away: {_first_line(error)}", outcome_unknown=self._sent and not refused
            )
        if code.startswith(_TRY_AGAIN):
            return StoreUnavailableError(f"PostgreSQL cannot do it now: {_first_line(error)}")
        if code in _SCHEMA_IS_OLD:
            return SchemaOutdatedError(f"run `taskhub migrate`: {_first_line(error)}")
        return StatementError(_first_line(error), code)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
