"""Submit jobs: committed in PostgreSQL first, then, best effort, their ids rung in Redis.

Invariants:
- An id is returned only after its row, or the row that its key stands for, was seen to be committed.
- An INSERT of unknown outcome is sent again until the time is over: ids and keys make that harmless.
- A request whose rows PostgreSQL refuses, or that must wait for others' transactions, fails or waits alone.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import NamedTuple

from taskhub import clock, failpoints
from taskhub.domain.errors import JobRefusedError, StatementError, StoreUnavailableError, TaskhubError
from taskhub.domain.job_view import JobRow, new_row
from taskhub.domain.new_job import NewJob
from taskhub.services.submission.doorbell import Doorbell
from taskhub.services.submission.group_commit import PendingCommit
from taskhub.services.submission.idempotency import CREATED, KeysMovedError, Resolved
from taskhub.services.submission.inserter_pool import InserterPool
from taskhub.services.submission.inserts import Deadline, Inserter
from taskhub.services.submission.lanes import KEYED, PLAIN, Alone, Aside, Batch, Connect, Lane, is_large

_KEY_TRIES = 5

_SORTING_LOCK_S = 0.03
_GROUP_LOCK_S = 0.1
_GROUP_STATEMENT_S = 0.6
_PATIENT_LOCK_S = 1.0
_PATIENT_STATEMENT_S = 1.2
_IN_TROUBLE = ("25", "55", "F0", "HV", "XX")  # states, settings, foreign servers, damage: it may be mended


class Submitted(NamedTuple):
    """A job that was accepted: as new, as a duplicate of a unique_key's holder, or replayed by its Idempotency-Key."""

    kind: str
    row: JobRow


class Submitter:
    """One process's submissions, from any of its threads; make it after fork."""

    def __init__(self, connect: Connect, doorbell: Doorbell, aside: Aside = nullcontext) -> None:
        def inserters(size: int, lock_s: float, statement_s: float | None, kept: int = 0) -> InserterPool:
            is_patient = lock_s == _PATIENT_LOCK_S
            return InserterPool(lambda: Inserter(connect(lock_s, statement_s), is_patient=is_patient), size, kept=kept)

        self._doorbell = doorbell
        self._together = inserters(6, _GROUP_LOCK_S, _GROUP_STATEMENT_S, kept=2)
        self._alone = Alone(
            inserters(3, _SORTING_LOCK_S, _GROUP_STATEMENT_S),
            inserters(4, _PATIENT_LOCK_S, _PATIENT_STATEMENT_S),
            self._ring,
            aside,
        )
        self._large = Alone(
            inserters(2, _GROUP_LOCK_S, None, kept=1), inserters(2, _PATIENT_LOCK_S, None), self._ring, aside
        )
        self._lanes = {way: Lane(way, self._together, self._alone, self._ring) for way in (PLAIN, KEYED)}

    def submit(self, new_job: NewJob) -> Submitted:
        """Commit one job. Raises StoreUnavailableError; the errors of bad requests."""
        [accepted] = self._commit([new_job])
        if accepted.row is not None:
            return Submitted(accepted.kind, accepted.row)
        assert accepted.times is not None
        return Submitted(accepted.kind, new_row(new_job, accepted.times))

    def submit_all(self, new_jobs: list[NewJob]) -> list[str]:
        """Commit all of these in one transaction or none; returns the ids in order, of holders for held unique keys."""
        if not new_jobs:
            return []
        first: dict[str, str] = {}
        for new_job in new_jobs:
            if new_job.unique_key is not None:
                first.setdefault(new_job.unique_key, new_job.id)
        stands_for = {s.id: first[s.unique_key] if s.unique_key is not None else s.id for s in new_jobs}
        rows = [s for s in new_jobs if stands_for[s.id] == s.id]
        accepted = {row.id: result.id for row, result in zip(rows, self._commit(rows), strict=True)}
        return [accepted[stands_for[new_job.id]] for new_job in new_jobs]

    def close(self) -> None:
        """Leave the connections, those in use when their submission has ended. The next connects anew."""
        for each in (self._together, self._alone, self._large):
            each.close()

    def _commit(self, rows: list[NewJob]) -> list[Resolved]:
        way = KEYED if any(row.has_key for row in rows) else PLAIN
        until_s = Deadline.of(clock.monotonic_s(), rows).at_s
        for _ in range(_KEY_TRIES):
            ticket: PendingCommit[NewJob, list[Resolved]] = PendingCommit(rows, until_s)
            try:
                return self._large.commit(way, ticket) if is_large(rows) else self._lanes[way].commit(ticket)
            except KeysMovedError:
                continue
            except StatementError as error:
                raise _refusal(error) from error
        raise StoreUnavailableError("the holder of a key changed again and again")

    def _ring(self, batch: Batch) -> None:
        failpoints.hit("api.after_commit")
        settled = [ticket for ticket in batch if ticket.result is not None]
        pairs = [pair for ticket in settled for pair in zip(ticket.rows, ticket.result or (), strict=True)]
        self._doorbell.ring([row for row, accepted in pairs if accepted.kind == CREATED])


def _refusal(error: StatementError) -> TaskhubError:
    """What a refused INSERT means for the one who asked for it: this row never goes in, or none does now."""
    if error.sqlstate.startswith(_IN_TROUBLE):
        return StoreUnavailableError(f"PostgreSQL refused the job: {error}")
    return JobRefusedError(f"the database refuses this job: {error}")
