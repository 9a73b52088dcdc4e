"""Something needed that is away: one line when it is lost, growing pauses between tries, one line when it is back."""

from __future__ import annotations

import logging
import random

from taskhub import clock
from taskhub.logs import EventLogger

_DOUBLINGS = 16  # beyond any cap that makes sense


class Outage:
    """What one activity knows of one thing that it needs; for one thread at a time.

    lost, back: the names of the two log lines; both bear `fields`. The pause before a try doubles from `base_s` to
    `cap_s` and is drawn between half and the whole of that, so that many who lost the same do not return together.
    """

    def __init__(
        self, log: EventLogger, lost: str, back: str, *, base_s: float = 0.1, cap_s: float = 2.0, **fields: object
    ) -> None:
        self._log = log
        self._names = (lost, back)
        self._bounds = (base_s, cap_s)
        self._fields = fields
        self._failures = 0
        self._due_s = 0.0

    @property
    def failures(self) -> int:
        """How many there were since the last success."""
        return self._failures

    @property
    def is_on(self) -> bool:
        """True from a failure to the next success."""
        return self._failures > 0

    @property
    def is_due(self) -> bool:
        """True unless the pause after the last failure still lasts."""
        return clock.monotonic_s() >= self._due_s

    def lost(self, text: str, *, trace: BaseException | None = None) -> float:
        """It failed (again); returns the seconds to wait before another try. Only the first is told."""
        self._failures += 1
        if self._failures == 1:
            fields = self._fields | {"text": text}
            self._log.log(logging.WARNING, self._names[0], exc_info=trace, extra=fields)
        base_s, cap_s = self._bounds
        bound_s = min(cap_s, base_s * 2.0 ** min(self._failures - 1, _DOUBLINGS))
        pause_s = random.uniform(bound_s / 2, bound_s)  # noqa: S311 (spreads those who wait)
        self._due_s = clock.monotonic_s() + pause_s
        return pause_s

    def back(self) -> None:
        """It worked."""
        if self._failures:
            text = f"it works again, after {self._failures} failed tries"
            self._failures = 0
            self._due_s = 0.0
            self._log.info(self._names[1], extra=self._fields | {"text": text})
