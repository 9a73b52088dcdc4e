"""An ordinary transaction for handlers, whose last statement completes their job.

Not the hot path's connection: handlers get a plain psycopg2 cursor, and their statements take as long as
the job may. A connection that fails is left; the next transaction makes another.
"""

from __future__ import annotations

import contextlib
from typing import Any

import psycopg2

from taskhub.domain.errors import StoreUnavailableError
from taskhub.masking import first_line
from taskhub.store import session
from taskhub.store.statements import statement


class Transaction:
    """One connection, one transaction at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None

    def begin(self) -> Any:
        """A cursor in a new transaction. Raises StoreUnavailableError."""
        try:
            if self._connection is None or self._connection.closed:
                self._connection = session.open_ordinary(
                    self._url,
                    application="taskhub transaction",
                    connect_s=5,
                    settings={"idle_in_transaction_session_timeout": "600000"},
                )
            cursor = self._connection.cursor()
        except psycopg2.Error as error:
            self._leave()
            raise StoreUnavailableError(f"PostgreSQL: {first_line(error)}") from error
        return cursor

    def complete(self, job_id: str, lease: str) -> bool:
        """Complete the job in this transaction; False if the lease has lost it."""
        try:
            cursor = self._connection.cursor()
            complete = statement("complete_in_transaction")
            cursor.execute(complete.inline, (job_id, lease))
        except psycopg2.Error as error:
            self._leave()
            raise StoreUnavailableError(f"PostgreSQL: {first_line(error)}") from error
        return bool(cursor.rowcount == 1)

    def commit(self) -> None:
        """Commit. Raises StoreUnavailableError if it is unknown whether that happened."""
        try:
            self._connection.commit()
        except psycopg2.Error as error:
            self._leave()
            raise StoreUnavailableError(f"PostgreSQL: {first_line(error)}", outcome_unknown=True) from error

    def rollback(self) -> None:
        with contextlib.suppress(psycopg2.Error):
            self._connection.rollback()

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg2.Error):
                connection.close()
