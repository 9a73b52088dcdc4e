"""The job types that every installation knows: for a first try, for probes and for tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from taskhub.handlers.registry import handler


def _at_most(limit: int) -> Callable[[float], None]:
    def check(number: float) -> None:
        if not 0 <= number <= limit:
            raise ValueError(f"must be from 0 to {limit:,}")

    return check


def _short(text: str) -> None:
    if len(text) > 1_000:
        raise ValueError("must be at most 1,000 characters")


@dataclass
class SleepPayload:
    seconds: Annotated[float, _at_most(86_400)]


@dataclass
class FailPayload:
    message: Annotated[str, _short] = "failed on request"
    times: Annotated[int, _at_most(1_000)] | None = None


@handler("demo")
def demo(job: Any) -> Any:
    """Return the payload."""
    return job.payload


@handler("echo")
def echo(job: Any) -> Any:
    """Return the payload."""
    return job.payload


@handler("sleep", schema=SleepPayload)
def sleep(job: Any) -> dict[str, float]:
    """Sleep for `seconds`."""
    time.sleep(job.data.seconds)
    return {"slept_s": job.data.seconds}


@handler("fail", schema=FailPayload)
def fail(job: Any) -> dict[str, int]:
    """Fail while `attempt <= times`; without `times`, always."""
    times = job.data.times
    if times is None or job.attempt <= times:
        raise RuntimeError(job.data.message)
    return {"attempt": job.attempt}
