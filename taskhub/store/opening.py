"""The one way to the PostgreSQL that the settings name."""

from __future__ import annotations

from taskhub.settings.fields import Settings
from taskhub.store.connection import Connection


def open_store(
    settings: Settings,
    application: str,
    *,
    statement_s: float | None = None,
    lock_s: float | None = None,
    connect_s: float | None = None,
    index_only: bool = False,
) -> Connection:
    """A connection that is made when it is first used; its time-outs are the settings' where none is given.

    Waits for locks and for connecting are never longer than those. Raises SettingsError if no server is named.
    """
    timers = settings.timers
    [database_url] = settings.needed("database_url")
    return Connection(
        database_url,
        application=application,
        statement_s=statement_s or timers.pg_statement_s,
        lock_s=min(lock_s or timers.pg_lock_s, timers.pg_lock_s),
        connect_s=min(connect_s or timers.pg_connect_s, timers.pg_connect_s),
        index_only=index_only,
    )
