"""Declare silent workers dead and take back what they held, for their hosts cannot any more.

PostgreSQL's clock decides who is silent. An outage of PostgreSQL silences everybody, so this one first
makes sure of its own contact: it declares others dead only after a time of faultless passes, close
together by both clocks, on one and the same start of the server.
"""

from __future__ import annotations

from taskhub import clock
from taskhub.config import Timers
from taskhub.domain.errors import QueueUnavailableError, TaskhubError
from taskhub.logs import get_logger
from taskhub.maintenance.records import Watch
from taskhub.maintenance.report import RescueReport
from taskhub.queue.broker import Broker
from taskhub.services.claim import Slot
from taskhub.services.rescue import Death, Remains, forget_slot, push_rescued, rescue, return_lists
from taskhub.store.connection import Connection

log = get_logger(__name__)

_GAP_S = 5.0  # between two passes, at the most, by both clocks
_SLOTS = 32


class Health:
    """How long this observer has had faultless contact with one and the same start of PostgreSQL."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._last_s = self._last_server_s = self._server_start_s = 0.0

    def observe(self, now_s: float, server_s: float, server_start_s: float) -> float:
        """A pass has succeeded at these times; returns the seconds of health so far.

        >>> health = Health()
        >>> [health.observe(t, t + 100, 7) for t in (0, 4, 8)]
        [0.0, 4.0, 8.0]
        >>> health.observe(20, 120, 7), health.observe(21, 121, 8)
        (0.0, 0.0)
        """
        is_close = 0 <= now_s - self._last_s <= _GAP_S and -1.0 <= server_s - self._last_server_s <= _GAP_S
        if self._since_s is None or not is_close or server_start_s != self._server_start_s:
            self._since_s = now_s
        self._last_s, self._last_server_s, self._server_start_s = now_s, server_s, server_start_s
        return float(now_s - self._since_s)

    def doubt(self) -> None:
        """A pass has failed."""
        self._since_s = None


class Recoverer:
    def __init__(self, store: Connection, broker: Broker, watch: Watch, timers: Timers, report: RescueReport) -> None:
        self._store = store
        self._broker = broker
        self._watch = watch
        self._timers = timers
        self._report = report
        self._health = Health()

    def step(self) -> None:
        """Observe, declare, rescue. Raises StoreUnavailableError and starts its time of health again."""
        try:
            [(server_s, server_start_s)] = self._store.run("server_clock")
        except TaskhubError:
            self._health.doubt()
            raise
        healthy_s = self._health.observe(clock.boottime_s(), server_s, server_start_s)
        if healthy_s >= self._timers.rescue_healthy_s:
            for worker, host in self._store.run("expire_workers", self._timers.worker_dead_s, self._watch.worker):
                log.warning("worker.lost", extra={"worker": worker, "host": host, "text": "its heartbeat stopped"})
        self._rescue_the_dead()

    def _rescue_the_dead(self) -> None:
        for worker, number, generation in self._store.run("slots_to_rescue", _SLOTS):
            if number is None:
                self._store.run("forget_worker", worker)
                continue
            if worker == self._watch.worker:
                continue  # our own last hour: the undertaker sees to it
            self._rescue(Slot(worker, number, generation))

    def _rescue(self, slot: Slot) -> None:
        death = Death("worker_lost", "the worker that ran the job was lost")
        rescued = rescue(self._store, Remains(slot, record_is_lost=True), death)
        self._report.rescued(rescued, death, slot)
        try:
            push_rescued(self._store, self._broker, rescued)
            queues = [name for name, _ in self._store.run("queue_names")]
            return_lists(self._store, self._broker, slot, queues)
        except QueueUnavailableError:
            return  # its lists are still there: the slot stays known, and a later pass returns them
        forget_slot(self._store, slot)
