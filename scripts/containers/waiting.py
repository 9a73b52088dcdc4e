"""Wait for a condition, with an end and a reason."""

from __future__ import annotations

import time
from collections.abc import Callable


class Failed(Exception):
    """What was claimed is not so; the message says what was seen."""


def wait_until(condition: Callable[[], object], within_s: float, what: str, every_s: float = 0.05) -> float:
    """Returns the seconds that it took. Raises Failed after `within_s`."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > within_s:
            raise Failed(f"not within {within_s:g} s: {what}")
        time.sleep(every_s)
    return time.monotonic() - began


def require(condition: object, message: str) -> None:
    """Raises Failed with the message unless the condition holds."""
    if not condition:
        raise Failed(message)
