"""Tell logs and metrics how executions ended, once they are settled."""

from __future__ import annotations

import logging
from typing import Protocol

from taskhub.child.batch import Batch
from taskhub.domain.job import CANCELLED, COMPLETED, FAILED, INTERRUPTED, ClaimedJob
from taskhub.domain.outcome import Failed, Outcome
from taskhub.logs import get_logger, log_all

log = get_logger(__name__)

_EVENTS = {FAILED: "job.failed", CANCELLED: "job.cancelled"}
_OUTCOMES = {FAILED: "failed", CANCELLED: "cancelled"}


class Recorder(Protocol):
    """Where the counts go; `taskhub.metrics.recorder.JobRecorder` is the real one."""

    def record(self, queue: str, job_type: str, outcome: str, reason: str | None, duration_s: float) -> None: ...
    def record_completed(self, queue: str, job_type: str, durations_s: list[float]) -> None: ...
    def stale(self, count: int) -> None: ...
    def flush(self) -> None: ...


class Reporter:
    """One child's reports."""

    def __init__(self, recorder: Recorder, worker: str, slot: int) -> None:
        self._recorder = recorder
        self._where = {"worker": worker, "slot": slot}

    def started(self, queue: str, job: ClaimedJob) -> None:
        if log.isEnabledFor(logging.DEBUG):
            fields = {"job_id": job.id, "type": job.type, "queue": queue, "attempt": job.attempt}
            log.debug("job.started", extra=fields | self._where)

    def settled(self, batch: Batch, outcomes: list[Outcome], statuses: dict[str, str], stale: list[str]) -> None:
        """`outcomes` are settled: `statuses` tells what became of failed ones, `stale` which were lost to others."""
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
                self._failed(batch.queue, job, outcome, statuses.get(outcome.id, ""))
        for (job_type, attempt), jobs in completed.items():
            self._completed(batch.queue, job_type, attempt, jobs)
        if stale:
            self._recorder.stale(len(stale))
            for job_id in stale:
                log.warning("job.stale", extra={"job_id": job_id, "text": "the lease was lost; nothing was written"})

    def flush(self) -> None:
        self._recorder.flush()

    def _completed(self, queue: str, job_type: str, attempt: int, jobs: list[tuple[str, float]]) -> None:
        """Ids and durations of jobs that are alike: what they have in common is counted and written once."""
        self._recorder.record_completed(queue, job_type, [duration_s for _, duration_s in jobs])
        if log.isEnabledFor(logging.INFO):
            common = {"type": job_type, "queue": queue, "attempt": attempt, **self._where}
            rows = [{"job_id": job_id, "duration_ms": round(duration_s * 1000, 3)} for job_id, duration_s in jobs]
            log_all(log, logging.INFO, "job.completed", common, rows)

    def _failed(self, queue: str, job: ClaimedJob, outcome: Failed, status: str) -> None:
        duration_s = outcome.finished_s - outcome.started_s
        reason = "timeout" if outcome.cause == "timeout" else "exception"
        ended = _OUTCOMES.get(status, "retried")
        is_no_fault = ended == "cancelled" or outcome.cause == INTERRUPTED
        self._recorder.record(queue, job.type, ended, None if is_no_fault else reason, duration_s)
        fields = self._fields(queue, job, duration_s) | {"error": outcome.type, "cause": outcome.cause}
        if ended == "retried":
            fields["retry_in_s"] = round(outcome.retry_in_s or 0.0, 3)
        log.log(
            logging.INFO if is_no_fault else logging.WARNING,
            _EVENTS.get(status, "job.retried"),
            extra=fields | {"text": f"{outcome.type}: {outcome.message}"},
        )

    def _fields(self, queue: str, job: ClaimedJob, duration_s: float) -> dict[str, object]:
        return {
            "job_id": job.id,
            "type": job.type,
            "queue": queue,
            "attempt": job.attempt,
            **self._where,
            "duration_ms": round(duration_s * 1000, 3),
        }
