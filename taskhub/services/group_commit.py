"""Many requests, one commit: whoever waits while a flush is under way goes with the next.

Invariants:
- Nobody is answered before the flush that carried their rows has ended.
- One flush at a time; a thread that finds none under way leads one with its own rows, so a lone request
  hands nothing over. Its end wakes the first that waits, which leads the next.
- A flush that finds PostgreSQL away fails all who wait too, so that nobody waits twice.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from taskhub import clock
from taskhub.domain.errors import StoreUnavailableError

T = TypeVar("T")
R = TypeVar("R")


class Ticket(Generic[T, R]):
    """What one request wants committed; the flush sets `result` or `error`."""

    __slots__ = ("_wake", "asked_at_s", "error", "leads", "result", "rows")

    def __init__(self, rows: list[T]) -> None:
        self.rows = rows
        self.asked_at_s = clock.monotonic_s()
        self.result: R | None = None
        self.error: Exception | None = None
        self.leads = False
        self._wake = threading.Lock()
        self._wake.acquire()

    def wait(self) -> None:
        """Until the rows are flushed, or it is this thread's turn to lead."""
        self._wake.acquire()

    def wake(self) -> None:
        self._wake.release()


class GroupCommit(Generic[T, R]):
    """One lane.

    flush: is given tickets and settles each. fits: may a ticket join this batch? after: what the leader does
    with a flushed batch when all others have gone on.
    """

    def __init__(
        self,
        flush: Callable[[list[Ticket[T, R]]], None],
        fits: Callable[[list[Ticket[T, R]], Ticket[T, R]], bool],
        after: Callable[[list[Ticket[T, R]]], None],
    ) -> None:
        self._flush = flush
        self._fits = fits
        self._after = after
        self._lock = threading.Lock()
        self._waiting: deque[Ticket[T, R]] = deque()
        self._is_flushing = False

    def commit(self, rows: list[T]) -> R:
        """Have `rows` committed with whatever else waits; returns what the flush made of them, or raises its error."""
        ticket: Ticket[T, R] = Ticket(rows)
        with self._lock:
            ticket.leads = not self._is_flushing
            self._is_flushing = True
            if not ticket.leads:
                self._waiting.append(ticket)
        if not ticket.leads:
            ticket.wait()
        if ticket.leads:
            self._after(self._lead(ticket))
        if ticket.error is not None:
            raise ticket.error
        assert ticket.result is not None
        return ticket.result

    def _lead(self, own: Ticket[T, R]) -> list[Ticket[T, R]]:
        batch = self._batch(own)
        try:
            self._flush(batch)
        except Exception as error:  # noqa: BLE001 (it is raised again, by each thread that it concerns)
            for ticket in batch:
                ticket.error = ticket.error or _copy(error)
        except BaseException as error:
            for ticket in batch:
                ticket.error = ticket.error or StoreUnavailableError(
                    f"interrupted: {type(error).__name__}", outcome_unknown=True
                )
            raise
        finally:
            self._hand_over(own, batch)
        return batch

    def _batch(self, own: Ticket[T, R]) -> list[Ticket[T, R]]:
        batch, others = [own], deque[Ticket[T, R]]()
        with self._lock:
            while self._waiting:
                ticket = self._waiting.popleft()
                (batch if self._fits(batch, ticket) else others).append(ticket)
            self._waiting = others
        return batch

    def _hand_over(self, own: Ticket[T, R], batch: list[Ticket[T, R]]) -> None:
        done = batch[1:]
        with self._lock:
            if isinstance(own.error, StoreUnavailableError):
                for ticket in self._waiting:
                    ticket.error = StoreUnavailableError(str(own.error))
                done = [*done, *self._waiting]
                self._waiting.clear()
            leader = self._waiting.popleft() if self._waiting else None
            self._is_flushing = leader is not None
        if leader is not None:
            leader.leads = True
            leader.wake()
        for ticket in done:
            ticket.wake()


def _copy(error: Exception) -> Exception:
    """An error of its own for each thread: tracebacks must not mix."""
    if isinstance(error, StoreUnavailableError):
        return StoreUnavailableError(str(error), outcome_unknown=error.outcome_unknown)
    return error
