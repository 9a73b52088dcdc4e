"""The one contract of all roles: a thread each, recreated after anything unexpected, watched for standing still.

Invariants:
- A step is one bounded pass that may be repeated from the start. Whatever it raises ends neither its thread nor
  another role: a dependency that is away is one line and a wait; anything else, of any class, is counted, and
  the role is recreated by its factory after a jittered wait, so no half-broken state survives.
- A role gives a sign of life before and after each step and each call to a server, and says with it when the next
  is due at the latest. One that is late hangs: first its connection is shut, then this process ends.
- Nothing here waits for a role. The keeper's turn starts threads, compares times, and cannot block.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from taskhub import clock, failpoints
from taskhub.domain.backoff import jittered_s, reconnect_delay_s
from taskhub.domain.errors import SchemaOutdatedError, UnavailableError
from taskhub.logs import get_logger
from taskhub.roles.state import RoleState

log = get_logger(__name__)

HUNG = 3  # exit status: a role stood still, and shutting its connection did not move it, or it can have no thread
WAITS = (UnavailableError, SchemaOutdatedError)  # of a dependency, and not of the role

_LONG_GAP_S = 1.0  # the keeper itself stood still so long: so may the roles have
_LAST_WORD_S = 0.5  # from shutting a late role's connection to the end of the process
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


class Wanted(Protocol):
    """Whether this process is to go on; after that, whether there is time for a last step."""

    def is_wanted(self) -> bool: ...
    def has_time_left(self) -> bool: ...


class RoleThread:
    """One role's thread, which is started again should it ever end."""

    def __init__(self, plan: RolePlan, state: RoleState, wanted: Wanted, end: threading.Event) -> None:
        self.state = state
        self.is_done = not plan.has_last_step  # nobody waits for the others' end
        self._plan = plan
        self._wanted = wanted
        self._wait = plan.wait or end.wait
        self._role: Role | None = None
        self._thread: threading.Thread | None = None
        self._start_at_s = 0.0
        self._lacking_since_s: float | None = None

    def keep(self, now_s: float) -> None:
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
        while self._wanted.is_wanted():
            self._rest(self._guarded(self._step))
        while not self.is_done and self._wanted.has_time_left():
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
        self.state.signs(self._plan.limit_s)
        try:
            action()
        except WAITS as error:
            if self.state.waits(error) == 1:
                log.warning("maintenance.waits", extra={"role": self._plan.name, "text": str(error)})
            return min(reconnect_delay_s(self.state.waiting), max(self._plan.every_s, 1.0))
        except BaseException as error:  # noqa: BLE001 (an exit as well: it ends no other role)
            self._close()
            self._failed(error)
            return reconnect_delay_s(self.state.failing, _FIRST_RETRY_S, self._plan.retry_cap_s)
        if self.state.succeeds():
            log.info("maintenance.resumes", extra={"role": self._plan.name})
        return jittered_s(self._plan.every_s)  # spreads the workers

    def _failed(self, error: BaseException) -> None:
        is_news = self.state.fails(error) == 1
        fields = {"role": self._plan.name, "text": f"{type(error).__name__}; the role is recreated"}
        log.error("maintenance.failed", extra=fields, exc_info=error if is_news else None)

    def _close(self) -> None:
        role, self._role = self._role, None
        if role is not None:
            try:
                role.on_stop()
            except BaseException as error:  # noqa: BLE001 (it is being thrown away)
                self.state.fails(error)

    def _rest(self, seconds: float) -> None:
        self.state.rests()
        if seconds > 0:
            self._wait(seconds)


class RoleKeeper:
    """Starts the roles and looks after them, from a thread that does nothing else."""

    def __init__(self, plans: list[RolePlan], states: list[RoleState], wanted: Wanted) -> None:
        self._end = threading.Event()
        pairs = zip(plans, states, strict=True)
        self._threads = [RoleThread(plan, state, wanted, self._end) for plan, state in pairs]
        self._kept_s = clock.monotonic_s()

    def keep(self, on_hang: Callable[[RoleState], None]) -> bool:
        """One turn; True if every role has given a sign of life in time. Does not return if one hangs."""
        now_s = clock.monotonic_s()
        gap_s, self._kept_s = now_s - self._kept_s, now_s
        late = []
        for thread in self._threads:
            thread.keep(now_s)
            if gap_s > _LONG_GAP_S:
                thread.state.forgive(gap_s)
            if thread.lacks_thread(now_s):
                self._end_process(thread, on_hang, "no thread can be started")
            if thread.state.is_late(now_s):
                self._move(thread, now_s, on_hang)
                late.append(thread)
        return not late

    def dismiss(self) -> bool:
        """Wake whoever sleeps: this process is unwanted. True once every role has done its last step."""
        self._end.set()
        return all(thread.is_done for thread in self._threads)

    def _move(self, thread: RoleThread, now_s: float, on_hang: Callable[[RoleState], None]) -> None:
        state = thread.state
        if state.shut_at_s is None:
            state.shut(now_s)
            return
        if now_s - state.shut_at_s < _LAST_WORD_S:
            return
        self._end_process(thread, on_hang, "it stands still")

    @staticmethod
    def _end_process(thread: RoleThread, on_hang: Callable[[RoleState], None], why: str) -> None:
        on_hang(thread.state)
        fields = {"role": thread.state.name, "text": f"{why}: this process ends", "stack": thread.stack()}
        log.error("role.hangs", extra=fields)
        os._exit(HUNG)
