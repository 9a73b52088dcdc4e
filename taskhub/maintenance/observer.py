"""Declare silent workers dead.

PostgreSQL's clock decides who is silent. An outage of PostgreSQL silences everybody, so this one first
makes sure of its own contact: it declares others dead only after a time of faultless passes, close
together by both clocks, on one and the same start of the server. Any failure at all starts that time from zero.
"""

from __future__ import annotations

from taskhub import clock
from taskhub.logs import get_logger
from taskhub.maintenance.link import WorkerLink
from taskhub.settings.timers import Timers
from taskhub.store.connection import Store
from taskhub.store.server import server_clock
from taskhub.store.workers import expire_workers

log = get_logger(__name__)

_GAP_S = 5.0  # between two passes, at the most, by both clocks


class StoreContact:
    """How long this observer has had faultless contact with one and the same start of PostgreSQL."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._last_s = self._last_server_s = self._server_start_s = 0.0

    def observe(self, now_s: float, server_s: float, server_start_s: float) -> float:
        """A pass has succeeded at these times; returns the seconds of health so far.

        >>> contact = StoreContact()
        >>> [contact.observe(t, t + 100, 7) for t in (0, 4, 8)]
        [0.0, 4.0, 8.0]
        >>> contact.observe(20, 120, 7), contact.observe(21, 121, 8)
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


class Observer:
    """One worker's judgement of the others."""

    def __init__(self, store: Store, link: WorkerLink, timers: Timers) -> None:
        self._store = store
        self._link = link
        self._timers = timers
        self._contact = StoreContact()

    def step(self) -> None:
        """Observe, and declare. Raises StoreUnavailableError."""
        try:
            self._observe()
        except BaseException:
            self._contact.doubt()
            raise

    def _observe(self) -> None:
        server = server_clock(self._store)
        healthy_s = self._contact.observe(clock.boottime_s(), server.now_s, server.start_s)
        if healthy_s < self._timers.rescue_healthy_s:
            return
        dead = expire_workers(self._store, server.now_s, self._timers.worker_dead_s, self._link.worker)
        for worker in dead:
            told = {"worker": worker.id, "host": worker.host, "text": "its heartbeat stopped"}
            log.warning("worker.lost", extra=told)
