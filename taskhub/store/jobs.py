"""Jobs: looked at, told apart by their status, and forgotten when their time of keeping is over."""

from __future__ import annotations

from typing import NamedTuple

from taskhub.domain.job_view import JobRow
from taskhub.store.connection import Store
from taskhub.store.statements import uuid_array


class JobState(NamedTuple):
    """What a settlement or a rescue came upon."""

    id: str
    status: str
    lease: str | None
    queue: str
    type: str
    attempts: int


class QueuedJob(NamedTuple):
    """A job that waits to be run, where, and since when."""

    id: str
    queue: str
    priority: int
    due_s: float


class JobFailure(NamedTuple):
    """A failed execution; all None: the job has had none."""

    attempt: int | None
    worker: str | None
    slot: int | None
    started_at: str | None
    failed_at: str
    type: str
    message: str
    raised_in: str | None
    traceback: str | None
    cause: str
    peak_rss_mb: float | None


class PrunedCompleted(NamedTuple):
    """How far completed jobs were read, how many, and how many were deleted; last None: none is left."""

    last: str | None
    read: int
    gone: int


class PrunedDead(NamedTuple):
    """How many failed and cancelled jobs were read, and how many were deleted."""

    read: int
    gone: int


def get_jobs(store: Store, ids: list[str], *, timeout_s: float | None = None) -> list[JobRow]:
    """Those of some jobs that there are, as they are shown."""
    return [JobRow._make(row) for row in store.run("get_jobs", uuid_array(ids), timeout_s=timeout_s)]


def job_errors(store: Store, id: str, *, timeout_s: float | None = None) -> list[JobFailure]:
    """A job's failed executions, oldest first; nothing if there is no such job, one of None if it has had none."""
    return [JobFailure._make(row) for row in store.run("job_errors", id, timeout_s=timeout_s)]


def job_status(store: Store, id: str, *, timeout_s: float | None = None) -> str | None:
    """The status of one job; None if there is no such job."""
    rows = store.run("job_status", id, timeout_s=timeout_s)
    return str(rows[0][0]) if rows else None


def job_states(store: Store, ids: list[str]) -> dict[str, JobState]:
    """The present state of those of some jobs that there are, by id."""
    return {row[0]: JobState._make(row) for row in store.run("job_states", uuid_array(ids))}


def filter_unfinished(store: Store, ids: list[str], *, timeout_s: float | None = None) -> set[str]:
    """Which of some jobs have not ended."""
    return {job_id for (job_id,) in store.run("filter_unfinished", uuid_array(ids), timeout_s=timeout_s)}


def filter_queued(store: Store, ids: list[str]) -> list[QueuedJob]:
    """Of some ids, those that wait to be run, and where."""
    return [QueuedJob._make(row) for row in store.run("filter_queued", uuid_array(ids))]


def prune_completed(store: Store, since: str, retention_s: float, amount: int) -> PrunedCompleted:
    """Forget jobs that completed long ago, from an id on."""
    [row] = store.run("prune_completed", since, retention_s, amount)
    return PrunedCompleted._make(row)


def prune_dead(store: Store, retention_s: float, amount: int) -> PrunedDead:
    """Forget failed and cancelled jobs that ended long ago, with their history."""
    [row] = store.run("prune_dead", retention_s, amount)
    return PrunedDead._make(row)
