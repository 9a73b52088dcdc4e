"""Give back what was claimed and has not begun, uncharged. Each may be repeated after a failure."""

from __future__ import annotations

from taskhub.store.claims import defer_unknown, release_jobs
from taskhub.store.connection import Store

UNKNOWN_TYPE_DELAY_S = 30.0


def release(store: Store, ids: list[str], lease: str | None) -> None:
    """They wait again, to be requeued; what somebody has cancelled is cancelled by it."""
    release_jobs(store, ids, lease)


def defer(store: Store, job_id: str, lease: str | None) -> None:
    """For a while, as its type is not known here: another worker may know it, during a rolling deploy."""
    defer_unknown(store, [job_id], lease, UNKNOWN_TYPE_DELAY_S)
