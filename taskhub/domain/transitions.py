"""The one table of legal changes of `status`. Each statement that writes one names its own in its header.

A replay is made by no statement yet.
"""

from __future__ import annotations

from taskhub.domain.job import CANCELLED, COMPLETED, FAILED, QUEUED, RUNNING

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
