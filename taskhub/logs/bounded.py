"""Lines of output of one origin as `job.output`: so many a second, the others counted and told with the next."""

from __future__ import annotations

from typing import Any

from taskhub import clock
from taskhub.logs import loggers

EVENT = "job.output"
MAX_LINES_PER_S = 200


class BoundedOutput:
    """One origin. `dropped`: lines that were not told, and not yet said to be missing."""

    def __init__(self) -> None:
        self.dropped = 0
        self._second = 0
        self._lines = 0

    def room(self) -> int:
        """So many lines may be told in this second."""
        second = int(clock.monotonic_s())
        if second != self._second:
            self._second, self._lines = second, 0
        return MAX_LINES_PER_S - self._lines

    def tell(self, line: str, fields: dict[str, Any]) -> None:
        """Tell a line, or count it as dropped."""
        if self.room() <= 0:
            self.dropped += 1
            return
        self._lines += 1
        if self.dropped:
            fields = {**fields, "dropped": self.dropped}
            self.dropped = 0
        loggers.tell("info", EVENT, line, fields)
