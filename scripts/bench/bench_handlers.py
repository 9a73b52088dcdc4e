"""The job types of the benchmarks."""

from __future__ import annotations

import time
from typing import Any

from taskhub import handler


@handler("bench.noop")
def noop(job: object) -> None:
    """Do nothing."""


@handler("bench.echo")
def echo(job: Any) -> str:
    """Return the text of the payload."""
    return str(job.payload["text"])


@handler("bench.stamp")
def stamp(job: object) -> float:
    """Tell when it ran."""
    return time.time()
