"""Write down what a child has finished, and give back what it has not begun. Everything here is called under its lock.

Invariant: whatever a failed write leaves open stays in the holding, and the same write may be sent again.
"""

from __future__ import annotations

import contextlib

from taskhub import failpoints
from taskhub.domain.errors import QueueUnavailableError
from taskhub.domain.job import ClaimedJob
from taskhub.domain.outcome import Completed, Outcome
from taskhub.execution.holding import Holding, split
from taskhub.execution.reporter import Reporter
from taskhub.logs import get_logger
from taskhub.queue.broker import Broker
from taskhub.services.claim import Claim, requeue
from taskhub.services.settle import settle
from taskhub.store.connection import Connection
from taskhub.store.statements import uuid_array

log = get_logger(__name__)

UNKNOWN_TYPE_DELAY_S = 30.0


class Settler:
    """One child's settlements, over its own connections."""

    def __init__(self, holding: Holding, store: Connection, broker: Broker, reporter: Reporter) -> None:
        self._holding = holding
        self._store = store
        self._broker = broker
        self._reporter = reporter

    def settle_all(self) -> None:
        """Settle every outcome. Raises StoreUnavailableError: then they are all still held."""
        self._settle(self._holding.drain_finished())

    def settle_failures(self) -> None:
        """Failures have a statement of their own; the completed ones travel with the next claim."""
        completed, failed = split(self._holding.drain_finished())
        self._holding.put_back(list(completed))
        self._settle(list(failed))

    def settled_by(self, claim: Claim, finished: list[Completed]) -> None:
        """A claim has settled `finished` on its way; look closer if it counted fewer."""
        if not finished:
            return
        if claim.settled == len(finished):
            self._report(list(finished), {}, [])
        else:  # something was lost, or an earlier sending of the claim had settled them
            result = settle(self._store, self._holding.lease or "", finished)
            self._report(list(finished), result.statuses, result.stale)

    def give_back(self) -> None:
        """Release everything that has not begun, uncharged, and push it for others."""
        jobs = self._holding.drain_pending()
        if not jobs:
            return
        self._release(jobs)
        with contextlib.suppress(QueueUnavailableError):  # their run_at is set: the dispatcher pushes them
            requeue(self._store, self._broker, [job.id for job in jobs])

    def release_cancelled(self) -> None:
        """Release what somebody has cancelled and has not begun: that makes it cancelled."""
        waiting = [job.id for job in list(self._holding.pending)]
        if not waiting:
            return
        flagged = {row[0] for row in self._store.run("cancelled_of", uuid_array(waiting))}
        jobs = self._holding.drain_pending()
        self._holding.pending.extend(job for job in reversed(jobs) if job.id not in flagged)
        self._release([job for job in jobs if job.id in flagged])

    def postpone(self, job: ClaimedJob) -> None:
        """Give back a job whose type is not known here: another worker may know it, during a rolling deploy."""
        log.warning("job.unknown_type", extra={"job_id": job.id, "type": job.type, "queue": self._holding.queue})
        try:
            self._store.run("postpone_unknown", uuid_array([job.id]), self._holding.lease, UNKNOWN_TYPE_DELAY_S)
        except BaseException:
            self._holding.pending.appendleft(job)
            raise

    def abandon(self) -> None:
        """The slot is closed: what was finished and not settled is a rescuer's business."""
        self._report([], {}, [outcome.id for outcome in self._holding.drain_finished()])

    def _settle(self, outcomes: list[Outcome]) -> None:
        if not outcomes:
            return
        try:
            result = settle(self._store, self._holding.lease or "", outcomes)
        except BaseException:
            self._holding.put_back(outcomes)
            raise
        failpoints.hit("worker.after_settle")
        self._report(outcomes, result.statuses, result.stale)

    def _release(self, jobs: list[ClaimedJob]) -> None:
        if not jobs:
            return
        try:
            self._store.run("release_jobs", uuid_array([job.id for job in jobs]), self._holding.lease, 0.0)
        except BaseException:
            self._holding.pending.extend(reversed(jobs))
            raise

    def _report(self, outcomes: list[Outcome], statuses: dict[str, str], stale: list[str]) -> None:
        self._reporter.settled(self._holding, outcomes, statuses, stale)
        self._reporter.flush()
