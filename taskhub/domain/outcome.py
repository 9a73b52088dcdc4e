"""How an execution ended, as a value.

Times are boot-time seconds, so that a later reader on the same host can tell how long ago they were.
"""

from __future__ import annotations

from typing import NamedTuple


class Completed(NamedTuple):
    """The handler returned; `result` is JSON text, None for a null result."""

    id: str
    result: str | None
    started_s: float
    finished_s: float


class Failed(NamedTuple):
    """The handler did not; `retry_in_s` None means no retry, for `reason`."""

    id: str
    type: str
    message: str
    cause: str
    retry_in_s: float | None
    reason: str | None
    started_s: float
    finished_s: float
    peak_rss_mb: float | None = None  # known of a process that is dead


Outcome = Completed | Failed
