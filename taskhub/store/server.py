"""The server itself: its clock, and the schema that it holds."""

from __future__ import annotations

from typing import NamedTuple

from taskhub.store.connection import Store


class ServerClock(NamedTuple):
    """PostgreSQL's time, and when it was started, as seconds."""

    now_s: float
    start_s: float


def server_clock(store: Store) -> ServerClock:
    """What time it is there."""
    [row] = store.run("server_clock")
    return ServerClock._make(row)


def schema_versions(store: Store, *, timeout_s: float | None = None) -> dict[int, int]:
    """The migrations that were applied, each with the oldest code that it allows."""
    return dict(store.run("schema_versions", timeout_s=timeout_s))
