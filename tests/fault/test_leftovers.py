"""What a job leaves behind, in its process or running beside it, does not meet the next one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from supervisor.processes import kill_group
from supervisor.shared import layout as m
from taskhub.broker.broker import Broker
from taskhub.child import troubles
from taskhub.child.loop import LEFT_BROKEN
from taskhub.store.connection import Connection
from tests.harness.ledger import Ledger
from tests.harness.litter import ENDS
from tests.harness.played_worker import Actor, PlayedWorker
from tests.harness.processes import alive
from tests.harness.rows import Rows, submit
from tests.waiting import pause, wait_until


@contextmanager
def one_batch(stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows) -> Iterator[Actor]:
    """A child that knows the types' pace; what is submitted inside comes to it in one batch."""
    child = stage.child(internal_batch_budget_s=60)
    submit(store, broker, "litter.arm", 3, seconds=60)
    submit(store, broker, "ledger.sleep", seconds=0)
    rows.wait_counts({"completed": 4}, 10)
    child.wait_phase(m.PHASE_IDLE)
    child.stop()
    yield child
    child.go_on()


@pytest.mark.parametrize("type", ["litter.arm", "litter.arm_raising"])
def test_a_timer_that_one_job_leaves_does_not_meet_the_next_of_its_batch(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger, type: str
) -> None:
    with one_batch(stage, store, broker, rows) as child:
        submit(store, broker, type, seconds=0.1)
        [innocent] = submit(store, broker, "ledger.sleep", seconds=0.4)
    rows.wait_counts({"completed": 6}, 10)
    assert (rows.job(innocent)["attempts"], alive(child.pid)) == (1, True)
    assert rows.value("SELECT count(*) FROM job_errors") == 0


@pytest.mark.parametrize("by", sorted(ENDS))
def test_a_thread_that_one_job_leaves_and_that_ends_the_process_is_not_charged_to_the_next(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger, by: str
) -> None:
    with one_batch(stage, store, broker, rows) as child:
        submit(store, broker, "litter.end_later", seconds=0.1, by=by)
        [innocent] = submit(store, broker, "ledger.sleep", seconds=0.5)
    stage.reap(child)
    stage.recover()
    found = rows.job(innocent)
    assert (found["status"], found["crashes"], found["interruptions"]) == ("queued", 0, 1)
    stage.child()
    rows.wait_counts({"completed": 6}, 10)
    assert rows.value("SELECT count(*) FROM job_errors") == 0


