"""The time in a line."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import lru_cache


def timestamp(at_ms: int) -> str:
    """Milliseconds since the Unix epoch as RFC 3339 writes them, in UTC, with `Z`."""
    second, fraction = divmod(at_ms, 1000)
    return f"{_second(second)}.{fraction:03d}Z"


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, timezone.utc).isoformat()[:19]
