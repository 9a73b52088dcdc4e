"""What has happened when a child's outcomes are settled, as events: pure."""

from __future__ import annotations

from collections.abc import Iterator

from taskhub.child.batch import Batch
from taskhub.domain.job import COMPLETED
from taskhub.domain.outcome import Failed, Outcome
from taskhub.events.jobs import ExecutionFailed, JobEvent, JobsCompleted, LeaseLost


def settled_events(
    batch: Batch, outcomes: list[Outcome], statuses: dict[str, str], stale: list[str]
) -> Iterator[JobEvent]:
    """Events of settled outcomes: `statuses` tells what became of failed ones, `stale` which were lost to others."""
    lost = set(stale)
    completed: dict[tuple[str, int], list[tuple[str, float]]] = {}
    for outcome in outcomes:
        job = batch.jobs.get(outcome.id)
        if job is None or outcome.id in lost:
            continue
        if not isinstance(outcome, Failed) or statuses.get(outcome.id) == COMPLETED:  # by an unknown commit
            took_s = outcome.finished_s - outcome.started_s
            completed.setdefault((job.type, job.attempt), []).append((outcome.id, took_s))
        else:
            yield ExecutionFailed(batch.queue, job, outcome, statuses.get(outcome.id, ""))
    for (job_type, attempt), took in completed.items():
        yield JobsCompleted(batch.queue, job_type, attempt, took)
    if stale:
        yield LeaseLost(stale)
