"""Looks after the threads of all roles: starts those that are missing, and ends the process for one that hangs.

Invariant: nothing here waits for a role. A check starts threads, compares times, and cannot block.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from taskhub import clock
from taskhub.logs import get_logger
from taskhub.roles.role_thread import Lifetime, RolePlan, RoleThread
from taskhub.roles.state import RoleState

log = get_logger(__name__)

HUNG = 3  # exit status: a role hung, and interrupting its call did not free it, or it can have no thread

_LONG_GAP_S = 1.0  # the manager itself stood still so long: so may the roles have
_LAST_WORD_S = 0.5  # from interrupting the call of a late role to the end of the process


class RoleManager:
    """For a thread that does nothing else."""

    def __init__(self, plans: list[RolePlan], states: list[RoleState], lifetime: Lifetime) -> None:
        self._end = threading.Event()
        pairs = zip(plans, states, strict=True)
        self._threads = [RoleThread(plan, state, lifetime, self._end) for plan, state in pairs]
        self._checked_at_s = clock.monotonic_s()

    def check(self, on_hang: Callable[[RoleState], None]) -> bool:
        """One turn; True if every role has given a sign of life in time. Does not return if one hangs."""
        now_s = clock.monotonic_s()
        gap_s, self._checked_at_s = now_s - self._checked_at_s, now_s
        late = []
        for thread in self._threads:
            thread.ensure_started(now_s)
            if gap_s > _LONG_GAP_S:
                thread.state.extend_deadline(gap_s)
            if thread.lacks_thread(now_s):
                _end_process(thread, on_hang, "no thread can be started")
            if thread.state.is_overdue(now_s):
                _interrupt_or_end(thread, now_s, on_hang)
                late.append(thread)
        return not late

    def stop(self) -> bool:
        """Wake whoever sleeps: this process is to end. True once every role has done its last step."""
        self._end.set()
        return all(thread.is_done for thread in self._threads)


def _interrupt_or_end(thread: RoleThread, now_s: float, on_hang: Callable[[RoleState], None]) -> None:
    state = thread.state
    if state.interrupted_at_s is None:
        state.interrupt_call(now_s)
    elif now_s - state.interrupted_at_s >= _LAST_WORD_S:
        _end_process(thread, on_hang, "it hangs")


def _end_process(thread: RoleThread, on_hang: Callable[[RoleState], None], why: str) -> None:
    on_hang(thread.state)
    fields = {
        "role": thread.state.name,
        "text": f"{why}: this process ends, and another is started",
        "stack": thread.stack(),
    }
    log.error("role.hangs", extra=fields)
    os._exit(HUNG)
