"""Look at jobs, and wait for one to end."""

from __future__ import annotations

from typing import Any

from taskhub import clock, ids
from taskhub.domain.errors import JobNotFoundError
from taskhub.domain.job import TERMINAL
from taskhub.domain.job_view import JobRow, moment
from taskhub.store.jobs import get_jobs, job_errors, job_status
from taskhub.store.pool import ConnectionPool

_READ_S = 1.5
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.25


def get_job(store: ConnectionPool, job_id: str) -> JobRow:
    """One job. Raises JobNotFoundError, also for what is no id; StoreUnavailableError."""
    canonical = job_id.lower()
    found = get_jobs(store.reads, [canonical], timeout_s=_READ_S) if ids.is_id(canonical) else []
    if not found:
        raise JobNotFoundError("there is no job with this id")
    return found[0]


def get_errors(store: ConnectionPool, job_id: str) -> list[dict[str, Any]]:
    """A job's failed executions, oldest first. Raises JobNotFoundError, StoreUnavailableError."""
    canonical = job_id.lower()
    failures = job_errors(store.reads, canonical, timeout_s=_READ_S) if ids.is_id(canonical) else []
    if not failures:
        raise JobNotFoundError("there is no job with this id")
    return [
        {
            "attempt": failure.attempt,
            "worker": None if failure.worker is None else {"id": failure.worker, "slot": failure.slot},
            "started_at": moment(failure.started_at),
            "failed_at": moment(failure.failed_at),
            "type": failure.type,
            "message": failure.message,
            "where": failure.raised_in,
            "traceback": failure.traceback,
            "cause": failure.cause,
            "peak_rss_mb": failure.peak_rss_mb,
        }
        for failure in failures
        if failure.attempt is not None
    ]


def wait_for_end(store: ConnectionPool, job_id: str, timeout_s: float) -> JobRow:
    """The job once it has ended, or as it is when the time is over.

    Raises JobNotFoundError, StoreUnavailableError.
    """
    deadline = clock.monotonic_s() + timeout_s
    pause_s = _FIRST_PAUSE_S
    while (left_s := deadline - clock.monotonic_s()) > 0:
        clock.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        status = job_status(store.reads, job_id, timeout_s=_READ_S)
        if status is None or status in TERMINAL:
            break
    return get_job(store, job_id)
