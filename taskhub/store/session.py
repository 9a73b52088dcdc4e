"""The one place that opens sessions of PostgreSQL: ours, which wait with a deadline, and the ordinary ones of handlers.

Invariants:
- Text is UTF-8 and a commit is on disk before it is answered, whatever the environment, a service file, the
  URL, a role or a database says otherwise.
- Everything else that the URL's `options`, PGOPTIONS, the role or the database set stays in force (search_path,
  work_mem, role, ...), but for the limits that keep one session from holding up others.
- The server, too, gives up on a client: see UNREAD_MS.
"""

from __future__ import annotations

import contextlib
import select
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg2
from psycopg2 import extensions

from taskhub import clock
from taskhub.domain.errors import StoreUnavailableError
from taskhub.masking import first_line
from taskhub.store.places import Place, places

# For so long the server waits for the client's machine to take in an answer. Without it a client that is frozen while
# it receives a large one keeps its locks for ever: the server sits in its write, where none of its time-outs fires.
# On a Unix socket it has no effect; there the supervisor's kill of a silent child ends the session.
UNREAD_MS = 10_000

_SAFE = {
    "array_nulls": "on",  # array literals say NULL
    "client_connection_check_interval": "2000",
    "idle_session_timeout": "0",  # a session of ours may wait for work as long as it likes
}
_IDLE_LIMIT = {"idle_in_transaction_session_timeout": "10000"}
_OURS = {
    **_IDLE_LIMIT,
    "default_transaction_isolation": "read committed",  # the statements decide by rows as they are
    "default_transaction_deferrable": "off",
    "transaction_timeout": "0",
    "timezone": "UTC",
    "jit": "off",
    "taskhub.inserts": "on",  # our INSERTs see to it that fresh rows are found by their ids: see jobs_from_elsewhere
}
_SINCE = {  # the settings that not every supported server knows
    "client_connection_check_interval": 140000,
    "enable_memoize": 140000,
    "idle_session_timeout": 140000,
    "transaction_timeout": 170000,
}
# remote_apply, if somebody chose it, promises more than on.
_DURABLE = """set_config('synchronous_commit',
    CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)"""
# Handlers see times in UTC unless somebody said otherwise for them.
_UTC_UNLESS_CHOSEN = """set_config('timezone', CASE
    WHEN (SELECT source FROM pg_settings WHERE name = 'TimeZone') IN ('default', 'configuration file', 'command line')
    THEN 'UTC' ELSE current_setting('timezone') END, false)"""


def open_ours(url: str, *, application: str, connect_s: float, statement_s: float, settings: Mapping[str, str]) -> Any:
    """An asynchronous connection in autocommit for our own statements; `settings` are added to its session's.

    Raises StoreUnavailableError.
    """

    def attempt(place: Place, until: float) -> Any:
        raw = psycopg2.connect(_dsn(url, place, application, until, statement_s * 2), async_=True)
        try:
            _finish(raw, until)
            _require_utf8(raw)
            cursor = raw.cursor()  # kept until it is done: the connection only borrows it
            cursor.execute(_setting_up(raw, statement_s, {**_OURS, **settings}))
            _finish(raw, until)
        except BaseException:
            _close(raw)
            raise
        return raw

    return _first(attempt, url, connect_s)


def open_ordinary(url: str, *, application: str, connect_s: float, settings: Mapping[str, str]) -> Any:
    """A plain psycopg2 connection for SQL that is not ours; `settings` are added to its session's.

    Its limits and its isolation are those that its user chose, but for the time that it may idle in a transaction:
    10 s unless `settings` say otherwise. Raises StoreUnavailableError.
    """

    def attempt(place: Place, until: float) -> Any:
        raw = psycopg2.connect(_dsn(url, place, application, until, UNREAD_MS / 1000))
        try:
            _require_utf8(raw)
            _set_up_ordinary(raw, connect_s, settings)
        except BaseException:
            _close(raw)
            raise
        return raw

    return _first(attempt, url, connect_s)


def statement_limit(raw: Any) -> str:
    """The time limit that an ordinary session's user chose for its statements."""
    raw.autocommit = True
    with raw.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        [(limit,)] = cursor.fetchall()
    raw.autocommit = False
    return str(limit)


