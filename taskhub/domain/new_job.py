"""A job on its way into PostgreSQL, and what became of it there."""

from __future__ import annotations

from typing import Final, NamedTuple

from taskhub.domain import strict_json
from taskhub.domain.job_view import JobRow

CREATED: Final = "created"
EXISTING: Final = "existing"  # its unique_key is held by another
REPLAYED: Final = "replayed"  # its Idempotency-Key was used before
REFUSED: Final = ("job_refused", "idempotency_mismatch", "idempotency_in_progress")  # kinds that are codes of errors
JOB_REFUSED, KEY_MISMATCH, KEY_SPENT = REFUSED


class NewJob(NamedTuple):
    """One row to insert. payload: JSON text with its `type`; moments: RFC 3339 texts."""

    id: str
    queue: str
    type: str
    priority: int
    payload: str
    max_attempts: int
    timeout_s: float | None = None
    delay_s: float | None = None
    run_at: str | None = None
    expires_at: str | None = None
    unique_key: str | None = None
    tags: tuple[str, ...] = ()
    idempotency_key: str | None = None
    fingerprint: str | None = None

    @property
    def has_key(self) -> bool:
        return self.idempotency_key is not None or self.unique_key is not None

    @property
    def keys(self) -> list[tuple[str, str]]:
        """Its keys, each with its kind: no two jobs at once can be for one of them."""
        named = [("idempotency", self.idempotency_key), ("unique", self.unique_key)]
        return [(name, key) for name, key in named if key is not None]

    @property
    def waits(self) -> bool:
        """True if it is not to run at once; the dispatcher finds it when its time comes."""
        return self.delay_s is not None or self.run_at is not None


class Inserted(NamedTuple):
    """A job that has a row now; the times are PostgreSQL's, as it writes them."""

    id: str
    created_at: str
    run_at: str | None
    expires_at: str | None


class Submitted(NamedTuple):
    """What became of a NewJob. id: of the job that it is now, which may be another's, who holds its key.

    inserted: if it was created. row: of the other. text: why it was refused.
    """

    kind: str
    id: str
    inserted: Inserted | None = None
    row: JobRow | None = None
    text: str = ""


def created_row(new_job: NewJob, inserted: Inserted) -> JobRow:
    """The row that a submission became, known without reading it."""
    return JobRow(
        id=new_job.id,
        type=new_job.type,
        queue=new_job.queue,
        priority=new_job.priority,
        payload=new_job.payload,
        max_attempts=new_job.max_attempts,
        timeout_s=new_job.timeout_s,
        tags=strict_json.encode(new_job.tags),
        unique_key=new_job.unique_key,
        run_at=inserted.run_at,
        expires_at=inserted.expires_at,
        created_at=inserted.created_at,
        updated_at=inserted.created_at,
    )
