"""Claims: a child's right to run jobs, and giving it back for what it has not begun."""

from __future__ import annotations

from typing import NamedTuple

from taskhub.domain.job import ClaimedJob, WorkerSlot
from taskhub.store.connection import Row, Store
from taskhub.store.settlements import CompletedArrays
from taskhub.store.statements import uuid_array

_HEADER = 3  # columns that the first row of a claim's answer fills, and all others leave empty


class ClaimAnswer(NamedTuple):
    """What a claim did, by its first row, and the jobs that it brought, in no order.

    withheld: claimed as well, but their payloads would have made the batch too large.
    """

    settled: int
    slot_open: bool
    paused: bool
    jobs: list[ClaimedJob]
    withheld: list[str]


class WaitingPlace(NamedTuple):
    """A queue and a priority in which something waits."""

    queue: str
    priority: int


def settle_and_claim(
    store: Store,
    completed: CompletedArrays,
    lease: str | None,
    slot: WorkerSlot,
    queue: str,
    claim: list[str],
    claim_lease: str,
    most_bytes: int,
) -> ClaimAnswer:
    """Complete what was finished under `lease`, and claim jobs by id under `claim_lease`."""
    rows = store.run("settle_and_claim", *completed, lease, *slot, queue, uuid_array(claim), claim_lease, most_bytes)
    return _answer(rows)


def claim_from_store(
    store: Store,
    slot: WorkerSlot,
    queue: str,
    priority: int,
    amount: int,
    lease: str | None,
    claim_lease: str,
    most_bytes: int,
) -> ClaimAnswer:
    """Claim what waits in a queue and a priority, without having been told its ids."""
    place = (queue, priority, amount, lease, claim_lease, most_bytes)
    return _answer(store.run("claim_from_store", *slot, *place))


def filter_locked(store: Store, ids: list[str]) -> set[str]:
    """Which of some jobs others' transactions hold locked."""
    return {job_id for (job_id,) in store.run("filter_locked", uuid_array(ids))}


def waiting_places(store: Store, places: int, newest: int) -> list[WaitingPlace]:
    """Where something waits that could run now, the highest priority first."""
    return [WaitingPlace._make(row) for row in store.run("waiting_places", places, newest)]


def release_jobs(store: Store, ids: list[str], lease: str | None) -> None:
    """Give back claimed jobs that never started, uncharged."""
    store.run("release_jobs", uuid_array(ids), lease)


def defer_unknown(store: Store, ids: list[str], lease: str | None, delay_s: float) -> None:
    """Give back jobs whose type is not known here; an hour after the first time they fail."""
    store.run("defer_unknown", uuid_array(ids), lease, delay_s)


def _answer(rows: list[Row]) -> ClaimAnswer:
    """The header row, and a row for each job; without its payload it is withheld."""
    settled, slot_open, paused = rows[0][:_HEADER]
    jobs = [ClaimedJob(*row[_HEADER:]) for row in rows[1:]]
    withheld = [job.id for job in jobs if job.payload is None]
    if withheld:
        jobs = [job for job in jobs if job.payload is not None]
    return ClaimAnswer(settled, slot_open, paused, jobs, withheld)
