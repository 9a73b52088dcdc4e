"""Take back what dead workers held, for their hosts cannot any more.

Rescuing is apart from returning in-flight lists, which waits for Redis: a pass walks over the dead slots in their
order and goes on where the last one ended, so those whose lists wait hide none behind them.
"""

from __future__ import annotations

from taskhub.domain.job import WorkerSlot
from taskhub.events.teller import Teller
from taskhub.maintenance.link import WorkerLink
from taskhub.maintenance.requeuer import PendingRequeues
from taskhub.maintenance.rescue_events import rescued_events
from taskhub.roles.isolation import Isolation
from taskhub.services.recovery.rescue import STOPPED, Death, Held, rescue
from taskhub.store.connection import Store
from taskhub.store.slots import DeadSlot, slots_to_rescue
from taskhub.store.workers import delete_worker

_PAGE = 32
_PAGES = 8  # in one pass


_FIRST = WorkerSlot("00000000-0000-0000-0000-000000000000", -1, -1)
_LOST = "the worker that ran the job was lost"


class Recoverer:
    """The rescue of every slot whose worker was declared dead."""

    def __init__(
        self, store: Store, link: WorkerLink, requeues: PendingRequeues, teller: Teller, isolation: Isolation
    ) -> None:
        self._store = store
        self._link = link
        self._requeues = requeues
        self._teller = teller
        self._isolation = isolation
        self._after = _FIRST

    def step(self) -> None:
        """Rescue the next ones. Raises StoreUnavailableError."""
        for _ in range(_PAGES):
            page = slots_to_rescue(self._store, self._after, _PAGE)
            self._after = page[-1].slot if len(page) == _PAGE else _FIRST
            self._isolation.each(page, lambda dead: dead, self._rescue)
            if self._after is _FIRST:
                return

    def _rescue(self, dead: DeadSlot) -> None:
        if dead.number < 0:
            delete_worker(self._store, dead.worker)
            return
        slot = dead.slot
        if dead.worker == self._link.worker or slot in self._requeues:
            return  # our own last hour, which child_recovery sees to; or rescued, and its lists wait for Redis
        death = Death("worker_lost", STOPPED if dead.stopping else _LOST, interrupted=dead.stopping)
        rescued = rescue(self._store, Held(slot, record_is_lost=True), death)
        for event in rescued_events(rescued, death):
            self._teller.tell(event, slot.worker, slot.number)
        self._requeues.add(slot, [job.id for job in rescued if job.status == "queued"])