def clean_ordinary(raw: Any, *, within_s: float, settings: Mapping[str, str]) -> None:
    """Make a session as it was when `open_ordinary` returned it. Raises StoreUnavailableError: then leave it."""
    with _translated():
        raw.rollback()
        raw.autocommit = True
        with raw.cursor() as cursor:
            cursor.execute("DISCARD ALL")
            cursor.execute("RESET ROLE")  # to the one in the URL's options: DISCARD has left that, too
        _set_up_ordinary(raw, within_s, settings)


def wait(raw: Any, deadline: float) -> bool:
    """Wait for what an asynchronous connection does; False if it takes until the deadline."""
    while (state := raw.poll()) != extensions.POLL_OK:
        left_ms = (deadline - clock.monotonic_s()) * 1000
        poller = select.poll()
        poller.register(raw.fileno(), select.POLLIN if state == extensions.POLL_READ else select.POLLOUT)
        if left_ms <= 0 or not poller.poll(left_ms):
            return False
    return True


def _first(attempt: Callable[[Place, float], Any], url: str, connect_s: float) -> Any:
    """The first session that can be had at one of the URL's places; else what was wrong with the last of them."""
    refusal = StoreUnavailableError("cannot connect to PostgreSQL: the URL names no host")
    with _translated():
        for place, until in places(url, clock.monotonic_s() + connect_s):
            try:
                with _translated(f" at {place.host or place.hostaddr}" if any(place) else ""):
                    return attempt(place, until)
            except StoreUnavailableError as error:
                refusal = error
    raise refusal


def _finish(raw: Any, deadline: float) -> None:
    if not wait(raw, deadline):
        raise StoreUnavailableError("PostgreSQL did not answer in time; see TASKHUB_DATABASE_URL")


def _dsn(url: str, place: Place, application: str, until: float, unacknowledged_s: float) -> str:
    return extensions.make_dsn(
        url,
        **{name: value for name, value in place._asdict().items() if value is not None},
        connect_timeout=str(max(2, round(until - clock.monotonic_s()))),
        application_name=application,
        client_encoding="UTF8",
        keepalives="1",
        keepalives_idle="5",
        keepalives_interval="2",
        keepalives_count="3",
        tcp_user_timeout=str(round(unacknowledged_s * 1000)),
        target_session_attrs="read-write",
    )


def _set_up_ordinary(raw: Any, within_s: float, settings: Mapping[str, str]) -> None:
    raw.autocommit = True
    setting_up = _setting_up(raw, within_s, {**_IDLE_LIMIT, **settings}, _UTC_UNLESS_CHOSEN)
    with raw.cursor() as cursor:  # pg_settings is more than the least work_mem holds, and files may be forbidden
        cursor.execute(f"SET work_mem = '4MB'; {setting_up}; RESET work_mem; RESET statement_timeout")
    raw.autocommit = False


def _setting_up(raw: Any, within_s: float, settings: Mapping[str, str], *more: str) -> str:
    """What makes a new session ours. Its time limit comes by itself: a role's own, of a millisecond, ends the rest."""
    values = {"tcp_user_timeout": str(UNREAD_MS), **_SAFE, **settings}
    known = {name: value for name, value in values.items() if raw.server_version >= _SINCE.get(name, 0)}
    calls = [f"set_config('{name}', '{value}', false)" for name, value in known.items()]
    return f"SET statement_timeout = {round(within_s * 1000)}; SELECT {', '.join([*calls, _DURABLE, *more])}"


def _require_utf8(raw: Any) -> None:
    if raw.get_parameter_status("client_encoding") != "UTF8":
        raise StoreUnavailableError("PostgreSQL, or a pooler before it, does not speak UTF-8 with its clients")


@contextlib.contextmanager
def _translated(where: str = "") -> Iterator[None]:
    try:
        yield
    except (psycopg2.Error, OSError) as error:
        raise StoreUnavailableError(f"cannot connect to PostgreSQL{where}: {first_line(error)}") from error


def _close(raw: Any) -> None:
    with contextlib.suppress(psycopg2.Error):
        raw.close()
