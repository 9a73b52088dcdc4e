"""What to tell of outcomes that are settled: completed ones together by their type and attempt, the others each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from taskhub.domain.job import COMPLETED, ClaimedJob
from taskhub.domain.outcome import Failed, Outcome
from taskhub.events.jobs import ExecutionFailed, JobEvent, JobsCompleted, LeaseLost


def settled_events(
    queue: str,
    jobs: Mapping[str, ClaimedJob],
    outcomes: Sequence[Outcome],
    statuses: Mapping[str, str],
    stale: list[str],
) -> Iterator[JobEvent]:
    """`statuses` tells what became of failed ones, `stale` which were lost to others."""
    lost = set(stale)
    completed: dict[tuple[str, int], list[tuple[str, float]]] = defaultdict(list)
    for outcome in outcomes:
        job_id = outcome.id
        job = jobs.get(job_id)
        if job is None or job_id in lost:
            continue
        if not isinstance(outcome, Failed) or statuses.get(job_id) == COMPLETED:  # by an unknown commit
            completed[job.type, job.attempt].append((job_id, outcome.finished_s - outcome.started_s))
        else:
            yield ExecutionFailed(queue, job, outcome, statuses.get(job_id, ""))
    for (job_type, attempt), took in completed.items():
        yield JobsCompleted(queue, job_type, attempt, took)
    if stale:
        yield LeaseLost(stale)
