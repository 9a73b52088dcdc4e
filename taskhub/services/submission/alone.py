"""Requests that go alone, each on a connection of its own, so that one that must wait for others holds up only itself.

- First for a moment, which sorts out those that nothing blocks; then, a few at a time, until their time is over.
- What was blocked just now starts here, and disturbs no group.
- Large requests go alone from the start: small ones never wait for one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from taskhub import clock
from taskhub.domain.errors import BlockedError, StoreUnavailableError
from taskhub.domain.new_job import NewJob, Submitted
from taskhub.services.submission.inserter import Deadline, Inserter, size_of
from taskhub.services.submission.lanes import PendingSubmission, PlainLane
from taskhub.store.pool import Pool

_LARGE_ROWS = 100
_LARGE_BYTES = 256 << 10
_BLOCKED_FOR_S = 2.0
_MAX_BLOCKED = 1_000
_KEY_TRIES = 5

Aside = Callable[[], AbstractContextManager[object]]


class Alone:
    """Requests on connections of their own. aside: what a thread holds while it waits for other transactions."""

    def __init__(self, quick: Pool[Inserter], patient: Pool[Inserter], aside: Aside) -> None:
        self._quick = quick
        self._patient = patient
        self._aside = aside
        self._blocked_until_s: dict[tuple[str, str], float] = {}

    def commit(self, lane: PlainLane, pending: PendingSubmission) -> list[Submitted]:
        """Raises StoreUnavailableError, also when as many are blocked as may be; StatementError."""
        for _ in range(_KEY_TRIES):
            self._send(lane, pending, Deadline(pending.until_s))
            if pending.result is not None:
                return pending.result
        raise StoreUnavailableError("the holder of a key changed again and again")

    def is_for(self, rows: list[NewJob]) -> bool:
        """True if such rows were blocked just now."""
        if not self._blocked_until_s:
            return False
        now_s = clock.monotonic_s()
        return any(self._blocked_until_s.get(mark, 0.0) > now_s for row in rows for mark in _marks(row))

    def close(self) -> None:
        self._quick.close()
        self._patient.close()

    def _send(self, lane: PlainLane, pending: PendingSubmission, deadline: Deadline) -> None:
        try:
            with self._quick.lend(deadline.left_s) as inserter:
                lane.send(inserter, [pending], deadline)
        except BlockedError as error:
            pending.was_sent = pending.was_sent or error.outcome_unknown
            self._note_blocked(pending.rows)
            with self._aside(), self._patient.lend(0) as inserter:
                lane.send(inserter, [pending], deadline)

    def _note_blocked(self, rows: list[NewJob]) -> None:
        if len(self._blocked_until_s) >= _MAX_BLOCKED:
            self._blocked_until_s.clear()
        until_s = clock.monotonic_s() + _BLOCKED_FOR_S
        self._blocked_until_s.update((mark, until_s) for mark in _marks(rows[0]))


def is_large(rows: list[NewJob]) -> bool:
    """True for a request that others shall not wait for."""
    return len(rows) > _LARGE_ROWS or size_of(rows) > _LARGE_BYTES


def _marks(row: NewJob) -> list[tuple[str, str]]:
    """By what a row that was blocked is known again: its keys; without any, its queue and type."""
    return row.keys or [(row.queue, row.type)]
