"""A role's thread, alone: how long it stays out of the way of others."""

from __future__ import annotations

import os
import threading

import pytest

from taskhub.roles import role_thread
from taskhub.roles.role_manager import HUNG, RoleManager
from taskhub.roles.role_thread import Role, RolePlan, RoleThread
from taskhub.roles.state import RoleState
from tests.waiting import pause, wait_until


class WantedOnce:
    """For the look before the first step only."""

    def __init__(self) -> None:
        self._is_wanted = True

    def should_run(self) -> bool:
        was_wanted, self._is_wanted = self._is_wanted, False
        return was_wanted

    def has_time_left(self) -> bool:
        return False


@pytest.mark.parametrize("longest_s", [2.0, 30.0])
def test_a_role_that_ended_the_last_process_rests_no_longer_than_it_would_after_failures(longest_s: float) -> None:
    waits: list[float] = []
    plan = RolePlan("x", 0.0, lambda _: Role(lambda: None), 1.0, retry_cap_s=longest_s, wait=waits.append)
    thread = RoleThread(plan, RoleState("x", hung_before=True), WantedOnce(), threading.Event())
    thread.ensure_started(0.0)
    wait_until(lambda: not thread._thread or not thread._thread.is_alive(), 5, "the role has lived")
    assert waits == [longest_s]


def test_a_process_that_can_have_no_thread_any_more_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(role_thread, "_THREADLESS_S", 0.2)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    plan = RolePlan("x", 0.0, lambda _: Role(lambda: None), 1.0)
    pid = os.fork()
    if pid == 0:
        manager = RoleManager([plan], [RoleState("x")], WantedOnce())
        for _ in range(1000):
            manager.check(lambda _: None)
            pause(0.005)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == HUNG
