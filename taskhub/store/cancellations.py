"""Cancellations: asked for by clients, carried out at once or by the worker that runs the job."""

from __future__ import annotations

from typing import NamedTuple

from taskhub.store.connection import Store
from taskhub.store.statements import uuid_array


class Cancelled(NamedTuple):
    """A running job that somebody wants cancelled, and who holds it."""

    job_id: str
    slot: int
    lease: str


class PrunedRequests(NamedTuple):
    """How far requests were read, and how many; last None: none is left."""

    last: str | None
    read: int


def cancel_job(store: Store, id: str, *, timeout_s: float) -> str | None:
    """Cancel a job, or ask its worker to; returns the status that it had, None if there is no such job."""
    rows = store.run("cancel_job", id, timeout_s=timeout_s)
    return str(rows[0][0]) if rows else None


def cancellations_of_worker(store: Store, worker: str) -> list[Cancelled]:
    """What was asked for of jobs that this worker runs."""
    return [Cancelled._make(row) for row in store.run("cancellations_of_worker", worker)]


def filter_cancelled(store: Store, ids: list[str]) -> set[str]:
    """Of some jobs, those that somebody wants cancelled."""
    return {job_id for (job_id,) in store.run("filter_cancelled", uuid_array(ids))}


def prune_cancellations(store: Store, after: str, amount: int) -> PrunedRequests:
    """Forget requests to cancel jobs that are over."""
    [row] = store.run("prune_cancellations", after, amount)
    return PrunedRequests._make(row)
