"""The one contract of all roles: a thread each, in which the role is recreated after anything unexpected.

Invariants:
- A step is one bounded pass that may be repeated from the start. Whatever it raises ends neither its thread nor
  another role: a dependency that is away is one line and a wait; anything else, of any class, is counted, and
  the role is recreated by its factory after a jittered wait, so no half-broken state survives.
- A role gives a sign of life before and after each step and each call to a server, and says with it when the next
  is due at the latest. One that is late hangs, which the role manager acts on.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from taskhub import failpoints
from taskhub.domain.backoff import jittered_s, reconnect_delay_s
from taskhub.domain.errors import SchemaOutdatedError, UnavailableError
from taskhub.logs import get_logger
from taskhub.outage import Outage
from taskhub.roles.state import RoleState

log = get_logger(__name__)

WAITS = (UnavailableError, SchemaOutdatedError)  # of a dependency, and not of the role

_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 30.0
_LAST_STEP_RETRY_S = 0.1
_THREADLESS_S = 10.0


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Role:
    """What a role does. on_stop: before it is recreated. last_step: repeated until it returns True."""

    step: Callable[[], None]
    on_stop: Callable[[], None] = _nothing
    last_step: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class RolePlan:
    """A role and how it is kept. make: gives it, with no ties to an earlier one. wait: sleeps, at most so long."""

    name: str
    every_s: float
    make: Callable[[RoleState], Role]
    limit_s: float
    retry_cap_s: float = _LAST_RETRY_S
    has_last_step: bool = False
    wait: Callable[[float], None] | None = None


class Lifetime(Protocol):
    """Whether this process is to go on; after that, whether there is time for a last step."""

    def should_run(self) -> bool: ...
    def has_time_left(self) -> bool: ...


class RoleThread:
    """One role's thread, which is started again should it ever end."""

    def __init__(self, plan: RolePlan, state: RoleState, lifetime: Lifetime, end: threading.Event) -> None:
        self.state = state
        self.is_done = not plan.has_last_step  # nobody waits for the others' end
        self._plan = plan
        self._lifetime = lifetime
        self._wait = plan.wait or end.wait
        cap_s = max(plan.every_s, 1.0)
        self._outage = Outage(log, "maintenance.waits", "maintenance.resumes", cap_s=cap_s, role=plan.name)
        self._role: Role | None = None
        self._thread: threading.Thread | None = None
        self._start_at_s = 0.0
        self._lacking_since_s: float | None = None

    def ensure_started(self, now_s: float) -> None:
        """Start the thread if there is none. One that cannot be started (no memory, a limit) is tried again."""
        if now_s < self._start_at_s or (self._thread is not None and self._thread.is_alive()):
            return
        self._start_at_s = now_s + jittered_s(_FIRST_RETRY_S)
        try:
            self._thread = threading.Thread(target=self._live, name=self.state.name, daemon=True)
            self._thread.start()
            self._lacking_since_s = None
        except (RuntimeError, MemoryError, OSError) as error:
            self._thread = None
            if self._lacking_since_s is None:
                self._lacking_since_s = now_s
            self._failed(error)

    def lacks_thread(self, now_s: float) -> bool:
        """For so long that this process will hardly have one any more: the next may have other limits."""
        return self._lacking_since_s is not None and now_s - self._lacking_since_s > _THREADLESS_S

    def stack(self) -> str:
        """Where the thread stands."""
        frame = sys._current_frames().get(self._thread.ident or 0) if self._thread is not None else None
        return "".join(traceback.format_stack(frame)) if frame is not None else ""

    def _live(self) -> None:
        if self.state.hung_before and not self.state.is_vital:  # it ended the last process: let the others work first
            self._rest(self._plan.retry_cap_s)
        while self._lifetime.should_run():
            self._rest(self._guarded(self._step))
        while not self.is_done and self._lifetime.has_time_left():
            self._rest(min(self._guarded(self._leave), _LAST_STEP_RETRY_S))

    def _step(self) -> None:
        failpoints.hit("role.", self._plan.name)
        if self._role is None:
            self._role = self._plan.make(self.state)
        self._role.step()

    def _leave(self) -> None:
        failpoints.hit("last_step.", self._plan.name)
        if self._role is None:
            self._role = self._plan.make(self.state)
        self.is_done = self._role.last_step()

    def _guarded(self, action: Callable[[], None]) -> float:
        """Do it, whatever may come of it; returns how long to wait."""
        self.state.begin_step(self._plan.limit_s)
        try:
            action()
        except WAITS as error:
            self.state.record_wait(error)
            return self._outage.lost(str(error))
        except BaseException as error:  # noqa: BLE001 (an exit as well: it ends no other role)
            self._close()
            self._failed(error)
            return reconnect_delay_s(self.state.failing, _FIRST_RETRY_S, self._plan.retry_cap_s)
        was_failing = self.state.record_success()
        if self._outage.is_on:
            self._outage.back()
        elif was_failing:
            log.info("maintenance.resumes", extra={"role": self._plan.name, "text": "it works again"})
        return jittered_s(self._plan.every_s)  # spreads the workers

    def _failed(self, error: BaseException) -> None:
        is_news = self.state.record_failure(error) == 1
        fields = {"role": self._plan.name, "text": f"{type(error).__name__}; the role is recreated"}
        log.error("maintenance.failed", extra=fields, exc_info=error if is_news else None)

    def _close(self) -> None:
        role, self._role = self._role, None
        if role is not None:
            try:
                role.on_stop()
            except BaseException as error:  # noqa: BLE001 (it is being thrown away)
                self.state.record_failure(error)

    def _rest(self, seconds: float) -> None:
        self.state.end_step()
        if seconds > 0:
            self._wait(seconds)
