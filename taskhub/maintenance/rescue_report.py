"""Tell logs and metrics of rescued jobs."""

from __future__ import annotations

from taskhub.domain.job import CANCELLED, FAILED, RUNNING, WorkerSlot
from taskhub.domain.outcome import Committed, Completed, Failed, Outcome
from taskhub.logs import get_logger
from taskhub.metrics import definitions as metrics
from taskhub.metrics.recorder import JobRecorder
from taskhub.services.recovery.rescue import Death, Rescued
from taskhub.store.connection import Row

log = get_logger(__name__)


_UNKNOWN = (None, None, None, "", "", 0)  # no such row any more


class RescueReport:
    """One thread's reports."""

    def __init__(self) -> None:
        self._recorder = JobRecorder()

    def rescued(self, jobs: list[Rescued], death: Death, slot: WorkerSlot) -> None:
        """Jobs that a dead generation held were taken back."""
        for job in jobs:
            charged = job.started and not death.interrupted
            if charged:
                metrics.JOBS_PROCESSED.labels(job.queue, job.type, "crashed").inc()
                metrics.JOB_FAILURES.labels(job.queue, job.type, "crash").inc()
            metrics.JOBS_RESCUED.labels(death.cause if job.started else "released").inc()
            event = {"failed": "job.failed", "cancelled": "job.cancelled"}.get(job.status, "job.rescued")
            fields = {
                "job_id": job.id,
                "type": job.type,
                "queue": job.queue,
                "worker": slot.worker,
                "slot": slot.number,
            }
            text = death.message if job.started else "it had not been started"
            log.log(30 if charged else 20, event, extra=fields | {"cause": death.cause, "text": text})

    def recovered(self, death_reason: str, cause: str) -> None:
        """A child is accounted for; `death_reason` is empty unless its supervisor killed it."""
        metrics.CHILD_EXITS.labels(death_reason or cause).inc()

    def settled_for_the_dead(
        self,
        outcomes: list[Outcome],
        before: dict[str, Row],
        after: dict[str, Row],
        lease: str | None,
        slot: WorkerSlot,
    ) -> None:
        """Outcomes that a dead child had finished were settled; `before` and `after` are their rows' states.

        What the child had settled itself, it has counted itself; what the lease had lost is stale.
        """
        for outcome in outcomes:
            _, status, its_lease, queue, job_type, _ = before.get(outcome.id, _UNKNOWN)
            if its_lease != lease:
                self._recorder.stale(1)
                log.warning(
                    "job.stale", extra={"job_id": outcome.id, "text": "the lease was lost; nothing was written"}
                )
            elif status == RUNNING or isinstance(outcome, Committed):
                self._settled(outcome, queue, job_type, after.get(outcome.id, _UNKNOWN)[1], slot)
        self._recorder.flush()

    def _settled(self, outcome: Outcome, queue: str, job_type: str, status: str, slot: WorkerSlot) -> None:
        is_completed = isinstance(outcome, Completed | Committed)
        ended = "completed" if is_completed else status if status in (FAILED, CANCELLED) else "retried"
        reason = None
        if isinstance(outcome, Failed) and ended != CANCELLED:
            reason = "timeout" if outcome.cause == "timeout" else "exception"
        self._recorder.record(queue, job_type, ended, reason, outcome.finished_s - outcome.started_s)
        fields = {"job_id": outcome.id, "type": job_type, "queue": queue, "worker": slot.worker, "slot": slot.number}
        text = "settled for its child, which had died"
        log.log(20 if is_completed or ended == CANCELLED else 30, f"job.{ended}", extra=fields | {"text": text})


def tell_expired(rows: list[Row]) -> None:
    """Jobs failed because nobody started them in time."""
    for job_id, queue, job_type in rows:
        fields = {"job_id": job_id, "queue": queue, "type": job_type}
        log.info("job.failed", extra=fields | {"text": "expired before it was started"})
