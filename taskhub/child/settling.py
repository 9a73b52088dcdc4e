"""Write down what a child has finished, and release what it has not begun. Everything here is called under its lock.

Invariants:
- Whatever a failed write leaves open stays in the batch, and the same write may be sent again.
- What PostgreSQL refuses for what it says is settled as something else, or set aside; it stops nothing.
"""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence

from taskhub import clock, failpoints
from taskhub.broker.broker import Broker
from taskhub.child.batch import Batch, taken
from taskhub.child.unknown_types import UnknownTypes
from taskhub.domain.errors import BrokerUnavailableError
from taskhub.domain.job import COMPLETED, ClaimedJob
from taskhub.domain.outcome import Completed, Failed, Outcome
from taskhub.events.jobs import ExecutionFailed, JobEvent, JobsCompleted, LeaseLost
from taskhub.events.teller import Teller
from taskhub.logs import get_logger
from taskhub.services.execution.release import defer, release
from taskhub.services.execution.requeue import requeue
from taskhub.services.execution.settle import settle
from taskhub.store.cancellations import filter_cancelled
from taskhub.store.connection import Connection

log = get_logger(__name__)

_REFUSED_AGAIN_S = 30.0
_MOST_FOR_LATER = 1000


class Settler:
    """One child's settlements, over its own connections; `lock` is held for every call, but for `abandon`."""

    def __init__(self, batch: Batch, store: Connection, broker: Broker, teller: Teller) -> None:
        self.batch = batch
        self.lock = threading.Lock()
        self.teller = teller
        self._store = store
        self._broker = broker
        self._unknown_types = UnknownTypes()
        self._later: list[tuple[str, Outcome]] = []  # with the lease that each ran under
        self._later_due_s = 0.0

    def settle_all(self) -> None:
        """Settle every outcome. Raises StoreUnavailableError: then they are all still held."""
        with taken(self.batch.completed) as completed, taken(self.batch.others) as others:
            self._settle([*completed, *others])
            completed.clear()
            others.clear()
        self._try_again()

    def settle_others(self) -> None:
        """Settle all but what travels with the next claim: failures have a statement of their own."""
        with taken(self.batch.others) as others:
            self._settle(others)
            others.clear()
        self._try_again()

    def settled_by(self, settled: int, finished: list[Completed]) -> None:
        """A claim has settled `finished` on its way; look closer if it counted fewer. What fails is tried again."""
        if not finished:
            return
        try:
            if settled == len(finished):
                self._report(finished, {}, [])
            else:  # something was lost, or an earlier sending of the claim had settled them
                self._settle(finished)
        except Exception as error:  # noqa: BLE001 (what the claim brought must come into the batch all the same)
            log.warning("job.unsettled", extra={"text": f"{len(finished)} jobs are settled later: {error}"})
            self._keep_for_later(finished, due_in_s=0.0)

    def release(self) -> None:
        """Release everything that has not begun, and requeue it for others."""
        with taken(self.batch.pending) as jobs:
            ids = [job.id for job in jobs] + list(self.batch.withheld)
            if not ids:
                return
            release(self._store, ids, self.batch.lease)
            jobs.clear()
            self.batch.withheld.clear()
        self._requeue(ids)

    def release_withheld(self) -> None:
        """Release what was too large to be held beside the others, and requeue it for others."""
        ids = list(self.batch.withheld)
        if ids:
            release(self._store, ids, self.batch.lease)
            self.batch.withheld.clear()
            self._requeue(ids)

    def release_cancelled(self) -> None:
        """Release what somebody has cancelled and has not begun: that makes it cancelled."""
        waiting = [job.id for job in list(self.batch.pending)]
        if not waiting:
            return
        flagged = filter_cancelled(self._store, waiting)
        with taken(self.batch.pending, lambda job: job.id in flagged) as jobs:
            if jobs:
                release(self._store, [job.id for job in jobs], self.batch.lease)
                jobs.clear()

    def defer(self, job: ClaimedJob) -> None:
        """Give back a job whose type is not known here."""
        self._unknown_types.tell(job, self.batch.queue)
        defer(self._store, job.id, self.batch.lease)

    def abandon(self) -> None:
        """The slot is closed: what was finished and not settled is a rescuer's business."""
        with taken(self.batch.completed) as completed, taken(self.batch.others) as others:
            self._report([], {}, [outcome.id for outcome in [*completed, *others]])
            completed.clear()
            others.clear()

    def _requeue(self, released: list[str]) -> None:
        with contextlib.suppress(BrokerUnavailableError):  # their run_at is set: the dispatcher pushes them
            requeue(self._store, self._broker, released)

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        if not outcomes:
            return
        result = settle(self._store, self.batch.lease or "", outcomes)
        failpoints.hit("worker.after_settle")
        if result.refused:
            self._set_aside(result.refused)
        refused = {outcome.id for outcome in result.refused}
        self._report([o for o in outcomes if o.id not in refused], result.statuses, result.stale)

    def _set_aside(self, refused: Sequence[Outcome]) -> None:
        """What PostgreSQL refuses in whatever words stops nobody: it is told, and tried again now and then."""
        for outcome in refused:
            text = f"PostgreSQL refuses what became of it: {outcome}"
            log.error("job.unsettled", extra={"job_id": outcome.id, "text": text[:2000]})
        self._keep_for_later(refused, due_in_s=_REFUSED_AGAIN_S)

    def _keep_for_later(self, outcomes: Sequence[Outcome], due_in_s: float) -> None:
        lease = self.batch.lease or ""
        self._later += [(lease, outcome) for outcome in outcomes]
        del self._later[:-_MOST_FOR_LATER]
        self._later_due_s = clock.monotonic_s() + due_in_s

    def _try_again(self) -> None:
        if self._later and clock.monotonic_s() >= self._later_due_s:
            self._later_due_s = clock.monotonic_s() + _REFUSED_AGAIN_S
            self._later = [(lease, o) for lease, o in self._later if settle(self._store, lease, [o]).refused]

    def _report(self, outcomes: Sequence[Outcome], statuses: dict[str, str], stale: list[str]) -> None:
        for event in _settled_events(self.batch, outcomes, statuses, stale):
            self.teller.tell(event)
        self.teller.flush()


def _settled_events(
    batch: Batch, outcomes: Sequence[Outcome], statuses: dict[str, str], stale: list[str]
) -> Iterator[JobEvent]:
    """Events of settled outcomes: `statuses` tells what became of failed ones, `stale` which were lost to others."""
    lost, jobs = set(stale), batch.jobs
    completed: dict[tuple[str, int], list[tuple[str, float]]] = defaultdict(list)
    for outcome in outcomes:
        job_id = outcome.id
        job = jobs.get(job_id)
        if job is None or job_id in lost:
            continue
        if not isinstance(outcome, Failed) or statuses.get(job_id) == COMPLETED:  # by an unknown commit
            completed[job.type, job.attempt].append((job_id, outcome.finished_s - outcome.started_s))
        else:
            yield ExecutionFailed(batch.queue, job, outcome, statuses.get(job_id, ""))
    for (job_type, attempt), took in completed.items():
        yield JobsCompleted(batch.queue, job_type, attempt, took)
    if stale:
        yield LeaseLost(stale)
