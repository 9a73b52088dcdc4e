"""The ways by which submissions reach PostgreSQL, so that one that must wait for others holds up only itself.

- Together: small requests share a commit (`group_commit`). Locks are waited for for a moment, for all of them.
- Alone: what could not go with others, each on a connection of its own: for a moment again, which sorts out those
  that nothing blocks, and then, a few at a time, until its time is over. What was blocked just now starts here.
- Large requests go alone from the start: small ones never wait for one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from taskhub import clock
from taskhub.domain.errors import BlockedError, TaskhubError
from taskhub.domain.new_job import NewJob
from taskhub.services.submission.group_commit import GroupCommit, PendingCommit
from taskhub.services.submission.idempotency import CREATED, Resolved, resolve
from taskhub.services.submission.inserter_pool import InserterPool
from taskhub.services.submission.inserts import Deadline, Inserter, size_of
from taskhub.store.connection import Connection

MAX_BATCH = 500
MAX_KEYED_BATCH = 100
MAX_BATCH_BYTES = 1 << 20

_LARGE_ROWS = 100
_LARGE_BYTES = 256 << 10
_BLOCKED_FOR_S = 2.0
_MAX_BLOCKED = 1_000

PendingSubmission = PendingCommit[NewJob, list[Resolved]]
Batch = list[PendingSubmission]
Ring = Callable[[Batch], None]
Aside = Callable[[], AbstractContextManager[object]]
Connect = Callable[[float, float | None], Connection]  # with a lock time-out and a statement's, None: the usual


class Way(NamedTuple):
    """How one kind of submissions is sent: settles tickets. fits: may this one join these?"""

    send: Callable[[Inserter, Batch, Deadline], None]
    fits: Callable[[Batch, PendingSubmission], bool]


class Alone:
    """Requests on connections of their own. aside: what a thread holds while it waits for other transactions."""

    def __init__(self, quick: InserterPool, patient: InserterPool, ring: Ring, aside: Aside) -> None:
        self._quick = quick
        self._patient = patient
        self._ring = ring
        self._aside = aside
        self._blocked_until_s: dict[tuple[str, str], float] = {}

    def commit(self, way: Way, ticket: PendingSubmission) -> list[Resolved]:
        """Raises StoreUnavailableError, also when as many are blocked as may be; the errors of bad requests."""
        deadline = Deadline(ticket.until_s)
        try:
            with self._quick.lend(deadline.left_s) as inserter:
                way.send(inserter, [ticket], deadline)
        except BlockedError as error:
            ticket.was_sent = ticket.was_sent or error.outcome_unknown
            self._note_blocked(ticket.rows)
            with self._aside(), self._patient.lend(0) as inserter:
                way.send(inserter, [ticket], deadline)
        if ticket.result is None:
            raise ticket.error or TaskhubError("a submission was neither accepted nor refused")
        self._ring([ticket])
        return ticket.result

    def is_for(self, rows: list[NewJob]) -> bool:
        """True if such rows were blocked just now."""
        if not self._blocked_until_s:
            return False
        now_s = clock.monotonic_s()
        return any(self._blocked_until_s.get(mark, 0.0) > now_s for row in rows for mark in _marks(row))

    def close(self) -> None:
        self._quick.close()
        self._patient.close()

    def _note_blocked(self, rows: list[NewJob]) -> None:
        if len(self._blocked_until_s) >= _MAX_BLOCKED:
            self._blocked_until_s.clear()
        until_s = clock.monotonic_s() + _BLOCKED_FOR_S
        self._blocked_until_s.update((mark, until_s) for mark in _marks(rows[0]))


class Lane:
    """Small requests of one kind: together as long as nothing blocks them."""

    def __init__(self, way: Way, together: InserterPool, alone: Alone, ring: Ring) -> None:
        self._way = way
        self._together = together
        self._alone = alone
        self._group = GroupCommit(self._flush, way.fits, ring)

    def commit(self, ticket: PendingSubmission) -> list[Resolved]:
        """Raises StoreUnavailableError; the errors of bad requests."""
        accepted = None if self._alone.is_for(ticket.rows) else self._group.commit(ticket)
        return self._alone.commit(self._way, ticket) if accepted is None else accepted

    def _flush(self, batch: Batch) -> None:
        deadline = Deadline.of(min(ticket.asked_at_s for ticket in batch), rows_of(batch))
        with self._together.lend(deadline.left_s) as inserter:
            self._way.send(inserter, batch, deadline)


def is_large(rows: list[NewJob]) -> bool:
    """True for a request that others shall not wait for."""
    return len(rows) > _LARGE_ROWS or size_of(rows) > _LARGE_BYTES


def rows_of(batch: Batch) -> list[NewJob]:
    return batch[0].rows if len(batch) == 1 else [row for ticket in batch for row in ticket.rows]


def _send_plain(inserter: Inserter, batch: Batch, deadline: Deadline) -> None:
    times = inserter.insert(rows_of(batch), deadline, may_be_there=_may_be_there(batch))
    for ticket in batch:
        ticket.result = [Resolved(row.id, CREATED, times[row.id]) for row in ticket.rows]


def _send_keyed(inserter: Inserter, batch: Batch, deadline: Deadline) -> None:
    outcomes = inserter.insert_keyed(rows_of(batch), deadline, may_be_there=_may_be_there(batch))
    resolve(inserter.store, batch, outcomes, deadline)


def _may_be_there(batch: Batch) -> bool:
    return any(ticket.was_sent for ticket in batch)


def _fits_plain(batch: Batch, ticket: PendingSubmission) -> bool:
    rows = rows_of(batch)
    return len(rows) + len(ticket.rows) <= MAX_BATCH and size_of(rows) + size_of(ticket.rows) <= MAX_BATCH_BYTES


def _fits_keyed(batch: Batch, ticket: PendingSubmission) -> bool:
    """No key twice in one statement."""
    rows = rows_of(batch)
    if len(rows) + len(ticket.rows) > MAX_KEYED_BATCH or not _fits_plain(batch, ticket):
        return False
    taken = {key for row in rows for key in _keys(row)}
    return taken.isdisjoint(key for row in ticket.rows for key in _keys(row))


def _keys(row: NewJob) -> list[tuple[str, str]]:
    named = [("idempotency", row.idempotency_key), ("unique", row.unique_key)]
    return [(name, key) for name, key in named if key is not None]


def _marks(row: NewJob) -> list[tuple[str, str]]:
    """By what a row that was blocked is known again: its keys; without any, its queue and type."""
    return _keys(row) or [(row.queue, row.type)]


PLAIN = Way(_send_plain, _fits_plain)
KEYED = Way(_send_keyed, _fits_keyed)
