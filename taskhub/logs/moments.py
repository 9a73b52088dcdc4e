"""The time in a line: in UTC for machines, local for people."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import lru_cache


def timestamp(at_ms: int) -> str:
    """Milliseconds since the Unix epoch as RFC 3339 writes them, in UTC, with `Z`."""
    second, fraction = divmod(at_ms, 1000)
    return f"{_second(second)}.{fraction:03d}Z"


def local_time(at_ms: int) -> str:
    """The time of day of a moment, where this machine is."""
    second, fraction = divmod(at_ms, 1000)
    return f"{_local_second(second)}.{fraction:03d}"


@lru_cache(maxsize=4)
def _local_second(second: int) -> str:
    return datetime.fromtimestamp(second).isoformat()[11:19]


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, timezone.utc).isoformat()[:19]
