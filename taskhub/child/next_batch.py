"""The next batch of one child: from the queue whose turn it is, in the round trip that settles the last one."""

from __future__ import annotations

from operator import attrgetter

from taskhub import clock
from taskhub.broker.broker import Broker
from taskhub.child.batch import using_up
from taskhub.child.batch_size import BatchSize
from taskhub.child.link import SupervisorLink
from taskhub.child.served_queues import ServedQueues
from taskhub.child.settling import Settler
from taskhub.domain.errors import BrokerUnavailableError
from taskhub.domain.job import ClaimedJob
from taskhub.logs import get_logger
from taskhub.services.execution.claim import Claimer
from taskhub.services.execution.claim_result import ClaimResult, Jobs, NothingClaimed, Paused, Refused

log = get_logger(__name__)

_PAYLOAD, _CRASHES = attrgetter("payload"), attrgetter("crashes")
_POLL_S = 0.1  # between two looks into PostgreSQL while Redis is away


class NextBatch:
    """In the main thread; what it claims becomes the settler's batch."""

    def __init__(
        self,
        link: SupervisorLink,
        settler: Settler,
        claimer: Claimer,
        broker: Broker,
        queues: ServedQueues,
        batch_size: BatchSize,
    ) -> None:
        self._link = link
        self._settler = settler
        self._batch = settler.batch
        self._claimer = claimer
        self._broker = broker
        self._queues = queues
        self._batch_size = batch_size

    def claim(self, at_most: int | None) -> Jobs | NothingClaimed:
        """Settle what is finished, and claim a batch of at most so many jobs of the queue whose turn it is."""
        with self._settler.lock:
            self._queues.refresh()
            self._settler.release()  # left over when starting was not allowed, or could not be released then
            if self._claimer.redis_is_away:
                self._settler.settle_all()
            else:
                self._settler.settle_others()
            peers = self._link.peers()
            for queue in self._queues.order():
                claim = self._claim_or_settle_apart(queue, self._wanted(queue, at_most), peers)
                if isinstance(claim, Jobs):
                    self._queues.served(queue)
                    return claim
                self._queues.seen_empty(queue)
                self._batch_size.seen_empty(queue)
            self._settler.settle_all()
        return NothingClaimed()

    def learn(self, count: int, seconds: float) -> None:
        """So many jobs of the last batch took so long: it tells how many to claim."""
        self._batch_size.record(self._batch.queue, count, seconds)

    def acknowledge(self) -> None:
        """Forget what Redis keeps of batches that are settled."""
        self._claimer.acknowledge()

    def wait_for_bell(self, at_most_s: float) -> None:
        """Until something is pushed into a queue that is served, or for a while."""
        if self._claimer.redis_is_away:
            clock.sleep(_POLL_S)
            return
        try:
            rung = self._broker.wait(self._queues.names, at_most_s)
            if rung is not None:
                self._queues.rang(rung)
        except BrokerUnavailableError:
            clock.sleep(_POLL_S)

    def _wanted(self, queue: str, at_most: int | None) -> int:
        wanted = self._batch_size.wanted(queue)
        return wanted if at_most is None else min(wanted, at_most)

    def _claim_or_settle_apart(self, queue: str, want: int, peers: int) -> ClaimResult:
        claim = self._settle_and_claim(queue, want, peers)
        if isinstance(claim, Refused):  # perhaps a result that cannot be stored: settle them apart, then claim
            log.warning("claim.refused", extra={"queue": queue, "text": claim.text})
            self._settler.settle_all()
            claim = self._settle_and_claim(queue, want, peers)  # its ids lie in the in-flight list already
        return claim

    def _settle_and_claim(self, queue: str, want: int, peers: int) -> ClaimResult:
        """Settle what is finished, and hold what the claim brings."""
        with using_up(self._batch.completed) as finished:
            claim = self._claimer.claim(queue, want, peers, finished)
            if isinstance(claim, Jobs | Paused):
                self._settler.settled_by(claim.settled, finished)
                finished.clear()
        if isinstance(claim, Jobs):
            self._hold(claim)
        return claim

    def _hold(self, claim: Jobs) -> None:
        self._batch.take_over(claim.queue, claim.lease, _ordered(claim.jobs), claim.withheld)
        self._claimer.confirm()
        self._batch_size.received(claim.queue, len(claim.jobs), sum(map(len, map(_PAYLOAD, claim.jobs))))
        self._link.clear_notes()
        self._link.hold(self._batch.token)
        self._settler.release_withheld()


def _ordered(jobs: list[ClaimedJob]) -> list[ClaimedJob]:
    """As they came, but those that have crashed a child before come last (each then runs alone)."""
    return sorted(jobs, key=lambda job: job.crashes > 0) if any(map(_CRASHES, jobs)) else jobs
