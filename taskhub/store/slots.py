"""Slots: whose claims are whose. A generation of a slot has a row of its own, which a rescuer closes for good."""

from __future__ import annotations

from typing import NamedTuple

from taskhub.domain.job import WorkerSlot
from taskhub.store.connection import Store
from taskhub.store.statements import uuid_array


class DeadSlot(NamedTuple):
    """What a dead worker left: a slot, or (number and generation -1) nothing but its own row.

    stopping: it was lost on its way out.
    """

    worker: str
    number: int
    generation: int
    stopping: bool

    @property
    def slot(self) -> WorkerSlot:
        """Where it is in the order."""
        return WorkerSlot(self.worker, self.number, self.generation)


class RescuedJob(NamedTuple):
    """A job that was taken back: what became of it, and whether it had started."""

    id: str
    status: str
    queue: str
    type: str
    priority: int
    started: bool


def open_slot(store: Store, slot: WorkerSlot, pid: int) -> bool:
    """Let a generation claim; False if its worker was declared dead, or the generation was closed."""
    return bool(store.run("open_slot", *slot, pid))


def close_slot(store: Store, slot: WorkerSlot) -> None:
    """Fence a generation: waits for its claim in flight, and lets no later one through."""
    store.run("close_slot", *slot)


def rescue_jobs(
    store: Store,
    slot: WorkerSlot,
    started: list[str],
    *,
    all_started: bool,
    error_type: str,
    message: str,
    cause: str,
    peak_rss_mb: float | None,
    interrupted: bool,
) -> list[RescuedJob]:
    """Take back what a closed generation still holds: charge what had started, release the rest."""
    charge = (error_type, message, cause, peak_rss_mb, interrupted)
    rows = store.run("rescue_jobs", *slot, uuid_array(started), all_started, *charge)
    return [RescuedJob._make(row) for row in rows]


def slot_job_ids(store: Store, worker: str, lease: str) -> list[str]:
    """The batch that a lease of this worker holds."""
    return [job_id for (ids,) in store.run("slot_job_ids", worker, lease) for job_id in ids]


def slots_of_worker(store: Store, worker: str) -> list[WorkerSlot]:
    """The generations that a worker has in the database."""
    return [WorkerSlot._make(row) for row in store.run("slots_of_worker", worker)]


def slots_to_rescue(store: Store, after: WorkerSlot, amount: int) -> list[DeadSlot]:
    """What dead workers left behind, in order, from after one of these on."""
    return [DeadSlot._make(row) for row in store.run("slots_to_rescue", *after, amount)]


def delete_slot(store: Store, slot: WorkerSlot) -> None:
    """A closed generation is accounted for, and its in-flight lists are gone."""
    store.run("delete_slot", *slot)
