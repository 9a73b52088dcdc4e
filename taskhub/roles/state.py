"""What is known of one role: written by its own thread, read by probes, metrics and the manager.

Every field changes by one assignment, so no reader needs a lock, and none can wait for a role that hangs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from taskhub import clock
from taskhub.metrics import definitions as metrics

HANG = "hang"


class RoleState:
    """One role's signs of life and its failures. No message is kept: it might tell a secret, its class does not."""

    def __init__(self, name: str, *, is_vital: bool = False, hung_before: bool = False) -> None:
        self.name = name
        self.is_vital = is_vital  # without it, no job of this worker starts or comes back
        self.hung_before = hung_before
        self.failures = 0
        self.failing = 0  # steps in a row that failed
        self.failing_items = 0
        self.last_error: str | None = None
        self.interrupted_at_s: float | None = None
        self._last_ok_s = clock.monotonic_s()
        self._failing_since_s = math.inf
        self._due_s = math.inf
        self._limit_s = 0.0
        self._shut: Callable[[], None] | None = None
        metrics.ROLE_FAILURES.labels(name)
        if hung_before:  # it could not be counted by the process that it ended
            self.count(HANG)

    def begin_step(self, limit_s: float) -> None:
        """A step begins; without another sign within `limit_s` the role hangs."""
        self._limit_s = limit_s
        self.tick()

    def tick(self) -> None:
        """A sign of life in mid-step."""
        self.interrupted_at_s = self._shut = None
        self._due_s = clock.monotonic_s() + self._limit_s

    def begin_call(self, within_s: float, shut: Callable[[], None] | None) -> None:
        """It calls a server, which takes so long at the most; `shut` makes that call fail from outside."""
        self.interrupted_at_s, self._shut = None, shut
        self._due_s = clock.monotonic_s() + within_s + self._limit_s / 3

    def end_step(self) -> None:
        """Between two steps."""
        self.interrupted_at_s = self._shut = None
        self._due_s = math.inf

    def is_overdue(self, now_s: float) -> bool:
        return now_s > self._due_s

    def extend_deadline(self, seconds: float) -> None:
        """The whole process stood still."""
        self._due_s += seconds

    def interrupt_call(self, now_s: float) -> None:
        """Make the call that it waits for fail."""
        self.interrupted_at_s = now_s
        shut = self._shut
        if shut is not None:
            shut()

    def record_success(self) -> bool:
        """True if the step before had failed."""
        was_failing = self.failing > 0
        self.failing = 0
        self.hung_before = False
        self._failing_since_s = math.inf
        self._last_ok_s = clock.monotonic_s()
        if not self.failing_items:
            self.last_error = None
        return was_failing

    def record_wait(self, error: BaseException) -> None:
        """A dependency is away: no failure."""
        self.failing = 0
        self.last_error = type(error).__name__

    def record_failure(self, error: BaseException) -> int:
        """Something unexpected. Returns how many steps in a row."""
        self.failing += 1
        self._failing_since_s = min(self._failing_since_s, clock.monotonic_s())
        self.count(type(error).__name__)
        return self.failing

    def count(self, error: str) -> None:
        """A failure of the role, or of one of the things that it does in a step."""
        self.last_error = error
        self.failures += 1
        metrics.ROLE_FAILURES.labels(self.name).inc()

    @property
    def age_s(self) -> float:
        """Since the last good step (or the start)."""
        return clock.monotonic_s() - self._last_ok_s

    @property
    def failing_for_s(self) -> float:
        return max(0.0, clock.monotonic_s() - self._failing_since_s)

    @property
    def is_well(self) -> bool:
        """False while it fails, hangs, or cannot do one of its things. Waiting for a dependency is not its fault."""
        return not (self.failing or self.failing_items or self.hung_before or self.is_overdue(clock.monotonic_s()))
