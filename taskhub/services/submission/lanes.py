"""Small requests of one kind share a commit (`group_commit`): which go together, and what becomes of each.

Locks are waited for for a moment only, for all of them: who must wait longer, or is large, goes alone (`alone`).
"""

from __future__ import annotations

from taskhub.domain.job_view import JobRow
from taskhub.domain.new_job import CREATED, JOB_REFUSED, Inserted, NewJob, Submitted
from taskhub.services.submission.failed_flush import settle_failed
from taskhub.services.submission.group_commit import PendingCommit
from taskhub.services.submission.inserter import Deadline, Inserter, size_of
from taskhub.store.new_jobs import KeyedInsert, insert_plain_jobs
from taskhub.store.pool import Pool

MAX_GROUP_ROWS = 500
MAX_GROUP_BYTES = 1 << 20

PendingSubmission = PendingCommit[NewJob, list[Submitted]]
Group = list[PendingSubmission]


class PlainLane:
    """Jobs without keys."""

    def __init__(self, inserters: Pool[Inserter]) -> None:
        self._inserters = inserters

    def fits(self, group: Group, pending: PendingSubmission) -> bool:
        rows = rows_of(group)
        return (
            len(rows) + len(pending.rows) <= MAX_GROUP_ROWS and size_of(rows) + size_of(pending.rows) <= MAX_GROUP_BYTES
        )

    def flush(self, group: Group) -> None:
        """Settle all these. Raises what is its leader's own."""
        deadline = Deadline.of(min(pending.asked_at_s for pending in group), rows_of(group))
        try:
            with self._inserters.lend(deadline.left_s) as inserter:
                self.send(inserter, group, deadline)
        except Exception as error:
            if settle_failed(group, error):
                raise

    def send(self, inserter: Inserter, group: Group, deadline: Deadline) -> None:
        """Settle all these, or raise StoreUnavailableError, StatementError."""
        rows = rows_of(group)
        answer = inserter.insert(insert_plain_jobs, rows, deadline, may_be_there=any(each.was_sent for each in group))
        inserted = {each.id: each for each in answer}
        if len(inserted) < len(
            rows
        ):  # some were there by an earlier sending, whose answer was lost, or are not told of
            found = inserter.read([row.id for row in rows if row.id not in inserted], deadline)
            inserted |= {job_id: inserted_as(row) for job_id, row in found.items()}
        for pending in group:
            pending.result = [created(row.id, inserted.get(row.id)) for row in pending.rows]


def created(job_id: str, inserted: Inserted | None) -> Submitted:
    """A job whose row went in, or which PostgreSQL took without keeping it."""
    if inserted is None:
        return Submitted(JOB_REFUSED, job_id, text="the database refuses this job: a trigger dropped its row")
    return Submitted(CREATED, job_id, inserted)


def inserted_as(row: JobRow | KeyedInsert) -> Inserted:
    """What is told of a row when it goes in, of one that is there."""
    assert row.created_at is not None
    return Inserted(row.id, row.created_at, row.run_at, row.expires_at)


def rows_of(group: Group) -> list[NewJob]:
    return group[0].rows if len(group) == 1 else [row for pending in group for row in pending.rows]
