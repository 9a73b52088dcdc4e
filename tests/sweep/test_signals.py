"""Every signal to every process of a worker: the design's answer, or nothing; never a job lost or doubled."""

from __future__ import annotations

import os
import signal

import pytest

from taskhub.broker.broker import Broker
from tests.harness.fixtures import *  # noqa: F403 (fixtures are found by their names here)
from tests.harness.fixtures import MakeWorker
from tests.harness.ledger import Ledger
from tests.harness.processes import alive
from tests.harness.programs import Worker
from tests.harness.rows import Rows
from tests.harness.seed_jobs import SOON, place
from tests.sweep.drawing import drawn
from tests.waiting import wait_until

NUMBERS = [number for number in range(1, 65) if number not in (32, 33)]  # the C library's own
ENDING = {signal.SIGTERM: 0, signal.SIGINT: 0, signal.SIGQUIT: 0}
FATAL = {  # by the kernel, or the process's own fault: it may die of these
    signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP,
    signal.SIGSYS, signal.SIGSTKFLT, signal.SIGXCPU, signal.SIGXFSZ,
}  # fmt: skip
REAL_TIME = range(signal.SIGRTMIN, signal.SIGRTMAX + 1)  # a child dies of these, and its end is told
STOPPING = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
QUICK = {**SOON, "TASKHUB_WORKER_PROCESSES": "2", "TASKHUB_INTERNAL_STALL_S": "4", "TASKHUB_DRAIN_S": "3"}


def sidecar_of(running: Worker) -> int:
    slots = running.job_children()
    [other] = wait_until(lambda: [pid for pid in running.children() if pid not in slots], 10, "there is a sidecar")
    return other


def _go_on(pid: int) -> None:
    if alive(pid):
        os.kill(pid, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_child_that_gets_any_signal_in_mid_job_loses_nothing(
    worker: MakeWorker, rows: Rows, broker: Broker, ledger: Ledger
) -> None:
    with worker(**QUICK) as running:
        for number in drawn("signals-child", NUMBERS, 5):
            [job] = place(rows, broker, "ledger.sleep", {"seconds": 0.4})
            start = wait_until(lambda job=job: ledger.of(job), 10, "the job runs")[0]
            os.kill(start.pid, number)
            if number in STOPPING:
                _go_on(start.pid)
            wait_until(lambda job=job: rows.job(job)["status"] == "completed", 15, f"the job survives signal {number}")
            row, runs = rows.job(job), ledger.executions()[job]
            assert runs == 1 + row["crashes"], (number, row)
            assert row["crashes"] <= (number in FATAL or number in REAL_TIME), (number, rows.errors(job))
            assert not running.has_ended(), number


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sidecar_that_gets_any_signal_goes_on_or_is_replaced(
    worker: MakeWorker, rows: Rows, broker: Broker, ledger: Ledger
) -> None:
    with worker(**QUICK) as running:
        for number in drawn("signals-sidecar", NUMBERS, 4):
            pid = sidecar_of(running)
            os.kill(pid, number)
            if number in STOPPING:
                _go_on(pid)
            jobs = place(rows, broker, "ledger.fail", {"times": 1})  # its retry needs the sidecar
            wait_until(lambda jobs=jobs: set(rows.statuses(jobs)) == {"completed"}, 15, f"retries survive {number}")
            wait_until(running._is_ready, 10, f"the worker is ready after {number}", every_s=0.05)
            assert number in FATAL or alive(pid), number


@pytest.mark.timeout(600)
def test_a_supervisor_that_gets_any_other_signal_goes_on(
    worker: MakeWorker, rows: Rows, broker: Broker, ledger: Ledger
) -> None:
    harmless = [number for number in NUMBERS if number not in {*FATAL, *ENDING, signal.SIGSTOP}]
    with worker(**QUICK) as running:
        for number in drawn("signals-supervisor", harmless, 6):
            before = running.pid
            running.signal(number)
            running.signal(signal.SIGCONT)
            jobs = place(rows, broker, "ledger.noop", count=2)
            wait_until(lambda jobs=jobs: set(rows.statuses(jobs)) == {"completed"}, 20, f"jobs run after {number}")
            assert not running.has_ended(), (number, running.tail())
            assert running.pid == before
        jobs = place(rows, broker, "ledger.noop", count=4)
        wait_until(lambda: set(rows.statuses(jobs)) == {"completed"}, 20, "jobs run after all of them")
    assert set(ledger.executions().values()) == {1}


@pytest.mark.parametrize("number", ENDING, ids=lambda number: number.name)
def test_a_supervisor_that_is_told_to_stop_ends_with_zero(
    worker: MakeWorker, number: signal.Signals, rows: Rows, broker: Broker
) -> None:
    running = worker(**QUICK)
    with running:
        jobs = place(rows, broker, "ledger.noop", count=2)
        wait_until(lambda: set(rows.statuses(jobs)) == {"completed"}, 10, "jobs run")
        running.signal(number)
        assert running.wait(8) == ENDING[number], running.tail()
