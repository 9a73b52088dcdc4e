"""Cancel a job: at once while it waits, by a request to its worker while it runs."""

from __future__ import annotations

from contextlib import nullcontext

from taskhub import clock, ids
from taskhub.domain.errors import JobFinishedError, JobNotFoundError, StatementError, StoreUnavailableError
from taskhub.domain.job import COMPLETED, FAILED, RUNNING
from taskhub.services.submission.alone import Aside
from taskhub.store import cancellations
from taskhub.store.pool import ConnectionPool

_TIME_S = 1.5
_LEAST_TRY_S = 0.3
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.1


def cancel_job(store: ConnectionPool, job_id: str, aside: Aside = nullcontext) -> bool:
    """True if the job is cancelled now, False if its worker was asked to stop it.

    One statement decides under the row's lock; it may be repeated. While somebody else holds that lock, this thread
    holds no connection and waits `aside`. Raises JobNotFoundError; JobFinishedError if it had completed or failed;
    StoreUnavailableError.
    """
    canonical = job_id.lower()
    if not ids.is_id(canonical):
        raise JobNotFoundError("there is no job with this id")
    status = _cancel(store, canonical, aside)
    if status is None:
        raise JobNotFoundError("there is no job with this id")
    if status in (COMPLETED, FAILED):
        raise JobFinishedError(f"the job has already ended: {status}", status)
    return status != RUNNING


def _cancel(store: ConnectionPool, job_id: str, aside: Aside) -> str | None:
    """The status that the cancellation met."""
    deadline = clock.monotonic_s() + _TIME_S
    pause_s = _FIRST_PAUSE_S
    while True:
        left_s = max(deadline - clock.monotonic_s(), _LEAST_TRY_S)
        try:
            with store.connection() as connection:
                return cancellations.cancel_job(connection, job_id, timeout_s=left_s)
        except StoreUnavailableError:
            if deadline - clock.monotonic_s() < _LEAST_TRY_S:
                raise
        except StatementError as error:
            raise StoreUnavailableError(f"PostgreSQL refused the cancellation: {error}") from error
        with aside():
            clock.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
