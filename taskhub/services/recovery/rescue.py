"""Take back what a dead generation of a slot held: settle what it finished, charge what it ran, free the rest.

Invariants:
- The slot is closed first, in a statement of its own that waits for a claim in flight; what it holds is
  read in a later one. So a claim that commits late is either seen here or did not happen.
- Only rows still running under the slot's own lease change: a finished job stays finished, a job that
  another has claimed since stays that other's.
- Every step may be repeated from the start after a failure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from taskhub import failpoints
from taskhub.broker import key_names
from taskhub.broker.broker import Broker
from taskhub.domain import storable
from taskhub.domain.errors import StatementError
from taskhub.domain.job import WorkerSlot
from taskhub.domain.outcome import MESSAGE_BYTES, Outcome
from taskhub.services.execution.requeue import requeue
from taskhub.services.execution.settle import settle
from taskhub.store.claims import release_jobs
from taskhub.store.connection import Store
from taskhub.store.slots import RescuedJob, close_slot, rescue_jobs

STOPPED = "the worker that ran the job was stopped, and could not give it back"


@dataclass(frozen=True)
class Death:
    """Why a generation ended: what the job that it was running is told and charged.

    cause: as in the contract (`signal:SIGKILL`, `exit:1`, `worker_lost`). interrupted: an operator's
    deadline, which costs the job nothing.
    """

    cause: str
    message: str
    peak_rss_mb: float | None = None
    interrupted: bool = False


@dataclass(frozen=True)
class Held:
    """What is known of a dead generation: `record_is_lost` if nobody can say which job it was running."""

    slot: WorkerSlot
    lease: str | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    running: str | None = None
    record_is_lost: bool = False


def rescue(store: Store, held: Held, death: Death) -> list[RescuedJob]:
    """Account for everything that the generation held in PostgreSQL. Raises StoreUnavailableError: call again."""
    slot = held.slot
    close_slot(store, slot)
    failpoints.hit("rescue.after_close")
    if held.outcomes and held.lease:
        _settle_all(store, held.lease, held.outcomes)
    return rescue_jobs(
        store,
        slot,
        [held.running] if held.running else [],
        all_started=held.record_is_lost,
        error_type="WorkerLost",
        message=storable.text(death.message, MESSAGE_BYTES),
        cause=death.cause,
        peak_rss_mb=death.peak_rss_mb,
        interrupted=death.interrupted,
    )


def requeue_in_flight(store: Store, broker: Broker, slot: WorkerSlot, queues: list[str]) -> None:
    """Push again what the generation's in-flight lists hold, then delete them. Raises BrokerUnavailableError."""
    for queue in queues:
        for bank in (0, 1):
            key = key_names.inflight(queue, slot.worker, slot.number, slot.generation, bank)
            job_ids = broker.inflight(key)
            if job_ids:
                requeue(store, broker, job_ids)
                broker.forget(key)


def release_from_outside(store: Store, lease: str, outcomes: list[Outcome], unstarted: list[str]) -> None:
    """For a living child whose handler holds the interpreter: settle what is finished, give back the rest."""
    if outcomes:
        _settle_all(store, lease, outcomes)
    if unstarted:
        release_jobs(store, unstarted, lease)


def _settle_all(store: Store, lease: str, outcomes: list[Outcome]) -> None:
    refused = settle(store, lease, outcomes).refused
    if refused:
        ids = ", ".join(outcome.id for outcome in refused)
        raise StatementError(f"PostgreSQL refuses every settlement of {ids}; all others are settled", "")
