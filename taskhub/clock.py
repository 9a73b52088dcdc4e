"""The clocks: monotonic for durations, boot time for validity across suspends, wall only for ids.

Stored times come from PostgreSQL's clock, never from here. This is the only module that reads a
clock, so a test (or the `clock.wall` failpoint) can move it.
"""

from __future__ import annotations

import time
from functools import partial

from taskhub import failpoints

# Seconds on a clock that never goes back; for durations within one process.
monotonic_s = time.monotonic

# Seconds since boot, suspends included; comparable between all processes of one host.
boottime_s = partial(time.clock_gettime, time.CLOCK_BOOTTIME)


def wall_ms() -> int:
    """Milliseconds since the Unix epoch; only for the time part of a new id."""
    return time.time_ns() // 1_000_000 + int(failpoints.value("clock.wall") * 1000)


def sleep(seconds: float) -> None:
    """Sleep; for processes whose only work is to wait."""
    time.sleep(seconds)
