"""Claim jobs for one child: ids from Redis, the right to run them from PostgreSQL; or both from PostgreSQL.

Invariants:
- What a claim brings counts as not received until the caller has confirmed that it holds it: until then the next claim
  is the same again.
- A slot that was closed claims nothing ever again: SlotClosedError.
- A batch's payloads take MAX_BATCH_BYTES and one more at most, whatever was expected of them.
- A queue whose claims PostgreSQL refuses, whatever for, pauses by itself: one line, and growing pauses between tries.
"""

from __future__ import annotations

import contextlib

from taskhub import clock, failpoints
from taskhub.domain.errors import BrokerUnavailableError, SlotClosedError, StatementError
from taskhub.domain.job import ClaimedJob, WorkerSlot
from taskhub.domain.outcome import Completed
from taskhub.logs import get_logger
from taskhub.outage import Outage
from taskhub.services.execution.claim_result import ClaimResult, Jobs, NothingClaimed, Paused, Refused
from taskhub.services.execution.claim_sender import ClaimSender, PendingClaim
from taskhub.services.execution.redis_take import RedisTake
from taskhub.services.execution.requeue import requeue
from taskhub.services.execution.store_claim import StoreClaim
from taskhub.store.claims import ClaimAnswer
from taskhub.store.connection import Connection
from taskhub.store.settlements import completed_arrays

log = get_logger(__name__)

_PAUSE_LASTS_S = 1.0


class Claimer:
    """The claims of one child, over its own two connections."""

    def __init__(self, store: Connection, redis: RedisTake, slot: WorkerSlot) -> None:
        self._store = store
        self._redis = redis
        self._sender = ClaimSender(store, slot)
        self._from_store = StoreClaim(store, slot)
        self._lease: str | None = None  # that the slot bears since the last claim that was carried out
        self._paused_until: dict[str, float] = {}
        self._refusals: dict[str, Outage] = {}

    @property
    def redis_is_away(self) -> bool:
        return self._redis.is_away

    def claim(self, queue: str, want: int, peers: int, finished: list[Completed]) -> ClaimResult:
        """Settle `finished` (of the last claim) and claim up to `want` jobs of `queue`, in one round trip.

        Raises SlotClosedError and StoreUnavailableError, after which `finished` is still to be settled.
        """
        asked = queue if self._sender.pending is None else self._sender.pending.queue
        try:
            result = self._claim(queue, want, peers, finished)
        except StatementError as error:
            if finished:  # one of them may be what cannot be stored
                return Refused(str(error))
            refusal = self._refusals.setdefault(asked, Outage(log, "claim.refused", "claim.goes_on", queue=asked))
            self._pause(asked, refusal.lost(str(error)))
            return NothingClaimed()
        if self._refusals and not isinstance(result, NothingClaimed) and asked in self._refusals:
            self._refusals.pop(asked).back()
        return result

    def confirm(self) -> None:
        """What the last claim brought is held."""
        if self._sender.pending is not None:
            self._lease = self._sender.pending.lease
            self._is_dealt_with(self._sender.pending)

    def acknowledge(self) -> None:
        """Forget the in-flight lists of batches that are settled; for when no next take does it."""
        self._redis.acknowledge()

    def _claim(self, queue: str, want: int, peers: int, finished: list[Completed]) -> ClaimResult:
        if self._sender.pending is not None:
            return self._claim_ids(self._sender.pending, finished)
        if self._from_store.is_in_doubt:  # whatever Redis says by now
            return NothingClaimed() if finished else self._claim_from_store(queue, want)
        if self._paused_until.get(queue, 0.0) > clock.monotonic_s():
            return NothingClaimed()
        job_ids = self._redis.take(queue, want, peers)
        if job_ids is None:
            return NothingClaimed() if finished else self._claim_from_store(queue, want)
        if not job_ids:
            return NothingClaimed()
        return self._claim_ids(self._sender.begin(queue, job_ids), finished)

    def _claim_ids(self, claim: PendingClaim, finished: list[Completed]) -> Jobs | Paused:
        completed = completed_arrays(finished)
        failpoints.hit("worker.before_claim")
        answer = self._sender.send(claim, completed, self._lease)
        failpoints.hit("worker.after_claim")
        if not answer.slot_open:
            raise SlotClosedError
        if answer.paused:
            self._give_back(claim)
            return Paused(answer.settled)
        return Jobs(claim.queue, claim.lease, _in_order(claim, answer), answer.settled, answer.withheld)

    def _give_back(self, claim: PendingClaim) -> None:
        self._pause(claim.queue, _PAUSE_LASTS_S)
        self._is_dealt_with(claim)
        with contextlib.suppress(BrokerUnavailableError):  # Redis went since; the reconciler pushes them again
            requeue(self._store, self._redis.broker, claim.ids)

    def _is_dealt_with(self, claim: PendingClaim) -> None:
        self._sender.forget()
        self._redis.confirm(claim.queue)

    def _claim_from_store(self, queue: str, want: int) -> ClaimResult:
        result, self._lease = self._from_store.claim(queue, want, self._lease)
        if isinstance(result, Paused):
            self._pause(queue, _PAUSE_LASTS_S)
        return result

    def _pause(self, queue: str, pause_s: float) -> None:
        self._paused_until[queue] = clock.monotonic_s() + pause_s


def _in_order(claim: PendingClaim, answer: ClaimAnswer) -> list[ClaimedJob]:
    """The jobs as Redis named them."""
    found = {job.id: job for job in answer.jobs}
    return [found[job_id] for job_id in dict.fromkeys(claim.ids) if job_id in found]
