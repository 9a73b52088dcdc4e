"""The watchdog over running tasks, with a real process in the child's place and its record in the test's hand."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.processes import is_stopped
from supervisor.shared import layout as m
from supervisor.shared.child_link import ChildLink
from supervisor.shared.file import Memory
from supervisor.shared.layout import now_ns
from supervisor.slot import Slot
from supervisor.steps import Steps
from supervisor.watchdog import Watchdog, runs
from taskhub import ids
from taskhub.settings.fields import Settings
from tests.waiting import wait_until

PROGRAM = """
import os, signal, time
signal.signal(signal.SIGUSR2, lambda *_: os.write(1, b"asked\\n"))  # print is not reentrant
held = bytearray(b"x" * {bytes})
os.write(1, b"ready\\n")
while True: time.sleep(60)
"""
TASK, NEXT = b"t" * 16, b"n" * 16


class Ward:
    """A process that the watchdog looks after, and the child's end of its record."""

    def __init__(self, memory: Memory, number: int = 0, size: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(bytes=size)], stdout=subprocess.PIPE, start_new_session=True
        )
        self.bank = memory.bank(number, 1)
        self.bank.begin(1)
        self.link = ChildLink(memory, number, 1)
        self.slot = Slot(number, generation=1, pid=self.process.pid, bank=self.bank)
        assert self.said() == "ready"

    def said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def death(self) -> int:
        return self.process.wait(10)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


MakeWard = Callable[..., Ward]


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[MakeWard]:
    memory = Memory.create(tmp_path, ids.new_token(), 8)
    made: list[Ward] = []

    def make(number: int = 0, size: int = 0) -> Ward:
        made.append(Ward(memory, number, size))
        return made[-1]

    yield make
    for each in made:
        each.end()


def watchdog(**settings: str) -> Watchdog:
    return Watchdog(Settings.load({f"TASKHUB_{name.upper()}": value for name, value in settings.items()}), Steps())


def decided(watcher: Watchdog, child: Ward, now_s: float) -> None:
    """Have the watchdog look, at this moment, until the child is either killed or let go."""
    watcher.look([child.slot], now_s)
    wait_until(lambda: child.slot.pending_kill is None or watcher.look([child.slot], now_s), 5, "it has decided")


def test_an_overdue_task_is_asked_first_and_killed_after_the_grace(ward: MakeWard) -> None:
    child, watcher = ward(), watchdog(internal_kill_grace_s="5")
    child.link.begin(TASK, 0)
    watcher.look([child.slot], 100)
    assert child.said() == "asked"
    watcher.look([child.slot], 101)
    watcher.look([child.slot], 104.9)
    assert child.is_alive()
    decided(watcher, child, 105)
    assert child.death() == -signal.SIGKILL
    assert child.bank[m.B_DEATH_REASON] == m.REASON_TIMEOUT


def test_a_task_that_is_in_time_is_left_alone(ward: MakeWard) -> None:
    child, watcher = ward(), watchdog()
    child.link.begin(TASK, 3600)
    for now_s in range(100, 160):
        watcher.look([child.slot], now_s)
    assert child.is_alive()
    assert child.slot.interrupted is None


def test_a_child_that_went_on_to_its_next_task_in_the_last_moment_is_let_go(ward: MakeWard) -> None:
    """The record changes between the decision and the stop: the watchdog reads it again and sees that."""
    child, watcher = ward(), watchdog(internal_kill_grace_s="1")
    child.link.begin(TASK, 0)
    watcher.look([child.slot], 100)
    stale = child.slot.interrupted
    assert stale is not None
    child.link.end()
    child.link.begin(NEXT, 3600)
    watcher._stop_to_check(child.slot, lambda: runs(child.bank, stale), m.REASON_TIMEOUT, 100)
    decided(watcher, child, 100)
    wait_until(lambda: not is_stopped(child.process.pid), 5, "it goes on")
    assert child.is_alive()
    assert child.bank[m.B_DEATH_REASON] == m.REASON_NONE


def test_the_same_job_begun_again_has_its_whole_time_again(ward: MakeWard) -> None:
    child, watcher = ward(), watchdog(internal_kill_grace_s="1")
    child.link.begin(TASK, 0)
    watcher.look([child.slot], 100)
    child.link.end()
    child.link.begin(TASK, 0)
    watcher.look([child.slot], 101.5)
    assert child.is_alive()


def test_a_cancelled_task_is_asked_and_killed_and_its_neighbour_is_not(ward: MakeWard) -> None:
    child, neighbour, watcher = ward(0), ward(1), watchdog(internal_kill_grace_s="1")
    for each, task in ((child, TASK), (neighbour, NEXT)):
        each.link.begin(task, 3600)
        each.bank.bytes[m.B_CANCEL * 8 : m.B_CANCEL * 8 + 16] = TASK
    for now_s in (100.0, 101.5):
        watcher.look([child.slot, neighbour.slot], now_s)
    decided(watcher, child, 101.5)
    assert child.death() == -signal.SIGKILL
    assert child.bank[m.B_DEATH_REASON] == m.REASON_CANCEL
    assert neighbour.is_alive()


@pytest.mark.parametrize(
    ("phase", "limit"),
    [(m.PHASE_BOOT, 2), (m.PHASE_IDLE, 2), (m.PHASE_SETTLING, 2), (m.PHASE_WAITING, 4), (m.PHASE_HANDLER, None)],
)
def test_a_child_that_is_silent_too_long_for_what_it_does_is_killed(
    ward: MakeWard, phase: int, limit: int | None
) -> None:
    child, watcher = ward(), watchdog(internal_stall_s="2")
    watcher.look([child.slot], 100)  # the first look forgives: it cannot know for how long nobody looked
    for now_s in range(101, 140):
        watcher.look([], now_s)
    child.bank[m.B_PHASE] = phase
    child.bank[m.B_TICK] = now_ns() - int(((limit or 20) - 1) * 1e9)
    watcher.look([child.slot], 140)
    assert child.is_alive()
    child.bank[m.B_TICK] = now_ns() - int(((limit or 20) + 1) * 1e9)
    decided(watcher, child, 141)
    if limit is None:
        assert child.is_alive()
    else:
        assert child.death() == -signal.SIGKILL
        assert child.bank[m.B_DEATH_REASON] == m.REASON_STALLED


def test_of_two_children_that_grew_too_large_one_is_asked_to_leave_at_a_time(ward: MakeWard) -> None:
    size = 80 * 2**20
    first, second, watcher = ward(0, size), ward(1, size), watchdog(max_rss_mb="60")
    for each in (first, second):
        each.link.begin(TASK, 3600)
        each.link.end()
    for now_s in (100.0, 101.0, 102.0):
        watcher.look([first.slot, second.slot], now_s)
    assert [first.bank[m.B_DRAIN], second.bank[m.B_DRAIN]] == [1, 0]
    first.slot.pid = None
    watcher.look([first.slot, second.slot], 103)
    assert second.bank[m.B_DRAIN] == 0, "not while the first is missing"


def test_a_child_beyond_the_hard_limit_is_killed_in_mid_task(ward: MakeWard) -> None:
    child, watcher = ward(0, 80 * 2**20), watchdog(hard_rss_mb="60")
    watcher.look([child.slot], 100)
    assert child.is_alive(), "not between tasks"
    child.link.begin(TASK, 3600)
    decided(watcher, child, 101)
    assert child.death() == -signal.SIGKILL
    assert child.bank[m.B_DEATH_REASON] == m.REASON_MEMORY
