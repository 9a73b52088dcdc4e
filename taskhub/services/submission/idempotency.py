"""Submissions with keys: which job an Idempotency-Key or a unique_key stands for.

The INSERT decides, in one statement (`insert_keyed_jobs`). What it did not insert is looked up in later
statements, which see every holder that made it stand back.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from taskhub.domain.errors import IdempotencyInProgressError, IdempotencyMismatchError, StatementError, TaskhubError
from taskhub.domain.job_view import JobRow
from taskhub.domain.new_job import InsertedTimes, NewJob
from taskhub.services.submission.group_commit import PendingCommit
from taskhub.services.submission.inserts import DROPPED, Deadline, KeyedOutcome, read_jobs
from taskhub.store.connection import Connection
from taskhub.store.statements import text_array, uuid_array

CREATED: Final = "created"
DUPLICATE: Final = "duplicate"
REPLAYED: Final = "replayed"


class Resolved(NamedTuple):
    """A submission that is safe: as job `id`; `times` if it was inserted just now, `row` if it was read."""

    id: str
    kind: str
    times: InsertedTimes | None = None
    row: JobRow | None = None


class KeysMovedError(TaskhubError):
    """A key's holder disappeared meanwhile: submit again, under the same ids."""

    code = "keys_moved"


class _Found(NamedTuple):
    """Who holds a submission's keys."""

    fingerprint: str | None
    keyed_id: str | None
    holder: str | None


def resolve(
    store: Connection,
    batch: list[PendingCommit[NewJob, list[Resolved]]],
    outcomes: dict[str, KeyedOutcome],
    deadline: Deadline,
) -> None:
    """Settle each ticket of a keyed batch after its INSERT. Raises StoreUnavailableError."""
    missing = [row for ticket in batch for row in ticket.rows if outcomes[row.id].times is None]
    found = _find(store, missing, deadline) if missing else {}
    wanted = {row.id for row in missing} | {held for each in found.values() for held in each[1:] if held}
    jobs = {job.id: job for job in read_jobs(store, sorted(wanted), deadline)} if wanted else {}
    for ticket in batch:
        try:
            ticket.result = [_accept(store, row, outcomes[row.id], found.get(row.id), jobs) for row in ticket.rows]
        except (IdempotencyMismatchError, IdempotencyInProgressError, KeysMovedError, StatementError) as error:
            ticket.error = error.with_traceback(None)  # it is raised in another thread


def _find(store: Connection, rows: list[NewJob], deadline: Deadline) -> dict[str, _Found]:
    answer = store.run(
        "keyed_jobs",
        uuid_array([row.id for row in rows]),
        text_array([row.idempotency_key for row in rows]),
        text_array([row.unique_key for row in rows]),
        timeout_s=max(deadline.left_s, 0.3),
    )
    return {row[0]: _Found(*row[1:]) for row in answer}


def _accept(
    store: Connection, row: NewJob, outcome: KeyedOutcome, found: _Found | None, jobs: dict[str, JobRow]
) -> Resolved:
    if outcome.times is not None:
        return Resolved(row.id, CREATED, outcome.times)
    assert found is not None
    if found.keyed_id is not None and found.keyed_id != row.id:
        return _accept_by_idempotency_key(row, outcome, found, jobs)
    if row.id in jobs:  # an earlier sending inserted it, and its answer was lost
        return Resolved(row.id, CREATED, row=jobs[row.id])
    if found.holder in jobs:
        return _accept_as_duplicate(store, row, jobs[found.holder])
    if found.holder is not None and row.unique_key is not None:  # its job was deleted, its key not yet
        store.run("free_unique_key", row.unique_key, found.holder)
    if row.id in (found.holder, found.keyed_id):  # its keys went in, and it did not
        raise StatementError(DROPPED, "")
    raise KeysMovedError("the holder of a key has gone")


def _accept_by_idempotency_key(row: NewJob, outcome: KeyedOutcome, found: _Found, jobs: dict[str, JobRow]) -> Resolved:
    if found.fingerprint != row.fingerprint:
        raise IdempotencyMismatchError("this Idempotency-Key was used with another body; use a new key for a new job")
    assert found.keyed_id is not None
    if found.keyed_id not in jobs:
        raise IdempotencyInProgressError("this Idempotency-Key was used for a job that is not kept any more")
    return Resolved(found.keyed_id, DUPLICATE if outcome.is_first else REPLAYED, row=jobs[found.keyed_id])


def _accept_as_duplicate(store: Connection, row: NewJob, holder: JobRow) -> Resolved:
    if row.idempotency_key is not None:  # the holder was committed after our key was
        store.run("repoint_idempotency_key", row.idempotency_key, row.id, holder.id)
    return Resolved(holder.id, DUPLICATE, row=holder)
