"""A job on its way into PostgreSQL, and what PostgreSQL made of it."""

from __future__ import annotations

from typing import NamedTuple


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
    def waits(self) -> bool:
        """True if it is not to run at once; the dispatcher finds it when its time comes."""
        return self.delay_s is not None or self.run_at is not None


class InsertedTimes(NamedTuple):
    """The times that PostgreSQL gave a new row, as it writes them."""

    created_at: str
    run_at: str | None
    expires_at: str | None
