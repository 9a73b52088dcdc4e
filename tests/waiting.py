"""Waiting for a condition: the only place where a test sleeps."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_LONGEST_STRETCH = 6.0
_SELDOM_S = 0.05


def stretched(seconds: float) -> float:
    """A promised time as it is on this machine now: longer in so far as more wants to run than there are processors.

    So a test holds the promise where there is room for it, and tells a slow machine from a broken promise elsewhere.
    """
    minute, _, _, now, _ = Path("/proc/loadavg").read_text().split()
    load = max(float(minute), float(now.partition("/")[0]))
    return seconds * min(_LONGEST_STRETCH, max(1.0, load / (os.cpu_count() or 1)))


def wait_until(condition: Callable[[], T], deadline_s: float, what: str, *, every_s: float = 0.01) -> T:
    """Call `condition` until it returns something true, and return that.

    Raises AssertionError after `deadline_s` (stretched), with the last value seen: so let a condition return the state
    it looks at where it can.
    """
    began = time.monotonic()
    while True:
        state = condition()
        if state:
            return state
        waited_s = time.monotonic() - began
        if waited_s >= deadline_s and waited_s >= stretched(deadline_s):
            raise AssertionError(f"after {deadline_s} s still not: {what}; last state: {state!r}")
        _rest(every_s, waited_s)


def wait_for_value(read: Callable[[], T], wanted: T, deadline_s: float, what: str, *, every_s: float = 0.02) -> None:
    """Call `read` until it returns `wanted`; the message of a failure shows the last value."""
    began = time.monotonic()
    while (state := read()) != wanted:
        waited_s = time.monotonic() - began
        if waited_s >= deadline_s and waited_s >= stretched(deadline_s):
            raise AssertionError(f"after {deadline_s} s {what} is {state!r}, not {wanted!r}")
        _rest(every_s, waited_s)


def _rest(every_s: float, waited_s: float) -> None:
    """A look takes time from those that are waited for: the longer that takes, the less a twentieth more matters."""
    time.sleep(max(every_s, min(_SELDOM_S, waited_s / 20)))


def pause(seconds: float) -> None:
    """Let time pass where that itself is the stimulus, as between two kills; never to wait for something."""
    time.sleep(seconds)
