"""A child dies, hangs or is killed: who is charged, who is spared, and what is left behind."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from typing import Any

import pytest

from supervisor.processes import spawn
from supervisor.shared import layout as m
from supervisor.signals import Signals
from supervisor.watchdog import runs
from taskhub.broker.broker import Broker
from taskhub.store.connection import Connection
from tests.harness.audit import history
from tests.harness.forks import end, fork
from tests.harness.ledger import Ledger
from tests.harness.played_worker import PlayedWorker, now_s
from tests.harness.processes import alive, children_of
from tests.harness.rows import Rows, submit
from tests.waiting import pause, stretched, wait_until


def test_w12_a_handler_that_stopped_its_own_process_is_killed_at_its_time(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    child = stage.child(job_timeout_s=0.3)
    watchdog, slot = stage.watchdog(internal_kill_grace_s=0.2), stage.slot_of(child)
    [job] = submit(store, broker, "ledger.stop_self")
    wait_until(ledger.starts, 10, "the job runs")
    began = time.monotonic()
    while child.bank[m.B_DEATH_REASON] != m.REASON_TIMEOUT:
        watchdog.look([slot], now_s())
        assert time.monotonic() - began < stretched(10), "its time is over, and nobody has killed it"
        pause(0.02)
    stage.reap(child)
    stage.recover()
    [error] = rows.errors(job)
    assert (error["cause"], error["type"], rows.job(job)["crashes"]) == ("timeout", "JobTimeout", 0)
    assert rows.job(job)["status"] == "queued", "it may try again"


def test_w13_children_die_with_their_supervisor(stage: PlayedWorker) -> None:
    """Whatever they are doing: this one only sleeps, and looks at nothing."""
    supervisor = fork(lambda: (spawn(lambda: int(signal.pause() or 0), Signals()), signal.pause()))
    [child] = wait_until(lambda: children_of(supervisor), 10, "the supervisor has a child")
    pause(0.05)  # for the child to tie itself to its parent
    began = time.monotonic()
    try:
        end(supervisor)
        wait_until(lambda: not alive(child), 1, "the child is gone", every_s=0.001)
        assert time.monotonic() - began < stretched(0.5)
    finally:
        if alive(child):
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize(
    ("type", "payload", "cause"),
    [
        ("ledger.kill_self", {}, "signal:SIGKILL"),
        ("ledger.segfault", {}, "signal:SIGSEGV"),
        ("ledger.exit", {"code": 3}, "exit:3"),
    ],
)
def test_w18_a_poison_job_is_a_dead_letter_after_three_crashes(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    type: str,
    payload: Any,
    cause: str,
) -> None:
    [poison] = submit(store, broker, type, **payload)
    for crash in (1, 2, 3):
        dying = stage.child()
        stage.reap(dying)
        stage.recover()
        assert rows.job(poison)["crashes"] == crash
    row = rows.job(poison)
    assert (row["status"], row["failure_reason"], row["attempts"]) == ("failed", "crash_limit", 3)
    assert [error["cause"] for error in rows.errors(poison)] == [cause] * 3
    assert broker.depths(["default"])["default"] == 0, "nobody runs it again"


def test_w18_beside_a_poison_job_nobody_is_harmed(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    """It comes in one batch with others at first; from then on it runs alone."""
    child = stage.child(internal_batch_budget_s=60)
    warm = submit(store, broker, "ledger.noop", 3)
    rows.wait_counts({"completed": 3}, 10)
    child.wait_phase(m.PHASE_IDLE)
    child.stop()
    before = submit(store, broker, "ledger.noop", 2)
    [poison] = submit(store, broker, "ledger.kill_self")
    after = submit(store, broker, "ledger.noop", 2)
    child.go_on()
    for _ in range(3):
        stage.reap(child)
        stage.recover()
        child = stage.child(internal_batch_budget_s=60)
    rows.wait_counts({"completed": 7, "failed": 1}, 10)
    assert ledger.executions() == Counter({poison: 3, **dict.fromkeys([*warm, *before, *after], 1)})


def test_w19_an_exit_with_zero_without_settling_is_a_crash(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows
) -> None:
    dying = stage.child()
    [job] = submit(store, broker, "ledger.exit", code=0)
    assert stage.reap(dying) == 0
    stage.recover()
    assert (rows.job(job)["status"], rows.job(job)["crashes"]) == ("queued", 1)
    assert [error["cause"] for error in rows.errors(job)] == ["exit:0"]


def test_w25_the_drains_deadline_passes(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    """What ran is queued at once, charged neither an error nor a crash; what had not begun is as new."""
    child = stage.child(internal_batch_budget_s=60, internal_interpreter_hold_s=60)
    warm = submit(store, broker, "ledger.noop", 3)
    rows.wait_counts({"completed": 3}, 10)
    child.stop()
    [long, waiting] = submit(store, broker, "ledger.sleep", 2, seconds=60)
    child.go_on()
    wait_until(lambda: ledger.starts() == 4, 10, "a job runs")
    stage.drain()
    child.bank[m.B_DEATH_REASON] = m.REASON_DRAIN
    child.kill()
    stage.reap(child)
    stage.recover()
    found = {job: rows.job(job) for job in (long, waiting)}
    ran = ledger.entries("start")[-1].job
    [other] = {long, waiting} - {ran}
    kept = [found[ran][name] for name in ("status", "attempts", "interruptions", "crashes")]
    assert kept == ["queued", 1, 1, 0]
    assert [found[other][name] for name in ("status", "attempts", "interruptions")] == ["queued", 0, 0]
    assert rows.errors(ran) == rows.errors(other) == []
    assert broker.depths(["default"])["default"] == 2, "both wait for another worker"
    assert len(warm) == 3


def test_w27_a_type_that_only_a_newer_worker_knows(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    stage.child()
    [job] = submit(store, broker, "ledger.noop")
    rows.wait_counts({"completed": 1}, 10)
    [unknown] = submit(store, broker, "newer.type")
    wait_until(lambda: history(rows, unknown)[-1:] == ["queued"], 10, "it is given back")
    row = rows.job(unknown)
    assert (row["attempts"], row["crashes"], row["interruptions"]) == (0, 0, 0), "uncharged"
    assert 20 < (row["run_at"] - rows.now()).total_seconds() <= 30
    rows.set(unknown, type="ledger.noop", run_at="=clock_timestamp()")  # as a worker that knows it sees it
    broker.push_again("default", 4, [(0.0, unknown)])
    rows.wait_counts({"completed": 2}, 10)
    assert ledger.executions() == Counter([job, unknown])


def test_w27_a_type_that_nobody_knows_for_an_hour_is_a_dead_letter(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows
) -> None:
    stage.child()
    job = rows.one(type="nobodys.type", unknown_since="=clock_timestamp() - interval '61 min'")
    broker.push("default", 4, [job])
    rows.wait_counts({"failed": 1}, 10)
    assert rows.job(job)["failure_reason"] == "unknown_type"


def test_w29_the_kill_arrives_after_the_child_has_moved_on(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    """The decision is about one job, and when it is carried out the child runs the next, innocent one."""
    child = stage.child(job_timeout_s=60)
    watchdog, slot = stage.watchdog(internal_kill_grace_s=0), stage.slot_of(child)
    [cause] = submit(store, broker, "ledger.sleep", seconds=0.3)
    wait_until(ledger.starts, 10, "the cause job runs")
    task = bytes(child.bank.bytes[m.B_TASK * 8 : m.B_TASK * 8 + 16]), child.bank[m.B_STARTED]
    [innocent] = submit(store, broker, "ledger.sleep", seconds=0.5)
    wait_until(lambda: ledger.starts() == 2, 10, "the innocent job runs")
    stage.kill_if(watchdog, slot, lambda: runs(child.bank, task), m.REASON_TIMEOUT)
    rows.wait_counts({"completed": 2}, 10)
    assert ledger.executions() == Counter([cause, innocent])
    assert rows.value("SELECT count(*) FROM job_errors") == 0
    assert alive(child.pid)


def test_w29_a_child_that_wakes_as_it_is_about_to_be_replaced_lives(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    """It was silent for too long, and has taken a job between the look and the kill."""
    child = stage.child()
    watchdog, slot = stage.watchdog(internal_stall_s=0.2), stage.slot_of(child)
    [job] = submit(store, broker, "ledger.sleep", seconds=0.5)
    wait_until(ledger.starts, 10, "the job runs")
    stage.kill_if(watchdog, slot, lambda: watchdog._is_stalled(child.bank), m.REASON_STALLED)
    rows.wait_counts({"completed": 1}, 10)
    assert (ledger.starts(), rows.job(job)["crashes"], alive(child.pid)) == (1, 0, True)
