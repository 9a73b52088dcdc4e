"""What an event counts."""

from __future__ import annotations

from collections import Counter

from taskhub.domain.job import CANCELLED, INTERRUPTED
from taskhub.events.jobs import (
    ChildEnded,
    ExecutionFailed,
    JobEvent,
    JobRescued,
    JobsCompleted,
    JobsSubmitted,
    LeaseLost,
    SettledForTheDead,
)
from taskhub.events.words import ended_as, reason_of
from taskhub.metrics import definitions as metrics
from taskhub.metrics.recorder import JobRecorder, QueueLabels

_labels = QueueLabels()


def count(recorder: JobRecorder, event: JobEvent) -> None:
    """Count it: executions in `recorder`, whose owner flushes it; all else at once."""
    match event:
        case JobsCompleted(queue, job_type, _, took):
            recorder.record_completed(queue, job_type, [seconds for _, seconds in took])
        case ExecutionFailed(queue, job, outcome, status):
            ended = ended_as(status)
            is_no_fault = ended == CANCELLED or outcome.cause == INTERRUPTED
            took_s = outcome.finished_s - outcome.started_s
            recorder.record(queue, job.type, ended, None if is_no_fault else reason_of(outcome), took_s)
        case SettledForTheDead(_, queue, job_type, ended, reason, took_s):
            recorder.record(queue, job_type, ended, reason, took_s)
        case LeaseLost(ids):
            recorder.stale(len(ids))
        case JobsSubmitted(jobs, _):
            places = Counter((_labels.label(job.queue), job.type) for job in jobs)
            for place, number in places.items():
                metrics.JOBS_SUBMITTED.labels(*place).inc(number)
        case JobRescued():
            _count_rescued(event)
        case ChildEnded(reason):
            metrics.CHILD_EXITS.labels(reason).inc()


def _count_rescued(event: JobRescued) -> None:
    if event.is_charged:
        metrics.JOBS_PROCESSED.labels(event.queue, event.type, "crashed").inc()
        metrics.JOB_FAILURES.labels(event.queue, event.type, "crash").inc()
    metrics.JOBS_RESCUED.labels(event.cause if event.was_started else "released").inc()
