"""Claim jobs for one child: ids from Redis, the right to run them from PostgreSQL; or both from PostgreSQL.

Invariants:
- Ids lie in one of the slot's two in-flight lists from the moment that they leave the ready list until
  after their claim is committed, when the slot's own row holds them; the next take of the same queue deletes
  that list. The row holds them until the statement that settles them has replaced it.
- A claim whose answer was lost is sent again with the same lease: rows that it already got count as got.
- A row that somebody's transaction holds locked is left out of its batch: it waits for that, and nothing else does.
- A slot that was closed claims nothing ever again: SlotClosedError.
- A batch's payloads take MAX_BATCH_BYTES and one more at most, whatever was expected of them.
- Redis failing costs this child nothing but speed: it claims from PostgreSQL until Redis is back.
- A queue whose claims PostgreSQL refuses, whatever for, pauses by itself: one line, and growing pauses between tries.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from taskhub import clock, failpoints, ids
from taskhub.broker import key_names
from taskhub.broker.broker import Broker
from taskhub.domain.errors import (
    BlockedError,
    BrokerUnavailableError,
    StatementError,
    StoreUnavailableError,
    TaskhubError,
)
from taskhub.domain.job import ClaimedJob
from taskhub.domain.outcome import Completed
from taskhub.logs import get_logger
from taskhub.outage import Outage
from taskhub.services.execution.settle import CompletedArrays, completed_arrays
from taskhub.store.connection import Connection, Row, Store
from taskhub.store.statements import uuid_array

log = get_logger(__name__)

MAX_BATCH_BYTES = 8 * 1024 * 1024  # of payloads; the last may reach beyond

_PAYLOAD = attrgetter("payload")
_PAUSE_LASTS_S = 1.0
_PRIORITIES_LAST_S = 1.0
_PLACES, _NEWEST = 500, 5_000  # looked at for where something waits
_ROOM_LASTS_S = 1.0
_SENDINGS = 3
_SENDINGS_S = 2.0  # no sending begins later: a server that does not answer is waited for by the caller
_LOOKS_FOR_S = 10.0  # after a batch was held up by a locked row, each is looked at before it is claimed
_NOT_A_UUID = "22P02"


class SlotClosedError(TaskhubError):
    """This generation of the slot was closed by a rescuer: whatever it holds is no longer its own."""

    code = "slot_closed"


class Claim(NamedTuple):
    """A batch in the order to run it, its lease, and how many of the settled jobs were still this child's.

    `is_empty`: nothing waited. Without it a batch may still bring no job, if all its ids were stale.
    `withheld`: ids that were claimed as well, but whose payloads would have made the batch too large.
    """

    queue: str
    lease: str | None
    jobs: list[ClaimedJob]
    settled: int
    is_empty: bool = False
    withheld: Sequence[str] = ()


class _Sending(NamedTuple):
    """A claim on its way: sent again as it is while it is in doubt whether PostgreSQL has carried it out."""

    queue: str
    ids: list[str]
    lease: str
    is_in_doubt: bool = False


class WorkerSlot(NamedTuple):
    """Whose claims these are."""

    worker: str
    number: int
    generation: int


class Claimer:
    """The claims of one child, over its own two connections."""

    def __init__(self, store: Connection, broker: Broker, slot: WorkerSlot, redis: Outage) -> None:
        self._store = store
        self._broker = broker
        self._slot = slot
        self._redis = redis
        self._unresolved: _Sending | None = None
        self._bank: dict[str, int] = {}
        self._settled_lists: dict[str, str] = {}
        self._paused_until: dict[str, float] = {}
        self._refusals: dict[str, Outage] = {}
        self._priorities: dict[str, list[int]] = {}
        self._priorities_at = -_PRIORITIES_LAST_S
        self._has_room_until = 0.0
        self._looks_until = 0.0

    @property
    def redis_is_away(self) -> bool:
        return self._redis.is_on

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

    def _claim(self, queue: str, want: int, peers: int, lease: str | None, finished: list[Completed]) -> Claim | None:
        if self._unresolved is not None:
            return self._claim_taken(self._unresolved, lease, finished)
        if self._paused_until.get(queue, 0.0) > clock.monotonic_s():
            return None
        taken = self._take(queue, want, peers)
        if taken is None:
            return None if finished else self._claim_from_store(queue, want, lease)
        if not taken:
            return None
        return self._claim_taken(_Sending(queue, taken, ids.new_token()), lease, finished)

    def confirm(self) -> None:
        """What the last claim brought is held; until then it counts as not received, and would be asked for again."""
        if self._unresolved is not None:
            queue, self._unresolved = self._unresolved.queue, None
            bank = self._bank.get(queue, 0)
            self._settled_lists[queue] = self._inflight(queue, bank)
            self._bank[queue] = 1 - bank

    def acknowledge(self) -> None:
        """Forget the in-flight lists of batches that are settled; for when no next take does it."""
        settled, self._settled_lists = self._settled_lists, {}
        for key in settled.values():  # each is of another queue: one by one, for a cluster's sake
            try:
                self._broker.forget(key)
            except BrokerUnavailableError as error:
                self._redis_failed(error)
                return

    # Redis

    def _take(self, queue: str, want: int, peers: int) -> list[str] | None:
        """Ids from Redis into the in-flight list; None while Redis is away."""
        if not self._redis.is_due:
            return None
        bank = self._bank.get(queue, 0)
        target = self._inflight(queue, bank)
        settled = self._settled_lists.get(queue, target + ":none")
        try:
            if self._redis.is_on:
                self._require_room(queue)
            taken = self._broker.take(queue, settled, target, want, peers)
            if not taken:
                self._require_room(queue)
        except BrokerUnavailableError as error:
            # Unknown whether it was carried out: the list to forget may be filled by now. Never delete it again.
            self._settled_lists.pop(queue, None)
            self._redis_failed(error)
            return None
        self._redis.back()
        self._settled_lists.pop(queue, None)
        return taken

    def _require_room(self, queue: str) -> None:
        """A full Redis gives what it holds and takes nothing in: then that nothing waits in it means nothing."""
        if clock.monotonic_s() >= self._has_room_until:
            self._broker.require_room(queue)
            self._has_room_until = clock.monotonic_s() + _ROOM_LASTS_S

    def _inflight(self, queue: str, bank: int) -> str:
        return key_names.inflight(queue, self._slot.worker, self._slot.number, self._slot.generation, bank)

    def _redis_failed(self, error: BrokerUnavailableError) -> None:
        self._has_room_until = 0.0
        self._redis.lost(f"Redis is away; claiming from PostgreSQL: {error}")

    # PostgreSQL

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
        settled, is_paused = self._read_header(queue, rows[0])
        if is_paused:
            self.confirm()
            with contextlib.suppress(BrokerUnavailableError):  # Redis went since; the reconciler pushes them again
                requeue(self._store, self._broker, taken)
            return Claim(queue, lease, [], settled, is_empty=True)
        found = {row[0]: ClaimedJob._make(row) for row in rows[1:]}
        jobs = [found[job_id] for job_id in dict.fromkeys(taken) if job_id in found]
        return _claim(queue, claim_lease, jobs, settled)

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
        raise StoreUnavailableError("ids that are none were found again and again")

    def _without_locked(self, sending: _Sending) -> _Sending:
        """Leave out what somebody has locked: its row is found again as one whose push was lost.

        Not once the claim may have been carried out: the slot must name every row that it has got.
        """
        if sending.is_in_doubt:
            return sending
        known = [job_id for job_id in sending.ids if ids.is_id(job_id)]
        locked = {job_id for (job_id,) in self._store.run("locked_of", uuid_array(known))}
        if locked:
            self._looks_until = clock.monotonic_s() + _LOOKS_FOR_S
        return sending._replace(ids=[job_id for job_id in sending.ids if job_id not in locked])

    def _read_header(self, queue: str, header: Row) -> tuple[int, bool]:
        """How many were settled, and whether the queue is paused."""
        _, _, settled, is_open, is_paused, *_ = header
        if not is_open:
            raise SlotClosedError("this slot was closed by a rescuer")
        if is_paused:
            self._paused_until[queue] = clock.monotonic_s() + _PAUSE_LASTS_S
        return int(settled), bool(is_paused)

    def _claim_from_store(self, queue: str, want: int, lease: str | None) -> Claim:
        """Without Redis. A claim of unknown outcome closes this slot in effect: the next one is refused.

        The slot bears the lease of each statement that was carried out, also of one that found nothing.
        """
        is_first = True
        for priority in self._known_priorities(queue):
            claim_lease = ids.new_token()
            arguments = (*self._slot, queue, priority, want, lease, claim_lease, MAX_BATCH_BYTES)
            try:
                rows = self._store.run("claim_from_store", *arguments)
            except StoreUnavailableError:
                if is_first:
                    raise
                break  # the next claim will tell
            _, is_paused = self._read_header(queue, rows[0])
            lease, is_first = claim_lease, False
            if len(rows) > 1:
                return _claim(queue, lease, sorted(map(ClaimedJob._make, rows[1:])), 0)
            if is_paused:
                break
        return Claim(queue, lease, [], 0, is_empty=True)

    def _known_priorities(self, queue: str) -> list[int]:
        if clock.monotonic_s() - self._priorities_at >= _PRIORITIES_LAST_S:
            self._priorities = {}
            for name, priority in self._store.run("waiting_places", _PLACES, _NEWEST):
                self._priorities.setdefault(name, []).append(priority)
            self._priorities_at = clock.monotonic_s()
        return self._priorities.get(queue, [])


def _claim(queue: str, lease: str, jobs: list[ClaimedJob], settled: int) -> Claim:
    """A claim whose rows have been read; those that came without their payload are withheld."""
    if None not in map(_PAYLOAD, jobs):
        return Claim(queue, lease, jobs, settled)
    kept = [job for job in jobs if job.payload is not None]
    return Claim(queue, lease, kept, settled, withheld=[job.id for job in jobs if job.payload is None])


def requeue(store: Store, broker: Broker, job_ids: list[str]) -> int:
    """Push those of some ids that wait to be run; returns how many wait."""
    by_place: dict[tuple[str, int], list[tuple[float, str]]] = {}
    for job_id, queue, priority, due in store.run("queued_of", uuid_array([i for i in job_ids if ids.is_id(i)])):
        by_place.setdefault((queue, priority), []).append((due, job_id))
    for (queue, priority), due_ids in by_place.items():
        broker.push_again(queue, priority, due_ids)
    return sum(map(len, by_place.values()))
