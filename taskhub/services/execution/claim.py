"""Claim jobs for one child: ids from Redis, the right to run them from PostgreSQL; or both from PostgreSQL.

Invariants:
- A claim whose answer was lost is sent again with the same lease: rows that it already got count as got.
- A row that somebody's transaction holds locked is left out of its batch: it waits for that, and nothing else does.
- A slot that was closed claims nothing ever again: SlotClosedError. So does one whose claim may have been carried out
  and cannot be sent again, for somebody has locked a row of it since: its rescue gives back what it got.
- A batch's payloads take MAX_BATCH_BYTES and one more at most, whatever was expected of them.
- A queue whose claims PostgreSQL refuses, whatever for, pauses by itself: one line, and growing pauses between tries.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from taskhub import clock, failpoints, ids
from taskhub.domain.errors import (
    BlockedError,
    BrokerUnavailableError,
    SlotClosedError,
    StatementError,
    StoreUnavailableError,
)
from taskhub.domain.job import MAX_BATCH_BYTES, WorkerSlot
from taskhub.domain.outcome import Completed
from taskhub.logs import get_logger
from taskhub.outage import Outage
from taskhub.services.execution.claimed import Claim, Jobs, NothingWaits, Paused, Refused
from taskhub.services.execution.redis_take import RedisTake
from taskhub.services.execution.requeue import requeue
from taskhub.services.execution.store_claim import StoreClaim
from taskhub.store.claims import ClaimAnswer, filter_locked, settle_and_claim
from taskhub.store.connection import Connection
from taskhub.store.settlements import CompletedArrays, completed_arrays

log = get_logger(__name__)

_PAUSE_LASTS_S = 1.0
_SENDINGS = 3
_SENDINGS_S = 2.0  # no sending begins later: a server that does not answer is waited for by the caller
_LOOKS_FOR_S = 10.0  # after a batch was held up by a locked row, each is looked at before it is claimed
_NOT_A_UUID = "22P02"


class _Sending(NamedTuple):
    """A claim on its way: sent again as it is while it is in doubt whether PostgreSQL has carried it out."""

    queue: str
    ids: list[str]
    lease: str
    is_in_doubt: bool = False


class Claimer:
    """The claims of one child, over its own two connections."""

    def __init__(self, store: Connection, redis: RedisTake, slot: WorkerSlot) -> None:
        self._store = store
        self._redis = redis
        self._slot = slot
        self._from_store = StoreClaim(store, slot)
        self._lease: str | None = None  # that the slot bears since the last claim that was carried out
        self._unresolved: _Sending | None = None
        self._paused_until: dict[str, float] = {}
        self._refusals: dict[str, Outage] = {}
        self._looks_until = 0.0

    @property
    def redis_is_away(self) -> bool:
        return self._redis.is_away

    def claim(self, queue: str, want: int, peers: int, finished: list[Completed]) -> Claim:
        """Settle `finished` (of the last claim) and claim up to `want` jobs of `queue`, in one round trip.

        What it brings counts as not received, and would be asked for again, until it is confirmed. Raises
        SlotClosedError and StoreUnavailableError, after which `finished` is still to be settled.
        """
        asked = queue if self._unresolved is None else self._unresolved.queue
        try:
            claim = self._claim(queue, want, peers, finished)
        except StatementError as error:
            if finished:  # one of them may be what cannot be stored
                return Refused(str(error))
            refusal = self._refusals.setdefault(asked, Outage(log, "claim.refused", "claim.goes_on", queue=asked))
            self._paused_until[asked] = clock.monotonic_s() + refusal.lost(str(error))
            return NothingWaits()
        if self._refusals and not isinstance(claim, NothingWaits) and asked in self._refusals:
            self._refusals.pop(asked).back()
        return claim

    def confirm(self) -> None:
        """What the last claim brought is held."""
        if self._unresolved is not None:
            self._lease = self._unresolved.lease
            self._forget_sending(self._unresolved.queue)

    def acknowledge(self) -> None:
        """Forget the in-flight lists of batches that are settled; for when no next take does it."""
        self._redis.acknowledge()

    def _claim(self, queue: str, want: int, peers: int, finished: list[Completed]) -> Claim:
        if self._unresolved is not None:
            return self._claim_taken(self._unresolved, finished)
        if self._from_store.is_in_doubt:  # whatever Redis says by now
            return NothingWaits() if finished else self._claim_from_store(queue, want)
        if self._paused_until.get(queue, 0.0) > clock.monotonic_s():
            return NothingWaits()
        taken = self._redis.take(queue, want, peers)
        if taken is None:
            return NothingWaits() if finished else self._claim_from_store(queue, want)
        if not taken:
            return NothingWaits()
        return self._claim_taken(_Sending(queue, taken, ids.new_token()), finished)

    def _claim_taken(self, sending: _Sending, finished: list[Completed]) -> Jobs | Paused:
        """One round trip. If its outcome stays unknown, the next claim begins by sending the same again."""
        self._unresolved = sending
        arrays = completed_arrays(finished)
        failpoints.hit("worker.before_claim")
        if clock.monotonic_s() < self._looks_until:
            sending = self._without_locked(sending)
        answer = self._send(sending, arrays, bool(finished))
        failpoints.hit("worker.after_claim")
        if not answer.slot_open:
            raise SlotClosedError
        queue, taken, lease, _ = sending
        if answer.paused:
            self._paused_until[queue] = clock.monotonic_s() + _PAUSE_LASTS_S
            self._forget_sending(queue)
            with contextlib.suppress(BrokerUnavailableError):  # Redis went since; the reconciler pushes them again
                requeue(self._store, self._redis.broker, taken)
            return Paused(answer.settled)
        found = {job.id: job for job in answer.jobs}
        jobs = [found[job_id] for job_id in dict.fromkeys(taken) if job_id in found]
        return Jobs(queue, lease, jobs, answer.settled, answer.withheld)

    def _forget_sending(self, queue: str) -> None:
        self._unresolved = None
        self._redis.confirm(queue)

    def _send(self, sending: _Sending, arrays: CompletedArrays, settles: bool) -> ClaimAnswer:
        until_s = clock.monotonic_s() + _SENDINGS_S
        for attempt in range(_SENDINGS):
            self._unresolved = sending._replace(is_in_doubt=True)
            queue, taken, lease, _ = sending
            try:
                return settle_and_claim(
                    self._store, arrays, self._lease, self._slot, queue, taken, lease, MAX_BATCH_BYTES
                )
            except StatementError as error:
                if error.sqlstate != _NOT_A_UUID or settles:
                    self._unresolved = None  # refused as a whole: nothing happened
                    raise
                valid = [job_id for job_id in sending.ids if ids.is_id(job_id)]  # somebody's junk in the list
                sending = sending._replace(ids=valid)
            except StoreUnavailableError as error:
                if error.outcome_unknown:
                    sending = self._unresolved
                elif isinstance(error, BlockedError) and sending.is_in_doubt:
                    raise SlotClosedError(f"it is not known whether a claim was carried out: {error}") from error
                self._unresolved = sending
                if attempt == _SENDINGS - 1 or clock.monotonic_s() > until_s:
                    raise
                if isinstance(error, BlockedError):
                    sending = self._without_locked(sending)
        raise StoreUnavailableError("Redis handed out ids that are not job ids again and again")

    def _without_locked(self, sending: _Sending) -> _Sending:
        """Leave out what somebody has locked: its row is found again as one whose push was lost.

        Not once the claim may have been carried out: the slot must name every row that it has got.
        """
        if sending.is_in_doubt:
            return sending
        known = [job_id for job_id in sending.ids if ids.is_id(job_id)]
        locked = filter_locked(self._store, known)
        if locked:
            self._looks_until = clock.monotonic_s() + _LOOKS_FOR_S
        return sending._replace(ids=[job_id for job_id in sending.ids if job_id not in locked])

    def _claim_from_store(self, queue: str, want: int) -> Claim:
        claim, self._lease = self._from_store.claim(queue, want, self._lease)
        if isinstance(claim, Paused):
            self._paused_until[queue] = clock.monotonic_s() + _PAUSE_LASTS_S
        return claim
