"""Look at jobs, and wait for one to end."""

from __future__ import annotations

from typing import Any

from taskhub import clock, ids
from taskhub.domain.errors import JobNotFoundError
from taskhub.domain.job import TERMINAL
from taskhub.domain.job_view import JobRow, moment
from taskhub.store.pool import Pool
from taskhub.store.statements import uuid_array

_READ_S = 1.5
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.25


def get_job(store: Pool, job_id: str) -> JobRow:
    """One job. Raises JobNotFoundError, also for what is no id; StoreUnavailableError."""
    canonical = job_id.lower()
    rows = store.read("get_jobs", uuid_array([canonical]), timeout_s=_READ_S) if ids.is_id(canonical) else []
    if not rows:
        raise JobNotFoundError("there is no job with this id")
    return JobRow._make(rows[0])


def get_errors(store: Pool, job_id: str) -> list[dict[str, Any]]:
    """A job's failed executions, oldest first. Raises JobNotFoundError, StoreUnavailableError."""
    canonical = job_id.lower()
    rows = store.read("job_errors", canonical, timeout_s=_READ_S) if ids.is_id(canonical) else []
    if not rows:
        raise JobNotFoundError("there is no job with this id")
    return [
        {
            "attempt": attempt,
            "worker": None if worker is None else {"id": worker, "slot": slot},
            "started_at": moment(started_at),
            "failed_at": moment(failed_at),
            "type": error_type,
            "message": message,
            "cause": cause,
            "peak_rss_mb": peak_rss_mb,
        }
        for attempt, worker, slot, started_at, failed_at, error_type, message, cause, peak_rss_mb in rows
        if attempt is not None
    ]


def wait_for_end(store: Pool, job_id: str, timeout_s: float) -> JobRow:
    """The job once it has ended, or as it is when the time is over.

    Raises JobNotFoundError, StoreUnavailableError.
    """
    deadline = clock.monotonic_s() + timeout_s
    pause_s = _FIRST_PAUSE_S
    while (left_s := deadline - clock.monotonic_s()) > 0:
        clock.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        rows = store.read("job_status", job_id, timeout_s=_READ_S)
        if not rows or rows[0][0] in TERMINAL:
            break
    return get_job(store, job_id)
