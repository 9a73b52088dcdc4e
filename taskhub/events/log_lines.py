"""The line of the log that an event makes."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from taskhub.domain.job import CANCELLED, FAILED, INTERRUPTED
from taskhub.events.jobs import (
    ExecutionFailed,
    JobEvent,
    JobExpired,
    JobRescued,
    JobsCompleted,
    JobsSubmitted,
    JobStarted,
    LeaseLost,
    SettledForTheDead,
    WaitingJobCancelled,
)
from taskhub.events.words import ended_as
from taskhub.logs import get_logger, log_all

log = get_logger(__name__)

Where = Mapping[str, object]


def tells_starts() -> bool:
    """Starts are told at level debug only."""
    return log.isEnabledFor(logging.DEBUG)


def write(event: JobEvent, where: Where) -> None:
    """Write its line, or one for each of its jobs. where: worker and slot, if it happened in one."""
    match event:
        case JobsCompleted():
            _completed(event, where)
        case ExecutionFailed():
            _failed(event, where)
        case JobStarted(queue, job):
            log.debug(
                "job.started", extra={**_job(job.id, queue, job.type, "started"), "attempt": job.attempt, **where}
            )
        case JobsSubmitted():
            _submitted(event)
        case SettledForTheDead(job_id, queue, job_type, ended):
            level = logging.INFO if ended in ("completed", CANCELLED) else logging.WARNING
            why = "settled for its child, which had died"
            log.log(level, f"job.{ended}", extra={**_job(job_id, queue, job_type, ended, why), **where})
        case JobRescued():
            _rescued(event, where)
        case LeaseLost(ids):
            for job_id in ids:
                log.warning(
                    "job.stale", extra={"job_id": job_id, "text": "stale job: the lease was lost; nothing was written"}
                )
        case JobExpired(job_id, queue, job_type):
            log.info("job.failed", extra=_job(job_id, queue, job_type, FAILED, "expired before it was started"))
        case WaitingJobCancelled(job_id, queue, job_type):
            log.info("job.cancelled", extra=_job(job_id, queue, job_type, CANCELLED))


def _job(job_id: str, queue: str, job_type: str, became: str, why: str = "") -> dict[str, object]:
    """Whose line it is, and its sentence: first what became of the job, then why."""
    text = f"{became} {job_type}: {why}" if why else f"{became} {job_type}"
    return {"job_id": job_id, "type": job_type, "queue": queue, "text": text}


def _submitted(event: JobsSubmitted) -> None:
    if log.isEnabledFor(logging.INFO):
        alike: dict[tuple[str, str], list[dict[str, object]]] = {}
        for job in event.jobs:
            alike.setdefault((job.type, job.queue), []).append({"job_id": job.id})
        for (job_type, queue), rows in alike.items():
            common = {"text": f"submitted {job_type}", "type": job_type, "queue": queue, **event.request}
            log_all(log, logging.INFO, "job.submitted", common, rows)


def _completed(event: JobsCompleted, where: Where) -> None:
    if log.isEnabledFor(logging.INFO):
        common = {
            "text": f"completed {event.type}",
            "type": event.type,
            "queue": event.queue,
            "attempt": event.attempt,
            **where,
        }
        rows = [{"job_id": job_id, "duration_ms": round(seconds * 1000, 3)} for job_id, seconds in event.took]
        log_all(log, logging.INFO, "job.completed", common, rows)


def _failed(event: ExecutionFailed, where: Where) -> None:
    job, outcome, ended = event.job, event.outcome, ended_as(event.status)
    why = f"{outcome.type}: {outcome.message}"
    fields = {**_job(job.id, event.queue, job.type, ended, why), "attempt": job.attempt, **where}
    fields["duration_ms"] = round((outcome.finished_s - outcome.started_s) * 1000, 3)
    fields |= {"error": outcome.type, "cause": outcome.cause}
    if outcome.raised_in:
        fields |= {"where": outcome.raised_in, "traceback": outcome.traceback}
    if ended == "retried":
        fields["retry_in_s"] = round(outcome.retry_in_s or 0.0, 3)
    is_no_fault = ended == CANCELLED or outcome.cause == INTERRUPTED
    level = logging.INFO if is_no_fault else logging.WARNING
    log.log(level, f"job.{ended}", extra=fields)


def _rescued(event: JobRescued, where: Where) -> None:
    became = event.status if event.status in (FAILED, CANCELLED) else "rescued"
    fields = {**_job(event.id, event.queue, event.type, became, event.text), **where, "cause": event.cause}
    log.log(logging.WARNING if event.is_charged else logging.INFO, f"job.{became}", extra=fields)
