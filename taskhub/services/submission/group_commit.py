"""Many requests, one commit: whoever waits while a flush is under way goes with the next.

Invariants:
- Nobody is answered before the flush that carried their rows has ended, and nobody waits without a time-out.
- One flush at a time, but a late one (or one whose thread was interrupted) holds up only those on it: the next begins.
- A thread that finds no flush under way leads one with its own rows, so a lone request hands nothing over.
- An interrupt is its own thread's alone: who was on its flush goes with the next.
- A flush that ends with an error for its leader, when no other worked meanwhile, fails all who wait too: so nobody
  waits twice.

What a flush that failed means for those on it, its lane decides (`failed_flush`).
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from itertools import islice
from typing import Generic, Protocol, TypeVar

from taskhub import clock
from taskhub.domain.errors import StoreUnavailableError

T = TypeVar("T")
R = TypeVar("R")

LATE_S = 0.1

_MOST_FLUSHES = 3
_GRACE_S = 0.4


class PendingCommit(Generic[T, R]):
    """What one request wants committed by `until_s`; ends with a `result`, an `error`, or to go alone."""

    __slots__ = ("_wake", "asked_at_s", "error", "goes_alone", "leader", "result", "rows", "until_s", "was_sent")

    def __init__(self, rows: list[T], until_s: float) -> None:
        self.rows = rows
        self.until_s = until_s
        self.asked_at_s = clock.monotonic_s()
        self.result: R | None = None
        self.error: StoreUnavailableError | None = None
        self.goes_alone = False
        self.was_sent = False  # by a flush that did not end: its rows may be there
        self.leader: PendingCommit[T, R] | None = None  # of the flush that carries this one
        self._wake = threading.Lock()
        self._wake.acquire()

    @property
    def is_settled(self) -> bool:
        return self.result is not None or self.error is not None or self.goes_alone

    def wait(self, seconds: float) -> None:
        """Until there is something to look at, or for so long."""
        self._wake.acquire(timeout=seconds)

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # it has been woken already
            self._wake.release()


class Lane(Protocol[T, R]):
    """Requests of one kind. fits: may this one join these? flush: commits the rows of all these, and settles each.

    What a flush raises is for the thread that leads it.
    """

    def fits(self, group: list[PendingCommit[T, R]], pending: PendingCommit[T, R]) -> bool: ...

    def flush(self, group: list[PendingCommit[T, R]]) -> None: ...


class GroupCommit(Generic[T, R]):
    """The commits of one lane. late_s: a flush keeps the next from beginning for so long."""

    def __init__(self, lane: Lane[T, R], late_s: float = LATE_S) -> None:
        self._lane = lane
        self._late_s = late_s
        self._lock = threading.Lock()
        self._waiting: deque[PendingCommit[T, R]] = deque()
        self._begun_at_s: dict[PendingCommit[T, R], float] = {}  # flushes under way, by their leaders
        self._worked_at_s = float("-inf")

    def commit(self, own: PendingCommit[T, R]) -> list[PendingCommit[T, R]]:
        """Have it settled, with whatever else waits. Returns those that went with the flush that it led, if it did.

        Raises, for rows that were alone in their flush, whatever that raised other than that PostgreSQL is away.
        """
        led: list[PendingCommit[T, R]] = []
        try:
            with self._lock:
                self._waiting.append(own)
            while not own.is_settled:
                led = self._lead_if_due(own)
                if not led:
                    self._wait(own)
        finally:
            if not own.is_settled or own in self._begun_at_s:  # this thread was interrupted
                self._withdraw(own)
        return led

    def _lead_if_due(self, own: PendingCommit[T, R]) -> list[PendingCommit[T, R]]:
        group: list[PendingCommit[T, R]] = []
        try:
            with self._lock:
                if self._is_due(own):
                    self._board(own, group)
            if group:
                self._lane.flush(group)
        finally:
            if group:
                self._land(group)
        return group

    def _is_due(self, own: PendingCommit[T, R]) -> bool:
        """Shall this thread begin a flush now?"""
        if own.is_settled:
            return False
        if own.leader is not None:
            if own.leader in self._begun_at_s:
                return False
            self._put_back([own])  # its flush was lost
        now_s = clock.monotonic_s()
        for leader in [leader for leader in self._begun_at_s if leader.until_s + _GRACE_S < now_s]:
            del self._begun_at_s[leader]  # its thread was interrupted more than once
        latest_s = max(self._begun_at_s.values(), default=float("-inf"))
        return now_s - latest_s >= self._late_s and len(self._begun_at_s) < _MOST_FLUSHES

    def _board(self, own: PendingCommit[T, R], group: list[PendingCommit[T, R]]) -> None:
        group.append(own)
        others = deque[PendingCommit[T, R]]()
        for pending in self._waiting:
            if pending is not own:
                (group if self._lane.fits(group, pending) else others).append(pending)
        self._begun_at_s[own] = clock.monotonic_s()
        for pending in group:
            pending.leader = own
        self._waiting = others

    def _land(self, group: list[PendingCommit[T, R]]) -> None:
        """The flush is over: all on it wake, and the next who leads."""
        own, others = group[0], group[1:]
        with self._lock:
            begun_at_s = self._begun_at_s.pop(own, 0.0)
            self._put_back([pending for pending in others if not pending.is_settled])
            if own.result is not None:
                self._worked_at_s = clock.monotonic_s()
            elif own.error is not None and self._worked_at_s < begun_at_s:
                others += self._fail_all_who_wait(str(own.error))
            woken = [*islice(self._waiting, 1), *others]
        for pending in woken:
            pending.wake()

    def _fail_all_who_wait(self, told: str) -> list[PendingCommit[T, R]]:
        failed = list(self._waiting)
        self._waiting.clear()
        for pending in failed:
            pending.error = StoreUnavailableError(told)
        return failed

    def _put_back(self, group: list[PendingCommit[T, R]]) -> None:
        """Their flush ended without a word of them: they go with the next."""
        for pending in reversed(group):
            pending.leader = None
            pending.was_sent = True
            if pending not in self._waiting:
                self._waiting.appendleft(pending)

    def _wait(self, own: PendingCommit[T, R]) -> None:
        is_under_way = own.leader is not None
        left_s = own.until_s - clock.monotonic_s() + (_GRACE_S if is_under_way else 0)
        if left_s > 0:
            own.wait(min(left_s, self._late_s))
            return
        self._withdraw(own)
        is_unknown = is_under_way or own.was_sent
        own.error = StoreUnavailableError("PostgreSQL did not take the job in time", outcome_unknown=is_unknown)

    def _withdraw(self, own: PendingCommit[T, R]) -> None:
        """Its thread leaves; if it was its turn to lead, it is another's, as are those on its flush."""
        with self._lock:
            self._begun_at_s.pop(own, None)
            with contextlib.suppress(ValueError):
                self._waiting.remove(own)
            following = list(islice(self._waiting, 1))
        for pending in following:
            pending.wake()
