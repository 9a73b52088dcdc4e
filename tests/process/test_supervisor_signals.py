"""What an operator can tell a supervisor by signals, whatever its children run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.harness.dummy_supervisor import DummySupervisor, MakeDummies
from tests.harness.processes import alive
from tests.waiting import pause, stretched, wait_until

# Stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_waits_for_the_running_task_and_ends_with_zero(dummies: MakeDummies, number: signal.Signals) -> None:
    with dummies(TASKHUB_DRAIN_S="20") as running:
        running.order(0, "busy")
        busy, idle = running.member(0), running.member(1)
        wait_until(lambda: running.phase(0) == "running", 10, "the task runs")
        running.signal(number)
        wait_until(lambda: not alive(idle), 5, "the idle child has left")
        pause(0.5)
        assert alive(busy)
        running.order(0, "idle")
        assert running.wait(5) == 0
        assert running.exits() == ["exit 0", "exit 0"]


def test_a_task_that_outlasts_the_drain_is_killed_and_the_worker_ends_within_two_seconds_after(
    dummies: MakeDummies,
) -> None:
    with dummies(TASKHUB_DRAIN_S="1") as running:
        running.order(0, "busy")
        wait_until(lambda: running.phase(0) == "running", 10, "the task runs")
        began = time.monotonic()
        assert running.stop() == 0
        assert 1 <= time.monotonic() - began <= stretched(3)
        assert running.exits(0) == ["SIGKILL"]


@pytest.mark.parametrize(
    "numbers", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT), (signal.SIGQUIT,)]
)
def test_asked_twice_or_by_quit_the_worker_ends_now(dummies: MakeDummies, numbers: tuple[signal.Signals, ...]) -> None:
    with dummies(TASKHUB_DRAIN_S="60") as running:
        running.order(0, "busy")
        wait_until(lambda: running.phase(0) == "running", 10, "the task runs")
        began = time.monotonic()
        for count, number in enumerate(numbers, 1):
            running.signal(number)
            wait_until(lambda count=count: len(running.events("worker.draining")) == count, 5, "it has heard")
        assert running.wait(10) == 0
        assert time.monotonic() - began <= stretched(2)
        assert running.exits(0) == ["SIGKILL"]


def test_a_stop_sent_to_every_process_kills_no_running_task(dummies: MakeDummies) -> None:
    with dummies(TASKHUB_DRAIN_S="20") as running:
        running.order(0, "busy")
        wait_until(lambda: running.phase(0) == "running", 10, "the task runs")
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            for pid in running.children():
                os.kill(pid, number)
        running.signal(signal.SIGTERM)
        pause(0.5)
        running.order(0, "idle")
        assert running.wait(5) == 0
        assert running.exits() == ["exit 0", "exit 0"]
        assert running.events("sidecar.exited") == []


# Sizes


def test_ttin_and_ttou_change_the_number_of_children_one_by_one_and_never_below_one(dummies: MakeDummies) -> None:
    with dummies() as running:
        running.signal(signal.SIGTTIN)
        wait_until(lambda: set(running.members()) == {0, 1, 2}, 5, "a third child runs")
        for left in ({0, 1}, {0}, {0}):
            running.signal(signal.SIGTTOU)
            wait_until(lambda left=left: set(running.members()) == left, 5, f"children {left} are left")
        wait_until(lambda: len(running.events("worker.resized")) == 4, 5, "the last was heard, too")
        assert [event["slots"] for event in running.events("worker.resized")] == [3, 2, 1, 1]
        assert set(running.members()) == {0}
        assert running.exits() == ["exit 0"] * 2


def test_a_slot_that_is_still_leaving_is_not_taken_by_the_next_child(dummies: MakeDummies) -> None:
    with dummies(TASKHUB_DRAIN_S="5") as running:
        for slot in range(3):
            running.order(slot, "busy" if slot == 1 else "idle")
        busy = running.member(1)
        wait_until(lambda: running.phase(1) == "running", 10, "the task runs")
        running.signal(signal.SIGTTIN)
        wait_until(lambda: set(running.members()) == {0, 1, 2}, 5, "a third child runs")
        running.signal(signal.SIGTTOU)  # slot 2, idle, leaves
        wait_until(lambda: set(running.members()) == {0, 1}, 5, "it has left")
        running.signal(signal.SIGTTOU)  # slot 1, busy, leaves later
        wait_until(lambda: len(running.events("worker.resized")) == 3, 5, "it is asked to leave")
        running.signal(signal.SIGTTIN)
        wait_until(lambda: set(running.members()) == {0, 1, 2}, 5, "another slot has a child")
        assert running.member(1) == busy
        running.order(1, "idle")
        wait_until(lambda: set(running.members()) == {0, 2}, 5, "the busy one has left")
        running.signal(signal.SIGTTIN)
        wait_until(lambda: set(running.members()) == {0, 1, 2}, 5, "the free slot is used again")
        numbers = [int(event["slot"]) for event in running.events("child.started")]
        assert numbers == [0, 1, 2, 2, 1]


# Looking


def test_usr1_writes_the_state_of_every_slot_and_everybodys_stack_into_the_log(dummies: MakeDummies) -> None:
    with dummies() as running:
        running.order(0, "busy")
        wait_until(lambda: running.phase(0) == "running", 10, "the task runs")
        before = len(running.events("worker.state"))
        running.signal(signal.SIGUSR1)
        told = wait_until(lambda: running.events("worker.state")[before:][1:], 5, "the state is told")
        assert told[-1]["slot"] == 1
        wait_until(lambda: running.log.read_text().count("most recent call first") >= 3, 5, "stacks are told")
        wait_until(lambda: "in _work" in running.log.read_text(), 5, "the stack of the busy child is told")
        assert set(running.members()) == {0, 1}


# Reload


def test_a_reload_whose_trial_fails_leaves_everything_as_it_is_and_says_why_on_one_line(dummies: MakeDummies) -> None:
    trial = "import sys; print('x' * 200_000); sys.exit('no module named\\nshop_handlers')"
    with dummies(DUMMY_TRIAL=trial) as running:
        before = (running.pid, running.all_members(), running.sidecar())
        running.signal(signal.SIGHUP)
        [refusal] = wait_until(lambda: running.events("worker.reload_refused"), 15, "it is refused")
        assert refusal["message"].endswith("no module named shop_handlers")
        pause(0.5)
        assert (running.pid, running.members(), running.sidecar()) == before


def test_a_reload_keeps_pid_and_running_task_and_never_lacks_more_than_one_child(dummies: MakeDummies) -> None:
    with dummies(3, TASKHUB_DRAIN_S="5") as running:
        running.order(0, "busy")
        before = {slot: running.member(slot) for slot in range(3)}
        sidecar = running.sidecar()
        wait_until(lambda: running.phase(0) == "running", 10, "the task runs")
        running.signal(signal.SIGHUP)
        for slot in (1, 2):
            running.replaced(slot, before[slot])
        pause(1)
        assert running.member(0) == before[0]
        assert running.phase(0) == "running"
        running.order(0, "idle")
        running.replaced(0, before[0])
        assert running.sidecar() != sidecar
        assert running.exits() == ["exit 0"] * 3
        assert not running.has_ended()
        assert _fewest_at_work(running, 3) >= 2


def test_reloads_one_upon_the_other_end_with_every_child_replaced(dummies: MakeDummies) -> None:
    with dummies(3, TASKHUB_DRAIN_S="5") as running:
        before = set(running.members().values())
        for times in (1, 2, 3):
            running.signal(signal.SIGHUP)
            wait_until(lambda times=times: len(running.events("worker.reexecuting")) == times, 15, "it re-executes")
        wait_until(lambda: not before & set(running.members().values()), 15, "the first children are gone")
        wait_until(lambda: len(running.members()) == 3, 5, "three children run")
        assert set(running.exits()) == {"exit 0"}
        assert running.stop() == 0


def test_a_stop_during_a_reload_stops(dummies: MakeDummies) -> None:
    with dummies(TASKHUB_DRAIN_S="5", DUMMY_TRIAL="import time; time.sleep(1)") as running:
        running.signal(signal.SIGHUP)
        wait_until(lambda: running.events("worker.reloading"), 5, "the trial runs")
        assert running.stop() == 0
        assert running.exits() == ["exit 0"] * 2


# In a container

IS_ROOT = os.geteuid() == 0
NAMESPACE = ("unshare",) if IS_ROOT else ("unshare", "--user", "--map-root-user")  # to root, or to anybody
AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups") if IS_ROOT else ()


def works(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


in_namespaces = pytest.mark.skipif(not works(*NAMESPACE, "--pid", "--fork", "true"), reason="no namespaces are allowed")


@in_namespaces
def test_as_pid_1_it_reaps_orphans_refuses_a_bad_reload_and_ends_with_zero(dummies: MakeDummies) -> None:
    running = dummies(DUMMY_TRIAL="import time, sys; time.sleep(0.3); sys.exit('bad code')")
    running.run_in(*NAMESPACE, "--pid", "--fork", "--mount-proc", "--kill-child")
    with running:
        running.order(0, "orphan")
        wait_until(lambda: running.events("dummy.orphaned"), 10, f"a stranger was left behind\n{running.tail()}")
        running.order(0, "idle")
        init = running.supervisor()
        wait_until(lambda: len(running.descendants(init)) == 3, 10, "the stranger is gone, not even a zombie")
        os.kill(init, signal.SIGHUP)
        [refusal] = wait_until(lambda: running.events("worker.reload_refused"), 10, "the reload is refused")
        assert "bad code" in refusal["message"]
        os.kill(init, signal.SIGTERM)
        assert running.wait(10) == 0


@in_namespaces
@pytest.mark.skipif(
    not works(*AS_NOBODY, sys.executable, "-c", ""), reason="this interpreter lies where only root may go"
)
def test_as_nobody_with_nothing_writable_but_the_state_folder_it_works() -> None:
    folder = Path(tempfile.mkdtemp(prefix="th-dummies-"))
    try:
        folder.chmod(0o755)
        (folder / "state").mkdir()
        if IS_ROOT:
            shutil.chown(folder / "state", 65534, 65534)
        running = DummySupervisor(folder, PYTHONDONTWRITEBYTECODE="1")
        state, script = folder / "state", 'mount --bind "$0" "$0" && mount -o remount,bind,ro / && exec "$@"'
        running.run_in(*NAMESPACE, "--mount", "--propagation", "private", "sh", "-c", script, str(state), *AS_NOBODY)
        with running:
            victim = running.member(0)
            running.order(0, "busy")
            wait_until(lambda: running.phase(0) == "running", 10, f"the task runs\n{running.tail()}")
            os.kill(victim, signal.SIGKILL)
            running.replaced(0, victim)
            assert "Uid:\t0\t" not in Path(f"/proc/{running.pid}/status").read_text()
        assert list(state.iterdir()) == []
    finally:
        shutil.rmtree(folder)


def _fewest_at_work(running: DummySupervisor, children: int) -> int:
    """The fewest children that ever worked at once, after all of them did, as the log tells."""
    at_work = fewest = 0
    has_begun = False
    for event in running.events():
        at_work += {"dummy.works": 1, "child.exited": -1}.get(event.get("event", ""), 0)
        has_begun = has_begun or at_work == children
        fewest = min(fewest, at_work) if has_begun and fewest else at_work
    return fewest