def test_a_thread_that_ends_the_process_during_its_own_job_is_its_jobs(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    child = stage.child()
    [cause] = submit(store, broker, "litter.end_later", seconds=0.05, stays=10, by="exit")
    assert os.waitstatus_to_exitcode(stage.reap(child)) == 7
    stage.recover()
    assert (rows.job(cause)["crashes"], rows.job(cause)["interruptions"]) == (1, 0)


def test_a_child_whose_builtins_a_job_has_replaced_serves_the_next(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    child = stage.child()
    submit(store, broker, "litter.break_len")
    rows.wait_counts({"completed": 1}, 10)
    submit(store, broker, "ledger.echo", 3)
    rows.wait_counts({"completed": 4}, 10)
    assert alive(child.pid)
    assert rows.value("SELECT count(*) FROM job_errors") == 0


def test_a_process_that_a_job_has_spoilt_is_replaced_before_the_next_and_nobody_pays(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    with one_batch(stage, store, broker, rows) as child:
        jobs = submit(store, broker, "litter.spoil") + submit(store, broker, "ledger.echo", 3)
    assert stage.reap(child) == 0
    assert child.bank[m.B_PHASE] == m.PHASE_LEAVING
    stage.recover()
    second = stage.child()
    rows.wait_counts({"completed": 8}, 10)
    assert {rows.job(job)["attempts"] for job in jobs} == {1}
    pids = {entry.job: entry.pid for entry in ledger.entries("start")}
    assert [pids[job] for job in jobs] == [child.pid, *[second.pid] * 3]


@pytest.mark.parametrize(
    ("everything", "status"), [(False, 0), pytest.param(True, LEFT_BROKEN, marks=pytest.mark.slow)]
)
def test_a_child_in_which_our_own_code_fails_for_good_after_a_job_is_replaced_and_nobody_pays(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger, everything: bool, status: int
) -> None:
    child = stage.child()
    [breaker] = submit(store, broker, "litter.break_ours", all=everything)
    assert os.waitstatus_to_exitcode(stage.reap(child)) == status
    stage.recover()
    [innocent] = submit(store, broker, "ledger.echo")
    second = stage.child()
    rows.wait_counts({"completed": 2}, 10)
    assert ledger.of(innocent)[0].pid == second.pid
    assert {(rows.job(job)["attempts"], rows.job(job)["crashes"]) for job in (breaker, innocent)} == {(1, 0)}


def test_a_child_in_which_our_own_code_fails_before_its_first_job_is_replaced(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(troubles, "_UNUSED_TROUBLES", 2)
    child = stage.child(failpoints="worker.after_claim=raise:ValueError")
    [job] = submit(store, broker, "ledger.echo")
    assert stage.reap(child) == 0
    assert child.bank[m.B_PHASE] == m.PHASE_LEAVING
    stage.recover()
    stage.child()
    rows.wait_counts({"completed": 1}, 10)
    assert (rows.job(job)["attempts"], rows.job(job)["crashes"], rows.job(job)["interruptions"]) == (1, 0, 0)


def test_a_child_that_a_job_left_too_large_is_replaced_before_the_next(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    child = stage.child(hard_rss_mb=150)
    [big] = submit(store, broker, "litter.hoard", mb=150)
    assert stage.reap(child) == 0
    stage.recover()
    assert (rows.job(big)["status"], rows.job(big)["crashes"]) == ("completed", 0)
    [innocent] = submit(store, broker, "ledger.echo")
    second = stage.child(hard_rss_mb=150)
    rows.wait_counts({"completed": 2}, 10)
    assert ledger.of(innocent)[0].pid == second.pid


def test_a_process_that_a_handler_forks_is_an_ordinary_one(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows
) -> None:
    stage.child()
    [job] = submit(store, broker, "litter.dispositions")
    rows.wait_counts({"completed": 1}, 10)
    assert rows.job(job)["result"] == {"ended_by": signal.SIGUSR1, "-": 1}


def left_by(ledger: Ledger, job: str) -> list[int]:
    """The program and the daemon that a job has started."""
    return [entry.pid for entry in ledger.of(job) if entry.what in ("program", "daemon")]


def test_what_a_killed_job_left_in_sessions_of_its_own_is_gone_before_it_runs_again(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    jobs = submit(store, broker, "litter.family", 2, seconds=60)
    children = [stage.child(slot) for slot in (0, 1)]
    wait_until(lambda: len(ledger.entries("daemon")) == 2, 10, "both jobs have daemons")
    job_of = {entry.pid: entry.job for entry in ledger.entries("start")}
    theirs = [left_by(ledger, job_of[child.pid]) for child in children]
    cause, other = children
    os.kill(cause.pid, signal.SIGKILL)
    stage.reap(cause)
    assert all(map(alive, theirs[0])), "the kernel does not do it"
    stage.recover()
    assert not any(map(alive, theirs[0]))
    assert all(map(alive, theirs[1])), "another child's are not touched"
    assert {rows.job(job)["status"] for job in jobs} == {"queued", "running"}
    os.kill(other.pid, signal.SIGKILL)
    stage.reap(other)
    stage.recover()
    assert not any(map(alive, theirs[1]))


def test_a_program_with_an_environment_of_its_own_dies_with_the_child_that_is_killed(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    child = stage.child()
    [job] = submit(store, broker, "litter.family", seconds=60, env={})
    wait_until(lambda: len(left_by(ledger, job)) == 2, 10, "it has started both")
    kill_group(child.pid)
    program, daemon = left_by(ledger, job)
    wait_until(lambda: not alive(program), 2, "the program is gone")
    stage.reap(child)
    stage.recover()
    assert not alive(daemon), "its parent was gone, but it carries the mark"


def test_what_a_job_left_running_on_purpose_outlives_a_child_that_leaves_in_order(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    child = stage.child()
    [job] = submit(store, broker, "litter.family", seconds=0)
    rows.wait_counts({"completed": 1}, 10)
    left = left_by(ledger, job)
    stage.drain()
    stage.reap(child)
    stage.recover()
    pause(0.05)
    try:
        assert len(left) == 2
        assert all(map(alive, left))
    finally:
        for pid in left:
            os.kill(pid, signal.SIGKILL)
