"""The session in which handlers write beside their job's completion: an ordinary psycopg2 connection of its own.

Invariants:
- A job gets it as it was when it was opened: what the job before has set, made, locked, registered or kept is gone.
- Its own completion names its table by schema, so that nothing a handler does to names leads it elsewhere.
- Our own statements have our time limit; the handler's have the one that its role, database or URL says.
- What our statements meet and the handler has not caused is a TransactionLostError; all else is the driver's error.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import psycopg2
from psycopg2 import extensions

from taskhub import failpoints
from taskhub.domain.errors import StoreUnavailableError, TransactionLostError
from taskhub.masking import first_line
from taskhub.store import session
from taskhub.store.statements import statement

_BROKEN = 2  # psycopg2's `closed`; 1 is what close() leaves
_OWN_REFERENCES = 2  # to a connection that nobody else holds: the attribute, and the argument of getrefcount
_OURS = (Exception, SystemExit)  # what is no driver's error and happens in our own words: memory, descriptors, a bug
_CLEAN_WITHIN_S = 5.0
_LINKS = 20
_CAUSE = BaseException.__dict__["__cause__"].__get__  # a handler's class may have made another of it
_CONTEXT = BaseException.__dict__["__context__"].__get__
# Trouble of the connection, the server or the machine; a lock held by others; a server that became read-only.
_READ_ONLY = "25006"
_NOT_THE_HANDLERS = ("08", "53", "57P0", "58", "55P03", _READ_ONLY, "25P03")


class HandlerSession:
    """One session, one transaction at a time, made when it is first needed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._raw: Any = None
        self._schema = ""
        self._users_limit = "0"
        self._is_used = False

    def begin(self, limit_s: float) -> Any:
        """A cursor in a new transaction. Raises StoreUnavailableError: then nothing has begun."""
        failpoints.hit("transaction.begin")
        if self._raw is not None:
            try:
                return self._begin(limit_s)
            except (psycopg2.Error, *_OURS):  # it was lost since the last job
                self.close()
        try:
            self._raw = session.open_ordinary(
                self._url, application="taskhub transaction", connect_s=min(5.0, limit_s), settings={}
            )
            self._users_limit = session.statement_limit(self._raw)
            return self._begin(limit_s)
        except psycopg2.Error as error:
            self.close()
            raise StoreUnavailableError(f"PostgreSQL: {first_line(error)}") from error
        except StoreUnavailableError:
            self.close()
            raise
        except _OURS as error:
            self.close()
            raise StoreUnavailableError(f"no session: {type(error).__name__}: {first_line(error)}") from error

    def complete(self, job_id: str, lease: str, limit_s: float) -> bool:
        """Complete the job in this transaction, within `limit_s`, also its commit; False if the lease has lost it.

        Raises TransactionLostError, or the driver's error if it is the handler's doing.
        """
        with self._judged():
            failpoints.hit("store.", "complete_in_transaction")
            cursor = self._raw.cursor(cursor_factory=extensions.cursor)
            limit = f"SET LOCAL statement_timeout = {round(limit_s * 1000)};"
            cursor.execute(limit + _completion(self._schema + "."), (job_id, lease))
            return bool(cursor.rowcount == 1)

    def commit(self) -> None:
        """Commit. Raises as `complete`; after TransactionLostError it is unknown whether that happened."""
        with self._judged():
            failpoints.hit("transaction.commit")
            self._raw.commit()

    def rollback(self) -> None:
        """Undo the transaction. Never raises."""
        if self._raw is not None:
            try:
                self._raw.rollback()
            except psycopg2.Error:  # in the midst of a two-phase commit, or lost
                self.close()

    def was_lost_by(self, error: BaseException) -> bool:
        """True if the handler's exception comes of a connection that went away."""
        if self._raw is None or self._raw.closed != _BROKEN:
            return False
        return any(isinstance(link, psycopg2.Error) for link in _chain(error))

    def clean(self) -> None:
        """The job is over: make the session as it was, or leave it. Never raises."""
        if not self._is_used:
            return
        self._is_used = False
        try:
            if self._raw is not None and self._is_bare():
                session.clean_ordinary(self._raw, within_s=_CLEAN_WITHIN_S, settings={})
                return
        except (StoreUnavailableError, psycopg2.Error):
            pass
        self.close()

    def close(self) -> None:
        """Leave the session; the next transaction opens another. Never raises."""
        raw, self._raw = self._raw, None
        if raw is not None:
            with contextlib.suppress(psycopg2.Error):
                raw.close()

    def _begin(self, limit_s: float) -> Any:
        """PostgreSQL's transaction begins with the handler's first statement, which may say how it is isolated."""
        self._is_used = True
        failpoints.hit("store.", "begin_for_handler")
        self._raw.autocommit = True
        cursor = self._raw.cursor()
        limit = f"SET statement_timeout = {round(limit_s * 1000)};"
        cursor.execute(limit + statement("begin_for_handler").inline, (str(round(limit_s * 1000)), self._users_limit))
        [(self._schema, *_)] = cursor.fetchall()
        self._raw.autocommit = False
        return cursor

    def _is_bare(self) -> bool:
        """True if nobody else holds the connection, and the driver's side of it is as it was made."""
        raw = self._raw
        if sys.getrefcount(self._raw) > _OWN_REFERENCES + 1 or type(raw.notifies) is not list:  # and `raw`
            return False
        raw.notifies.clear()
        changed = (raw.string_types, raw.binary_types, raw.cursor_factory, raw.readonly, raw.deferrable, raw.closed)
        return not any(changed) and raw.isolation_level is None

    def _is_writable(self) -> bool:
        """True if only the handler can have made its transaction read only. (Servers before 14 do not say.)"""
        said = [self._raw.get_parameter_status(n) for n in ("in_hot_standby", "default_transaction_read_only")]
        return said == ["off", "off"]

    @contextlib.contextmanager
    def _judged(self) -> Iterator[None]:
        """Tell what happened to our statement from what the handler brought about."""
        try:
            yield
        except psycopg2.Error as error:
            code = error.pgcode or ""
            is_lost = self._raw.closed == _BROKEN or code.startswith(_NOT_THE_HANDLERS)
            if is_lost and not (code == _READ_ONLY and self._is_writable()):
                raise TransactionLostError(f"PostgreSQL: {first_line(error)}", outcome_unknown=True) from error
            raise
        except _OURS as error:
            text = f"{type(error).__name__}: {first_line(error)}"
            raise TransactionLostError(text, outcome_unknown=True) from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it came of, as far as anybody would read."""
    link: BaseException | None = error
    for _ in range(_LINKS):
        if link is None:
            return
        yield link
        link = _CAUSE(link) or _CONTEXT(link)


def complete_with(cursor: Any, job_id: str, lease: str) -> bool:
    """Complete the job by any DB-API cursor of PostgreSQL, in its own transaction; False if the lease has lost it."""
    cursor.execute(_completion(""), (job_id, lease))
    return bool(cursor.rowcount == 1)


def _completion(schema: str) -> str:
    return statement("complete_in_transaction").inline.replace("UPDATE jobs", f"UPDATE {schema}jobs")
