"""Workers: a row each, which its heartbeats keep alive, and which whoever misses them declares dead."""

from __future__ import annotations

from typing import NamedTuple

from taskhub.store.connection import Store
from taskhub.store.statements import text_array


class LostWorker(NamedTuple):
    """One that was declared dead."""

    id: str
    host: str


def register_worker(store: Store, worker: str, host: str, pid: int, version: str, queues: list[str]) -> None:
    """A supervisor's boot."""
    store.run("register_worker", worker, host, pid, version, text_array(queues))


def heartbeat(store: Store, worker: str, stopping: bool, *, timeout_s: float | None = None) -> int | None:
    """A supervisor is alive, or stopping; how many slots are open in all workers, or None if it was declared dead."""
    rows = store.run("heartbeat", worker, stopping, timeout_s=timeout_s)
    return int(rows[0][0]) if rows else None


def expire_worker(store: Store, worker: str) -> None:
    """Declare one dead, as its own host knows that it is."""
    store.run("expire_worker", worker)


def expire_workers(store: Store, seen_s: float, dead_s: float, except_for: str) -> list[LostWorker]:
    """Declare dead those that were silent for `dead_s` at the moment `seen_s` of PostgreSQL's clock."""
    return [LostWorker._make(row) for row in store.run("expire_workers", seen_s, dead_s, except_for)]


def delete_worker(store: Store, worker: str) -> None:
    """Delete a dead worker's row, unless it has slots left."""
    store.run("delete_worker", worker)
