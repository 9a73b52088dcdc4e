"""What has happened when a dead generation of a slot is accounted for, as events: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from taskhub.domain.job import CANCELLED, RUNNING
from taskhub.domain.outcome import Committed, Failed, Outcome
from taskhub.events.jobs import JobEvent, JobRescued, LeaseLost, SettledForTheDead
from taskhub.events.words import ended_as, reason_of
from taskhub.services.recovery.rescue import Death
from taskhub.store.jobs import JobState
from taskhub.store.slots import RescuedJob


def rescued_events(jobs: Iterable[RescuedJob], death: Death) -> Iterator[JobRescued]:
    """Jobs that the generation held were taken back."""
    for job in jobs:
        text = death.message if job.started else "it had not been started"
        is_charged = job.started and not death.interrupted
        yield JobRescued(job.id, job.queue, job.type, job.status, death.cause, text, job.started, is_charged)


def settled_events(
    outcomes: Iterable[Outcome], before: dict[str, JobState], after: dict[str, JobState], lease: str | None
) -> Iterator[JobEvent]:
    """Outcomes that a dead child had finished were settled; `before` and `after` are their rows' states.

    What the child had settled itself, it has told itself; what the lease had lost is stale.
    """
    for outcome in outcomes:
        was, became = before.get(outcome.id), after.get(outcome.id)
        if was is None or was.lease != lease:
            yield LeaseLost([outcome.id])
        elif was.status == RUNNING or isinstance(outcome, Committed):
            yield _settled(outcome, was, became.status if became else "")


def _settled(outcome: Outcome, was: JobState, status: str) -> SettledForTheDead:
    ended = ended_as(status) if isinstance(outcome, Failed) else "completed"
    reason = reason_of(outcome) if isinstance(outcome, Failed) and ended != CANCELLED else None
    took_s = outcome.finished_s - outcome.started_s
    return SettledForTheDead(outcome.id, was.queue, was.type, ended, reason, took_s)
