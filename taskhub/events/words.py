"""The words for how an execution ended, in log and metrics alike."""

from __future__ import annotations

from taskhub.domain.job import CANCELLED, FAILED
from taskhub.domain.outcome import Failed

_ENDED = {FAILED: "failed", CANCELLED: "cancelled"}


def ended_as(status: str) -> str:
    """`failed` or `cancelled`; a job that waits again was `retried`."""
    return _ENDED.get(status, "retried")


def reason_of(outcome: Failed) -> str:
    """Why an execution failed: `timeout` or `exception`."""
    return "timeout" if outcome.cause == "timeout" else "exception"
