"""The ways by which submissions reach PostgreSQL, so that one that must wait for others holds up only itself.

- Together: small requests of one lane share a commit (`group_commit`). Locks are waited for for a moment, for all.
- Alone: what could not go with others, each on a connection of its own: for a moment again, which sorts out those
  that nothing blocks, and then, a few at a time, until its time is over. What was blocked just now starts here.
- Large requests go alone from the start: small ones never wait for one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from taskhub import clock
from taskhub.domain.errors import BlockedError, StoreUnavailableError
from taskhub.domain.job_view import JobRow
from taskhub.domain.new_job import CREATED, JOB_REFUSED, Inserted, NewJob, Submitted
from taskhub.services.submission.group_commit import PendingCommit
from taskhub.services.submission.inserter import Deadline, Inserter, size_of
from taskhub.services.submission.inserter_pool import InserterPool
from taskhub.store.new_jobs import KeyedInsert, insert_jobs

MAX_BATCH = 500
MAX_BATCH_BYTES = 1 << 20

_LARGE_ROWS = 100
_LARGE_BYTES = 256 << 10
_BLOCKED_FOR_S = 2.0
_MAX_BLOCKED = 1_000
_KEY_TRIES = 5

PendingSubmission = PendingCommit[NewJob, list[Submitted]]
Batch = list[PendingSubmission]
Aside = Callable[[], AbstractContextManager[object]]


class PlainLane:
    """Jobs without keys."""

    def __init__(self, inserters: InserterPool) -> None:
        self._inserters = inserters

    def fits(self, batch: Batch, pending: PendingSubmission) -> bool:
        rows = rows_of(batch)
        return len(rows) + len(pending.rows) <= MAX_BATCH and size_of(rows) + size_of(pending.rows) <= MAX_BATCH_BYTES

    def flush(self, batch: Batch) -> None:
        deadline = Deadline.of(min(pending.asked_at_s for pending in batch), rows_of(batch))
        with self._inserters.lend(deadline.left_s) as inserter:
            self.send(inserter, batch, deadline)

    def send(self, inserter: Inserter, batch: Batch, deadline: Deadline) -> None:
        """Settle all these, or raise StoreUnavailableError, StatementError."""
        rows = rows_of(batch)
        answer = inserter.insert(insert_jobs, rows, deadline, may_be_there=any(each.was_sent for each in batch))
        inserted = {each.id: each for each in answer}
        if len(inserted) < len(rows):  # some were there by an earlier sending, whose answer was lost
            found = inserter.read([row.id for row in rows if row.id not in inserted], deadline)
            inserted |= {job_id: inserted_as(row) for job_id, row in found.items()}
        for pending in batch:
            pending.result = [created(row.id, inserted.get(row.id)) for row in pending.rows]


class Alone:
    """Requests on connections of their own. aside: what a thread holds while it waits for other transactions."""

    def __init__(self, quick: InserterPool, patient: InserterPool, aside: Aside) -> None:
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


def created(job_id: str, inserted: Inserted | None) -> Submitted:
    """A job whose row went in, or which PostgreSQL took without keeping it."""
    if inserted is None:
        return Submitted(JOB_REFUSED, job_id, text="the database refuses this job: a trigger dropped its row")
    return Submitted(CREATED, job_id, inserted)


def inserted_as(row: JobRow | KeyedInsert) -> Inserted:
    """What is told of a row when it goes in, of one that is there."""
    assert row.created_at is not None
    return Inserted(row.id, row.created_at, row.run_at, row.expires_at)


def is_large(rows: list[NewJob]) -> bool:
    """True for a request that others shall not wait for."""
    return len(rows) > _LARGE_ROWS or size_of(rows) > _LARGE_BYTES


def rows_of(batch: Batch) -> list[NewJob]:
    return batch[0].rows if len(batch) == 1 else [row for pending in batch for row in pending.rows]


def _marks(row: NewJob) -> list[tuple[str, str]]:
    """By what a row that was blocked is known again: its keys; without any, its queue and type."""
    return row.keys or [(row.queue, row.type)]
