"""Settlements: what became of executions, each fenced by the lease that it ran under."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from taskhub import clock
from taskhub.domain.outcome import Completed, Failed
from taskhub.store.connection import Store
from taskhub.store.statements import number_array, text_array, uuid_array


class CompletedArrays(NamedTuple):
    """Completed executions as array literals; times are how long ago they were by this host's clock."""

    ids: str
    results: str
    started_us_ago: str
    finished_us_ago: str


class FailedArrays(NamedTuple):
    """Failed executions as array literals."""

    ids: str
    started_us_ago: str
    types: str
    messages: str
    causes: str
    retry_in: str
    reasons: str
    peaks: str
    raised_in: str
    tracebacks: str


_NONE_COMPLETED = CompletedArrays("{}", "{}", "{}", "{}")


def completed_arrays(outcomes: Sequence[Completed]) -> CompletedArrays:
    """For `settle_completed` and `settle_and_claim`, which may be sent more than once with the same."""
    if not outcomes:
        return _NONE_COMPLETED
    now = clock.boottime_s()
    ids, results, started, finished = zip(*outcomes, strict=True)
    return CompletedArrays(
        uuid_array(list(ids)),
        text_array(list(results)),
        _us_ago(now, started),
        _us_ago(now, finished),
    )


def failed_arrays(outcomes: Sequence[Failed]) -> FailedArrays:
    """For `settle_failures`."""
    now = clock.boottime_s()
    return FailedArrays(
        uuid_array([o.id for o in outcomes]),
        _us_ago(now, [o.started_s for o in outcomes]),
        text_array([o.type for o in outcomes]),
        text_array([o.message for o in outcomes]),
        text_array([o.cause for o in outcomes]),
        number_array([o.retry_in_s for o in outcomes]),
        text_array([o.reason for o in outcomes]),
        number_array([o.peak_rss_mb for o in outcomes]),
        text_array([o.raised_in for o in outcomes]),
        text_array([o.traceback for o in outcomes]),
    )


def _us_ago(now_s: float, times_s: Sequence[float]) -> str:
    """An array literal of how long ago each was, in microseconds: whole numbers cost half of what fractions do."""
    return "{" + ",".join([str(int((now_s - time_s) * 1e6)) for time_s in times_s]) + "}"


def settle_completed(store: Store, completed: CompletedArrays, lease: str) -> int:
    """Complete finished jobs, without claiming; returns how many were still this lease's."""
    [(settled,)] = store.run("settle_completed", *completed, lease)
    return int(settled)


def settle_failures(store: Store, failed: FailedArrays, lease: str) -> dict[str, str]:
    """Retry, fail or cancel; returns the status of each that was still this lease's."""
    return dict(store.run("settle_failures", *failed, lease))


def ended_commit(store: Store, id: str, lease: str) -> str | None:
    """The status of a job whose completing transaction has ended; None while it goes on, or for another's lease."""
    rows = store.run("ended_commit", id, lease)
    return rows[0][0] if rows else None
