"""Submissions with keys: which job an Idempotency-Key or a unique_key stands for.

The INSERT decides, in one statement (`insert_keyed_jobs`). What it did not insert is looked up in later
statements, which see every holder that made it stand back.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from taskhub.domain.errors import StatementError
from taskhub.domain.job_view import JobRow
from taskhub.domain.new_job import EXISTING, KEY_MISMATCH, KEY_SPENT, REPLAYED, NewJob, Submitted
from taskhub.services.submission.inserter import Deadline, Inserter
from taskhub.services.submission.lanes import Group, PendingSubmission, PlainLane, created, inserted_as, rows_of
from taskhub.store.connection import Store
from taskhub.store.keys import KeyHolders, free_unique_key, keyed_jobs, repoint_idempotency_key
from taskhub.store.new_jobs import KeyedInsert, insert_keyed_jobs

MAX_KEYED_ROWS = 100
KEYS_KEPT_S = 86_400.0

_insert = partial(insert_keyed_jobs, kept_s=KEYS_KEPT_S)


class _Found(NamedTuple):
    """Of jobs that were not inserted: who holds their keys, and the jobs that these are, by id."""

    holders: dict[str, KeyHolders]
    jobs: dict[str, JobRow]


class KeyedLane(PlainLane):
    """Jobs with keys."""

    def fits(self, group: Group, pending: PendingSubmission) -> bool:
        """No key twice in one statement."""
        rows = rows_of(group)
        if len(rows) + len(pending.rows) > MAX_KEYED_ROWS or not super().fits(group, pending):
            return False
        taken = {key for row in rows for key in row.keys}
        return taken.isdisjoint(key for row in pending.rows for key in row.keys)

    def send(self, inserter: Inserter, group: Group, deadline: Deadline) -> None:
        """As the plain lane. One whose key was freed meanwhile goes alone: it is sent again, under the same ids."""
        rows = rows_of(group)
        answer = inserter.insert(_insert, rows, deadline, may_be_there=any(each.was_sent for each in group))
        inserted = {each.id: each for each in answer}
        found = _find(inserter, [row for row in rows if inserted[row.id].created_at is None], deadline)
        for pending in group:
            try:
                result = [_submitted(inserter.store, row, inserted[row.id], found) for row in pending.rows]
            except StatementError:
                if len(group) == 1:
                    raise
                pending.goes_alone = True
            else:
                pending.goes_alone = None in result
                pending.result = None if pending.goes_alone else [each for each in result if each is not None]


def _find(inserter: Inserter, missing: list[NewJob], deadline: Deadline) -> _Found:
    if not missing:
        return _Found({}, {})
    ids = [row.id for row in missing]
    keys = [row.idempotency_key for row in missing], [row.unique_key for row in missing]
    holders = keyed_jobs(inserter.store, ids, *keys, timeout_s=deadline.try_s)
    wanted = {job_id for each in holders for job_id in (each.id, each.idempotent_id, each.unique_id) if job_id}
    return _Found({each.id: each for each in holders}, inserter.read(sorted(wanted), deadline))


def _submitted(store: Store, row: NewJob, inserted: KeyedInsert, found: _Found) -> Submitted | None:
    """None: the holder of a key has gone."""
    if inserted.created_at is not None:
        return created(row.id, inserted_as(inserted))
    holders, jobs = found.holders[row.id], found.jobs
    if holders.idempotent_id not in (None, row.id):
        return _by_idempotency_key(row, inserted, holders, jobs)
    if row.id in jobs:  # an earlier sending inserted it, and its answer was lost
        return created(row.id, inserted_as(jobs[row.id]))
    if holders.unique_id in jobs:
        if row.idempotency_key is not None:  # the holder was committed after our key was
            repoint_idempotency_key(store, row.idempotency_key, row.id, holders.unique_id)
        return Submitted(EXISTING, holders.unique_id, row=jobs[holders.unique_id])
    if holders.unique_id is not None and row.unique_key is not None:  # its job was deleted, its key not yet
        free_unique_key(store, row.unique_key, holders.unique_id)
    if row.id in (holders.unique_id, holders.idempotent_id):  # its keys went in, and it did not
        return created(row.id, None)
    return None


def _by_idempotency_key(row: NewJob, inserted: KeyedInsert, holders: KeyHolders, jobs: dict[str, JobRow]) -> Submitted:
    job_id = holders.idempotent_id or ""
    if holders.fingerprint != row.fingerprint:
        told = "this Idempotency-Key was used with another body; use a new key for a new job"
        return Submitted(KEY_MISMATCH, job_id, text=told)
    if job_id not in jobs:
        return Submitted(KEY_SPENT, job_id, text="this Idempotency-Key was used for a job that is not kept any more")
    return Submitted(EXISTING if inserted.is_first else REPLAYED, job_id, row=jobs[job_id])
