"""Requests that wait for jobs to end: any number of them, with one thread, one connection and few statements.

Invariants:
- A waiter's own thread holds its deadline: it returns in time whatever has become of the one that looks.
- Waiters older than a moment are looked at together on one grid, so ten statements a second serve them all.
- The looking thread begins with the first waiter and leaves after the last. Nothing that fails there ends it: it drops
  its connection and goes on after a pause. One that died or stands still is replaced by whoever waits.
- A client that hung up keeps its place for a second at the most; a process that is told to stop lets all go at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from taskhub import clock, failpoints
from taskhub.domain.errors import TooManyWaitersError, UnavailableError
from taskhub.logs import get_logger
from taskhub.outage import Outage
from taskhub.store.connection import Connection
from taskhub.store.jobs import filter_unfinished

log = get_logger(__name__)

_FIRST_PAUSE_S = 0.01
_GRID_S = 0.1
_YOUNG_S = 0.2
_ALONG_S = 0.005  # who is due so soon is looked at along with the others
_LOOK_S = 1.5
_HUNG_S = 5.0  # longer than a turn can take
_ROUND_S = 1.0  # how often a waiter looks after itself
_IDLE_S = 3.0  # shorter than that: a thread that idles is well


class _Waiter:
    """One request's place."""

    __slots__ = ("_pause_s", "_since_s", "due_s", "is_over", "job_id")

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.is_over = threading.Event()
        self._since_s = clock.monotonic_s()
        self._pause_s = _FIRST_PAUSE_S
        self.due_s = self._since_s + _FIRST_PAUSE_S

    def postpone(self, now_s: float) -> None:
        if now_s - self._since_s < _YOUNG_S:
            self._pause_s = min(self._pause_s * 2, _GRID_S)
            self.due_s = now_s + self._pause_s
        else:
            self.due_s = ((now_s + _ALONG_S) // _GRID_S + 1) * _GRID_S


class Hub:
    """At most `size` waiters of one process; make it after fork.

    connect: makes a connection for the looking thread. is_draining: lets all go when it becomes true.
    """

    def __init__(self, connect: Callable[[], Connection], size: int, is_draining: Callable[[], bool]) -> None:
        self._connect = connect
        self._size = size
        self._is_draining = is_draining
        self._outage = Outage(log, "waiters.unseen", "waiters.seen")
        self._changed = threading.Condition(threading.Lock())
        self._waiters: set[_Waiter] = set()
        self._poller: _Poller | None = None

    @property
    def count(self) -> int:
        """How many wait."""
        return len(self._waiters)

    def wait(self, job_id: str, timeout_s: float, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Return when the job has ended or is gone, or the time is over; as soon as the wait is no longer wanted.

        Raises TooManyWaitersError.
        """
        until_s = clock.monotonic_s() + timeout_s
        waiter = self._join(job_id)
        try:
            while (left_s := until_s - clock.monotonic_s()) > 0 and not self._is_draining() and is_wanted():
                self._ensure_poller()
                if waiter.is_over.wait(min(left_s, _ROUND_S)):
                    return
        finally:
            with self._changed:
                self._waiters.discard(waiter)

    def batch(self, poller: _Poller) -> list[_Waiter] | None:
        """Those who are due, after sleeping for a grid's length at most; None: this thread is to end."""
        with self._changed:
            if not self._waiters:
                self._changed.wait(_IDLE_S)
                if not self._waiters and self._poller is poller:
                    self._poller = None  # whoever comes next starts another
            if self._poller is not poller:
                return None
            if self._is_draining():
                self._let_go()
            now_s = clock.monotonic_s()
            begin_s = max(poller.rests_until_s, min((each.due_s for each in self._waiters), default=0.0))
            if begin_s > now_s:
                self._changed.wait(min(begin_s - now_s, _GRID_S))
                return []
            return [waiter for waiter in self._waiters if waiter.due_s <= now_s + _ALONG_S]

    def _let_go(self) -> None:
        for waiter in self._waiters:
            waiter.is_over.set()
        self._waiters.clear()

    def _join(self, job_id: str) -> _Waiter:
        waiter = _Waiter(job_id)
        with self._changed:
            if len(self._waiters) >= self._size:
                raise TooManyWaitersError("as many requests wait as may; ask again, or without wait")
            self._waiters.add(waiter)
            self._changed.notify()
        return waiter

    def _ensure_poller(self) -> None:
        """Have a thread that looks. One that cannot be started is tried again by the next who asks."""
        with self._changed:
            if (self._poller is not None and self._poller.is_well()) or not self._outage.is_due:
                return
            self._poller = _Poller(self, self._connect(), self._outage)
            try:
                self._poller.start()
            except (RuntimeError, MemoryError) as error:
                self._poller = None
                self._outage.lost(f"no thread for those who wait: {error}")


class _Poller(threading.Thread):
    """One life of the thread that looks for all."""

    def __init__(self, hub: Hub, store: Connection, outage: Outage) -> None:
        super().__init__(name="waiters", daemon=True)
        self.rests_until_s = 0.0
        self._hub = hub
        self._store = store
        self._outage = outage
        self._turned_s = clock.monotonic_s()

    def is_well(self) -> bool:
        return self.is_alive() and clock.monotonic_s() - self._turned_s < _HUNG_S

    def run(self) -> None:
        try:
            failpoints.hit("waiters.begin")
            while (batch := self._hub.batch(self)) is not None:
                if batch:
                    self._guarded(batch)
                self._turned_s = clock.monotonic_s()
        except BaseException as error:  # noqa: BLE001 (whoever waits starts another)
            self._outage.lost("the thread that looks has ended", trace=error)
        finally:
            self._store.close()

    def _guarded(self, batch: list[_Waiter]) -> None:
        try:
            self._look(batch)
        except BaseException as error:  # noqa: BLE001 (whatever it is: others wait for this thread)
            self._store.close()
            is_known = isinstance(error, UnavailableError)
            pause_s = self._outage.lost(
                f"those who wait are answered when their time is over: {error}", trace=None if is_known else error
            )
            self.rests_until_s = clock.monotonic_s() + pause_s
        else:
            self._outage.back()

    def _look(self, batch: list[_Waiter]) -> None:
        unfinished = filter_unfinished(self._store, list({waiter.job_id for waiter in batch}), timeout_s=_LOOK_S)
        now_s = clock.monotonic_s()
        for waiter in batch:
            if waiter.job_id in unfinished:
                waiter.postpone(now_s)
            else:
                waiter.is_over.set()
