"""What has to be told to Redis of rescued slots: the jobs that wait again, and the in-flight lists to return.

PostgreSQL has accounted for these slots already. While Redis is away they wait here, in nobody's way; a slot's row
stays until its lists are returned, so another process finds it if this one ends.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from taskhub.broker.broker import Broker
from taskhub.domain.job import WorkerSlot
from taskhub.roles.isolation import Isolation
from taskhub.services.execution.requeue import requeue
from taskhub.services.recovery.rescue import requeue_in_flight
from taskhub.store.connection import Store
from taskhub.store.queues import queue_names
from taskhub.store.slots import delete_slot

_SLOTS = 10_000  # more are left to be found again by their rows
_IDS = 10_000  # more are left to the dispatcher, which finds them half a second later


class PendingRequeues:
    """Filled by those who rescue, emptied by one role."""

    def __init__(self) -> None:
        self._slots: OrderedDict[WorkerSlot, None] = OrderedDict()
        self._ids: list[str] = []
        self._lock = threading.Lock()
        self._news = threading.Event()

    def add(self, slot: WorkerSlot, waiting: list[str]) -> None:
        """A slot was rescued; these of its jobs wait to be run again."""
        with self._lock:
            if len(self._slots) < _SLOTS:
                self._slots[slot] = None
            self._ids += waiting[: _IDS - len(self._ids)]
        self._news.set()

    def __contains__(self, slot: WorkerSlot) -> bool:
        return slot in self._slots

    def __len__(self) -> int:
        return len(self._slots)

    def slots(self) -> list[WorkerSlot]:
        with self._lock:
            return list(self._slots)

    def take_ids(self) -> list[str]:
        with self._lock:
            ids, self._ids = self._ids, []
        return ids

    def done(self, slot: WorkerSlot) -> None:
        with self._lock:
            self._slots.pop(slot, None)

    def wait(self, timeout_s: float) -> None:
        """Until there is something new, at most so long."""
        if self._news.wait(timeout_s):
            self._news.clear()


class Requeuer:
    """Empties the returns."""

    def __init__(self, store: Store, broker: Broker, requeues: PendingRequeues, isolation: Isolation) -> None:
        self._store = store
        self._broker = broker
        self._requeues = requeues
        self._isolation = isolation

    def step(self) -> None:
        """Ring for jobs that wait again, then return lists. Raises UnavailableError: the rest waits."""
        ids = self._requeues.take_ids()
        if ids:
            requeue(self._store, self._broker, ids)
        slots = self._requeues.slots()
        if slots:
            queues = queue_names(self._store)
            self._isolation.each(slots, lambda slot: slot, lambda slot: self._return(slot, queues))

    def _return(self, slot: WorkerSlot, queues: list[str]) -> None:
        requeue_in_flight(self._store, self._broker, slot, queues)
        delete_slot(self._store, slot)
        self._requeues.done(slot)
