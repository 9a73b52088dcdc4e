"""What becomes of the jobs of a child, a supervisor or a host that dies."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter

import pytest

from taskhub.broker.broker import Broker
from tests.harness.fixtures import MakeWorker
from tests.harness.ledger import Ledger
from tests.harness.processes import alive, family_of
from tests.harness.rows import Rows
from tests.harness.seed_jobs import HANDLERS, SOON, gap_s, place
from tests.waiting import stretched, wait_for_value, wait_until

FATAL: tuple[tuple[str, dict[str, int], str], ...] = (
    ("ledger.kill_self", {}, "signal:SIGKILL"),
    ("ledger.segfault", {}, "signal:SIGSEGV"),
    ("ledger.exit", {"code": 0}, "exit:0"),
    ("ledger.exit", {"code": 3}, "exit:3"),
)


def test_a_job_that_ends_its_child_runs_again_within_two_seconds_and_three_times_at_most(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    crashes: Counter[str] = Counter()
    with worker(**SOON) as running:
        for number, (type, payload, cause) in enumerate(FATAL, 1):
            [job] = place(rows, broker, type, payload)
            rows.wait_counts({"failed": number}, 20)
            starts = [entry.at_ns for entry in ledger.of(job) if entry.what == "start"]
            assert len(starts) == 3, cause
            assert max(gap_s(starts[0], starts[1]), gap_s(starts[1], starts[2])) <= stretched(2), cause
            wait_until(lambda last=3 * number: len(running.events("child.exited")) >= last, 5, "exits")
            exits = running.events("child.exited")[3 * (number - 1) :]
            assert {(event["job_id"], event["peak_rss_mb"] > 1) for event in exits} == {(job, True)}, cause
            crashes[type] += 3
            samples = running.metrics()
            labels = {"queue": "default", "type": type}
            assert samples.get("jobs_processed_total", outcome="crashed", **labels) == crashes[type]
            assert samples.get("job_failures_total", reason="crash", **labels) == crashes[type]
            row = rows.job(job)
            assert (row["failure_reason"], row["crashes"], row["attempts"]) == ("crash_limit", 3, 3)
            errors = rows.errors(job)
            assert [error["cause"] for error in errors] == [cause] * 3
            assert [error["attempt"] for error in errors] == [1, 2, 3]
            assert all(error["peak_rss_mb"] > 1 and error["worker"] for error in errors)


def test_of_a_dead_childs_batch_the_finished_stays_finished_and_the_unstarted_is_freed_uncharged(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    """Nothing of the batch is settled before the death: the helper thread is kept out."""
    alone = {"TASKHUB_WORKER_PROCESSES": "1", "TASKHUB_INTERNAL_BATCH_BUDGET_S": "60"}
    with worker(**SOON, **alone, TASKHUB_INTERNAL_SETTLE_WITHIN_S="60") as running:
        warm = place(rows, broker, "ledger.noop", count=100)  # the child learns that these take no time
        rows.wait_counts({"completed": 100}, 15)
        payload = '{"type":"ledger.noop"}'
        before = rows.add(8, type="ledger.noop", payload=payload)
        [killer] = rows.add(type="ledger.kill_self", payload='{"type":"ledger.kill_self","times":1}')
        after = rows.add(8, type="ledger.noop", payload=payload)
        broker.push("default", 4, [*before, killer, *after])
        rows.wait_counts({"completed": 117}, 15)
        told = {
            event["job_id"]
            for event in running.events()
            if event["message"] == "completed ledger.noop: settled for its child, which had died"
        }
        assert set(before) <= told
        wait_for_value(
            lambda: running.metrics().total("jobs_processed_total", outcome="completed"), 117, 5, "the count"
        )
    assert ledger.executions() == Counter([*warm, *before, killer, killer, *after])
    charged = [(row["attempts"], row["crashes"], row["interruptions"]) for row in rows.jobs([*before, *after])]
    assert charged == [(1, 0, 0)] * 16
    assert (rows.job(killer)["attempts"], rows.job(killer)["crashes"]) == (2, 1)


@pytest.mark.slow
def test_w22_all_children_killed_in_the_same_moment_are_all_reaped_and_replaced(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    with worker(**SOON, TASKHUB_WORKER_PROCESSES="4") as running:
        made = place(rows, broker, "ledger.sleep", {"seconds": 1}, count=4)
        wait_until(lambda: ledger.starts() == 4, 15, "all children work")
        began = time.monotonic_ns()
        for pid in running.job_children():
            os.kill(pid, signal.SIGKILL)
        again = wait_until(lambda: ledger.entries("start")[7:], 10, "all run again")
        assert gap_s(began, again[0].at_ns) <= stretched(2)
        rows.wait_counts({"completed": 4}, 15)
        assert len(running.children()) == 5
    assert ledger.executions() == Counter(made * 2)
    assert {(row["crashes"], row["attempts"]) for row in rows.jobs(made)} == {(1, 2)}


@pytest.mark.slow
def test_w13_a_killed_supervisors_children_are_gone_at_once_and_its_restart_rescues_within_three_seconds(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    running = worker(**SOON)
    running.start()
    running.wait_ready()
    long = place(rows, broker, "ledger.sleep", {"seconds": 2}, count=2)
    wait_until(lambda: ledger.starts() == 2, 15, "both children work")
    waiting = place(rows, broker, "ledger.noop", count=50)
    members = running.children()
    began = time.monotonic()
    running.kill()
    wait_until(lambda: not any(map(alive, members)), 5, "children and sidecar are gone", every_s=0.001)
    assert time.monotonic() - began <= stretched(0.1 + 0.4)  # the promise, and room for a busy machine
    with running:
        restarted = time.monotonic_ns()
        rows.wait_counts({"completed": 52}, 15)
        again = [entry for entry in ledger.entries("start") if entry.job in long][2:]
        assert max(gap_s(restarted, entry.at_ns) for entry in again) <= stretched(3)
        wait_until(lambda: rows.value("SELECT count(*) FROM workers") == 1, 10, "the dead worker is forgotten")
    assert ledger.executions() == Counter(long * 2 + waiting)
    assert {cause for job in long for cause in [rows.errors(job)[0]["cause"]]} == {"worker_lost"}


def test_w20_the_copy_of_a_handler_that_forks_never_acts_as_a_child(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    with worker(**SOON, **HANDLERS, TASKHUB_WORKER_PROCESSES="1") as running:
        [child] = running.job_children()
        made = place(rows, broker, "misbehaving_handlers.fork", count=5)
        rows.wait_counts({"completed": 5}, 15)
        others = place(rows, broker, "ledger.noop", count=50)
        rows.wait_counts({"completed": 55}, 15)
        assert running.job_children() == [child]
        wait_until(lambda: family_of(child) == [child], 5, "the copies are gone")
    assert ledger.executions() == Counter([*made, *others])
    assert {row["result"] for row in rows.jobs(made)} == {child}
