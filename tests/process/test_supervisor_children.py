"""The supervisor and its children, whatever they run: restart, back off, give up, replace what hangs."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.harness.dummy_supervisor import MakeDummies
from tests.harness.processes import alive, children_of
from tests.waiting import pause, stretched, wait_until


def test_a_killed_child_that_had_worked_is_replaced_at_once_and_its_sibling_never_notices(dummies: MakeDummies) -> None:
    with dummies() as running:
        running.order(0, "busy")
        victim, sibling = running.member(0), running.member(1)
        pause(0.1)  # it takes up its task
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        running.replaced(0, victim)
        assert time.monotonic() - began < stretched(0.5)
        assert running.member(1) == sibling
        assert running.exits() == ["SIGKILL"]


def test_children_that_die_before_their_first_task_are_forked_ever_more_slowly_and_then_the_worker_gives_up(
    dummies: MakeDummies,
) -> None:
    running = dummies(2, TASKHUB_INTERNAL_BOOT_BACKOFF_S="0.1", TASKHUB_INTERNAL_BOOT_BACKOFF_CAP_S="0.4")
    running.order(0, "exit:3")
    running.order(1, "exit:4")
    running.start()
    assert running.wait(20) == 1
    assert running.exits(0) == ["exit 3"] * 5
    assert running.exits(1) == ["exit 4"] * 5
    assert len(running.events("worker.hopeless")) == 1
    starts = [_seconds(e["timestamp"]) for e in running.events("child.started") if e["slot"] == 0]
    waits = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert [wait >= least for wait, least in zip(waits, (0.1, 0.2, 0.4, 0.4), strict=True)] == [True] * 4, waits


def test_a_child_that_exits_with_zero_unasked_before_its_first_task_backs_off_too(dummies: MakeDummies) -> None:
    running = dummies(1)
    running.order(0, "exit:0")
    running.start()
    assert running.wait(20) == 1
    assert running.exits() == ["exit 0"] * 5


def test_one_slot_whose_children_die_never_ends_a_worker_whose_other_slot_works(dummies: MakeDummies) -> None:
    running = dummies()
    running.order(0, "exit:3")
    running.start()
    wait_until(lambda: len(running.exits(0)) >= 8, 20, "slot 0 dies again and again")
    sibling = running.member(1)
    running.order(0, "idle")
    running.member(0)
    assert running.member(1) == sibling
    assert running.exits(1) == []
    assert running.stop() == 0


def test_a_slot_whose_child_has_come_to_work_is_hope_enough_whatever_died_there_before(dummies: MakeDummies) -> None:
    running = dummies()
    running.order(0, "exit:3")
    running.start()
    wait_until(lambda: len(running.exits(0)) >= 5, 20, "slot 0 dies again and again")
    running.order(0, "busy")
    wait_until(lambda: running.phase(0) == "running", 10, "slot 0 works")
    working = running.member(0)
    running.order(1, "exit:4")
    wait_until(lambda: len(running.exits(1)) >= 6 or running.has_ended(), 20, "slot 1 dies again and again")
    assert running.member(0) == working
    assert running.events("worker.hopeless") == []
    assert running.stop() == 0


def test_a_child_that_is_silent_without_a_task_is_replaced_and_a_busy_one_is_not(dummies: MakeDummies) -> None:
    with dummies() as running:
        running.order(1, "busy")
        silent, busy = running.member(0), running.member(1)
        pause(0.1)
        os.kill(silent, signal.SIGSTOP)
        began = time.monotonic()
        running.replaced(0, silent)
        assert 1.3 <= time.monotonic() - began < stretched(5)
        assert not alive(silent)
        pause(1)
        assert running.member(1) == busy
        assert len(running.events("child.stalled")) == 1


@pytest.mark.slow
def test_a_supervisor_that_stood_still_itself_blames_no_child_for_the_silence(dummies: MakeDummies) -> None:
    with dummies() as running:
        before = running.all_members()
        running.group_signal(signal.SIGSTOP)
        pause(4)
        running.group_signal(signal.SIGCONT)
        pause(1)
        assert running.members() == before
        assert running.events("child.stalled") == []


def test_a_killed_sidecar_is_replaced_within_a_second_and_no_child_notices(dummies: MakeDummies) -> None:
    with dummies() as running:
        before, sidecar = running.all_members(), running.sidecar()
        began = time.monotonic()
        os.kill(sidecar, signal.SIGKILL)
        wait_until(lambda: running.sidecar() != sidecar, 5, "another sidecar runs")
        assert time.monotonic() - began < stretched(1)
        assert running.members() == before


@pytest.mark.slow
def test_a_sidecar_that_hangs_is_replaced(dummies: MakeDummies) -> None:
    with dummies() as running:
        before, sidecar = running.all_members(), running.sidecar()
        os.kill(sidecar, signal.SIGSTOP)
        wait_until(lambda: running.sidecar() != sidecar, 15, f"another sidecar runs\n{running.tail()}")
        assert running.members() == before


def test_a_sidecar_that_cannot_start_is_tried_again_after_pauses_that_double(dummies: MakeDummies) -> None:
    with dummies(TASKHUB_FAILPOINTS="dummy.sidecar=exit:1") as running:
        before = running.all_members()
        ends = wait_until(lambda: ends if len(ends := running.events("sidecar.exited")) > 4 else None, 20, "it ends")
        moments = [_seconds(str(event["timestamp"])) for event in ends[:5]]
        for doublings, (earlier, later) in enumerate(itertools.pairwise(moments)):
            assert 0.7 * 0.2 * 2**doublings <= later - earlier <= stretched(0.2 * 2**doublings + 0.5)
        assert running.members() == before
        assert running.stop() == 0


def test_children_and_sidecar_are_gone_a_tenth_of_a_second_after_their_supervisor_was_killed(
    dummies: MakeDummies,
) -> None:
    with dummies(3) as running:
        running.order(0, "busy")
        os.kill(running.member(1), signal.SIGSTOP)  # not even this one stays
        members = running.children()
        assert len(members) == 4
        began = time.monotonic()
        os.kill(running.pid, signal.SIGKILL)
        wait_until(lambda: not any(map(alive, members)), 5, "all are gone", every_s=0.001)
        assert time.monotonic() - began < stretched(0.1 + 0.4)  # the promise, and room for a busy machine


STEPS = (
    "wait", "signal", "reap.w0", "reap.w1", "sidecar.reap", "sidecar.ensure_running", "orphans", "watchdog.w0",
    "start.w0", "reload",
)  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_a_step_of_the_loop_that_fails_unexpectedly_is_told_once_and_tried_again(
    dummies: MakeDummies, step: str
) -> None:
    with dummies(TASKHUB_FAILPOINTS=f"supervisor.{step}=raise*3") as running:
        for slot, pid in running.all_members().items():
            os.kill(pid, signal.SIGKILL)
            running.replaced(slot, pid)
        for _ in range(4):
            running.signal(signal.SIGCONT)
            pause(0.05)
        [resumes] = wait_until(lambda: running.events("supervisor.step_resumes"), 5, "the step is done again")
        assert len(running.events("supervisor.step_failed")) == 1
        assert resumes["step"] == step, running.tail()
        assert running.stop() == 0


def test_without_descriptors_a_reload_is_refused_and_dead_children_are_back_once_there_are_some(
    dummies: MakeDummies,
) -> None:
    with dummies() as running:
        running.order(0, "idle")  # read from a file
        sidecar = running.sidecar()
        before = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        running.signal(signal.SIGHUP)
        [refusal] = wait_until(lambda: running.events("worker.reload_refused"), 5, "the reload is refused")
        assert "Too many open files" in refusal["message"]
        for pid in (running.member(0), sidecar):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(running.exits(0)) > 6, 10, "children cannot begin, and are not counted")
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, before)
        wait_until(lambda: running.sidecar() != sidecar, 5, "another sidecar runs")
        began = len(running.events("dummy.works"))
        wait_until(lambda: len(running.events("dummy.works")) > began, 5, "the slot has a child that works")
        assert running.stop() == 0


@pytest.mark.slow
def test_no_turn_is_long_though_sixty_four_children_are_to_be_killed_that_do_not_stand_still(
    dummies: MakeDummies,
) -> None:
    # Others may use the processors, too: these children alone are many.
    assert any(0 < _longest_turn_over_the_stuck(dummies) < stretched(0.2) for _ in range(3))


def _longest_turn_over_the_stuck(dummies: MakeDummies) -> float:
    with dummies(64) as running:
        running.make_fifo()
        before = running.all_members()
        for slot in before:
            running.order(slot, "stuck")
        wait_until(lambda: len(running.exits()) >= 64, 30, "all were killed")
        assert set(running.exits()) == {"SIGKILL"}
        assert not set(map(alive, before.values())) - {False}
        return running.longest_turn_s()


def test_a_hundred_kills_leave_no_zombie_and_no_descriptor(dummies: MakeDummies) -> None:
    with dummies(4) as running:
        for slot in range(4):
            running.order(slot, "busy")
        pause(0.2)
        descriptors = len(os.listdir(f"/proc/{running.pid}/fd"))
        for _ in range(25):
            before = running.all_members()
            for pid in before.values():
                os.kill(pid, signal.SIGKILL)
            for slot, pid in before.items():
                running.replaced(slot, pid)
        assert len(running.exits()) == 100
        assert len(children_of(running.pid)) == 5
        assert _zombies_of(running.pid) == 0
        assert len(os.listdir(f"/proc/{running.pid}/fd")) == descriptors


def _zombies_of(pid: int) -> int:
    states = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            states.append((state, int(parent)))
    return states.count(("Z", pid))


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a small disk needs root")
def test_a_slot_that_the_disk_has_no_room_for_is_refused_and_the_others_work_on(dummies: MakeDummies) -> None:
    running = dummies(2)
    mount = 'mkdir -p "$TASKHUB_STATE_DIR" && mount -t tmpfs -o size=512k none "$TASKHUB_STATE_DIR" && exec "$@"'
    running.run_in("unshare", "--mount", "sh", "-c", mount, "sh")
    with running:
        first = running.all_members()
        for _ in range(2):
            os.kill(running.pid, signal.SIGTTIN)
            pause(0.2)
        wait_until(lambda: running.events("worker.no_room"), 10, "the second is refused")
        third = running.member(2)
        os.kill(first[0], signal.SIGKILL)
        running.replaced(0, first[0])
        assert {running.member(1), running.member(2)} == {first[1], third}
        assert running.events("worker.resized")[-1]["slots"] == 3
    assert running.exits(1) == ["exit 0"]
