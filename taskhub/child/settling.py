"""Write down what a child has finished, and release what it has not begun. Everything here is called under its lock.

Invariants:
- Whatever a failed write leaves open stays in the batch, and the same write may be sent again.
- What PostgreSQL refuses for what it says is settled as something else, or set aside; it stops nothing.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from taskhub import clock, failpoints
from taskhub.broker.broker import Broker
from taskhub.child.batch import Batch, using_up
from taskhub.child.settled_events import settled_events
from taskhub.child.unknown_types import UnknownTypes
from taskhub.domain.errors import BrokerUnavailableError
from taskhub.domain.job import ClaimedJob
from taskhub.domain.outcome import Completed, Outcome
from taskhub.events.jobs import JobEvent
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


class _Unsettled(NamedTuple):
    """An outcome that is settled apart from its batch, with what that batch was."""

    queue: str
    lease: str
    job: ClaimedJob | None
    outcome: Outcome

    @property
    def known(self) -> dict[str, ClaimedJob]:
        """The job, by its id."""
        return {} if self.job is None else {self.job.id: self.job}


class Settler:
    """One child's settlements, over its own connections; `lock` is held for every call, but for `abandon`."""

    def __init__(self, batch: Batch, store: Connection, broker: Broker, teller: Teller) -> None:
        self.batch = batch
        self.lock = threading.Lock()
        self.teller = teller
        self._store = store
        self._broker = broker
        self._unknown_types = UnknownTypes()
        self._later: deque[_Unsettled] = deque(maxlen=_MOST_FOR_LATER)
        self._later_due_s = 0.0

    def settle_all(self) -> None:
        """Settle every outcome. Raises StoreUnavailableError: then they are all still held."""
        with using_up(self.batch.completed) as completed, using_up(self.batch.others) as others:
            self._settle([*completed, *others])
            completed.clear()
            others.clear()
        self._try_again()

    def settle_others(self) -> None:
        """Settle all but what travels with the next claim: failures have a statement of their own."""
        with using_up(self.batch.others) as others:
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
        with using_up(self.batch.pending) as jobs:
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
        with using_up(self.batch.pending, lambda job: job.id in flagged) as jobs:
            if jobs:
                release(self._store, [job.id for job in jobs], self.batch.lease)
                jobs.clear()

    def defer(self, job: ClaimedJob) -> None:
        """Give back a job whose type is not known here."""
        self._unknown_types.tell(job, self.batch.queue)
        defer(self._store, job.id, self.batch.lease)

    def abandon(self) -> None:
        """The slot is closed: what was finished and not settled is a rescuer's business."""
        with using_up(self.batch.completed) as completed, using_up(self.batch.others) as others:
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
        batch = self.batch
        self._later += [
            _Unsettled(batch.queue, batch.lease or "", batch.jobs.get(outcome.id), outcome) for outcome in outcomes
        ]
        self._later_due_s = clock.monotonic_s() + due_in_s

    def _try_again(self) -> None:
        if not self._later or clock.monotonic_s() < self._later_due_s:
            return
        self._later_due_s = clock.monotonic_s() + _REFUSED_AGAIN_S
        for _ in range(len(self._later)):
            late = self._later[0]
            result = settle(self._store, late.lease, [late.outcome])
            self._later.popleft()
            if result.refused:
                self._later.append(late)
            else:
                self._tell(settled_events(late.queue, late.known, [late.outcome], result.statuses, result.stale))

    def _report(self, outcomes: Sequence[Outcome], statuses: dict[str, str], stale: list[str]) -> None:
        self._tell(settled_events(self.batch.queue, self.batch.jobs, outcomes, statuses, stale))

    def _tell(self, events: Iterable[JobEvent]) -> None:
        for event in events:
            self.teller.tell(event)
        self.teller.flush()
