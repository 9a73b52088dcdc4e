"""When a program that died is started again: after 0.5 s, doubling to 30 s, from the start after a minute of health."""

from __future__ import annotations

from taskhub import clock

FIRST_S = 0.5
LONGEST_S = 30
HEALTHY_AFTER_S = 60


class RestartBackoff:
    """The history of one program."""

    def __init__(self) -> None:
        self._delay_s = FIRST_S
        self._started_at_s = clock.monotonic_s()
        self._due_at_s: float | None = None

    @property
    def is_due(self) -> bool:
        """True when a program that died is to be started now."""
        return self._due_at_s is not None and clock.monotonic_s() >= self._due_at_s

    def started(self) -> None:
        """It was started."""
        self._started_at_s, self._due_at_s = clock.monotonic_s(), None

    def died(self) -> float | None:
        """It is found dead; returns the delay that begins now, None if one is under way."""
        if self._due_at_s is not None:
            return None
        now = clock.monotonic_s()
        if now - self._started_at_s > HEALTHY_AFTER_S:
            self._delay_s = FIRST_S
        delay, self._delay_s = self._delay_s, min(LONGEST_S, self._delay_s * 2)
        self._due_at_s = now + delay
        return delay
