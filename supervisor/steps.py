"""The steps of the supervisor's turn, run so that none of them can end the loop.

An unexpected error in a step is one line and a count; the step is tried again in the next turn. Only when
nothing at all can be supervised any more, for many turns in a row, is that a reason to give up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from taskhub import clock, failpoints
from taskhub.logs import get_logger

log = get_logger(__name__)

LOST_TURNS_LIMIT = 100
_WINDOW_S = 30.0


class Steps:
    """`failures` counts every one; `lost_turns` those turns in a row in which each vital step failed."""

    def __init__(self) -> None:
        self.failures = 0
        self.lost_turns = 0
        self._failing: Counter[str] = Counter()
        self._vital = {True: 0, False: 0}

    def run(self, name: str, step: Callable[..., object], *arguments: Any, is_vital: bool = False) -> None:
        """Run one step; whatever it raises stays here."""
        is_done = False
        try:
            failpoints.hit(f"supervisor.{name}")
            step(*arguments)
            is_done = True
            if name in self._failing:
                failures = self._failing.pop(name)
                text = f"it works again, after {failures} failures"
                log.info("supervisor.step_resumes", extra={"step": name, "failures": failures, "text": text})
        except BaseException as error:  # noqa: BLE001 (the loop outlives whatever its steps meet)
            self._failed(name, error)
        self._vital[is_done] += is_vital

    def end_turn(self) -> bool:
        """False once supervision is lost."""
        is_lost = self._vital[False] and not self._vital[True]
        self._vital = {True: 0, False: 0}
        self.lost_turns = self.lost_turns + 1 if is_lost else 0
        return self.lost_turns < LOST_TURNS_LIMIT

    def _failed(self, name: str, error: BaseException) -> None:
        self.failures += 1
        self._failing[name] += 1
        if self._failing[name] > 1:
            return
        text = f"{type(error).__name__}: {error}; it is tried again each turn"
        log.error("supervisor.step_failed", extra={"step": name, "text": text}, exc_info=error)


class LongestTurn:
    """The longest turn of the last half minute to minute, in seconds."""

    def __init__(self) -> None:
        self._windows = [0.0, 0.0]
        self._until_s = 0.0

    def add(self, began_s: float) -> float:
        """A turn that began then ends now; returns the longest of late."""
        now_s = clock.monotonic_s()
        if now_s >= self._until_s:
            self._windows = [0.0, self._windows[0]]
            self._until_s = now_s + _WINDOW_S
        self._windows[0] = max(self._windows[0], now_s - began_s)
        return max(self._windows)
