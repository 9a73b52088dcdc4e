"""Waiting for a condition: the only place where a test sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], deadline_s: float, what: str, *, every_s: float = 0.01) -> T:
    """Call `condition` until it returns something true, and return that.

    Raises AssertionError after `deadline_s`, with the last value seen: so let a condition return the state
    it looks at where it can.
    """
    ends = time.monotonic() + deadline_s
    while True:
        state = condition()
        if state:
            return state
        if time.monotonic() >= ends:
            raise AssertionError(f"after {deadline_s} s still not: {what}; last state: {state!r}")
        time.sleep(every_s)


def wait_for_value(read: Callable[[], T], wanted: T, deadline_s: float, what: str, *, every_s: float = 0.02) -> None:
    """Call `read` until it returns `wanted`; the message of a failure shows the last value."""
    ends = time.monotonic() + deadline_s
    while (state := read()) != wanted:
        if time.monotonic() >= ends:
            raise AssertionError(f"after {deadline_s} s {what} is {state!r}, not {wanted!r}")
        time.sleep(every_s)


def pause(seconds: float) -> None:
    """Let time pass where that itself is the stimulus, as between two kills; never to wait for something."""
    time.sleep(seconds)
