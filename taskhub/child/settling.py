"""Write down what a child has finished, and give back what it has not begun. Everything here is called under its lock.

Invariants:
- Whatever a failed write leaves open stays in the batch, and the same write may be sent again.
- What PostgreSQL refuses for what it says is settled as something else, or set aside; it stops nothing.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence

from taskhub import clock, failpoints
from taskhub.broker.broker import Broker
from taskhub.child.batch import Batch, taken
from taskhub.child.settled_events import settled_events
from taskhub.domain.errors import BrokerUnavailableError
from taskhub.domain.job import ClaimedJob
from taskhub.domain.outcome import Completed, Outcome
from taskhub.events.teller import Teller
from taskhub.logs import get_logger
from taskhub.services.execution.claimed import Claim
from taskhub.services.execution.requeue import requeue
from taskhub.services.execution.settle import settle
from taskhub.store.connection import Connection
from taskhub.store.statements import uuid_array

log = get_logger(__name__)

UNKNOWN_TYPE_DELAY_S = 30.0
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

    def settled_by(self, claim: Claim, finished: list[Completed]) -> None:
        """A claim has settled `finished` on its way; look closer if it counted fewer. What fails is tried again."""
        if not finished:
            return
        try:
            if claim.settled == len(finished):
                self._report(finished, {}, [])
            else:  # something was lost, or an earlier sending of the claim had settled them
                self._settle(finished)
        except Exception as error:  # noqa: BLE001 (what the claim brought must come into the batch all the same)
            log.warning("job.unsettled", extra={"text": f"{len(finished)} jobs are settled later: {error}"})
            self._keep_for_later(finished, due_in_s=0.0)

    def give_back(self) -> None:
        """Release everything that has not begun, uncharged, and push it for others."""
        batch = self.batch
        with batch.pending_taken() as jobs:
            ids = [job.id for job in jobs] + list(batch.withheld)
            if not ids:
                return
            self._store.run("release_jobs", uuid_array(ids), batch.lease, 0.0)
            jobs.clear()
            batch.withheld.clear()
        with contextlib.suppress(BrokerUnavailableError):  # their run_at is set: the dispatcher pushes them
            requeue(self._store, self._broker, ids)

    def give_back_withheld(self) -> None:
        """Release what was too large to be held beside the others, so that somebody can take it at once."""
        ids = list(self.batch.withheld)
        if ids:
            self._store.run("release_jobs", uuid_array(ids), self.batch.lease, 0.0)
            self.batch.withheld.clear()
            with contextlib.suppress(BrokerUnavailableError):
                requeue(self._store, self._broker, ids)

    def release_cancelled(self) -> None:
        """Release what somebody has cancelled and has not begun: that makes it cancelled."""
        waiting = [job.id for job in list(self.batch.pending)]
        if not waiting:
            return
        flagged = {row[0] for row in self._store.run("filter_cancelled", uuid_array(waiting))}
        with self.batch.pending_taken(lambda job: job.id in flagged) as jobs:
            if jobs:
                self._store.run("release_jobs", uuid_array([job.id for job in jobs]), self.batch.lease, 0.0)
                jobs.clear()

    def postpone(self, job: ClaimedJob) -> None:
        """Give back a job whose type is not known here: another worker may know it, during a rolling deploy."""
        log.warning("job.unknown_type", extra={"job_id": job.id, "type": job.type, "queue": self.batch.queue})
        self._store.run("postpone_unknown", uuid_array([job.id]), self.batch.lease, UNKNOWN_TYPE_DELAY_S)

    def abandon(self) -> None:
        """The slot is closed: what was finished and not settled is a rescuer's business."""
        with taken(self.batch.completed) as completed, taken(self.batch.others) as others:
            self._report([], {}, [outcome.id for outcome in [*completed, *others]])
            completed.clear()
            others.clear()

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
        for event in settled_events(self.batch, list(outcomes), statuses, stale):
            self.teller.tell(event)
        self.teller.flush()
