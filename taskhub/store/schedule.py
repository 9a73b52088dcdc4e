"""What comes with time: jobs whose run_at or expires_at is reached."""

from __future__ import annotations

from typing import NamedTuple

from taskhub.store.connection import Store
from taskhub.store.statements import uuid_array


class DueJob(NamedTuple):
    """A row whose time has come; is_late: it ran out before its first start. An id of None: nothing is due there."""

    queue: str
    priority: int
    id: str | None
    due_s: float
    is_late: bool


class ExpiredJob(NamedTuple):
    """A job that failed because it was not started in time."""

    id: str
    queue: str
    type: str


class Expiring(NamedTuple):
    """What a reading found late: it read `read` rows, up to the time `last`, of which there were `same`."""

    last: str | None
    same: int
    read: int
    ids: list[str]


class Revived(NamedTuple):
    """Where a reading ended (`same` rows of that run_at are left behind it), what it read, and how many it revived."""

    queue: str
    priority: int
    run_at: str
    same: int
    read: int
    revived: int


def due_jobs(store: Store, after_queue: str, after_priority: int, places: int, amount: int, total: int) -> list[DueJob]:
    """Queued rows whose time has come, oldest first, place by place."""
    rows = store.run("due_jobs", after_queue, after_priority, places, amount, total)
    return [DueJob._make(row) for row in rows]


def expiring_jobs(store: Store, since: str, skip: int, amount: int) -> Expiring:
    """Which jobs have reached their expires_at and were never started."""
    [row] = store.run("expiring_jobs", since, skip, amount)
    return Expiring._make(row)


def expire_jobs(store: Store, ids: list[str]) -> list[ExpiredJob]:
    """Of some jobs, those that were not started in time fail."""
    return [ExpiredJob._make(row) for row in store.run("expire_jobs", uuid_array(ids))]


def revive_jobs(
    store: Store, after_queue: str, after_priority: int, after: str, skip: int, amount: int
) -> Revived | None:
    """After the clock was set back: what lies ahead waits again. None: there was nothing to read."""
    rows = store.run("revive_jobs", after_queue, after_priority, after, skip, amount)
    return Revived._make(rows[0]) if rows else None
