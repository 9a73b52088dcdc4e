"""Claim jobs for one child: ids from Redis, the right to run them from PostgreSQL; or both from PostgreSQL.

Invariants:
- A claim whose answer was lost is sent again with the same lease: rows that it already got count as got.
- A row that somebody's transaction holds locked is left out of its batch: it waits for that, and nothing else does.
- A slot that was closed claims nothing ever again: SlotClosedError.
- A batch's payloads take MAX_BATCH_BYTES and one more at most, whatever was expected of them.
- A queue whose claims PostgreSQL refuses, whatever for, pauses by itself: one line, and growing pauses between tries.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from taskhub import clock, failpoints, ids
from taskhub.domain.errors import BlockedError, BrokerUnavailableError, StatementError, StoreUnavailableError
from taskhub.domain.job import ClaimedJob, WorkerSlot
from taskhub.domain.outcome import Completed
from taskhub.logs import get_logger
from taskhub.outage import Outage
from taskhub.services.execution.claimed import MAX_BATCH_BYTES, Claim, claim_of, header_of
from taskhub.services.execution.redis_take import RedisTake
from taskhub.services.execution.requeue import requeue
from taskhub.services.execution.settle import CompletedArrays, completed_arrays
from taskhub.services.execution.store_claim import StoreClaim
from taskhub.store.connection import Connection, Row
from taskhub.store.statements import uuid_array

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
        self._unresolved: _Sending | None = None
        self._paused_until: dict[str, float] = {}
        self._refusals: dict[str, Outage] = {}
        self._looks_until = 0.0

    @property
    def redis_is_away(self) -> bool:
        return self._redis.is_away

    def claim(self, queue: str, want: int, peers: int, lease: str | None, finished: list[Completed]) -> Claim | None:
        """Settle `finished` (of `lease`) and claim up to `want` jobs of `queue`, in one round trip.

        None: there is nothing to claim, and nothing was settled. A returned claim's lease is the slot's
        from now on, also when it brought no job. Raises SlotClosedError; StoreUnavailableError, and
        StatementError if there is something `finished`, after which that is still to be settled.
        """
        asked = queue if self._unresolved is None else self._unresolved.queue
        try:
            claim = self._claim(queue, want, peers, lease, finished)
        except StatementError as error:
            if finished:  # one of them may be what cannot be stored
                raise
            refusal = self._refusals.setdefault(asked, Outage(log, "claim.refused", "claim.goes_on", queue=asked))
            self._paused_until[asked] = clock.monotonic_s() + refusal.lost(str(error))
            return None
        if self._refusals and claim is not None and claim.queue in self._refusals:
            self._refusals.pop(claim.queue).back()
        return claim

    def confirm(self) -> None:
        """What the last claim brought is held; until then it counts as not received, and would be asked for again."""
        if self._unresolved is not None:
            queue, self._unresolved = self._unresolved.queue, None
            self._redis.confirm(queue)

    def acknowledge(self) -> None:
        """Forget the in-flight lists of batches that are settled; for when no next take does it."""
        self._redis.acknowledge()

    def _claim(self, queue: str, want: int, peers: int, lease: str | None, finished: list[Completed]) -> Claim | None:
        if self._unresolved is not None:
            return self._claim_taken(self._unresolved, lease, finished)
        if self._paused_until.get(queue, 0.0) > clock.monotonic_s():
            return None
        taken = self._redis.take(queue, want, peers)
        if taken is None:
            return None if finished else self._claim_from_store(queue, want, lease)
        if not taken:
            return None
        return self._claim_taken(_Sending(queue, taken, ids.new_token()), lease, finished)

    def _claim_taken(self, sending: _Sending, lease: str | None, finished: list[Completed]) -> Claim:
        """One round trip. If its outcome stays unknown, the next claim begins by sending the same again."""
        self._unresolved = sending
        arrays = completed_arrays(finished)
        failpoints.hit("worker.before_claim")
        if clock.monotonic_s() < self._looks_until:
            sending = self._without_locked(sending)
        rows = self._send(sending, lease, arrays, bool(finished))
        failpoints.hit("worker.after_claim")
        queue, taken, claim_lease, _ = sending
        settled, is_paused = header_of(rows[0])
        if is_paused:
            self._pause(queue)
            self.confirm()
            with contextlib.suppress(BrokerUnavailableError):  # Redis went since; the reconciler pushes them again
                requeue(self._store, self._redis.broker, taken)
            return Claim(queue, lease, [], settled, is_empty=True)
        found = {row[0]: ClaimedJob._make(row) for row in rows[1:]}
        jobs = [found[job_id] for job_id in dict.fromkeys(taken) if job_id in found]
        return claim_of(queue, claim_lease, jobs, settled)

    def _send(self, sending: _Sending, lease: str | None, arrays: CompletedArrays, settles: bool) -> list[Row]:
        until_s = clock.monotonic_s() + _SENDINGS_S
        for attempt in range(_SENDINGS):
            self._unresolved = sending._replace(is_in_doubt=True)
            try:
                return self._store.run(
                    "settle_and_claim",
                    *arrays,
                    lease,
                    *self._slot,
                    sending.queue,
                    uuid_array(sending.ids),
                    sending.lease,
                    MAX_BATCH_BYTES,
                )
            except StatementError as error:
                if error.sqlstate != _NOT_A_UUID or settles:
                    self._unresolved = None  # refused as a whole: nothing happened
                    raise
                valid = [job_id for job_id in sending.ids if ids.is_id(job_id)]  # somebody's junk in the list
                sending = sending._replace(ids=valid)
            except StoreUnavailableError as error:
                if not isinstance(error, BlockedError):
                    sending = self._unresolved
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
        locked = {job_id for (job_id,) in self._store.run("filter_locked", uuid_array(known))}
        if locked:
            self._looks_until = clock.monotonic_s() + _LOOKS_FOR_S
        return sending._replace(ids=[job_id for job_id in sending.ids if job_id not in locked])

    def _claim_from_store(self, queue: str, want: int, lease: str | None) -> Claim:
        claim, is_paused = self._from_store.claim(queue, want, lease)
        if is_paused:
            self._pause(queue)
        return claim

    def _pause(self, queue: str) -> None:
        self._paused_until[queue] = clock.monotonic_s() + _PAUSE_LASTS_S
