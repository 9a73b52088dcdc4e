"""Take back what dead workers held, for their hosts cannot any more.

Rescuing is apart from returning in-flight lists, which waits for Redis: a pass walks over the dead slots in their
order and goes on where the last one ended, so those whose lists wait hide none behind them.
"""

from __future__ import annotations

from typing import NamedTuple

from taskhub.maintenance.isolation import Isolation
from taskhub.maintenance.records import Watch
from taskhub.maintenance.report import RescueReport
from taskhub.maintenance.returns import Returns
from taskhub.services.execution.claim import Slot
from taskhub.services.recovery.rescue import Death, Remains, rescue
from taskhub.store.connection import Store

_PAGE = 32
_PAGES = 8  # in one pass


class _Left(NamedTuple):
    """What a dead worker left: a slot, or (number and generation -1) nothing but its own row."""

    worker: str
    number: int
    generation: int


_FIRST = _Left("00000000-0000-0000-0000-000000000000", -1, -1)


class Recoverer:
    """The rescue of every slot whose worker was declared dead."""

    def __init__(
        self, store: Store, watch: Watch, returns: Returns, report: RescueReport, isolation: Isolation
    ) -> None:
        self._store = store
        self._watch = watch
        self._returns = returns
        self._report = report
        self._isolation = isolation
        self._after = _FIRST

    def step(self) -> None:
        """Rescue the next ones. Raises StoreUnavailableError."""
        for _ in range(_PAGES):
            page = [_Left(*row) for row in self._store.run("slots_to_rescue", *self._after, _PAGE)]
            self._after = page[-1] if len(page) == _PAGE else _FIRST
            self._isolation.each(page, lambda left: left, self._see_to)
            if self._after is _FIRST:
                return

    def _see_to(self, left: _Left) -> None:
        if left.number < 0:
            self._store.run("forget_worker", left.worker)
            return
        slot = Slot(*left)
        if left.worker == self._watch.worker or slot in self._returns:
            return  # our own last hour, which the undertaker sees to; or rescued, and its lists wait for Redis
        death = Death("worker_lost", "the worker that ran the job was lost")
        rescued = rescue(self._store, Remains(slot, record_is_lost=True), death)
        self._report.rescued(rescued, death, slot)
        self._returns.add(slot, [job.id for job in rescued if job.status == "queued"])
