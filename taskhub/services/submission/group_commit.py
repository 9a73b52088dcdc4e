"""Many requests, one commit: whoever waits while a flush is under way goes with the next.

Invariants:
- Nobody is answered before the flush that carried their rows has ended, and nobody waits without a time-out.
- One flush at a time, but a late one (or one whose thread was interrupted) holds up only those on it: the next begins.
- A thread that finds no flush under way leads one with its own rows, so a lone request hands nothing over.
- Rows whose flush failed for anything but a lost PostgreSQL go alone, each in its own thread: so an error is raised in
  the thread that it concerns, and a row that must wait holds up only itself. An interrupt is its own thread's alone.
- A flush that finds PostgreSQL away, when no other worked meanwhile, fails all who wait too: nobody waits twice.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from taskhub import clock
from taskhub.domain.errors import BlockedError, SchemaOutdatedError, StatementError, StoreUnavailableError, TaskhubError

T = TypeVar("T")
R = TypeVar("R")

LATE_S = 0.1

_MOST_FLUSHES = 3
_GRACE_S = 0.4


class PendingCommit(Generic[T, R]):
    """What one request wants committed by `until_s`; a flush sets `result`, `error`, or that its rows go alone."""

    __slots__ = ("_wake", "asked_at_s", "error", "goes_alone", "leader", "result", "rows", "until_s", "was_sent")

    def __init__(self, rows: list[T], until_s: float) -> None:
        self.rows = rows
        self.until_s = until_s
        self.asked_at_s = clock.monotonic_s()
        self.result: R | None = None
        self.error: Exception | None = None
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


class GroupCommit(Generic[T, R]):
    """One lane.

    flush: is given tickets and settles each. fits: may a ticket join this batch? after: what the leader does
    with a flushed batch when all others have gone on. late_s: a flush keeps the next from beginning for so long.
    """

    def __init__(
        self,
        flush: Callable[[list[PendingCommit[T, R]]], None],
        fits: Callable[[list[PendingCommit[T, R]], PendingCommit[T, R]], bool],
        after: Callable[[list[PendingCommit[T, R]]], None],
        late_s: float = LATE_S,
    ) -> None:
        self._flush = flush
        self._fits = fits
        self._after = after
        self._late_s = late_s
        self._lock = threading.Lock()
        self._waiting: deque[PendingCommit[T, R]] = deque()
        self._begun_at_s: dict[PendingCommit[T, R], float] = {}  # flushes under way, by the leader's ticket
        self._worked_at_s = float("-inf")

    def commit(self, ticket: PendingCommit[T, R]) -> R | None:
        """Have the ticket's rows committed with whatever else waits; returns what the flush made of them.

        None: they cannot go with others. Raises StoreUnavailableError; what the flush set as the ticket's error; for
        rows that were alone in their flush, whatever it raised.
        """
        try:
            with self._lock:
                self._waiting.append(ticket)
            while not ticket.is_settled:
                if not self._lead_if_due(ticket):
                    self._wait(ticket)
        finally:
            if not ticket.is_settled or ticket in self._begun_at_s:  # this thread was interrupted
                self._withdraw(ticket)
        if ticket.error is not None and ticket.result is None:
            raise ticket.error
        return ticket.result

    def _lead_if_due(self, own: PendingCommit[T, R]) -> bool:
        batch: list[PendingCommit[T, R]] = []
        try:
            with self._lock:
                if self._is_due(own):
                    self._board(own, batch)
            if not batch:
                return False
            self._flush_all(batch)
        finally:
            if batch:
                self._land(batch)
        self._after(batch)
        return True

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

    def _board(self, own: PendingCommit[T, R], batch: list[PendingCommit[T, R]]) -> None:
        batch.append(own)
        others = deque[PendingCommit[T, R]]()
        for ticket in self._waiting:
            if ticket is not own:
                (batch if self._fits(batch, ticket) else others).append(ticket)
        self._begun_at_s[own] = clock.monotonic_s()
        for ticket in batch:
            ticket.leader = own
        self._waiting = others

    def _flush_all(self, batch: list[PendingCommit[T, R]]) -> None:
        try:
            self._flush(batch)
        except Exception as error:
            others = batch[1:]
            # A broken trigger's error may be one row's, and looks like an old schema.
            if isinstance(error, StoreUnavailableError) and not isinstance(error, (BlockedError, SchemaOutdatedError)):
                for ticket in batch:
                    ticket.error = ticket.error or StoreUnavailableError(
                        str(error), outcome_unknown=error.outcome_unknown
                    )
                return
            for ticket in others if _is_own(error, others) else batch:
                ticket.was_sent = ticket.was_sent or _may_be_there(error)
                ticket.goes_alone = not ticket.is_settled
            if _is_own(error, others):
                raise

    def _land(self, batch: list[PendingCommit[T, R]]) -> None:
        own, others = batch[0], batch[1:]
        with self._lock:
            begun_at_s = self._begun_at_s.pop(own, 0.0)
            self._put_back([ticket for ticket in others if not ticket.is_settled])
            if own.result is not None:
                self._worked_at_s = clock.monotonic_s()
            elif isinstance(own.error, StoreUnavailableError) and self._worked_at_s < begun_at_s:
                for ticket in self._waiting:
                    ticket.error = StoreUnavailableError(str(own.error))
                others += self._waiting
                self._waiting.clear()
            following = self._waiting[0] if self._waiting else None
        if following is not None:
            following.wake()
        for ticket in others:
            ticket.wake()

    def _put_back(self, tickets: list[PendingCommit[T, R]]) -> None:
        """Their flush ended without a word of them: they go with the next."""
        for ticket in reversed(tickets):
            ticket.leader = None
            ticket.was_sent = True
            if ticket not in self._waiting:
                self._waiting.appendleft(ticket)

    def _wait(self, ticket: PendingCommit[T, R]) -> None:
        is_under_way = ticket.leader is not None
        left_s = ticket.until_s - clock.monotonic_s() + (_GRACE_S if is_under_way else 0)
        if left_s > 0:
            ticket.wait(min(left_s, self._late_s))
            return
        self._withdraw(ticket)
        ticket.error = StoreUnavailableError(
            "PostgreSQL did not take the job in time", outcome_unknown=is_under_way or ticket.was_sent
        )

    def _withdraw(self, ticket: PendingCommit[T, R]) -> None:
        """Its thread leaves; if it was its turn to lead, it is another's, as are those on its flush."""
        with self._lock:
            self._begun_at_s.pop(ticket, None)
            with contextlib.suppress(ValueError):
                self._waiting.remove(ticket)
            following = self._waiting[0] if self._waiting else None
        if following is not None:
            following.wake()


def _is_own(error: Exception, others: Sequence[object]) -> bool:
    """Must the leader's thread see this itself: an interrupt or a bug, or, if it flushed no others, what is wrong?"""
    if isinstance(error, BlockedError):
        return False
    return not others or not isinstance(error, (TaskhubError, MemoryError))


def _may_be_there(error: Exception) -> bool:
    """After this, can rows of the flush be in PostgreSQL?"""
    return error.outcome_unknown if isinstance(error, BlockedError) else not isinstance(error, StatementError)
