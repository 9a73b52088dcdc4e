"""Take ids out of Redis for one child, by way of its slot's two in-flight lists of each queue.

Invariants:
- Ids lie in one of the two lists from the moment that they leave the ready list until after their claim is
  committed, when the slot's own row holds them, until the statement that settles them has replaced it; the next
  take of the same queue deletes that list.
- While it is unknown whether a take was carried out, no list is deleted: it may be filled by now.
- Redis failing costs its child nothing but speed.
"""

from __future__ import annotations

from taskhub import clock
from taskhub.broker import key_names
from taskhub.broker.broker import Broker
from taskhub.domain.errors import BrokerUnavailableError
from taskhub.domain.job import WorkerSlot
from taskhub.outage import Outage

_ROOM_LASTS_S = 1.0


class RedisTake:
    """One child's, over its own connection; `outage` tells of Redis."""

    def __init__(self, broker: Broker, slot: WorkerSlot, outage: Outage) -> None:
        self.broker = broker
        self._slot = slot
        self._outage = outage
        self._filled: dict[str, int] = {}  # which of a queue's two lists the next take fills
        self._claimed_lists: dict[str, str] = {}
        self._has_room_until = 0.0

    @property
    def is_away(self) -> bool:
        return self._outage.is_on

    def take(self, queue: str, want: int, peers: int) -> list[str] | None:
        """Ids from the ready list into an in-flight list; None while Redis is away."""
        if not self._outage.is_due:
            return None
        target = self._inflight(queue)
        claimed = self._claimed_lists.get(queue, target + ":none")
        try:
            if self._outage.is_on:
                self._require_room(queue)
            job_ids = self.broker.take(queue, claimed, target, want, peers)
            if not job_ids:
                self._require_room(queue)
        except BrokerUnavailableError as error:
            self._claimed_lists.pop(queue, None)
            self._failed(error)
            return None
        self._outage.back()
        self._claimed_lists.pop(queue, None)
        return job_ids

    def confirm(self, queue: str) -> None:
        """The slot's row holds what was taken: the next take of this queue deletes the list and fills the other."""
        self._claimed_lists[queue] = self._inflight(queue)
        self._filled[queue] = 1 - self._filled.get(queue, 0)

    def acknowledge(self) -> None:
        """Forget the lists of batches that the slot's row holds; for when no next take does it."""
        claimed, self._claimed_lists = self._claimed_lists, {}
        for key in claimed.values():  # each is of another queue: one by one, for a cluster's sake
            try:
                self.broker.forget(key)
            except BrokerUnavailableError as error:
                self._failed(error)
                return

    def _require_room(self, queue: str) -> None:
        """A full Redis gives what it holds and takes nothing in: then that nothing waits in it means nothing."""
        if clock.monotonic_s() >= self._has_room_until:
            self.broker.require_room(queue)
            self._has_room_until = clock.monotonic_s() + _ROOM_LASTS_S

    def _inflight(self, queue: str) -> str:
        filled = self._filled.get(queue, 0)
        return key_names.inflight(queue, self._slot.worker, self._slot.number, self._slot.generation, filled)

    def _failed(self, error: BrokerUnavailableError) -> None:
        self._has_room_until = 0.0
        self._outage.lost(f"Redis is away; claiming from PostgreSQL: {error}")
