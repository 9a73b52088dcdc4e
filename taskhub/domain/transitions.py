"""The one table of legal changes of `status`; every writing statement in the store is one of them."""

from __future__ import annotations

from taskhub.domain.job import CANCELLED, COMPLETED, FAILED, QUEUED, RUNNING, TERMINAL

TRANSITIONS: dict[tuple[str | None, str], str] = {
    (None, QUEUED): "submit",
    (QUEUED, RUNNING): "claim",
    (QUEUED, CANCELLED): "cancel",
    (QUEUED, FAILED): "expire",
    (RUNNING, COMPLETED): "complete",
    (RUNNING, FAILED): "fail",
    (RUNNING, QUEUED): "retry, release or rescue",
    (RUNNING, CANCELLED): "cancel",
    (FAILED, QUEUED): "replay",
}


def is_legal(before: str | None, after: str) -> bool:
    """True if a row may go from `before` (None: not there yet) to `after`."""
    return (before, after) in TRANSITIONS


def is_terminal(status: str) -> bool:
    """True if only an operator's replay can change a row with this status."""
    return status in TERMINAL
