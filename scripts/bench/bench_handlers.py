"""The job types of the benchmarks."""

from __future__ import annotations

import time

from taskhub import handler


@handler("bench.noop")
def noop(job: object) -> None:
    """Do nothing."""


@handler("bench.stamp")
def stamp(job: object) -> float:
    """Tell when it ran."""
    return time.time()
