"""Submit jobs: committed in PostgreSQL first, then, best effort, their ids rung in Redis.

Invariants:
- An id is returned only after its row, or the row that its key stands for, was seen to be committed.
- An INSERT of unknown outcome is sent again until the time is over: ids and keys make that harmless.
- A request whose rows PostgreSQL refuses fails alone, not with those that share its commit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from taskhub import failpoints
from taskhub.domain.errors import InvalidRequestError, StatementError, StoreUnavailableError, TaskhubError
from taskhub.domain.job_object import JobRow, new_row
from taskhub.domain.submission import Submission
from taskhub.services.doorbell import Doorbell
from taskhub.services.group_commit import GroupCommit, Ticket
from taskhub.services.insertion import Deadline, Inserter
from taskhub.services.keyed import CREATED, Accepted, KeysMovedError, resolve
from taskhub.store.connection import Connection

MAX_BATCH = 500
MAX_KEYED_BATCH = 100

_KEY_TRIES = 5

Batch = list[Ticket[Submission, list[Accepted]]]


class Submitted(NamedTuple):
    """A job that was accepted: as new, as a duplicate of a unique_key's holder, or replayed by its Idempotency-Key."""

    kind: str
    row: JobRow


class Submitter:
    """One process's submissions, from any of its threads; make it after fork."""

    def __init__(self, connect: Callable[[], Connection], doorbell: Doorbell) -> None:
        self._doorbell = doorbell
        self._plain = Inserter(connect())
        self._keyed = Inserter(connect())
        self._plain_lane = GroupCommit(self._flush_plain, _fits, self._ring)
        self._keyed_lane = GroupCommit(self._flush_keyed, _fits_keyed, self._ring)

    def submit(self, submission: Submission) -> Submitted:
        """Commit one job. Raises StoreUnavailableError; the errors of bad requests."""
        [accepted] = self._commit([submission])
        if accepted.row is not None:
            return Submitted(accepted.kind, accepted.row)
        assert accepted.receipt is not None
        return Submitted(accepted.kind, new_row(submission, accepted.receipt))

    def submit_all(self, submissions: list[Submission]) -> list[str]:
        """Commit all of these in one transaction or none; returns the ids in order, of holders for held unique keys."""
        if not submissions:
            return []
        first: dict[str, str] = {}
        for submission in submissions:
            if submission.unique_key is not None:
                first.setdefault(submission.unique_key, submission.id)
        stands_for = {s.id: first[s.unique_key] if s.unique_key is not None else s.id for s in submissions}
        rows = [s for s in submissions if stands_for[s.id] == s.id]
        accepted = {row.id: result.id for row, result in zip(rows, self._commit(rows), strict=True)}
        return [accepted[stands_for[submission.id]] for submission in submissions]

    def close(self) -> None:
        self._plain.close()
        self._keyed.close()

    def _commit(self, rows: list[Submission]) -> list[Accepted]:
        if not any(row.has_key for row in rows):
            return self._plain_lane.commit(rows)
        for _ in range(_KEY_TRIES):
            try:
                return self._keyed_lane.commit(rows)
            except KeysMovedError:
                continue
        raise StoreUnavailableError("the holder of a key changed again and again")

    def _flush_plain(self, batch: Batch) -> None:
        deadline = Deadline.of(batch[0].asked_at_s, _rows(batch))
        try:
            receipts = self._plain.insert(_rows(batch), deadline)
        except StatementError as error:
            if len(batch) == 1:
                raise _refusal(error) from error
            half = len(batch) // 2
            for part in (batch[:half], batch[half:]):
                self._flush_part(part)
            return
        for ticket in batch:
            ticket.result = [Accepted(row.id, CREATED, receipts[row.id]) for row in ticket.rows]

    def _flush_part(self, part: Batch) -> None:
        try:
            self._flush_plain(part)
        except TaskhubError as error:
            for ticket in part:
                ticket.error = ticket.error or error

    def _flush_keyed(self, batch: Batch) -> None:
        deadline = Deadline.of(batch[0].asked_at_s, _rows(batch))
        try:
            outcomes = self._keyed.insert_keyed(_rows(batch), deadline)
        except StatementError as error:
            if len(batch) == 1:
                raise _refusal(error) from error
            for ticket in batch:
                self._flush_alone(ticket)
            return
        resolve(self._keyed.store, batch, outcomes, deadline)

    def _flush_alone(self, ticket: Ticket[Submission, list[Accepted]]) -> None:
        try:
            self._flush_keyed([ticket])
        except TaskhubError as error:
            ticket.error = error

    def _ring(self, batch: Batch) -> None:
        failpoints.hit("api.after_commit")
        settled = [ticket for ticket in batch if ticket.result is not None]
        pairs = [pair for ticket in settled for pair in zip(ticket.rows, ticket.result or (), strict=True)]
        self._doorbell.ring([row for row, accepted in pairs if accepted.kind == CREATED])


def _rows(batch: Batch) -> list[Submission]:
    return batch[0].rows if len(batch) == 1 else [row for ticket in batch for row in ticket.rows]


def _fits(batch: Batch, ticket: Ticket[Submission, list[Accepted]]) -> bool:
    return sum(len(each.rows) for each in batch) + len(ticket.rows) <= MAX_BATCH


def _fits_keyed(batch: Batch, ticket: Ticket[Submission, list[Accepted]]) -> bool:
    """No key twice in one statement."""
    if sum(len(each.rows) for each in batch) + len(ticket.rows) > MAX_KEYED_BATCH:
        return False
    taken = {key for row in _rows(batch) for key in _keys(row)}
    return taken.isdisjoint(key for row in ticket.rows for key in _keys(row))


def _keys(row: Submission) -> list[tuple[str, str]]:
    named = [("idempotency", row.idempotency_key), ("unique", row.unique_key)]
    return [(name, key) for name, key in named if key is not None]


def _refusal(error: StatementError) -> TaskhubError:
    """What a refused INSERT means for the one who asked for it: bad data, or a database in trouble."""
    if error.sqlstate.startswith("22"):
        return InvalidRequestError(f"PostgreSQL cannot store this job: {error}")
    return StoreUnavailableError(f"PostgreSQL refused the job: {error}")
